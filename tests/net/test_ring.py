"""The overlay that docs/overlays.md walks through, on real nodes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from support import Sink, address_of, eventually, running

from partisan import Node, NotConnected
from partisan.errors import Unsupported
from partisan.plumtree import LwwMap, Put
from partisan.testing import NodeProcess, cut

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from ring import Ring  # noqa: E402 - an example is no package

QUICK: dict[str, Any] = {"membership_strategy": "ring:Ring", "periodic_interval": 0.2}


def views(names: list[str]) -> dict[str, list[str]]:
    """Whom each of these has for members, itself included, if they are a ring."""
    order = sorted(names, key=lambda name: crc32(name.encode()))
    size = len(order)
    return {name: sorted({order[(at + by) % size] for by in (-2, -1, 0, 1, 2)}) for at, name in enumerate(order)}


def is_ring(*nodes: Node) -> bool:
    """Whether these have all the connections of a ring, and no others."""
    wanted = views([node.name for node in nodes])
    return all(
        sorted(node.members()) == wanted[node.name]
        and all(map(node.is_fully_connected, node.members()))
        and {info.node for info in node.connections()} | {node.name} == {*node.members()}
        for node in nodes
    )


async def ring_of(nodes: list[Node]) -> None:
    await asyncio.gather(*(node.join(address_of(nodes[0]), timeout=30.0) for node in nodes[1:]))
    await eventually(lambda: is_ring(*nodes), timeout=30.0)


async def test_nodes_become_a_ring_and_a_broadcast_goes_all_around() -> None:
    async with running(*(f"n{number}" for number in range(16)), **QUICK) as nodes:
        maps = [LwwMap(actor=node.name.encode(), epoch=1) for node in nodes]
        for node, said in zip(nodes, maps, strict=True):
            node.broadcasts.add_handler("said", said)
        await ring_of(nodes)
        nodes[3].broadcast(Put(b"key", 7), "said")
        await eventually(lambda: all(said.get(b"key") == 7 for said in maps), timeout=30.0)
        stranger = next(node for node in nodes if node.name not in nodes[0].members())
        with pytest.raises(NotConnected):
            nodes[0].send(("sink", stranger.name), 1)


async def test_the_class_itself_may_be_given_and_who_leaves_is_alone() -> None:
    options = {**QUICK, "membership_strategy": Ring}
    async with running("a", "b", "c", "d", "e", "f", "g", **options) as nodes:
        await ring_of(nodes)
        a, *others = nodes
        neighbor = next(name for name in a.members() if name != a.name)
        with pytest.raises(Unsupported, match=r"Ring: .* can only leave by itself"):
            await a.leave(neighbor)
        await a.leave()
        await eventually(lambda: is_ring(*others) and a.members() == [a.name], timeout=30.0)
        await a.update_members([a.name, address_of(others[2])])
        await eventually(lambda: is_ring(*nodes), timeout=30.0)


async def test_what_a_neighbor_that_loses_its_place_has_not_acknowledged_waits_for_it() -> None:
    order = sorted((f"{name}@127.0.0.1" for name in "abcdefg"), key=lambda name: crc32(name.encode()))
    at = {name: name.partition("@")[0] for name in order}
    first, *between, last = order[:4]
    async with running(at[first], at[last], **QUICK) as (a, b):
        await ring_of([a, b])
        sink = Sink(b)
        with cut(a, b):
            a.send(("sink", b.name), 1, ack=True)
            async with running(*(at[name] for name in [*between, *order[4:]]), **QUICK) as others:
                await asyncio.gather(*(node.join(address_of(a), timeout=30.0) for node in others))
                await eventually(lambda: b.name not in a.members(), timeout=30.0)
        await a.join(address_of(b))
        assert await sink.has(1) == [1]


async def test_a_node_that_comes_back_at_another_address_takes_its_place_again() -> None:
    async with running(*"abcdefg", **QUICK) as nodes:
        await ring_of(nodes)
        gone = nodes.pop(2)
        await gone.stop(grace=0.0)
        async with running("c", **QUICK) as [again]:
            assert again.listen_addrs != gone.listen_addrs
            await again.join(address_of(nodes[0]))
            await eventually(lambda: is_ring(*nodes, again), timeout=30.0)
            assert {spec for node in nodes for spec in node._manager.specs() if spec.name == again.name} == {again.spec}


async def test_other_channels_reach_the_neighbors() -> None:
    async with running(*"abcdefg", **QUICK) as nodes:
        await ring_of(nodes)
        nodes[0].reconfigure(channels={"data": {"parallelism": 2}})
        near = [node for node in nodes if nodes[0].name in node.members() and node is not nodes[0]]
        await eventually(lambda: all(node.connection_count(nodes[0].name, "data") == 2 for node in near), timeout=30.0)
        assert is_ring(*nodes)


async def test_a_ring_is_found_again_on_disk(tmp_path: Path) -> None:
    async with running(*"bcdefg", **QUICK) as others:
        await ring_of(others)
        async with running("a", **QUICK, persist_dir=str(tmp_path)) as [a]:
            await a.join(address_of(others[0]))
            await eventually(lambda: is_ring(a, *others), timeout=30.0)
        async with running("a", **QUICK, persist_dir=str(tmp_path)) as [again]:
            await eventually(lambda: is_ring(again, *others), timeout=30.0)


async def test_a_neighbor_is_killed_and_a_broadcast_reaches_all_the_others(loop_name: str) -> None:
    processes = [NodeProcess(name, loop=loop_name, path=[*sys.path], **QUICK) for name in "abcdefgh"]
    first = processes[0]

    async def formed(living: list[NodeProcess]) -> None:
        wanted = views([process.name for process in living])

        async def is_there() -> bool:
            seen = {process.name: (await process.members(), await process.connected()) for process in living}
            return all(
                members == wanted[name] and sorted({*connected, name}) == wanted[name]
                for name, (members, connected) in seen.items()
            )

        await eventually(is_there, timeout=30.0)

    try:
        await asyncio.gather(*(process.start() for process in processes))
        for process in processes:
            await process.run("said:keep")
            if process is not first:
                await process.join(first)
        await formed(processes)
        near = await first.members()
        victim = next(process for process in processes[1:] if process.name in near)
        await victim.kill()
        living = [process for process in processes if process is not victim]
        await first.run("said:say", "soon", 1)  # the ring may not have closed yet
        await formed(living)
        await first.run("said:say", "later", 2)
        for process in living:
            for key in ("soon", "later"):
                await eventually(lambda process=process, key=key: process.run("said:heard", key), timeout=30.0)
        await victim.start(victim.port)
        await victim.join(first)  # all have forgotten it
        await formed(processes)
    finally:
        for process in processes:
            await process.kill()
