"""The experiment `beam`: a Python node and a stock Erlang node beside two Erlang nodes, in turns, in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .erlang import why_not
from .goals import Goal
from .measure import Measurement, MeasurementFailed, Point
from .micro import WARM_SECONDS
from .report import Ratio, Row, median_row, number, size, table
from .transports.base import Transport
from .transports.beam import FromErlang, ToErlang
from .transports.disterl import Disterl

ECHO = Point("echo", 128, 16)
CALL = Point("call", 128, 16)
LARGE = Point("oneway", 1, 1 << 20)
POINTS = (ECHO, CALL, LARGE)
GOALS = (
    (ECHO, ToErlang.name, "echo 16 B, 128 actors, Python to erl, against erl to erl", 1.0),
    (CALL, ToErlang.name, "gen_server:call from Python to erl, 128 callers, against erl to erl", 1.2),
    (LARGE, ToErlang.name, "1 MiB messages, Python to erl, against erl to erl", 0.8),
    (LARGE, FromErlang.name, "1 MiB messages, erl to Python, against erl to erl", 0.8),
)


@dataclass(slots=True)
class Results:
    """What was measured, by point and transport, a measurement a round."""

    rounds: dict[tuple[Point, str], list[Measurement | None]] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """List the rows of medians."""
        rows = [median_row("beam", transport, point, each) for (point, transport), each in self.rounds.items()]
        return [row for row in rows if row is not None]

    def against_erlang(self, point: Point, transport: str, key: str = "messages_per_second") -> Ratio | None:
        """One figure of a point, divided by that of two Erlang nodes, round by round."""
        figures = (self.rounds.get((point, name), []) for name in (transport, Disterl.name))
        return Ratio.of(*([None if each is None else getattr(each, key) for each in rounds] for rounds in figures))

    def goals(self) -> list[Goal]:
        """List the goals of which both sides were measured."""
        found = []
        for point, transport, title, bound in GOALS:
            ratio = self.against_erlang(point, transport)
            if ratio is not None:
                found.append(Goal(title, ratio.median, bound, spread=f"{ratio.least:.2f}..{ratio.most:.2f}"))
        return found


def run(rounds: int, seconds: float, say: Callable[[str], None]) -> Results:
    """Measure every point in turns; say each table. All processes are ended when this returns.

    Raises MeasurementFailed.
    """
    lacking = why_not()
    if lacking is not None:
        raise MeasurementFailed(f"there is nothing to compare with: {lacking}")
    results = Results()
    transports: list[Transport] = [ToErlang(), FromErlang(), Disterl()]
    try:
        for transport in transports:
            transport.start(max(point.actors for point in POINTS))
        for point in POINTS:
            for index in range(rounds):
                for transport in transports:
                    if not index:
                        transport.run(point, min(WARM_SECONDS, seconds))
                    results.rounds.setdefault((point, transport.name), []).append(transport.run(point, seconds))
            say(render(point, results) + "\n")
    finally:
        for transport in transports:
            transport.stop()
    return results


def render(point: Point, results: Results) -> str:
    """Render the table of one point: a line a pair of nodes, and how it compares with two Erlang nodes."""
    lines = []
    for name in (ToErlang.name, FromErlang.name, Disterl.name):
        row = median_row("beam", name, point, results.rounds.get((point, name), []))
        if row is None:
            continue
        rate = "-" if row.octets_per_second is None else size(row.octets_per_second)
        ratio = None if name == Disterl.name else results.against_erlang(point, name)
        line = [name, number(row.messages_per_second), rate, number(row.p50_us, 1), number(row.p99_us, 1)]
        lines.append([*line, "" if ratio is None else str(ratio)])
    headers = ["from-to", "messages/s", "octets/s", "p50 us", "p99 us", "rate against disterl"]
    body = table(headers, lines)
    title = f"{point.workload}, {size(point.octets)}, {point.actors} actor{'s' if point.actors != 1 else ''}"
    return "\n".join([title, *(f"  {line}" for line in body.splitlines())])
