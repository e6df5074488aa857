"""A run told to a terminal: a bar with the time left, and a live table of the place that is being measured.

What is finished scrolls away above them, a line a cell. It needs rich, which comes with the extra `bench`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from .cells import Cell, Outcome, Repetition, Spot
from .experiments import Task, estimate
from .plots import label
from .progress import figures, title
from .results import Run
from .verdicts import point


def can_draw() -> bool:
    """Whether standard output is a terminal, and rich is here."""
    return sys.stdout.isatty() and find_spec("rich") is not None


class Terminal:
    """Tells a run as it goes; see `Progress`.

    Args:
        console: a `rich.console.Console`; None for one of standard output.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console() if console is None else console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[left]} left"), console=self._console)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._row: Any = None
        self._place: Spot | None = None
        self._found: dict[Task, list[Repetition]] = {}
        self._tasks: dict[Cell, Task] = {}
        self._planned = self._spent = 0.0
        self._began = 0.0

    def begin(self, tasks: Sequence[Task]) -> None:
        """All that will be measured."""
        total = sum(task.repetitions for task in tasks)
        self._tasks = {task.cell: task for task in tasks}
        # Each with the start of its nodes, also where others start them: as it is counted when it is done.
        self._planned, self._began = sum(task.repetitions * _weight(task) for task in tasks), time.monotonic()
        self._row = self._bar.add_task("begins", total=total, left=_minutes(estimate(tasks)))
        self._live.start()

    def say(self, text: str) -> None:
        """Something to be known."""
        self._console.print(text, highlight=False, markup=False)

    def start(self, task: Task, repetition: int) -> None:
        """A cell is about to be measured."""
        if task.cell.place != self._place:
            self._place, self._found = task.cell.place, {}
        self._found.setdefault(task, [])
        self._bar.update(self._row, description=f"{task.cell.experiment}: {_configuration(task)}")
        self._draw()

    def measured(self, task: Task, repetition: Repetition) -> None:
        """It was."""
        self._found.setdefault(task, []).append(repetition)
        self._spent += _weight(task)
        self._bar.update(self._row, advance=1, left=_minutes(self._left()))
        self._draw()

    def _left(self) -> float:
        """The estimate of what is to come, corrected by how well it has held so far."""
        to_come = max(0.0, self._planned - self._spent)
        return to_come * (time.monotonic() - self._began) / self._spent if self._spent else to_come

    def done(self, outcome: Outcome) -> None:
        """A cell is finished."""
        task = self._tasks[outcome.cell]
        if outcome.status != "measured":  # there is no more of it to wait for
            rest = task.repetitions - len(outcome.repetitions)
            self._planned -= rest * _weight(task)
            self._bar.update(self._row, advance=rest, left=_minutes(self._left()))
        self.say(f"{outcome.cell.experiment}: {title(outcome.cell)}: {figures(outcome)}")
        self.say(f"    again: {outcome.command}")

    def end(self, run: Run) -> None:
        """All is done, or the run was ended."""
        self._live.stop()
        counts = [sum(each.status == word for each in run.outcomes) for word in ("measured", "skipped", "failed")]
        told = f"{counts[0]} measured, {counts[1]} skipped, {counts[2]} failed in {_minutes(run.seconds)}"
        self.say(told + (", ended before all was measured" if run.interrupted else ""))

    def _draw(self) -> None:
        from rich.console import Group
        from rich.table import Table

        cells = list(self._found)
        table = Table(title=f"{cells[0].cell.experiment}: {point(cells[0].cell)}", title_justify="left")
        for name in ("configuration", "times", "operations/s", "median ms", "p99 ms"):
            table.add_column(name, justify="left" if name == "configuration" else "right", no_wrap=True)
        for task, repetitions in self._found.items():
            table.add_row(*_line(task, repetitions))
        self._live.update(Group(table, self._bar))


def _weight(task: Task) -> float:
    """The seconds of one of its repetitions, roughly, the start of its nodes included."""
    return estimate([task]) / task.repetitions


def _configuration(task: Task) -> str:
    """What tells a cell from the others of its place."""
    return label(task.cell) or task.cell.transport


def _line(task: Task, repetitions: Sequence[Repetition]) -> list[str]:
    if not repetitions:
        return [_configuration(task), f"0/{task.repetitions}", "", "", ""]
    outcome = Outcome(task.cell, "measured", repetitions=tuple(repetitions))
    latencies = [f"{outcome.median_ms:.3f}", f"{outcome.p99_ms:.3f}"] if repetitions[0].micros else ["", ""]
    return [_configuration(task), f"{len(repetitions)}/{task.repetitions}", f"{outcome.rate:,.1f}", *latencies]


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
