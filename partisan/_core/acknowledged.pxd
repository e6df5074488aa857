"""The part of acknowledged delivery that every message passes."""

from libc.stdint cimport uint8_t

from partisan._core.etf cimport Codec
from partisan._core.wire cimport octets


cdef bytes beginning(str source)


cdef class Parcel:
    cdef readonly bytes frame
    cdef readonly object place
    cdef readonly Py_ssize_t octets
    cdef readonly object tag
    cdef public double at


cdef class Fresh:
    cdef list ring                         # parcel of number N at N & mask, or None
    cdef unsigned long long mask
    cdef unsigned long long low            # nothing below is held
    cdef unsigned long long high           # the next number
    cdef Py_ssize_t count
    cdef readonly Py_ssize_t octets

    cdef int put(self, object parcel, Py_ssize_t size) except -1
    cdef int widen(self) except -1
    cdef object take(self, unsigned long long number)


cdef class Run:
    cdef str peer
    cdef unsigned long long first          # the machine has not heard of the numbers from here on,
    cdef unsigned long long top            # up to here; and nothing from here on has come. 0: there is no number here


cdef class Acknowledging:
    cdef octets scratch                    # owned; the frame that is being written
    cdef bint writing                      # into the scratch
    cdef bytes prefix                      # how our frames begin, up to the number
    cdef dict lanes                        # node -> Lane of the machine
    cdef object new_lane                   # callable(node) -> Lane
    cdef object keep_slowly                # callable(lane, parcel, now) -> whether carry_out is to be called
    cdef object seen                       # Receipts of the machine
    cdef dict runs                         # peer -> Run
    cdef list unheard                      # runs of which the machine has not heard all
    cdef object clock                      # callable() -> seconds
    cdef object carry_out                  # callable(): do what the machine asks for
    cdef object owe                        # callable(): acknowledgements are to be sent at the end of this loop turn
    cdef object hold                       # callable(node): too much waits, hold the running process
    cdef object expected                   # callable(node): whether a node that was never connected will be
    cdef public Py_ssize_t high_water      # messages to one peer above which senders are held
    cdef public Py_ssize_t max_messages
    cdef public Py_ssize_t max_octets
    cdef public Py_ssize_t max_frame       # octets that a frame may have
    cdef unsigned long long first_number
    cdef public bint owing                 # `owe` has been called

    cdef bytes keep(self, Codec codec, str node, const uint8_t* target, size_t size, object place, object message)
    cdef bytes write(self, Codec codec, Fresh fresh, const uint8_t* target, size_t size, object message)
    cdef bytes compose(self, octets* run, Codec codec, Fresh fresh, const uint8_t* target, size_t size, object message)
    cdef bint takes(self, str peer, unsigned long long number) except -1
    cdef bint accept(self, str peer, unsigned long long number) except -1
    cdef bint ask(self, str peer, unsigned long long number) except -1
