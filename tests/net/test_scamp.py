"""SCAMP over real sockets: views that not everybody is in, and what a real node is told."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess
from scripted import (
    FORWARD,
    HELLO,
    MANAGER,
    PING,
    PONG,
    STRATEGY,
    Host,
    decode,
    greeted,
    host,
    recorded,
    spec_term,
    with_port,
)
from support import Events, Sink, address_of, eventually, running

from partisan import Atom, Node
from partisan.testing import cut

VERSIONS = pytest.mark.parametrize("strategy", ["scamp_v1", "scamp_v2"])
QUICK: dict[str, Any] = {"periodic_interval": 0.3, "periodic_enabled": True}
NAMES = "abcdefgh"
D_PORT = 11211
"""Where the node that the recordings dialled listened."""


def reached(first: Node, nodes: list[Node]) -> set[str]:
    """Names of the nodes that can be reached from one, over the connections that each has to its members."""
    known = {node.name: node for node in nodes}
    found, front = {first.name}, [first]
    while front:
        node = front.pop()
        for name in node.members():
            if name in known and name not in found and (node.connection_count(name) if name != node.name else 0):
                found.add(name)
                front.append(known[name])
    return found


def all_reach_all(nodes: list[Node]) -> bool:
    return all(len(reached(node, nodes)) == len(nodes) for node in nodes)


@VERSIONS
async def test_nodes_that_join_in_a_chain_reach_each_other_and_send_to_their_members(strategy: str) -> None:
    async with running(*NAMES, membership_strategy=strategy, scamp_c=2, **QUICK) as nodes:
        for former, node in itertools.pairwise(nodes):
            assert await node.join(address_of(former)) == former.name
        await eventually(lambda: all_reach_all(nodes))
        sinks = {node.name: Sink(node) for node in nodes}
        wanted: dict[str, list[str]] = {name: [] for name in sinks}
        for node in nodes:
            for name in node.members():
                if name != node.name and node.connection_count(name):  # a member may be new
                    wanted[name].append(node.name)
                    node.send(("sink", name), node.name.encode())
        assert sum(map(len, wanted.values())) >= len(nodes)
        for name, senders in wanted.items():
            got = await sinks[name].has(len(senders))
            assert sorted(got) == sorted(sender.encode() for sender in senders)


@VERSIONS
async def test_who_leaves_is_in_no_view_and_can_join_again(strategy: str) -> None:
    async with running(*NAMES[:6], membership_strategy=strategy, scamp_c=2, **QUICK) as nodes:
        for node in nodes[1:]:
            await node.join(address_of(nodes[0]))
        await eventually(lambda: all_reach_all(nodes))
        leaver, *others = nodes
        await leaver.leave()
        assert leaver.members() == [leaver.name]
        await eventually(lambda: all(leaver.name not in node.members() for node in others) and all_reach_all(others))
        assert leaver.members() == [leaver.name]
        await leaver.join(address_of(others[2]))
        await eventually(lambda: all_reach_all(nodes))


@VERSIONS
async def test_who_was_killed_is_forgotten_when_its_lease_ends(strategy: str, loop_name: str) -> None:
    options: dict[str, Any] = {"membership_strategy": strategy, "scamp_lease": 2.0, "scamp_c": 2, **QUICK}
    victim = NodeProcess("v")
    try:
        await victim.start(loop_name, **options)
        async with running(*NAMES[:3], **options) as nodes:
            for node in nodes[1:]:
                await node.join(address_of(nodes[0]))
            await victim.tell("join", address_of(nodes[0]))
            await eventually(lambda: any("v@127.0.0.1" in node.members() for node in nodes))
            await victim.kill()
            await eventually(
                lambda: all("v@127.0.0.1" not in node.members() for node in nodes) and all_reach_all(nodes),
                timeout=30.0,
            )
    finally:
        await victim.kill()


@VERSIONS
async def test_nodes_that_were_apart_for_longer_than_a_lease_find_each_other(
    strategy: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"membership_strategy": strategy, "scamp_lease": 1.0, **QUICK}
    async with running("a", "b", **options) as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: all_reach_all([a, b]))
        fault = cut(a, b, close=True)
        await eventually(lambda: a.members() == [a.name] and b.members() == [b.name])
        errors = Events(a, "partisan.socket.error")
        await eventually(lambda: len(errors.seen) >= 3)
        assert "is to have the member" not in caplog.text
        fault.remove()
        await eventually(lambda: all_reach_all([a, b]) and len(a.members()) == 2)


@VERSIONS
async def test_a_view_is_kept_on_disk(strategy: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"membership_strategy": strategy, **QUICK}
    async with running("b", **options) as [b]:
        async with running("a", **options, persist_dir=str(tmp_path)) as [a]:
            await a.join(address_of(b))
            await eventually(lambda: a.name in b.members())
        async with running("a", **options, persist_dir=str(tmp_path)) as [a]:
            await eventually(lambda: all_reach_all([a, b]))


@VERSIONS
async def test_options_change_while_it_runs(strategy: str) -> None:
    async with running("a", membership_strategy=strategy) as [a]:
        a.reconfigure(scamp_c=7, scamp_lease=60.0)
        assert (a._manager._machine.config.copies, a._manager._machine.config.lease) == (7, 60.0)


class Recorded:
    """A real node that a recording has dialled: it says what it said then, and keeps what it is told."""

    def __init__(self, there: Host, name: str) -> None:
        hello, state = recorded(name, "e->d#1", "d>e")[:2]
        self._frames = hello, with_port(state, D_PORT, there.port)
        self._there = there
        self.told: list[Any] = []

    async def serve(self) -> None:
        """Take whatever connections come."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._take(await self._there.arrival(3600.0)))

    async def _take(self, peer: Any) -> None:
        peer.say(self._frames[0])
        while True:
            try:
                term = decode(await peer.hear(3600.0))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if term[0] is HELLO:
                peer.say(self._frames[1])
            elif term[0] is PING:
                peer.tell((PONG, Atom("d@127.0.0.1"), *term[2:]))
            elif term[:2] == (FORWARD, MANAGER):
                tag, payload = term[2]
                assert tag is STRATEGY
                self.told.append(payload)

    def tags(self) -> list[str]:
        return [payload[0].name for payload in self.told]


@pytest.mark.parametrize("version", [1, 2])
async def test_a_real_node_is_told_what_it_understands_and_nothing_that_crashes_it(version: int) -> None:
    strategy = f"scamp_v{version}"
    async with running("a", membership_strategy=strategy, **QUICK) as [a], host() as there:
        real = Recorded(there, f"core-scamp{version}")
        serving = a.loop.create_task(real.serve())
        assert await a.join(f"d@127.0.0.1:{there.port}") == "d@127.0.0.1"
        await eventually(lambda: real.tags().count("ping") >= 2)
        assert real.tags()[0] in ("forward_subscription", "keep_subscription")
        assert "forward_subscription" in real.tags()
        await a.leave()
        assert a.members() == [a.name]
        await eventually(lambda: not a.connection_count("d@127.0.0.1"))
        allowed = {"forward_subscription", "ping"}
        if version == 2:
            allowed |= {"keep_subscription"}
        assert set(real.tags()) <= allowed
        serving.cancel()


@VERSIONS
async def test_a_frame_of_no_meaning_ends_its_connection_and_disturbs_nobody(strategy: str) -> None:
    async with running("a", "b", membership_strategy=strategy, **QUICK) as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: all_reach_all([a, b]))
        for payload in (Atom("ping"), (Atom("ping"),), (Atom("ping"), 7), (Atom("forward_subscription"), {}), ()):
            async with greeted(a) as peer:
                peer.tell((FORWARD, MANAGER, (STRATEGY, payload)))
                await peer.ended()
        sink = Sink(a)
        b.send(("sink", a.name), b"still")
        assert await sink.has(1) == [b"still"]
        assert sorted(a.members()) == [a.name, b.name]


@VERSIONS
async def test_who_is_dropped_keeps_what_it_has_opened(strategy: str) -> None:
    name, word = "p@127.0.0.1", Atom("forward_subscription")
    async with running("a", membership_strategy=strategy, **QUICK) as [a], greeted(a, name) as peer, host() as there:
        sink = Sink(a)
        spec = spec_term(name, there.port, {None: 1})
        peer.tell((FORWARD, MANAGER, (STRATEGY, (word, spec))))
        await eventually(lambda: a.members() == [a.name, name])
        peer.tell((FORWARD, MANAGER, (STRATEGY, (Atom("remove_subscription"), spec))))
        await eventually(lambda: a.members() == [a.name])
        with pytest.raises(TimeoutError):  # a second later it would have been closed
            await peer.ended(2.0)
        peer.tell((FORWARD, Atom("sink"), b"still here"))
        assert await sink.has(1) == [b"still here"]
