"""Back-pressure: what happens to senders, to memory and to others when a peer does not read."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from scripted import FORWARD, Member, greeted, member
from support import Conversation, Events, Sink, cluster, eventually, refused_for_long, running

import partisan
from partisan import Atom, Node, Overloaded

B = "b@127.0.0.1"
KIB, MIB = 1 << 10, 1 << 20
HIGH, HARD = 512 * KIB, 2 * MIB
BODY = b"x" * (64 * KIB)
WITH_OVERHEAD = len(BODY) + 200


def bounded(policy: str = "wait") -> dict[str, Any]:
    """Options of a node whose channel data has small bounds."""
    channel = {"max_queue_octets": HIGH, "hard_queue_octets": HARD, "queue_policy": policy}
    return {"channels": {"data": channel}}


def fill(a: Node, first: int = 0) -> int:
    """Send from outside of processes until the queue is over high water; the number of messages."""
    for number in itertools.count(first):
        a.send(("sink", B), (number, BODY), channel="data")
        if a.queued_octets(B, "data") > HIGH:
            return number + 1
    raise AssertionError


async def fill_socket(a: Node, b: Member) -> int:
    """Send until the sockets' buffers are full too, so that what is queued stays queued.

    The system tells of room when a third of its buffer is free, and a queue finds less by trying with what comes to it:
    buffers are full when one more message stays as well.
    """
    count = 0
    while True:
        count = fill(a, count)
        for _ in range(20):
            await turns(a, b)
            if a.queued_octets(B, "data") <= HIGH:
                break
        else:
            queued = a.queued_octets(B, "data")
            a.send(("sink", B), (count, BODY), channel="data")
            count += 1
            if a.queued_octets(B, "data") > queued:
                return count


async def turns(a: Node, b: Member) -> None:
    """Let both ends do what they can: a question over the default channel, and its answer."""
    await b.fence(b.of("undefined", a.name)[-1], rounds=1)


class Pump:
    """A process that sends without end, with an await between messages if `awaits`.

    Attributes:
        sent: how many messages.
        error: what ended it.
    """

    def __init__(self, node: Node, awaits: bool = True, limit: int = 1_000_000) -> None:
        self.sent = 0
        self.error: Exception | None = None
        self._awaits = awaits
        self._limit = limit
        node.spawn(self._run)

    async def _run(self) -> None:
        try:
            while self.sent < self._limit:
                partisan.send(("sink", B), (self.sent, BODY), channel="data")
                self.sent += 1
                if self._awaits:
                    await partisan.checkpoint()
        except partisan.PartisanError as error:
            self.error = error


async def settled(pump: Pump, a: Node, b: Member) -> int:
    """Wait until the pump has stood still for a while; how many messages it has sent."""
    seen, still = -1, 0
    while still < 40:
        still = still + 1 if pump.sent == seen else 0
        seen = pump.sent
        await turns(a, b)
    return seen


async def test_a_sender_waits_while_the_queue_is_over_high_water_and_goes_on_when_it_is_read() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        data = await b.stuck(a)
        events = Events(a)
        pump = Pump(a, limit=600)
        sent = await settled(pump, a, b)
        assert 0 < sent < 600
        assert HIGH // 2 < a.queued_octets(B, "data") <= HIGH + WITH_OVERHEAD
        assert events.of("partisan.queue.high_water", channel="data", over=True)
        data.reading.set()
        await eventually(lambda: len(data.heard) == 600)
        assert [number for number, _ in data.heard] == list(range(600))
        assert events.of("partisan.queue.high_water", channel="data", over=False)
        assert pump.error is None


WAIT = 0.05


async def by_timeout_of_asyncio(a: Node, again: asyncio.Event) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(WAIT):
            await again.wait()


async def by_receive(a: Node, again: asyncio.Event) -> None:
    with pytest.raises(partisan.ReceiveTimeout):
        await partisan.receive("what nobody sends", timeout=WAIT)


async def by_receive_with_a_message(a: Node, again: asyncio.Event) -> None:
    partisan.send(partisan.self(), "mine")
    assert await partisan.receive("mine", timeout=WAIT) == "mine"


async def by_call(a: Node, again: asyncio.Event) -> None:
    with pytest.raises(partisan.CallTimeout):
        await partisan.call("deaf", 1, timeout=WAIT)


async def by_an_answer_that_came_in_time(a: Node, again: asyncio.Event) -> None:
    assert await partisan.call("echo", 1, timeout=WAIT) == 1


async def by_drain(a: Node, again: asyncio.Event) -> None:
    with pytest.raises(partisan.DrainTimeout):
        await a.drain(B, "data", timeout=WAIT)


class Echo(partisan.GenServer):
    """Answers with what it is asked."""

    def handle_call(self, request: Any, caller: Any) -> Any:
        return request


@pytest.mark.parametrize(
    "wait",
    [
        by_timeout_of_asyncio,
        by_receive,
        by_receive_with_a_message,
        by_call,
        by_an_answer_that_came_in_time,
        by_drain,
    ],
)
async def test_no_wait_of_a_sender_that_is_held_takes_longer_than_its_timeout(wait: Any) -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        await b.stuck(a)
        a.spawn(deaf, name="deaf")
        await Echo.start(name="echo")

        async def sends() -> int:
            count = 0
            while a.queued_octets(B, "data") < HARD - 2 * WITH_OVERHEAD:
                partisan.send(("sink", B), (count, BODY), channel="data")
                count += 1
            await wait(a, asyncio.Event())
            assert a.queued_octets(B, "data") > HIGH  # it is held still
            return count

        async with asyncio.timeout(10.0):
            assert await a.run(sends)


async def deaf() -> None:
    await partisan.receive("never")


async def test_many_waiting_senders_stay_within_one_message_each() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        data = await b.stuck(a)
        await fill_socket(a, b)
        pumps = [Pump(a, limit=5) for _ in range(10)]
        for pump in pumps:
            await settled(pump, a, b)
        assert [pump.sent for pump in pumps] == [1] * 10
        data.reading.set()
        await eventually(lambda: all(pump.sent == 5 for pump in pumps))


async def test_a_sender_that_never_awaits_meets_the_hard_limit() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        await b.stuck(a)
        pump = Pump(a, awaits=False)
        await eventually(lambda: pump.error)
        assert isinstance(pump.error, Overloaded)
        assert (pump.error.node, pump.error.channel) == (B, "data")
        assert HARD <= pump.error.queued_octets <= HARD + WITH_OVERHEAD
        assert a.queued_octets(B, "data") <= HARD + WITH_OVERHEAD


async def test_the_policy_error_raises_at_high_water() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded("error")) as [a]:
        await b.stuck(a)
        pump = Pump(a)
        await eventually(lambda: pump.error)
        assert isinstance(pump.error, Overloaded)
        # It was above high water; since then a full socket may have taken some, but not down to the half of it.
        assert HIGH // 2 < pump.error.queued_octets <= HIGH + WITH_OVERHEAD


async def test_the_policy_drop_oldest_keeps_the_newest_and_counts() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded("drop_oldest")) as [a]:
        data = await b.stuck(a)
        pump = Pump(a, limit=1000)
        await eventually(lambda: pump.sent == 1000)
        assert a.queued_octets(B, "data") <= HIGH + WITH_OVERHEAD
        data.reading.set()
        await eventually(lambda: data.heard and data.heard[-1][0] == 999)
        numbers = [number for number, _ in data.heard]
        assert len(numbers) < 1000
        assert numbers == sorted(set(numbers))
        dropped = a.table.lane(B, "data").bound.dropped_frames
        assert dropped == 1000 - len(numbers)


async def test_drain_waits_until_the_peer_has_read() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        data = await b.stuck(a)
        await a.drain(B, "data")
        count = await fill_socket(a, b)
        waiting = a.loop.create_task(a.drain(B, "data"))
        await turns(a, b)
        assert not waiting.done()
        data.reading.set()
        await asyncio.wait_for(waiting, 5.0)
        assert a.queued_octets(B, "data") < HIGH
        await eventually(lambda: len(data.heard) == count)


async def test_drains_that_are_given_up_leave_nothing() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        await b.stuck(a)
        await fill_socket(a, b)
        for _ in range(3):
            with pytest.raises(partisan.DrainTimeout):
                await a.drain(B, "data", timeout=0.01)
        assert sum(map(len, a._relief.values())) == 0


async def test_a_lost_connection_relieves_those_who_wait() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        data = await b.stuck(a)
        events = Events(a)
        await fill_socket(a, b)
        waiting = a.loop.create_task(a.drain(B, "data"))
        pump = Pump(a, limit=50)
        await settled(pump, a, b)
        assert pump.sent == 1
        data.peer.vanish()
        await asyncio.wait_for(waiting, 5.0)
        await eventually(lambda: pump.sent == 50)
        assert events.of("partisan.queue.undelivered", channel="data")


async def test_other_peers_and_channels_are_unaffected_by_one_that_does_not_read() -> None:
    async with member(B, {None: 1, "data": 1}) as b, cluster("a", "c", **bounded()) as (a, c):
        data = await b.stuck(a)
        count = await fill_socket(a, b)
        conversation = Conversation(a, c)
        pump = Pump(a)
        assert await settled(pump, a, b) == 1
        await conversation.goes_on()
        a.send(("sink", B), (0, b"on another channel"))
        await eventually(lambda: (0, b"on another channel") in b.of("undefined", a.name)[0].heard)
        await conversation.goes_on()
        assert len(data.heard) <= 1 < count  # one that it was waiting for when it stopped


async def test_a_stopping_node_waits_for_a_peer_that_does_not_read_no_longer_than_its_grace() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", **bounded()) as [a]:
        await b.stuck(a)
        await fill_socket(a, b)
        waiting = a.loop.create_task(a.drain(B, "data"))
        pump = Pump(a)
        await settled(pump, a, b)
        events = Events(a, "partisan.queue.undelivered")
        await asyncio.wait_for(a.stop(grace=0.3), 10.0)
        await asyncio.wait_for(waiting, 5.0)
        assert events.of("partisan.queue.undelivered", node=B, channel="data")


async def test_a_message_is_taken_although_its_acknowledgement_finds_a_full_queue() -> None:
    small = {"max_queue_octets": 20_000, "hard_queue_octets": 20_000, "queue_policy": "error"}
    async with (
        member(B, {None: 1}) as b,
        running("a", channels={"undefined": small}) as [a],
        greeted(a, B) as dialled,
    ):
        await b.joined_by(a)
        [connection] = await eventually(lambda: b.of("undefined", a.name))
        sink = Sink(a)
        connection.reading.clear()
        await refused_for_long(lambda: a.send(("nobody", B), BODY[:10_000]))
        told = (FORWARD, Atom(B), Atom("a clock of its own"), Atom("sink"), Atom("first"))
        dialled.tell(told, (FORWARD, Atom("sink"), Atom("behind")))
        assert await sink.has(2) == [Atom("first"), Atom("behind")]
        assert not b.acks
        connection.reading.set()
        await eventually(lambda: a.queued_octets(B) == 0)
        dialled.tell(told)
        await eventually(lambda: b.acks == [told[2]])
