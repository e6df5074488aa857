"""One connected socket, as a descriptor: octets in when somebody says so, octets out when a queue has some.

The owner's loop is asked for readiness only (`add_reader`, `add_writer`), so the same code serves asyncio and uvloop,
and this module alone decides how much is read or written before other sockets get their turn. As a rule a readiness
costs one recv(2) and one burst, and a burst one send(2) for each queue that has something.

The calls are made here and not through the `socket` module because on small messages that module's share of a round
trip (method calls, argument parsing, buffers, handing the interpreter lock over twice) was larger than the decoding.
"""

cimport cython
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t

from partisan._core.frame cimport FrameReader
from partisan._core.sendqueue cimport SendQueue, run
from partisan._core.turns cimport WRITING

__all__ = ["Stream"]

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t recv(int descriptor, void* data, size_t size, int flags)
    ssize_t send(int descriptor, const void* data, size_t size, int flags)
    ssize_t sendmsg(int descriptor, const msghdr* message, int flags)
    int shutdown(int descriptor, int how)
    int SHUT_WR

cdef extern from *:
    """
    #include <string.h>
    /* A peer that has gone is an error of this call, never a signal: where the flag is missing, the socket's own
       option SO_NOSIGPIPE has been set by Python. */
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    """
    int MSG_NOSIGNAL
    void* memset(void* data, int octet, size_t size) noexcept

cdef extern from "Python.h":
    object PyErr_SetFromErrno(object kind)

cdef enum:
    RUNS = 16            # runs of octets in one gathered write at most
    BULK = 16384         # octets; a call that moves at least so many lets other threads run
    WASTE = 4096         # octets thrown away at once


@cython.final
cdef class Stream:
    """A connected, non-blocking socket between a frame reader and a send queue.

    Args:
        loop: its owner's event loop.
        sock: connected and non-blocking; owned from now on.
        quantum: octets read in one readiness at most.
        lost: callable(error, octets), called once when the stream ends for another reason than `close()`: the error is
            None if the peer has closed it; octets are those that were still to be written.
        refused: callable(error): the reader refuses what came; the owner must close, finish or retire the stream.
    """

    def __cinit__(self, loop, sock, *, Py_ssize_t quantum, lost, refused):
        self.loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.quantum = quantum
        self.lost = lost
        self.refused = refused

    def start(self, FrameReader reader not None, SendQueue queue not None) -> None:
        """Begin to read into `reader`, and to write from `queue`."""
        self.reader = reader
        self.queue = queue
        self.loop.add_reader(self.fd, self.read)

    def read(self) -> None:
        """Take what the socket has, up to the quantum, as a burst."""
        cdef uint8_t* data = NULL
        cdef Py_ssize_t size, got
        cdef Py_ssize_t left = self.quantum
        cdef bint begun = False
        if self.closed:
            return
        self.read_at = self.loop.time()
        try:
            try:
                while left > 0 and not self.closed and not self.finishing:
                    size = self.reader.window(&data)
                    got = self.receive_some(data, size)
                    if got <= 0:
                        break
                    if not begun:
                        begun = True
                        self.reader.begin_burst()
                    self.reader.take_in(got)
                    if got < size:
                        break
                    left -= got
            finally:
                if begun:
                    self.reader.finish_burst()
        except Exception as error:
            self.refused(error)

    cdef Py_ssize_t receive_some(self, uint8_t* data, Py_ssize_t size) except -2:
        """Octets taken, or none: there are none now, or it is the end."""
        cdef Py_ssize_t got
        try:
            got = self.receive(data, size)
        except OSError as error:
            self.end(error)
            return -1
        if got == 0:
            self.end(None)
        return got

    cdef Py_ssize_t receive(self, uint8_t* data, Py_ssize_t size) except -2:
        """recv(2): octets taken, 0 at the end of the stream, -1 if there are none now."""
        cdef Py_ssize_t got
        if self.bulk:
            with nogil:
                got = recv(self.fd, data, size, 0)
        else:
            got = recv(self.fd, data, size, 0)
        if got < 0:
            if errno == EAGAIN or errno == EINTR:
                return -1
            PyErr_SetFromErrno(OSError)
        self.bulk = got >= BULK
        return got

    def write(self) -> None:
        """Give the socket what waits, up to the queue's quantum; ask to be called again if some is left."""
        cdef SendQueue queue = self.queue
        cdef Py_ssize_t taken, left
        if self.closed:
            return
        if queue.busy & WRITING:
            queue.defer(self.write)
            return
        if queue.framed:
            queue.commit(self.loop.time())
            if self.closed:
                return
        try:
            taken = self.transmit()
        except OSError as error:
            self.end(error)
            return
        left = queue.advance(taken)
        if self.closed:  # by who heard that the bound is relieved
            return
        if left:
            if not self.writing:
                self.writing = True
                self.loop.add_writer(self.fd, self.write)
            queue.settle(True)
            return
        if self.writing:
            self.writing = False
            self.loop.remove_writer(self.fd)
        queue.settle(False)
        if self.finishing and queue.is_empty():
            self.half_close()

    cdef Py_ssize_t transmit(self) except -2:
        """send(2) or sendmsg(2): octets that the socket took."""
        cdef run runs[RUNS]
        cdef iovec parts[RUNS]
        cdef msghdr message
        cdef Py_ssize_t taken
        cdef int i
        cdef int count = self.queue.runs(runs, RUNS)
        if count == 0:
            return 0
        if count == 1 and runs[0].size < BULK:
            taken = send(self.fd, runs[0].data, runs[0].size, MSG_NOSIGNAL)
        else:
            for i in range(count):
                parts[i].iov_base = <void*>runs[i].data
                parts[i].iov_len = runs[i].size
            memset(&message, 0, sizeof(message))
            message.msg_iov = parts
            message.msg_iovlen = count
            with nogil:
                taken = sendmsg(self.fd, &message, MSG_NOSIGNAL)
        if taken < 0:
            if errno == EAGAIN or errno == EINTR:
                return 0
            PyErr_SetFromErrno(OSError)
        return taken

    def finish(self) -> None:
        """Write what waits, say that no more will come, and stay until the peer closes; what comes is thrown away.

        A peer that answers the end of a stream with its own has read all that went before: `lost` tells of that.
        """
        if self.closed or self.finishing:
            return
        self.finishing = True
        self.loop.add_reader(self.fd, self.drain)
        if self.queue.is_empty():
            self.half_close()

    def retire(self) -> int:
        """Do as `finish()`, but lose what waits. Returns how many octets those are."""
        cdef Py_ssize_t lost
        if self.closed:
            return 0
        lost = self.queue.close()
        if self.writing:
            self.writing = False
            self.loop.remove_writer(self.fd)
        if self.finishing:
            self.half_close()
        else:
            self.finish()
        return lost

    cdef int half_close(self) except -1:
        """All is written. A socket that refuses is gone already: the next read tells."""
        self.queue.close()
        shutdown(self.fd, SHUT_WR)
        return 0

    def drain(self) -> None:
        """Throw away what comes, up to the quantum."""
        cdef uint8_t waste[WASTE]
        cdef Py_ssize_t got
        cdef Py_ssize_t left = self.quantum
        try:
            while left > 0 and not self.closed:
                got = self.receive(waste, WASTE)
                if got == 0:
                    self.end(None)
                if got < WASTE:
                    return
                left -= got
        except OSError as error:
            self.end(error)

    def close(self) -> int:
        """Close at once. Returns how many octets were still to be written."""
        if self.closed:
            return 0
        self.closed = True
        self.loop.remove_reader(self.fd)
        if self.writing:
            self.writing = False
            self.loop.remove_writer(self.fd)
        self.fd = -1
        self.sock.close()
        return self.queue.close()

    cdef int end(self, object error) except -1:
        """The stream has ended by itself."""
        if not self.closed:
            self.lost(error, self.close())
        return 0
