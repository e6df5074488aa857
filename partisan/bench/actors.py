"""The experiment `actors`: calls between two nodes beside Erlang's, and what processes of one node cost beside tasks.

The remote calls are `gen_server:call` on both sides: each notices a missing name and the end of its server. Callers are
in `actors`; the `config` of a point says how the two sides wait: "default" as they are started, "sleeping" (`erl +sbwt
none`, `busy_wait` 0), "spinning" (`erl +sbwt very_long`, `busy_wait` on).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .erlang import why_not
from .goals import Goal
from .measure import Measurement, MeasurementFailed, Point
from .micro import WARM_SECONDS
from .procs import Child, ChildFailed
from .report import Ratio, Row, median_row, number, table
from .transports.base import Transport
from .transports.disterl import Disterl
from .transports.partisan import Partisan

OURS, THEIRS = "partisan", "disterl"
SPIN_SECONDS = 0.002
"""How long our spinning nodes look before they sleep."""

MANY = Point("call", 128, 16)
SLEEPING = Point("call", 1, 16, "sleeping")
SPINNING = Point("call", 1, 16, "spinning")
POINTS = (MANY, SLEEPING, SPINNING)
PROCESSES = 1_000_000
LOCAL_SECONDS = 300.0
"""How long the figures of one node may take."""

FLAGS = {"default": (), "sleeping": ("+sbwt", "none"), "spinning": ("+sbwt", "very_long")}
ENVIRONMENT = {
    "default": {},
    "sleeping": {"PARTISAN_BUSY_WAIT": "0"},
    "spinning": {"PARTISAN_BUSY_WAIT": str(SPIN_SECONDS)},
}
LOCAL = {
    "call": ("local call of a plain callback against two tasks and a future", 0.8),
    "ping-pong": ("local ping-pong against tasks over futures", 2.5),
    "spawn": ("spawn and exit against create_task of a no-op", 1.0),
}


@dataclass(slots=True)
class Results:
    """What was measured.

    Attributes:
        rounds: of the remote points, by (point, transport).
        skipped: why there is nothing to compare with, or None.
        local: figure -> (ours, asyncio's) in seconds an operation, a pair a round.
        memory: processes -> octets each takes.
    """

    rounds: dict[tuple[Point, str], list[Measurement | None]] = field(default_factory=dict)
    skipped: str | None = None
    local: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """List the rows of medians of the remote points."""
        rows = [median_row("actors", transport, point, each) for (point, transport), each in self.rounds.items()]
        return [row for row in rows if row is not None]

    def against(self, point: Point, key: str) -> Ratio | None:
        """One figure of a remote point, divided by Erlang's, round by round."""
        figures = (self.rounds.get((point, name), []) for name in (OURS, THEIRS))
        return Ratio.of(*([None if each is None else getattr(each, key) for each in rounds] for rounds in figures))

    def goals(self) -> list[Goal]:
        """List the goals of which both sides were measured."""
        found: list[Goal] = []
        for point, key, title, bound in (
            (MANY, "messages_per_second", "remote call, 128 callers: rate against gen_server:call", 4.0),
            (SLEEPING, "p50_us", "remote call, 1 caller, both sleeping: p50 against gen_server:call", 1.0),
            (SPINNING, "p50_us", "remote call, 1 caller, both spinning: p50 against gen_server:call", 1.2),
        ):
            ratio = self.against(point, key)
            if ratio is not None:
                found.append(_goal(title, ratio, bound, at_most=key == "p50_us"))
        for figure, (title, bound) in LOCAL.items():
            measured = self.local.get(figure, [])
            ratio = Ratio.of([theirs for _, theirs in measured], [ours for ours, _ in measured])
            if ratio is not None:
                found.append(_goal(title, ratio, bound))
        for count, octets in self.memory.items():
            found.append(Goal(f"memory of an idle process, of {count:,}, KiB", octets / 1024, 2.0, at_most=True))
        return found


def _goal(title: str, ratio: Ratio, bound: float, at_most: bool = False) -> Goal:
    return Goal(title, ratio.median, bound, at_most, f"{ratio.least:.2f}..{ratio.most:.2f}")


def run(rounds: int, seconds: float, processes: int, say: Callable[[str], None]) -> Results:
    """Measure every point in turns; say each table. All processes are ended when this returns.

    Raises MeasurementFailed.
    """
    results = Results(skipped=why_not())
    for config in FLAGS:
        _remote(config, rounds, seconds, results)
    say(render(results) + "\n")
    _local(rounds, seconds, processes, results)
    say(render_local(results) + "\n")
    return results


def _remote(config: str, rounds: int, seconds: float, results: Results) -> None:
    """Measure the points of one way to wait."""
    transports: list[Transport] = [Partisan(ENVIRONMENT[config])]
    if results.skipped is None:
        transports.append(Disterl(FLAGS[config]))
    points = [point for point in POINTS if point.config == config]
    try:
        for transport in transports:
            transport.start(max(point.actors for point in points))
        for point in points:
            for index in range(rounds):
                for transport in transports:
                    if not index:
                        transport.run(point, min(WARM_SECONDS, seconds))
                    results.rounds.setdefault((point, transport.name), []).append(transport.run(point, seconds))
    finally:
        for transport in transports:
            transport.stop()


def _local(rounds: int, seconds: float, processes: int, results: Results) -> None:
    """Have the figures of one node measured in a process of its own."""
    command = [sys.executable, "-m", f"{__package__}.local_actors", str(rounds), str(seconds), str(processes)]
    child = Child("local actors", command)
    try:
        pairs = json.loads(child.read_until('"pairs"', LOCAL_SECONDS))["pairs"]
        results.local = {figure: [(ours, theirs) for ours, theirs in each] for figure, each in pairs.items()}
        for _ in range(2):
            line = json.loads(child.read_until('"octets"', LOCAL_SECONDS))
            results.memory[line["processes"]] = line["octets"]
    except ChildFailed as error:
        raise MeasurementFailed(str(error)) from error
    finally:
        child.stop()


def render(results: Results) -> str:
    """Render the remote points: a line a point and transport."""
    lines = [
        [
            f"{row.actors} caller{'s' if row.actors != 1 else ''}, {row.config}",
            row.transport,
            number(row.messages_per_second),
            number(row.p50_us, 1),
            number(row.p99_us, 1),
        ]
        for row in results.rows()
    ]
    text = table(["call, 16 B", "transport", "calls/s", "p50 us", "p99 us"], lines)
    return text if results.skipped is None else f"{text}\n{THEIRS} skipped: {results.skipped}"


def render_local(results: Results) -> str:
    """Render the figures of one node: a line a figure, in microseconds an operation."""
    lines = [
        [figure, _middle([ours for ours, _ in each]), _middle([theirs for _, theirs in each])]
        for figure, each in results.local.items()
    ]
    return table(["of one node, us", "partisan", "asyncio"], lines)


def _middle(seconds: Sequence[float]) -> str:
    return number(sorted(seconds)[len(seconds) // 2] * 1e6, 2)
