"""Order under parallelism: first in, first out for each pair on a channel, while connections come up and go down."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from scripted import member
from support import Sink, cluster, eventually, running

import partisan
from partisan import Node

B = "b@127.0.0.1"
FOUR = {"data": {"parallelism": 4}}


def rising(numbers: Sequence[int]) -> bool:
    """Whether there are gaps at most, never a swap nor a repetition."""
    return all(before < after for before, after in itertools.pairwise(numbers))


class Sender:
    """A process that sends 1, 2, 3... to the sink of a node, some at a time when it is told to.

    Attributes:
        sent: the last number.
    """

    def __init__(self, node: Node, to: str, channel: str = "data", **options: Any) -> None:
        self.sent = 0
        self._node = node
        self._to = ("sink", to)
        self._options = {"channel": channel, **options}
        self.pid = node.spawn(self._run)

    async def _run(self) -> None:
        while True:
            count, done = await partisan.receive()
            for _ in range(count):
                self.sent += 1
                with contextlib.suppress(partisan.NotConnected):  # a gap
                    partisan.send(self._to, self.sent, **self._options)
                if self.sent % 10 == 0:
                    await partisan.checkpoint()
            done.set_result(None)

    async def send(self, count: int) -> None:
        done = self._node.loop.create_future()
        self._node.send(self.pid, (count, done))
        await asyncio.wait_for(done, 10.0)


async def test_a_pair_keeps_its_order_while_four_connections_come_up() -> None:
    async with member(B, {None: 1, "data": 4}, allowed=1) as b, running("a", channels=FOUR) as [a]:
        await b.joined_by(a)
        sender = Sender(a, B)
        await sender.send(100)
        for count in range(1, 5):
            b.admit(1)
            await sender.send(500)
            await eventually(lambda: a.connection_count(B, "data") == count)  # noqa: B023
            await sender.send(500)
        await sender.send(1000)
        await eventually(lambda: len(b.heard) == sender.sent)
        assert b.messages() == list(range(1, sender.sent + 1))
        assert len({id(connection) for connection, _ in b.heard[-1000:]}) == 1


async def test_a_slow_reader_of_the_old_connection_delays_the_new_one() -> None:
    async with member(B, {None: 1, "data": 1}, allowed=1) as b, running("a") as [a]:
        await b.joined_by(a)
        sender = Sender(a, B)
        await sender.send(10)
        [default] = await eventually(lambda: b.of("undefined"))
        await eventually(lambda: len(default.heard) == 10)
        default.reading.clear()
        await sender.send(10)
        b.admit(1)
        await eventually(lambda: a.is_connected(B, "data"))
        await sender.send(10)
        [data] = await eventually(lambda: b.of("data"))
        await b.fence(data)
        assert not data.heard
        default.reading.set()
        await eventually(lambda: len(b.heard) == 30)
        assert b.messages() == list(range(1, 31))
        assert data.heard[-10:] == list(range(21, 31))


async def test_the_new_connection_waits_for_the_answer_to_a_ping_on_the_old_one() -> None:
    async with member(B, {None: 1, "data": 1}, allowed=1) as b, running("a") as [a]:
        await b.joined_by(a)
        sender = Sender(a, B)
        await sender.send(5)
        [default] = await eventually(lambda: b.of("undefined"))
        default.answering.clear()
        b.admit(1)
        await eventually(lambda: a.is_connected(B, "data"))
        await sender.send(5)
        await eventually(lambda: len(default.heard) == 5)
        [data] = await eventually(lambda: b.of("data"))
        await b.fence(data)
        assert not data.heard
        default.answering.set()
        await eventually(lambda: data.heard == [6, 7, 8, 9, 10])
        await sender.send(5)
        await eventually(lambda: len(data.heard) == 10)
        assert len(default.heard) == 5


async def test_losing_the_old_connection_instead_of_an_answer_lets_the_new_one_go_on() -> None:
    async with member(B, {None: 1, "data": 1}, allowed=1) as b, running("a") as [a]:
        await b.joined_by(a)
        sender = Sender(a, B)
        await sender.send(5)
        [default] = await eventually(lambda: b.of("undefined"))
        default.answering.clear()
        await eventually(lambda: len(default.heard) == 5)
        b.admit(1)
        await eventually(lambda: a.is_connected(B, "data"))
        await sender.send(5)
        default.peer.vanish()
        [data] = await eventually(lambda: b.of("data"))
        await eventually(lambda: data.heard == [6, 7, 8, 9, 10])


async def test_a_killed_connection_makes_gaps_at_most() -> None:
    async with member(B, {None: 1, "data": 4}) as b, running("a", channels=FOUR) as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        sender = Sender(a, B)
        await sender.send(200)
        for _ in range(5):
            connection = b.heard[-1][0] if b.heard else b.of("data")[0]
            connection.peer.vanish()
            await sender.send(200)
            await eventually(lambda: a.is_fully_connected(B))
            await sender.send(200)
        await eventually(lambda: b.messages()[-1] == sender.sent)
        assert rising(b.messages())
        await sender.send(300)
        await eventually(lambda: b.messages()[-1] == sender.sent)
        assert b.messages()[-300:] == list(range(sender.sent - 299, sender.sent + 1))


async def sends_from_64(node: Any, peer: Any) -> None:
    for first in range(0, 64_000, 1000):
        sender = Sender(node, B)
        sender.sent = first
        await sender.send(20)
    await eventually(lambda: len(peer.heard) == 64 * 20)


async def test_pairs_that_do_not_share_spread_over_all_connections_and_each_keeps_its_own() -> None:
    options: dict[str, Any] = {"channels": FOUR, "share_connections": False}
    async with member(B, {None: 1, "data": 4}) as b, running("a", **options) as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        await sends_from_64(a, b)
        used = [{number // 1000 for number in connection.heard} for connection in b.of("data")]
        assert all(len(pairs) >= 4 for pairs in used)
        assert sum(len(pairs) for pairs in used) == 64
        assert all(rising([n for n in c.heard if n // 1000 == pair]) for c in b.of("data") for pair in range(64))


async def test_pairs_share_one_connection_as_long_as_none_would_wait() -> None:
    async with member(B, {None: 1, "data": 4}) as b, running("a", channels=FOUR) as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        await sends_from_64(a, b)
        assert sum(bool(connection.heard) for connection in b.of("data")) == 1


async def test_pairs_go_over_to_other_connections_when_the_peer_does_not_read_and_come_back() -> None:
    channels = {"data": {"parallelism": 4, "max_queue_octets": 1 << 27, "hard_queue_octets": 1 << 28}}
    async with member(B, {None: 1, "data": 4}) as b, running("a", channels=channels) as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        senders = [Sender(a, B) for _ in range(32)]
        for number, sender in enumerate(senders):
            sender.sent = number * 1000
            await sender.send(10)
        await eventually(lambda: len(b.heard) == 320)
        [shared] = [connection for connection in b.of("data") if connection.heard]
        shared.reading.clear()
        a.send(("sink", B), bytes(48 << 20), channel="data")  # more than the system takes
        for sender in senders:
            await sender.send(10)
        shared.reading.set()
        await eventually(lambda: len([n for n in b.messages() if isinstance(n, int)]) == 640)
        for number in range(32):
            heard = [n for n in b.messages() if isinstance(n, int) and n // 1000 == number]
            assert heard == list(range(number * 1000 + 1, number * 1000 + 21)), "whoever goes over keeps the order"
        assert sum(bool(connection.heard) for connection in b.of("data")) == 3, "no more than it takes not to wait"
        await eventually(lambda: a._sharing._timer is None)
        for connection in b.of("data"):
            connection.heard.clear()
        for sender in senders:
            await sender.send(10)
        await eventually(lambda: sum(len(connection.heard) for connection in b.of("data")) == 320)
        assert sum(bool(connection.heard) for connection in b.of("data")) == 1


async def test_a_partition_key_chooses_the_connection() -> None:
    async with member(B, {None: 1, "data": 4}) as b, running("a", channels=FOUR) as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        for number in range(400):
            a.forward_message(("sink", B), number, channel="data", partition_key=number)
        await eventually(lambda: len(b.heard) == 400)
        heard = sorted(connection.heard for connection in b.of("data"))
        assert heard == [list(range(key, 400, 4)) for key in range(4)]
        for wrong in (-1, 1.5, "x", True):
            with pytest.raises(ValueError, match="partition_key"):
                a.send(("sink", B), 1, channel="data", partition_key=wrong)


async def test_a_channel_without_connection_or_fallback_is_not_connected() -> None:
    options = {"channels": {"data": {}}, "channel_fallback": False}
    async with member(B, {None: 1, "data": 1}, allowed=1) as b, running("a", **options) as [a]:
        await b.joined_by(a)
        with pytest.raises(partisan.NotConnected):
            a.send(("sink", B), 1, channel="data")
        b.admit(1)
        await eventually(lambda: a.is_connected(B, "data"))
        a.send(("sink", B), 2, channel="data")
        await eventually(lambda: b.messages() == [2])


async def test_two_nodes_keep_order_while_connections_are_killed_at_random() -> None:
    rng = random.Random(7)
    async with cluster("a", "b", channels=FOUR, parallelism=2) as (a, b):
        sink = Sink(b)
        sender = Sender(a, B)
        for _ in range(12):
            await sender.send(100)
            links = [
                link for link in b._acceptor.links if link.peer == a.name and link.channel in ("data", "undefined")
            ]
            if links:
                rng.choice(links).stream.sock.shutdown(socket.SHUT_RDWR)
            await sender.send(100)
            await eventually(lambda: a.is_connected(B))
        await eventually(lambda: a.is_fully_connected(B))
        await sender.send(500)
        await eventually(lambda: sink.messages[-1] == sender.sent)
        assert rising(sink.messages)
        assert sink.messages[-500:] == list(range(sender.sent - 499, sender.sent + 1))
        assert len(sink.messages) > 600
