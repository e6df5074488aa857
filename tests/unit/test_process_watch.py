"""What the scheduler reports of its processes: steps that take long, and mailboxes that grow large."""

from __future__ import annotations

from typing import Any

import pytest

from partisan._core.process import Process, checkpoint, receive
from tests.unit.hollow import Core


class Watched(Core):
    """A core whose time passes only when a process says so.

    Attributes:
        slow: (process, seconds, steps), as reported.
        crowded: (process, messages), as reported.
        looks: how often somebody looked at the stopwatch.
    """

    def __init__(self, long_step: float = 1.0, large_mailbox: int = 10) -> None:
        super().__init__()
        self.seconds = 0.0
        self.looks = 0
        self.slow: list[tuple[Process | None, float, int]] = []
        self.crowded: list[tuple[Process, int]] = []
        self.watch(long_step, large_mailbox)

    def watch(self, long_step: float, large_mailbox: int) -> None:
        self.scheduler.watch(
            stopwatch=self.look,
            long_step=long_step,
            slow=lambda *report: self.slow.append(report),
            large_mailbox=large_mailbox,
            crowd=lambda process: self.crowded.append((process, len(process.mailbox))),
        )

    def look(self) -> float:
        self.looks += 1
        return self.seconds

    async def work(self, *seconds: float) -> None:
        """A process that takes so long in each of its steps."""
        for each in seconds:
            self.seconds += each
            await checkpoint()


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def idle() -> None:
    await receive()


async def collect(found: list[Any], *patterns: Any) -> None:
    while True:
        found.append(await receive(*patterns))


def test_a_long_step_that_is_alone_in_its_run_is_reported_at_once(watched: Watched) -> None:
    process = watched.spawn(watched.work(0.5))
    assert watched.slow == []
    process = watched.spawn(watched.work(2.0))
    assert watched.slow == [(process, 2.0, 1)]


def test_who_was_slow_among_many_is_not_known_the_first_time_and_named_the_next(watched: Watched) -> None:
    others = [watched.start(collect([])) for _ in range(3)]

    async def again() -> None:
        while True:
            watched.seconds += 2.0
            await receive()

    culprit = watched.start(again())
    watched.run()
    assert watched.slow == [(None, 2.0, 4)]
    watched.tell(others[0], 1)
    for process in (*others, culprit):
        watched.scheduler.send_local(process, 1)
    watched.run()
    assert watched.slow[1:] == [(culprit, 2.0, 1)]


def test_many_short_steps_are_no_long_one_once_they_are_timed_one_by_one(watched: Watched) -> None:
    async def short() -> None:
        while True:
            watched.seconds += 0.5
            await receive()

    processes = [watched.start(short()) for _ in range(4)]
    watched.run()
    assert watched.slow == [(None, 2.0, 4)]
    for process in processes:
        watched.scheduler.send_local(process, 1)
    watched.run()
    assert len(watched.slow) == 1


def test_after_a_run_that_took_long_the_loop_has_its_turn_as_soon_as_one_has(watched: Watched) -> None:
    ring: list[Process] = []

    async def compute(place: int) -> None:
        for _ in range(40):
            watched.seconds += 0.5
            watched.scheduler.send_local(ring[place - 1], 1)
            await receive()

    ring += [watched.start(compute(place)) for place in range(4)]
    taken = []
    for _ in range(3):
        began = watched.seconds
        assert watched.scheduler.run()
        taken.append(watched.seconds - began)
    assert 2.0 < taken[0] <= 8.0
    assert max(taken[1:]) <= 2.0
    watched.run()


def test_a_report_names_a_process_that_has_ended(watched: Watched) -> None:
    async def end() -> None:
        watched.seconds += 3.0

    process = watched.spawn(end())
    assert watched.slow == [(process, 3.0, 1)]
    assert process.get_coro() is None


def test_nothing_is_timed_when_nothing_is_to_be_reported() -> None:
    core = Watched(long_step=0.0)
    core.spawn(core.work(5.0))
    assert (core.looks, core.slow) == (0, [])
    core.watch(1.0, 0)
    process = core.spawn(core.work(5.0))
    assert core.slow == [(process, 5.0, 1)]
    assert core.looks > 0


def test_a_run_looks_at_the_stopwatch_seldom(watched: Watched) -> None:
    for _ in range(10):
        watched.start(idle())
    watched.looks = 0
    watched.run()
    assert watched.looks == 3


def test_a_mailbox_is_reported_when_it_passes_the_limit_and_again_after_it_was_half_of_that(watched: Watched) -> None:
    found: list[Any] = []
    process = watched.spawn(collect(found, int))
    watched.tell(process, *"abcdefghij")
    assert watched.crowded == []
    watched.tell(process, *"klm")
    assert watched.crowded == [(process, 11)]
    watched.tell(process, 1)
    assert len(process.mailbox) == 13
    watched.tell(process, "n")
    assert len(watched.crowded) == 1


def test_a_mailbox_that_was_emptied_is_reported_anew(watched: Watched) -> None:
    async def twice() -> None:
        for _ in range(2):
            await receive(str)
            for _ in range(20):
                await receive(int)

    process = watched.spawn(twice())
    watched.tell(process, *range(20))
    watched.tell(process, "go")
    assert len(process.mailbox) == 0
    watched.tell(process, *range(20))
    assert watched.crowded == [(process, 11), (process, 11)]


def test_a_limit_that_changes_holds_for_mailboxes_that_are_there(watched: Watched) -> None:
    process = watched.start(collect([], int))
    watched.tell(process, *"abc")
    watched.watch(1.0, 3)
    watched.tell(process, "d")
    assert watched.crowded == [(process, 4)]
    watched.watch(1.0, 0)
    watched.tell(watched.start(idle()), *"abcdefghijklmn")
    assert len(watched.crowded) == 1
