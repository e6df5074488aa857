"""Every telemetry event of a node: it happens on real nodes, with the measurements and metadata that are documented."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from scripted import dial, fill, member
from support import Events, Sink, address_of, cluster, eventually, fully_meshed, running

import partisan
from partisan import Atom, BadRpc, Node, telemetry
from partisan.telemetry import EVENTS

A, B = "a@127.0.0.1", "b@127.0.0.1"
SOON = {"telemetry_interval": 0.02}
BODY = b"x" * 65536

Proof = Callable[[], Awaitable[Events]]
PROOFS: dict[str, Proof] = {}
"""Event -> the test that shows it; each gives the events that it saw, so that their form is checked too."""


def proves(*events: str) -> Callable[[Proof], Proof]:
    def note(proof: Proof) -> Proof:
        PROOFS.update(dict.fromkeys(events, proof))
        return proof

    return note


def measured(events: Events, event: str, key: str, **metadata: Any) -> list[Any]:
    """One measurement of the events of this name that have this metadata."""
    return [
        measurements[key]
        for name, measurements, about in events.seen
        if name == event and all(about.get(each) == value for each, value in metadata.items())
    ]


async def intervals(events: Events, count: int) -> None:
    """Wait for so many intervals more."""
    wanted = len(events.of(telemetry.CONNECTION_MONITORS)) + count
    await eventually(lambda: len(events.of(telemetry.CONNECTION_MONITORS)) >= wanted)


@proves("partisan.channel.configured")
async def channels_are_told_at_the_start() -> Events:
    node = Node("a@127.0.0.1:0", channels={"data": {"parallelism": 3}})
    events = Events(node)
    async with node:
        assert measured(events, telemetry.CHANNEL_CONFIGURED, "max", channel="data") == [3]
        assert len(events.of(telemetry.CHANNEL_CONFIGURED)) == 3
        node.reconfigure(channels={"data": {"compression": True}})
        assert measured(events, telemetry.CHANNEL_CONFIGURED, "max", channel="data") == [3, 3]
        assert len(events.of(telemetry.CHANNEL_CONFIGURED)) == 4
    return events


@proves("partisan.connection.client.heartbeat", "partisan.connection.server.heartbeat")
async def both_ends_of_a_connection_tell_of_its_heartbeat() -> Events:
    # An acceptor asks only where the dialler does not.
    quiet = {"enabled": False}
    async with running("a", connection_ping={"idle_timeout": 0.03}) as [a], running("b", connection_ping=quiet) as [b]:
        events = Events(a)
        await b.join(address_of(a))
        await eventually(lambda: events.of(telemetry.CLIENT_HEARTBEAT, node=B, channel="undefined"))
        await eventually(lambda: events.of(telemetry.SERVER_HEARTBEAT, node=B, channel="undefined"))
        assert all(0 <= latency < 5 for latency in measured(events, telemetry.CLIENT_HEARTBEAT, "latency"))
    return events


@proves("partisan.connection.count")
async def the_count_of_connections_follows_them_up_and_down() -> Events:
    async with running("a", "b", channels={"data": {"parallelism": 2}}) as (a, b):
        events = Events(a)
        await a.join(b.spec)
        await eventually(lambda: fully_meshed(a, b))
        await eventually(lambda: measured(events, telemetry.CONNECTION_COUNT, "total") == list(range(1, 9)))
        for acceptor in (False, True):
            assert measured(events, telemetry.CONNECTION_COUNT, "count", acceptor=acceptor) == [1, 2, 3, 4]
        await b.leave()
        await eventually(lambda: measured(events, telemetry.CONNECTION_COUNT, "total")[-1] == 0)
    return events


@proves("partisan.connection.monitors")
async def monitors_are_told_every_interval() -> Events:
    async with running("a", **SOON) as [a]:
        events = Events(a)
        await eventually(lambda: measured(events, telemetry.CONNECTION_MONITORS, "count")[:2] == [0, 0])
        a._sampler.monitors = lambda: 7
        await eventually(lambda: 7 in measured(events, telemetry.CONNECTION_MONITORS, "count"))
    return events


@proves("partisan.connection.outstanding", "partisan.queue.high_water")
async def what_waits_is_told_while_it_waits_and_once_when_nothing_does() -> Events:
    channels = {"data": {"max_queue_octets": 1 << 20}}
    async with member(B, {None: 1, "data": 1}) as b, running("a", channels=channels, **SOON) as [a]:
        data = await b.stuck(a)
        events = Events(a)
        await fill(a, B, BODY, 2 << 20)
        assert events.of(telemetry.QUEUE_HIGH_WATER, node=B, channel="data", over=True)
        waits = lambda: measured(events, telemetry.CONNECTION_OUTSTANDING, "octets", node=B, channel="data")  # noqa: E731
        await eventually(lambda: waits() and waits()[-1] >= 2 << 20)
        data.reading.set()
        await eventually(lambda: waits()[-1] == 0 and a.queued_octets(B, "data") == 0)
        told = waits()
        assert events.of(telemetry.QUEUE_HIGH_WATER, node=B, channel="data", over=False)
        await intervals(events, 3)
        assert waits() == told
    return events


@proves(
    "partisan.membership.peer.join",
    "partisan.membership.peer.leave",
    "partisan.membership.peer.up",
    "partisan.membership.peer.down",
    "partisan.membership.peer.channel.up",
    "partisan.membership.peer.channel.down",
)
async def a_peer_comes_and_goes() -> Events:
    async with running("a", "b", channels={"data": {"parallelism": 2}}) as (a, b):
        events = Events(a)
        await a.join(b.spec)
        await eventually(lambda: fully_meshed(a, b))
        assert events.of(telemetry.PEER_JOIN) == events.of(telemetry.PEER_UP) == [{"node": B}]
        await b.leave()
        await eventually(lambda: events.of(telemetry.PEER_LEAVE, node=B))
        assert events.of(telemetry.PEER_LEAVE) == events.of(telemetry.PEER_DOWN) == [{"node": B}]
        for event in (telemetry.PEER_CHANNEL_UP, telemetry.PEER_CHANNEL_DOWN):
            told = sorted(about["channel"] for about in events.of(event, node=B))
            assert told == ["data", "partisan_membership", "undefined"]
    return events


@proves("partisan.socket.open", "partisan.socket.connect", "partisan.socket.accept", "partisan.socket.close")
async def every_socket_that_opens_closes() -> Events:
    async with running("a", "b") as (a, b):
        events = Events(a)
        await a.join(b.spec)
        await eventually(lambda: fully_meshed(a, b))
        await eventually(lambda: len(events.of(telemetry.SOCKET_ACCEPT, node=B)) == 2)
        assert len(events.of(telemetry.SOCKET_OPEN, acceptor=False)) == 2
        assert len(events.of(telemetry.SOCKET_OPEN, acceptor=True)) == 2
        there = str(b.listen_addrs[0])
        assert len(events.of(telemetry.SOCKET_CONNECT, address=there)) == 2
        assert not events.of(telemetry.SOCKET_CLOSE)
        await b.stop()
        await a.leave()
        await eventually(lambda: len(events.of(telemetry.SOCKET_CLOSE)) == len(events.of(telemetry.SOCKET_OPEN)))
        assert len(events.of(telemetry.SOCKET_CLOSE, acceptor=False, address=there)) == 2
        assert not a.counters()["connections"]
    return events


@proves("partisan.socket.error")
async def a_dial_that_fails_and_a_connection_that_breaks_are_errors() -> Events:
    async with member(B, {None: 1}) as b, running("a") as [a]:
        events = Events(a)
        await b.joined_by(a)
        await eventually(lambda: b.of("undefined", A))
        b.connections[0].peer.vanish()
        await eventually(lambda: events.of(telemetry.SOCKET_ERROR, node=B, channel="undefined", acceptor=False))
        with pytest.raises(partisan.ConnectFailed):
            await a.join("c@127.0.0.1:1", timeout=0.2)
        assert events.of(telemetry.SOCKET_ERROR, node="c@127.0.0.1", address="127.0.0.1:1")
    return events


@proves("partisan.socket.send", "partisan.socket.recv", "partisan.queue.delivered")
async def what_passes_is_summed_up_every_interval() -> Events:
    async with cluster("a", "b", channels={"data": {"parallelism": 2}}, **SOON) as (a, b):
        await eventually(lambda: a.counters()["sent"]["octets"] == b.counters()["received"]["octets"])
        await eventually(lambda: b.counters()["sent"]["octets"] == a.counters()["received"]["octets"])
        sink = Sink(b)
        for number in range(5):
            b.send("sink", number)
        here, there = Events(a), Events(b)
        before = a.counters()["sent"]["octets"], b.counters()["messages"]["delivered"]
        for number in range(100):
            a.send(("sink", B), (number, b"x" * 1000), channel="data", partition_key=number)
        await sink.has(105)
        sent = lambda key: sum(measured(here, telemetry.SOCKET_SEND, key, node=B, channel="data"))  # noqa: E731
        received = lambda key: sum(measured(there, telemetry.SOCKET_RECV, key, node=A, channel="data"))  # noqa: E731
        await eventually(lambda: sent("frames") == received("frames") == 100)
        assert sent("octets") == received("octets") > 100_000
        assert a.counters()["sent"]["octets"] - before[0] >= sent("octets")
        delivered = lambda: sum(measured(there, telemetry.QUEUE_DELIVERED, "count", side="receiver"))  # noqa: E731
        await eventually(lambda: delivered() == b.counters()["messages"]["delivered"] - before[1])
        assert delivered() == 100
        here.seen += there.seen
    return here


@proves("partisan.queue.dropped")
async def what_a_policy_drops_is_summed_up_every_interval() -> Events:
    channels = {"data": {"queue_policy": "drop_oldest", "max_queue_octets": 1 << 20}}
    async with member(B, {None: 1, "data": 1}) as b, running("a", channels=channels, **SOON) as [a]:
        await b.stuck(a)
        events = Events(a)
        lost = lambda: a.counters()["queues"][B]["data"]  # noqa: E731
        while lost()["dropped_frames"] < 100:
            a.send(("sink", B), BODY, channel="data")
            await asyncio.sleep(0)
        dropped = lambda key: sum(measured(events, telemetry.QUEUE_DROPPED, key, node=B, channel="data"))  # noqa: E731
        await eventually(lambda: dropped("count") == lost()["dropped_frames"])
        assert dropped("octets") == lost()["dropped_octets"] > 100 * len(BODY)
        await intervals(events, 3)
        assert dropped("count") == lost()["dropped_frames"]
    return events


@proves("partisan.queue.undelivered")
async def what_is_for_nobody_and_what_a_lost_connection_held_is_undelivered() -> Events:
    async with cluster("a", "b") as (a, b):
        there = Events(b)
        a.send(("nobody", B), 1)
        await eventually(lambda: there.of(telemetry.QUEUE_UNDELIVERED, side="receiver"))
        assert b.counters()["messages"]["undelivered"] == 1
    async with member(B, {None: 1, "data": 1}) as b_, running("a", channels=["data"]) as [a]:
        data = await b_.stuck(a)
        events = Events(a)
        await fill(a, B, BODY, 1 << 20)
        data.peer.vanish()
        await eventually(lambda: events.of(telemetry.QUEUE_UNDELIVERED, node=B, channel="data", side="sender"))
        [octets] = measured(events, telemetry.QUEUE_UNDELIVERED, "octets", side="sender")
        assert octets >= 1 << 20
    events.seen += there.seen
    return events


@proves("partisan.queue.retransmitted", "partisan.queue.unacknowledged")
async def whoever_keeps_acknowledgements_tells_of_them_by_the_hooks() -> Events:
    async with running("a", **SOON) as [a]:
        events = Events(a)
        a._sampler.unacknowledged = lambda: [(B, "data", 3, 300)]
        await eventually(lambda: measured(events, telemetry.QUEUE_UNACKNOWLEDGED, "count", node=B, channel="data"))
        a.telemetry.tell_queue(telemetry.QUEUE_RETRANSMITTED, B, "data", octets=100)
        a.telemetry.tell_queue(telemetry.QUEUE_DELIVERED, B, "data", octets=100, side="sender")
        assert measured(events, telemetry.QUEUE_RETRANSMITTED, "octets", node=B) == [100]
        assert measured(events, telemetry.QUEUE_DELIVERED, "count", side="sender") == [1]
    return events


@proves("partisan.frame.rejected")
async def octets_that_are_no_frame_are_rejected() -> Events:
    async with running("a") as [a]:
        events = Events(a)
        async with dial(a) as peer:
            await peer.told()
            peer.say(b"nonsense")
            await peer.ended()
        [about] = events.of(telemetry.FRAME_REJECTED)
        assert (about["acceptor"], about["address"].partition(":")[0]) == (True, "127.0.0.1")
    return events


@proves("partisan.causal.refused", "partisan.causal.given_up", "partisan.causal.missing")
async def causal_messages_that_wait_too_long_or_are_too_many_are_told() -> Events:
    async with cluster("a", "b", causal_labels=["x"], causal={"patience": 0.2, "max_waiting": 2}) as (a, b):
        events = Events(b)
        sink = Sink(b)
        a.send(("sink", B), 0, causal_label="x")
        await sink.has(1)
        with a.faults.omit(kind="user"):
            a.send(("sink", B), "lost", causal_label="x")
        for number in (1, 2):
            a.send(("sink", B), number, causal_label="x")
        await eventually(lambda: events.of(telemetry.CAUSAL_MISSING, node=a.name, label="x"))
        assert await sink.has(2) == [0, 1]
        assert events.of(telemetry.CAUSAL_GIVEN_UP, node=a.name, label="x")
        assert events.of(telemetry.CAUSAL_REFUSED, node=a.name, label="x", reason="full")
    return events


@proves("partisan.request.refused")
async def a_request_that_the_allow_list_does_not_have_is_refused() -> Events:
    async with cluster("a", "b") as (a, b):
        events = Events(b)
        with pytest.raises(BadRpc):
            await a._remote.asking.call(B, "os", "getpid", [])
        await eventually(lambda: events.of(telemetry.REQUEST_REFUSED, node=a.name, what="os:getpid/0"))
    return events


@proves("partisan.process.long_schedule")
async def a_process_that_holds_the_loop_is_named_with_the_line_at_which_it_waits() -> Events:
    async def busy() -> None:
        time.sleep(0.02)
        await inner()

    async def inner() -> None:
        await partisan.receive()

    async with running("a", long_schedule=0.01) as [a]:
        events = Events(a)
        pid = a.spawn(busy)
        [about] = await eventually(lambda: events.of(telemetry.LONG_SCHEDULE, process=pid))
        assert about["name"].endswith("busy")
        assert "inner" in about["where"]
        assert measured(events, telemetry.LONG_SCHEDULE, "seconds") >= [0.02]
        assert measured(events, telemetry.LONG_SCHEDULE, "steps") == [1]
    return events


@proves("partisan.process.large_mailbox")
async def a_mailbox_that_grows_large_is_reported_once() -> Events:
    async def lazy() -> None:
        while await partisan.receive(str) != "go":
            pass
        while True:
            await partisan.receive(int)

    async with running("a", "b", large_mailbox=10) as (a, b):
        await a.join(b.spec)
        events = Events(b)
        pid = b.spawn(lazy, name="lazy")
        told = lambda: measured(events, telemetry.LARGE_MAILBOX, "messages", process=pid)  # noqa: E731
        for number in range(30):
            a.send(("lazy", B), number)
        await eventually(lambda: b.counters()["messages"]["delivered"] >= 30)
        assert told() == [11]
        process = b.scheduler.whereis("lazy")
        assert process is not None
        a.send(("lazy", B), b"go")
        b.send("lazy", "go")
        await eventually(lambda: len(process.mailbox) <= 1)
        for number in range(30):
            b.send("lazy", "again") if number == 0 else b.send("lazy", b"none")
        assert told() == [11, 11]
    return events


@proves("partisan.discovery.lookup", "partisan.discovery.skipped", "partisan.discovery.error")
async def lookups_are_told() -> Events:
    answers: list[Any] = [[7], None]

    class Answers:
        def __init__(self, config: Any, here: Any) -> None:
            pass

        async def lookup(self) -> Any:
            return answers.pop(0) if len(answers) > 1 else answers[0]

        async def close(self) -> None:
            pass

    options = {"enabled": True, "type": Answers, "initial_delay": 0.0, "polling_interval": 0.01}
    node = Node("a@127.0.0.1:0", peer_discovery=options)
    events = Events(node)
    async with node:
        await eventually(lambda: events.of(telemetry.DISCOVERY_ERROR, backend="Answers"))
        assert measured(events, telemetry.DISCOVERY_LOOKUP, "nodes", backend="Answers") == [0]
        assert len(events.of(telemetry.DISCOVERY_SKIPPED, backend="Answers", entry="7")) == 1
    return events


@pytest.mark.parametrize("event", sorted(EVENTS))
async def test_a_node_emits_every_event_as_documented(event: str) -> None:
    events = await PROOFS[event]()
    assert events.of(event)
    for name, measurements, metadata in events.seen:
        about = EVENTS[name]
        assert set(measurements) <= set(about.measurements), name
        assert set(metadata) <= set(about.metadata), name


async def test_a_node_to_which_nobody_listens_has_no_timer_for_it() -> None:
    async with cluster("a", "b", **SOON) as (a, b):
        assert a._sampler._timer is None
        events = Events(a)
        assert a._sampler._timer is not None
        await eventually(lambda: events.of(telemetry.CONNECTION_MONITORS))
        a.telemetry.detach("events")
        assert a._sampler._timer is None
        a.telemetry.attach("other", "partisan.membership", print)
        assert a._sampler._timer is None
        assert b._sampler._timer is None


async def test_a_subscriber_that_raises_in_an_interval_does_not_end_the_others() -> None:
    async with running("a", **SOON) as [a]:
        a.telemetry.attach("broken", "partisan.connection", lambda *event: 1 / 0)
        events = Events(a)
        await eventually(lambda: len(events.of(telemetry.CONNECTION_MONITORS)) > 3)
        assert not a.telemetry.detach("broken")


async def test_what_passed_on_a_connection_that_closes_is_told_once_whether_before_or_after() -> None:
    async with cluster("a", "b", telemetry_interval=0.1, channels=["data"]) as (a, b):
        sink, events = Sink(b), Events(a)
        sent = lambda: sum(measured(events, telemetry.SOCKET_SEND, "octets", node=B, channel="data"))  # noqa: E731
        for number in range(10):
            a.send(("sink", B), (number, b"x" * 1000), channel="data")
        await eventually(lambda: 10_000 < sent() < 15_000)
        for number in range(10):
            a.send(("sink", B), (number, b"x" * 1000), channel="data")
        await sink.has(20)
        a._manager.disconnect(B)
        await eventually(lambda: fully_meshed(a, b))
        await intervals(events, 3)
        assert 20_000 < sent() < 25_000


async def test_a_snapshot_of_the_counters_has_what_happened() -> None:
    async with cluster("a", "b", channels=["data"]) as (a, b):
        sink = Sink(b)
        before = b.counters()
        for number in range(5):
            a.send(("sink", B), number, channel="data")
        await sink.has(5)
        sent, received = a.counters(), b.counters()
        assert received["received"]["frames"] - before["received"]["frames"] >= 5
        assert received["messages"]["delivered"] - before["messages"]["delivered"] >= 5
        assert received["processes"] == 1
        assert sent["connections"] == {B: {"dialled": 3, "accepted": 3}}
        assert sent["queues"][B]["data"] == {
            "queued_octets": 0,
            "dropped_frames": 0,
            "dropped_octets": 0,
            "superseded_frames": 0,
        }
        assert sent["events"][telemetry.PEER_UP] == 1
        assert sent["sent"]["octets"] > 0


async def test_what_newer_states_supersede_is_counted() -> None:
    async with cluster("a", "b", channels={"state": {"monotonic": True}}) as (a, b):
        sink = Sink(b)
        for number in range(10):
            a.send(("sink", B), number, channel="state")
        await eventually(lambda: sink.messages[-1:] == [9])
        assert a.counters()["queues"][B]["state"]["superseded_frames"] == 10 - len(sink.messages) > 0


async def test_a_stranger_that_comes_again_and_again_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        for _ in range(20):
            async with dial(a) as peer:
                await peer.told()
                peer.tell((Atom("hello"), Atom("p@127.0.0.1"), Atom("data")))
                await peer.told()
                peer.say(b"nonsense")
                await peer.ended()
        await eventually(lambda: a.counters()["events"][telemetry.FRAME_REJECTED] == 20)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_refused_connections_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a", max_connections=1) as [a], dial(a) as first:
        await first.told()
        for _ in range(10):
            async with dial(a) as peer:
                assert await peer.ended() == b""
        assert a.counters()["events"][telemetry.SOCKET_ERROR] == 10
    assert len([record for record in caplog.records if "refuses a connection" in record.message]) == 1
