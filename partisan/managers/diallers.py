"""Which nodes have dialled this one, and who waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator


class Diallers:
    """The nodes with connections to this one that they have opened.

    Args:
        loop: the node's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: dict[str, int] = {}  # node -> how many connections of it are open
        self._waiting: dict[str, asyncio.Future[None]] = {}  # resolved when the node has dialled this one

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def opened(self, name: str) -> None:
        """The node has opened a connection and said its name."""
        self._open[name] = self._open.get(name, 0) + 1

    def greeted(self, name: str) -> None:
        """The connection is accepted: whoever waits for the node goes on."""
        waiting = self._waiting.pop(name, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def closed(self, name: str) -> bool:
        """A connection of the node is gone; whether it was the last."""
        self._open[name] -= 1
        if self._open[name]:
            return False
        del self._open[name]
        return True

    async def answered(self, name: str, timeout: float) -> bool:
        """Wait, for so many seconds at most, until the node has dialled this one; whether it has."""
        if name not in self._open:
            waiting = self._waiting.setdefault(name, self._loop.create_future())
            await asyncio.wait([waiting], timeout=timeout)
            return waiting.done()
        return True
