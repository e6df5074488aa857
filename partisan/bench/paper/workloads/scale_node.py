"""Simulates the advertisement counter: `python -m partisan.bench.paper.workloads.scale_node`.

{"overlay": "client-server"|"hyparview", "nodes": N, "seed": S}
    -> {"octets": of all, "overlay_octets": of the overlay alone, "messages": N, "server_rate": octets a second in
        and out of the busiest node where it is a server, else 0, "seconds": virtual, "after": virtual seconds
        from the last impression until all agreed, "agreed": Bool}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from partisan import etf
from partisan.bench.child import announce
from partisan.etf import Atom
from partisan.machines.client_server import (
    CLIENT,
    SERVER,
    ClientServer,
    ClientServerConfig,
    ClientServerState,
    Introduction,
    Parting,
)
from partisan.machines.hyparview import HyParView, HyParViewConfig, HyParViewState
from partisan.machines.machine import (
    Effect,
    Event,
    Join,
    NeighborDown,
    NeighborUp,
    Notify,
    Peer,
    Received,
    Send,
    Start,
    StartTimer,
    TimedOut,
    Unreachable,
)
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from partisan.sim.latency import Uniform
from partisan.sim.network import Driven, Network
from partisan.wire import client_server, hyparview
from partisan.wire.order import spec_key

IMPRESSION, PROPAGATION, MINUTES = 10.0, 5.0, 30
JOIN_GAP = 0.2
"""Seconds between the joins of two nodes."""

MOST_ROUNDS = 50
"""Rounds of propagation after the last impression in which counters must agree."""

LANE = 16
"""Bits of one node's count in a counter: below 2^15."""

FRAME = 4
"""Octets of a frame's length."""


class Lanes:
    """Counters of so many nodes as whole numbers, 16 bits a node, so that they are merged at once."""

    def __init__(self, nodes: int) -> None:
        ones = sum(1 << LANE * number for number in range(nodes))
        self._high = ones << (LANE - 1)
        self._low = self._high - ones

    def merge(self, a: int, b: int) -> int:
        """The greater of the two counts of each node."""
        greater = ((a | self._high) - b) & self._high
        mask = greater - (greater >> (LANE - 1))
        return b ^ ((a ^ b) & mask)

    def counting(self, counter: int) -> int:
        """How many nodes have a count above 0."""
        return ((counter + self._low) & self._high).bit_count()


@dataclass(slots=True)
class Propagated:
    """A counter on its way; shared between sends, and never changed."""

    counter: int


class Counting:
    """A node's membership and its counter, as one machine.

    Args:
        membership: the machine below.
        number: of the node.
        lanes: what merges.
        rng: decides when its rounds begin.
        begin, end: between when it counts impressions, in virtual seconds.
    """

    __slots__ = ("_begin", "_bit", "_end", "_lanes", "_neighbors", "_rng", "counter", "membership")

    def __init__(self, membership: Driven, number: int, lanes: Lanes, rng: Random, begin: float, end: float) -> None:
        self.membership = membership
        self.counter = 0
        self._bit = 1 << LANE * number
        self._lanes = lanes
        self._rng = rng
        self._begin = begin
        self._end = end
        self._neighbors: dict[Peer, None] = {}

    @property
    def greeting(self) -> object:
        """What handshakes tell of the membership."""
        return getattr(self.membership, "greeting", None)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; see `Machine.handle`."""
        if type(event) is Received and type(event.message) is Propagated:
            self.counter = self._lanes.merge(self.counter, event.message.counter)
            return []
        if type(event) is TimedOut and event.timer == "impression":
            if now >= self._end:
                return []
            self.counter += self._bit
            return [StartTimer("impression", IMPRESSION)]
        if type(event) is TimedOut and event.timer == "propagation":
            message = Propagated(self.counter)
            return [StartTimer("propagation", PROPAGATION), *(Send(peer, message) for peer in self._neighbors)]
        effects = self.membership.handle(event, now)
        for effect in effects:
            if type(effect) is Notify:
                self._hear(effect.fact)
        if type(event) is Start:
            wait = self._begin - now
            effects.append(StartTimer("impression", wait + IMPRESSION * self._rng.random()))
            effects.append(StartTimer("propagation", wait + PROPAGATION * self._rng.random()))
        return effects

    def _hear(self, fact: object) -> None:
        if type(fact) is NeighborUp:
            self._neighbors[fact.peer] = None
        elif type(fact) is NeighborDown:
            self._neighbors.pop(fact.peer, None)


class Weights:
    """How many octets messages are, as frames in the term format.

    Attributes:
        octets, overlay: of all that was sent so far; of that, what is no counter.
        messages: sent.
    """

    def __init__(self, lanes: Lanes, names: list[str]) -> None:
        self._lanes = lanes
        empty: Any = (Atom("forward_message"), Atom("counter"), (Atom("state"), {}))
        self._empty = FRAME + len(etf.encode(empty))
        # All names are as long, and all counts below 256: every entry of a counter has the same size.
        self._entry = len(etf.encode(Atom(names[0]))) + len(etf.encode(1)) - 2
        self.octets = self.overlay = self.messages = 0

    def through(self, message: Any) -> Any:
        """Weigh a message or greeting, and leave it as it is."""
        if type(message) is Propagated:
            size = self._empty + self._entry * self._lanes.counting(message.counter)
        else:
            size = FRAME + len(etf.encode(_term(message)))
            self.overlay += size
        self.octets += size
        self.messages += 1
        return message


def _term(message: Any) -> Any:
    match message:
        case HyParViewState():
            return hyparview.state_to_term(message)
        case ClientServerState():
            return (Atom("state"), Atom(message.tag), client_server.members_to_term(message.members))
        case Introduction() | Parting():
            extra = client_server.message_to_term(message)
            return (Atom("forward_message"), Atom("partisan_python"), extra)
        case _:
            return hyparview.message_to_term(message)


def _peers(nodes: int) -> list[NodeSpec]:
    channels = {"undefined": ChannelOptions(), "partisan_membership": ChannelOptions(1, False, True)}
    return [NodeSpec.of(f"n{number:04}@10.0.0.1", (ListenAddress("10.0.0.1", 1024 + number),), channels)
            for number in range(nodes)]  # fmt: skip


def _memberships(overlay: str, peers: list[NodeSpec]) -> Callable[[Peer, Random, Any], Driven]:
    if overlay == "hyparview":
        config = HyParViewConfig(key=spec_key)
        return lambda peer, rng, saved: HyParView(peer, config, rng, saved)
    server, client = (ClientServerConfig(tag=tag, key=spec_key) for tag in (SERVER, CLIENT))
    return lambda peer, rng, saved: ClientServer(peer, server if peer == peers[0] else client, rng, saved)


def simulate(overlay: str, nodes: int, seed: int, minutes: float = MINUTES) -> dict[str, Any]:
    """Simulate once; for a star, one node more is the server, which counts nothing but what it is told."""
    star = overlay == "client-server"
    total = nodes + star
    peers, lanes = _peers(total), Lanes(total)
    numbers = {peer: number for number, peer in enumerate(peers)}
    weights = Weights(lanes, [peer.name for peer in peers])
    begin = JOIN_GAP * total + 2 * PROPAGATION
    end = begin + 60 * minutes
    below = _memberships(overlay, peers)

    def build(peer: Peer, rng: Random, saved: Any) -> Driven:
        number = numbers[peer]
        last = begin if star and not number else end
        return Counting(below(peer, rng, saved), number, lanes, Random(f"{seed}/{number}"), begin, last)

    network = Network(
        build,
        seed,
        latency=Uniform(0.0005, 0.0015),
        through=weights.through,
        unreachable=Unreachable if overlay == "hyparview" else None,
        listener=lambda now, peer, fact: None,
    )
    contacts = Random(f"{seed}/joins")
    for number, peer in enumerate(peers):
        network.boot(peer)
        if number:
            network.tell(peer, Join(peers[0 if star else contacts.randrange(number)]))
        network.run(JOIN_GAP)
    network.run_until(end)
    server_rate = weights.octets / network.now if star else 0.0
    rounds = 0
    while not (agreed := _agreed(network)) and rounds < MOST_ROUNDS:
        network.run(PROPAGATION)
        rounds += 1
    return {
        "octets": weights.octets,
        "overlay_octets": weights.overlay,
        "messages": weights.messages,
        "server_rate": server_rate,
        "seconds": network.now,
        "after": rounds * PROPAGATION,
        "agreed": agreed,
    }


def _agreed(network: Network) -> bool:
    machines = [network.machine(peer) for peer in network.nodes]
    return len({machine.counter for machine in machines if isinstance(machine, Counting)}) == 1


def main() -> None:
    """Answer orders until the input ends."""
    announce()
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(simulate(order["overlay"], order["nodes"], order["seed"])), flush=True)


if __name__ == "__main__":
    main()
