"""What a run prints and writes: aligned tables, ratios with their spread, and rows of JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .measure import Measurement, Point

UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


@dataclass(frozen=True, slots=True)
class Row:
    """One measured point, as it is written to JSON; a figure that makes no sense is None."""

    experiment: str
    workload: str
    transport: str
    config: str
    actors: int | None
    octets: int | None
    messages_per_second: float | None
    octets_per_second: float | None
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of per-round ratios and their extremes."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, ours: Sequence[float | None], theirs: Sequence[float | None]) -> Ratio | None:
        """Divide round by round; None if no round has both figures."""
        values = [a / b for a, b in zip(ours, theirs, strict=False) if a is not None and b]
        return cls(statistics.median(values), min(values), max(values)) if values else None

    def __str__(self) -> str:
        return f"{self.median:.2f}x ({self.least:.2f}..{self.most:.2f})"


def size(octets: float) -> str:
    """Render octets with a binary unit: `16 B`, `8 MiB`, `1.5 GiB`."""
    for unit, name in UNITS:
        if octets >= unit:
            return f"{octets / unit:.4g} {name}"
    return f"{octets:.0f} B"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    rendered = []
    for line in lines:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        rendered.append("  ".join(cells).rstrip())
    rendered.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(rendered)


def number(value: float | None, digits: int = 0) -> str:
    """Render with thousands separated, or a dash for what makes no sense."""
    return "-" if value is None else f"{value:,.{digits}f}"


def median_row(experiment: str, transport: str, point: Point, rounds: Sequence[Measurement | None]) -> Row | None:
    """Build a row of medians over the rounds that were measured; None if none was."""
    measured = [each for each in rounds if each is not None]
    if not measured:
        return None

    def middle(key: str) -> float | None:
        values = [value for each in measured if (value := getattr(each, key)) is not None]
        return statistics.median(values) if values else None

    figures = [middle(key) for key in ("messages_per_second", "octets_per_second", "p50_us", "p99_us")]
    return Row(experiment, point.workload, transport, point.config, point.actors, point.octets, *figures)


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as a list of objects, one a line."""
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    path.write_text(f"[\n{lines}\n]\n" if rows else "[]\n")
