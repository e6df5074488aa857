"""What a scenario is given and what it gives back; each is a module of `partisan.sim.scenarios`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from partisan.machines.machine import Peer
from partisan.sim.record import Recorder

State = TypeVar("State")
Point = TypeVar("Point")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure at one point.

    Attributes:
        protocol: what was simulated, as "hyparview".
        figure: what was measured, as "reliability".
        point: where: a number, as the nodes that failed in percent, or a word.
        measured: the value; the report knows its unit by the figure.
        spread: the least and the greatest value, if this is the mean of several.
    """

    protocol: str
    figure: str
    point: int | str
    measured: float
    spread: tuple[float, float] | None = None


@dataclass(slots=True)
class Outcome:
    """What a run, or one part of it, has shown.

    Attributes:
        measured: in the order of the report.
        events: how many events machines have taken.
        digests: of the networks that were simulated, in order.
        nodes: of the largest network; 0 says nothing.
    """

    measured: list[Measured] = field(default_factory=list)
    events: int = 0
    digests: list[str] = field(default_factory=list)
    nodes: int = 0

    def add(self, other: Outcome) -> None:
        """Put another part behind this one."""
        self.measured += other.measured
        self.events += other.events
        self.digests += other.digests
        self.nodes = max(self.nodes, other.nodes)

    @property
    def digest(self) -> str:
        """One digest of all."""
        return hashlib.blake2b(" ".join(self.digests).encode(), digest_size=16).hexdigest()


class Codec(Protocol):
    """How messages are put into octets; the command line has one, the simulator knows none."""

    def peer(self, number: int) -> Peer:
        """The node of that number, as a value that can be encoded."""

    def key(self, peer: Peer) -> Any:
        """By what peers are ordered."""

    def through(self, message: Any) -> Any:
        """Encode a message or greeting, and decode it again."""

    def flip(self, message: Any, positions: tuple[float, ...]) -> Any:
        """The same with the bits at these positions inverted meanwhile; None if nobody takes what is read.

        Raises PartisanError: it cannot be read.
        """


class Runner(Protocol):
    """How the points of a figure are measured, each from the same state."""

    def points(
        self, prepare: Callable[[], State], measure: Callable[[State, Point], Result], points: Sequence[Point]
    ) -> list[Result]:
        """Measure each point from what `prepare` returns, untouched by the other points."""

    def each(self, work: Callable[[Runner, Point], Result], points: Sequence[Point]) -> list[Result]:
        """Do for each of these what has a state and points of its own; it is given the runner of them."""


class InTurn:
    """One after the other in this process, each from a state that is prepared anew."""

    def points(
        self, prepare: Callable[[], State], measure: Callable[[State, Point], Result], points: Sequence[Point]
    ) -> list[Result]:
        """See `Runner`."""
        return [measure(prepare(), point) for point in points]

    def each(self, work: Callable[[Runner, Point], Result], points: Sequence[Point]) -> list[Result]:
        """See `Runner`."""
        return [work(self, point) for point in points]


def _say_nothing(text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Options:
    """What a scenario is run with.

    Attributes:
        nodes: how many; None is as many as the scenario is about.
        seed: decides all that is left to chance.
        full: as thorough as what was published, instead of as quick as shows it, if the scenario knows a difference.
        seeds: networks of which the figures are means, if the scenario takes means; None is as many as it takes.
        codec: sends every message through octets, if given.
        runner: measures points.
        say: told of progress.
        recorder: writes a trace of one run, if given.
    """

    nodes: int | None = None
    seed: int = 1
    full: bool = False
    codec: Codec | None = None
    runner: Runner = field(default_factory=InTurn)
    say: Callable[[str], None] = _say_nothing
    recorder: Recorder | None = None
    seeds: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to simulate.

    Attributes:
        name: on the command line.
        about: in a line.
        run: simulates it.
        least: nodes that it takes at least.
        codec: which of the command line's codecs has its messages; None if it has none.
        baselines: simulates what it is compared with; None if that is nothing.
        recorded: whether it writes a trace when it is asked to.
        full: whether it can be run more thoroughly.
        seeds: whether its figures can be means over several networks.
        points: whether it measures points that can be measured side by side.
    """

    name: str
    about: str
    run: Callable[[Options], Outcome]
    least: int = 2
    codec: str | None = None
    baselines: Callable[[Options], Outcome] | None = None
    recorded: bool = False
    full: bool = False
    seeds: bool = False
    points: bool = True
