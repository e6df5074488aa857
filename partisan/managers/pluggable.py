"""The pluggable manager: every member is connected with every other, as a membership strategy says.

Messages of the strategy are addressed to the peer's manager, on the channel of the membership. A node of Partisan that
has not heard that we left hears it in place of the greeting (`machines/farewells.py`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import ClassVar

from partisan._core.connections import ConnectionTable
from partisan.errors import Unsupported
from partisan.machines.farewells import Farewells
from partisan.machines.machine import MembersChanged, Removed, Unreachable
from partisan.machines.membership import Membership
from partisan.managers.audience import Audience
from partisan.managers.overlay import OverlayManager
from partisan.managers.strategies import chosen
from partisan.names import Contact, NodeSpec
from partisan.net.context import Context
from partisan.net.dialer import Target
from partisan.net.link import AcceptedLink, Link
from partisan.wire.forward import Strategy

log = logging.getLogger(__name__)


class PluggableManager(OverlayManager):
    """A membership over a mesh; see `OverlayManager` for the arguments. Raises ConfigError: the strategy is none."""

    wire_name: ClassVar[str] = "partisan_pluggable_peer_service_manager"

    _machine: Membership

    def __init__(self, context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience) -> None:
        super().__init__(context, table, spec, audience, chosen(context.config))
        self._tell |= {Removed: self._removed}
        self._farewells = Farewells()
        self.partial, self.mutual = self._machine.partial, self._machine.mutual

    def foreign(self) -> tuple[list[str], list[str]]:
        """Names of members that run Partisan itself, and of nodes that may: members and diallers that did not say."""
        real, unheard = ([peer.name for peer in peers] for peers in self._machine.foreign(self._machine.members))
        return real, unheard + [name for name in self._diallers if name not in self._known]

    def greeted_python(self, name: str) -> bool:
        """Whether members need not have this one for one, and the peer has told a state of our kind."""
        peer = self._known.get(name)
        return not self.mutual and peer is not None and not any(self._machine.foreign([peer]))

    async def _dialled_back(self, name: str, end: float) -> None:
        if not self._machine.partial:  # else it has no reason to
            await super()._dialled_back(name, end)

    # Farewells.

    def _begin_join(self, target: Target) -> None:
        self._farewells.joined([target.name])
        super()._begin_join(target)

    def update_members(self, contacts: Iterable[str | NodeSpec | Contact]) -> None:
        """Make these the members; see `Node.update_members`."""
        with self._leaving():
            super().update_members(contacts)

    async def leave(self, name: str | None) -> None:
        """Leave the cluster, or make a member leave it. Raises NotConnected: it is none; Unsupported: nobody can."""
        ourselves = name is None or name == self._spec.name
        if not ourselves and not self._machine.expels:
            why = "can only leave by itself: no node knows all that have it in a view"
            raise Unsupported(self._glue.name, f"{name} {why}")
        with self._leaving() if ourselves else contextlib.nullcontext():
            await super().leave(name)

    @contextlib.contextmanager
    def _leaving(self) -> Iterator[None]:
        """Whatever is done in here may make us leave: note who might not hear of it."""
        hears = self._machine.hears
        deaf = [peer for name, peer in self._known.items() if not (name in self._diallers and hears(peer))]
        foreign = [peer.name for peers in self._machine.foreign(deaf) for peer in peers]
        yield
        if self._machine.members == (self._spec,):
            self._farewells.left(foreign, frozenset(self._diallers))

    def _session_over(self, peer: str) -> None:
        self._farewells.closed(peer)
        super()._session_over(peer)

    def local_state(self, peer: str) -> object:
        if not self._farewells.greets(peer):
            return super().local_state(peer)
        log.info("%s tells %s that it has left", self._context.node, peer)
        self._part(peer)
        return self._glue.greeting_to_term(self._spec, self._machine.farewell)

    def _members_changed(self, fact: MembersChanged) -> None:
        self._farewells.joined(member.name for member in fact.members)
        super()._members_changed(fact)

    def _gone(self, name: str) -> None:
        if self.partial:  # it may have lost its place only: what it has not acknowledged waits, unless relays take it
            self._context.acknowledged.reconsider(name)
        else:
            super()._gone(name)

    def _unreachable(self, target: Target, error: Exception) -> None:
        if self._machine.awaits(target):  # else it is only dialled to be told something
            super()._unreachable(target, error)
        self._driver.handle(Unreachable(target, str(error)))

    # The wire.

    def _take(self, term: object, link: Link | None, bare: bool) -> None:
        inbound = self._inbound(term)
        if not isinstance(inbound, Strategy):
            self._take_inbound(inbound, link, bare)
            return
        sender, message = self._glue.message_from_term(inbound.term)
        if not self._heard(sender, message, link) or sender is None:
            return
        if isinstance(link, AcceptedLink) and self._known.get(sender.name) != sender:
            link.greet(sender.name)  # it was removed, or replaced, and has not heard: it learns that from our state

    def _transmit(self, node: str, term: object) -> None:
        self._send_forwarded(node, term)

    # What the machine tells.

    def _removed(self, fact: Removed) -> None:
        why = "another node has come under its name" if fact.reason == "replaced" else "a member made it leave"
        log.warning("%s is no member of its cluster any more, and alone: %s", self._context.node, why)
