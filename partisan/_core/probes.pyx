"""What the peer is known to have handled of what one queue was given.

A probe is a ping behind a message. It costs as much as a small message each way, and tells only what was before it: so
it is asked where somebody would take another connection if that were known, and when so much has gone that it is worth
it.
"""

cimport cython

__all__ = ["Probes"]

cdef enum:
    LARGE = 1 << 20  # octets between two probes, at least


@cython.final
cdef class Answer:

    def __call__(self):
        if self.probes.answered < self.number:
            self.probes.answered = self.number


@cython.final
cdef class Probes:

    cdef int follow(self, object barrier, long long given) except -1:
        """Ask behind what was pushed, if it is time.

        Args:
            barrier: callable(function) that calls `function` when the peer has handled all that was pushed; or None.
            given: octets that were pushed in all.
        """
        cdef Answer answer
        if barrier is None or given - self.given < LARGE:
            return 0
        self.given = given
        self.wanted = False
        self.asked += 1
        answer = Answer.__new__(Answer)
        answer.probes = self
        answer.number = self.asked
        barrier(answer)
        return 0
