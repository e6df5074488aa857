"""What a membership needs besides, in which each node has a few others: a strategy with a partial view is one on top.

Members are neighbors here, and nobody knows all nodes. So

- nobody makes another node leave, unless the strategy says that it `expels`;
- an update of the members tells of contacts: who is alone joins one of them, and views stay the protocol's affair;
- a neighbor that is lost is dialled again, as any edge; when that fails, `_lost` hears of it and can forget the peer,
  so that another takes its place;
- a contact that was joined need not become a neighbor: what is neither a member nor waited for is given up by `_drop`.

docs/overlays.md walks through an overlay that is made so.
"""

from __future__ import annotations

from typing import ClassVar

from partisan.errors import LocalProtocolError
from partisan.machines.machine import Join, Peer, Unreachable, UpdateMembers
from partisan.machines.membership import Membership


class PartialView(Membership):
    """A membership whose members are the neighbors of one node; see `Membership` for the arguments."""

    partial: ClassVar[bool] = True
    expels: ClassVar[bool] = False

    def _lost(self, peer: Peer, now: float) -> None:
        """An attempt to reach a member has failed. Unless it is forgotten here, it is dialled again."""

    def _remove(self, leavers: list[Peer], now: float) -> None:
        raise LocalProtocolError(f"{type(self).__name__}: a member can only leave by itself")

    def _on_unreachable(self, event: Unreachable, now: float) -> None:
        if event.peer in self._edges and event.peer in self.members:
            self._lost(event.peer, now)

    def _on_update_members(self, event: UpdateMembers, now: float) -> None:
        name = self.config.name
        others = [peer for peer in event.members if name(peer) != self._name]
        if event.members and len(others) == len(event.members):
            self._leave_ourselves(now)
        elif others and len(self.members) == 1 and not self._pending:
            chosen = self._rng.choice(others)
            self._update[chosen] = None
            self._on_join(Join(chosen), now)
