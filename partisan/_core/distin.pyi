"""Messages of the Erlang distribution on their way to mailboxes."""

from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from .etf import Codec
from .frame import Slab
from .router import Origin, Router

__all__ = ["DistIn"]

@disjoint_base
class DistIn(Origin):
    """Frames of one connection.

    Args:
        slab, max_frame: as FrameReader; a message in pieces has at most `max_frame` octets, too.
        router: of the node.
        codec: with our node's atom and creation.
        link: who owns the connection.
        control: called with control tuple, payload and whether there is one, for all that is no plain message.
        max_sequences: messages of which pieces may be missing at a time.
    """

    handshake: Callable[[bytes], bytes | None] | None
    """Takes what comes before the first frame; returns the octets behind it, None while it goes on. None for none."""

    headers: bool
    """Frames have distribution headers, as was agreed in the handshake."""

    def __init__(
        self,
        slab: Slab,
        max_frame: int,
        *,
        router: Router,
        codec: Codec,
        link: Any,
        control: Callable[[tuple[Any, ...], Any, bool], object],
        headers: bool = False,
        max_sequences: int = 1024,
    ) -> None: ...
    @property
    def unfinished(self) -> tuple[int, int]:
        """(messages of which pieces are missing, octets of them that are here)."""
