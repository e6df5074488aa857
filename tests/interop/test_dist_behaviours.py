"""Behaviours, traced messages and the death of a Python node, over Erlang's distribution and with stock calls."""

from __future__ import annotations

import asyncio
import sys as python_sys
from typing import Any

import pytest
from beams import COOKIE, Beam, Raised, called, fresh, inside, python, received
from support import eventually

import partisan
from partisan import Atom, CallTimeout, ChildSpec, GenServer, Node, Pid, Supervisor
from partisan.gen import NoReply, event, supervisor, sys
from partisan.gen import server as gen_server
from partisan.gen.statem import GenStatem, KeepState, NextState, Reply

OK, STATUS, RUNNING, NONE = Atom("ok"), Atom("status"), Atom("running"), Atom("none")


class Holding(GenServer):
    """Holds a value, and answers late."""

    def init(self) -> None:
        self.value: Any = 1
        self.owed: list[Any] = []

    def handle_call(self, request: Any, caller: Any) -> Any:
        if request is Atom("late"):
            self.owed.append(caller)
            return NoReply()
        return self.value

    def handle_cast(self, message: Any) -> None:
        if message is Atom("answer"):
            gen_server.reply(self.owed.pop(), message)
        self.value = message

    def system_get_state(self) -> Any:
        """Without callers, who are no terms."""
        return {"value": self.value}


class Door(GenStatem):
    """Opens."""

    def init(self) -> Any:
        return NextState(Atom("locked"), 0)

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if event_type == "cast":
            return NextState(content, data + 1)
        return KeepState(actions=[Reply(event_type[1], (state, data))])


class Keeper(event.EventHandler):
    """Keeps what it is told."""

    module = Atom("keeper")

    def init(self, first: Any) -> None:
        self.seen = [first]

    def handle_event(self, event: Any) -> None:
        self.seen.append(event)

    def handle_call(self, query: Any) -> Any:
        return self.seen


def another(state: dict[str, Any]) -> dict[str, Any]:
    """The state with another value."""
    return {**state, "value": Atom("another")}


async def idle() -> None:
    """Goes on until it is ended."""
    await asyncio.Event().wait()


async def start(py: Node) -> None:
    """Start one of each."""

    async def starts() -> None:
        await Holding.start(name="holding")
        await Door.start(name="door")
        await event.start("events", handlers=[Keeper])
        await Supervisor.start(name="tree", children=[ChildSpec("worker", supervisor.spawned(idle))])

    await inside(py, starts)


async def test_sys_sees_and_steers_processes_here(beam: Beam, epmd: int) -> None:
    async with python(epmd, node={"allow": ["sys"]}) as py:
        await start(py)
        py.expose(another, "tests:another")
        at = f"{{holding, '{py.name}'}}"

        def told(state: Any) -> Any:
            """What becomes of it there: OTP before 26.1 does not know the answer of those after it."""
            return (OK, state) if beam.release == "otp25" else state

        assert await beam.eval(f"sys:get_state({at})") == told({b"value": 1})
        assert await beam.eval(f"sys:get_state({{door, '{py.name}'}})") == told((Atom("locked"), 0))
        for name in ("holding", "door", "events", "tree"):
            status, _, module, about = await beam.eval(f"sys:get_status({{{name}, '{py.name}'}})")
            assert (status, module[0], about[1]) == (STATUS, Atom("module"), RUNNING)
        changed = told({b"value": Atom("another")})
        assert await beam.eval(f"sys:replace_state({at}, fun tests:another/1)") == changed
        assert await beam.eval(f"sys:suspend({at})") is OK
        with pytest.raises(Raised):
            await beam.eval(f"gen_server:call({at}, x, 100)")
        assert await beam.eval(f"sys:resume({at}), gen_server:call({at}, x)") is Atom("another")
        with pytest.raises(Raised) as refused:
            await beam.eval(f"sys:replace_state({at}, fun(State) -> State end)")
        assert refused.value.args == (Atom("error"), Atom("not_allowed"))


async def test_sys_sees_processes_there(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await py.connect_node(beam.name)
        kernel = ("kernel_sup", beam.name)
        before = await beam.eval("whereis(kernel_sup)")
        assert (await sys.get_state(kernel))[0] is Atom("state")
        status, pid, module, about = await sys.get_status(kernel)
        assert (status, pid, module) == (STATUS, before, (Atom("module"), Atom("gen_server")))
        assert about[1] is RUNNING
        children = await supervisor.which_children(kernel)
        counts = await supervisor.count_children(kernel)
        assert len(children) == counts.specs == counts.supervisors + counts.workers
        assert Atom("kernel_safe_sup") in [child.id for child in children]
        assert await supervisor.get_callback_module(kernel) is Atom("kernel")
        assert (await supervisor.get_childspec(kernel, Atom("kernel_safe_sup")))[Atom("type")] is Atom("supervisor")
        handlers = await event.which_handlers(("erl_signal_server", beam.name))
        assert Atom("erl_signal_handler") in handlers
        assert await beam.eval("whereis(kernel_sup)") == before


async def test_behaviours_here_are_asked(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await start(py)
        door, events, tree = (f"{{{name}, '{py.name}'}}" for name in ("door", "events", "tree"))
        assert await beam.eval(f"gen_statem:call({door}, x)") == (Atom("locked"), 0)
        assert await beam.eval(f"gen_statem:cast({door}, open), gen_statem:call({door}, x)") == (Atom("open"), 1)
        assert await beam.eval(f"gen_event:add_handler({events}, keeper, 1)") is OK
        await beam.eval(f"gen_event:notify({events}, 2), gen_event:sync_notify({events}, 3)")
        assert await beam.eval(f"gen_event:call({events}, keeper, all)") == [1, 2, 3]
        assert await beam.eval(f"gen_event:which_handlers({events})") == [Atom("keeper")]
        assert await beam.eval(f"supervisor:count_children({tree})") == [
            (Atom("specs"), 1), (Atom("active"), 1), (Atom("supervisors"), 0), (Atom("workers"), 1)
        ]  # fmt: skip
        [(key, pid, kind, _)] = await beam.eval(f"supervisor:which_children({tree})")
        assert (key, kind) == (b"worker", Atom("worker"))
        assert py.is_process_alive(pid)
        ended = f'supervisor:terminate_child({tree}, <<"worker">>)'
        assert await beam.eval(f'{ended}, supervisor:delete_child({tree}, <<"worker">>)') is OK
        assert not py.is_process_alive(pid)
        assert await beam.eval(f"supervisor:get_callback_module({tree})") is Atom("partisan.gen.supervisor")


async def test_an_answer_that_comes_late_is_for_nobody(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await start(py)
        at = f"{{holding, '{py.name}'}}"
        late = f"(catch gen_server:call({at}, late, 50)), gen_server:cast({at}, answer), gen_server:call({at}, x)"
        assert await beam.eval(late) is Atom("answer")
        assert await beam.eval("receive Late -> Late after 0 -> none end") is NONE


async def test_traced_messages_and_signals_are_taken_like_others(beam: Beam, epmd: int) -> None:
    async with python(epmd, node={"allow": ["exit", "spawn"]}) as py:
        await start(py)
        heard: list[Any] = []

        async def listens() -> None:
            while True:
                match await partisan.receive():
                    case (Pid() as pid, term):
                        partisan.send(pid, (Atom("back"), term))
                    case message:
                        heard.append(message)

        async def ends(reason: Any) -> None:
            partisan.exit(reason)

        py.expose(ends, "tests:ends")
        pid = py.spawn(listens, name="sink")
        node = f"'{py.name}'"
        found = f"Pid = rpc:call({node}, erlang, whereis, [sink])"
        token = "seq_trace:set_token(label, 5), seq_trace:set_token(send, true), seq_trace:set_token(serial, {1, 2})"
        untraced = "seq_trace:set_token([])"
        sent = [f"{{sink, {node}}} ! by_name", "Pid ! by_pid", "Pid ! {self(), echo}"]
        back = received("{back, Term}", "Term")
        asked = f"{{gen_server:call({{holding, {node}}}, x), rpc:call({node}, erlang, whereis, [nobody])}}"
        all_of = called(found, token, *sent, f"Result = {{{back}, {asked}}}", untraced, "Result")
        assert await beam.eval(all_of) == (Atom("echo"), (1, None))
        assert heard == [Atom("by_name"), Atom("by_pid")]
        down = received("{'DOWN', M, process, _, Reason}", "Reason")
        started = f"{{_, M}} = spawn_monitor({node}, tests, ends, [traced])"
        assert await beam.eval(called(token, started, f"Why = {down}", untraced, "Why")) is Atom("traced")
        linked = "Linked = spawn(fun() -> link(Pid), exit(linked_end) end), unlink(Linked)"
        assert await beam.eval(called(found, token, linked, untraced, "ok")) is OK
        await eventually(lambda: not py.is_process_alive(pid))
        py.spawn(idle, name="sink")
        killed = f"M = monitor(process, {{sink, {node}}}), exit(Pid, {{traced, 1}})"
        assert await beam.eval(called(found, token, killed, f"Why = {down}", untraced, "Why")) == (Atom("traced"), 1)


SCRIPT = """
import asyncio, sys
import partisan
from partisan import Distribution, Node

async def main(name, port, cookie):
    async def idle():
        await asyncio.Event().wait()
    async with Node(name, distribution=Distribution(cookie=cookie, epmd_port=int(port))) as node:
        node.spawn(idle, name="idle")
        print("ready", flush=True)
        await asyncio.Event().wait()

partisan.run(main(*sys.argv[1:]))
"""


async def test_a_python_node_that_is_killed_is_noticed_by_whoever_waits_for_it(beam: Beam, epmd: int) -> None:
    name = fresh("pykill")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        python_sys.executable, "-c", SCRIPT, name, str(epmd), COOKIE, stdout=pipe
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        found = f"put(idle, rpc:call('{name}', erlang, whereis, [idle]))"
        await beam.eval(f"{found}, put(mon, monitor(process, get(idle))), monitor_node('{name}', true)")
        await beam.eval("process_flag(trap_exit, true), link(get(idle))")
        asked = f"gen_server:call({{idle, '{name}'}}, never, infinity)"
        await beam.eval(f"put(asks, spawn_monitor(fun() -> exit({{told, catch {asked}}}) end)), ok")
        process.kill()
        told = called("M = get(mon)", received("{'DOWN', M, process, _, Why}", "Why"))
        assert await beam.eval(told) is Atom("noconnection")
        assert await beam.eval(received(f"{{nodedown, '{name}'}}", "down")) is Atom("down")
        assert await beam.eval(received("{'EXIT', _, Why}", "Why")) is Atom("noconnection")
        call = called("{_, M} = get(asks)", received("{'DOWN', M, _, _, {told, {'EXIT', {Why, _}}}}", "Why"))
        assert await beam.eval(call) == (Atom("nodedown"), Atom(name))
        assert await beam.eval(f"net_adm:ping('{name}')") is Atom("pang")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await beam.eval("process_flag(trap_exit, false), ok")


async def test_a_suspended_process_there_is_asked_in_vain(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await py.connect_node(beam.name)
        server = ("erl_signal_server", beam.name)
        await sys.suspend(server)
        with pytest.raises(CallTimeout):
            await event.sync_notify(server, Atom("x"), timeout=0.2)
        assert (await sys.get_status(server))[3][1] is Atom("suspended")
        await sys.resume(server)
        assert Atom("erl_signal_handler") in await event.which_handlers(server, timeout=30.0)
