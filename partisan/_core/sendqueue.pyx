"""Send queues: frames of one connection on their way to the socket.

A frame is encoded straight into the queue's stream of octets; a large binary inside it is kept by reference and never
copied. The link takes octets from the front (the queue is a buffer: `socket.send(queue)`) and says with `sent()` how
many the socket took. Time is an argument where it matters.

Python code may run while a frame is written: `__bytes__` of a value in it, or a finaliser. It may send by the same
queue. So nobody else touches the octets meanwhile: what is pushed is encoded apart, and waits for its turn (`turns`).
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove

from partisan._core.bound cimport Bound
from partisan._core.counters cimport count, live
from partisan._core.etf cimport Codec
from partisan._core.forward cimport put_forward
from partisan._core.probes cimport Probes
from partisan._core.turns cimport HELD, LENT, WRITING, Turns
from partisan._core.wire cimport get32, octets, octets_append, octets_free, octets_reserve, put32

import zlib

from partisan.errors import EncodeError, LocalProtocolError

__all__ = ["SendQueue"]

cdef extern from "Python.h":
    int PyBuffer_FillInfo(Py_buffer* view, object exporter, void* data, Py_ssize_t size, int readonly, int flags) except -1
    int PyBUF_READ

cdef enum:
    HEADER = 4                     # octets of a frame's length
    VERSION = 131
    COMPRESSED = 80
    COMPRESS_FROM = 256            # octets below which compressing a frame gains nothing
    KEEP_CAPACITY = 262144         # octets a drained queue may keep allocated
    TRY_AGAIN = 65536              # octets that come before a full socket is tried again


@cython.final
cdef class Kept:
    """The key of a frame that is neither superseded nor dropped."""


cdef class SendQueue(Turns):
    """Frames of one connection, first in, first out.

    Args:
        bound: the octet bound of its (peer, channel).
        write: callable() that writes what waits to the socket; None for a queue that only holds frames for another.
        schedule: callable(queue), called at the first push into an idle queue: arrange that `write` is called soon.
        barrier: callable(function) that calls `function` when the peer has handled all that was sent; or None.
        level: zlib level of frames, 0 for none.
        max_frame: octets that a frame may have.
        quantum: octets handed out at once at most.
    """

    def __cinit__(self, Bound bound not None, *, write=None, schedule=None, barrier=None, int level=0,
                  Py_ssize_t max_frame=256 << 20, Py_ssize_t quantum=256 << 10, **options):
        count(&live.queues, 1)
        self.bound = bound
        self.references = []
        self.probes = Probes()
        self.write = write
        self.schedule = schedule
        self.barrier = barrier
        self.level = level
        self.max_frame = max_frame
        self.quantum = quantum

    def __init__(self, bound, *, write=None, schedule=None, barrier=None, level=0, max_frame=256 << 20, quantum=256 << 10):
        pass

    def __dealloc__(self):
        count(&live.queues, -1)
        octets_free(&self.stream)

    def __len__(self):
        return self.queued_octets

    def __repr__(self):
        return f"<{type(self).__name__} {self.bound.node} {self.bound.channel}: {self.queued_octets} octets>"

    @property
    def gathers(self):
        """Whether what is next is more than one run of octets: then `segments()` is the way to take it."""
        return not self.busy & WRITING and bool(self.references) and self.start < self.boundary()

    def push(self, Codec codec not None, term, *, key=None, double now=0.0):
        """Append the frame of a whole term, such as a handshake or a ping; without a key it is always sent."""
        self.push_body(codec, term, Kept() if key is None and self.framed else key, now)

    def rebind(self, Bound bound not None):
        """Account what waits, and all that comes, to another bound."""
        cdef Py_ssize_t octets = self.queued_octets + self.withheld
        former, self.bound = self.bound, bound
        former.discharge(octets)
        bound.charge(octets)

    def push_raw(self, bytes body not None):
        """Append a frame whose body is encoded already, version octet and all."""
        self.push_octets(<const uint8_t*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))

    cdef int push_octets(self, const uint8_t* body, size_t size) except -1:
        """As `push_raw`; the octets are copied before anything else runs."""
        cdef object key = Kept() if self.framed else None
        if self.busy:
            return self.postpone(PyBytes_FromStringAndSize(<const char*>body, size), key, 0.0, False)
        return self.take(body, size, key, 0.0, False)

    cdef int take(self, const uint8_t* body, size_t size, object key, double now, bint past_tap) except -1:
        """Append the frame of a body that is encoded, whether others wait for that or not."""
        cdef size_t start = self.begin()
        cdef Py_ssize_t references = len(self.references)
        self.stream.length -= 1
        if octets_append(&self.stream, body, size) < 0:
            self.abandon(start, references)
            raise MemoryError()
        return self.end(start, references, key, now, past_tap)

    def put(self, bytes body not None, key=None, double now=0.0):
        """Append a finished frame, by its body as the tap was given it, past the tap."""
        if self.busy:
            self.postpone(body, key, now, True)
        else:
            self.take(<const uint8_t*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), key, now, True)

    cdef int push_forward(self, Codec codec, const uint8_t* target, size_t target_size, object name,
                          object message, object key, double now) except -1:
        """Append `{forward_message, Target, Message}`; `target` is the encoding of `name`."""
        cdef Py_ssize_t references
        cdef size_t start
        if self.busy:
            return self.write_apart(codec, target, target_size, message, key, now)
        start = self.begin()
        references = len(self.references)
        try:
            put_forward(&self.stream, target, target_size)
            codec.encode_into(&self.stream, message, None if self.level else self.references)
        except BaseException:
            self.abandon(start, references)
            raise
        return self.end(start, references, key, now, False)

    cdef int push_body(self, Codec codec, object term, object key, double now) except -1:
        cdef Py_ssize_t references
        cdef size_t start
        if self.busy:
            return self.write_apart(codec, NULL, 0, term, key, now)
        start = self.begin()
        references = len(self.references)
        try:
            codec.encode_into(&self.stream, term, None if self.level else self.references)
        except BaseException:
            self.abandon(start, references)
            raise
        return self.end(start, references, key, now, False)

    cdef int write_apart(self, Codec codec, const uint8_t* target, size_t target_size, object term, object key,
                         double now) except -1:
        """Postpone a frame: it is written into octets of its own. Without a target the term is its whole body."""
        cdef octets apart
        cdef uint8_t version = VERSION
        apart.data = NULL
        apart.length = apart.capacity = 0
        try:
            if octets_append(&apart, &version, 1) < 0:
                raise MemoryError()
            if target is not NULL:
                put_forward(&apart, target, target_size)
            codec.encode_into(&apart, term, None)
            body = PyBytes_FromStringAndSize(<const char*>apart.data, apart.length)
        finally:
            octets_free(&apart)
        return self.postpone(body, key, now, False)

    cdef int take_later(self, object frame, object key, double now, bint past_tap) except -1:
        return self.take(<const uint8_t*>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), key, now, past_tap)

    cdef int leave(self) except -1:
        """The stream is whole again: free it if the queue was closed meanwhile, and push what has come."""
        self.busy &= ~WRITING
        if self.closed and not self.busy & LENT:
            octets_free(&self.stream)
        if self.later is not None:
            self.catch_up()
        return 0

    cdef size_t begin(self) except? 0:
        """Start a frame: room for its length, and the version octet. Returns where it starts in `stream`."""
        if self.closed:
            raise LocalProtocolError("the connection of this queue is closed")
        self.check_exports()
        if self.start > KEEP_CAPACITY and self.start > self.stream.length // 2:
            self.compact()
        if octets_reserve(&self.stream, 64) < 0:
            raise MemoryError()
        self.busy |= WRITING
        cdef size_t start = self.stream.length
        self.stream.data[start + HEADER] = VERSION
        self.stream.length = start + HEADER + 1
        return start

    cdef int check_exports(self) except -1:
        """Raise BufferError while somebody looks at the octets: nothing may move or be freed."""
        if self.exports:
            raise BufferError("octets of this queue are being written: it cannot change now")
        return 0

    cdef int abandon(self, size_t start, Py_ssize_t references) except -1:
        """Forget a frame that could not be finished."""
        self.cut_off(start, references)
        return self.leave()

    cdef int cut_off(self, size_t start, Py_ssize_t references) except -1:
        """Take the frame that began at `start` off the end of the stream."""
        if not self.closed:
            self.stream.length = start
            del self.references[references:]
        return 0

    cdef int end(self, size_t start, Py_ssize_t references, object key, double now, bint past_tap) except -1:
        """Finish the frame that began at `start`: its length, the bound, and the link if it is idle."""
        cdef Py_ssize_t size, i
        try:
            if self.level and not past_tap and self.stream.length - start >= COMPRESS_FROM:
                try:
                    self.compress(start)
                except BaseException:
                    self.cut_off(start, references)
                    raise
            if self.closed:
                raise LocalProtocolError("the connection of this queue was closed while a message was written into it")
            size = self.stream.length - start - HEADER
            for i in range(references, len(self.references)):
                size += len((<tuple>self.references[i])[1])
            if size > self.max_frame and not past_tap:
                self.cut_off(start, references)
                raise EncodeError(f"a frame of {size} octets is above the limit of {self.max_frame}")
            if self.tap is not None and not past_tap:
                self.divert(start, references, key)
            else:
                self.enter(start, references, size, key, now)
        finally:
            self.leave()
        return 0

    cdef int enter(self, size_t start, Py_ssize_t references, Py_ssize_t size, object key, double now) except -1:
        """Take the frame at the end of `stream`, which is complete but for its length."""
        put32(self.stream.data + start, <uint32_t>size)
        self.pushed_frames += 1
        self.accept(start, references, size + HEADER, key, now)
        if self.closed:  # by who heard that the bound is charged
            return 0
        if not self.scheduled:
            self.arrange()
        elif self.queued_octets >= self.quantum and (not self.blocked or self.tries_again(size)):
            self.write()
        if self.probes.wanted:
            self.probes.follow(self.barrier, <long long>self.sent_octets + self.queued_octets)
        return 0

    cdef bint tries_again(self, Py_ssize_t size):
        """Whether to try a socket that was full, now that so many octets more have come.

        The system says that a socket takes more when a third of its buffer is free. Until then it takes what is offered
        all the same, and only a full buffer keeps a window open that is as large. What can be superseded or dropped
        had better wait here, and the distribution's queue takes its large messages in turns when there is room.
        """
        if self.framed or self.foreign:
            return False
        self.untried += size
        if self.untried < TRY_AGAIN:
            return False
        self.untried = 0
        return True

    cdef bytes joined(self, size_t start, Py_ssize_t references):
        """A copy of what `stream` holds from `start` on, with the references from that one on in their places."""
        cdef list parts = []
        cdef bytes payload
        for mark, payload in self.references[references:]:
            parts.append(PyBytes_FromStringAndSize(<char*>self.stream.data + start, <size_t>mark - start))
            parts.append(payload)
            start = mark
        parts.append(PyBytes_FromStringAndSize(<char*>self.stream.data + start, self.stream.length - start))
        return b"".join(parts)

    cdef int divert(self, size_t start, Py_ssize_t references, object key) except -1:
        """Give the finished frame at the end of `stream` to the tap."""
        body = self.joined(start + HEADER, references)
        self.cut_off(start, references)
        self.busy &= ~WRITING
        if self.closed:
            raise LocalProtocolError("the connection of this queue is closed")
        self.tap(self, body, key)
        return 0

    cdef int take_all(self, SendQueue other) except -1:
        """Push, or give to the tap, frame by frame what waits in a queue that is absorbed."""
        cdef bytes octets = other.joined(0, 0)
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t size
        cdef object key = Kept() if self.framed else None
        size, other.queued_octets = other.queued_octets, 0
        other.stream.length = 0
        other.references = []
        other.bound.discharge(size)
        while position < PyBytes_GET_SIZE(octets):
            size = <Py_ssize_t>get32(<const uint8_t*>PyBytes_AS_STRING(octets) + position)
            position += HEADER + size
            body = octets[position - size:position]
            if self.busy:
                self.postpone(body, key, 0.0, False)
            else:
                self.tap(self, body, key)
        return 0

    cdef int compress(self, size_t start) except -1:
        """Deflate the body of the frame at `start`, if that makes it smaller."""
        cdef Py_ssize_t size = self.stream.length - start - HEADER - 1
        # A copy: what runs amid this, in this thread or while zlib lets others run, must not find the stream lent.
        plain = PyBytes_FromStringAndSize(<char*>self.stream.data + start + HEADER + 1, size)
        cdef bytes deflated = zlib.compress(plain, self.level)
        cdef uint8_t* body = self.stream.data + start + HEADER + 1
        if self.closed or len(deflated) + 5 >= size:
            return 0
        body[0] = COMPRESSED
        put32(body + 1, <uint32_t>size)
        memcpy(body + 5, PyBytes_AS_STRING(deflated), len(deflated))
        self.stream.length = start + HEADER + 1 + 5 + len(deflated)
        return 0

    cdef int accept(self, size_t start, Py_ssize_t references, Py_ssize_t size, object key, double now) except -1:
        """Take the finished frame at the end of `stream` into the queue."""
        self.queued_octets += size
        self.busy &= ~WRITING
        return self.bound.charge(size)

    cdef int commit(self, double now) except -1:
        """Move frames that wait apart into the stream; a plain queue has none."""
        return 0

    cdef size_t boundary(self):
        """Where in `stream` the next reference stands, or its end."""
        return <size_t>(<tuple>self.references[0])[0] if self.references else self.stream.length

    def prepare(self, double now):
        """Make the queue ready to be taken from; returns whether anything waits."""
        self.check_exports()
        if not self.busy & HELD:
            self.commit(now)
        return self.queued_octets > 0

    cdef int runs(self, run* taken, int most) except -1:
        """Fill in the next runs of octets, `quantum` in all and `most` runs at most; returns how many."""
        cdef size_t left = self.quantum
        cdef size_t start = self.start
        cdef size_t skip = self.reference_sent
        cdef size_t size
        cdef int count = 0
        cdef bytes payload
        if self.busy & WRITING:
            return 0
        for mark, payload in self.references:
            if left == 0 or count + 2 > most:
                return count
            size = min(<size_t>mark - start, left)
            if size:
                taken[count].data = self.stream.data + start
                taken[count].size = size
                left -= size
                count += 1
            start = mark
            size = min(<size_t>PyBytes_GET_SIZE(payload) - skip, left)
            if size:
                taken[count].data = <const uint8_t*>PyBytes_AS_STRING(payload) + skip
                taken[count].size = size
                left -= size
                count += 1
            skip = 0
        size = min(self.stream.length - start, left)
        if size and count < most:
            taken[count].data = self.stream.data + start
            taken[count].size = size
            count += 1
        return count

    def segments(self):
        """The next octets as a list of buffers for one gathered write, `quantum` in all at most.

        A large payload's buffer keeps it; the others are lent until `sent()`: what is pushed until then waits.
        """
        cdef run taken[16]
        cdef int i, before = self.busy & LENT
        cdef list buffers = []
        self.busy |= LENT
        try:
            for i in range(self.runs(taken, 16)):
                buffers.append(self.buffer_of(taken[i]))
        finally:
            if not buffers and not before:
                self.take_back()
        return buffers

    cdef int take_back(self) except -1:
        """What was lent is no longer looked at."""
        self.busy &= ~LENT
        return self.leave() if not self.busy & WRITING else 0

    cdef object buffer_of(self, run octets):
        cdef Py_ssize_t offset
        cdef bytes payload
        for _, payload in self.references:
            offset = octets.data - <const uint8_t*>PyBytes_AS_STRING(payload)
            if 0 <= offset < PyBytes_GET_SIZE(payload):
                return memoryview(payload)[offset:offset + octets.size]
        return PyMemoryView_FromMemory(<char*>octets.data, octets.size, PyBUF_READ)

    def __getbuffer__(self, Py_buffer* view, int flags):
        """Expose the next run of octets, `quantum` at most, read-only."""
        cdef size_t size, boundary = self.boundary()
        cdef char* data
        if self.busy & WRITING:
            raise BufferError("a message is being written into this queue")
        if self.start < boundary:
            data = <char*>self.stream.data + self.start
            size = boundary - self.start
        elif self.references:
            payload = (<tuple>self.references[0])[1]
            data = PyBytes_AS_STRING(payload) + self.reference_sent
            size = len(payload) - self.reference_sent
        else:
            data = b""
            size = 0
        PyBuffer_FillInfo(view, self, data, min(size, <size_t>self.quantum), 1, flags)
        self.exports += 1
        count(&live.exports, 1)

    def __releasebuffer__(self, Py_buffer* view):
        self.exports -= 1
        count(&live.exports, -1)

    def sent(self, size_t size) -> int:
        """The socket took `size` octets from the front. Returns how many still wait."""
        if not self.busy & LENT:
            return self.advance(size)
        try:
            if not self.closed:  # else what was lent is lost, and was counted
                self.advance(size)
        finally:
            self.take_back()
        return self.queued_octets

    cdef Py_ssize_t advance(self, size_t size) except -1:
        cdef size_t left = size
        cdef size_t here
        self.check_exports()
        if size > <size_t>self.queued_octets or size and self.busy & WRITING:
            raise LocalProtocolError(f"{size} octets sent of {self.queued_octets} that waited")
        if size == 0:
            return self.queued_octets
        while left:  # no Python code runs here: what is sent was bytes
            here = min(self.boundary() - self.start, left)
            self.start += here
            left -= here
            if left:
                here = min(<size_t>(len((<tuple>self.references[0])[1]) - self.reference_sent), left)
                self.reference_sent += here
                left -= here
            if self.references and self.start == self.boundary() \
                    and self.reference_sent == len((<tuple>self.references[0])[1]):
                del self.references[0]
                self.reference_sent = 0
        self.queued_octets -= size
        self.sent_octets += size
        if self.start == self.stream.length and not self.references:
            self.start = self.stream.length = 0
            if self.stream.capacity > KEEP_CAPACITY:
                octets_free(&self.stream)
        self.bound.discharge(size)
        return self.queued_octets

    def written(self, bint blocked):
        """The link has written what it could; `blocked`: it will write again when its socket takes more."""
        self.settle(blocked)

    cdef int settle(self, bint blocked) except -1:
        self.blocked = blocked
        self.scheduled = blocked
        if self.queued_octets and not blocked:
            self.arrange()
        return 0

    cdef bint is_empty(self):
        """Whether nothing waits, here or to be queued."""
        return self.queued_octets == 0

    def close(self):
        """The connection is gone: what waits is lost, and the bound is relieved of it. Returns the octets lost."""
        cdef Py_ssize_t lost = self.queued_octets + self.withheld
        self.check_exports()
        self.closed = True
        self.queued_octets = 0
        self.withheld = 0
        self.reference_sent = 0
        self.start = 0
        if not self.busy & HELD:  # else who writes or reads it frees it
            octets_free(&self.stream)
        self.write = self.schedule = self.barrier = self.tap = None
        self.references = []
        self.bound.discharge(lost)
        return lost

    cdef int compact(self) except -1:
        """Give back the room of octets that are sent."""
        cdef size_t gone = self.start
        if gone == 0 or self.busy & HELD:
            return 0
        self.busy |= WRITING
        try:
            references = [(mark - gone, payload) for mark, payload in self.references]
            if not self.closed:
                memmove(self.stream.data, self.stream.data + gone, self.stream.length - gone)
                self.stream.length -= gone
                self.start = 0
                self.references = references
        finally:
            self.leave()
        return 0

    cdef int absorb(self, SendQueue other) except -1:
        """Append all that waits in another queue, and leave that one empty."""
        if self.closed:
            raise LocalProtocolError("the connection of this queue is closed")
        self.check_exports()
        other.check_exports()
        if other.reference_sent or other.busy & HELD:
            raise LocalProtocolError("a queue that is being written cannot be absorbed")
        other.commit(0.0)
        other.compact()
        other.busy |= WRITING
        try:
            if self.busy or self.tap is not None:
                self.take_all(other)
            else:
                self.append_all(other)
        finally:
            other.leave()
        if self.queued_octets and not self.scheduled and not self.closed:
            self.arrange()
        while other.later:  # what was pushed there meanwhile
            other.take_turn(other.later.popleft())
        return self.absorb(other) if other.queued_octets else 0

    cdef int append_all(self, SendQueue other) except -1:
        """Append, as they are, the octets that wait in a queue that is absorbed."""
        cdef size_t shift = self.stream.length
        cdef Py_ssize_t size
        self.busy |= WRITING
        try:
            moved = [(mark + shift, payload) for mark, payload in other.references]
            if self.closed:
                raise LocalProtocolError("the connection of this queue is closed")
            if octets_append(&self.stream, other.stream.data, other.stream.length) < 0:
                raise MemoryError()
            self.references += moved
            size, other.queued_octets = other.queued_octets, 0
            self.queued_octets += size
            self.pushed_frames += other.pushed_frames
            other.stream.length = 0
            other.references = []
            if self.bound is not other.bound:
                self.bound.charge(size)
                other.bound.discharge(size)
        finally:
            self.leave()
        return 0

    cdef int arrange(self) except -1:
        """See to it that what waits is written."""
        if self.schedule is not None:
            self.scheduled = True
            self.schedule(self)
        return 0
