"""Which manager a node has, by the option `peer_service_manager`."""

from __future__ import annotations

from partisan._core.connections import ConnectionTable
from partisan.config import Config
from partisan.managers.audience import Audience
from partisan.managers.hyparview import HyParViewManager
from partisan.managers.overlay import OverlayManager
from partisan.managers.pluggable import PluggableManager
from partisan.names import NodeSpec
from partisan.net.context import Context

MANAGERS: dict[str, type[HyParViewManager | PluggableManager]] = {
    "hyparview": HyParViewManager,
    "pluggable": PluggableManager,
}
"""Option -> manager."""


def wire_name_of(config: Config) -> str:
    """The name by which peers address the manager that the options ask for."""
    return MANAGERS[config.peer_service_manager].wire_name


def make_manager(context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience) -> OverlayManager:
    """Make the manager that the options ask for. Raises ConfigError, StateError."""
    return MANAGERS[context.config.peer_service_manager](context, table, spec, audience)
