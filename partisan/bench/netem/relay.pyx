"""The relay of csrc/relay.h as a call, and two system calls that Python has from 3.12 on. Linux only."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset


cdef extern from "packets.h" nogil:
    enum:
        MOST_HOSTS
        SMALL_ROOM
        LARGE_ROOM

    ctypedef struct rules:
        uint64_t delay
        uint64_t jitter
        uint64_t loss
        double octet
        uint64_t queue
        uint64_t reorder

    ctypedef struct tally:
        uint64_t packets

    ctypedef struct packets:
        pass

    int packets_init(packets* self, const rules* given, size_t smalls, size_t larges, uint64_t seed,
                     tally* tallies) noexcept
    void packets_free(packets* self) noexcept


cdef extern from "relay.h" nogil:
    enum:
        MOST_STOPS

    ctypedef struct pollfd:
        int fd
        short events

    ctypedef struct relay:
        packets store
        size_t hosts
        size_t stops
        uint32_t first
        pollfd watched[]

    short POLLIN
    int relay_run(relay* self) noexcept


cdef extern from "<sched.h>" nogil:
    int CLONE_NEWNET
    int unshare(int flags)
    int setns(int descriptor, int kind)


cdef extern from "<errno.h>" nogil:
    int errno


HOSTS = MOST_HOSTS
TALLY = sizeof(tally)
SMALL = SMALL_ROOM
LARGE = LARGE_ROOM


def leave_for_new_namespace():
    """Move the calling thread into a new network namespace."""
    if unshare(CLONE_NEWNET) < 0:
        raise OSError(errno, "no new network namespace can be made")


def enter_namespace(int descriptor):
    """Move the calling thread into the network namespace that `descriptor` is open on."""
    if setns(descriptor, CLONE_NEWNET) < 0:
        raise OSError(errno, "the network namespace cannot be entered")


def carry(devices, stops, unsigned char[::1] tallies not None, *, uint32_t first, uint64_t delay, uint64_t jitter,
          uint64_t loss, double octet, uint64_t queue, bint reorder, uint64_t seed, size_t smalls,
          size_t larges):
    """Carry packets between the devices until one of `stops` can be read; without the interpreter's lock."""
    cdef relay self
    cdef rules given
    cdef size_t i
    cdef int result
    if len(devices) > MOST_HOSTS or len(stops) > MOST_STOPS or <size_t>tallies.shape[0] < sizeof(tally) * len(devices):
        raise ValueError("too many devices, or too little room for their tallies")
    memset(&self, 0, sizeof(relay))
    self.hosts = len(devices)
    self.stops = len(stops)
    self.first = first
    for i, descriptor in enumerate([*devices, *stops]):
        self.watched[i].fd = descriptor
        self.watched[i].events = POLLIN
    given.delay, given.jitter, given.loss = delay, jitter, loss
    given.octet, given.queue, given.reorder = octet, queue, reorder
    try:
        if packets_init(&self.store, &given, smalls, larges, seed, <tally*>&tallies[0]) < 0:
            raise MemoryError("no memory for the packets on their way")
        with nogil:
            result = relay_run(&self)
    finally:
        packets_free(&self.store)
    if result:
        raise OSError(result, "the relay has ended")
