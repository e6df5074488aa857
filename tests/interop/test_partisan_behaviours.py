"""Event managers, state machines and supervisors of Python and of Partisan, asked by each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from companions import companions, outcome, raised, reason_of
from support import eventually, inside

import partisan
from partisan import Atom, CallTimeout, ChildSpec, Exit, NoProc, Supervisor, remote_ref
from partisan.errors import ChildNotFound, ChildRunning, HandlerFailed, NoHandler, StartFailed
from partisan.gen import event, statem, supervisor
from partisan.gen.statem import GenStatem, KeepState, NextState, Postpone, Reply, StateTimeout, StopAndReply, Timeout

OK, GET, NEVER = Atom("ok"), Atom("get"), Atom("never")

KEEPING = """
-module(keeping).
init({failed, _}) ->
    {error, no_start};
init(First) ->
    {ok, [First]}.
handle_event(fail, _) ->
    error(badly);
handle_event(Event, Seen) ->
    {ok, [Event | Seen]}.
handle_call(fail, _) ->
    error(badly);
handle_call(get, Seen) ->
    {ok, lists:reverse(Seen), Seen}.
handle_info(Info, Seen) ->
    {ok, [{info, Info} | Seen]}.
terminate(Why, Seen) ->
    {Why, length(Seen)}.
"""

DOOR = """
-module(door).
callback_mode() ->
    handle_event_function.
init(Code) ->
    {ok, locked, Code}.
handle_event({call, From}, {unlock, Code, Time}, locked, Code) ->
    {next_state, open, Code, [{reply, From, ok}, {state_timeout, Time, lock}]};
handle_event({call, From}, {unlock, _, _}, _, _) ->
    {keep_state_and_data, [{reply, From, {error, no}}]};
handle_event({call, _}, enter, locked, _) ->
    {keep_state_and_data, [postpone]};
handle_event({call, From}, enter, open, _) ->
    {keep_state_and_data, [{reply, From, entered}]};
handle_event(cast, lock, open, Code) ->
    {next_state, locked, Code};
handle_event(info, {code, Code}, State, _) ->
    {next_state, State, Code};
handle_event(state_timeout, lock, open, Code) ->
    {next_state, locked, Code};
handle_event({call, From}, state, State, Code) ->
    {keep_state_and_data, [{reply, From, {State, Code}}]};
handle_event({call, From}, {later, Time, Term}, _, _) ->
    {keep_state_and_data, [{{timeout, later}, Time, {From, Term}}]};
handle_event({timeout, later}, {From, Term}, _, _) ->
    {keep_state_and_data, [{reply, From, Term}]};
handle_event({call, _}, never, _, _) ->
    keep_state_and_data;
handle_event({call, From}, {stop, Reason}, _, _) ->
    {stop_and_reply, Reason, [{reply, From, bye}]};
handle_event({call, _}, {fail, Reason}, _, _) ->
    error(Reason).
terminate(_, _, _) ->
    ok.
"""


class Keeping(event.EventHandler):
    """The same handler in Python."""

    module = Atom("keeping")

    def init(self, first: Any) -> Any:
        match first:
            case (Atom("failed"), _):
                return event.Stop(Atom("no_start"))
        self.seen = [first]
        return None

    def handle_event(self, event: Any) -> None:
        if event is Atom("fail"):
            raise ValueError("told to fail")
        self.seen.append(event)

    def handle_call(self, query: Any) -> Any:
        if query is Atom("fail"):
            raise ValueError("told to fail")
        return self.seen

    def handle_info(self, message: Any) -> None:
        self.seen.append((Atom("info"), message))

    def terminate(self, why: Any) -> Any:
        return (why, len(self.seen))


class Door(GenStatem):
    """The same state machine in Python."""

    def init(self, code: Any) -> Any:
        return NextState(Atom("locked"), code)

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        kind, caller = event_type if isinstance(event_type, tuple) else (event_type, None)
        match str(kind), content, state.name:
            case "call", (Atom("unlock"), code, time), "locked" if code == data:
                return NextState(Atom("open"), data, [Reply(caller, OK), StateTimeout(time / 1000, Atom("lock"))])
            case "call", (Atom("unlock"), _, _), _:
                return KeepState(actions=[Reply(caller, (Atom("error"), Atom("no")))])
            case "call", Atom("enter"), "locked":
                return KeepState(actions=[Postpone()])
            case "call", Atom("enter"), "open":
                return KeepState(actions=[Reply(caller, Atom("entered"))])
            case (("cast" | "state_timeout"), Atom("lock"), "open"):
                return NextState(Atom("locked"), data)
            case "info", (Atom("code"), code), _:
                return KeepState(code)
            case "call", Atom("state"), _:
                return KeepState(actions=[Reply(caller, (state, data))])
            case "call", (Atom("later"), time, term), _:
                return KeepState(actions=[Timeout("later", time / 1000, (caller, term))])
            case "timeout", (asked, term), _:
                return KeepState(actions=[Reply(asked, term)])
            case "call", Atom("never"), _:
                return KeepState()
            case "call", (Atom("stop"), reason), _:
                return StopAndReply(reason, [Reply(caller, Atom("bye"))])
        raise ValueError("told to fail")


async def test_handlers_in_a_manager_of_partisan_are_told_and_asked() -> None:
    async with companions(KEEPING, provoked="keeping crashed") as (far, py):
        await far.eval("{ok, _} = partisan_gen_event:start({local, events}), ok")
        events = ("events", far.name)
        await event.add_handler(events, "keeping", 1)
        await event.add_handler(events, ("keeping", 2), b"other")
        with pytest.raises(HandlerFailed) as failed:
            await event.add_handler(events, ("keeping", 3), (Atom("failed"), 1))
        assert failed.value.reason is Atom("no_start")
        assert await event.which_handlers(events) == [(Atom("keeping"), 2), Atom("keeping")]
        event.notify(events, (Atom("told"), [1]))
        await event.sync_notify(events, b"waited for")
        partisan.send(events, b"info")
        told = [(Atom("told"), [1]), b"waited for", (Atom("info"), b"info")]
        assert await event.call(events, "keeping", GET) == [1, *told]
        assert await event.call(events, ("keeping", 2), GET) == [b"other", *told]
        assert await inside(py, lambda: event.receive_response(event.send_request(events, "keeping", GET))) == [
            1,
            *told,
        ]
        with pytest.raises(NoHandler):
            await event.call(events, "no_such_handler", GET)
        with pytest.raises(NoHandler):
            await event.delete_handler(events, "no_such_handler")
        await event.swap_handler(events, (("keeping", 2), b"swapped"), (("keeping", 4), 4))
        assert await event.call(events, ("keeping", 4), GET) == [(4, (b"swapped", 4))]
        assert await event.delete_handler(events, ("keeping", 4), b"done") == (b"done", 1)
        with pytest.raises(HandlerFailed):
            await event.call(events, "keeping", Atom("fail"))
        assert await event.which_handlers(events) == []
        await event.stop(events, timeout=30.0)
        with pytest.raises(NoProc):
            await event.which_handlers(events)


async def test_handlers_in_a_manager_are_told_and_asked_by_partisan() -> None:
    async with companions(warned="handler.*crashed|failed|terminated") as (far, py):

        async def start() -> None:
            await event.start("events", handlers=[Keeping])

        await inside(py, start)
        at = f"{{events, '{py.name}'}}"

        async def asks(what: str, *args: str) -> Any:
            return await far.eval(f"partisan_gen_event:{what}({', '.join((at, *args))})")

        assert await asks("add_handler", "keeping", "1") is OK
        assert await asks("add_handler", "{keeping, 2}", "other") is OK
        assert await asks("add_handler", "{keeping, 3}", "{failed, 1}") == (Atom("error"), Atom("no_start"))
        assert await asks("which_handlers") == [(Atom("keeping"), 2), Atom("keeping")]
        await far.eval(f"partisan:forward_message({at}, {{notify, {{told, [1]}}}})")
        assert await asks("sync_notify", "waited_for") is OK
        await far.eval(f"partisan:forward_message({at}, info)")
        told = [(Atom("told"), [1]), Atom("waited_for"), (Atom("info"), Atom("info"))]
        assert await asks("call", "keeping", "get") == [1, *told]
        assert await asks("call", "{keeping, 2}", "get", "30000") == [Atom("other"), *told]
        bad = (Atom("error"), Atom("bad_module"))
        assert await asks("call", "no_such_handler", "get") == bad
        assert await asks("delete_handler", "no_such_handler", "x") == (Atom("error"), Atom("module_not_found"))
        assert await asks("swap_handler", "{{keeping, 2}, swapped}", "{{keeping, 4}, 4}") is OK
        assert await asks("call", "{keeping, 4}", "get") == [(4, (Atom("swapped"), 4))]
        assert await asks("delete_handler", "{keeping, 4}", "done") == (Atom("done"), 1)
        failed = await asks("call", "keeping", "fail")
        assert failed[0] is Atom("error")
        assert failed[1][0] is Atom("EXIT")
        assert await asks("which_handlers") == []
        assert await asks("stop") is OK
        assert reason_of(await raised(far, f"partisan_gen_event:call({at}, keeping, get)")) is Atom("noproc")


async def test_a_state_machine_of_partisan_is_called() -> None:
    async with companions(DOOR, provoked="door") as (far, py):
        await far.eval("{ok, _} = partisan_gen_statem:start({local, door}, door, 1234, []), ok")
        door = ("door", far.name)
        locked, opened = (Atom("locked"), 1234), (Atom("open"), 1234)
        assert await partisan.call(door, Atom("state")) == locked
        assert await partisan.call(door, (Atom("unlock"), 1, 5)) == (Atom("error"), Atom("no"))
        waits = [asyncio.ensure_future(partisan.call(door, Atom("enter"), timeout=60.0)) for _ in range(3)]
        assert await partisan.call(door, Atom("state")) == locked
        assert await partisan.call(door, (Atom("unlock"), 1234, 60_000)) is OK
        assert await asyncio.gather(*waits) == [Atom("entered")] * 3
        assert await partisan.call(door, Atom("state")) == opened
        statem.cast(door, Atom("lock"))
        assert await partisan.call(door, Atom("state")) == locked
        assert await partisan.call(door, (Atom("unlock"), 1234, 1)) is OK

        async def is_locked() -> bool:
            return bool(await partisan.call(door, Atom("state")) == locked)

        await eventually(is_locked)
        assert await partisan.call(door, (Atom("later"), 20, [b"x"]), timeout=60.0) == [b"x"]
        partisan.send(door, (Atom("code"), 5))
        assert await partisan.call(door, Atom("state")) == (Atom("locked"), 5)

        async def requests() -> None:
            sent = statem.send_request(door, Atom("enter"))
            with pytest.raises(CallTimeout):
                await statem.wait_response(sent, 0.05)
            assert await partisan.call(door, (Atom("unlock"), 5, 60_000)) is OK
            assert await statem.receive_response(sent, 30.0) is Atom("entered")

        await inside(py, requests)
        with pytest.raises(CallTimeout):
            await partisan.call(door, NEVER, timeout=0.1)
        failed = await outcome(partisan.call(door, (Atom("fail"), Atom("badly"))))
        assert isinstance(failed, Exit)
        assert failed.reason[0] is Atom("badly")
        with pytest.raises(NoProc):
            await partisan.call(door, NEVER)


async def test_a_state_machine_is_called_by_partisan() -> None:
    async with companions(warned="State machine door terminating") as (far, py):

        async def start() -> None:
            await Door.start(name="door", args=(1234,))

        await inside(py, start)
        at, call = f"{{door, '{py.name}'}}", "partisan_gen_statem:call"
        locked, opened = (Atom("locked"), 1234), (Atom("open"), 1234)
        assert await far.eval(f"{call}({at}, state)") == locked
        assert await far.eval(f"{call}({at}, {{unlock, 1, 5}}, 30000)") == (Atom("error"), Atom("no"))
        enter = f"exit({{told, {call}({at}, enter, {{dirty_timeout, 60000}})}})"
        await far.eval(f"put(entering, [spawn_monitor(fun() -> {enter} end) || _ <- [1, 2, 3]]), ok")
        assert await far.eval(f"{call}({at}, state, {{clean_timeout, 30000}})") == locked
        assert await far.eval(f"{call}({at}, {{unlock, 1234, 60000}})") is OK
        entered = "[receive {'DOWN', M, process, _, Why} -> Why end || {_, M} <- get(entering)]"
        assert await far.eval(entered) == [(Atom("told"), Atom("entered"))] * 3
        assert await far.eval(f"{call}({at}, state, [{{timeout, infinity}}])") == opened
        assert await far.eval(f"partisan_gen_statem:cast({at}, lock), {call}({at}, state)") == locked
        assert await far.eval(f"{call}({at}, {{unlock, 1234, 1}}, 30000)") is OK

        async def is_locked() -> bool:
            return bool(await far.eval(f"{call}({at}, state)") == locked)

        await eventually(is_locked)
        assert await far.eval(f"{call}({at}, {{later, 20, x}}, 30000)") is Atom("x")
        sent = f"R = partisan_gen_statem:send_request({at}, enter)"
        waited = f"timeout = partisan_gen_statem:wait_response(R, 50), ok = {call}({at}, {{unlock, 1234, 60000}})"
        received = "partisan_gen_statem:receive_response(R, 30000)"
        assert await far.eval(f"(fun() -> {sent}, {waited}, {received} end)()") == (Atom("reply"), Atom("entered"))
        assert reason_of(await raised(far, f"{call}({at}, never, 100)")) is Atom("timeout")
        assert reason_of(await raised(far, f"{call}({at}, never, {{dirty_timeout, 100}})")) is Atom("timeout")
        failed = reason_of(await raised(far, f"{call}({at}, fail, 30000)"))
        assert failed[0] == (Atom("ValueError"), b"told to fail")
        await inside(py, start)
        assert await far.eval(f"{call}({at}, {{stop, normal}}, 30000)") is Atom("bye")
        assert reason_of(await raised(far, f"{call}({at}, state)")) is Atom("noproc")


TREE = """
-module(tree).
init(Specs) ->
    {ok, {#{strategy => one_for_one}, Specs}}.
"""

WORKER = "#{id => worker, start => {partisan_gen_server, start_link, [{local, worker}, counted, [], []]}}"
COUNTED = """
-module(counted).
init(_) ->
    {ok, 0}.
handle_call(_, _, State) ->
    {reply, State, State}.
handle_cast(_, State) ->
    {noreply, State}.
"""


async def test_a_supervisor_of_partisan_is_asked() -> None:
    async with companions(TREE, COUNTED, provoked="tree") as (far, _):
        keeper = (
            "fun() -> {ok, _} = partisan_gen_supervisor:start_link({local, tree}, tree, []), receive stop -> ok end end"
        )
        await far.eval(f"register(keeper, spawn({keeper})), ok")
        tree = ("tree", far.name)

        async def started() -> bool:
            return bool(await far.eval("whereis(tree)") is not None)

        await eventually(started)
        assert await supervisor.which_children(tree) == []
        start = (
            Atom("partisan_gen_server"),
            Atom("start_link"),
            [(Atom("local"), Atom("worker")), Atom("counted"), [], []],
        )
        spec = {Atom("id"): Atom("worker"), Atom("start"): start}
        pid = await supervisor.start_child(tree, spec)
        here = await far.eval("whereis(tree)")
        assert await partisan.call(pid, 1) == 0
        [child] = await supervisor.which_children(tree)
        assert (child.id, child.pid, child.type) == (Atom("worker"), pid, "worker")
        assert await supervisor.count_children(tree) == (1, 1, 0, 1)
        with pytest.raises(partisan.AlreadyStarted):
            await supervisor.start_child(tree, spec)
        with pytest.raises(ChildRunning):
            await supervisor.delete_child(tree, Atom("worker"))
        assert (await supervisor.get_childspec(tree, Atom("worker")))[Atom("start")] == start
        assert await supervisor.get_callback_module(tree) is Atom("tree")
        partisan.exit(pid, Atom("kill"))

        async def again() -> bool:
            [child] = await supervisor.which_children(tree)
            return child.pid not in (pid, Atom("restarting"))

        await eventually(again)
        assert await far.eval("whereis(tree)") == here
        await supervisor.terminate_child(tree, Atom("worker"))
        assert await supervisor.count_children(tree) == (1, 0, 0, 1)
        assert await supervisor.restart_child(tree, Atom("worker")) != pid
        await supervisor.terminate_child(tree, Atom("worker"))
        await supervisor.delete_child(tree, Atom("worker"))
        with pytest.raises(ChildNotFound):
            await supervisor.restart_child(tree, Atom("worker"))
        with pytest.raises(StartFailed):
            await supervisor.start_child(tree, spec | {Atom("start"): (Atom("erlang"), Atom("error"), [Atom("x")])})


async def waits() -> None:
    await asyncio.Event().wait()


async def test_a_supervisor_is_asked_by_partisan() -> None:
    async with companions(warned="Supervisor|supervisor|not_encodable|cannot tell") as (far, py):

        async def start() -> None:
            await Supervisor.start(name="tree", children=[ChildSpec("worker", supervisor.spawned(waits))])

        await inside(py, start)
        at, ask = f"{{tree, '{py.name}'}}", "partisan_gen_supervisor:"
        [(name, pid, kind, _)] = await far.eval(f"{ask}which_children({at})")
        assert kind is Atom("worker")
        assert py.is_process_alive(remote_ref.to_pid(pid))
        counts = {Atom("specs"): 1, Atom("active"): 1, Atom("supervisors"): 0, Atom("workers"): 1}
        assert dict(await far.eval(f"{ask}count_children({at})")) == counts
        assert await far.eval(f"{ask}get_callback_module({at})") is Atom("partisan.gen.supervisor")
        key = '<<"worker">>'
        assert name == b"worker"
        assert await far.eval(f"{ask}terminate_child({at}, {key})") is OK
        assert not py.is_process_alive(remote_ref.to_pid(pid))
        ok, pid = await far.eval(f"{ask}restart_child({at}, {key})")
        assert ok is OK
        assert py.is_process_alive(remote_ref.to_pid(pid))
        assert await far.eval(f"{ask}delete_child({at}, {key})") == (Atom("error"), Atom("running"))
        assert (await far.eval(f"{ask}start_child({at}, #{{id => x, start => {{os, cmd, []}}}})"))[0] is Atom("error")
        assert await far.eval(f"{ask}terminate_child({at}, {key}), {ask}delete_child({at}, {key})") is OK
        assert await far.eval(f"{ask}which_children({at})") == []


async def test_a_manager_of_partisan_is_not_harmed_by_one_who_supervises_a_handler() -> None:
    async with companions(KEEPING) as (far, py):
        await far.eval("{ok, Pid} = partisan_gen_event:start({local, events}), put(events, Pid), ok")
        events = ("events", far.name)
        for ask in (
            lambda: event.add_sup_handler(events, "keeping", 1),
            lambda: event.swap_sup_handler(events, ("keeping", 1), ("keeping", 1)),
        ):
            with pytest.raises(partisan.LinkUnsupported):
                await inside(py, ask)
        assert await far.eval("whereis(events) =:= get(events)") is True
        assert await event.which_handlers(events) == []
