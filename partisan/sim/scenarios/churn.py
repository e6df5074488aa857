"""Nodes that come and go all the time: what broadcasts reach meanwhile.

A HyParView overlay forms and settles. Then, for some cycles, so many of its nodes crash in each, one by one at random
times; each comes back after a pause, mostly without what it had saved, and joins through a node that lives. In every
cycle broadcasts are sent from nodes that live. A point is how many of the nodes crash in a cycle, in percent. Measured:

    reached                of the nodes that lived when a message was sent and a second later, those that got it
    reached, settled       the same, of those that had lived for a cycle already
    connected              after two cycles without churn: of the nodes, the largest part that can reach each other
    edges                  of a node then

The first three are in percent.

With `--codec` messages of the membership go through the term format; with `--trace` the first point is recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from partisan.machines.hyparview import HyParView, HyParViewConfig
from partisan.machines.machine import Join, Peer, Unreachable
from partisan.sim import topology
from partisan.sim.faults import SimulatedFaults
from partisan.sim.flood import Flood, Flooding, Heard
from partisan.sim.latency import Uniform
from partisan.sim.network import Build, Network
from partisan.sim.scenario import Measured, Options, Outcome, Scenario

NODES = 1000
RATES = (1, 5, 10, 20)
"""Nodes that crash in a cycle, in percent."""

CYCLE = 10.0
SETTLING, CYCLES, FULL_CYCLES, AFTER = 10, 10, 50, 2
JOIN_GAP = 0.2
PAUSE = 15.0
"""Seconds that a node stays away (ours)."""

FORGETFUL = 0.8
"""Probability that a node comes back without what it had saved (ours)."""

MESSAGES = 5
"""In a cycle."""

ARRIVED = 1.0
"""Seconds after which a message has reached whomever it reaches."""

CONFIG = HyParViewConfig(shuffle_interval=CYCLE, random_promotion_interval=CYCLE)


class Population:
    """The nodes of one simulation.

    Args:
        options: of the scenario.
        recorded: whether this is the run to record.
    """

    def __init__(self, options: Options, recorded: bool = False) -> None:
        codec = options.codec
        count = options.nodes or NODES
        self.options = options
        self.peers: list[Peer] = list(range(count)) if codec is None else [codec.peer(n) for n in range(count)]
        self.rng = Random(f"{options.seed}/churn")
        self.born: dict[Peer, float] = {}
        self.reached: defaultdict[int, dict[Peer, None]] = defaultdict(dict)
        config = CONFIG if codec is None else replace(CONFIG, key=codec.key)

        def build(peer: Peer, rng: Random, restored: Any) -> Flooding:
            return Flooding(HyParView(peer, config, rng, restored))

        chosen: Build = build
        if recorded and options.recorder is not None:
            chosen = options.recorder.recording("hyparview+flood", config, options.seed, build)
        self.network = Network(
            chosen,
            options.seed,
            latency=Uniform(0.01, 0.05),
            through=None if codec is None else codec.through,
            unreachable=Unreachable,
            listener=self._hear,
        )
        self.faults = SimulatedFaults(self.network)
        self.faults.forget(probability=FORGETFUL)

    def _hear(self, now: float, peer: Peer, fact: object) -> None:
        if type(fact) is Heard:
            self.reached[fact.number][peer] = None

    def form(self) -> None:
        """Let all nodes join, and the overlay settle."""
        for number, peer in enumerate(self.peers):
            self.network.boot(peer)
            self.born[peer] = self.network.now
            if number:
                self.network.tell(peer, Join(self.peers[self.rng.randrange(number)]))
            self.network.run(JOIN_GAP)
        self.network.run(SETTLING * CYCLE)

    def rejoin(self, peer: Peer) -> None:
        """Join the node, which has come back, through one that lives."""
        self.born[peer] = self.network.now
        others = [each for each in self.network.nodes if each != peer]
        if others:
            self.network.tell(peer, Join(self.rng.choice(others)))

    def broadcast(self, number: int) -> tuple[float, float]:
        """Send a message; the shares of the living, and of those who had settled, that it reached."""
        network = self.network
        lives = {peer: network.nodes[peer] for peer in network.nodes}
        sent = network.now
        network.tell(self.rng.choice(list(lives)), Flood(number))
        network.run(ARRIVED)
        stayed = [peer for peer, node in lives.items() if node.alive]
        settled = [peer for peer in stayed if self.born[peer] <= sent - CYCLE]
        reached = self.reached.pop(number, {})
        return _share(reached, stayed), _share(reached, settled)

    def graph(self) -> dict[Peer, dict[Peer, None]]:
        """Edges that are up, of the nodes that run."""
        return {
            peer: {other: None for other, edge in node.edges.items() if edge.node is not None}
            for peer, node in self.network.nodes.items()
        }


def _share(reached: dict[Peer, None], peers: list[Peer]) -> float:
    return sum(peer in reached for peer in peers) / len(peers) if peers else 1.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) * 100.0


def measure(state: None, point: tuple[int, Options]) -> Outcome:
    """Measure one rate."""
    percent, options = point
    population = Population(options, recorded=percent == RATES[0])
    population.form()
    network, count = population.network, len(population.peers)
    rate = count * percent / 100.0 / CYCLE
    all_living, settled, number = [], [], 0
    with population.faults.churn(rate, PAUSE, population.rejoin, least=2):
        for _ in range(FULL_CYCLES if options.full else CYCLES):
            for _ in range(MESSAGES):
                network.run(CYCLE / MESSAGES - ARRIVED)
                shares = population.broadcast(number)
                all_living.append(shares[0])
                settled.append(shares[1])
                number += 1
    network.run(PAUSE + AFTER * CYCLE)
    graph = population.graph()
    found = {
        "reached": _mean(all_living),
        "reached, settled": _mean(settled),
        "connected": _largest(graph) / len(graph) * 100.0,
        "edges": sum(map(len, graph.values())) / len(graph),
    }
    options.say(f"{percent} % a cycle: {found['reached']:.2f} % reached")
    measured = [Measured("hyparview", figure, percent, value) for figure, value in found.items()]
    return Outcome(measured, network.events, [network.digest()])


def _largest(graph: dict[Peer, dict[Peer, None]]) -> int:
    """The size of the largest part of the graph."""
    left, best = dict.fromkeys(graph), 0
    while left:
        part = topology.reach(graph, next(iter(left)))
        best = max(best, len(part))
        for peer in part:
            left.pop(peer, None)
    return best


def run(options: Options) -> Outcome:
    """Simulate it."""
    whole = Outcome()
    prepare: Callable[[], None] = _nothing
    for part in options.runner.points(prepare, measure, [(percent, options) for percent in RATES]):
        whole.add(part)
    return whole


def _nothing() -> None:
    """Each rate starts from nothing."""


SCENARIO = Scenario(
    "churn",
    "what broadcasts reach while nodes crash and come back",
    run,
    least=10,
    codec="hyparview",
    recorded=True,
    full=True,
)
