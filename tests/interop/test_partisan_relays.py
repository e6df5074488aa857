"""Messages to nodes that are no neighbors, in HyParView overlays of nodes of Partisan itself and Python nodes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from mixed import join, mixed, settle
from partisans import Partisan, eventually
from support import Sink

from partisan import Node
from partisan.etf import Atom

SIZES = "active_max_size => 3, active_min_size => 3, random_promotion_interval => 300, shuffle_interval => 300"
RING: dict[str, Any] = {
    "manager": "hyparview",
    "crowded": True,
    "env": {"hyparview": f"#{{{SIZES}}}", "broadcast": "true"},
    "hyparview": {
        "active_max_size": 3,
        "active_min_size": 3,
        "random_promotion_interval": 0.3,
        "shuffle_interval": 0.3,
        "patience": 2.0,
    },
    "broadcast": True,
    "relay": {"timeout": 4.0},
}
"""Views of two neighbors each."""


async def formed(far: list[Partisan], near: list[Node]) -> dict[str, set[str]]:
    """Join all, and wait until each real node knows whom it is to have relay; the views."""
    nodes = [*far, *near]
    for node in nodes[1:]:
        await join(node, nodes[0])
    views = await settle(nodes)
    for node in far:

        async def look(node: Partisan = node) -> bool:
            links = await node.eval("sys:get_state(partisan_hyparview_peer_service_manager)")
            return bool(set(map(str, links[7])) == views[node.name] - {node.name})

        await eventually(look, f"{node.name} knows whom it is to have relay")
    return views


async def relay(node: Partisan | Node, to: str, number: int) -> None:
    """Let a node send a message to one that is none of its neighbors."""
    if isinstance(node, Partisan):
        assert await node.send(to, "sink", str(number), "#{transitive => true}") is Atom("ok")
    else:
        node.send(("sink", to), number, transitive=True)


@pytest.mark.parametrize(("reals", "pythons"), [(3, 2), (2, 3)])
async def test_a_message_to_a_node_that_is_no_neighbor_arrives_from_either_kind_at_either(
    reals: int, pythons: int
) -> None:
    async with mixed(reals, pythons, **RING) as (far, near):
        sinks = {node.name: Sink(node) for node in near}
        views = await formed(far, near)
        nodes = {node.name: node for node in [*far, *near]}
        pairs = [pair for pair in itertools.permutations(nodes, 2) if pair[1] not in views[pair[0]]]
        wanted: dict[str, list[int]] = {name: [] for name in nodes}
        for number, (one, other) in enumerate(pairs):
            await relay(nodes[one], other, number)
            wanted[other].append(number)
        got: dict[str, list[int]] = {name: [] for name in nodes}

        async def look() -> bool:
            for node in far:
                got[node.name] += await node.taken()
            got.update({node.name: list(sinks[node.name].messages) for node in near})
            return all(set(got[name]) == set(wanted[name]) for name in nodes)

        await eventually(look, "all have come", 30.0)
        assert max(map(len, got.values())) < 50  # a real node makes copies, but they do not go round


async def test_a_message_that_may_go_no_further_is_not_passed_on() -> None:
    async with mixed(1, 2, **{**RING, "env": {**RING["env"], "broadcast": "false"}}) as ([far], near):
        sinks = [Sink(node) for node in near]
        one, other = near
        for node in near:
            await join(node, far)
        await settle([far, *near])
        manager = "partisan_hyparview_peer_service_manager"

        async def send(to: str, number: int, hops: int) -> None:
            term = f"{{relay_message, '{to}', {{forward_message, sink, {number}}}, {hops}}}"
            await far.eval(f"{manager}:send_message('{one.name}', {term})")

        await send("nobody@127.0.0.1", 0, 0)
        await send("nobody@127.0.0.1", 1, 4)
        await send(other.name, 2, 0)  # to a neighbor it may still go
        await send(one.name, 3, 0)
        assert await sinks[1].has(1) == [2]
        assert await sinks[0].has(1) == [3]
        assert one.relays()["sent"] == 1  # of these the second alone was let go on


async def test_a_message_to_nobody_harms_no_node_and_ends() -> None:
    async with mixed(2, 2, **RING) as (far, near):
        sinks = [Sink(node) for node in near]
        await formed(far, near)
        assert await far[0].send("nobody@127.0.0.1", "sink", "1", "#{transitive => true}") is Atom("ok")
        for node in near:
            node.send(("sink", "nobody@127.0.0.1"), 1, transitive=True)

        async def ended() -> bool:
            return not any(node.relays()["waiting"] for node in near)

        await eventually(ended, "nobody keeps it", 30.0)
        assert not any(sink.messages for sink in sinks)
        for each in far:
            assert await each.taken() == []
