"""Two nodes that are members of one Partisan cluster and connected by Erlang's distribution as well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dist_peer import SECONDS, listening
from support import FAST, Sink, address_of, eventually

import partisan
from partisan import Atom, GenServer, Node, NodeDown, NotConnected, Pid
from partisan.gen import NoReply
from partisan.testing import held, within

NOCONNECTION = Atom("noconnection")


@contextlib.asynccontextmanager
async def two(**options: Any) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes, of which the second can dial the first either way."""
    async with listening(**FAST, **options) as a:
        far: Any = a._far
        async with listening(distribution={"ports": {a.name: far.port}}, **FAST, **options) as b:
            yield a, b


async def connect(how: str, a: Node, b: Node) -> None:
    """Connect the second node to the first by Partisan or by the distribution, and see that both have it."""
    if how == "partisan":
        await b.join(address_of(a))
        await eventually(lambda: a.is_fully_connected(b.name) and b.is_fully_connected(a.name))
        await eventually(lambda: a._python.has(b.name) and b._python.has(a.name))
    else:
        assert await b.connect_node(a.name)
        await eventually(lambda: a.is_connected(b.name))


async def disconnect(how: str, a: Node, b: Node) -> None:
    """End the one, of which both hear."""
    if how == "partisan":
        await b.leave()
        await eventually(lambda: not a.table.has_own(b.name) and not b.table.has_own(a.name))
    else:
        far: Any = a._far
        assert await b.disconnect_node(a.name)
        await eventually(lambda: not far.is_peer(b.name))


OTHER = {"partisan": "distribution", "distribution": "partisan"}
both_ways = pytest.mark.parametrize("first", ["partisan", "distribution"])


class Silent(GenServer):
    """Answers nobody."""

    def handle_call(self, request: Any, caller: Any) -> Any:
        return NoReply()


class Watcher:
    """A process that is linked to another, monitors it, and a second that calls a server for ever.

    Attributes:
        told: what the first was told.
        called: why the call has ended.
    """

    def __init__(self, node: Node, pid: Pid, server: Any) -> None:
        self.told: list[Any] = []
        self.called: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        node.spawn(self._watch, pid)
        node.spawn(self._call, server)

    async def _watch(self, pid: Pid) -> None:
        partisan.trap_exit(True)
        partisan.link(pid)
        partisan.monitor(pid)
        while len(self.told) < 2:
            message = await partisan.receive()
            self.told.append((message[0], message[-1]))

    async def _call(self, server: Any) -> None:
        try:
            await partisan.call(server, Atom("question"), timeout=None)
        except Exception as error:
            self.called.set_result(error)


async def lives() -> None:
    await partisan.receive()


async def tied(first: str, a: Node, b: Node) -> tuple[Pid, Watcher]:
    """A process of a, and one of b that has a link, a monitor and a call to a; all made over the first wire."""
    await connect(first, a, b)
    pid = a.spawn(lives)
    await within(a, lambda: Silent.start(name="silent"))
    watcher = Watcher(b, pid, ("silent", a.name))
    await eventually(lambda: b.scheduler.census()["calls"] == 1 and ties(a, pid) == 1)
    return pid, watcher


@both_ways
async def test_what_was_made_over_one_wire_ends_with_it_although_the_other_is_up(first: str) -> None:
    async with two() as (a, b):
        pid, watcher = await tied(first, a, b)
        await connect(OTHER[first], a, b)
        await disconnect(first, a, b)
        await eventually(lambda: len(watcher.told) == 2)
        assert sorted(watcher.told, key=repr) == [(Atom("DOWN"), NOCONNECTION), (Atom("EXIT"), NOCONNECTION)]
        assert isinstance(await asyncio.wait_for(watcher.called, SECONDS), NodeDown)
        await eventually(lambda: not a.is_process_alive(pid))  # whose end of the link is gone, too
        assert b.is_connected(a.name)
        assert a.is_connected(b.name)


def ties(node: Node, pid: Pid) -> int:
    """How many processes of other nodes one is linked to."""
    process = node.scheduler.find(pid)
    assert process is not None
    return len(process.links)


@both_ways
async def test_what_was_made_over_one_wire_outlives_the_other(first: str) -> None:
    async with two() as (a, b):
        pid, watcher = await tied(first, a, b)
        await connect(OTHER[first], a, b)
        await disconnect(OTHER[first], a, b)
        b.send(pid, Atom("go"))
        await eventually(lambda: len(watcher.told) == 2)
        assert sorted(watcher.told, key=repr) == [(Atom("DOWN"), Atom("normal")), (Atom("EXIT"), Atom("normal"))]
        assert not watcher.called.done()
        await disconnect(first, a, b)
        await asyncio.wait_for(watcher.called, SECONDS)


async def test_a_link_is_taken_away_by_the_wire_that_it_was_made_over() -> None:
    async with two() as (a, b):
        await connect("partisan", a, b)
        pid = a.spawn(lives)
        linked, go = asyncio.Event(), asyncio.Event()

        async def unlinks() -> None:
            partisan.link(pid)
            linked.set()
            await go.wait()
            partisan.link(pid)  # it is linked
            partisan.unlink(pid)

        b.spawn(unlinks)
        await linked.wait()
        await eventually(lambda: ties(a, pid) == 1)
        await connect("distribution", a, b)
        go.set()
        await eventually(lambda: ties(a, pid) == 0)
        assert a.is_process_alive(pid)
        await eventually(lambda: "far links" not in held(b))


async def test_a_node_that_the_distribution_has_connected_joins_in_both_directions() -> None:
    async with two(channels={"data": {"parallelism": 2}}) as (a, b):
        await connect("distribution", a, b)
        await connect("partisan", a, b)
        for node, other in ((a, b), (b, a)):
            assert set(node.members()) == {a.name, b.name}
            assert node.connection_count(other.name, "data") == 2
            assert node.connection_count(other.name, "undefined") == 1
        await disconnect("distribution", a, b)
        assert a.is_fully_connected(b.name)
        assert b.is_fully_connected(a.name)


@both_ways
async def test_messages_of_a_pair_keep_to_the_wire_that_they_began_on(first: str) -> None:
    async with two() as (a, b):
        sink = Sink(a)
        await connect(first, a, b)
        for number in range(100):
            b.send(("sink", a.name), (number, b"x" * 1000))
        await connect(OTHER[first], a, b)
        for number in range(100, 200):
            b.send(("sink", a.name), (number, b"x" * 1000))
        await sink.has(200)
        assert [number for number, _ in sink.messages] == list(range(200))
        await disconnect(first, a, b)
        await eventually(lambda: sends(b, ("sink", a.name), (200, b"")))
        assert (await sink.has(201))[200] == (200, b"")


def sends(node: Node, target: Any, message: Any) -> bool:
    """Send, unless the peer has yet to read what went before on connections that are given up."""
    try:
        node.send(target, message)
    except NotConnected:
        return False
    return True


async def test_a_channel_that_packs_its_messages_does_so_on_the_wire_of_partisan_alone() -> None:
    async with two(channels={"data": {"payload": "msgpack"}}) as (a, b):
        sink = Sink(a)
        await connect("distribution", a, b)
        b.send(("sink", a.name), [1, {"two": 3.0}], channel="data")
        await connect("partisan", a, b)
        b.send(("sink", a.name), [4, 5], channel="data")
        assert (await sink.has(2))[1] == [4, 5]
        await disconnect("distribution", a, b)
        b.send(("sink", a.name), [6], channel="data")
        assert (await sink.has(3))[2] == [6]


async def test_a_link_to_a_node_that_is_no_neighbor_lives_on_beside_the_distribution() -> None:
    links = {"peer_service_manager": "client_server", "broadcast": True}
    async with (
        listening(**FAST, **links, tag="server") as middle,
        two(**links, tag="client") as (a, b),
    ):
        for node in (a, b):
            await node.join(address_of(middle))
        await eventually(lambda: all(len(node.nodes("known")) == 3 for node in (a, b)))
        told: list[Any] = []
        pid = a.spawn(lives)

        async def watches() -> None:
            partisan.trap_exit(True)
            partisan.link(pid)
            told.append((await partisan.receive())[-1])

        await eventually(lambda: pid.node in b._remote.links._supported)
        b.spawn(watches)
        await eventually(lambda: ties(a, pid) == 1)
        await connect("distribution", a, b)
        a.exit(pid, Atom("kill"))
        await eventually(lambda: told == [Atom("killed")])
