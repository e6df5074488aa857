"""The connections of a lane: how many its slots share, and which of these each may take.

One connection is best as long as nobody waits for it, and more are best only as far as somebody does: what is seldom
used begins slowly each time. So the slots share one, the trunk, and when a message would wait there two, four, and so
on. When nobody has waited for some time they are half as many again. If somebody waits then, that was in vain, and it
is longer until the next attempt; if nobody does, it is shorter again.

While several are shared, a slot is free to take the first that is not full, if all that it has sent is known to be
handled: then nothing can be overtaken. That is told by probes (`probes`). A slot that is not free stays where it is.
If its messages have waited there a few times, it goes over to another connection all the same, and they are held
meanwhile.

A slot is marked when its queue is chosen, just before its message is pushed. Python code that runs in between (a finaliser,
the packing of an envelope, `__bytes__` in a message that is kept) and sends a mebibyte by the same queue could have a probe
asked before that message. Nothing in this package does.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Realloc

__all__ = ["Places"]

cdef enum:
    LONGEST = 63  # looks between two attempts, at most
    PATIENCE = 4  # messages of a slot that wait before it goes over
    GONE = 128    # it has, to its own among as many connections as the exponent above this says


@cython.final
cdef class Places:

    def __cinit__(self):
        self.homes = []
        self.width = 1
        self.waits = bytearray()

    def __dealloc__(self):
        PyMem_Free(self.marks)

    cdef int resize(self, Py_ssize_t parallelism, Py_ssize_t slots) except -1:
        """So many connections are wanted, and there are so many slots; neither become fewer."""
        cdef unsigned long long* marks
        cdef Py_ssize_t slot
        if slots > len(self.waits):
            marks = <unsigned long long*>PyMem_Realloc(self.marks, slots * sizeof(unsigned long long))
            if marks is NULL:
                raise MemoryError()
            self.marks = marks
            for slot in range(len(self.waits), slots):
                marks[slot] = 0
            self.waits.extend(bytes(slots - len(self.waits)))
        self.homes.extend([None] * (parallelism - len(self.homes)))
        return 0

    cdef Py_ssize_t add(self, SendQueue queue) except -1:
        """A connection is up. Returns its number."""
        cdef Py_ssize_t number
        if None not in self.homes:
            self.homes.append(None)
        number = self.homes.index(None)
        self.homes[number] = queue
        return number

    cdef bint remove(self, SendQueue queue) except -1:
        """A connection is down; whether it was one of these."""
        if queue not in self.homes:
            return False
        self.homes[self.homes.index(queue)] = None
        return True

    cdef SendQueue home(self, Py_ssize_t number):
        """The connection of this number, another one while that is down, or None."""
        own = self.homes[number]
        if own is not None and not (<SendQueue>own).closed:
            return <SendQueue>own
        # A queue is closed a moment before the table hears of it.
        up = [queue for queue in self.homes if queue is not None and not (<SendQueue>queue).closed]
        return <SendQueue>up[number % len(up)] if up else None

    cdef SendQueue trunk(self):
        """The first connection that is up, or None."""
        for queue in self.homes:
            if queue is not None and not (<SendQueue>queue).closed:
                return <SendQueue>queue
        return None

    cdef SendQueue first_free(self):
        """The first connection that is not full, else that in which least waits, or None. More are shared if need be."""
        cdef SendQueue each, least = None
        cdef Py_ssize_t number
        for number in range(len(self.homes)):
            queue = self.homes[number]
            if queue is None or (<SendQueue>queue).closed:
                continue
            each = <SendQueue>queue
            if not each.blocked:
                if least is not None:  # those before it are full
                    self.widen(number)
                return each
            if least is None or each.queued_octets < least.queued_octets:
                least = each
        self.crowded = True
        return least

    cdef bint is_shared(self, SendQueue queue) except -1:
        """Whether a connection is among those that are shared now."""
        return queue in self.homes[:self.width] or queue is self.trunk()

    cdef int widen(self, Py_ssize_t number) except -1:
        """The connection of this number is shared, too.

        If only the trunk was, of nothing is it known whether it was before a probe.
        """
        cdef unsigned long long asked = 0
        cdef Py_ssize_t slot
        if number < self.width or number >= len(self.homes):
            return 0
        self.beginning |= not self.is_restless()
        if self.width == 1:
            for queue in self.homes:
                if queue is not None:
                    asked = max(asked, (<SendQueue>queue).probes.asked)
            for slot in range(len(self.waits)):
                self.marks[slot] = max(self.marks[slot], asked)
        while self.width <= number:
            self.width *= 2
        self.crowded = True
        return 0

    cdef int mark(self, Py_ssize_t slot, SendQueue queue) noexcept:
        """The slot sends by this queue: whatever was asked before does not tell of that."""
        self.marks[slot] = queue.probes.asked
        return 0

    cdef bint is_free(self, Py_ssize_t slot, SendQueue queue) noexcept:
        """Whether all that the slot has sent, by this queue, is handled. A queue that nobody can ask is believed."""
        return self.marks[slot] < queue.probes.answered or (queue.barrier is None and not queue.closed)

    cdef bint goes_over(self, Py_ssize_t slot, SendQueue queue) except -1:
        """A message of the slot waits in this queue, which is full; whether the slot now goes over to another, once.

        That is its own connection of two, of four, and so on: the first of these that is not full.
        """
        cdef int exponent = 0
        cdef Py_ssize_t number
        self.crowded = queue.probes.wanted = True
        if self.waits[slot] < PATIENCE:
            self.waits[slot] += 1
            return False
        while self.waits[slot] < GONE and <Py_ssize_t>1 << exponent < len(self.homes):
            exponent += 1
            number = self.own_among(slot, exponent)
            own = self.homes[number]
            if own is not None and not ((<SendQueue>own).closed or (<SendQueue>own).blocked):
                self.waits[slot] = GONE + exponent
                self.widen(number)
                return True
        return False

    cdef Py_ssize_t own_among(self, Py_ssize_t slot, int exponent) noexcept:
        """The number of a slot's own connection among so many."""
        return slot % min(<Py_ssize_t>1 << exponent, <Py_ssize_t>len(self.homes))

    cdef SendQueue own(self, Py_ssize_t slot):
        """The connection that a slot has gone over to, if it has and that is not full; else one that it may take."""
        cdef int waits = self.waits[slot]
        cdef SendQueue queue = self.home(self.own_among(slot, waits - GONE)) if waits >= GONE else None
        return self.first_free() if queue is None or queue.blocked else queue

    cdef bint begins(self) noexcept:
        """Whether `look()` is to be called from now on, and was not so far; says so once."""
        cdef bint beginning = self.beginning
        self.beginning = False
        return beginning

    cdef bint is_restless(self) noexcept:
        """Whether there is still something to look for: connections to give up, or a pause to make shorter."""
        return self.width > 1 or self.narrowed or self.pause > 0

    cdef bint look(self) except -1:
        """Share fewer connections if it is time; whether they are fewer."""
        for queue in self.homes:
            self.crowded |= queue is not None and (<SendQueue>queue).blocked
        if self.crowded:
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
        self.narrowed = self.width > 1 or self.pause > 0
        self.rest = self.pause
        return self.narrow()

    cdef bint narrow(self) except -1:
        """Share half as many; whether there were several."""
        if self.width == 1:
            return False
        self.width //= 2
        self.waits[:] = bytes(len(self.waits))
        return True
