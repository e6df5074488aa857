"""Processes of a node: what is known of them, options at their start, blocking work, and their end with the node."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import operator
import os
import threading
import time
from concurrent.futures import BrokenExecutor
from typing import Any

import pytest
from support import Events, Sink, eventually, running

import partisan
from partisan import Atom, Exit, NameTaken, telemetry

KILL, BOOM = Atom("kill"), Atom("boom")
EXIT = Atom("EXIT")


async def idle() -> None:
    await wait()


async def wait() -> None:
    await partisan.receive("never")


# What is known of a process.


async def test_processes_are_listed_oldest_first() -> None:
    async with running("a") as [a]:
        pids = [a.spawn(idle) for _ in range(3)]
        assert partisan.processes() == pids
        a.exit(pids[1], KILL)
        await eventually(lambda: a.processes() == [pids[0], pids[2]])


async def test_process_info_tells_what_a_process_is_and_does() -> None:
    async with running("a") as [a]:
        pid = a.spawn(idle, name="idler")
        a.send(pid, "one")
        a.send(pid, ("two", 2))
        await asyncio.sleep(0)
        info = partisan.process_info(pid)
        assert info is not None
        assert "messages" not in info
        module, function, arity = info["current_function"]
        assert (module.rpartition(".")[2], function, arity) == ("test_process_calls", "wait", 0)
        assert info["initial_call"][1:] == ("idle", 0)
        assert info["current_location"][0] == __file__
        assert info["registered_name"] == "idler"
        assert info["status"] == "waiting"
        assert info["message_queue_len"] == 2
        assert info["trap_exit"] is False
        assert info["links"] == info["monitors"] == info["monitored_by"] == []
        assert a.process_info(pid, [Atom("messages"), "dropped"]) == {"messages": ["one", ("two", 2)], "dropped": 0}
        assert a.process_info(pid, "status") == {"status": "waiting"}


async def test_process_info_tells_who_is_tied_to_a_process() -> None:
    async with running("a") as [a]:
        target = a.spawn(idle, name="target")

        async def body() -> None:
            partisan.trap_exit()
            partisan.link(target)
            partisan.monitor(target)
            partisan.monitor("target")
            await wait()

        pid = a.spawn(body)
        await asyncio.sleep(0)
        named = (Atom("target"), Atom(a.name))
        assert a.process_info(pid, ["links", "monitors", "trap_exit"]) == {
            "links": [target],
            "monitors": [("process", target), ("process", named)],
            "trap_exit": True,
        }
        assert a.process_info(target, ["links", "monitored_by"]) == {"links": [pid], "monitored_by": [pid, pid]}
        count = a.counters()
        assert (count["processes"], count["links"], count["monitors"]) == (2, 2, 2)


async def test_the_status_of_a_process_follows_what_it_does() -> None:
    async with running("a") as [a]:
        found: list[Any] = []

        def status(pid: partisan.Pid) -> Any:
            info = a.process_info(pid, "status")
            return None if info is None else info["status"]

        async def body() -> None:
            found.append(status(partisan.self()))
            try:
                await asyncio.sleep(60.0)
            finally:
                await asyncio.sleep(60.0)

        pid = a.spawn(body)
        found.append(status(pid))
        await asyncio.sleep(0)
        found.append(status(pid))
        a.exit(pid, BOOM)
        found.append(status(pid))
        a.exit(pid, KILL)
        await eventually(lambda: a.processes() == [])
        found.append(status(pid))
        assert found == ["runnable", "running", "waiting", "exiting", None]


async def test_process_info_refuses_what_it_does_not_know() -> None:
    async with running("a") as [a]:
        pid = a.spawn(idle)
        with pytest.raises(ValueError, match="heap_size"):
            a.process_info(pid, ["heap_size"])
        with pytest.raises(ValueError, match="no process of this node"):
            a.process_info(partisan.Pid("b@127.0.0.1", 1))


# Options at the start.


async def full(found: list[Any]) -> None:
    """Take nothing until told to."""
    await partisan.receive("go")
    while True:
        found.append(await partisan.receive())


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop_newest", [0, 1, 2, 3]), ("drop_oldest", [7, 8, 9])], ids=["newest", "oldest"]
)
async def test_a_bounded_mailbox_keeps_what_its_policy_says(policy: Any, kept: list[int]) -> None:
    async with running("a", telemetry_interval=0.01) as [a]:
        events, found = Events(a), list[Any]()
        pid = partisan.spawn_opt(full, found, max_mailbox=4, mailbox_policy=policy)
        for number in range(10):
            a.send(pid, number)
        info = a.process_info(pid, ["message_queue_len", "dropped"])
        assert info == {"message_queue_len": 4, "dropped": 6}
        process = a.scheduler.find(pid)
        assert process is not None
        if policy == "drop_newest":
            process.remove(lambda message: message == 0)
            kept = kept[1:]
        a.send(pid, "go")
        await eventually(lambda: found == kept)
        lost = 6 + (policy == "drop_oldest")
        assert a.counters()["messages"]["dropped"] == lost
        await eventually(lambda: events.of(telemetry.QUEUE_DROPPED))
        assert sum(counts["count"] for name, counts, _ in events.seen if name == telemetry.QUEUE_DROPPED) == lost
        assert events.of(telemetry.QUEUE_DROPPED) == [{"side": "receiver"}]


async def test_a_mailbox_that_may_not_overflow_ends_its_process() -> None:
    async with running("a") as [a]:
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def body() -> None:
            partisan.trap_exit()
            pid = partisan.spawn_opt(idle, link=True, max_mailbox=2, mailbox_policy="exit")
            for number in range(5):
                partisan.send(pid, number)
            outcome.set_result((pid, await partisan.receive()))

        a.spawn(body)
        pid, message = await asyncio.wait_for(outcome, 5.0)
        assert message == (EXIT, pid, (Atom("system_limit"), Atom("max_mailbox")))


async def test_spawn_opt_names_links_and_monitors_before_the_process_runs() -> None:
    async with running("a") as [a]:
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def crash() -> None:
            raise Exit(BOOM)

        async def body() -> None:
            partisan.trap_exit()
            pid, reference = partisan.spawn_opt(crash, name="crasher", link=True, monitor=True)
            assert partisan.whereis("crasher") == pid
            outcome.set_result((pid, reference, [await partisan.receive(), await partisan.receive()]))

        a.spawn(body)
        pid, reference, messages = await asyncio.wait_for(outcome, 5.0)
        assert messages == [(EXIT, pid, BOOM), (Atom("DOWN"), reference, Atom("process"), pid, BOOM)]


@pytest.mark.parametrize("options", [{"max_mailbox": 0}, {"max_mailbox": 1, "mailbox_policy": "burn"}], ids=str)
async def test_a_start_with_wrong_options_starts_nothing(options: Any) -> None:
    async with running("a") as [a]:
        with pytest.raises(ValueError, match="mailbox"):
            a.spawn_opt(idle, name="idler", **options)
        await eventually(lambda: a.processes() == [])
        a.spawn_opt(idle, name="idler")
        with pytest.raises(NameTaken):
            a.spawn_opt(idle, name="idler")
        assert len(a.processes()) == 1


# What blocks.


def hold(release: threading.Event, begun: threading.Event) -> bool:
    begun.set()
    return release.wait(20.0)


@pytest.mark.parametrize("to", ["thread", "process"])
async def test_offloaded_work_gives_its_result_or_its_error(to: Any) -> None:
    async with running("a", offload_processes=1) as [a]:
        assert await partisan.offload(operator.add, 20, 22, to=to) == 42
        with pytest.raises(ZeroDivisionError, match="by zero"):
            await a.offload(operator.floordiv, 1, 0, to=to)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await a.offload(next, iter([]), to=to)


async def test_a_worker_process_that_dies_fails_its_work_and_not_the_next() -> None:
    async with running("a", offload_processes=1) as [a]:
        with pytest.raises(BrokenExecutor):
            await a.offload(os._exit, 1, to="process")
        assert await a.offload(operator.add, 20, 22, to="process") == 42


async def test_offloaded_work_holds_up_nobody() -> None:
    async with running("a") as [a]:
        release, begun, sink = threading.Event(), threading.Event(), Sink(a)

        async def body() -> None:
            partisan.send("sink", await partisan.offload(hold, release, begun))

        a.spawn(body)
        await eventually(begun.is_set)
        a.send("sink", "meanwhile")
        await sink.has(1)
        release.set()
        assert await sink.has(2) == ["meanwhile", True]


@pytest.mark.parametrize("reason", [BOOM, KILL], ids=repr)
async def test_offloaded_work_of_a_process_that_ends_is_abandoned_and_what_waits_never_begins(reason: Atom) -> None:
    async with running("a", offload_threads=1) as [a]:
        release, begun, never = threading.Event(), threading.Event(), threading.Event()

        async def body(started: threading.Event) -> None:
            await partisan.offload(hold, release, started)

        pids = [a.spawn(body, begun), a.spawn(body, never)]
        await eventually(begun.is_set)
        for pid in pids:
            a.exit(pid, reason)
        await eventually(lambda: a.processes() == [])
        release.set()
        assert await a.offload(operator.add, 1, 2) == 3
        assert not never.is_set()


async def test_a_node_that_stops_leaves_running_threads_behind_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    release, begun, never = threading.Event(), threading.Event(), threading.Event()
    async with running("a", offload_threads=1) as [a]:
        waiting = [asyncio.ensure_future(a.offload(hold, release, each)) for each in (begun, never)]
        await eventually(begun.is_set)
        await a.stop()
        assert "1 offloaded functions run" in caplog.text
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]
        release.set()
        assert await waiting[0]
    assert not never.is_set()


async def test_a_node_that_stops_ends_its_worker_processes() -> None:
    async with running("a", offload_processes=1) as [a]:
        await a.offload(operator.add, 1, 2, to="process")
        waiting = asyncio.ensure_future(a.offload(time.sleep, 3600.0, to="process"))
        executor: Any = a._executors["process"]
        [worker], manager = executor._processes.values(), executor._executor_manager_thread
        await asyncio.sleep(0)
        await a.stop()
        await eventually(lambda: not worker.is_alive() and not manager.is_alive())
        with pytest.raises((Exception, asyncio.CancelledError)):
            await waiting


async def test_work_is_offloaded_to_a_thread_or_a_process_only() -> None:
    async with running("a") as [a]:
        with pytest.raises(ValueError, match="the moon"):
            await a.offload(operator.add, 1, 2, to="the moon")  # type: ignore[arg-type]


async def test_a_process_that_holds_the_loop_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def hog() -> None:
        while True:
            time.sleep(0.02)
            await partisan.receive()

    async with running("a", long_schedule=0.01) as [a]:
        events = Events(a)
        for number in range(3):
            pid = a.spawn(hog)
            await eventually(lambda: len(events.of(telemetry.LONG_SCHEDULE, process=pid)) == 1)  # noqa: B023
            assert len(events.of(telemetry.LONG_SCHEDULE)) == number + 1
    said = [record.getMessage() for record in caplog.records if "held all others up" in record.getMessage()]
    assert len(said) == 1
    assert "hog" in said[0]
    assert " ms; it waits at " in said[0]
    assert __file__ in said[0]


# The end of the node.


async def test_the_processes_of_a_node_that_stops_shut_down_the_youngest_first() -> None:
    async with running("a") as [a]:
        log: list[Any] = []

        async def polite(number: int) -> None:
            try:
                await partisan.receive()
            except asyncio.CancelledError as error:
                log.append((number, getattr(error, "reason", None)))
                raise

        for number in range(3):
            a.spawn(polite, number)
        await asyncio.sleep(0)
        await a.stop()
        assert log == [(number, Atom("shutdown")) for number in (2, 1, 0)]


async def test_processes_that_do_not_shut_down_are_killed(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        log: list[str] = []

        async def stubborn() -> None:
            while True:
                try:
                    await asyncio.sleep(60.0)
                except asyncio.CancelledError:
                    log.append("shutdown")
                except GeneratorExit:
                    log.append("killed")
                    raise

        async def clinging() -> None:
            while len(log) < 10:
                try:
                    await asyncio.sleep(60.0)
                except BaseException:
                    log.append("clings")

        a.spawn(stubborn)
        a.spawn(clinging)
        await asyncio.sleep(0)
        await a.stop(grace=0.02)
        assert a.scheduler.processes == {}
        assert log[:2] == ["clings", "shutdown"]
        assert "killed" in log
    assert "kills processes that have not shut down" in caplog.text
    assert "behind" not in caplog.text


async def test_many_processes_that_do_not_shut_down_are_all_killed() -> None:
    async with running("a") as [a]:

        async def stubborn() -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60.0)

        for _ in range(1000):
            a.spawn(stubborn)
        await asyncio.sleep(0)
        await a.stop(grace=0.02)
        assert a.scheduler.processes == {}


async def test_a_process_may_stop_its_node(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        log: list[str] = []

        async def stops() -> None:
            await partisan.stop()
            log.append("stopped")

        a.spawn(idle)
        a.spawn(functools.partial(stops))
        await eventually(lambda: log == ["stopped"])
        await eventually(lambda: a.scheduler.processes == {})
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_whereis_of_a_name_of_another_node_says_who_knows() -> None:
    async with running("a") as (a,):
        with pytest.raises(TypeError, match="whereis finds those of this one, whereis_at of others"):
            a.whereis(("sink", "b@127.0.0.1"))  # type: ignore[arg-type]
