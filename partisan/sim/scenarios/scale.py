"""What a node costs, and how that grows with the membership: messages, connections and memory.

For each protocol and size, nodes join one by one; then come periods of rest, and broadcasts where the protocol has any.
Measured are, a node:

    messages to join        that were sent until all had joined, without rounds meanwhile
    messages in rest        in a period without news, of the membership alone
    messages a broadcast    that a message costs which reaches all
    connections             edges that it keeps, as a mean and at most
    memory                  octets of its machine's state (`weigh`), without its generator of chance, of some by chance
    growth                  by the name of each of these: from the smallest to the largest size it has grown so many
                            times as much as the logarithm of the size; at most 1 is at most logarithmic

Plumtree has a tree for each node that broadcasts, so `ROOTS` nodes do. Of it there are also

    messages a first broadcast    what the first message of each of these costs, which makes its tree
    payloads a ... broadcast      of the messages, those that carry what is broadcast
    memory with trees             octets as above, when all trees are there

It runs over HyParView with the options that it has on nodes, but without exchanges, which cost what handlers make of
them, and without heartbeats: each node broadcasts these, so that they have a tree for each node (at most 1,024 are
kept), and messages as many as there are nodes.

A protocol is a `Subject`: another one is another entry of `SUBJECTS`. Full membership is here to show what partial
views save; its sizes end where its messages, which grow with the square, get long. Client-server has four servers: what
a client costs does not grow, and what a server costs grows with the clients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from partisan.machines.client_server import ClientServerConfig
from partisan.machines.full import FullConfig, FullMembership
from partisan.machines.hyparview import HyParView, HyParViewConfig
from partisan.machines.machine import Event, Join, Peer, Retune, Unreachable
from partisan.machines.plumtree import Plumtree
from partisan.machines.plumtree_messages import Merged, PlumtreeConfig, Push
from partisan.machines.scamp import ScampConfig
from partisan.machines.scamp_v2 import ScampV2
from partisan.machines.stack import Stack
from partisan.sim.client_server import build
from partisan.sim.flood import Flood, Flooding, Heard
from partisan.sim.latency import Constant
from partisan.sim.network import Driven, Network
from partisan.sim.scenario import Measured, Options, Outcome, Scenario
from partisan.sim.scenarios.plumtree_paper import MOD, Memory
from partisan.sim.weigh import octets

SIZES = (100, 300, 1000)
FULL_SIZES = (100, 500, 1000, 5000, 10_000, 50_000)
LATENCY = 0.02
JOIN_GAP = 0.2
PERIOD = 10.0
PERIODS = 5
MESSAGES = 5
MESSAGE_GAP = 2.0
ROOTS = 10
"""Nodes that broadcast where each has a tree (ours)."""

WEIGHED = 20
"""Machines whose memory is taken."""

Build = Callable[[Peer, Random, Any], Driven]


@dataclass(frozen=True, slots=True)
class Subject:
    """A protocol that is measured.

    Attributes:
        protocol: its name.
        build: makes a node's machine, which has no rounds yet.
        rounds: the command that starts them.
        shared: what all machines refer to, and none owns.
        sizes, full: how many nodes, by default and thoroughly.
        contact: (number of the node, chance) -> the number of the node that it joins; the first node joins nobody.
        most: nodes that it is simulated with at most; None has no limit.
        broadcast: (machine of the sender, number of the message) -> the command that sends it, whose arrivals are told
            as `Heard` or `Merged`; None if there is none.
        roots: nodes that broadcast twice, as the first message of each makes its tree; 0 has no trees.
        unreachable: whether machines are told of attempts to connect that failed.
    """

    protocol: str
    build: Build
    rounds: Event
    shared: tuple[object, ...]
    sizes: tuple[int, ...] = SIZES
    full: tuple[int, ...] = FULL_SIZES
    contact: Callable[[int, Random], int] = lambda number, rng: rng.randrange(number)
    most: int | None = None
    broadcast: Callable[[Driven, int], Event] | None = None
    roots: int = 0
    unreachable: bool = False


_NEVER = 1e9
_HYPARVIEW = HyParViewConfig(shuffle_interval=PERIOD, random_promotion_interval=PERIOD)
_HYPARVIEW_JOINS = replace(_HYPARVIEW, shuffle_interval=_NEVER, random_promotion=False)
_PLUMTREE = PlumtreeConfig(exchange_tick=None, report=True)
_SCAMP = ScampConfig(period=PERIOD, copies=4)
_SCAMP_JOINS = replace(_SCAMP, period=_NEVER)
_FULL = FullConfig(period=PERIOD)
_FULL_JOINS = replace(_FULL, period=_NEVER)
_STAR = ClientServerConfig(period=PERIOD)
_STAR_JOINS = replace(_STAR, period=_NEVER)
_SERVERS = 4


def _flood(machine: Driven, number: int) -> Event:
    return Flood(number)


def _spread(machine: Driven, number: int) -> Event:
    if not isinstance(machine, Stack) or not isinstance(machine.upper, Plumtree):
        raise TypeError(f"{machine!r} has no Plumtree")
    return machine.upper.prepare(number, MOD)


def _plumtree(peer: Peer, rng: Random, saved: Any) -> Stack:
    return Stack(HyParView(peer, _HYPARVIEW_JOINS, rng, saved), Plumtree(peer, _PLUMTREE, rng, {MOD: Memory()}))


SUBJECTS = (
    Subject(
        "hyparview",
        lambda peer, rng, saved: Flooding(HyParView(peer, _HYPARVIEW_JOINS, rng, saved)),
        Retune(_HYPARVIEW),
        (_HYPARVIEW, _HYPARVIEW_JOINS),
        broadcast=_flood,
        unreachable=True,
    ),
    Subject(
        "plumtree",
        _plumtree,
        Retune(_HYPARVIEW),
        (_HYPARVIEW, _HYPARVIEW_JOINS, _PLUMTREE),
        broadcast=_spread,
        roots=ROOTS,
        unreachable=True,
    ),
    Subject(
        "scamp",
        lambda peer, rng, saved: ScampV2(peer, _SCAMP_JOINS, rng, saved),
        Retune(_SCAMP),
        (_SCAMP, _SCAMP_JOINS),
        full=(100, 500, 1000, 5000),
        most=5000,
    ),
    Subject(
        "full",
        lambda peer, rng, saved: FullMembership(peer, _FULL_JOINS, rng, saved),
        Retune(_FULL),
        (_FULL, _FULL_JOINS),
        sizes=(50, 100),
        full=(50, 100, 200),
        most=200,
        contact=lambda number, rng: 0,
    ),
    Subject(
        "client-server",
        build(_SERVERS, _STAR_JOINS),
        Retune(_STAR),
        (_STAR, _STAR_JOINS),
        full=SIZES,
        most=1000,
        contact=lambda number, rng: 0 if number < _SERVERS else rng.randrange(_SERVERS),
    ),
)


class Trial:
    """One protocol at one size.

    Args:
        subject: the protocol.
        count: nodes.
        options: of the scenario.
    """

    def __init__(self, subject: Subject, count: int, options: Options) -> None:
        self.subject = subject
        self.count = count
        self.rng = Random(f"{options.seed}/{subject.protocol}/{count}")
        self.heard = 0
        self.number = 0
        self.network = Network(
            subject.build,
            options.seed,
            latency=Constant(LATENCY),
            unreachable=Unreachable if subject.unreachable else None,
            listener=self._hear,
        )

    def _hear(self, now: float, peer: Peer, fact: object) -> None:
        if type(fact) is Merged or (type(fact) is Heard and fact.hops):
            self.heard += 1

    def _sent(self) -> int:
        return sum(self.network.sent.values())

    def run(self) -> dict[str, float]:
        """Measure it; figure -> value, a node."""
        network, count = self.network, self.count
        for number in range(count):
            network.boot(number)
            if number:
                network.tell(number, Join(self.subject.contact(number, self.rng)))
            network.run(JOIN_GAP)
        found = {"messages to join": self._sent() / count}
        for number in range(count):
            network.tell(number, self.subject.rounds)
        network.run(2 * PERIOD)
        before = self._sent()
        network.run(PERIODS * PERIOD)
        found["messages in rest"] = (self._sent() - before) / PERIODS / count
        edges = [len(node.edges) for node in network.nodes.values()]
        found |= {"connections": sum(edges) / count, "connections at most": float(max(edges))}
        chosen = self.rng.sample(list(network.nodes), min(WEIGHED, count))
        found["memory"] = self._weigh(chosen)
        subject = self.subject
        if subject.broadcast is not None and not subject.roots:
            senders = [self.rng.randrange(count) for _ in range(MESSAGES)]
            found |= self._broadcast(subject.broadcast, senders, dict.fromkeys(network.sent))
        elif subject.broadcast is not None:
            rest = dict.fromkeys(network.sent)
            roots = self.rng.sample(range(count), min(subject.roots, count))
            for what in ("first broadcast", "broadcast"):
                payloads = network.sent[Push]
                figures = self._broadcast(subject.broadcast, roots, rest)
                found[f"messages a {what}"] = figures["messages a broadcast"]
                found[f"payloads a {what}"] = (network.sent[Push] - payloads) / len(roots) / count
                found["reached"] = min(found.get("reached", 100.0), figures["reached"])
            found["memory with trees"] = self._weigh(chosen)
        return found

    def _weigh(self, peers: Sequence[Peer]) -> float:
        """The mean memory of these nodes."""
        return sum(self._weight(peer) for peer in peers) / len(peers)

    def _weight(self, peer: Peer) -> int:
        machine: Any = self.network.machine(peer)
        inner = getattr(machine, "membership", machine)
        return octets(machine, (*self.subject.shared, getattr(inner, "_rng", None)))

    def _broadcast(
        self, command: Callable[[Driven, int], Event], senders: Sequence[Peer], rest: dict[type, None]
    ) -> dict[str, float]:
        """Send a message from each of these nodes.

        Args:
            rest: types of messages that are not about broadcasts.
        """
        network, self.heard = self.network, 0
        before = self._sent_but(rest)
        for sender in senders:
            network.tell(sender, command(network.machine(sender), self.number))
            network.run(MESSAGE_GAP)
            self.number += 1
        return {
            "messages a broadcast": (self._sent_but(rest) - before) / len(senders) / self.count,
            "reached": (self.heard / len(senders) + 1) / self.count * 100.0,
        }

    def _sent_but(self, rest: dict[type, None]) -> int:
        return sum(count for kind, count in self.network.sent.items() if kind not in rest)


def growth(values: dict[int, float]) -> float:
    """How a value grew from the smallest size to the largest, against the logarithm of the size."""
    least, most = min(values), max(values)
    if least == most or not values[least]:
        return 1.0
    return values[most] / values[least] / (math.log(most) / math.log(least))


def sizes_of(subject: Subject, options: Options) -> list[int]:
    """The sizes that are simulated; the largest is `nodes`, or as many as the subject goes to."""
    known = subject.full if options.full else subject.sizes
    if options.nodes is None:
        return list(known)
    largest = options.nodes if subject.most is None else min(options.nodes, subject.most)
    return [*(size for size in known if size < largest), largest]


def measure(state: None, point: tuple[Subject, int, Options]) -> tuple[Outcome, dict[str, float]]:
    """Measure one size."""
    subject, count, options = point
    trial = Trial(subject, count, options)
    found = trial.run()
    options.say(f"{subject.protocol}, {count} nodes: {trial.network.events:,} events")
    return Outcome([], trial.network.events, [trial.network.digest()]), found


def run(options: Options) -> Outcome:
    """Simulate it."""
    whole = Outcome()
    for subject in SUBJECTS:
        points = [(subject, size, options) for size in sizes_of(subject, options)]
        found: dict[str, dict[int, float]] = {}
        for (_, size, _), (part, values) in zip(points, options.runner.points(_nothing, measure, points), strict=True):
            whole.add(part)
            for figure, value in values.items():
                found.setdefault(figure, {})[size] = value
        for figure, by_size in found.items():
            whole.measured += [Measured(subject.protocol, figure, size, by_size[size]) for size in sorted(by_size)]
        grown = [figure for figure in found if figure != "reached" and len(found[figure]) > 1]
        whole.measured += [Measured(subject.protocol, "growth", figure, growth(found[figure])) for figure in grown]
    return whole


def _nothing() -> None:
    """Each size starts from nothing."""


SCENARIO = Scenario(
    "scale", "messages, connections and memory a node, for growing memberships", run, least=50, full=True
)
