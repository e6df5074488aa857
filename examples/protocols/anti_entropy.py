"""Anti-entropy: now and then two nodes compare all they have (Demers et al. 1987, section 1.3).

Promises that sooner or later everybody has what anybody has, whatever is lost and whoever crashes, as long as nodes can
reach each other at random: push-pull doubles those who know. It "requires examining the contents of the database and so
cannot be used too frequently": all of it travels each time, though nearly always there is nothing to tell. The remedy
there is to compare checksums first.

As partisan's `demers_anti_entropy`: pushes to two members at a time, and is answered with the full set. Its numbering,
by which a node's second message has the number of its first and is lost, is not copied.

    python -m examples.protocols.anti_entropy

shows that it converges under faults, what it ships for that when there is nothing to tell any more, and that with
checksums it ships nothing then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from random import Random
from zlib import crc32

from partisan.machines.machine import Peer, Start, TimedOut

from .mail import Broadcast, Delivered, Mail, agreement
from .protocol import Id
from .scenario import Crash, Omit, Run, Scenario
from .search import main

Entries = tuple[tuple[Id, object], ...]


@dataclass(frozen=True, slots=True)
class Push:
    """All that a node has; the other one is to answer."""

    entries: Entries


@dataclass(frozen=True, slots=True)
class Pull:
    """All that the other one has."""

    entries: Entries


@dataclass(frozen=True, slots=True)
class Checksum:
    """Of the numbers of all that a node has; whoever has another one is to push."""

    value: int


class AntiEntropy(Mail):
    """One node's part.

    Args:
        period: seconds between two exchanges that a node begins.
        fanout: with how many members at a time.
        checksums: compare those first.
    """

    def __init__(
        self,
        myself: Peer,
        members: tuple[Peer, ...],
        rng: Random,
        *,
        period: float = 5.0,
        fanout: int = 2,
        checksums: bool = False,
    ) -> None:
        super().__init__(myself, members, rng)
        self.period, self.fanout, self.checksums = period, fanout, checksums
        self._messages |= {Push: self._on_push, Pull: self._on_pull, Checksum: self._on_checksum}

    @property
    def entries(self) -> Entries:
        """All that we have, in the order in which it came."""
        return tuple(self.store.items())

    @property
    def checksum(self) -> int:
        """Of what we have, in whatever order it came."""
        value = 0
        for id in self.store:
            value ^= crc32(repr(id).encode())
        return value

    def _on_start(self, event: Start, now: float) -> None:
        super()._on_start(event, now)
        self._start_timer("exchange", self.period * self._rng.random())

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        super()._on_timed_out(event, now)
        if event.timer == "exchange":
            self._start_timer("exchange", self.period)
            for peer in self._some(self.fanout):
                self._send(peer, Checksum(self.checksum) if self.checksums else Push(self.entries))

    def _on_checksum(self, peer: Peer, message: Checksum, now: float) -> None:
        if message.value != self.checksum:
            self._send(peer, Push(self.entries))

    def _on_push(self, peer: Peer, message: Push, now: float) -> None:
        self._send(peer, Pull(self.entries))
        for id, body in message.entries:
            self._hear(id, body)

    def _on_pull(self, peer: Peer, message: Pull, now: float) -> None:
        for id, body in message.entries:
            self._hear(id, body)


def frugality(run: Run) -> str | None:
    """When everybody has everything, and what was under way has come, nothing is shipped any more."""
    last = run.facts(Delivered)[-1].at + 1.0
    shipped = [len(step.what.entries) for step in run.steps if step.at > last and type(step.what) in (Push, Pull)]
    if sum(shipped):
        stored = len(run.protocol(0).store)
        spent = f"{sum(shipped)} entries in {len(shipped)} messages"
        return f"all nodes have all {stored} entries after {last:.0f} s; by {run.scenario.horizon:.0f} s {spent} follow"
    return None


NEWS = ((1.0, 0, Broadcast(b"news")), (4.0, 1, Broadcast(b"more")))
MUCH = tuple((1.0 + number, number % 10, Broadcast(number)) for number in range(50))

CONVERGES = Scenario(
    "anti-entropy tells everybody everything", AntiEntropy, NEWS, agreement, faults=(Omit, Crash), window=8.0
)
COSTS = Scenario("full sets travel when there is nothing to tell", AntiEntropy, MUCH, frugality, 10, horizon=600.0)
REMEDY = Scenario("checksums do not", partial(AntiEntropy, checksums=True), MUCH, frugality, 10, horizon=600.0)

if __name__ == "__main__":
    main(CONVERGES, COSTS, REMEDY)
