"""Which manager a node has, by the option `peer_service_manager`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from partisan._core.connections import ConnectionTable
from partisan.config import Config
from partisan.managers.audience import Audience
from partisan.managers.client_server import ClientServerManager
from partisan.managers.hyparview import HyParViewManager
from partisan.managers.overlay import OverlayManager
from partisan.managers.pluggable import PluggableManager
from partisan.managers.static import StaticManager
from partisan.names import NodeSpec
from partisan.net.context import Context
from partisan.net.link import Link

MANAGERS: dict[str, type[ClientServerManager | HyParViewManager | PluggableManager | StaticManager]] = {
    "client_server": ClientServerManager,
    "hyparview": HyParViewManager,
    "pluggable": PluggableManager,
    "static": StaticManager,
}
"""Option -> manager."""


def wire_name_of(config: Config) -> str:
    """The name by which peers address the manager that the options ask for."""
    return MANAGERS[config.peer_service_manager].wire_name


def extra_of(config: Config) -> str | None:
    """The extra by which managers of the kind that the options ask for speak beyond Partisan, if they do."""
    return MANAGERS[config.peer_service_manager].extra


class OverlayExtra:
    """Gives what comes under that extra to the manager.

    Args:
        manager: callable(): the node's.
    """

    def __init__(self, manager: Callable[[], OverlayManager]) -> None:
        self._manager = manager

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take a message. Raises MalformedMessage."""
        self._manager().receive_extra(message, link)

    def agreed(self, node: str, may: bool) -> None:
        """What the manager says needs no agreement: it has to be said before there can be one."""


def make_manager(context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience) -> OverlayManager:
    """Make the manager that the options ask for. Raises ConfigError, StateError."""
    return MANAGERS[context.config.peer_service_manager](context, table, spec, audience)
