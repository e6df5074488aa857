"""Which nodes are there for the processes of this one: neighbors, and far ones where broadcasts tell of these.

Without `broadcast` a node is there while the overlay's edge to it is usable. With it, `machines/liveness` decides,
which takes edges, heartbeats and obituaries together; a neighbor that the overlay gives up goes on being there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from partisan.config import Config
from partisan.etf import Atom
from partisan.machines.heartbeat import NOBODY
from partisan.machines.liveness import (
    Accuse,
    EdgeDown,
    EdgeUp,
    HeartbeatOf,
    Liveness,
    LivenessConfig,
    NodeDown,
    NodeUp,
    Obituary,
    Refute,
)
from partisan.machines.machine import Notify, Retune, Start
from partisan.machines.relay_messages import Word
from partisan.net.context import Context
from partisan.net.driver import Driver

log = logging.getLogger(__name__)

GIVEN_UP = frozenset(("dropped", "dropped by the peer", "replaced", "left", "done", "removed"))
"""The reasons for which overlays give an edge up whose other end lives."""

SOON = 0.1
"""Seconds after a new edge, or a rumor that we are dead, until a heartbeat tells everybody of us (ours): in these many
edges may come, and as many rumors as there are neighbors that have lost us."""


def liveness_config(config: Config) -> LivenessConfig:
    """What the options mean to the machine."""
    interval = config.plumtree.broadcast_heartbeat_interval
    return LivenessConfig(silence=config.relay.silence * interval, refutation=config.relay.refutation)


class Spreads(Protocol):
    """What lets every node hear."""

    def spread(self, word: Word) -> None:
        """Let every Python node hear."""

    def down(self, node: str) -> None:
        """The node is down."""


class Presence:
    """Who is there, for one node.

    Args:
        context: the node's.
        tell: callable(node, up): a node is there from now on, or no longer.
        beat: callable(): broadcast a heartbeat.
        life: of this life of ours, as heartbeats have it.
    Attributes:
        spreads: set before the first event.
    """

    spreads: Spreads

    def __init__(
        self, context: Context, tell: Callable[[str, bool], None], beat: Callable[[], None], life: int
    ) -> None:
        self._context = context
        self._tell = tell
        self._beat = beat
        self._edges: dict[str, None] = {}
        self._on = context.config.broadcast
        self._life = life
        self._soon: asyncio.TimerHandle | None = None
        self._facts: dict[type, Callable[[Any], None]] = {
            NodeUp: lambda fact: self._tell(fact.node, True),
            NodeDown: self._down,
            Accuse: lambda fact: self.spreads.spread(Word(fact.node, fact.life, False)),
            Refute: lambda fact: self._beat_within(min(SOON, self._context.config.relay.refutation / 8.0)),
        }
        self._make()

    def _make(self) -> None:
        context = self._context
        self._machine = Liveness(context.node, liveness_config(context.config), context.rng, self._life)
        self._driver = Driver(
            self._machine, context.loop, {Notify: lambda effect: self._facts[type(effect.fact)](effect.fact)}
        )

    # What the node asks.

    def is_connected(self, node: str) -> bool:
        """Whether the node is there: connected, or far and alive."""
        return self._context.router.table.is_connected(node) or (self._on and self._machine.is_up(node))

    def is_down(self, node: str) -> bool:
        """Whether the node is known, and not to be alive."""
        return self._on and self._machine.knows(node) and not self._machine.is_up(node)

    def far(self) -> list[str]:
        """Names of the nodes that live and are no neighbors."""
        return [node for node in self._machine.up if node not in self._edges] if self._on else []

    # What happens.

    def start(self) -> None:
        """Begin to take who is silent for dead."""
        self._driver.handle(Start())

    def stop(self) -> None:
        """Tell nothing any more."""
        self._driver.stop()
        if self._soon is not None:
            self._soon.cancel()

    def retune(self) -> None:
        """The options of the node have changed."""
        context = self._context
        if context.config.broadcast == self._on:
            self._driver.handle(Retune(liveness_config(context.config)))
            return
        gone, self._on = self.far(), context.config.broadcast
        self._driver.stop()
        self._make()
        tell, self._tell = self._tell, lambda node, up: None  # of neighbors nothing changes
        for node in self._edges if self._on else ():
            self._driver.handle(EdgeUp(node))
        self._tell = tell
        self.start()
        for node in gone:
            self.spreads.down(node)
            tell(node, False)

    def edge(self, node: str, up: bool, reason: str = "") -> None:
        """The overlay's edge to the node has become usable, or no longer is."""
        known = node in self._edges
        held = self._context.router.table.has_own(node)
        if up:
            self._edges[node] = None
        elif not held:
            self._edges.pop(node, None)
        if not self._on or (known and up) or (held and not up):  # it goes over to another spec, or nobody asks for more
            self._tell(node, up)
        elif up:
            self._driver.handle(EdgeUp(node))
        else:
            self._driver.handle(EdgeDown(node, reason not in GIVEN_UP))
        if up and self._on:
            self._beat_within(SOON)

    def _beat_within(self, seconds: float) -> None:
        """Have a heartbeat tell everybody of us: one for all that ask for it meanwhile."""
        if self._soon is None:
            self._soon = self._context.loop.call_later(seconds, self._beat_now)

    def _beat_now(self) -> None:
        self._soon = None
        self._beat()

    def heartbeat(self, name: Any, life: int) -> None:
        """A heartbeat was heard that is new; told while a broadcast is handled, so it is taken later."""
        if self._on and isinstance(name, Atom) and name.name not in (NOBODY, self._context.node):
            self._context.loop.call_soon(self._driver.handle, HeartbeatOf(name.name, life))

    def heard_of(self, node: str) -> None:
        """A relayed message of the node has come."""
        if self._on and self._machine.is_up(node):
            self._machine.heard(node, self._context.loop.time())

    def heard_word(self, by: str, word: Word) -> None:
        """A word for everybody has come."""
        if self._on:
            self._driver.handle(Obituary(word.node, word.life, word.by_itself and by == word.node))

    def farewell(self) -> None:
        """This node leaves: say so."""
        if self._on:
            self.spreads.spread(Word(self._context.node, self._life, True))

    def reborn(self, life: int) -> None:
        """This node has left, and begins anew."""
        self._life = self._machine.life = life

    def _down(self, fact: NodeDown) -> None:
        log.info("%s: %s is down: %s", self._context.node, fact.node, fact.reason)
        self.spreads.down(fact.node)
        self._tell(fact.node, False)
