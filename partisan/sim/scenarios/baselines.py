"""Cyclon, CyclonAcked and SCAMP beside HyParView, as the HyParView paper measured them.

The points are those of `hyparview_paper`. Broadcast is gossip with a fanout of 4, over views whose failed members
nobody knows of, but for CyclonAcked, which drops whom a message could not reach. SCAMP runs as over sockets, without
leases and heartbeats, as there: what it has after the joins is what it has. Its healing was not published either.

Clustering is that of the graph without directions, which for Cyclon gives what was published; paths follow directions.

Source: Leitao, Pereira, Rodrigues, DI-FCUL TR-07-13, section 5: Cyclon with views of 35, shuffles of 14 and walks of 5
hops; SCAMP with c = 4.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from partisan.machines.machine import Join, Peer, Retune
from partisan.machines.scamp import ScampConfig
from partisan.machines.scamp_v1 import ScampV1
from partisan.sim import topology
from partisan.sim.baselines.cyclon import Cyclon, CyclonConfig
from partisan.sim.baselines.datagrams import Datagrams
from partisan.sim.baselines.gossip import Gossiping
from partisan.sim.flood import Flood, Flooded
from partisan.sim.latency import Constant
from partisan.sim.network import Network
from partisan.sim.scenario import Measured, Options, Outcome
from partisan.sim.scenarios.hyparview_paper import (
    CYCLE,
    DETECTION,
    FAILURES,
    HEALED_FAILURES,
    JOIN_GAP,
    LATENCY,
    MESSAGE_GAP,
    NODES,
    STABLE_CYCLES,
    Tally,
)

FANOUT = 4
MOST_CYCLES = 200
"""Cycles after which an overlay is taken not to heal."""

QUICK_HEALED = (10, 50)
"""Failures whose healing is measured unless the run is to be thorough: a cycle costs as much as 40 broadcasts."""

CYCLON = CyclonConfig(view=35, exchanged=14, ttl=5, period=CYCLE)
SCAMP = ScampConfig(copies=4, lease=math.inf, period=1e9, fanout=0)


class Baseline:
    """The nodes of one simulation, and the messages that they broadcast.

    Args:
        protocol: "cyclon", "cyclon-acked" or "scamp".
        options: of the scenario.
    """

    def __init__(self, protocol: str, options: Options) -> None:
        self.protocol = protocol
        self.options = options
        self.peers: list[Peer] = list(range(options.nodes or NODES))
        self.rng = Random(f"{options.seed}/{protocol}")
        self.tally = Tally()
        self.number = 0
        self.network: Network | Datagrams
        if protocol == "scamp":
            self.network = Network(
                self._scamp, options.seed, latency=Constant(LATENCY), detection=DETECTION, listener=self.tally
            )
        else:
            acked = Flooded if protocol == "cyclon-acked" else None
            self.network = Datagrams(
                self._cyclon, options.seed, latency=LATENCY, listener=self.tally, acked=acked, patience=DETECTION
            )

    def _scamp(self, peer: Peer, rng: Random, restored: Any) -> Gossiping:
        return Gossiping(ScampV1(peer, SCAMP, rng, restored), FANOUT, rng)

    def _cyclon(self, peer: Peer, rng: Random) -> Gossiping:
        return Gossiping(Cyclon(peer, replace(CYCLON, period=math.inf), rng), FANOUT, rng)

    def form(self) -> None:
        """Let all nodes join one by one, then have the stabilising cycles."""
        for number, peer in enumerate(self.peers):
            self.network.boot(peer)
            if number:
                self.network.tell(peer, Join(self.peers[self.rng.randrange(number)]))
            self.network.run(JOIN_GAP)
        self.shuffle(True)
        self.cycles(STABLE_CYCLES)

    def shuffle(self, on: bool) -> None:
        """Go on with cycles, or stop them; SCAMP has none."""
        if self.protocol != "scamp":
            config = CYCLON if on else replace(CYCLON, period=math.inf)
            for peer in self.network.nodes:
                self.network.tell(peer, Retune(config))

    def cycles(self, count: int) -> None:
        """Run so many cycles."""
        self.network.run(count * CYCLE)

    def fail(self, percent: int) -> None:
        """Crash so many of the nodes, by chance."""
        for peer in self.rng.sample(self.peers, round(len(self.peers) * percent / 100)):
            self.network.crash(peer)

    def broadcast(self, count: int) -> list[int]:
        """Send so many messages, a second apart, each from a node by chance; return their numbers."""
        living = list(self.network.nodes)
        numbers = range(self.number, self.number + count)
        for number in numbers:
            self.network.tell(self.rng.choice(living), Flood(number))
            self.network.run(MESSAGE_GAP)
        self.number += count
        return list(numbers)

    def reliability(self, numbers: Sequence[int]) -> float:
        """The mean share of the living nodes that these messages reached, in percent."""
        return sum(self.tally.reached[number] for number in numbers) / len(numbers) / len(self.network.nodes) * 100.0

    def graph(self) -> dict[Peer, dict[Peer, None]]:
        """The views."""
        return {
            peer: dict.fromkeys(node.machine.membership.view)  # type: ignore[attr-defined]  # a Gossiping
            for peer, node in self.network.nodes.items()
        }


def prepare(protocol: str, options: Options) -> Baseline:
    """Form the overlay and let it settle."""
    baseline = Baseline(protocol, options)
    baseline.form()
    options.say(f"{protocol}: {len(baseline.peers)} nodes have joined, {baseline.network.events:,} events")
    return baseline


def undirected(graph: dict[Peer, dict[Peer, None]]) -> dict[Peer, dict[Peer, None]]:
    """The graph in which every edge leads both ways."""
    both: dict[Peer, dict[Peer, None]] = {peer: dict(view) for peer, view in graph.items()}
    for peer, view in graph.items():
        for other in view:
            if other in both:
                both[other][peer] = None
    return both


def _stable(baseline: Baseline) -> list[Measured]:
    full, graph, protocol = baseline.options.full, baseline.graph(), baseline.protocol
    baseline.shuffle(False)
    messages = baseline.broadcast(100 if full else 20)
    hops = [baseline.tally.hops[number] for number in messages]
    found = {
        "clustering": topology.clustering(undirected(graph)),
        "path length": topology.path_length(graph, topology.sample(graph, 1000 if full else 100, baseline.rng)),
        "maximum hops": sum(hops) / len(hops),
        "view size": sum(map(len, graph.values())) / len(graph),
        "reliability, stable": baseline.reliability(messages),
    }
    degrees = Counter(topology.in_degrees(graph).values())
    measured = [Measured(protocol, figure, "stable", value) for figure, value in found.items()]
    return measured + [Measured(protocol, "in-degree", degree, float(degrees[degree])) for degree in sorted(degrees)]


def _reliability(baseline: Baseline, failed: int) -> list[Measured]:
    baseline.shuffle(False)
    baseline.fail(failed)
    messages = baseline.broadcast(1000 if baseline.options.full else 100)
    return [Measured(baseline.protocol, "reliability", failed, baseline.reliability(messages))]


def _healing(baseline: Baseline, failed: int) -> list[Measured]:
    before = baseline.reliability(baseline.broadcast(10))
    baseline.fail(failed)
    cycles = 1
    while True:
        baseline.cycles(1)
        baseline.shuffle(False)
        if baseline.reliability(baseline.broadcast(10)) >= before or cycles == MOST_CYCLES:
            return [Measured(baseline.protocol, "healing", failed, float(cycles))]
        baseline.shuffle(True)
        cycles += 1


def measure(baseline: Baseline, point: tuple[str, int]) -> Outcome:
    """Measure one point, from an overlay that has settled."""
    since = baseline.network.events
    figure, failed = point
    if figure == "stable":
        measured = _stable(baseline)
    else:
        measured = (_reliability if figure == "reliability" else _healing)(baseline, failed)
        baseline.options.say(f"{baseline.protocol}: {figure} with {failed} % failed: {measured[0].measured:g}")
    return Outcome(measured, baseline.network.events - since, [baseline.network.digest()])


def run(options: Options) -> Outcome:
    """Simulate them, one after the other."""
    whole = Outcome()
    for protocol in ("cyclon", "cyclon-acked", "scamp"):
        points = [("stable", 0)] + [("reliability", failed) for failed in FAILURES]
        if protocol != "scamp":
            points += [("healing", failed) for failed in (HEALED_FAILURES if options.full else QUICK_HEALED)]

        def prepared(protocol: str = protocol) -> Baseline:
            return prepare(protocol, options)

        for part in options.runner.points(prepared, measure, points):
            whole.add(part)
    return whole
