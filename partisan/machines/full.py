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
- `UpdateMembers` compares names, where the reference compares specs: what a node says of itself stands. A member that
  is not connected is also tried where the update says, as if it were new: it may have moved while nobody saw it;
- one node, one spec: a node's own word about its spec replaces what the set held under its name. The reference keeps
  both and dials the old address for ever;
- who left stays away. A node that begins again keeps its dead tokens. By them it recognises gossip of members who have
  not heard that it left, and turns them away, where the reference would be drawn back in; and a member who dials it
  once more learns the news from its greeting; a real one from the `farewell` (`machines/farewells.py` says which).

A node's first token is a digest of its spec: one that restarts without its saved state goes on under the token that it
had, where the reference adds one at each restart. If that token is dead, as of one that was another value meanwhile,
whoever has it for a member, and reaches it, gives it a fresh one. Every later token is random. Tokens are thus spent by
departures and by changes of spec alone, and among Python nodes they are forgotten in time: `machines/tombstones.py` has
the rule. An actor that begins with `ACTOR_PREFIX` says that its node follows that rule; to a real node it is as good as
any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partisan.machines.machine import Peer, Removed
from partisan.machines.membership import GOSSIP_TIMER as GOSSIP_TIMER
from partisan.machines.membership import Membership, MembershipConfig
from partisan.machines.orset import OrSet
from partisan.machines.tombstones import Tombstones

if TYPE_CHECKING:
    from random import Random

TOKEN_OCTETS = 20
"""Length of an actor and of a token (partisan 5.0.3)."""

ACTOR_PREFIX = b"\xffpartisan_py"
"""What the actors of nodes begin with that forget tombstones as we do; no text, so it is a binary everywhere (ours)."""


@dataclass(frozen=True, slots=True)
class FullConfig(MembershipConfig):
    """Options of full membership, besides those of every membership.

    Attributes:
        gossip: False never sends a state; the set is then exchanged by greetings alone (partisan 5.0.3: True).
        max_tokens: a state with more tokens is refused (ours).
        tombstone_age: seconds that a dead token is kept at least (ours; the reference keeps them for ever).
    """

    gossip: bool = True
    max_tokens: int = 1_048_576
    tombstone_age: float = 3600.0


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


@dataclass(frozen=True, slots=True)
class Summary:
    """What a round tells peers of our kind instead of the state; one whose own differs answers with that (ours).

    Attributes:
        sender: the sender's own value among peers.
        actor: as in `FullState`.
        digest: of its state: two states of one digest are equal, as far as that matters to the sender: without dead
            tokens where all members forget them.
    """

    sender: Peer
    actor: bytes
    digest: bytes


class FullMembership(Membership):
    """One node's part in full membership.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them.
        rng: chance, for actors, tokens and the fan-out.
        restored: the state that a former life saved, or None.
    """

    config: FullConfig

    def __init__(self, myself: Peer, config: FullConfig, rng: Random, restored: FullState | None = None) -> None:
        super().__init__(myself, config, rng)
        self._messages |= {Gossip: self._on_gossip, Summary: self._on_summary}
        self._tombstones = Tombstones()
        known = restored is not None and restored.actor.startswith(ACTOR_PREFIX)
        self.actor = restored.actor if restored is not None and known else self._fresh_actor()
        state: OrSet[Peer] = OrSet() if restored is None else restored.state
        if myself not in state:
            first = _first_token(myself)
            state = state.add(myself, self._fresh_token() if first in state.tokens(myself) else first)
        self.state = self._without_former(state, myself)
        self.members = tuple(sorted(self.state.members, key=config.key))
        self._digested: tuple[OrSet[Peer], dict[bool, bytes]] = (self.state, {})  # of dead tokens too, or of live ones

    @property
    def greeting(self) -> FullState:
        """What our handshakes tell, and what is saved."""
        return FullState(self.actor, self.state)

    @property
    def farewell(self) -> FullState:
        """Our dead tokens alone: whoever merges it has us as a member no more, until it merges our greeting.

        When they are forgotten there is nothing to tell but the greeting.
        """
        dead = {token: active for token, active in self.state.tokens(self.myself).items() if not active}
        return FullState(self.actor, OrSet({self.myself: dead})) if dead else self.greeting

    def foreign(self, peers: Iterable[Peer]) -> tuple[list[Peer], list[Peer]]:
        """Of these peers, those whose actor is none of our kind, and those that have not told theirs."""
        return self._tombstones.others(peer for peer in peers if peer != self.myself)

    def _fresh_token(self) -> bytes:
        return self._rng.randbytes(TOKEN_OCTETS)

    def _fresh_actor(self) -> bytes:
        return ACTOR_PREFIX + self._rng.randbytes(TOKEN_OCTETS - len(ACTOR_PREFIX))

    def _replace_ourselves(self, now: float) -> None:
        # Under a fresh token always: the first one may be dead with somebody, even if it is forgotten here.
        state = self.state.add(self.myself, self._fresh_token())
        self._become(self._without_former(state, self.myself))
        self._gossip(self.state, self._up)

    def _remove(self, leavers: list[Peer], now: float) -> None:
        state = self.state.remove(leavers)
        self._gossip(state, self._up)  # before the edge of who leaves is given up
        self._become(state)

    def _leave_ourselves(self, now: float) -> None:
        if len(self.members) > 1:
            self._gossip(self.state.remove([self.myself]), self._up)
            self._begin_again("left")
        self._give_up_joins()

    def _greeted(self, peer: Peer, contact: Peer, greeting: FullState | None, joining: bool, now: float) -> None:
        theirs = OrSet[Peer]() if greeting is None else greeting.state
        actor = b"" if greeting is None else greeting.actor
        if greeting is not None:
            self._hear(peer, actor, theirs, now)
        if joining and self._too_large(self.state.merge(theirs, dead=not self._follows(actor))):
            for asked in (contact, peer):
                self._give_up(asked, "full")
            joining = False
            if peer not in self._edges:
                return
        known = [each for each in dict.fromkeys((contact, peer)) if self._is_value_of(each, peer)]
        left = not joining and self._has_left(known, theirs)
        if left:
            theirs = OrSet({each: dict.fromkeys(self.state.tokens(each), False) for each in known})
        state = self._merged(peer, actor, theirs)
        # Its own word replaces what we knew of it, even if that is what it was before, of which all tokens are dead.
        moved = contact in known and contact != peer and not left
        for party in (peer, self.myself) if joining else (peer,) if moved else ():
            state = self._without_former(state if party in state else state.add(party, self._fresh_token()), party)
        changed = state is not self.state
        if not self._become(state):
            return
        if left:
            self._drop(peer, "left")  # as it was before it is dropped by now
        self._bring_up(peer, contact)
        if joining or changed:
            self._gossip(self.state, self._up)
        elif theirs.lacks(self.state, dead=not self._follows(actor)):
            self._gossip(self.state, [peer])

    def _is_value_of(self, member: Peer, peer: Peer) -> bool:
        """Whether it is a member of ours, of the peer's name."""
        return member in self.state and self.config.name(member) == self.config.name(peer)

    def _has_left(self, known: list[Peer], theirs: OrSet[Peer]) -> bool:
        """Whether a peer's own greeting says that it left the cluster in which we know it, and began again.

        Args:
            known: as whom we know it.
        """
        if not known or self.myself in theirs:
            return False
        told = [(theirs.tokens(each), self.state.tokens(each)) for each in known]
        return all(said.get(token) is False for said, ours in told for token, active in ours.items() if active)

    def _round(self, now: float) -> None:
        age, state = self.config.tombstone_age, self.state
        forgettable = self._tombstones.forgettable(state, self.members, self.myself, age, now)
        if forgettable:
            self.state = state.without(forgettable)
            self._save(self.greeting)
        peers = self._some()
        like_us = [peer for peer in peers if self._tombstones.follows(peer)]
        self._gossip(self.state, [peer for peer in peers if not self._tombstones.follows(peer)])
        if self.config.gossip and like_us:
            dead = not self._tombstones.all_follow(self.members, self.myself)
            summary = Summary(self.myself, self.actor, self._digest(dead))
            for peer in like_us:
                self._send(peer, summary)

    def _digest(self, dead: bool) -> bytes:
        """The digest of our state, with dead tokens or without."""
        if self._digested[0] is not self.state:
            self._digested = (self.state, {})
        known = self._digested[1]
        if dead not in known:
            entries = sorted(
                (repr(peer), sorted((token, active) for token, active in tokens.items() if active or dead))
                for peer, tokens in self.state.items()
                if dead or any(tokens.values())
            )
            known[dead] = hashlib.blake2b(repr((dead, entries)).encode(), digest_size=32).digest()
        return known[dead]

    def _on_summary(self, peer: Peer, message: Summary, now: float) -> None:
        problem = self._problem_of_sender(peer, message.sender)
        if problem is None and (type(message.actor) is not bytes or type(message.digest) is not bytes):
            problem = "its actor or digest is no octets"
        if problem is not None:
            self._violation(peer, f"summary: {problem}")
        elif message.digest in (self._digest(True), self._digest(False)):
            self._hear(message.sender, message.actor, self.state, now)
        elif message.sender in self._up:
            self._gossip(self.state, [message.sender])
        elif self._was_removed(message.sender):
            self._turn_away(message.sender)

    def _on_gossip(self, peer: Peer, message: Gossip, now: float) -> None:
        problem = self._problem_of_gossip(peer, message)
        if problem is not None:
            self._violation(peer, f"gossip: {problem}")
            return
        theirs, actor = message.state, message.actor
        self._hear(message.sender, actor, theirs, now)
        if theirs == self.state:
            return
        if self._from_former_life(theirs):
            self._turn_away(message.sender)
            return
        state = self._merged(message.sender, actor, theirs)
        changed = state is not self.state
        if changed and not self._become(state):
            return
        if changed:
            self._gossip(self.state, self._up)
        elif message.sender in self._up and theirs.lacks(self.state, dead=not self._follows(actor)):
            self._gossip(self.state, [message.sender])
        if message.sender in theirs and self._was_removed(message.sender):
            self._turn_away(message.sender)

    def _hear(self, peer: Peer, actor: bytes, theirs: OrSet[Peer], now: float) -> None:
        agrees = theirs == self.state or not theirs.revives(self.state)
        self._tombstones.heard(peer, actor.startswith(ACTOR_PREFIX), agrees, now)

    def _follows(self, actor: bytes) -> bool:
        """Whether dead tokens are nobody's news between that actor's node and us."""
        return actor.startswith(ACTOR_PREFIX) and self._tombstones.all_follow(self.members, self.myself)

    def _from_former_life(self, theirs: OrSet[Peer]) -> bool:
        """Whether we left, and the state is that of a member who has not heard of it."""
        if len(self.members) > 1:
            return False
        told = theirs.tokens(self.myself)
        return any(told.get(token) for token, active in self.state.tokens(self.myself).items() if not active)

    def _was_removed(self, peer: Peer) -> bool:
        return peer not in self.state and bool(self.state.tokens(peer))

    def _problem_of_gossip(self, peer: Peer, message: Gossip) -> str | None:
        return self._problem_of_sender(peer, message.sender) or self._problem_of_state(message)

    def _problem_of_greeting(self, greeting: object) -> str | None:
        return self._problem_of_state(greeting)

    def _problem_of_state(self, message: object) -> str | None:
        """Say what makes the state of a greeting or gossip unusable."""
        if not isinstance(message, FullState | Gossip) or not isinstance(message.state, OrSet):
            return "no state of full membership"
        if type(message.actor) is not bytes:
            return "its actor is no octets"
        state = message.state
        if self._too_large(state):
            return f"{len(state)} elements and {state.token_count} tokens are too many"
        kind = type(self.myself)
        if not all(type(element) is kind for element in state):
            return "an element is no peer"
        return None

    def _too_large(self, state: OrSet[Peer]) -> bool:
        return len(state) > self.config.max_members or state.token_count > self.config.max_tokens

    def _merged(self, sender: Peer, actor: bytes, theirs: OrSet[Peer]) -> OrSet[Peer]:
        """Our state with theirs, and with the sender's word about its own spec."""
        state = self.state.merge(theirs, dead=not self._follows(actor))
        if state is self.state:
            return state
        if self._too_large(state):
            self._violation(sender, "its state would make ours too large")
            return self.state
        if sender in state:  # not if it was replaced in its turn: of two nodes of one name the later stays
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
            taken = any(self.config.name(member) == self._name for member in state.members)
            self._begin_again("removed")
            self._notify(Removed("replaced" if taken else "removed"))
            return False
        self.state = state
        self._save(self.greeting)
        self._report(state.members)
        return True

    def _begin_again(self, reason: str) -> None:
        """Become a cluster of our own, under a new actor and token, with our former tokens dead."""
        self._give_up_joins()
        self._drop_edges(reason)
        self.actor = self._fresh_actor()
        tokens = dict.fromkeys(self.state.tokens(self.myself), False) | {self._fresh_token(): True}
        self.state = OrSet({self.myself: tokens})
        self._save(self.greeting)
        self._report([self.myself], reason)

    def _gossip(self, state: OrSet[Peer], peers: Iterable[Peer]) -> None:
        if self.config.gossip:
            message = Gossip(self.myself, self.actor, state)
            for peer in peers:
                self._send(peer, message)


def _first_token(myself: Peer) -> bytes:
    """The token of a life without memory: whoever restarts so, has it again."""
    return hashlib.sha1(repr(myself).encode(), usedforsecurity=False).digest()
