"""X-BOT on a plane: what the links of a HyParView overlay cost when neighbors are exchanged for nearer ones.

Nodes lie on a square by chance, and a message takes as long as it is far; a link costs the round trip on it. The same
nodes form a HyParView overlay once without and once with X-BOT, whose oracle knows the round trips, and both go through
as many cycles. Measured are the mean cost of a link, also as a share of what it is without X-BOT, and whether the
overlay is as good as before: its degrees, symmetry, connectedness and paths, and what floods reach when half of the
nodes have failed at once. Nothing was published in numbers that these could stand beside. With `--trace` the run with
X-BOT is recorded, and what its oracle answered.

Source: Leitao, Marques, Pereira, Rodrigues, X-BOT (SRDS 2009).
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from partisan.machines.machine import Peer
from partisan.sim import topology
from partisan.sim.latency import Plane
from partisan.sim.scenario import Measured, Options, Outcome, Scenario
from partisan.sim.scenarios.hyparview_paper import CONFIG, CYCLE, Overlay

NODES = 1000
CYCLES = 100
SIDE = 0.1
"""Seconds that a message takes along a side of the square."""

LEAST = 0.002
"""Seconds that every message takes at least."""

FAILED = 50
"""Percent."""

XBOT = replace(CONFIG, xbot=True, xbot_interval=CYCLE)


def _overlay(options: Options, xbot: bool) -> tuple[Overlay, Plane]:
    count = options.nodes or NODES
    options = options if xbot else replace(options, recorder=None)
    rng = Random(f"{options.seed}/places")
    places: dict[Peer, tuple[float, float]] = {}
    plane = Plane(places, per_unit=SIDE, least=LEAST)

    def oracle(peer: Peer, other: Peer) -> float:
        return 2.0 * (LEAST + SIDE * plane.distance(peer, other))

    overlay = Overlay(options, count, XBOT if xbot else CONFIG, plane, oracle)
    places.update((peer, (rng.random(), rng.random())) for peer in overlay.peers)
    return overlay, plane


def link_cost(graph: topology.Graph, plane: Plane) -> float:
    """The mean round trip on a link, in milliseconds."""
    costs = [plane.distance(node, peer) for node, peers in graph.items() for peer in peers]
    return 2000.0 * (LEAST + SIDE * sum(costs) / len(costs))


def measure(options: Options, xbot: bool) -> tuple[float, Outcome]:
    """Form an overlay with or without X-BOT; return what a link costs, and the rest."""
    overlay, plane = _overlay(options, xbot)
    protocol = "xbot" if xbot else "hyparview"
    overlay.form()
    overlay.retune(overlay.config)
    overlay.cycles(CYCLES)
    graph = overlay.graph()
    degrees = topology.in_degrees(graph)
    cost = link_cost(graph, plane)
    options.say(f"{protocol}: a link costs {cost:.1f} ms")
    found = {
        "link cost, ms": cost,
        "mean degree": sum(degrees.values()) / len(degrees),
        "least degree": float(min(degrees.values())),
        "asymmetric edges": float(topology.asymmetric(graph)),
        "reached from one node, %": 100.0 * len(topology.reach(graph, overlay.peers[0])) / len(graph),
        "mean path": topology.path_length(graph, topology.sample(graph, 100, overlay.rng)),
        "clustering coefficient": topology.clustering(graph),
    }
    overlay.retune(overlay.quiet)
    overlay.fail(FAILED)
    measured = [Measured(protocol, figure, "stable", value) for figure, value in found.items()]
    measured.append(
        Measured(protocol, "reliability after failures", FAILED, overlay.reliability(overlay.broadcast(50)))
    )
    return cost, Outcome(measured, overlay.network.events, [overlay.network.digest()])


def run(options: Options) -> Outcome:
    """Simulate it."""
    (before, whole), (cost, part) = options.runner.points(
        lambda: options, lambda shared, xbot: measure(shared, xbot), (False, True)
    )
    whole.add(part)
    whole.measured.append(Measured("xbot", "link cost, % of hyparview", "stable", 100.0 * cost / before))
    return whole


SCENARIO = Scenario(
    "xbot", "what links cost when X-BOT exchanges neighbors", run, least=100, codec="hyparview", recorded=True
)
