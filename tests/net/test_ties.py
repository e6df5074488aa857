"""Links, monitors, exit signals and calls of a node's processes, with what asyncio offers inside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support import Sink, eventually, inside, running

import partisan
from partisan import Atom, CallTimeout, Exit, NameTaken, NoProc, NotInProcess, Pid
from partisan.gen import proc_lib
from partisan.gen.call import call

NORMAL, KILL, KILLED, NOPROC, BOOM = map(Atom, ("normal", "kill", "killed", "noproc", "boom"))
EXIT, DOWN, PROCESS = map(Atom, ("EXIT", "DOWN", "process"))


async def idle() -> None:
    await partisan.receive(Atom("never"))


async def crash() -> None:
    raise ValueError("broken")


# Links.


async def test_a_linked_process_is_told_of_a_crash_with_the_exception_as_a_term() -> None:
    async def body() -> Any:
        partisan.trap_exit()
        pid = partisan.spawn_link(crash)
        tag, sender, reason = await partisan.receive()
        assert (tag, sender) == (EXIT, pid)
        return reason

    async with running("a") as [a]:
        (kind, text), [(module, function, arity, place), *_] = await inside(a, body)
        assert (kind, text) == (Atom("ValueError"), "broken")
        assert (function, arity) == (Atom("crash"), 0)
        assert module.name.endswith("test_ties")
        assert dict(place)[Atom("file")] == __file__


async def test_a_crash_takes_the_linked_along_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        started: list[Pid] = []

        async def body() -> None:
            started.append(partisan.spawn_link(idle))
            started.append(partisan.spawn_link(crash))
            await idle()

        started.append(a.spawn(body))
        await eventually(lambda: a.processes() == [])
        assert len(started) == 3
    assert [record.levelname for record in caplog.records if record.levelno >= logging.ERROR] == ["ERROR"]
    assert "broken" in caplog.text
    caplog.clear()


async def test_an_exception_that_cannot_say_what_it_is_ends_its_process_all_the_same() -> None:
    class Speechless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async def fail() -> None:
        raise Speechless

    async def body() -> Any:
        pid, reference = partisan.spawn_monitor(fail)
        return await partisan.receive((DOWN, reference, PROCESS, pid, ...), timeout=5.0)

    async with running("a") as (a,):
        ((kind, text), _) = (await inside(a, body))[4]
        assert kind == Atom("Speechless")
        assert "RuntimeError" in text


async def test_a_task_that_outlives_its_process_ties_nothing_to_it() -> None:
    tasks: list[asyncio.Task[None]] = []
    ended = asyncio.Event()

    async with running("a") as (a,):
        other = a.spawn(idle)

        async def late() -> None:
            await ended.wait()
            for tie in (a.link, a.monitor):
                with pytest.raises(NotInProcess):
                    tie(other)
            with pytest.raises(NotInProcess):
                await proc_lib.start_link(idle)

        async def body() -> None:
            tasks.append(asyncio.get_running_loop().create_task(late()))

        pid = a.spawn(body)
        await eventually(lambda: not a.is_process_alive(pid))
        ended.set()
        await tasks[0]
        about = a.process_info(other)
        assert about is not None
        assert not about["links"]
        assert not about["monitored_by"]


async def test_a_link_to_a_dead_process_is_noproc() -> None:
    async with running("a") as [a]:
        gone = a.spawn(asyncio.sleep, 0)
        await eventually(lambda: not a.is_process_alive(gone))

        async def trapping() -> Any:
            partisan.trap_exit()
            partisan.link(gone)
            return await partisan.receive()

        assert await inside(a, trapping) == (EXIT, gone, NOPROC)

        async def body() -> None:
            partisan.link(gone)
            await idle()

        pid = a.spawn(body)
        await eventually(lambda: not a.is_process_alive(pid))


async def test_a_normal_end_leaves_the_linked_alone() -> None:
    async def body() -> bool:
        pid = partisan.spawn_link(asyncio.sleep, 0)
        reference = partisan.monitor(pid)
        return bool(await partisan.receive((DOWN, reference, ..., ..., ...)))

    async with running("a") as [a]:
        assert await inside(a, body)


async def test_an_unlinked_process_is_told_nothing() -> None:
    async def body() -> Any:
        partisan.trap_exit()
        pid = partisan.spawn_link(idle)
        partisan.unlink(pid)
        partisan.unlink(pid)
        reference = partisan.monitor(pid)
        partisan.exit(pid, BOOM)
        return await partisan.receive(), reference, pid

    async with running("a") as [a]:
        down, reference, pid = await inside(a, body)
        assert down == (DOWN, reference, PROCESS, pid, BOOM)


async def test_links_outside_of_a_process_are_refused() -> None:
    async with running("a") as [a]:
        pid = a.spawn(idle)
        for function in (a.link, a.unlink, a.monitor):
            with pytest.raises(NotInProcess):
                function(pid)
        with pytest.raises(NotInProcess):
            a.spawn_link(idle)
        with pytest.raises(NotInProcess):
            a.spawn_opt(idle, link=True)
        assert a.processes() == [pid]


# Exit signals to oneself.


@pytest.mark.parametrize(("reason", "expected"), [(BOOM, BOOM), (NORMAL, NORMAL), (KILL, KILLED)], ids=repr)
async def test_an_exit_signal_to_oneself_takes_effect_at_once(reason: Atom, expected: Atom) -> None:
    log: list[str] = []

    async def suicidal() -> None:
        try:
            partisan.exit(partisan.self(), reason)
            log.append("went on")
        except Exception:
            log.append("caught")

    async def body() -> Any:
        _, reference = partisan.spawn_monitor(suicidal)
        return (await partisan.receive((DOWN, reference, ..., ..., ...)))[4]

    async with running("a") as [a]:
        assert await inside(a, body) == expected
    assert log == []


async def test_a_trapping_process_that_signals_itself_gets_a_message() -> None:
    async def body() -> Any:
        partisan.trap_exit()
        partisan.exit(partisan.self(), NORMAL)
        return await partisan.receive(), partisan.self()

    async with running("a") as [a]:
        message, pid = await inside(a, body)
        assert message == (EXIT, pid, NORMAL)


# Monitors.


@pytest.mark.parametrize("how", ["pid", "name", "name and node"])
async def test_a_monitor_tells_what_was_given_to_it(how: str) -> None:
    async with running("a") as [a]:
        pid = a.spawn(idle, name="target")
        targets: dict[str, Any] = {"pid": pid, "name": "target", "name and node": (Atom("target"), a.name)}

        async def body() -> Any:
            reference = partisan.monitor(targets[how], tag=(Atom("gone"), 1))
            partisan.exit(pid, BOOM)
            return await partisan.receive(), reference

        message, reference = await inside(a, body)
        item = pid if how == "pid" else (Atom("target"), Atom(a.name))
        assert message == ((Atom("gone"), 1), reference, PROCESS, item, BOOM)


async def test_a_monitor_of_nobody_is_noproc() -> None:
    async def body() -> Any:
        reference = partisan.monitor("nobody")
        return await partisan.receive(), reference

    async with running("a") as [a]:
        message, reference = await inside(a, body)
        assert message == (DOWN, reference, PROCESS, (Atom("nobody"), Atom(a.name)), NOPROC)
        assert a.counters()["monitors"] == 0


async def test_demonitor_says_whether_the_monitor_was_there_and_flushes_its_message() -> None:
    async def body() -> list[Any]:
        pid = partisan.spawn(idle)
        found: list[Any] = []
        reference = partisan.monitor(pid)
        found.append(partisan.demonitor(reference, info=True))
        found.append(partisan.demonitor(reference, info=True))
        found.append(partisan.demonitor(reference))
        late, other = partisan.monitor(pid), partisan.monitor(pid)
        partisan.exit(pid, BOOM)
        partisan.send(partisan.self(), (DOWN, "not a monitor's", 1, 2, 3))
        await asyncio.sleep(0)
        found.append(partisan.demonitor(late, flush=True, info=True))
        found.append((await partisan.receive())[1])
        found.append((await partisan.receive())[1] == other)
        return found

    async with running("a") as [a]:
        assert await inside(a, body) == [True, False, True, False, "not a monitor's", True]


async def test_the_end_of_who_monitors_takes_its_monitors_along() -> None:
    async with running("a") as [a]:
        target = a.spawn(idle)

        async def body() -> None:
            partisan.monitor(target)
            partisan.monitor(target)

        await inside(a, body)
        await eventually(lambda: a.processes() == [target])
        assert a.counters()["monitors"] == 0
        assert a.process_info(target)["monitored_by"] == []


# asyncio inside.


async def test_an_exit_signal_gets_through_a_timeout() -> None:
    async with running("a") as [a]:
        log: list[Any] = []

        async def body() -> None:
            try:
                async with asyncio.timeout(60.0):
                    await asyncio.sleep(60.0)
            except TimeoutError:
                log.append("timeout")
            except asyncio.CancelledError as error:
                log.append(getattr(error, "reason", None))
                raise

        pid = a.spawn(body)
        await asyncio.sleep(0)
        a.exit(pid, BOOM)
        await eventually(lambda: a.processes() == [])
        assert log == [BOOM]


async def test_an_exit_signal_ends_the_tasks_of_a_group() -> None:
    async with running("a") as [a]:
        ended: list[str] = []

        async def child(name: str) -> None:
            try:
                await asyncio.sleep(60.0)
            finally:
                ended.append(name)

        async def body() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(child("one"))
                group.create_task(child("two"))

        pid = a.spawn(body)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        a.exit(pid, BOOM)
        await eventually(lambda: a.processes() == [])
        assert sorted(ended) == ["one", "two"]


async def test_a_task_that_fails_in_a_group_is_the_reason_of_the_process() -> None:
    async def body() -> Any:
        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(crash())
                await partisan.receive()

        _, reference = partisan.spawn_monitor(grouped)
        return (await partisan.receive((DOWN, reference, ..., ..., ...)))[4]

    async with running("a") as [a]:
        (kind, _), _ = await inside(a, body)
        assert kind == Atom("ExceptionGroup")


async def test_cleanup_may_await_unless_the_process_is_killed() -> None:
    async with running("a") as [a]:
        log: list[str] = []

        async def tidy(name: str) -> None:
            try:
                await partisan.receive()
            finally:
                await asyncio.sleep(0.001)
                log.append(name)

        told, killed = a.spawn(tidy, "told"), a.spawn(tidy, "killed")
        await asyncio.sleep(0)
        a.exit(told, BOOM)
        a.exit(killed, KILL)
        await eventually(lambda: a.processes() == [])
        assert log == ["told"]


async def test_a_process_that_is_killed_while_it_cleans_up_is_killed() -> None:
    async with running("a") as [a]:
        cleaning = asyncio.Event()

        async def slow() -> None:
            try:
                await partisan.receive()
            finally:
                cleaning.set()
                await asyncio.sleep(60.0)

        async def body() -> Any:
            pid, reference = partisan.spawn_monitor(slow)
            await asyncio.sleep(0)
            partisan.exit(pid, BOOM)
            await cleaning.wait()
            partisan.exit(pid, KILL)
            return (await partisan.receive((DOWN, reference, ..., ..., ...)))[4]

        assert await inside(a, body) == KILLED


async def test_a_kill_during_any_await_leaves_nothing() -> None:
    async with running("a") as [a]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lock = asyncio.Lock()
        await lock.acquire()

        async def on_future() -> None:
            await future

        async def on_call() -> None:
            await call("quiet", "?")

        quiet = a.spawn(idle, name="quiet")
        waits: list[Callable[..., Awaitable[Any]]] = [on_future, on_call, lock.acquire, idle]
        pids = [*(a.spawn(wait) for wait in waits), a.spawn(asyncio.sleep, 60.0)]
        await asyncio.sleep(0)
        for pid in pids:
            a.exit(pid, KILL)
        await eventually(lambda: a.processes() == [quiet])
        assert future.cancelled()
        lock.release()


async def test_a_swallowed_exit_signal_ends_the_process_at_its_next_receive() -> None:
    async with running("a") as [a]:
        log: list[str] = []

        async def stubborn() -> None:
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                log.append("swallowed")
            await asyncio.sleep(0)
            log.append("awaits")
            await partisan.receive()
            log.append("received")

        async def body() -> Any:
            pid, reference = partisan.spawn_monitor(stubborn)
            await asyncio.sleep(0)
            partisan.exit(pid, BOOM)
            assert not a.is_process_alive(pid)
            partisan.send(pid, "message")
            return (await partisan.receive((DOWN, reference, ..., ..., ...)))[4]

        assert await inside(a, body) == BOOM
        assert log == ["swallowed", "awaits"]


async def test_a_process_that_is_cancelled_as_a_task_ends_with_cancelled() -> None:
    async def body() -> Any:
        async def cancels() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await partisan.receive()

        _, reference = partisan.spawn_monitor(cancels)
        return (await partisan.receive((DOWN, reference, ..., ..., ...)))[4]

    async with running("a") as [a]:
        assert await inside(a, body) == Atom("cancelled")


# Calls.


async def test_code_outside_of_processes_calls_into_one() -> None:
    async def server() -> None:
        while True:
            _, caller, request = await partisan.receive()
            partisan.send(caller[0], (caller[1], request * 2))

    async with running("a") as [a]:
        a.spawn(server, name="server")
        assert await call("server", 21) == 42
        with pytest.raises(NoProc):
            await call("nobody", 1)
        quiet = a.spawn(idle)
        with pytest.raises(CallTimeout):
            await call(quiet, 1, timeout=0.01)
        caller = asyncio.ensure_future(call(quiet, 1, timeout=None))
        await eventually(lambda: len(a.processes()) == 3)
        caller.cancel()
        await eventually(lambda: len(a.processes()) == 2)


async def test_a_call_fails_when_whom_it_is_for_is_killed() -> None:
    async with running("a") as [a]:
        pid = a.spawn(idle)

        async def body() -> Any:
            partisan.send_after(0.0, "assassin", pid)
            await call(pid, "?")

        async def assassin() -> None:
            partisan.exit(await partisan.receive(), KILL)

        a.spawn(assassin, name="assassin")
        with pytest.raises(Exit) as caught:
            await inside(a, body)
        assert caught.value.reason == KILLED


# Names that a registry keeps.


class Registry:
    """As OTP asks for one, in a dict."""

    def __init__(self) -> None:
        self.pids: dict[Any, Pid] = {}

    def register_name(self, name: Any, pid: Pid) -> bool:
        return self.pids.setdefault(name, pid) == pid

    def unregister_name(self, name: Any) -> None:
        self.pids.pop(name, None)

    def whereis_name(self, name: Any) -> Pid | None:
        return self.pids.get(name)

    def send(self, name: Any, message: Any) -> None:
        if name not in self.pids:
            raise NoProc(NOPROC, name)
        partisan.send(self.pids[name], message)


@pytest.mark.parametrize("via", ["via", Atom("via")])
async def test_a_name_of_a_registry_is_a_target(via: Any) -> None:
    async def server(sink: Pid) -> None:
        while True:
            match await partisan.receive():
                case (Atom("$gen_call"), caller, request):
                    partisan.send(caller[0], (caller[1], request * 2))
                case message:
                    partisan.send(sink, message)

    async with running("a") as [a]:
        name = (via, Registry(), ("shard", 7))
        sink = Sink(a)
        pid = a.spawn_opt(server, sink.pid, name=name)
        assert a.whereis(name) == pid
        partisan.send(name, "plain")
        partisan.send(name, "with options", partition_key=3)
        partisan.send_after(0.0, name, "later")
        a.forward_message(name, "acknowledged", ack=True, expiry=1.0)
        assert sorted(await sink.has(4)) == ["acknowledged", "later", "plain", "with options"]
        assert await call(name, 21) == 42
        with pytest.raises(NameTaken):
            a.register(name, sink.pid)
        with pytest.raises(NameTaken):
            a.spawn_opt(idle, name=name)
        await eventually(lambda: sorted(a.processes(), key=str) == sorted([pid, sink.pid], key=str))
        a.unregister(name)
        assert a.whereis(name) is None
        with pytest.raises(NoProc):
            partisan.send(name, "lost")
        with pytest.raises(NoProc) as caught:
            await call(name, 1)
        assert caught.value.target == name


@pytest.mark.parametrize(
    "target", [("via", object(), 1), ("nowhere", 1, 2), ("via", "json", 1), (1, 2, 3, 4), ("via", asyncio, 1)], ids=repr
)
async def test_what_is_no_target_is_refused(target: Any) -> None:
    async with running("a"):
        with pytest.raises(TypeError):
            partisan.send(target, 1)
        with pytest.raises(TypeError):
            await call(target, 1)
