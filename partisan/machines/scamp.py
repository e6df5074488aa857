"""SCAMP: partial views whose size follows the logarithm of a membership that nobody knows.

Ganesh, Kermarrec, Massoulie: SCAMP: peer-to-peer lightweight membership service for large-scale group communication
(NGC 2001); Peer-to-peer membership management for gossip-based protocols (IEEE Trans. Computers 52(2), 2003).

Each node has a partial view: those it sends to. Views are one-way: who has us need not be whom we have.

- A node joins by subscribing at a contact, which becomes its view. The contact sends the subscription on to everybody
  in its own view, and `copies` more to some of them by chance. Whoever gets such a copy keeps the subscriber with
  probability 1 / (1 + size of its view), if it does not have it; else it passes the copy on to one of its view. A
  contact with an empty view keeps the subscriber itself. Views come to (c + 1) ln n on average.
- A node that leaves unsubscribes; the two versions differ in how (`scamp_v1`, `scamp_v2`).
- Heartbeats go to the view, in every round. Who has heard none for long is isolated: nobody has it. It subscribes again
  through one of its view.
- A subscription is a lease. When it ends the subscriber is dropped; before that it has subscribed again, and is kept
  elsewhere, which evens views out.

What holds, after every event:

- we are not in our view, a name occurs in it once, and it has `max_members` - 1 peers at most;
- members are the view and ourselves; an edge is kept to exactly them, to contacts of joins, and to peers for whom a
  last word waits, or who are dialled again, which are given up when two rounds have passed;
- `NeighborUp` and `NeighborDown` alternate for each peer, and who is up is in the view;
- as long as somebody is up, the last one who is stays, whatever its lease.

It speaks section 4.2 and 4.3 of the partisan 5.0.3 reference. Its `forward_subscription` has neither a sender nor a
count of hops: a copy that the subscriber itself has sent, on its own connection, is a new subscription, any other is
under way; and a node passes on so many copies of one subscriber in a round, where the paper's discards too. It differs
from the reference, as the paper wants it: the chance to keep depends on the view; only the contact multiplies a
subscription, where in the reference whoever keeps one does; silence is measured against rounds, where in the reference
a tenth of a second makes a node isolated; there are leases. It differs from the paper: a copy that ends where its
subscriber is kept already renews the lease; a contact multiplies the subscriptions of one node once in half a lease,
so that real nodes, which subscribe again in every round, cost little; the joiner's own former view hears of the
contact, so that two clusters become one; and a contact that had to keep a subscriber because nobody of its view was up,
as when many join at once, multiplies that subscription in a later round.

A partition that outlasts leases leaves parts that know nothing of each other. So a node remembers some whose leases
have ended while they could not be reached. Whenever it subscribes again, and in each round in which nobody is up, it
dials one of them, in turns, and joins again through who answers, unless that has left. It remembers some of the views
that greetings told, too, for when nobody is up, as the only one that it had may have left or died, and for the rounds
after somebody left who leaves it with `copies` or fewer: without this, 2 to 5 % of small clusters fall apart when the
contact of all leaves.

A node that lost its memory while others have it is found by a heartbeat, and subscribes through whoever sent it. Who
left is not: its actor says so to whoever connects, by which it is dropped there. Real nodes do not read actors; what
these ask of a node that left them is ignored until it joins again.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from partisan.machines.machine import Connected, Join, Peer, Removed, Start
from partisan.machines.membership import MembershipConfig
from partisan.machines.partial import PartialView

if TYPE_CHECKING:
    from random import Random

ACTOR_OCTETS = 20
"""Length of an actor (partisan 5.0.3)."""

OURS = b"\xffpartisan_p"
"""How the actors of Python nodes begin, as those of full membership do (ours)."""

MEMBER, AWAY = OURS + b"y", OURS + b"l"
"""How the actors begin of a node that is in a cluster, or would like to be, and of one that has left (ours)."""

PATIENCE = 2
"""Rounds that a last word waits for its edge, and that who is left with few looks for others (ours)."""

MOST_INTRODUCED = 64
"""Subscribers of whom a contact tells its view later in one round (ours)."""

MOST_MISSED = 64
"""Peers that are remembered whose leases have ended while they could not be reached, and that others told of (ours)."""


@dataclass(frozen=True, slots=True)
class ScampConfig(MembershipConfig):
    """Options of SCAMP, besides those of every membership.

    Attributes:
        copies: of a subscription, besides one for each of the contact's view: the paper's c (partisan 5.0.3: 5).
        lease: seconds that a subscription holds (paper: finite; ours: ten minutes); infinite without leases.
        silence: rounds without a heartbeat after which a node takes itself for isolated (ours).
        most_passed: copies of one subscriber that are passed on in a round (ours; paper: a node discards what it has
            received many times).
    """

    copies: int = 5
    lease: float = 600.0
    silence: int = 3
    most_passed: int = 10


@dataclass(frozen=True, slots=True)
class Subscription:
    """Somebody would like to be in a view; from itself, or under way."""

    subscriber: Peer


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """Whoever has it drops it."""

    subscriber: Peer


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The sender has the receiver in its view."""

    sender: Peer


class Scamp(PartialView):
    """What both versions have in common.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them.
        rng: chance.
        restored: the greeting that a former life saved, or None.
    """

    config: ScampConfig
    mutual: ClassVar[bool] = False
    expels: ClassVar[bool] = True

    def __init__(self, myself: Peer, config: ScampConfig, rng: Random, restored: Any = None) -> None:
        super().__init__(myself, config, rng)
        self._messages |= {
            Subscription: self._on_subscription,
            Unsubscription: self._on_unsubscription,
            Heartbeat: self._on_heartbeat,
        }
        self._view: dict[Peer, float] = {}  # and when its lease ends
        self._named: dict[Hashable, Peer] = {}  # the view by name
        self._actors: dict[Hashable, bytes] = {}  # of those we have an edge to
        self._errands: dict[Peer, tuple[int, list[object]]] = {}  # rounds that they wait, and what for
        self._passed: dict[Hashable, int] = {}  # copies of a subscriber in this round
        self._spread: dict[Hashable, float] = {}  # whose subscription we have multiplied, and until when it counts
        self._owed: dict[Hashable, None] = {}  # whom we keep, but could not multiply: nobody else was up
        self._former: dict[Hashable, None] = {}  # real nodes that we left
        self._missed: dict[Hashable, Peer] = {}  # whose leases have ended while they were down
        self._told: dict[Hashable, Peer] = {}  # whom those that we reached had in view; for when we have few
        self._seeking = 0  # rounds in which we join through others, because somebody left
        self._heard = self._renewal = 0.0
        self._left = -math.inf
        ours = restored is not None and restored.actor.startswith(OURS)
        self.actor: bytes = restored.actor if ours else self._fresh_actor(MEMBER)
        for peer in () if restored is None else restored.view:
            if config.name(peer) != self._name and config.name(peer) not in self._named:
                self._view[peer] = config.lease
                self._named[config.name(peer)] = peer
        self.members = tuple(sorted([*self._view, myself], key=config.key))

    @property
    def view(self) -> tuple[Peer, ...]:
        """Those we send to, in the order in which they came."""
        return tuple(self._view)

    def foreign(self, peers: Iterable[Peer]) -> tuple[list[Peer], list[Peer]]:
        """Of these peers, those whose actor is none of our kind, and those that have not told theirs."""
        real, unheard = [], []
        for peer in peers:
            name = self.config.name(peer)
            if name != self._name:
                actor = self._actors.get(name)
                if actor is None:
                    unheard.append(peer)
                elif not actor.startswith(OURS):
                    real.append(peer)
        return real, unheard

    # What the versions differ in.

    @abstractmethod
    def _unsubscribe(self, now: float) -> None:
        """Tell those who may have us that we leave; the view is still there."""

    @abstractmethod
    def _dropped(self, peer: Peer, source: Peer) -> None:
        """The peer is no longer in the view, as somebody has told."""

    @abstractmethod
    def _expel(self, leavers: list[Peer]) -> None:
        """Make these leave, who are in the view no longer, but whose edges still are there."""

    @abstractmethod
    def _turn_away(self, peer: Peer) -> None:
        """The peer still has us in its view, though we have left."""

    def _bears(self, peer: Peer, message: object) -> bool:
        """Whether the peer, who has greeted, can be sent that message without harm."""
        return True

    def _kept(self, peer: Peer) -> None:
        """The peer is in the view from now on, or still."""

    # Subscriptions.

    def _on_subscription(self, peer: Peer, message: Subscription, now: float) -> None:
        subscriber = message.subscriber
        if type(subscriber) is not type(self.myself):
            self._violation(peer, "subscription: the subscriber is no peer")
            return
        name = self.config.name(subscriber)
        direct = peer is None or self.config.name(peer) == name
        if name in self._former or (self.is_away and not direct):
            return
        if direct:
            self._come_back()
        if direct and name != self._name and self._may_spread(name, now):
            self._introduce(subscriber, name, now)
        else:
            self._pass(subscriber, name, now)

    def _may_spread(self, name: Hashable, now: float) -> bool:
        """Whether a subscription that came directly is multiplied here; if so, it is not for a while."""
        if self._spread.get(name, now) > now:
            return False
        if len(self._spread) >= self.config.max_members:
            self._spread = {name: until for name, until in self._spread.items() if until > now}
        if len(self._spread) >= self.config.max_members:
            return False
        self._spread[name] = now + self.config.lease / 2
        return True

    def _near(self, name: Hashable) -> list[Peer]:
        """Those of the view who are up, but one of that name."""
        known = self._named.get(name)
        return [peer for peer in self._up if peer != known]

    def _introduce(self, subscriber: Peer, name: Hashable, now: float) -> None:
        """Act as the subscriber's contact."""
        near = self._near(name)
        if not near:
            self._take(subscriber, name, now)
            self._owed[name] = None
            return
        self._owed.pop(name, None)
        message = Subscription(subscriber)
        for peer in near + self._rng.choices(near, k=self.config.copies):
            self._send(peer, message)

    def _introduce_owed(self) -> None:
        """Send copies for those whom we had to keep ourselves, when nobody of our view was up; not all in one round.

        As many as a contact has in its view on average: ours may hold all that came with them.
        """
        for name in list(self._owed)[:MOST_INTRODUCED]:
            subscriber, near = self._named.get(name), self._near(name)
            if subscriber is None:
                del self._owed[name]
            elif near:
                del self._owed[name]
                mean = round((self.config.copies + 1) * math.log(len(near) + 1))
                chosen = self._rng.sample(near, min(mean, len(near)))
                for peer in chosen + self._rng.choices(near, k=self.config.copies):
                    self._send(peer, Subscription(subscriber))

    def _pass(self, subscriber: Peer, name: Hashable, now: float) -> None:
        """Keep the subscriber, or pass it on."""
        held = self._named.get(name)
        near = self._near(name)
        ends = not near or self._is_worn(name)
        if name == self._name:
            ends_here = ends
        elif held is None:
            ends_here = not near or self._rng.random() * (1 + len(self._view)) < 1.0
        else:
            ends_here = ends or (held != subscriber and held not in self._up)
        if not ends_here:
            if not ends:
                self._send(self._rng.choice(near), Subscription(subscriber))
        elif name != self._name:
            self._take(subscriber, name, now)

    def _is_worn(self, name: Hashable) -> bool:
        """Count a copy of that subscriber; whether there have been too many in this round."""
        if len(self._passed) >= self.config.max_members:
            return True
        count = self._passed[name] = self._passed.get(name, 0) + 1
        return count > self.config.most_passed

    def _take(self, peer: Peer, name: Hashable, now: float) -> None:
        """Have the peer in the view, or its lease renewed; of a name that is up, the value that it is up as stays."""
        held = self._named.get(name)
        if held is not None and held != peer:
            if held in self._up:
                peer = held
            else:
                del self._view[held]
        elif held is None and len(self._view) >= self.config.max_members - 1:
            self._violation(peer, f"subscription: a view of {len(self._view)} is full")
            return
        new = peer not in self._view
        self._view[peer] = now + self.config.lease
        self._named[name] = peer
        self._missed.pop(name, None)
        if new:
            self._changed()
        self._kept(peer)

    def _changed(self, gone: str = "left") -> None:
        self._save(self.greeting)
        self._report([*self._view, self.myself], gone)

    def _lose(self, peer: Peer, reason: str) -> None:
        """Have the peer in the view no longer."""
        name = self.config.name(peer)
        del self._view[peer]
        del self._named[name]
        self._actors.pop(name, None)
        self._changed(reason)

    def _seek(self) -> None:
        """Somebody left: if we have few now, join through others for some rounds. Those few may have each other only,
        as the last who joined when the contact of all leaves: others have them, but they have no others.
        """
        if len(self._view) <= self.config.copies:
            self._seeking = PATIENCE

    def _subscribe_again(self, now: float) -> None:
        near = list(self._up)
        if near:
            self._send(self._rng.choice(near), Subscription(self.myself))
            self._set_renewal(now)

    def _set_renewal(self, now: float) -> None:
        """Before our leases end; not all nodes at once."""
        self._renewal = now + self.config.lease * (0.7 + 0.2 * self._rng.random())

    # Heartbeats and unsubscriptions.

    def _on_heartbeat(self, peer: Peer, message: Heartbeat, now: float) -> None:
        sender = message.sender
        if not self._speaks_for_itself(peer, sender, "heartbeat"):
            return
        name = self.config.name(sender)
        self._heard = now
        held = self._named.get(name)
        if held is not None and held != sender:
            self._replace(held, sender, now)
        elif self.is_away:
            if name not in self._former:
                self._turn_away(sender)
        elif not self._view:
            self._take(sender, name, now)
            self._tell(sender, Subscription(self.myself))

    def _speaks_for_itself(self, peer: Peer, sender: Peer, what: str) -> bool:
        """Whether a message's sender is a peer, not ourselves, and who the connection says; else it is a violation."""
        name_of = self.config.name
        problem = None
        if type(sender) is not type(self.myself):
            problem = "the sender is no peer"
        elif name_of(sender) == self._name:
            problem = "the sender calls itself as we are called"
        elif peer is not None and name_of(peer) != name_of(sender):
            problem = "the sender is not who the connection says"
        if problem is not None:
            self._violation(peer, f"{what}: {problem}")
        return problem is None

    def _replace(self, former: Peer, peer: Peer, now: float) -> None:
        """Somebody in the view has become another value of its name."""
        name = self.config.name(former)
        del self._view[former]
        self._view[peer] = now + self.config.lease
        self._named[name] = peer
        self._changed("replaced")

    def _on_unsubscription(self, peer: Peer, message: Unsubscription, now: float) -> None:
        who = message.subscriber
        if type(who) is not type(self.myself):
            self._violation(peer, "unsubscription: the subscriber is no peer")
            return
        if self.config.name(who) == self._name:
            if who == self.myself:
                self._be_removed(now)
            return
        self._missed.pop(self.config.name(who), None)
        self._told.pop(self.config.name(who), None)
        if who in self._view:
            self._spread.pop(self.config.name(who), None)
            self._lose(who, "left")
            self._seek()
            self._dropped(who, peer)

    def _be_removed(self, now: float) -> None:
        """Somebody has made us leave; but not if that is news of when we left before."""
        if self._view and now >= self._left + self.config.period:
            self._unsubscribe(now)
            self._begin_again("removed", now)
            self._notify(Removed("removed"))

    # What every membership does.

    @property
    def is_away(self) -> bool:
        """Whether we have left, and not joined again."""
        return self.actor.startswith(AWAY)

    def _fresh_actor(self, kind: bytes) -> bytes:
        return kind + self._rng.randbytes(ACTOR_OCTETS - len(kind))

    def _come_back(self) -> None:
        if self.is_away:
            self.actor = self._fresh_actor(MEMBER)
            self._errands = {peer: (age, []) for peer, (age, _) in self._errands.items()}  # they were farewells

    def _on_start(self, event: Start, now: float) -> None:
        for peer in self._view:  # as if each had subscribed at another time
            self._view[peer] = now + self.config.lease * (0.5 + 0.5 * self._rng.random())
        self._heard = now
        self._set_renewal(now)
        super()._on_start(event, now)

    def _on_join(self, event: Join, now: float) -> None:
        self._come_back()
        self._former.clear()
        super()._on_join(event, now)

    def _on_connected(self, event: Connected, now: float) -> None:
        super()._on_connected(event, now)
        if event.contact in self._view and event.contact not in self._edges:
            self._lose(event.contact, "replaced")  # somebody else is there: it has no edge any more

    def _greeted(self, peer: Peer, contact: Peer, greeting: Any, joining: bool, now: float) -> None:
        name = self.config.name(peer)
        if greeting is not None:
            if self._actors.get(name, greeting.actor) != greeting.actor:  # another life, which may subscribe anew
                self._spread.pop(name, None)
            self._actors[name] = greeting.actor
        held = self._named.get(name)
        if held is not None and held != peer:
            self._replace(held, peer, now)
        away = greeting is not None and greeting.actor.startswith(AWAY)
        asked = (name in self._missed or name in self._told) and held is None and not away
        self._missed.pop(name, None)
        self._told.pop(name, None)
        if greeting is not None and not (away or self.is_away):
            self._remember(self._told, greeting.view)
            self._told.pop(name, None)
        if joining or asked:
            self._joined(peer, name, contact, now)
        elif peer in self._view and away:
            self._lose(peer, "left")
            self._seek()
            return
        elif peer in self._view:
            self._bring_up(peer, contact)
        self._run_errands(peer, contact)

    def _joined(self, peer: Peer, name: Hashable, contact: Peer, now: float) -> None:
        """Subscribe at a contact whom we have reached, and tell it to the view that we had before."""
        fresh = name not in self._named
        former = self._near(name)
        self._take(peer, name, now)
        if peer not in self._view:
            self._give_up(contact, "greeting")
            return
        self._bring_up(peer, contact)
        self._heard = now
        self._seeking = 0
        self._set_renewal(now)
        self._send(peer, Subscription(self.myself))
        if fresh and former and self._may_spread(name, now):
            message = Subscription(peer)
            for each in former + self._rng.choices(former, k=self.config.copies):
                self._send(each, message)

    def _tell(self, peer: Peer, message: object) -> None:
        """Send it at once to who is up, else when its edge is; one that is only kept for this is given up then."""
        if peer in self._up:
            self._send(peer, message)
        elif len(self._errands) < self.config.max_members:
            _, waiting = self._errands.get(peer, (0, []))
            self._errands[peer] = (0, [each for each in waiting if each != message] + [message])
            self._keep(peer)

    def _run_errands(self, peer: Peer, contact: Peer) -> None:
        for each in (contact,) if contact == peer else (contact, peer):
            for message in self._errands.pop(each, (0, ()))[1]:
                if self._bears(peer, message):
                    self._send(peer, message)
        if peer not in self._view:
            self._drop(peer, "done")

    def _age_errands(self) -> None:
        for peer, (age, waiting) in list(self._errands.items()):
            self._errands[peer] = (age + 1, waiting)
            if age + 1 >= PATIENCE:
                del self._errands[peer]
                if peer not in self._view and peer not in self._pending:
                    self._drop(peer, "unreachable")

    def _remove(self, leavers: list[Peer], now: float) -> None:
        for peer in leavers:
            del self._view[peer]
            del self._named[self.config.name(peer)]
        self._expel(leavers)
        self._changed()
        for peer in leavers:
            self._actors.pop(self.config.name(peer), None)

    def _leave_ourselves(self, now: float) -> None:
        if self._view:
            self._unsubscribe(now)
            self._begin_again("left", now)
        self._give_up_joins()

    def _begin_again(self, reason: str, now: float) -> None:
        """Become a cluster of our own; last words are still said."""
        self._give_up_joins()
        for peer in self.foreign(self._view)[0]:
            self._former[self.config.name(peer)] = None
        for peer in list(self._edges):
            if peer not in self._errands:
                self._drop(peer, reason, both=True)
        self._view.clear()
        self._named.clear()
        self._actors.clear()
        self._spread.clear()
        self._owed.clear()
        self._missed.clear()
        self._told.clear()
        self._left = now
        self.actor = self._fresh_actor(AWAY)
        self._save(self.greeting)
        self._report([self.myself], reason)
        for peer in self._errands:  # those who were members were dropped by the report
            self._keep(peer)

    def _replace_ourselves(self, now: float) -> None:
        self._changed()
        message = Heartbeat(self.myself)
        for peer in self._up:
            self._send(peer, message)
        self._subscribe_again(now)

    def _round(self, now: float) -> None:
        self._passed.clear()
        self._age_errands()
        self._end_leases(now)
        self._introduce_owed()
        if self.config.fanout == 0:
            return
        message = Heartbeat(self.myself)
        for peer in self._some():
            self._send(peer, message)
        isolated = now - self._heard > self.config.silence * self.config.period
        if isolated or now >= self._renewal or self._seeking or not self._up:
            self._dial_missed()
            self._subscribe_again(now)
            self._seeking = max(self._seeking - 1, 0)

    def _dial_missed(self) -> None:
        """Try one of those who were given up while they could not be reached; `_greeted` hears if it answers.

        Who has nobody, or is left with few, tries one of whom it was told, too.
        """
        for others in (self._missed, self._told if self._seeking or not self._up else {}):
            for name in [name for name in others if name not in self._named][:1]:
                peer = others[name] = others.pop(name)  # the last of them now
                if peer not in self._errands:
                    self._errands[peer] = (0, [])
                    self._keep(peer)

    def _end_leases(self, now: float) -> None:
        for peer in [peer for peer, until in self._view.items() if until <= now]:
            if peer not in self._up:
                self._remember(self._missed, [peer])
            if peer not in self._up or len(self._up) > 1:
                self._lose(peer, "expired")

    def _remember(self, others: dict[Hashable, Peer], peers: Iterable[Peer]) -> None:
        """Know these as well, to dial them when it is time for that."""
        others.update((self.config.name(peer), peer) for peer in peers if self.config.name(peer) != self._name)
        while len(others) > MOST_MISSED:
            del others[next(iter(others))]

    def _problem_of_greeting(self, greeting: object) -> str | None:
        """Say what makes a state unusable, as far as both versions have it."""
        actor, view = getattr(greeting, "actor", None), getattr(greeting, "view", None)
        if type(actor) is not bytes or type(view) is not tuple:
            return "no state of SCAMP"
        if len(view) > self.config.max_members:
            return f"a view of {len(view)} is too large"
        if not all(type(peer) is type(self.myself) for peer in view):
            return "one in its view is no peer"
        return None
