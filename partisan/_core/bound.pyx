"""The octet bound that the send queues of one (peer, channel) share, and what happens above it."""

from partisan._core.process cimport Process

from partisan.errors import Overloaded

__all__ = ["Bound"]

POLICIES = {"wait": WAIT, "error": ERROR, "drop_oldest": DROP_OLDEST}


cdef class Bound:
    """How many octets may wait for one (peer, channel).

    Args:
        node, channel: whose, for messages.
        high_water, hard_limit: octets.
        policy: "wait", "error" or "drop_oldest": what happens above high water.
        changed: callable(bound), called when `over` has changed; or None.
    """

    def __cinit__(self, str node, str channel, *, Py_ssize_t high_water, Py_ssize_t hard_limit, str policy="wait",
                  changed=None):
        self.node = node
        self.channel = channel
        self.held = []
        self.adjust(high_water=high_water, hard_limit=hard_limit, policy=policy)
        self.changed = changed

    def __repr__(self):
        return f"<Bound {self.node} {self.channel}: {self.queued_octets} of {self.high_water} octets>"

    def adjust(self, *, Py_ssize_t high_water, Py_ssize_t hard_limit, str policy) -> None:
        """Take other limits, or another policy: what waits now is judged by them at once.

        A queue drops frames only if it was made for that: the policy of a queue that exists changes between the others.
        """
        self.high_water = high_water
        self.low_water = high_water // 2
        self.hard_limit = max(hard_limit, high_water)
        self.policy = POLICIES[policy]
        if self.policy != WAIT:
            self.release_held()
        self.charge(0)
        self.discharge(0)

    cdef int release_held(self) except -1:
        held, self.held = self.held, []
        for process in held:
            (<Process>process).release()
        return 0

    cdef int admit(self) except -1:
        """Raise Overloaded if the policy refuses a frame now."""
        if self.over and (self.policy == ERROR or self.queued_octets >= self.hard_limit):
            raise Overloaded(self.node, self.channel, self.queued_octets)
        return 0

    cdef int charge(self, Py_ssize_t size) except -1:
        self.queued_octets += size
        if not self.over and self.queued_octets > self.high_water:
            self.over = True
            if self.changed is not None:
                self.changed(self)
        return 0

    cdef int discharge(self, Py_ssize_t size) except -1:
        self.queued_octets -= size
        if self.over and self.queued_octets <= self.low_water:
            self.over = False
            self.release_held()
            if self.changed is not None:
                self.changed(self)
        return 0

    cdef int hold(self, Process process) except -1:
        """Hold a process that has sent while this is over high water, until it is relieved."""
        if process not in self.held:
            process.hold()
            self.held.append(process)
        return 0

    cdef int count_dropped(self, Py_ssize_t size) except -1:
        self.dropped_frames += 1
        self.dropped_octets += size
        return 0

    cdef int count_superseded(self) except -1:
        self.superseded_frames += 1
        return 0
