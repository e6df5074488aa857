"""SCAMP among nodes of Partisan itself and Python nodes, as far as the real strategies work: nobody leaves a real one.

In a real node `remove_subscription`, of either version, may turn its view into what ends its manager; no Python node
sends it one. So real nodes dial for ever whom they have known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from mixed import join, members, mixed
from partisans import Partisan, eventually, real
from support import Sink

from partisan import Node
from partisan.etf import Atom

VERSIONS = pytest.mark.parametrize("version", [1, 2])


def options(version: int) -> dict[str, Any]:
    """Of nodes of both kinds."""
    return {
        "manager": "pluggable",
        "env": {
            "membership_strategy": f"partisan_scamp_v{version}_membership_strategy",
            "periodic_interval": "300",
            "connection_interval": "100",
        },
        "membership_strategy": f"scamp_v{version}",
        "periodic_interval": 0.3,
    }


async def reached(first: Partisan | Node, nodes: Sequence[Partisan | Node]) -> set[str]:
    """The names of those that can be reached from one by the members of each."""
    known = {node.name: node for node in nodes}
    found, front = {first.name}, [first]
    while front:
        for name in (await members(front.pop())) & known.keys() - found:
            found.add(name)
            front.append(known[name])
    return found


async def all_reach_all(nodes: Sequence[Partisan | Node]) -> None:
    """Wait until every one of these can be reached from every other."""

    async def look() -> bool:
        return all([len(await reached(node, nodes)) == len(nodes) for node in nodes])

    await eventually(look, "all reach all", 30.0)


async def says(one: Partisan | Node, other: str, number: int) -> None:
    """Let a node send to a member as soon as it has a connection to it."""

    async def sent() -> bool:
        if isinstance(one, Partisan):
            return await one.send(other, "sink", str(number)) is Atom("ok")
        if not one.is_connected(other):
            return False
        one.send(("sink", other), number)
        return True

    await eventually(sent, f"{one.name} sends to {other}")


@VERSIONS
@pytest.mark.parametrize("contact", ["real", "python"])
async def test_nodes_of_both_kinds_reach_each_other_and_send_to_their_members(version: int, contact: str) -> None:
    """A real node that joins a real one may stay unknown for ever: what it says once may be lost."""
    reals = 1 if contact == "real" else 2
    async with mixed(reals, 4 - reals, **options(version)) as (far, near):
        sinks = {node.name: Sink(node) for node in near}
        nodes: list[Partisan | Node] = [*far, *near] if contact == "real" else [*near, *far]
        for node in nodes[1:]:
            await join(node, nodes[0])
        await all_reach_all(nodes)
        wanted: dict[str, list[int]] = {node.name: [] for node in nodes}
        number = 0
        for node in nodes:
            for other in sorted(await members(node) - {node.name}):
                number += 1
                wanted[other].append(number)
                await says(node, other, number)
        assert number >= len(nodes)
        for node in nodes:
            count = len(wanted[node.name])
            got = await (node.gathered(count) if isinstance(node, Partisan) else sinks[node.name].has(count))
            assert sorted(got) == wanted[node.name]


@VERSIONS
async def test_a_python_node_that_leaves_harms_no_real_one_and_may_join_again(version: int) -> None:
    async with mixed(2, 2, **options(version)) as (far, near):
        leaver = near[1]
        nodes: list[Partisan | Node] = [near[0], *far, leaver]
        for node in nodes[1:]:
            await join(node, nodes[0])
        await all_reach_all(nodes)
        await leaver.leave()
        assert leaver.members() == [leaver.name]
        await all_reach_all(nodes[:-1])
        await join(leaver, near[0])
        await all_reach_all(nodes)


@VERSIONS
async def test_a_real_node_that_leaves_harms_no_python_one(version: int) -> None:
    """Its manager begins again, alone; under version 1 that of a real node that is told so ends, too: there is none."""
    env: dict[str, str] = options(version)["env"]
    async with mixed(0, 2, **options(version)) as (_, near), real("leaver", harmed=True, **env) as far:
        nodes: list[Partisan | Node] = [*near, far]
        for node in nodes[1:]:
            await join(node, nodes[0])
        await all_reach_all(nodes)
        await far.eval("partisan_peer_service:leave()")
        await all_reach_all(near)
        sink = Sink(near[1])
        await says(near[0], near[1].name, 1)
        assert await sink.has(1) == [1]
