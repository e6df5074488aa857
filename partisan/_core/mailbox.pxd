"""A process's mailbox: messages in order of arrival, and how a pattern picks one."""

from cpython.object cimport PyObject


cdef class Mailbox:
    """Messages of one process, oldest first: a ring that grows, with removal from any position."""
    cdef PyObject** ring       # owned array of owned references; NULL until the first message
    cdef Py_ssize_t capacity   # entries allocated: a power of two, or 0
    cdef Py_ssize_t head       # index of the oldest in `ring`
    cdef Py_ssize_t length     # messages waiting

    cdef int push(self, object message) except -1
    cdef object take(self, Py_ssize_t position)
    cdef Py_ssize_t find(self, tuple patterns, Py_ssize_t start) except -2
    cdef int clear(self) except -1
    cdef int grow(self) except -1
    cdef int shrink(self) except -1


cdef bint matches(object pattern, object message) except -1
cdef bint matches_any(tuple patterns, object message) except -1
