"""erpc between two nodes: classes of exceptions, requests that go on, and what is lost on the way."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from scripted import FORWARD, greeted, member
from support import FAST, cluster, eventually, inside, left_over, python_cluster

import partisan
from partisan import Atom, Node, NotInProcess, erpc
from partisan.errors import (
    EncodeError,
    ErpcError,
    ErpcException,
    ErpcNoConnection,
    ErpcTimeout,
    RemoteExit,
    Throw,
)

BOOM, KILL = Atom("boom"), Atom("kill")
ERPC, EXCEPTION, SIGNAL, BADARG = Atom("erpc"), Atom("exception"), Atom("signal"), Atom("badarg")


async def late(seconds: float, value: Any) -> Any:
    await asyncio.sleep(seconds)
    return value


def fails(how: Any) -> None:
    if how == Atom("throw"):
        raise Throw(BOOM)
    if how == Atom("exit"):
        partisan.exit(BOOM)
    if how == Atom("kill"):
        partisan.node().exit(partisan.self(), KILL)
        return asyncio.Event().wait()  # type: ignore[return-value]
    raise ValueError("no")


def exposing(*nodes: Node) -> None:
    for node in nodes:
        node.expose(late, "t:late")
        node.expose(fails, "t:fails")
        node.expose(lambda: object(), "t:no_term")


@pytest.mark.parametrize("where", ["b@127.0.0.1", "a@127.0.0.1"])
async def test_the_class_of_what_a_function_raises_is_kept_there_and_here(where: str) -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(a, b)

        async def ask() -> None:
            assert await erpc.call(where, "t", "late", [0, 5]) == 5
            with pytest.raises(Throw) as thrown:
                await erpc.call(where, "t", "fails", [Atom("throw")])
            assert thrown.value.value == BOOM
            with pytest.raises(RemoteExit) as exited:
                await erpc.call(where, "t", "fails", [Atom("exit")])
            assert exited.value.reason == (EXCEPTION, BOOM)
            assert (exited.value.kind, exited.value.inner) == ("exception", BOOM)
            with pytest.raises(RemoteExit) as killed:
                await erpc.call(where, "t", "fails", [KILL])
            assert killed.value.reason == (SIGNAL, Atom("killed"))
            with pytest.raises(ErpcException) as failed:
                await erpc.call(where, "t", "fails", [1])
            assert failed.value.inner[0] == Atom("ValueError")
            assert failed.value.stacktrace[0][1] == Atom("fails")
            assert failed.value.reason[0] == EXCEPTION

        await inside(a, ask)


async def test_what_is_undefined_or_not_allowed_or_no_term_is_an_error_of_the_function() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)

        async def reason(*mfa: Any) -> Any:
            with pytest.raises(ErpcException) as caught:
                await erpc.call(b.name, *mfa)
            return caught.value.inner

        assert await inside(a, lambda: reason("t", "late", [1])) == Atom("undef")
        not_allowed = (Atom("not_allowed"), (Atom("os"), Atom("getpid"), 0))
        assert await inside(a, lambda: reason("os", "getpid")) == not_allowed
        assert (await inside(a, lambda: reason("t", "no_term")))[0] == Atom("EncodeError")
        with pytest.raises(EncodeError):
            await inside(a, lambda: erpc.call(b.name, "t", "late", [0, object()]))


async def test_a_function_that_exits_the_program_is_an_error_of_its_own_and_the_node_goes_on() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)
        b.expose(sys.exit, "t:exit")

        async def ask() -> None:
            with pytest.raises(ErpcException) as raised:
                await erpc.call(b.name, "t", "exit", [2])
            assert raised.value.inner == (Atom("SystemExit"), b"2")
            assert await erpc.call(b.name, "t", "late", [0, 5]) == 5

        await inside(a, ask)


@pytest.mark.parametrize(
    "arguments",
    [
        (5, "m", "f"),
        ("b@127.0.0.1", 5, "f"),
        ("b@127.0.0.1", "m", None),
        ("b@127.0.0.1", "m", "f", "text"),
        ("b@127.0.0.1", "m", "f", None),
    ],
)
async def test_arguments_of_another_kind_are_a_badarg(arguments: tuple[Any, ...]) -> None:
    async with Node("a@127.0.0.1:0"):
        with pytest.raises(ErpcError) as caught:
            await erpc.call(*arguments)
        assert caught.value.reason == (ERPC, BADARG)
        with pytest.raises(ErpcError):
            await erpc.call("b@127.0.0.1", "m", "f", timeout=-1.0)


async def test_time_outs_and_lost_nodes_are_errors_of_erpc_itself() -> None:
    async with cluster("a", "b") as (a, b):
        exposing(a, b)
        await eventually(lambda: b.name in a._remote.erpc.supported)
        gate = asyncio.Event()
        b.expose(gate.wait, "t:gate")

        async def ask() -> None:
            for node in (a, b):
                with pytest.raises(ErpcTimeout) as slow:
                    await erpc.call(node.name, "t", "late", [0.05, 1], timeout=0.001)
                assert slow.value.reason == (ERPC, Atom("timeout"))
            with pytest.raises(ErpcNoConnection) as none:
                await erpc.call("nobody@127.0.0.1", "t", "late")
            assert none.value.reason == (ERPC, Atom("noconnection"))
            request = erpc.send_request(b.name, "t", "gate")
            await eventually(lambda: b._remote.applied.running > 0)
            a._manager.disconnect(b.name)
            b._manager.disconnect(a.name)
            with pytest.raises(ErpcNoConnection):
                await erpc.receive_response(request, timeout=10)

        await inside(a, ask)
        gate.set()
        await eventually(lambda: not left_over(a) and not left_over(b))


async def test_calls_above_the_limit_are_a_system_limit() -> None:
    async with python_cluster("a", "b", max_remote_calls=1) as (a, b):
        gate = asyncio.Event()
        b.expose(gate.wait, "t:gate")

        async def ask() -> None:
            request = erpc.send_request(b.name, "t", "gate")
            await eventually(lambda: b._remote.applied.running == 1)
            with pytest.raises(ErpcError) as caught:
                await erpc.call(b.name, "t", "gate")
            assert caught.value.reason == (ERPC, Atom("system_limit"))
            gate.set()
            assert await erpc.receive_response(request) is True

        await inside(a, ask)


async def test_a_request_goes_on_and_its_answer_is_waited_for_or_checked() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)
        gate = asyncio.Event()

        async def gated(value: Any) -> Any:
            await gate.wait()
            return value

        b.expose(gated, "t:gated")

        async def ask() -> None:
            first, second = (erpc.send_request(b.name, "t", "gated", [n]) for n in (1, 2))
            assert await erpc.wait_response(first) is None
            gate.set()
            assert await erpc.wait_response(first, timeout=10) == erpc.Response(1)
            assert a.scheduler.find(partisan.self()).untie(first) is None  # type: ignore[union-attr]
            message = await partisan.receive(timeout=10)
            assert erpc.check_response(message, first) is None
            assert erpc.check_response((1, 2), second) is None
            assert erpc.check_response(message, second) == erpc.Response(2)
            failing = erpc.send_request(b.name, "t", "fails", [1])
            with pytest.raises(ErpcException):
                erpc.check_response(await partisan.receive(timeout=10), failing)

        await inside(a, ask)


async def test_a_response_that_is_not_there_in_time_is_given_up() -> None:
    async with python_cluster("a", "b") as (a, b):
        gate = asyncio.Event()
        b.expose(gate.wait, "t:gate")

        async def ask() -> int:
            request = erpc.send_request(b.name, "t", "gate")
            await eventually(lambda: b._remote.applied.running == 1)
            with pytest.raises(ErpcTimeout):
                await erpc.receive_response(request, timeout=0.001)
            gate.set()
            await eventually(lambda: b._remote.applied.running == 0)
            await erpc.call(b.name, "t", "gate")  # what was late has come by now
            process = a.scheduler.find(partisan.self())
            assert process is not None
            assert process.untie(request) is None
            return len(process.mailbox)

        assert await inside(a, ask) == 0


async def test_requests_of_a_process_that_ends_leave_nothing_behind() -> None:
    async with python_cluster("a", "b") as (a, b):
        gate = asyncio.Event()
        b.expose(gate.wait, "t:gate")

        async def ask() -> None:
            erpc.send_request(b.name, "t", "gate")
            await eventually(lambda: b._remote.applied.running == 1)

        await inside(a, ask)
        await eventually(lambda: not a.scheduler.processes and not left_over(a))
        gate.set()


async def test_a_collection_gives_responses_as_they_come_with_their_labels() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)

        async def ask() -> None:
            requests = erpc.reqids_new()
            assert await erpc.receive_response(requests) is None
            assert await erpc.wait_response(requests) is None
            requests = erpc.send_request(b.name, "t", "late", [0.02, 1], label="slow", reqids=requests)
            plain = erpc.send_request(b.name, "t", "late", [0, 2])
            assert erpc.reqids_add(plain, "fast", requests) is requests
            with pytest.raises(ErpcError):
                erpc.reqids_add(plain, "again", requests)
            requests = erpc.send_request(b.name, "t", "fails", [1], label="bad", reqids=requests)
            assert erpc.reqids_size(requests) == 3
            assert (plain, "fast") in erpc.reqids_to_list(requests)
            seen: dict[str, Any] = {}
            while erpc.reqids_size(requests):
                try:
                    found = await erpc.receive_response(requests, timeout=10)
                    seen[found.label], requests = found.value, found.reqids
                except ErpcException as error:
                    seen[error.label], requests = "failed", error.reqids  # type: ignore[attr-defined]
            assert seen == {"slow": 1, "fast": 2, "bad": "failed"}

        await inside(a, ask)


async def test_a_collection_keeps_a_request_that_is_not_to_be_deleted_and_times_out_as_a_whole() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)
        gate = asyncio.Event()
        b.expose(gate.wait, "t:gate")

        async def ask() -> None:
            requests = erpc.send_request(b.name, "t", "late", [0, 1], label=1, reqids=erpc.reqids_new())
            found = await erpc.receive_response(requests, timeout=10, delete=False)
            assert erpc.reqids_size(found.reqids) == 1
            requests = erpc.send_request(b.name, "t", "gate", label=2, reqids=erpc.reqids_new())
            await eventually(lambda: b._remote.applied.running == 1)
            assert await erpc.wait_response(requests, timeout=0.001) is None
            with pytest.raises(ErpcTimeout):
                await erpc.receive_response(requests, timeout=0.001)
            assert erpc.reqids_size(requests) == 0
            gate.set()

        await inside(a, ask)


async def test_a_request_needs_a_process() -> None:
    async with Node("a@127.0.0.1:0") as a:
        with pytest.raises(NotInProcess):
            erpc.send_request(a.name, "m", "f")


async def test_many_nodes_are_asked_and_told_at_once() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(a, b)
        done: list[int] = []
        a.expose(done.append, "t:note")
        b.expose(done.append, "t:note")

        async def ask() -> list[Any]:
            everybody = [a.name, b.name, "nobody@127.0.0.1"]
            erpc.multicast(everybody, "t", "note", [1])
            await eventually(lambda: done == [1, 1])
            return await erpc.multicall(everybody, "t", "late", [0, 5])

        values = await inside(a, ask)
        assert values[:2] == [5, 5]
        assert isinstance(values[2], ErpcNoConnection)


async def test_towards_a_node_that_has_not_agreed_it_is_made_of_rpc() -> None:
    async with member("p@127.0.0.1", {None: 1}) as peer, Node("a@127.0.0.1:0", **FAST) as a:
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1"))
        async with greeted(a, "p@127.0.0.1") as script:
            erpc.cast("p@127.0.0.1", "lists", "seq", [1, 2])
            [cast] = await eventually(peer.messages)
            assert cast[:4] == (Atom("call"), Atom("lists"), Atom("seq"), [1, 2])
            peer.heard.clear()
            for answer, wanted in ((5, 5), ((Atom("badrpc"), BOOM), BOOM)):
                call = asyncio.ensure_future(erpc.call("p@127.0.0.1", "m", "f"))
                [asked] = await eventually(peer.messages)
                peer.heard.clear()
                pid = asked[5][1]
                target = (Atom("encoded_pid"), list(f"<0.{pid.id}.{pid.serial}>".encode()))
                script.tell((FORWARD, target, (Atom("rpc_response"), answer)))
                if wanted == 5:
                    assert await call == 5
                else:
                    with pytest.raises(ErpcException) as caught:
                        await call
                    assert caught.value.reason == (EXCEPTION, BOOM, [])
