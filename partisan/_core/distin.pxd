"""Messages of the Erlang distribution on their way to mailboxes."""

from libc.stdint cimport uint8_t

from partisan._core.etf cimport Codec
from partisan._core.router cimport Origin, Router


cdef class DistIn(Origin):
    """Frames of one connection, as control messages and their payloads."""
    cdef Router router
    cdef Codec codec
    cdef object control            # callable(tuple, payload, has payload): takes all that is no plain message
    cdef public bint headers       # frames have distribution headers
    cdef public object handshake   # callable(octets): takes what comes before the first frame; or None
    cdef list atoms                # by slot: what the peer has told of its atoms; None where it has not
    cdef dict sequences            # number -> Sequence: messages of which pieces are missing
    cdef Py_ssize_t sequence_octets  # of all of them
    cdef Py_ssize_t max_sequences

    cdef Py_ssize_t shake(self, Py_ssize_t size) except -1
    cdef tuple read_references(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position)
    cdef int on_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t position, tuple atoms) except -1
    cdef int on_pass_through(self, const uint8_t* data, Py_ssize_t size) except -1
    cdef int on_piece(self, const uint8_t* data, Py_ssize_t size) except -1
    cdef int take_message(self, tuple control, object payload) except -1
