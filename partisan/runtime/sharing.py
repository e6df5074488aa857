"""When messages that have spread over the connections of a channel come together again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK = 0.5
"""Seconds between two looks."""


class Sharing:
    """Looks at the connections from time to time, as long as there is something to look for.

    Args:
        loop: the node's.
        gather: lets fewer connections be used where that may be; whether to ask again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, gather: Callable[[], bool]) -> None:
        self._loop = loop
        self._gather = gather
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def begin(self) -> None:
        """More than one connection of a channel is used."""
        if self._timer is None and not self._stopped:
            self._timer = self._loop.call_later(LOOK, self._look)

    def stop(self) -> None:
        """The node stops."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        again = True
        try:
            again = self._gather()
        finally:
            if again:
                self.begin()
