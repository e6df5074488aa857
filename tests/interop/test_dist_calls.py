"""Processes of Python and of the BEAM call, monitor, link and start each other: from both sides, with stock calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from beams import Beam, Raised, called, inside, python, received
from support import eventually

import partisan
from partisan import (
    Atom,
    CallTimeout,
    ErpcError,
    ErpcException,
    Exit,
    GenServer,
    NodeDown,
    NoProc,
    Pid,
    Throw,
    erpc,
    rpc,
)

DOWN, EXIT, PROCESS = Atom("DOWN"), Atom("EXIT"), Atom("process")

SERVER = """
(fun() ->
    Server = spawn(fun() ->
        F = fun F(Late) -> receive
            {'$gen_call', {Pid, Tag}, {echo, Term}} -> Pid ! {Tag, Term}, F(Late);
            {'$gen_call', _, {stop, Reason}} -> exit(Reason);
            {'$gen_call', From, late} -> F(From);
            {'$gen_cast', answer} -> {Pid, Tag} = Late, Pid ! {Tag, late}, F(none);
            {'$gen_cast', {tell, To, Term}} -> To ! Term, F(Late);
            {link, To} -> link(To), To ! linked, F(Late);
            {unlink, To} -> unlink(To), To ! unlinked, F(Late);
            {exit, Reason} -> exit(Reason)
        end end,
        F(none)
    end),
    catch unregister(server),
    register(server, Server),
    Server
end)()
"""


class Counter(GenServer):
    def init(self, start: int = 0) -> None:
        self.n = start
        self.casts: list[Any] = []

    def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case (Atom("add"), number):
                self.n += number
                return self.n
            case Atom("casts"):
                return self.casts
            case (Atom("end"), reason):
                partisan.exit(reason)
            case Atom("late"):
                return partisan.gen.NoReply()
        return request

    def handle_cast(self, request: Any) -> None:
        self.casts.append(request)


async def test_each_pings_the_other(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        assert await beam.eval(f"net_adm:ping('{py.name}')") is Atom("pong")
        assert await beam.eval("nodes(hidden)") == [Atom(py.name)]
        assert await beam.eval("nodes()") == []
        assert py.nodes("hidden") == []
        assert py.nodes() == [beam.name]
        assert await beam.eval("net_adm:ping('nobody@127.0.0.1')") is Atom("pang")
    async with python(epmd) as py:
        assert await py.connect_node(beam.name)
        assert not await py.connect_node("nobody@127.0.0.1")
        assert await rpc.call(beam.name, "net_adm", "ping", [Atom(py.name)]) is Atom("pong")


async def test_functions_are_called_there(beam: Beam, epmd: int) -> None:
    async with python(epmd):
        assert await rpc.call(beam.name, "lists", "reverse", [[1, 2, 3]]) == [3, 2, 1]
        assert await erpc.call(beam.name, "erlang", "node", []) is Atom(beam.name)
        with pytest.raises(ErpcException) as raised:
            await erpc.call(beam.name, "erlang", "error", [Atom("oops")])
        assert raised.value.reason[1] is Atom("oops")
        with pytest.raises(Throw) as thrown:
            await erpc.call(beam.name, "erlang", "throw", [(1, b"x")])
        assert thrown.value.value == (1, b"x")
        with pytest.raises(ErpcException) as undefined:
            await erpc.call(beam.name, "no_such_module", "f", [])
        assert undefined.value.reason[1] is Atom("undef")
        with pytest.raises(ErpcError):
            await erpc.call(beam.name, "timer", "sleep", [60_000], timeout=0.2)
        assert await erpc.multicall([beam.name, "nobody@127.0.0.1"], "erlang", "abs", [-5])
        me = await beam.eval("self()")
        erpc.cast(beam.name, "erlang", "apply", [Atom("erlang"), Atom("send"), [me, Atom("cast")]])
        assert await beam.eval(received("X", "X")) is Atom("cast")


async def test_functions_are_called_here(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        heard: list[Any] = []
        py.expose(lambda a, b: a + b, "calc:add")
        py.expose(heard.append, "calc:hear")

        async def slowly(value: Any) -> Any:
            await asyncio.sleep(0)
            return (Atom("slow"), value)

        def fails() -> None:
            raise ValueError("bad")

        py.expose(slowly, "calc:slowly")
        py.expose(fails, "calc:fails")
        node = f"'{py.name}'"
        assert await beam.eval(f"rpc:call({node}, calc, add, [1, 2])") == 3
        assert await beam.eval(f"erpc:call({node}, calc, add, [1.5, 2])") == 3.5
        assert await beam.eval(f"erpc:call({node}, calc, slowly, [{{x}}], 30000)") == (Atom("slow"), (Atom("x"),))
        assert await beam.eval(f"rpc:block_call({node}, calc, add, [3, 4])") == 7
        assert await beam.eval(f"erpc:multicall([{node}, node()], erlang, is_process_alive, [1])")
        with pytest.raises(Raised) as failed:
            await beam.eval(f"erpc:call({node}, calc, fails, [])")
        assert failed.value.args[1][0] is Atom("exception")
        refused = await beam.eval(f'rpc:call({node}, os, cmd, ["true"])')
        assert refused[0] is Atom("badrpc")
        assert refused[1][0] is Atom("EXIT")
        assert refused[1][1][0] is Atom("undef")
        assert (await beam.eval(f'rpc:block_call({node}, os, cmd, ["true"])'))[1][1][0] is Atom("undef")
        await beam.eval(f"erpc:cast({node}, calc, hear, [cast]), rpc:cast({node}, calc, hear, [old_cast])")
        await eventually(lambda: len(heard) == 2)
        assert set(heard) == {Atom("cast"), Atom("old_cast")}


async def test_a_server_here_is_called_and_cast_to(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        pid = await Counter.start(name="counter")
        there = f"{{counter, '{py.name}'}}"
        assert await beam.eval(f"gen_server:call({there}, {{add, 5}})") == 5
        await beam.eval(f"gen_server:cast({there}, {{hello, [1, 2]}})")
        await beam.eval(f"gen_server:abcast(['{py.name}'], counter, again)")
        assert await beam.eval(f"gen_server:call({there}, casts)") == [(Atom("hello"), [1, 2]), Atom("again")]
        assert (await beam.eval(f"gen_server:multi_call(['{py.name}'], counter, {{add, 1}}, 30000)"))[0] == [
            (Atom(py.name), 6)
        ]
        found = f"P = rpc:call('{py.name}', erlang, whereis, [counter])"
        assert await beam.eval(called(found, "gen_server:call(P, {add, 1})")) == 7
        sent = f"R = gen_server:send_request({there}, {{add, 2}})"
        assert await beam.eval(called(sent, "gen_server:wait_response(R, 30000)")) == (Atom("reply"), 9)
        with pytest.raises(Raised) as late:
            await beam.eval(f"gen_server:call({there}, late, 50)")
        assert late.value.args[1][0] is Atom("timeout")
        with pytest.raises(Raised) as ended:
            await beam.eval(f"gen_server:call({there}, {{'end', broken}})")
        assert ended.value.args[1][0] is Atom("broken")
        with pytest.raises(Raised) as nobody:
            await beam.eval(f"gen_server:call({there}, {{add, 1}})")
        assert nobody.value.args[1][0] is Atom("noproc")
        assert pid is not None


async def test_a_server_there_is_called_and_cast_to(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        pid = await beam.eval(SERVER)
        assert isinstance(pid, Pid)
        for target in (("server", beam.name), pid, (Atom("server"), Atom(beam.name))):
            assert await partisan.call(target, (Atom("echo"), [b"x", 1.5])) == [b"x", 1.5]

        async def asks() -> Any:
            partisan.cast(("server", beam.name), (Atom("tell"), partisan.self(), b"told"))
            told = await partisan.receive(timeout=30)
            with pytest.raises(CallTimeout):
                await partisan.call(pid, Atom("late"), timeout=0.1)
            partisan.cast(pid, Atom("answer"))
            echo = await partisan.call(pid, (Atom("echo"), 5))  # behind the late answer
            with pytest.raises(partisan.ReceiveTimeout):
                await partisan.receive(timeout=0)
            return told, echo

        assert await inside(py, asks) == (b"told", 5)
        with pytest.raises(Exit) as ended:
            await partisan.call(pid, (Atom("stop"), Atom("broken")))
        assert ended.value.reason is Atom("broken")
        for target in (("server", beam.name), pid):
            with pytest.raises(NoProc):
                await partisan.call(target, (Atom("echo"), 5))
        with pytest.raises(NodeDown):
            await partisan.call(("server", "nobody@127.0.0.1"), 1)


async def test_processes_there_are_monitored(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await py.connect_node(beam.name)
        pid = await beam.eval(SERVER)

        async def monitors() -> None:
            by_pid, by_name = py.monitor(pid), py.monitor(("server", beam.name))
            given_up, nobody = py.monitor(pid), py.monitor(("nobody", beam.name))
            py.demonitor(given_up)
            assert await partisan.receive(timeout=30) == (
                DOWN, nobody, PROCESS, (Atom("nobody"), Atom(beam.name)), Atom("noproc")
            )  # fmt: skip
            partisan.send(pid, (Atom("exit"), [b"why"]))
            found = [await partisan.receive(timeout=30) for _ in range(2)]
            assert sorted(found, key=lambda down: down[1] == by_name) == [
                (DOWN, by_pid, PROCESS, pid, [b"why"]),
                (DOWN, by_name, PROCESS, (Atom("server"), Atom(beam.name)), [b"why"]),
            ]
            again = py.monitor(pid)
            assert await partisan.receive(timeout=30) == (DOWN, again, PROCESS, pid, Atom("noproc"))

        await inside(py, monitors)


async def test_processes_here_are_monitored(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await Counter.start(name="counter")
        there = f"{{counter, '{py.name}'}}"
        wait = received("{'DOWN', M, process, _, Why}", "Why")
        nobody = called(f"M = monitor(process, {{nobody, '{py.name}'}})", wait)
        assert await beam.eval(nobody) is Atom("noproc")
        monitored = called(
            f"M = monitor(process, {there})",
            f"N = monitor(process, {there})",
            "true = demonitor(N, [flush])",
            f"catch gen_server:call({there}, {{'end', {{because, 1}}}})",
            wait,
        )
        assert await beam.eval(monitored) == (Atom("because"), 1)
        assert await beam.eval(received("Any", "Any", 0)) is Atom("none")


async def test_links_break_both_ways(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await py.connect_node(beam.name)

        async def links() -> None:
            py.trap_exit()
            pid = await beam.eval(SERVER)
            py.link(pid)
            partisan.send(pid, (Atom("exit"), (Atom("gone"), 1)))
            assert await partisan.receive(timeout=30) == (EXIT, pid, (Atom("gone"), 1))
            py.link(pid)
            assert await partisan.receive(timeout=30) == (EXIT, pid, Atom("noproc"))
            pid = await beam.eval(SERVER)
            partisan.send(pid, (Atom("link"), partisan.self()))
            assert await partisan.receive(timeout=30) is Atom("linked")
            assert py.process_info(partisan.self(), "links") == {"links": [pid]}
            py.unlink(pid)
            partisan.send(pid, (Atom("exit"), Atom("unheard")))
            monitor = py.monitor(pid)
            assert (await partisan.receive(timeout=30))[:2] == (DOWN, monitor)
            pid = await beam.eval(SERVER)
            py.link(pid)
            partisan.send(pid, (Atom("unlink"), partisan.self()))
            assert await partisan.receive(timeout=30) is Atom("unlinked")
            py.exit(pid, Atom("kill"))
            monitor = py.monitor(pid)
            assert (await partisan.receive(timeout=30))[:2] == (DOWN, monitor)

        await inside(py, links)


async def test_an_end_here_is_an_exit_signal_there(beam: Beam, epmd: int) -> None:
    async with python(epmd, node={"allow": ["exit"]}) as py:
        await py.connect_node(beam.name)
        shell = await beam.eval("process_flag(trap_exit, true), self()")
        wait = received("{'EXIT', _, Why}", "Why")
        try:

            async def ends(reason: Any) -> None:
                py.link(shell)
                partisan.exit(reason)

            async def lives() -> None:
                await partisan.receive()

            py.spawn(ends, (Atom("over"), b"x"))
            assert await beam.eval(wait) == (Atom("over"), b"x")
            pid = py.spawn(lives, name="lives")
            found = f"L = rpc:call('{py.name}', erlang, whereis, [lives])"
            assert await beam.eval(called(found, "link(L)", "exit(L, die)", "put(l, L)", wait)) is Atom("die")
            assert not py.is_process_alive(pid)
            assert await beam.eval(called("link(get(l))", wait)) is Atom("noproc")
        finally:
            await beam.eval("process_flag(trap_exit, false)")


async def test_processes_are_started_there(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:

        async def starts() -> None:
            py.trap_exit()
            plain = await py.spawn_at(beam.name, "timer", "sleep", [60_000])
            assert plain.node == beam.name
            assert await rpc.call(beam.name, "erlang", "is_process_alive", [plain]) is True
            linked = await py.spawn_link_at(beam.name, "timer", "sleep", [60_000])
            py.exit(linked, Atom("die"))
            assert await partisan.receive(timeout=30) == (EXIT, linked, Atom("die"))
            monitored, reference = await py.spawn_monitor_at(beam.name, "erlang", "exit", [b"x"])
            found = await partisan.receive(timeout=30)
            assert found[:2] == (DOWN, reference)
            assert found[4] in (b"x", Atom("noproc"))
            py.exit(plain, Atom("kill"))
            assert monitored.node == beam.name

        await inside(py, starts)


async def test_processes_are_started_here(beam: Beam, epmd: int) -> None:
    async with python(epmd, node={"allow": ["spawn"]}) as py:

        async def tells(pid: Pid, what: Any) -> None:
            partisan.send(pid, (partisan.self(), what))

        async def ends(reason: Any) -> None:
            partisan.exit(reason)

        py.expose(tells, "work:tells")
        py.expose(ends, "work:ends")
        node = f"'{py.name}'"
        down = received("{'DOWN', M, process, P, X}", "X")
        told = called(f"P = spawn({node}, work, tells, [self(), [1, 2]])", received("{P, X}", "X"))
        assert await beam.eval(told) == [1, 2]
        assert await beam.eval(called(f"{{P, M}} = spawn_monitor({node}, work, ends, [over])", down)) is Atom("over")
        linked = f"P = spawn_link({node}, work, ends, [{{over, 1}}])"
        ended = "X = " + received("{'EXIT', P, R}", "R")
        trapped = called("process_flag(trap_exit, true)", linked, ended, "process_flag(trap_exit, false)", "X")
        assert await beam.eval(trapped) == (Atom("over"), 1)
        asked = f"M = spawn_request({node}, work, ends, [x], [monitor])"
        assert await beam.eval(called(asked, received("{spawn_reply, M, ok, P}", down))) is Atom("x")
        undefined = called(f"{{P, M}} = spawn_monitor({node}, os, cmd, [x])", down)
        assert (await beam.eval(undefined))[0] is Atom("undef")


async def test_names_are_sent_to_from_both_sides(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        heard: asyncio.Queue[Any] = asyncio.Queue()

        async def listens() -> None:
            while True:
                heard.put_nowait(await partisan.receive())

        py.spawn(listens, name="sink")
        await beam.eval(f"{{sink, '{py.name}'}} ! {{hello, self()}}")
        word, pid = await asyncio.wait_for(heard.get(), 30)
        assert word is Atom("hello")
        partisan.send(pid, b"by pid")
        assert await beam.eval(received("X", "X")) == b"by pid"
        await beam.eval("catch unregister(shell), register(shell, self())")
        partisan.send(("shell", beam.name), "by name")
        assert await beam.eval(received("X", "X")) == b"by name"
        await beam.eval("unregister(shell)")
        await beam.eval(f"erlang:send({{sink, '{py.name}'}}, plain, [nosuspend])")
        assert await asyncio.wait_for(heard.get(), 30) is Atom("plain")
        await beam.eval(f"{{nobody, '{py.name}'}} ! x, {{sink, '{py.name}'}} ! last")
        assert await asyncio.wait_for(heard.get(), 30) is Atom("last")
