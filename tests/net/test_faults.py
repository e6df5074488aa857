"""Faults on real nodes: each really happens, nothing else is disturbed, and what heals is whole again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from scripted import MANAGER, greeted
from support import FAST, Conversation, Events, Sink, cluster, eventually, fully_meshed, running, undisturbed

import partisan
from partisan import Atom, Node
from partisan.errors import ConfigError, ConnectFailed, FrameError, NotConnected, RemoteProtocolError

QUICK = {"connection_ping": {"idle_timeout": 0.2, "timeout": 0.1, "max_attempts": 2}}
"""A keepalive that notices soon."""

UP, DOWN = "partisan.membership.peer.up", "partisan.membership.peer.down"


def address_of(node: Node) -> str:
    return f"{node.name.partition('@')[0]}@{node.listen_addrs[0]}"


def parted(*nodes: Node) -> bool:
    """Whether no two of the nodes have a connection to each other."""
    return not any(one.is_connected(other.name) for one in nodes for other in nodes if one is not other)


def taps(node: Node) -> int:
    """How many connections of the node have a tap."""
    return sum(link.tap is not None for link in node._context.faults._links)


# Partitions and cuts.


async def test_a_partition_of_three_nodes_cuts_and_heals() -> None:
    async with cluster("a", "b", "c", **QUICK) as (a, b, c):
        sinks = [Sink(node) for node in (a, b, c)]
        members = sorted(a.members())
        conversation = Conversation(b, c)
        events = Events(a)
        reference = a.inject_partition(b.name, c.name)
        assert a.partitions() == [(reference, (b.name, c.name))]
        for one, other in ((a, b), (a, c), (b, a), (c, a)):
            one.send(("sink", other.name), "lost")
        await eventually(lambda: parted(a, b) and parted(a, c))
        assert len(events.of(DOWN)) == 2
        with pytest.raises(NotConnected):
            a.send(("sink", b.name), "refused")
        await conversation.goes_on()
        assert [sink.messages for sink in sinks] == [[], [], []]
        assert sorted(a.members()) == sorted(b.members()) == sorted(c.members()) == members
        assert a.resolve_partition(reference)
        assert not a.resolve_partition(reference)
        await eventually(lambda: fully_meshed(a, b, c))
        assert a.partitions() == []
        for one, other in ((a, b), (a, c), (b, a), (c, a)):
            one.send(("sink", other.name), "healed")
        for sink, count in zip(sinks, (2, 1, 1), strict=True):
            assert await sink.has(count) == [b"healed"] * count
        assert taps(a) == 0


async def test_a_cut_node_is_not_dialled_and_may_not_dial() -> None:
    async with running("a", "b") as (a, b):
        with a.faults.partition([a.name], [b.name]):
            with pytest.raises(ConnectFailed, match="cut"):
                await a.join(address_of(b), timeout=0.3)
            with pytest.raises(ConnectFailed):
                await b.join(address_of(a), timeout=0.3)
            assert parted(a, b)
        await a.join(address_of(b))
        await eventually(lambda: fully_meshed(a, b))


async def test_a_contact_without_a_name_is_cut_when_it_says_hello() -> None:
    async with running("a", "b") as (a, b):
        events = Events(a)
        with a.faults.cut(b.name), pytest.raises(ConnectFailed, match="cut"):
            await a.join(str(b.listen_addrs[0]), timeout=0.3)
        errors = [about["error"] for about in events.of("partisan.socket.error")]
        assert {error.reason for error in errors} == {"cut"}


async def test_a_one_way_cut_lets_the_other_way_pass() -> None:
    async with cluster("a", "b") as (a, b):
        here, there = Sink(a), Sink(b)
        with a.faults.cut(b.name) as fault:
            a.send(("sink", b.name), 1)
            b.send(("sink", a.name), 2)
            assert await here.has(1) == [2]
            assert fault.hits >= 1
        a.send(("sink", b.name), 3)
        assert await there.has(1) == [3]


async def test_a_cut_at_the_receiving_end_cuts_as_well() -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        with b.faults.cut(b.name, source=a.name) as fault:
            a.send(("sink", b.name), 1)
            await eventually(lambda: fault.hits >= 1)
        a.send(("sink", b.name), 2)
        assert await sink.has(1) == [2]


async def test_a_peer_that_is_heard_but_cut_is_lost_all_the_same() -> None:
    """What a cut drops must not count as a sign of life: the other side goes on pinging here."""
    async with cluster("a", "b", **QUICK) as (a, b):
        events = Events(a)
        with a.faults.cut(a.name, source=b.name):
            await eventually(lambda: events.of(DOWN, node=b.name))
        await eventually(lambda: fully_meshed(a, b))


async def test_a_fault_that_lasts_for_a_time_heals_by_itself() -> None:
    async with cluster("a", "b", **QUICK) as (a, b):
        events = Events(a)
        a.faults.partition([a.name], [b.name], lasting=0.8)
        await eventually(lambda: events.of(DOWN, node=b.name))
        await eventually(lambda: fully_meshed(a, b))
        sink = Sink(b)
        a.send(("sink", b.name), 1)
        await sink.has(1)
        await eventually(lambda: taps(a) == 0)


async def test_what_cannot_be_parted_is_refused() -> None:
    async with running("a") as (a,):
        with pytest.raises(ValueError, match="one group"):
            a.inject_partition(a.name)
        with pytest.raises(ValueError, match="empty"):
            a.inject_partition()
        with pytest.raises(ConfigError):
            a.inject_partition("no name")
        for wrong in (lambda: a.faults.cut("b"), lambda: a.faults.suspect("b"), lambda: a.faults.omit(source="b")):
            with pytest.raises(ConfigError):
                wrong()
        with pytest.raises(ValueError, match="kinds"):
            a.faults.omit(kind="users")
        for lasting in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="a rule from"):
                a.faults.omit(lasting=lasting)
        assert a.partitions() == []
        assert len(a.faults.rules) == 0


async def test_a_partition_that_was_removed_as_a_rule_is_none_any_more() -> None:
    async with running("a") as (a,):
        reference = a.inject_partition("b@127.0.0.1")
        [rule] = a.faults.rules
        assert a.partitions() == [(reference, ("b@127.0.0.1",))]
        a.faults.remove(1)
        assert rule not in list(a.faults.rules)
        assert a.partitions() == []
        assert not a.resolve_partition(reference)


# Messages.


async def test_messages_are_omitted_as_often_as_is_said() -> None:
    async with undisturbed() as (a, b):
        sink = Sink(b)
        with a.faults.omit(destination=b.name, kind="user", channel="undefined", skip=2, times=3) as fault:
            events = Events(a)
            taken = a.router.send
            for number in range(10):
                taken(("sink", b.name), number)
            messages = await sink.has(7)
        dropped = events.of("partisan.queue.dropped", node=b.name, kind="user", fault=True)
        assert (fault.hits, len(dropped)) == (3, 3)
        assert len(messages) == 7
        assert messages == sorted(messages)


async def test_messages_are_duplicated_in_their_order() -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        with a.faults.duplicate(2, kind="user", times=2):
            for number in range(4):
                a.send(("sink", b.name), number)
            assert await sink.has(8) == [0, 0, 0, 1, 1, 1, 2, 3]
        assert a.faults.counts == {"duplication": 2}


async def test_a_large_message_is_duplicated_whole_at_either_end() -> None:
    message = random.Random(1).randbytes(300_000)
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        a.faults.duplicate(kind="user")
        b.faults.duplicate(kind="user")
        a.send(("sink", b.name), (message, message[:100_000]))
        assert await sink.has(4) == [(message, message[:100_000])] * 4


async def test_messages_are_reordered_and_none_is_lost() -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        with a.faults.reorder(0.05, kind="user"):
            for number in range(50):
                a.send(("sink", b.name), number)
            messages = list(await sink.has(50))
        assert sorted(messages) == list(range(50))
        assert messages != sorted(messages)
        for number in range(50):
            a.send(("sink", b.name), number)
        assert (await sink.has(100))[50:] == list(range(50))


async def test_the_same_seed_and_messages_suffer_the_same() -> None:
    runs = []
    for _ in range(2):
        async with cluster("a", "b") as (a, b):
            sink = Sink(b)
            a.faults.seed("1")
            with a.faults.omit(probability=0.5, kind="user"):
                for number in range(64):
                    a.send(("sink", b.name), number)
            a.send(("sink", b.name), None)
            await eventually(lambda sink=sink: sink.messages and sink.messages[-1] is None)
            runs.append(sink.messages)
    assert runs[0] == runs[1]
    assert 10 < len(runs[0]) < 55


async def test_a_delay_keeps_the_order_and_what_is_sent_after_it_stays_behind() -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        with a.faults.delay(0.1, kind="user"):
            a.send(("sink", b.name), 1)
        assert taps(a) > 0  # what is delayed is still in them
        a.send(("sink", b.name), 2)
        assert await sink.has(2) == [1, 2]
        await eventually(lambda: taps(a) == 0)


async def test_what_is_delayed_counts_as_queued_and_relieves_when_it_goes() -> None:
    async with cluster("a", "b", channels={"undefined": {"max_queue_octets": 1000}}) as (a, b):
        Sink(b)
        with a.faults.delay(0.1, kind="user"):
            a.send(("sink", b.name), b"x" * 2000)
            assert a.queued_octets(b.name) > 2000
            await a.drain(b.name)
            assert a.queued_octets(b.name) == 0


async def test_what_is_delayed_is_written_before_the_node_stops() -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        a.faults.delay(60.0, kind="user")
        a.send(("sink", b.name), 1)
        await a.stop()
        assert await sink.has(1) == [1]


async def test_what_is_delayed_on_its_way_in_is_delivered_before_the_connection_is_gone() -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        b.faults.delay(60.0, kind="user", source=a.name)
        a.send(("sink", b.name), 1)
        await a.stop()
        assert await sink.has(1) == [1]


# Bits.


async def test_a_flipped_bit_is_a_named_error_there_and_nothing_else_is_disturbed() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        conversation = Conversation(b, c)
        events = Events(b)
        with a.faults.flip(positions=[0.0], times=1, destination=b.name, kind="user"):
            a.send(("nobody", b.name), 1)
            await eventually(events.errors)
        (error,) = events.errors()
        assert isinstance(error, FrameError)
        assert "it begins with octet 3" in str(error)
        await conversation.goes_on()
        assert events.of("partisan.socket.close", node=c.name) == []
        await eventually(lambda: fully_meshed(a, b, c))
        sink = Sink(b)
        a.send(("sink", b.name), 2)
        assert await sink.has(1) == [2]


async def test_whatever_bits_are_flipped_the_receiver_lives_and_names_what_is_wrong() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        conversation = Conversation(b, c)
        sink, events = Sink(b), Events(b)
        a.faults.seed(7)
        with a.faults.flip(2, destination=b.name, kind="user"):
            sent = 0
            while sent < 150 or not events.errors():
                try:
                    a.send(("sink", b.name), {"key": (1, 2.0, [Atom("atom"), b"octets"], a.make_ref())})
                    sent += 1
                except NotConnected:
                    await eventually(lambda: a.is_connected(b.name))
                if sent % 10 == 0:
                    await conversation.goes_on()
        await eventually(lambda: fully_meshed(a, b, c))
        assert all(isinstance(error, (RemoteProtocolError, str)) for error in events.errors())
        assert events.of("partisan.socket.close", node=c.name) == []
        before = len(sink.messages)
        a.send(("sink", b.name), "whole")
        assert (await sink.has(before + 1))[-1] == b"whole"


# The failure detector.


async def test_a_false_suspicion_is_a_down_and_then_a_recovery() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        conversation = Conversation(a, c)
        events = Events(a)
        fault = a.faults.suspect(b.name)
        assert events.of(DOWN) == [{"node": b.name}]
        assert fault.hits == 1
        await eventually(lambda: events.of(UP, node=b.name))
        await eventually(lambda: fully_meshed(a, b, c))
        await conversation.goes_on()
        sink = Sink(b)
        a.send(("sink", b.name), 1)
        await sink.has(1)
        assert sorted(a.members()) == sorted(b.members()) == sorted([a.name, b.name, c.name])


async def test_suspicions_arise_again_until_they_are_removed() -> None:
    async with cluster("a", "b") as (a, b):
        with a.faults.suspect(b.name, every=0.05, times=None) as fault:
            await eventually(lambda: fault.hits >= 3)
        hits = fault.hits
        await eventually(lambda: fully_meshed(a, b))
        assert fault.hits == hits


# Requests of peers.


def injection(origin: Node) -> tuple[Any, ...]:
    return (Atom("inject_partition"), origin.make_ref(), origin.spec, 1)


async def test_fault_control_of_a_peer_is_refused_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a", **FAST) as (a,):
        events = Events(a)
        async with greeted(a) as peer:
            for term in ((Atom("inject_partition"), 1, {}, 1), (Atom("resolve_partition"), 1)):
                peer.tell((Atom("forward_message"), MANAGER, term))
            await eventually(lambda: len(events.errors()) == 2)
            assert "not configured for testing" in str(events.errors()[0])
            assert sum("refuses" in record.getMessage() for record in caplog.records) == 2
            assert a.partitions() == []
            assert events.of("partisan.socket.close") == []


async def test_under_testing_a_peer_may_part_the_node_from_all_others_and_heal_it() -> None:
    async with cluster("a", "b", "c", testing=True, **QUICK) as (a, b, c):
        reference = b.make_ref()
        manager = (str(MANAGER), a.name)
        b.send(manager, (Atom("inject_partition"), reference, {}, 1))
        await eventually(lambda: parted(a, c))
        assert [names for _, names in a.partitions()] == [(c.name,)]
        assert a.is_connected(b.name)
        b.send(manager, (Atom("resolve_partition"), reference))
        await eventually(lambda: fully_meshed(a, b, c))
        assert a.partitions() == []


async def test_malformed_fault_control_is_refused_under_testing_too() -> None:
    async with running("a", testing=True) as (a,):
        events = Events(a)
        async with greeted(a) as peer:
            for term in (
                (Atom("inject_partition"), 1),
                (Atom("resolve_partition"), 1, 2),
                (Atom("resolve_partition"), ([1], 2)),
            ):
                peer.tell((Atom("forward_message"), MANAGER, term))
            await eventually(lambda: len(events.errors()) == 3)
            assert a.partitions() == []


# Without faults.


async def test_without_faults_there_is_no_tap_and_after_them_there_is_none_either() -> None:
    async with cluster("a", "b") as (a, b):
        assert taps(a) == taps(b) == 0
        with a.faults.omit(source="nobody@nowhere"):
            assert taps(a) > 0
        assert taps(a) == 0
        assert partisan.Node is Node


# All at once.


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_suffered_the_nodes_are_whole_again_when_it_is_over(seed: int) -> None:
    """Every kind of frame suffers, at both ends, while nodes talk; only wrong gossip could not be told from right."""
    short = {"handshake_timeout": 0.3, "reconnect_backoff_max": 0.1}
    async with cluster("a", "b", "c", periodic_interval=0.02, **QUICK, **short) as nodes:
        a, b, c = nodes
        sinks = [Sink(node) for node in nodes]
        for number, node in enumerate(nodes):
            faults = node.faults
            faults.seed(f"{seed}/{number}")
            faults.omit(probability=0.05)
            faults.duplicate(probability=0.2)
            faults.reorder(0.02, probability=0.3)
            faults.delay(0.005, probability=0.3)
            faults.flip(probability=0.03, kind=("user", "keepalive"))
            faults.suspect([other.name for other in nodes if other is not node], every=0.3, times=None)
        a.inject_partition(b.name)
        sent = 0

        def talk() -> bool:
            nonlocal sent
            for node in nodes:
                for other in nodes:
                    if node is not other and node.is_connected(other.name):
                        try:
                            node.send(("sink", other.name), (sent, b"x" * (sent % 7) * 20_000))
                            sent += 1
                        except NotConnected:
                            sent += 0  # between the loss and the news of it
            return sent >= 400 and all(node.faults.counts.get("suspicion", 0) >= 2 for node in nodes)

        await eventually(talk, timeout=20.0)
        for node in nodes:
            assert sum(node.faults.counts.values()) > 20
            node.faults.clear()
        await eventually(lambda: fully_meshed(a, b, c))
        await eventually(lambda: not any(map(taps, nodes)))
        for node, sink in zip(nodes, sinks, strict=True):
            for other in nodes:
                if other is not node:
                    other.send(("sink", node.name), "whole")
            await eventually(lambda sink=sink: sink.messages.count(b"whole") == 2)


# What is acknowledged.


async def test_acknowledged_messages_survive_omission_and_duplication_once_each() -> None:
    options = {"retransmit_interval": 0.05, "retransmit_backoff_max": 0.2, "retransmit_jitter": 0.0}
    async with cluster("a", "b", **options) as (a, b):
        sink = Sink(b)
        a.faults.seed(1)
        b.faults.seed(2)
        lost = a.faults.omit(kind="user", probability=0.5)
        unheard = b.faults.omit(kind="acknowledgement", source=b.name, times=1)
        a.faults.duplicate(kind="user", probability=0.5)
        for number in range(20):
            a.forward_message(("sink", b.name), number, ack=True)
        await eventually(lambda: a.unacknowledged(b.name) == 0)
        assert sorted(await sink.has(20)) == list(range(20))
        assert lost.hits > 0
        assert unheard.hits == 1
