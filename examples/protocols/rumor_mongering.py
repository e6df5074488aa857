"""Rumour mongering: who hears news tells it around until it turns out to be known (Demers et al. 1987, section 1.4).

In each round a node with a hot rumour pushes it to a member at random. One that has heard it says so; then the teller
loses interest with probability 1/k ("feedback" and "coin"). It costs little, and nothing when there is no news; and it
promises nothing: when the last teller has lost interest, a part of the nodes may be susceptible still. Of many nodes
that residue s is what solves

    s = e^(-(k + 1)(1 - s))

or 20 % for k = 1, and 6 % for k = 2. The remedy there is anti-entropy behind it. Partisan's `demers_rumor_mongering`
has no rounds: each node pushes a rumour once, to two members, which leaves as many as k = 1.

    python -m examples.protocols.rumor_mongering

shows nodes that are left out, measures the residue, and shows that with anti-entropy nobody is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import exp
from random import Random

from partisan.machines.machine import Peer, TimedOut

from .anti_entropy import AntiEntropy
from .mail import Broadcast, Delivered, Mail, agreement
from .protocol import Id
from .scenario import Scenario
from .search import main
from .simulation import execute


@dataclass(frozen=True, slots=True)
class Rumor:
    """A message that is news to its sender."""

    id: Id
    body: object


@dataclass(frozen=True, slots=True)
class Known:
    """It was none here."""

    id: Id


class RumorMongering(Mail):
    """One node's part.

    Args:
        k: a teller loses interest with probability 1/k when it learns that a rumour was known.
        round: seconds between two pushes.
    """

    def __init__(
        self, myself: Peer, members: tuple[Peer, ...], rng: Random, *, k: float = 1.0, round: float = 1.0
    ) -> None:
        super().__init__(myself, members, rng)
        self.k, self.round = k, round
        self._hot: dict[Id, None] = {}
        self._messages |= {Rumor: self._on_rumor, Known: self._on_known}

    def _spread(self, id: Id, body: object) -> None:
        super()._spread(id, body)
        if not self._hot:
            self._start_timer("round", self.round * self._rng.random())
        self._hot[id] = None

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        super()._on_timed_out(event, now)
        if event.timer != "round" or not self._hot:
            return
        self._start_timer("round", self.round)
        for peer in self._some(1):
            for id in self._hot:
                self._send(peer, Rumor(id, self.store[id]))

    def _on_rumor(self, peer: Peer, message: Rumor, now: float) -> None:
        if not self._hear(message.id, message.body):
            self._send(peer, Known(message.id))

    def _on_known(self, peer: Peer, message: Known, now: float) -> None:
        if self._rng.random() < 1.0 / self.k:
            self._hot.pop(message.id, None)


class BackedRumors(RumorMongering, AntiEntropy):
    """The same, with anti-entropy behind it."""


def expected(k: float) -> float:
    """The residue of infinitely many nodes: the s below 1 that solves s = e^(-(k + 1)(1 - s))."""
    s = 0.0
    for _ in range(200):
        s = exp(-(k + 1.0) * (1.0 - s))
    return s


def residue(k: float, nodes: int = 200, rumors: int = 20, seed: int = 1) -> float:
    """Measure which part of the nodes a rumour misses, on average over rumours of different nodes."""
    commands = tuple((1.0, node, Broadcast(node)) for node in range(rumors))
    build = partial(RumorMongering, k=k)
    run = execute(Scenario("residue", build, commands, agreement, nodes, horizon=200.0), (), seed)
    return 1.0 - len(run.facts(Delivered)) / (nodes * rumors)


NEWS = ((1.0, 0, Broadcast(b"news")),)
RESIDUE = Scenario("a rumour dies before everybody has heard it", RumorMongering, NEWS, agreement, 30)
REMEDY = Scenario("backed by anti-entropy, everybody hears it", BackedRumors, NEWS, agreement, 30)

if __name__ == "__main__":
    main(RESIDUE, REMEDY)
    for k in (1, 2, 3):
        print(f"k = {k}: residue {residue(k):.3f}, and {expected(k):.3f} of infinitely many nodes")
