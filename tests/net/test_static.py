"""Static links over real sockets: they are there from the start, are kept, and there are no others."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from support import FAST, Events, Sink, address_of, assert_nothing_left, eventually, free_port, running

from partisan import ConfigError, Node, NotConnected, peer_service
from partisan.machines.static import StaticState

STATIC = {**FAST, "peer_service_manager": "static"}


def make(contact: str, *contacts: str) -> Node:
    return Node(contact, **STATIC, contacts=contacts)


@contextlib.asynccontextmanager
async def booted(links: dict[str, list[str]]) -> AsyncIterator[dict[str, Node]]:
    """Nodes with these links, by their short names; they are not to be stopped by the test but through the mapping."""
    places = {name: f"{name}@127.0.0.1:{free_port()}" for name in links}
    nodes = {name: make(places[name], *(places[other] for other in others)) for name, others in links.items()}
    try:
        for node in nodes.values():
            await node.start()
        yield nodes
    finally:
        for node in nodes.values():
            await node.stop()
    assert_nothing_left(*nodes.values())


def ring(count: int) -> dict[str, list[str]]:
    return {f"n{at}": [f"n{(at - 1) % count}", f"n{(at + 1) % count}"] for at in range(count)}


def keeps(nodes: dict[str, Node], links: dict[str, list[str]]) -> bool:
    """Whether each node has its links, with all connections, and no others."""
    return all(
        {info.node for info in nodes[name].connections()} == {f"{other}@127.0.0.1" for other in others}
        and nodes[name].members() == sorted(f"{other}@127.0.0.1" for other in (name, *others))
        and all(map(nodes[name].is_fully_connected, nodes[name].members()))
        for name, others in links.items()
    )


async def test_a_ring_of_five_boots_loses_one_and_has_it_again() -> None:
    links = ring(5)
    async with booted(links) as nodes:
        await eventually(lambda: keeps(nodes, links), timeout=30.0)
        gone = nodes["n2"]
        downs = [Events(nodes[name], "partisan.membership.peer.down") for name in links["n2"]]
        await gone.stop(grace=0.0)
        await eventually(lambda: all(down.of("partisan.membership.peer.down", node=gone.name) for down in downs))
        assert nodes["n1"]._manager.next_hops(gone.name) == ["n0@127.0.0.1"]
        nodes["n2"] = make(f"n2@{gone.listen_addrs[0]}", *gone.config.contacts)
        await nodes["n2"].start()
        await eventually(lambda: keeps(nodes, links), timeout=30.0)


async def test_messages_go_over_links_and_nowhere_else() -> None:
    async with booted({"a": ["b"], "b": ["a", "c"], "c": ["b"]}) as nodes:
        a, b, c = nodes.values()
        await eventually(lambda: b.is_fully_connected(a.name) and a.is_fully_connected(b.name))
        await eventually(lambda: b.is_fully_connected(c.name))
        sink = Sink(b)
        await a.deliver(("sink", b.name), "kept")
        await sink.heard(lambda message: message == b"kept")
        with pytest.raises(NotConnected):
            a.send(("sink", c.name), 1)
        await eventually(lambda: a._manager.next_hops(c.name) == [b.name])
        assert b._manager.next_hops(c.name) == []


async def test_who_is_not_on_the_list_may_send_and_is_no_member() -> None:
    async with booted({"a": ["b"], "b": []}) as nodes:
        a, b = nodes.values()
        await eventually(lambda: a.is_fully_connected(b.name))
        sink = Sink(b)
        a.send(("sink", b.name), 7)
        await sink.heard(lambda message: message == 7)
        assert b.members() == [b.name]
        assert not b.connections()


async def test_links_are_added_and_taken_away_while_it_runs() -> None:
    async with running("a", "b", "c", peer_service_manager="static") as (a, b, c):
        await a.join(address_of(b))
        assert a.members() == [a.name, b.name]
        assert a.get_local_state() == StaticState(tuple(a.members_for_orchestration()))
        assert sorted(peer_service.decode(a.get_local_state())) == a.members()
        await a.update_members([a.name, address_of(c)])
        await eventually(lambda: a.members() == [a.name, c.name])
        await a.leave(c.name)
        assert a.members() == [a.name]
        await eventually(lambda: not a.connections())


async def test_other_channels_follow_their_change_among_neighbors() -> None:
    async with running("a", "b", mixed_cluster=False, peer_service_manager="static") as (a, b):
        await a.join(address_of(b))
        await b.join(address_of(a))
        b.reconfigure(channels={"data": {"parallelism": 3}})
        await eventually(lambda: a.connection_count(b.name, "data") == 3)
        assert a.members_for_orchestration() == b.members_for_orchestration()
        b.reconfigure(channels={"data": {"parallelism": 1}})
        await eventually(lambda: a.connection_count(b.name, "data") == 1)


async def test_a_contact_of_another_form_is_refused() -> None:
    for contact, why in (("somewhere", "has not the form"), ("b@127.0.0.1:0", "nobody listens on port 0")):
        with pytest.raises(ConfigError, match=f"option contacts: .*{why}"):
            await Node("a@127.0.0.1", peer_service_manager="static", contacts=[contact]).start()
