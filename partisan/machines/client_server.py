"""Client-server: servers are connected with servers and clients, clients with servers only.

There is no paper; it is the star of Partisan's own evaluation (Meiklejohn et al., "Partisan: Scaling the Distributed
Actor Runtime", USENIX ATC 2019). Each node has a role, its tag, which handshakes tell. Who is joined becomes a member
if the roles allow it:

    ours \\ theirs   server   client   undefined
    server          yes      yes      no
    client          yes      no       no
    undefined       no       no       yes

There is no gossip: a node knows whom it has joined and who has joined it. Two clients reach each other through servers:
`next_hops` of a client are its servers, those of a server the other servers, so that a message goes over at most three
nodes between them if all servers know each other.

What holds:

- a member has a role that goes with ours, as far as it ever said one; two members never have one name;
- an edge is kept to exactly the members but ourselves, the contacts of joins that are not done, and for a moment to
  who has to be told that we left it;
- `NeighborUp` and `NeighborDown` alternate for each peer.

It greets as partisan 5.0.3 does (section 8.1 of its reference) and differs on purpose in this:

- a member that is lost is dialled again for ever; the reference waits for the next join;
- who is refused for its role fails its join, and its edge is given up; the reference keeps the socket, waits for ever,
  and crashes if the other has no role and it has one;
- a join has two sides. A handshake tells the name of who dials, not where that listens; so nodes of our kind say it by
  an `Introduction`, and the other dials back. A real node that we join learns nothing of us until it joins us; one that
  joins us has us as a member, and is none of ours until we join it;
- so has a departure: a `Parting` goes to whom we leave or remove, where the reference stops, or crashes. Who missed it
  and comes again is told then, and not taken for one that joins;
- a list of members that all nodes have names clients to clients: another client that was found by an update of the
  members is not tried again for `FELLOW` rounds, as each client would dial every other one at each update.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partisan.machines.direct import Direct
from partisan.machines.machine import Join, Peer, UpdateMembers
from partisan.machines.membership import MembershipConfig

if TYPE_CHECKING:
    from random import Random

CLIENT, SERVER, UNDEFINED = "client", "server", "undefined"
ROLES = (CLIENT, SERVER, UNDEFINED)

PATIENCE = 6
"""Rounds in which who has introduced itself can be reached before it is given up (ours)."""

FELLOW = 60
"""Rounds for which a client does not try another client that an update of the members names (ours)."""

MOST_PARTING = 64
"""Nodes that are told again at a time that we left them (ours)."""

_ALLOWED = ((SERVER, SERVER), (SERVER, CLIENT), (CLIENT, SERVER), (UNDEFINED, UNDEFINED))


def go_together(ours: str, theirs: str) -> bool:
    """Whether nodes of these roles may be neighbors; the same both ways."""
    return (ours, theirs) in _ALLOWED


@dataclass(frozen=True, slots=True)
class ClientServerConfig(MembershipConfig):
    """Options of client-server, besides those of every membership.

    Attributes:
        tag: our role, one of `ROLES`.
    """

    tag: str = UNDEFINED


@dataclass(frozen=True, slots=True)
class ClientServerState:
    """What a node's handshake tells, and what it saves.

    Attributes:
        tag: its role.
        members: whom it has joined, and who has joined it; itself included.
    """

    tag: str
    members: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Introduction:
    """Says who has dialled, so that the other can dial back. For nodes of our kind alone.

    Attributes:
        sender: the sender's own value among peers.
        tag: its role.
        joining: somebody has called join just now; else an edge came up again.
    """

    sender: Peer
    tag: str
    joining: bool


@dataclass(frozen=True, slots=True)
class Parting:
    """Says that the two are no members for each other any more. For nodes of our kind alone.

    Attributes:
        sender: the sender's own value among peers.
    """

    sender: Peer


@dataclass(frozen=True, slots=True)
class Refused:
    """A fact: a member is none any more, as its role does not go with ours now.

    Attributes:
        peer: who.
        tag: its role.
    """

    peer: Peer
    tag: str


class ClientServer(Direct):
    """One node's part in client-server.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them, but not the role.
        rng: chance, for the phase of rounds.
        restored: the state that a former life saved, or None.
    Attributes:
        tag: our role.
    """

    config: ClientServerConfig
    messages = (ClientServerState, Introduction, Parting)

    def __init__(
        self, myself: Peer, config: ClientServerConfig, rng: Random, restored: ClientServerState | None = None
    ) -> None:
        super().__init__(myself, config, rng, () if restored is None else restored.members)
        self.tag = config.tag
        self._messages |= {Introduction: self._on_introduction, Parting: self._on_parting}
        self._tags: dict[Hashable, str] = {}  # name of a member, or of who may be one -> its role
        self._invited: dict[Peer, int] = {}  # who has introduced itself and is not reached -> rounds that are left
        self._left: dict[Hashable, None] = {}  # names of whom we left; it may not have heard
        self._parting: dict[Peer, int] = {}  # of them, who is dialled to be told -> rounds that are left
        self._fellows: dict[Peer, int] = {}  # clients that were tried, and we are one -> rounds that they are not again
        self._told: ClientServerState | None = None

    @property
    def greeting(self) -> ClientServerState:
        """What our handshakes tell, and what is saved."""
        told = self._told
        if told is None or told.members is not self.members:
            told = self._told = ClientServerState(self.tag, self.members)
        return told

    def role_of(self, name: Hashable) -> str | None:
        """The role of a member; None if it is none, or has not said."""
        return self.tag if name == self._name else self._tags.get(name) if name in self._named else None

    def _relays(self, peer: Peer) -> bool:
        return self.tag == UNDEFINED or self._tags.get(self.config.name(peer)) == SERVER

    # Edges.

    def _problem_of_greeting(self, greeting: object) -> str | None:
        if not isinstance(greeting, ClientServerState) or type(greeting.tag) is not str:
            return "no state of client-server"
        if type(greeting.members) is not tuple or len(greeting.members) > self.config.max_members:
            return "its members are none, or too many"
        return None

    def _greeted(self, peer: Peer, contact: Peer, greeting: Any, joining: bool, now: float) -> None:
        name = self.config.name(peer)
        if contact in self._parting or peer in self._parting:
            if not self._is_member(peer):
                self._say_farewell(peer, contact)
                return
            for each in (contact, peer):
                self._parting.pop(each, None)
        if greeting is not None:
            self._tags[name] = greeting.tag
            self._hops = None
        theirs = self._tags.get(name)
        if theirs is None:
            self._take_unheard(peer, contact)
            return
        if not go_together(self.tag, theirs):
            self._refuse(peer, contact, theirs)
            return
        asked = any(each in self._pending and each not in self._invited for each in (contact, peer))
        for each in (contact, peer):
            self._invited.pop(each, None)
        super()._greeted(peer, contact, greeting, joining, now)
        if name not in self._named:
            del self._tags[name]
            return
        if asked:
            self._left.pop(name, None)
        self._introduce(peer, asked)

    def _take_unheard(self, peer: Peer, contact: Peer) -> None:
        """It told nothing: a join fails, and a member stays one that is not up."""
        for each in (contact, peer):
            self._give_up(each, "greeting")
        if self._is_former(contact, peer):
            self._add(peer)

    def _is_former(self, contact: Peer, peer: Peer) -> bool:
        """Whether the contact is a member, under another value of the peer's name."""
        return contact != peer and self.config.name(contact) == self.config.name(peer) and self._is_member(contact)

    def _add(self, peer: Peer) -> None:
        self._fellows.pop(peer, None)  # it has another role now
        super()._add(peer)

    def _introduce(self, peer: Peer, joining: bool) -> None:
        self._send(peer, Introduction(self.myself, self.tag, joining))

    def _refuse(self, peer: Peer, contact: Peer, theirs: str) -> None:
        """End the joins of a peer whose role does not go with ours, and its membership."""
        fellow = self.tag == theirs == CLIENT
        for each in (contact, peer):
            self._give_up(each, "client" if fellow else "role")
        if self._is_member(peer) or self._is_former(contact, peer):
            self._forget([peer], "role")
            self._notify(Refused(peer, theirs))
        for each in (contact, peer) if fellow else ():
            if not self._is_member(each) and len(self._fellows) < self.config.max_members:
                self._fellows[each] = FELLOW
        self._drop(peer, "role")
        self._tags.pop(self.config.name(peer), None)

    def _give_up(self, contact: Peer, reason: str) -> None:
        self._invited.pop(contact, None)
        self._parting.pop(contact, None)
        super()._give_up(contact, reason)

    def _on_join(self, event: Join, now: float) -> None:
        contact = event.contact
        self._parting.pop(contact, None)
        self._invited.pop(contact, None)
        self._fellows.pop(contact, None)
        super()._on_join(event, now)
        if contact in self._up:
            self._introduce(contact, True)  # it may have left us meanwhile

    def _on_update_members(self, event: UpdateMembers, now: float) -> None:
        wanted = {self.config.name(peer): None for peer in event.members}
        for peer in list(self._invited) if wanted else ():
            if self.config.name(peer) not in wanted:
                self._give_up(peer, "left")
        if self._name in wanted:
            idle = {peer: None for peer in self._fellows if self.config.name(peer) not in self._named}
            event = UpdateMembers(tuple(peer for peer in event.members if peer not in idle))
        super()._on_update_members(event, now)

    # Departures.

    def _parts(self, peer: Peer) -> None:
        name = self.config.name(peer)
        self._left.pop(name, None)
        self._left[name] = None
        if len(self._left) > self.config.max_members:
            del self._left[next(iter(self._left))]
        if peer in self._up:
            self._send(peer, Parting(self.myself))

    def _say_farewell(self, peer: Peer, contact: Peer) -> None:
        self._send(peer, Parting(self.myself))
        for each in (contact, peer):
            self._give_up(each, "left")  # it may have introduced itself under its other name
        if self._is_member(contact):
            self._keep(contact)

    def _forget(self, peers: Any, reason: str = "left") -> None:
        gone = list(peers)
        super()._forget(gone, reason)
        for peer in gone:
            self._tags.pop(self.config.name(peer), None)

    def _replace_ourselves(self, now: float) -> None:
        super()._replace_ourselves(now)
        for peer in self._up:
            self._introduce(peer, False)

    def _round(self, now: float) -> None:
        for waiting in (self._parting, self._invited):
            for peer, rounds in list(waiting.items()):
                if rounds:
                    waiting[peer] = rounds - 1
                else:
                    self._give_up(peer, "unreachable")
        for peer, rounds in list(self._fellows.items()):
            if rounds:
                self._fellows[peer] = rounds - 1
            else:
                del self._fellows[peer]

    # Messages.

    def _on_introduction(self, peer: Peer, message: Introduction, now: float) -> None:
        problem = self._problem_of_sender(peer, message.sender)
        if problem is None and message.tag not in ROLES:
            problem = "its role is none"
        elif problem is None and not go_together(self.tag, message.tag):
            problem = f"its role is {message.tag}, and ours {self.tag}"
        if problem is not None:
            self._violation(peer, f"introduction: {problem}")
            return
        sender = message.sender
        name = self.config.name(sender)
        if message.joining is True:
            self._left.pop(name, None)
            self._parting.pop(sender, None)
        elif name in self._left and name not in self._named:
            self._tell_again(sender)
            return
        if name in self._named:
            self._tags[name] = message.tag
            self._hops = None
            self._add(sender)  # it may be another value now
        elif sender not in self._pending:
            self._invite(peer, sender)

    def _invite(self, peer: Peer, sender: Peer) -> None:
        """Dial back; who answers is a member then."""
        if len(self._named) + len(self._pending) >= self.config.max_members:
            self._violation(peer, f"introduction: {self.config.max_members} members are enough")
            if sender in self._edges:  # it was dialled to be told that it had left
                self._give_up(sender, "left")
            return
        for former in [each for each in self._invited if self.config.name(each) == self.config.name(sender)]:
            self._give_up(former, "left")
        self._invited[sender] = PATIENCE
        self._pending[sender] = None
        self._keep(sender)

    def _tell_again(self, sender: Peer) -> None:
        if sender not in self._edges and len(self._parting) < MOST_PARTING:
            self._parting[sender] = 1
            self._keep(sender)

    def _on_parting(self, peer: Peer, message: Parting, now: float) -> None:
        problem = self._problem_of_sender(peer, message.sender)
        if problem is not None:
            self._violation(peer, f"parting: {problem}")
            return
        name = self.config.name(message.sender)
        for each in [each for each in self._invited if self.config.name(each) == name]:
            self._give_up(each, "left")
        if name in self._named:
            self._forget([self._named[name]])
