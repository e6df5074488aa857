"""The cases of OTP's gen_server suite, as Partisan adapted it: each has the outcome here that it has there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from gen_servers import DOWN, EXIT, NORMAL, SHUTDOWN, TIMEOUT, Server, ended, hibernates, reports
from support import cluster, eventually, running

import partisan
from partisan import Atom, Exit, Node, NodeDown, NoProc, StartFailed, receive, self, send
from partisan.gen import proc_lib, sys
from partisan.gen import server as gen_server
from partisan.gen.server import call, cast
from partisan.testing import within


async def test_gen_server_start() -> None:
    async with running("a") as [a]:

        async def case() -> None:
            partisan.trap_exit()
            pid = await gen_server.start(Server)
            assert await call(pid, "started_p") == Atom("ok")
            assert await call(pid, "stop") == Atom("ok")
            await ended(a, pid)
            with pytest.raises(NoProc):
                await call(pid, "started_p", timeout=0.001)
            with pytest.raises(StartFailed) as late:
                await Server.start(args=("sleep",), timeout=0.01)
            assert late.value.reason == TIMEOUT
            assert await Server.start(args=("ignore",)) is None
            with pytest.raises(StartFailed) as stopped:
                await Server.start(args=("stop",))
            assert stopped.value.reason == Atom("stopped")
            linked = await gen_server.start_link(Server)
            assert await call(linked, "stop") == Atom("ok")
            assert await receive(timeout=5) == (EXIT, linked, Atom("stopped"))
            named = await Server.start(name="my_test_name")
            for start in (Server.start, Server.start_link):
                with pytest.raises(partisan.AlreadyStarted) as taken:
                    await start(name="my_test_name")
                assert taken.value.pid == named
            assert await call("my_test_name", "started_p") == Atom("ok")
            assert await call("my_test_name", "stop") == Atom("ok")
            await ended(a, named)
            with pytest.raises(NoProc):
                await call("my_test_name", "started_p")
            monitored, reference = await gen_server.start_monitor(Server, name="my_test_name")
            assert await call(monitored, "stop") == Atom("ok")
            assert (await receive((DOWN, reference, ..., ..., ...), timeout=5))[4] == Atom("stopped")

        await within(a, case)


async def stopped_twice(target: Any) -> None:
    await gen_server.stop(target)
    with pytest.raises(NoProc):
        await gen_server.stop(target)


async def test_gen_server_stop1() -> None:
    """A pid of this node."""
    async with running("a") as [a]:
        pid = await Server.start()
        await stopped_twice(pid)
        assert not a.is_process_alive(pid)


async def test_gen_server_stop2() -> None:
    """A pid of another node, which is then gone."""
    async with cluster("a", "b") as [a, b]:
        pid = await within(b, Server.start)
        await within(a, stopped_twice, pid)
        assert b.scheduler.find(pid) is None
        await b.stop()
        await eventually(lambda: not a.is_connected(b.name))
        with pytest.raises(NodeDown):
            await within(a, gen_server.stop, pid)


async def test_gen_server_stop3() -> None:
    """A name of this node."""
    async with running("a"):
        await Server.start(name="to_stop")
        await stopped_twice("to_stop")


async def test_gen_server_stop4() -> None:
    """A name and this node."""
    async with running("a") as [a]:
        await Server.start(name="to_stop")
        await stopped_twice(("to_stop", a.name))


async def test_gen_server_stop5() -> None:
    """A name and another node, which is then gone."""
    async with cluster("a", "b") as [a, b]:
        await within(b, lambda: Server.start(name="to_stop"))
        await within(a, stopped_twice, ("to_stop", b.name))
        await b.stop()
        await eventually(lambda: not a.is_connected(b.name))
        with pytest.raises(NodeDown):
            await within(a, gen_server.stop, ("to_stop", b.name))


class Registry:
    """A registry of names as OTP asks for: of any process, which it forgets when it is asked for a dead one."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.names: dict[Any, Any] = {}

    def register_name(self, name: Any, pid: Any) -> bool:
        return self.names.setdefault(name, pid) == pid

    def unregister_name(self, name: Any) -> None:
        self.names.pop(name, None)

    def whereis_name(self, name: Any) -> Any:
        pid = self.names.get(name)
        alive = pid is not None and any(node.scheduler.find(pid) for node in self.nodes if node.name == pid.node)
        return pid if alive else None

    def send(self, name: Any, message: Any) -> None:
        send(self.names[name], message)


async def test_gen_server_stop8() -> None:
    """A name that a registry has, of this node."""
    async with running("a") as [a]:
        registry = Registry(a)
        name = ("via", registry, "to_stop")
        pid = await Server.start(name=name)
        with pytest.raises(partisan.AlreadyStarted):
            await Server.start(name=name)
        assert await call(name, "pid") == pid
        await stopped_twice(name)


async def test_gen_server_stop9() -> None:
    """A name that a registry has, of another node."""
    async with cluster("a", "b") as [a, b]:
        name = ("via", Registry(a, b), "to_stop")
        await within(b, lambda: Server.start(name=name))
        assert await within(a, call, name, "started_p") == Atom("ok")
        await within(a, stopped_twice, name)


async def test_gen_server_stop10() -> None:
    """A third node stops it; whoever else knows the name finds nobody then."""
    async with cluster("a", "b", "c") as [a, b, c]:
        pid = await within(b, lambda: Server.start(name="to_stop"))
        await within(c, gen_server.stop, ("to_stop", b.name))
        assert b.scheduler.find(pid) is None
        for node in (a, c):
            with pytest.raises(NoProc):
                await within(node, gen_server.stop, ("to_stop", b.name))


async def test_gen_server_crash(caplog: pytest.LogCaptureFixture) -> None:
    """Reasons that were wished for are not reported, others are, once, with the state; the linked parent hears each."""
    async with running("a") as [a]:

        async def end(reason: Any) -> Any:
            partisan.trap_exit()
            pid = await Server.start_link(args=(("state", ["kept"]),))
            with pytest.raises(Exit):
                await call(pid, ("stop", reason))
            return (await receive((EXIT, pid, ...), timeout=5))[2]

        for reason in (NORMAL, SHUTDOWN, (SHUTDOWN, "why")):
            assert await within(a, end, reason) == reason
        assert reports(caplog) == []
        assert await within(a, end, Atom("crashed")) == Atom("crashed")
        [report] = reports(caplog)
        assert report.reason == Atom("crashed")
        assert report.state == {"log": ["kept"], "waiting": None}
        assert report.message == ("stop", Atom("crashed"))


async def becomes(name: str | None = None, register: bool = True, **options: Any) -> None:
    """As a process started by proc_lib does: ready, then a server."""
    if name is not None and register:
        partisan.register(name, self())
    proc_lib.init_ack()
    server = Server()
    server.init("trap")
    await gen_server.enter_loop(server, name=name, **options)


async def test_gen_server_spec_init() -> None:
    async with running("a") as [a]:

        async def case() -> None:
            partisan.trap_exit()
            pid = await proc_lib.start_link(becomes)
            assert await call(pid, "started_p") == Atom("ok")
            assert await call(pid, "stop") == Atom("ok")
            assert (await receive(timeout=5))[2] == Atom("stopped")
            named = await proc_lib.start_link(becomes, "my_test_name")
            assert await call("my_test_name", "started_p") == Atom("ok")
            await gen_server.stop(named)
            assert (await receive(timeout=5))[2] == NORMAL
            wrong = await proc_lib.start_link(becomes, "my_test_name", False)
            assert await receive(timeout=5) == (EXIT, wrong, Atom("process_not_registered"))
            plain = partisan.spawn_link(becomes)
            reason = Atom("process_was_not_started_by_proc_lib")
            assert await receive(timeout=5) == (EXIT, plain, reason)

        async def parents(outcome: asyncio.Future[Any]) -> None:
            outcome.set_result(await proc_lib.start_link(becomes))
            await receive()

        await within(a, case)
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        parent = a.spawn(parents, outcome)
        child = await outcome
        a.exit(parent, SHUTDOWN)  # the child traps exits, and ends with its parent nevertheless
        await ended(a, child)


async def test_gen_server_spec_init_local_registered_parent() -> None:
    """A parent that has a name is known by it, and its end is heard all the same."""
    async with running("a") as [a]:
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def parents() -> None:
            outcome.set_result(await proc_lib.start_link(becomes))
            await receive()

        parent = a.spawn(parents, name="my_parent")
        child = await outcome
        status = await sys.get_status(child)
        assert status[3][0] == [(Atom("$ancestors"), [Atom("my_parent")])]
        assert status[3][2] == parent
        a.exit(parent, SHUTDOWN)
        await ended(a, child)


async def test_gen_server_otp_5854() -> None:
    """A name that another process has is no name of this one."""
    async with running("a") as [a]:
        holder = await Server.start(name="armitage")

        async def case() -> Any:
            partisan.trap_exit()
            pid = await proc_lib.start_link(becomes, "armitage", False)
            return pid, await receive(timeout=5)

        pid, message = await within(a, case)
        assert message == (EXIT, pid, Atom("process_not_registered"))
        assert await call("armitage", "pid") == holder


async def test_gen_server_otp_7669() -> None:
    """Who does not start has given its name back when start returns: the next one never finds it taken."""
    async with running("a") as [a]:
        for _ in range(100):
            assert await Server.start(name="foo", args=("ignore",)) is None
            assert a.whereis("foo") is None
            with pytest.raises(StartFailed) as stopped:
                await Server.start(name="foo", args=("stop",))
            assert type(stopped.value) is StartFailed
            assert a.whereis("foo") is None
        registry = Registry(a)  # forgets nobody by itself
        for what in ("ignore", "stop"):
            with contextlib.suppress(StartFailed):
                await Server.start(name=("via", registry, "foo"), args=(what,))
            assert registry.names == {}


async def test_gen_server_hibernate() -> None:
    async with running("a") as [a]:
        pid = await Server.start(args=("hibernate",))
        assert await eventually(lambda: hibernates(a, pid))
        assert await call(pid, "started_p") == Atom("ok")
        assert not hibernates(a, pid)
        assert await call(pid, "hibernate") == "asleep"
        assert await eventually(lambda: hibernates(a, pid))
        for go in (cast, send):
            go(pid, "awake")
            await eventually(lambda: not hibernates(a, pid))
            go(pid, "hibernate")
            assert await eventually(lambda: hibernates(a, pid))
        await sys.suspend(pid)
        await sys.resume(pid)
        assert await call(pid, "log") == [("cast", "awake"), ("info", "awake")]


async def test_gen_server_auto_hibernate() -> None:
    async with running("a") as [a]:
        pid = await Server.start(hibernate_after=0.02)
        for _ in range(2):
            assert await eventually(lambda: hibernates(a, pid))
            assert await call(pid, "started_p") == Atom("ok")
            assert not hibernates(a, pid)
        assert await call(pid, "log") == []  # no time-out was heard
