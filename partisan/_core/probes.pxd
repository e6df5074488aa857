"""What the peer is known to have handled of what one queue was given."""

cdef class Probes:
    """Numbered questions; an answer is one to all that were asked before it, too."""
    cdef readonly unsigned long long asked     # so many were asked
    cdef readonly unsigned long long answered  # the number of the last one that is answered
    cdef bint wanted                           # one is to follow, when enough has gone since the last
    cdef long long given                       # octets that the queue was given before the last one

    cdef int follow(self, object barrier, long long given) except -1


cdef class Answer:
    """Called when the peer has handled what came before a probe, or the connection is lost."""
    cdef Probes probes
    cdef unsigned long long number
