"""The way of a message: from send() to a send queue, and from a frame to a mailbox.

Out: target -> connection table -> slot -> the term is encoded into the connection's send queue; the queue is marked,
and all marked queues are written once, at the end of the burst or of the loop turn.
In: octets -> frame -> the target is read where it lies -> the message is decoded -> mailbox; at the end of the burst the
processes that it woke are stepped, and what they sent is written.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.contextvars cimport PyContextVar_Get, PyContextVar_New
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from partisan._core.acknowledged cimport Acknowledging, beginning
from partisan._core.bound cimport WAIT
from partisan._core.connections cimport ConnectionTable, Lane, Peer
from partisan._core.etf cimport Codec
from partisan._core.frame cimport FrameReader
from partisan._core.identities cimport Atom, Pid
from partisan._core.pids cimport find_pid, read_pid, write_pid
from partisan._core.process cimport Process, Scheduler, running_process
from partisan._core.sendqueue cimport SendQueue
from partisan._core.terms cimport ImproperList

from partisan.errors import FrameError, LocalProtocolError, NoProc, NotConnected, TermError, WrongThread
from partisan.names import DEFAULT_CHANNEL

__all__ = ["Inbound", "Router", "current_router_var", "send"]

cdef enum:
    VERSION = 131
    FORWARD_SIZE = 20  # octets of FORWARD; its Latin-1 twin has one more
    NUMBER_SIZE = 8    # octets of the number of an acknowledged message
    NIL = 106

cdef str DEFAULT = DEFAULT_CHANNEL
cdef object PADDED = Atom("$partisan_padded")
cdef object NOPROC = Atom("noproc")
cdef object REMOTE_REF = Atom("partisan_remote_ref")
cdef object ENCODED_NAME = Atom("encoded_name")
cdef object ENCODED_PID = Atom("encoded_pid")
cdef object PYTHON = Atom("partisan_python")

# The two ways in which a node writes the beginning of a message: with the atom in UTF-8, and (OTP 25) in Latin-1.
cdef bytes FORWARD = b"\x83\x68\x03\x77\x0fforward_message"
cdef bytes FORWARD_LATIN1 = b"\x83\x68\x03\x64\x00\x0fforward_message"


cdef inline unsigned long long pair_hash(unsigned long long sender, const uint8_t* target, size_t size) noexcept:
    """A hash of sender and receiver that is the same in every run (FNV-1a)."""
    cdef unsigned long long value = 14695981039346656037ULL ^ sender
    cdef size_t i
    for i in range(size):
        value = (value ^ target[i]) * 1099511628211ULL
    return value ^ (value >> 32)


cdef int trailing(Py_ssize_t size, Py_ssize_t position) except -1:
    """Refuse a frame of which a part belongs to no term: who wrote it meant something else than was read.

    A real node ignores what is behind the term. The one defect of real nodes that leads here, a tuple with an arity of
    the wrong size, is understood by the decoder.
    """
    raise FrameError("malformed", size, f"{size - position} octets behind the term")


NO_NODE = (
    "there is no current node: call this inside a process or `async with Node(...)`; from another thread, or where the "
    "node is not the current one, call `node.threadsafe(...)` or the node's own method"
)

cdef object current_router = PyContextVar_New("partisan_current_router", NULL)
current_router_var = current_router


def send(target, message, *, channel=None, partition_key=None, key=None, bint ack=False) -> None:
    """Send a message to a process, from the current node: see `Router.send`."""
    cdef PyObject* found = NULL
    PyContextVar_Get(current_router, NULL, &found)
    if found is NULL:
        raise LocalProtocolError(NO_NODE)
    router = <Router><object>found
    Py_DECREF(router)
    (<Router>router).post(target, message, channel, partition_key, key, ack)


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
        self.node = node
        self.codec = codec
        self.scheduler = scheduler
        self.table = table
        self.clock = clock
        self.call_soon = call_soon
        self.undeliverable = undeliverable
        self.dirty = []
        self.thread = PyThread_get_thread_ident()

    cdef int check_thread(self) except -1:
        if PyThread_get_thread_ident() != self.thread:
            raise WrongThread("a node belongs to the thread of its loop: use node.threadsafe")
        return 0

    def send(self, target, message, *, channel=None, partition_key=None, key=None, bint ack=False) -> None:
        """Send a message to a process: encode, queue, return.

        Args:
            target: a Pid; a registered name (str or Atom) of this node; or (name, node name).
            message: any term.
            channel: the channel's name; None is the default channel.
            partition_key: an int of at least 0 that chooses the connection (key modulo parallelism); None: the pair of
                sender and receiver does.
            key: on a monotonic channel, which object this message is the state of: it supersedes older ones with the
                same key only.
            ack: keep the message, and send it again, until the other node acknowledges it.
        Raises:
            NotConnected: no connection to the node.
            Overloaded: the channel's queue is full and its policy refuses more.
            NoProc: a name of this node that nobody has.
            EncodeError: the message is no term.
            ValueError: the partition key is no int of at least 0; or there is a key, and the message is to be kept.
        """
        self.post(target, message, channel, partition_key, key, ack)

    cdef int post(self, object target, object message, str channel, object partition_key, object key,
                  bint ack) except -1:
        kind = type(target)
        self.check_thread()
        if partition_key is not None and (type(partition_key) is not int or partition_key < 0):
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
        raise TypeError(f"{target!r} is no target: a pid, a name or (name, node)")

    cdef int send_named(self, object name, str node, object message, str channel, object partition_key,
                        object key, bint ack) except -1:
        if type(name) is not Atom:
            if type(name) is not str:
                raise TypeError(f"{name!r} is no process name: a str or an Atom")
            if node is self.node or node == self.node:
                return self.send_here(<str>name, message)
            name = Atom(name)
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
            return self.nobody(pid, message)
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

    cdef int send_remote(self, str node, const uint8_t* target, size_t size, object name, object message,
                         str channel, object partition_key, object key, bint ack) except -1:
        """Queue a message for a process of another node; `target` is the target's encoding, `name` its term."""
        if ack:
            return self.send_kept(node, target, size, name, message, channel, partition_key)
        cdef Lane lane = self.lane_to(node, channel)
        cdef SendQueue queue = self.queue_of(lane, target, size, partition_key)
        if lane.envelope is not None:
            enveloped = lane.envelope(name, message)
            if enveloped is not None:
                message = enveloped
                target = <const uint8_t*><const char*>(<Atom>PYTHON).ext
                size = len((<Atom>PYTHON).ext)
        if self.padding is not None and not self.is_system(name):
            message = (PADDED, self.padding, message)
        queue.push_forward(self.codec, target, size, message, key, self.clock() if queue.framed else 0.0)
        return self.hold_sender(queue)

    cdef int send_kept(self, str node, const uint8_t* target, size_t size, object name, object message,
                       str channel, object partition_key) except -1:
        """As send_remote, and keep the message; while the node is not connected that is all."""
        cdef SendQueue queue = None
        if self.acknowledging is None:
            raise LocalProtocolError("this router keeps no messages: it was given nothing that does")
        try:
            queue = self.queue_of(self.lane_to(node, channel), target, size, partition_key)
        except NotConnected as error:
            if not error.known and not self.acknowledging.expected(node):
                raise
        if self.place is None or (<tuple>self.place)[0] is not name or (<tuple>self.place)[1] is not channel \
                or (<tuple>self.place)[2] is not partition_key:
            self.place = (name, channel, partition_key)
        frame = self.acknowledging.keep(self.codec, node, target, size, self.place, message)
        if queue is not None:
            queue.push_raw(frame)
            self.hold_sender(queue)
        return 0

    cdef Lane lane_to(self, str node, str channel):
        cdef Peer peer = self.table.peers.get(node)
        if peer is None:
            raise NotConnected(node)
        found = peer.lanes.get(DEFAULT if channel is None else channel)
        return <Lane>found if found is not None else peer.stand_in(DEFAULT if channel is None else channel)

    cdef SendQueue queue_of(self, Lane lane, const uint8_t* target, size_t size, object partition_key):
        """The queue that a message of the running process to this target takes. Raises NotConnected, Overloaded."""
        cdef Process sender = None
        cdef Py_ssize_t slot = 0
        cdef SendQueue queue
        if lane.parallelism > 1:
            if partition_key is None:
                sender = running_process()
                slot = pair_hash(0 if sender is None else sender.pid.id, target, size) % <size_t>lane.parallelism
            else:
                slot = partition_key % lane.parallelism
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
            NotConnected: there is none; `known` tells whether the node was connected before.
            Overloaded: the channel's policy refuses more.
        """
        cdef uint8_t pid[64]
        cdef bytes name
        if type(target) is Pid:
            return self.queue_of(self.lane_to(node, channel), pid, write_pid(pid, <Pid>target), partition_key)
        name = (<Atom?>target).ext
        return self.queue_of(self.lane_to(node, channel), <const uint8_t*><const char*>name, len(name), partition_key)

    def push_body(self, SendQueue queue not None, bytes body not None) -> None:
        """Queue a frame that is encoded already, version octet and all."""
        queue.push_raw(body)
        self.hold_sender(queue)

    cdef int nobody(self, object target, object message) except -1:
        self.undelivered += 1
        self.undeliverable(target, message)
        return 0

    def deliver(self, target, message) -> None:
        """Deliver a message to a process of this node, as if it had come over the wire with this target term."""
        if self.receiving is not None:
            self.receiving(target, message, None)
        else:
            self.deliver_term(target, message, None)

    def hand_over(self, target, message, Inbound inbound=None) -> None:
        """Deliver a message to whom it is for on this node, past `receiving`."""
        self.deliver_term(target, message, inbound)

    cdef int deliver_name(self, str name, object message, Inbound inbound) except -1:
        target = self.scheduler.names.get(name)
        if type(target) is Process:
            return (<Process>target).deliver(message)
        if target is None:
            return self.nobody(name, message)
        target(message, None if inbound is None else inbound.link)
        return 0

    cdef int deliver_term(self, object target, object message, Inbound inbound) except -1:
        """Deliver to a target that is neither an atom nor an encoded pid: the rarer forms of a reference."""
        cdef Process process
        cdef unsigned long long id = 0
        cdef unsigned long long serial = 0
        if type(target) is Atom:
            return self.deliver_name((<Atom>target).name, message, inbound)
        if type(target) is Pid and (<Pid>target).home.name == self.node:
            process = self.scheduler.find_process((<Pid>target).id, (<Pid>target).serial)
            if process is not None:
                return process.deliver(message)
        elif type(target) is tuple and len(<tuple>target) == 2 and type((<tuple>target)[1]) is list:
            try:
                text = bytes((<tuple>target)[1])
            except (TypeError, ValueError):
                return self.nobody(target, message)
            if (<tuple>target)[0] is ENCODED_NAME:
                return self.deliver_name(text.decode("utf-8", "replace"), message, inbound)
            if (<tuple>target)[0] is ENCODED_PID \
                    and read_pid(<const uint8_t*><const char*>text, len(text), &id, &serial):
                process = self.scheduler.find_process(id, serial)
                if process is not None:
                    return process.deliver(message)
        elif type(target) is tuple and len(<tuple>target) == 3 and (<tuple>target)[0] is REMOTE_REF:
            node, inner = (<tuple>target)[1], (<tuple>target)[2]  # a name: of a pid the codec has made a Pid
            if type(node) is Atom and (<Atom>node).name == self.node and type(inner) is tuple:
                return self.deliver_term(inner, message, inbound)
        elif type(target) is ImproperList:
            node, tail = target.items[0] if len(target.items) == 1 else None, target.tail
            if type(node) is Atom and (<Atom>node).name == self.node and type(tail) is bytes \
                    and tail.startswith(b"#Name"):
                return self.deliver_name(tail[5:].decode("utf-8", "replace"), message, inbound)
        elif type(target) is bytes:
            return self.deliver_uri(<bytes>target, message, inbound)
        return self.nobody(target, message)

    cdef int deliver_uri(self, bytes uri, object message, Inbound inbound) except -1:
        """Deliver to `partisan:pid:Node:0.Id.Serial` or `partisan:name:Node:Name`, padding after a further colon."""
        cdef unsigned long long id = 0
        cdef unsigned long long serial = 0
        cdef Process process
        parts = uri.decode("utf-8", "replace").split(":")
        if len(parts) >= 4 and parts[0] == "partisan" and parts[2] == self.node:
            if parts[1] == "name":
                return self.deliver_name(parts[3], message, inbound)
            text = b"<" + parts[3].encode() + b">"
            if parts[1] == "pid" and read_pid(<const uint8_t*><const char*>text, len(text), &id, &serial):
                process = self.scheduler.find_process(id, serial)
                if process is not None:
                    return process.deliver(message)
        return self.nobody(uri, message)

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

    cdef int finish_burst(self) except -1:
        try:
            self.scheduler.run()
        finally:
            dirty, self.dirty = self.dirty, []
            self.busy = False
            for queue in dirty:
                if (<SendQueue>queue).write is not None:
                    (<SendQueue>queue).write()
        if self.after_burst is not None:
            self.after_burst()
        return 0


cdef class Inbound(FrameReader):
    """Frames of one connection on their way to mailboxes.

    Args:
        slab, max_frame: as FrameReader.
        router: of the node.
        link: who owns the connection; sinks are told.
        control: callable(term): takes every term that is no plain message (handshake, pings, acknowledged messages);
            while frames are held it may return False, for one that must be held, too.
    """

    def __init__(self, slab, max_frame, *, router, link, control):
        self.router = router
        self.link = link
        self.control = control

    @property
    def holding(self):
        """Whether messages wait for release()."""
        return self.held is not None

    def hold(self):
        """Deliver no message from now on, but keep what comes, `max_frame` octets at most."""
        if self.held is None:
            self.held = []
            self.held_octets = 0

    def release(self):
        """Deliver what was held, in the order in which it came. Raises FrameError for what is malformed."""
        cdef bint outer = self.replaying
        held, self.held = self.held, None
        self.replaying = True  # the tap had its say when they came
        try:
            for body, planted in held or ():
                self.on_frame(<const uint8_t*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), planted)
        finally:
            self.replaying = outer

    cdef int keep(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        """Hold a frame."""
        self.held_octets += size
        for binary in planted or ():
            self.held_octets += len(binary)
        if self.held_octets > self.max_frame:
            raise FrameError("oversized", self.held_octets, "so much came before its hello")
        self.held.append((PyBytes_FromStringAndSize(<const char*>data, size), planted))
        return 0

    cdef int feed(self, Py_ssize_t size) except -1:
        cdef Router router = self.router
        router.busy = True
        router.scheduler.awake = True  # whoever is woken runs at the end of this burst
        try:
            self.take(size)
        finally:
            router.finish_burst()
        return 0

    def expect(self, peer) -> None:
        """From now on read the numbers of messages that this node of our kind wants acknowledged; None: of nobody."""
        self.peer = peer
        self.numbered = None if peer is None else beginning(peer)

    cdef int on_frame(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        cdef Py_ssize_t position
        cdef unsigned long long number = 0
        if self.tap is not None and not self.replaying \
                and not self.tap(PyBytes_FromStringAndSize(<const char*>data, size), planted):
            return 0
        try:
            if size > FORWARD_SIZE and memcmp(data, <const char*>FORWARD, FORWARD_SIZE) == 0:
                position = FORWARD_SIZE
            elif size > FORWARD_SIZE + 1 and memcmp(data, <const char*>FORWARD_LATIN1, FORWARD_SIZE + 1) == 0:
                position = FORWARD_SIZE + 1
            else:
                position = self.find_number(data, size, &number)
                if position == 0:
                    return self.on_other(data, size, planted)
            return self.on_message(data, size, position, planted, number)
        except TermError as error:
            raise FrameError("malformed", size, str(error)) from error

    cdef Py_ssize_t find_number(self, const uint8_t* data, Py_ssize_t size, unsigned long long* number) except -1:
        """Where the target of an acknowledged message is, and its number; 0 if it is anything else."""
        cdef Py_ssize_t length
        cdef int i
        if self.numbered is None or self.held is not None or self.router.acknowledging is None:
            return 0
        length = len(self.numbered)
        if size <= length + NUMBER_SIZE + 1 or memcmp(data, <const char*>self.numbered, length) != 0 \
                or data[length + NUMBER_SIZE] != NIL:
            return 0
        for i in range(NUMBER_SIZE):
            number[0] |= <unsigned long long>data[length + i] << (8 * i)
        if self.router.acknowledging.takes(self.peer, number[0]):
            return length + NUMBER_SIZE + 1
        return 0

    def replay(self, bytes body not None, list planted=None) -> None:
        """Take a frame that the tap has kept, past the tap: as a burst of its own unless one is under way.

        Raises FrameError, and whatever `control` raises.
        """
        cdef Router router = self.router
        cdef bint alone = not router.busy
        cdef bint outer = self.replaying
        router.busy = True
        router.scheduler.awake = True
        self.replaying = True
        try:
            self.on_frame(<const uint8_t*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), planted)
        finally:
            self.replaying = outer
            if alone:
                router.finish_burst()

    cdef int on_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t position, list planted,
                        unsigned long long number) except -1:
        """Deliver `{forward_message, Target, Message}`.

        Args:
            position: where the target starts.
            number: if not 0, that of an acknowledged message: a copy is dropped. What is malformed has not arrived.
        """
        cdef Router router = self.router
        cdef Process process
        cdef unsigned long long id = 0
        cdef unsigned long long serial = 0
        cdef Py_ssize_t behind
        if self.held is not None:
            return self.keep(data, size, planted)
        target = None
        behind = find_pid(data, size, position, &id, &serial)
        if behind:
            process = router.scheduler.find_process(id, serial)
            message = self.read_message(data, size, &behind, planted)
            if number and not router.acknowledging.accept(self.peer, number):
                return 0
            if router.receiving is not None:
                router.receiving(Pid(router.node, id, serial), message, self)
                return 0
            if process is not None:
                return process.deliver(message)
            return router.nobody(Pid(router.node, id, serial), message)
        target = router.codec.decode_from(data, size, &position, None)
        message = self.read_message(data, size, &position, planted)
        if number and not router.acknowledging.accept(self.peer, number):
            return 0
        if router.receiving is not None:
            router.receiving(target, message, self)
            return 0
        if type(target) is Atom:
            return router.deliver_name((<Atom>target).name, message, self)
        return router.deliver_term(target, message, self)

    cdef object read_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position, list planted):
        message = self.router.codec.decode_from(data, size, position, planted)
        if position[0] != size:
            trailing(size, position[0])
        if type(message) is tuple and len(<tuple>message) == 3 and (<tuple>message)[0] is PADDED:
            return (<tuple>message)[2]
        return message

    cdef int on_other(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        """Decode a frame that does not begin as a plain message; a compressed one may still be one."""
        cdef Py_ssize_t position = 1
        if data[0] != VERSION:
            raise FrameError("malformed", size, f"it begins with octet {data[0]}, not with the version octet 131")
        term = self.router.codec.decode_from(data, size, &position, planted)
        if position != size:
            trailing(size, position)
        if type(term) is tuple and len(<tuple>term) == 3 and type((<tuple>term)[0]) is Atom \
                and (<Atom>(<tuple>term)[0]).name == "forward_message":
            if self.held is not None:
                return self.keep(data, size, planted)
            message = (<tuple>term)[2]
            if type(message) is tuple and len(<tuple>message) == 3 and (<tuple>message)[0] is PADDED:
                message = (<tuple>message)[2]
            if self.router.receiving is not None:
                self.router.receiving((<tuple>term)[1], message, self)
                return 0
            return self.router.deliver_term((<tuple>term)[1], message, self)
        if self.control(term) is False and self.held is not None:
            self.keep(data, size, planted)
        return 0
