"""Relaying where the overlay itself tells who is between: clients of servers, and a star of static links."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from stars import clients_of_a_server, static_links
from support import Events, Sink, eventually

from partisan import Atom, Node, NotAcknowledged

Cluster = contextlib.AbstractAsyncContextManager[list[Node]]
RELAYING: dict[str, Any] = {
    "broadcast": True,
    "plumtree": {"broadcast_heartbeat_interval": 0.2},
    "relay": {"timeout": 10.0, "silence": 25.0, "refutation": 1.0},
}
MANY = 50


LEAVES = ("a", "b", "c")


def star_of_clients(**options: Any) -> Cluster:
    """A server and three clients."""
    return clients_of_a_server(*LEAVES, **{**RELAYING, **options})


def star_of_links(**options: Any) -> Cluster:
    """The same with links that are given."""
    return static_links({"hub": LEAVES, **dict.fromkeys(LEAVES, ("hub",))}, **{**RELAYING, **options})


Star = Callable[..., Cluster]
STARS = pytest.mark.parametrize("star", [star_of_clients, star_of_links], ids=["client_server", "static"])


async def linked(nodes: list[Node]) -> None:
    """Wait until the hub and the leaves have each other, and nobody else, and the leaves have heard that it relays."""
    hub, *leaves = nodes
    await eventually(
        lambda: all(
            hub.is_fully_connected(leaf.name)
            and leaf.is_fully_connected(hub.name)
            and {info.node for info in leaf.connections()} == {hub.name}
            and leaf._relaying.machine.can_send
            for leaf in leaves
        ),
        timeout=30.0,
    )


async def known(nodes: list[Node]) -> None:
    """Wait until each has heard that each lives."""
    everybody = sorted(node.name for node in nodes)
    await eventually(lambda: all(node.nodes("known") == everybody for node in nodes), timeout=30.0)


@STARS
async def test_what_is_sent_to_a_node_that_is_no_neighbor_comes_once_and_in_order(star: Star) -> None:
    async with star() as nodes:
        await linked(nodes)
        await known(nodes)
        leaves = nodes[1:]
        sinks = {leaf.name: Sink(leaf) for leaf in leaves}
        for number in range(MANY):
            for one, other in itertools.permutations(leaves, 2):
                one.send(("sink", other.name), (Atom(one.name), number))
        for sink in sinks.values():
            await sink.has(2 * MANY, timeout=30.0)
        for one, other in itertools.permutations(leaves, 2):
            await one.deliver(("sink", other.name), (Atom(one.name), MANY))  # behind whatever came twice
            found = [number for name, number in sinks[other.name].messages if name.name == one.name]
            assert found == list(range(MANY + 1))
        assert nodes[0].relays()["passed"] > 0


@STARS
async def test_a_target_that_nobody_reaches_is_an_error_to_the_sender(star: Star) -> None:
    async with star(relay={"timeout": 0.6, "retry": 0.2}) as nodes:
        await linked(nodes)
        one, nobody = nodes[1], "nobody@127.0.0.1"
        events = Events(one, "partisan.queue")
        with pytest.raises(NotAcknowledged, match="no receipt has come"):
            await one.deliver(("sink", nobody), 1)
        one.send(("sink", nobody), 2)
        await eventually(lambda: len(events.of("partisan.queue.undelivered", node=nobody, relayed=True)) == 2)
        assert one.relays()["waiting"] == 0


async def test_an_acknowledgement_comes_back_round_a_link_of_one_direction() -> None:
    links = {"a": ["b"], "b": ["c"], "c": ["a"]}
    async with static_links(links, **{**RELAYING, "retransmit_interval": 0.2}) as nodes:
        a, b, _ = nodes
        await known(nodes)
        sink = Sink(b)
        await asyncio.wait_for(a.deliver(("sink", b.name), 1), 30.0)
        assert sink.messages == [1]
        assert a.unacknowledged(b.name) == 0
        a.send(("sink", b.name), 2, ack=True)
        await sink.has(2)
        await eventually(lambda: a.unacknowledged(b.name) == 0, timeout=30.0)
        assert sink.messages == [1, 2]
