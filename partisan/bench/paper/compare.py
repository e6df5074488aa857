"""A run beside an earlier one: the ratio of each cell that both have measured."""

from __future__ import annotations

import math

from partisan.bench.report import table

from .cells import Cell, Outcome
from .plots import label
from .published import MEDIAN, OCTETS, RATE
from .results import Run
from .verdicts import Pair, point, value

STEADY = 0.1
"""A change within this part is none: machines are not steadier than that."""


def ratio(earlier: Outcome, later: Outcome) -> float:
    """How many times better a cell is than it was; NaN if either was not measured."""
    metric = MEDIAN if later.cell.workload == "micro" else RATE
    if not math.isnan(value(later, OCTETS)):
        metric = OCTETS
    return Pair(earlier, later).ratio(metric)


def compare(earlier: Run, later: Run) -> str:
    """A table: better above 1; what only one of the runs has measured is counted below it."""
    before = {each.cell: each for each in earlier.outcomes if each.status == "measured"}
    after = {each.cell: each for each in later.outcomes if each.status == "measured"}
    lines = [_line(cell, ratio(before[cell], after[cell])) for cell in after if cell in before]
    text = table(("experiment", "point", "configuration", "now against then", ""), lines) if lines else ""
    alone = [f"measured only {word}: {count}" for word, count in _alone(before, after) if count]
    return "\n".join([*([text] if text else ["the two runs have no cell in common"]), *alone])


def _alone(before: dict[Cell, Outcome], after: dict[Cell, Outcome]) -> list[tuple[str, int]]:
    return [("then", len(before.keys() - after.keys())), ("now", len(after.keys() - before.keys()))]


def _line(cell: Cell, change: float) -> list[str]:
    word = "same" if abs(change - 1) <= STEADY else "better" if change > 1 else "worse"
    told = "-" if math.isnan(change) else f"{change:.2f}x"
    return [cell.experiment, point(cell), label(cell) or cell.transport, told, "" if math.isnan(change) else word]
