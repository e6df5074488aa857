"""Send queues whose frames wait one by one until they are taken, so that one can be dropped before it is sent."""

from typing import Any

from typing_extensions import disjoint_base

from .bound import Bound
from .sendqueue import SendQueue

__all__ = ["DroppingQueue", "MonotonicQueue"]

@disjoint_base
class FramedQueue(SendQueue):
    """A queue whose frames wait one by one, so that one can be dropped before it is sent."""

@disjoint_base
class MonotonicQueue(FramedQueue):
    """Of the frames that wait with the same key only the newest is sent.

    Args:
        send_window: seconds after which a superseded frame is sent all the same.
        bound, options: as SendQueue.
    """

    send_window: float
    def __init__(self, bound: Bound, *, send_window: float = 1.0, **options: Any) -> None: ...
    @property
    def superseded_frames(self) -> int: ...

@disjoint_base
class DroppingQueue(FramedQueue):
    """Above high water the oldest frames that wait are dropped for the new one, and counted."""

    def __init__(self, bound: Bound, **options: Any) -> None: ...
