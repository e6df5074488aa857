"""What the figures of the HyParView paper are measured on, whatever the protocol: nodes that join, fail and flood.

A message is a flood or gossip, whose arrivals are told as `Heard`. A cycle is the interval between two shuffles of a
node; the nodes of a population have cycles, or rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from partisan.machines.machine import Event, Join, Peer
from partisan.sim.baselines.datagrams import Datagrams
from partisan.sim.flood import Flood, Heard
from partisan.sim.network import Network
from partisan.sim.scenario import Measured, Options, Outcome

CYCLE = 10.0
"""Seconds between two shuffles of a node."""

JOIN_GAP = 0.5
MESSAGE_GAP = 1.0


@dataclass(slots=True)
class Tally:
    """Hears how far messages get.

    Attributes:
        reached: number of a message -> nodes that it reached.
        hops: number -> hops to the farthest of them.
    """

    reached: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    hops: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def __call__(self, now: float, peer: Peer, fact: object) -> None:
        if type(fact) is Heard:
            number = fact.number
            self.reached[number] += 1
            if fact.hops > self.hops[number]:
                self.hops[number] = fact.hops


class Population(ABC):
    """The nodes of one simulation, and the messages that they broadcast. A subclass makes the network.

    Args:
        protocol: what they run, as results name it.
        options: of the scenario.
        peers: all nodes, in the order in which they join.
        rng: who joins by whom, who fails, who sends.
    Attributes:
        tally: to be the network's listener.
        number: of the next message.
    """

    network: Network | Datagrams

    def __init__(self, protocol: str, options: Options, peers: list[Peer], rng: Random) -> None:
        self.protocol = protocol
        self.options = options
        self.peers = peers
        self.rng = rng
        self.tally = Tally()
        self.number = 0

    @abstractmethod
    def rest(self) -> None:
        """Have no cycles from now on."""

    @abstractmethod
    def stir(self) -> None:
        """Have cycles again."""

    def form(self) -> None:
        """Let all nodes join, one by one, each by a node that is there already."""
        for number, peer in enumerate(self.peers):
            self.network.boot(peer)
            if number:
                self.network.tell(peer, Join(self.peers[self.rng.randrange(number)]))
            self.network.run(JOIN_GAP)

    def tell_all(self, event: Event) -> None:
        """Give every node the event."""
        for peer in self.network.nodes:
            self.network.tell(peer, event)

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

    def hops(self, numbers: Sequence[int]) -> float:
        """The mean of the hops to the farthest node that each of these messages reached."""
        return sum(self.tally.hops[number] for number in numbers) / len(numbers)

    def survive(self, percent: int) -> float:
        """Fail, and return the reliability of the messages after that, without cycles."""
        self.rest()
        self.fail(percent)
        return self.reliability(self.broadcast(1000 if self.options.full else 100))

    def heal(self, percent: int, most: int) -> int:
        """Fail, and return the cycles, at most so many, until messages reach as many as before."""
        before = self.reliability(self.broadcast(10))
        self.fail(percent)
        cycles = 1
        while True:
            self.cycles(1)
            self.rest()
            if self.reliability(self.broadcast(10)) >= before or cycles == most:
                return cycles
            self.stir()
            cycles += 1

    def point(self, figure: str, failed: int, most_cycles: int) -> list[Measured]:
        """Measure "reliability" or "healing" after so many percent failed, and say what was found."""
        value = self.survive(failed) if figure == "reliability" else float(self.heal(failed, most_cycles))
        self.options.say(f"{self.protocol}: {figure} with {failed} % failed: {value:g}")
        return [Measured(self.protocol, figure, failed, value)]

    def outcome(self, measured: list[Measured], since: int) -> Outcome:
        """What has been measured, with the events that machines took since there had been so many."""
        return Outcome(measured, self.network.events - since, [self.network.digest()], len(self.peers))
