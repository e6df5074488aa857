"""Members that nobody tells of: who is joined is a member, and who has left or is removed is none.

What client-server and static links have in common: no gossip, one node one spec, an edge to each member and to each
contact of a join that is not done, dialled again for as long as it is wanted. `Membership` keeps edges and joins; here
are the set and the ways to a node that is no neighbor.

Source: `partisan_client_server_peer_service_manager` and `partisan_static_peer_service_manager` of partisan 5.0.3,
sections 8.1 and 8.2 of its reference.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

from partisan.machines.machine import Connected, NeighborDown, NeighborUp, Peer
from partisan.machines.membership import Membership, MembershipConfig

if TYPE_CHECKING:
    from random import Random


class Direct(Membership):
    """The part of such a membership that does not depend on whom it takes.

    Args:
        myself: our own value; peers must be of the same type.
        config: the options; `Retune` replaces them.
        rng: the only source of chance.
        known: members of a former life; who has our name among them is ourselves.
    """

    def __init__(self, myself: Peer, config: MembershipConfig, rng: Random, known: Iterable[Peer] = ()) -> None:
        super().__init__(myself, config, rng)
        self._named: dict[Hashable, Peer] = {config.name(peer): peer for peer in known} | {self._name: myself}
        self.members = tuple(sorted(self._named.values(), key=config.key))
        self._hops: tuple[Peer, ...] | None = None  # as `next_hops` answers; None if a neighbor has come or gone since

    def next_hops(self, name: Hashable) -> tuple[Peer, ...]:
        """The neighbors to whom a message goes that is for the node of that name.

        Empty if that is a neighbor, which gets it directly, or this node; or if there is nobody. Whoever passes a
        message on bounds its hops and knows one that comes again: the ways may be circles.
        """
        if name == self._name or self._named.get(name) in self._up:
            return ()
        if self._hops is None:
            self._hops = tuple(peer for peer in self._up if self._relays(peer))
        return self._hops

    # What a strategy may do otherwise.

    def _relays(self, peer: Peer) -> bool:
        """Whether the neighbor passes messages on."""
        return True

    def _parts(self, peer: Peer) -> None:
        """We make the member leave, or leave it: its edge is given up in a moment."""

    # What a membership gives.

    def _greeted(self, peer: Peer, contact: Peer, greeting: Any, joining: bool, now: float) -> None:
        same = self.config.name(contact) == self.config.name(peer)
        known = self._is_member(peer) or (same and self._is_member(contact))
        if not (joining or known):
            self._drop(peer, "left")
            return
        self._add(peer)
        self._bring_up(peer, contact)

    def _remove(self, leavers: list[Peer], now: float) -> None:
        for peer in leavers:
            self._parts(peer)
        self._forget(leavers)

    def _leave_ourselves(self, now: float) -> None:
        self._update.clear()
        self._give_up_joins()
        self._remove([peer for peer in self.members if peer != self.myself], now)

    def _replace_ourselves(self, now: float) -> None:
        self._named[self._name] = self.myself
        self._become()

    def _on_connected(self, event: Connected, now: float) -> None:
        super()._on_connected(event, now)
        if self._is_member(event.contact):
            self._keep(event.contact)  # somebody else may have answered in its place

    # The set.

    def _is_member(self, peer: Peer) -> bool:
        name = self.config.name(peer)
        return name in self._named and bool(self._named[name] == peer)

    def _add(self, peer: Peer) -> None:
        """Make it a member, in place of what it was before."""
        if not self._is_member(peer):
            self._named[self.config.name(peer)] = peer
            self._become()

    def _forget(self, peers: Iterable[Peer], reason: str = "left") -> None:
        """They are no members any more."""
        for peer in peers:
            del self._named[self.config.name(peer)]
        self._become(reason)

    def _become(self, reason: str = "left") -> None:
        before = self.members
        self._report(self._named.values(), reason)
        if self.members != before:
            self._save(self.greeting)

    def _notify(self, fact: object) -> None:
        if type(fact) is NeighborUp or type(fact) is NeighborDown:
            self._hops = None
        super()._notify(fact)
