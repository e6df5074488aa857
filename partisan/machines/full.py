"""Full membership: every node knows every node, by gossip of an observed-remove set.

Each node holds the whole set of members (an `OrSet`) and keeps an edge to each of them. It sends its state to all
members when it joined, when it learnt something new, and once a period whatever happened; whoever receives a state
merges it.

What holds:

- states only grow in the order of the set, so nodes that can reach each other, by any path, come to the same members;
- we are a member of our own set, always: whoever removes us finds a node that begins again alone;
- an edge is kept to exactly the members but ourselves, and to the contacts of joins that are not done;
- `NeighborUp` and `NeighborDown` alternate for each peer.

It speaks the full membership strategy of partisan 5.0.3 (section 4.1 of its reference, and 3.6 for what its manager
does around it) and differs on purpose in this:

- a state that tells us nothing new is answered to its sender alone, not to everybody: everybody else was told when we
  learnt it, or will be when its edge comes up;
- the greeting of every edge that comes up is merged, not only that of a join, and answered if it lacks something;
- a join adds: if either side was removed from the other's set, it gets a fresh token there;
- `UpdateMembers` compares names, where the reference compares specs: what a node says of itself stands;
- one node, one spec: a node's own word about its spec replaces what the set held under its name. The reference keeps
  both and dials the old address for ever;
- who left stays away. A node that begins again keeps its dead tokens. By them it recognises gossip of members who have
  not heard that it left, and turns them away, where the reference would be drawn back in; and a member who dials it
  once more learns the news from its greeting.

A node that restarts without its saved state adds itself under one more token, as in the reference; with its saved state
(`Save`, `restored`) it goes on under the token that it had. Tokens are thus spent by departures and by losses of the
saved state alone. They are never dropped: a partitioned member that still calls one active would bring the element
back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    UpdateMembers,
)
from partisan.machines.orset import OrSet
from partisan.names import Contact, NodeSpec

if TYPE_CHECKING:
    from random import Random

GOSSIP_TIMER = "gossip"
"""The machine's one timer."""

TOKEN_OCTETS = 20
"""Length of an actor and of a token (partisan 5.0.3)."""


def name_of(peer: Peer) -> Hashable:
    """The name of a node spec or contact (None if unknown); anything else is its own name."""
    return peer.name if isinstance(peer, NodeSpec | Contact) else peer


def _itself(peer: Any) -> Any:
    return peer


@dataclass(frozen=True, slots=True)
class FullConfig:
    """Options of full membership.

    Attributes:
        gossip: False never sends a state; the set is then exchanged by greetings alone (partisan 5.0.3: True).
        period: seconds between unconditional gossips (partisan 5.0.3: 10 s).
        fanout: how many members get the unconditional gossip, chosen at random; None is all of them (partisan 5.0.3).
        max_elements: a state with more elements, removed ones included, is refused (ours).
        max_tokens: a state with more tokens is refused (ours).
        key: sort key of the members that we report.
        name: the name of a peer; two members of one name are one node that changed.
    """

    gossip: bool = True
    period: float = 10.0
    fanout: int | None = None
    max_elements: int = 65_536
    max_tokens: int = 1_048_576
    key: Callable[[Any], Any] = _itself
    name: Callable[[Peer], Hashable] = name_of


@dataclass(frozen=True, slots=True)
class FullState:
    """What a node's handshake tells of its membership, and what it saves.

    Attributes:
        actor: 20 octets that name one life of the node; opaque to peers.
        state: the set of members.
    """

    actor: bytes
    state: OrSet[Peer]


@dataclass(frozen=True, slots=True)
class Gossip:
    """A node's whole state, sent to a member.

    Attributes:
        sender: the sender's own value among peers.
        actor: as in `FullState`.
        state: as in `FullState`.
    """

    sender: Peer
    actor: bytes
    state: OrSet[Peer]


class FullMembership(Machine):
    """One node's part in full membership.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them.
        rng: chance, for tokens and the fan-out.
        restored: the state that a former life saved, or None.
    """

    config: FullConfig

    def __init__(self, myself: Peer, config: FullConfig, rng: Random, restored: FullState | None = None) -> None:
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
            TimedOut: self._on_timed_out,
        }
        self._messages[Gossip] = self._on_gossip
        self._edges: dict[Peer, None] = {}
        self._up: dict[Peer, None] = {}
        self._pending: dict[Peer, None] = {}
        self._name = config.name(myself)
        self.actor = rng.randbytes(TOKEN_OCTETS) if restored is None else restored.actor
        state: OrSet[Peer] = OrSet() if restored is None else restored.state
        if myself not in state:
            state = state.add(myself, rng.randbytes(TOKEN_OCTETS))
        self.state = self._without_former(state, myself)
        self.members: tuple[Peer, ...] = self._sorted_members()

    @property
    def greeting(self) -> FullState:
        """What our handshakes tell."""
        return FullState(self.actor, self.state)

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
        """Replace our own element as others do when a node comes back with another spec."""
        if event.myself == self.myself or self.config.name(event.myself) != self._name:
            return
        state = self.state.add(event.myself, self._rng.randbytes(TOKEN_OCTETS))
        self.myself = event.myself
        self._become(self._without_former(state, event.myself))
        self._gossip(self.state, self._up)

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
        if event.contact in self._pending:
            self._give_up(event.contact, "left")

    def _on_leave(self, event: Leave, now: float) -> None:
        name = self._name if event.peer is None else self.config.name(event.peer)
        if name == self._name:
            self._leave_ourselves()
            return
        if event.peer in self._pending:
            self._give_up(event.peer, "left")
        gone = [m for m in self.members if self.config.name(m) == name]
        if gone:
            state = self.state.remove(gone)
            self._gossip(state, self._up)  # before the edge of who leaves is given up
            self._become(state)

    def _leave_ourselves(self) -> None:
        if len(self.members) > 1:
            self._gossip(self.state.remove([self.myself]), self._up)
            self._begin_again("left")
        for contact in list(self._pending):
            self._give_up(contact, "left")

    def _on_update_members(self, event: UpdateMembers, now: float) -> None:
        name = self.config.name
        wanted = {name(peer): None for peer in event.members}
        known = {name(peer): None for peer in self.members}
        leavers = [peer for peer in self.members if name(peer) not in wanted] if wanted else []
        if self.myself in leavers:
            self._leave_ourselves()
            return
        for peer in leavers:
            self._on_leave(Leave(peer), now)
        for peer in event.members:
            if name(peer) not in known:
                self._on_join(Join(peer), now)

    def _on_connected(self, event: Connected, now: float) -> None:
        peer, contact = event.peer, event.contact
        if contact not in self._edges and peer not in self._edges:
            return  # given up while the news was under way
        joining = contact in self._pending or peer in self._pending
        if contact != peer:
            self._rename(contact, peer)
        if self.config.name(peer) == self._name:
            self._give_up(contact, "self")
            self._drop(peer, "self")
            return
        greeting = event.greeting
        problem = None if greeting is None else self._problem_of_state(greeting)
        if problem is not None:
            self._violation(peer, f"greeting: {problem}")
            if joining:
                self._give_up(contact, "greeting")
                self._give_up(peer, "greeting")
                joining = False
        if peer in self._edges:
            theirs = greeting.state if isinstance(greeting, FullState) and problem is None else OrSet()
            self._greeted(peer, contact, theirs, joining)

    def _greeted(self, peer: Peer, contact: Peer, theirs: OrSet[Peer], joining: bool) -> None:
        """Take the state of a peer whose edge came up; it is empty if the peer told none."""
        if not joining and self._has_left(peer, theirs):
            theirs = OrSet({peer: dict.fromkeys(self.state.tokens(peer), False)})
        state = self._merged(peer, theirs)
        if contact != peer and self.config.name(contact) == self.config.name(peer):
            state = state.remove([contact])
        for party in (peer, self.myself) if joining else ():
            if party not in state:
                state = state.add(party, self._rng.randbytes(TOKEN_OCTETS))
        changed = state is not self.state
        if not self._become(state):
            return
        self._bring_up(peer, contact)
        if joining or changed:
            self._gossip(self.state, self._up)
        elif theirs != self.state:
            self._gossip(self.state, [peer])

    def _bring_up(self, peer: Peer, contact: Peer) -> None:
        if peer not in self._edges:
            return
        for asked in (contact,) if contact == peer else (contact, peer):
            if asked in self._pending:
                del self._pending[asked]
                self._notify(Joined(asked, peer))
        if peer not in self._up:
            self._up[peer] = None
            self._notify(NeighborUp(peer))

    def _has_left(self, peer: Peer, theirs: OrSet[Peer]) -> bool:
        """Whether the peer's own greeting says that it left the cluster in which we know it, and began again."""
        told = theirs.tokens(peer)
        ours = self.state.tokens(peer)
        return peer in self.state and self.myself not in theirs and all(told.get(t) is False for t in ours)

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        if event.peer in self._up:
            del self._up[event.peer]
            self._notify(NeighborDown(event.peer, event.reason))

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer != GOSSIP_TIMER:
            return
        self._start_timer(GOSSIP_TIMER, self.config.period)
        peers, fanout = list(self._up), self.config.fanout
        if fanout is not None and fanout < len(peers):
            peers = self._rng.sample(peers, fanout)
        self._gossip(self.state, peers)

    def _on_gossip(self, peer: Peer, message: Gossip, now: float) -> None:
        problem = self._problem_of_gossip(peer, message)
        if problem is not None:
            self._violation(peer, f"gossip: {problem}")
            return
        theirs = message.state
        if theirs == self.state:
            return
        if self._from_former_life(theirs):
            self._disconnect(message.sender, "left")
            return
        state = self._merged(message.sender, theirs)
        changed = state is not self.state
        if changed and not self._become(state):
            return
        if changed:
            self._gossip(self.state, self._up)
        elif message.sender in self._up:
            self._gossip(self.state, [message.sender])

    def _from_former_life(self, theirs: OrSet[Peer]) -> bool:
        """Whether we left, and the state is that of a member who has not heard of it."""
        if len(self.state) > 1:
            return False
        told = theirs.tokens(self.myself)
        return any(told.get(token) for token, active in self.state.tokens(self.myself).items() if not active)

    def _problem_of_gossip(self, peer: Peer, message: Gossip) -> str | None:
        if type(message.sender) is not type(self.myself):
            return "the sender is no peer"
        name = self.config.name(message.sender)
        if name == self._name:
            return "the sender calls itself as we are called"
        if name != self.config.name(peer):
            return "the sender is not who the connection says"
        return self._problem_of_state(message)

    def _problem_of_state(self, message: object) -> str | None:
        """Say what makes the state of a greeting or gossip unusable."""
        if not isinstance(message, FullState | Gossip) or not isinstance(message.state, OrSet):
            return "no state of full membership"
        state = message.state
        if len(state) > self.config.max_elements or state.token_count > self.config.max_tokens:
            return f"{len(state)} elements and {state.token_count} tokens are too many"
        kind = type(self.myself)
        if not all(type(element) is kind for element in state):
            return "an element is no peer"
        return None

    def _merged(self, sender: Peer, theirs: OrSet[Peer]) -> OrSet[Peer]:
        """Our state with theirs, and with the sender's word about its own spec."""
        state = self.state.merge(theirs)
        if state is self.state:
            return state
        if len(state) > self.config.max_elements or state.token_count > self.config.max_tokens:
            self._violation(sender, "its state would make ours too large")
            return self.state
        if sender in theirs:
            state = self._without_former(state, sender)
        if self.myself in state:
            state = self._without_former(state, self.myself)
        return state

    def _without_former(self, state: OrSet[Peer], peer: Peer) -> OrSet[Peer]:
        """Remove what the peer was before it came back under its name with another value."""
        name = self.config.name(peer)
        return state.remove([m for m in state.members if m != peer and self.config.name(m) == name])

    def _become(self, state: OrSet[Peer]) -> bool:
        """Take the state as ours; return False if it does not hold ourselves, so that we began again alone."""
        if state is self.state:
            return True
        if self.myself not in state:
            self._begin_again("removed")
            return False
        self.state = state
        self._save(self.greeting)
        members = self._sorted_members()
        if members != self.members:
            self._tell_replaced(members)
            former, self.members = self.members, members
            for peer in members:  # first, so that a driver can use the connections to a peer's former value for it
                self._keep(peer)
            for peer in former:
                if peer not in state:
                    self._drop(peer, "left")
            self._notify(MembersChanged(members))
        return True

    def _tell_replaced(self, members: tuple[Peer, ...]) -> None:
        """Tell of each member in whose place these have another of its name."""
        name = self.config.name
        named = {name(peer): peer for peer in members}
        for former in self.members:
            if former not in self.state and name(former) in named:
                self._notify(MemberReplaced(former, named[name(former)]))

    def _begin_again(self, reason: str) -> None:
        """Become a cluster of our own, under a new actor and token, with our former tokens dead."""
        for contact in list(self._pending):
            self._give_up(contact, "left")
        for peer in list(self._edges):
            self._drop(peer, reason)
        self.actor = self._rng.randbytes(TOKEN_OCTETS)
        tokens = dict.fromkeys(self.state.tokens(self.myself), False) | {self._rng.randbytes(TOKEN_OCTETS): True}
        self.state = OrSet({self.myself: tokens})
        self._save(self.greeting)
        if self.members != (self.myself,):
            self.members = (self.myself,)
            self._notify(MembersChanged(self.members))

    def _sorted_members(self) -> tuple[Peer, ...]:
        return tuple(sorted(self.state.members, key=self.config.key))

    def _gossip(self, state: OrSet[Peer], peers: Iterable[Peer]) -> None:
        if self.config.gossip:
            message = Gossip(self.myself, self.actor, state)
            for peer in peers:
                self._send(peer, message)

    def _keep(self, peer: Peer) -> None:
        if peer not in self._edges and peer != self.myself:
            self._edges[peer] = None
            self._connect(peer)

    def _drop(self, peer: Peer, reason: str) -> None:
        if peer in self._edges:
            del self._edges[peer]
            self._disconnect(peer, reason)
        if peer in self._up:
            del self._up[peer]
            self._notify(NeighborDown(peer, reason))

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
        if contact not in self.state:
            self._drop(contact, reason)
