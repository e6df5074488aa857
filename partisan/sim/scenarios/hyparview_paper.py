"""HyParView as its paper measured it: what a flood over the active views reaches when many nodes fail at once.

Nodes join one by one, each by a node that is there already, without a membership cycle in between; 50 cycles follow.
From that state each point is measured on its own:

    stable        the shape of the overlay, and the hops that a flood takes
    reliability   so many nodes fail at once; then a message a second from a node that lives, while only the reactive
                  steps run; the mean share of living nodes that a message reaches, in percent
    healing       so many nodes fail at once; cycles go on, with 10 messages after each, until these reach as many as
                  before

A cycle is the interval between shuffles. In each a node with room asks one passive peer with low priority to be its
neighbor (`random_promotion`): the paper does not say how views fill up that joins have left with room, but its figure 5
shows them full. Views there are without ourselves. Messages take a constant time, so that hops are counted as in its
rounds. A failure is noticed after `DETECTION`; the first message after it is sent before that, and is all but lost.

Source: Leitao, Pereira, Rodrigues, DI-FCUL TR-07-13, section 5.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from partisan.machines.hyparview import HyParView, HyParViewConfig
from partisan.machines.machine import Join, Peer, Retune, Unreachable
from partisan.sim import topology
from partisan.sim.flood import Flood, Flooding, Heard
from partisan.sim.latency import Constant, Latency
from partisan.sim.network import Network
from partisan.sim.scenario import Measured, Options, Outcome, Scenario

NODES = 10_000
CYCLE = 10.0
"""Seconds between two shuffles of a node."""

STABLE_CYCLES = 50
FAILURES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
HEALED_FAILURES = FAILURES[:-1]
MOST_CYCLES = 50
"""Cycles after which an overlay is taken not to heal."""

JOIN_GAP = 0.5
MESSAGE_GAP = 1.0
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


@dataclass(slots=True)
class Tally:
    """Hears how far messages get."""

    reached: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    hops: dict[int, int] = field(default_factory=dict)

    def __call__(self, now: float, peer: Peer, fact: object) -> None:
        if type(fact) is Heard:
            self.reached[fact.number] += 1
            self.hops[fact.number] = max(self.hops.get(fact.number, 0), fact.hops)


class Overlay:
    """The nodes of one simulation, and the messages that they broadcast.

    Args:
        options: of the scenario.
        count: nodes.
        config: of every node.
        latency: of messages.
        cost: what a link from a node to another costs, for X-BOT.
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
        self.options = options
        self.peers: list[Peer] = list(range(count)) if codec is None else [codec.peer(n) for n in range(count)]
        self.config = config if codec is None else replace(config, key=codec.key)
        self.quiet = replace(self.config, shuffle_interval=_NEVER, random_promotion=False, xbot=False)
        self.cost = cost
        self.rng = Random(f"{options.seed}/scenario")
        self.tally = Tally()
        self.number = 0
        self.network = Network(
            self._build,
            options.seed,
            latency=latency or Constant(LATENCY),
            detection=DETECTION,
            through=None if codec is None else codec.through,
            unreachable=Unreachable,
            listener=self.tally,
        )

    def _build(self, peer: Peer, rng: Random, restored: Any) -> Flooding:
        oracle = None if self.cost is None else partial(self.cost, peer)
        return Flooding(HyParView(peer, self.quiet, rng, restored, oracle))

    def form(self) -> None:
        """Let all nodes join, one by one."""
        for number, peer in enumerate(self.peers):
            self.network.boot(peer)
            if number:
                self.network.tell(peer, Join(self.peers[self.rng.randrange(number)]))
            self.network.run(JOIN_GAP)

    def cycles(self, count: int) -> None:
        """Run so many cycles."""
        self.network.run(count * CYCLE)

    def retune(self, config: HyParViewConfig) -> None:
        """Give every node other options."""
        for peer in self.network.nodes:
            self.network.tell(peer, Retune(config))

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
        """The active views."""
        return {peer: dict.fromkeys(_membership(node.machine).active) for peer, node in self.network.nodes.items()}

    def outcome(self, measured: list[Measured], since: int) -> Outcome:
        """What has been measured, with the events that machines took since there had been so many."""
        return Outcome(measured, self.network.events - since, [self.network.digest()], len(self.peers))


def _membership(machine: object) -> HyParView:
    membership = machine.membership if isinstance(machine, Flooding) else machine
    if not isinstance(membership, HyParView):
        raise TypeError(f"{membership!r} is no HyParView")
    return membership


def prepare(options: Options) -> Overlay:
    """Form the overlay and let it settle."""
    overlay = Overlay(options, options.nodes or NODES)
    overlay.form()
    options.say(f"{len(overlay.peers)} nodes have joined, {overlay.network.events:,} events")
    overlay.retune(overlay.config)
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
    overlay.retune(overlay.quiet)
    messages = overlay.broadcast(100 if full else 20)
    found["maximum hops"] = sum(overlay.tally.hops[number] for number in messages) / len(messages)
    found["reliability, stable"] = overlay.reliability(messages)
    measured = [Measured("hyparview", figure, "stable", value) for figure, value in found.items()]
    return measured + [Measured("hyparview", "in-degree", degree, float(degrees[degree])) for degree in sorted(degrees)]


def _reliability(overlay: Overlay, failed: int) -> list[Measured]:
    overlay.retune(overlay.quiet)
    overlay.fail(failed)
    messages = overlay.broadcast(1000 if overlay.options.full else 100)
    return [Measured("hyparview", "reliability", failed, overlay.reliability(messages))]


def _healing(overlay: Overlay, failed: int) -> list[Measured]:
    before = overlay.reliability(overlay.broadcast(10))
    overlay.fail(failed)
    cycles = 1
    while True:
        overlay.cycles(1)
        overlay.retune(overlay.quiet)
        if overlay.reliability(overlay.broadcast(10)) >= before or cycles == MOST_CYCLES:
            return [Measured("hyparview", "healing", failed, float(cycles))]
        overlay.retune(overlay.config)
        cycles += 1


def measure(overlay: Overlay, point: tuple[str, int]) -> Outcome:
    """Measure one point, from an overlay that has settled."""
    since = overlay.network.events
    figure, failed = point
    if figure == "stable":
        measured = _stable(overlay)
    else:
        measured = (_reliability if figure == "reliability" else _healing)(overlay, failed)
        overlay.options.say(f"{figure} with {failed} % failed: {measured[0].measured:g}")
    return overlay.outcome(measured, since)


def run(options: Options) -> Outcome:
    """Simulate it."""
    points = [("stable", 0)]
    points += [("reliability", failed) for failed in FAILURES] + [("healing", failed) for failed in HEALED_FAILURES]
    whole = Outcome()
    for part in options.runner.points(lambda: prepare(options), measure, points):
        whole.add(part)
    return whole


SCENARIO = Scenario("hyparview-paper", "reliability, healing and shape of HyParView", run, least=100, codec="hyparview")
