"""Monitors over real sockets, between Python nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from monitor_support import (
    DOWN,
    NOCONNECTION,
    NODEDOWN,
    NOPROC,
    NOTHING,
    PROCESS,
    counts,
    ends,
    for_ever,
    nothing_left,
    placed,
    returns,
    watch,
)
from node_process import NodeProcess
from support import cluster, eventually, fully_meshed, inside, running

import partisan
from partisan import Atom, Pid
from partisan.runtime.exits import LINE


async def test_the_end_of_a_process_elsewhere_is_told_with_its_reason() -> None:
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends)
        reason = (Atom("bye"), [1, b"two", {Atom("three"): 3.0}])
        reference, down = await inside(a, watch, pid, lambda: b.send(pid, reason))
        assert down == (DOWN, reference, PROCESS, pid, reason)
        assert reference.node == a.name
        await nothing_left(a, b)


async def test_the_failure_of_a_process_elsewhere_is_told_as_erlang_tells_one() -> None:
    async def crash() -> None:
        await partisan.receive()
        raise ValueError("no such thing")

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(crash)
        _, down = await inside(a, watch, pid, lambda: b.send(pid, 1))
        (kind, text), stack = down[4]
        assert (kind, text) == (Atom("ValueError"), b"no such thing")
        assert stack[0][1].name.endswith("crash")


async def test_a_killed_process_and_one_that_returns_are_told_as_in_erlang() -> None:
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(for_ever)
        _, down = await inside(a, watch, pid, lambda: b.exit(pid, Atom("kill")))
        assert down[4] == Atom("killed")
        pid = b.spawn(returns)
        _, down = await inside(a, watch, pid, lambda: b.send(pid, 1))
        assert down[4] == Atom("normal")


async def test_a_reason_that_is_no_term_is_told_as_it_reads() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends)
        _, down = await inside(a, watch, pid, lambda: b.send(pid, Odd()))
        assert down[4] == (Atom("unencodable"), b"<odd>")
        await nothing_left(a, b)


class Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("it cannot be shown")


@pytest.mark.parametrize("reason", ["x\\'" * 400_000, [b"\0" * 2_000_000], Unreadable()], ids=["text", "list", "odd"])
async def test_a_reason_that_cannot_be_sent_is_told_by_its_beginning(reason: object) -> None:
    async with cluster("a", "b", max_frame_octets=1 << 20) as (a, b):
        pid = b.spawn(ends)
        _, down = await inside(a, watch, pid, lambda: b.send(pid, reason))
        what, text = down[4]
        assert what == Atom("unencodable")
        assert len(text) <= LINE
        await nothing_left(a, b)


async def test_a_reason_that_cannot_be_sent_keeps_nothing_from_others_who_watch() -> None:
    async with cluster("a", "b", max_frame_octets=1 << 20) as (a, b):
        pid = b.spawn(ends)
        reason = b"\0" * 2_000_000
        near = asyncio.create_task(inside(b, watch, pid))
        await eventually(lambda: b.scheduler.find(pid).watches())
        _, down = await inside(a, watch, pid, lambda: b.send(pid, reason))
        assert down[4][0] == Atom("unencodable")
        assert (await near)[1][4] == reason


@pytest.mark.parametrize("spell", [str, Atom])
async def test_a_name_elsewhere_is_monitored_and_told_by_name(spell: Callable[[str], Any]) -> None:
    async with cluster("a", "b") as (a, b):
        b.spawn(ends, name="böse")
        target = (spell("böse"), spell(b.name))
        reference, down = await inside(a, watch, target, lambda: b.send("böse", Atom("bye")))
        assert down == (DOWN, reference, PROCESS, (Atom("böse"), Atom(b.name)), Atom("bye"))
        reference, down = await inside(a, watch, target)
        assert down == (DOWN, reference, PROCESS, (Atom("böse"), Atom(b.name)), NOPROC)
        await nothing_left(a, b)


async def test_a_dead_pid_elsewhere_is_told_at_once() -> None:
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends, Atom("gone"))
        await eventually(lambda: not b.is_process_alive(pid))
        _, down = await inside(a, watch, pid)
        assert down[3:] == (pid, NOPROC)


async def test_a_part_of_a_node_lives_as_long_as_the_node() -> None:
    async def watch_a_part(node: str) -> tuple[Any, ...]:
        partisan.monitor(("partisan_monitor", node))
        return (await watch(("nobody", node)))[1]  # its answer comes behind

    async with cluster("a", "b") as (a, b):
        assert (await inside(a, watch_a_part, b.name))[3] == (Atom("nobody"), Atom(b.name))
        await nothing_left(a, b)


async def test_a_node_that_is_not_connected_is_told_at_once() -> None:
    async with running("a") as [a]:
        reference, down = await inside(a, watch, ("x", "nowhere@127.0.0.1"))
        assert down == (DOWN, reference, PROCESS, (Atom("x"), Atom("nowhere@127.0.0.1")), NOCONNECTION)
        assert not a._monitors._waiters


async def test_the_loss_of_a_node_fires_its_monitors_and_drops_its_watches() -> None:
    async def three(b: Pid, c: Pid) -> tuple[Any, ...]:
        partisan.monitor(c)
        reference = partisan.monitor(b)
        partisan.send(b, partisan.self())
        return reference, await partisan.receive(timeout=10.0), await partisan.receive(timeout=10.0)

    async with cluster("a", "b", "c") as (a, b, c):

        async def monitor_the_caller() -> None:
            caller = await partisan.receive()
            partisan.monitor(caller)
            await partisan.receive()

        pid, other = b.spawn(monitor_the_caller), c.spawn(ends)
        task = asyncio.create_task(inside(a, three, pid, other))
        await eventually(lambda: counts(a)["watched"] == 1)
        await b.stop(grace=0.5)
        await eventually(lambda: not a.is_connected(b.name))
        assert counts(a)["watched"] == 0
        c.send(other, Atom("bye"))
        reference, first, second = await task
        assert first[4] in (NOCONNECTION, Atom("shutdown"))  # as its stop ends its processes, then its connections
        assert first[1] == reference
        assert second[3:] == (other, Atom("bye"))
        await nothing_left(a, c)


async def test_a_cut_connection_fires_at_both_ends_and_leaves_nothing() -> None:
    async with cluster("a", "b") as (a, b):
        here, there = a.spawn(for_ever), b.spawn(for_ever)
        waits = [
            asyncio.create_task(inside(a, watch, there)),
            asyncio.create_task(inside(b, watch, here)),
        ]
        await eventually(lambda: counts(a) == counts(b) == {**NOTHING, "held": 1, "watched": 1})
        a.kill_connections(b.name)
        b.kill_connections(a.name)
        for (_, down), pid in zip(await asyncio.gather(*waits), (there, here), strict=True):
            assert down[3:] == (pid, NOCONNECTION)
        await nothing_left(a, b)
        await eventually(lambda: fully_meshed(a, b))
        _, down = await inside(a, watch, there, lambda: b.exit(there, Atom("bye")))
        assert down[4] == Atom("bye")


async def test_the_kill_of_a_node_is_told_of_its_processes_and_of_the_node(loop_name: str) -> None:
    there = NodeProcess("b")
    await there.start(loop_name)
    try:
        async with running("a") as [a]:
            await a.join(there.address)

            async def watch_both() -> None:
                reference = partisan.monitor(("sink", there.name))
                partisan.monitor_node(there.name)
                await placed()
                await there.kill()
                found = [await partisan.receive(timeout=10.0) for _ in range(2)]
                assert found == [
                    (DOWN, reference, PROCESS, (Atom("sink"), Atom(there.name)), NOCONNECTION),
                    (NODEDOWN, Atom(there.name)),
                ]

            await inside(a, watch_both)
            await nothing_left(a)
    finally:
        await there.kill()


async def test_a_holder_that_ends_leaves_nothing_anywhere() -> None:
    async def hold(pid: Pid) -> None:
        for _ in range(10):
            partisan.monitor(pid)
        await partisan.receive()

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(for_ever)
        settled, hasty = a.spawn(hold, pid), a.spawn(hold, pid)
        await eventually(lambda: counts(b)["watched"] == 20)
        a.exit(settled, Atom("kill"))
        a.send(hasty, 1)
        await nothing_left(a, b)
        a.exit(a.spawn(hold, pid), Atom("kill"))  # while its requests are under way
        await nothing_left(a, b)
        assert b.is_process_alive(pid)


async def test_demonitor_flushes_informs_and_ends_the_monitor() -> None:
    last = Atom("last")

    async def ask(pid: Pid, end: Callable[[], object]) -> None:
        early = partisan.monitor(pid)
        assert partisan.demonitor(early, info=True) is True  # before the answer
        held = partisan.monitor(pid)
        await placed()
        assert partisan.demonitor(held, info=True) is True
        assert partisan.demonitor(held, info=True) is False
        assert partisan.demonitor(held) is True
        tagged, flushed = partisan.monitor(pid, tag=(Atom("tag"), 1)), partisan.monitor(pid)
        partisan.monitor(pid, tag=last)
        await placed()
        end()
        await partisan.receive((last, ..., ..., ..., ...), timeout=10.0)
        assert partisan.demonitor(flushed, flush=True, info=True) is False
        assert await partisan.receive(timeout=0) == ((Atom("tag"), 1), tagged, PROCESS, pid, Atom("bye"))
        with pytest.raises(partisan.ReceiveTimeout):
            await partisan.receive(timeout=0)

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends)
        await inside(a, ask, pid, lambda: b.send(pid, Atom("bye")))
        await nothing_left(a, b)


async def test_monitors_are_counted_for_telemetry() -> None:
    async def hold(far: Pid, near: Pid) -> None:
        partisan.monitor(far)
        partisan.monitor(far)
        partisan.monitor(near)
        await partisan.receive()

    async with cluster("a", "b", telemetry_interval=0.02) as (a, b):
        seen: list[int] = []
        a.telemetry.attach("monitors", "partisan.connection.monitors", lambda _, sums, __: seen.append(sums["count"]))
        pid = a.spawn(hold, b.spawn(for_ever), a.spawn(for_ever))
        await eventually(lambda: seen and seen[-1] == 3)
        a.send(pid, 1)
        await eventually(lambda: seen[-1] == 0)


async def test_monitoring_works_over_a_channel_with_msgpack_and_many_connections() -> None:
    channels = {"data": {"payload": "msgpack", "parallelism": 4}}
    async with cluster("a", "b", channels=channels) as (a, b):
        await eventually(lambda: a.table.lane(b.name, "data").envelope and b.table.lane(a.name, "data").envelope)

        async def many() -> None:
            wanted = {}
            for number in range(100):
                pid = b.spawn(ends)
                wanted[partisan.monitor(pid, channel="data")] = (pid, number)
                partisan.send(pid, number, channel="data")  # does not overtake the request
            for _ in range(100):
                _, reference, _, *told = await partisan.receive(timeout=10.0)
                assert tuple(told) == wanted.pop(reference)

        await inside(a, many)
        await nothing_left(a, b)
