"""Time-outs of what processes wait for."""

from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from .awaitable import Awaitable

__all__ = ["Deadlines", "Timed"]

@disjoint_base
class Timed(Awaitable):
    """Something that is awaited for so long at most."""

@disjoint_base
class Deadlines:
    """The time-outs of one scheduler.

    Args:
        clock: gives monotonic seconds.
        call_later: starts a timer; gives a handle with `cancel()`.
    """

    def __init__(
        self, clock: Callable[[], float], call_later: Callable[[float, Callable[[], object]], Any]
    ) -> None: ...
    def __len__(self) -> int:
        """How many time-outs run."""

    def stop(self) -> None:
        """Start no timer any more: nothing expires from now on."""
