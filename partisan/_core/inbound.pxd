"""Frames of one connection on their way to mailboxes."""

from libc.stdint cimport uint8_t

from partisan._core.router cimport Origin, Router


cdef class Inbound(Origin):
    """Frames of one connection on their way to mailboxes."""
    cdef Router router
    cdef object control                    # callable(term): takes every term that is no plain message
    cdef str peer                          # whose acknowledged messages are read here, or None
    cdef bytes numbered                    # how those begin, up to the number; None while `peer` is
    cdef list held                         # [(octets, planted)]: frames that wait for release(); None: none must wait
    cdef Py_ssize_t held_octets
    cdef public object tap                 # callable(octets, planted) -> whether the frame goes on now; or None
    cdef bint replaying                    # the frame in hand has passed the tap

    cdef Py_ssize_t find_number(self, const uint8_t* data, Py_ssize_t size, unsigned long long* number) except -1
    cdef int keep(self, const uint8_t* data, Py_ssize_t size, list planted) except -1
    cdef int on_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t position, list planted,
                        unsigned long long number) except -1
    cdef int on_other(self, const uint8_t* data, Py_ssize_t size, list planted) except -1
    cdef object read_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position, list planted)
