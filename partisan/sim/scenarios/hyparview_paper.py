"""HyParView as its paper measured it: what a flood over the active views reaches when many nodes fail at once.

Nodes join one by one, each by a node that is there already, without a membership cycle in between; 50 cycles follow.
From that state each point is measured on its own:

    stable        the shape of the overlay, and the hops that a flood takes
    reliability   so many nodes fail at once; then a message a second from a node that lives, while only the reactive
                  steps run; the mean share of living nodes that a message reaches, in percent
    healing       so many nodes fail at once; cycles go on, with 10 messages after each, until these reach as many as
                  before, while lost neighbors are replaced in cycles alone
    healing at once     the same of nodes as they are, which replace whom they lose as soon as they notice

A cycle is the interval between shuffles. In each a node with room asks passive peers with low priority to be its
neighbors (`random_promotion`): one, if it lacks one, else until one accepts. The paper does not say how views fill up
that joins have left with room, but its figure 5 shows them full. What the paper counts is cycles, up to four, but nodes
that replace at once have nothing left to do after the first: so its simulator must have left at least a part of that to
cycles. Views there are without ourselves. Messages take a constant time, so that hops are counted as in its rounds. A
failure is noticed after `DETECTION`; the first message after it is sent before that, and is all but lost.
With `--trace` the run of one point is recorded, `RECORDED`, from the first node's boot on.

Source: Leitao, Pereira, Rodrigues, DI-FCUL TR-07-13, section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from partisan.machines.hyparview import HyParView, HyParViewConfig
from partisan.machines.machine import Peer, Retune, Unreachable
from partisan.machines.record import Outside
from partisan.sim import topology
from partisan.sim.flood import Flooding
from partisan.sim.latency import Constant, Latency
from partisan.sim.network import Build, Network
from partisan.sim.scenario import Measured, Options, Outcome, Scenario
from partisan.sim.scenarios.population import CYCLE as CYCLE
from partisan.sim.scenarios.population import JOIN_GAP as JOIN_GAP
from partisan.sim.scenarios.population import Population

NODES = 10_000
STABLE_CYCLES = 50
FAILURES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
HEALED_FAILURES = FAILURES[:-1]
AT_ONCE = (50, 80, 90)
RECORDED = ("healing at once", 50)
"""The point whose run is recorded: it has all that happens to any, joins, cycles, failures and floods."""

MOST_CYCLES = 50
"""Cycles after which an overlay is taken not to heal."""

LATENCY = 0.02
DETECTION = 0.1

_NEVER = 1e9
"""Seconds between shuffles while there are no cycles."""

CONFIG = HyParViewConfig(
    active_max_size=6,
    passive_max_size=30,
    active_rwl=6,
    passive_rwl=3,
    shuffle_k_active=3,
    shuffle_k_passive=4,
    shuffle_interval=CYCLE,
    random_promotion_interval=CYCLE,
    active_min_size=2,  # high priority for a node without neighbors alone
)
"""Paper §5.1; the active view counts ourselves here, and holds 5 there."""

REQUESTS = 12
"""Peers that a node without replacement asks in a cycle at most (ours; `plumtree_paper` says why)."""


class Overlay(Population):
    """The nodes of one simulation.

    Args:
        options: of the scenario.
        count: nodes.
        config: of every node.
        latency: of messages.
        cost: what a link from a node to another costs, for X-BOT.

    With a recorder among the options all that happens is recorded.
    """

    def __init__(
        self,
        options: Options,
        count: int,
        config: HyParViewConfig = CONFIG,
        latency: Latency | None = None,
        cost: Callable[[Peer, Peer], float] | None = None,
    ) -> None:
        codec = options.codec
        peers = list(range(count)) if codec is None else [codec.peer(number) for number in range(count)]
        super().__init__("hyparview", options, peers, Random(f"{options.seed}/scenario"))
        # A number is its own name and key, which `int` says sooner than a function of Python.
        self.config = replace(config, key=int, name=int) if codec is None else replace(config, key=codec.key)
        self.quiet = _resting(self.config)
        self.cost = cost
        self.outside = Outside()
        build: Build = self._build
        if options.recorder is not None:
            protocol = "hyparview+flood" if cost is None else "hyparview+oracle+flood"
            build = options.recorder.recording(protocol, self.quiet, options.seed, build, self.outside)
        self.network: Network = Network(
            build,
            options.seed,
            latency=latency or Constant(LATENCY),
            detection=DETECTION,
            through=None if codec is None else codec.through,
            unreachable=Unreachable,
            listener=self.tally,
        )

    def _build(self, peer: Peer, rng: Random, restored: Any) -> Flooding:
        oracle: Callable[[Peer], float] | None = None if self.cost is None else partial(self.cost, peer)
        if oracle is not None and self.options.recorder is not None:
            oracle = self.outside(oracle)
        return Flooding(HyParView(peer, self.quiet, rng, restored, oracle))

    def by_cycles(self) -> None:
        """Let lost neighbors be replaced in cycles alone from now on."""
        self.config = replace(self.config, replacement=False, promotion_requests=REQUESTS)
        self.quiet = _resting(self.config)
        self.stir()

    def retune(self, config: HyParViewConfig) -> None:
        """Give every node other options."""
        self.tell_all(Retune(config))

    def rest(self) -> None:
        """See `Population`."""
        self.retune(self.quiet)

    def stir(self) -> None:
        """See `Population`."""
        self.retune(self.config)

    def graph(self) -> dict[Peer, dict[Peer, None]]:
        """The active views."""
        return {peer: dict.fromkeys(_membership(node.machine).active) for peer, node in self.network.nodes.items()}


def _resting(config: HyParViewConfig) -> HyParViewConfig:
    """The same without cycles."""
    return replace(config, shuffle_interval=_NEVER, random_promotion=False, xbot=False)


def _membership(machine: object) -> HyParView:
    membership = getattr(machine, "membership", machine)  # of a Flooding, recorded or not
    if not isinstance(membership, HyParView):
        raise TypeError(f"{membership!r} is no HyParView")
    return membership


def prepare(options: Options) -> Overlay:
    """Form the overlay and let it settle."""
    overlay = Overlay(options, options.nodes or NODES)
    overlay.form()
    options.say(f"{len(overlay.peers)} nodes have joined, {overlay.network.events:,} events")
    overlay.stir()
    overlay.cycles(STABLE_CYCLES)
    options.say(f"{STABLE_CYCLES} cycles are over, {overlay.network.events:,} events")
    return overlay


def _stable(overlay: Overlay) -> list[Measured]:
    full = overlay.options.full
    graph = overlay.graph()
    degrees = Counter(topology.in_degrees(graph).values())
    sources = topology.sample(graph, 1000 if full else 100, overlay.rng)
    found = {
        "clustering": topology.clustering(graph),
        "path length": topology.path_length(graph, sources),
        "asymmetric edges": float(topology.asymmetric(graph)),
    }
    overlay.rest()
    messages = overlay.broadcast(100 if full else 20)
    found["maximum hops"] = overlay.hops(messages)
    found["reliability, stable"] = overlay.reliability(messages)
    measured = [Measured("hyparview", figure, "stable", value) for figure, value in found.items()]
    return measured + [Measured("hyparview", "in-degree", degree, float(degrees[degree])) for degree in sorted(degrees)]


def measure(overlay: Overlay, point: tuple[str, int]) -> Outcome:
    """Measure one point, from an overlay that has settled."""
    since = overlay.network.events
    figure, failed = point
    if figure == "healing":
        overlay.by_cycles()
    measured = _stable(overlay) if figure == "stable" else overlay.point(figure, failed, MOST_CYCLES)
    return overlay.outcome(measured, since)


def run(options: Options) -> Outcome:
    """Simulate it."""
    points = [("stable", 0)]
    points += [("reliability", failed) for failed in FAILURES] + [("healing", failed) for failed in HEALED_FAILURES]
    points += [("healing at once", failed) for failed in AT_ONCE]
    if options.recorder is None:
        parts = options.runner.points(lambda: prepare(options), measure, points)
    else:  # a trace has one run
        others = replace(options, recorder=None)
        parts = [measure(prepare(options if point == RECORDED else others), point) for point in points]
    whole = Outcome()
    for part in parts:
        whole.add(part)
    return whole


SCENARIO = Scenario(
    "hyparview-paper",
    "reliability, healing and shape of HyParView",
    run,
    least=100,
    codec="hyparview",
    recorded=True,
    full=True,
)
