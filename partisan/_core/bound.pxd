"""The octet bound that the send queues of one (peer, channel) share, and what happens above it."""

from partisan._core.process cimport Process


cdef enum Policy:
    WAIT = 0         # past high water the sending process is held; past the hard limit Overloaded is raised
    ERROR = 1        # past high water Overloaded is raised
    DROP_OLDEST = 2  # past high water the oldest frames that wait are dropped and counted


cdef class Bound:
    """How many octets may wait for one (peer, channel); all connections of the channel share it."""
    cdef readonly str node
    cdef readonly str channel
    cdef readonly Policy policy
    cdef readonly Py_ssize_t queued_octets   # waiting now
    cdef readonly Py_ssize_t high_water      # octets; above it the policy decides
    cdef readonly Py_ssize_t low_water       # octets; at or below it the bound is relieved
    cdef readonly Py_ssize_t hard_limit      # octets; a send that finds so many is refused
    cdef readonly bint over                  # above high water, and not yet down to low water
    cdef readonly unsigned long long dropped_frames
    cdef readonly unsigned long long dropped_octets
    cdef readonly unsigned long long superseded_frames
    cdef list held                           # processes that this bound holds
    cdef object changed                      # callable(bound): `over` has changed; or None

    cdef int admit(self) except -1
    cdef int charge(self, Py_ssize_t size) except -1
    cdef int discharge(self, Py_ssize_t size) except -1
    cdef int hold(self, Process process) except -1
    cdef int count_dropped(self, Py_ssize_t size) except -1
    cdef int count_superseded(self) except -1
    cdef int release_held(self) except -1
