"""Plumtree among nodes of Partisan itself and Python nodes: messages, trees, grafts, exchanges and heartbeats."""

from __future__ import annotations

from typing import Any

import pytest
from mixed import join, members, mixed, settle
from partisans import Partisan, agree, eventually
from support import Events

import partisan
from partisan import Node
from partisan.etf import Atom
from partisan.machines.heartbeat import MOD, NOBODY
from partisan.plumtree import Found, LwwMap, Missing, Put

SERVER = "partisan_plumtree_broadcast"
HANDLER = """
-module(things).
-export([broadcast_data/1, broadcast_channel/0, merge/2, is_stale/1, graft/1, exchange/1]).
broadcast_data({Id, Payload}) -> ets:insert(things, {Id, Payload}), {Id, Payload}.
broadcast_channel() -> undefined.
merge(Id, Payload) -> ets:insert_new(things, {Id, Payload}).
is_stale(Id) -> ets:member(things, Id).
graft(Id) -> case ets:lookup(things, Id) of [{_, Payload}] -> {ok, Payload}; [] -> {error, not_found} end.
exchange(Peer) -> partisan:forward_message(Peer, things, ets:tab2list(things), #{}), ok.
"""
"""A handler of broadcasts, as an application of theirs would bring one; an exchange sends all that it has."""

COMPILE = """
ets:new(things, [named_table, public, set]),
Forms = [element(2, erl_parse:parse_form(element(2, erl_scan:string(Text)))) || Text <- TEXTS],
{ok, Name, Code} = compile:forms(Forms),
{module, Name} = code:load_binary(Name, "things", Code),
ok
"""
QUICK: dict[str, Any] = {"exchange_tick_period": 0.3, "lazy_tick_period": 0.2, "graft_after": 0.05}
ENV = {
    "exchange_tick_period": "300",
    "lazy_tick_period": "200",
    "hyparview": "#{active_max_size => 3, active_min_size => 3, random_promotion_interval => 500, "
    "shuffle_interval => 500}",
}
VIEWS = {
    "active_max_size": 3,
    "active_min_size": 3,
    "random_promotion_interval": 0.5,
    "shuffle_interval": 0.5,
    "patience": 2.0,
}
MANAGERS = pytest.mark.parametrize("manager", ["pluggable", "hyparview"])


class Things:
    """The same handler in Python; what exchanges bring comes to a process by its name."""

    def __init__(self, node: Node | None = None) -> None:
        self.seen: dict[Any, Any] = {}
        self.channel = "undefined"
        if node is not None:
            node.broadcasts.add_handler("things", self)
            node.spawn(self._exchanged, name="things")

    async def _exchanged(self) -> None:
        while True:
            for id, payload in await partisan.receive():
                self.merge(id, payload)

    def broadcast_data(self, data: Any) -> tuple[Any, Any]:
        self.seen[data[0]] = data[1]
        return data[0], data[1]

    def merge(self, id: Any, payload: Any) -> bool:
        new = id not in self.seen
        self.seen.setdefault(id, payload)
        return new

    def is_stale(self, id: Any) -> bool:
        return id in self.seen

    def graft(self, id: Any) -> Found | Missing:
        return Found(self.seen[id]) if id in self.seen else Missing.UNKNOWN

    def exchange(self, peer: Any) -> None:
        return None

    def broadcast_channel(self) -> str:
        return self.channel


async def handle(far: list[Partisan], near: list[Node]) -> dict[str, Things]:
    """Give each node a handler of that name; those of the Python nodes, by the names of these."""
    texts = [f'"{line.replace(chr(34), chr(92) + chr(34))}"' for line in HANDLER.strip().splitlines()]
    for node in far:
        await node.eval(COMPILE.replace("TEXTS", f"[{', '.join(texts)}]"))
    return {node.name: Things(node) for node in near}


async def seen_by(node: Partisan | Node, handlers: dict[str, Things]) -> dict[Any, Any]:
    """What has come to a node: id -> payload."""
    if isinstance(node, Node):
        return dict(handlers[node.name].seen)
    return dict(await node.eval("ets:tab2list(things)"))


async def spread(nodes: list[Partisan | Node], handlers: dict[str, Things], wanted: dict[Any, Any]) -> None:
    """Wait until all of this has come to every one of them."""

    async def look() -> bool:
        return all([(await seen_by(node, handlers)).items() >= wanted.items() for node in nodes])

    await eventually(look, f"all have {wanted}", 30.0)


async def cast(node: Partisan | Node, id: int, payload: bytes) -> None:
    """Let a node broadcast this."""
    if isinstance(node, Node):
        node.broadcasts.broadcast((id, payload), "things")
    else:
        await node.eval(f"{SERVER}:broadcast({{{id}, <<{', '.join(map(str, payload))}>>}}, things)")


async def peers(node: Partisan | Node, root: str) -> tuple[set[str], set[str]]:
    """The names of a node's eager peers and of its lazy ones, in the tree of a root."""
    if isinstance(node, Node):
        eager, lazy = node.broadcasts.peers(root)
        return set(eager), set(lazy)
    found = await node.eval(f"{SERVER}:get_peers('{root}')")
    return {str(each) for each in found[0]}, {str(each) for each in found[1]}


async def together(manager: str, nodes: list[Partisan | Node]) -> None:
    """Have all join the first, and wait until they are one overlay, and their trees know it."""
    for node in nodes[1:]:
        await join(node, nodes[0])
    await (agree(nodes) if manager == "pluggable" else settle(nodes))
    for node in nodes:

        async def look(node: Partisan | Node = node) -> bool:
            if isinstance(node, Partisan):
                known = {str(each) for each in await node.eval(f"{SERVER}:broadcast_members()")}
                return known >= await members(node)
            return set(node.broadcasts.members()) == await members(node)

        await eventually(look, f"{node.name} broadcasts to its members")


@MANAGERS
@pytest.mark.parametrize("contact", ["real", "python"])
async def test_what_any_node_broadcasts_comes_to_every_other(manager: str, contact: str) -> None:
    async with mixed(2, 2, manager=manager, env=ENV, plumtree=QUICK, hyparview=VIEWS) as (far, near):
        handlers = await handle(far, near)
        nodes: list[Partisan | Node] = [*far, *near] if contact == "real" else [*near, *far]
        await together(manager, nodes)
        wanted = {}
        for number, node in enumerate(nodes):
            for round in range(3):
                wanted[10 * number + round] = bytes([number, round])
                await cast(node, 10 * number + round, wanted[10 * number + round])
        await spread(nodes, handlers, wanted)


async def test_a_flood_becomes_a_tree_of_nodes_of_both_kinds() -> None:
    async with mixed(2, 2, manager="pluggable", env=ENV, plumtree=QUICK) as (far, near):
        handlers = await handle(far, near)
        nodes: list[Partisan | Node] = [*far, *near]
        await together("pluggable", nodes)
        for root in (far[0], near[0]):
            number = 100 * nodes.index(root)

            async def is_tree(root: Partisan | Node = root) -> bool:
                nonlocal number
                number += 1
                await cast(root, number, b"x")
                await spread(nodes, handlers, {number: b"x"})
                found = {node.name: await peers(node, root.name) for node in nodes}
                eager = {(name, other) for name, (mine, _) in found.items() for other in mine}
                both = all((other, name) in eager for name, other in eager)
                return both and len(eager) == 2 * (len(nodes) - 1)

            await eventually(is_tree, f"a tree of {root.name}")


async def test_what_is_announced_to_a_python_node_is_grafted() -> None:
    async with mixed(1, 1, manager="pluggable", env=ENV, plumtree=QUICK) as ([far], [near]):
        handlers = await handle([far], [near])
        await together("pluggable", [far, near])
        await far.eval(f"gen_server:cast({SERVER}, {{prune, '{far.name}', '{near.name}'}})")
        assert await peers(far, far.name) == (set(), {near.name})
        await cast(far, 1, b"x")
        await spread([near], handlers, {1: b"x"})
        assert await peers(far, far.name) == ({near.name}, set())
        await nothing_outstanding(far)


async def test_what_is_announced_to_a_real_node_is_grafted() -> None:
    async with mixed(1, 1, manager="pluggable", env=ENV, plumtree=QUICK) as ([far], [near]):
        handlers = await handle([far], [near])
        await together("pluggable", [far, near])
        await far.send(near.name, SERVER, f"{{'$gen_cast', {{prune, '{near.name}', '{far.name}'}}}}")

        async def lazy() -> bool:
            return await peers(near, near.name) == (set(), {far.name})

        await eventually(lazy, "the real node is a lazy peer")
        await cast(near, 1, b"x")
        await spread([far], handlers, {1: b"x"})
        assert await peers(near, near.name) == ({far.name}, set())


async def nothing_outstanding(node: Partisan) -> None:
    """Wait until a real node has nothing more to announce to anybody."""

    async def look() -> bool:
        return bool(await node.eval(f"ets:info({SERVER}, size)") == 0)

    await eventually(look, f"{node.name} announces nothing any more")


async def test_what_is_announced_to_who_has_it_is_announced_no_more() -> None:
    async with mixed(2, 2, manager="pluggable", env=ENV, plumtree=QUICK) as (far, near):
        handlers = await handle(far, near)
        nodes: list[Partisan | Node] = [*far, *near]
        await together("pluggable", nodes)
        for number in range(8):
            await cast(nodes[number % 4], number, b"x")
            await spread(nodes, handlers, {number: b"x"})
        for node in far:
            await nothing_outstanding(node)

        async def quiet() -> bool:
            machines: list[Any] = [node.broadcasts._machine for node in near]
            return not any(machine.outstanding for machine in machines)

        await eventually(quiet, "Python nodes announce nothing any more")


@MANAGERS
async def test_exchanges_of_a_real_node_bring_a_late_python_node_what_it_lacks(manager: str) -> None:
    env = {**ENV, "broadcast_mods": "[things]"}
    async with mixed(1, 1, manager=manager, env=env, plumtree=QUICK, hyparview=VIEWS) as ([far], [near]):
        handlers = await handle([far], [near])
        for number in range(5):
            await cast(far, number, b"early")
        await together(manager, [far, near])
        await spread([near], handlers, dict.fromkeys(range(5), b"early"))


async def test_exchanges_of_python_nodes_do_not_disturb_real_ones() -> None:
    async with mixed(1, 2, manager="pluggable", env=ENV, plumtree=QUICK) as ([far], near):
        maps = [LwwMap(actor=node.name.encode(), epoch=1) for node in near]
        for node, each in zip(near, maps, strict=True):
            node.broadcasts.add_handler("things", each)
        await handle([far], [])
        near[0].broadcasts.broadcast(Put(b"apple", 5), "things")
        await together("pluggable", [far, *near])

        async def exchanged() -> bool:
            return maps[1].get(b"apple") == 5

        await eventually(exchanged, "the Python nodes have exchanged")
        near[0].broadcasts.broadcast(Put(b"pear", 6), "things")
        await eventually(lambda: has(far, "pear"), "the real node has what was broadcast")


async def has(node: Partisan, key: str) -> bool:
    """Whether a real node has what was put under a key."""
    return bool(await node.eval(f'length([put || {{_, {{<<"{key}">>, _, _, _}}}} <- ets:tab2list(things)])') == 1)


@MANAGERS
async def test_heartbeats_are_heard_both_ways(manager: str) -> None:
    quick = {**QUICK, "broadcast_heartbeat_interval": 0.2}
    env = {**ENV, "broadcast": "true"}
    async with mixed(2, 2, manager=manager, env=env, plumtree=quick, hyparview=VIEWS, broadcast=True) as (far, near):
        nodes: list[Partisan | Node] = [*far, *near]
        await together(manager, nodes)

        async def heard() -> bool:
            for node in far:
                await node.eval(f"{MOD} ! heartbeat")  # its own interval is ten seconds
            lives: list[Any] = [node.broadcasts.heartbeats._lives.get(Atom(NOBODY), {}) for node in near]
            theirs = [await node.eval(f"[N || {{N, _, _}} <- ets:tab2list({MOD})]") for node in far]
            return all(len(each) == 2 for each in lives) and all(
                {Atom(node.name) for node in near} <= set(each) for each in theirs
            )

        await eventually(heard, "all have heard of all")


@MANAGERS
async def test_who_has_gone_is_broadcast_to_no_more(manager: str) -> None:
    async with mixed(1, 2, manager=manager, env=ENV, plumtree=QUICK, hyparview=VIEWS) as ([far], near):
        handlers = await handle([far], near)
        await together(manager, [far, *near])
        gone = near.pop()
        events = Events(near[0], "partisan.frame.rejected")
        await gone.leave()
        await (agree([far, *near]) if manager == "pluggable" else settle([far, *near]))
        nodes: list[Partisan | Node] = [far, *near]
        for number, node in enumerate(nodes):
            await cast(node, number, b"x")
        await spread(nodes, handlers, {0: b"x", 1: b"x"})
        assert not handlers[gone.name].seen
        assert gone.name not in near[0].broadcasts.members()
        if manager == "pluggable":  # a real HyParView node tells its trees of nobody who has gone
            known = await far.eval(f"{SERVER}:broadcast_members()")
            assert Atom(gone.name) not in known
        assert not events.seen


async def test_a_broadcast_of_a_handler_that_the_other_lacks_harms_nobody() -> None:
    async with mixed(1, 1, manager="pluggable", env=ENV, plumtree=QUICK) as ([far], [near]):
        await together("pluggable", [far, near])
        near.broadcasts.add_handler("nothing_there", Things())
        near.broadcasts.broadcast((1, b"x"), "nothing_there")

        async def pruned() -> bool:
            return far.name in (await peers(near, near.name))[1]

        await eventually(pruned, "the real node has pruned the message of a handler that it lacks")
