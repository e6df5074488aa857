"""Servers between two nodes, and what may go wrong around a call."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from typing import Any

import pytest
from gen_support import calls_agreed, started, within
from support import cluster, eventually, running

import partisan
import partisan._core.router
import partisan.runtime.current
from partisan import (
    Atom,
    CallTimeout,
    Exit,
    LocalProtocolError,
    Node,
    NodeDown,
    NoProc,
    Overloaded,
    ReceiveTimeout,
    StartFailed,
    receive,
    send,
)
from partisan.gen import Ignore, NoReply, Reply, Stop
from partisan.gen import server as gen_server
from partisan.gen.server import GenServer, call, cast

KILL, SHUTDOWN = Atom("kill"), Atom("shutdown")


class Server(GenServer):
    """Answers now, later, never or elsewhere."""

    def init(self) -> None:
        self.waiting: list[Any] = []
        self.heard: list[Any] = []

    def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case Atom("wait"):
                self.waiting.append(caller)
                return NoReply()
            case Atom("channel"):
                return caller[1].channel
            case (Atom("pass"), target):
                return call(target, Atom("channel"))
            case Atom("stop"):
                return Stop(SHUTDOWN)
            case (Atom("add"), number):
                self.heard.append(number)
                return number
        return request

    def handle_cast(self, message: Any) -> None:
        for caller in self.waiting:
            gen_server.reply(caller, message)

    def handle_info(self, message: Any) -> None:
        self.heard.append(message)


WAIT = Atom("wait")


async def waits(node: Node, name: str) -> Any:
    """Wait until the server has taken a call that it does not answer; its process."""
    process = node.scheduler.whereis(name)
    assert process is not None
    return await eventually(lambda: process if process.watches() else None)


async def test_a_call_ends_when_the_node_of_the_callee_is_lost() -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")
        asked = asyncio.create_task(within(a, lambda: call(("s", b.name), WAIT, timeout=None)))
        process = await waits(b, "s")
        a.kill_connections(b.name)
        b.kill_connections(a.name)
        with pytest.raises(NodeDown):
            await asked
        await eventually(lambda: not process.watches())  # nobody there waits any more, either
        assert a.scheduler.aliases == {}


async def test_a_call_of_a_name_that_nobody_has_there_ends_at_once() -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        with pytest.raises(NoProc):
            await within(a, lambda: call(("nobody", b.name), WAIT, timeout=None))
        assert a.scheduler.aliases == {}


@pytest.mark.parametrize("far", [False, True])
async def test_a_call_ends_with_the_reason_of_the_callee(far: bool) -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")
        asked = asyncio.create_task(within(a if far else b, lambda: call(("s", b.name), WAIT, timeout=None)))
        process = await waits(b, "s")
        b.exit(process.pid, Atom("crashed"))
        with pytest.raises(Exit) as ended:
            await asked
        assert ended.value.reason == Atom("crashed")


@pytest.mark.parametrize("far", [False, True])
async def test_a_caller_that_dies_leaves_nothing_behind(far: bool) -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")
        here = a if far else b

        async def asks() -> None:
            await call(("s", b.name), WAIT, timeout=None)

        caller = here.spawn(asks)
        process = await waits(b, "s")
        here.exit(caller, KILL)
        await eventually(lambda: not process.watches())
        assert here.scheduler.aliases == {}
        await within(b, told, "s")  # an answer to nobody is no error
        assert b.is_process_alive(process.pid)


async def told(name: str) -> None:
    cast(name, "late")
    assert await call(name, 1) == 1


@pytest.mark.parametrize("far", [False, True])
async def test_an_answer_after_the_time_out_never_surfaces(far: bool) -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")

        async def case() -> list[Any]:
            with pytest.raises(CallTimeout):
                await call(("s", b.name), WAIT, timeout=0.02)
            request = gen_server.send_request(("s", b.name), WAIT)
            with pytest.raises(CallTimeout):
                await gen_server.receive_response(request, 0.02)
            cast(("s", b.name), "late")
            assert await call(("s", b.name), 1) == 1  # behind whatever the cast made it send
            return list(partisan.runtime.current.process().mailbox)

        here = a if far else b
        assert await within(here, case) == []
        assert here.scheduler.aliases == {}


async def test_answers_come_through_ten_thousand_messages_that_wait() -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")

        async def case() -> None:
            for number in range(10_000):
                send(partisan.self(), number)
            requests = [gen_server.send_request(("s", b.name), number) for number in range(100)]
            for number, request in enumerate(requests):
                assert await call(("s", b.name), number) == number
                assert await gen_server.receive_response(request, 10) == number
            assert [await receive() for _ in range(10_000)] == list(range(10_000))

        await within(a, case)


async def test_a_call_into_a_full_queue_raises_and_multi_call_tells_the_node() -> None:
    channels = {"undefined": {"queue_policy": "error", "max_queue_octets": 1024, "hard_queue_octets": 2048}}
    async with cluster("a", "b", channels=channels) as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")

        async def case() -> Any:
            with contextlib.suppress(Overloaded):
                for _ in range(100):
                    send(("s", b.name), bytes(1000))
            with pytest.raises(Overloaded):
                await call(("s", b.name), 1)
            with pytest.raises(Overloaded):
                gen_server.send_request(("s", b.name), 1)
            return await gen_server.multi_call([b.name], "s", 1)

        assert await within(a, case) == ([], [b.name])
        assert a.scheduler.aliases == {}


async def test_a_from_that_is_none_ends_no_server() -> None:
    async with running("a") as [a]:
        pid = await started(a, Server)
        for caller in (None, (), (1, 2, 3), ("nobody", 1), Atom("x")):
            send(pid, (Atom("$gen_call"), caller, "asked"))
        assert await call(pid, 1) == 1


async def test_an_answer_takes_the_channel_of_its_request_and_a_server_has_one_of_its_own() -> None:
    channels = {"data": {}, "rpc": {}}
    async with cluster("a", "b", channels=channels) as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="plain")
        await started(b, Server, name="own", channel="rpc")
        await started(a, Server, name="s")
        came: list[str] = []

        def note(target: Any, message: Any, inbound: Any) -> None:
            came.append(inbound.channel)
            a.router.hand_over(target, message, inbound)

        async def case() -> None:
            a.router.receiving = note
            for name, channel, back in (
                ("plain", None, "undefined"),
                ("plain", "data", "data"),
                ("own", None, "rpc"),
                ("own", "data", "data"),
            ):
                asked = await call((name, b.name), Atom("channel"), channel=channel)
                assert asked.decode() == (channel or "undefined")
                assert came.pop() == back
            assert (await call(("own", b.name), (Atom("pass"), (Atom("s"), Atom(a.name))))).decode() == "rpc"
            a.router.receiving = None

        await within(a, case)


async def test_calls_on_a_monotonic_channel_are_not_superseded() -> None:
    async with cluster("a", "b", channels={"latest": {"monotonic": True}}) as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")

        async def case() -> None:
            requests = [
                gen_server.send_request(("s", b.name), (Atom("add"), number), channel="latest") for number in range(200)
            ]
            assert [await gen_server.receive_response(each, 10) for each in requests] == list(range(200))

        await within(a, case)


async def test_code_that_is_no_process_calls_and_asks() -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(a, Server, name="s")
        await started(b, Server, name="s")

        async def outside() -> None:
            for target in ("s", ("s", b.name)):
                assert await call(target, 1) == 1
                request = gen_server.send_request(target, 2)
                assert await gen_server.receive_response(request, 10) == 2
                with pytest.raises(LocalProtocolError, match="before"):
                    await gen_server.wait_response(request)
                request = gen_server.send_request(target, WAIT)
                with pytest.raises(CallTimeout):
                    await gen_server.wait_response(request, 0.02)
                cast(target, "now")
                assert await gen_server.wait_response(request, 10) in ("now", b"now")
                many = gen_server.reqids_new()
                gen_server.send_request(target, 3, label="three", collection=many)
                gen_server.send_request("nobody", 3, label="nobody", collection=many)
                labels = set()
                while (response := await gen_server.receive_response(many, 10)) is not None:
                    labels.add((response.label, response.error is None))
                assert labels == {("three", True), ("nobody", False)}

        with Entered(a):
            await outside()
        assert a.scheduler.aliases == {}


class Entered:
    """Make a node the current one."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __enter__(self) -> None:
        self.tokens = [
            (partisan.runtime.current.current, partisan.runtime.current.current.set(self.node)),
            (
                partisan._core.router.current_router_var,
                partisan._core.router.current_router_var.set(self.node.router),
            ),
        ]

    def __exit__(self, *_: object) -> None:
        for variable, token in self.tokens:
            variable.reset(token)


async def test_a_request_that_nobody_awaits_is_a_message() -> None:
    """To a server it is one for handle_info, where check_response knows it."""

    class Asks(GenServer):
        def init(self, target: Any) -> None:
            self.requests = gen_server.reqids_new()
            self.answers: list[Any] = []
            for label in range(3):
                gen_server.send_request(target, label, label=label, collection=self.requests)
            gen_server.send_request("nobody", 3, label=3, collection=self.requests)

        def handle_info(self, message: Any) -> None:
            response = gen_server.check_response(message, self.requests)
            assert response is not None
            self.answers.append((response.label, response.value if response.error is None else "failed"))

        def handle_call(self, request: Any, caller: Any) -> Any:
            return self.answers, len(self.requests)

    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(b, Server, name="s")
        pid = await started(a, Asks, args=(("s", b.name),))
        answers: list[Any] = []
        while len(answers) < 4:
            answers, left = await within(a, lambda: call(pid, "answers"))
        assert sorted(answers, key=str) == [(0, 0), (1, 1), (2, 2), (3, "failed")]
        assert left == 0


# Bad input.


@pytest.mark.parametrize(
    ("callback", "value"),
    [
        ("handle_call", Ignore()),
        ("handle_call", NoReply(timeout=-1)),
        ("handle_call", NoReply(timeout="soon")),  # type: ignore[arg-type]
        ("handle_call", Reply(1, timeout=float("nan"))),
        ("handle_cast", 5),
        ("handle_cast", Reply(1)),
        ("handle_cast", Stop(1, reply=1)),
        ("handle_info", "x"),
        ("handle_continue", True),
    ],
)
async def test_what_is_no_control_value_there_ends_the_server(callback: str, value: Any) -> None:
    class Bad(GenServer):
        def handle_call(self, request: Any, caller: Any) -> Any:
            return NoReply(continue_=1) if callback == "handle_continue" else value

        def handle_cast(self, message: Any) -> Any:
            return value

        def handle_info(self, message: Any) -> Any:
            return value

        def handle_continue(self, _: Any) -> Any:
            return value

    async with running("a") as [a]:

        async def case() -> Any:
            pid, reference = await Bad.start_monitor()
            if callback in ("handle_call", "handle_continue"):
                with pytest.raises(Exit):
                    await call(pid, 1)
            elif callback == "handle_cast":
                cast(pid, 1)
            else:
                send(pid, 1)
            return (await receive((..., reference, ..., ..., ...), timeout=5))[4]

        assert (await within(a, case))[0] == Atom("bad_return_value")


@pytest.mark.parametrize("value", [5, Reply(1), NoReply(timeout=-1), True])
async def test_init_returns_control_values_only(value: Any) -> None:
    class Bad(GenServer):
        def init(self) -> Any:
            return value

    async with running("a") as [a]:
        with pytest.raises(StartFailed) as failed:
            await started(a, Bad)
        assert failed.value.reason == (Atom("bad_return_value"), value)


async def test_an_option_that_is_not_there_is_refused() -> None:
    async with running("a") as [a]:
        for options in ({"concurency": 1}, {"concurrent": 0.5}, {"debug": ["nonsense"]}):
            with pytest.raises(StartFailed):
                await started(a, Server, **options)
        await eventually(lambda: not a.scheduler.processes)


async def test_an_exception_is_reported_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Server):
        def handle_call(self, request: Any, caller: Any) -> Any:
            raise KeyError("lost")

    async with running("a") as [a]:
        pid = await started(a, Bad, name="bad")
        with pytest.raises(Exit) as ended:
            await call(pid, "x")
        assert ended.value.reason[0] == (Atom("KeyError"), "'lost'")
        [record] = [each for each in caplog.records if each.levelname == "ERROR"]
        assert record.exc_info
        assert isinstance(record.exc_info[1], KeyError)
        assert record.report.name == "bad"  # type: ignore[attr-defined]
        assert record.report.message == "x"  # type: ignore[attr-defined]
        assert "Generic server bad terminating" in record.getMessage()
        caplog.clear()


async def test_the_exception_of_terminate_is_the_reason_and_the_answer_goes_out() -> None:
    class Bad(GenServer):
        def handle_call(self, request: Any, caller: Any) -> Any:
            return Stop(Atom("normal"), reply="bye")

        async def terminate(self, reason: object) -> None:
            raise Exit((Atom("not"), reason))

    async with running("a") as [a]:

        async def case() -> Any:
            pid, reference = await Bad.start_monitor()
            assert await call(pid, 1) == "bye"
            return (await receive((..., reference, ..., ..., ...), timeout=5))[4]

        assert await within(a, case) == (Atom("not"), Atom("normal"))


async def test_terminate_hears_of_the_call_that_failed() -> None:
    heard: list[Any] = []

    class Asks(GenServer):
        async def handle_cast(self, message: Any) -> None:
            await call("nobody", "x")

        def terminate(self, reason: object) -> None:
            heard.append(reason)

    async with running("a") as [a]:
        pid = await started(a, Asks)
        cast(pid, "go")
        await eventually(lambda: not a.is_process_alive(pid))
        assert heard == [(Atom("noproc"), (Atom("gen_server"), Atom("call"), ["nobody", "x"]))]


@pytest.mark.parametrize("ending", ["stop", "crash", "control"])
async def test_a_server_that_has_ended_is_freed_without_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(logging.getLogger("partisan.gen"), "disabled", True)  # pytest would keep the report

    class Kept(GenServer):
        def handle_call(self, request: Any, caller: Any) -> Any:
            if request == "crash":
                raise ValueError(request)
            return Stop(SHUTDOWN, reply=1)

    servers: list[weakref.ref[Any]] = []

    class Watched(Kept):
        def init(self) -> None:
            servers.append(weakref.ref(self))

    async with running("a") as (a,):

        async def once() -> None:
            pid = await Watched.start()
            if ending == "stop":
                await gen_server.stop(pid)
            else:
                with contextlib.suppress(Exit):
                    await call(pid, ending)

        gc.disable()
        try:
            await within(a, once)
            await eventually(lambda: not a.processes())
            await asyncio.sleep(0)
            assert servers[0]() is None
        finally:
            gc.enable()


async def test_a_server_whose_callback_awaits_what_was_cancelled_fails_as_by_any_exception(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Any] = []

    class Waits(GenServer):
        async def handle_call(self, request: Any, caller: Any) -> Any:
            other = asyncio.get_running_loop().create_future()
            other.cancel()
            await other

        def terminate(self, reason: object) -> None:
            heard.append(reason)

    async with running("a") as (a,):
        pid = await started(a, Waits)
        with pytest.raises(Exit) as ended:
            await within(a, lambda: call(pid, 1))
        ((kind, _), _) = ended.value.reason
        assert kind == Atom("CancelledError")
        assert heard == [ended.value.reason]
    assert sum("terminating" in record.getMessage() for record in caplog.records) == 1


async def test_a_killed_server_does_not_terminate_although_it_traps_exits() -> None:
    heard: list[Any] = []

    class Traps(GenServer):
        def init(self) -> None:
            partisan.trap_exit(True)

        def terminate(self, reason: object) -> None:
            heard.append(reason)

    async with running("a") as (a,):
        pid = await started(a, Traps)
        a.exit(pid, KILL)
        await eventually(lambda: not a.is_process_alive(pid) and not a.processes())
        assert heard == []


async def test_arguments_of_init_that_are_no_tuple_are_refused_before_anything_starts() -> None:
    async with running("a", clean=True):
        for wrong in (5, "abc"):
            for start in (Server.start, Server.start_link, Server.start_monitor):
                with pytest.raises(TypeError, match=r"is no tuple of init's arguments: args=\(value,\)"):
                    await start(args=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_monitored_start_that_is_given_up_leaves_no_message_and_a_killed_process(cancelled: bool) -> None:
    begun: list[Any] = []

    class Slow(GenServer):
        async def init(self) -> None:
            begun.append(partisan.runtime.current.process())
            await asyncio.Event().wait()

    async def starts() -> None:
        starting = Slow.start_monitor(timeout=None if cancelled else 0.2)
        if cancelled:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(starting, 0.2)
        else:
            with pytest.raises(StartFailed) as failed:
                await starting
            assert failed.value.reason == Atom("timeout")
        assert partisan.runtime.current.process().monitors == {}
        await eventually(lambda: begun[0].done())
        assert begun[0].exit_reason == Atom("killed")
        with pytest.raises(ReceiveTimeout):
            await receive(timeout=0)

    async with running("a") as (a,):
        await within(a, starts)
