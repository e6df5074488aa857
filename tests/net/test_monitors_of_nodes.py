"""Monitors of nodes, and who hears of every one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from monitor_support import NOCONNECTION, NODEDOWN, NODEUP
from scripted import member
from support import cluster, eventually, inside, running

import partisan
from partisan import Atom, NotInProcess


async def heard_of(node: partisan.Node, count: int, subscribe: Callable[[], object], act: Callable[[], object]) -> Any:
    """What a process is told after it subscribed and something was done."""

    async def listen() -> list[Any]:
        subscribe()
        act()
        return [await partisan.receive(timeout=10.0) for _ in range(count)]

    return await inside(node, listen)


async def test_two_monitors_of_a_node_tell_its_loss_twice_and_once_only() -> None:
    async with cluster("a", "b", "c") as (a, b, c):

        async def listen() -> list[Any]:
            assert partisan.monitor_node(b.name)
            assert partisan.monitor_node(Atom(b.name), True)
            partisan.monitor_node(b.name)
            partisan.monitor_node(b.name, False)
            partisan.monitor_node(c.name)
            partisan.monitor_node(c.name, False)
            partisan.monitor_node(c.name, False)
            partisan.monitor_node(a.name)
            for other in (c, b):
                a.kill_connections(other.name)
            found = [await partisan.receive(timeout=10.0) for _ in range(2)]
            await eventually(lambda: a.is_connected(b.name))
            a.kill_connections(b.name)
            partisan.monitor_node("nowhere@127.0.0.1")
            return [*found, await partisan.receive(timeout=10.0)]

        lost = (NODEDOWN, Atom(b.name))
        assert await inside(a, listen) == [lost, lost, (NODEDOWN, Atom("nowhere@127.0.0.1"))]
        await eventually(lambda: not a._node_monitors._kept)


async def test_subscribers_hear_of_every_node_with_the_options_that_they_chose() -> None:
    async with running("a") as [a], member("b@127.0.0.1", {None: 1}) as there:
        told: list[Any] = []
        name = Atom(there.name)

        async def listen(**options: Any) -> None:
            partisan.monitor_nodes(True, **options)
            while True:
                told.append((tuple(options.items()), await partisan.receive()))

        async def twice_then_never() -> None:
            partisan.monitor_nodes()
            partisan.monitor_nodes()
            partisan.monitor_nodes(node_type="all")
            partisan.monitor_nodes(False)
            while True:
                told.append(("all", await partisan.receive()))

        async def twice() -> None:
            partisan.monitor_nodes()
            partisan.monitor_nodes()
            while True:
                told.append(("twice", await partisan.receive()))

        a.spawn(listen)
        a.spawn(listen, nodedown_reason=True)
        a.spawn(listen, node_type="hidden")
        a.spawn(twice_then_never)
        a.spawn(twice)
        await eventually(lambda: len(a._node_monitors._kept) == 6)
        reasoned = (("nodedown_reason", True),)
        await there.joined_by(a)
        await eventually(lambda: len(told) == 5)
        up = (NODEUP, name)
        assert told == [((), up), (reasoned, (NODEUP, name, [])), ("all", up), ("twice", up), ("twice", up)]
        told.clear()
        a.kill_connections(there.name)
        await eventually(lambda: len(told) >= 5)
        why = [(Atom("nodedown_reason"), NOCONNECTION)]
        down = (NODEDOWN, name)
        assert told[:5] == [
            ((), down),
            (reasoned, (NODEDOWN, name, why)),
            ("all", down),
            ("twice", down),
            ("twice", down),
        ]
        for process in list(a.scheduler.processes.values()):
            a.exit(process.pid, Atom("kill"))
        await eventually(lambda: not a._node_monitors._kept)


async def test_nodes_are_monitored_inside_processes_only() -> None:
    async with running("a") as [a]:
        with pytest.raises(NotInProcess):
            a.monitor_node("b@127.0.0.1")
        with pytest.raises(NotInProcess):
            a.monitor_nodes()
        with pytest.raises(NotInProcess):
            a.monitor(("x", "b@127.0.0.1"))

        async def wrong() -> None:
            a.monitor_nodes(node_type="invisible")  # type: ignore[arg-type]

        with pytest.raises(ValueError, match="invisible"):
            await inside(a, wrong)
