"""Send queues: frames of one connection on their way to the socket."""

from libc.stdint cimport uint8_t

from partisan._core.etf cimport Codec
from partisan._core.probes cimport Probes
from partisan._core.turns cimport Turns
from partisan._core.wire cimport octets


ctypedef struct run:
    # Octets that lie together; borrowed, valid until the next push or until other Python code runs.
    const uint8_t* data
    size_t size


cdef class Kept:
    """The key of a frame that is neither superseded nor dropped."""


cdef class SendQueue(Turns):
    """Frames of one connection, first in, first out; large payloads by reference."""
    cdef octets stream                # owned; stream.data[start:length] waits, with the references in between
    cdef size_t start                 # octets at the front of `stream` that are sent
    cdef list references              # [(offset in `stream` where it stands, bytes)], oldest first
    cdef Py_ssize_t reference_sent    # octets of references[0] that are sent
    cdef readonly Py_ssize_t queued_octets
    cdef readonly unsigned long long pushed_frames
    cdef readonly unsigned long long discarded_frames  # of those pushed: dropped or superseded before they were sent
    cdef readonly unsigned long long sent_octets
    cdef public int level             # zlib level of the frames to come, 0 for none
    cdef readonly Py_ssize_t quantum  # octets handed out at once at most
    cdef readonly bint foreign        # another wire than Partisan's: no padding, no acknowledgements
    cdef readonly bint framed         # frames wait apart until they are taken: push wants the time
    cdef bint scheduled               # a write is arranged for, or the queue is blocked
    cdef readonly bint blocked        # the link writes again when its socket takes more
    cdef Py_ssize_t untried           # octets that came since a full socket was tried
    cdef Py_ssize_t exports           # buffers handed out by __getbuffer__ and not yet released
    cdef readonly object write        # callable(): write what waits; None for a queue without a link
    cdef object schedule              # callable(queue): arrange that write() is called soon; or None
    cdef object barrier               # callable(function): call it when the peer has handled all that was sent; or None
    cdef readonly Probes probes       # what the peer has handled, as far as that was asked
    cdef public object tap            # callable(queue, body, key): takes every frame instead of the queue; or None

    cdef int push_forward(self, Codec codec, const uint8_t* target, size_t target_size, object name,
                          object message, object key, double now) except -1
    cdef int push_body(self, Codec codec, object term, object key, double now) except -1
    cdef int push_octets(self, const uint8_t* body, size_t size) except -1
    cdef int take(self, const uint8_t* body, size_t size, object key, double now, bint past_tap) except -1
    cdef int write_apart(self, Codec codec, const uint8_t* target, size_t target_size, object term, object key,
                         double now) except -1
    cdef int leave(self) except -1
    cdef size_t begin(self) except? 0
    cdef int check_exports(self) except -1
    cdef int abandon(self, size_t start, Py_ssize_t references) except -1
    cdef int cut_off(self, size_t start, Py_ssize_t references) except -1
    cdef int end(self, size_t start, Py_ssize_t references, object key, double now, bint past_tap) except -1
    cdef int enter(self, size_t start, Py_ssize_t references, Py_ssize_t size, object key, double now) except -1
    cdef bint tries_again(self, Py_ssize_t size)
    cdef bytes joined(self, size_t start, Py_ssize_t references)
    cdef int divert(self, size_t start, Py_ssize_t references, object key) except -1
    cdef int take_all(self, SendQueue other) except -1
    cdef int compress(self, size_t start) except -1
    cdef int accept(self, size_t start, Py_ssize_t references, Py_ssize_t size, object key, double now) except -1
    cdef int commit(self, double now) except -1
    cdef int compact(self) except -1
    cdef int arrange(self) except -1
    cdef int absorb(self, SendQueue other) except -1
    cdef int append_all(self, SendQueue other) except -1
    cdef size_t boundary(self)
    cdef int runs(self, run* taken, int most) except -1
    cdef object buffer_of(self, run octets)
    cdef int take_back(self) except -1
    cdef Py_ssize_t advance(self, size_t size) except -1
    cdef int settle(self, bint blocked) except -1
    cdef bint is_empty(self)
