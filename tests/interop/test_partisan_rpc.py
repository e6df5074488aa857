"""Python calls functions at nodes of Partisan, and they call those that Python exposes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from companions import companions, outcome, raised
from support import Sink, eventually, inside

import partisan
from partisan import (
    Atom,
    BadRpc,
    ErpcException,
    ErpcNoConnection,
    ErpcTimeout,
    Node,
    NodeDown,
    RpcTimeout,
    Throw,
    erpc,
    remote_ref,
    rpc,
)

OK, BADRPC, BOOM, ERPC = Atom("ok"), Atom("badrpc"), Atom("boom"), Atom("partisan_erpc")
FORMATS = ("improper_list", "tuple", "uri")

WAITING = """
-module(waiting).
wait() ->
    receive go -> gone end.
"""
GO = "partisan_rpc_backend ! go"
"""The process that calls the functions, one after the other, waits for it."""


@pytest.mark.parametrize("form", FORMATS)
async def test_functions_of_partisan_give_their_values_and_what_they_raise(form: str) -> None:
    async with companions(WAITING, remote_ref_format=form) as (far, py):
        there = far.name
        assert await rpc.call(there, "lists", "reverse", [[1, b"x", (1.5,)]]) == [(1.5,), b"x", 1]
        assert await rpc.call(Atom(there), "partisan", "node", []) is Atom(there)
        assert await rpc.call(there, "erlang", "list_to_binary", [[104, 105]]) == b"hi"
        for function in ("error", "exit", "throw"):
            with pytest.raises(BadRpc) as failed:
                await rpc.call(there, "erlang", function, [(BOOM, 1)])
            assert failed.value.reason == (BOOM, 1)
        for module, function, args in (("no_such_module", "f", []), ("lists", "no_such_function", [1])):
            with pytest.raises(BadRpc) as undefined:
                await rpc.call(there, module, function, args)
            assert undefined.value.reason is Atom("undef")
        with pytest.raises(RpcTimeout):
            await rpc.call(there, "waiting", "wait", timeout=0.05)
        await far.eval(GO)
        assert await rpc.call(there, "erlang", "abs", [-5]) == 5  # what comes late is not taken for its answer
        sink = Sink(py)
        pid = await rpc.call(there, "erlang", "whereis", [Atom("sink")])
        assert remote_ref.node(pid) is Atom(there)
        rpc.cast(there, "partisan", "forward_message", [sink.pid, Atom("cast")])
        assert await sink.has(1) == [Atom("cast")]
        with pytest.raises(NodeDown):
            await rpc.call("nobody@127.0.0.1", "erlang", "abs", [-5])


async def test_many_calls_go_on_at_once_and_on_any_channel() -> None:
    options: dict[str, Any] = {"channels": {"data": {"parallelism": 2}}}
    async with companions(python=options, channels="#{data => #{parallelism => 2}}") as (far, py):
        here, there = py.name, far.name
        py.expose(lambda number: -number, "erlang:abs")
        calls = [rpc.call(there, "erlang", "abs", [-n], channel="data" if n % 2 else None) for n in range(200)]
        assert await asyncio.gather(*calls) == list(range(200))
        nodes = [there, here, "nobody@127.0.0.1"]
        assert await rpc.multicall(nodes, "erlang", "abs", [-5], timeout=30.0) == ([5, 5], nodes[2:])
        key = rpc.async_call(there, "lists", "seq", [1, 3])
        assert await rpc.yield_(key) == [1, 2, 3]


async def test_a_killed_node_of_partisan_ends_calls() -> None:
    async with companions(harmed=True) as (far, _):
        ask = [rpc.call(far.name, "timer", "sleep", [60_000]), erpc.call(far.name, "timer", "sleep", [60_000])]
        waiting = [asyncio.ensure_future(outcome(each)) for each in ask]

        async def asked() -> bool:
            sleeping = "{current_function, {timer, sleep, 1}}"
            return bool(await far.eval(f"process_info(whereis(partisan_rpc_backend), current_function) =:= {sleeping}"))

        await eventually(asked)
        far.kill()
        assert [type(each) for each in await asyncio.gather(*waiting)] == [NodeDown, ErpcNoConnection]


async def test_erpc_at_a_node_of_partisan_is_made_of_its_rpc() -> None:
    async with companions(WAITING) as (far, py):
        there = far.name
        assert await erpc.call(there, "lists", "seq", [1, 5]) == [1, 2, 3, 4, 5]
        for function in ("error", "exit", "throw"):
            with pytest.raises(ErpcException) as failed:
                await erpc.call(there, "erlang", function, [BOOM])
            assert failed.value.reason == (Atom("exception"), BOOM, [])
        with pytest.raises(ErpcException):
            await erpc.call(there, "no_such_module", "f", [])
        with pytest.raises(ErpcTimeout):
            await erpc.call(there, "waiting", "wait", timeout=0.05)
        await far.eval(GO)
        found = await erpc.multicall([there, "nobody@127.0.0.1"], "erlang", "abs", [-5])
        assert found[0] == 5
        assert isinstance(found[1], ErpcNoConnection)

        async def requests() -> None:
            collection = erpc.reqids_new()
            for number in range(5):
                collection = erpc.send_request(there, "erlang", "abs", [-number], label=number, reqids=collection)
            found = {}
            while (response := await erpc.receive_response(collection, 30.0)) is not None:
                found[response.label], collection = response.value, response.reqids
            assert found == {number: number for number in range(5)}

        await inside(py, requests)
        sink = Sink(py)
        erpc.cast(there, "partisan", "forward_message", [sink.pid, Atom("cast")])
        assert await sink.has(1) == [Atom("cast")]


def expose(py: Node) -> asyncio.Event:
    """What the nodes of Partisan may call; `tests:waits` waits for the event."""
    event = asyncio.Event()

    async def waits() -> Any:
        await event.wait()
        return Atom("waited")

    async def late(milliseconds: int, value: Any) -> Any:
        await asyncio.sleep(milliseconds / 1000)
        return value

    def fails(how: Any) -> None:
        if how is Atom("throw"):
            raise Throw(BOOM)
        if how is Atom("exit"):
            partisan.exit(BOOM)
        raise ValueError("no")

    py.expose(lambda items: items[::-1], "lists:reverse")
    py.expose(late, "tests:late")
    py.expose(fails, "tests:fails")
    py.expose(object, "tests:no_term")
    py.expose(partisan.self, "tests:self")
    py.expose(waits, "tests:waits")
    return event


@pytest.mark.parametrize("form", FORMATS)
async def test_functions_are_called_by_partisan(form: str) -> None:
    async with companions(warned="refuses", remote_ref_format=form) as (far, py):
        event = expose(py)
        call = f"partisan_rpc:call('{py.name}', "
        assert await far.eval(f"{call}lists, reverse, [[1, 2, 3]])") == [3, 2, 1]
        assert await far.eval(f"{call}lists, reverse, [[a, <<1>>]], 30000)") == [b"\1", Atom("a")]
        assert await far.eval(f"{call}tests, late, [10, {{late, 1}}], [{{timeout, 30000}}])") == (Atom("late"), 1)
        for how in ("throw", "exit"):
            assert await far.eval(f"{call}tests, fails, [{how}], 30000)") == (BADRPC, BOOM)
        assert await far.eval(f"{call}tests, fails, [x], 30000)") == (BADRPC, (Atom("ValueError"), b"no"))
        assert (await far.eval(f"{call}tests, no_term, [], 30000)"))[1][0] is Atom("EncodeError")
        assert await far.eval(f"{call}lists, reverse, [1, 2], 30000)") == (BADRPC, Atom("undef"))
        refused = await far.eval(f'{call}os, cmd, ["true"], 30000)')
        assert refused == (BADRPC, (Atom("not_allowed"), (Atom("os"), Atom("cmd"), 1)))
        assert await far.eval(f"partisan:is_pid({call}tests, self, [], 30000))") is True
        assert await far.eval(f"{call}tests, waits, [], 20)") == (BADRPC, Atom("timeout"))
        event.set()
        sent = "receive {rpc_response, Late} -> Late after 30000 -> none end"  # it is Partisan that has no alias
        assert await far.eval(sent) is Atom("waited")
        assert await far.eval("partisan_rpc:call('nobody@127.0.0.1', lists, reverse, [[]], 20)") in (
            (BADRPC, Atom("not_yet_connected")),
            (BADRPC, Atom("disconnected")),
        )
        spec = f"element(2, partisan:node_spec('{py.name}'))"
        assert await far.eval(f"maps:get(name, {spec})") is Atom(py.name)
        assert await far.eval(f"{call}partisan, node_spec, [], 30000) =:= {spec}") is True


async def test_calls_of_partisan_run_at_once() -> None:
    async with companions() as (far, py):
        expose(py)
        ask = f"exit({{told, partisan_rpc:call('{py.name}', tests, late, [N rem 20, N], 30000)}})"
        asked = f"[spawn_monitor(fun() -> {ask} end) || N <- lists:seq(1, 100)]"
        told = "[receive {'DOWN', M, process, _, {told, N}} -> N end || {_, M} <- Asked]"
        assert await far.eval(f"(fun() -> Asked = {asked}, {told} end)()") == list(range(1, 101))


async def test_the_erpc_of_partisan_has_no_frames() -> None:
    async with companions() as (far, py):
        expose(py)
        ask = f"partisan_erpc:call('{py.name}', lists, reverse, [[1, 2]], 1000)"
        assert await raised(far, ask) == (Atom("error"), (ERPC, Atom("noconnection")))
        both = f"partisan_erpc:multicall(['{py.name}'], lists, reverse, [[1, 2]], 1000)"
        assert await far.eval(both) == [(Atom("error"), (ERPC, Atom("noconnection")))]
        assert await far.eval(f"partisan_erpc:cast('{py.name}', lists, reverse, [[1, 2]])") is OK
