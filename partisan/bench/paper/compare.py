"""A run beside an earlier one: the ratio of each cell that both have measured."""

from __future__ import annotations

import math
from typing import TypeAlias

from partisan.bench.report import table

from .cells import Cell, Outcome
from .plots import label
from .published import MEDIAN, OCTETS, RATE
from .results import Run
from .verdicts import Pair, point, value

Place: TypeAlias = tuple[Cell, bool]
"""A cell, and whether its network was emulated: without that its round trip is a name alone."""

STEADY = 0.1
"""A change within this part is none: machines are not steadier than that."""


def ratio(earlier: Outcome, later: Outcome) -> float:
    """How many times better a cell is than it was; NaN if either was not measured."""
    metric = MEDIAN if later.cell.workload == "micro" else RATE
    if not math.isnan(value(later, OCTETS)):
        metric = OCTETS
    return Pair(earlier, later).ratio(metric)


def compare(earlier: Run, later: Run) -> str:
    """A table: better above 1; what only one of the runs has measured is counted below it, then what else differed."""
    before, after = _measured(earlier), _measured(later)
    lines = [_line(key[0], ratio(before[key], after[key])) for key in after if key in before]
    text = table(("experiment", "point", "configuration", "now against then", ""), lines) if lines else ""
    alone = [f"measured only {word}: {count}" for word, count in _alone(before, after) if count]
    return "\n".join([text or "the two runs have no cell in common", *alone, *_changes(earlier.facts, later.facts)])


def _measured(run: Run) -> dict[Place, Outcome]:
    return {(each.cell, each.link_share is not None): each for each in run.outcomes if each.status == "measured"}


def _changes(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What the machine and the versions were and are, where that differs: a ratio is of those, too."""
    return [f"{name}: {then[name]} then, {now[name]} now" for name in then if now.get(name, then[name]) != then[name]]


def _alone(before: dict[Place, Outcome], after: dict[Place, Outcome]) -> list[tuple[str, int]]:
    return [("then", len(before.keys() - after.keys())), ("now", len(after.keys() - before.keys()))]


def _line(cell: Cell, change: float) -> list[str]:
    word = "same" if abs(change - 1) <= STEADY else "better" if change > 1 else "worse"
    told = "-" if math.isnan(change) else f"{change:.2f}x"
    return [cell.experiment, point(cell), label(cell) or cell.transport, told, "" if math.isnan(change) else word]
