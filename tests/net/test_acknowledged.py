"""Acknowledged messages between real nodes, and with a script that speaks as a real Partisan node does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripted import ACK, FORWARD, HELLO, MANAGER, PYTHON, Connection, Member, dial, greeted, host, member
from support import Events, Sink, cluster, eventually, running

import partisan
from partisan import Atom, DrainTimeout, EncodeError, NotAcknowledged, NotConnected, Pid, Unacknowledged
from partisan.machines.outstanding import FIRST_NUMBER
from partisan.machines.seen import MOST_RANGES

B = "b@127.0.0.1"
QUICK = {"retransmit_interval": 0.05, "retransmit_backoff_max": 0.1}


class Reader(Member):
    """A member that takes acknowledged messages as a real node does.

    Attributes:
        kept: (number, message) of each copy that came.
        silent: it acknowledges nothing.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kept: list[tuple[int, Any]] = []
        self.silent = False

    async def _handle(self, connection: Connection, term: Any) -> None:
        if term[0] is not FORWARD or len(term) != 5:
            await super()._handle(connection, term)
            return
        _, source, clock, _, message = term
        assert (clock[0], clock[1][0][0]) == (None, source)
        self.kept.append((clock[1][0][1], message))
        self._source = source
        if not self.silent:
            self.acknowledge(clock[1][0][1])

    def acknowledge(self, number: int) -> None:
        """Say that the message of that number has come."""
        self.dialler.tell((FORWARD, MANAGER, (ACK, (None, [(self._source, number)]))))


@contextlib.asynccontextmanager
async def reader(node: partisan.Node) -> AsyncIterator[Reader]:
    """A scripted member that the node has joined, and that has dialled it."""
    async with host() as script, greeted(node, B) as dialler:
        found = Reader(script, B, {None: 1})
        found.dialler = dialler
        found.start(found.serve())
        try:
            await node.join(f"{B}:{script.port}")
            yield found
        finally:
            for task in found.tasks:
                task.cancel()
            await asyncio.gather(*found.tasks, return_exceptions=True)


async def test_messages_are_delivered_once_and_in_order_and_nothing_waits() -> None:
    async with cluster("a", "b") as [a, b]:
        sink = Sink(b)
        for number in range(1000):
            a.forward_message(("sink", b.name), number, ack=True)
        assert await sink.has(1000) == list(range(1000))
        await eventually(lambda: a.unacknowledged(b.name) == 0)


async def test_send_and_cast_take_ack_too() -> None:
    async with cluster("a", "b") as [a, b]:
        sink = Sink(b)
        a.send(sink.pid, 1, ack=True)
        a.cast_message(("sink", b.name), 2, ack=True)
        await a.deliver(("sink", b.name), 3)
        assert await sink.has(3) == [1, (Atom("$gen_cast"), 2), 3]


async def test_what_stays_on_the_node_is_delivered_at_once() -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        a.forward_message("sink", 1, ack=True)
        await a.deliver(sink.pid, 2)
        assert await sink.has(2) == [1, 2]


async def test_deliver_returns_when_the_other_node_has_the_message() -> None:
    async with cluster("a", "b") as [a, b]:
        sink = Sink(b)
        await a.deliver(("sink", b.name), b"x" * 1_000_000)
        assert await sink.has(1) == [b"x" * 1_000_000]
        assert a.unacknowledged(b.name) == 0


async def test_messages_survive_a_cut_and_are_seen_once() -> None:
    async with cluster("a", "b", **QUICK) as [a, b]:
        sink = Sink(b)
        for number in range(300):
            a.forward_message(("sink", b.name), number, ack=True)
            if number % 100 == 50:
                a._manager.disconnect(b.name)
        await eventually(lambda: a.unacknowledged(b.name) == 0)
        assert sorted(sink.messages) == list(range(300))


async def test_a_node_that_is_away_gets_what_was_sent_to_it_meanwhile() -> None:
    async with cluster("a", "b", **QUICK) as [a, b]:
        await b.stop(grace=0.5)
        await eventually(lambda: not a.is_connected(B))
        for number in range(10):
            a.forward_message(("sink", B), number, ack=True)
        assert a.unacknowledged(B) == 10
        again = partisan.Node(f"{B}:{b.listen_addrs[0].port}".replace(B, f"b@{b.listen_addrs[0].host}"))
        async with again:
            sink = Sink(again)
            assert sorted(await sink.has(10)) == list(range(10))
            await eventually(lambda: a.unacknowledged(B) == 0)


async def test_a_node_that_was_never_met_is_not_waited_for() -> None:
    async with running("a") as [a]:
        with pytest.raises(NotConnected):
            a.forward_message(("sink", B), 1, ack=True)


async def test_a_full_store_refuses_more_and_keeps_what_it_has() -> None:
    async with running("a", max_unacknowledged=10, **QUICK) as [a], reader(a) as b:
        b.silent = True
        for number in range(10):
            a.forward_message(("sink", B), number, ack=True)
        with pytest.raises(Unacknowledged, match="10 messages"):
            a.forward_message(("sink", B), 10, ack=True)
        b.silent = False
        await eventually(lambda: a.unacknowledged(B) == 0)
        assert {message for _, message in b.kept} == set(range(10))


async def test_a_sender_of_many_is_held_until_half_of_them_are_acknowledged() -> None:
    async with cluster("a", "b", max_unacknowledged=100) as [a, b]:
        sink = Sink(b)
        done = a.loop.create_future()

        async def sender() -> None:
            for number in range(2000):
                partisan.send(("sink", B), number, ack=True)
                await partisan.checkpoint()
            done.set_result(None)

        a.spawn(sender)
        await done
        assert await sink.has(2000) == list(range(2000))


def held(a: partisan.Node) -> asyncio.Future[int]:
    """Have a process send three messages, more than it may at once; how many wait when it goes on."""
    done = a.loop.create_future()

    async def sender() -> None:
        for number in range(3):
            partisan.send(("sink", B), number, ack=True)
        await partisan.checkpoint()
        done.set_result(a.unacknowledged(B))

    a.spawn(sender)
    return done


async def test_a_sender_that_is_held_goes_on_when_what_it_sent_has_expired() -> None:
    async with running("a", max_unacknowledged=4, acknowledge_expiry=0.2) as [a], reader(a) as b:
        b.silent = True
        done = held(a)
        assert await asyncio.wait_for(done, 10.0) <= 1


async def test_a_sender_that_is_held_goes_on_when_acknowledgements_come_before_a_hello() -> None:
    async with running("a", max_unacknowledged=4) as [a], reader(a) as b:
        b.silent = True
        done = held(a)
        await eventually(lambda: len(b.kept) == 3)
        async with dial(a) as stranger:
            stranger.tell(*((FORWARD, MANAGER, (ACK, (None, [(Atom(a.name), number)]))) for number, _ in b.kept))
            assert await asyncio.wait_for(done, 10.0) <= 1


async def test_a_message_that_would_make_too_large_a_frame_is_refused_and_not_kept() -> None:
    limit = 4096
    async with cluster("a", "b", max_frame_octets=limit) as [a, b]:
        sink = Sink(b)
        for size in range(limit - 200, limit):  # around where the message fits and its frame does not
            with contextlib.suppress(EncodeError):
                a.forward_message(("sink", B), b"x" * size, ack=True)
            with contextlib.suppress(EncodeError):
                await a.deliver(("sink", B), b"x" * size)
        await eventually(lambda: a.unacknowledged(B) == 0)
        with pytest.raises(EncodeError):
            a.forward_message(("sink", B), b"x" * (limit - 6), ack=True)
        assert a.unacknowledged(B) == 0
        await a.deliver(("sink", B), b"last")
        assert sink.messages[-1] == b"last"


async def test_all_of_many_gaps_in_one_turn_are_acknowledged() -> None:
    async with running("a") as [a], member(B, {None: 1}) as b, greeted(a, B) as script:
        await b.joined_by(a)
        a._context.acknowledged.agreed(B, True)
        numbers = [FIRST_NUMBER + 2 * index for index in range(2 * MOST_RANGES)]
        sink = Sink(a)
        script.tell(*((FORWARD, Atom(B), (None, [(Atom(B), number)]), Atom("sink"), 1) for number in numbers))
        await sink.has(len(numbers))

        def acknowledged() -> list[int]:
            found = [term[1] for term in b.messages() if type(term) is tuple and term[0] is Atom("acks")]
            return sorted(first for ranges in found for first, _ in ranges)

        await eventually(lambda: acknowledged() == numbers)


async def test_a_message_is_sent_again_under_its_number_until_it_is_acknowledged() -> None:
    async with running("a", **QUICK) as [a], reader(a) as b:
        b.silent = True
        waiting = asyncio.create_task(a.deliver(("sink", B), 1))
        await eventually(lambda: len(b.kept) > 2)
        assert not waiting.done()
        b.silent = False
        await waiting
        assert a.unacknowledged(B) == 0
        assert len(set(b.kept)) == 1


async def test_a_message_that_is_never_acknowledged_expires_as_an_error() -> None:
    async with running("a", **QUICK) as [a], reader(a) as b:
        b.silent = True
        events = Events(a, "partisan.queue")
        with pytest.raises(NotAcknowledged, match="expired"):
            await a.deliver(("sink", B), 1, expiry=0.2)
        assert events.of("partisan.queue.undelivered", node=B)
        assert a.unacknowledged(B) == 0


async def test_a_message_that_newer_ones_supersede_cannot_be_one_that_is_kept() -> None:
    async with cluster("a", "b") as (a, b):
        sinks = Sink(a), Sink(b)
        for node in (a.name, B):
            options: dict[str, Any]
            for options in ({}, {"expiry": 1.0}, {"retransmission": False}):
                with pytest.raises(ValueError, match="not both"):
                    a.forward_message(("sink", node), 1, ack=True, key="ring", **options)
            with pytest.raises(ValueError, match="not both"):
                a.send(("sink", node), 1, ack=True, key="ring")
            await a.deliver(("sink", node), 2)
        assert [sink.messages for sink in sinks] == [[2], [2]]
        assert a.unacknowledged(B) == 0


async def test_an_expiry_is_a_time_above_zero_of_an_acknowledged_message() -> None:
    async with cluster("a", "b") as (a, _):
        with pytest.raises(ValueError, match="say ack=True"):
            a.forward_message(("sink", B), 1, expiry=1.0)
        for wrong in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="is no time above 0 s"):
                a.forward_message(("sink", B), 1, ack=True, expiry=wrong)
            with pytest.raises(ValueError, match="is no time above 0 s"):
                await a.deliver(("sink", a.name), 1, expiry=wrong)
        assert a.unacknowledged(B) == 0


async def test_without_retransmission_a_message_is_sent_once() -> None:
    async with running("a", **QUICK) as [a], reader(a) as b:
        b.silent = True
        a.forward_message(("sink", B), 1, ack=True, retransmission=False, expiry=0.3)
        await eventually(lambda: b.kept)
        await eventually(lambda: a.unacknowledged(B) == 0)
        assert [message for _, message in b.kept] == [1]


async def test_without_retransmission_a_message_to_a_member_that_is_away_is_refused_at_once() -> None:
    async with cluster("a", "b", causal_labels=["default"]) as [a, b]:
        await b.stop(grace=0.5)
        await eventually(lambda: not a.is_connected(B))
        for label in (None, "default"):
            with pytest.raises(NotConnected):
                a.forward_message(("sink", B), 1, ack=True, retransmission=False, causal_label=label)
        assert a.unacknowledged(B) == 0


async def test_what_waits_for_a_member_that_leaves_is_given_up() -> None:
    async with cluster("a", "b") as [a, b]:
        await b.stop(grace=0.5)
        await eventually(lambda: not a.is_connected(B))
        waiting = asyncio.create_task(a.deliver(("sink", B), 1))
        await eventually(lambda: a.unacknowledged(B) == 1)
        await a.leave(B)
        with pytest.raises(NotAcknowledged, match="left"):
            await waiting


async def test_whoever_waits_hears_that_the_node_has_stopped() -> None:
    async with running("a") as [a], reader(a) as b:
        b.silent = True
        waiting = asyncio.create_task(a.deliver(("sink", B), 1))
        await eventually(lambda: b.kept)
        await a.stop(grace=0.2)
        with pytest.raises(NotAcknowledged, match="stopped"):
            await waiting


async def test_a_real_node_is_sent_small_dense_frames_and_its_single_acknowledgements_are_taken() -> None:
    async with running("a") as [a], reader(a) as b:
        for number in range(5):
            await a.deliver(("sink", B), number)
        numbers = [number for number, _ in b.kept]
        assert numbers == list(range(numbers[0], numbers[0] + 5))
        assert FIRST_NUMBER <= numbers[0] < 2 * FIRST_NUMBER


async def test_copies_of_a_real_node_are_acknowledged_and_delivered_once() -> None:
    async with running("a") as [a], member(B, {None: 1}) as b, greeted(a, B) as script:
        await b.joined_by(a)
        sink = Sink(a)
        for number, message in [(1, Atom("x")), (1, Atom("x")), (2, Atom("y")), (1, Atom("x")), (3, Atom("z"))]:
            script.tell((FORWARD, Atom(B), (None, [(Atom(B), number)]), Atom("sink"), message))
        assert await sink.has(3) == [Atom("x"), Atom("y"), Atom("z")]
        await eventually(lambda: len(b.acks) == 5)
        assert b.acks == [(None, [(Atom(B), number)]) for number in (1, 1, 2, 1, 3)]
        assert len(sink.messages) == 3


async def test_the_first_messages_of_a_real_node_that_restarted_are_not_taken_for_copies() -> None:
    async with running("a") as [a], member(B, {None: 1}) as b:
        sink = Sink(a)
        for _ in range(2):
            async with greeted(a, B) as script:
                script.tell((FORWARD, Atom(B), (None, [(Atom(B), 1)]), Atom("sink"), Atom("hello")))
                await eventually(lambda: sink.messages)
            await eventually(lambda: B not in a._manager._diallers)
        assert await sink.has(2) == [Atom("hello")] * 2
        assert not b.connections


@pytest.mark.parametrize(
    "clock",
    [
        (None, [(Atom("c@127.0.0.1"), 1)]),
        (None, [(Atom(B), -1)]),
        (None, [(Atom(B), 2**64)]),
        (None, []),
        Atom("clock"),
        (Atom("label"), [(Atom(B), 1)]),
    ],
)
async def test_a_message_under_a_clock_that_is_no_number_is_delivered_each_time(clock: Any) -> None:
    async with running("a") as [a], greeted(a, B) as script:
        sink = Sink(a)
        for _ in range(2):
            script.tell((FORWARD, Atom(B), clock, Atom("sink"), 1))
        assert await sink.has(2) == [1, 1]


@pytest.mark.parametrize("clock", [(None, [(Atom(B), 1)]), Atom("clock")], ids=["of ours", "of another kind"])
async def test_a_request_that_wants_to_be_acknowledged_is_served_as_another(clock: Any) -> None:
    async with running("a") as [a], greeted(a, B) as script:
        served: list[Any] = []

        async def serve() -> None:
            _, (caller, tag), _ = await partisan.receive()
            served.append((caller, tag.tag, tag.channel))

        a.spawn(serve, name="server")
        asker = Pid(B, 1), (Atom("$alias"), 1)
        script.tell((FORWARD, Atom(B), clock, Atom("server"), (Atom("$gen_call"), asker, Atom("ask"))))
        await eventually(lambda: served)
        assert served == [(*asker, "undefined")]


@pytest.mark.parametrize("number", [1, FIRST_NUMBER, 2**64 - 1, -1, Atom("x"), None])
async def test_acknowledgements_of_what_was_never_sent_harm_nothing(number: Any) -> None:
    async with running("a") as [a], reader(a) as b:
        b.dialler.tell((FORWARD, MANAGER, (ACK, (None, [(Atom(a.name), number)]))))
        b.dialler.tell((FORWARD, MANAGER, (ACK, number)))
        await a.deliver(("sink", B), 1)
        assert [message for _, message in b.kept] == [1]


@pytest.mark.parametrize("ranges", [[(1, 2)], [(FIRST_NUMBER, 2**63)], [(5, 1)], []])
async def test_forged_ranges_harm_nothing(ranges: list[Any]) -> None:
    async with running("a") as [a], reader(a) as b:
        b.dialler.tell((FORWARD, PYTHON, (Atom("acks"), ranges)))
        await a.deliver(("sink", B), 1)
        assert [message for _, message in b.kept] == [1]


async def test_malformed_ranges_close_their_connection_alone() -> None:
    async with running("a") as [a], reader(a) as b:
        async with greeted(a, "c@127.0.0.1") as stranger:
            stranger.tell((FORWARD, PYTHON, (Atom("acks"), [1])))
            await stranger.ended()
        await a.deliver(("sink", B), 1)
        assert b.kept


async def test_a_message_in_the_name_of_another_node_is_delivered_and_not_counted_as_that_nodes() -> None:
    async with running("a") as [a], greeted(a, B) as script, dial(a):
        sink = Sink(a)
        forged = (FORWARD, Atom("c@127.0.0.1"), (None, [(Atom("c@127.0.0.1"), FIRST_NUMBER)]), Atom("sink"), 1)
        script.tell(forged, forged)
        assert await sink.has(2) == [1, 1]


async def test_drain_waits_for_the_acknowledgements_of_its_channel() -> None:
    async with running("a", channels=["data", "other"]) as [a], reader(a) as b:
        b.silent = True
        for channel in ("data", None):
            for number in range(3):
                a.forward_message(("sink", B), number, ack=True, channel=channel)
            # The second way that messages are kept in.
            a.forward_message(("sink", B), 3, ack=True, channel=channel, retransmission=False, expiry=600.0)
        await eventually(lambda: len(b.kept) == 8)
        await a.drain(B, "other")
        waiting = {channel: asyncio.create_task(a.drain(B, channel)) for channel in (None, "data")}
        with pytest.raises(DrainTimeout, match=r"to b@127.0.0.1 on channel data still waits after 0.05 s"):
            await a.drain(B, "data", timeout=0.05)
        for number, _ in b.kept[:7]:
            b.acknowledge(number)
        await asyncio.wait_for(waiting["data"], 10.0)
        assert not waiting[None].done()
        a.forward_message(("sink", B), "later", ack=True)
        await eventually(lambda: len(b.kept) == 9)
        b.acknowledge(b.kept[7][0])
        await asyncio.wait_for(waiting[None], 10.0)
        assert a.unacknowledged(B) == 1
        assert not a._acknowledged._awaited


async def test_drain_waits_for_ranges_that_a_python_node_acknowledges() -> None:
    async with cluster("a", "b") as [a, b]:
        sink = Sink(b)
        for number in range(1000):
            a.send(("sink", B), number, ack=True)
        assert a.unacknowledged(B) == 1000
        await a.drain(B, timeout=10.0)
        assert a.unacknowledged(B) == 0
        assert len(await sink.has(1000)) == 1000


async def test_drain_does_not_wait_for_what_is_given_up() -> None:
    async with running("a", **QUICK) as [a], reader(a) as b:
        b.silent = True
        a.forward_message(("sink", B), 1, ack=True, expiry=0.1)
        await a.drain(B, timeout=10.0)
        a.forward_message(("sink", B), 1, ack=True)
        waiting = asyncio.create_task(a.drain(B, timeout=10.0))
        await eventually(lambda: a._acknowledged._awaited)
        await a.stop(grace=0.1)
        await waiting


async def test_a_node_that_leaves_waits_for_what_must_be_sent_again() -> None:
    async with cluster("a", "b", **QUICK) as [a, b]:
        sink = Sink(b)
        a.faults.omit(destination=b.name, kind="user", times=1)
        waiting = asyncio.create_task(a.deliver(("sink", b.name), "important"))
        await eventually(lambda: a.unacknowledged(b.name) == 1)
        await a.leave(grace=30.0)
        assert a.members() == [a.name]
        assert await sink.has(1) == [b"important"]
        await waiting


async def test_a_member_that_is_made_to_leave_is_waited_for() -> None:
    async with running("a") as [a], reader(a) as b:
        b.silent = True
        a.send(("sink", B), 1, ack=True)
        leaving = asyncio.create_task(a.leave(B, grace=30.0))
        await eventually(lambda: b.kept)
        assert a.member(B)
        b.acknowledge(b.kept[0][0])
        await asyncio.wait_for(leaving, 10.0)
        assert not a.member(B)


@pytest.mark.parametrize("whom", [None, B])
async def test_what_is_not_acknowledged_in_time_is_given_up_by_a_leave(whom: str | None) -> None:
    async with running("a") as [a], reader(a) as b:
        b.silent = True
        waiting = asyncio.create_task(a.deliver(("sink", B), 1))
        await eventually(lambda: b.kept)
        await a.leave(whom, grace=0.05)
        with pytest.raises(NotAcknowledged, match="it has left"):
            await waiting
        assert a.members() == [a.name]


@pytest.mark.parametrize("whom", [None, B])
async def test_a_leave_does_not_wait_for_who_is_not_connected(whom: str | None) -> None:
    async with cluster("a", "b") as [a, b]:
        await b.stop(grace=0.5)
        await eventually(lambda: not a.is_connected(B))
        a.send(("sink", B), 1, ack=True)
        await asyncio.wait_for(a.leave(whom, grace=3600.0), 10.0)
        assert a.unacknowledged(B) == 0


async def test_a_node_that_stops_waits_for_what_must_be_sent_again() -> None:
    async with cluster("a", "b", **QUICK) as [a, b]:
        sink = Sink(b)
        a.faults.omit(destination=b.name, kind="user", times=1)
        a.send(("sink", b.name), "important", ack=True)
        await a.stop(grace=30.0)
        assert await sink.has(1) == [b"important"]


async def test_a_node_that_stops_waits_no_longer_than_it_is_connected() -> None:
    async with running("a") as [a], reader(a) as b:
        b.silent = True
        a.send(("sink", B), 1, ack=True)
        await eventually(lambda: b.kept)
        stopping = asyncio.create_task(a.stop(grace=3600.0))
        await eventually(lambda: a._acknowledged._settled)
        for connection in b.connections:
            connection.peer.vanish()
        await asyncio.wait_for(stopping, 10.0)


async def test_a_node_that_stops_waits_no_longer_than_for_the_last_message_to_expire() -> None:
    async with running("a") as [a], reader(a) as b:
        b.silent = True
        a.forward_message(("sink", B), 1, ack=True, expiry=0.2)
        await asyncio.wait_for(a.stop(grace=3600.0), 10.0)
        assert b.kept


async def test_a_node_that_stops_does_not_wait_for_a_peer_that_is_gone_before_it_told_its_state() -> None:
    async with running("a") as [a], host() as script:
        joining = asyncio.create_task(a.join(f"{B}:{script.port}"))
        peer = await script.arrival()
        peer.tell((HELLO, Atom(B)))
        await eventually(lambda: a.is_connected(B))
        a.send(("sink", B), 1, ack=True)
        stopping = asyncio.create_task(a.stop(grace=3600.0))
        await eventually(lambda: a._acknowledged._settled)
        peer.vanish()
        await asyncio.wait_for(stopping, 10.0)
        joining.cancel()


@pytest.mark.parametrize("many", [False, True])
async def test_a_node_that_stops_goes_on_with_the_last_acknowledgement(many: bool) -> None:
    async with running("a", retransmit_interval=3600.0, retransmit_backoff_max=3600.0) as [a], reader(a) as b:
        b.silent = True
        a.send(("sink", B), 1, ack=True)
        [(number, _)] = await eventually(lambda: b.kept)
        stopping = asyncio.create_task(a.stop(grace=3600.0))
        await eventually(lambda: a._acknowledged._settled)
        if many:
            b.dialler.tell((FORWARD, PYTHON, (Atom("acks"), [(number, number)])))
        else:
            b.dialler.tell((FORWARD, MANAGER, (ACK, (None, [(Atom(a.name), number)]))))
        await asyncio.wait_for(stopping, 10.0)
