"""What the benches of the compiled core share: rounds of known work, and a node's core that costs little besides."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.unit.hollow import Core

T = TypeVar("T")
Rounds = Callable[[int, Callable[[], T]], T]


@pytest.fixture
def rounds(benchmark: BenchmarkFixture) -> Rounds[Any]:
    """Time `work` again and again: rounds(count, work), with how many of what the bench is named after a call does.

    Returns what a call returned, so that the bench can see that the work was done.
    """

    def run(count: int, work: Callable[[], T]) -> T:
        benchmark.extra_info["count"] = count
        found: T = benchmark(work)
        return found

    return run


class Turns:
    """What a core asks of a loop; whoever measures makes its turns."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()

    def time(self) -> float:
        return 0.0

    def call_soon(self, function: Callable[[], object]) -> None:
        self.soon.append(function)

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Nothing here waits for time to pass."""


@pytest.fixture
def core() -> Iterator[Core]:
    """A node's core with asyncio's own bookkeeping of tasks, which is C; `run()` makes its turns."""
    turns = Turns()
    loop = cast(asyncio.AbstractEventLoop, turns)
    core = Core(loop=loop, high_water=1 << 30, hard_limit=1 << 30)
    core.soon = turns.soon
    asyncio._set_running_loop(loop)  # its bookkeeping is refused for a loop that does not run, from Python 3.14 on
    try:
        yield core
        for process in list(core.scheduler.processes.values()):
            core.scheduler.interrupt(process, asyncio.CancelledError())
        core.run()
    finally:
        asyncio._set_running_loop(None)
