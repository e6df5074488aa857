"""What the client-server manager and the static one have in common over sockets.

Real managers of these kinds take plain messages to a process, and crash on any other frame. So a message with
acknowledgement, and a question for distance, wait until the peer has said that it runs this package; what the overlay
itself has to tell travels as an extra.
"""

from __future__ import annotations

from typing import Any, ClassVar

from partisan._core.connections import ConnectionTable
from partisan.machines.direct import Direct
from partisan.managers.audience import Audience
from partisan.managers.glue import Glue, spec_among
from partisan.managers.overlay import OverlayManager
from partisan.names import ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.net.link import Link
from partisan.wire.client_server import members_from_term


class StarGlue:
    """What their protocols have in common: what is saved and told is a set of specs.

    Args:
        most: members that are taken of a peer.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def speaker(self, term: object, name: str, address: ListenAddress) -> NodeSpec | None:
        """A node is in its own set."""
        return spec_among(members_from_term(term, self._most), name, address)


class StarManager(OverlayManager):
    """An overlay whose members are those that were joined; see `OverlayManager` for the arguments."""

    knows_ways: ClassVar[bool] = True

    _machine: Direct

    def __init__(
        self, context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience, glue: Glue
    ) -> None:
        super().__init__(context, table, spec, audience, glue)
        context.acknowledged.only_to_python()

    def foreign(self) -> tuple[list[str], list[str]]:
        """No names, and those of peers that did not say that they run this package: a real node never says anything."""
        peers = dict.fromkeys((*(name for name in self._known if name != self._spec.name), *self._diallers))
        return [], [name for name in peers if not self._audience.is_python(name)]

    def may_be_python(self, name: str) -> bool:
        return name in self._known  # who has gone again will not say anything

    def next_hops(self, name: str) -> list[str]:
        """As the machine says, without real nodes: they pass nothing on, and would crash."""
        hops = self._machine.next_hops(name)
        return [peer.name for peer in hops if self._audience.is_python(peer.name) or self.greeted_python(peer.name)]

    def _take(self, term: object, link: Link | None, bare: bool) -> None:
        self._take_inbound(self._inbound(term), link, bare)

    def _send_forwarded(self, node: str, term: object) -> None:
        """Only to nodes of our kind: a real manager does not know what is sent to it by its name."""
        if self._audience.is_python(node):
            super()._send_forwarded(node, term)

    def _transmit(self, node: str, term: Any) -> None:
        raise NotImplementedError(f"{self.wire_name} tells peers nothing")
