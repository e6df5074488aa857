"""Frames of one connection on their way to mailboxes."""

from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from .frame import Slab
from .router import Origin, Router

__all__ = ["Inbound"]

@disjoint_base
class Inbound(Origin):
    """Frames of one connection on their way to mailboxes.

    Args:
        slab, max_frame: as FrameReader.
        router: of the node.
        link: who owns the connection; sinks are told.
        control: called with every term that is no plain message (handshake, pings, acknowledged messages); while frames
            are held it may return False, for one that must be held, too.
    """

    tap: Callable[[bytes, list[bytes] | None], bool] | None
    """Called with the octets of every frame and the large binaries that were cut out of it, or None: whether the frame
    goes on now. None for none."""

    def replay(self, body: bytes, planted: list[bytes] | None = None) -> None:
        """Take a frame that the tap has kept, past the tap: as a burst of its own unless one is under way.

        Raises FrameError, and whatever `control` raises.
        """

    def __init__(
        self, slab: Slab, max_frame: int, *, router: Router, link: Any, control: Callable[[Any], object]
    ) -> None: ...
    def expect(self, peer: str | None) -> None:
        """From now on read the numbers of messages that this node of our kind wants acknowledged; None: of nobody."""

    @property
    def holding(self) -> bool:
        """Whether messages wait for release()."""

    def hold(self) -> None:
        """Deliver no message from now on, but keep what comes: a frame, or more with `max_frame` octets of memory."""

    def release(self) -> None:
        """Deliver what was held, in the order in which it came. Raises FrameError for what is malformed."""
