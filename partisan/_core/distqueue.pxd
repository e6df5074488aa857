"""Messages of the Erlang distribution on their way to a send queue."""

from partisan._core.etf cimport Codec
from partisan._core.identities cimport Pid
from partisan._core.sendqueue cimport SendQueue
from partisan._core.wire cimport octets
from partisan._core.writer cimport atom_cache


cdef class DistQueue(SendQueue)


cdef class Pieces:
    """The pieces of one message, in order."""
    cdef list parts                 # its terms: bytes objects, one behind the other
    cdef Py_ssize_t position        # octets of the first of them that are queued
    cdef Py_ssize_t left_octets     # of all of them
    cdef bytes head                 # its header; None when the first piece is queued
    cdef unsigned long long sequence
    cdef Py_ssize_t left            # pieces
    cdef Py_ssize_t piece           # octets

    cdef Py_ssize_t push_next(self, DistQueue queue) except -1
    cdef int put_head(self, DistQueue queue) except -1
    cdef int put_octets(self, DistQueue queue, Py_ssize_t wanted) except -1


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
    cdef dict waiting               # sender -> deque of frames and Pieces, oldest first

    cdef int wait(self, object sender, object frame) except -1
    cdef int tell_now(self, tuple control, object payload, object sender) except -1
    cdef int take_turns(self) except -1
    cdef int feed_turns(self) except -1
    cdef int check_size(self, Py_ssize_t size) except -1
    cdef int roll_back(self) except -1
    cdef list parts(self)
    cdef Py_ssize_t size(self) except -1
    cdef object encoded(self, tuple control, object payload)
    cdef Pieces cut(self)
    cdef int write_terms(self, tuple control, object payload, bint has_payload) except -1
    cdef int write_term(self, object term) except -1
    cdef int write_head(self, int kind, unsigned long long sequence, unsigned long long pieces) except -1
    cdef int start_anew(self) except -1
    cdef int push_whole(self) except -1
    cdef int append_whole(self) except -1
