"""What comes to a send queue while it is busy waits for its turn.

Code that the queue knows nothing of runs amid its work: finalisers, `__bytes__` of what is sent, who listens to a bound.
What that pushes goes behind what is being pushed, in the order in which it came, and is charged to the bound meanwhile.
"""

from cpython.bytes cimport PyBytes_GET_SIZE

from collections import deque

from partisan.errors import EncodeError, LocalProtocolError

__all__ = ["Turns"]

cdef enum:
    HEADER = 4  # octets of a frame's length


cdef class Turns:

    def withhold(self, Py_ssize_t octets):
        """Charge the bound with octets of frames that the tap keeps; negative ones are kept no more."""
        if self.closed:
            return
        self.withheld += octets
        if octets > 0:
            self.bound.charge(octets)
        else:
            self.bound.discharge(-octets)

    @property
    def held(self):
        """Whether its octets must be left alone now: a frame is being written, or they are lent."""
        return self.busy & HELD != 0

    def defer(self, function) -> None:
        """Call a function, when the queue is no longer busy: behind what was pushed until now."""
        if not self.busy:
            function()
            return
        self.make_room()
        self.later.append(function)
        self.busy |= LATER

    cdef int make_room(self) except -1:
        """Have a place for what waits. A finaliser that runs as it is made may have made one, and put something there."""
        if self.later is None:
            room = deque()
            if self.later is None:
                self.later = room
        return 0

    cdef int postpone(self, object frame, object key, double now, bint past_tap) except -1:
        """Push a frame when the queue is no longer busy."""
        cdef Py_ssize_t size = self.size_of(frame)
        if self.closed:
            raise LocalProtocolError("the connection of this queue is closed")
        if size - HEADER > self.max_frame:
            raise EncodeError(f"a frame of {size - HEADER} octets is above the limit of {self.max_frame}")
        self.make_room()
        self.later.append((frame, key, now, past_tap))
        self.busy |= LATER
        self.withheld += size
        return self.bound.charge(size)

    cdef Py_ssize_t size_of(self, object frame) except -1:
        """Octets of a frame that waits: of its body, and its length."""
        return PyBytes_GET_SIZE(frame) + HEADER

    cdef int take_later(self, object frame, object key, double now, bint past_tap) except -1:
        """Push a frame that has waited."""
        raise NotImplementedError

    cdef int catch_up(self) except -1:
        """Push what waits, unless the queue is still busy: whoever ends that calls this again."""
        if self.busy & ~LATER:
            return 0
        failure = None
        self.busy |= PUSHING
        while self.later:
            try:
                self.take_turn(self.later.popleft())
            except BaseException as error:  # the others go on: their senders have been told that they do
                if failure is None:
                    failure = error
        self.later = None
        self.busy &= ~(PUSHING | LATER)
        if failure is not None:
            raise failure
        return 0

    cdef int take_turn(self, object entry) except -1:
        cdef Py_ssize_t size
        cdef bint pushed = False
        if type(entry) is not tuple:
            entry()
        elif not self.closed:  # else close() has counted it among what is lost
            frame, key, now, past_tap = <tuple>entry
            size = self.size_of(frame)
            self.withheld -= size
            self.bound.queued_octets -= size  # it is charged again: nobody is to be relieved in between
            try:
                self.take_later(frame, key, now, past_tap)
                pushed = True
            finally:
                if not pushed:
                    self.bound.discharge(0)
        return 0
