"""HyParView over real sockets: views that are symmetric and connected, whatever comes, goes or fails."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from support import Events, address_of, eventually, free_port, running
from views import one_sided, settle, sound, views_of

import partisan
from partisan import Atom, ConfigError, ConnectFailed, Contact, NoAvailableSlots, Node, NotConnected, peer_service
from partisan.errors import StateError, Unsupported
from partisan.machines.hyparview import HyParViewState

QUICK = {
    "peer_service_manager": "hyparview",
    "hyparview": {"shuffle_interval": 0.2, "random_promotion_interval": 0.2, "patience": 2.0},
}
A, B, C = (f"{name}@127.0.0.1" for name in "abc")


def names(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


async def join_all(nodes: list[Node]) -> None:
    """All join the first at once; then wait until the views are sound."""
    await asyncio.gather(*(node.join(address_of(nodes[0]), timeout=30.0) for node in nodes[1:]))
    await settle(nodes)


async def test_a_join_makes_each_a_neighbor_of_the_other_and_either_can_send() -> None:
    async with running("a", "b", **QUICK) as (a, b):
        assert await a.join(address_of(b)) == B
        assert a.members() == b.members() == [A, B]
        got = asyncio.Queue[object]()

        async def sink() -> None:
            while True:
                got.put_nowait(await partisan.receive())

        a.spawn(sink, name="sink")
        b.spawn(sink, name="sink")
        a.send(("sink", B), 1)
        assert await got.get() == 1
        b.send(("sink", A), 2)
        assert await got.get() == 2


@pytest.mark.parametrize("count", [2, 5, 16])
async def test_nodes_that_join_one_at_once_get_views_that_are_symmetric_and_connected(count: int) -> None:
    async with running(*names(count), **QUICK) as nodes:
        await join_all(nodes)
        assert all(len(node.members()) <= 6 for node in nodes)
        assert {name for node in nodes for name in node.members()} == {node.name for node in nodes}


async def test_nodes_that_join_one_after_the_other_get_sound_views() -> None:
    async with running(*names(12), **QUICK) as nodes:
        for former, node in itertools.pairwise(nodes):
            assert await node.sync_join(address_of(former)) == former.name
        await settle(nodes)


async def test_there_are_connections_to_neighbors_only() -> None:
    async with running(*names(12), **QUICK) as nodes:
        await join_all(nodes)

        def dialled(node: Node) -> list[str]:
            return sorted({info.node for info in node.connections()} | {node.name})

        await eventually(lambda: all(dialled(node) == node.members() for node in nodes), timeout=30.0)


async def test_a_node_that_is_killed_disappears_from_all_views() -> None:
    async with running(*names(12), **QUICK) as nodes:
        await join_all(nodes)
        dead = nodes.pop(5)
        await dead.stop(grace=0.0)

        def active() -> set[str]:
            return {name for node in nodes for name in node.members()}

        await eventually(lambda: dead.name not in active() and sound(views_of(nodes)), timeout=30.0)


async def test_a_dead_peer_that_is_asked_to_be_a_neighbor_is_forgotten() -> None:
    slow = {**QUICK, "hyparview": {**QUICK["hyparview"], "patience": 600.0}}
    async with running("a", "b", "c", **slow) as (a, b, c):
        await a.update_members([a.spec, b.spec])
        dead = c.spec
        await c.stop(grace=0.0)
        await a.update_members([a.spec, dead])
        await eventually(lambda: a.members() == [A, B] and a.passive() == [])
        assert not a._manager._dialer.keeps(C)


async def test_a_node_that_comes_back_under_its_name_is_taken_in_again() -> None:
    async with running(*names(6), **QUICK) as nodes:
        await join_all(nodes)
        last = nodes.pop()
        await last.stop(grace=0.0)
        async with running("n5", **QUICK) as [again]:
            await again.join(address_of(nodes[0]))
            await settle([*nodes, again])
            assert {spec for node in nodes for spec in node.active() if spec.name == again.name} == {again.spec}


async def test_who_leaves_says_farewell_and_is_alone_until_it_joins_again() -> None:
    async with running(*names(8), **QUICK) as nodes:
        await join_all(nodes)
        leaver, stay = nodes[3], [*nodes[:3], *nodes[4:]]
        downs = {node.name: Events(node, "partisan.membership.peer.down") for node in stay}
        neighbors = [name for name in leaver.members() if name != leaver.name]
        await leaver.leave()
        assert leaver.members() == [leaver.name]
        assert leaver.passive() == []
        await settle(stay)
        assert all(downs[name].of("partisan.membership.peer.down", node=leaver.name) for name in neighbors)
        await eventually(lambda: not leaver.connections())
        assert leaver.members() == [leaver.name]
        await leaver.join(address_of(nodes[0]))
        await settle(nodes)


async def test_nobody_makes_another_node_leave() -> None:
    async with running("a", "b", **QUICK) as (a, b):
        await a.join(address_of(b))
        with pytest.raises(Unsupported, match="only leave by itself"):
            await a.leave(B)
        with pytest.raises(NotConnected, match="no member"):
            await a.leave(C)
        assert a.members() == [A, B]


async def test_subscribers_hear_of_neighbors_that_come_and_go() -> None:
    async with running("a", "b", **QUICK) as (a, b):
        heard: list[tuple[str, str]] = []
        a.on_up(B, lambda name: heard.append(("up", name)))
        a.on_down("_", lambda name: heard.append(("down", name)))
        members: list[list[str]] = []
        a.add_callback(members.append)
        await a.join(address_of(b))
        await eventually(lambda: heard == [("up", B)] and members == [[A, B]])
        await b.stop()
        await eventually(lambda: heard == [("up", B), ("down", B)] and members == [[A, B], [A]])


async def test_a_contact_that_nobody_answers_at_fails_in_the_time_given_and_leaves_nothing() -> None:
    async with running("a", **QUICK) as [a]:
        with pytest.raises(ConnectFailed, match="not within"):
            await a.join(f"{B}:{free_port()}", timeout=0.3)
        assert a.members() == [A]
        assert not a._manager._dialer.keeps(B)


async def test_updated_members_are_candidates_and_one_that_is_alone_joins_contacts() -> None:
    async with running("a", "b", "c", **QUICK) as (a, b, c):
        await a.update_members([a.spec, b.spec, Contact.parse(address_of(c))])
        await settle([a, b, c])
        await a.update_members([a.spec])
        assert a.member(B) or a.member(C)


async def test_a_partition_is_noted_within_its_hops_and_resolved_everywhere() -> None:
    async with running("a", "b", "c", testing=True, **QUICK) as nodes:
        await join_all(nodes)
        a, b, _ = nodes
        everybody = tuple(sorted(node.name for node in nodes))
        await eventually(lambda: all(tuple(node.members()) == everybody for node in nodes))
        reference = a.inject_partition(b.name, ttl=1)
        await eventually(lambda: all(node.partitions() == [(reference, everybody)] for node in nodes))
        assert a.resolve_partition(reference)
        await eventually(lambda: not any(node.partitions() for node in nodes))
        assert not a.resolve_partition(reference)


async def test_a_partition_with_hops_needs_testing_a_neighbor_and_this_overlay() -> None:
    async with running("a", **QUICK) as [a], running("b", testing=True, **QUICK) as [b], running("c") as [c]:
        with pytest.raises(ConfigError, match="testing"):
            a.inject_partition(A, ttl=1)
        with pytest.raises(NotConnected):
            b.inject_partition(A, ttl=1)
        with pytest.raises(ValueError, match="ttl"):
            b.inject_partition(B, ttl=256)
        with pytest.raises(Unsupported):
            c.inject_partition(C, ttl=1)
        await b.join(address_of(a))
        rejected = Events(a, "partisan.frame.rejected")
        b.inject_partition(A, ttl=1)
        await eventually(lambda: rejected.of("partisan.frame.rejected", node=B))
        assert a.partitions() == []


async def test_a_place_is_kept_for_a_peer_of_its_tag() -> None:
    small = {**QUICK, "hyparview": {**QUICK["hyparview"], "active_max_size": 3, "active_min_size": 1}}
    async with (
        running("hub", reservations=["gold"], **small) as [hub],
        running("x", "y", **small) as (x, y),
        running("g", tag="gold", **small) as [gold],
    ):
        await x.join(address_of(hub))
        await y.join(address_of(hub))
        assert hub.reserved("gold") is None
        assert len(hub.members()) == 2
        await gold.join(address_of(hub))
        assert hub.reserved("gold") == gold.name
        for name in ("silver", Atom("bronze")):
            if name == "silver":
                hub.reserve(name)
            else:
                with pytest.raises(NoAvailableSlots):
                    hub.reserve(name)
        with pytest.raises(ConfigError, match="tag"):
            hub.reserve("")


async def test_views_belong_to_this_overlay() -> None:
    async with running("a", **QUICK) as [a], running("b") as [b]:
        assert a.active() == [a.spec]
        assert a.passive() == []
        assert a.manager() == "partisan_hyparview_peer_service_manager"
        assert peer_service.decode(a.get_local_state()) == [A]
        assert a.get_local_state() == HyParViewState((a.spec,), 1)
        for refused in (b.active, b.passive, lambda: b.reserved("gold")):
            with pytest.raises(Unsupported, match="pluggable"):
                refused()


async def test_a_node_counts_its_starts_where_it_may_keep_them(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        async with running("a", persist_dir=str(tmp_path), **QUICK) as [a]:
            assert a.get_local_state() == HyParViewState((a.spec,), epoch)
    with pytest.raises(StateError, match="foreign"):
        await Node("a@127.0.0.1", persist_dir=str(tmp_path)).start()


async def test_options_of_the_overlay_change_while_it_runs() -> None:
    async with running(*names(8), **QUICK) as nodes:
        await join_all(nodes)
        nodes[0].reconfigure(hyparview={"active_max_size": 3})
        assert len(nodes[0].members()) <= 3
        assert nodes[0].config.hyparview.shuffle_interval == 0.2
        await settle(nodes)
        with pytest.raises(ConfigError, match="active_min_size"):
            nodes[0].reconfigure(hyparview={"active_max_size": 2})


async def test_other_channels_follow_their_change_among_neighbors() -> None:
    async with running("a", "b", mixed_cluster=False, **QUICK) as (a, b):
        await a.join(address_of(b))
        b.reconfigure(channels={"data": {"parallelism": 3}})
        await eventually(lambda: a.connection_count(B, "data") == 3)
        assert not one_sided(views_of([a, b]))


async def test_an_acknowledged_message_waits_until_the_peer_has_said_that_it_is_of_our_kind() -> None:
    async with running("a", "b", **QUICK) as (a, b):
        got: list[object] = []

        async def sink() -> None:
            while True:
                got.append(await partisan.receive())

        b.spawn(sink, name="sink")
        await a.join(address_of(b))
        await a.deliver(("sink", B), "kept")
        assert got == [b"kept"]
        a._python._extras.edge(B, False)  # as if it had not said so yet
        a.send(("sink", B), "early", ack=True)
        a.send(("sink", B), "plain")
        await eventually(lambda: got == [b"kept", b"plain"])
        a._python._extras.edge(B, True)
        await eventually(lambda: got == [b"kept", b"plain", b"early"])


def test_options_that_contradict_each_other_are_refused() -> None:
    for options, path in (
        ({"hyparview": {"active_min_size": 7}}, "hyparview.active_min_size"),
        ({"reservations": [f"t{number}" for number in range(6)]}, "reservations"),
        ({"binary_padding": True}, "binary_padding"),
        ({"hyparview": {"active_max_size": 1}}, "hyparview.active_max_size"),
        ({"hyparview": {"arwl": 1}}, "hyparview.arwl"),
    ):
        with pytest.raises(ConfigError, match=path):
            Node("a@127.0.0.1", peer_service_manager="hyparview", **options)
