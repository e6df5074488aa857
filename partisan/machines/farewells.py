"""To whom a node that left has still to say so.

A real node merges whatever state it is told on a connection that it was about to make, and has no other way to hear of
a departure than gossip. One that was not connected in both directions when we left may miss that; it dials us once
more, and by our new token we would be a member of its cluster again. It is owed a farewell: a state with our
dead tokens alone, in the place of our greeting, on whatever it opens until it has closed that. Then it is a stranger.
It reads a greeting only where it had no connection before: whatever it has open when we leave has to be closed first.

A node of that kind that joins us on purpose says nothing else on the wire than one that has not heard. So its first
attempt is taken for that if it was not connected when we left, and has not dialled us since; its next one succeeds. To
join it ourselves ends the debt.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from enum import Enum, auto


class Owed(Enum):
    """How far a farewell has come."""

    DEAF = auto()  # what the node has open is from before we left: it hears nothing there
    NEXT = auto()  # to be told on what it opens next
    TOLD = auto()  # told on something that is open


class Farewells:
    """What one node owes."""

    def __init__(self) -> None:
        self._owed: dict[Hashable, Owed] = {}

    def left(self, names: Iterable[Hashable], dialling: Container[Hashable] = ()) -> None:
        """We left these, and they may not have heard it.

        Args:
            dialling: those that have something open.
        """
        self._owed |= {name: Owed.DEAF if name in dialling else Owed.NEXT for name in names}

    def greets(self, name: Hashable) -> bool:
        """Whether the node, which is being greeted, is told farewell."""
        how = self._owed.get(name)
        if how is Owed.NEXT:
            self._owed[name] = Owed.TOLD
        return how is not None

    def closed(self, name: Hashable) -> None:
        """Nothing that the node opened is open any more."""
        how = self._owed.get(name)
        if how is Owed.DEAF:
            self._owed[name] = Owed.NEXT
        elif how is Owed.TOLD:
            del self._owed[name]

    def joined(self, names: Iterable[Hashable]) -> None:
        """These are members with us, or about to be."""
        for name in names:
            self._owed.pop(name, None)
