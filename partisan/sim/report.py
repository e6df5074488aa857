"""What a run is told as: text, CSV, JSON and pictures, each measured value beside the published one."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from partisan.sim.published import NODES, OF_SIZE, PUBLISHED, RANGES
from partisan.sim.scenario import Measured


@dataclass(frozen=True, slots=True)
class Row:
    """A measured value, as it is written to JSON and CSV.

    Attributes:
        published: the value in the paper, or None if it has none, or none for so many nodes.
        least: of the values that `measured` is the mean of, or None.
        greatest: likewise.
    """

    protocol: str
    figure: str
    point: int | str
    published: float | None
    measured: float
    seed: int
    least: float | None = None
    greatest: float | None = None


def rows_of(measured: Iterable[Measured], seed: int, nodes: int = NODES) -> list[Row]:
    """Put the published values beside the measured ones.

    Args:
        nodes: how many there were; beside values that depend on that nothing is put if it is not what was published.
    """
    return [
        Row(m.protocol, m.figure, m.point, _published(m, nodes), m.measured, seed, *(m.spread or (None, None)))
        for m in measured
    ]


def _published(value: Measured, nodes: int) -> float | None:
    if nodes != NODES and value.figure in OF_SIZE:
        return None
    return PUBLISHED.get((value.protocol, value.figure, value.point))


def caveat(rows: Iterable[Row], nodes: int) -> str | None:
    """What to know of the published values, if any, when there were so many nodes; in a line."""
    if nodes == NODES or all(row.published is None for row in rows):
        return None
    return f"published values are of {NODES:,} nodes, not {nodes:,}: those that depend on it are left out"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _claim(row: Row) -> str:
    """What was published: a number, or from where to where."""
    if row.published is None:
        return _number(None)
    between = RANGES.get((row.protocol, row.figure, row.point))
    return _number(row.published) if between is None else f"{_number(between[0])} to {_number(between[1])}"


def text(rows: Sequence[Row]) -> str:
    """One table a figure, aligned."""
    lines: list[str] = []
    spread = any(row.least is not None for row in rows)
    for figure in dict.fromkeys(row.figure for row in rows):
        table = [("protocol", "point", "published", "measured", *(("least", "greatest") if spread else ()))]
        table += [_cells(row, spread) for row in rows if row.figure == figure]
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        lines += [figure, *("  " + _aligned(line, widths) for line in table), ""]
    return "\n".join(lines)


def _cells(row: Row, spread: bool) -> tuple[str, ...]:
    ends = (_number(row.least), _number(row.greatest)) if spread else ()
    return (row.protocol, str(row.point), _claim(row), _number(row.measured), *ends)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join(left + right)


def _names(rows: Sequence[Row]) -> list[str]:
    """Of the columns; without those of the spread if there is none."""
    names = [field.name for field in fields(Row)]
    return names if any(row.least is not None for row in rows) else names[:-2]


def to_json(rows: Sequence[Row]) -> str:
    """A list of objects, one a line."""
    lines = ",\n".join(json.dumps({name: getattr(row, name) for name in _names(rows)}) for row in rows)
    return f"[\n{lines}\n]\n" if rows else "[]\n"


def to_csv(rows: Sequence[Row]) -> str:
    """A line of names, and a line a row; what is None is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_names(rows))
    writer.writerows([getattr(row, name) for name in _names(rows)] for row in rows)
    return out.getvalue()


def can_draw() -> bool:
    """Whether matplotlib is here, which comes with the extra `bench`."""
    return find_spec("matplotlib") is not None


def draw(rows: Sequence[Row], directory: Path, scenario: str) -> list[Path]:
    """Draw each figure that has numbers for points; return the files."""
    pyplot: Any = _pyplot()
    written = []
    for figure in dict.fromkeys(row.figure for row in rows):
        chosen = [row for row in rows if row.figure == figure and isinstance(row.point, int)]
        if not chosen:
            continue
        canvas, axes = pyplot.subplots()
        for protocol in dict.fromkeys(row.protocol for row in chosen):
            _draw_protocol(axes, protocol, [row for row in chosen if row.protocol == protocol])
        axes.set_title(f"{scenario}: {figure}")
        axes.legend()
        path = directory / f"{scenario}-{re.sub('[^a-z0-9]+', '-', figure.lower())}.png"
        canvas.savefig(path)
        pyplot.close(canvas)
        written.append(path)
    return written


def _draw_protocol(axes: Any, protocol: str, rows: Sequence[Row]) -> None:
    axes.plot([row.point for row in rows], [row.measured for row in rows], marker="o", label=f"{protocol}, measured")
    published = [row for row in rows if row.published is not None]
    if published:
        points = [row.point for row in published]
        axes.plot(points, [row.published for row in published], "x--", label=f"{protocol}, published")


def _pyplot() -> Any:
    import_module("matplotlib").use("Agg")
    return import_module("matplotlib.pyplot")


def write(rows: Sequence[Row], directory: Path, scenario: str) -> list[Path]:
    """Write text, CSV, JSON, and pictures if matplotlib is here; return the files.

    Raises:
        OSError: the directory cannot be made, or a file not be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for ending, content in (("txt", text(rows)), ("csv", to_csv(rows)), ("json", to_json(rows))):
        path = directory / f"{scenario}.{ending}"
        path.write_text(content)
        written.append(path)
    return written + (draw(rows, directory, scenario) if can_draw() else [])
