"""What every membership does with edges, joins and departures; a strategy is one class on top of it.

A strategy decides who is a member and what to tell whom. This class keeps the rest: an edge to each member and to each
contact of a join that is not done, the facts that drivers wait for, and a timer for what is done at intervals. At each
interval it also asks again for the edges of members that are not up: a driver that has lost one finds it again.

A strategy

- gives its state as `greeting`: what handshakes tell, and what is saved;
- takes a peer whose edge came up in `_greeted`, and calls `_bring_up` unless it gives the edge up;
- takes messages by `self._messages[Type] = handler`, with `handler(peer, message, now)`;
- makes members leave in `_remove`, leaves in `_leave_ourselves`, and does what is due at intervals in `_round`;
- goes on under another value of its own in `_replace_ourselves`;
- reports members by `_report`, which keeps and drops edges;
- answers by `_turn_away` who has not heard that it is no member any more, or that we are none.

What a peer sends it checks itself, and blames by `_violation`: a handler never raises. It names the frozen dataclasses
that it greets with and sends in `messages`; their fields may be peers, numbers, bytes, str, bool, None, and tuples and
dicts of these. docs/membership.md has an example, and how to choose a strategy. One by which a node knows a few others
only is a class on top of `PartialView` (`machines/partial.py`).

Source: the behaviour partisan_membership_strategy of partisan 5.0.3, and sections 3.6 to 3.8 of its reference for what
the manager does around it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from partisan.machines.machine import (
    Connected,
    Disconnected,
    GiveUp,
    Join,
    Joined,
    JoinFailed,
    Leave,
    Machine,
    MemberReplaced,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Peer,
    Respec,
    Retune,
    Start,
    TimedOut,
    Unreachable,
    UpdateMembers,
)
from partisan.names import Contact, NodeSpec

if TYPE_CHECKING:
    from random import Random

GOSSIP_TIMER = "gossip"
"""The machine's one timer."""


def name_of(peer: Peer) -> Hashable:
    """The name of a node spec or contact (None if unknown); anything else is its own name."""
    kind = type(peer)  # not isinstance, which takes three times as long: simulations ask for millions of names
    name: Hashable = peer.name if kind is NodeSpec or kind is Contact else peer
    return name


def _itself(peer: Any) -> Any:
    return peer


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """Options of every membership.

    Attributes:
        period: seconds between rounds (partisan 5.0.3: 10 s).
        fanout: how many members are told something in a round, chosen at random; None is all of them (partisan 5.0.3).
        max_members: a state with more elements, removed ones included, is refused (ours).
        key: sort key of the members that are reported.
        name: the name of a peer; two members of one name are one node that changed.
    """

    period: float = 10.0
    fanout: int | None = None
    max_members: int = 16_384
    key: Callable[[Any], Any] = _itself
    name: Callable[[Peer], Hashable] = name_of


class Membership(Machine, ABC):
    """The part of a membership that does not depend on its strategy.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them.
        rng: the only source of chance.
    Attributes:
        members: ourselves included, in the order of the configured key.
        messages: the dataclasses that a strategy of its own sends, its greeting first.
        mutual: whether who is our member has us for one, so that an edge is needed both ways or not at all.
        partial: whether a node need not know all others.
        expels: whether a node can make another one leave.
    """

    config: MembershipConfig
    members: tuple[Peer, ...]
    messages: ClassVar[tuple[type, ...]] = ()
    mutual: ClassVar[bool] = True
    partial: ClassVar[bool] = False
    expels: ClassVar[bool] = True

    def __init__(self, myself: Peer, config: MembershipConfig, rng: Random) -> None:
        super().__init__(myself, config, rng)
        self._events |= {
            Start: self._on_start,
            Join: self._on_join,
            GiveUp: self._on_give_up,
            Leave: self._on_leave,
            UpdateMembers: self._on_update_members,
            Retune: self._on_retune,
            Respec: self._on_respec,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            Unreachable: self._on_unreachable,
            TimedOut: self._on_timed_out,
        }
        self._edges: dict[Peer, None] = {}
        self._up: dict[Peer, None] = {}
        self._pending: dict[Peer, None] = {}
        self._update: dict[Peer, None] = {}  # contacts of joins that an update of the members asked for
        self._name = config.name(myself)
        self.members = (myself,)

    # What a strategy gives.

    @property
    @abstractmethod
    def greeting(self) -> Any:
        """What our handshakes tell, and what is saved."""

    @property
    def farewell(self) -> Any:
        """What the handshake tells a node of another implementation that has not heard that we left it."""
        return self.greeting

    def foreign(self, peers: Iterable[Peer]) -> tuple[list[Peer], list[Peer]]:
        """Of these peers, those that run another implementation, and those that have not said yet what they run.

        None by default: no other implementation speaks a strategy of our own.
        """
        return [], []

    def awaits(self, contact: Peer) -> bool:
        """Whether an update of the members asked for a contact that has not been reached yet."""
        return contact in self._update

    def hears(self, peer: Peer) -> bool:
        """Whether what is gossiped goes to the peer: its edge is up."""
        return peer in self._up

    @abstractmethod
    def _problem_of_greeting(self, greeting: object) -> str | None:
        """Say what makes a peer's greeting unusable."""

    @abstractmethod
    def _greeted(self, peer: Peer, contact: Peer, greeting: Any, joining: bool, now: float) -> None:
        """The edge of a peer came up: take its greeting (None if it told none that is usable), and bring it up.

        Args:
            contact: as in `Connected`.
            joining: somebody waits for this: the peer and we become members of one cluster.
        """

    @abstractmethod
    def _remove(self, leavers: list[Peer], now: float) -> None:
        """Make these members, of whom we are none, leave."""

    @abstractmethod
    def _leave_ourselves(self, now: float) -> None:
        """Tell the members that we leave, then be alone."""

    @abstractmethod
    def _replace_ourselves(self, now: float) -> None:
        """`myself` is another value of our name now: be a member as this one, not as the former, and tell so."""

    def _round(self, now: float) -> None:
        """Do what is due at intervals."""

    # What a strategy uses.

    def _report(self, members: Iterable[Peer], gone: str = "left") -> None:
        """These are the members: keep edges to them, drop those of the others, tell if something changed."""
        found = tuple(sorted(members, key=self.config.key))
        if found == self.members:
            return
        present = dict.fromkeys(found)
        absent = [peer for peer in self.members if peer not in present]
        self.members = found
        for peer in found:  # first, so that a driver can use the connections to a peer's former value for it
            self._keep(peer)
        for former in absent:
            if former not in self._pending:  # somebody waits for that edge
                self._drop(former, gone)
        named = {self.config.name(peer): peer for peer in found if peer != self.myself}
        for former in absent:
            if self.config.name(former) in named:
                self._notify(MemberReplaced(former, named[self.config.name(former)]))
        self._notify(MembersChanged(found))

    def _bring_up(self, peer: Peer, contact: Peer) -> None:
        """The edge is usable, and the joins that waited for it are done."""
        if peer not in self._edges:
            return
        for asked in (contact,) if contact == peer else (contact, peer):
            if asked in self._pending:
                del self._pending[asked]
                self._notify(Joined(asked, peer))
        if peer not in self._up:
            self._up[peer] = None
            self._notify(NeighborUp(peer))

    def _some(self) -> list[Peer]:
        """The neighbors that a round is for: as many as `fanout` says, at random."""
        peers, fanout = list(self._up), self.config.fanout
        return self._rng.sample(peers, fanout) if fanout is not None and fanout < len(peers) else peers

    def _problem_of_sender(self, peer: Peer, sender: object) -> str | None:
        """Say why that cannot be the value of the peer who sent a message."""
        if type(sender) is not type(self.myself):
            return "the sender is no peer"
        name = self.config.name(sender)
        if name == self._name:
            return "the sender calls itself as we are called"
        if name != self.config.name(peer):
            return "the sender is not who the connection says"
        return None

    def _turn_away(self, peer: Peer) -> None:
        """The peer has not heard that we left, or that it was removed: close what it opened to us.

        It dials again, and reads from our greeting what it has missed.
        """
        if peer not in self._edges:  # one that we are about to join learns it there
            self._disconnect(peer, "left")

    def _give_up_joins(self) -> None:
        for contact in list(self._pending):
            self._give_up(contact, "left")

    def _drop_edges(self, reason: str) -> None:
        """Give every edge up, and what the peers have opened to us."""
        for peer in list(self._edges):
            self._drop(peer, reason, both=True)

    def _drop(self, peer: Peer, reason: str, both: bool | None = None) -> None:
        """Give the peer's edge up; what it has opened to us as well, if members are mutual or `both` says so."""
        if peer in self._edges:
            del self._edges[peer]
            self._disconnect(peer, reason, self.mutual if both is None else both)
        if peer in self._up:
            del self._up[peer]
            self._notify(NeighborDown(peer, reason))

    # Events.

    def _on_start(self, event: Start, now: float) -> None:
        for peer in self.members:
            self._keep(peer)
        # A random phase: nodes that boot together do not gossip together.
        self._start_timer(GOSSIP_TIMER, self.config.period * self._rng.random())
        self._save(self.greeting)
        self._notify(MembersChanged(self.members))

    def _on_retune(self, event: Retune, now: float) -> None:
        self.config = event.config
        self._start_timer(GOSSIP_TIMER, self.config.period * self._rng.random())

    def _on_respec(self, event: Respec, now: float) -> None:
        if event.myself != self.myself and self.config.name(event.myself) == self._name:
            self.myself = event.myself
            self._replace_ourselves(now)

    def _on_join(self, event: Join, now: float) -> None:
        contact = event.contact
        if self.config.name(contact) == self._name:
            self._notify(JoinFailed(contact, "self"))
        elif contact in self._up:
            self._notify(Joined(contact, contact))
        else:
            self._pending[contact] = None
            self._keep(contact)

    def _on_give_up(self, event: GiveUp, now: float) -> None:
        if event.contact in self._pending and event.contact not in self._update:
            self._give_up(event.contact, "left")

    def _on_leave(self, event: Leave, now: float) -> None:
        name = self._name if event.peer is None else self.config.name(event.peer)
        if name == self._name:
            self._leave_ourselves(now)
            return
        if event.peer in self._pending:
            self._give_up(event.peer, "left")
        self._have_leave([m for m in self.members if self.config.name(m) == name], now)

    def _have_leave(self, leavers: list[Peer], now: float) -> None:
        for peer in leavers:
            if peer in self._pending:
                self._give_up(peer, "left")
        if leavers:
            self._remove(leavers, now)

    def _on_update_members(self, event: UpdateMembers, now: float) -> None:
        name = self.config.name
        wanted = {name(peer): None for peer in event.members}
        known = {name(peer): None for peer in self.members}
        if wanted and self._name not in wanted:
            self._leave_ourselves(now)
            return
        if wanted:  # at once, as what is told of it may be as long as the list of all members
            self._have_leave([peer for peer in self.members if name(peer) not in wanted], now)
        for contact in list(self._update) if wanted else ():
            if contact not in event.members:
                del self._update[contact]
                self._give_up(contact, "left")
        moved = dict.fromkeys(self._moved(event.members))
        for peer in event.members:
            if name(peer) not in known or peer in moved:
                if peer not in self._pending:
                    self._update[peer] = None
                self._on_join(Join(peer), now)

    def _moved(self, contacts: Iterable[Peer]) -> list[Peer]:
        """Those of the contacts that are members who cannot be reached, and are known as another value than this."""
        members = {self.config.name(peer): peer for peer in self.members if peer != self.myself}
        for peer in self._up:
            members.pop(self.config.name(peer), None)
        return [peer for peer in contacts if members.get(self.config.name(peer), peer) != peer]

    def _on_connected(self, event: Connected, now: float) -> None:
        peer, contact = event.peer, event.contact
        if contact not in self._edges and peer not in self._edges:
            return  # given up while the news was under way
        joining = contact in self._pending or peer in self._pending
        for each in (contact, peer):
            self._update.pop(each, None)
        if contact != peer:
            self._rename(contact, peer)
        if self.config.name(peer) == self._name:
            self._give_up(contact, "self")
            self._drop(peer, "self")
            return
        greeting = event.greeting
        problem = None if greeting is None else self._problem_of_greeting(greeting)
        if problem is not None:
            self._violation(peer, f"greeting: {problem}")
            greeting = None
            if joining:
                self._give_up(contact, "greeting")
                self._give_up(peer, "greeting")
                joining = False
        if peer in self._edges:
            self._greeted(peer, contact, greeting, joining, now)

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        if event.peer in self._up:
            del self._up[event.peer]
            self._notify(NeighborDown(event.peer, event.reason))

    def _on_unreachable(self, event: Unreachable, now: float) -> None:
        """A member stays one: the driver goes on dialling."""

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer != GOSSIP_TIMER:
            return
        self._start_timer(GOSSIP_TIMER, self.config.period)
        for peer in self._edges:
            if peer not in self._up:
                self._connect(peer)
        self._round(now)

    def _keep(self, peer: Peer) -> None:
        if peer not in self._edges and peer != self.myself:
            self._edges[peer] = None
            self._connect(peer)

    def _rename(self, contact: Peer, peer: Peer) -> None:
        """Follow the driver, for whom the contact's edge is now the peer's."""
        self._edges.pop(contact, None)
        self._edges[peer] = None
        if contact in self._up:
            del self._up[contact]
            self._notify(NeighborDown(contact, "replaced"))

    def _give_up(self, contact: Peer, reason: str) -> None:
        """End the contact's join without success, and its edge unless it is a member's."""
        if contact in self._pending:
            del self._pending[contact]
            self._notify(JoinFailed(contact, reason))
        if contact not in self.members:
            self._drop(contact, reason)
