"""What comes to a send queue while it is busy waits for its turn."""

from partisan._core.bound cimport Bound


cdef enum Busy:
    WRITING = 1   # a frame is written at the end of the octets, or these move: nobody else touches them
    PUSHING = 2   # frames are pushed behind which all others go
    LATER = 4     # something waits in `later`
    LENT = 8      # octets are lent to who encrypts them: they must not move
    HELD = WRITING | LENT


cdef class Turns:
    """The part of a send queue that knows whose turn it is."""
    cdef int busy                     # of Busy; if any, what is pushed waits in `later`
    cdef object later                 # deque of (frame, key, now, past the tap) and functions to call, in order; or None
    cdef Bound bound
    cdef Py_ssize_t withheld          # octets that the bound is charged with for frames that the tap keeps, or `later`
    cdef Py_ssize_t max_frame         # octets that a frame may have
    cdef readonly bint closed

    cdef int make_room(self) except -1
    cdef int postpone(self, object frame, object key, double now, bint past_tap) except -1
    cdef Py_ssize_t size_of(self, object frame) except -1
    cdef int take_later(self, object frame, object key, double now, bint past_tap) except -1
    cdef int catch_up(self) except -1
    cdef int take_turn(self, object entry) except -1
