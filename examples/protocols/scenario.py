"""What is simulated: a protocol, what it is asked to do, what goes wrong, what it promises; and a run of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, TypeAlias

from partisan.machines.machine import Peer
from partisan.sim.network import Network

from .protocol import Protocol


class Omit(NamedTuple):
    """The nth message of a kind from one node to another is lost; the first one is 1."""

    source: Peer
    destination: Peer
    kind: str
    nth: int

    def __str__(self) -> str:
        return f"{self.kind} number {self.nth} from {self.source} to {self.destination} is lost"


class Crash(NamedTuple):
    """A node stops for good before it takes a step. Others notice a second later."""

    node: Peer
    step: int
    what: str = "something"

    def __str__(self) -> str:
        return f"node {self.node} crashes before it can {self.what} (its step {self.step})"


class Split(NamedTuple):
    """From a time on nothing passes between these nodes and all others. They notice a second later."""

    group: tuple[Peer, ...]
    at: float

    def __str__(self) -> str:
        return f"from {self.at:.3f} s on, {', '.join(map(str, self.group))} cannot reach the others, nor they it"


Fault: TypeAlias = Omit | Crash | Split
Schedule: TypeAlias = tuple[Fault, ...]


class Step(NamedTuple):
    """What a node did: send a message, or tell a fact.

    Attributes:
        number: among the steps of the node, from 1.
        to: whom the message went to; None for a fact.
        kind, nth: the message's type, and its number among those of the type on that link, from 1.
    """

    at: float
    node: Peer
    number: int
    what: Any
    to: Peer | None = None
    kind: str = ""
    nth: int = 0

    def __str__(self) -> str:
        where = f"{self.node}" if self.to is None else f"{self.node} to {self.to}"
        return f"{self.at:8.3f} s  step {self.number} of {where}: {self.what}"


@dataclass(frozen=True)
class Scenario:
    """A protocol, what it is asked to do, and what it promises.

    Attributes:
        title: what it is about.
        build: (peer, members, chance) -> the protocol of a node.
        commands: (seconds, node, command); from second 1 on, as the nodes are connected then.
        check: (run) -> how the promise is broken, or None.
        nodes: how many; they are 0, 1, 2, ...
        faults: which are tried: Omit, Crash, Split.
        most: how many faults a schedule may have.
        window: seconds; no fault begins later.
        horizon: seconds; the run ends then, and is checked.
    """

    title: str
    build: Callable[[Peer, tuple[Peer, ...], Random], Protocol]
    commands: tuple[tuple[float, Peer, object], ...]
    check: Callable[[Run], str | None]
    nodes: int = 3
    faults: tuple[type[Fault], ...] = ()
    most: int = 1
    window: float = 20.0
    horizon: float = 120.0


@dataclass
class Run:
    """One execution; `steps` are in the order in which they were taken."""

    scenario: Scenario
    schedule: Schedule
    network: Network = field(init=False)
    steps: list[Step] = field(default_factory=list)

    @property
    def alive(self) -> list[Peer]:
        """The nodes that live at the end."""
        return sorted(self.network.nodes)

    def protocol(self, peer: Peer) -> Any:
        """The protocol of a node that lives."""
        host: Any = self.network.machine(peer)
        return host.protocol

    def facts(self, kind: type) -> list[Step]:
        """The steps that told a fact of this type."""
        return [step for step in self.steps if step.to is None and type(step.what) is kind]
