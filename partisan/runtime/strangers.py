"""Which relayed messages of real nodes are copies of one that came already.

Their relays number nothing, and send every message to all neighbors. So of equal messages that come within a second of
each other, those are taken that come from the neighbor by which the first came, with its TTL: whoever sends equal
messages sends them the same way, and what comes another way is a copy.
"""

from __future__ import annotations

from collections.abc import Callable

WITHIN = 1.0
"""Seconds in which a copy may follow (ours)."""

MOST = 4096
"""Messages that are remembered, the latest (ours)."""


class Strangers:
    """What has come.

    Args:
        clock: callable() -> seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._came: dict[int, tuple[str | None, int, float]] = {}  # hash of a message -> whence, TTL, until when

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._came)

    def first(self, whence: str | None, ttl: int, message: bytes) -> bool:
        """Whether the message is to be taken.

        Args:
            whence: the neighbor from which it came.
        """
        now, key = self._clock(), hash(message)
        way, left, until = self._came.pop(key, (whence, ttl, now))
        if until <= now:
            way, left = whence, ttl
        took = (way, left) == (whence, ttl)
        self._came[key] = (way, left, now + WITHIN if took else until)
        if len(self._came) > MOST:
            del self._came[next(iter(self._came))]
        return took
