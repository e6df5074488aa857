"""To whom a node that left has still to say so.

A real node merges whatever state it is told on a connection that it was about to make, and has no other way to hear of
a departure than gossip. One that was not connected in both directions when we left may miss that; it dials us once
more, and by our new token we would be a member of its cluster again. It is owed a farewell: a state with our
dead tokens alone, in the place of our greeting, on whatever it opens until it has closed that. Then it is a stranger.

A node of that kind that joins us on purpose says nothing else on the wire than one that has not heard. So its first
attempt is taken for that if it was not connected when we left, and has not dialled us since; its next one succeeds. To
join it ourselves ends the debt.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable


class Farewells:
    """What one node owes."""

    def __init__(self) -> None:
        self._owed: dict[Hashable, bool] = {}  # name -> whether it has been told on a connection that is open

    def left(self, names: Iterable[Hashable]) -> None:
        """We left these, and they may not have heard it."""
        self._owed |= dict.fromkeys(names, False)

    def greets(self, name: Hashable) -> bool:
        """Whether the node, which is being greeted, is told farewell."""
        if name not in self._owed:
            return False
        self._owed[name] = True
        return True

    def closed(self, name: Hashable) -> None:
        """Nothing that the node opened is open any more."""
        if self._owed.get(name):
            del self._owed[name]

    def joined(self, names: Iterable[Hashable]) -> None:
        """These are members with us, or about to be."""
        for name in names:
            self._owed.pop(name, None)
