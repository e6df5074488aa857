"""Say a thing that repeats once, and then at most once a minute: who misbehaves must not fill the disk.

A key says what is alike. The keys of a minute are bounded, because a stranger may choose parts of them: what comes when
there are too many is held to one key together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

__all__ = ["Throttle", "ThrottledLog"]

INTERVAL = 60.0
"""Seconds between two of a kind (ours)."""

MOST = 256
"""How many kinds are told apart in one interval (ours)."""


class _Others:
    """The key of all that comes when there are too many keys."""


class Throttle:
    """Who was let through when, and how many were not since. Time is an argument, in seconds."""

    __slots__ = ("_interval", "_most", "_since")

    def __init__(self, interval: float = INTERVAL, most: int = MOST) -> None:
        self._interval = interval
        self._most = most
        self._since: dict[Hashable, list[float]] = {}  # key -> when it was let through, how many were held back since

    def admit(self, key: Hashable, now: float) -> int:
        """Let the first of its kind through, and one an interval.

        Returns:
            How many of its kind were held back since the last that was let through, or -1: hold this one back.
        """
        found = self._since.get(key)
        if found is None:
            if len(self._since) >= self._most:
                self._forget(now)
            if len(self._since) >= self._most and key is not _Others:
                return self.admit(_Others, now)
            self._since[key] = [now, 0]
            return 0
        if now - found[0] < self._interval:
            found[1] += 1
            return -1
        held, found[0], found[1] = int(found[1]), now, 0
        return held

    def _forget(self, now: float) -> None:
        """Drop the kinds whose time is over; what was held back of them counts as held back of the others."""
        over = [key for key, (said, _) in self._since.items() if now - said >= self._interval]
        held = sum(self._since.pop(key)[1] for key in over)
        if held:
            self._since.setdefault(_Others, [now - self._interval, 0])[1] += held


class ThrottledLog:
    """Logs for one node, throttled.

    Args:
        clock: gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], throttle: Throttle | None = None) -> None:
        self._clock = clock
        self._throttle = throttle if throttle is not None else Throttle()

    def __call__(
        self,
        logger: logging.Logger,
        level: int,
        kind: Hashable,
        message: str,
        *args: object,
        error: BaseException | None = None,
    ) -> None:
        """Log the message, unless one of its kind was logged less than a minute ago.

        Args:
            kind: what makes messages alike: a peer and a reason, as a rule. Not what a stranger may vary at will.
            error: whose traceback is logged too.
        """
        if not logger.isEnabledFor(level):
            return
        held = self._throttle.admit((logger.name, kind), self._clock())
        if held < 0:
            return
        if held:
            message, args = message + " (and %d like it before)", (*args, held)
        logger.log(level, message, *args, exc_info=error)
