"""rpc: between two nodes, and with real nodes as they were recorded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from scripted import FORWARD, VECTORS, decode, encode, greeted, member
from support import (
    FAST,
    Events,
    agreed,
    cluster,
    eventually,
    inside,
    killed_unstepped,
    left_over,
    python_cluster,
    running,
)

import partisan
from partisan import Atom, BadRpc, Node, NodeDown, Pid, rpc
from partisan.errors import EncodeError, RpcTimeout, Throw

BACKEND, CALL, ORIGIN = Atom("partisan_rpc_backend"), Atom("call"), Atom("origin")
RESPONSE, BADRPC, INFINITY = Atom("rpc_response"), Atom("badrpc"), Atom("infinity")
NOT_ALLOWED, UNDEF, BOOM = Atom("not_allowed"), Atom("undef"), Atom("boom")


async def late(seconds: float, value: Any) -> Any:
    await asyncio.sleep(seconds)
    return value


def reverse(items: list[Any]) -> list[Any]:
    return items[::-1]


def fails(how: Any) -> None:
    if how == Atom("throw"):
        raise Throw(BOOM)
    if how == Atom("exit"):
        partisan.exit(BOOM)
    raise ValueError("no")


def exposing(node: Node) -> Node:
    node.expose(reverse, "lists:reverse")
    node.expose(late, "t:late")
    node.expose(fails, "t:fails")
    node.expose(lambda: object(), "t:no_term")
    node.expose(bytes, "t:zeros")
    node.expose(partisan.self, "t:self")
    return node


async def test_a_function_of_another_node_gives_its_value() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)
        assert await inside(a, lambda: rpc.call(b.name, "lists", "reverse", [[1, "x", (2.5,)]])) == [(2.5,), b"x", 1]


async def test_code_outside_of_processes_calls_and_so_does_a_node_itself() -> None:
    async with python_cluster("b") as [b], Node("a@127.0.0.1:0", **FAST) as a:
        exposing(b)
        exposing(a)
        await a.join(f"b@{b.listen_addrs[0]}")
        assert await rpc.call(b.name, "lists", "reverse", [[1, 2]]) == [2, 1]
        assert await rpc.call(Atom(b.name), "t", "late", [0, 5]) == 5
        assert await rpc.call(a.name, "lists", "reverse", [[1, 2]]) == [2, 1]
        with pytest.raises(BadRpc) as caught:
            await rpc.call(a.name, "os", "getpid")
        assert caught.value.reason[0] == NOT_ALLOWED
        with pytest.raises(RpcTimeout):
            await rpc.call(a.name, "t", "late", [0.2, 5], timeout=0.001)
        await eventually(lambda: not left_over(a))


REASONS: list[tuple[str, str, list[Any], Any]] = [
    ("lists", "reverse", [], UNDEF),
    ("lists", "reverse", [1, 2], UNDEF),
    ("os", "system", ["true"], (NOT_ALLOWED, (Atom("os"), Atom("system"), 1))),
    ("lists", "nowhere", [], (NOT_ALLOWED, (Atom("lists"), Atom("nowhere"), 0))),
    ("t", "fails", [Atom("throw")], BOOM),
    ("t", "fails", [Atom("exit")], BOOM),
    ("t", "fails", [Atom("error")], (Atom("ValueError"), b"no")),
    ("erlang", "whereis", [5], Atom("badarg")),
    ("erlang", "whereis", [], UNDEF),
    ("partisan", "is_process_alive", [Pid("c@host", 1)], Atom("badarg")),
    ("partisan", "exit", [Pid("b@127.0.0.1", 1), BOOM], (NOT_ALLOWED, b"exit")),
    ("erlang", "spawn", [Atom("t"), Atom("late"), [1, 2]], (NOT_ALLOWED, b"spawn")),
]


async def test_what_gives_no_value_is_a_badrpc_with_the_reason() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)
        for module, function, args, reason in REASONS:
            with pytest.raises(BadRpc) as caught:
                await inside(a, lambda m=module, f=function, x=args: rpc.call(b.name, m, f, x))
            assert caught.value.reason == reason, (module, function)


async def test_results_that_are_no_term_are_an_error_of_the_caller_and_huge_ones_arrive_or_are() -> None:
    async with python_cluster("a", "b", max_frame_octets=1 << 20) as (a, b):
        exposing(b)
        with pytest.raises(BadRpc) as caught:
            await inside(a, lambda: rpc.call(b.name, "t", "no_term"))
        assert caught.value.reason[0] == Atom("EncodeError")
        assert await inside(a, lambda: rpc.call(b.name, "t", "zeros", [1 << 19])) == bytes(1 << 19)
        with pytest.raises(BadRpc) as caught:
            await inside(a, lambda: rpc.call(b.name, "t", "zeros", [1 << 21]))
        assert caught.value.reason[0] == Atom("EncodeError")
        with pytest.raises(EncodeError):
            await inside(a, lambda: rpc.call(b.name, "lists", "reverse", [object()]))


async def test_requests_run_at_once_and_a_late_answer_reaches_nobody() -> None:
    async with python_cluster("a", "b") as (a, b):
        gate = asyncio.Event()

        async def gated(value: int) -> int:
            await gate.wait()
            return value

        b.expose(gated, "t:gated")

        async def ask() -> list[Any]:
            with pytest.raises(RpcTimeout):
                await rpc.call(b.name, "t", "gated", [0], timeout=0.01)
            keys = [rpc.async_call(b.name, "t", "gated", [number]) for number in range(1, 20)]
            await eventually(lambda: b._remote.applied.running == 20)
            assert await rpc.nb_yield(keys[0]) is None
            gate.set()
            found = [await rpc.yield_(key) for key in keys]
            assert await rpc.nb_yield(keys[0], 1.0) == (1,)
            assert not a.scheduler.find(partisan.self()).mailbox  # type: ignore[union-attr]
            return found

        assert await inside(a, ask) == list(range(1, 20))
        await eventually(lambda: a.router.undelivered == 1)


async def test_calls_above_the_limit_are_refused_and_the_limit_is_live() -> None:
    async with python_cluster("a", "b", max_remote_calls=2) as (a, b):
        gate = asyncio.Event()
        b.expose(gate.wait, "t:gate")

        async def ask() -> None:
            held = [rpc.async_call(b.name, "t", "gate") for _ in range(2)]
            await eventually(lambda: b._remote.applied.running == 2)
            with pytest.raises(BadRpc) as caught:
                await rpc.call(b.name, "t", "gate")
            assert caught.value.reason == Atom("system_limit")
            b.reconfigure(max_remote_calls=3)
            held.append(rpc.async_call(b.name, "t", "gate"))
            await eventually(lambda: b._remote.applied.running == 3)
            gate.set()
            assert [await rpc.yield_(key) for key in held] == [True] * 3

        await inside(a, ask)


async def test_a_node_that_is_lost_in_the_middle_or_never_was_is_nodedown_and_the_function_runs_on() -> None:
    async with cluster("a", "b") as (a, b):
        gate, ended = asyncio.Event(), asyncio.Event()

        async def gated() -> None:
            await gate.wait()
            ended.set()

        b.expose(gated, "t:gated")

        async def ask() -> None:
            key = rpc.async_call(b.name, "t", "gated")
            await eventually(lambda: b._remote.applied.running == 1)
            a._manager.disconnect(b.name)
            b._manager.disconnect(a.name)
            with pytest.raises(NodeDown):
                await rpc.yield_(key)
            with pytest.raises(NodeDown):
                await rpc.call("nobody@127.0.0.1", "t", "gated")

        await inside(a, ask)
        assert not left_over(a)
        assert b._remote.applied.running == 1
        gate.set()
        await ended.wait()
        await eventually(lambda: not left_over(b))


async def test_a_caller_that_ends_leaves_nothing_behind() -> None:
    async with python_cluster("a", "b") as (a, b):
        gate = asyncio.Event()
        b.expose(gate.wait, "t:gate")
        pid = a.spawn(rpc.call, b.name, "t", "gate")
        await eventually(lambda: b._remote.applied.running == 1)
        a.exit(pid, Atom("kill"))
        await eventually(lambda: not a.scheduler.processes)
        assert not left_over(a)
        gate.set()


async def test_a_function_whose_process_is_killed_is_a_badrpc() -> None:
    async with python_cluster("a", "b") as (a, b):

        async def dies() -> None:
            b.exit(partisan.self(), Atom("kill"))
            await asyncio.Event().wait()

        b.expose(dies, "t:dies")
        with pytest.raises(BadRpc) as caught:
            await inside(a, lambda: rpc.call(b.name, "t", "dies"))
        assert caught.value.reason == Atom("killed")


async def test_a_cast_runs_and_many_nodes_are_asked_at_once() -> None:
    async with python_cluster("a", "b", "c") as (a, b, c):
        exposing(b)
        done: list[int] = []
        for node in (a, b):
            node.expose(done.append, "t:note")

        async def ask() -> Any:
            rpc.cast(b.name, "t", "note", [1])
            rpc.cast(a.name, "t", "note", [2])
            rpc.cast("nobody@127.0.0.1", "t", "note", [3])
            await eventually(lambda: sorted(done) == [1, 2])
            return await rpc.multicall([b.name, "nobody@127.0.0.1", c.name], "lists", "reverse", [[1, 2]])

        values, bad = await inside(a, ask)
        assert values[0] == [2, 1]
        assert isinstance(values[1], BadRpc)
        assert bad == ["nobody@127.0.0.1"]


async def test_a_request_takes_its_channel_and_an_answer_that_of_the_request() -> None:
    async with (
        member("p@127.0.0.1", {None: 1, "data": 1}) as peer,
        Node("a@127.0.0.1:0", **FAST, channels=["data"]) as a,
    ):
        await peer.joined_by(a)
        await eventually(lambda: a.is_fully_connected("p@127.0.0.1"))
        exposing(a)
        key = rpc.async_call("p@127.0.0.1", "lists", "seq", [1, 3], channel="data")
        [data] = peer.of("data")
        await eventually(lambda: data.heard and data.heard[0][0] == CALL)
        async with greeted(a, "p@127.0.0.1", Atom("data")) as script:
            me = (ORIGIN, Pid("p@127.0.0.1", 1))
            script.tell((FORWARD, BACKEND, (CALL, Atom("lists"), Atom("reverse"), [[1, 2]], INFINITY, me)))
            await eventually(lambda: data.heard[1:] == [(RESPONSE, [2, 1])])
        await a.stop(grace=0.5)
        with pytest.raises(NodeDown):
            await rpc.yield_(key)


async def test_refusals_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with python_cluster("a", "b") as (a, b):
        events = Events(b, "partisan.request")
        for _ in range(5):
            with pytest.raises(BadRpc):
                await inside(a, lambda: rpc.call(b.name, "os", "system", ["true"]))
        assert (
            events.of("partisan.request.refused", node=a.name, what="os:system/1")
            == [{"node": a.name, "what": "os:system/1"}] * 5
        )
        assert b.counters()["events"]["partisan.request.refused"] == 5
        said = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
        assert said == [f"{b.name} refuses os:system/1 to {a.name}"]


async def test_the_list_is_live() -> None:
    async with python_cluster("a", "b") as (a, b):
        with pytest.raises(BadRpc):
            await inside(a, lambda: rpc.call(b.name, "math", "sqrt", [4]))
        b.reconfigure(allow=["math:*"])
        assert await inside(a, lambda: rpc.call(b.name, "math", "sqrt", [4])) == 2.0
        b.reconfigure(allow=[])
        with pytest.raises(BadRpc):
            await inside(a, lambda: rpc.call(b.name, "math", "sqrt", [4]))


def recorded() -> list[tuple[bytes, Any]]:
    """The frames of the rpc conversation of two real nodes."""
    rows = [json.loads(line) for line in (VECTORS / "upper-rpc.jsonl").read_text().splitlines()]
    return [(bytes.fromhex(row["hex"]), row["dir"]) for row in rows]


async def test_recorded_requests_of_a_real_node_are_answered_as_that_node_was() -> None:
    requests = [body for body, direction in recorded() if direction == "a>b"]
    by_name = {decode(body)[2][1:3]: body for body in requests}
    async with member("a@127.0.0.1", {None: 1}) as peer, Node("b@127.0.0.1:0", **FAST, allow=["exit"]) as b:
        await peer.joined_by(b)
        await eventually(lambda: b.is_connected("a@127.0.0.1"))
        exposing(b)
        b.expose(lambda first, last: list(range(first, last + 1)), "lists:seq")
        server = b.spawn(asyncio.Event().wait, name="usrv")
        async with greeted(b, "a@127.0.0.1") as script:
            script.say(by_name[Atom("lists"), Atom("seq")], by_name[Atom("lists"), Atom("nosuch")])
            script.say(by_name[Atom("erlang"), Atom("whereis")], by_name[Atom("erlang"), Atom("spawn")])
            found = await eventually(lambda: len(answers(peer)) == 4 and answers(peer))
            assert [1, 2, 3] in found
            assert (BADRPC, (NOT_ALLOWED, (Atom("lists"), Atom("nosuch"), 2))) in found
            assert server in found
            assert (BADRPC, (NOT_ALLOWED, b"spawn")) in found


def answers(peer: Any) -> list[Any]:
    return sorted((message[1] for message in peer.messages() if message[0] == RESPONSE), key=repr)


async def test_a_real_node_is_asked_in_its_frames_and_its_answers_are_taken() -> None:
    async with member("p@127.0.0.1", {None: 1}) as peer, Node("a@127.0.0.1:0", **FAST) as a:
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1"))
        async with greeted(a, "p@127.0.0.1") as script:
            replies = [decode(body)[2] for body, direction in recorded() if direction == "b>a"]
            assert (RESPONSE, [1, 2, 3]) in replies
            for wanted, reply in [([1, 2, 3], (RESPONSE, [1, 2, 3])), (UNDEF, (RESPONSE, (BADRPC, UNDEF)))]:
                key = rpc.async_call("p@127.0.0.1", "lists", "seq", [1, 3], timeout=20.0)
                asked = await eventually(lambda: peer.messages()[-1:])
                [(tag, module, function, args, timeout, (origin, pid))] = asked
                assert (tag, module, function, args) == (CALL, Atom("lists"), Atom("seq"), [1, 3])
                assert (timeout, origin, pid.node) == (20000, ORIGIN, a.name)
                peer.heard.clear()
                target = (Atom("encoded_pid"), list(f"<0.{pid.id}.{pid.serial}>".encode()))
                script.say(encode((FORWARD, target, reply)))
                if isinstance(wanted, list):
                    assert await rpc.yield_(key) == wanted
                else:
                    with pytest.raises(BadRpc) as caught:
                        await rpc.yield_(key)
                    assert caught.value.reason == wanted
            key = rpc.async_call("p@127.0.0.1", "timer", "sleep", [300])
            asked = await eventually(lambda: peer.messages()[-1:])
            assert asked[0][4] == INFINITY
            peer.heard.clear()
        assert not await rpc.nb_yield(key)
    with pytest.raises(NodeDown):
        await rpc.yield_(key)


NONSENSE: list[Any] = [
    5,
    (CALL,),
    (CALL, Atom("m"), Atom("f"), [], 5, (ORIGIN, 5)),
    (Atom("$gen_call"), (Pid("p@127.0.0.1", 1), 1), 2),
]


async def test_what_is_no_request_is_dropped_and_counted_and_bad_names_are_a_badarg() -> None:
    async with member("p@127.0.0.1", {None: 1}) as peer, Node("a@127.0.0.1:0", **FAST) as a:
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1"))
        async with greeted(a, "p@127.0.0.1") as script:
            for message in NONSENSE:
                script.tell((FORWARD, BACKEND, message))
            me = (ORIGIN, Pid("p@127.0.0.1", 1))
            script.tell((FORWARD, BACKEND, (CALL, 1, Atom("f"), [], 5, me)))
            script.tell((FORWARD, BACKEND, (CALL, Atom("m"), Atom("f"), 7, 5, me)))
            await eventually(lambda: len(answers(peer)) == 2)
            assert answers(peer) == [(BADRPC, Atom("badarg"))] * 2
            assert a.counters()["events"]["partisan.queue.undelivered"] == len(NONSENSE)
        assert not left_over(a)


async def test_a_call_whose_process_is_killed_before_its_first_step_is_nodedown() -> None:
    async with python_cluster("b", "a") as (b, a):
        with pytest.raises(NodeDown):
            await killed_unstepped(a, lambda: rpc.call(b.name, __name__, "late", [30.0, 1]))


async def test_a_stop_of_the_node_ends_its_calls() -> None:
    async with running("a") as [a], running("b") as [b]:
        await b.join(f"a@{a.listen_addrs[0]}")
        await agreed(a, b)
        b.expose(asyncio.Event().wait, "t:gate")
        future = asyncio.ensure_future(a._remote.asking.call(b.name, "t", "gate", []))
        await eventually(lambda: b._remote.applied.running == 1)
        await a.stop(grace=1.0)
        with pytest.raises(NodeDown):
            await future
