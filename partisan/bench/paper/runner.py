"""Measures cells in turns: of one place, every transport and group once, then all again.

What fails is an outcome: its nodes are ended, the cell is not tried again, and the others go on. However a run ends, no
process and no network is left.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import FrameType
from typing import TypeAlias

from partisan.bench.measure import MeasurementFailed
from partisan.bench.procs import ENDING, ChildFailed

from .cells import Cell, Group, Outcome, Repetition
from .experiments import Task
from .load import look
from .networks import Networks
from .progress import Progress
from .results import Run
from .workloads import find
from .workloads.base import Amount, Workload

WARM_SECONDS = 0.3
"""How long a cell is run before it counts."""

MOST_REASON = 500
"""How long a reason may be, in characters."""

PATIENCE = (MeasurementFailed, ChildFailed, OSError)
"""What a failed measurement raises."""

Key: TypeAlias = tuple[str, str, str, Group, str, float, int]
Command: TypeAlias = Callable[[Cell], str]


@dataclass(slots=True)
class _Trial:
    """A task under way."""

    task: Task
    repetitions: list[Repetition] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    skipped: str = ""
    failed: str = ""

    @property
    def status(self) -> str:
        return "skipped" if self.skipped else "failed" if self.failed or not self.repetitions else "measured"


class Runner:
    """Measures tasks.

    Args:
        networks: opens the places; the runner closes them.
        progress: is told.
        command: cell -> the command that measures it again.
        refused: cells that are not to be tried, and why.
        create: workload -> its class.
        save: called with what was measured so far after each place.
    """

    def __init__(
        self,
        networks: Networks,
        progress: Progress,
        command: Command,
        refused: Mapping[Cell, str] | None = None,
        create: Callable[[str], type[Workload]] = find,
        save: Callable[[Run], None] = lambda run: None,
    ) -> None:
        self._networks = networks
        self._progress = progress
        self._command = command
        self._refused = refused or {}
        self._find = create
        self._save = save
        self._running: dict[Key, Workload] = {}

    def run(self, tasks: Sequence[Task], into: Run) -> None:
        """Measure all of them; `into` has what was measured also when this is ended by an exception."""
        began = time.monotonic()
        self._progress.begin(tasks)
        try:
            for _, place in groupby(tasks, key=lambda task: task.cell.place):
                self._measure_place(list(place), into)
                into.links, into.seconds = self._networks.links, time.monotonic() - began
                self._save(into)
        except BaseException:
            into.interrupted = True
            raise
        finally:
            with undisturbed():
                self._stop_all()
                self._networks.close()
                into.links = self._networks.links
                into.seconds = time.monotonic() - began
                self._progress.end(into)

    def _measure_place(self, tasks: list[Task], into: Run) -> None:
        self._leave(tasks[0].cell)
        trials = [_Trial(task, skipped=self._why_not(task.cell)) for task in tasks]
        try:
            for index in range(max(task.repetitions for task in tasks)):
                for trial in trials:
                    if not trial.skipped and not trial.failed and index < trial.task.repetitions:
                        self._progress.start(trial.task, index + 1)
                        self._measure(trial, first=not index)
        finally:
            # What was measured counts also if there was to be more of it.
            outcomes = [self._outcome(each) for each in trials if each.repetitions or each.skipped or each.failed]
            into.outcomes += outcomes
            for outcome in outcomes:
                self._progress.done(outcome)

    def _why_not(self, cell: Cell) -> str:
        try:
            reason = self._refused.get(cell) or self._find(cell.workload).why_not(cell)
        except LookupError as error:
            reason = str(error)
        emulated = cell.rtt_ms > 0 and not self._networks.missing
        if not reason and cell.scale > 1 and not emulated:
            missing = self._networks.missing or "there is no round trip"
            reason = f"windows are scaled on hosts of an emulated network alone: {missing}"
        return reason or ""

    def _measure(self, trial: _Trial, first: bool) -> None:
        task, key = trial.task, _key(trial.task.cell)
        amount = Amount(task.messages, task.seconds)
        try:
            fresh = key not in self._running
            workload = self._workload(task.cell, key)
            if (first or fresh) and workload.WARM:
                workload.run(task.cell, replace(amount, seconds=min(WARM_SECONDS, amount.seconds)))
            octets, began, load = self._networks.octets(), time.perf_counter(), look(self._networks.relay)
            repetition = workload.run(task.cell, amount)
            shares = load.shares(look(self._networks.relay))
            repetition = replace(repetition, extra=repetition.extra | shares)
            limit = self._networks.limit(task.cell.rtt_ms, task.cell.scale)
            if limit:
                rate = (self._networks.octets() - octets) / (time.perf_counter() - began)
                trial.shares.append(rate / limit)
            trial.repetitions.append(repetition)
        except PATIENCE as error:
            trial.failed = " ".join((str(error) or type(error).__name__).split())[:MOST_REASON]
        # Not while the error is handled: then a signal that comes meanwhile would be lost.
        if trial.failed:
            self._stop(key)
            if fate := self._networks.fate():
                # Nothing that runs in it can go on; what comes next gets another one.
                trial.failed = f"the relay of the emulated network {fate}"
                with undisturbed():
                    self._stop_all()
                    self._networks.close()
        else:
            self._progress.measured(task, trial.repetitions[-1])

    def _workload(self, cell: Cell, key: Key) -> Workload:
        if (running := self._running.get(key)) is not None:
            return running
        kind = self._find(cell.workload)
        self._networks.check(kind.HOSTS, cell.rtt_ms, cell.scale)
        with undisturbed():
            place = self._networks.place(kind.HOSTS, cell.rtt_ms, kind.line(cell), cell.scale)
        # Known before it is started, so that whatever happens it is stopped.
        workload = self._running[key] = kind(cell, place)
        workload.start()
        return workload

    def _leave(self, cell: Cell) -> None:
        """Stop what ran for another experiment or another network."""
        with undisturbed():
            here = (cell.experiment, cell.rtt_ms, cell.scale)
            for key in [key for key in self._running if (key[0], *key[-2:]) != here]:
                self._stop(key)

    def _stop(self, key: Key) -> None:
        workload = self._running.pop(key, None)
        if workload is not None:
            with undisturbed():
                workload.stop()

    def _stop_all(self) -> None:
        """Stop everything, also if stopping one of them fails."""
        if self._running:
            try:
                self._stop(next(iter(self._running)))
            finally:
                self._stop_all()

    def _outcome(self, trial: _Trial) -> Outcome:
        cell = trial.task.cell
        scaled = [trial.task.scaled] if trial.task.scaled else []
        emulated = self._networks.limit(cell.rtt_ms, cell.scale) is not None
        if cell.rtt_ms and not emulated and not trial.skipped:
            scaled.append(f"on plain loopback, without a round trip of {cell.rtt_ms:g} ms: {self._networks.missing}")
        share = max(trial.shares) if trial.shares else None
        return Outcome(
            cell,
            trial.status,
            trial.skipped or trial.failed,
            tuple(trial.repetitions),
            "; ".join(scaled),
            share,
            self._command(cell),
        )


def _key(cell: Cell) -> Key:
    return cell.experiment, cell.workload, cell.transport, cell.group, cell.variant, cell.rtt_ms, cell.scale


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and its like while networks are made and things are ended, which takes a bounded time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        caught.append(number)

    before = [signal.signal(number, note) for number in ENDING]
    try:
        yield
    finally:
        for number, handler in zip(ENDING, before, strict=True):
            signal.signal(number, handler)
        # As if it had come now; an exception that is on its way says the same already.
        if caught and sys.exc_info()[0] is None:
            signal.raise_signal(caught[0])
