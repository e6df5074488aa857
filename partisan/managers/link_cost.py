"""What links cost, for X-BOT (`machines/xbot.py`): what the program says, or round trips that are measured here.

A round trip is that of a ping, on a connection that there is anyhow: to a neighbor at intervals, to others once, when
the machine has an edge to them. It is not told of those on which frames wait in a queue: they seem farther away than
they are for as long as that lasts.
"""

from __future__ import annotations

import importlib
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from partisan.config import Config
from partisan.errors import ConfigError
from partisan.machines.xbot import Oracle
from partisan.names import NodeSpec
from partisan.net.context import Context
from partisan.net.link import DialledLink

log = logging.getLogger(__name__)

OPTION = "hyparview.xbot_oracle"


def oracle_of(config: Config) -> Oracle | None:
    """What tells the costs of links by the options; None measures. Raises ConfigError if it is no function."""
    wanted = config.hyparview.xbot_oracle
    found = _find(wanted) if isinstance(wanted, str) else wanted
    if found is None:
        return None
    if not callable(found):
        raise ConfigError(OPTION, f"{wanted!r} is no function, and no place of one as module:function")
    return _guarded(found)


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(OPTION, f"{place!r} cannot be imported: {error}") from error


def _guarded(function: Callable[[NodeSpec], Any]) -> Oracle:
    """The same, whose errors are logged, and cost that is no number is not known."""

    def cost(peer: NodeSpec) -> float | None:
        try:
            found = function(peer)
        except Exception:
            log.exception("the cost of the link to %s is not known", peer)
            return None
        if found is None or (type(found) in (int, float) and not math.isnan(found)):
            return None if found is None else float(found)
        log.error("the cost of the link to %s is no number: %r", peer, found)
        return None

    return cost


class RoundTrips:
    """Measures how far peers are.

    Args:
        context: the node's.
        links: callable(): the connections that messages are routed to.
        neighbors: callable(): whom to measure at intervals.
        tell: callable(peer, seconds): hears of a round trip.
    """

    def __init__(
        self,
        context: Context,
        links: Callable[[], list[DialledLink]],
        neighbors: Callable[[], list[NodeSpec]],
        tell: Callable[[NodeSpec, float], None],
    ) -> None:
        self._context = context
        self._links = links
        self._neighbors = neighbors
        self._tell = tell
        self._timer: Any = None

    def start(self) -> None:
        """Measure at intervals from now on."""
        self.stop()
        self._timer = self._context.loop.call_later(self._context.config.hyparview.xbot_interval, self._round)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _round(self) -> None:
        self.start()
        for peer in self._neighbors():
            self.measure(peer)

    def measure(self, peer: NodeSpec) -> None:
        """Ping the peer once, if it is connected; if the connection is lost meanwhile, nothing is told."""
        link = next((link for link in self._links() if link.peer == peer.name), None)
        if link is None:
            log.debug("%s has no connection to measure the way to %s", self._context.node, peer)
            return
        began = time.monotonic()

        def answered() -> None:
            if not link.closed:
                self._tell(peer, time.monotonic() - began)

        link.probe(answered)
