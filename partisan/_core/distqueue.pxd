"""Messages of the Erlang distribution on their way to a send queue."""

from partisan._core.etf cimport Codec
from partisan._core.identities cimport Pid
from partisan._core.sendqueue cimport SendQueue
from partisan._core.wire cimport octets
from partisan._core.writer cimport atom_cache


cdef class Pieces:
    """The pieces of one message, in order."""
    cdef bytes whole                # its terms
    cdef bytes head                 # its header
    cdef unsigned long long sequence
    cdef Py_ssize_t left            # pieces
    cdef Py_ssize_t piece           # octets
    cdef Py_ssize_t position


cdef class DistQueue(SendQueue):
    """The send queue of one connection of the distribution."""
    cdef Codec codec
    cdef Pid outside                # in whose name code that is no process's own sends
    cdef bint headers               # the peer takes distribution headers, with references to atoms
    cdef bint fragments             # and messages in pieces
    cdef bint senders                 # messages to pids say whose they are
    cdef bint aliases                 # answers go to aliases
    cdef Py_ssize_t piece           # octets of one at most
    cdef public object watch        # callable(target, request): see to it that we hear of its end; or None
    cdef set watched                # targets of which we do
    cdef atom_cache atoms
    cdef octets terms               # owned: the message that is being written
    cdef octets head                # owned: its header
    cdef list large                 # large binaries of it: (offset in `terms`, bytes)
    cdef unsigned long long sequences  # messages that were cut
    cdef dict waiting               # sender -> deque of iterators of frames, oldest first

    cdef int wait(self, object sender, object frames) except -1
    cdef int feed_turns(self) except -1
    cdef int roll_back(self) except -1
    cdef bytes whole(self)
    cdef list encoded(self, tuple control, object payload)
    cdef Pieces cut(self)
    cdef int write_terms(self, tuple control, object payload, bint has_payload, bint cached) except -1
    cdef int write_term(self, object term, bint cached) except -1
    cdef int write_head(self, int kind, unsigned long long sequence, unsigned long long pieces) except -1
    cdef int start_anew(self) except -1
    cdef int push_whole(self) except -1
