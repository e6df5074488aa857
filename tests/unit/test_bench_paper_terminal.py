"""A run told to a terminal shows the place under way, what is finished, and how it ended."""

from __future__ import annotations

import io

import pytest

from partisan.bench.paper.cells import Outcome, Repetition
from partisan.bench.paper.experiments import Wish, estimate, tasks_of
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
        outcomes.append(Outcome(task.cell, "measured", repetitions=(repetition,), command="measure it"))
        told.done(outcomes[-1])
    told.end(Run(outcomes=outcomes, seconds=75.0, interrupted=True))
    text = out.getvalue()
    assert text.count("    again: measure it") == 2
    for part in ("[a network] of 1 ms", "median 1.000 ms, p99 2.000 ms", f"1/{tasks[0].repetitions}", "partisan 1/1/F"):
        assert part in text
    assert "2 measured, 0 skipped, 0 failed in 1:15, ended before all was measured" in text


def test_what_is_skipped_or_has_failed_is_not_waited_for() -> None:
    from partisan.bench.paper.terminal import Terminal

    told = Terminal(rich.Console(file=io.StringIO(), force_terminal=True, width=120))
    skipped, failed, measured = tasks_of(Wish("quick", ("microbenchmarks",), repeat=3))[:3]
    told.begin([skipped, failed, measured])
    told.done(Outcome(skipped.cell, "skipped", "no erl here"))
    (bar,) = told._bar.tasks
    assert (bar.completed, bar.total) == (3, 9)
    assert told._left() == pytest.approx(estimate([failed]) + estimate([measured]))
    told.start(failed, 1)
    told.measured(failed, Repetition(10, 1.0))
    told.done(Outcome(failed.cell, "failed", "it broke", (Repetition(10, 1.0),)))
    assert bar.completed == 6
    for number in (1, 2, 3):
        told.start(measured, number)
        told.measured(measured, Repetition(10, 1.0))
    assert bar.completed == 9
    assert told._left() == pytest.approx(0.0, abs=1e-6)
    told.end(Run())


def test_a_narrow_terminal_has_its_bar_and_a_line_a_configuration() -> None:
    from partisan.bench.paper.terminal import Terminal

    out = io.StringIO()
    told = Terminal(rich.Console(file=out, force_terminal=True, width=64))
    tasks = tasks_of(Wish("quick", ("microbenchmarks-highlatency",), ("partisan",), actors=(128,)))
    told.begin(tasks)
    for task in tasks:
        told.start(task, 1)
    told.end(Run())
    lines = out.getvalue().splitlines()
    assert any("0/6" in line and "left" in line for line in lines)
    assert any("partisan 4/16/T" in line and "0/2" in line for line in lines)


def test_the_time_left_ends_with_the_last_cell_and_not_before() -> None:
    from partisan.bench.paper.terminal import Terminal

    told = Terminal(rich.Console(file=io.StringIO(), force_terminal=True, width=120))
    tasks = tasks_of(Wish("quick", ("echo-perf",), repeat=1))
    told.begin(tasks)
    for task in tasks[:-1]:
        told.measured(task, Repetition(10, 1.0))
    assert told._spent < 0.99 * told._planned
    told.end(Run())
