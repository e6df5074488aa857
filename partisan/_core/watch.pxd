"""What is to be done when something ends: links, monitors and calls are watches on a process."""

from partisan._core.identities cimport Alias


cdef class Watched:
    cdef Watch first            # the latest watch on it, or None

    # Take away every watch and tell each, oldest first, why this ended; what they raised, or None.
    cdef list tell_watches(self, object reason)


cdef class Watch(Alias):
    cdef Watched of             # what it is on; None: nothing (yet, or any more)
    cdef Watch newer, older     # its neighbours there

    cdef int attach(self, Watched of) except -1
    cdef int detach(self) except -1
    # Whether it takes an answer.
    cdef bint answerable(self)
    cpdef int fire(self, object reason) except -1
    cpdef int drop(self) except -1
