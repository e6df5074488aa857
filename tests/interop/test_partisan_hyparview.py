"""HyParView overlays of nodes of Partisan itself and Python nodes together: who takes whom for a neighbor."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from beams import free_port, fresh
from mixed import TOLD, address, converse, join, members, mixed, passive, python, settle, told
from partisans import Partisan, eventually, real, spec
from support import Events, Sink

from partisan import Node
from partisan.etf import Atom
from partisan.machines.hyparview_messages import Shuffle, ShuffleReply
from partisan.machines.machine import Received
from partisan.names import ListenAddress
from partisan.testing import NodeProcess

UP, DOWN = "partisan.membership.peer.up", "partisan.membership.peer.down"
MANAGER = "partisan_hyparview_peer_service_manager"


def views(size: int, *, shuffle: float = 0.5, python_shuffle: float | None = None, walk: int = 6) -> Any:
    """Options of nodes of both kinds: active views of that size, these intervals (s), and walks of so many hops."""
    promotion = 0.5
    smallest = min(3, size)
    env = (
        f"#{{active_max_size => {size}, active_min_size => {smallest}, shuffle_interval => {round(shuffle * 1000)}, "
        f"random_promotion_interval => {round(promotion * 1000)}, active_rwl => {walk}}}"
    )
    own = {
        "active_max_size": size,
        "active_min_size": smallest,
        "shuffle_interval": shuffle if python_shuffle is None else python_shuffle,
        "random_promotion_interval": promotion,
        "active_rwl": walk,
        "patience": 2.0,
    }
    return {"manager": "hyparview", "env": {"hyparview": env}, "hyparview": own, "crowded": size < 5}


LARGE, SMALL = views(6), views(3)
ENV: dict[str, str] = LARGE["env"]
PYTHON = {"peer_service_manager": "hyparview", "hyparview": LARGE["hyparview"]}
NEVER = 3600.0
EITHER = pytest.mark.parametrize("contact", ["real", "python"])
MIXTURES = pytest.mark.parametrize(("reals", "pythons"), [(3, 2), (2, 3)])


def ordered(contact: str, far: list[Partisan], near: list[Node]) -> list[Partisan | Node]:
    """All of them, the contact first."""
    return [*far, *near] if contact == "real" else [*near, *far]


def heard(caplog: pytest.LogCaptureFixture, kind: type) -> list[Any]:
    """The messages of that kind which the machines of Python nodes have received."""
    given = [record.args[1] for record in caplog.records if isinstance(record.args, tuple) and len(record.args) == 2]
    return [each.message for each in given if isinstance(each, Received) and isinstance(each.message, kind)]


@MIXTURES
@EITHER
async def test_five_nodes_that_join_one_of_either_kind_get_sound_views_and_send(
    reals: int, pythons: int, contact: str
) -> None:
    async with mixed(reals, pythons, **LARGE) as (far, near):
        sinks = {node.name: Sink(node) for node in near}
        nodes = ordered(contact, far, near)
        for node in nodes[1:]:
            await join(node, nodes[0])
        await settle(nodes)
        await converse(nodes, sinks)


@MIXTURES
@EITHER
async def test_views_too_small_for_all_are_sound_and_no_larger_than_they_may(
    reals: int, pythons: int, contact: str
) -> None:
    async with mixed(reals, pythons, **SMALL) as (far, near):
        nodes = ordered(contact, far, near)
        for node in nodes[1:]:
            await join(node, nodes[0])
        found = await settle(nodes)
        assert all(len(view) <= 3 for view in found.values())


async def test_a_real_node_that_has_no_room_drops_python_neighbors_for_others_that_join() -> None:
    async with mixed(1, 4, **SMALL) as ([far], near):
        downs = [Events(node, DOWN) for node in near]
        for node in near:
            await join(node, far)
        found = await settle([far, *near])
        assert len(found[far.name]) <= 3
        assert sum(bool(each.of(DOWN, node=far.name)) for each in downs) >= 2
        dropped = [node for node in near if node.name not in found[far.name]]
        assert [far.name in await passive(node) for node in dropped] == [True] * len(dropped)


async def test_a_python_node_that_has_no_room_drops_real_neighbors_for_others_that_join() -> None:
    async with mixed(4, 1, **SMALL) as (far, [near]):
        for node in far:
            await node.eval(TOLD)
            await join(node, near)
        found = await settle([near, *far])
        assert len(found[near.name]) <= 3
        said = [await told(node, "disconnect") for node in far]
        assert sum(any(str(each[1][Atom("name")]) == near.name for each in one) for one in said) >= 2


@pytest.mark.parametrize("whose", ["real", "python"])
async def test_shuffles_of_one_kind_are_answered_by_the_other_and_tell_it_of_nodes(
    whose: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "partisan.net.driver")
    intervals = (0.2, NEVER) if whose == "real" else (NEVER, 0.2)
    async with mixed(3, 2, **views(3, shuffle=intervals[0], python_shuffle=intervals[1], walk=0)) as (far, near):
        for node in far:
            await node.eval(TOLD)
        nodes = ordered(whose, far, near)
        for node in nodes[1:]:
            await join(node, nodes[0])
        await settle(nodes)
        everybody, kinds = {node.name for node in nodes}, set[str]()

        async def know() -> bool:
            for node in far:
                kinds.update(str(each[0]) for each in await node.taken("told"))
            told: Sequence[Partisan | Node] = near if whose == "real" else far
            knows = [await members(node) | await passive(node) == everybody for node in told]
            if whose == "real":
                return any(knows) and "shuffle_reply" in kinds and bool(heard(caplog, Shuffle))
            return any(knows) and "shuffle" in kinds and bool(heard(caplog, ShuffleReply))

        await eventually(know, "shuffles are answered, and somebody knows all")


async def test_walks_of_shuffles_go_on_over_nodes_of_either_kind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "partisan.net.driver")
    async with mixed(2, 2, **views(4, shuffle=0.2)) as (far, near):
        for node in far:
            await node.eval(TOLD)
        nodes = ordered("real", far, near)
        for node in nodes[1:]:
            await join(node, nodes[0])
        await settle(nodes)
        left = [set[int](), set[int]()]  # hops, of walks that came to real nodes, and to Python nodes

        async def look() -> bool:
            for node in far:
                left[0].update(each[2] for each in await told(node, "shuffle"))
            left[1].update(each.ttl for each in heard(caplog, Shuffle))
            return all(hops & {1, 2} for hops in left)  # so far no walk comes by nodes of one kind

        await eventually(look, "walks have gone over both kinds")


async def test_a_neighbor_that_is_killed_is_replaced() -> None:
    async with mixed(2, 2, **SMALL) as (far, near), real("dying", harmed=True, manager="hyparview", **ENV) as dying:
        process = NodeProcess(fresh("dying").partition("@")[0], **PYTHON)
        nodes = [far[0], near[0], dying, far[1], near[1]]
        for node in nodes[1:]:
            await join(node, nodes[0])
        await process.start()
        try:
            await process.join(far[1].address)
            await settle([*nodes, process])
            await process.kill()
            await settle(nodes)
            dying.kill()
            nodes.remove(dying)
            await settle(nodes)
        finally:
            await process.kill()


@EITHER
async def test_a_python_node_that_was_killed_is_taken_in_again(contact: str) -> None:
    async with mixed(2, 1, **LARGE) as (far, near):
        nodes = ordered(contact, far, near)
        for node in nodes[1:]:
            await join(node, nodes[0])
        process = await NodeProcess(fresh("again").partition("@")[0], **PYTHON).start()
        try:
            for _ in range(2):
                await process.join(address(nodes[0]))
                await settle([*nodes, process])
                await process.restart()  # at once, at the same address
                await settle(nodes)
            await process.stop()
            await process.start()  # at another
            await process.join(address(nodes[0]))
            await settle([*nodes, process])
        finally:
            await process.kill()


@EITHER
async def test_a_real_node_that_was_killed_is_taken_in_again(contact: str) -> None:
    """A real node never forgets the second address of another: its view keeps that when it is gone."""
    async with mixed(1, 2, **LARGE) as (far, near):
        nodes = ordered(contact, far, near)
        name, port = fresh("again"), free_port()
        for way in ("first", "same", "other"):
            where = port if way != "other" else free_port()
            async with real(name, harmed=True, manager="hyparview", port=where, **ENV) as again:
                if way == "first":
                    for node in nodes[1:]:
                        await join(node, nodes[0])
                await join(again, nodes[0])
                await settle([*nodes, again])
                assert again.is_unharmed()
            if way != "other":
                await settle(nodes)

        async def forgotten() -> bool:
            return not any([name in await members(node) for node in near])

        await eventually(forgotten, "Python nodes have forgotten it")


async def test_a_python_node_that_leaves_is_no_neighbor_of_a_real_one_until_it_joins_again() -> None:
    async with mixed(3, 2, **LARGE) as (far, near):
        leaver = near.pop()
        nodes = [*far, *near]
        for node in [*nodes[1:], leaver]:
            await join(node, nodes[0])
        await settle([*nodes, leaver])
        for node in far:
            await node.eval(TOLD)
        neighbors = set(leaver.members())
        await leaver.leave()
        assert leaver.members() == [leaver.name]
        await settle(nodes)
        for node in far:
            assert bool(await told(node, "disconnect")) == (node.name in neighbors)
        await join(leaver, far[1])
        await settle([*nodes, leaver])


async def test_tags_fill_the_places_that_either_kind_keeps_for_them() -> None:
    env = {**ENV, "reservations": "[database]", "tag": "cache"}
    async with mixed(1, 1, **{**SMALL, "env": env}, reservations=("cache",), tag="database") as ([far], [near]):
        await join(near, far)
        await settle([far, near])
        assert near.reserved("cache") == far.name

        async def reserved() -> bool:
            return await far.eval(f"{MANAGER}:active(database)") == (Atom("ok"), Atom(near.name))

        await eventually(reserved, "the real node has the Python node in the place of its tag")
        assert await far.eval(f"{MANAGER}:reserve(another)") is Atom("ok")
        assert far.name in near.members()  # a place that is kept evicts nobody


async def test_a_neighbor_in_a_reserved_place_is_not_dropped_for_others_that_join() -> None:
    env = {**SMALL["env"], "reservations": "[database]"}
    async with mixed(1, 3, **{**SMALL, "env": env}) as ([far], near):
        own = {"peer_service_manager": "hyparview", "hyparview": SMALL["hyparview"], "tag": "database"}
        async with python("db", **own) as database:
            downs = Events(database, DOWN)
            await join(database, far)
            for node in near:
                await join(node, far)
            await settle([far, database, *near])
            assert await far.eval(f"{MANAGER}:active(database)") == (Atom("ok"), Atom(database.name))
            assert not downs.of(DOWN, node=far.name)


async def test_candidates_that_a_real_node_is_given_are_asked_and_accept() -> None:
    async with mixed(1, 2, **LARGE) as ([far], near):
        specs = ", ".join(spec(node) for node in (far, *near))
        await far.eval(f"partisan_peer_service:update_members([{specs}])")
        await settle([far, *near])


async def test_candidates_that_a_python_node_is_given_are_asked_and_accept() -> None:
    async with mixed(2, 1, **LARGE) as (far, [near]):
        specs = [replace(near.spec, name=node.name, listen_addrs=(at(node.port),)) for node in far]
        await near.update_members([near.spec, *specs])
        await settle([near, *far])


@pytest.mark.parametrize("whose", ["real", "python"])
async def test_partitions_that_one_kind_notes_are_noted_and_resolved_by_the_other(whose: str) -> None:
    async with mixed(1, 1, **LARGE, testing=True) as ([far], [near]):
        await join(near, far)
        await settle([far, near])
        noted = f"length(element(2, {MANAGER}:partitions()))"
        if whose == "real":
            found = await far.eval(f"{MANAGER}:inject_partition({spec(near)}, 1)")
            assert found[0] is Atom("ok")
        else:
            reference = near.inject_partition(far.name, ttl=1)
        await eventually_is(lambda: far.eval(noted), 2)  # itself is among them
        await eventually_is(lambda: noted_by(near), 2)
        if whose == "real":
            [first, *_] = await far.eval(f"[R || {{R, _}} <- element(2, {MANAGER}:partitions())]")
            text = "element(1, hd(element(2, MANAGER:partitions())))".replace("MANAGER", MANAGER)
            await far.eval(f"{MANAGER}:resolve_partition({text})")
            assert first is not None
        else:
            near.resolve_partition(reference)
        await eventually_is(lambda: far.eval(noted), 0)
        await eventually_is(lambda: noted_by(near), 0)


async def noted_by(node: Node) -> int:
    """How many names the partitions of a Python node have."""
    return sum(len(names) for _, names in node.partitions())


async def unacknowledged(node: Node, other: Partisan) -> int:
    """How many messages to the other wait."""
    return node.unacknowledged(other.name)


def at(port: int) -> ListenAddress:
    """An address on this machine."""
    return ListenAddress("127.0.0.1", port)


async def eventually_is(ask: Callable[[], Awaitable[Any]], wanted: object) -> None:
    """Wait until that is the answer."""

    async def look() -> bool:
        return bool(await ask() == wanted)

    await eventually(look, f"{wanted}")


async def test_an_acknowledged_message_to_a_real_node_is_held_and_harms_nothing() -> None:
    async with mixed(1, 1, **LARGE, acknowledge_expiry=1.0) as ([far], [near]):
        sink = Sink(near)
        await join(near, far)
        await settle([far, near])
        near.send(("sink", far.name), 1, ack=True)
        near.send(("sink", far.name), 2)
        assert await far.gathered(1) == [2]
        assert near.unacknowledged(far.name)
        await eventually_is(lambda: unacknowledged(near, far), 0)  # it has expired
        await far.send(near.name, "sink", "3", "#{ack => true}")  # the option means nothing to it
        assert await sink.has(1) == [3]


async def test_a_real_node_that_is_stopped_in_order_is_no_neighbor_any_more() -> None:
    async with mixed(1, 2, **LARGE) as (far, near), real("gone", harmed=True, manager="hyparview", **ENV) as gone:
        nodes = [*far, *near]
        for node in [*nodes[1:], gone]:
            await join(node, nodes[0])
        await settle([*nodes, gone])
        await gone.eval("application:stop(partisan)")
        await settle(nodes)
