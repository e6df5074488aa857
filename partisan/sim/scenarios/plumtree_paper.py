"""Plumtree as its paper measured it: what a tree saves, and what it loses when many nodes fail at once.

The overlay is HyParView's, formed as in `hyparview_paper`. From that state each protocol is measured on its own, with a
message in each cycle, from one node (s-s) or each from another (m-s):

    redundancy            payload messages received for each node that received one, less one, when the tree is stable
    last delivery hop     hops of a message to the node that it reaches last
    payload, control, total     messages of one broadcast, at the number of nodes
    reliability           so many nodes fail at once: the share of the living that the next message reaches, in percent,
                          with no repair but the tree's own
    healing               cycles with repairs until a message reaches everybody again; 0 if that one did
    ... under failures    a few nodes fail in each cycle, for many cycles

`eager` is the flood that the tree is compared with; `optimized` exchanges long ways for short ones. Messages take a
constant time, so that hops are counted as in the paper's rounds. What is not about failures runs without membership
cycles, which change nothing there.

Source: Leitao, Pereira, Rodrigues, DI-FCUL TR-07-14, section 4.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from partisan.machines.hyparview import HyParView, HyParViewConfig
from partisan.machines.machine import Join, Peer, Retune, Unreachable
from partisan.machines.plumtree import Plumtree
from partisan.machines.plumtree_messages import Found, Graft, IHave, Merged, Missing, PlumtreeConfig, Prune
from partisan.machines.stack import Stack
from partisan.sim.latency import Constant
from partisan.sim.network import Network
from partisan.sim.scenario import Measured, Options, Outcome, Scenario
from partisan.sim.scenarios import hyparview_paper

NODES = 10_000
SEEDS = 20
"""Overlays of a full run, each from a seed of its own; its figures are means."""

FAILURES = hyparview_paper.FAILURES
CYCLE = hyparview_paper.CYCLE
STABLE_CYCLES = hyparview_paper.STABLE_CYCLES
MOST_CYCLES = 20
"""Cycles after which a broadcast is taken not to heal."""

LATENCY = 0.01
DETECTION = 0.1
PATIENCE = 60.0
"""Seconds for a broadcast: enough for a chain of grafts. Massive failures are noticed only after the first."""

FEW = 0.005
"""Of the nodes, how many fail in each cycle under failures (paper: 50 of 10,000)."""

WARM_UP = 5
"""Messages until a tree has settled."""

MOD = "paper"
CONFIG = PlumtreeConfig(
    lazy_tick=None, graft_after=0.5, graft_again=0.25, shared_tree=True, exchange_tick=None, remember=0.0, report=True
)
"""Announcements at once, one tree; an announced message is waited for as long as it travels fifty hops."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A protocol of the comparison.

    Attributes:
        config: its options.
        single: all messages are from one node.
        fails: whether it is measured under massive failures too.
    """

    config: PlumtreeConfig
    single: bool
    fails: bool = False


VARIANTS = {
    "eager": Variant(replace(CONFIG, pruning=False), single=False),
    "plumtree s-s": Variant(CONFIG, single=True, fails=True),
    "plumtree m-s": Variant(CONFIG, single=False, fails=True),
    "optimized s-s": Variant(replace(CONFIG, optimization=3), single=True),
    "optimized m-s": Variant(replace(CONFIG, optimization=7), single=False),
}


@dataclass(slots=True)
class Tally:
    """Counts what arrives; the numbers of messages are their ids.

    Attributes:
        payloads: number -> payload messages received.
        reached: number -> nodes that it reached, without its root.
        hops: number -> hops to the farthest.
    """

    payloads: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    reached: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    hops: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def __call__(self, now: float, peer: Peer, fact: object) -> None:
        if type(fact) is Merged:
            self.reached[fact.id] += 1
            self.hops[fact.id] = max(self.hops[fact.id], fact.hops)


class Memory:
    """A handler that keeps the numbers of the latest messages, which are all there is to them.

    Args:
        tally: of all nodes.
    """

    MOST = 64

    __slots__ = ("_numbers", "_tally")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._numbers: dict[int, None] = {}

    def broadcast_data(self, data: int) -> tuple[int, None]:
        """See `Handler`."""
        self._keep(data)
        return data, None

    def merge(self, id: int, payload: object) -> bool:
        """See `Handler`."""
        self._tally.payloads[id] += 1
        if id in self._numbers:
            return False
        self._keep(id)
        return True

    def is_stale(self, id: int) -> bool:
        """See `Handler`."""
        return id in self._numbers

    def graft(self, id: int) -> Found | Missing:
        """See `Handler`."""
        return Found(None) if id in self._numbers else Missing.UNKNOWN

    def exchange(self, peer: Peer) -> None:
        """See `Handler`."""

    def broadcast_channel(self) -> str:
        """See `Handler`."""
        return "undefined"

    def _keep(self, number: int) -> None:
        self._numbers[number] = None
        if len(self._numbers) > self.MOST:
            del self._numbers[next(iter(self._numbers))]


class Cluster:
    """The nodes of one simulation, and the messages that they broadcast.

    Args:
        options: of the scenario.
        seed: of all chance.
    """

    def __init__(self, options: Options, seed: int | str) -> None:
        codec, count = options.codec, options.nodes or NODES
        self.options = options
        self.peers: list[Peer] = list(range(count)) if codec is None else [codec.peer(n) for n in range(count)]
        self.cycling = hyparview_paper.CONFIG
        if codec is not None:
            self.cycling = replace(self.cycling, key=codec.key)
        self.quiet = replace(self.cycling, shuffle_interval=1e9)
        self.rng = Random(f"{seed}/scenario")
        self.tally = Tally()
        self.number = 0
        self.sender = self.peers[0]
        self.variant = VARIANTS["eager"]
        self.network = Network(
            self._build,
            seed,
            latency=Constant(LATENCY),
            detection=DETECTION,
            through=None if codec is None else codec.through,
            unreachable=Unreachable,
            listener=self.tally,
        )

    def _build(self, peer: Peer, rng: Random, restored: Any) -> Stack:
        broadcast = Plumtree(peer, CONFIG, rng, {MOD: Memory(self.tally)})
        return Stack(HyParView(peer, self.quiet, rng, restored), broadcast)

    def form(self, cycles: int = STABLE_CYCLES) -> None:
        """Let all nodes join, one by one, and let cycles pass."""
        for number, peer in enumerate(self.peers):
            self.network.boot(peer)
            if number:
                self.network.tell(peer, Join(self.peers[self.rng.randrange(number)]))
            self.network.run(hyparview_paper.JOIN_GAP)
        self.options.say(f"{len(self.peers)} nodes have joined, {self.network.events:,} events")
        self.cycles(cycles)
        self.options.say(f"{cycles} cycles are over, {self.network.events:,} events")

    def cycles(self, count: int) -> None:
        """Let the membership run for so many cycles, and no longer."""
        self.retune(self.cycling)
        self.network.run(count * CYCLE)
        self.retune(self.quiet)

    def retune(self, config: HyParViewConfig | PlumtreeConfig) -> None:
        """Give every node other options."""
        for peer in self.network.nodes:
            self.network.tell(peer, Retune(config))

    def use(self, variant: Variant) -> None:
        """Broadcast by this protocol from now on."""
        self.variant = variant
        self.retune(variant.config)
        self.sender = self.rng.choice(list(self.network.nodes))

    def fail(self, count: int, detection: float) -> None:
        """Crash so many nodes, by chance, but not a single sender."""
        living = [peer for peer in self.network.nodes if not (self.variant.single and peer == self.sender)]
        for peer in self.rng.sample(living, min(count, len(living))):
            self.network.crash(peer, detection)

    def broadcast(self, seconds: float = PATIENCE) -> int:
        """Send a message, and let it arrive; return its number."""
        self.number += 1
        source = self.sender if self.variant.single else self.rng.choice(list(self.network.nodes))
        stack = self.network.machine(source)
        if isinstance(stack, Stack) and isinstance(stack.upper, Plumtree):
            self.network.tell(source, stack.upper.prepare(self.number, MOD))
        self.network.run(seconds)
        return self.number

    def redundancy(self, number: int) -> float:
        """Of the message of this number; 0 if it reached nobody."""
        reached = self.tally.reached[number]
        return self.tally.payloads[number] / reached - 1.0 if reached else 0.0

    def reliability(self, number: int) -> float:
        """The share of the living nodes that the message reached, in percent."""
        return (self.tally.reached[number] + 1) / len(self.network.nodes) * 100.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _stable(cluster: Cluster, name: str) -> list[Measured]:
    """The tree of a network in which nothing happens."""
    cluster.use(VARIANTS[name])
    network, tally, count = cluster.network, cluster.tally, len(cluster.peers)
    numbers = [cluster.broadcast() for _ in range(99 if cluster.options.full else 29)]
    network.sent.clear()
    last = cluster.broadcast()
    settled = [*numbers[len(numbers) // 2 :], last]
    payload, control = tally.payloads[last], sum(network.sent[kind] for kind in (IHave, Graft, Prune))
    found: list[tuple[str, int | str, float]] = [
        ("redundancy", "stable", _mean([cluster.redundancy(number) for number in settled])),
        *(("redundancy at first", n, cluster.redundancy(number)) for n, number in enumerate(numbers[:3], 1)),
        ("last delivery hop", "stable", _mean([float(tally.hops[number]) for number in settled])),
        ("reliability, stable", "stable", min(cluster.reliability(number) for number in settled)),
        ("payload", count, float(payload)),
        ("control", count, float(control)),
        ("total", count, float(payload + control)),
    ]
    return [Measured(name, *each) for each in found]


def _massive(cluster: Cluster, name: str, failed: int) -> list[Measured]:
    """Many nodes fail at once."""
    cluster.use(VARIANTS[name])
    for _ in range(WARM_UP):
        cluster.broadcast()
    cluster.fail(round(len(cluster.peers) * failed / 100), PATIENCE)
    first = cluster.reliability(cluster.broadcast())
    cycles, reached = 0, first
    redundancy: list[float] = []
    while reached < 100.0 and cycles < MOST_CYCLES:
        cycles += 1
        cluster.cycles(1)
        number = cluster.broadcast()
        reached = cluster.reliability(number)
        redundancy.append(cluster.redundancy(number))
    measured = [Measured(name, "reliability", failed, first)]
    if failed <= FAILURES[-2]:
        measured.append(Measured(name, "healing", failed, float(cycles)))
    if redundancy:
        measured.append(Measured(name, "redundancy after failures", failed, redundancy[0]))
    return measured


def _under_failures(cluster: Cluster, name: str) -> list[Measured]:
    """A few nodes fail in every cycle."""
    cluster.use(VARIANTS[name])
    for _ in range(WARM_UP):
        cluster.broadcast()
    numbers, reached = [], []
    cluster.retune(cluster.cycling)
    for _ in range(100 if cluster.options.full else 10):
        cluster.fail(max(round(len(cluster.peers) * FEW), 1), DETECTION)
        numbers.append(cluster.broadcast(CYCLE))
        reached.append(cluster.reliability(numbers[-1]))
    return [
        Measured(name, "reliability under failures", "mean", _mean(reached)),
        Measured(name, "redundancy under failures", "mean", _mean([cluster.redundancy(n) for n in numbers])),
        Measured(
            name, "last delivery hop under failures", "mean", _mean([float(cluster.tally.hops[n]) for n in numbers])
        ),
    ]


def prepare(options: Options, seed: int | str) -> Cluster:
    """Form the overlay and let it settle."""
    cluster = Cluster(options, seed)
    cluster.form()
    return cluster


Point = tuple[str, str, int]
"""(experiment, protocol, percent that fail or 0)"""


def points() -> list[Point]:
    """All that is measured from one overlay."""
    found = [(what, name, 0) for name in VARIANTS for what in ("stable", "under failures")]
    return found + [("massive", name, f) for name, variant in VARIANTS.items() if variant.fails for f in FAILURES]


def measure(cluster: Cluster, point: Point) -> Outcome:
    """Measure one point, from an overlay that has settled."""
    since = cluster.network.events
    what, name, failed = point
    if what == "stable":
        measured = _stable(cluster, name)
    elif what == "massive":
        measured = _massive(cluster, name, failed)
        cluster.options.say(f"{name}, {failed} % failed: reached {measured[0].measured:.2f} %")
    else:
        measured = _under_failures(cluster, name)
    return Outcome(measured, cluster.network.events - since, [cluster.network.digest()])


def run(options: Options) -> Outcome:
    """Simulate it; a full run takes the means over `SEEDS` overlays."""
    whole = Outcome()
    values: dict[tuple[str, str, int | str], list[float]] = {}
    seeds = [f"{options.seed}/{number}" for number in range(SEEDS if options.full else 1)]
    for seed in seeds:
        options.say(f"seed {seed}")
        for part in options.runner.points(partial(prepare, options, seed), measure, points()):
            whole.add(part)
    for each in whole.measured:
        values.setdefault((each.protocol, each.figure, each.point), []).append(each.measured)
    whole.measured = [Measured(*key, _mean(found)) for key, found in values.items()]
    return whole


SCENARIO = Scenario(
    "plumtree-paper",
    "redundancy, hops, messages, reliability and healing of Plumtree",
    run,
    least=100,
    codec="plumtree",
)
