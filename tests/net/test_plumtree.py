"""Broadcast over real sockets: trees, exchanges, and handlers that do what they should not."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from scripted import dial, member
from support import Events, address_of, cluster, eventually, fully_meshed, inside, running

import partisan
from partisan import Atom, EncodeError, LocalProtocolError, Node, peer_service, plumtree, testing
from partisan.plumtree import Delete, Found, LwwMap, Missing, Put, Running, Talk
from partisan.runtime.broadcasting import Broadcasts
from partisan.wire.monitor import name_to_term

QUICK = {"exchange_tick_period": 0.1, "lazy_tick_period": 0.1, "graft_after": 0.05}


def with_maps(*nodes: Node, name: str = "prices") -> list[LwwMap]:
    """Give each node a replicated map."""
    maps = []
    for node in nodes:
        maps.append(LwwMap(actor=node.name.encode(), epoch=time.time_ns()))
        node.broadcasts.add_handler(name, maps[-1])
    return maps


class Log:
    """A handler that keeps numbers, and may misbehave."""

    def __init__(self) -> None:
        self.seen: dict[int, None] = {}
        self.raises = False
        self.jobs: list[Any] = []

    def broadcast_data(self, data: Any) -> tuple[Any, Any]:
        self.seen[data] = None
        return data, data

    def merge(self, id: Any, payload: Any) -> bool:
        if self.raises:
            raise ValueError("on purpose")
        new = id not in self.seen
        self.seen[id] = None
        return new

    def is_stale(self, id: Any) -> bool:
        return id in self.seen

    def graft(self, id: Any) -> Found | Missing:
        return Found(id) if id in self.seen else Missing.UNKNOWN

    def exchange(self, peer: Any) -> Running | None:
        return Running(self.jobs[0]) if self.jobs else None

    def broadcast_channel(self) -> str:
        return "undefined"


async def test_a_broadcast_reaches_every_node() -> None:
    async with cluster("a", "b", "c", "d") as nodes:
        maps = with_maps(*nodes)
        nodes[0].broadcast(Put(b"apple", 5), "prices")
        await eventually(lambda: all(each.get(b"apple") == 5 for each in maps))
        nodes[2].broadcast(Delete(b"apple"), Atom("prices"))
        await eventually(lambda: not any(b"apple" in each for each in maps))


async def test_a_flood_becomes_a_tree() -> None:
    async with cluster("a", "b", "c", "d", "e", plumtree=QUICK) as nodes:
        maps = with_maps(*nodes)
        root = nodes[0].name

        def links() -> int:
            """Eager links between nodes that are not the root's, in either direction."""
            return sum(len(node.broadcasts.peers(root)[0]) for node in nodes)

        for number in range(4):
            nodes[0].broadcast(Put(b"n", number), "prices")
            await eventually(lambda number=number: all(each.get(b"n") == number for each in maps))
        await eventually(lambda: links() == 2 * (len(nodes) - 1))
        for node in nodes:
            eager, lazy = node.broadcasts.peers(root)
            assert sorted([*eager, *lazy]) == sorted({each.name for each in nodes} - {node.name})


async def test_who_comes_late_gets_it_by_an_exchange() -> None:
    async with running("a", "b", plumtree=QUICK) as (a, b):
        first, second = with_maps(a, b)
        a.broadcast(Put(b"apple", 5), "prices")
        await a.join(address_of(b))
        await eventually(lambda: second.get(b"apple") == 5)
        assert first.get(b"apple") == 5


async def test_both_sides_of_a_partition_agree_when_it_heals() -> None:
    async with cluster("a", "b", "c", plumtree=QUICK, testing=True) as nodes:
        maps = with_maps(*nodes)
        for other in nodes[1:]:
            testing.cut(nodes[0], other)
        nodes[0].broadcast(Put(b"left", 1), "prices")
        nodes[1].broadcast(Put(b"right", 2), "prices")
        await eventually(lambda: maps[2].get(b"right") == 2)
        assert b"right" not in maps[0]
        assert b"left" not in maps[2]
        testing.heal(*nodes)
        await eventually(lambda: all(each.get(b"left") == 1 and each.get(b"right") == 2 for each in maps))


async def test_a_handler_that_raises_is_told_of_and_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async with cluster("a", "b") as (a, b):
        logs = [Log(), Log()]
        for node, handler in zip((a, b), logs, strict=True):
            node.broadcasts.add_handler("log", handler)
        maps = with_maps(a, b)
        logs[1].raises = True
        with caplog.at_level(logging.ERROR, "partisan.runtime.broadcasting"):
            a.broadcast(1, "log")
            await eventually(lambda: "handler log has raised in merge" in caplog.text)
        a.broadcast(Put(b"apple", 5), "prices")
        await eventually(lambda: maps[1].get(b"apple") == 5)


async def test_a_message_for_a_handler_that_is_not_there_is_a_violation_and_no_more() -> None:
    async with cluster("a", "b") as (a, b):
        events = Events(b, "partisan.frame")
        a.broadcasts.add_handler("log", Log())
        a.broadcast(1, "log")
        await eventually(lambda: events.of("partisan.frame.rejected", node=a.name))
        maps = with_maps(a, b)
        a.broadcast(Put(b"apple", 5), "prices")
        await eventually(lambda: maps[1].get(b"apple") == 5)


async def test_what_cannot_be_broadcast_is_an_error_to_who_tries() -> None:
    async with running("a") as (a,):
        a.broadcasts.add_handler("log", Log())
        with pytest.raises(LocalProtocolError, match="no handler 'prices'"):
            a.broadcast(1, "prices")
        with pytest.raises(EncodeError):
            a.broadcast(object, "log")
        with pytest.raises(
            TypeError, match=r"no handler: .* it lacks broadcast_channel, broadcast_data, exchange, graft"
        ):
            a.broadcasts.add_handler("log", object())  # type: ignore[arg-type]


async def test_a_map_does_not_keep_what_it_can_tell_nobody() -> None:
    async with running("a") as (a,):
        [prices] = with_maps(a)
        for wrong in (Put(b"apple", object()), Put(object(), 1), Delete(object())):
            with pytest.raises(EncodeError):
                a.broadcast(wrong, "prices")
        assert not prices.entries


async def test_what_a_handler_says_and_cannot_be_sent_is_told_of_and_ends_no_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running("a", "b", plumtree=QUICK) as (a, b):
        first, second = with_maps(a, b)
        first.broadcast_data(Put(b"apple", object()))  # behind the node's back
        events = Events(a, "partisan.frame")
        with caplog.at_level(logging.ERROR, "partisan.runtime.broadcasting"):
            await a.join(address_of(b))
            await eventually(lambda: "what the broadcast handler prices says cannot be sent" in caplog.text)
        assert not events.of("partisan.frame.rejected")
        b.broadcast(Put(b"pear", 6), "prices")
        await eventually(lambda: first.get(b"pear") == 6)
        a.broadcast(Put(b"apple", 5), "prices")  # which mends it
        await eventually(lambda: second.get(b"apple") == 5)


class Asked(LwwMap):
    """A map that writes down with whom it was to exchange."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.peers: list[Any] = []

    def exchange(self, peer: Any) -> plumtree.Talk:
        self.peers.append(peer)
        return super().exchange(peer)


async def test_a_map_exchanges_with_python_nodes_alone() -> None:
    async with cluster("a", "c", plumtree=QUICK) as (a, c), member("b@127.0.0.1", {None: 1}) as b:
        await b.joined_by(a)
        await eventually(lambda: {b.name, c.name} <= set(a.broadcasts.members()))
        asked = Asked(actor=b"a", epoch=1)
        a.broadcasts.add_handler("prices", asked)
        with_maps(c)
        await eventually(lambda: len(asked.peers) >= 10)
        assert set(asked.peers) == {c.name}


async def test_an_exchange_brings_more_than_a_frame_may_have() -> None:
    async with running("a", "b", plumtree=QUICK, max_frame_octets=3 << 20) as (a, b):
        first, second = with_maps(a, b)
        for number in range(5):
            first.broadcast_data(Put(number, bytes(1 << 20)))
        await a.join(address_of(b))
        await eventually(lambda: len(second) == 5)
        assert second.vector == first.vector


async def test_an_exchange_with_a_node_that_cannot_hear_of_it_is_over_at_once() -> None:
    class Talks(Log):
        asked = 0

        def exchange(self, peer: Any) -> Any:
            self.asked += 1
            return Talk(("what do you have?",))

    async with running("a", plumtree=QUICK) as (a,), member("b@127.0.0.1", {None: 1}) as b:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(b.name))
        log = Talks()
        a.broadcasts.add_handler("log", log)
        await eventually(lambda: log.asked >= 3)
        assert a.broadcasts.exchanges() == ()


async def test_a_handler_without_the_name_of_a_channel_is_refused_where_it_is_added() -> None:
    class Nowhere(Log):
        def broadcast_channel(self) -> Any:
            return None

    async with running("a") as (a,):
        with pytest.raises(TypeError, match="None, no name of a channel; the default one is 'undefined'"):
            a.broadcasts.add_handler("log", Nowhere())


async def test_a_broadcast_names_its_handler_by_a_text() -> None:
    async with running("a") as (a,):
        with pytest.raises(TypeError, match="no name"):
            a.broadcast(1, 5)  # type: ignore[arg-type]


async def test_a_process_that_exchanges_is_watched_and_can_be_ended() -> None:
    async with cluster("a", "b", plumtree=QUICK) as (a, b):
        ended: list[Any] = []

        async def compare() -> None:
            try:
                await partisan.receive()
            except BaseException as error:
                ended.append(error)
                raise

        log = Log()
        log.jobs.append(a.spawn(compare))
        a.broadcasts.add_handler("log", log)
        b.broadcasts.add_handler("log", Log())
        await eventually(lambda: [each.mod for each in a.broadcasts.exchanges()] == ["log"])

        async def ask() -> None:
            assert await plumtree.exchanges() == [("log", b.name)]
            assert await plumtree.exchanges(b.name) == []
            assert await peer_service.exchanges(a.name) == [("log", b.name)]
            plumtree.cancel_exchanges(("mod", "nosuch"))
            assert await plumtree.exchanges() == [("log", b.name)]
            peer_service.cancel_exchanges(("peer", b.name))

        await inside(a, ask)
        await eventually(lambda: ended != [])
        log.jobs.clear()
        await eventually(lambda: not a.broadcasts.exchanges())


async def test_an_exchange_ends_with_its_process() -> None:
    async with cluster("a", "b", plumtree=QUICK) as (a, _):

        async def compare() -> None:
            await partisan.receive()

        log = Log()
        log.jobs.append(a.spawn(compare))
        a.broadcasts.add_handler("log", log)
        await eventually(lambda: a.broadcasts.exchanges() != ())
        job = log.jobs.pop()
        a.send(job, Atom("done"))
        await eventually(lambda: a.broadcasts.exchanges() == ())


async def test_the_trees_of_another_node_can_be_asked_for() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        with_maps(a, b, c)

        async def ask() -> tuple[Any, Any, Any]:
            here = plumtree.get_peers()
            there = await plumtree.debug_get_peers(b.name, a.name)
            return here, there, await plumtree.broadcast_members()

        here, there, members = await inside(a, ask)
        assert here == ([b.name, c.name], [])
        assert there == ([a.name, c.name], [])
        assert members == [a.name, b.name, c.name]


async def test_nodes_say_by_broadcast_that_they_live() -> None:
    quick = {**QUICK, "broadcast_heartbeat_interval": 0.05}
    async with cluster("a", "b", "c", broadcast=True, plumtree=quick) as nodes:
        for node in nodes:
            for other in nodes:
                await eventually(
                    lambda node=node, other=other: node.broadcasts.heartbeats.latest(Atom(other.name)) is not None
                )
        nodes[0].reconfigure(broadcast=False)


async def test_a_node_that_is_lost_leaves_the_trees() -> None:
    async with running("a", "b", "c") as (a, b, c):
        await a.join(address_of(b))
        await a.join(address_of(c))
        await eventually(lambda: fully_meshed(a, b, c))
        assert a.broadcasts.members() == [a.name, b.name, c.name]
        await c.stop()
        await eventually(lambda: a.broadcasts.members() == [a.name, b.name])


@pytest.mark.parametrize(
    "message",
    [
        "rubbish",
        (Atom("$gen_cast"), (Atom("broadcast"), 1)),
        (Atom("$gen_cast"), (Atom("prune"), 1, 2)),
        (Atom("$gen_cast"), (Atom("i_have"), 1, Atom("m"), -1, Atom("r"), Atom("s"))),
        (Atom("$gen_cast"), (Atom("graft"), 1, Atom("m"), 1 << 70, Atom("r"), Atom("s"))),
        (Atom("$gen_call"), 5, Atom("exchanges")),
        (Atom("$gen_call"), (name_to_term("nobody", "a@127.0.0.1"), 1), Atom("exchanges")),
        (Atom("$gen_call"), (name_to_term("x", "p@127.0.0.1"), 1), (Atom("cancel_exchanges"), (Atom("peer"), 5))),
    ],
)
async def test_what_no_node_says_ends_nothing(message: object) -> None:
    async with running("a") as (a,), dial(a) as peer:
        log = Log()
        a.broadcasts.add_handler("log", log)
        server, forward, name = Atom(Broadcasts.wire_name), Atom("forward_message"), Atom("p@127.0.0.1")
        peer.tell((Atom("hello"), name, Atom("undefined")), (forward, server, message))
        push = (Atom("broadcast"), 7, 7, Atom("log"), 0, name, name)
        peer.tell((forward, server, (Atom("$gen_cast"), push)))
        await eventually(lambda: 7 in log.seen)
