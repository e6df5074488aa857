"""How many connections the slots of a lane use."""

cdef enum:
    CLAIMED = 255                         # a slot uses its own connection for good


cdef class Places:
    """For each slot: among how many connections its own is, as a power of two."""
    cdef bytearray widths                 # slot -> the exponent, 0 for the trunk, which all share; or CLAIMED
    cdef readonly Py_ssize_t apart        # slots that have parted from the trunk, without those that are claimed
    cdef bint crowded                     # since the last look() somebody has waited, or would have
    cdef bint narrowed                    # and nobody has since the slots last came nearer together
    cdef int pause                        # looks without anybody waiting, before they come nearer
    cdef int rest                         # so many of them are left

    cdef int add(self) except -1
    cdef Py_ssize_t home(self, Py_ssize_t slot, int width)
    cdef int claim(self, Py_ssize_t slot) except -1
    cdef int part(self, Py_ssize_t slot, int width) except -1
    cdef bint is_restless(self)
    cdef bint look(self, bint full) except -1
    cdef bint narrow(self) except -1
