"""Requests that wait for an answer, at the node that asks and at the one that is asked.

`From` in `{'$gen_call', From, Request}` is (pid, tag). Between processes of one node the tag is the Request itself. For
other nodes it is written as `{'$alias', Number}`: an answer is a pair that begins with it, and finds the request by its
number, whichever process it is sent to. What comes from another node has a Served for a tag.

Both are watches: a Request is on the process that is asked, if that is here, and a Served always. So whoever asks hears
of an end of it without a monitor of its own. The outcome of one that its process goes on after (`request`) is put into
the mailbox: the Request itself is the message. (Nodes that are no Python nodes need one: see `runtime/monitors`.)
"""


from partisan._core.process cimport PARKED, RUNNING

from partisan._core.identities import Atom

__all__ = ["Request", "Served"]

cdef object ALIAS = Atom("$alias")


cdef bint is_alias(object term):
    return type(term) is tuple and len(<tuple>term) == 2 and (<tuple>term)[0] is ALIAS \
        and type((<tuple>term)[1]) is int


cdef class Request(Watch):

    @property
    def pending(self):
        """Whether there is no outcome yet."""
        return self.state == PENDING

    @property
    def failed(self):
        """Whether `outcome` is why there is no answer."""
        return self.state == FAILED

    cdef object term(self):
        if self.number == 0:
            self.number = self.scheduler.next_alias
            self.scheduler.next_alias += 1
        if self.state == PENDING:
            self.scheduler.aliases[self.number] = self
        return (ALIAS, self.number)

    cdef int settle(self, int state, object outcome) except -1:
        if self.state != PENDING:
            return 0
        self.state = state
        self.outcome = outcome
        self.detach()
        if self.caller is not None:
            self.caller.untie(self)
        if self.number:
            self.scheduler.aliases.pop(self.number, None)
        if self.mailed and state != DROPPED:
            self.arrived = True
            self.caller.deliver(self)
        elif self.caller is None and state != DROPPED:
            self.arrived = True
        self.wake()
        settled, self.settled = self.settled, None
        if settled is not None:
            settled(self)
        return 0

    cdef int wake(self) except -1:
        """Let the caller go on if it is parked on this, or is about to be."""
        if self.awaited:
            self.awaited = False
            if self.caller.state == PARKED:  # it may have been made ready by something else
                self.scheduler.make_ready(self.caller)
            elif self.caller.state == RUNNING:
                self.caller.woken = True
        return 0

    def taken(self) -> None:
        """Whoever asked has its outcome."""
        self.arrived = False

    cdef bint answerable(self):
        return True

    cdef int answered(self, object value) except -1:
        return self.settle(ANSWERED, value)

    cpdef int fire(self, object reason) except -1:
        return self.settle(FAILED, reason)

    cpdef int drop(self) except -1:
        """Nobody wants the answer: it is thrown away when it comes, and the other node is told, if it is one of ours."""
        if self.state == PENDING:
            self.settled = None
            self.awaited = False
            self.settle(DROPPED, None)
            if self.number and self.node is not None and not self.foreign:
                self.scheduler.forget(self.node, self.target, self.number)
        return 0


cdef class Served(Watch):

    cdef int attach(self, Watched of) except -1:
        if self.tally is not None:
            self.tally.waiting += 1
        return Watch.attach(self, of)

    cdef int detach(self) except -1:
        cdef Tally tally = self.tally
        if self.of is not None and tally is not None:
            tally.waiting -= 1
            if tally.waiting == 0:
                tally.tallies.pop(tally.node, None)
        return Watch.detach(self)

    cdef object term(self):
        return self.tag

    cpdef int fire(self, object reason) except -1:
        self.refuse(self.caller, self.tag, self.channel, reason)
        return 0
