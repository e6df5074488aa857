"""Messages of the Erlang distribution on their way to a send queue."""

from partisan._core.etf cimport Codec
from partisan._core.sendqueue cimport SendQueue
from partisan._core.wire cimport octets
from partisan._core.writer cimport atom_cache


cdef class DistOut:
    """One connection's outgoing messages: what the peer knows of our atoms, and the cutting of large ones."""
    cdef Codec codec
    cdef SendQueue queue
    cdef bint headers               # the peer takes distribution headers, with references to atoms
    cdef bint fragments             # and messages in pieces
    cdef Py_ssize_t piece           # octets of one at most
    cdef atom_cache atoms
    cdef octets terms               # owned: the message that is being written
    cdef octets head                # owned: its header
    cdef list references            # large binaries of it
    cdef unsigned long long sequences  # messages that were cut

    cdef int roll_back(self) except -1
    cdef bytes joined(self)
    cdef int write_terms(self, tuple control, object payload, bint has_payload, bint cached) except -1
    cdef int write_term(self, object term, bint cached) except -1
    cdef int write_head(self, int kind, unsigned long long sequence, unsigned long long pieces) except -1
    cdef int forget(self) except -1
    cdef int push_whole(self) except -1
