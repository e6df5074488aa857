"""The connections of a lane: how many its slots share, and which of these each may take."""

from partisan._core.sendqueue cimport SendQueue


cdef class Places:
    cdef readonly list homes              # number of a connection -> its queue, or None while it is down
    cdef readonly Py_ssize_t width        # so many of them are shared: 1, which is the trunk, or more
    cdef unsigned long long* marks        # slot -> probes of its queue that were asked before its last message
    cdef bytearray waits                  # slot -> its messages that have waited since fewer were shared; or from GONE on
    cdef bint beginning                   # more than the trunk are shared now, which nobody has been told
    cdef bint crowded                     # since the last look() somebody has waited, or more have come to be shared
    cdef bint narrowed                    # fewer are shared, and since then nobody has
    cdef int pause                        # looks without anybody waiting, before fewer are
    cdef int rest                         # so many of them are left

    cdef int resize(self, Py_ssize_t parallelism, Py_ssize_t slots) except -1
    cdef Py_ssize_t add(self, SendQueue queue) except -1
    cdef bint remove(self, SendQueue queue) except -1
    cdef SendQueue home(self, Py_ssize_t number)
    cdef SendQueue trunk(self)
    cdef SendQueue first_free(self)
    cdef bint is_shared(self, SendQueue queue) except -1
    cdef int widen(self, Py_ssize_t number) except -1
    cdef int mark(self, Py_ssize_t slot, SendQueue queue) noexcept
    cdef bint is_free(self, Py_ssize_t slot, SendQueue queue) noexcept
    cdef bint goes_over(self, Py_ssize_t slot, SendQueue queue) except -1
    cdef Py_ssize_t own_among(self, Py_ssize_t slot, int exponent) noexcept
    cdef SendQueue own(self, Py_ssize_t slot)
    cdef bint begins(self) noexcept
    cdef bint is_restless(self) noexcept
    cdef bint look(self) except -1
    cdef bint narrow(self) except -1
