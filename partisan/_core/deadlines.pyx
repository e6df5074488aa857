"""Time-outs of what processes wait for.

Nearly every wait ends before its time-out, and nearly all time-outs are of a few lengths. So what waits equally long is
kept in a list in the order in which it began, which is the order in which it is due, with one timer for the first: to
begin and to end a wait is to enter and to leave a list. Where the lengths are many, as of who waits until a point in
time, a list that is left empty takes its timer along.
"""

__all__ = ["Deadlines", "Timed"]

cdef Py_ssize_t IDLE = 64  # lengths: with more, one that nothing waits for any more keeps no timer (ours)
cdef double EARLY = 0.001  # seconds: loops count in milliseconds, and may call that much too soon


cdef class Timed(Awaitable):

    cdef int stop_timer(self) except -1:
        """Leave the ring."""
        cdef Ring ring = self.ring
        if ring is None:
            return 0
        if self.earlier is None:
            ring.first = self.later
        else:
            self.earlier.later = self.later
        if self.later is None:
            ring.last = self.earlier
        else:
            self.later.earlier = self.earlier
        self.ring = None
        self.earlier = self.later = None
        if ring.first is None and ring.timer is not None and len(ring.deadlines.rings) > IDLE:
            ring.end()
        return 0

    cdef int on_expired(self) except -1:
        raise NotImplementedError(f"{type(self).__name__} does not say what is done when its time is over")


cdef class Ring:

    cdef int end(self) except -1:
        """Nothing waits in it: it need not be."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.deadlines.rings.pop(self.seconds, None)
        if self.deadlines.latest is self:
            self.deadlines.latest = None
        return 0

    def fire(self):
        """The first of them is due, or was when the timer was started."""
        cdef Timed first
        cdef double now = self.deadlines.clock()
        self.timer = None
        while self.first is not None and self.first.due <= now + EARLY:
            first = self.first
            first.stop_timer()
            first.expired = True
            first.on_expired()
        if self.first is not None:
            self.timer = self.deadlines.call_later(self.first.due - now, self.fire)
        else:
            self.end()


cdef class Deadlines:
    """The time-outs of one scheduler.

    Args:
        clock: callable() -> monotonic seconds.
        call_later: callable(seconds, function) -> handle with `cancel()`.
    """

    def __init__(self, clock, call_later):
        self.clock = clock
        self.call_later = call_later
        self.rings = {}

    def __len__(self):
        cdef Timed timed
        cdef Py_ssize_t count = 0
        for ring in self.rings.values():
            timed = (<Ring>ring).first
            while timed is not None:
                count += 1
                timed = timed.later
        return count

    cdef int start(self, Timed what) except -1:
        """Let its time run from now on."""
        what.due = self.clock() + what.timeout  # first: this is code of others, which may end rings
        cdef Ring ring = self.latest
        if ring is None or ring.seconds != what.timeout:
            ring = self.rings.get(what.timeout)
            if ring is None:
                ring = Ring.__new__(Ring)
                ring.deadlines = self
                ring.seconds = what.timeout
                self.rings[what.timeout] = ring
            self.latest = ring
        what.ring = ring
        what.earlier = ring.last
        if ring.last is None:
            ring.first = what
        else:
            ring.last.later = what
        ring.last = what
        if ring.timer is None:
            ring.timer = self.call_later(what.timeout, ring.fire)
        return 0

    def stop(self) -> None:
        """Start no timer any more: nothing expires from now on."""
        for ring in self.rings.values():
            if (<Ring>ring).timer is not None:
                (<Ring>ring).timer.cancel()
        self.rings = {}
        self.latest = None
