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

from partisan._core.etf cimport Codec
from partisan._core.identities cimport Atom
from partisan._core.wire cimport octets_free, octets_reserve

__all__ = ["Acknowledging", "Parcel"]

cdef enum:
    NUMBER_SIZE = 8
    NIL = 106
    KEEP_CAPACITY = 262144  # octets that the scratch may keep allocated

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


cdef class Acknowledging:
    """What a node keeps and has seen, as its router asks.

    Args:
        node: this node's name.
        machine: its AcknowledgedDelivery.
        clock: callable() -> monotonic seconds.
        carry_out: callable(): do what the machine asks for.
        owe: callable(): called once until `owing` is reset: acknowledgements are to be sent.
        hold: callable(node): so much waits for the node that the running process must.
        high_water: how many messages may wait for a node before senders are held.
        first_number: numbers of our kind are at least this, and below 2**64.
    """

    def __cinit__(self, str node not None, *, machine, clock, carry_out, owe, hold, Py_ssize_t high_water,
                  unsigned long long first_number):
        self.prefix = beginning(node)
        self.lanes = machine.sent.lanes
        self.new_lane = machine.sent.lane
        self.take = machine.sent.keep
        self.seen = machine.seen
        self.received = machine.seen.received
        self.clock = clock
        self.carry_out = carry_out
        self.owe = owe
        self.hold = hold
        self.high_water = high_water
        self.first_number = first_number

    def __dealloc__(self):
        octets_free(&self.scratch)

    cdef bytes keep(self, Codec codec, str node, const uint8_t* target, size_t size, object place, object message):
        """Keep a message to a node until it is acknowledged; returns its frame. `place` is where it goes: any value.

        Raises Unacknowledged, EncodeError: then it is not kept.
        """
        lane = self.lanes.get(node)
        if lane is None:
            lane = self.new_lane(node)
        frame = self.write(codec, lane.next, target, size, message)
        cdef Parcel parcel = Parcel.__new__(Parcel)
        parcel.frame = frame
        parcel.place = place
        parcel.octets = PyBytes_GET_SIZE(frame)
        if self.take(lane, parcel, self.clock()):
            self.carry_out()
        if len(<dict>lane.fresh) > self.high_water:
            self.hold(node)
        return frame

    cdef bytes write(self, Codec codec, unsigned long long number, const uint8_t* target, size_t size, object message):
        cdef size_t length = PyBytes_GET_SIZE(self.prefix)
        cdef uint8_t* data
        cdef int i
        self.scratch.length = 0
        if octets_reserve(&self.scratch, length + NUMBER_SIZE + 1 + size) < 0:
            raise MemoryError()
        data = self.scratch.data
        memcpy(data, PyBytes_AS_STRING(self.prefix), length)
        for i in range(NUMBER_SIZE):
            data[length + i] = <uint8_t>(number >> (8 * i))
        length += NUMBER_SIZE
        data[length] = NIL
        memcpy(data + length + 1, target, size)
        self.scratch.length = length + 1 + size
        codec.encode_into(&self.scratch, message, None)
        frame = PyBytes_FromStringAndSize(<const char*>self.scratch.data, self.scratch.length)
        if self.scratch.capacity > KEEP_CAPACITY:
            octets_free(&self.scratch)
        return frame

    cdef bint takes(self, str peer, unsigned long long number) except -1:
        """Whether this may be asked of a number of the peer; if not, the Python driver is."""
        return number >= self.first_number and peer in self.seen.batching

    cdef bint accept(self, str peer, unsigned long long number) except -1:
        """Whether a message is to be delivered; it will be acknowledged either way."""
        fresh = self.received(peer, number)
        if not self.owing:
            self.owing = True
            self.owe()
        return fresh
