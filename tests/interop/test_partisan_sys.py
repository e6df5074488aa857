"""What `sys` asks: of processes of Partisan, and by `partisan_sys` of processes of Python."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from companions import companions, raised
from support import eventually, inside

import partisan
from partisan import Atom, CallTimeout, Exit, GenServer, Node
from partisan.gen import event, sys
from partisan.gen.statem import GenStatem, KeepState, NextState, Reply

OK = Atom("ok")

STATE = """
-module(holding).
start(Name) ->
    {ok, Pid} = partisan_gen_server:start({local, Name}, holding, {state, 1}, []),
    group_leader(whereis(standard_error), Pid),
    Pid.
init(State) ->
    {ok, State}.
handle_call(_, _, State) ->
    {reply, State, State}.
handle_cast(State, _) ->
    {noreply, State}.
terminate(_, _) ->
    ok.
code_change(Old, State, Extra) ->
    {ok, {Old, State, Extra}}.
machine() ->
    {ok, Pid} = partisan_gen_statem:start({local, machine}, holding, {machine}, []),
    Pid.
"""


class Holding(GenServer):
    """Holds a value."""

    def init(self) -> None:
        self.value: Any = 1

    def handle_call(self, request: Any, caller: Any) -> Any:
        return self.value

    def handle_cast(self, message: Any) -> None:
        self.value = message

    def code_change(self, old_version: Any, extra: Any) -> None:
        self.value = (old_version, extra)


class Machine(GenStatem):
    """A state machine with a state and data."""

    def init(self) -> Any:
        return NextState(Atom("open"), [1])

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        return KeepState(actions=[Reply(event_type[1], content)])


class Keeper(event.EventHandler):
    """A handler with a number."""

    def init(self, number: int) -> None:
        self.number = number


def another(state: dict[str, Any]) -> dict[str, Any]:
    """The state with another value."""
    return {**state, "value": Atom("another")}


async def test_the_state_of_a_server_of_partisan_is_seen_and_it_is_suspended_and_ended() -> None:
    async with companions(STATE) as (far, _):
        await far.eval("holding:start(holding), ok")
        held = ("holding", far.name)
        # Before it has sent anything: see below.
        status, pid, module, about = await sys.get_status(held)
        assert (status, pid.node, module) == (Atom("status"), far.name, (Atom("module"), Atom("partisan_gen_server")))
        assert about[1] is Atom("running")
        assert await sys.get_state(pid) == (Atom("state"), 1)
        await sys.suspend(held)
        with pytest.raises(CallTimeout):
            await partisan.call(held, 1, timeout=0.2)
        assert await sys.get_state(held) == (Atom("state"), 1)
        await sys.change_code(held, "holding", Atom("old"), b"extra")
        await sys.resume(held)
        assert await partisan.call(held, 1) == (Atom("old"), (Atom("state"), 1), b"extra")
        with pytest.raises(Exit):
            await sys.change_code(held, "holding", Atom("old"), b"extra")  # it is not suspended
        with pytest.raises(Exit) as failed:
            await sys.replace_state(held, "no:function")
        assert failed.value.reason[0] is Atom("callback_failed")
        partisan.cast(held, b"set")
        assert await partisan.call(held, 1) == b"set"
        await sys.terminate(held, Atom("normal"))

        async def gone() -> bool:
            return await far.eval("whereis(holding)") is None

        await eventually(gone)


async def test_a_server_of_partisan_is_traced_and_counted() -> None:
    async with companions(STATE) as (far, _):
        await far.eval("holding:start(holding), ok")
        held = ("holding", far.name)
        await sys.log(held, True, 3)
        await sys.statistics(held, True)
        await sys.trace(held, True)
        for number in range(5):
            partisan.cast(held, number)
        assert await partisan.call(held, Atom("x")) == 4
        counted = await sys.statistics(held, "get")
        assert counted is not None
        assert counted["messages_in"] == 6
        events = await sys.get_log(held)
        assert len(events) == 3
        assert "*DBG* holding got cast 3" in far.errors()
        await sys.no_debug(held)
        assert await sys.statistics(held, "get") is None
        assert await sys.get_log(held) == []


async def test_the_status_of_a_server_of_partisan_that_draws_lots_costs_a_connection_and_no_more() -> None:
    # What draws lots has a pair with an improper tail in its dictionary, which ends the connection that is to send it.
    async with companions(STATE, provoked="partisan_peer_service_client|encode") as (far, _):
        await far.eval("holding:start(holding), ok")
        held = ("holding", far.name)
        for _ in range(3):
            assert await partisan.call(held, 1) == (Atom("state"), 1)
        with pytest.raises(CallTimeout):
            await sys.get_status(held, timeout=1.0)
        assert far.complaints() != []

        async def answers() -> bool:
            try:
                return bool(await partisan.call(held, 1, timeout=1.0) == (Atom("state"), 1))
            except (CallTimeout, partisan.NodeDown):
                return False

        await eventually(answers)


async def start(py: Node) -> str:
    """Start the three; what a node of Partisan calls the server."""

    async def starts() -> None:
        await Holding.start(name="holding")
        await Machine.start(name="machine")
        await event.start("events", handlers=[Keeper])
        await event.add_handler("events", Keeper, 5)

    await inside(py, starts)
    return f"{{holding, '{py.name}'}}"


async def test_partisan_sees_the_state_of_processes_and_suspends_and_ends_them() -> None:
    async with companions() as (far, py):
        at = await start(py)

        async def asks(what: str, *args: str, target: str = at) -> Any:
            return await far.eval(f"partisan_sys:{what}({', '.join((target, *args))})")

        assert await asks("get_state") == {b"value": 1}
        assert await asks("get_state", target=f"{{machine, '{py.name}'}}") == (Atom("open"), [1])
        [(module, _, state)] = await asks("get_state", target=f"{{events, '{py.name}'}}")
        assert (module, state) == (Keeper.module, {b"number": 5})
        for name in ("holding", "machine", "events"):
            status = await asks("get_status", "30000", target=f"{{{name}, '{py.name}'}}")
            assert status[0] is Atom("status")
            assert status[3][1] is Atom("running")
        assert await asks("suspend") is OK
        call = f"partisan_gen_server:call({at}, x, 200)"
        assert (await raised(far, call))[1][0] is Atom("timeout")
        assert (await asks("get_status"))[3][1] is Atom("suspended")
        assert await asks("resume") is OK
        assert await far.eval(call.replace("200", "30000")) == 1
        assert await asks("terminate", "normal") is OK
        await eventually(lambda: py.whereis("holding") is None)


async def test_partisan_changes_what_it_may() -> None:
    async with companions() as (far, py):
        at = await start(py)
        py.expose(another, "tests:another")

        async def refused(expression: str) -> Any:
            kind, reason = await raised(far, expression)
            assert kind is Atom("error")
            return reason

        change = f"partisan_sys:change_code({at}, holding, old, extra)"
        replace = f"partisan_sys:replace_state({at}, "
        assert await refused(f'{replace}<<"tests:another">>)') is Atom("not_allowed")
        assert await far.eval(f"partisan_sys:suspend({at}), {change}") == (Atom("error"), Atom("not_allowed"))
        py.reconfigure(allow=["sys"])
        assert await far.eval(f"{change}, partisan_sys:resume({at})") is OK
        assert await far.eval(f"partisan_gen_server:call({at}, x)") == (Atom("old"), Atom("extra"))
        assert await far.eval(f'{replace}<<"tests:another">>)') == {b"value": Atom("another")}
        assert await far.eval(f"{replace}fun tests:another/1)") == {b"value": Atom("another")}
        for function in ("fun(State) -> State end", '<<"os:system">>', "fun os:cmd/1", "nonsense"):
            assert await refused(f"{replace}{function})") is Atom("not_allowed")
        assert await far.eval(f"partisan_gen_server:call({at}, x)") is Atom("another")
        for what in ("install", "log_to_file"):
            argument = "{fun(S, _, _) -> S end, 0}" if what == "install" else '"/nowhere"'
            refusal = (Atom("error"), Atom("not_allowed"))
            assert await far.eval(f"partisan_sys:{what}({at}, {argument})") == refusal


async def test_partisan_traces_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "partisan.gen.debug")
    async with companions() as (far, py):
        at = await start(py)
        ask = "partisan_sys:"
        await far.eval(f"{ask}log({at}, {{true, 3}}), {ask}statistics({at}, true), {ask}trace({at}, true)")
        casts = f"[partisan_gen_server:cast({at}, N) || N <- [1, 2, 3, 4, 5]]"
        assert await far.eval(f"{casts}, partisan_gen_server:call({at}, x)") == 5
        ok, counted = await far.eval(f"{ask}statistics({at}, get)")
        assert ok is OK
        assert dict(counted)[Atom("messages_in")] == 6
        ok, events = await far.eval(f"{ask}log({at}, get)")
        assert (ok, len(events)) == (OK, 3)
        assert any("holding" in each for each in caplog.messages)
        assert await far.eval(f"{ask}no_debug({at})") is OK
        assert await far.eval(f"{ask}statistics({at}, get)") == (OK, Atom("no_statistics"))
        assert await far.eval(f"partisan_gen_server:stop({at})") is OK
