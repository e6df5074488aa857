"""The connection table: (node, channel) to the send queues of its connections.

Only connections that this node dialled are here: the wire carries messages from the dialler to the acceptor only. A
connection enters when its handshake is done and leaves when it is lost; counts are kept, never computed.

Order. A pair of processes hashes to a slot, of which there are several to a connection, as two messages under way had
better not share one. While the slot's own connection (its home) is down, the slot uses another one, or the default
channel's; once it has, the home may not take over before the peer has handled all that was sent that way. So when the
home comes up, new messages wait in a holding queue until a barrier says so; so they do when the parallelism changes,
and with it the slot that a pair hashes to. A gap may arise when a connection dies, a swap never.

Sharing. Small messages on many connections cost a write, a packet and a wake-up each, and what is seldom used begins
slowly each time; on one connection they go together. So if the table shares, the slots of a lane use its first
connection, the trunk, and more when a message would wait there for the socket: a slot of which nothing is under way
any other at once; another slot, when it has waited often, one to which it hands over as above (`places`). While
nobody waits, `gather` lets them use fewer. The slots of partition keys are others: their messages have their home for
good, as whoever chooses expects.

A connection that this side gives up may still hold octets that the peer has yet to read. Such a queue is retired
instead of removed: it counts no more as up, and slots that used it hold until it is released.

Another wire. A node may also have one foreign connection, of Erlang's distribution. It has no slots: what is encoded for
one wire is nothing on the other. The messages of a lane take it if there is no connection of Partisan's when they are
sent, and go on so until it is lost, since nothing tells when the peer has handled what went there. Messages to parts of
the node (`Router.is_ours`) never take it.
"""

cimport cython

from partisan._core.bound cimport Bound
from partisan._core.places cimport Places
from partisan._core.sendqueue cimport SendQueue
from partisan._core.turns cimport WRITING

from partisan.errors import NotConnected
from partisan.names import DEFAULT_CHANNEL

__all__ = ["ConnectionTable", "Lane", "Peer"]

cdef str DEFAULT = DEFAULT_CHANNEL

cdef enum:
    SPAN = 16          # slots of pairs to a connection: two messages under way seldom have one
    MOST_SLOTS = 1024  # of pairs, unless there are more connections
    MAX_TOLD = 64      # unknown channels that are told of: a peer can make up as many as it likes


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
        self.slots = []
        self.places = Places()
        self.arrange()
        self.takeovers = []
        self.retired = {}

    def __repr__(self):
        return f"<Lane {self.peer.name} {self.channel}: {self.count} of {self.parallelism} connections>"

    @property
    def connections(self):
        """The queues of the connections that are up, by number."""
        return [queue for queue in self.places.homes if queue is not None]

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

    cdef int arrange(self) except -1:
        """Room for the connections that are wanted, and for their slots."""
        self.pairs = self.parallelism * max(1, min(SPAN, MOST_SLOTS // self.parallelism)) if self.parallelism > 1 else 1
        self.slots.extend([None] * (self.pairs + self.parallelism - len(self.slots)))
        self.places.resize(self.parallelism, len(self.slots))
        return 0

    cdef Py_ssize_t slot_of(self, Py_ssize_t number):
        """The slot of the partition keys whose messages take the connection of this number."""
        return self.pairs + number

    cdef bint roams(self, Py_ssize_t slot):
        """Whether a slot may take other connections than its home while that is up."""
        return self.shares and slot < self.pairs

    cdef Py_ssize_t home_of(self, Py_ssize_t slot):
        """The number of a slot's home."""
        return (slot - self.pairs if slot >= self.pairs else slot) % self.parallelism

    cdef SendQueue at(self, Py_ssize_t slot):
        """The queue for a slot. Raises NotConnected."""
        found = self.slots[slot]
        if found is None:
            return self.resolve(slot)
        if self.places.width > 1 or (self.shares and (<SendQueue>found).blocked):
            return self.weigh(slot, <SendQueue>found)
        return <SendQueue>found

    cdef SendQueue resolve(self, Py_ssize_t slot):
        """Choose the queue that an unused slot will keep, or hold for what a retired one was given."""
        cdef SendQueue queue = self.choose(slot)
        if queue is None:
            raise NotConnected(self.peer.name, self.peer.seen, None if self.peer.table.fallback else self.channel)
        self.take(slot, queue)
        used = [retired for retired, slots in self.retired.items() if slot in slots]
        if used:  # none of which is released yet, so that the slot holds
            self.hand_over([slot], used)
        return <SendQueue>self.slots[slot]

    cdef SendQueue choose(self, Py_ssize_t slot):
        """A queue for a slot of which nothing is under way, of this lane or else of the default channel's, or None."""
        cdef SendQueue queue = self.some(slot)
        cdef Lane default
        if queue is None and self.peer.table.fallback and self.channel != DEFAULT:
            default = self.peer.lanes.get(DEFAULT)
            if default is not None:
                queue = default.some(slot % default.pairs)
        return queue

    cdef SendQueue some(self, Py_ssize_t slot):
        """One of this lane's connections, or None."""
        cdef SendQueue queue
        if not self.roams(slot):
            return self.places.home(self.home_of(slot))
        queue = self.places.own(slot)
        self.tell_parted()
        return queue

    cdef int tell_parted(self) except -1:
        """Have `gather` called if it must be from now on."""
        return self.peer.table.tell_parted() if self.places.begins() else 0

    cdef SendQueue weigh(self, Py_ssize_t slot, SendQueue queue):
        """The queue for a slot while several are shared, or its own is full."""
        cdef SendQueue other
        if type(queue) is Holding:
            return queue
        if not self.roams(slot):
            return self.take(slot, queue)
        if self.places.width == 1:
            self.places.widen(1)
            self.tell_parted()
        if self.places.is_free(slot, queue):
            other = self.some(slot)
            return self.take(slot, queue if other is None else other)
        if queue.blocked and self.places.goes_over(slot, queue):
            self.hand_over([slot], [queue])
            found = self.slots[slot]
            return self.resolve(slot) if found is None else <SendQueue>found
        return self.take(slot, queue)

    cdef SendQueue take(self, Py_ssize_t slot, SendQueue queue):
        """The slot uses this queue."""
        self.slots[slot] = queue
        self.places.mark(slot, queue)
        return queue

    cdef bint gather(self) except -1:
        """Share fewer connections if nobody has waited for some time; whether to ask again."""
        if self.takeovers:
            return True  # whoever changes hands waits
        if self.places.is_restless() and self.places.look() and self.shares:
            self.leave()
        return self.places.is_restless()

    cdef int leave(self) except -1:
        """Slots whose connection is shared no more choose anew, once the peer has handled what they have sent."""
        cdef Py_ssize_t slot
        cdef dict leaving = {}
        for slot in range(self.pairs):
            used = self.slots[slot]
            if used is None or used not in self.places.homes or self.places.is_shared(used):
                continue
            if self.places.is_free(slot, used):
                self.slots[slot] = None
            else:
                leaving.setdefault(used, []).append(slot)
        return self.hand_over_all(leaving)

    def attach(self, SendQueue queue not None):
        """A connection of this lane is up. Returns its number."""
        cdef Py_ssize_t slot, number = self.places.add(queue)
        cdef dict leaving = {}
        self.count += 1
        self.shares = self.peer.table.shares and not queue.framed and self.parallelism > 1
        for slot in range(len(self.slots)):
            used = self.slots[slot]
            if used is None or used is queue or type(used) is Holding:  # who changes hands chooses when that is over
                continue
            if used not in self.places.homes or not self.roams(slot) and self.home_of(slot) == number:
                leaving.setdefault(used, []).append(slot)
        self.hand_over_all(leaving)
        return number

    cdef int hand_over_all(self, dict leaving) except -1:
        """Let slots leave queues: {queue: its slots}."""
        for used, slots in leaving.items():
            self.hand_over(slots, [used])
        return 0

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
        for queue in self.places.homes:
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
            self.retired[queue] = range(len(self.slots))
        used += default.retired
        if used:
            self.hand_over(range(len(self.slots)), used)
        return 0

    cdef int settle(self, Py_ssize_t slot, SendQueue holding) except -1:
        """What waited while the slot changed hands goes to the queue that it uses from now on.

        If nothing did, the peer has handled all of the slot's: it chooses at its next message, as one that is unused.
        """
        cdef SendQueue queue = self.choose(slot) if holding.queued_octets else None
        if self.slots[slot] is holding:  # else it has changed hands again meanwhile
            if queue is None:
                self.slots[slot] = None
            else:
                self.take(slot, queue)
        if queue is not None and holding.queued_octets:
            queue.absorb(holding)
            if self.slots[slot] is queue:
                self.places.mark(slot, queue)  # a tap takes what was held one by one: a probe may be amid that
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
        if self.places.remove(queue):
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
        self.parallelism = parallelism
        self.arrange()
        for queue in self.retired:
            self.retired[queue] = range(len(self.slots))  # a pair that used it may have any slot now
        if used:
            self.hand_over(range(len(self.slots)), used + list(self.retired))


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
        shares: let the slots of a channel share as few connections as they can without waiting.
        parted: callable(), called when they use more: `gather()` is to be called now and then, until it says no.
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
        """A lane uses more than its trunk."""
        if self.parted is not None:
            self.parted()
        return 0

    def gather(self) -> bool:
        """Let fewer connections be shared where nobody has waited for some time; whether to ask again."""
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
        """A connection is up. Returns its number; of a foreign one, which has none, -1."""
        cdef Peer peer = self.peer(node)
        if queue.foreign:
            peer.open_foreign(queue)
            return -1
        number = peer.lane(channel).attach(queue)
        peer.count += 1
        peer.seen = True
        self.count += 1
        peer.count_lacking()
        return number

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
