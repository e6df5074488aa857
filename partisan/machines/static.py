"""Static links: a node keeps the links that it is given, and no others.

No paper and no protocol: who is linked with whom is somebody else's decision, as a ring, a tree or a grid of machines
that is known beforehand. Each node has a list of contacts; a join adds one, a leave takes one away, and an update of
the members is another list.

What holds:

- the members are the nodes on the list that have answered once, and ourselves; two never have one name;
- an edge is kept to exactly the nodes on the list, dialled again for as long as they are on it;
- `NeighborUp` and `NeighborDown` alternate for each peer.

Links have a direction, as connections have: that another node has us on its list makes it no member here. It may dial,
and what it sends arrives; a link that serves both ways is on both lists.

The static manager of partisan 5.0.3 cannot boot (section 8.2 of its reference), so no node of it is on any wire. It
greets as that would, but with a role that says what it is, and differs on purpose: lost links are dialled again,
members can leave, edges are told, and the list is an option. Nothing is saved: the list is what the node is started
with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partisan.machines.direct import Direct
from partisan.machines.machine import Join, Peer, Start
from partisan.machines.membership import MembershipConfig

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class StaticConfig(MembershipConfig):
    """Options of static links, besides those of every membership.

    Attributes:
        contacts: peers, or contacts that stand for them; ourselves among them do not matter.
    """

    contacts: tuple[Peer, ...] = ()


@dataclass(frozen=True, slots=True)
class StaticState:
    """What a node's handshake tells.

    Attributes:
        members: its own links that have answered, and itself.
    """

    members: tuple[Peer, ...]


class Static(Direct):
    """One node's links.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them, but not what is on the list already.
        rng: chance, for the phase of rounds.
        restored: does not matter; a machine takes it.
    """

    config: StaticConfig
    messages = (StaticState,)

    def __init__(self, myself: Peer, config: StaticConfig, rng: Random, restored: object = None) -> None:
        super().__init__(myself, config, rng)

    @property
    def greeting(self) -> StaticState:
        """What our handshakes tell."""
        return StaticState(self.members)

    def _problem_of_greeting(self, greeting: object) -> str | None:
        if not isinstance(greeting, StaticState) or type(greeting.members) is not tuple:
            return "no state of static links"
        return None

    def _greeted(self, peer: Peer, contact: Peer, greeting: StaticState | None, joining: bool, now: float) -> None:
        super()._greeted(peer, contact, greeting, joining, now)
        if greeting is not None and self._is_member(peer):
            self._follow(peer, greeting)

    def _follow(self, peer: Peer, greeting: StaticState) -> None:
        """Take the peer's own word for what it is now: it tells its state again when that changes."""
        name, kind = self.config.name(peer), type(self.myself)
        own = [each for each in greeting.members if type(each) is kind and self.config.name(each) == name]
        if own and peer not in own:
            self._add(own[0])

    def _on_start(self, event: Start, now: float) -> None:
        super()._on_start(event, now)
        for contact in self.config.contacts:
            if self.config.name(contact) != self._name and contact not in self._pending:
                self._update[contact] = None
                self._on_join(Join(contact), now)

    def _save(self, state: object) -> None:
        """The list is no state of ours."""
