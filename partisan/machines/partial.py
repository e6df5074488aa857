"""What a membership needs besides, in which each node has a few others: a strategy with a partial view is one on top.

Members are neighbors here, and nobody knows all nodes. So

- nobody makes another node leave, unless the strategy says that it `expels`;
- an update of the members tells of contacts: who is alone joins the first of them by name, so that nodes which are
  given the same ones together become one overlay and not several; if that one fails the next update adds another.
  Views stay the protocol's affair;
- a neighbor that is lost is dialled again, as any edge; when that fails, `_lost` hears of it and can forget the peer,
  so that another takes its place;
- a contact that was joined need not become a neighbor: what is neither a member nor waited for is given up by `_drop`.

docs/overlays.md walks through an overlay that is made so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from partisan.errors import LocalProtocolError
from partisan.machines.machine import Join, Peer, Unreachable, UpdateMembers
from partisan.machines.membership import Membership, MembershipConfig

if TYPE_CHECKING:
    from random import Random


class PartialView(Membership):
    """A membership whose members are the neighbors of one node; see `Membership` for the arguments."""

    partial: ClassVar[bool] = True
    expels: ClassVar[bool] = False

    def __init__(self, myself: Peer, config: MembershipConfig, rng: Random) -> None:
        super().__init__(myself, config, rng)
        self._silent: dict[Peer, None] = {}  # contacts of updates that an attempt to reach has failed

    def _lost(self, peer: Peer, now: float) -> None:
        """An attempt to reach a member has failed. Unless it is forgotten here, it is dialled again."""

    def _remove(self, leavers: list[Peer], now: float) -> None:
        raise LocalProtocolError(f"{type(self).__name__}: a member can only leave by itself")

    def _on_unreachable(self, event: Unreachable, now: float) -> None:
        if event.peer in self._update:
            self._silent[event.peer] = None
        if event.peer in self._edges and event.peer in self.members:
            self._lost(event.peer, now)

    def _on_update_members(self, event: UpdateMembers, now: float) -> None:
        name = self.config.name
        others = [peer for peer in event.members if name(peer) != self._name]
        if event.members and len(others) == len(event.members):
            self._leave_ourselves(now)
        elif others:
            self._try_contacts(others, now)

    def _try_contacts(self, contacts: list[Peer], now: float) -> None:
        """Give up who is none of them any more; if we are alone, join one, unless one is being joined.

        So is who reaches none of its members, and is told that they are elsewhere.
        """
        for former in [contact for contact in self._update if contact not in contacts]:
            del self._update[former]
            self._give_up(former, "left")
        self._silent = {contact: None for contact in self._silent if contact in self._update}
        fresh = [contact for contact in contacts if contact not in self._pending]
        if len(self.members) > 1:
            fresh = [] if self._up else self._moved(fresh)
        if fresh and self._pending.keys() <= self._silent.keys():
            chosen = min(fresh, key=lambda contact: str(self.config.name(contact)))
            self._update[chosen] = None
            self._on_join(Join(chosen), now)
