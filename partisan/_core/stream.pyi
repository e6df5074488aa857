"""One connected socket, as a descriptor: octets in when somebody says so, octets out when a queue has some."""

import asyncio
import socket
from collections.abc import Callable

from typing_extensions import disjoint_base

from partisan._core.frame import FrameReader
from partisan._core.sendqueue import SendQueue

__all__ = ["Stream"]

@disjoint_base
class Stream:
    """A connected, non-blocking socket between a frame reader and a send queue.

    Args:
        loop: its owner's event loop.
        sock: connected and non-blocking; owned from now on.
        quantum: octets read in one readiness at most.
        lost: callable(error, octets), called once when the stream ends for another reason than `close()`: the error is
            None if the peer has closed it; octets are those that were still to be written.
        refused: callable(error): the reader refuses what came; the owner must close, finish or retire the stream.
    Attributes:
        queue: what waits to be written.
        closed: whether it has ended.
        finishing: whether it will end when all is written and the peer has closed.
        read_at: when octets last came, in seconds of the loop's clock.
    """

    @property
    def sock(self) -> socket.socket: ...
    @property
    def queue(self) -> SendQueue: ...
    @property
    def closed(self) -> bool: ...
    @property
    def finishing(self) -> bool: ...
    @property
    def read_at(self) -> float: ...
    def __new__(
        cls,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        quantum: int,
        lost: Callable[[Exception | None, int], None],
        refused: Callable[[Exception], None],
    ) -> Stream: ...
    def start(self, reader: FrameReader, queue: SendQueue) -> None:
        """Begin to read into `reader`, and to write from `queue`."""

    def read(self) -> None:
        """Take what the socket has, up to the quantum: a burst, as a rule."""

    def write(self) -> None:
        """Give the socket what waits, up to the queue's quantum; ask to be called again if some is left."""

    def finish(self) -> None:
        """Write what waits, say that no more will come, and stay until the peer closes; what comes is thrown away.

        A peer that answers the end of a stream with its own has read all that went before: `lost` tells of that.
        """

    def retire(self) -> int:
        """Do as `finish()`, but lose what waits. Returns how many octets those are."""

    def drain(self) -> None:
        """Throw away what comes, up to the quantum."""

    def close(self) -> int:
        """Close at once. Returns how many octets were still to be written."""
