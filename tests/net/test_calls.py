"""Calls within a node and between two: answers, ends, losses, and that nothing of a call is left behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import ANY

import pytest
from support import address_of, cluster, eventually, fully_meshed, killed_unstepped, running, soon

import partisan
from partisan import Atom, Node
from partisan._core.calls import call, reply
from partisan._core.requests import Served
from partisan.gen.server import GenServer, send_request
from partisan.runtime.errand import Errand
from partisan.testing import within

CHANNELS = {"data": {"parallelism": 2}, "state": {"monotonic": True}, "packed": {"payload": "msgpack"}}
KILL, NOPROC = Atom("kill"), Atom("noproc")


async def answerer() -> None:
    """Obey requests: answer, keep silent, end, or hand the request on."""
    while True:
        match await partisan.receive():
            case (_, caller, (Atom("echo"), value)):
                reply(caller, value)
            case (_, caller, (Atom("hand"), to)):
                partisan.send(to, (Atom("answer"), caller))
            case (_, _, Atom("fail")):
                raise ValueError("as asked")
            case (_, _, (Atom("end"), reason)):
                raise partisan.Exit(reason)
            case (_, caller, (Atom("late"), seconds)):
                await asyncio.sleep(seconds)
                reply(caller, Atom("late"))


@contextlib.asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[Node, Node, Any]]:
    """Two nodes that have agreed on everything, and an answerer on the second."""
    async with cluster("a", "b", channels=CHANNELS, **options) as (a, b):
        await eventually(lambda: all(n.table.peer(m.name).watches_calls for n, m in ((a, b), (b, a))))
        b.spawn(answerer, name="answerer")
        yield a, b, ("answerer", b.name)


async def wait_for_silence(target: Any) -> None:
    """Call, and get no answer."""
    await call(target, Atom("silence"), timeout=30.0)


def left(*nodes: Node) -> list[Any]:
    """What calls have left behind; that a test waits for its process is nothing of theirs."""
    watches = (watch for node in nodes for process in node.scheduler.processes.values() for watch in process.watches())
    return [
        *(alias for node in nodes for alias in node.scheduler.aliases.values()),
        *(watch for watch in watches if not isinstance(watch, Errand)),
        *(node for node in nodes if len(node.scheduler.deadlines)),
    ]


@pytest.mark.parametrize("channel", [None, "data", "state", "packed"])
async def test_a_call_is_answered_on_every_kind_of_channel(channel: str | None) -> None:
    async with pair() as (a, b, target):

        async def ask() -> list[Any]:
            request = [(Atom("echo"), number) for number in range(100)]
            return await asyncio.gather(*(call(target, each, channel=channel) for each in request))

        assert await within(a, ask) == list(range(100))
        await eventually(lambda: left(a, b) == [])


async def test_a_call_by_pid_and_by_name_finds_the_same_process() -> None:
    async with pair() as (a, b, target):
        pid = b.whereis("answerer")
        assert await within(a, lambda: call(pid, (Atom("echo"), 1))) == 1
        assert await within(a, lambda: call(target, (Atom("echo"), 2))) == 2
        assert await within(b, lambda: call("answerer", (Atom("echo"), 3))) == 3
        assert await within(b, lambda: call(Atom("answerer"), (Atom("echo"), 4))) == 4


@pytest.mark.parametrize("here", [True, False], ids=["here", "there"])
async def test_a_name_that_nobody_has_and_a_process_that_has_ended_are_no_process(here: bool) -> None:
    async with pair() as (a, b, _):
        node = a if here else b
        pid = node.spawn(asyncio.sleep, 0)
        await eventually(lambda: node.scheduler.find(pid) is None)
        for target in (pid, ("nobody", node.name)):
            with pytest.raises(partisan.NoProc) as refused:
                await within(a, lambda target=target: call(target, 1))  # type: ignore[misc]
            assert refused.value.reason == NOPROC
            assert refused.value.target == target
        assert left(a, b) == []


@pytest.mark.parametrize("channel", [None, "packed"])
@pytest.mark.parametrize("here", [True, False], ids=["here", "there"])
async def test_the_end_of_the_callee_ends_the_call_with_its_reason(here: bool, channel: str | None) -> None:
    async with pair() as (a, b, target):
        caller = b if here else a
        with pytest.raises(partisan.Exit) as ended:
            await within(caller, lambda: call(target, Atom("fail"), channel=channel))
        (kind, text), frames = ended.value.reason  # type: ignore[misc]
        assert (kind, text) == (Atom("ValueError"), "as asked" if here else b"as asked")
        assert frames[0][1] == Atom("answerer")
        b.spawn(answerer, name="answerer")
        with pytest.raises(partisan.Exit) as ended:
            await within(caller, lambda: call(target, (Atom("end"), Atom("enough")), channel=channel))
        assert ended.value.reason == Atom("enough")
        await eventually(lambda: left(a, b) == [])


async def test_an_uncaught_failure_of_a_call_ends_the_caller_with_the_call_in_its_reason() -> None:
    async with pair() as (a, _, target):
        ends: list[object] = []

        async def ask() -> None:
            await call(target, (Atom("end"), Atom("enough")), timeout=7.0)

        async def watch() -> None:
            a.spawn_monitor(ask)
            ends.append((await partisan.receive())[4])

        a.spawn(watch)
        await eventually(lambda: ends)
        request = [target, (Atom("end"), Atom("enough")), 7.0]
        assert ends == [(Atom("enough"), (Atom("gen_server"), Atom("call"), request))]


@pytest.mark.parametrize("here", [True, False], ids=["here", "there"])
async def test_an_answer_that_comes_too_late_is_seen_by_nobody(here: bool) -> None:
    async with pair() as (a, b, target):
        caller, seen = b if here else a, []

        async def ask() -> None:
            with pytest.raises(partisan.CallTimeout, match=r"0\.01 s"):
                await call(target, (Atom("late"), 0.1), timeout=0.01)
            assert await call(target, (Atom("echo"), 1)) == 1  # the late one went before it
            with contextlib.suppress(partisan.ReceiveTimeout):
                seen.append(await partisan.receive(timeout=0))

        await within(caller, ask)
        assert seen == []
        await eventually(lambda: left(a, b) == [])


async def test_a_call_that_another_node_passes_back_is_answered_by_a_server_of_the_caller_s_node() -> None:
    async with pair() as (a, b, _):

        async def pass_on() -> None:
            while True:
                partisan.send(("server", a.name), await partisan.receive((Atom("$gen_call"), ..., ...)))

        b.spawn(pass_on, name="proxy")
        server = a.spawn(answerer, name="server")
        assert await within(a, lambda: call(("proxy", b.name), (Atom("echo"), 1))) == 1
        assert await within(a, lambda: call("server", (Atom("echo"), 2))) == 2
        assert a.whereis("server") == server


async def test_the_loss_of_the_node_ends_the_call() -> None:
    async with pair() as (a, b, target):
        asked = asyncio.create_task(within(a, lambda: call(target, Atom("silence"), timeout=None)))
        await eventually(lambda: left(b))
        a.kill_connections(b.name)
        with pytest.raises(partisan.NodeDown) as lost:
            await asked
        assert lost.value.reason == (Atom("nodedown"), Atom(b.name))
        await eventually(lambda: left(a, b) == [])


async def test_a_node_that_stops_ends_the_calls_of_its_processes() -> None:
    async with pair() as (a, b, target):
        asked = asyncio.create_task(within(a, lambda: call(target, Atom("silence"), timeout=None)))
        await eventually(lambda: left(b))
        await b.stop(grace=0.1)
        with pytest.raises(partisan.Exit) as ended:
            await asked
        assert ended.value.reason == Atom("shutdown")
        with pytest.raises(partisan.NodeDown):
            await within(a, lambda: call(target, 1))
        assert left(a) == []


async def test_a_node_that_is_not_connected_is_down() -> None:
    async with running("a") as (a,):
        with pytest.raises(partisan.NodeDown) as lost:
            await within(a, lambda: call(("answerer", "z@127.0.0.1"), 1))
        assert lost.value.reason == (Atom("nodedown"), Atom("z@127.0.0.1"))


@pytest.mark.parametrize("here", [True, False], ids=["here", "there"])
async def test_a_caller_that_ends_leaves_nothing_with_the_callee(here: bool) -> None:
    async with pair() as (a, b, target):
        caller = b if here else a
        pids = [caller.spawn(wait_for_silence, target) for _ in range(10)]
        await eventually(lambda: len(left(b)) >= 10)
        for pid in pids:
            caller.exit(pid, KILL)
        await eventually(lambda: left(a, b) == [])


async def test_a_lost_caller_node_leaves_nothing_with_the_callee() -> None:
    async with pair() as (a, b, target):
        for _ in range(10):
            a.spawn(wait_for_silence, target)
        await eventually(lambda: len(left(b)) == 10)
        assert all(isinstance(watch, Served) for watch in left(b))
        await a.stop(grace=0.1)
        await eventually(lambda: left(b) == [])


@pytest.mark.parametrize("worker", ["same node", "other node"])
async def test_somebody_else_may_answer(worker: str) -> None:
    async with pair() as (a, b, target):

        async def work() -> None:
            _, caller = await partisan.receive((Atom("answer"), ...))
            reply(caller, Atom("from the worker"))

        pid = (b if worker == "same node" else a).spawn(work)
        assert await within(a, lambda: call(target, (Atom("hand"), pid))) == Atom("from the worker")
        assert await within(a, lambda: call(target, (Atom("echo"), 1))) == 1
        if worker == "same node":
            await eventually(lambda: left(a, b) == [])


async def test_a_worker_elsewhere_may_answer_a_call_within_a_node() -> None:
    async with pair() as (a, b, target):

        async def work() -> None:
            _, caller = await partisan.receive((Atom("answer"), ...))
            reply(caller, Atom("from afar"))

        pid = a.spawn(work)
        assert await within(b, lambda: call(target, (Atom("hand"), pid))) == Atom("from afar")
        await eventually(lambda: left(a, b) == [])


async def test_tasks_of_a_process_and_code_outside_of_processes_may_call() -> None:
    async with pair() as (a, b, target):

        async def ask() -> list[Any]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call(target, (Atom("echo"), number))) for number in range(10)]
            return [task.result() for task in tasks]

        assert await within(a, ask) == list(range(10))
        await a.stop(grace=0)
        await b.stop(grace=0)
    async with running("c") as (c,):
        c.spawn(answerer, name="answerer")
        assert await asyncio.gather(*(_outside(c, number) for number in range(10))) == list(range(10))
        await eventually(lambda: left(c) == [] and len(c.scheduler.processes) == 1)


async def _outside(node: Node, number: int) -> Any:
    async with node_of_the_context(node):
        return await call("answerer", (Atom("echo"), number))


@contextlib.asynccontextmanager
async def node_of_the_context(node: Node) -> AsyncIterator[None]:
    """Nothing more than `running` did: the node is the current one there already."""
    assert partisan.node() is node
    yield


async def test_a_cancelled_call_takes_its_request_back() -> None:
    async with pair() as (a, b, target):

        async def ask() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await call(target, Atom("silence"), timeout=None)
            await eventually(lambda: left(a, b) == [])
            task = asyncio.create_task(call(target, Atom("silence"), timeout=None))
            await eventually(lambda: left(b) != [])  # it has been asked
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        await within(a, ask)
        await eventually(lambda: left(a, b) == [])


async def test_forged_answers_and_refusals_harm_nothing() -> None:
    async with pair() as (a, b, target):
        for forged in (
            (Atom("calls"), Atom("refuse"), 1 << 70, NOPROC),
            (Atom("calls"), Atom("forget"), 5, Atom("answerer")),
            (Atom("calls"), Atom("forget"), 5, Atom("nobody")),
        ):
            b.router.send(("partisan_python", a.name), forged)
            a.router.send(("partisan_python", b.name), forged)
        for forged in (((Atom("$alias"), 5), 1), ((Atom("$alias"), b"x"), 1), ((Atom("$alias"), {}), 1)):
            a.send(target, forged)
        assert await within(a, lambda: call(target, (Atom("echo"), 1))) == 1


async def test_a_call_that_is_no_term_is_an_error_of_the_caller_alone() -> None:
    async with pair() as (a, b, target):
        with pytest.raises(partisan.EncodeError):
            await within(a, lambda: call(target, object()))
        assert await within(a, lambda: call(target, (Atom("echo"), 1))) == 1
        assert left(a, b) == []


async def test_a_node_that_returns_is_called_again() -> None:
    async with running("a", channels=CHANNELS) as (a,):
        async with running("b", channels=CHANNELS) as (b,):
            port = b.listen_addrs[0].port
            await b.join(address_of(a))
            await eventually(lambda: fully_meshed(a, b))
        async with partisan.Node(f"b@127.0.0.1:{port}", channels=CHANNELS) as b:
            b.spawn(answerer, name="answerer")
            await eventually(lambda: a.is_fully_connected(b.name) and b.is_fully_connected(a.name))
            assert await within(a, lambda: call(("answerer", b.name), (Atom("echo"), 1))) == 1


async def test_a_reason_that_is_no_term_is_told_as_text() -> None:
    async with pair() as (a, b, _):

        async def fails() -> None:
            await partisan.receive()
            raise partisan.Exit(object())

        b.spawn(fails, name="fails")
        with pytest.raises(partisan.Exit) as ended:
            await within(a, lambda: call(("fails", b.name), 1))
        what, text = ended.value.reason  # type: ignore[misc]
        assert what == Atom("unencodable")
        assert text.startswith(b"<object object")


async def test_whoever_calls_what_ends_for_a_reason_too_large_hears_how_that_begins() -> None:
    async with pair(max_frame_octets=1 << 20) as (a, b, target):

        async def fails() -> None:
            await partisan.receive()
            raise ValueError("x" * 3_000_000)

        b.spawn(fails, name="fails")
        with pytest.raises(partisan.Exit) as ended:
            await within(a, lambda: call(("fails", b.name), 1, timeout=30.0))
        what, text = ended.value.reason  # type: ignore[misc]
        assert what == Atom("unencodable")
        assert b"ValueError" in text
        assert await within(a, lambda: call(target, (Atom("echo"), 1))) == 1


class Unsayable:
    """Its repr fails."""

    def __repr__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (lambda: Unsayable(), b"<Unsayable"),
        (lambda: "x" * 3_000_000, b"'xxx"),
    ],
    ids=["a repr that fails", "too large for a frame"],
)
async def test_a_reason_that_cannot_be_written_reaches_all_that_are_told_of_an_end(reason: Any, said: bytes) -> None:
    async with pair(max_frame_octets=1 << 20) as (a, b, _):
        seen: list[Any] = []

        async def fails() -> None:
            await partisan.receive("end")
            raise partisan.Exit(reason())

        async def watch() -> None:
            partisan.monitor(pid)
            b.send(pid, "end")
            seen.append((await partisan.receive())[4])

        pid = b.spawn(fails, name="fails")
        asked = asyncio.create_task(within(a, lambda: call(("fails", b.name), 1)))
        await eventually(lambda: left(b))
        b.spawn(watch)
        with pytest.raises(partisan.Exit) as ended:
            await asked
        what, text = ended.value.reason  # type: ignore[misc]
        assert what == Atom("unencodable")
        assert text.startswith(said)
        await eventually(lambda: seen)
        assert type(seen[0]) is type(reason())


async def test_code_outside_of_processes_is_not_left_waiting_by_a_node_that_stops() -> None:
    async with running("c") as (c,):
        c.spawn(answerer, name="answerer")
        asked = asyncio.create_task(call("answerer", Atom("silence"), timeout=None))
        await eventually(lambda: left(c))
        await c.stop(grace=0.1)
        with pytest.raises(partisan.Exit):
            await asked


async def test_a_call_whose_process_is_killed_before_its_first_step_ends() -> None:
    async with running("c") as (c,):
        c.spawn(answerer, name="answerer")
        with pytest.raises(partisan.Exit) as ended:
            await killed_unstepped(c, lambda: call("answerer", Atom("silence"), timeout=None))
        assert ended.value.reason == Atom("killed")


async def test_a_call_that_begins_as_the_node_stops_ends() -> None:
    async with running("c") as (c,):
        c.spawn(answerer, name="answerer")
        asked = asyncio.create_task(call("answerer", Atom("silence"), timeout=None))
        await asyncio.create_task(c.stop(grace=5.0))
        with pytest.raises(partisan.Exit):
            await soon(asked)


@pytest.mark.parametrize("here", [True, False])
async def test_an_answer_that_is_no_term_ends_the_server_and_whoever_asked_from_elsewhere_is_told(here: bool) -> None:
    class Vague(GenServer):
        def handle_call(self, request: Any, caller: Any) -> Any:
            return object()

    async with pair() as (a, b, _):
        await within(b, lambda: Vague.start(name="vague"))
        asking = within(b if here else a, lambda: call(("vague", b.name), 1, timeout=None))
        if here:
            assert type(await asking) is object
        else:
            with pytest.raises(partisan.Exit) as ended:
                await asyncio.wait_for(asking, 5.0)
            assert ended.value.reason[0][0] == Atom("EncodeError")  # type: ignore[index]
            assert b.whereis("vague") is None


async def test_a_node_that_says_again_and_again_that_it_wants_nothing_of_before_costs_one_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def served() -> list[int]:
        watches = b.scheduler.find(b.whereis("answerer")).watches()
        return [watch.tag[1] for watch in watches if isinstance(watch, Served)]

    async with pair() as (a, b, target):
        waiting = [a.spawn(wait_for_silence, target)]
        await eventually(lambda: len(served()) == 1)
        later = a.scheduler.next_alias
        waiting.append(a.spawn(wait_for_silence, target))
        await eventually(lambda: len(served()) == 2)
        walks: list[Any] = []
        unserve = b._requests._unserve
        monkeypatch.setattr(b._requests, "_unserve", lambda *about: walks.append(about) or unserve(*about))
        for number in range(later - 99, later + 1):
            a._tell_python(b.name, (Atom("calls"), Atom("since"), number))
        await eventually(lambda: served() == [later])
        assert len(walks) < 50
        for pid in waiting:
            a.exit(pid, KILL)
        await eventually(lambda: not served())


# What is easily done wrong.


async def test_a_call_that_nobody_awaits_is_warned_of_where_it_is_made() -> None:
    async with pair() as (a, b, far):
        a.spawn(answerer, name="answerer")

        async def ask() -> None:
            for target in ("answerer", far):
                with pytest.warns(RuntimeWarning, match="call .* was never awaited") as caught:
                    partisan.call(target, Atom("silence"))
                assert [each.filename for each in caught] == [__file__]
            echo = (Atom("echo"), 1)
            partisan.call(far, echo).close()
            given_up = asyncio.ensure_future(partisan.call(far, echo))
            given_up.cancel()
            assert await asyncio.gather(partisan.call(far, echo), given_up, return_exceptions=True) == [1, ANY]

        await within(a, ask)
        assert left(a, b) == []


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (None, {}, "None is no target"),
    (("answerer", 5), {}, r"\('answerer', 5\) is no target"),
    ("answerer", {"timeout": "5"}, "timeout '5' is no number of seconds"),
    ("answerer", {"channel": 5}, "channel 5 is no name of a channel"),
    (("answerer", "b@127.0.0.1"), {"channel": Atom("data")}, "channel Atom.*data.* is no name of a channel"),
]


@pytest.mark.parametrize(("target", "options", "problem"), WRONG)
async def test_an_argument_that_cannot_be_meant_is_named_in_a_process_and_outside(
    target: Any, options: dict[str, Any], problem: str
) -> None:
    async with pair() as (a, b, _):
        a.spawn(answerer, name="answerer")

        async def ask() -> None:
            with pytest.raises(TypeError, match=problem):
                await partisan.call(target, Atom("silence"), **options)
            for tell in (partisan.send, partisan.cast, send_request) if "timeout" not in options else ():
                with pytest.raises(TypeError, match=problem):
                    tell(target, Atom("silence"), **options)

        await within(a, ask)
        await asyncio.wrap_future(a.threadsafe(ask))
        assert left(a, b) == []
