"""The part of acknowledged delivery that every message passes."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from partisan._core.etf cimport Codec
from partisan._core.sendqueue cimport SendQueue
from partisan._core.wire cimport blocks, octets


ctypedef struct kept:
    # A message in a Fresh, and its frame's octets behind it.
    PyObject* place                        # where it goes, a reference that is owned; NULL: its object is in `others`
    double at                              # when it was sent, monotonic seconds
    size_t size                            # octets of its frame


cdef bytes beginning(str source)


cdef class Parcel:
    cdef readonly bytes frame
    cdef readonly object place
    cdef readonly Py_ssize_t octets
    cdef readonly object tag
    cdef public double at


cdef class Fresh:
    cdef kept** ring                       # owned; the message of number N at N & mask, or NULL
    cdef unsigned long long mask
    cdef unsigned long long low            # nothing below is held
    cdef unsigned long long high           # the next number
    cdef Py_ssize_t count
    cdef readonly Py_ssize_t octets
    cdef blocks rooms                      # what `ring` points to
    cdef dict others                       # number -> parcel that came as an object
    cdef public bint closed                # its lane is forgotten: what is sent from now on has another

    cdef kept* find(self, unsigned long long number) noexcept
    cdef int put(self, const uint8_t* frame, size_t size, object place, double now) except -1
    cdef kept* enter(self, size_t size) except NULL
    cdef int stretch(self, unsigned long long capacity) except -1
    cdef int remove(self, unsigned long long number, kept* held) except -1
    cdef object parcel_of(self, unsigned long long number, kept* held)


cdef class Run:
    cdef str peer
    cdef unsigned long long first          # the machine has not heard of the numbers from here on,
    cdef unsigned long long top            # up to here; and nothing from here on has come. 0: there is no number here


cdef class Acknowledging:
    cdef octets scratch                    # owned; the frame that is being written and queued
    cdef bint writing                      # the scratch is in use
    cdef bytes prefix                      # how our frames begin, up to the number
    cdef dict lanes                        # node -> Lane of the machine
    cdef object new_lane                   # callable(node) -> Lane
    cdef str to_node                       # to whom the last message went, and of the Lane that it took
    cdef object to_lane                    # itself,
    cdef Fresh to_fresh                    # what it holds that was sent once: closed when the lane is forgotten,
    cdef dict to_kept                      # and the others
    cdef object keep_slowly                # callable(lane, parcel, now) -> whether carry_out is to be called
    cdef object seen                       # Receipts of the machine
    cdef dict runs                         # peer -> Run
    cdef list unheard                      # runs of which the machine has not heard all
    cdef object clock                      # callable() -> seconds
    cdef double now                        # what the clock said
    cdef int current                       # messages of this burst for which that will do; 0 at its beginning
    cdef object carry_out                  # callable(): do what the machine asks for
    cdef object owe                        # callable(): acknowledgements are to be sent at the end of this loop turn
    cdef object hold                       # callable(node): too much waits, hold the running process
    cdef object expected                   # callable(node): whether a node that was never connected will be
    cdef public Py_ssize_t high_water      # messages to one peer above which senders are held
    cdef public Py_ssize_t max_messages
    cdef public Py_ssize_t max_octets
    cdef public Py_ssize_t max_frame       # octets that a frame may have
    cdef public bint only_agreed           # messages wait for nodes that have not agreed to batches
    cdef unsigned long long first_number
    cdef public bint owing                 # `owe` has been called

    cdef int keep(self, Codec codec, str node, const uint8_t* target, size_t size, object place, object message,
                  SendQueue queue, bint in_burst) except -1
    cdef double time(self, bint in_burst) except? -1.0
    cdef int pass_time(self) noexcept
    cdef int look_up(self, str node) except -1
    cdef int store(self, const octets* frame, object place, double now) except -1
    cdef int compose(self, octets* run, Codec codec, const uint8_t* target, size_t size, object message) except -1
    cpdef bint may_go(self, str peer) except -1
    cdef bint takes(self, str peer, unsigned long long number) except -1
    cdef bint accept(self, str peer, unsigned long long number) except -1
    cdef bint ask(self, str peer, unsigned long long number) except -1
