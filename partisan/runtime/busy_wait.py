"""Look for work a while before sleeping, as BEAM schedulers do: a wake-up costs more than a look."""

from __future__ import annotations

import asyncio


class BusyWait:
    """Keeps a loop from sleeping for some time after the last burst of messages.

    Args:
        loop: the node's.
        seconds: how long it stays awake; it takes a whole core meanwhile.
    """

    __slots__ = ("_looking", "_loop", "_seconds", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._until = 0.0
        self._looking = False

    def extend(self) -> None:
        """Something happened: stay awake from now on."""
        self._until = self._loop.time() + self._seconds
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """A callback that is due makes the loop poll its sockets without waiting."""
        if self._loop.time() < self._until:
            self._loop.call_soon(self._look)
        else:
            self._looking = False
