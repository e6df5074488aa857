"""A run told to a terminal shows the place under way, what is finished, and how it ended."""

from __future__ import annotations

import io

import pytest

from partisan.bench.paper.cells import Outcome, Repetition
from partisan.bench.paper.experiments import Wish, tasks_of
from partisan.bench.paper.results import Run

rich = pytest.importorskip("rich.console", reason="rich is not here: pip install 'partisan[bench]'")


def test_a_run_is_told_cell_by_cell() -> None:
    from partisan.bench.paper.terminal import Terminal

    out = io.StringIO()
    told = Terminal(rich.Console(file=out, force_terminal=True, width=120))
    tasks = tasks_of(Wish("quick", ("microbenchmarks",), ("disterl", "partisan")))[:2]
    told.begin(tasks)
    told.say("[a network] of 1 ms")
    outcomes = []
    for task in tasks:
        told.start(task, 1)
        repetition = Repetition(10, 1.0, (1000.0, 2000.0))
        told.measured(task, repetition)
        outcomes.append(Outcome(task.cell, "measured", repetitions=(repetition,)))
        told.done(outcomes[-1])
    told.end(Run(outcomes=outcomes, seconds=75.0, interrupted=True))
    text = out.getvalue()
    for part in ("[a network] of 1 ms", "median 1.000 ms, p99 2.000 ms", f"1/{tasks[0].repetitions}", "partisan 1/1/F"):
        assert part in text
    assert "2 measured, 0 skipped, 0 failed in 1:15, ended before all was measured" in text
