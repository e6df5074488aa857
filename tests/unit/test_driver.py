"""A driver carries out all that its machine asks for, and fires no timer that was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from partisan.machines.machine import Effect, Notify, Send, StartTimer, StopTimer, TimedOut
from partisan.net.driver import Driver


class Scripted:
    """A machine that answers each event with the effects that the event holds."""

    myself = "scripted"

    def __init__(self) -> None:
        self.fired: list[object] = []

    def handle(self, event: Any, now: float) -> list[Effect]:
        if isinstance(event, TimedOut):
            self.fired.append(event.timer)
            return []
        return list(event)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def refuse(effect: Notify) -> None:
    raise LookupError(effect.fact)


def test_an_effect_that_fails_takes_no_other_with_it(loop: asyncio.AbstractEventLoop) -> None:
    sent: list[object] = []
    waiting: list[Any] = []
    machine = Scripted()
    world = {Send: lambda effect: sent.append(effect.message), Notify: refuse}
    driver: Any = Driver(machine, loop, world, soon=waiting.append)
    with pytest.raises(LookupError, match="no"):
        driver.handle([Send("b", 1), Notify("no"), StartTimer("soon", 0.0), Send("b", 2)])
    assert sent == [1, 2]
    waiting.pop()()
    assert machine.fired == ["soon"]


def test_effects_that_fail_together_are_told_together(loop: asyncio.AbstractEventLoop) -> None:
    driver: Any = Driver(Scripted(), loop, {Notify: refuse})
    with pytest.raises(ExceptionGroup) as caught:
        driver.handle([Notify("one"), Notify("two")])
    assert [str(error) for error in caught.value.exceptions] == ["one", "two"]


@pytest.mark.parametrize("after", [0.0, 30.0], ids=["at the end of a burst", "later"])
def test_a_timer_that_is_stopped_or_replaced_does_not_fire(loop: asyncio.AbstractEventLoop, after: float) -> None:
    waiting: list[Any] = []
    machine = Scripted()
    driver: Any = Driver(machine, loop, {}, soon=waiting.append)
    driver.handle([StartTimer("t", after), StopTimer("t"), StartTimer("u", after), StartTimer("u", 0.0)])
    for fire in waiting:
        fire()
    assert machine.fired == ["u"]
    driver.handle([StopTimer("u")])


def test_an_event_that_comes_of_an_effect_behind_one_that_fails_is_taken_at_once(
    loop: asyncio.AbstractEventLoop,
) -> None:
    sent: list[object] = []
    machine = Scripted()

    def send(effect: Send) -> None:
        sent.append(effect.message)
        if effect.message == 1:
            driver.handle([Send("b", 2)])

    driver: Any = Driver(machine, loop, {Send: send, Notify: refuse})
    with pytest.raises(LookupError):
        driver.handle([Notify("no"), Send("b", 1)])
    assert sent == [1, 2]


def test_a_driver_that_an_effect_has_stopped_sets_no_timer(loop: asyncio.AbstractEventLoop) -> None:
    waiting: list[Any] = []
    driver: Any = Driver(Scripted(), loop, {Send: lambda effect: driver.stop()}, soon=waiting.append)
    driver.handle([Send("b", 1), StartTimer("t", 0.0), StartTimer("u", 30.0)])
    assert (waiting, driver._timers) == ([], {})


class Hasty:
    """A machine that asks for a timer of no time, and one of some."""

    myself = "soon"

    def __init__(self) -> None:
        self.fired: list[object] = []
        self.later = asyncio.Event()

    def handle(self, event: Any, now: float) -> list[Effect]:
        if isinstance(event, TimedOut):
            self.fired.append(event.timer)
            if event.timer == "later":
                self.later.set()
            return []
        return [StartTimer("soon", 0.0), StartTimer("later", 0.01)]


def test_a_timer_of_no_time_may_wait_for_the_end_of_a_burst_instead() -> None:
    async def run() -> None:
        machine, waiting = Hasty(), list[Any]()
        driver = Driver(machine, asyncio.get_running_loop(), {}, soon=waiting.append)  # type: ignore[arg-type]
        driver.handle("begin")  # type: ignore[arg-type]
        assert (machine.fired, len(waiting)) == ([], 1)
        waiting.pop()()
        assert machine.fired == ["soon"]
        await asyncio.wait_for(machine.later.wait(), 5)
        driver.handle("begin")  # type: ignore[arg-type]
        driver.stop()
        waiting.pop()()
        assert machine.fired == ["soon", "later"]

    asyncio.run(run())
