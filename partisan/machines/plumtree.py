"""Plumtree: broadcast over a tree that grows out of a flood, and mends itself by the links that it left out.

Leitao, Pereira, Rodrigues: Epidemic Broadcast Trees (SRDS 2007).

Neighbors are those of the membership below. At first all are eager: a message is pushed to them, and whoever hears it
for the first time pushes it on. Who hears it again prunes the sender, and both are lazy to each other from then on:
what is left of the eager links is a tree. To lazy neighbors a message is only announced. Who waits in vain for a
message that was announced asks an announcer for it: a graft, which makes them eager to each other again, and so mends
the tree where somebody failed. From time to time neighbors compare what they have (an exchange), for what got lost
altogether.

Messages are kept by handlers, which are the application's: whether one is new, stale or there to be sent again is
theirs to say (`plumtree_messages` has what they are asked). Each message names its handler.

What holds, after every event:

- every neighbor, as told by `NeighborUp` and not taken back by `NeighborDown`, is eager or lazy in every tree, never
  both, and nobody else is;
- trees, announcements and messages waited for are within their bounds, whatever peers send;
- announcements wait for neighbors only, and while any does the tick runs; exchanges are with neighbors only.

It differs from the paper as partisan 5.0.3 does (section 2 of its reference, upper layers), whose messages it speaks:
there is a tree for each root; announcements wait for a tick, and are repeated until acknowledged. It differs from both:
there is a tree for each root and channel, so that what one handler finds stale prunes nobody from another's tree. And
it differs from partisan: a message that is missing is asked for after a while, as the paper has it, since most are on
their way, and one announcer is asked after the other; a new neighbor is put into the trees instead of felling them all;
a neighbor that is lost leaves them at once, not with the next change of the membership; what was broadcast to nobody
but neighbors that were lost is announced to another; what cannot be served is announced no more; who names a
handler that is not here is pruned, and its announcements are acknowledged.

As the paper has it, for its figures: one shared tree, announcements at once, optimization of paths (§3.8). A message
from who is no neighbor is taken, as its edge may only be on its way up, but is not answered: there is no edge for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from partisan.errors import LocalProtocolError
from partisan.machines.machine import (
    Effect,
    Event,
    Machine,
    NeighborDown,
    NeighborUp,
    Peer,
    Received,
    Retune,
    Send,
    Start,
    TimedOut,
)
from partisan.machines.plumtree_exchanges import Exchanges
from partisan.machines.plumtree_messages import DEFAULT_CHANNEL as DEFAULT_CHANNEL
from partisan.machines.plumtree_messages import (
    Broadcast,
    CancelExchanges,
    Exchange,
    ExchangeBegun,
    ExchangeCancelled,
    ExchangeOver,
    Found,
    GivenUp,
    Graft,
    Handler,
    HandlerFailed,
    Hearing,
    Id,
    IgnoredIHave,
    IHave,
    Merged,
    Missing,
    Name,
    PlumtreeConfig,
    Prune,
    Push,
    Running,
    Say,
    Talk,
    Talker,
    problem_of,
)
from partisan.machines.plumtree_recent import Recent
from partisan.machines.plumtree_trees import Tree, Trees

if TYPE_CHECKING:
    from random import Random

PREFIX = "plumtree"
"""All timers are tuples that begin with this."""

LAZY_TIMER = (PREFIX, "lazy")
EXCHANGE_TIMER = (PREFIX, "exchange")
HEARTBEAT_TIMER = (PREFIX, "heartbeat")
_GRAFT = "graft"

_NOTHING: dict[Hashable, None] = {}


class _Wanted:
    """A message that was announced, and has not come.

    Attributes:
        id: of the message; its handler is in the key.
        announcers: who can be asked for it, by the announcement of each.
    """

    __slots__ = ("announcers", "id")

    def __init__(self, id: Id) -> None:
        self.id = id
        self.announcers: dict[Name, IHave] = {}


class Plumtree(Machine):
    """One node's part in the broadcast.

    Args:
        myself: our own value among peers.
        config: the options; `Retune` replaces them.
        rng: the only source of chance.
        handlers: name -> handler, of those that there are from the start.
    Attributes:
        handlers: name -> handler.
    """

    TAKES: ClassVar[Collection[type]]
    """Commands that are this machine's, for who runs several."""

    HEARS: ClassVar[Collection[type]]
    """Messages that are."""

    PREFIX: ClassVar[str] = PREFIX
    """Of its timers."""

    __slots__ = (
        "_channels",
        "_exchanges",
        "_name",
        "_outstanding",
        "_recent",
        "_ticking",
        "_trees",
        "_wanted",
        "handlers",
    )

    config: PlumtreeConfig

    def __init__(
        self, myself: Peer, config: PlumtreeConfig, rng: Random, handlers: Mapping[str, Handler] | None = None
    ) -> None:
        # Not Machine's: its tables are filled for each instance, which takes more memory than all that follows.
        self.myself = myself
        self.config = config
        self._rng = rng
        self._out: list[Effect] = []
        self._name: Name = config.name(myself)
        self.handlers: dict[str, Handler] = {}
        self._channels: dict[str, str] = {}  # of each handler
        self._trees = Trees(config.most_trees, config.shared_tree)
        # (handler, id, root) -> announcement that the neighbor of that name has not acknowledged
        self._outstanding: dict[Name, dict[Hashable, IHave]] = {}
        self._ticking = False
        self._wanted: dict[Hashable, _Wanted] = {}  # by handler and id
        self._exchanges = Exchanges()
        self._recent = Recent()
        for mod, handler in (handlers or {}).items():
            self.add_handler(mod, handler)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what the world must now do, in order. See `Machine.handle`."""
        if type(event) is Received:
            self._hear(event.peer, event.message, now)
        else:
            takes = _TAKES.get(type(event))
            if takes is None:
                raise LocalProtocolError(f"{type(self).__name__} takes no {type(event).__name__}")
            takes(self, event, now)
        out, self._out = self._out, []
        return out

    # What drivers ask.

    def add_handler(self, mod: str, handler: Handler) -> None:
        """Let messages of that name be this handler's; it replaces a former one. Raises what its channel raises."""
        self._channels[mod] = handler.broadcast_channel()
        self.handlers[mod] = handler

    def prepare(self, data: Any, mod: str) -> Broadcast:
        """Let a handler name and keep what is to be broadcast; return the command that does it.

        Raises:
            LocalProtocolError: there is no handler of that name.
            Exception: whatever the handler raises; nothing was sent then.
        """
        handler = self.handlers.get(mod)
        if handler is None:
            raise LocalProtocolError(f"no handler {mod!r}")
        id, payload = handler.broadcast_data(data)
        return Broadcast(id, payload, mod)

    @property
    def neighbors(self) -> tuple[Peer, ...]:
        """Whom we push or announce to."""
        return tuple(self._trees.neighbors.values())

    def peers(self, root: Name, channel: str = DEFAULT_CHANNEL) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
        """The eager and the lazy neighbors in the tree of the root of that name."""
        tree = self._trees.look(self._key(root, channel))
        return tuple(tree.eager.values()), tuple(tree.lazy.values())

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Those that run."""
        return self._exchanges.running

    @property
    def outstanding(self) -> int:
        """How many announcements are not acknowledged."""
        return sum(map(len, self._outstanding.values()))

    # Commands, and what the membership says.

    def _on_start(self, event: Start, now: float) -> None:
        config, rng = self.config, self._rng
        # A random phase: nodes that boot together do not talk together.
        for timer, period in (
            (EXCHANGE_TIMER, config.exchange_tick),
            (HEARTBEAT_TIMER, None if config.heartbeat is None else config.heartbeat_interval),
        ):
            if period is None:
                self._stop_timer(timer)
            else:
                self._start_timer(timer, period * rng.random())

    def _on_retune(self, event: Retune, now: float) -> None:
        self.config = config = event.config
        self._trees.most, self._trees.shared = config.most_trees, config.shared_tree
        self._trees.limit(0 if config.shared_tree else config.most_trees)
        if config.lazy_tick is None:
            self._outstanding.clear()
        self._on_start(Start(), now)

    def _on_neighbor_up(self, event: NeighborUp, now: float) -> None:
        name = self.config.name(event.peer)
        if name != self._name:
            self._trees.add(name, event.peer)
            self._announce_untold(name, now)

    def _on_neighbor_down(self, event: NeighborDown, now: float) -> None:
        name = self.config.name(event.peer)
        if self._trees.find(name) != event.peer:
            return  # another value of that name is our neighbor now
        self._trees.remove(name)
        self._outstanding.pop(name, None)
        self._recent.lost(name)
        self._exchanges.hearing(name, True)
        self._cancel(CancelExchanges(peer=name))
        for wanted in self._wanted.values():
            wanted.announcers.pop(name, None)
        if self._trees.neighbors:
            self._announce_untold(next(reversed(self._trees.neighbors)), now)

    def _on_broadcast(self, event: Broadcast, now: float) -> None:
        if event.mod not in self.handlers:
            raise LocalProtocolError(f"no handler {event.mod!r}")
        mod, key = event.mod, self.config.key(event.id)
        _NOTHING.get(key)  # or what cannot be a key would fail halfway
        self._spread(event.id, event.payload, mod, 0, self._name, self._name)
        if self.config.remember > 0.0:
            announcement = IHave(event.id, mod, 0, self._name, self._name, self._channels[mod])
            self._recent.add((mod, key), announcement, self._trees.neighbors, now)

    def _on_hearing(self, event: Hearing, now: float) -> None:
        if self._trees.find(event.peer) is not None:
            self._exchanges.hearing(event.peer, event.hears)

    def _on_exchange_over(self, event: ExchangeOver, now: float) -> None:
        self._exchanges.over(event.job)

    def _on_cancel_exchanges(self, event: CancelExchanges, now: float) -> None:
        self._cancel(event)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        timer, config = event.timer, self.config
        if timer == LAZY_TIMER:
            self._announce_again()
        elif timer == EXCHANGE_TIMER and config.exchange_tick is not None:
            self._start_timer(timer, config.exchange_tick)
            self._begin_exchanges(now)
        elif timer == HEARTBEAT_TIMER and config.heartbeat is not None:
            self._start_timer(timer, config.heartbeat_interval)
            self._beat(config.heartbeat)
        elif type(timer) is tuple and len(timer) == 3 and timer[:2] == (PREFIX, _GRAFT):
            self._ask_for(timer[2])

    def _beat(self, mod: str) -> None:
        handler = self.handlers.get(mod)
        made = None if handler is None else self._ask(mod, "broadcast_data", None)
        if made is not None:
            self._spread(made[0], made[1], mod, 0, self._name, self._name)

    # Messages out.

    def _key(self, root: Name, channel: str) -> Hashable:
        return (root, channel) if self.config.per_channel else root

    def _spread(self, id: Id, payload: Any, mod: str, hops: int, root: Name, source: Name) -> None:
        """Push to the eager and announce to the lazy neighbors of the tree, but not to whom it came from."""
        channel = self._channels[mod]
        tree = self._trees.look(self._key(root, channel))
        push = Push(id, payload, mod, hops, root, self._name, channel)
        self._out += [Send(peer, push) for name, peer in tree.eager.items() if name != source]
        if tree.lazy:
            self._announce(tree, IHave(id, mod, hops, root, self._name, channel), source)

    def _announce(self, tree: Tree, announcement: IHave, source: Name) -> None:
        if self.config.lazy_tick is None:
            self._out += [Send(peer, announcement) for name, peer in tree.lazy.items() if name != source]
        else:
            self._announce_to((name for name in tree.lazy if name != source), announcement)

    def _announce_to(self, names: Iterable[Name], announcement: IHave) -> None:
        """Announce it to these neighbors at each tick until they acknowledge it; not at all without ticks."""
        config = self.config
        if config.lazy_tick is None:
            return
        key = (announcement.mod, config.key(announcement.id), announcement.root)
        for name in names:
            waiting = self._outstanding.setdefault(name, {})
            waiting[key] = announcement
            if len(waiting) > config.most_outstanding:
                oldest = waiting.pop(next(iter(waiting)))
                self._notify(GivenUp(name, oldest.mod, oldest.id, "full"))
        self._tick()

    def _announce_untold(self, name: Name, now: float) -> None:
        """Announce to this neighbor what we broadcast to none who is left."""
        for announcement in self._recent.untold(name, now, self.config.remember):
            self._announce_to((name,), announcement)
            self._answer(name, announcement)

    def _tick(self) -> None:
        if not self._ticking and self._outstanding and self.config.lazy_tick is not None:
            self._ticking = True
            self._start_timer(LAZY_TIMER, self.config.lazy_tick)

    def _announce_again(self) -> None:
        self._ticking = False
        for name, waiting in self._outstanding.items():
            peer = self._trees.find(name)
            self._out += [Send(peer, announcement) for announcement in waiting.values()]
        self._tick()

    def _acknowledged(self, name: Name, key: Hashable) -> bool:
        """Announce it to the neighbor no more; return whether it was to be."""
        waiting = self._outstanding.get(name)
        if waiting is None or waiting.pop(key, None) is None:
            return False
        if not waiting:
            del self._outstanding[name]
        return True

    def _answer(self, name: Name, message: object) -> None:
        """Tell a neighbor; nobody else can be told."""
        peer = self._trees.find(name)
        if peer is not None:
            self._send(peer, message)

    # Messages in.

    def _hear(self, peer: Peer, message: Any, now: float) -> None:
        hears = _HEARS.get(type(message))
        if hears is None:
            self._violation(peer, f"unexpected {type(message).__name__}")
        elif (problem := problem_of(self._name, peer, message, self.config)) is not None:
            self._violation(peer, f"{type(message).__name__}: {problem}")
        else:
            hears(self, peer, message, now)

    def _id_key(self, peer: Peer, message: Any) -> tuple[str, Hashable] | None:
        """By which we know the message; None, and a violation, if it cannot be known."""
        try:
            key = self.config.key(message.id)
            _NOTHING.get(key)  # which fails if it cannot be a key
        except (TypeError, ValueError):
            self._violation(peer, f"{type(message).__name__}: an id by which nothing can be known")
            return None
        mod: str = message.mod
        return (mod, key)

    def _on_push(self, peer: Peer, message: Push, now: float) -> None:
        mod, root, sender = message.mod, message.root, message.sender
        channel = self._channels.get(mod)
        if channel is None:
            self._violation(peer, f"Push: no handler {mod[:64]!r}")
            self._answer(sender, Prune(root, self._name, message.channel))
            return
        key = self._id_key(peer, message)
        if key is None:
            return
        merged = self._ask(mod, "merge", message.id, message.payload)
        if not merged:
            if self.config.pruning:
                self._trees.own(self._key(root, channel)).make_lazy(sender)
                self._answer(sender, Prune(root, self._name, channel))
            if merged is None:
                self._refuse(message, key, channel)
            return
        hops = message.round + 1
        if self.config.report:
            self._notify(Merged(mod, message.id, root, hops))
        if sender in self._trees.look(self._key(root, channel)).lazy:
            self._trees.own(self._key(root, channel)).make_eager(sender)
        self._spread(message.id, message.payload, mod, hops, root, sender)
        wanted = self._wanted.pop(key, None)
        if wanted is not None:
            self._arrived(message, key, channel, wanted)

    def _refuse(self, message: Push, key: Hashable, channel: str) -> None:
        """The handler cannot take it: whoever has announced it is told as if it could, or it would come for ever."""
        wanted = self._wanted.pop(key, None)
        announcers: dict[Name, Push | IHave] = {message.sender: message}
        if wanted is not None:
            self._stop_timer((PREFIX, _GRAFT, key))
            announcers |= wanted.announcers
        if self.config.lazy_tick is not None:
            for name, each in announcers.items():
                self._answer(name, IgnoredIHave(each.id, each.mod, each.round, each.root, self._name, channel))

    def _arrived(self, message: Push, key: Hashable, channel: str, wanted: _Wanted) -> None:
        """Wait for the message no more; take a much shorter way from now on if one was announced (paper §3.8)."""
        self._stop_timer((PREFIX, _GRAFT, key))
        least = self.config.optimization
        if least is None or not wanted.announcers:
            return
        nearest = min(wanted.announcers.values(), key=attrgetter("round"))
        if message.round - nearest.round >= least and nearest.sender != message.sender:
            tree = self._trees.own(self._key(message.root, channel))
            tree.make_eager(nearest.sender)
            self._answer(nearest.sender, Graft(None, None, nearest.round, message.root, self._name, channel))
            tree.make_lazy(message.sender)
            self._answer(message.sender, Prune(message.root, self._name, channel))

    def _on_prune(self, peer: Peer, message: Prune, now: float) -> None:
        if self._trees.find(message.sender) is None or not self.config.pruning:
            return
        channels = dict.fromkeys(self._channels.values())
        for channel in (message.channel,) if message.channel in channels else channels:
            self._trees.own(self._key(message.root, channel)).make_lazy(message.sender)

    def _on_i_have(self, peer: Peer, message: IHave, now: float) -> None:
        mod, root, sender = message.mod, message.root, message.sender
        channel = self._channels.get(mod)
        if channel is None:
            self._violation(peer, f"IHave: no handler {mod[:64]!r}")
        if channel is None or self._ask(mod, "is_stale", message.id):
            if self.config.lazy_tick is not None:
                reached_on = message.channel if channel is None else channel
                self._answer(sender, IgnoredIHave(message.id, mod, message.round, root, self._name, reached_on))
            return
        if self._trees.find(sender) is None:
            return
        key = self._id_key(peer, message)
        if key is None:
            return
        wanted = self._wanted.get(key)
        if wanted is None:
            config = self.config
            if config.graft_after <= 0.0 or len(self._wanted) >= config.most_missing:
                self._graft(message)
                return
            wanted = self._wanted[key] = _Wanted(message.id)
            self._start_timer((PREFIX, _GRAFT, key), config.graft_after)
        wanted.announcers.setdefault(sender, message)

    def _ask_for(self, key: Any) -> None:
        """A message has not come for long: ask the next who announced it, until it has or nobody is left."""
        wanted = self._wanted.get(key)
        if wanted is None:
            return
        if not wanted.announcers or self._ask(key[0], "is_stale", wanted.id):
            del self._wanted[key]  # who still has it announces it again
            return
        self._graft(wanted.announcers.pop(next(iter(wanted.announcers))))
        self._start_timer((PREFIX, _GRAFT, key), self.config.graft_again)

    def _graft(self, announcement: IHave) -> None:
        mod, root, sender = announcement.mod, announcement.root, announcement.sender
        channel = self._channels[mod]
        self._trees.own(self._key(root, channel)).make_eager(sender)
        self._answer(sender, Graft(announcement.id, mod, announcement.round, root, self._name, channel))

    def _on_ignored_i_have(self, peer: Peer, message: IgnoredIHave, now: float) -> None:
        key = self._id_key(peer, message)
        if key is not None:
            self._acknowledged(message.sender, (*key, message.root))

    def _on_graft(self, peer: Peer, message: Graft, now: float) -> None:
        mod, root, sender = message.mod, message.root, message.sender
        if mod is None:
            if self._trees.find(sender) is not None and message.channel in self._channels.values():
                self._trees.own(self._key(root, message.channel)).make_eager(sender)
            return
        channel = self._channels.get(mod)
        if channel is None:
            self._violation(peer, f"Graft: no handler {mod[:64]!r}")
            return
        found = self._ask(mod, "graft", message.id)
        if type(found) is Found:
            if self._trees.find(sender) is not None:
                self._trees.own(self._key(root, channel)).make_eager(sender)
            self._answer(sender, Push(message.id, found.payload, mod, message.round, root, self._name, channel))
            return
        key = self._id_key(peer, message)
        if key is not None:
            self._acknowledged(sender, (*key, root))
        if found is not Missing.STALE:
            self._notify(GivenUp(sender, mod, message.id, "unavailable"))

    # Exchanges.

    def _begin_exchanges(self, now: float) -> None:
        """Let each handler that may exchange with one neighbor."""
        roots = [self._name, *self._trees.neighbors]
        key = self._key(self._rng.choice(roots), self._rng.choice([*self._channels.values(), DEFAULT_CHANNEL]))
        drawn = self._exchanges.draw(self._trees, key, self.handlers, self.config, self._rng)
        for mod, name in self._exchanges.due(drawn, self.handlers, self.config, now):
            begun = self._ask(mod, "exchange", self._trees.find(name))
            if type(begun) is Running:
                self._exchanges.add(mod, name, begun.job, now)
                self._notify(ExchangeBegun(Exchange(mod, name, begun.job, now)))
            elif type(begun) is Talk and begun.bodies and self._exchanges.hears(name):
                if not begun.over:
                    self._exchanges.add(mod, name, None, now)
                self._say(name, mod, begun)

    def _say(self, name: Name, mod: str, talk: Talk) -> None:
        for body in talk.bodies:
            self._answer(name, Say(mod, body, self._name, self._channels[mod]))

    def _on_say(self, peer: Peer, message: Say, now: float) -> None:
        mod, sender = message.mod, message.sender
        handler = self.handlers.get(mod)
        if not isinstance(handler, Talker):
            self._violation(peer, f"Say: no handler {mod[:64]!r} that exchanges by messages")
            return
        if self._trees.find(sender) is None:
            return
        try:
            talk = handler.hear(self._trees.find(sender), message.body)
        except ValueError as error:
            self._violation(peer, f"Say: {error}")
            return
        except Exception as error:  # whatever the application's code raises
            self._notify(HandlerFailed(mod, "hear", error))
            return
        self._exchanges.heard(mod, sender, talk.over, now)
        self._say(sender, mod, talk)

    def _cancel(self, which: CancelExchanges) -> None:
        for exchange in self._exchanges.cancel(which):
            self._notify(ExchangeCancelled(exchange))

    # Handlers.

    def _ask(self, mod: str, callback: str, *arguments: Any) -> Any:
        """Call a handler; None, and a fact that says so, if it raises."""
        try:
            return getattr(self.handlers[mod], callback)(*arguments)
        except Exception as error:  # whatever the application's code raises
            self._notify(HandlerFailed(mod, callback, error))
            return None


_TAKES: dict[type, Callable[[Plumtree, Any, float], None]] = {
    Start: Plumtree._on_start,
    Retune: Plumtree._on_retune,
    NeighborUp: Plumtree._on_neighbor_up,
    NeighborDown: Plumtree._on_neighbor_down,
    TimedOut: Plumtree._on_timed_out,
    Broadcast: Plumtree._on_broadcast,
    Hearing: Plumtree._on_hearing,
    ExchangeOver: Plumtree._on_exchange_over,
    CancelExchanges: Plumtree._on_cancel_exchanges,
}
_HEARS: dict[type, Callable[[Plumtree, Peer, Any, float], None]] = {
    Push: Plumtree._on_push,
    Prune: Plumtree._on_prune,
    IHave: Plumtree._on_i_have,
    IgnoredIHave: Plumtree._on_ignored_i_have,
    Graft: Plumtree._on_graft,
    Say: Plumtree._on_say,
}
Plumtree.TAKES = (Broadcast, Hearing, ExchangeOver, CancelExchanges)
Plumtree.HEARS = tuple(_HEARS)
