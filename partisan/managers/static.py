"""Static links over sockets: this node dials the nodes on its list, and no others."""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from partisan._core.connections import ConnectionTable
from partisan.config import Config
from partisan.errors import ConfigError
from partisan.machines.static import Static, StaticConfig, StaticState
from partisan.managers.audience import Audience
from partisan.managers.star import StarGlue, StarManager
from partisan.names import Contact, NodeSpec
from partisan.net.context import Context
from partisan.net.link import AcceptedLink
from partisan.wire.atom import malformed
from partisan.wire.client_server import members_from_term, members_to_term
from partisan.wire.greetings import STATIC_TAG
from partisan.wire.order import spec_key

NAME = "static"
"""The overlay's, in options and in saved states."""


class StaticGlue(StarGlue):
    """Static links, which have no messages."""

    name = NAME

    def options(self, config: Config) -> StaticConfig:
        """Take what concerns it. Raises ConfigError: a contact has another form."""
        return StaticConfig(
            period=config.periodic_interval,
            max_members=config.max_members,
            contacts=tuple(_contact_of(text) for text in config.contacts),
            key=spec_key,
        )

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> Static:
        """Make the machine."""
        return Static(myself, options, rng, restored)

    def saved_to_term(self, myself: NodeSpec, state: Any) -> object:
        """The links; the machine never asks for it."""
        return members_to_term(state.members)

    def saved_from_term(self, term: object) -> StaticState:
        """Read links."""
        return StaticState(members_from_term(term, self._most))

    def greeting_to_term(self, myself: NodeSpec, greeting: Any) -> object:
        """The links."""
        return members_to_term(greeting.members)

    def greeting_from_term(self, term: object) -> StaticState:
        """Read links."""
        return StaticState(members_from_term(term, self._most))

    def message_to_term(self, myself: NodeSpec, message: Any) -> object:
        """There are no messages."""
        raise NotImplementedError(f"{message!r} has no term")

    def message_from_term(self, term: object) -> tuple[NodeSpec | None, Any]:
        """There are no messages. Raises MalformedMessage."""
        malformed(NAME, term)


def _contact_of(text: str) -> Contact:
    contact = Contact.parse(text, "contacts")
    if not contact.address.port:
        raise ConfigError("contacts", f"{text!r}: nobody listens on port 0")
    return contact


class StaticManager(StarManager):
    """The links of one node; see `OverlayManager` for the arguments. Raises ConfigError, StateError."""

    wire_name: ClassVar[str] = "partisan_static_peer_service_manager"
    mutual = False

    def __init__(self, context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience) -> None:
        super().__init__(context, table, spec, audience, StaticGlue(context.config.max_members))

    def respec(self, spec: NodeSpec) -> None:
        """Tell all that have dialled another spec of this node: there are no messages but the handshake."""
        super().respec(spec)
        for link in list(self._context.traffic.links):
            if isinstance(link, AcceptedLink) and link.up and link.peer is not None:
                link.greet(link.peer)

    def greeted_python(self, name: str) -> bool:
        """Whether it is a neighbor: no real node has such links."""
        return name in self._known

    def local_tag(self) -> str:
        """Says which overlay this is: states look as those of client-server."""
        return STATIC_TAG

    async def _dialled_back(self, name: str, end: float) -> None:
        """Whether it has a link to this node is its own affair."""
