"""Processes and nodes of Python and of Partisan hear of each other's ends, and end each other's processes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from beams import Raised, fresh, received
from companions import companions, warnings
from partisans import agree, real
from support import Sink, eventually, inside

import partisan
from partisan import Atom, Node, Pid, remote_ref, rpc
from partisan.testing.processes import NodeProcess

DOWN, PROCESS, NODEUP, NODEDOWN = Atom("DOWN"), Atom("process"), Atom("nodeup"), Atom("nodedown")
NORMAL, KILL, KILLED = Atom("normal"), Atom("kill"), Atom("killed")
NOPROC, NOCONNECTION = Atom("noproc"), Atom("noconnection")

FORMATS = ("improper_list", "tuple", "uri")

VICTIM = """
(fun() ->
    Pid = spawn(fun() -> receive {exit, Reason} -> exit(Reason); {fail, Reason} -> error(Reason) end end),
    catch unregister(victim),
    register(victim, Pid),
    partisan_remote_ref:from_term(Pid)
end)()
"""


async def victim() -> None:
    """Ends as it is told."""
    match await partisan.receive():
        case (Atom("exit"), reason):
            partisan.exit(reason)
        case (Atom("fail"), _):
            raise ValueError("told to fail")


async def idle() -> None:
    """Goes on until it is ended."""
    await asyncio.Event().wait()


async def watched(*targets: Any, then: tuple[Any, Any] | None = None, channel: str | None = None) -> list[Any]:
    """Monitor these, send a message when the other side watches, and return (item, reason) of each."""
    references = [partisan.monitor(target, channel=channel) for target in targets]
    if then is not None:
        await partisan.call(("echo_server", then[0][1]), Atom("sync"), channel=channel)  # behind the monitors
        partisan.send(*then, channel=channel)
    found = {}
    for _ in targets:
        down, reference, kind, item, reason = await partisan.receive((DOWN, ..., ..., ..., ...), timeout=30.0)
        assert (down, kind) == (DOWN, PROCESS)
        found[reference] = (item, reason)
    return [found[reference] for reference in references]


ECHO_SERVER = """
register(echo_server, spawn(fun() -> (fun Loop() ->
    receive {'$gen_call', {To, Tag}, Term} -> partisan:forward_message(To, {Tag, Term}), Loop() end
end)() end)), ok
"""


@pytest.mark.parametrize("form", FORMATS)
async def test_ends_of_processes_of_partisan_are_told_by_pid_and_by_name(form: str) -> None:
    async with companions(provoked="told_to_fail", remote_ref_format=form) as (far, py):
        await far.eval(ECHO_SERVER)
        named = ("victim", far.name)
        item = (Atom("victim"), Atom(far.name))
        for order, wanted in (
            ((Atom("exit"), NORMAL), NORMAL),
            ((Atom("exit"), (Atom("why"), [1, b"x"])), (Atom("why"), [1, b"x"])),
            ((Atom("exit"), KILL), KILL),
        ):
            pid = await far.eval(VICTIM)
            found = await inside(py, lambda pid=pid, order=order: watched(named, pid, then=(named, order)))
            assert found == [(item, wanted), (remote_ref_of(pid), wanted)]
        await far.eval(VICTIM)
        failed = await inside(py, lambda: watched(named, then=(named, (Atom("fail"), Atom("told_to_fail")))))
        assert failed[0][1][0] is Atom("told_to_fail")
        for name in ("victim", "nobody_has_ever_heard_of_this", "lists"):
            assert (await inside(py, lambda name=name: watched((name, far.name))))[0][1] is NOPROC
        assert (await inside(py, lambda: watched(pid)))[0][1] is NOPROC
        pid = await far.eval(VICTIM)
        await far.eval("exit(whereis(victim), kill)")
        assert (await inside(py, lambda: watched(pid)))[0][1] is NOPROC


def remote_ref_of(pid: Any) -> Any:
    """The pid that a remote reference names."""
    return Pid(str(remote_ref.node(pid)), *map(int, text_of(pid).strip("<>").split(".")[1:]))


def text_of(pid: Any) -> str:
    """The text of a pid, as `<0.1.2>`."""
    return bytes(remote_ref.target(pid)[1]).decode()


async def test_a_monitor_that_is_taken_back_tells_nothing() -> None:
    async with companions(python={"channels": {"data": {}}}, channels="#{data => #{parallelism => 1}}") as (far, py):
        await far.eval(ECHO_SERVER)
        await far.eval(VICTIM)
        named = ("victim", far.name)

        async def takes_back() -> Any:
            kept, given_up = partisan.monitor(named, channel="data"), partisan.monitor(named, channel="data")
            await partisan.call(("echo_server", far.name), 1, channel="data")
            assert partisan.demonitor(given_up, info=True) is True
            partisan.send(named, (Atom("exit"), NORMAL), channel="data")
            assert (await partisan.receive(timeout=30.0))[1] == kept
            again = partisan.monitor(named)
            partisan.demonitor(again, flush=True)
            with pytest.raises(partisan.ReceiveTimeout):
                await partisan.receive(timeout=0.1)

        await inside(py, takes_back)


async def test_the_loss_of_a_node_of_partisan_is_told() -> None:
    async with companions(harmed=True, warned="lost") as (far, py):
        await far.eval(VICTIM)
        named = ("victim", far.name)
        sink = Sink(py, "nodes")

        async def watches() -> list[Any]:
            partisan.monitor_nodes(nodedown_reason=True)
            partisan.monitor_node(far.name)
            references = [partisan.monitor(named), partisan.monitor(("sink", far.name))]
            partisan.send(("echo", far.name), (partisan.self(), 1))
            await partisan.receive((Atom("echo"), 1), timeout=30.0)
            partisan.send("nodes", Atom("watching"))
            found = [await partisan.receive(timeout=30.0) for _ in range(4)]
            assert {message[1] for message in found if message[0] is DOWN} == set(references)
            references = [partisan.monitor(named)]
            found.append(await partisan.receive((DOWN, references[0], ..., ..., ...), timeout=30.0))
            partisan.monitor_node(far.name)
            found.append(await partisan.receive((NODEDOWN, ...), timeout=30.0))
            return found

        told = asyncio.ensure_future(inside(py, watches))
        await sink.has(1)
        far.kill()
        found = await told
        downs = [message for message in found if message[0] is DOWN]
        assert [message[4] for message in downs] == [NOCONNECTION] * 3
        assert (NODEDOWN, Atom(far.name)) in found[:4]
        assert (NODEDOWN, Atom(far.name), [(Atom("nodedown_reason"), NOCONNECTION)]) in found[:4]
        assert found[-1] == (NODEDOWN, Atom(far.name))


def monitored(target: str, then: str, options: str = "[]") -> str:
    """An expression: monitor a process, do something, and give (item, reason) of what is told."""
    told = received("{'DOWN', Ref, process, Item, Why}", "{Item, Why}")
    return f"(fun() -> Ref = partisan:monitor(process, {target}, {options}), {then}, {told} end)()"


@pytest.mark.parametrize("form", FORMATS)
async def test_ends_of_processes_are_told_to_partisan_by_pid_and_by_name(form: str) -> None:
    async with companions(remote_ref_format=form, warned="told to fail|failed") as (far, py):
        named = f"{{victim, '{py.name}'}}"
        by_reference = f"partisan_remote_ref:from_term(victim, '{py.name}')"
        by_pid = f"partisan_rpc:call('{py.name}', erlang, whereis, [victim], 30000)"
        send = f"partisan:forward_message({named}, "
        for order, wanted in (
            ("{exit, normal}", NORMAL),
            ("{exit, {why, [1]}}", (Atom("why"), [1])),
            ("{exit, kill}", KILL),
        ):
            for target in (named, by_reference, by_pid):
                py.spawn(victim, name="victim")
                item, reason = await far.eval(monitored(target, f"{send}{order})"))
                assert reason == wanted
                assert str(remote_ref.node(item)) == py.name
        py.spawn(victim, name="victim")
        _, reason = await far.eval(monitored(named, f"{send}{{fail, 1}})"))
        assert reason[0] == (Atom("ValueError"), b"told to fail")
        for target in (named, by_reference, f"{{nobody_has_ever_heard_of_this, '{py.name}'}}"):
            assert (await far.eval(monitored(target, "ok")))[1] is NOPROC


async def test_partisan_takes_a_monitor_back() -> None:
    async with companions() as (far, py):
        py.spawn(victim, name="victim")
        named = f"{{victim, '{py.name}'}}"
        begin = f"Ref = partisan:monitor(process, {named}, [])"
        ended = f"true = partisan:demonitor(Ref, [flush, info]), partisan:forward_message({named}, {{exit, x}})"
        second = f"Kept = partisan:monitor(process, {named}, [])"
        told = "receive {'DOWN', Which, process, _, Why} -> {Which =:= Kept, Why} after 30000 -> none end"
        more = "receive Other -> Other after 50 -> none end"
        assert await far.eval(f"(fun() -> {begin}, {second}, {ended}, {{{told}, {more}}} end)()") == (
            (True, Atom("x")),
            Atom("none"),
        )


async def test_the_stop_of_a_node_is_told_to_partisan() -> None:
    async with companions(warned="is not running") as (far, py):
        py.spawn(idle, name="idle")
        named = f"{{idle, '{py.name}'}}"
        await far.eval(f"put(down, partisan:monitor(process, {named}, [])), partisan:monitor_node('{py.name}', true)")
        await far.eval("partisan:monitor_nodes(true, [nodedown_reason]), ok")
        await py.stop()
        down = received("{'DOWN', _, process, _, Why}", "Why")
        assert await far.eval(down) in (Atom("shutdown"), NOCONNECTION, KILLED)
        assert await far.eval(received(f"{{nodedown, '{py.name}'}}", "down")) is Atom("down")
        assert await far.eval(received(f"{{nodedown, '{py.name}', Why}}", "Why")) == [
            (Atom("nodedown_reason"), NOCONNECTION)
        ]


async def test_the_kill_of_a_node_is_told_to_partisan_which_watches_it_again_when_it_is_back() -> None:
    async with warnings(), real() as far:
        node = NodeProcess(fresh("py").partition("@")[0])
        await node.start()
        try:
            await node.run("partisan:join", far.address)
            await eventually_connected(far, node.name)
            monitor = f"partisan:monitor(process, {{partisan_monitor_target, '{node.name}'}}, [])"
            assert await far.eval(f"{monitor}, {received('{_, _, process, _, Why}', 'Why')}") is NOPROC
            await far.eval(f"partisan:monitor_nodes(true, []), partisan:monitor_node('{node.name}', true)")
            await node.kill()
            both = f"[{received('{nodedown, Who}', 'Who')} || _ <- [1, 2]]"
            assert await far.eval(both) == [Atom(node.name)] * 2
            await node.start(node.port)
            await eventually_connected(far, node.name)
            monitor = f"partisan:monitor(process, {{partisan_monitor_target, '{node.name}'}}, [])"
            assert await far.eval(f"{monitor}, {received('{_, _, process, _, Why}', 'Why')}") is NOPROC
        finally:
            await node.stop()


async def eventually_connected(far: Any, name: str) -> None:
    """Wait until it has a connection to the node."""

    async def connected() -> bool:
        return await far.connections(name) > 0

    await eventually(connected)


async def test_each_hears_of_nodes_that_come_and_go() -> None:
    async with companions() as (far, py):
        sink = Sink(py, "nodes")

        async def watches() -> None:
            partisan.monitor_nodes()
            while True:
                partisan.send("nodes", await partisan.receive())

        watcher = py.spawn(watches)
        await far.eval("partisan:monitor_nodes(true, []), ok")
        async with Node(fresh("other"), connection_interval=0.05, connection_jitter=0.02) as other:
            await far.join(other)  # it tells of the nodes that it joins itself
            await agree([far, py, other])
            await sink.heard(lambda message: message == (NODEUP, Atom(other.name)))
            assert await far.eval(received("{nodeup, Who}", "Who")) is Atom(other.name)
        await sink.heard(lambda message: message == (NODEDOWN, Atom(other.name)))
        assert await far.eval(received("{nodedown, Who}", "Who")) is Atom(other.name)
        py.exit(watcher, KILL)


@pytest.mark.parametrize("form", FORMATS)
async def test_processes_of_partisan_are_started_seen_and_ended(form: str) -> None:
    answering = "Failed to send message"  # it may answer a last monitor when this node has stopped
    async with companions(remote_ref_format=form, provoked=answering) as (far, py):
        pid = await py.spawn_at(far.name, "timer", "sleep", [Atom("infinity")])
        assert isinstance(pid, Pid)
        assert await py.is_process_alive_at(pid)
        await far.eval("register(sleeper, spawn(timer, sleep, [infinity])), ok")
        sleeper = await py.whereis_at(far.name, "sleeper")
        assert isinstance(sleeper, Pid)
        assert await py.whereis_at(far.name, "nobody_has_ever_heard_of_this") is None

        async def ends() -> None:
            for each in (pid, sleeper):
                reference = partisan.monitor(each)
                await py.is_process_alive_at(each)
                partisan.exit(each, KILL)
                assert (await partisan.receive((DOWN, reference, ..., ..., ...), timeout=30.0))[4] is KILLED
                assert not await py.is_process_alive_at(each)

        await inside(py, ends)
        for refused in (lambda: py.link(pid), lambda: partisan.spawn_link_at(far.name, "timer", "sleep", [1])):
            with pytest.raises(partisan.LinkUnsupported):
                await inside(py, as_coroutine, refused)
        told = asyncio.ensure_future(inside(py, partisan.spawn_monitor_at, far.name, "erlang", "exit", [Atom("early")]))
        assert (await told)[0].node == far.name


async def as_coroutine(function: Any) -> Any:
    """Call a function, and await what it gives if it is to be."""
    found = function()
    return await found if hasattr(found, "__await__") else found


@pytest.mark.parametrize("form", FORMATS)
async def test_processes_are_started_seen_and_ended_by_partisan(form: str) -> None:
    options = {"allow": ["exit", "spawn"]}
    async with companions(remote_ref_format=form, python=options) as (far, py):
        py.expose(idle, "tests:idle")
        py.spawn(idle, name="idle")
        where = f"partisan_rpc:call('{py.name}', erlang, whereis, [idle], 30000)"
        alive = "partisan:is_process_alive(get(pid))"
        assert await far.eval(f"put(pid, {where}), {alive}") is True
        assert (
            await far.eval("put(ref, partisan:monitor(process, get(pid), [])), partisan:exit(get(pid), kill)") is True
        )
        assert await far.eval(received("{'DOWN', _, process, _, Why}", "Why")) is KILLED
        assert await far.eval(alive) is False
        assert await far.eval(where) is None
        started = await far.eval(f"put(pid, partisan:spawn('{py.name}', tests, idle, [])), get(pid)")
        assert str(remote_ref.node(started)) == py.name
        assert await far.eval(alive) is True
        assert await far.eval(f"partisan:exit(get(pid), {{why, 1}}), {alive}") is False
        both = f"{{P, M}} = partisan:spawn_monitor('{py.name}', tests, idle, []), partisan:exit(P, {{why, 2}})"
        down = received("{'DOWN', M, process, _, Why}", "Why")
        assert await far.eval(f"(fun() -> {both}, {down} end)()") == (Atom("why"), 2)


async def test_what_is_not_allowed_does_not_happen() -> None:
    async with companions(warned="refuses") as (far, py):
        pid = py.spawn(idle, name="idle")
        where = f"partisan_rpc:call('{py.name}', erlang, whereis, [idle], 30000)"
        assert await far.eval(f"partisan:exit({where}, kill)") is True
        assert py.is_process_alive(pid)
        gone = received("{'DOWN', M, process, _, Why}", "Why")
        start = f"{{P, M}} = partisan:spawn_monitor('{py.name}', tests, idle, [])"
        assert await far.eval(f"(fun() -> {start}, {gone} end)()") in (NOPROC, NOCONNECTION)


async def test_messages_are_sent_later_and_taken_back() -> None:
    async with companions() as (far, py):
        sink = Sink(py)
        py.send_after(0.02, ("sink", far.name), Atom("later"))
        timer = py.send_after(60.0, ("sink", far.name), Atom("never"))
        assert await far.gathered(1) == [Atom("later")]
        left = py.cancel_timer(timer)
        assert left is not None
        assert left > 30.0
        to = f"partisan_remote_ref:from_term(sink, '{py.name}')"
        await far.eval(f"partisan:send_after(20, {to}, later), ok")
        cancelled = f"partisan:cancel_timer(partisan:send_after(60000, {to}, never))"
        assert int(await far.eval(cancelled)) > 30_000
        assert await sink.has(1) == [Atom("later")]


async def test_what_is_known_of_a_process_is_asked_at_its_node() -> None:
    async with companions() as (far, py):
        pid = await py.whereis_at(far.name, "sink")
        assert pid is not None
        asked = await rpc.call(far.name, "partisan", "process_info", [pid, Atom("registered_name")])
        assert asked == (Atom("registered_name"), Atom("sink"))
        with pytest.raises(ValueError, match="no process of this node"):
            py.process_info(pid)
        py.spawn(idle, name="idle")
        where = f"partisan_rpc:call('{py.name}', erlang, whereis, [idle], 30000)"
        with pytest.raises(Raised):
            await far.eval(f"partisan:process_info({where})")
