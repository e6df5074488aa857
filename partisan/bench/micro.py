"""The experiment `micro`: the same small workloads over each transport, in turns, in one run.

Rounds are interleaved: every transport measures a point once, then all again. A ratio is taken within a round, so that
a machine that slows down for a minute slows both sides of it; the median of the rounds is printed with its spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import codec
from .measure import Measurement, MeasurementFailed, Point
from .report import Ratio, Row, median_row, number, size, table
from .transports import NAMES, create
from .transports.base import Transport

WORKLOADS = ("oneway", "echo", "hol", "codec")
ACTORS = (1, 16, 128)
OCTETS = (16, 1024, 512 * 1024, 8 * 1024 * 1024)
HOL_CONFIGS = ("idle", "other_channel", "one_channel")
HOL_OCTETS = 16
OURS = "partisan"
WARM_SECONDS = 0.1
"""Every transport runs a point once, this long, before it counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        workloads: of WORKLOADS.
        peers: transports to compare with, in any order.
        actors: pairs of actors for oneway and echo.
        octets: payload sizes for oneway and echo.
        seconds: how long a point is measured in a round.
        rounds: how often each point is measured on each transport.
    """

    workloads: Sequence[str] = WORKLOADS
    peers: Sequence[str] = ("disterl", "raw", "zmq", "asyncio")
    actors: Sequence[int] = ACTORS
    octets: Sequence[int] = OCTETS
    seconds: float = 1.0
    rounds: int = 3

    def points(self) -> list[Point]:
        """List the points that transports measure, in the order of the report."""
        points: list[Point] = []
        for workload in self.workloads:
            if workload in ("oneway", "echo"):
                points += [Point(workload, actors, octets) for octets in self.octets for actors in self.actors]
            elif workload == "hol":
                points += [Point("hol", 1, HOL_OCTETS, config) for config in HOL_CONFIGS]
        return points


@dataclass(slots=True)
class Results:
    """What was measured, by point and transport; a round that failed is None.

    Attributes:
        rounds: the measurements, in order.
        skipped: why there are none, or why one failed.
        codec: the codec experiment, if it was run.
    """

    rounds: dict[tuple[Point, str], list[Measurement | None]] = field(default_factory=dict)
    skipped: dict[tuple[Point, str], str] = field(default_factory=dict)
    codec: list[codec.ShapeResult] = field(default_factory=list)

    def figures(self, point: Point, transport: str, key: str) -> list[float | None]:
        """List one figure of a point over the rounds."""
        rounds = self.rounds.get((point, transport), [])
        return [None if each is None else getattr(each, key) for each in rounds]

    def rows(self) -> list[Row]:
        """List the rows of medians, the codec's included."""
        rows = [median_row("micro", transport, point, each) for (point, transport), each in self.rounds.items()]
        return [row for row in rows if row is not None] + codec.rows("micro", self.codec)


def run(plan: Plan, say: Callable[[str], None]) -> Results:
    """Measure the plan and say each table as soon as it is complete. All processes are ended when this returns."""
    results = Results()
    points = plan.points()
    if points:
        names = [name for name in NAMES if name == OURS or name in plan.peers]
        transports = [create(name) for name in names]
        try:
            for point in points:
                _measure(point, transports, plan, results)
                say(render(point, names, results) + "\n")
        finally:
            _stop_all(transports)
    if "codec" in plan.workloads:
        missing = codec.why_not()
        if missing is None:
            results.codec = codec.run(plan.rounds, plan.seconds)
            say(codec.render(results.codec) + "\n")
        else:
            say(f"codec\n  skipped: {missing}\n")
    return results


def _measure(point: Point, transports: Sequence[Transport], plan: Plan, results: Results) -> None:
    """Measure one point on all transports in turns; what fails once is not tried again at this point."""
    for transport in transports:
        reason = transport.why_not() or transport.why_skip(point)
        if reason is not None:
            results.skipped[point, transport.name] = reason
        else:
            results.rounds[point, transport.name] = []
    for index in range(plan.rounds):
        for transport in transports:
            key = (point, transport.name)
            if key in results.skipped:
                continue
            try:
                if not transport.running:
                    transport.start(max(plan.actors))
                if not index:
                    transport.run(point, min(WARM_SECONDS, plan.seconds))
                results.rounds[key].append(transport.run(point, plan.seconds))
            except MeasurementFailed as error:
                results.rounds[key].append(None)
                results.skipped[key] = f"failed: {error}"


def _stop_all(transports: Sequence[Transport]) -> None:
    """Stop every transport, also when stopping one of them is interrupted."""
    if transports:
        try:
            transports[0].stop()
        finally:
            _stop_all(transports[1:])


def render(point: Point, names: Sequence[str], results: Results) -> str:
    """Render the table of one point: a line a transport, with what partisan is against it."""
    title = f"{point.workload}, {size(point.octets)}, {point.actors} actor{'s' if point.actors > 1 else ''}"
    if point.config != "default":
        title += f", {point.config.replace('_', ' ')}"
    beside = "beside/s" if point.workload == "hol" else "octets/s"
    lines: list[list[str]] = []
    notes: list[str] = []
    for name in names:
        row = median_row("micro", name, point, results.rounds.get((point, name), []))
        if (reason := results.skipped.get((point, name))) is not None:
            notes.append(f"{name} skipped: {reason}")
        if row is not None:
            rate = "-" if row.octets_per_second is None else size(row.octets_per_second)
            lines.append([name, number(row.messages_per_second), rate, number(row.p50_us, 1), number(row.p99_us, 1)])
            lines[-1] += [_against(results, point, name, key) for key in ("messages_per_second", "p50_us")]
    headers = ["transport", "messages/s", beside, "p50 us", "p99 us", "our rate is", "our p50 is"]
    body = table(headers, lines).splitlines() if lines else []
    return "\n".join([title, *(f"  {line}" for line in body + notes)])


def _against(results: Results, point: Point, name: str, key: str) -> str:
    if name == OURS:
        return ""
    ratio = Ratio.of(results.figures(point, OURS, key), results.figures(point, name, key))
    return "" if ratio is None else str(ratio)
