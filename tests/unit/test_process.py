"""Processes on the scheduler: what they receive, and in which order they run."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator

import pytest

from partisan._core.process import Process, checkpoint, current_process_var, receive, running
from partisan.errors import LocalProtocolError, NotInProcess, ReceiveTimeout
from tests.unit.hollow import Cancelled, Core, collect

STEPS = 64
BUDGET = 1024


# Receiving.


def test_messages_are_received_in_order_of_arrival(core: Core) -> None:
    found: list[object] = []
    process = core.spawn(collect(found))
    core.tell(process, *range(100))
    assert found == list(range(100))


def test_messages_that_came_before_the_first_receive_are_there(core: Core) -> None:
    found: list[object] = []
    process = core.start(collect(found))
    for number in range(10):
        core.scheduler.send_local(process, number)
    assert found == []
    core.run()
    assert found == list(range(10))


@pytest.mark.parametrize(
    "message", [None, (), (1,), (1, 2), [], StopIteration(3), ValueError("x"), KeyError, b"", 0], ids=repr
)
def test_any_object_is_received_as_it_is(core: Core, message: object) -> None:
    found: list[object] = []
    core.tell(core.spawn(collect(found)), message)
    assert found == [message]
    assert found[0] is message


def test_any_object_is_received_where_an_iterator_stands_between(core: Core) -> None:
    class Wrapped:
        def __await__(self):  # type: ignore[no-untyped-def]
            return (yield from receive().__await__())

    found: list[object] = []

    async def look() -> None:
        while True:
            found.append(await Wrapped())

    error = StopIteration((1, 2))
    process = core.spawn(look())
    core.tell(process, (1, 2), None, (), error)
    assert found == [(1, 2), None, (), error]


def test_selective_receive_leaves_the_others_where_they_were(core: Core) -> None:
    found: list[object] = []

    async def picky() -> None:
        found.append(await receive("b"))
        found.append(await receive("d", "c"))
        while True:
            found.append(await receive())

    core.tell(core.spawn(picky()), "a", "b", "c", "d", "e")
    assert found == ["b", "c", "a", "d", "e"]


def test_a_message_that_does_not_match_does_not_wake_the_process(core: Core) -> None:
    process = core.spawn(collect([], "never"))
    before = core.scheduler.steps
    core.tell(process, *range(50))
    assert core.scheduler.steps == before


def test_each_message_is_tried_once_by_a_waiting_pattern(core: Core) -> None:
    tried: list[object] = []

    def pattern(message: object) -> bool:
        tried.append(message)
        return message == "yes"

    found: list[object] = []
    process = core.spawn(collect(found, pattern))
    core.tell(process, *range(20))
    assert tried == list(range(20))
    core.tell(process, "yes")
    assert found == ["yes"]
    assert tried[20:22] == ["yes", "yes"], "once by who delivers, once by who takes"


def test_a_pattern_that_raises_fails_its_process_and_not_who_delivers(core: Core) -> None:
    def broken(message: object) -> bool:
        raise ZeroDivisionError(message)

    process = core.spawn(collect([], broken))
    core.tell(process, "x")
    assert [(ended, type(error)) for ended, _, error in core.exits] == [(process, ZeroDivisionError)]


def test_an_abandoned_receive_that_is_awaited_again_looks_at_everything(core: Core) -> None:
    found: list[object] = []

    async def twice() -> None:
        wait = receive("a", "b")
        try:
            await wait
        except KeyError:
            await receive(0)
            found.append(await wait)
            await receive("never")

    process = core.spawn(twice())
    core.tell(process, 0, 1, 2)
    core.scheduler.interrupt(process, KeyError())
    core.tell(process, "a")
    assert found == ["a"]
    assert list(process.mailbox) == [1, 2]


# Time-outs.


def test_a_receive_times_out_when_nothing_came(core: Core) -> None:
    found: list[object] = []
    core.spawn(collect(found, timeout=2.5))
    core.advance(2.4)
    assert found == []
    core.advance(0.2)
    assert isinstance(found[0], ReceiveTimeout)
    assert found[0].seconds == 2.5


def test_messages_that_do_not_match_do_not_put_a_time_out_off(core: Core) -> None:
    found: list[object] = []
    process = core.spawn(collect(found, "never", timeout=1.0))
    core.advance(0.9)
    core.tell(process, 1, 2, 3)
    core.advance(0.2)
    assert isinstance(found[0], ReceiveTimeout)


def test_a_message_in_time_puts_the_time_out_off(core: Core) -> None:
    found: list[object] = []
    process = core.spawn(collect(found, timeout=1.0))
    core.advance(0.6)
    core.tell(process, "x")
    core.advance(0.6)
    assert found == ["x"]
    assert len(core.scheduler.deadlines) == 1
    core.advance(0.5)
    assert isinstance(found[1], ReceiveTimeout)
    assert len(core.scheduler.deadlines) == 0


def test_a_message_that_comes_with_the_time_out_wins(core: Core) -> None:
    found: list[object] = []
    process = core.spawn(collect(found, timeout=1.0))
    core.now += 1.0
    core.timers[0].function()  # the process is ready to raise, but has not run yet
    core.scheduler.send_local(process, "just in time")
    core.run()
    assert found[0] == "just in time"


def test_a_time_out_of_zero_only_looks(core: Core) -> None:
    found: list[object] = []

    async def look() -> None:
        await receive("go")
        found.append(await receive(int, timeout=0))
        with pytest.raises(ReceiveTimeout):
            await receive(int, timeout=0)
        found.append("done")

    core.tell(core.spawn(look()), 7, "go")
    assert found == [7, "done"]
    assert core.timers == []


def test_an_interrupted_receive_leaves_no_timer_behind(core: Core) -> None:
    async def patient() -> None:
        try:
            await receive(timeout=3600.0)
        except KeyError:
            await receive()

    process = core.spawn(patient())
    core.scheduler.interrupt(process, KeyError())
    core.run()
    assert len(core.scheduler.deadlines) == 0


def test_a_closed_coroutine_leaves_no_timer_behind(core: Core) -> None:
    async def patient() -> None:
        await receive(timeout=3600.0)

    process = core.spawn(patient())
    process.get_coro().close()
    assert len(core.scheduler.deadlines) == 0


# Who may receive.


def test_receive_outside_a_process_is_refused() -> None:
    with pytest.raises(NotInProcess):
        receive()
    assert running() is None


def test_another_process_cannot_use_ones_receive(core: Core) -> None:
    waits: list[object] = []

    async def lend() -> None:
        waits.append(receive("x"))
        await receive()

    async def borrow() -> None:
        await waits[0]  # type: ignore[misc]

    core.spawn(lend())
    borrower = core.spawn(borrow())
    assert isinstance(borrower.exit_reason, NotInProcess)


def test_checkpoint_outside_a_process_is_refused() -> None:
    with pytest.raises(NotInProcess):
        next(checkpoint().__await__())


def test_a_process_sees_itself_in_its_context_and_nobody_elsewhere(core: Core) -> None:
    seen: list[Process | None] = []

    async def look() -> None:
        seen.append(running())
        seen.append(current_process_var.get())

    process = core.spawn(look())
    assert seen == [process, process]
    assert running() is None


def test_contexts_of_processes_are_apart(core: Core) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    async def write(value: int) -> None:
        variable.set(value)
        await receive()
        seen.append(variable.get())

    processes = [core.spawn(write(value)) for value in (1, 2, 3)]
    for process in processes:
        core.tell(process, "go")
    assert seen == [1, 2, 3]
    assert variable.get() == 0


# Fairness.


def test_a_run_makes_a_bounded_number_of_steps(core: Core) -> None:
    stepped: list[int] = []

    async def count(number: int) -> None:
        stepped.append(number)

    for number in range(STEPS + 10):
        core.start(count(number))
    assert core.scheduler.run() is True
    assert stepped == list(range(STEPS))
    assert core.scheduler.run() is False
    assert stepped == list(range(STEPS + 10))


def test_a_process_with_a_long_mailbox_lets_others_run(core: Core) -> None:
    log: list[str] = []

    async def greedy() -> None:
        while True:
            await receive()
            log.append("greedy")

    async def modest() -> None:
        log.append("modest")

    process = core.start(greedy())
    for _ in range(2 * BUDGET):
        core.scheduler.send_local(process, 1)
    core.start(modest())
    core.run()
    assert log.index("modest") == BUDGET
    assert log.count("greedy") == 2 * BUDGET


def test_a_checkpoint_lets_others_run_when_the_share_is_used_up(core: Core) -> None:
    log: list[str] = []

    async def busy() -> None:
        for _ in range(BUDGET + 1):
            await checkpoint()
            log.append("busy")

    async def other() -> None:
        log.append("other")

    core.start(busy())
    core.start(other())
    core.run()
    assert log.index("other") == BUDGET
    assert len(log) == BUDGET + 2


def test_two_processes_that_talk_for_ever_do_not_keep_the_loop_from_its_sockets(core: Core) -> None:
    async def ping(other: list[Process]) -> None:
        while True:
            await receive()
            core.send(other[0].pid, "ball")

    others: tuple[list[Process], list[Process]] = ([], [])
    left, right = core.spawn(ping(others[0])), core.spawn(ping(others[1]))
    others[0].append(right)
    others[1].append(left)
    core.scheduler.send_local(left, "ball")
    before = core.scheduler.steps
    core.turn()
    assert core.scheduler.steps - before == STEPS
    assert core.soon, "the rest was arranged for"
    for process in (left, right):
        core.scheduler.interrupt(process, Cancelled())
    core.run()


def test_a_bare_yield_waits_for_the_next_turn(core: Core) -> None:
    log: list[str] = []

    class Bare:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    async def polite(name: str) -> None:
        log.append(name + "1")
        await Bare()
        log.append(name + "2")

    core.start(polite("a"))
    core.start(polite("b"))
    core.turn()
    assert log == ["a1", "b1"]
    core.turn()
    assert log == ["a1", "b1", "a2", "b2"]


def test_a_process_that_awaits_what_is_no_future_is_told(core: Core) -> None:
    class Odd:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield 42

    async def odd() -> None:
        await Odd()

    assert isinstance(core.spawn(odd()).exit_reason, LocalProtocolError)


# The loop's own.


def test_run_inside_a_process_is_refused(core: Core) -> None:
    async def nested() -> None:
        core.scheduler.run()

    assert isinstance(core.spawn(nested()).exit_reason, LocalProtocolError)


def test_a_process_stands_in_for_the_current_task_while_it_runs(core: Core) -> None:
    process = core.spawn(collect([]))
    assert core.tasks == [process, None]


def test_a_refused_step_is_made_later() -> None:
    """A loop that is inside a task refuses to enter another one."""
    core = Core()
    found: list[object] = []
    process = core.start(collect(found))
    core.scheduler.send_local(process, 1)

    class Refusing(list):  # type: ignore[type-arg]
        def append(self, task: object) -> None:
            raise RuntimeError("inside a task")

    core.tasks = Refusing()
    with pytest.raises(RuntimeError):
        core.run()
    core.tasks = []
    core.run()
    assert found == [1]
    core.close()


def test_processes_that_never_wait_keep_the_sockets_waiting_for_one_budget_not_for_many(core: Core) -> None:
    taken: list[int] = []

    async def greedy() -> None:
        while len(taken) < 40 * BUDGET:
            await checkpoint()
            taken.append(1)

    for _ in range(8):
        core.start(greedy())
    most = 0
    while len(taken) < 40 * BUDGET:
        before = len(taken)
        core.scheduler.run()
        most = max(most, len(taken) - before)
    core.run()
    assert 0 < most <= 2 * BUDGET


class Refusing:
    """It looks like a future, and fails where it is asked."""

    def __init__(self, at: str) -> None:
        self.at = at

    def __await__(self) -> Iterator[object]:
        return (yield self)

    def __repr__(self) -> str:
        raise ValueError("repr")

    @property
    def _asyncio_future_blocking(self) -> bool:
        if self.at == "look":
            raise ValueError("look")
        return self.at != "repr"

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, value: bool) -> None:
        if self.at == "write":
            raise ValueError("write")

    def add_done_callback(self, function: object, *, context: object) -> None:
        raise ValueError("callback")


@pytest.mark.parametrize("at", ["look", "write", "repr", "callback"])
def test_a_future_that_fails_where_it_is_awaited_raises_in_its_process_alone(core: Core, at: str) -> None:
    found: list[object] = []

    async def wait() -> None:
        try:
            await Refusing(at)
        except ValueError as error:
            found.append(str(error))
        found.append(await receive())

    process, other = core.start(wait()), core.start(collect(found))
    core.run()
    core.tell(process, "goes on")
    core.tell(other, "so does another")
    assert found == [at, "goes on", "so does another"]


def test_a_process_that_is_ended_by_a_future_that_fails_runs_once_more(core: Core) -> None:
    class Fatal(Refusing):
        def add_done_callback(self, function: object, *, context: object) -> None:
            process.doom("enough")
            super().add_done_callback(function, context=context)

        def cancel(self) -> None:
            pass

    async def wait() -> None:
        await Fatal("callback")

    process = core.start(wait())
    core.run()
    assert process.exit_reason == "enough"
    assert core.scheduler.steps == 2
