"""One connected socket: octets in when the loop says so, octets out when a queue has some.

The loop is asked for readiness only (`add_reader`, `add_writer`), so the same code runs on asyncio and uvloop, and this
module alone decides how much is read or written before other sockets get their turn. Per readiness event: one
`recv_into`, as a rule, and one burst; per burst one `send` for each queue that has something.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from partisan._core.frame import FrameReader
from partisan._core.sendqueue import SendQueue


class Stream:
    """A connected, non-blocking socket between a frame reader and a send queue.

    Args:
        loop: the node's.
        sock: connected and non-blocking; owned from now on.
        quantum: octets read in one readiness event at most, and written in one go.
        lost: callable(error or None, octets), called once when the stream ends for another reason than `close()`; None
            means that the peer has closed it. So many octets were still to be written.
    """

    __slots__ = ("_fd", "_finishing", "_loop", "_lost", "_quantum", "_reader", "_writing", "closed", "queue", "sock")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        quantum: int,
        lost: Callable[[Exception | None, int], None],
    ) -> None:
        self._loop = loop
        self.sock = sock
        self._fd = sock.fileno()
        self._quantum = quantum
        self._lost = lost
        self._writing = False
        self._finishing = False
        self.closed = False
        self._reader: FrameReader
        self.queue: SendQueue

    def start(self, reader: FrameReader, queue: SendQueue) -> None:
        """Begin to read into `reader`, and to write from `queue`."""
        self._reader = reader
        self.queue = queue
        self._loop.add_reader(self._fd, self.read)

    def read(self) -> None:
        """Take what the socket has, up to the quantum: a burst."""
        reader = self._reader
        left = self._quantum
        try:
            while left > 0:
                buffer = reader.get_buffer()
                size = self.sock.recv_into(buffer)
                if size == 0:
                    self._end(None)
                    return
                reader.received(size)
                if size < len(buffer) or self.closed:
                    return
                left -= size
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:
            self._end(error)

    def write(self) -> None:
        """Give the socket what waits, up to the quantum; ask to be called again if some is left."""
        queue = self.queue
        if self.closed:
            return
        if queue.framed:
            queue.prepare(self._loop.time())
        try:
            size = self.sock.sendmsg(queue.segments()) if queue.gathers else self.sock.send(queue)
        except (BlockingIOError, InterruptedError):
            size = 0
        except OSError as error:
            self._end(error)
            return
        if queue.sent(size):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self.write)
            queue.written(True)
            return
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        queue.written(False)
        if self._finishing:
            self.close()

    def finish(self) -> None:
        """Close as soon as what waits is written."""
        self._finishing = True
        if not self.closed and not len(self.queue):
            self.close()

    def close(self) -> int:
        """Close at once. Returns how many octets were still to be written."""
        if self.closed:
            return 0
        self.closed = True
        self._loop.remove_reader(self._fd)
        if self._writing:
            self._loop.remove_writer(self._fd)
        self.sock.close()
        return self.queue.close()

    def _end(self, error: Exception | None) -> None:
        if not self.closed:
            self._lost(error, self.close())
