"""The two views of a HyParView node, and the edges that they need; `hyparview` says what the node tells its peers.

An edge is asked for when somebody is to be joined, asked, taken in, or told a last word, and given up as soon as
nothing of that remains and the peer is no neighbor. A timer gives each of these a deadline, but a join, which is tried
until it is given up. Who cannot be reached by then leaves the passive view.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

from partisan.errors import ConfigError
from partisan.machines.hyparview_messages import (
    HIGH,
    LOW,
    UNTAGGED,
    Declined,
    Farewell,
    HyParViewConfig,
    HyParViewState,
    JoinRequest,
    NeighborRequest,
    Shuffle,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Effect,
    Joined,
    JoinFailed,
    Machine,
    NeighborDown,
    NeighborUp,
    Peer,
    TimedOut,
    Unreachable,
)
from partisan.machines.view import DisconnectId, DisconnectIds, Name, View, choose, mix, sample
from partisan.machines.xbot import SWAP_TIMER, XBOT_TIMER, Oracle, XBot

if TYPE_CHECKING:
    from random import Random

SHUFFLE_TIMER = "shuffle"
PROMOTION_TIMER = "promotion"
EDGE_TIMER = "edge"
"""The last's keys are pairs of this and a name."""

DONE = "done"
"""The reason of a `Disconnect` after which the peer, too, takes the edge for one that nobody needs."""

_WAITING = 8
"""Messages that wait for one edge to come up, at most (ours)."""


class _Edge:
    """An edge that was asked for.

    Attributes:
        peer: as the driver knows it.
        up: whether it is usable.
        waiting: what to send when it is; None for nothing.
    """

    __slots__ = ("peer", "up", "waiting")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.up = False
        self.waiting: list[object] | None = None


class Neighborhood(Machine, ABC):
    """The views and edges of one node.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them.
        rng: the only source of chance; nodes of a simulation may share one.
        restored: the epoch that a former life saved, or None.
        oracle: what links cost, for X-BOT; None takes the round trips that the driver tells of.
    Raises:
        ConfigError: there are more reservations than places.
    Attributes:
        epoch: one more than the restored one; ours is saved at `Start`.
    """

    __slots__ = (
        "_active",
        "_asked",
        "_away",
        "_changed",
        "_edges",
        "_former",
        "_ids",
        "_joins",
        "_kind",
        "_name",
        "_offered",
        "_oracle",
        "_partitions",
        "_passive",
        "_pending",
        "_requests",
        "_reserved",
        "_tried",
        "_update",
        "_xbot",
    )

    config: HyParViewConfig

    def __init__(
        self,
        myself: Peer,
        config: HyParViewConfig,
        rng: Random,
        restored: int | None = None,
        oracle: Oracle | None = None,
    ) -> None:
        # Not Machine's: its tables are filled for each instance, which takes more memory than all that follows.
        self.myself = myself
        self.config = config
        self._rng = rng
        self._out: list[Effect] = []
        self._kind = type(myself)
        self._name: Name = config.name(myself)
        self._ids = DisconnectIds((restored or 0) + 1, config.memory, config.most_remembered)
        self._active: View = {}
        self._passive: View = {}
        self._reserved: dict[str, Name | None] = {}  # tag -> who has the place
        self._edges: dict[Name, _Edge] = {}
        self._joins: dict[Peer, Name] = {}  # contact of a join -> the name of its edge
        self._update: tuple[Peer, ...] = ()  # contacts that an update of the members had us join, done or not
        self._pending: dict[Name, object] = {}  # who is to be taken in once reached -> the message that says so
        self._asked: dict[Name, str] = {}  # whom we have asked -> with which priority
        self._tried: dict[Name, None] = {}  # whom we have asked since the last loss or round
        self._requests = 0  # how often a refusal may still send us to the next candidate
        self._offered: tuple[Peer, ...] = ()  # what our last shuffle gave away
        self._former: list[Peer] = []  # who has left the passive view, the latest last
        self._partitions: list[tuple[Any, Peer]] = []
        self._away = False  # we have left, and are alone until somebody joins
        self._changed = False
        self._oracle = oracle
        self._xbot: XBot | None = None
        for tag in config.reservations:
            if not self.reserve(tag):
                raise ConfigError("reservations", f"{len(config.reservations)} are more than the active view has room")

    @property
    def epoch(self) -> int:
        """How often the node has started, as far as it remembers."""
        return self._ids.epoch

    @property
    def active(self) -> tuple[Peer, ...]:
        """Our neighbors: the active view, without ourselves."""
        return tuple(self._active.values())

    @property
    def passive(self) -> tuple[Peer, ...]:
        """The passive view."""
        return tuple(self._passive.values())

    @property
    def members(self) -> tuple[Peer, ...]:
        """The active view with ourselves, in the order of the configured key."""
        return tuple(sorted((self.myself, *self._active.values()), key=self.config.key))

    @property
    def greeting(self) -> HyParViewState:
        """What our handshakes tell."""
        return HyParViewState((self.myself, *self._active.values()), self._ids.epoch)

    @property
    def partitions(self) -> tuple[tuple[Any, Peer], ...]:
        """The partitions that were injected: (name, peer that is not to be reached through others)."""
        return tuple(self._partitions)

    def reserve(self, tag: str) -> bool:
        """Keep a place in the active view for a peer with that tag; False if all are reserved."""
        if tag not in self._reserved:
            if len(self._reserved) >= self.config.active_max_size - 1:
                return False
            self._reserved[tag] = None
        return True

    def reserved(self, tag: str) -> Peer | None:
        """The neighbor that has the place which is reserved for the tag; None if it is free, or none is."""
        name = self._reserved.get(tag)
        return None if name is None else self._active.get(name)

    @abstractmethod
    def _take_in(self, name: Name, now: float) -> None:
        """A peer that was considered has been reached."""

    # Edges.

    def _on_connected(self, event: Connected, now: float) -> None:
        peer, contact = event.peer, event.contact
        name = self.config.name(peer)
        if contact != peer:
            self._rename(contact, name, peer)
        edge = self._edges.get(name)
        if edge is None:
            return  # given up while the news was under way
        if name == self._name:
            self._break(name, "self")
        elif event.greeting is not None and type(event.greeting) is not HyParViewState:
            self._violation(peer, "greeting: no state of HyParView")
            self._break(name, "greeting")
        elif name in self._active:
            self._replace_active(name, peer)
            self._joined(name, peer)
        elif not edge.up:
            edge.up = True
            self._came_up(name, edge, now)

    def _came_up(self, name: Name, edge: _Edge, now: float) -> None:
        waiting, edge.waiting = edge.waiting, None
        for message in waiting or ():
            self._send(edge.peer, message)
        if name in self._joins.values():
            self._send(edge.peer, self._request_to_join())
        if name in self._pending:
            self._take_in(name, now)
        if self._xbot is not None:
            self._xbot.came_up(name, now)
        self._settle(name)

    def _rename(self, contact: Peer, name: Name, peer: Peer) -> None:
        """Follow the driver, for whom the contact's edge is now the peer's."""
        former = self._key(contact)
        edge = self._edges.pop(former, None)
        if edge is None:
            return
        for asked, where in self._joins.items():
            if where == former:
                self._joins[asked] = name
        if former != name:
            self._stop_timer((EDGE_TIMER, former))
            if name not in self._active:
                self._start_timer((EDGE_TIMER, name), self.config.patience)
        known = self._edges.setdefault(name, edge)
        known.peer = peer

    def _replace_active(self, name: Name, peer: Peer) -> None:
        former = self._active[name]
        if former != peer:
            self._active[name] = self._edges[name].peer = peer
            self._notify(NeighborDown(former, "replaced"))
            self._notify(NeighborUp(peer))
            self._changed = True

    def _break(self, name: Name, reason: str) -> None:
        """Whoever answered is no node of our overlay."""
        for contact in [contact for contact, where in self._joins.items() if where == name]:
            del self._joins[contact]
            self._notify(JoinFailed(contact, reason))
        self._passive.pop(name, None)
        if name in self._active:
            self._remove(name, reason)
        elif name in self._edges:
            self._forget(name, reason)

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        name = self._key(event.peer)
        edge = self._edges.get(name)
        if edge is None:
            return
        if name in self._active:
            self._keep_in_mind((self._active[name],))
            self._remove(name, event.reason)
            if self.config.replacement:
                self._look_again()
            self._tried[name] = None
            if self.config.replacement:
                self._refill(now)
        elif name in self._joins.values():
            edge.up = False
        else:
            self._failed(name, event.reason, now, purge=not edge.up)

    def _on_unreachable(self, event: Unreachable, now: float) -> None:
        name = self._key(event.peer)
        edge = self._edges.get(name)
        if edge is not None and not edge.up and name not in self._joins.values():
            self._failed(name, event.reason, now, purge=True)

    def _failed(self, name: Name, reason: str, now: float, purge: bool) -> None:
        """An edge to somebody who is no neighbor was in vain."""
        if purge and name in self._passive:
            self._keep_in_mind((self._passive.pop(name),))
        asked = self._asked.get(name)
        self._forget(name, reason)
        if asked is not None and (self.config.replacement or not self._active or self._goes_on()):
            self._refill(now, asked, most=1)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        timer, config = event.timer, self.config
        if timer == SHUFFLE_TIMER:
            self._start_timer(SHUFFLE_TIMER, config.shuffle_interval)
            self._ids.expire(now)
            self._shuffle()
        elif timer == PROMOTION_TIMER:
            self._start_timer(PROMOTION_TIMER, config.random_promotion_interval)
            self._promote(now)
        elif self._xbot is not None and timer == XBOT_TIMER:
            self._xbot.round(now)
        elif self._xbot is not None and timer == SWAP_TIMER:
            self._xbot.give_up()
        elif type(timer) is tuple and timer[1] in self._edges and timer[1] not in self._active:
            name = timer[1]
            if name in self._joins.values():
                self._start_timer(timer, config.patience)
                if self._edges[name].up:
                    self._send(self._edges[name].peer, self._request_to_join())
            else:
                self._failed(name, "timeout", now, purge=True)

    def _key(self, peer: Peer) -> Name:
        """The name under which an edge is kept: a contact may not know its peer's."""
        return self.config.name(peer) if type(peer) is self._kind else peer

    def _open(self, name: Name, peer: Peer) -> _Edge:
        edge = self._edges.get(name)
        if edge is None:
            edge = self._edges[name] = _Edge(peer)
            self._connect(peer)
            self._start_timer((EDGE_TIMER, name), self.config.patience)
        return edge

    def _has_room_for_edge(self, name: Name, peer: Peer, what: str) -> bool:
        """Whether another edge may be asked for on behalf of a peer; say so if not."""
        if name in self._edges or len(self._edges) - len(self._active) < self.config.most_edges:
            return True
        self._notify(Declined(peer, what))
        return False

    def _tell(self, name: Name, peer: Peer, message: object) -> None:
        """Send on an edge that is there for nothing else, perhaps."""
        if not self._has_room_for_edge(name, peer, type(message).__name__):
            return
        edge = self._open(name, peer)
        if edge.up:
            self._send(edge.peer, message)
        elif edge.waiting is None:
            edge.waiting = [message]
        elif len(edge.waiting) < _WAITING:
            edge.waiting.append(message)
        else:
            self._notify(Declined(peer, type(message).__name__))
        self._settle(name)

    def _settle(self, name: Name) -> None:
        """Give the edge up if nothing needs it."""
        edge = self._edges.get(name)
        if edge is not None and edge.up and not self._needs(name):
            self._close(name, DONE)

    def _needs(self, name: Name) -> bool:
        return (
            name in self._active
            or name in self._pending
            or name in self._asked
            or name in self._joins.values()
            or (self._xbot is not None and self._xbot.needs(name))
        )

    def _close(self, name: Name, reason: str) -> None:
        edge = self._edges.pop(name)
        if name not in self._active:
            self._stop_timer((EDGE_TIMER, name))
        self._disconnect(edge.peer, reason)

    def _forget(self, name: Name, reason: str = "left") -> None:
        """Give up what is under way with somebody who is no neighbor; a join stays."""
        self._pending.pop(name, None)
        self._asked.pop(name, None)
        if self._xbot is not None:
            self._xbot.lost(name)
        if name in self._edges and name not in self._active and name not in self._joins.values():
            self._close(name, reason)

    def _end_join(self, contact: Peer, reason: str) -> None:
        name = self._joins.pop(contact, None)
        if name is not None:
            self._notify(JoinFailed(contact, reason))
            if name not in self._pending and name not in self._asked:
                self._forget(name, reason)

    # The active view.

    def _kept_free(self, tag: str = UNTAGGED) -> int:
        """Places that are kept for others than a peer of that tag."""
        if not self._reserved:
            return 0
        return sum(holder is None and reserved != tag for reserved, holder in self._reserved.items())

    def _has_room(self, tag: str) -> bool:
        return len(self._active) + 1 + self._kept_free(tag) < self.config.active_max_size

    def _victim(self) -> Name | None:
        """A neighbor to drop, at random, but none that has a reserved place."""
        held = tuple(self._reserved.values()) if self._reserved else ()
        return choose(self._active, self._rng, held)

    def _add(self, name: Name, peer: Peer, tag: str, now: float) -> bool:
        """Take a peer whose edge is up in as a neighbor, dropping others; False if all places are reserved."""
        while not self._has_room(tag):
            victim = self._victim()
            if victim is None:
                return False
            self._drop(victim, now)
        if self._reserved.get(tag, name) is None:
            self._reserved[tag] = name
        self._passive.pop(name, None)
        self._asked.pop(name, None)
        self._pending.pop(name, None)
        self._active[name] = peer
        self._stop_timer((EDGE_TIMER, name))
        self._changed = True
        self._notify(NeighborUp(peer))
        self._joined(name, peer)
        return True

    def _joined(self, name: Name, peer: Peer) -> None:
        for contact in [contact for contact, where in self._joins.items() if where == name]:
            del self._joins[contact]
            self._notify(Joined(contact, peer))

    def _remove(self, name: Name, reason: str) -> None:
        """A neighbor is none any more."""
        peer = self._active[name]
        self._close(name, reason)
        del self._active[name]
        for tag, holder in self._reserved.items():
            if holder == name:
                self._reserved[tag] = None
        self._changed = True
        self._notify(NeighborDown(peer, reason))

    def _drop(self, name: Name, now: float, keep: bool = True) -> None:
        """Say farewell to a neighbor."""
        peer = self._active[name]
        self._send(peer, Farewell(self.myself, self._ids.next(name, now)))
        self._remove(name, "dropped")
        if keep:
            self._to_passive(name, peer)

    def _to_passive(self, name: Name, peer: Peer) -> None:
        if name not in self._passive:
            self._keep_in_mind(mix(self._passive, {name: peer}, self.config.passive_max_size, self._rng))

    def _keep_in_mind(self, peers: Iterable[Peer]) -> None:
        """Remember who is in no view any more, in case that we shall know nobody else."""
        former, most = self._former, self.config.most_former
        former += peers
        if len(former) > most:
            del former[: len(former) - most]

    def _recall(self, but: Container[Name]) -> Name | None:
        """Put somebody who was in our views once, and is not among `but`, back into the passive view.

        They take turns: who fails again is the last to be recalled again.
        """
        for at, peer in enumerate(self._former):
            name = self.config.name(peer)
            if name not in but and name not in self._active and name not in self._passive and name != self._name:
                del self._former[at]
                self._to_passive(name, peer)
                return name if name in self._passive else None
        return None

    def _decline(self, name: Name, peer: Peer, now: float, last: DisconnectId | None = None) -> None:
        """Tell a peer that takes us for a neighbor that we are none, unless it is being told.

        Args:
            last: our latest farewell that it has read, if it says so.
        """
        told = self._ids.sent_lately(name, now) if last is None else not self._ids.addable(name, last, now)
        if not told:
            self._tell(name, peer, Farewell(self.myself, self._ids.next(name, now)))

    # Looking for neighbors.

    def _look_again(self, requests: int = 1 << 30) -> None:
        """Begin a round: whoever was asked before may be asked again.

        Args:
            requests: so many refusals end the round, and one that has begun before, although nobody has accepted:
                where most views are full, a node that lacks one neighbor would ask everybody, in vain.
        """
        self._tried.clear()
        self._requests = requests - 1

    def _goes_on(self) -> bool:
        """Whether one that was asked in vain sends us to the next; if so, that is counted."""
        if self._requests <= 0:
            return False
        self._requests -= 1
        return True

    def _promote(self, now: float) -> None:
        """Look for neighbors now and then: for one that is lacking, or, if nobody is replaced meanwhile, for all."""
        config = self.config
        taken = len(self._active) + 1 + self._kept_free()
        short = taken < config.active_min_size
        most, requests = 1, config.promotion_requests
        if not config.replacement:
            most = min(max(self._room(), 1), requests)
            requests -= most - 1
        elif not short and taken >= config.active_max_size - 1:
            requests = 1
        self._look_again(requests)
        self._refill(now, HIGH if short else LOW, most, recall=True)

    def _room(self) -> int:
        """For how many more neighbors there is room, when all have come that are on their way."""
        under_way = len(self._active) + 1 + len(self._asked) + len(self._pending)
        return self.config.active_max_size - self._kept_free() - under_way

    def _refill(self, now: float, priority: str = LOW, most: int = 1 << 30, recall: bool = False) -> None:
        """Ask passive peers to be neighbors, as many as there is room for.

        Args:
            priority: of one request; it is high in any case if there is no neighbor, and nobody else is asked so.
            recall: where there are none, ask who was in a view once; without a neighbor that is done in any case.
        """
        if self._away:
            return
        for _ in range(min(self._room(), most)):
            but = {**self._tried, **self._edges}
            name = choose(self._passive, self._rng, but)
            if name is None and (recall or not self._active):
                name = self._recall(but)
            if name is None or not self._has_room_for_edge(name, self._passive[name], "promotion"):
                return
            if not self._active and HIGH not in self._asked.values():
                priority = HIGH
            self._ask(name, self._passive[name], priority)
            priority = LOW

    def _ask(self, name: Name, peer: Peer, priority: str) -> None:
        self._tried[name] = None
        self._asked[name] = priority
        last = self._ids.last_read(name)
        exchange = self._exchange(neighbors=False)
        self._tell(name, peer, NeighborRequest(self.myself, priority, self.config.tag, last, exchange))

    def _exchange(self, neighbors: bool = True) -> tuple[Peer, ...]:
        """A sample of both views, and ourselves.

        Args:
            neighbors: with peers of the active view; not for who is about to be our neighbor: if it asked ours to be
                its neighbors too, there would be triangles, and ever longer paths elsewhere.
        """
        config, rng = self.config, self._rng
        active = sample(self._active, rng, config.shuffle_k_active) if neighbors else ()
        return (self.myself, *active, *sample(self._passive, rng, config.shuffle_k_passive))

    def _merge(self, exchange: Iterable[Peer], given: Iterable[Peer]) -> None:
        """Mix peers into the passive view; those that were given away for them make room first."""
        name_of, active, passive = self.config.name, self._active, self._passive
        newcomers: View = {}
        for peer in exchange:
            name = name_of(peer)
            if name not in passive and name not in active and name != self._name:
                newcomers.setdefault(name, peer)
        if newcomers:
            gone = mix(passive, newcomers, self.config.passive_max_size, self._rng, map(name_of, given))
            self._keep_in_mind(gone)

    def _shuffle(self) -> None:
        name = choose(self._active, self._rng)
        if name is not None:
            self._offered = self._exchange()
            self._send(self._active[name], Shuffle(self._offered, self.config.active_rwl, self.myself))

    def _request_to_join(self) -> JoinRequest:
        return JoinRequest(self.myself, self.config.tag, self._ids.epoch)
