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
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from partisan.machines.machine import Peer, Retune
from partisan.machines.scamp import ScampConfig
from partisan.machines.scamp_v1 import ScampV1
from partisan.sim import topology
from partisan.sim.baselines.cyclon import Cyclon, CyclonConfig
from partisan.sim.baselines.datagrams import Datagrams
from partisan.sim.baselines.gossip import Gossiping
from partisan.sim.flood import Flooded
from partisan.sim.latency import Constant
from partisan.sim.network import Network
from partisan.sim.scenario import Measured, Options, Outcome, Runner
from partisan.sim.scenarios.hyparview_paper import (
    DETECTION,
    FAILURES,
    HEALED_FAILURES,
    LATENCY,
    NODES,
    STABLE_CYCLES,
)
from partisan.sim.scenarios.population import CYCLE, Population

FANOUT = 4
MOST_CYCLES = 200
"""Cycles after which an overlay is taken not to heal."""

QUICK_HEALED = (10, 50)
"""Failures whose healing is measured unless the run is to be thorough: a cycle costs as much as 40 broadcasts."""

CYCLON = CyclonConfig(view=35, exchanged=14, ttl=5, period=CYCLE)
SCAMP = ScampConfig(copies=4, lease=math.inf, period=1e9, fanout=0)


class Baseline(Population):
    """The nodes of one simulation.

    Args:
        protocol: "cyclon", "cyclon-acked" or "scamp".
        options: of the scenario.
    """

    def __init__(self, protocol: str, options: Options) -> None:
        super().__init__(protocol, options, list(range(options.nodes or NODES)), Random(f"{options.seed}/{protocol}"))
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

    def rest(self) -> None:
        """See `Population`; SCAMP has no cycles."""
        if self.protocol != "scamp":
            self.tell_all(Retune(replace(CYCLON, period=math.inf)))

    def stir(self) -> None:
        """See `Population`; SCAMP has no cycles."""
        if self.protocol != "scamp":
            self.tell_all(Retune(CYCLON))

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
    baseline.stir()
    baseline.cycles(STABLE_CYCLES)
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
    baseline.rest()
    messages = baseline.broadcast(100 if full else 20)
    found = {
        "clustering": topology.clustering(undirected(graph)),
        "path length": topology.path_length(graph, topology.sample(graph, 1000 if full else 100, baseline.rng)),
        "maximum hops": baseline.hops(messages),
        "view size": sum(map(len, graph.values())) / len(graph),
        "reliability, stable": baseline.reliability(messages),
    }
    degrees = Counter(topology.in_degrees(graph).values())
    measured = [Measured(protocol, figure, "stable", value) for figure, value in found.items()]
    return measured + [Measured(protocol, "in-degree", degree, float(degrees[degree])) for degree in sorted(degrees)]


def measure(baseline: Baseline, point: tuple[str, int]) -> Outcome:
    """Measure one point, from an overlay that has settled."""
    since = baseline.network.events
    figure, failed = point
    measured = _stable(baseline) if figure == "stable" else baseline.point(figure, failed, MOST_CYCLES)
    return baseline.outcome(measured, since)


def _protocol(options: Options, runner: Runner, protocol: str) -> Outcome:
    """Measure all points of one of them."""
    points = [("stable", 0)] + [("reliability", failed) for failed in FAILURES]
    if protocol != "scamp":
        points += [("healing", failed) for failed in (HEALED_FAILURES if options.full else QUICK_HEALED)]
    whole = Outcome()
    for part in runner.points(partial(prepare, protocol, options), measure, points):
        whole.add(part)
    return whole


def run(options: Options) -> Outcome:
    """Simulate them, as many at a time as the runner has it."""
    whole = Outcome()
    for part in options.runner.each(partial(_protocol, options), ("cyclon", "cyclon-acked", "scamp")):
        whole.add(part)
    return whole
