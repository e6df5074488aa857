"""Time-outs of what processes wait for."""

from partisan._core.awaitable cimport Awaitable


cdef class Timed(Awaitable):
    """Something that is awaited for so long at most."""
    cdef double timeout         # seconds; negative: for ever
    cdef double due             # when that is over, while in a ring
    cdef Ring ring              # in which it waits, or None
    cdef Timed earlier, later   # its neighbours there
    cdef bint expired           # the time is over

    cdef int stop_timer(self) except -1
    cdef int on_expired(self) except -1


cdef class Ring:
    """What waits equally long: in the order in which it is due."""
    cdef Deadlines deadlines
    cdef double seconds
    cdef Timed first, last
    cdef object timer           # handle of the running timer, or None

    cdef int end(self) except -1


cdef class Deadlines:
    cdef object clock           # callable() -> seconds
    cdef object call_later      # callable(seconds, function) -> handle with cancel()
    cdef dict rings             # seconds -> Ring
    cdef Ring latest            # the ring used last: most time-outs are alike

    cdef int start(self, Timed what) except -1
