"""What asyncio offers works inside a process as inside a task."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from partisan._core.process import Process, checkpoint, receive, running
from partisan.errors import NotInProcess, WrongThread
from partisan.etf import Atom
from tests.unit.hollow import Core

Body = Callable[[], Coroutine[Any, Any, Any]]
Run = Callable[..., list[Any]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Run:
    """Run processes on a real loop until all have ended; return their exit reasons.

    Each body is a function of no arguments that gives a coroutine, or of one: the list of the processes.
    """

    def run(*bodies: Callable[..., Coroutine[Any, Any, Any]]) -> list[Any]:
        loop = request.param()
        try:
            core = Core(loop=loop)
            processes: list[Process] = []
            ended = loop.create_future()

            def start() -> None:
                for body in bodies:
                    arguments = (core, processes) if body.__code__.co_argcount else ()
                    processes.append(core.scheduler.spawn(body(*arguments), body.__name__))
                watch()

            def watch() -> None:
                if all(process.done() for process in processes):
                    ended.set_result(None)
                else:
                    loop.call_soon(watch)

            loop.call_soon(start)
            loop.run_until_complete(asyncio.wait_for(ended, 20))
            return [process.exit_reason for process in processes]
        finally:
            loop.close()

    return run


NORMAL = Atom("normal")


def test_a_process_awaits_futures_tasks_and_sleep(on_loop: Run) -> None:
    log: list[Any] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        log.append(await future)
        log.append(await asyncio.create_task(asyncio.sleep(0, "task")))
        await asyncio.sleep(0)
        log.append(await asyncio.sleep(0.001, "slept"))
        log.append(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)))

    assert on_loop(work) == [NORMAL]
    assert log == ["future", "task", "slept", [1, 2]]


def test_the_exception_of_a_future_is_raised_in_the_process(on_loop: Run) -> None:
    async def work() -> None:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(KeyError("k"))
        with pytest.raises(KeyError):
            await future

    assert on_loop(work) == [NORMAL]


def test_current_task_is_the_process(on_loop: Run) -> None:
    async def work() -> None:
        assert asyncio.current_task() is running()
        await asyncio.sleep(0)
        assert asyncio.current_task() is running()
        task = asyncio.current_task()
        assert task is not None
        assert task.get_name() == "work"
        task.set_name("other")
        assert task.get_name() == "other"
        assert task.get_loop() is asyncio.get_running_loop()
        assert not task.done()

    assert on_loop(work) == [NORMAL]


def test_timeout_ends_a_receive(on_loop: Run) -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await receive()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    assert on_loop(work) == [NORMAL]


def test_timeout_ends_a_sleep_and_a_nested_one_ends_first(on_loop: Run) -> None:
    log: list[str] = []

    async def work() -> None:
        async with asyncio.timeout(10):
            try:
                async with asyncio.timeout(0.005):
                    await asyncio.sleep(10)
            except TimeoutError:
                log.append("inner")
            await asyncio.sleep(0)
        log.append("outer goes on")

    assert on_loop(work) == [NORMAL]
    assert log == ["inner", "outer goes on"]


def test_timeout_at_once_is_raised_at_the_first_await(on_loop: Run) -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(-1):
                await receive()

    assert on_loop(work) == [NORMAL]


def test_wait_for_works_on_a_future(on_loop: Run) -> None:
    async def work() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.005)
        assert future.cancelled()

    assert on_loop(work) == [NORMAL]


def test_a_task_group_waits_for_its_tasks(on_loop: Run) -> None:
    log: list[int] = []

    async def part(number: int) -> None:
        await asyncio.sleep(0.001 * number)
        log.append(number)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(part(number))

    assert on_loop(work) == [NORMAL]
    assert log == [0, 1, 2]


def test_a_failing_task_of_a_group_cancels_the_process_inside_it_and_no_further(on_loop: Run) -> None:
    log: list[Any] = []

    async def fail() -> None:
        raise KeyError("part")

    async def work() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await receive()
        except* KeyError as errors:
            log.append(errors.exceptions[0].args)
        task = asyncio.current_task()
        assert task is not None
        log.append(task.cancelling())
        await asyncio.sleep(0)
        log.append("goes on")

    assert on_loop(work) == [NORMAL]
    assert log == [("part",), 0, "goes on"]


def test_cancelling_a_process_cancels_the_group_that_it_waits_in(on_loop: Run) -> None:
    log: list[str] = []
    begun: list[None] = []
    both_have_begun = asyncio.Event()

    async def endless() -> None:
        begun.append(None)
        if len(begun) == 2:
            both_have_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("child cleaned up")

    async def work() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(endless())
                group.create_task(endless())
        finally:
            log.append("process cleaned up")

    async def cancel(core: Core, processes: list[Process]) -> None:
        await both_have_begun.wait()
        assert processes[0].cancel()

    assert on_loop(work, cancel) == [Atom("cancelled"), NORMAL]
    assert log == ["child cleaned up", "child cleaned up", "process cleaned up"]


def test_cancelling_a_process_cancels_what_it_awaits(on_loop: Run) -> None:
    futures: list[asyncio.Future[None]] = []

    async def work() -> None:
        futures.append(asyncio.get_running_loop().create_future())
        await futures[0]

    async def cancel(core: Core, processes: list[Process]) -> None:
        await asyncio.sleep(0)
        processes[0].cancel("enough")

    assert on_loop(work, cancel) == [Atom("cancelled"), NORMAL]
    assert futures[0].cancelled()


def test_a_child_task_sees_self_but_cannot_receive(on_loop: Run) -> None:
    log: list[Any] = []

    async def child() -> None:
        log.append(running())
        with pytest.raises(NotInProcess):
            await receive()
        with pytest.raises(NotInProcess):
            await receive("x", timeout=1)
        with pytest.raises(NotInProcess):
            await checkpoint()

    async def work() -> None:
        await asyncio.create_task(child())
        log.append(running())

    assert on_loop(work) == [NORMAL]
    assert log[0] is log[1] is not None


def test_a_message_that_comes_during_another_await_is_kept(on_loop: Run) -> None:
    log: list[Any] = []

    told = asyncio.Event()

    async def work() -> None:
        log.append(await told.wait())
        log.append(await receive())

    async def tell(core: Core, processes: list[Process]) -> None:
        core.send(processes[0].pid, "message")
        told.set()

    assert on_loop(work, tell) == [NORMAL, NORMAL]
    assert log == [True, "message"]


def test_a_receive_times_out_on_the_loops_clock(on_loop: Run) -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError):
            await receive(timeout=0.005)

    assert on_loop(work) == [NORMAL]


def test_context_variables_of_a_process_reach_its_tasks_but_not_back(on_loop: Run) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []
    done = asyncio.Event()

    async def child() -> None:
        seen.append(variable.get())
        variable.set(2)

    async def work() -> None:
        variable.set(1)
        await asyncio.create_task(child())
        seen.append(variable.get())
        done.set()

    async def other() -> None:
        await done.wait()
        seen.append(variable.get())

    assert on_loop(work, other) == [NORMAL, NORMAL]
    assert seen == [1, 1, 0]


def test_locks_queues_and_events_work_between_processes(on_loop: Run) -> None:
    log: list[int] = []
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    lock = asyncio.Lock()

    async def produce() -> None:
        for number in range(5):
            async with lock:
                await queue.put(number)

    async def consume() -> None:
        for _ in range(5):
            log.append(await queue.get())

    assert on_loop(produce, consume) == [NORMAL, NORMAL]
    assert log == [0, 1, 2, 3, 4]


def test_a_thread_may_not_send_for_a_process(on_loop: Run) -> None:
    async def work(core: Core, processes: list[Process]) -> None:
        with pytest.raises(WrongThread):
            await asyncio.to_thread(core.send, processes[0].pid, 1)

    assert on_loop(work) == [NORMAL]


def test_an_exit_during_a_future_is_not_disturbed_by_its_late_result(on_loop: Run) -> None:
    log: list[Any] = []

    futures: list[asyncio.Future[str]] = []
    waiting, interrupted = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        futures.append(asyncio.get_running_loop().create_future())
        waiting.set()
        try:
            await futures[0]
        except KeyError:
            log.append("interrupted")
        interrupted.set()
        log.append(await receive(timeout=10.0))

    async def interrupt(core: Core, processes: list[Process]) -> None:
        await waiting.wait()
        core.scheduler.interrupt(processes[0], KeyError())
        await interrupted.wait()
        futures[0].set_result("late")
        await asyncio.sleep(0)
        core.send(processes[0].pid, "message")

    assert on_loop(work, interrupt) == [NORMAL, NORMAL]
    assert log == ["interrupted", "message"]


def test_a_lock_goes_to_the_next_when_who_was_about_to_get_it_is_killed(on_loop: Run) -> None:
    log: list[str] = []
    lock = asyncio.Lock()

    async def holder(core: Core, processes: list[Process]) -> None:
        async with lock:
            while len(lock._waiters or ()) < 2:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        processes[1].signal(Atom("kill"), processes[0].pid)

    async def victim() -> None:
        async with lock:
            log.append("victim")

    async def heir() -> None:
        async with lock:
            log.append("heir")

    assert on_loop(holder, victim, heir) == [NORMAL, Atom("killed"), NORMAL]
    assert log == ["heir"]


def test_a_process_is_to_a_library_what_a_task_is(on_loop: Run) -> None:
    seen: list[Any] = []

    async def work(core: Core, processes: list[Process]) -> None:
        mine: Any = asyncio.current_task()
        known = weakref.WeakKeyDictionary({mine: "state"})  # as AnyIO does, and so HTTPX
        waited = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: (seen.extend((mine._fut_waiter is waited, mine._must_cancel)), waited.set_result(None))
        )
        await waited
        seen.extend((known[mine], mine._fut_waiter))
        mine.cancel()
        seen.append(mine._must_cancel)
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append(mine._must_cancel)

    assert on_loop(work) == [NORMAL]
    assert seen == [True, False, "state", None, True, False]
