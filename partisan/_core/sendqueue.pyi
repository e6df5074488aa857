"""Send queues: frames of one connection on their way to the socket."""

from collections.abc import Callable, Hashable
from typing import Any

from typing_extensions import Buffer, disjoint_base

from partisan.etf import Codec

from .bound import Bound
from .probes import Probes
from .turns import Turns

__all__ = ["SendQueue"]

@disjoint_base
class SendQueue(Turns, Buffer):
    """Frames of one connection, first in, first out. As a buffer it is the next run of octets.

    Args:
        bound: the octet bound of its (peer, channel).
        write: writes what waits to the socket; None for a queue that only holds frames for another.
        schedule: called with the queue at the first push into an idle one: arrange that `write` is called soon.
        barrier: called with a function that it calls when the peer has handled all that was sent; or None.
        level: zlib level of frames, 0 for none.
        max_frame: octets that a frame may have.
        quantum: octets handed out at once at most.

    While somebody looks at its octets, what would move or free them raises BufferError. What is pushed while a frame is
    being written, by a finaliser for instance, goes behind that frame.
    """

    def __init__(
        self,
        bound: Bound,
        *,
        write: Callable[[], object] | None = None,
        schedule: Callable[[SendQueue], object] | None = None,
        barrier: Callable[[Callable[[], object]], object] | None = None,
        level: int = 0,
        max_frame: int = ...,
        quantum: int = ...,
    ) -> None: ...
    level: int
    @property
    def queued_octets(self) -> int: ...
    @property
    def pushed_frames(self) -> int: ...
    @property
    def discarded_frames(self) -> int:
        """Of those pushed: dropped or superseded before they were sent."""

    @property
    def sent_octets(self) -> int: ...
    @property
    def quantum(self) -> int: ...
    @property
    def foreign(self) -> bool:
        """Whether its messages have another wire than Partisan's: no padding, no acknowledgements."""

    @property
    def framed(self) -> bool:
        """Frames wait apart until they are taken: push wants the time."""

    @property
    def blocked(self) -> bool:
        """The link writes again when its socket takes more."""

    @property
    def write(self) -> Callable[[], object] | None: ...
    @property
    def gathers(self) -> bool:
        """Whether what is next is more than one run of octets: then `segments()` is the way to take it."""

    def __len__(self) -> int:
        """Octets that wait."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...
    def push(self, codec: Codec, term: Any, *, key: Hashable = None, now: float = 0.0) -> None:
        """Append the frame of a whole term, such as a handshake or a ping; without a key it is always sent."""

    @property
    def probes(self) -> Probes:
        """What the peer is known to have handled of what was pushed."""

    tap: Callable[[SendQueue, bytes, Hashable], object] | None
    """Called with the queue, the body and the key of every frame, and takes it instead of the queue; None for none."""

    def put(self, body: bytes, key: Hashable = None, now: float = 0.0) -> None:
        """Append a finished frame, by its body as the tap was given it, past the tap."""

    def rebind(self, bound: Bound) -> None:
        """Account what waits, and all that comes, to another bound."""

    def push_raw(self, body: bytes) -> None:
        """Append a frame whose body is encoded already, version octet and all."""

    def prepare(self, now: float) -> bool:
        """Make the queue ready to be taken from; returns whether anything waits."""

    def segments(self) -> list[memoryview]:
        """The next octets as a list of buffers for one gathered write, `quantum` in all at most.

        The buffers are lent until `sent()`: what is pushed before waits, and no octet moves.
        """

    def sent(self, size: int) -> int:
        """The socket took `size` octets from the front. Returns how many still wait."""

    def written(self, blocked: bool) -> None:
        """The link has written what it could; `blocked`: it will write again when its socket takes more."""

    def close(self) -> int:
        """The connection is gone: what waits is lost, and the bound is relieved of it. Returns the octets lost."""
