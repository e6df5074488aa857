"""Client-server over sockets: servers are connected with all, clients with servers; see the machine for the roles.

A real node that is joined becomes a member here, and learns nothing of it: it has to join this node in its turn. One
that joins this node has it as a member, and is none here until this node joins it: its name is all that it says.
"""

from __future__ import annotations

import logging
from random import Random
from typing import Any, ClassVar

from partisan._core.connections import ConnectionTable
from partisan.config import Config
from partisan.errors import NotConnected, Overloaded
from partisan.machines.client_server import (
    UNDEFINED,
    ClientServer,
    ClientServerConfig,
    ClientServerState,
    Refused,
)
from partisan.managers.audience import Audience
from partisan.managers.star import StarGlue, StarManager
from partisan.names import NodeSpec
from partisan.net.acknowledged import PYTHON
from partisan.net.context import Context
from partisan.net.link import Link
from partisan.wire.client_server import (
    EXTRA,
    members_from_term,
    members_to_term,
    message_from_term,
    message_to_term,
)
from partisan.wire.order import spec_key

log = logging.getLogger(__name__)

NAME = "client_server"
"""The overlay's, in options and in saved states."""

_SLOT = 0
"""The partition key of what the machine sends: all of it takes one connection, and so keeps its order."""


class ClientServerGlue(StarGlue):
    """Client-server on the wire of Partisan 5.0.3."""

    name = NAME

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._told: tuple[object, object] = (None, None)  # the members last made a term, and that

    def options(self, config: Config) -> ClientServerConfig:
        """Take what concerns it."""
        return ClientServerConfig(
            period=config.periodic_interval,
            max_members=config.max_members,
            tag=config.tag or UNDEFINED,
            key=spec_key,
        )

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> ClientServer:
        """Make the machine; what is restored are members."""
        return ClientServer(myself, options, rng, restored)

    def saved_to_term(self, myself: NodeSpec, state: Any) -> object:
        """The set of members, as the reference saves it."""
        return members_to_term(state.members)

    def saved_from_term(self, term: object) -> ClientServerState:
        """Read a set; the role is as the options say."""
        return ClientServerState(UNDEFINED, members_from_term(term, self._most))

    def greeting_to_term(self, myself: NodeSpec, greeting: Any) -> object:
        """The set of members; handshakes tell the role beside it."""
        if self._told[0] is not greeting.members:
            self._told = (greeting.members, members_to_term(greeting.members))
        return self._told[1]

    def greeting_from_term(self, term: object) -> ClientServerState:
        """Read a greeting without its role."""
        return ClientServerState(UNDEFINED, members_from_term(term, self._most))

    def message_to_term(self, myself: NodeSpec, message: Any) -> object:
        """A message for nodes of our kind."""
        return message_to_term(message)

    def message_from_term(self, term: object) -> tuple[NodeSpec | None, Any]:
        """Read such a message."""
        message = message_from_term(term)
        return message.sender, message


class ClientServerManager(StarManager):
    """The star that a node is in; see `OverlayManager` for the arguments. Raises StateError."""

    wire_name: ClassVar[str] = "partisan_client_server_peer_service_manager"
    extra: ClassVar[str | None] = EXTRA

    _machine: ClientServer

    def __init__(self, context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience) -> None:
        super().__init__(context, table, spec, audience, ClientServerGlue(context.config.max_members))
        self._tell |= {Refused: self._refused}

    def _greeting(self, state: object, tag: str) -> ClientServerState:
        told = self._glue.greeting_from_term(state)
        return ClientServerState(tag, told.members)

    def receive_extra(self, message: tuple[Any, ...], link: Link) -> None:
        sender, told = self._glue.message_from_term(message)
        self._heard(sender, told, link)

    def _transmit(self, node: str, term: Any) -> None:
        router = self._context.router
        try:
            router.send((PYTHON, node), term, partition_key=_SLOT)
        except (NotConnected, Overloaded) as error:
            log.debug("%s cannot tell %s: %s", self._context.node, node, error)

    def _refused(self, fact: Refused) -> None:
        context = self._context
        ours = context.config.tag or UNDEFINED
        log.warning("%s: %s is no member any more: it is %s, and this node %s", context.node, fact.peer, fact.tag, ours)
