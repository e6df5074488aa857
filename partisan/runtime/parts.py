"""What the parts of a node share. `Node` is made of them, a module for each thing that its methods are about."""

from __future__ import annotations

import asyncio
import random
import threading

from partisan._core.connections import ConnectionTable
from partisan._core.router import Router
from partisan._core.scheduler import Scheduler
from partisan.config import Config
from partisan.errors import LocalProtocolError
from partisan.managers.overlay import OverlayManager
from partisan.names import NodeSpec
from partisan.net.context import Context
from partisan.runtime.broadcasting import Broadcasts
from partisan.runtime.far import Far
from partisan.runtime.watching import Watching
from partisan.telemetry import Telemetry


def seconds_of(value: float, name: str = "timeout") -> float:
    """What was given as a time in seconds. Raises TypeError: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise TypeError(f"{name} {value!r} is no number of seconds (a float or int)")
    return value


class NodePart:
    """A part of a node: methods about one thing. The attributes are set by `Node`."""

    name: str
    config: Config
    telemetry: Telemetry
    spec: NodeSpec
    loop: asyncio.AbstractEventLoop
    table: ConnectionTable
    router: Router
    scheduler: Scheduler
    _context: Context
    _manager: OverlayManager
    _watching: Watching
    broadcasts: Broadcasts
    _far: Far | None
    _rng: random.Random
    _running: bool
    _thread: int

    def _far_of(self, node: str) -> Far | None:
        """The distribution, if the node is connected by it."""
        return self._far if self._far is not None and self._far.is_peer(node) else None

    def _check(self) -> None:
        if not self._running:
            raise LocalProtocolError(f"{self.name} is not running")
        self._check_thread()

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            self.router.send(self.name, None)  # raises WrongThread

    def _check_channel(self, channel: str) -> None:
        """Raise ConfigError, with the channels that exist, if neither this node nor any member has this one."""
        if channel not in self.config.channels and not any(spec.channel(channel) for spec in self._manager.specs()):
            self.config.channel(channel)
