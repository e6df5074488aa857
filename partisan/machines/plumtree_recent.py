"""What a node has broadcast lately, and which of its neighbors were told.

If all of them are lost before one could pass it on, nobody has the message but the node itself, and nobody hears of it
before an exchange. So another neighbor is told, as soon as there is one: by an announcement, which costs one who has it
an answer, and no tree a link.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from partisan.machines.plumtree_messages import IHave, Name

MOST_RECENT = 64
"""Messages that are remembered (ours)."""


class _Told:
    """A message.

    Attributes:
        at: when it was broadcast.
        names: of the neighbors that were told of it, and are neighbors still.
    """

    __slots__ = ("announcement", "at", "names")

    def __init__(self, announcement: IHave, at: float, names: Iterable[Name]) -> None:
        self.announcement = announcement
        self.at = at
        self.names = dict.fromkeys(names)


class Recent:
    """What one node has broadcast lately."""

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages: dict[Hashable, _Told] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, key: Hashable, announcement: IHave, told: Iterable[Name], now: float) -> None:
        """The message of that key was broadcast, to these neighbors."""
        self._messages.pop(key, None)
        self._messages[key] = _Told(announcement, now, told)
        if len(self._messages) > MOST_RECENT:
            del self._messages[next(iter(self._messages))]

    def lost(self, name: Name) -> None:
        """The neighbor may not have passed anything on."""
        for message in self._messages.values():
            message.names.pop(name, None)

    def untold(self, name: Name, now: float, keep: float) -> Iterator[IHave]:
        """What this neighbor is to be told: what was broadcast in the last `keep` seconds to none who is left."""
        for key, message in list(self._messages.items()):
            if now - message.at > keep:
                del self._messages[key]
            elif not message.names:
                message.names[name] = None
                yield message.announcement
