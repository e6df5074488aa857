"""The frame reader: octets of one connection in, whole frames out."""

from typing import Any, Self

from typing_extensions import Buffer, disjoint_base

__all__ = ["FrameReader", "Slab"]

@disjoint_base
class Slab:
    """A receive buffer of so many octets that many readers share: each empties it before the next one is given it."""

    def __new__(cls, size: int = ...) -> Self: ...
    @property
    def size(self) -> int:
        """Octets."""

@disjoint_base
class FrameReader:
    """Cuts a stream of octets into frames.

    Args:
        slab: the receive buffer, which many readers may share.
        max_frame: octets that a frame may have.

    A subclass overrides `frame`.
    """

    def __new__(cls, slab: Slab, max_frame: int = ..., *args: Any, **options: Any) -> Self: ...
    @property
    def max_frame(self) -> int: ...
    @property
    def received_frames(self) -> int:
        """Whole frames handed on."""

    @property
    def received_octets(self) -> int: ...
    def begin(self) -> None:
        """What is received from now on comes together: nobody acts on it before `finish()`."""

    def finish(self) -> None:
        """What has been received since `begin()` is acted on now. Raises whatever that raises."""

    @property
    def missing(self) -> int:
        """How many octets the unfinished frame still needs as far as is known; 0 between frames."""

    def frame(self, body: bytes, planted: list[bytes] | None) -> None:
        """Take one frame: its octets, without those of the large binaries in `planted` (None: there are none)."""

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where the next octets go: a writable buffer, valid until `received()` or the next call."""

    def received(self, size: int) -> None:
        """So many octets are in the buffer that `get_buffer()` gave.

        Raises FrameError; the stream cannot be read any further then.
        """

    def receive_data(self, data: Buffer) -> None:
        """Take octets from any buffer, of any size; for tests and for transports that bring their own."""
