"""Processes that are started, ended and looked for at another node."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from scripted import FORWARD, VECTORS, decode, encode, greeted, member
from support import FAST, Events, cluster, eventually, inside, left_over, python_cluster

import partisan
from partisan import (
    Atom,
    BadRpc,
    CallTimeout,
    LinkUnsupported,
    Node,
    NodeDown,
    NotAllowed,
    NotInProcess,
    Pid,
    UndefinedFunction,
)
from partisan.errors import EncodeError

EXIT, KILL, BOOM, NORMAL = Atom("EXIT"), Atom("kill"), Atom("boom"), Atom("normal")


async def wait() -> None:
    await partisan.receive()


async def trapping(told: Any) -> None:
    partisan.trap_exit()
    while True:
        partisan.send(told, await partisan.receive())


async def exits(reason: Any) -> None:
    partisan.exit(reason)


def plain(told: Pid, value: Any) -> None:
    partisan.send(told, (partisan.self(), value))


def exposing(node: Node) -> Node:
    for function in (wait, trapping, exits, plain):
        node.expose(function, f"t:{function.__name__}")
    return node


async def test_a_process_is_started_at_another_node_with_a_plain_or_an_async_function() -> None:
    async with python_cluster("a", "b", allow=["spawn"]) as (a, b):
        exposing(a), exposing(b)

        async def ask() -> None:
            for node in (a, b):
                pid = await partisan.spawn_at(node.name, "t", "plain", [partisan.self(), 5])
                assert pid.node == node.name
                assert await partisan.receive(timeout=10) == (pid, 5)
                pid = await partisan.spawn_at(Atom(node.name), "t", "wait")
                assert await partisan.is_process_alive_at(pid)
                node.exit(pid, KILL)
                await eventually(lambda node=node, pid=pid: not node.is_process_alive(pid))
                assert not await partisan.is_process_alive_at(pid)

        await inside(a, ask)
        pid = await a.spawn_at(b.name, "t", "wait")
        assert b.is_process_alive(pid)


async def test_a_process_is_started_with_a_monitor() -> None:
    async with python_cluster("a", allow=["spawn"]) as [a]:
        exposing(a)

        async def ask() -> None:
            pid, reference = await partisan.spawn_monitor_at(a.name, "t", "exits", [BOOM])
            down = (Atom("DOWN"), reference, Atom("process"), pid, BOOM)
            assert await partisan.receive(timeout=10) == down

        await inside(a, ask)
        with pytest.raises(NotInProcess):
            await a.spawn_monitor_at(a.name, "t", "exits", [BOOM])


async def test_a_start_that_is_refused_says_why() -> None:
    async with python_cluster("a", "b") as (a, b):
        exposing(b)
        events = Events(b)
        with pytest.raises(NotAllowed, match=r"b@127.0.0.1 does not allow t:wait/0 from other nodes"):
            await a.spawn_at(b.name, "t", "wait")
        assert events.of("partisan.request.refused", node=a.name, what="spawn")
        b.reconfigure(allow=["spawn"])
        with pytest.raises(NotAllowed):
            await a.spawn_at(b.name, "os", "abort")
        with pytest.raises(UndefinedFunction, match="t:wait/2"):
            await a.spawn_at(b.name, "t", "wait", [1, 2])
        with pytest.raises(EncodeError):
            await a.spawn_at(b.name, "t", "wait", [object()])
        with pytest.raises(NodeDown):
            await a.spawn_at("nobody@127.0.0.1", "t", "wait")
        with pytest.raises(NotInProcess):
            await a.spawn_link_at(b.name, "t", "wait")
        with pytest.raises(NotAllowed):
            await a.spawn_at(a.name, "t", "wait")
        assert not b.scheduler.processes


@pytest.mark.parametrize("parallelism", [1, 3])
async def test_no_end_of_a_process_that_was_started_with_a_link_is_missed(parallelism: int) -> None:
    async with python_cluster("a", "b", allow=["spawn"], parallelism=parallelism) as (a, b):
        exposing(a), exposing(b)

        async def ask() -> None:
            partisan.trap_exit()
            for node in (b, a):
                for _ in range(20):
                    pid = await partisan.spawn_link_at(node.name, "t", "exits", [BOOM])
                    assert await partisan.receive(timeout=10) == (EXIT, pid, BOOM)

        await inside(a, ask)


async def test_an_end_of_who_started_it_with_a_link_ends_it() -> None:
    async with python_cluster("a", "b", allow=["spawn"]) as (a, b):
        exposing(b)
        [pid] = await inside(a, lambda: asyncio.gather(partisan.spawn_link_at(b.name, "t", "wait")))
        assert pid.node == b.name
        await asyncio.sleep(0)
        assert b.is_process_alive(pid)  # the starter ended normally

        async def starts() -> None:
            await partisan.spawn_link_at(b.name, "t", "wait")
            partisan.exit(BOOM)

        before = set(b.scheduler.processes)
        a.spawn(starts)
        await eventually(lambda: not a.scheduler.processes)
        await eventually(lambda: set(b.scheduler.processes) == before)


async def test_who_gives_up_or_ends_before_the_answer_is_not_linked_and_the_process_ends() -> None:
    async with member("p@127.0.0.1", {None: 1}) as peer, Node("a@127.0.0.1:0", **FAST) as a:
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1"))
        async with greeted(a, "p@127.0.0.1") as script:
            extras = [Atom(name) for name in ("answer", "links", "spawn", "exit", "calls")]
            python = Atom("partisan_python")
            script.tell((FORWARD, python, (Atom("capabilities"), Atom("p@127.0.0.1"), 1, extras)))
            await eventually(lambda: "p@127.0.0.1" in a._remote.spawns.supported)

            async def starts() -> None:
                with pytest.raises(CallTimeout):
                    await partisan.spawn_link_at("p@127.0.0.1", "t", "wait", timeout=0.001)

            await inside(a, starts)
            [asked] = [each for each in peer.messages() if each[0] == Atom("spawn")]
            tag, start, number, caller, linked, *mfa = asked
            assert (start, linked, mfa) == (Atom("start"), True, [Atom("t"), Atom("wait"), []])
            started = Pid("p@127.0.0.1", 5)
            script.tell((FORWARD, python, (tag, Atom("started"), number, started)))
            told = (Atom("links"), Atom("exit"), caller, started, Atom("noproc"))
            await eventually(lambda: told in peer.messages())
            script.tell((FORWARD, python, (tag, Atom("started"), number, started)))  # again: ignored
            waiting = a.spawn(partisan.spawn_at, "p@127.0.0.1", "t", "wait")
            await eventually(lambda: left_over(a) == {"starts": 1})
            a.exit(waiting, KILL)
            await a.stop(grace=0.5)


async def test_a_node_that_is_lost_before_it_answers_is_nodedown() -> None:
    async with member("p@127.0.0.1", {None: 1}) as peer, Node("a@127.0.0.1:0", **FAST) as a:
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1"))
        async with greeted(a, "p@127.0.0.1") as script:
            extras = [Atom(name) for name in ("answer", "links", "spawn")]
            message = (Atom("capabilities"), Atom("p@127.0.0.1"), 1, extras)
            script.tell((FORWARD, Atom("partisan_python"), message))
            await eventually(lambda: "p@127.0.0.1" in a._remote.spawns.supported)
            starting = asyncio.ensure_future(a.spawn_at("p@127.0.0.1", "t", "wait", timeout=20.0))
            await eventually(lambda: left_over(a) == {"starts": 1})
            a._manager.disconnect("p@127.0.0.1")
            with pytest.raises(NodeDown):
                await starting
            assert not left_over(a)


async def test_a_process_of_another_node_gets_an_exit_signal_as_one_here_does() -> None:
    async with python_cluster("a", "b", allow=["exit"]) as (a, b):
        got: list[Any] = []
        there = b.spawn(trapping, b.spawn(keep, got))
        victim, ignoring = b.spawn(wait), b.spawn(wait)

        async def ask() -> Pid:
            partisan.exit(there, BOOM)
            partisan.exit(ignoring, NORMAL)
            partisan.exit(victim, BOOM)
            partisan.exit(Pid(b.name, 77), BOOM)
            partisan.exit(Pid("nobody@127.0.0.1", 77), BOOM)
            return partisan.self()

        me = await inside(a, ask)
        await eventually(lambda: not b.is_process_alive(victim))
        await eventually(lambda: got == [(EXIT, me, BOOM)])
        assert b.is_process_alive(ignoring)
        a.exit(there, KILL)
        await eventually(lambda: not b.is_process_alive(there))
        with pytest.raises(EncodeError):
            a.exit(victim, object())


async def keep(got: list[Any]) -> None:
    while True:
        got.append(await partisan.receive())


async def test_an_exit_signal_that_is_not_allowed_has_no_effect_and_both_nodes_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with python_cluster("a", "b") as (a, b):
        there = b.spawn(wait)
        a.exit(there, KILL)
        said = lambda: [record.getMessage() for record in caplog.records]  # noqa: E731
        await eventually(lambda: any("does not allow exit signals" in text for text in said()))
        assert f"{b.name} refuses exit to {a.name}" in said()
        assert b.is_process_alive(there)
        assert b.counters()["events"]["partisan.request.refused"] == 1


async def test_names_are_looked_up_at_another_node_by_default() -> None:
    async with python_cluster("a", "b") as (a, b):
        pid = b.spawn(wait, name="server")
        assert await a.whereis_at(b.name, "server") == pid
        assert await a.whereis_at(b.name, Atom("nobody")) is None
        assert await a.is_process_alive_at(pid)
        assert await a.is_process_alive_at(a.spawn(wait))
        with pytest.raises(NodeDown):
            await a.is_process_alive_at(Pid("nobody@127.0.0.1", 5))


async def test_towards_a_real_node_it_is_the_rpc_of_the_reference() -> None:
    rows = [json.loads(line) for line in (VECTORS / "upper-rpc.jsonl").read_text().splitlines()]
    terms = [decode(bytes.fromhex(row["hex"]))[2] for row in rows]
    shapes = {term[1:3]: term[3] for term in terms if term[0] == Atom("call")}
    async with member("b@127.0.0.1", {None: 1}) as peer, Node("a@127.0.0.1:0", **FAST) as a:
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("b@127.0.0.1"))
        far = Pid("b@127.0.0.1", 160)
        async with greeted(a, "b@127.0.0.1") as script:

            async def answered(value: Any) -> Any:
                [asked] = await eventually(peer.messages)
                peer.heard.clear()
                pid = asked[5][1]
                target = (Atom("encoded_pid"), list(f"<0.{pid.id}.{pid.serial}>".encode()))
                script.say(encode((FORWARD, target, (Atom("rpc_response"), value))))
                return asked

            a.exit(far, KILL)
            asked = await answered(True)
            assert asked[1:5] == (Atom("partisan"), Atom("exit"), [far, KILL], 5000)
            assert shapes[Atom("partisan"), Atom("exit")][1] == KILL
            starting = asyncio.ensure_future(a.spawn_at("b@127.0.0.1", "erlang", "now"))
            asked = await answered(far)
            assert asked[1:4] == (Atom("erlang"), Atom("spawn"), [Atom("erlang"), Atom("now"), []])
            assert [type(each) for each in shapes[Atom("erlang"), Atom("spawn")][:2]] == [Atom, Atom]
            assert await starting == far
            for reason, error in (
                (Atom("undef"), UndefinedFunction),
                ((Atom("not_allowed"), 1), NotAllowed),
                (1, BadRpc),
            ):
                starting = asyncio.ensure_future(a.spawn_at("b@127.0.0.1", "m", "f"))
                await answered((Atom("badrpc"), reason))
                with pytest.raises(error):
                    await starting
            alive = asyncio.ensure_future(a.is_process_alive_at(far))
            asked = await answered(False)
            assert asked[1:4] == (Atom("partisan"), Atom("is_process_alive"), [far])
            assert await alive is False
            with pytest.raises(CallTimeout):
                await a.spawn_at("b@127.0.0.1", "m", "f", timeout=0.001)
            with pytest.raises(LinkUnsupported):
                await inside(a, lambda: partisan.spawn_link_at("b@127.0.0.1", "m", "f"))
        assert not left_over(a)


async def test_a_recorded_node_may_end_and_start_processes_where_it_is_allowed_to() -> None:
    rows = [json.loads(line) for line in (VECTORS / "upper-rpc.jsonl").read_text().splitlines()]
    spawn = next(bytes.fromhex(row["hex"]) for row in rows if "erlang,spawn,[timer,sleep" in row["term"])
    async with member("a@127.0.0.1", {None: 1}) as peer, Node("b@127.0.0.1:0", **FAST, allow=["spawn", "exit"]) as b:
        await peer.joined_by(b)
        await eventually(lambda: b.is_connected("a@127.0.0.1"))
        slept: list[Any] = []

        async def sleep(milliseconds: int) -> None:
            slept.append(milliseconds)
            await wait()

        b.expose(sleep, "timer:sleep")
        async with greeted(b, "a@127.0.0.1") as script:
            script.say(spawn)
            [(_, pid)] = await eventually(peer.messages)
            assert b.is_process_alive(pid)
            await eventually(lambda: slept == [200])
            origin = (Atom("origin"), Pid("a@127.0.0.1", 9))
            call = (Atom("call"), Atom("partisan"), Atom("exit"), [pid, KILL], 5000, origin)
            script.tell((FORWARD, Atom("partisan_rpc_backend"), call))
            await eventually(lambda: not b.is_process_alive(pid))
            await eventually(lambda: peer.messages()[1:] == [(Atom("rpc_response"), True)])


async def test_a_node_that_dies_takes_the_answers_it_owes_with_it() -> None:
    async with cluster("a", "b", allow=["spawn"]) as (a, b):
        exposing(b)
        await eventually(lambda: b.name in a._remote.spawns.supported)
        pid = await a.spawn_at(b.name, "t", "wait")
        await b.stop(grace=0.5)
        with pytest.raises(NodeDown):
            await a.is_process_alive_at(pid)
        with pytest.raises(NodeDown):
            await a.spawn_at(b.name, "t", "wait")
        assert not left_over(a)
