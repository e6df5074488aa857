"""The cases of OTP's gen_server suite, as Partisan adapted it: each has the outcome here that it has there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from support import cluster, eventually, running

import partisan
from partisan import Atom, CallTimeout, Exit, Node, NodeDown, NoProc, StartFailed, receive, self, send
from partisan.gen import Continue, Ignore, NoReply, Reply, Stop, proc_lib, sys
from partisan.gen import server as gen_server
from partisan.gen.report import ErrorReport, format_log
from partisan.gen.server import GenServer, call, cast
from partisan.testing import within

NORMAL, SHUTDOWN, TIMEOUT, EXIT, DOWN = map(Atom, ("normal", "shutdown", "timeout", "EXIT", "DOWN"))


class Server(GenServer):
    """What the cases ask of a server."""

    def init(self, what: Any = None) -> Any:
        self.log: list[Any] = []
        self.waiting: Any = None
        match what:
            case "ignore":
                return Ignore()
            case "stop":
                return Stop(Atom("stopped"))
            case "hibernate":
                return NoReply(hibernate=True)
            case "timeout":
                return NoReply(timeout=0.01)
            case ("continue", value):
                return Continue(value)
            case "sleep":
                return asyncio.sleep(60)
            case "trap":
                partisan.trap_exit()
            case ("state", value):
                self.log = value
        return None

    def handle_call(self, request: Any, caller: Any) -> Any:
        match text(request):
            case "started_p":
                return Atom("ok")
            case "stop":
                return Stop(Atom("stopped"), reply=Atom("ok"))
            case ("stop", reason):
                return Stop(reason)
            case "delayed":
                self.waiting = caller
                return NoReply(timeout=0.01)
            case "never":
                return NoReply()
            case "later":
                self.waiting = caller
                return NoReply()
            case "hibernate":
                return Reply("asleep", hibernate=True)
            case "log":
                return list(self.log)
            case ("continue", value):
                return Reply("replied", continue_=value)
            case "pid":
                return self_pid()
            case ("crash", error):
                raise error
        return ("echo", request)

    def handle_cast(self, message: Any) -> Any:
        match text(message):
            case "stop":
                return Stop(Atom("stopped"))
            case "delayed":
                return NoReply(timeout=0.01)
            case "hibernate":
                return NoReply(hibernate=True)
            case ("continue", value):
                return Continue(value)
            case "answer":
                gen_server.reply(self.waiting, "answered")
            case ("crash", error):
                raise error
            case _:
                self.log.append(("cast", text(message)))
        return None

    def handle_info(self, message: Any) -> Any:
        match message:
            case Atom("timeout") if self.waiting is not None:
                gen_server.reply(self.waiting, Atom("delayed"))
                self.waiting = None
            case "hibernate":
                return NoReply(hibernate=True)
            case "delayed":
                return NoReply(timeout=0.01)
            case ("continue", value):
                return Continue(value)
            case ("stop", reason):
                return Stop(reason)
            case _:
                self.log.append(("info", message))
        return None

    def handle_continue(self, value: Any) -> Any:
        self.log.append(("continue", value))
        if isinstance(value, int) and value > 1:
            return Continue(value - 1)
        if isinstance(value, int) and value < 0:
            return Stop(Atom("stopped"))
        return None


def text(term: Any) -> Any:
    """A term; text that came from another node is octets."""
    return term.decode() if isinstance(term, bytes) else term


def self_pid() -> Any:
    return self()


def hibernates(node: Node, pid: Any) -> bool:
    found = node.scheduler.find(pid)
    return found is not None and found.hibernating


async def ended(node: Node, pid: Any) -> None:
    await eventually(lambda: node.scheduler.find(pid) is None)


# Start and stop.


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


def reports(caplog: pytest.LogCaptureFixture) -> list[ErrorReport]:
    return [record.report for record in caplog.records if hasattr(record, "report")]


# Calls, casts and messages.


async def test_gen_server_call() -> None:
    async with running("a") as [a]:
        pid = await Server.start(name="my_test_name")
        for target in (pid, "my_test_name", Atom("my_test_name"), ("my_test_name", a.name)):
            assert await call(target, "started_p") == Atom("ok")
            assert await call(target, "delayed") == Atom("delayed")
        with pytest.raises(CallTimeout):
            await call(pid, "never", timeout=0.01)
        assert await call(pid, "x", timeout=None) == ("echo", "x")

        async def itself() -> None:
            with pytest.raises(Exit) as refused:
                await call(self(), "x")
            assert refused.value.reason == Atom("calling_self")

        await within(a, itself)
        with pytest.raises(Exit) as ended:
            await call(pid, ("stop", SHUTDOWN))
        assert ended.value.reason == SHUTDOWN


async def test_gen_server_send_request() -> None:
    async with running("a") as [a]:

        async def case() -> None:
            pid = await Server.start()
            request = gen_server.send_request(pid, "started_p")
            assert await gen_server.receive_response(request, 5) == Atom("ok")
            request = gen_server.send_request(pid, "later")
            with pytest.raises(CallTimeout):
                await gen_server.wait_response(request, 0.01)
            assert gen_server.check_response("another message", request) is None
            cast(pid, "answer")
            message = await receive(timeout=5)
            response = gen_server.check_response(message, request)
            assert response is not None
            assert response.value == "answered"
            request = gen_server.send_request(pid, "later")
            with pytest.raises(CallTimeout):
                await gen_server.receive_response(request, 0.01)
            cast(pid, "answer")
            await call(pid, "started_p")
            with pytest.raises(partisan.ReceiveTimeout):
                await receive(timeout=0)
            request = gen_server.send_request(pid, ("stop", SHUTDOWN))
            with pytest.raises(Exit) as ended:
                await gen_server.receive_response(request)
            assert ended.value.reason == SHUTDOWN
            with pytest.raises(NoProc):
                await gen_server.receive_response(gen_server.send_request("nobody", "x"))

        await within(a, case)


async def test_gen_server_cast() -> None:
    async with running("a") as [a]:
        pid = await Server.start(name="my_test_name")
        for target in (pid, "my_test_name", ("my_test_name", a.name)):
            cast(target, "x")
        cast(pid, "delayed")
        log = await eventually_log(pid, 4)
        assert log == [("cast", "x")] * 3 + [("info", TIMEOUT)]
        cast(pid, "stop")
        await ended(a, pid)


async def eventually_log(pid: Any, length: int) -> Any:
    """The server's log when it has so many entries; it is looked at seldom enough for its time-out to pass."""
    node = partisan.node()
    server = node.scheduler.find(pid)
    async with asyncio.timeout(20):
        while True:
            state = await sys.get_state(pid)
            if len(state["log"]) >= length or server is None:
                return state["log"]
            await asyncio.sleep(0.02)  # a look begins the server's time-out of 0.01 s anew


async def test_gen_server_cast_fast() -> None:
    """A cast to what cannot be reached waits for nothing and raises nothing."""
    async with running("a") as [a]:
        before = a.router.undelivered
        for target in ("nobody", ("nobody", a.name), ("nobody", "foo@127.0.0.1")):
            cast(target, "x")
        assert a.router.undelivered == before
        assert a.members() == [a.name]


async def test_gen_server_info() -> None:
    async with running("a") as [a]:
        pid = await Server.start(name="my_test_name")
        send(pid, "x")
        send("my_test_name", "y")
        send(("my_test_name", a.name), "delayed")
        assert await eventually_log(pid, 3) == [("info", "x"), ("info", "y"), ("info", TIMEOUT)]
        timed = await Server.start(args=("timeout",))
        assert await eventually_log(timed, 1) == [("info", TIMEOUT)]
        send(pid, ("stop", SHUTDOWN))
        await ended(a, pid)


async def test_gen_server_abcast() -> None:
    async with cluster("a", "b") as [a, b]:
        pids = [await within(node, lambda: Server.start(name="my_test_name")) for node in (a, b)]
        gen_server_abcast = gen_server.abcast

        async def tell(nodes: Any) -> None:
            gen_server_abcast(nodes, "my_test_name", "x")

        await within(a, tell, [a.name, b.name, "foo@127.0.0.1"])
        await within(a, tell, None)
        for node, pid in zip((a, b), pids, strict=True):

            async def heard(pid: Any = pid) -> Any:
                return await call(pid, "log")

            async with asyncio.timeout(20):
                while await within(node, heard) != [("cast", "x")] * 2:
                    await asyncio.sleep(0.002)


async def test_gen_server_continue() -> None:
    async with running("a") as [a]:
        pid = await Server.start(args=(("continue", 2),))
        send(pid, "after")
        assert await call(pid, "log") == [("continue", 2), ("continue", 1), ("info", "after")]
        pid = await Server.start()
        assert await call(pid, ("continue", "called")) == "replied"
        cast(pid, ("continue", "cast"))
        send(pid, ("continue", "sent"))
        assert await call(pid, "log") == [("continue", "called"), ("continue", "cast"), ("continue", "sent")]
        cast(pid, ("continue", -1))
        await ended(a, pid)


async def test_gen_server_multicall() -> None:
    async with cluster("a", "b") as [a, b]:
        for node in (a, b):
            await within(node, lambda: Server.start(name="my_test_name"))
        multi_call = gen_server.multi_call
        assert await within(a, multi_call, None, "my_test_name", "started_p") == (
            [(a.name, Atom("ok")), (b.name, Atom("ok"))],
            [],
        )
        assert await within(a, multi_call, [b.name, "foo@127.0.0.1", a.name], "my_test_name", "x") == (
            [(b.name, (b"echo", b"x")), (a.name, ("echo", "x"))],
            ["foo@127.0.0.1"],
        )

        async def late() -> Any:
            return await multi_call([a.name, b.name], "my_test_name", "never", timeout=0.05)

        assert await within(b, late) == ([], [a.name, b.name])


async def test_gen_server_multicall_down() -> None:
    """A node that is lost meanwhile, and a server that ends, are bad at once, whatever the time-out."""
    async with cluster("a", "b", "c") as [a, b, c]:
        for node in (a, b, c):
            await within(node, lambda: Server.start(name="my_test_name"))
        asked = asyncio.create_task(within(a, gen_server.multi_call, [b.name, c.name, a.name], "my_test_name", "never"))
        await eventually(lambda: len(a.scheduler.aliases) == 2)
        await b.stop()
        for node in (a, c):
            node.exit(node.whereis("my_test_name"), Atom("kill"))
        assert await asked == ([], [b.name, c.name, a.name])


async def test_gen_server_call_remote1() -> None:
    """A pid of another node."""
    async with cluster("a", "b") as [a, b]:
        pid = await within(b, Server.start)
        await within(a, remote_calls, pid)
        with pytest.raises(NoProc):
            await within(a, call, pid, "started_p")


async def remote_calls(target: Any) -> None:
    assert await call(target, "started_p") == Atom("ok")
    assert await call(target, "delayed") == Atom("delayed")
    assert await call(target, "stop") == Atom("ok")
    with pytest.raises((Exit, CallTimeout)):  # if it still is there it has no time for this
        await call(target, "never", timeout=5)


async def test_gen_server_call_remote2() -> None:
    """A name and another node."""
    async with cluster("a", "b") as [a, b]:
        await within(b, lambda: Server.start(name="my_test_name"))
        await within(a, remote_calls, ("my_test_name", b.name))
        with pytest.raises(NoProc):
            await within(a, call, ("my_test_name", b.name), "started_p")


async def test_gen_server_call_remote3() -> None:
    """The same with the atoms that an Erlang node has for them."""
    async with cluster("a", "b") as [a, b]:
        await within(b, lambda: Server.start(name=Atom("my_test_name")))
        await within(a, remote_calls, (Atom("my_test_name"), Atom(b.name)))


async def gone(name: str | None, target_of: Callable[[Any, Node], Any]) -> None:
    """A call to a server of a node that has stopped: the node is down."""
    async with cluster("a", "b") as [a, b]:
        pid = await within(b, lambda: Server.start(name=name))
        target = target_of(pid, b)
        await b.stop()
        await eventually(lambda: not a.is_connected(b.name))
        with pytest.raises(NodeDown) as down:
            await within(a, call, target, "started_p")
        assert down.value.term[0] == (Atom("nodedown"), Atom(b.name))


async def test_gen_server_call_remote_n1() -> None:
    await gone(None, lambda pid, _: pid)


async def test_gen_server_call_remote_n2() -> None:
    await gone("my_test_name", lambda _, node: ("my_test_name", node.name))


async def test_gen_server_call_remote_n3() -> None:
    await gone("my_test_name", lambda _, node: (Atom("my_test_name"), Atom(node.name)))


# A process that becomes a server.


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


# Hibernation.


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


# What sys sees.


class Shown(Server):
    """Shows its state as it likes."""

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "state": ("formatted", status["state"]["log"])}

    def terminate(self, reason: object) -> None:
        if self.log == ["crash"]:
            raise Exit((Atom("crash"), "terminate"))


async def test_gen_server_call_format_status() -> None:
    async with running("a") as [a]:
        for name in (None, "shown"):
            pid = await Shown.start(name=name, args=(("state", [1]),))
            kind, of, (_, module), [_, state, parent, debug, about] = await sys.get_status(pid)
            assert (kind, of, state, parent, debug) == (Atom("status"), pid, Atom("running"), None, [])
            assert module.name.endswith(".Shown")
            assert about[0][1] == f"Status for generic server {name or pid}"
            assert about[2] == (Atom("data"), [("State", ("formatted", [1]))])
        assert a.is_process_alive(pid)


async def test_gen_server_error_format_status(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        pid = await Shown.start(args=(("state", [1]),))
        with pytest.raises(Exit):
            await call(pid, ("crash", KeyError("crash")))
        await ended(a, pid)
        [report] = reports(caplog)
        assert report.state == ("formatted", [1])
        assert "KeyError: 'crash'" in caplog.text


async def test_gen_server_terminate_crash_format(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        pid = await Shown.start(args=(("state", ["crash"]),))
        assert await call(pid, "stop") == Atom("ok")  # it is answered even so
        await ended(a, pid)
        [report] = reports(caplog)
        assert report.state == ("formatted", ["crash"])
        assert report.reason == (Atom("crash"), "terminate")


async def test_gen_server_get_state() -> None:
    async with running("a"):
        pid = await Server.start(name="get_state", args=(("state", ["self"]),))
        for target in (pid, "get_state"):
            assert (await sys.get_state(target))["log"] == ["self"]
            await sys.suspend(target)
            assert (await sys.get_state(target, 5.0))["log"] == ["self"]
            await sys.resume(target)


async def test_gen_server_replace_state() -> None:
    async with running("a"):
        pid = await Server.start(args=(("state", ["old"]),))

        def replaced(state: Any) -> Any:
            return {**state, "log": [*state["log"], "new"]}

        assert (await sys.replace_state(pid, replaced))["log"] == ["old", "new"]
        await sys.suspend(pid)
        await sys.replace_state(pid, replaced)
        with pytest.raises(Exit) as failed:
            await sys.replace_state(pid, lambda state: state["nothing"])
        assert failed.value.reason[0] == Atom("callback_failed")
        await sys.resume(pid)
        assert await call(pid, "log") == ["old", "new", "new"]


async def test_gen_server_call_with_huge_message_queue() -> None:
    """A call looks at no message that waits already, however many there are, and leaves them as they were."""
    async with running("a") as [a]:
        pid = await Server.start()
        looks = 0

        class Probe(tuple[Any, ...]):
            def __eq__(self, other: object) -> bool:
                nonlocal looks
                looks += 1
                return False

            __hash__ = tuple.__hash__

        async def case() -> None:
            for number in range(10_000):
                send(self(), Probe((number,)))
            for number in range(100):
                assert await call(pid, number) == ("echo", number)
            request = gen_server.send_request(pid, "x")
            assert await gen_server.receive_response(request) == ("echo", "x")
            assert [(await receive())[0] for _ in range(10_000)] == list(range(10_000))

        await within(a, case)
        assert looks == 0


# What is not there.


class Hollow(GenServer):
    """Has no callbacks."""


def is_undef(reason: Any, callback: str) -> bool:
    kind, [(module, name, arguments, _), *_] = reason
    return bool(
        kind == Atom("undef") and module.name.endswith(".Hollow") and name == Atom(callback) and len(arguments) >= 1
    )


async def test_gen_server_undef_handle_call() -> None:
    async with running("a"):
        pid = await Hollow.start()
        with pytest.raises(Exit) as ended_by:
            await call(pid, "call_msg")
        assert is_undef(ended_by.value.reason, "handle_call")


async def reason_of(node: Node, stimulus: Callable[[Any], None], kind: Any = Hollow, **options: Any) -> Any:
    """With what reason a server ends."""

    async def case() -> Any:
        pid, reference = await kind.start_monitor(**options)
        stimulus(pid)
        return (await receive((DOWN, reference, ..., ..., ...), timeout=5))[4]

    return await within(node, case)


async def test_gen_server_undef_handle_cast() -> None:
    async with running("a") as [a]:
        assert is_undef(await reason_of(a, lambda pid: cast(pid, "cast_msg")), "handle_cast")


async def test_gen_server_undef_handle_info(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the server goes on."""
    async with running("a") as [a]:
        pid = await Hollow.start()
        send(pid, "hey there")
        await sys.get_state(pid)
        assert a.is_process_alive(pid)
        [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert "hey there" in record.getMessage()


async def test_gen_server_undef_handle_continue() -> None:
    class Continued(Hollow):
        def handle_cast(self, message: Any) -> Any:
            return Continue(message)

    Continued.__qualname__ = "Continued.Hollow"
    async with running("a") as [a]:
        reason = await reason_of(a, lambda pid: cast(pid, "go"), Continued)
        assert is_undef(reason, "handle_continue")


async def test_gen_server_undef_init() -> None:
    async with running("a"):
        with pytest.raises(StartFailed) as failed:
            await Hollow.start(args=("something",))
        assert is_undef(failed.value.reason, "init")


async def test_gen_server_undef_code_change() -> None:
    """The change fails, and the server is as it was."""
    async with running("a"):
        pid = await Server.start()
        with pytest.raises(Exit) as running_still:
            await sys.change_code(pid, "module", "old", "extra")
        assert running_still.value.reason[0] == Atom("unknown_system_msg")
        await sys.suspend(pid)
        with pytest.raises(Exit) as failed:
            await sys.change_code(pid, "module", "old", "extra")
        assert failed.value.reason[0] == Atom("undef")
        await sys.resume(pid)
        assert await call(pid, "started_p") == Atom("ok")


async def test_gen_server_undef_terminate1() -> None:
    """A server without `terminate` ends in order."""
    async with running("a") as [a]:
        pid = await Hollow.start()
        await gen_server.stop(pid)
        assert not a.is_process_alive(pid)


async def test_gen_server_undef_terminate2() -> None:
    """... and with an error, if that is how it is stopped."""
    async with running("a") as [a]:
        pid = await Hollow.start()
        await gen_server.stop(pid, (Atom("error"), "test"))
        assert not a.is_process_alive(pid)


class Broken(GenServer):
    """Calls what does not exist."""

    def handle_info(self, message: Any) -> Any:
        self.nowhere()  # type: ignore[attr-defined]

    def terminate(self, reason: object) -> None:
        self.nowhere()  # type: ignore[attr-defined]


async def test_gen_server_undef_in_terminate() -> None:
    async with running("a"):
        pid = await Broken.start()
        with pytest.raises(Exit) as failed:
            await gen_server.stop(pid)
        assert failed.value.reason[0] == (Atom("AttributeError"), "'Broken' object has no attribute 'nowhere'")


async def test_gen_server_undef_in_handle_info() -> None:
    async with running("a") as [a]:
        reason = await reason_of(a, lambda pid: send(pid, "hey there"), Broken)
        assert reason[0][0] == Atom("AttributeError")


# Reports.


REPORT = ErrorReport("Generic server", "name", (Atom("bad"), ["why"] * 3), {"n": [[["deep"]]]}, "hello", None, ["e"])


async def test_gen_server_format_log_1() -> None:
    """All parts, each on a line of its own; deep terms are cut where that is wanted."""
    lines = format_log(REPORT).splitlines()
    assert lines[0] == "Generic server name terminating"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "** Last message",
        "** State",
        "** Reason",
        "** Logged events",
    ]
    assert "deep" in lines[2]
    assert "deep" not in format_log(REPORT, depth=2)


async def test_gen_server_format_log_2() -> None:
    """All parts on one line."""
    text = format_log(REPORT, single_line=True)
    assert "\n" not in text
    for part in ("Generic server name terminating. ", "Last message: 'hello'", "State: {'n':", "Reason: "):
        assert part in text
    assert "deep" not in format_log(REPORT, single_line=True, depth=2)


async def test_gen_server_reply_by_alias_with_payload() -> None:
    """Whatever tag a caller gives comes back with the answer."""
    async with running("a") as [a]:

        async def case() -> None:
            tag = [(Atom("alias"), partisan.make_ref()), "payload"]
            gen_server.reply((self(), tag), "reply")
            assert await receive(timeout=5) == (tag, "reply")
            pid = await Server.start()
            send(pid, (Atom("$gen_call"), (self(), tag), "x"))
            assert await receive(timeout=5) == (tag, ("echo", "x"))

        await within(a, case)
