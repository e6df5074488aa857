"""The way of a message: from send() to a send queue, and from a connection (`inbound`) to a mailbox.

Out: target -> connection table -> slot -> the term is encoded into the connection's send queue; the queue is marked,
and all marked queues are written once, at the end of the burst or of the loop turn.
In: octets -> frame -> the target is read where it lies -> the message is decoded -> mailbox; at the end of the burst the
processes that it woke are stepped, and what they sent is written.
"""

cimport cython
from cpython.contextvars cimport PyContextVar_Get, PyContextVar_New
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint8_t

from partisan._core.acknowledged cimport Acknowledging
from partisan._core.bound cimport WAIT
from partisan._core.connections cimport ConnectionTable, Lane, Peer
from partisan._core.etf cimport Codec
from partisan._core.frame cimport FrameReader
from partisan._core.identities cimport Atom, Pid, atom_from_str
from partisan._core.pairs cimport own_hash, pair_hash
from partisan._core.pids cimport write_pid
from partisan._core.process cimport Process, running_process
from partisan._core.scheduler cimport Scheduler
from partisan._core.requests cimport Served, Tally, is_alias
from partisan._core.sendqueue cimport SendQueue

from collections import deque

from partisan._core.references import place_of, read_target
from partisan._core.via import send_via, whereis_via
from partisan.errors import AckUnsupported, LocalProtocolError, NoProc, NotConnected, WrongThread
from partisan.names import DEFAULT_CHANNEL

__all__ = ["Origin", "PairKey", "Router", "current_router_var", "send"]

cdef str DEFAULT = DEFAULT_CHANNEL
cdef object PADDED = Atom("$partisan_padded")
cdef object NOPROC = Atom("noproc")
cdef object PYTHON = Atom("partisan_python")
cdef object CAUSAL = Atom("causal")
cdef object GEN_CALL = Atom("$gen_call")
cdef object TOO_MANY = (Atom("system_limit"), Atom("max_served"))

MOST_SERVED = 1 << 17
"""Requests that one node has sent and that wait for their answer here, at most (ours)."""

cdef Py_ssize_t most_served = MOST_SERVED


NO_NODE = (
    "there is no current node: call this inside a process or `async with Node(...)`; from another thread, or where the "
    "node is not the current one, call `node.threadsafe(...)` or the node's own method"
)

NO_CHANNEL = "channel {!r} is no name of a channel: a str"

cdef object current_router = PyContextVar_New("partisan_current_router", NULL)
current_router_var = current_router


def send(target, message, *, channel=None, partition_key=None, key=None, bint ack=False, causal_label=None,
         clock=None, bint transitive=False, out_links=None, bint broadcast=False) -> None:
    """Send a message to a process, from the current node: see `Router.send`."""
    cdef PyObject* found = NULL
    PyContextVar_Get(current_router, NULL, &found)
    if found is NULL:
        raise LocalProtocolError(NO_NODE)
    router = <Router><object>found
    Py_DECREF(router)
    if causal_label is not None or clock is not None or transitive or broadcast or out_links is not None:
        (<Router>router).optioned(target, message, channel=channel, partition_key=partition_key, key=key, ack=ack,
                                  causal_label=causal_label, clock=clock, transitive=transitive, out_links=out_links,
                                  broadcast=broadcast)
        return
    if channel is not None and type(channel) is not str:
        raise TypeError(NO_CHANNEL.format(channel))
    (<Router>router).post(target, message, channel, partition_key, key, ack)


@cython.final
cdef class PairKey:
    """Stands for a partition key where messages are to keep their order with those of a pair, and share as they do.

    Args:
        value: modulo the slots of pairs it is the slot.
    """

    def __init__(self, unsigned long long value):
        self.value = value

    def __repr__(self):
        return f"PairKey({self.value})"


cdef class Origin(FrameReader):
    """Abstract: the connection on which a message came, as far as its receivers know it."""


cdef class Router:
    """One node's messages.

    Args:
        codec: of messages on the wire.
        scheduler, table: this node's processes and connections.
        clock: callable() -> monotonic seconds.
        call_soon: callable(function): call it in the next loop turn.
        undeliverable: callable(target, message): called for a message that nobody here is the target of.

    Not thread-safe: methods belong to the thread that made it and raise WrongThread elsewhere.
    """

    def __cinit__(self, str node not None, *, Codec codec not None, Scheduler scheduler not None,
                  ConnectionTable table not None, clock, call_soon, undeliverable):
        self.foreign_parts = frozenset()
        self.tallies = {}
        self.node = node
        self.outside = Pid(node, 0)
        self.codec = codec
        self.scheduler = scheduler
        self.table = table
        self.clock = clock
        self.call_soon = call_soon
        self.undeliverable = undeliverable
        self.dirty = []
        self.ending = deque()
        self.thread = PyThread_get_thread_ident()

    cdef int check_thread(self) except -1:
        if PyThread_get_thread_ident() != self.thread:
            raise WrongThread("a node belongs to the thread of its loop: use node.threadsafe")
        return 0

    def send(self, target, message, *, channel=None, partition_key=None, key=None, bint ack=False, causal_label=None,
             clock=None, bint transitive=False, out_links=None, bint broadcast=False) -> None:
        """Send a message to a process: encode, queue, return.

        Args:
            target: a Pid; a registered name (str or Atom) of this node; (name, node name); ("via", registry, name); or
                a remote reference to a process (`partisan.remote_ref`).
            message: any term.
            channel: the channel's name; None is the default channel.
            partition_key: an int of at least 0 that chooses the connection (key modulo parallelism). None: the pair of
                sender and receiver does, and pairs share one as long as none would wait there.
            key: on a monotonic channel, which object this message is the state of: it supersedes older ones with the
                same key only.
            ack: keep the message, and send it again, until the other node acknowledges it.
            causal_label: deliver it in the causal order of this label, one of `causal_labels`.
            clock: with `ack`: a term, under which it is acknowledged.
            transitive, broadcast: have other nodes pass it on, if the node is no neighbor; either says so.
            out_links: the same, by these neighbors alone.
        Raises:
            NotConnected: no connection to the node, and nobody to pass the message on.
            Overloaded: the channel's queue is full and its policy refuses more.
            NoProc: a name of this node that nobody has.
            EncodeError: the message is no term.
            UnknownLabel: this node has no such causal label.
            ValueError: the partition key is no int of at least 0; or there is a key, and the message is to be kept or
                is causal; or a clock without `ack`.
        """
        if causal_label is not None or clock is not None or transitive or broadcast or out_links is not None:
            self.optioned(target, message, channel=channel, partition_key=partition_key, key=key, ack=ack,
                          causal_label=causal_label, clock=clock, transitive=transitive, out_links=out_links,
                          broadcast=broadcast)
            return
        if channel is not None and type(channel) is not str:
            raise TypeError(NO_CHANNEL.format(channel))
        self.post(target, message, channel, partition_key, key, ack)

    cdef int post(self, object target, object message, str channel, object partition_key, object key,
                  bint ack) except -1:
        kind = type(target)
        self.check_thread()
        if partition_key is not None and type(partition_key) is not PairKey \
                and (type(partition_key) is not int or partition_key < 0):
            raise ValueError(f"partition_key {partition_key!r} is no int of at least 0")
        if ack and key is not None:
            raise ValueError("key lets newer messages take the place of older ones, and ack keeps every one: not both")
        if kind is tuple and len(<tuple>target) == 2:
            name = (<tuple>target)[0]
            node = (<tuple>target)[1]
            if type(node) is Atom:
                node = (<Atom>node).name
            if type(node) is str:
                return self.send_named(name, node, message, channel, partition_key, key, ack)
        elif kind is Pid:
            return self.send_pid(target, message, channel, partition_key, key, ack)
        elif kind is str or kind is Atom:
            return self.send_named(target, self.node, message, channel, partition_key, key, ack)
        elif kind is Process:
            return self.send_pid((<Process>target).pid, message, channel, partition_key, key, ack)
        return self.send_elsewhere(target, message, channel, partition_key, key, ack)

    cdef int send_elsewhere(self, object target, object message, str channel, object partition_key, object key,
                            bint ack) except -1:
        """Send to a remote reference, or to a name that a registry keeps: with options that is asked for the pid only."""
        place = place_of(target)
        if place is not None:
            return self.post(place, message, channel, partition_key, key, ack)
        if channel is None and partition_key is None and key is None and not ack:
            send_via(target, message)
            return 0
        pid = whereis_via(target)
        if pid is None:
            raise NoProc(NOPROC, target)
        return self.send_pid(pid, message, channel, partition_key, key, ack)

    cdef int send_named(self, object name, str node, object message, str channel, object partition_key,
                        object key, bint ack) except -1:
        if type(name) is not Atom:
            if type(name) is not str:
                raise TypeError(f"{name!r} is no process name: a str or an Atom")
            if node is self.node or node == self.node:
                return self.send_here(<str>name, message)
            name = atom_from_str(<str>name)
        elif node is self.node or node == self.node:
            return self.send_here((<Atom>name).name, message)
        if self.forwarding is not None:
            self.forwarding(node, name, message, channel, partition_key, key, ack)
            return 0
        return self.send_remote(node, <const uint8_t*><const char*>(<Atom>name).ext, len((<Atom>name).ext), name,
                                message, channel, partition_key, key, ack)

    cdef int send_here(self, str name, object message) except -1:
        target = self.scheduler.names.get(name)
        if type(target) is Process:
            return (<Process>target).deliver(message)
        if target is None:
            raise NoProc(NOPROC, name)
        target(message, None)
        return 0

    cdef int send_pid(self, object pid, object message, str channel, object partition_key, object key,
                      bint ack) except -1:
        cdef uint8_t target[64]
        cdef Process process
        if (<Pid>pid).home.name is self.node or (<Pid>pid).home.name == self.node:
            process = self.scheduler.find_process((<Pid>pid).id, (<Pid>pid).serial)
            if process is not None:
                return process.deliver(message)
            return self.give_nobody(pid, message, None)
        if self.forwarding is not None:
            self.forwarding((<Pid>pid).home.name, pid, message, channel, partition_key, key, ack)
            return 0
        return self.send_remote((<Pid>pid).home.name, target, write_pid(target, <Pid>pid), pid, message, channel,
                                partition_key, key, ack)

    def forward(self, str node not None, target, message, *, channel=None, partition_key=None, key=None,
                bint ack=False) -> None:
        """Send to a process of another node, by its pid or the Atom that names it there, past `forwarding`."""
        cdef uint8_t octets[64]
        self.check_thread()
        if type(target) is Pid:
            self.send_remote(node, octets, write_pid(octets, target), target, message, channel, partition_key, key, ack)
        elif type(target) is Atom:
            self.send_remote(node, <const uint8_t*><const char*>(<Atom>target).ext, len((<Atom>target).ext), target,
                             message, channel, partition_key, key, ack)
        else:
            raise TypeError(f"{target!r} is neither a pid nor the Atom of a name")

    cdef bint is_system(self, object name):
        """Whether the target is a part of every node, as the manager, and no process: it is named alike everywhere."""
        if type(name) is not Atom:
            return False
        found = self.scheduler.names.get((<Atom>name).name)
        return found is not None and type(found) is not Process

    cdef bint is_ours(self, object name):
        """Whether the target is such a part, and of Partisan: nobody hears of it over a foreign connection."""
        return self.is_system(name) and (<Atom>name).name not in self.foreign_parts

    cdef int send_remote(self, str node, const uint8_t* target, size_t size, object name, object message,
                         str channel, object partition_key, object key, bint ack) except -1:
        """Queue a message for a process of another node; `target` is the target's encoding, `name` its term."""
        if ack:
            return self.send_kept(node, target, size, name, message, channel, partition_key)
        cdef Lane lane
        cdef SendQueue queue
        try:
            lane = self.lane_to(node, channel)
            queue = self.queue_of(lane, target, size, name, partition_key)
        except NotConnected:
            if self.relaying is not None and self.relaying(node, name, message, channel, False):
                return 0
            raise
        if lane.envelope is not None and not queue.foreign:
            enveloped = lane.envelope(name, message)
            if enveloped is not None:
                message = enveloped
                target = <const uint8_t*><const char*>(<Atom>PYTHON).ext
                size = len((<Atom>PYTHON).ext)
        if self.padding is not None and not queue.foreign and not self.is_system(name):
            message = (PADDED, self.padding, message)
        queue.push_forward(self.codec, target, size, name, message, key, self.clock() if queue.framed else 0.0)
        return self.hold_sender(queue)

    cdef int send_kept(self, str node, const uint8_t* target, size_t size, object name, object message,
                       str channel, object partition_key) except -1:
        """As send_remote, and keep the message; while the node is not connected that is all."""
        cdef SendQueue queue = None
        if self.acknowledging is None:
            raise LocalProtocolError("this router keeps no messages: it was given nothing that does")
        try:
            queue = self.queue_of(self.lane_to(node, channel), target, size, name, partition_key)
        except NotConnected as error:
            if self.relaying is not None and self.relaying(node, name, message, channel, True):
                return 0
            if not error.known and not self.acknowledging.expected(node):
                raise
        if queue is not None and queue.foreign:
            raise AckUnsupported(node)
        if queue is not None and not self.acknowledging.may_go(node):
            queue = None
        if self.place is None or (<tuple>self.place)[0] is not name or (<tuple>self.place)[1] is not channel \
                or (<tuple>self.place)[2] is not partition_key:
            self.place = (name, channel, partition_key)
        self.acknowledging.keep(self.codec, node, target, size, self.place, message, queue, self.busy)
        return 0 if queue is None else self.hold_sender(queue)

    cdef Lane lane_to(self, str node, str channel):
        cdef Peer peer = self.table.peers.get(node)
        if peer is None:
            raise NotConnected(node)
        found = peer.lanes.get(DEFAULT if channel is None else channel)
        return <Lane>found if found is not None else peer.stand_in(DEFAULT if channel is None else channel)

    cdef SendQueue queue_of(self, Lane lane, const uint8_t* target, size_t size, object name, object partition_key):
        """The queue that a message of the running process to this target takes. Raises NotConnected, Overloaded."""
        cdef SendQueue queue
        if lane.peer.foreign is not None and not self.is_ours(name):
            queue = lane.away()
            if queue is not None:
                if queue.bound.over:
                    queue.bound.admit()
                return queue
        return self.own_queue_of(lane, target, size, partition_key)

    cdef SendQueue own_queue_of(self, Lane lane, const uint8_t* target, size_t size, object partition_key):
        """The queue of Partisan's own wire that such a message takes. Raises NotConnected, Overloaded."""
        cdef Py_ssize_t slot = 0
        cdef SendQueue queue
        if lane.parallelism > 1:
            if partition_key is None:
                slot = own_hash(target, size) % <size_t>lane.pairs
            elif type(partition_key) is PairKey:
                slot = (<PairKey>partition_key).value % <size_t>lane.pairs
            else:
                slot = lane.slot_of(partition_key % lane.parallelism)
        queue = lane.at(slot)
        if queue.bound.over:
            queue.bound.admit()
        return queue

    cdef int hold_sender(self, SendQueue queue) except -1:
        """Hold the running process if what waits with its message is above high water."""
        cdef Process sender
        if queue.bound.over and queue.bound.policy == WAIT:
            sender = running_process()
            if sender is not None:
                queue.bound.hold(sender)
        return 0

    def queue_to(self, str node not None, target not None, *, channel=None, partition_key=None) -> SendQueue:
        """The queue that a message to this pid or name of another node takes: for `push_body`.

        Raises:
            NotConnected: there is none that takes bodies, as Erlang's distribution has none; `known` tells whether the
                node was connected before.
            Overloaded: the channel's policy refuses more.
        """
        cdef uint8_t pid[64]
        cdef bytes name
        cdef SendQueue queue
        if type(target) is Pid:
            queue = self.own_queue_of(self.lane_to(node, channel), pid, write_pid(pid, <Pid>target), partition_key)
        else:
            name = (<Atom?>target).ext
            queue = self.own_queue_of(
                self.lane_to(node, channel), <const uint8_t*><const char*>name, len(name), partition_key
            )
        return queue

    def pair_key(self, Pid sender not None, Pid target not None) -> PairKey:
        """What stands for a partition key of messages that are to keep their order with those between two processes."""
        cdef uint8_t octets[64]
        return PairKey(pair_hash(sender.id, octets, write_pid(octets, target)))

    def own_key(self, target not None) -> PairKey:
        """The same for the running process and a pid, or the Atom of a name."""
        cdef uint8_t pid[64]
        cdef bytes name
        if type(target) is Pid:
            return PairKey(own_hash(pid, write_pid(pid, <Pid>target)))
        name = (<Atom?>target).ext
        return PairKey(own_hash(<const uint8_t*><const char*>name, len(name)))

    def push_body(self, SendQueue queue not None, bytes body not None) -> None:
        """Queue a frame that is encoded already, version octet and all."""
        queue.push_raw(body)
        self.hold_sender(queue)

    cdef int give(self, Process process, object message, Origin inbound) except -1:
        """Deliver what came from another node."""
        if inbound is not None and type(message) is tuple and len(<tuple>message) == 3:
            message = self.serve(<tuple>message, process, inbound)
            if message is None:
                return 0
        return process.deliver(message)

    cdef int give_nobody(self, object target, object message, Origin inbound) except -1:
        """A message is for nobody; but for the answer to what no process has asked."""
        if type(message) is tuple and len(<tuple>message) == 2 and self.scheduler.is_answer((<tuple>message)[0]):
            return self.scheduler.answer((<tuple>message)[0], (<tuple>message)[1])
        if inbound is not None and type(message) is tuple and len(<tuple>message) == 3:
            self.serve(<tuple>message, None, inbound)
        return self.nobody(target, message)

    cdef object serve(self, tuple message, Process process, Origin inbound):
        """The message as its receiver gets it: a request of another node has a Served for a tag.

        One of this node, that another has passed on, keeps its tag: by that the answer finds it, and who ends without
        an answer is none whom it was sent to.

        Args:
            process: whom it is for; None if there is nobody: a node that watches calls is told so.
        Returns:
            None if too many wait already of the node that it came from, whoever is said to ask: it is refused.
        """
        cdef Served served
        cdef Tally tally
        caller = message[1]
        if type(caller) is not tuple or len(<tuple>caller) != 2:
            return message
        tag = (<tuple>caller)[1]
        watched = is_alias(tag)
        if not watched and message[0] is not GEN_CALL:
            return message
        asker = (<tuple>caller)[0]
        if type(asker) is not Pid:
            asker = None if self.read_caller is None else self.read_caller(asker)
            if asker is None:
                return message
        if self.is_here(asker):
            return message
        served = Served.__new__(Served)
        served.caller = asker
        served.tag = tag
        served.channel = inbound.channel
        if watched:
            served.refuse = self.refuse
            if process is None:
                served.fire(NOPROC)
                return message
            node = getattr(inbound.link, "peer", None)
            tally = self.tallies.get(node)
            if tally is None:
                tally = self.tallies[node] = Tally.__new__(Tally)
                tally.tallies, tally.node = self.tallies, node
            elif tally.waiting >= most_served:
                served.fire(TOO_MANY)
                return None
            served.tally = tally
            served.attach(process)
        return (message[0], (served.caller, served), message[2])

    cdef bint is_here(self, object place):
        """Whether a pid or (name, node) is of this node."""
        if type(place) is Pid:
            return (<Pid>place).home.name == self.node
        return place[1] == self.node

    cdef int nobody(self, object target, object message) except -1:
        self.undelivered += 1
        self.undeliverable(target, message)
        return 0

    def deliver(self, target, message, Origin inbound=None) -> None:
        """Deliver a message to a process of this node, as if it had come over the wire with this target term.

        Args:
            inbound: whose frame it was taken out of. What is no process, as the manager, takes nothing from there.
        """
        if inbound is not None:
            inbound.wrapped = True
        try:
            if self.receiving is not None:
                self.receiving(target, message, inbound)
            else:
                self.deliver_term(target, message, inbound)
        finally:
            if inbound is not None:
                inbound.wrapped = False

    def hand_over(self, target, message, Origin inbound=None) -> None:
        """Deliver a message to whom it is for on this node, past `receiving`."""
        self.deliver_term(target, message, inbound)

    cdef bint take_causal(self, object message, Origin inbound) except -1:
        """Give a causal message of another node to who orders them; whether it was one."""
        if self.ordering is None or type(message) is not tuple or len(<tuple>message) != 7 \
                or (<tuple>message)[0] is not CAUSAL:
            return False
        return self.ordering(message, inbound)

    cdef int deliver_name(self, str name, object message, Origin inbound) except -1:
        target = self.scheduler.names.get(name)
        if type(target) is Process:
            return self.give(<Process>target, message, inbound)
        if target is None:
            return self.give_nobody(name, message, inbound)
        target(message, None if inbound is None or inbound.wrapped else inbound.link)
        return 0

    cdef int deliver_term(self, object target, object message, Origin inbound) except -1:
        """Deliver to a target that is neither an atom nor an encoded pid: the rarer forms of a reference."""
        cdef Process process
        if type(target) is Atom:
            return self.deliver_name((<Atom>target).name, message, inbound)
        place = read_target(target, self.node)
        if type(place) is Pid:
            if (<Pid>place).home.name == self.node:
                process = self.scheduler.find_process((<Pid>place).id, (<Pid>place).serial)
                if process is not None:
                    return self.give(process, message, inbound)
        elif place is not None and place[1] == self.node:
            return self.deliver_name(place[0], message, inbound)
        return self.give_nobody(target, message, inbound)

    def mark(self, SendQueue queue not None):
        """Write this queue at the end of the burst or of the loop turn."""
        self.dirty.append(queue)
        if not self.busy:
            self.rouse()

    def rouse(self):
        """See to it that turn() is called in the next loop turn."""
        if not self.roused:
            self.roused = True
            self.call_soon(self.turn)

    def turn(self):
        """Step what is ready and write what waits: once a loop turn in which something happened elsewhere."""
        self.roused = False
        self.busy = True
        self.finish_burst()

    def at_end(self, function) -> None:
        """Call a function when what was read together has been taken, before anybody acts on it; or now."""
        if self.busy:
            self.ending.append(function)
        else:
            function()

    cdef object end(self, object failure):
        """Call what is for the end of the burst, all of it; the first failure there was."""
        while self.ending:
            try:
                self.ending.popleft()()
            except BaseException as error:
                failure = failure or error
        return failure

    cdef int finish_burst(self) except -1:
        failure = self.end(None)
        try:
            self.scheduler.run()
        except BaseException as error:
            failure = failure or error
        failure = self.end(failure)
        dirty, self.dirty = self.dirty, []
        self.busy = False
        if self.acknowledging is not None:
            self.acknowledging.pass_time()
        for queue in dirty:
            try:
                if (<SendQueue>queue).write is not None:
                    (<SendQueue>queue).write()
            except BaseException as error:  # the other queues are written all the same, and this one in the next turn
                if failure is None:
                    failure = error
                self.try_again(<SendQueue>queue)
        if failure is not None:
            raise failure
        if self.after_burst is not None:
            self.after_burst()
        return 0

    cdef int try_again(self, SendQueue queue) except -1:
        """Arrange anew for a write that has failed; the error that this meets too is the one that is told of."""
        try:
            queue.written(False)
        except Exception:
            pass
        return 0
