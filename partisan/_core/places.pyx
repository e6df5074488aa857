"""How many connections the slots of a lane use.

One connection is best as long as nobody waits for it, and more are best only as far as somebody does: what is seldom
used begins slowly each time. So a slot goes from the trunk to one of two connections, of four, and so on up to its own:
to the first of these where it need not wait. As long as nobody waits, the widest step is taken back from time to time.
If somebody waits then, that was in vain, and it is longer until the next attempt; if nobody does, it is shorter again.
"""

cimport cython

__all__ = ["Places"]

cdef enum:
    LONGEST = 63  # looks between two attempts, at most


@cython.final
cdef class Places:

    def __cinit__(self, Py_ssize_t slots):
        self.widths = bytearray(slots)

    cdef int add(self) except -1:
        """There is a slot more."""
        self.widths.append(0)
        return 0

    cdef Py_ssize_t home(self, Py_ssize_t slot, int width):
        """The connection of a slot among as many as this exponent says."""
        cdef Py_ssize_t count = len(self.widths)
        if width != CLAIMED and <Py_ssize_t>1 << width < count:
            return slot % (<Py_ssize_t>1 << width)
        return slot

    cdef int claim(self, Py_ssize_t slot) except -1:
        """The slot uses its own connection for good."""
        if 0 < self.widths[slot] < CLAIMED:
            self.apart -= 1
        self.widths[slot] = CLAIMED
        return 0

    cdef int part(self, Py_ssize_t slot, int width) except -1:
        """The slot uses its connection among more than before."""
        if self.widths[slot] == 0:
            self.apart += 1
        self.widths[slot] = width
        self.crowded = True
        return 0

    cdef bint is_restless(self):
        """Whether there is still something to look for: slots to bring together, or a pause to make shorter."""
        return self.apart > 0 or self.narrowed or self.pause > 0

    cdef bint look(self, bint full) except -1:
        """Let the slots come nearer together if it is time; whether they do.

        Args:
            full: somebody would have to wait now.
        """
        if full or self.crowded:
            if self.narrowed:
                self.pause = min(2 * self.pause + 1, LONGEST)
            self.narrowed = self.crowded = False
            self.rest = self.pause
            return False
        if self.rest:
            self.rest -= 1
            return False
        if self.narrowed:
            self.pause //= 2
        self.narrowed = self.apart > 0 or self.pause > 0
        self.rest = self.pause
        return self.narrow()

    cdef bint narrow(self) except -1:
        """Halve the connections of the slots that are among the most; whether there are such."""
        cdef Py_ssize_t slot
        cdef int widest = max([width for width in self.widths if width < CLAIMED], default=0)
        if widest == 0:
            return False
        for slot in range(len(self.widths)):
            if self.widths[slot] == widest:
                self.widths[slot] = widest - 1
        if widest == 1:
            self.apart = 0
        return True
