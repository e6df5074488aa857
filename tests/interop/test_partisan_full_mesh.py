"""A full mesh of Python nodes and nodes of Partisan itself: how they come together, and what they hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from partisans import Partisan, agree, eventually, meshed, python, real, spec
from support import Events, Sink

from partisan import ConnectFailed, HandshakeError, Node, telemetry
from partisan.etf import Atom
from partisan.wire.full import state_to_term

OK = Atom("ok")
LANES = "#{bulk => #{parallelism => 3}, news => #{monotonic => true}}"
CHANNELS = {"bulk": {"parallelism": 3}, "news": {"monotonic": True}}


@asynccontextmanager
async def four(**env: str) -> AsyncIterator[tuple[Partisan, Partisan, Node, Node]]:
    """Two nodes of Partisan and two of Python, strangers to each other."""
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(real(name, **env)) for name in ("a", "b")]
        p, q = [await stack.enter_async_context(python(name)) for name in ("p", "q")]
        yield a, b, p, q


async def speak(nodes: Sequence[Node | Partisan], sinks: dict[str, Sink]) -> None:
    """Let each send its name to each other; a sink of each has all of them then."""
    for node in nodes:
        for other in nodes:
            if node is other:
                continue
            if isinstance(node, Partisan):
                assert await node.send(other.name, "sink", f"'{node.name}'") is OK
            else:
                node.send(("sink", other.name), Atom(node.name))
    for node in nodes:
        others = {Atom(other.name) for other in nodes if other is not node}
        if isinstance(node, Partisan):
            assert set(await node.gathered(len(others))) == others
        else:
            sink = sinks[node.name]
            assert set(await sink.has(len(others))) == others
            sink.messages.clear()


async def test_each_joins_the_other_and_messages_go_both_ways() -> None:
    async with real("a") as one, real("b") as other, python() as py:
        sink = Sink(py)
        await py.join(one.address)
        await other.join(py)
        await agree([one, other, py])
        for far in (one, other):
            for number in range(100):
                py.send(("sink", far.name), number)
            assert await far.gathered(100) == list(range(100))
            assert await far.send(py.name, "sink", "{hello, <<1, 2>>}") is OK
        assert await sink.has(2) == [(Atom("hello"), b"\1\2")] * 2


async def test_of_four_that_join_in_a_row_each_hears_of_all_by_gossip_and_reaches_all() -> None:
    async with four() as (a, b, p, q):
        sinks = {node.name: Sink(node) for node in (p, q)}
        await p.join(a.address)
        await b.join(p)
        await q.join(b.address)
        await meshed([a, b, p, q])
        await speak([a, b, p, q], sinks)


async def test_four_that_all_join_one_of_either_kind_at_once_become_one_cluster() -> None:
    async with four(periodic_interval="300") as (a, b, p, q):
        sinks = {node.name: Sink(node) for node in (p, q)}
        await asyncio.gather(p.join(a.address), q.join(a.address), b.join(a), a.join(p), b.join(q))
        await meshed([a, b, p, q])
        await speak([a, b, p, q], sinks)


async def test_two_clusters_become_one_when_a_member_of_each_joins() -> None:
    async with four() as (a, b, p, q):
        await p.join(a.address)
        await q.join(b.address)
        await agree([a, p])
        await agree([b, q])
        await p.join(q.spec)
        await meshed([a, b, p, q])


async def test_a_join_that_waits_for_all_connections_has_them_on_every_channel() -> None:
    async with real(channels=LANES) as far, python(channels=CHANNELS) as py:
        assert await py.sync_join(far.address) == far.name
        assert py.is_fully_connected(far.name)
        assert [py.connection_count(far.name, channel) for channel in ("bulk", "news")] == [3, 1]


async def test_a_node_of_partisan_that_waits_for_all_connections_to_ours_gets_them() -> None:
    async with real(channels=LANES) as far, python(channels=CHANNELS) as py:
        assert await far.eval(f"partisan_peer_service:sync_join({spec(py)})") is OK
        assert [await far.connections(py.name, channel) for channel in ("bulk", "news", "undefined")] == [3, 1, 1]
        await meshed([far, py])


async def test_the_greeting_of_each_is_the_state_that_the_other_keeps() -> None:
    async with real() as far, python() as py:
        await py.join(far.address)
        await agree([far, py])

        async def same() -> bool:
            theirs = await far.eval(f"element(2, {far.manager}:get_local_state())")
            return bool(theirs[2] == state_to_term(py.get_local_state())[2])

        await eventually(same, "both keep the same set of members")


async def test_each_knows_the_spec_of_the_other_to_the_last_key() -> None:
    async with real(channels=LANES) as far, python(channels=CHANNELS) as py:
        await py.join(far.address)
        await meshed([far, py])
        assert await far.eval(f"partisan:node_spec('{py.name}') =:= {{ok, {spec(py)}}}") is True
        assert await far.eval(f"partisan:node_spec() =:= {spec(far)}") is True
        theirs = await py.node_spec(far.name)
        assert (theirs.name, [address.port for address in theirs.listen_addrs]) == (far.name, [far.port])
        assert dict(theirs.channels)["bulk"].parallelism == 3
        assert await far.eval(f"{far.manager}:member({spec(py)})") is True
        assert py.member(theirs)


async def test_a_member_may_be_joined_again_by_its_name() -> None:
    async with real() as far, python() as py:
        await py.join(far.address)
        await meshed([far, py])
        assert await py.join(far.name) == far.name
        assert await far.eval(f"partisan_peer_service:join('{py.name}')") is OK
        await meshed([far, py])


async def test_a_stranger_is_not_joined_by_its_name_alone() -> None:
    async with real() as far, python() as py:
        assert await far.eval(f"partisan_peer_service:join('{py.name}')") == (Atom("error"), Atom("not_yet_connected"))
        with pytest.raises(ConnectFailed):
            await py.join(py.name)
        assert py.members() == [py.name]


async def test_a_node_that_is_another_than_was_meant_is_not_joined_by_either() -> None:
    async with real(provoked="[Uu]nexpected.peer") as far, python(provoked="unexpected_peer") as py:
        with pytest.raises(HandshakeError):
            await py.join(f"other@127.0.0.1:{far.port}")
        wrong = spec(py).replace(py.name, "other@127.0.0.1", 1)
        sockets = Events(py, telemetry.SOCKET_CLOSE)
        assert await far.eval(f"partisan_peer_service:join({wrong})") is OK
        await eventually(lambda: len(sockets.seen) >= 2, "it has tried twice")
        assert await far.members() == {far.name}
        assert py.members() == [py.name]
        await far.eval("partisan_peer_service:update_members([partisan:node_spec()])")
        await py.join(far.address)
        await agree([far, py], [far, py])
