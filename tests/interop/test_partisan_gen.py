"""Servers of Python and of Partisan call and cast to each other, as `partisan_gen_server` does among its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from companions import companions, outcome, raised, reason_of
from support import Sink, eventually, inside

import partisan
from partisan import Atom, CallTimeout, Exit, GenServer, NodeDown, NoProc, remote_ref
from partisan.gen import NoReply, Stop, sys
from partisan.gen import server as gen_server

OK, WORLD, NEVER = Atom("ok"), Atom("world"), Atom("never")

COUNTING = """
-module(counting).
start(Name, Start) ->
    {ok, Pid} = partisan_gen_server:start({local, Name}, counting, Start, []),
    Pid.
init(Number) ->
    {ok, Number}.
handle_call({add, More}, _, Number) ->
    {reply, Number + More, Number + More};
handle_call({echo, Term}, _, Number) ->
    {reply, Term, Number};
handle_call({later, Term}, From, Number) ->
    self() ! {answer, From, Term},
    {noreply, Number};
handle_call({after_cast, Term}, From, _) ->
    {noreply, {From, Term}};
handle_call(never, _, Number) ->
    {noreply, Number};
handle_call({stop, Reason}, _, Number) ->
    {stop, Reason, Number};
handle_call({stop, Reason, Reply}, _, Number) ->
    {stop, Reason, Reply, Number};
handle_call({fail, Reason}, _, _) ->
    error(Reason).
handle_cast(answer, {From, Term}) ->
    partisan_gen_server:reply(From, Term),
    {noreply, 0};
handle_cast({set, Number}, _) ->
    {noreply, Number};
handle_cast({tell, To, Term}, Number) ->
    partisan:forward_message(To, Term),
    {noreply, Number}.
handle_info({answer, From, Term}, Number) ->
    partisan_gen_server:reply(From, Term),
    {noreply, Number};
handle_info({set, Number}, _) ->
    {noreply, Number}.
terminate(_, _) ->
    ok.
"""

FORMATS = ("improper_list", "tuple", "uri")


class Counting(GenServer):
    """The same in Python."""

    def init(self, number: int = 0) -> None:
        self.number = number
        self.owed: list[Any] = []
        self.forgotten = 0

    def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case (Atom("add"), int(more)):
                self.number += more
                return self.number
            case (Atom("echo"), term):
                return term
            case (Atom("later"), term):
                partisan.send(partisan.self(), (Atom("answer"), caller, term))
                return NoReply()
            case (Atom("after_cast"), term):
                self.owed.append((caller, term))
                return NoReply()
            case Atom("never"):
                self.forgotten += 1
                return NoReply()
            case (Atom("stop"), reason):
                return Stop(reason)
            case (Atom("stop"), reason, reply):
                return Stop(reason, reply=reply)
            case _:
                raise ValueError("told to fail")

    def handle_cast(self, message: Any) -> None:
        match message:
            case Atom("answer"):
                gen_server.reply(*self.owed.pop())
            case (Atom("set"), number):
                self.number = number
            case (Atom("tell"), to, term):
                partisan.send(to, term)

    def handle_info(self, message: Any) -> None:
        match message:
            case (Atom("answer"), caller, term):
                gen_server.reply(caller, term)
            case (Atom("set"), number):
                self.number = number


async def forgotten(name: str) -> int:
    """How many calls the server will not answer."""
    state = await sys.get_state(name)
    return int(state["forgotten"])


TERMS = [1, -(2**70), 1.5, b"octets", Atom("é"), [], [1, 2, 300], (1, (2,)), {Atom("k"): [b"v"]}, True, None]


@pytest.mark.parametrize("form", FORMATS)
async def test_a_server_of_partisan_is_called_and_cast_to(form: str) -> None:
    async with companions(COUNTING, remote_ref_format=form) as (far, py):
        sink = Sink(py)
        pid = await far.eval("partisan_remote_ref:from_term(counting:start(server, 10))")
        for target in (("server", far.name), (Atom("server"), Atom(far.name)), pid):
            for term in TERMS:
                assert await partisan.call(target, (Atom("echo"), term)) == term
            assert await partisan.call(target, (Atom("later"), b"x")) == b"x"
            partisan.cast(target, (Atom("set"), 7))
            assert await partisan.call(target, (Atom("add"), 1)) == 8
            partisan.send(target, (Atom("set"), 70))
            assert await partisan.call(target, (Atom("add"), 1)) == 71
        for to in (sink.pid, remote_ref.from_term("sink"), remote_ref.from_term(sink.pid, format="uri")):
            partisan.cast(("server", far.name), (Atom("tell"), to, WORLD))
        assert await sink.has(3) == [WORLD] * 3


async def test_pids_and_references_come_back_from_a_server_of_partisan_as_they_were() -> None:
    async with companions(COUNTING) as (far, py):
        await far.eval("counting:start(server, 10), ok")
        request = (Atom("echo"), [py.make_ref(), py.spawn(asyncio.sleep, 0.0)])
        assert await partisan.call(("server", far.name), request) == request[1]


async def test_requests_to_servers_of_partisan_go_on_side_by_side() -> None:
    async with companions(COUNTING) as (far, py):
        await far.eval("counting:start(server, 0), ok")
        server = ("server", far.name)

        async def asks() -> None:
            collection = gen_server.reqids_new()
            for number in range(50):
                gen_server.send_request(server, (Atom("echo"), number), label=number, collection=collection)
            found = {}
            while (response := await gen_server.receive_response(collection, 30.0)) is not None:
                found[response.label] = response.value
            assert found == {number: number for number in range(50)}
            first = gen_server.send_request(server, (Atom("after_cast"), b"late"))
            with pytest.raises(CallTimeout):
                await gen_server.wait_response(first, 0.05)
            partisan.cast(server, Atom("answer"))
            assert await gen_server.wait_response(first, 30.0) == b"late"
            given_up = gen_server.send_request(server, (Atom("after_cast"), b"too late"))
            with pytest.raises(CallTimeout):
                await gen_server.receive_response(given_up, 0.05)
            partisan.cast(server, Atom("answer"))
            assert await partisan.call(server, (Atom("add"), 1)) == 1
            with pytest.raises(partisan.ReceiveTimeout):
                await partisan.receive(timeout=0)

        await inside(py, asks)
        answers = await asyncio.gather(*(partisan.call(server, (Atom("later"), n)) for n in range(100)))
        assert answers == list(range(100))


async def test_servers_of_both_are_asked_at_once() -> None:
    async with companions(COUNTING) as (far, py):
        await far.eval("counting:start(server, 0), ok")
        await inside(py, lambda: Counting.start(name="server", args=(100,)))
        nodes = [py.name, far.name, "nobody@127.0.0.1"]
        add = (Atom("add"), 1)
        answers = [(py.name, 101), (far.name, 1)]
        assert await gen_server.multi_call(nodes, "server", add, timeout=30.0) == (answers, nodes[2:])
        assert await gen_server.multi_call(nodes, "server", NEVER, timeout=0.2) == ([], nodes)
        gen_server.abcast(nodes, "server", (Atom("set"), 40))
        gen_server.abcast(None, "server", (Atom("set"), 50))
        answers = [(py.name, 51), (far.name, 51)]

        async def told() -> bool:
            found = await gen_server.multi_call(None, "server", (Atom("add"), 0), timeout=30.0)
            return found == ([(py.name, 50), (far.name, 50)], [])

        await eventually(told)
        assert await gen_server.multi_call(None, "server", add, timeout=30.0) == (answers, [])


async def fails(ask: Callable[[], Any]) -> Any:
    """The error of a call."""
    error = await outcome(ask())
    assert isinstance(error, Exception), error
    return error


async def test_the_end_of_a_server_of_partisan_ends_the_calls_to_it() -> None:
    async with companions(COUNTING, provoked="counting|for_a_reason") as (far, _):
        server = ("server", far.name)
        for name in ("server", "of_whom_nobody_has_ever_heard", "lists"):
            assert isinstance(await fails(lambda name=name: partisan.call((name, far.name), 1)), NoProc)
        pid = await far.eval("partisan_remote_ref:from_term(counting:start(server, 0))")
        waits = [asyncio.ensure_future(outcome(partisan.call(to, NEVER, timeout=60.0))) for to in (server, pid)]
        assert await partisan.call(server, (Atom("echo"), 1)) == 1
        ended = await fails(lambda: partisan.call(server, (Atom("stop"), (Atom("for_a_reason"), 1))))
        for error in (ended, *await asyncio.gather(*waits)):
            assert type(error) is Exit
            assert error.reason == (Atom("for_a_reason"), 1)
        assert isinstance(await fails(lambda: partisan.call(pid, 1)), NoProc)
        await far.eval("counting:start(server, 0), ok")
        assert await partisan.call(server, (Atom("stop"), Atom("normal"), b"bye")) == b"bye"
        await far.eval("counting:start(server, 0), ok")
        failed = await fails(lambda: partisan.call(server, (Atom("fail"), Atom("badly"))))
        assert failed.reason[0] is Atom("badly")
        assert failed.reason[1][0][:2] == (Atom("counting"), Atom("handle_call"))
        await far.eval("counting:start(server, 0), ok")
        assert isinstance(await fails(lambda: partisan.call(server, NEVER, timeout=0.1)), CallTimeout)
        await gen_server.stop(server, Atom("normal"), timeout=30.0)
        assert isinstance(await fails(lambda: gen_server.stop(server)), NoProc)
        assert isinstance(await fails(lambda: partisan.call(("server", "nobody@127.0.0.1"), 1)), NodeDown)


async def test_a_killed_node_of_partisan_ends_the_calls_to_it() -> None:
    async with companions(COUNTING, harmed=True) as (far, _):
        await far.eval("counting:start(server, 0), ok")
        server = ("server", far.name)
        waits = [asyncio.ensure_future(fails(lambda: partisan.call(server, NEVER, timeout=60.0))) for _ in range(3)]
        assert await partisan.call(server, (Atom("add"), 1)) == 1
        far.kill()
        assert [type(error) for error in await asyncio.gather(*waits)] == [NodeDown] * 3
        assert type(await fails(lambda: partisan.call(server, NEVER))) is NodeDown


@pytest.mark.parametrize("form", FORMATS)
async def test_partisan_calls_and_casts_to_a_server(form: str) -> None:
    async with companions(COUNTING, remote_ref_format=form) as (far, py):
        sink = Sink(py)
        pid = await inside(py, lambda: Counting.start(name="server", args=(10,)))
        server = f"{{server, '{py.name}'}}"
        by_pid = [f"partisan_rpc:call('{py.name}', erlang, whereis, [server], 30000)"]
        call, cast = "partisan_gen_server:call", "partisan_gen_server:cast"
        for target in (server, *by_pid):
            await far.eval(f"put(server, {target}), ok")
            echo = f"T = {{echo, [1, -(1 bsl 70), 1.5, <<5:3>>, 'x y', #{{k => v}}, \"text\", {{}}]}}, {call}(S, T)"
            assert await far.eval(f"(fun(S) -> {echo} =:= element(2, T) end)(get(server))") is True
            assert await far.eval(f"{call}(get(server), {{later, x}})") is Atom("x")
            assert await far.eval(f"{cast}(get(server), {{set, 7}}), {call}(get(server), {{add, 1}})") == 8
            info = "partisan:forward_message(get(server), {set, 70})"
            assert await far.eval(f"{info}, {call}(get(server), {{add, 1}}, 30000)") == 71
            stray = "receive Stray -> {stray, Stray} after 0 -> none end"
            assert await far.eval(f"(catch {call}(get(server), never, 100)), {stray}") is Atom("none")
        assert await far.eval(f"{call}({server}, {{echo, partisan:self()}}) =:= partisan:self()") is True
        await far.eval(f"{cast}({server}, {{tell, partisan_rpc:call('{py.name}', erlang, whereis, [sink]), world}})")
        assert await sink.has(1) == [WORLD]
        assert pid == py.whereis("server")


async def test_partisan_asks_many_and_goes_on() -> None:
    async with companions(COUNTING) as (far, py):
        await inside(py, lambda: Counting.start(name="server", args=(100,)))
        await far.eval("counting:start(server, 0), ok")
        server, nodes = f"{{server, '{py.name}'}}", f"['{far.name}', '{py.name}', 'nobody@127.0.0.1']"
        multi = f"partisan_gen_server:multi_call({nodes}, server, {{add, 1}}, 30000)"
        answered, bad = await far.eval(multi)
        assert sorted(answered, key=str) == sorted([(Atom(far.name), 1), (Atom(py.name), 101)], key=str)
        assert bad == [Atom("nobody@127.0.0.1")]
        assert (await far.eval(f"partisan_gen_server:multi_call(['{py.name}'], nobody, x, 30000)"))[1] == [
            Atom(py.name)
        ]
        assert (await far.eval(f"partisan_gen_server:multi_call(['{py.name}'], server, never, 200)"))[1] == [
            Atom(py.name)
        ]
        assert await far.eval(f"partisan_gen_server:abcast({nodes}, server, {{set, 5}})") is Atom("abcast")

        async def told() -> bool:
            return bool(await partisan.call("server", (Atom("add"), 0)) == 5)

        await eventually(told)
        send = f"R = partisan_gen_server:send_request({server}, {{echo, [1]}})"
        for wait in ("wait_response", "receive_response"):
            asked = f"(fun() -> {send}, partisan_gen_server:{wait}(R, 30000) end)()"
            assert await far.eval(asked) == (Atom("reply"), [1])
        checked = "receive M -> partisan_gen_server:check_response(M, R) after 30000 -> none end"
        assert await far.eval(f"(fun() -> {send}, {checked} end)()") == (Atom("reply"), [1])
        late = f"R = partisan_gen_server:send_request({server}, {{after_cast, late}})"
        given_up = "timeout = partisan_gen_server:wait_response(R, 50)"
        answer = f"partisan_gen_server:cast({server}, answer), partisan_gen_server:wait_response(R, 30000)"
        assert await far.eval(f"(fun() -> {late}, {given_up}, {answer} end)()") == (Atom("reply"), Atom("late"))


async def test_the_end_of_a_server_ends_the_calls_of_partisan_to_it() -> None:
    async with companions(warned="Generic server server terminating") as (far, py):
        call, server = "partisan_gen_server:call", f"{{server, '{py.name}'}}"

        async def starts() -> None:
            await inside(py, lambda: Counting.start(name="server"))

        assert reason_of(await raised(far, f"{call}({server}, x)")) is Atom("noproc")
        await starts()
        waiting = f"put(waiting, [spawn_monitor(fun() -> exit({{told, (catch {call}({server}, never, 60000))}}) end)])"
        await far.eval(f"{waiting}, {call}({server}, {{add, 1}})")
        assert reason_of(await raised(far, f"{call}({server}, {{stop, {{why, 1}}}})")) == (Atom("why"), 1)
        told = "[{_, M}] = get(waiting), receive {'DOWN', M, process, _, {told, {'EXIT', {R, _}}}} -> R end"
        assert await far.eval(told) == (Atom("why"), 1)
        await starts()
        assert await far.eval(f"{call}({server}, {{stop, normal, bye}})") is Atom("bye")
        await eventually(lambda: py.whereis("server") is None)
        await starts()
        failed = reason_of(await raised(far, f"{call}({server}, fail)"))
        assert failed[0] == (Atom("ValueError"), b"told to fail")
        await starts()
        assert reason_of(await raised(far, f"{call}({server}, never, 100)")) is Atom("timeout")
        assert await far.eval(f"partisan_gen_server:stop({server}, normal, 30000)") is OK
        assert py.whereis("server") is None
        await starts()
        assert await far.eval(f"partisan_gen_server:stop({server}, {{odd, 1}}, 30000)") is OK
        assert py.whereis("server") is None
        assert await raised(far, f"partisan_gen_server:stop({server}, normal, 30000)") == (Atom("exit"), Atom("noproc"))


async def test_a_node_that_stops_ends_the_calls_of_partisan_to_it() -> None:
    async with companions(warned="is not running") as (far, py):
        await inside(py, lambda: Counting.start(name="server"))
        asked = asyncio.ensure_future(raised(far, f"partisan_gen_server:call({{server, '{py.name}'}}, never, 60000)"))
        await eventually(lambda: forgotten("server"))
        await py.stop()
        assert reason_of(await asked) in (Atom("shutdown"), (Atom("nodedown"), Atom(py.name)))
