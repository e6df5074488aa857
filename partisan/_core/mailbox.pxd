"""A process's mailbox: messages in order of arrival, and how a pattern picks one."""

from cpython.object cimport PyObject


cdef struct cursor:
    Py_ssize_t position        # of the message that patterns are asked about
    Py_ssize_t end             # behind the last one that was there when the search began
    bint gone                  # it was taken out meanwhile: there is the next one now
    cursor* outer              # of the search whose pattern began this one; NULL for none


cdef class Mailbox:
    """Messages of one process, oldest first: a ring that grows, with removal from any position."""
    cdef PyObject** ring       # owned array of owned references; NULL until the first message
    cdef Py_ssize_t capacity   # entries allocated: a power of two, or 0
    cdef Py_ssize_t head       # index of the oldest in `ring`
    cdef Py_ssize_t length     # messages waiting
    cdef Py_ssize_t searched   # messages that the last search without a match has looked at, or passed over
    cdef cursor* asked         # of the searches that are under way, the innermost; borrowed from their stack frames

    cdef int push(self, object message) except -1
    cdef object take(self, Py_ssize_t position)
    cdef Py_ssize_t find(self, tuple patterns, Py_ssize_t start) except -2
    cdef int clear(self) except -1
    cdef int grow(self) except -1
    cdef int shrink(self) except -1


cdef bint matches(object pattern, object message) except -1
cdef bint matches_any(tuple patterns, object message) except -1
