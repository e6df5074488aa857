"""Requests that wait for an answer, at the node that asks and at the one that is asked."""

from partisan._core.awaitable cimport Awaitable
from partisan._core.identities cimport Pid
from partisan._core.process cimport Process
from partisan._core.scheduler cimport Scheduler
from partisan._core.watch cimport Watch, Watched


cdef enum RequestState:
    PENDING = 0
    ANSWERED = 1
    FAILED = 2      # whom it was for has ended, or cannot be reached
    DROPPED = 3     # nobody wants the answer any more


cdef class Request(Watch):
    """Of this node: it is on whom it is for, if that is a process of this node, and stands for itself in `From`."""
    cdef Scheduler scheduler
    cdef Process caller                 # woken by the outcome while it waits for it; None: code that is no process's own
    cdef readonly object target         # whom it is for: a pid, a name, or (name, node)
    cdef readonly str node              # whose process that is, if it is of another node
    cdef unsigned long long number      # under which it is known to other nodes; 0 until it is written
    cdef readonly int state
    cdef readonly object outcome        # the answer, or why there is none
    cdef bint awaited                   # the caller is parked on it
    cdef readonly bint mailed           # the caller gets it as a message when there is an outcome
    cdef readonly bint arrived          # ... which there is; whoever asked has not taken it yet
    cdef public object settled          # callable(request), called with the outcome; or None
    cdef readonly bint foreign          # it went over a foreign connection

    cdef int settle(self, int state, object outcome) except -1
    cdef int wake(self) except -1


cdef class Tally:
    """How many requests that came from one node wait for their answer here."""
    cdef dict tallies                   # node -> its own, which is there as long as any waits
    cdef object node
    cdef Py_ssize_t waiting


cdef class Served(Watch):
    """Of another node: it stands for the tag in the `From` of a request that came from there."""
    cdef Tally tally                    # that counts it while it is on a process; or None
    cdef readonly object caller         # a pid, or (name, node)
    cdef readonly object tag            # as it came
    cdef readonly str channel           # on which it came
    cdef object refuse                  # callable(caller, tag, channel, reason): whom it is for has ended

    cdef int attach(self, Watched of) except -1
    cdef int detach(self) except -1


cdef bint is_alias(object term)
