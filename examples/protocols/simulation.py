"""Runs a protocol in `partisan.sim` under given faults, and keeps what its nodes did.

A node here is a protocol, on partisan's acknowledged delivery if it asks for it, as on a real node.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from partisan.machines.acknowledged import Acknowledged, AcknowledgedConfig, AcknowledgedDelivery, Arrived, Submit
from partisan.machines.faults import Omission, Partition
from partisan.machines.machine import Connected, Disconnected, Effect, Event, Notify, Peer, Received, Send, TimedOut
from partisan.machines.outstanding import RETRANSMIT_TIMER
from partisan.sim.network import Network

from .protocol import Protocol
from .scenario import Crash, Omit, Run, Scenario, Schedule, Split, Step


def execute(scenario: Scenario, schedule: Schedule, seed: int | str) -> Run:
    """Run a scenario under these faults, to its horizon."""
    run = Run(scenario, schedule)
    network = run.network = Network(lambda peer, rng, _: Host(run, peer, rng), seed, classify=_classify)
    for fault in schedule:
        if isinstance(fault, Omit):
            rule = Omission(channels=(fault.kind,), skip=fault.nth - 1, times=1)
            rule.sources, rule.destinations = (str(fault.source),), (str(fault.destination),)
            network.inject(rule)
        elif isinstance(fault, Split):
            rest = tuple(str(peer) for peer in range(scenario.nodes) if peer not in fault.group)
            network.inject(Partition(groups=(tuple(map(str, fault.group)), rest), since=fault.at))
    for peer in range(scenario.nodes):
        network.boot(peer)
    for at, peer, command in scenario.commands:
        network.run_until(at)
        if peer in network.nodes:
            network.tell(peer, command)
    network.run_until(scenario.horizon)
    return run


class Host:
    """One node of a run: takes the protocol's steps, until it crashes."""

    def __init__(self, run: Run, peer: Peer, rng: Random) -> None:
        self.protocol = run.scenario.build(peer, tuple(range(run.scenario.nodes)), rng)
        self._driven = Acked(self.protocol, rng) if self.protocol.acked else self.protocol
        self._run, self._peer = run, peer
        self._fatal = [each.step for each in run.schedule if isinstance(each, Crash) and each.node == peer]
        self._taken = 0
        self._sent: dict[tuple[Peer, str], int] = {}
        self._dead = False

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""
        done: list[Effect] = []
        for effect in [] if self._dead else self._driven.handle(event, now):
            if isinstance(effect, Send | Notify):
                self._taken += 1
                if self._taken in self._fatal:
                    self._dead = True
                    self._run.network.after(0.0, lambda: self._run.network.crash(self._peer))
                    break
                self._run.steps.append(self._step(effect, now))
            done.append(effect)
        return done

    def _step(self, effect: Send | Notify, now: float) -> Step:
        if isinstance(effect, Notify):
            return Step(now, self._peer, self._taken, effect.fact)
        kind, _ = _classify(effect.message)
        link = effect.peer, kind
        nth = self._sent[link] = self._sent.get(link, 0) + 1
        return Step(now, self._peer, self._taken, _content(effect.message), effect.peer, kind, nth)


class Acked:
    """A protocol whose messages go through the machine of acknowledged delivery, which a node has for `ack=True`."""

    def __init__(self, protocol: Protocol, rng: Random) -> None:
        self._protocol = protocol
        self._delivery = AcknowledgedDelivery(protocol.myself, AcknowledgedConfig(), rng)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""
        delivers = isinstance(event, Received) or (isinstance(event, TimedOut) and event.timer == RETRANSMIT_TIMER)
        effects = [] if delivers else list(self._above(event, now))
        if delivers or isinstance(event, Connected | Disconnected):
            for effect in self._delivery.handle(event, now):
                if not isinstance(effect, Notify):
                    effects.append(effect)
                elif isinstance(effect.fact, Arrived):
                    effects += self._above(Received(effect.fact.peer, effect.fact.message), now)
        return effects

    def _above(self, event: Event, now: float) -> Iterator[Effect]:
        for effect in self._protocol.handle(event, now):
            if isinstance(effect, Send):
                yield from self._delivery.handle(Submit(effect.peer, effect.message), now)
            else:
                yield effect


def _content(message: object) -> object:
    return message.message if isinstance(message, Acknowledged) else message


def _classify(message: object) -> tuple[str, str]:
    """Rules of faults know the type of a message as its channel."""
    return type(_content(message)).__name__, "user"
