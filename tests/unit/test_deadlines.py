"""Time-outs of what processes wait for: the same as with a timer each, with few timers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from partisan._core.process import Process, receive
from partisan.errors import ReceiveTimeout
from tests.unit.hollow import Core

LENGTHS = (0.05, 0.1, 0.25, 1.0)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("begin"), st.sampled_from(LENGTHS)),
            st.tuples(st.just("pass"), st.sampled_from((0.01, 0.06, 0.3, 1.1))),
            st.tuples(st.just("answer"), st.integers(0, 30)),
        ),
        max_size=40,
    )
)
def test_each_wait_ends_once_by_its_message_or_when_its_time_is_over(steps: list[tuple[str, float]]) -> None:
    core = Core()
    ends: dict[int, tuple[str, float]] = {}
    waits: list[tuple[Process, float, float]] = []  # process, began, length

    async def wait(number: int, seconds: float) -> None:
        try:
            await receive(timeout=seconds)
            ends[number] = ("answer", core.now)
        except ReceiveTimeout:
            ends[number] = ("timeout", core.now)

    def let_pass(seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):  # as a loop that comes round often
            core.advance(0.01)

    for what, value in steps:
        if what == "begin":
            waits.append((core.spawn(wait(len(waits), value)), core.now, value))
        elif what == "pass":
            let_pass(value)
        elif value < len(waits) and int(value) not in ends:
            core.tell(waits[int(value)][0], "answer")
            assert ends[int(value)] == ("answer", core.now)
    let_pass(2.0)
    assert sorted(ends) == list(range(len(waits)))
    for number, (_, began, length) in enumerate(waits):
        how, when = ends[number]
        assert when <= began + length + 0.011
        assert how == "answer" or when >= began + length - 0.0011
    assert len(core.scheduler.deadlines) == 0


def test_waits_of_one_length_share_a_timer() -> None:
    core = Core()
    for _ in range(1000):
        core.spawn(_wait(5.0))
    core.spawn(_wait(1.0))
    assert len(core.timers) == 2
    assert len(core.scheduler.deadlines) == 1001


def test_waits_of_ever_other_lengths_leave_no_timers_behind() -> None:
    core = Core()
    seen: list[Any] = []

    async def patient() -> None:
        for number in range(1000):
            seen.append(await receive(timeout=3600.0 - number))

    process = core.spawn(patient())
    for number in range(1000):
        core.tell(process, number)
    assert len(seen) == 1000
    assert process.done()
    assert sum(not timer.cancelled for timer in core.timers) < 100
    again = core.spawn(_wait(3600.0))  # a length whose timer may have gone
    core.advance(3600.0)
    assert again.done()


def test_a_long_wait_holds_no_shorter_one_up() -> None:
    core = Core()
    core.spawn(_wait(5.0))
    short = core.spawn(_wait(0.5))
    core.advance(0.5)
    assert short.done()
    assert len(core.scheduler.deadlines) == 1


def test_nothing_expires_after_stop() -> None:
    core = Core()
    process = core.spawn(_wait(0.5))
    core.scheduler.deadlines.stop()
    core.advance(1.0)
    assert not process.done()


async def _wait(seconds: float) -> None:
    await receive(timeout=seconds)
