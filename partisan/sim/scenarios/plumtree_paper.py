"""Plumtree as its paper measured it: what a tree saves, and what it loses when many nodes fail at once.

Each protocol lives through the paper's experiment on its own, with a message in each cycle, from one node (s-s) or each
from another (m-s). Nodes join one by one, all through the first, without a cycle in between; from then on messages are
sent, while cycles fill the views that the joins have left with room. Links come up eager, so that the first messages
are redundant, and the tree is made anew around them: from one node that leaves it as shallow as it was, from another
each time it is deeper every time. After some cycles nothing changes any more. From that state each point is measured:

    redundancy            payload messages received for each node that received one, less one
    last delivery hop     hops of a message to the node that it reaches last
    payload, control, total     messages of one broadcast, at the number of nodes
    reliability           so many nodes fail at once: the share of the living that the next message reaches, in percent,
                          with no repair but the tree's own; where chance decides whether that is most or next to none
                          of them (`BY_CHANCE`), the mean over several such failures
    healing               cycles with repairs until a message reaches everybody again; 0 if that one did
    ... under failures    a few nodes fail in each cycle, for many cycles, until half of them have

`eager` is the flood that the tree is compared with; `optimized` exchanges ways for any that are shorter. The paper says
that it did so for 3 hops (s-s) or 7 (m-s), which are the rows `threshold 3 s-s` and `threshold 7 m-s`: with these few
ways are exchanged once the tree stands, while its table counts thousands in every cycle; with one hop its figures come
out. So either its threshold or its count is of something else than it says, and the rows here say which is which.

The overlay is HyParView's as in `hyparview_paper`, but nodes do nothing at once about neighbors that they lose, be it
that these failed or dropped them: in each cycle a node with room asks up to twelve passive peers, whether they live or
not, until its view is full; one without neighbors asks until somebody answers. Neither is in the paper, whose simulator
is driven by cycles; how many are asked decides how soon views are full again, and how deep the trees of many senders
get (docs/simulator.md). Messages take a constant time, so that hops are counted as in the paper's rounds; of one round
they arrive in the order in which they were sent. A message that was announced is waited for longer than any takes, so
that without failures nothing is grafted. What is not about failures is measured without membership cycles, which change
nothing any more.

Source: Leitao, Pereira, Rodrigues, DI-FCUL TR-07-14, section 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
from partisan.sim.scenario import Measured, Options, Outcome, Runner, Scenario
from partisan.sim.scenarios import hyparview_paper

NODES = 10_000
SEEDS = 20
"""Overlays of a full run, each from a seed of its own; its figures are means."""

FAILURES = hyparview_paper.FAILURES
CYCLE = hyparview_paper.CYCLE
STABLE_CYCLES = hyparview_paper.STABLE_CYCLES
FEWER_CYCLES = 20
"""Of a run that is not full; the few links that still come make trees of many senders deeper."""

BY_CHANCE = (40, 50, 60, 70)
MORE_DRAWS = 4
"""Besides the first, how often so many fail by chance in copies of an overlay, for the reach of the next message."""

MOST_CYCLES = 20
"""Cycles after which a broadcast is taken not to heal."""

LATENCY = Constant(0.002)

DETECTION = 0.1
PATIENCE = 60.0
"""Seconds for a broadcast: enough for a chain of grafts. Massive failures are noticed only after the first."""

FEW = 0.005
"""Of the nodes, how many fail in each cycle under failures (paper: 50 of 10,000)."""

MOST_FAILING = 100
"""Cycles in which they do (paper)."""

_NEVER = 1e9
"""Seconds between shuffles while there are no cycles."""

OVERLAY = replace(hyparview_paper.CONFIG, replacement=False, promotion_requests=hyparview_paper.REQUESTS)

MOD = "paper"
CONFIG = PlumtreeConfig(
    lazy_tick=None, graft_after=0.5, graft_again=0.25, shared_tree=True, exchange_tick=None, remember=0.0, report=True
)
"""Announcements at once, one tree; what was announced is waited for while it may travel 250 hops: no way is longer."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A protocol of the comparison.

    Attributes:
        config: its options.
        single: all messages are from one node.
        erodes: whether it is measured while a few nodes fail in each cycle.
        breaks: whether it is measured when many fail at once.
    """

    config: PlumtreeConfig
    single: bool
    erodes: bool = True
    breaks: bool = False


VARIANTS = {
    "eager": Variant(replace(CONFIG, pruning=False), single=False),
    "plumtree s-s": Variant(CONFIG, single=True, breaks=True),
    "plumtree m-s": Variant(CONFIG, single=False, breaks=True),
    "optimized s-s": Variant(replace(CONFIG, optimization=1), single=True),
    "optimized m-s": Variant(replace(CONFIG, optimization=1), single=False),
    "threshold 3 s-s": Variant(replace(CONFIG, optimization=3), single=True, erodes=False),
    "threshold 7 m-s": Variant(replace(CONFIG, optimization=7), single=False, erodes=False),
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
        tally: of all nodes; None counts nothing.
    """

    MOST = 64

    __slots__ = ("_numbers", "_tally")

    def __init__(self, tally: Tally | None = None) -> None:
        self._tally = tally
        self._numbers: dict[int, None] = {}

    def broadcast_data(self, data: int) -> tuple[int, None]:
        """See `Handler`."""
        self._keep(data)
        return data, None

    def merge(self, id: int, payload: object) -> bool:
        """See `Handler`."""
        if self._tally is not None:
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
        variant: the protocol.
    """

    def __init__(self, options: Options, seed: int | str, variant: Variant) -> None:
        codec, count = options.codec, options.nodes or NODES
        self.options = options
        self.variant = variant
        self.peers: list[Peer] = list(range(count)) if codec is None else [codec.peer(n) for n in range(count)]
        self.cycling = OVERLAY if codec is None else replace(OVERLAY, key=codec.key)
        self.quiet = replace(self.cycling, shuffle_interval=_NEVER, random_promotion=False)
        self.rng = Random(f"{seed}/scenario")
        self.tally = Tally()
        self.number = 0
        self.network = Network(
            self._build,
            seed,
            latency=LATENCY,
            detection=DETECTION,
            through=None if codec is None else codec.through,
            unreachable=Unreachable,
            listener=self.tally,
        )
        self.sender = self.rng.choice(self.peers)

    def _build(self, peer: Peer, rng: Random, restored: Any) -> Stack:
        broadcast = Plumtree(peer, self.variant.config, rng, {MOD: Memory(self.tally)})
        return Stack(HyParView(peer, self.quiet, rng, restored), broadcast)

    def join(self) -> None:
        """Let all nodes join, one by one, through the first."""
        for number, peer in enumerate(self.peers):
            self.network.boot(peer)
            if number:
                self.network.tell(peer, Join(self.peers[0]))
            self.network.run(hyparview_paper.JOIN_GAP)

    def cycle(self) -> int:
        """Send a message, and run a cycle of the membership; return the number of the message."""
        return self.broadcast(CYCLE)

    def retune(self, config: HyParViewConfig) -> None:
        """Give every node's membership other options: `cycling` or `quiet`."""
        for peer in self.network.nodes:
            self.network.tell(peer, Retune(config))

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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _stable(cluster: Cluster, name: str) -> list[Measured]:
    """The tree of a network in which nothing happens any more."""
    network, tally, count = cluster.network, cluster.tally, len(cluster.peers)
    network.sent.clear()
    numbers = [cluster.broadcast() for _ in range(100 if cluster.options.full else 20)]
    payload = _mean([tally.payloads[number] for number in numbers])
    control = sum(network.sent[kind] for kind in (IHave, Graft, Prune)) / len(numbers)
    found: list[tuple[str, int | str, float]] = [
        ("redundancy", "stable", _mean([cluster.redundancy(number) for number in numbers])),
        *(("redundancy at first", cycle, cluster.redundancy(cycle)) for cycle in (1, 2, 3)),
        ("last delivery hop", "stable", _mean([tally.hops[number] for number in numbers])),
        ("reliability, stable", "stable", min(cluster.reliability(number) for number in numbers)),
        ("payload", count, payload),
        ("control", count, control),
        ("total", count, payload + control),
    ]
    return [Measured(name, *each) for each in found]


def _reach(cluster: Cluster, failed: int) -> float:
    """So many fail at once: what the next message reaches, in percent of the living."""
    cluster.fail(round(len(cluster.peers) * failed / 100), PATIENCE)
    return cluster.reliability(cluster.broadcast())


def _massive(cluster: Cluster, name: str, failed: int) -> list[Measured]:
    """Many nodes fail at once."""
    first = _reach(cluster, failed)
    cycles, reached = 0, first
    redundancy: list[float] = []
    while reached < 100.0 and cycles < MOST_CYCLES:
        cycles += 1
        cluster.retune(cluster.cycling)
        cluster.network.run(CYCLE)
        cluster.retune(cluster.quiet)
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
    tally = cluster.tally
    numbers, reached = [], []
    cluster.retune(cluster.cycling)
    few = max(round(len(cluster.peers) * FEW), 1)
    # Ways of many senders grow longer as nodes fail, which takes its time; others do not.
    cycles = MOST_FAILING if cluster.options.full else 10 if cluster.variant.single else 40
    for _ in range(min(cycles, len(cluster.peers) // (2 * few))):
        cluster.fail(few, DETECTION)
        numbers.append(cluster.cycle())
        reached.append(cluster.reliability(numbers[-1]))
    return [
        Measured(name, "reliability under failures", "mean", _mean(reached)),
        Measured(name, "redundancy under failures", "mean", _mean([cluster.redundancy(n) for n in numbers])),
        Measured(name, "last delivery hop under failures", "mean", _mean([tally.hops[n] for n in numbers])),
    ]


def prepare(options: Options, seed: int | str, name: str) -> Cluster:
    """Let all nodes join, and the tree grow while the overlay settles."""
    cluster = Cluster(options, seed, VARIANTS[name])
    cluster.join()
    options.say(f"{name}, seed {seed}: {len(cluster.peers)} nodes have joined, {cluster.network.events:,} events")
    cluster.retune(cluster.cycling)
    cycles = STABLE_CYCLES if options.full else FEWER_CYCLES
    for _ in range(cycles):
        cluster.cycle()
    cluster.retune(cluster.quiet)
    options.say(f"{name}, seed {seed}: {cycles} cycles are over, {cluster.network.events:,} events")
    return cluster


Point = tuple[str, int, int]
"""(experiment, percent that fail or 0, which draw of who fails)"""


def points(name: str) -> list[Point]:
    """All that is measured of a protocol."""
    found: list[Point] = [("stable", 0, 0)]
    if VARIANTS[name].erodes:
        found.append(("under failures", 0, 0))
    if VARIANTS[name].breaks:
        found += [("massive", failed, 0) for failed in FAILURES]
        found += [("reach", failed, 1 + draw) for failed in BY_CHANCE for draw in range(MORE_DRAWS)]
    return found


def measure(name: str, cluster: Cluster, point: Point) -> Outcome:
    """Measure one point, from an overlay that has settled."""
    since = cluster.network.events
    what, failed, draw = point
    if what == "stable":
        measured = _stable(cluster, name)
    elif what == "massive":
        measured = _massive(cluster, name, failed)
        cluster.options.say(f"{name}, {failed} % failed: reached {measured[0].measured:.2f} %")
    elif what == "reach":
        cluster.rng.seed(f"{cluster.rng.random()}/{draw}")
        measured = [Measured(name, "reliability", failed, _reach(cluster, failed))]
    else:
        measured = _under_failures(cluster, name)
    return Outcome(measured, cluster.network.events - since, [cluster.network.digest()])


def life(options: Options, runner: Runner, which: tuple[str, str]) -> Outcome:
    """Measure all of one protocol over one overlay.

    Args:
        runner: of its points.
        which: seed and name.
    """
    seed, name = which
    whole = Outcome()
    for part in runner.points(partial(prepare, options, seed, name), partial(measure, name), points(name)):
        whole.add(part)
    return whole


def run(options: Options) -> Outcome:
    """Simulate it; of several seeds the figures are means, beside which the least and the greatest stand."""
    whole = Outcome()
    count = options.seeds or (SEEDS if options.full else 1)
    lives = [(f"{options.seed}/{number}", name) for number in range(count) for name in VARIANTS]
    for part in options.runner.each(partial(life, options), lives):
        whole.add(part)
    values: dict[tuple[str, str, int | str], list[float]] = {}
    for each in whole.measured:
        values.setdefault((each.protocol, each.figure, each.point), []).append(each.measured)
    whole.measured = [
        Measured(*key, _mean(found), (min(found), max(found)) if len(found) > 1 else None)
        for key, found in values.items()
    ]
    return whole


SCENARIO = Scenario(
    "plumtree-paper",
    "redundancy, hops, messages, reliability and healing of Plumtree",
    run,
    least=100,
    codec="plumtree",
    full=True,
    seeds=True,
)
