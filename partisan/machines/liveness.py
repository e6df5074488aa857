"""Liveness: which nodes live, neighbors or not, on an overlay where most nodes are no neighbors of each other.

A neighbor lives as long as its edge: keepalives see to that. Of a far node one hears heartbeats, which every node
broadcasts now and then (`partisan.machines.heartbeat`). That alone finds a crash after several intervals; so whoever
loses a neighbor, otherwise than by a farewell, tells everybody. Who hears such an obituary suspects the node for a
while, and takes it for dead unless something of it is heard meanwhile: the accused, if it lives, answers with a
heartbeat at once. That is the suspicion of SWIM (Das, Gupta and Motivala, 2002, section 4.2), with the overlay's edges
in place of its random probes, and a heartbeat, of a number that is new, in place of its incarnation number. Who leaves
says so itself, and is believed at once. The reference has none of this: its monitors work on a full mesh alone.

What holds:

- `NodeUp` and `NodeDown` alternate for each node; a neighbor is up from the first to the last of its edge;
- a far node is up from the first heartbeat that was heard of it, and down after `silence` seconds without any, or
  `refutation` seconds after an obituary without any;
- when a node comes back in a later life, it is down before it is up: nobody takes the two for one;
- no more than `most_nodes` are remembered; those that are down are forgotten after a while.

Names and lives are those of heartbeats. A neighbor of which no heartbeat was heard, as it broadcasts none, is up while
its edge is and no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from partisan.machines.machine import Machine, Peer, Retune, Start, TimedOut

if TYPE_CHECKING:
    from random import Random

_FORGET = 10.0
"""Silences after which a node that is down is forgotten (ours)."""

TICK = ("liveness", "tick")


@dataclass(frozen=True, slots=True)
class LivenessConfig:
    """Options of liveness.

    Attributes:
        silence: seconds without a word of a far node after which it is down (ours).
        refutation: seconds that an accused node has to answer (ours).
        most_nodes: that are remembered (ours).
    """

    silence: float = 40.0
    refutation: float = 2.0
    most_nodes: int = 16_384


# Events.


@dataclass(slots=True)
class HeartbeatOf:
    """A heartbeat that was not heard before, or anything else that the node has said just now."""

    node: Peer
    life: int


@dataclass(slots=True)
class EdgeUp:
    """The overlay's edge to a node has become usable."""

    node: Peer


@dataclass(slots=True)
class EdgeDown:
    """It no longer is.

    Attributes:
        lost: whether nobody has given it up: the node may be dead.
    """

    node: Peer
    lost: bool


@dataclass(slots=True)
class Obituary:
    """Somebody says that a node is dead.

    Attributes:
        life: of which life of the node.
        by_itself: it says so itself: it leaves.
    """

    node: Peer
    life: int
    by_itself: bool = False


# Facts.


@dataclass(frozen=True, slots=True)
class NodeUp:
    """The node lives."""

    node: Peer


@dataclass(frozen=True, slots=True)
class NodeDown:
    """It does not, or cannot be told of."""

    node: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class Accuse:
    """Tell everybody that the node is lost."""

    node: Peer
    life: int


@dataclass(frozen=True, slots=True)
class Refute:
    """Somebody takes us for dead: send a heartbeat."""


@dataclass(slots=True)
class _Life:
    """What is known of a node.

    Attributes:
        life: the latest that was heard of; None before the first heartbeat.
        near: whether there is an edge to it.
        heard: when it was heard of last (s).
        met: it came up by its edge, and no heartbeat was heard since: the next may be of another life.
        over: a life that the node itself has declared over.
    """

    heard: float
    life: int | None = None
    near: bool = False
    up: bool = False
    met: bool = False
    accused: bool = False
    over: int = -1


class Liveness(Machine):
    """The view that one node has of the lives of all.

    Args:
        myself: our name.
        config: the options.
        rng: chance; none is needed.
        life: of this life of ours.
    """

    TICK: ClassVar[tuple[str, str]] = TICK

    config: LivenessConfig

    def __init__(self, myself: Peer, config: LivenessConfig, rng: Random, life: int) -> None:
        super().__init__(myself, config, rng)
        self.life = life
        self._nodes: dict[Peer, _Life] = {}
        self._events |= {
            Start: self._on_start,
            HeartbeatOf: self._on_heartbeat,
            EdgeUp: self._on_edge_up,
            EdgeDown: self._on_edge_down,
            Obituary: self._on_obituary,
            TimedOut: self._on_timed_out,
            Retune: self._on_retune,
        }

    @property
    def up(self) -> list[Peer]:
        """The nodes that live, ourselves not included."""
        return [node for node, known in self._nodes.items() if known.up]

    def is_up(self, node: Peer) -> bool:
        """Whether a node lives, as far as was heard."""
        known = self._nodes.get(node)
        return known is not None and known.up

    def knows(self, node: Peer) -> bool:
        """Whether anything is remembered of a node."""
        return node in self._nodes

    def heard(self, node: Peer, now: float) -> None:
        """Something of a node has come that lives: it is not silent."""
        known = self._nodes.get(node)
        if known is not None and known.up:
            known.heard = now

    def __len__(self) -> int:
        """How many nodes are remembered."""
        return len(self._nodes)

    def _on_start(self, event: Start, now: float) -> None:
        self._start_timer(TICK, self.config.silence / 4.0)

    def _on_retune(self, event: Retune, now: float) -> None:
        self.config = event.config
        self._start_timer(TICK, self.config.silence / 4.0)

    def _know(self, node: Peer, now: float) -> _Life | None:
        """What is known of the node; None if there is no room for it."""
        known = self._nodes.get(node)
        if known is None and len(self._nodes) < self.config.most_nodes:
            known = self._nodes[node] = _Life(now)
        return known

    def _rise(self, node: Peer, known: _Life) -> None:
        known.accused = False
        if not known.up:
            known.up = True
            self._notify(NodeUp(node))

    def _fall(self, node: Peer, known: _Life, reason: str) -> None:
        known.accused = False
        if known.up:
            known.up = False
            self._notify(NodeDown(node, reason))

    def _on_heartbeat(self, event: HeartbeatOf, now: float) -> None:
        node, life = event.node, event.life
        if node == self.myself:
            return
        known = self._know(node, now)
        if known is None or life <= known.over or (known.life is not None and life < known.life):
            return
        if known.life is not None and life > known.life and not known.met:
            self._fall(node, known, "it was restarted")
        known.life, known.heard, known.met = life, now, False
        self._rise(node, known)

    def _on_edge_up(self, event: EdgeUp, now: float) -> None:
        known = self._know(event.node, now)
        if known is None:  # more neighbors than nodes may be remembered: none of these is forgotten for one
            return
        known.near, known.heard = True, now
        known.met = known.met or not known.up
        self._rise(event.node, known)

    def _on_edge_down(self, event: EdgeDown, now: float) -> None:
        known = self._nodes.get(event.node)
        if known is None or not known.near:
            return
        known.near, known.heard = False, now
        if event.lost and known.life is not None and known.life > known.over:
            self._notify(Accuse(event.node, known.life))
        if event.lost or known.life is None or known.life <= known.over:
            self._fall(event.node, known, "its connection is lost" if event.lost else "it is no neighbor any more")
        if known.life is None:
            del self._nodes[event.node]

    def _on_obituary(self, event: Obituary, now: float) -> None:
        if event.node == self.myself:
            if event.life == self.life:
                self._notify(Refute())
            return
        known = self._nodes.get(event.node)
        if known is None or known.life is None or event.life < known.life:
            return
        if event.by_itself:
            known.over = max(known.over, event.life)
            if not known.near:  # else it goes with its edge
                self._fall(event.node, known, "it has left")
        elif known.up and not known.near and not known.accused:
            known.accused = True
            self._start_timer(("liveness", "accused", event.node), self.config.refutation)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer != TICK:
            node = event.timer[2]  # type: ignore[index]
            known = self._nodes.get(node)
            if known is not None and known.accused:
                self._fall(node, known, "a neighbor has lost it")
            return
        config = self.config
        for node, known in list(self._nodes.items()):
            if known.near:
                continue
            if known.up and known.heard + config.silence <= now:
                self._fall(node, known, f"nothing was heard of it for {now - known.heard:.1f} s")
            elif not known.up and known.heard + _FORGET * config.silence <= now:
                del self._nodes[node]
        self._start_timer(TICK, config.silence / 4.0)
