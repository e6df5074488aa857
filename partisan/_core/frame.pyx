"""The frame reader: octets of one connection in, whole frames out.

A frame is a 4-byte big-endian length and so many octets, one term. The reader never sees a socket: the link asks it
where to put octets (`get_buffer`), says how many came (`received`), and each whole frame goes to `on_frame`.

Costs: a small frame that arrives whole is not copied at all. One cut by the end of a read is copied once (CARRY octets
at most). Longer ones are assembled: a resumable scanner walks the term as it arrives, and when it meets the header of a
large binary, that binary's object is made and the socket writes straight into it. Memory for the rest grows with what
has arrived, never with what was announced.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from partisan._core.counters cimport count, live
from partisan._core.options cimport LARGE_OCTETS
from partisan._core.wire cimport (
    SCAN_LARGE, SCAN_MORE, etf_scan_feed, etf_scan_init, get32, octets_append, octets_free, octets_reserve, scan_result,
)

from partisan.errors import FrameError

__all__ = ["FrameReader", "Slab"]

cdef extern from "Python.h":
    int PyBUF_WRITE

cdef enum:
    HEADER = 4
    VERSION = 131
    COMPRESSED = 80
    CARRY = 4096            # octets: an incomplete frame of at most so many waits in `carried`
    WINDOW = 16384          # octets offered after a long frame, so that the next one's header comes almost alone


cdef class Slab:

    def __cinit__(self, Py_ssize_t size=256 << 10):
        if size < 2 * CARRY:
            raise ValueError(f"a slab has at least {2 * CARRY} octets")
        self.data = <uint8_t*>PyMem_Malloc(size)
        if self.data is NULL:
            raise MemoryError()
        count(&live.slabs, 1)
        self.size = size

    def __dealloc__(self):
        if self.data is not NULL:
            count(&live.slabs, -1)
        PyMem_Free(self.data)


cdef class FrameReader:
    """Cuts a stream of octets into frames.

    Args:
        slab: the receive buffer, which many readers may share.
        max_frame: octets that a frame may have.

    Subclasses in C override `on_frame`; a subclass in Python overrides `frame(body, planted)`.
    """

    def __cinit__(self, Slab slab not None, Py_ssize_t max_frame=256 << 20, *args, **options):
        self.slab = slab
        self.max_frame = max_frame

    def __dealloc__(self):
        count(&live.assemblies, -(self.assembling > 0))
        octets_free(&self.carried)
        octets_free(&self.body)

    cdef int on_frame(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        self.frame(PyBytes_FromStringAndSize(<const char*>data, size), planted)
        return 0

    cdef int on_empty(self) except -1:
        """A frame of no octets, which is no term."""
        raise FrameError("empty", 0)

    def frame(self, bytes body, list planted):
        """Take one frame: its octets, without those of the large binaries in `planted` (None: there are none)."""

    @property
    def missing(self):
        """How many octets the unfinished frame still needs as far as is known; 0 between frames."""
        if self.assembling:
            return self.assembling - self.gathered
        if not self.carried.length:
            return 0
        if self.carried.length < HEADER:
            return HEADER - self.carried.length
        return <Py_ssize_t>get32(self.carried.data) + HEADER - self.carried.length

    def get_buffer(self, Py_ssize_t sizehint=-1):
        """Where the next octets go: a writable buffer, valid until `received()` or the next call."""
        cdef uint8_t* data = NULL
        cdef Py_ssize_t size = self.window(&data)
        return PyMemoryView_FromMemory(<char*>data, size, PyBUF_WRITE)

    def received(self, Py_ssize_t size):
        """So many octets are in the buffer that `get_buffer()` gave.

        Raises FrameError; the stream cannot be read any further then.
        """
        self.feed(size)

    def begin(self):
        """What is received from now on comes together: nobody acts on it before `finish()`."""
        self.together = True
        self.begin_burst()

    def finish(self):
        """What has been received since `begin()` is acted on now. Raises whatever that raises."""
        self.together = False
        self.finish_burst()

    cdef Py_ssize_t window(self, uint8_t** data) except -1:
        """Where the next octets go, and how many fit: borrowed until the next call that takes octets."""
        cdef Py_ssize_t size
        if self.assembling:
            if self.wanted:
                data[0] = <uint8_t*>PyBytes_AS_STRING(self.planted[len(self.planted) - 1]) + self.filled
                return min(self.wanted - self.filled, self.slab.size)
            size = min(self.assembling - self.gathered, max(<Py_ssize_t>WINDOW, min(self.gathered, self.slab.size)))
            if octets_reserve(&self.body, size) < 0:
                raise MemoryError()
            data[0] = self.body.data + self.body.length
            return size
        if self.carried.length:
            memcpy(self.slab.data, self.carried.data, self.carried.length)
        data[0] = self.slab.data + self.carried.length
        return WINDOW if self.settling and not self.carried.length else self.slab.size - <Py_ssize_t>self.carried.length

    cdef int feed(self, Py_ssize_t size) except -1:
        """Take so many octets that are in the window: a burst of their own, unless one is under way."""
        if self.together:
            return self.take_in(size)
        self.begin_burst()
        try:
            return self.take_in(size)
        finally:
            self.finish_burst()

    cdef int begin_burst(self) except -1:
        """What is taken from now on comes together."""
        return 0

    cdef int take_in(self, Py_ssize_t size) except -1:
        """Take so many octets that are in the window, amid a burst."""
        return self.take(size)

    cdef int finish_burst(self) except -1:
        """All has come: act on it."""
        return 0

    cdef int take(self, Py_ssize_t size) except -1:
        self.received_octets += size
        self.settling = False
        if self.assembling:
            self.gathered += size
            if self.wanted:
                self.filled += size
            else:
                self.body.length += size
            return self.advance()
        return self.split(size)

    def receive_data(self, data):
        """Take octets from any buffer, of any size; for tests and for transports that bring their own."""
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t size
        source = memoryview(data).cast("B")
        while position < len(source):
            buffer = self.get_buffer()
            size = min(len(buffer), len(source) - position)
            buffer[:size] = source[position:position + size]
            position += size
            self.received(size)

    cdef int split(self, Py_ssize_t size) except -1:
        """Cut the octets in the slab into frames, and carry over what is left."""
        cdef const uint8_t* data = self.slab.data
        cdef Py_ssize_t end = <Py_ssize_t>self.carried.length + size
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t length
        self.carried.length = 0
        while end - position >= HEADER:
            length = <Py_ssize_t>get32(data + position)
            if length == 0:
                self.on_empty()
                position += HEADER
                continue
            if length > self.max_frame:
                raise FrameError("oversized", length, f"the limit is {self.max_frame}")
            if end - position - HEADER < length:
                if length > CARRY - HEADER:
                    return self.assemble(data + position + HEADER, end - position - HEADER, length)
                break
            self.received_frames += 1
            self.on_frame(data + position + HEADER, length, None)
            position += HEADER + length
        if position < end and octets_append(&self.carried, data + position, end - position) < 0:
            raise MemoryError()
        return 0

    cdef int assemble(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t length) except -1:
        """Begin to assemble a long frame of which the first octets are here."""
        count(&live.assemblies, 1)
        self.assembling = length
        self.gathered = self.scanned = 0
        self.planted = None
        self.wanted = self.filled = 0
        self.opaque = False
        etf_scan_init(&self.scan)
        self.collect(data, size)
        return 0

    cdef int collect(self, const uint8_t* data, Py_ssize_t size) except -1:
        """Add octets of the long frame that lie elsewhere, walking on as they come."""
        cdef Py_ssize_t here
        self.gathered += size
        while size:
            if self.wanted:
                here = min(size, self.wanted - self.filled)
                memcpy(PyBytes_AS_STRING(self.planted[len(self.planted) - 1]) + self.filled, data, here)
                self.filled += here
                data += here
                size -= here
                if self.filled == self.wanted:
                    self.wanted = 0
                continue
            here = self.body.length
            if octets_append(&self.body, data, size) < 0:
                raise MemoryError()
            data += size
            size = 0
            self.walk()
            if self.wanted:
                # What followed the large binary's header was appended too: take it back and put it where it belongs.
                here = self.body.length - self.scanned
                data -= here
                size = here
                self.body.length = self.scanned
        return 0

    cdef int walk(self) except -1:
        """Walk the scanner through `body`; where it meets a large binary, make the object that receives it."""
        cdef size_t large = 0
        cdef size_t need = 0
        cdef scan_result result
        cdef Py_ssize_t left = self.assembling - self.gathered + <Py_ssize_t>self.body.length  # of the frame, from body's first
        if self.opaque:
            return 0
        if self.scanned == 0:
            if self.body.length < 2:
                return 0
            self.scanned = 1
            if self.body.data[0] != VERSION or self.body.data[1] == COMPRESSED:
                self.opaque = True
                return 0
        result = etf_scan_feed(&self.scan, self.body.data, self.body.length, LARGE_OCTETS, &self.scanned, &large, &need)
        if result == SCAN_LARGE and <Py_ssize_t>(large + self.scanned) <= left:
            if self.planted is None:
                self.planted = []
            self.planted.append(PyBytes_FromStringAndSize(NULL, large))
            self.wanted = large
            self.filled = 0
        elif result != SCAN_MORE:
            self.opaque = True  # whatever is wrong, the decoder says it better
        return 0

    cdef int advance(self) except -1:
        """Octets of the long frame were received in place."""
        cdef bytes excess
        if self.wanted:
            if self.filled == self.wanted:
                self.wanted = 0
        else:
            self.walk()
            if self.wanted:
                excess = PyBytes_FromStringAndSize(
                    <char*>self.body.data + self.scanned, self.body.length - self.scanned)
                self.body.length = self.scanned
                self.gathered -= len(excess)
                self.collect(<const uint8_t*>PyBytes_AS_STRING(excess), len(excess))
        if self.gathered == self.assembling:
            self.complete()
        return 0

    cdef int complete(self) except -1:
        """The long frame is whole: hand it on."""
        planted, self.planted = self.planted, None
        self.assembling = 0
        count(&live.assemblies, -1)
        self.settling = True
        self.received_frames += 1
        try:
            self.on_frame(self.body.data, self.body.length, planted)
        finally:
            octets_free(&self.body)
        return 0
