"""Order when this side closes: a connection that is given up is read to its end before another one is used."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripted import Connection, Member, member
from support import Events, eventually, running

import partisan
from partisan import ConnectionLost, Node
from partisan.net.link import DialledLink

B = "b@127.0.0.1"
ONE = {"data": {"parallelism": 1}}


def links_of(node: Node, channel: str = "data") -> list[DialledLink]:
    """The connections of a channel that the node uses."""
    edges = node._manager._dialer._edges.values()
    return [link for edge in edges for link in edge.links if link.channel == channel and link.in_table]


def retired_of(node: Node) -> set[DialledLink]:
    return node._manager._dialer._retired


def give_up(node: Node) -> None:
    """As after a ping that was not answered."""
    [link] = links_of(node)
    link.fail(ConnectionLost("timeout", B, "no answer"))


def send(node: Node, *messages: Any) -> None:
    for message in messages:
        node.send(("sink", B), message, channel="data")


@contextlib.asynccontextmanager
async def unread(**options: Any) -> AsyncIterator[tuple[Node, Member, Connection]]:
    """A node and a member that has a connection of the channel `data` with unread messages 0 to 9 on it."""
    options = {"handshake_timeout": 60.0, **options}  # longer than any test: else it is the bound that is tested
    async with member(B, {None: 1, "data": 1}) as b, running("a", channels=ONE, **options) as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        [data] = await eventually(lambda: b.of("data"))
        data.reading.clear()
        data.peer.stop_reading()
        send(a, *range(10))
        [link] = links_of(a)
        await eventually(lambda: not link.queue)
        yield a, b, data


async def replaced(a: Node, b: Member) -> Connection:
    """Wait for the connection that takes the place of the one that was given up."""
    await eventually(lambda: a.is_fully_connected(B))
    _, data = await eventually(lambda: len(b.of("data")) == 2 and b.of("data"))
    return data


def read_again(data: Connection) -> None:
    data.peer._writer.transport.resume_reading()
    data.reading.set()


@pytest.mark.parametrize("how", ["timeout", "bad octets", "disconnect"])
async def test_what_the_peer_has_not_read_when_this_side_closes_comes_first(how: str) -> None:
    async with unread() as (a, b, old):
        if how == "timeout":
            give_up(a)
        elif how == "bad octets":
            old.peer.say(b"nonsense")
            await eventually(lambda: retired_of(a))
        else:
            assert a._manager.disconnect(B)
        assert not a.is_connected(B, "data")
        new = await replaced(a, b)
        send(a, *range(10, 20))
        await b.fence(new)
        assert b.messages() == []
        read_again(old)
        await eventually(lambda: len(b.heard) == 20)
        assert b.messages() == list(range(20))
        assert new.heard == list(range(10, 20))
        assert not retired_of(a)


async def test_an_edge_that_is_given_up_and_wanted_again_keeps_order() -> None:
    """What waits is written before our half is closed."""
    async with unread() as (a, b, old):
        payload = b"x" * 2_000_000
        send(a, *[(number, payload) for number in range(10, 14)])
        dialer = a._manager._dialer
        [target] = dialer._edges
        dialer.drop(target, "test")
        assert not a.is_connected(B)
        dialer.keep(target)
        new = await replaced(a, b)
        send(a, 14)
        await b.fence(new)
        assert b.messages() == []
        read_again(old)
        await eventually(lambda: len(b.heard) == 15)
        assert b.messages() == [*range(10), *((number, payload) for number in range(10, 14)), 14]


async def test_a_peer_that_does_not_close_its_half_is_waited_for_only_so_long() -> None:
    async with unread(handshake_timeout=0.3) as (a, b, _):
        give_up(a)
        new = await replaced(a, b)
        send(a, 10)
        await eventually(lambda: new.heard == [10])
        assert not retired_of(a)
        assert new.heard == b.messages()


async def test_a_peer_that_takes_no_octets_of_what_waits_is_waited_for_only_so_long() -> None:
    async with unread(handshake_timeout=0.3) as (a, b, _):
        send(a, *[b"x" * 2_000_000] * 8)
        events = Events(a, "partisan.queue")
        dialer = a._manager._dialer
        [target] = dialer._edges
        dialer.drop(target, "test")
        assert retired_of(a)
        dialer.keep(target)
        await replaced(a, b)
        await eventually(lambda: not retired_of(a))
        assert events.of("partisan.queue.undelivered", node=B, channel="data")


async def test_what_waits_when_this_side_closes_is_lost_and_counted() -> None:
    async with unread() as (a, b, old):
        events = Events(a, "partisan.queue")
        send(a, *[b"x" * 2_000_000] * 8)
        bound = a.table.lane(B, "data").bound
        assert bound.queued_octets > 0
        give_up(a)
        assert bound.queued_octets == 0
        assert events.of("partisan.queue.undelivered", node=B, channel="data")
        await replaced(a, b)
        send(a, 10)
        read_again(old)
        await eventually(lambda: b.messages()[-1:] == [10])
        assert b.messages()[:10] == list(range(10))


async def test_losing_a_retired_connection_releases_what_is_held() -> None:
    async with unread() as (a, b, old):
        give_up(a)
        new = await replaced(a, b)
        send(a, 10, 11)
        assert not new.heard
        old.peer.vanish()
        await eventually(lambda: new.heard == [10, 11])
        assert b.messages() == [10, 11]
        assert not retired_of(a)


async def test_losing_the_new_connection_meanwhile_makes_a_gap_at_most() -> None:
    async with unread() as (a, b, old):
        give_up(a)
        new = await replaced(a, b)
        send(a, 10)
        new.peer.vanish()
        await eventually(lambda: len(b.of("data")) == 3 and a.is_fully_connected(B))
        send(a, 11)
        read_again(old)
        await eventually(lambda: b.messages()[-1:] == [11])
        send(a, 12)
        await eventually(lambda: b.messages()[-1] == 12)
        assert b.messages() == [*range(10), 10, 11, 12]


async def test_a_node_stops_while_a_peer_has_not_closed_its_half() -> None:
    async with unread() as (a, b, _):
        give_up(a)
        await replaced(a, b)
        send(a, 10)
        [link] = retired_of(a)
        bound = a.table.lane(B, "data").bound
        await a.stop(grace=0.2)
        assert link.stream.closed
        assert not retired_of(a)
        assert (bound.queued_octets, bound.dropped_frames) == (0, 1)


async def test_while_no_other_connection_is_up_sending_fails_at_once() -> None:
    async with unread(connection_interval=5.0, reconnect_backoff_max=5.0) as (a, _, _):
        events = Events(a, "partisan.membership")
        assert a._manager.disconnect(B)
        assert events.of("partisan.membership.peer.down")
        with pytest.raises(partisan.NotConnected):
            send(a, 10)


async def test_a_probe_made_while_its_connection_closes_is_told_of() -> None:
    async with unread() as (a, _, _):
        [link] = links_of(a)
        told: list[str] = []
        link.probe(lambda: link.probe(lambda: told.append("second")))
        link.close()
        assert told == ["second"]
