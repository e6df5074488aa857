"""The part of acknowledged delivery that every message passes: a frame is written with its number, and the number is
read where it lies.

The decisions are the machine's (`partisan.machines.acknowledged`). This asks it once a message and writes or reads

    {forward_message, Source, {undefined, [{Source, Number}]}, ServerRef, Message}

in the one form in which nodes of our kind write it; whatever looks different is taken by the Python driver.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from partisan._core.counters cimport count, live
from partisan._core.etf cimport Codec
from partisan._core.identities cimport Atom
from partisan._core.sendqueue cimport SendQueue
from partisan._core.wire cimport blocks_free, blocks_give, blocks_take, octets, octets_free, octets_reserve

from partisan.errors import EncodeError

__all__ = ["Acknowledging", "Fresh", "Parcel"]

cdef enum:
    NUMBER_SIZE = 8
    NIL = 106
    KEEP_CAPACITY = 262144  # octets that the scratch may keep allocated
    FIRST_CAPACITY = 16     # of a ring, a power of two
    MOST_CAPACITY = 131072  # that a ring keeps when it is empty, a power of two
    SAME_TIME = 64          # messages of a burst for which the clock is read once

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
    """Messages that were sent once, by their numbers: `partisan.machines.outstanding.Fresh` in a ring.

    What the core puts here is octets, and no object until it is asked for.

    Args:
        first: the number of the first message.
    """

    def __cinit__(self, unsigned long long first):
        count(&live.rings, 1)
        self.low = self.high = first
        self.others = {}
        self.stretch(FIRST_CAPACITY)

    def __dealloc__(self):
        cdef unsigned long long number
        cdef kept* held
        count(&live.rings, -1)
        count(&live.parcels, -self.count)
        if self.ring is not NULL:
            for number in range(self.low, self.high):
                held = self.ring[number & self.mask]
                if held is not NULL:
                    Py_XDECREF(held.place)
                    blocks_give(&self.rooms, held)
        blocks_free(&self.rooms)
        free(self.ring)

    def __len__(self):
        return self.count

    def __iter__(self):
        """The numbers, ascending."""
        cdef unsigned long long number
        for number in range(self.low, self.high):
            if self.find(number) is not NULL:
                yield number

    def __sizeof__(self):
        return object.__sizeof__(self) + self.rooms.allocated + (self.mask + 1) * sizeof(void*)

    @property
    def next(self):
        """The number of the next message."""
        return self.high

    cdef kept* find(self, unsigned long long number) noexcept:
        return self.ring[number & self.mask] if self.low <= number < self.high else NULL

    def append(self, parcel, double now):
        """Hold a parcel under the next number."""
        cdef Py_ssize_t size = parcel.octets
        cdef kept* held
        parcel.at = now
        self.others[self.high] = parcel
        held = self.enter(0)
        held.place = NULL
        held.at = now
        held.size = size
        self.octets += size

    cdef int put(self, const uint8_t* frame, size_t size, object place, double now) except -1:
        """Hold a frame, which is copied, under the next number."""
        cdef kept* held = self.enter(size)
        Py_INCREF(place)
        held.place = <PyObject*>place
        held.at = now
        held.size = size
        memcpy(held + 1, frame, size)
        self.octets += size
        return 0

    cdef kept* enter(self, size_t size) except NULL:
        """Room for the message of the next number, and `size` octets behind it: to be filled in."""
        cdef kept* held
        if self.high - self.low > self.mask:
            self.stretch(2 * (self.mask + 1))
        held = <kept*>blocks_take(&self.rooms, sizeof(kept) + size)
        if held is NULL:
            raise MemoryError()
        self.ring[self.high & self.mask] = held
        self.high += 1
        self.count += 1
        count(&live.parcels, 1)
        return held

    cdef int stretch(self, unsigned long long capacity) except -1:
        """A ring of another capacity, a power of two which is enough for what is held."""
        cdef unsigned long long number
        cdef kept** ring = <kept**>calloc(capacity, sizeof(kept*))
        if ring is NULL:
            raise MemoryError()
        for number in range(self.low, self.high):
            ring[number & (capacity - 1)] = self.ring[number & self.mask]
        free(self.ring)
        self.ring, self.mask = ring, capacity - 1
        return 0

    cdef int remove(self, unsigned long long number, kept* held) except -1:
        """Hold no more what `find` has found."""
        self.ring[number & self.mask] = NULL
        self.count -= 1
        count(&live.parcels, -1)
        self.octets -= held.size
        Py_XDECREF(held.place)
        blocks_give(&self.rooms, held)
        while self.low < self.high and self.ring[self.low & self.mask] is NULL:
            self.low += 1
        if self.count == 0 and self.mask >= MOST_CAPACITY:
            self.stretch(FIRST_CAPACITY)
        return 0

    cdef object parcel_of(self, unsigned long long number, kept* held):
        """What `find` has found, as an object."""
        cdef Parcel parcel
        if held.place is NULL:
            return self.others[number]
        parcel = Parcel.__new__(Parcel)
        parcel.frame = PyBytes_FromStringAndSize(<const char*>(held + 1), held.size)
        parcel.place = <object>held.place
        parcel.octets = held.size
        parcel.at = held.at
        return parcel

    def pop(self, unsigned long long number):
        """Hold a message no more, and return its parcel; None if it is not held."""
        cdef kept* held = self.find(number)
        if held is NULL:
            return None
        parcel = self.parcel_of(number, held)
        if held.place is NULL:
            del self.others[number]
        self.remove(number, held)
        return parcel

    def get(self, unsigned long long number):
        """The parcel of that number, if it is held."""
        cdef kept* held = self.find(number)
        return None if held is NULL else self.parcel_of(number, held)

    def at(self, unsigned long long number):
        """When a message that is held was sent; KeyError if it is not held."""
        cdef kept* held = self.find(number)
        if held is NULL:
            raise KeyError(number)
        return held.at

    def drop(self, unsigned long long first, unsigned long long last):
        """Hold the messages from first to last no more.

        Returns:
            how many they were; when the last of them was sent; (number, tag) of those with a tag; and the numbers that
            were not held.
        """
        cdef unsigned long long number
        cdef Py_ssize_t dropped = 0
        cdef double at = 0.0
        cdef bint more = first <= last
        cdef list tags = []
        cdef list missing = []
        cdef kept* held
        while more:
            number = first
            more = number < last  # no range: `last + 1` may not have 64 bits
            first += 1
            held = self.find(number)
            if held is NULL:
                missing.append(number)
                continue
            dropped += 1
            at = held.at
            if held.place is NULL:
                parcel = self.others.pop(number)
                if parcel.tag is not None:
                    tags.append((number, parcel.tag))
            self.remove(number, held)
        return dropped, at, tags, missing


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
        only_agreed: messages wait for nodes that have not agreed to batches: others would not survive one.
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
        self.only_agreed = False

    def __dealloc__(self):
        octets_free(&self.scratch)

    cdef int keep(self, Codec codec, str node, const uint8_t* target, size_t size, object place, object message,
                  SendQueue queue, bint in_burst) except -1:
        """Keep a message to a node until it is acknowledged, and queue it; without a queue that is all.

        Args:
            place: where it goes: any value.
            in_burst: this is part of a burst or turn, at whose end `pass_time` is called.
        Raises Unacknowledged, EncodeError: then it is not kept.
        """
        cdef octets apart
        cdef octets* run = &self.scratch
        cdef Fresh fresh
        cdef double now
        if self.writing:  # a finaliser that ran while another message was written sends with `ack` too
            apart.data = NULL
            apart.length = apart.capacity = 0
            run = &apart
        self.writing = True
        try:
            self.compose(run, codec, target, size, message)
            now = self.time(in_burst)
            while node is not self.to_node or self.to_fresh.closed:
                self.look_up(node)
            fresh = self.to_fresh
            self.store(run, place, now)
            if queue is not None:
                queue.push_octets(run.data, run.length)
        finally:
            self.writing = run is not &self.scratch
            if self.writing or run.capacity > KEEP_CAPACITY:
                octets_free(run)
        if fresh.count > self.high_water:
            self.hold(node)
        return 0

    cdef double time(self, bint in_burst) except? -1.0:
        """The time, but for what some messages of the same burst have taken."""
        if in_burst and self.current > 0:
            self.current -= 1
        else:
            self.now = self.clock()
            self.current = SAME_TIME - 1 if in_burst else 0
        return self.now

    cdef int pass_time(self) noexcept:
        """A burst is over: the clock is read for the next message."""
        self.current = 0
        return 0

    cdef int look_up(self, str node) except -1:
        """Make `to_` the lane of the node; to be looked at again, for what goes with the former one may send too."""
        cdef Fresh former = self.to_fresh
        former_lane = self.to_lane
        lane = self.lanes.get(node)
        if lane is None:
            lane = self.new_lane(node)
        fresh, kept = lane.fresh, lane.kept
        self.to_node, self.to_lane, self.to_fresh, self.to_kept = node, lane, fresh, kept
        return 0

    cdef int store(self, const octets* frame, object place, double now) except -1:
        """Give the frame its number, and keep it in the lane of `to_`."""
        cdef Fresh fresh = self.to_fresh
        cdef Py_ssize_t size = frame.length
        cdef uint8_t* number = frame.data + PyBytes_GET_SIZE(self.prefix)
        cdef Parcel parcel
        cdef int i
        for i in range(NUMBER_SIZE):
            number[i] = <uint8_t>(fresh.high >> (8 * i))
        # The machine's own way, if this is the first (an alarm is to be set), or there may be no room for it.
        if 0 < fresh.count < self.max_messages and fresh.octets + size <= self.max_octets and not self.to_kept:
            return fresh.put(frame.data, size, place, now)
        parcel = Parcel.__new__(Parcel)
        parcel.frame = PyBytes_FromStringAndSize(<const char*>frame.data, size)
        parcel.place = place
        parcel.octets = size
        if self.keep_slowly(self.to_lane, parcel, now):
            self.carry_out()
        return 0

    cdef int compose(self, octets* run, Codec codec, const uint8_t* target, size_t size, object message) except -1:
        """Write the frame of a message, but for its number: a finaliser may take numbers meanwhile."""
        cdef size_t at = PyBytes_GET_SIZE(self.prefix)
        cdef uint8_t* data
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
        return 0

    cpdef bint may_go(self, str peer) except -1:
        """Whether a message may be written to the peer; if not, it waits."""
        return not self.only_agreed or peer in self.seen.batching

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
