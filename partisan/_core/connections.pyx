"""The connection table: (node, channel) to the send queues of its connections.

Only connections that this node dialled are here: the wire carries messages from the dialler to the acceptor only. A
connection enters when its handshake is done and leaves when it is lost; counts are kept, never computed.

Order. A pair of processes hashes to a slot. While the slot's own connection (its home) is down, the slot uses another
one, or the default channel's; once it has, the home may not take over before the peer has handled all that was sent
that way. So when the home comes up, new messages wait in a holding queue until a barrier says so; so they do when the
parallelism changes, and with it the slot that a pair hashes to. A gap may arise when a connection dies, a swap never.

Sharing. Small messages on many connections cost a write, a packet and a wake-up each, and what is seldom used begins
slowly each time; on one connection they go together. So if the table shares, the slots of a lane use its first
connection, the trunk, and a slot parts from it when its next message would wait there for the socket: to one of two
connections, of four, and so on up to its home (`places`). It hands over as above. While nobody waits, `gather` takes
the slots back, step by step. A slot that a partition key has chosen is claimed: its messages have its home for good, as
whoever chooses expects.

A connection that this side gives up may still hold octets that the peer has yet to read. Such a queue is retired
instead of removed: it counts no more as up, and slots that used it hold until it is released.

Another wire. A node may also have one foreign connection, of Erlang's distribution. It has no slots: what is encoded for
one wire is nothing on the other. The messages of a lane take it if there is no connection of Partisan's when they are
sent, and go on so until it is lost, since nothing tells when the peer has handled what went there. Messages to parts of
the node (`Router.is_ours`) never take it.
"""

cimport cython

from partisan._core.bound cimport Bound
from partisan._core.places cimport CLAIMED, Places
from partisan._core.sendqueue cimport SendQueue
from partisan._core.turns cimport WRITING

from partisan.errors import NotConnected
from partisan.names import DEFAULT_CHANNEL

__all__ = ["ConnectionTable", "Lane", "Peer"]

cdef str DEFAULT = DEFAULT_CHANNEL

cdef enum:
    MAX_TOLD = 64  # unknown channels that are told of: a peer can make up as many as it likes


@cython.final
cdef class Holding(SendQueue):
    """Keeps the messages of a slot while it changes hands."""


@cython.final
cdef class TakeOver:
    """Slots whose messages are held until the peer has handled what some queues were given."""


@cython.final
cdef class Wait:
    """A take-over's wait for one queue; called when the peer has handled what that was given, or it is lost."""

    def __init__(self, TakeOver takeover not None, SendQueue queue not None):
        self.takeover = takeover
        self.queue = queue

    cdef int begin(self) except -1:
        """Ask for the queue's barrier.

        A holding queue has none before what it holds has gone to another; a retired one is released in its time.
        """
        if self.queue in self.takeover.lane.retired:
            return 0
        if self.queue is None or self.queue.closed:
            self()
        elif type(self.queue) is not Holding:
            if self.queue.barrier is None:
                self()
            else:
                self.queue.barrier(self)
        return 0

    def __call__(self):
        cdef TakeOver takeover = self.takeover
        if self not in takeover.waits:
            return
        for holding in takeover.held.values():
            if (<SendQueue>holding).busy & WRITING:  # this is called by what runs while a message is written there
                holding.defer(self)
                return
        takeover.waits.remove(self)
        if not takeover.waits:
            takeover.lane.takeovers.remove(takeover)
            for slot, holding in takeover.held.items():
                takeover.lane.settle(slot, holding)


cdef class Lane:

    def __cinit__(self, Peer peer not None, str channel not None, Py_ssize_t parallelism, bint configured):
        self.peer = peer
        self.channel = channel
        self.bound = peer.table.bound(peer.name, channel)
        self.parallelism = parallelism
        self.configured = configured
        self.homes = [None] * parallelism
        self.slots = [None] * parallelism
        self.places = Places(parallelism)
        self.takeovers = []
        self.retired = {}

    def __repr__(self):
        return f"<Lane {self.peer.name} {self.channel}: {self.count} of {self.parallelism} connections>"

    @property
    def connections(self):
        """The queues of the connections that are up, by slot."""
        return [queue for queue in self.homes if queue is not None]

    cdef SendQueue away(self):
        """The foreign connection, if it is what the messages of the lane take now; or None."""
        cdef SendQueue queue = self.peer.foreign
        cdef Lane default
        if queue is None or queue.closed:
            return None
        if not self.abroad:
            if self.count or self.retired or self.takeovers:
                return None
            if self.channel != DEFAULT:
                if not self.peer.table.fallback:
                    return None
                default = self.peer.lane(DEFAULT)
                if default.count or default.retired or default.takeovers:
                    return None
            self.abroad = True
        return queue

    cdef SendQueue at(self, Py_ssize_t slot):
        """The queue for a slot. Raises NotConnected."""
        found = self.slots[slot]
        if found is None:
            return self.resolve(slot)
        if self.shares and (<SendQueue>found).blocked:
            return self.weigh(slot, <SendQueue>found)
        return <SendQueue>found

    cdef SendQueue resolve(self, Py_ssize_t slot):
        """Choose the queue that an unused slot will keep, or hold for what a retired one was given."""
        cdef SendQueue queue = self.choose(slot)
        if queue is None:
            raise NotConnected(self.peer.name, self.peer.seen, None if self.peer.table.fallback else self.channel)
        self.slots[slot] = queue = self.not_behind(slot, queue)
        used = [retired for retired, slots in self.retired.items() if slot in slots]
        if used:  # none of which is released yet, so that the slot holds
            self.hand_over([slot], used)
        return <SendQueue>self.slots[slot]

    cdef SendQueue choose(self, Py_ssize_t slot):
        """A queue for the slot, of this lane or else of the default channel's, or None."""
        cdef SendQueue queue = self.some(slot)
        cdef Lane default
        if queue is None and self.peer.table.fallback and self.channel != DEFAULT:
            default = self.peer.lanes.get(DEFAULT)
            if default is not None:
                queue = default.some(slot % default.parallelism)
        return queue

    cdef SendQueue some(self, Py_ssize_t slot):
        """The slot's place, another of this lane's connections while that is down, or None."""
        cdef int width = self.places.widths[slot] if self.shares else CLAIMED
        place = self.place(slot, width)
        if place is not None and not (<SendQueue>place).closed:
            return place
        # A queue is closed a moment before the table hears of it.
        up = [queue for queue in self.homes if queue is not None and not (<SendQueue>queue).closed]
        return up[0 if width == 0 else slot % len(up)] if up else None

    cdef object place(self, Py_ssize_t slot, int width):
        """The connection of a slot among as many as the exponent says, or None while that is down."""
        return self.homes[self.places.home(slot, width)]

    cdef SendQueue not_behind(self, Py_ssize_t slot, SendQueue queue):
        """The queue for the first message of a slot that may choose: another, if it would wait in that one."""
        return queue if queue is None or not self.parts(slot, queue) else self.some(slot)

    cdef SendQueue weigh(self, Py_ssize_t slot, SendQueue queue):
        """The queue for a slot whose next message would wait in this one: another, if there is one where it would not."""
        if self.parts(slot, queue):
            self.hand_over([slot], [queue])
            found = self.slots[slot]
            return self.resolve(slot) if found is None else <SendQueue>found
        self.places.crowded = True
        return queue

    cdef bint parts(self, Py_ssize_t slot, SendQueue queue) except -1:
        """Let the slot part from a queue in which its next message would wait; whether there is one where it would not."""
        cdef int width = self.places.widths[slot]
        if not (self.shares and queue.blocked and width != CLAIMED):
            return False
        while <Py_ssize_t>1 << width < len(self.homes):
            width += 1
            other = self.place(slot, width)
            if other is not None and other is not queue and not ((<SendQueue>other).closed or (<SendQueue>other).blocked):
                if not self.places.is_restless():
                    self.peer.table.tell_parted()
                self.places.part(slot, width)
                return True
        return False

    cdef bint gather(self):
        """Take the slots a step back to the trunk if nobody has waited for some time; whether to ask again."""
        cdef Py_ssize_t slot
        if self.takeovers:
            return True  # whoever changes hands waits
        if not self.places.is_restless():
            return False
        full = any([queue is not None and (<SendQueue>queue).blocked for queue in self.homes])
        if self.places.look(full):
            for slot in range(len(self.slots)):
                used = self.slots[slot]
                if used is not None and used in self.homes and used is not self.some(slot) \
                        and self.places.widths[slot] != CLAIMED:
                    self.hand_over([slot], [used])
        return self.places.is_restless()

    cdef int claim(self, Py_ssize_t slot) except -1:
        """Let the slot use its home for good."""
        used = self.slots[slot]
        self.places.claim(slot)
        if used is not None and self.homes[slot] is not None and used is not self.homes[slot] and used in self.homes:
            self.hand_over([slot], [used])
        return 0

    def attach(self, SendQueue queue not None):
        """A connection of this lane is up. Returns the slot that it is the home of."""
        cdef Py_ssize_t slot = self.homes.index(None) if None in self.homes else self.widen()
        self.homes[slot] = queue
        self.count += 1
        self.shares = self.peer.table.shares and not queue.framed
        together = self.shares and self.places.widths[slot] == 0
        used = self.slots[slot]
        if used is not None and not (used in self.homes and (together or used is self.some(slot))):
            self.hand_over([slot], [used])
        return slot

    cdef Py_ssize_t widen(self) except -1:
        """Room for one connection more than is configured."""
        self.homes.append(None)
        self.slots.append(None)
        self.places.add()
        return len(self.homes) - 1

    cdef int hand_over(self, slots, used) except -1:
        """Let the slots choose anew once the peer has handled what the queues in `used` were given; until then, hold."""
        cdef TakeOver takeover = TakeOver.__new__(TakeOver)
        takeover.lane = self
        takeover.held = {}
        for slot in slots:
            takeover.held[slot] = self.slots[slot] = self.holding()
        takeover.waits = [Wait(takeover, queue) for queue in used]
        self.takeovers.append(takeover)
        for wait in list(takeover.waits):
            (<Wait>wait).begin()
        return 0

    cdef Holding holding(self):
        """A queue that takes what the connections of the lane would."""
        for queue in self.homes:
            if queue is not None:
                return Holding(self.bound, level=(<SendQueue>queue).level, max_frame=(<SendQueue>queue).max_frame)
        return Holding(self.bound)

    cdef int follow(self, Lane default) except -1:
        """Messages of this channel may have gone out on the default one's queues: those are handled first."""
        cdef list used = []
        for queue in default.slots:
            if queue is not None and queue not in used:
                used.append(queue)
        for queue in default.retired:
            self.retired[queue] = range(self.parallelism)
        used += default.retired
        if used:
            self.hand_over(range(self.parallelism), used)
        return 0

    cdef int settle(self, Py_ssize_t slot, SendQueue holding) except -1:
        """What waited while the slot changed hands goes to the queue that it uses from now on.

        If nothing did, the peer has handled all of the slot's: it chooses at its next message, as one that is unused.
        """
        cdef SendQueue queue = self.not_behind(slot, self.choose(slot)) if holding.queued_octets else None
        if self.slots[slot] is holding:  # else it has changed hands again meanwhile
            self.slots[slot] = queue
        if queue is not None and holding.queued_octets:
            queue.absorb(holding)
        elif holding.queued_octets:
            self.bound.dropped_frames += holding.pushed_frames
            self.bound.dropped_octets += holding.queued_octets
        holding.close()
        for lane in self.peer.lanes.values():
            for wait in (<Lane>lane).waits_for(holding):
                (<Wait>wait).queue = queue
                (<Wait>wait).begin()
        return 0

    cdef list waits_for(self, SendQueue queue):
        """What waits for this queue's barrier."""
        return [wait for takeover in self.takeovers for wait in (<TakeOver>takeover).waits
                if (<Wait>wait).queue is queue]

    def forget(self, SendQueue queue not None):
        """A queue is used no more: slots that used it choose anew at their next message. Returns those slots."""
        cdef Py_ssize_t slot
        cdef list used = []
        for slot in range(len(self.slots)):
            if self.slots[slot] is queue:
                self.slots[slot] = None
                used.append(slot)
            if self.homes[slot] is queue:
                self.homes[slot] = None
                self.count -= 1
        return used

    def resize(self, Py_ssize_t parallelism, bint configured):
        """The peer's spec now wants so many connections; those that are up stay.

        Pairs hash to other slots then, which may use other queues: what those in use were given is handled first.
        """
        cdef list used = []
        self.configured = configured
        if parallelism == self.parallelism:
            return
        for queue in self.slots:
            if queue is not None and queue not in used:
                used.append(queue)
        while len(self.homes) < parallelism:
            self.widen()
        self.parallelism = parallelism
        for queue in self.retired:
            self.retired[queue] = range(parallelism)  # a pair that used it may have any slot now
        if used:
            self.hand_over(range(parallelism), used + list(self.retired))


cdef class Peer:

    def __cinit__(self, str name not None, ConnectionTable table not None):
        self.name = name
        self.table = table
        self.lanes = {}

    def __repr__(self):
        return f"<Peer {self.name}: {self.count} connections>"

    cdef Lane lane(self, str channel):
        found = self.lanes.get(channel)
        if found is None:
            found = Lane(self, channel, 1, False)
            if self.strayed:
                (<Lane>found).follow(self.lane(DEFAULT))
            self.lanes[channel] = found
        return <Lane>found

    cdef bint watches(self, str channel) except -1:
        """Whether the node tells us itself of the end of whom we call on a channel: over the foreign connection it does."""
        if self.foreign is None:
            return self.watches_calls
        found = self.lanes.get(DEFAULT if channel is None else channel)
        if found is None:
            found = self.lane(DEFAULT)
        return self.watches_calls or (<Lane>found).away() is not None

    cdef int open_foreign(self, SendQueue queue) except -1:
        """A connection of another wire is up."""
        if self.foreign is not None:
            self.close_foreign(self.foreign)
        self.foreign = queue
        self.count += 1
        self.seen = True
        self.table.count += 1
        return 0

    cdef int close_foreign(self, SendQueue queue) except -1:
        """It is lost: its lanes choose anew."""
        if queue is self.foreign:
            self.foreign = None
            self.count -= 1
            self.table.count -= 1
            for lane in self.lanes.values():
                (<Lane>lane).abroad = False
        return 0

    cdef Lane stand_in(self, str channel):
        """The lane for a message on a channel that has none: its own if we configure the channel, else the default one.

        Raises NotConnected.
        """
        cdef ConnectionTable table = self.table
        if channel == DEFAULT or channel in table.channels:
            return self.lane(channel)
        if not table.fallback:
            raise NotConnected(self.name, self.seen, channel)
        table.tell(self.name, channel)
        default = self.lane(DEFAULT)
        self.strayed = True
        return default

    def count_lacking(self):
        """Count anew the lanes that want more connections."""
        self.lacking = sum([lane.configured and lane.count < lane.parallelism for lane in self.lanes.values()])


cdef class ConnectionTable:
    """(node, channel) to connections.

    Args:
        bound: callable(node, channel) -> Bound: makes the octet bound of a pair when it is first used.
        fallback: use the default channel while a channel has no connection of its own.
        channels: names of the channels that our configuration knows.
        unknown: callable(node, channel): a message went to the default channel, because neither the peer's channel map
            nor our configuration knows its own. Called once for a channel, and for so many channels only.
        shares: let the slots of a channel share one connection as long as none would wait there.
        parted: callable(), called when one no longer does: `gather()` is to be called now and then, until it says no.
    """

    def __cinit__(self, *, bound, bint fallback=True, channels=(), unknown=None, bint shares=False, parted=None):
        self.peers = {}
        self.bound = bound
        self.fallback = fallback
        self.channels = frozenset(channels)
        self.unknown = unknown
        self.told = set()
        self.shares = shares
        self.parted = parted

    cdef int tell_parted(self) except -1:
        """A lane has its first slot that no longer shares its connection."""
        if self.parted is not None:
            self.parted()
        return 0

    def gather(self) -> bool:
        """Let slots come nearer together where nobody has waited for some time; whether to ask again."""
        cdef bint apart = False
        for peer in list(self.peers.values()):  # a barrier writes, and may find that a connection is gone
            for lane in list((<Peer>peer).lanes.values()):
                apart |= (<Lane>lane).gather()
        return apart

    cdef int tell(self, str node, str channel) except -1:
        """Tell once of a channel that nobody knows."""
        if channel not in self.told and len(self.told) < MAX_TOLD:
            self.told.add(channel)
            if self.unknown is not None:
                self.unknown(node, channel)
        return 0

    def know(self, channels) -> None:
        """From now on these are the names of the channels that our configuration knows."""
        self.channels = frozenset(channels)

    def peer(self, str name not None) -> Peer:
        """The node's entry, made if there is none."""
        found = self.peers.get(name)
        if found is None:
            found = self.peers[name] = Peer(name, self)
        return found

    def lane(self, str node not None, str channel not None) -> Lane:
        """The pair's lane, made if there is none."""
        return (<Peer>self.peer(node)).lane(channel)

    def bound_of(self, str node not None, str channel not None) -> Bound | None:
        """The octet bound that messages to the node on the channel count against; None if none were sent yet."""
        cdef Peer peer = self.peers.get(node)
        if peer is None:
            return None
        found = peer.lanes.get(channel)
        if found is None and self.fallback and channel not in self.channels:
            found = peer.lanes.get(DEFAULT)
        return None if found is None else (<Lane>found).bound

    def configure(self, str node not None, channels) -> None:
        """Take the channel map of the node's spec, which governs how it is dialled: {channel: parallelism}."""
        cdef Peer peer = self.peer(node)
        for channel, parallelism in channels.items():
            peer.lane(channel).resize(parallelism, True)
        for channel, lane in peer.lanes.items():
            if channel not in channels:
                (<Lane>lane).configured = False
        peer.count_lacking()

    def add(self, str node not None, str channel not None, SendQueue queue not None) -> int:
        """A connection is up. Returns its slot; of a foreign one, which has none, -1."""
        cdef Peer peer = self.peer(node)
        if queue.foreign:
            peer.open_foreign(queue)
            return -1
        slot = peer.lane(channel).attach(queue)
        peer.count += 1
        peer.seen = True
        self.count += 1
        peer.count_lacking()
        return slot

    def remove(self, str node not None, str channel not None, SendQueue queue not None) -> None:
        """A connection is lost; what waited in its queue was counted by its close()."""
        if queue.foreign:
            (<Peer>self.peers[node]).close_foreign(queue)
            return
        self.retire(node, channel, queue)
        self.release(node, channel, queue)

    def retire(self, str node not None, str channel not None, SendQueue queue not None) -> None:
        """This side gives a connection up, of which the peer may not have read all: hold what would overtake that."""
        cdef Peer peer = self.peers[node]
        for lane in peer.lanes.values():
            used = (<Lane>lane).forget(queue)
            if used:
                (<Lane>lane).retired[queue] = used
        peer.count -= 1
        self.count -= 1
        peer.count_lacking()

    def release(self, str node not None, str channel not None, SendQueue queue not None) -> None:
        """The peer reads nothing more from a retired connection: what was held goes on."""
        cdef Peer peer = self.peers.get(node)
        if peer is None:
            return
        for lane in peer.lanes.values():
            (<Lane>lane).retired.pop(queue, None)
        for lane in peer.lanes.values():
            for wait in (<Lane>lane).waits_for(queue):
                wait()  # its barrier may never come

    def discard(self, str node not None) -> None:
        """Forget a node to which no connection is up or retired, and for which nothing is held.

        If only the foreign one is, forget how many connections its spec asks for.
        """
        cdef Peer peer = self.peers.get(node)
        if peer is None or any([(<Lane>lane).retired or (<Lane>lane).takeovers for lane in peer.lanes.values()]):
            return
        if peer.count == 0:
            del self.peers[node]
        elif not self.has_own(node):
            self.configure(node, {})

    def connections(self, str node not None, channel=None) -> int:
        """How many connections to the node, or of one of its channels, are up. A foreign one is of no channel."""
        cdef Peer peer = self.peers.get(node)
        if peer is None:
            return 0
        if channel is None:
            return peer.count
        lane = peer.lanes.get(channel)
        return 0 if lane is None else (<Lane>lane).count

    def is_connected(self, str node not None, channel=None) -> bool:
        """Whether a connection to the node, or one of the channel, is up."""
        return self.connections(node, channel) > 0

    def has_own(self, str node not None) -> bool:
        """Whether a connection of Partisan's own wire to the node is up."""
        cdef Peer peer = self.peers.get(node)
        return peer is not None and peer.count > (peer.foreign is not None)

    def is_fully_connected(self, str node not None) -> bool:
        """Whether every channel of the node's spec has all its connections; not before that is known."""
        cdef Peer peer = self.peers.get(node)
        return peer is not None and self.has_own(node) and peer.lacking == 0 \
            and any([(<Lane>lane).configured for lane in peer.lanes.values()])

    def holds(self, str node not None) -> bool:
        """Whether messages to the node may be held, while slots change hands."""
        cdef Peer peer = self.peers.get(node)
        return peer is not None and any([(<Lane>lane).takeovers for lane in peer.lanes.values()])

    def nodes(self) -> list:
        """Names of the nodes to which a connection is up."""
        return [name for name, peer in self.peers.items() if (<Peer>peer).count]
