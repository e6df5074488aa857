"""What the runner asks of a workload: the running nodes of one transport in one configuration, in one place."""

from __future__ import annotations

import json
import selectors
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from partisan.bench.measure import MeasurementFailed
from partisan.bench.paper.cells import Cell, Repetition
from partisan.bench.paper.networks import FREE, Line
from partisan.bench.places import Place
from partisan.bench.procs import Child, ChildFailed

START_SECONDS = 60.0
"""How long a process may take until it is ready: 64 connections over 120 ms are not made at once."""

SLACK_SECONDS = 30.0
"""How long a repetition may take beyond its own seconds, and how much longer for what is under way at the end."""

SLOW_OCTETS = 10e6
"""At how many octets a second, at worst, what is under way comes in."""

SAMPLES = 5000
"""How many latencies of a repetition are kept at most."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a workload is one repetition: what is reached first ends it.

    Attributes:
        messages: operations of each actor.
        seconds: how long new operations are begun.
    """

    messages: int
    seconds: float


class Workload(ABC):
    """Nodes that can run a cell again and again.

    `start` is called once, then `run` any number of times, for cells that differ from the first in `actors` and
    `octets` alone, then `stop`. When `run` or `start` raises, the runner calls `stop` and begins anew with another one.
    Nothing may hang: every wait is bounded, and a process that ends is noticed (`procs.Child` does both).

    Args:
        cell: the first of the cells that will be run.
        place: where the processes run; its hosts are HOSTS.
    """

    HOSTS: ClassVar[tuple[str, ...]] = ("a", "b")
    """The hosts that are needed; none for what runs in one process and needs no network."""

    WARM: ClassVar[bool] = True
    """Whether a short run that does not count comes before the first of each cell."""

    def __init__(self, cell: Cell, place: Place) -> None:
        self.cell = cell
        self.place = place

    @classmethod
    def why_not(cls, cell: Cell) -> str | None:
        """Say why this cell cannot be tried here ("not on the PATH: erl"), or None. It starts nothing."""
        return None

    @classmethod
    def line(cls, cell: Cell) -> Line:
        """The line on which each host sends, where a network is emulated."""
        return FREE

    @classmethod
    def octets_needed(cls, cell: Cell) -> int:
        """How much memory the processes of a cell take together at most, roughly, in octets."""
        return 512 * 2**20 + 6 * cell.actors * cell.octets

    @abstractmethod
    def start(self) -> None:
        """Start the nodes and wait until all their connections are up. Raises MeasurementFailed or ChildFailed."""

    @abstractmethod
    def run(self, cell: Cell, amount: Amount) -> Repetition:
        """Measure once. Raises MeasurementFailed or ChildFailed: a node has ended, was silent, or answered nonsense."""

    @abstractmethod
    def stop(self) -> None:
        """End every process and remove every file; may be called at any time, and twice."""


def bound(cell: Cell, seconds: float) -> float:
    """Within how many seconds a repetition of so many must have ended."""
    return seconds + SLACK_SECONDS + cell.actors * cell.octets / SLOW_OCTETS


def answer(child: Child, mark: str, seconds: float, beside: Sequence[Child] = ()) -> dict[str, Any]:
    """Wait for a line of JSON with this mark, and watch others meanwhile: who ends is a failure at once.

    Raises ChildFailed: it ended or was silent, or one of the others ended; MeasurementFailed: the line is no object.
    """
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for each in (child, *beside):
            selector.register(each, selectors.EVENT_READ, each)
        while (line := child.find(mark)) is None:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ChildFailed(f"the {child.title} said nothing for {seconds:.0f} s")
            for each in [key.data for key, _ in ready]:
                if not each.read_available():
                    raise ChildFailed(f"the {each.title} {each.fate()}")
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise MeasurementFailed(f"the {child.title} answered {line.strip()[:200]!r}")
    return found


def selected(micros: Sequence[float], most: int = SAMPLES) -> tuple[float, ...]:
    """An even selection of at most so many of the latencies of a repetition."""
    step = -(-len(micros) // most) or 1
    return tuple(micros[::step])
