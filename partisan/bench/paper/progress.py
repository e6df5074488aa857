"""What a run tells as it goes: to a terminal's live table, or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from partisan.bench.report import size

from .cells import Cell, Outcome, Repetition
from .experiments import Task, estimate
from .results import Run


class Progress(Protocol):
    """Who is told of a run. Calls come from one thread, and must return soon."""

    def begin(self, tasks: Sequence[Task]) -> None:
        """All that will be measured."""

    def say(self, text: str) -> None:
        """Something to be known: what is missing, what a network can carry."""

    def start(self, task: Task, repetition: int) -> None:
        """A cell is about to be measured; repetitions count from 1."""

    def measured(self, task: Task, repetition: Repetition) -> None:
        """It was."""

    def done(self, outcome: Outcome) -> None:
        """A cell is finished: measured, skipped or failed."""

    def end(self, run: Run) -> None:
        """All is done, or the run was ended; every process has ended."""


class Lines:
    """Tells a line an outcome.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._print = say
        self._total = 0
        self._done = 0
        self._experiment = ""
        self._began = time.monotonic()

    def begin(self, tasks: Sequence[Task]) -> None:
        """See `Progress`."""
        self._total = len(tasks)
        self._began = time.monotonic()
        minutes = estimate(tasks) / 60
        self._print(f"{self._total} cells, about {minutes:.0f} minute{'s' if round(minutes) != 1 else ''}")

    def say(self, text: str) -> None:
        """See `Progress`."""
        self._print(text)

    def start(self, task: Task, repetition: int) -> None:
        """See `Progress`."""
        if task.cell.experiment != self._experiment:
            self._experiment = task.cell.experiment
            self._print(f"\n{self._experiment}")

    def measured(self, task: Task, repetition: Repetition) -> None:
        """See `Progress`."""

    def done(self, outcome: Outcome) -> None:
        """See `Progress`."""
        self._done += 1
        self._print(f"[{self._done}/{self._total}] {title(outcome.cell)}: {figures(outcome)}")
        self._print(f"    again: {outcome.command}")

    def end(self, run: Run) -> None:
        """See `Progress`."""
        counts = [sum(each.status == status for each in run.outcomes) for status in ("measured", "skipped", "failed")]
        ended = ", ended before all was measured" if run.interrupted else ""
        self._print(
            f"\n{counts[0]} measured, {counts[1]} skipped, {counts[2]} failed in {run.seconds / 60:.1f} minutes{ended}"
        )


def title(cell: Cell) -> str:
    """Name a cell in a line."""
    group = "" if cell.transport == "disterl" else f" {cell.group.channels}/{cell.group.parallelism}"
    affinity = "/T" if cell.group.affinity else "/F" if group else ""
    words = [f"{cell.transport}{group}{affinity}", f"{cell.actors} actors"]
    if cell.octets:
        words.append(size(cell.octets))
    if cell.rtt_ms:
        words.append(f"{cell.rtt_ms:g} ms")
    if cell.scale > 1:
        words.append(f"windows 1/{cell.scale}")
    return ", ".join([*words, cell.variant] if cell.variant else words)


def figures(outcome: Outcome) -> str:
    """What was found, in a line."""
    if outcome.status != "measured":
        return f"{outcome.status}: {outcome.reason}"
    words = []
    if any(each.micros for each in outcome.repetitions):
        words += [f"median {outcome.median_ms:.3f} ms", f"p99 {outcome.p99_ms:.3f} ms"]
    words.append(f"{outcome.rate:,.1f}/s")
    extra = outcome.repetitions[-1].extra
    words += [f"{name} {value:,.6g}" for name, value in extra.items() if name not in ("cpu", "relay")]
    relay = f" ({extra['relay']:.0%} the relay)" if "relay" in extra else ""
    words += [f"processors {extra['cpu']:.0%} busy{relay}"] if "cpu" in extra else []
    if outcome.link_share is not None:
        words.append(f"link {100 * outcome.link_share:.0f} %" + (" (it is the link)" if outcome.link_bound else ""))
    return ", ".join(words)
