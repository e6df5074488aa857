"""Ask a process and wait for its answer: what `call` of every behaviour is made of."""

from cpython.contextvars cimport PyContextVar_Get
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from partisan._core.awaitable cimport SUSPEND
from partisan._core.connections cimport Peer
from partisan._core.identities cimport Atom, Pid
from partisan._core.process cimport Parked, Process, running_process
from partisan._core.requests cimport ANSWERED, DROPPED, FAILED, PENDING, Request, Served
from partisan._core.router cimport Router, current_router

from warnings import warn

from partisan._core.router import NO_CHANNEL, NO_NODE
from partisan._core.references import place_of
from partisan._core.via import whereis_via
from partisan.errors import (
    CallTimeout, Exit, LocalProtocolError, NodeDown, NoProc, NotConnected, NotInProcess, Overloaded,
)
from partisan.names import DEFAULT_CHANNEL

__all__ = ["Response", "Waiting", "call", "failure", "reply", "request"]

cdef object GEN_CALL = Atom("$gen_call")
cdef object GEN_SERVER = Atom("gen_server")
cdef object CALL = Atom("call")
cdef object NOPROC = Atom("noproc")
cdef object CALLING_SELF = Atom("calling_self")
cdef object NODEDOWN = Atom("nodedown")
cdef object NOCONNECTION = Atom("noconnection")
cdef double DEFAULT_TIMEOUT = 5.0
cdef str NO_TARGET = "{!r} is no target: a pid, a name, (name, node) or a remote reference to a process"


cdef Router the_router():
    cdef PyObject* found = NULL
    PyContextVar_Get(current_router, NULL, &found)
    if found is NULL:
        raise LocalProtocolError(NO_NODE)
    router = <Router><object>found
    Py_DECREF(router)
    return router


cdef str node_of(Router router, object target):
    """The node of a target, or None if it is this one."""
    kind = type(target)
    if kind is Pid:
        node = (<Pid>target).home.name
    elif kind is tuple and len(<tuple>target) == 2:
        node = (<tuple>target)[1]
        node = (<Atom>node).name if type(node) is Atom else node
    elif kind is str or kind is Atom:
        return None
    else:
        raise TypeError(NO_TARGET.format(target))
    if type(node) is not str:
        raise TypeError(NO_TARGET.format(target))
    return None if node is router.node or node == router.node else node


cdef object located(object target):
    """The target; of ("via", registry, name) the pid, or None; of a remote reference the pid or (name, node)."""
    kind = type(target)
    if kind is Pid or kind is str or kind is Atom or (kind is tuple and len(<tuple>target) == 2):
        return target
    if target is None:
        raise TypeError(NO_TARGET.format(target))
    place = place_of(target)
    if place is not None:
        return place
    return whereis_via(target) if kind is tuple and len(<tuple>target) == 3 else target


cdef Process process_here(Router router, object target):
    """The process of this node that is meant, or None."""
    kind = type(target)
    if kind is Pid:
        return router.scheduler.find_process((<Pid>target).id, (<Pid>target).serial)
    if target is None:
        return None
    name = (<tuple>target)[0] if kind is tuple else target
    found = router.scheduler.names.get((<Atom>name).name if type(name) is Atom else name)
    return <Process>found if type(found) is Process else None


cdef str chosen(object channel, Process process):
    """The channel of what a process sends: as said, or else its own."""
    if channel is None:
        return None if process is None else process.channel
    if type(channel) is not str:
        raise TypeError(NO_CHANNEL.format(channel))
    return <str>channel


cdef double patience(object timeout) except? -2.0:
    """Seconds that a call waits; -1.0 for ever."""
    cdef double seconds
    if timeout is None:
        return -1.0
    try:
        seconds = timeout
    except TypeError as error:
        raise TypeError(f"timeout {timeout!r} is no number of seconds (a float or int; None waits for ever)") from error
    return seconds if seconds > 0.0 else 0.0


cdef Request begin(Router router, Process caller, object target, object message, object label, str channel,
                   object partition_key, bint waits):
    """Send a request; its outcome may be there already: that nobody has the name, or that there is no connection.

    Args:
        caller: None for code that is no process's own.
        waits: the caller does nothing else meanwhile: to ask itself fails.
    """
    cdef Request asked = Request.__new__(Request)
    cdef Process callee
    asked.scheduler = router.scheduler
    asked.caller = caller
    asked.target = target
    asked.node = None if target is None else node_of(router, target)
    request = (label, (router.outside if caller is None else caller.pid, asked), message)
    if asked.node is None:
        callee = process_here(router, target)
        if callee is None:
            asked.settle(FAILED, NOPROC)
        elif callee is caller and waits:
            asked.settle(FAILED, CALLING_SELF)
        else:
            asked.attach(callee)
            callee.deliver(request)
        return asked
    try:
        router.post(target, request, chosen(channel, caller), partition_key, asked, False)
    except NotConnected:
        asked.settle(FAILED, (NODEDOWN, Atom(asked.node)))
    except BaseException:
        asked.settle(DROPPED, None)
        raise
    return asked


def request(target, message, *, label=GEN_CALL, channel=None, partition_key=None, bint mailed=True) -> Request:
    """Send a request; the running process goes on meanwhile, and gets the Request as a message when it has an outcome.

    What belongs to no process, a task of one included, gets no message, nor does who asks with `mailed` false: see
    `Request.settled`. Raises Overloaded, EncodeError.
    """
    cdef Router router = the_router()
    cdef Process caller = running_process()
    if caller is not None and router.scheduler.running is not caller:
        caller = None
    cdef Request asked = begin(router, caller, located(target), message, label, chosen(channel, None), partition_key,
                                 False)
    if caller is not None:
        asked.mailed = mailed
        if asked.state == PENDING:
            caller.tie(asked, asked)
        elif mailed:
            asked.arrived = True
            caller.deliver(asked)
    return asked


cdef class Waiting(Parked):
    """What awaiting gives the first of some requests to have an outcome, taken out of the mailbox; None if none has.

    Args:
        requests: of the running process. One that was given before is not given again.
        timeout: seconds; None waits for ever, 0 only looks.
    Raises:
        NotInProcess: a request belongs to another process, or to none.
    """

    cdef Process process
    cdef object requests        # a frozenset, or the dict of a collection
    cdef Py_ssize_t tested      # so many messages are known to be none of these

    def __init__(self, requests, timeout=None):
        self.process = running_process()
        self.requests = requests if type(requests) is dict else frozenset(requests)
        self.timeout = -1.0 if timeout is None else max(0.0, timeout)
        if self.process is None:
            raise NotInProcess("an answer to a request without a process is no message")

    cdef object advance(self):
        cdef Request request
        cdef bint pending = False
        arrived = None
        if self.process.scheduler.running is not self.process:
            raise NotInProcess("an answer belongs to the process itself, not to a task that it started")
        if self.process.doomed:
            return self.process.meet_signal()
        if self.process.mailbox.length < len(self.requests):  # of many, one that is there is found soonest there
            arrived = self.take(None)
            if arrived is not None:
                self.close()
                return arrived
        for request in self.requests:
            if request.caller is not self.process:
                self.close()
                raise NotInProcess(f"{request!r} is of another process")
            request.awaited = request.state == PENDING  # from here on its outcome wakes this process
            pending = pending or request.awaited
            arrived = request if request.arrived else arrived
        if arrived is not None:
            self.close()
            return self.take(arrived)
        if not pending or self.expired or self.timeout == 0.0:
            self.close()
            return None
        self.tested = self.process.mailbox.length
        if self.timeout > 0.0 and self.ring is None:
            self.process.scheduler.deadlines.start(self)
        return SUSPEND

    cdef Request take(self, Request found):
        """The oldest of those that are in the mailbox, out of it; `found` if a full mailbox has lost them."""
        cdef Py_ssize_t position = self.process.mailbox.find((self.wanted,), self.tested)
        if position < 0 and self.tested:
            position = self.process.mailbox.find((self.wanted,), 0)
        if position >= 0:
            found = self.process.take(position)
        if found is not None:
            found.arrived = False
        return found

    def wanted(self, message) -> bool:
        """Whether a message is one of the requests."""
        return type(message) is Request and message in self.requests

    cdef int on_expired(self) except -1:
        return self.process.time_over()

    def throw(self, kind, value=None, traceback=None):
        """Raise at the await: the requests go on."""
        self.close()
        raise kind if value is None else value

    def close(self):
        """The wait is over."""
        cdef Request request
        for request in self.requests:
            if request.caller is self.process:
                request.awaited = False
        self.stop_timer()


cdef class Response(Parked):
    """What awaiting gives the answer to a request."""

    cdef Process process
    cdef Request request
    cdef Router router          # with what follows, until the request is sent
    cdef object target, message, label, key, where
    cdef object place           # the target, found: None is nobody
    cdef str channel
    cdef object outside         # the coroutine that calls for a task that the process started, or None
    cdef bint begun             # somebody awaits it, or has given it up

    def __del__(self):
        """Nothing is asked before somebody awaits it: say so where nobody did, as Python does of coroutines."""
        if not self.begun:
            warn(f"a call of {self.target!r} was never awaited: it asked nothing", RuntimeWarning)

    cdef object advance_outside(self):
        """Go on in a task that the process started: that cannot be suspended as the process is, so it has the call made
        for it."""
        if self.outside is None:
            self.outside = self.router.call_outside(
                self.target, self.message, None if self.timeout < 0.0 else self.timeout, self.channel, self.key, self.label,
                self.where)
        try:
            self.instead = self.outside.send(None)
        except StopIteration as end:
            return end.value
        return SUSPEND

    def send(self, value):
        """Go on, as a coroutine: so a task can be made of a call."""
        found = self.advance()
        if found is SUSPEND:
            return self if self.instead is None else self.instead
        raise StopIteration(found)

    cdef object advance(self):
        self.begun = True
        if self.process.scheduler.running is not self.process:
            return self.advance_outside()
        if self.request is None:
            self.request = begin(self.router, self.process, self.place, self.message, self.label, self.channel,
                                 self.key, True)
        if self.request.state == PENDING and not self.expired:
            if self.process.doomed:
                return self.process.meet_signal()
            self.request.awaited = True
            if self.timeout >= 0.0 and self.ring is None:
                self.process.scheduler.deadlines.start(self)
            return SUSPEND
        self.stop_timer()
        if self.request.state == ANSWERED:
            return self.request.outcome
        self.request.drop()
        where = (self.where, CALL, [self.target, self.message] + ([] if self.timeout == DEFAULT_TIMEOUT else
                                                                  [None if self.timeout < 0.0 else self.timeout]))
        if self.request.state == FAILED:
            raise failure(self.request.outcome, self.target, where)
        raise CallTimeout(self.timeout, self.target, where)

    cdef int on_expired(self) except -1:
        return self.process.time_over()

    def throw(self, kind, value=None, traceback=None):
        """Raise at the await: the answer is not wanted any more."""
        self.begun = True
        if self.outside is not None:
            self.instead = self.outside.throw(kind if value is None else value)
            return self.instead
        self.close()
        raise kind if value is None else value

    def close(self):
        """The caller ends: the answer is not wanted any more."""
        self.begun = True
        if self.outside is not None:
            self.outside.close()
        self.stop_timer()
        if self.request is not None:
            self.request.drop()


cpdef object failure(object reason, object target, object where):
    """The exception of a call whose callee has ended, or cannot be reached."""
    if reason is NOPROC:
        return NoProc(reason, target, where)
    if reason is NOCONNECTION or (type(reason) is tuple and len(<tuple>reason) == 2
                                  and (<tuple>reason)[0] is NODEDOWN):
        return NodeDown(reason, where)
    return Exit(reason, where)


def call(target, message, *, timeout=DEFAULT_TIMEOUT, channel=None, partition_key=None, label=GEN_CALL, where=GEN_SERVER):
    """Ask a process and await its answer: see `partisan.gen.call`."""
    cdef Router router = the_router()
    cdef Process caller = running_process()
    cdef Response response
    cdef str node, lane = chosen(channel, caller)
    cdef Peer peer
    cdef double seconds = patience(timeout)
    if caller is None or router.scheduler.running is not caller:
        return router.call_outside(target, message, timeout, lane, partition_key, label, where)
    place = located(target)
    node = None if place is None else node_of(router, place)
    if node is not None:
        peer = router.table.peers.get(node)
        if peer is None or not peer.count:
            if router.call_unreached is not None:
                reaching = router.call_unreached(
                    place, message, timeout, lane, partition_key, label, where)
                if reaching is not None:
                    return reaching
        elif not peer.watches(lane):
            return router.call_monitored(place, message, timeout, lane, partition_key, label, where)
    response = Response.__new__(Response)
    response.process = caller
    response.router = router
    response.target = target
    response.place = place
    response.message = message
    response.label = label
    response.channel = channel
    response.key = partition_key
    response.where = where
    response.timeout = seconds
    return response


def reply(caller, answer) -> None:
    """Answer a request: `caller` is the `From` that came with it.

    The answer takes the channel of the request. To whom is gone, or gave no address, it is no error. If it raises, as
    EncodeError for what is no term, the request still waits: of the end of this process whoever asked is told.
    """
    cdef Router router
    cdef Served served = None
    tag = (<tuple>caller)[1] if type(caller) is tuple and len(<tuple>caller) == 2 else None
    if type(tag) is Request:
        (<Request>tag).answered(answer)
        return
    router = the_router()
    if type(tag) is Served:
        served = <Served>tag
        asker = served.caller
    else:
        asker = None if tag is None else (<tuple>caller)[0]
        if type(asker) is not Pid:
            asker = place_of(asker)
    if asker is None:
        router.nobody(caller, answer)
        return
    if router.is_here(asker):
        answer_here(router, asker, (tag, answer))
        return
    channel = None
    if served is not None and served.channel != DEFAULT_CHANNEL:
        channel = served.channel
    key = tag if served is not None else object()  # answers do not supersede each other; what came need not have a hash
    try:
        router.post(asker, (tag, answer), chosen(channel, running_process()), None, key, False)
    except (NotConnected, Overloaded):
        router.nobody(asker, (tag, answer))
    if served is not None:
        served.detach()


cdef int answer_here(Router router, object asker, object pair) except -1:
    """Give an answer to a process of this node. What else has a name here, as the manager, asks nobody."""
    cdef Process process = process_here(router, asker)
    router.check_thread()
    if process is None:
        return router.give_nobody(asker, pair, None)
    return process.deliver(pair)
