"""A deterministic network for machines: virtual time, a seeded latency a link, first in first out on each link.

It plays the driver's part as `partisan.machines.machine` describes it. Equal seeds give equal traces.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from partisan.machines import machine as m

RETRY = 0.5
"""Seconds between attempts to dial."""

GRACE = 1.0
"""Seconds after which a node that gave an edge up closes what the other end had opened to it."""


@dataclass
class Edge:
    """One node's wish to be connected to a contact."""

    target: Any
    up: bool = False


@dataclass
class Node:
    """A machine and what its driver knows."""

    machine: m.Machine
    edges: dict[Any, Edge] = field(default_factory=dict)
    timers: dict[Any, int] = field(default_factory=dict)


class Network:
    """Machines, their edges and the time.

    Args:
        seed: decides every latency and every machine's chance.
        build: (peer, rng, restored state or None) -> machine. Peers are integers; the pair ("contact", peer) is a
            contact that stands for the peer.
        through: what becomes of every message and greeting on its way, as a codec and back; nothing by default.
    """

    def __init__(
        self,
        seed: int,
        build: Callable[[Any, random.Random, Any], m.Machine],
        through: Callable[[Any], Any] = lambda message: message,
    ) -> None:
        self.seed = seed
        self.now = 0.0
        self.nodes: dict[Any, Node] = {}
        self.saved: dict[Any, Any] = {}
        self.facts: dict[Any, list[Any]] = {}
        self.sent = 0
        self._build = build
        self._through = through
        self._births: dict[Any, int] = {}
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._seq = 0
        self._arrivals: dict[tuple[Any, Any], float] = {}
        self._cut: dict[tuple[Any, Any], None] = {}
        self._digest = hashlib.blake2b()

    def boot(self, peer: Any, restored: Any = None) -> None:
        """Start a node; one that was there before comes back without its memory."""
        birth = self._births[peer] = self._births.get(peer, 0) + 1
        self.nodes[peer] = Node(self._build(peer, random.Random(f"{self.seed}/{peer}/{birth}"), restored))
        self.tell(peer, m.Start())

    def crash(self, peer: Any) -> None:
        """Stop a node without a word; its peers notice."""
        self.nodes.pop(peer, None)
        for other in self.nodes:
            self._break(other, peer)

    def vanish(self, peer: Any) -> None:
        """Stop a node so that nobody notices, as when its host loses power."""
        del self.nodes[peer]

    def cut(self, a: Any, b: Any) -> None:
        """Break every edge between the two nodes, and let none be dialled."""
        self._cut |= {(a, b): None, (b, a): None}
        self._break(a, b)
        self._break(b, a)

    def heal(self) -> None:
        """Undo every cut."""
        self._cut.clear()

    def tell(self, peer: Any, event: Any) -> None:
        """Give the machine an event now, and carry its effects out."""
        node = self.nodes[peer]
        for effect in node.machine.handle(event, self.now):
            self._digest.update(f"{self.now!r} {peer!r} {effect!r}\n".encode())
            self._effects[type(effect)](self, peer, node, effect)

    def connect(self, peer: Any, target: Any) -> None:
        """Keep an edge for a machine that does not ask for its edges itself, and tell it nothing."""
        self.nodes[peer].edges[target] = Edge(target, up=True)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(self._queue)
            action(*arguments)
        self.now = until

    def digest(self) -> str:
        """Summarise everything that every machine ever did, and when."""
        return self._digest.hexdigest()

    def _later(self, after: float, action: Callable[..., None], *arguments: Any) -> None:
        self._seq += 1
        heapq.heappush(self._queue, (self.now + after, self._seq, action, arguments))

    def _latency(self, a: Any, b: Any) -> float:
        """Seconds for the next message of the link; never overtakes the one before."""
        base = random.Random(f"{self.seed}/{a}/{b}").uniform(0.001, 0.05)
        at = max(self.now + base, self._arrivals.get((a, b), 0.0))
        self._arrivals[a, b] = at
        return at - self.now

    def _on_send(self, peer: Any, node: Node, effect: m.Send) -> None:
        edge = node.edges.get(effect.peer)
        if edge is not None and edge.up:
            self.sent += 1
            target = edge.target
            self._later(
                self._latency(peer, target),
                self._deliver,
                peer,
                target,
                self.nodes.get(target),
                self._through(effect.message),
            )

    def _deliver(self, peer: Any, target: Any, node: Node | None, message: Any) -> None:
        if node is not None and self.nodes.get(target) is node:
            self.tell(target, m.Received(peer, message))

    def _on_connect(self, peer: Any, node: Node, effect: m.Connect) -> None:
        if effect.peer not in node.edges:
            contact = effect.peer
            target = contact[1] if isinstance(contact, tuple) and contact[0] == "contact" else contact
            edge = node.edges[contact] = Edge(target)
            self._later(self._latency(peer, target), self._dial, peer, node, contact, edge)

    def _dial(self, peer: Any, node: Node, contact: Any, edge: Edge) -> None:
        if self.nodes.get(peer) is not node or node.edges.get(contact) is not edge or edge.up:
            return
        other = self.nodes.get(edge.target)
        if other is None or (peer, edge.target) in self._cut:
            self._later(RETRY, self._dial, peer, node, contact, edge)
            return
        del node.edges[contact]
        node.edges[edge.target] = edge
        edge.up = True
        greeting = self._through(getattr(other.machine, "greeting", None))
        self.tell(peer, m.Connected(edge.target, contact, greeting))

    def _on_disconnect(self, peer: Any, node: Node, effect: m.Disconnect) -> None:
        edge = node.edges.pop(effect.peer, None)
        target = effect.peer if edge is None else edge.target
        if effect.both and target in self.nodes:
            self._later(GRACE, self._part, target, peer, node)

    def _part(self, peer: Any, target: Any, node: Node) -> None:
        """Close what the peer has opened to a node that gave its edge up, and has not asked for it again."""
        if self.nodes.get(target) is not node or peer not in node.edges:
            self._break(peer, target)

    def _break(self, peer: Any, target: Any) -> None:
        """Close the edge of the peer to the target; the peer's driver notices, and dials again."""
        node = self.nodes.get(peer)
        edge = None if node is None else node.edges.get(target)
        if edge is not None and edge.up:
            edge.up = False
            self._later(0.01, self._notice, peer, node, target, edge)

    def _notice(self, peer: Any, node: Node, target: Any, edge: Edge) -> None:
        if self.nodes.get(peer) is node and node.edges.get(target) is edge:
            self.tell(peer, m.Disconnected(target, "closed"))
            self._later(RETRY, self._dial, peer, node, target, edge)

    def _on_start_timer(self, peer: Any, node: Node, effect: m.StartTimer) -> None:
        self._seq += 1
        node.timers[effect.timer] = self._seq
        self._later(effect.after, self._fire, peer, node, effect.timer, self._seq)

    def _fire(self, peer: Any, node: Node, timer: Any, generation: int) -> None:
        if self.nodes.get(peer) is node and node.timers.get(timer) == generation:
            del node.timers[timer]
            self.tell(peer, m.TimedOut(timer))

    def _on_stop_timer(self, peer: Any, node: Node, effect: m.StopTimer) -> None:
        node.timers.pop(effect.timer, None)

    def _on_notify(self, peer: Any, node: Node, effect: m.Notify) -> None:
        self.facts.setdefault(peer, []).append(effect.fact)

    def _on_save(self, peer: Any, node: Node, effect: m.Save) -> None:
        self.saved[peer] = effect.state

    _effects: dict[type, Callable[[Network, Any, Node, Any], None]] = {  # noqa: RUF012 - a table, never changed
        m.Send: _on_send,
        m.Connect: _on_connect,
        m.Disconnect: _on_disconnect,
        m.StartTimer: _on_start_timer,
        m.StopTimer: _on_stop_timer,
        m.Notify: _on_notify,
        m.Save: _on_save,
    }


@pytest.fixture(scope="session")
def network() -> type[Network]:
    """The class, to be built with a seed and a machine's constructor."""
    return Network
