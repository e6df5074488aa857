"""HyParView: a few symmetric neighbors to talk to, and a larger list of others to replace them from.

Leitao, Pereira, Rodrigues: HyParView: a membership protocol for reliable gossip-based broadcast (DSN 2007).

Each node has a small active view: neighbors, to each of which it keeps a connection that is also its failure detector;
if p has q in its active view, q has p. And it has a passive view, several times larger, without connections.

- A node joins through a contact, which takes it in, if need be by dropping somebody at random, and sends a walk for it
  to each of its other neighbors. A walk goes from neighbor to neighbor; where few hops are left it puts the joiner into
  a passive view, where it ends into an active one.
- Who is dropped is told so, and moves to the passive view, on both sides.
- When a neighbor fails, a peer from the passive view is asked to be one instead: with high priority by a node that has
  no neighbor, which is never refused, else with low priority, which only a node with room accepts. If it refuses the
  next is asked; if it cannot be reached it is purged.
- Periodically a node sends a sample of both views on a walk. Where that ends, both ends exchange samples and mix them
  into their passive views; what was sent away makes room first.

What holds, after every event:

- we are in neither view, no node is in both, both are within their sizes, a name occurs once;
- `NeighborUp` and `NeighborDown` alternate for each peer, and who is up is who is in the active view;
- an edge is kept to exactly: neighbors, contacts of joins, peers who are asked, peers who are to be taken in, and peers
  for whom a last word waits; there are never more than `most_edges` of all but the first.

And once messages have arrived: views are symmetric.

It speaks section 1 of the partisan 5.0.3 reference (upper layers), whose additions it has: tags and reserved places,
epochs and disconnect ids (`machines/view.py`), random promotion. It differs from the reference, mostly as the paper
wants it: samples are random; low priority is used; a shuffle keeps its origin while Python nodes forward it, and is
answered there; unreachable peers are purged; after a failure a refused request goes to the next candidate; a place is
reserved again when its peer has gone; joins are repeated until they are answered; a restarted node is never refused for
the epoch it has lost. A refusal is always the one with an exchange, as the other crashes a real manager. Who is about
to be our neighbor is told of passive peers alone: if it asked our neighbors next, there would be triangles.

With the option `xbot` neighbors are exchanged for nearer ones (`machines/xbot.py`).

It differs from the paper, too: a node is taken in only when it has been reached, so a forged joiner evicts nobody; an
acceptance that comes when the view is full again is declined, instead of evicting somebody; who treats us as a neighbor
and is none is told so, which restores symmetry whatever was lost; walks are no longer than our own; one who leaves says
farewell. Who is dropped asks a passive peer for each place that is free, and does not go on when it is refused, nor
with random promotion while one place is free; asking until somebody accepts is for failures: among nodes that join one
by one most views are full, and 97 of 100 requests would be refused. Without `replacement` nothing is done at once, and
promotion looks for all that is lacking, as the papers' simulator seems to have done (docs/simulator.md). A node that
knows nobody any more, all peers of both views having failed, tries in turns those that it has known before; nobody else
may know of it. One that has room and no passive peer left tries one of them with each random promotion, so that the
parts of a small cluster find each other when a partition ends. And in joining, asking and answering each side uses the
edge that it dialled itself, as the reference does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from partisan.errors import LocalProtocolError
from partisan.machines.hyparview_messages import HIGH as HIGH
from partisan.machines.hyparview_messages import LOW as LOW
from partisan.machines.hyparview_messages import UNTAGGED as UNTAGGED
from partisan.machines.hyparview_messages import Declined as Declined
from partisan.machines.hyparview_messages import Farewell as Farewell
from partisan.machines.hyparview_messages import ForwardJoin as ForwardJoin
from partisan.machines.hyparview_messages import HyParViewConfig as HyParViewConfig
from partisan.machines.hyparview_messages import HyParViewState as HyParViewState
from partisan.machines.hyparview_messages import InjectPartition as InjectPartition
from partisan.machines.hyparview_messages import JoinRequest as JoinRequest
from partisan.machines.hyparview_messages import Neighbor as Neighbor
from partisan.machines.hyparview_messages import NeighborAccepted as NeighborAccepted
from partisan.machines.hyparview_messages import NeighborRejected as NeighborRejected
from partisan.machines.hyparview_messages import NeighborRequest as NeighborRequest
from partisan.machines.hyparview_messages import ResolvePartition as ResolvePartition
from partisan.machines.hyparview_messages import Shuffle as Shuffle
from partisan.machines.hyparview_messages import ShuffleReply as ShuffleReply
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Effect,
    Event,
    GiveUp,
    Join,
    Joined,
    JoinFailed,
    Leave,
    MembersChanged,
    Peer,
    Received,
    Respec,
    Retune,
    Send,
    Start,
    TimedOut,
    Unreachable,
    UpdateMembers,
)
from partisan.machines.neighborhood import DONE as DONE
from partisan.machines.neighborhood import EDGE_TIMER as EDGE_TIMER
from partisan.machines.neighborhood import PROMOTION_TIMER as PROMOTION_TIMER
from partisan.machines.neighborhood import SHUFFLE_TIMER as SHUFFLE_TIMER
from partisan.machines.neighborhood import Neighborhood
from partisan.machines.view import DisconnectId, Name, choose, sample
from partisan.machines.xbot import ENDS, RoundTrip, Step, XBot


class HyParView(Neighborhood):
    """One node's part in HyParView; see `Neighborhood` for its arguments."""

    __slots__ = ()

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what the world must now do, in order. See `Machine.handle`."""
        if type(event) is Received:
            hears = _HEARS.get(type(event.message))
            if hears is None:
                self._violation(event.peer, f"unexpected {type(event.message).__name__}")
            else:
                hears(self, event.peer, event.message, now)
        else:
            takes = _TAKES.get(type(event))
            if takes is None:
                raise LocalProtocolError(f"{type(self).__name__} takes no {type(event).__name__}")
            takes(self, event, now)
        if self._changed:
            self._changed = False
            self._notify(MembersChanged(self.members))
        out, self._out = self._out, []
        return out

    # Commands.

    def _on_start(self, event: Start, now: float) -> None:
        self._save(self._ids.epoch)
        self._start_timers()
        self._changed = True

    def _start_timers(self) -> None:
        # A random phase: nodes that boot together do not shuffle together.
        config, rng = self.config, self._rng
        self._start_timer(SHUFFLE_TIMER, config.shuffle_interval * rng.random())
        if config.random_promotion:
            self._start_timer(PROMOTION_TIMER, config.random_promotion_interval * rng.random())
        else:
            self._stop_timer(PROMOTION_TIMER)
        if config.xbot and self._xbot is None:
            self._xbot = XBot(self, self._oracle)
        if self._xbot is not None:
            self._xbot.start()

    def _on_retune(self, event: Retune, now: float) -> None:
        self.config = config = event.config
        if not config.replacement:
            self._requests = min(self._requests, config.promotion_requests)
        self._ids.limit(config.memory, config.most_remembered)
        for tag in config.reservations:
            self.reserve(tag)
        while len(self._active) >= config.active_max_size:
            victim = self._victim()
            self._drop(choose(self._active, self._rng) if victim is None else victim, now)
        while len(self._passive) > max(config.passive_max_size, 0):
            del self._passive[choose(self._passive, self._rng)]
        self._keep_in_mind(())
        self._start_timers()

    def _on_respec(self, event: Respec, now: float) -> None:
        """Say farewell under the former value, and be a neighbor under the new one."""
        if event.myself == self.myself or self.config.name(event.myself) != self._name:
            return
        for name, peer in self._active.items():
            self._send(peer, Farewell(self.myself, self._ids.next(name, now)))
        self.myself = event.myself
        for name, peer in self._active.items():
            self._send(peer, self._neighbor(name, peer))
        self._changed = True

    def _on_join(self, event: Join, now: float) -> None:
        contact = event.contact
        self._away = False
        self._update = tuple(asked for asked in self._update if asked != contact)  # whoever asks now gives it up, too
        name = self._key(contact)
        if self.config.name(contact) == self._name:
            self._notify(JoinFailed(contact, "self"))
        elif name in self._active:
            self._notify(Joined(contact, self._active[name]))
        elif contact not in self._joins:
            former = self._edges.get(name)
            if former is not None and not former.up and former.peer != contact:
                self._close(name, "replaced")  # nobody has answered there: what a join says of its address is news
                self._forget(name)
            self._joins[contact] = name
            edge = self._open(name, contact)
            if edge.up:
                self._send(edge.peer, self._request_to_join())

    def _on_give_up(self, event: GiveUp, now: float) -> None:
        self._end_join(event.contact, "left")

    def _on_leave(self, event: Leave, now: float) -> None:
        """Leave, or forget one peer: nobody can make another node leave."""
        name = self._name if event.peer is None else self._key(event.peer)
        if name != self._name:
            self._end_join(event.peer, "left")
            self._forget(name)
            if name in self._active:
                self._drop(name, now, keep=False)
            self._passive.pop(name, None)
            self._former = [peer for peer in self._former if self.config.name(peer) != name]
            return
        for contact in list(self._joins):
            self._end_join(contact, "left")
        for neighbor in list(self._active):
            self._drop(neighbor, now, keep=False)
        for pending in list(self._edges):
            self._forget(pending)
        self._passive.clear()
        self._former.clear()
        self._away = True

    def _on_update_members(self, event: UpdateMembers, now: float) -> None:
        """Know these from now on: peers go to the passive view, and a node that is alone joins a contact.

        The first one by name, so that nodes which are given the same contacts together become one overlay and not
        several; the next one at the next update, as that one may be gone. One that was not reached, and is not named
        any more, is given up.
        """
        name = self.config.name
        contacts = [peer for peer in event.members if type(peer) is not self._kind and name(peer) != self._name]
        for peer in event.members:
            if type(peer) is self._kind:
                self._merge((peer,), ())
        for former in [contact for contact in self._update if event.members and contact not in contacts]:
            self._end_join(former, "left")
        self._update = tuple(contact for contact in self._update if contact in self._joins)
        fresh = [contact for contact in contacts if contact not in self._joins]
        if fresh and not self._active:
            chosen = min(fresh, key=lambda contact: str(name(contact)))
            self._on_join(Join(chosen), now)
            self._update += (chosen,)
        if event.members and len(self._active) + 1 < self.config.active_min_size:
            self._refill(now)

    # What peers say.

    def _neighbor(self, name: Name, peer: Peer) -> Neighbor:
        return Neighbor(self.myself, self.config.tag, self._ids.last_read(name), peer)

    def _speaker(self, peer: Peer, sender: Peer, what: str) -> Name | None:
        """The name of a message's sender; None, and a violation, if it is not who the connection says."""
        name_of = self.config.name
        problem, name = None, None
        if type(sender) is not self._kind:
            problem = "the sender is no peer"
        elif (name := name_of(sender)) == self._name:
            problem = "the sender calls itself as we are called"
        elif peer is not None and peer is not sender and name_of(peer) != name:
            problem = "the sender is not who the connection says"
        if problem is not None:
            self._violation(peer, f"{what}: {problem}")
            return None
        return name

    def _exchange_is_sound(self, peer: Peer, exchange: object, what: str) -> TypeGuard[tuple[Peer, ...]]:
        kind, most = self._kind, self.config.most_advertised
        if type(exchange) is not tuple or len(exchange) > most:
            self._violation(peer, f"{what}: no exchange of at most {most} peers")
            return False
        for each in exchange:
            if type(each) is not kind:
                self._violation(peer, f"{what}: it advertises what is no peer")
                return False
        return True

    def _walk_is_sound(self, peer: Peer, ttl: object, what: str) -> TypeGuard[int]:
        if type(ttl) is int and 0 <= ttl <= self.config.most_hops:
            return True
        self._violation(peer, f"{what}: no time to live of at most {self.config.most_hops} hops")
        return False

    def _terms_are_sound(self, peer: Peer, tag: object, last: object, what: str) -> bool:
        if type(tag) is str and _is_id(last):
            return True
        self._violation(peer, f"{what}: no tag or disconnect id")
        return False

    def _is_neighbor(self, peer: Peer, sender: Peer, now: float) -> bool:
        """Whether who sends on a walk is a neighbor, or is about to be; one who is not is told so.

        Args:
            peer: as the connection says; perhaps only its name.
            sender: as the message says; for a shuffle it may be another.
        """
        name = self.config.name(sender if peer is None else peer)
        if name in self._active or name in self._pending:
            return True
        if self.config.name(sender) == name and name != self._name:
            self._decline(name, sender, now)
        return False

    def _meet(self, name: Name, peer: Peer) -> None:
        """A node speaks for itself: if it has come back as another value, the former one is gone."""
        edge = self._edges.get(name)
        if edge is not None and edge.peer != peer:
            if name in self._active:
                self._remove(name, "replaced")
            elif name in self._joins.values():
                return
            else:
                self._forget(name, "replaced")
        if name in self._passive:
            self._passive[name] = peer

    def _consider(self, name: Name, peer: Peer, message: object, now: float) -> None:
        """Take a peer in as the message wants, once it is reached."""
        if self._has_room_for_edge(name, peer, type(message).__name__):
            edge = self._open(name, peer)
            if type(self._pending.get(name)) is not JoinRequest:  # for whom walks are yet to go out
                self._pending[name] = message
            if edge.up:
                self._take_in(name, now)
                self._settle(name)

    def _take_in(self, name: Name, now: float) -> None:
        """A peer that was considered has been reached."""
        message: Any = self._pending.pop(name)
        peer, kind = self._edges[name].peer, type(message)
        if kind is NeighborRequest:
            self._answer(name, peer, message, now)
            return
        unwanted = kind is NeighborAccepted and not self._has_room(message.tag)
        if unwanted or not self._add(name, peer, message.tag, now):
            self._decline(name, peer, now, getattr(message, "last", None))
        elif kind is JoinRequest:
            self._send(peer, self._neighbor(name, peer))
            self._send_walks(name, message)
        elif kind is ForwardJoin:
            self._send(peer, self._neighbor(name, peer))

    def _send_walks(self, joiner: Name, message: JoinRequest) -> None:
        walk = ForwardJoin(message.sender, message.tag, message.epoch, self.config.active_rwl, self.myself)
        for name, peer in self._active.items():
            if name != joiner:
                self._send(peer, walk)

    def _on_join_request(self, peer: Peer, message: JoinRequest, now: float) -> None:
        sender = message.sender
        name = self._speaker(peer, sender, "join")
        if name is None:
            return
        if type(message.tag) is not str or type(message.epoch) is not int:
            self._violation(peer, "join: no tag or epoch")
            return
        self._meet(name, sender)
        self._away = False
        if name in self._active:
            self._send(sender, self._neighbor(name, sender))  # it has lost ours, or begun again; walks went out before
        else:
            self._consider(name, sender, message, now)

    def _on_forward_join(self, peer: Peer, message: ForwardJoin, now: float) -> None:
        joiner, ttl = message.joiner, message.ttl
        if self._speaker(peer, message.sender, "forward_join") is None:
            return
        if not self._walk_is_sound(peer, ttl, "forward_join"):
            return
        if type(joiner) is not self._kind or type(message.tag) is not str or type(message.epoch) is not int:
            self._violation(peer, "forward_join: no joiner, tag or epoch")
            return
        name = self.config.name(joiner)
        if not self._is_neighbor(peer, message.sender, now) or name == self._name:
            return
        ttl = min(ttl, self.config.active_rwl)
        if ttl > 0:
            if ttl == self.config.passive_rwl and name not in self._active:
                self._to_passive(name, joiner)
            hop = choose(self._active, self._rng, (name, self.config.name(message.sender)))
            if hop is not None:
                walk = ForwardJoin(joiner, message.tag, message.epoch, ttl - 1, self.myself)
                self._send(self._active[hop], walk)
                return
        if name not in self._active:
            self._consider(name, joiner, message, now)

    def _on_neighbor(self, peer: Peer, message: Neighbor, now: float) -> None:
        sender = message.sender
        name = self._speaker(peer, sender, "neighbor")
        if name is None or not self._terms_are_sound(peer, message.tag, message.last, "neighbor"):
            return
        self._meet(name, sender)
        if self._away:
            self._decline(name, sender, now, message.last)
        elif name not in self._active and self._ids.addable(name, message.last, now):
            self._consider(name, sender, message, now)

    def _on_farewell(self, peer: Peer, message: Farewell, now: float) -> None:
        sender = message.sender
        name = self._speaker(peer, sender, "disconnect")
        if name is None:
            return
        if not _is_id(message.number):
            self._violation(peer, "disconnect: no disconnect id")
            return
        if not self._ids.read(name, message.number, now):
            return
        asked, was_neighbor = self._asked.get(name), name in self._active
        if was_neighbor:
            former = self._active[name]
            self._remove(name, "dropped by the peer")
            self._to_passive(name, former)
            if self.config.replacement:
                self._look_again(1)
        else:
            self._forget(name, "dropped by the peer")
        self._tried[name] = None
        if self.config.replacement:
            if was_neighbor or asked is not None:
                self._refill(now, asked or LOW)
        elif asked is not None and self._goes_on():
            self._refill(now, asked, most=1)

    def _on_request(self, peer: Peer, message: NeighborRequest, now: float) -> None:
        sender = message.sender
        name = self._speaker(peer, sender, "neighbor_request")
        if name is None or not self._terms_are_sound(peer, message.tag, message.last, "neighbor_request"):
            return
        if not self._exchange_is_sound(peer, message.exchange, "neighbor_request"):
            return
        self._meet(name, sender)
        if not self._away:
            self._merge(message.exchange, ())
        if name in self._active or not self._is_acceptable(name, message, now):
            self._answer(name, sender, message, now)
        else:
            self._consider(name, sender, message, now)

    def _is_acceptable(self, name: Name, request: NeighborRequest, now: float) -> bool:
        if self._away or not self._ids.addable(name, request.last, now):
            return False
        return request.priority == HIGH or self._has_room(request.tag)

    def _answer(self, name: Name, peer: Peer, request: NeighborRequest, now: float) -> None:
        """Accept who is a neighbor, or is to be one and has been reached; reject anybody else."""
        edge = self._edges.get(name)
        reached = edge is not None and edge.up and self._is_acceptable(name, request, now)
        if name in self._active or (reached and self._add(name, peer, request.tag, now)):
            last = self._ids.last_read(name)
            exchange = self._exchange(neighbors=False)
            self._send(peer, NeighborAccepted(self.myself, self.config.tag, last, exchange))
        else:
            self._tell(name, peer, NeighborRejected(self.myself, () if self._away else self._exchange()))

    def _on_accepted(self, peer: Peer, message: NeighborAccepted, now: float) -> None:
        sender = message.sender
        name = self._speaker(peer, sender, "neighbor_accepted")
        if name is None or not self._terms_are_sound(peer, message.tag, message.last, "neighbor_accepted"):
            return
        if not self._exchange_is_sound(peer, message.exchange, "neighbor_accepted"):
            return
        self._meet(name, sender)
        self._asked.pop(name, None)
        if self._away:
            self._decline(name, sender, now, message.last)
            return
        if name not in self._active:
            if self._ids.addable(name, message.last, now):
                self._consider(name, sender, message, now)
            self._settle(name)
        self._merge(message.exchange, ())

    def _on_rejected(self, peer: Peer, message: NeighborRejected, now: float) -> None:
        name = self._speaker(peer, message.sender, "neighbor_rejected")
        if name is None or not self._exchange_is_sound(peer, message.exchange, "neighbor_rejected"):
            return
        if self._away:
            return
        self._merge(message.exchange, ())
        asked = self._asked.pop(name, None)
        if asked is not None:
            self._settle(name)
            if self._goes_on():
                self._refill(now, asked, most=1)

    def _on_shuffle(self, peer: Peer, message: Shuffle, now: float) -> None:
        # Nine of ten messages of an overlay at rest are shuffles that go on: few calls here.
        exchange, ttl, origin = message.exchange, message.ttl, message.sender
        config, active = self.config, self._active
        if type(ttl) is not int or not 0 <= ttl <= config.most_hops:
            self._walk_is_sound(peer, ttl, "shuffle")  # says why not
            return
        if not self._exchange_is_sound(peer, exchange, "shuffle"):
            return
        if type(origin) is not self._kind:
            self._violation(peer, "shuffle: the sender is no peer")
            return
        name_of = config.name
        name = name_of(origin)
        hop = name if peer is None else name_of(peer)
        if hop not in active and not self._is_neighbor(peer, origin, now):
            return
        rwl = config.active_rwl
        ttl = (ttl if ttl < rwl else rwl) - 1
        if ttl > 0:
            following = choose(active, self._rng, (name, hop))
            if following is not None:
                self._out.append(Send(active[following], Shuffle(exchange, ttl, origin)))
                return
        if name != self._name:
            reply = tuple(sample(self._passive, self._rng, len(exchange)))
            self._tell(name, origin, ShuffleReply(reply, self.myself))
            self._merge(exchange, reply)

    def _on_shuffle_reply(self, peer: Peer, message: ShuffleReply, now: float) -> None:
        name = self._speaker(peer, message.sender, "shuffle_reply")
        if name is None or not self._exchange_is_sound(peer, message.exchange, "shuffle_reply") or self._away:
            return
        given, self._offered = self._offered, ()
        self._merge(message.exchange, given)

    # X-BOT.

    def _on_step(self, peer: Peer, message: Step, now: float) -> None:
        if self._xbot is None:
            self._notify(Declined(peer, type(message).__name__))
        else:
            self._xbot.hear(peer, message, now)

    def _on_round_trip(self, event: RoundTrip, now: float) -> None:
        if self._xbot is not None:
            self._xbot.on_round_trip(event, now)

    # Partitions, for tests.

    def _on_inject_partition(self, peer: Peer, message: InjectPartition, now: float) -> None:
        if not self.config.partitions:
            self._violation(peer, "inject_partition: partitions are not allowed here")
        elif self._walk_is_sound(peer, message.ttl, "inject_partition") and not self._is_partitioned(message.ref):
            if message.ttl > 0:
                self._send_to_all(InjectPartition(message.ref, self.myself, message.ttl - 1))
            self._partitions.extend((message.ref, member) for member in self.members)

    def _on_resolve_partition(self, peer: Peer, message: ResolvePartition, now: float) -> None:
        if not self._is_partitioned(message.ref):
            return
        remaining = [entry for entry in self._partitions if entry[0] != message.ref]
        self._partitions = remaining
        self._send_to_all(message)

    def _is_partitioned(self, ref: object) -> bool:
        return any(ref == known for known, _ in self._partitions)

    def _send_to_all(self, message: object) -> None:
        for peer in self._active.values():
            self._send(peer, message)


def _is_id(value: object) -> TypeGuard[DisconnectId]:
    return type(value) is tuple and len(value) == 2 and type(value[0]) is int and type(value[1]) is int


_TAKES: dict[type, Callable[[HyParView, Any, float], None]] = {
    Start: HyParView._on_start,
    Retune: HyParView._on_retune,
    Respec: HyParView._on_respec,
    Join: HyParView._on_join,
    GiveUp: HyParView._on_give_up,
    Leave: HyParView._on_leave,
    UpdateMembers: HyParView._on_update_members,
    Connected: HyParView._on_connected,
    Disconnected: HyParView._on_disconnected,
    Unreachable: HyParView._on_unreachable,
    TimedOut: HyParView._on_timed_out,
    RoundTrip: HyParView._on_round_trip,
}
_HEARS: dict[type, Callable[[HyParView, Peer, Any, float], None]] = {
    JoinRequest: HyParView._on_join_request,
    ForwardJoin: HyParView._on_forward_join,
    Neighbor: HyParView._on_neighbor,
    Farewell: HyParView._on_farewell,
    NeighborRequest: HyParView._on_request,
    NeighborAccepted: HyParView._on_accepted,
    NeighborRejected: HyParView._on_rejected,
    Shuffle: HyParView._on_shuffle,
    ShuffleReply: HyParView._on_shuffle_reply,
    InjectPartition: HyParView._on_inject_partition,
    ResolvePartition: HyParView._on_resolve_partition,
    **dict.fromkeys(ENDS, HyParView._on_step),
}
