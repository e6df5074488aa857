"""The frame reader: octets of one connection in, whole frames out."""

from libc.stdint cimport uint8_t

from partisan._core.wire cimport etf_scan, octets


cdef class Slab:
    """A receive buffer that many readers share: each empties it before the next one is given it."""
    cdef uint8_t* data             # owned
    cdef readonly Py_ssize_t size  # octets


cdef class FrameReader:
    """Cuts a stream of octets into frames; resumable at any octet.

    Small frames are handed on where they lie in the slab. A frame that did not arrive whole is carried over: up to
    CARRY octets in `carried`; a longer one is assembled, and its large binaries are received straight into the
    objects that will hold them.
    """
    cdef Slab slab                 # shared
    cdef readonly Py_ssize_t max_frame  # octets
    cdef octets carried            # owned: the beginning of a short frame, header included
    cdef Py_ssize_t assembling     # length of the long frame being assembled, in octets; 0: none
    cdef Py_ssize_t gathered       # octets of it that have arrived
    cdef octets body               # owned: its octets, without those of `planted`
    cdef list planted              # its large binaries (bytes), in order; the last one may be incomplete
    cdef Py_ssize_t filled         # octets of the last planted one that have arrived
    cdef Py_ssize_t wanted         # octets that it has in all; 0: none is being filled
    cdef etf_scan scan             # where the walk through `body` stands
    cdef size_t scanned            # octets of `body` that the walk has passed
    cdef bint opaque               # the walk ended: the rest is only collected
    cdef bint together             # what is received now comes together: the burst is begun and finished elsewhere
    cdef bint settling             # a long frame has just ended: offer a short window for the next header
    cdef readonly unsigned long long received_frames   # whole frames handed on
    cdef readonly unsigned long long received_octets

    cdef int on_empty(self) except -1
    cdef int on_frame(self, const uint8_t* data, Py_ssize_t size, list planted) except -1
    cdef int split(self, Py_ssize_t size) except -1
    cdef int assemble(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t length) except -1
    cdef Py_ssize_t window(self, uint8_t** data) except -1
    cdef int feed(self, Py_ssize_t size) except -1
    cdef int begin_burst(self) except -1
    cdef int take_in(self, Py_ssize_t size) except -1
    cdef int finish_burst(self) except -1
    cdef int take(self, Py_ssize_t size) except -1
    cdef int collect(self, const uint8_t* data, Py_ssize_t size) except -1
    cdef int walk(self) except -1
    cdef int advance(self) except -1
    cdef int complete(self) except -1
