"""The part of acknowledged delivery that every message passes: a frame is written with its number, and the number is
read where it lies.

The decisions are the machine's (`partisan.machines.acknowledged`). This asks it once a message and writes or reads

    {forward_message, Source, {undefined, [{Source, Number}]}, ServerRef, Message}

in the one form in which nodes of our kind write it; whatever looks different is taken by the Python driver.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from partisan._core.counters cimport count, live
from partisan._core.etf cimport Codec
from partisan._core.identities cimport Atom
from partisan._core.wire cimport octets, octets_free, octets_reserve

from partisan.errors import EncodeError

__all__ = ["Acknowledging", "Fresh", "Parcel"]

cdef enum:
    NUMBER_SIZE = 8
    NIL = 106
    KEEP_CAPACITY = 262144  # octets that the scratch may keep allocated
    FIRST_CAPACITY = 16     # of a ring, a power of two
    MOST_CAPACITY = 131072  # that a ring keeps when it is empty, a power of two

cdef object MASK = (1 << 64) - 1

cdef bytes beginning(str source):
    """How the frames of a node begin, up to the octets of the number: an integer of eight."""
    cdef bytes name = Atom(source).ext
    return b"\x83\x68\x05\x77\x0fforward_message" + name + b"\x68\x02\x77\x09undefined\x6c\x00\x00\x00\x01\x68\x02" \
        + name + b"\x6e\x08\x00"


@cython.final
@cython.no_gc
cdef class Parcel:
    """A message that is kept, as `partisan.machines.outstanding.Parcel`; the garbage collector does not see it.

    Attributes:
        frame: its octets.
        place: where it goes.
    """

    @property
    def message(self):
        """What the machine gives back to be sent again: this."""
        return self


@cython.final
cdef class Fresh:
    """Parcels that were sent once, by their numbers: `partisan.machines.outstanding.Fresh` in a ring.

    Args:
        first: the number of the first parcel.
    """

    def __cinit__(self, unsigned long long first):
        count(&live.rings, 1)
        self.low = self.high = first
        self.ring = [None] * FIRST_CAPACITY
        self.mask = FIRST_CAPACITY - 1

    def __dealloc__(self):
        count(&live.rings, -1)
        count(&live.parcels, -self.count)

    def __len__(self):
        return self.count

    def __iter__(self):
        """The numbers, ascending."""
        cdef unsigned long long number
        for number in range(self.low, self.high):
            if self.ring[number & self.mask] is not None:
                yield number

    @property
    def next(self):
        """The number of the next parcel."""
        return self.high

    def append(self, parcel, double now):
        """Hold a parcel under the next number."""
        parcel.at = now
        self.put(parcel, parcel.octets)

    cdef int put(self, object parcel, Py_ssize_t size) except -1:
        if self.high - self.low > self.mask:
            self.widen()
        self.ring[self.high & self.mask] = parcel
        self.high += 1
        self.count += 1
        count(&live.parcels, 1)
        self.octets += size
        return 0

    cdef int widen(self) except -1:
        cdef unsigned long long number
        cdef unsigned long long mask = 2 * self.mask + 1
        cdef list ring = [None] * <Py_ssize_t>(mask + 1)
        for number in range(self.low, self.high):
            ring[number & mask] = self.ring[number & self.mask]
        self.ring, self.mask = ring, mask
        return 0

    def pop(self, unsigned long long number):
        """Hold a parcel no more, and return it; None if it is not held."""
        return self.take(number)

    cdef object take(self, unsigned long long number):
        if not self.low <= number < self.high:
            return None
        parcel = self.ring[number & self.mask]
        if parcel is None:
            return None
        self.ring[number & self.mask] = None
        self.count -= 1
        count(&live.parcels, -1)
        self.octets -= (<Parcel>parcel).octets if type(parcel) is Parcel else parcel.octets
        while self.low < self.high and self.ring[self.low & self.mask] is None:
            self.low += 1
        if self.count == 0 and self.mask >= MOST_CAPACITY:
            self.ring, self.mask = [None] * FIRST_CAPACITY, FIRST_CAPACITY - 1
        return parcel

    def get(self, unsigned long long number):
        """The parcel of that number, if it is held."""
        return self.ring[number & self.mask] if self.low <= number < self.high else None

    def at(self, unsigned long long number):
        """When a parcel that is held was sent; KeyError if it is not held."""
        parcel = self.get(number)
        if parcel is None:
            raise KeyError(number)
        return parcel.at

    def drop(self, unsigned long long first, unsigned long long last):
        """Hold the parcels from first to last no more.

        Returns:
            how many they were; when the last of them was sent; (number, tag) of those with a tag; and the numbers that
            were not held.
        """
        cdef unsigned long long number
        cdef Py_ssize_t count = 0
        cdef double at = 0.0
        cdef bint more = first <= last
        cdef list tags = []
        cdef list missing = []
        while more:
            number = first
            more = number < last  # no range: `last + 1` may not have 64 bits
            first += 1
            parcel = self.take(number)
            if parcel is None:
                missing.append(number)
                continue
            count += 1
            if type(parcel) is Parcel:
                at = (<Parcel>parcel).at
                continue
            at = parcel.at
            if parcel.tag is not None:
                tags.append((number, parcel.tag))
        return count, at, tags, missing


@cython.final
@cython.no_gc
cdef class Run:
    """Consecutive numbers of one sender that were accepted, and of which the machine will hear in one."""

    def __cinit__(self):
        count(&live.runs, 1)

    def __dealloc__(self):
        count(&live.runs, -1)


cdef class Acknowledging:
    """What a node keeps and has seen, as its router asks.

    Args:
        node: this node's name.
        sent, seen: the halves of its AcknowledgedDelivery.
        clock: callable() -> monotonic seconds.
        carry_out: callable(): do what the machine asks for.
        owe: callable(): called once until `owing` is reset: acknowledgements are to be sent.
        hold: callable(node): so much waits for the node that the running process must.
        expected: callable(node): whether a node that was never connected will be.
        first_number: numbers of our kind are at least this, and below 2**64.
    Attributes:
        high_water: how many messages may wait for a node before senders are held.
        max_messages, max_octets: as the machine's options.
        max_frame: octets that a frame may have.
    """

    def __cinit__(self, str node not None, *, sent, seen, clock, carry_out, owe, hold, expected,
                  unsigned long long first_number):
        self.prefix = beginning(node)
        self.lanes = sent.lanes
        self.new_lane = sent.lane
        self.keep_slowly = sent.keep
        self.seen = seen
        self.runs = {}
        self.unheard = []
        self.clock = clock
        self.carry_out = carry_out
        self.owe = owe
        self.hold = hold
        self.expected = expected
        self.first_number = first_number
        self.max_frame = 256 << 20

    def __dealloc__(self):
        octets_free(&self.scratch)

    cdef bytes keep(self, Codec codec, str node, const uint8_t* target, size_t size, object place, object message):
        """Keep a message to a node until it is acknowledged; returns its frame. `place` is where it goes: any value.

        Raises Unacknowledged, EncodeError: then it is not kept.
        """
        cdef Fresh fresh
        cdef Parcel parcel
        cdef double now
        lane = self.lanes.get(node)
        if lane is None:
            lane = self.new_lane(node)
        fresh = lane.fresh
        now = self.clock()
        frame = self.write(codec, fresh, target, size, message)
        parcel = Parcel.__new__(Parcel)
        parcel.frame = frame
        parcel.place = place
        parcel.octets = PyBytes_GET_SIZE(frame)
        # The machine's own way, if this is the first (an alarm is to be set), or there may be no room for it.
        if 0 < fresh.count < self.max_messages and fresh.octets + parcel.octets <= self.max_octets and not lane.kept:
            parcel.at = now
            fresh.put(parcel, parcel.octets)
        elif self.keep_slowly(lane, parcel, now):
            self.carry_out()
        if fresh.count > self.high_water:
            self.hold(node)
        return frame

    cdef bytes write(self, Codec codec, Fresh fresh, const uint8_t* target, size_t size, object message):
        """The frame of the message that the lane will hold next."""
        cdef octets apart
        cdef octets* run = &self.scratch
        if self.writing:  # a finaliser that ran while another message was written sends with `ack` too
            apart.data = NULL
            apart.length = apart.capacity = 0
            run = &apart
        self.writing = True
        try:
            return self.compose(run, codec, fresh, target, size, message)
        finally:
            self.writing = run is not &self.scratch
            if self.writing or run.capacity > KEEP_CAPACITY:
                octets_free(run)

    cdef bytes compose(self, octets* run, Codec codec, Fresh fresh, const uint8_t* target, size_t size, object message):
        cdef size_t at = PyBytes_GET_SIZE(self.prefix)
        cdef uint8_t* data
        cdef unsigned long long number
        cdef int i
        run.length = 0
        if octets_reserve(run, at + NUMBER_SIZE + 1 + size) < 0:
            raise MemoryError()
        data = run.data
        memcpy(data, PyBytes_AS_STRING(self.prefix), at)
        data[at + NUMBER_SIZE] = NIL
        memcpy(data + at + NUMBER_SIZE + 1, target, size)
        run.length = at + NUMBER_SIZE + 1 + size
        codec.encode_into(run, message, None)
        if run.length > <size_t>self.max_frame:
            raise EncodeError(f"a frame of {run.length} octets is above the limit of {self.max_frame}")
        number = fresh.high  # only now: a finaliser may have taken numbers
        for i in range(NUMBER_SIZE):
            run.data[at + i] = <uint8_t>(number >> (8 * i))
        return PyBytes_FromStringAndSize(<const char*>run.data, run.length)

    cdef bint takes(self, str peer, unsigned long long number) except -1:
        """Whether this may be asked of a number of the peer; if not, the Python driver is."""
        return number >= self.first_number and peer in self.seen.batching

    cdef bint accept(self, str peer, unsigned long long number) except -1:
        """Whether a message is to be delivered; it will be acknowledged either way."""
        cdef Run run
        if not self.owing:
            self.owing = True
            self.owe()
        found = self.runs.get(peer)
        if found is None or number != (<Run>found).top:
            return self.ask(peer, number)
        run = <Run>found
        if run.first == run.top:
            self.unheard.append(run)
        run.top += 1
        return True

    cdef bint ask(self, str peer, unsigned long long number) except -1:
        """Ask the machine, which has heard of everything then."""
        cdef Run run
        self.settle()
        fresh = self.seen.received(peer, number)
        found = self.runs.get(peer)
        if found is None:
            run = self.runs[peer] = Run.__new__(Run)
            run.peer = peer
        else:
            run = <Run>found
        run.first = run.top = self.seen.top(peer, number) & MASK
        return fresh

    def settle(self) -> None:
        """Let the machine hear of what was accepted: before it is asked or told anything about what has come."""
        cdef Run run
        if not self.unheard:
            return
        unheard, self.unheard = self.unheard, []
        for found in unheard:
            run = <Run>found
            self.seen.received_run(run.peer, run.first, run.top - 1)
            run.first = run.top

    def forget(self) -> None:
        """What has come is asked of the machine anew."""
        self.settle()
        self.runs.clear()
