"""How messages between Python nodes and nodes of Partisan are delivered: acknowledged, causal, in order, late."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from partisans import Partisan, eventually, meshed, python, real
from scripted import dial, encode, greeted
from support import Events, Sink

from partisan import Node, NotAcknowledged, NotConnected, telemetry
from partisan.etf import Atom

OK = Atom("ok")
QUICK = {"retransmit_interval": 0.1, "retransmit_backoff_max": 0.2}
MANY = 100_000
ORDER = {"causal_labels": "[order]"}


@asynccontextmanager
async def pair(ours: dict[str, Any] | None = None, **env: str) -> AsyncIterator[tuple[Partisan, Node, Sink]]:
    """A node of Partisan and one of Python, joined; and the Python one's sink."""
    async with real(**env) as far, python(**(ours or {})) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        yield far, py, sink


async def nothing_waits(far: Partisan, py: Node) -> None:
    """Wait until neither keeps a message for its acknowledgement."""
    await eventually(lambda: not py.unacknowledged(far.name), f"{far.name} has acknowledged all")

    async def look() -> bool:
        return not await far.unacknowledged()

    await eventually(look, f"{py.name} has acknowledged all")


def numbers(messages: list[Any], key: object = None) -> list[int]:
    """The numbers of what `Partisan.number` has sent with that key."""
    return [number for found, number in messages if found == key]


async def test_acknowledged_messages_come_once_and_in_order_both_ways_and_nothing_is_kept() -> None:
    async with pair({"channels": {"bulk": {}}}, channels="#{bulk => #{}}") as (far, py, sink):
        for channel in ("undefined", "bulk", "unheard_of"):
            sink.messages.clear()
            await far.number(py.name, 200, f"#{{ack => true, channel => {channel}}}")
            for number in range(200):
                py.forward_message(
                    ("sink", far.name), number, ack=True, channel=None if channel == "undefined" else channel
                )
            assert numbers(await sink.has(200)) == list(range(200))
            assert await far.gathered(200) == list(range(200))
            await nothing_waits(far, py)
        assert len(sink.messages) == 200


async def test_what_is_delivered_has_been_acknowledged_by_the_node_of_partisan() -> None:
    async with pair() as (far, py, _):
        await py.deliver(("sink", far.name), Atom("there"))
        assert await far.taken() == [Atom("there")]
        await py.deliver(("nobody", far.name), Atom("there"))
        assert py.unacknowledged(far.name) == 0


async def test_what_a_node_of_partisan_sends_again_is_seen_once() -> None:
    async with pair(retransmit_interval="100") as (far, py, sink):
        with py.faults.omit(destination=far.name, kind="acknowledgement"):
            unsaid = Events(py, telemetry.QUEUE_DROPPED, handler_id="unsaid")
            await far.number(py.name, 50, "#{ack => true}")
            await eventually(lambda: len(unsaid.seen) >= 150, "each has come twice more")
            assert await far.unacknowledged() == 50
        await nothing_waits(far, py)
        assert numbers(sink.messages) == list(range(50))


async def test_what_is_lost_on_the_way_to_a_node_of_partisan_is_sent_again() -> None:
    async with pair(QUICK) as (far, py, _):
        with py.faults.omit(destination=far.name, kind="user", probability=0.5):
            for number in range(100):
                py.forward_message(("sink", far.name), number, ack=True)
            await nothing_waits(far, py)
        assert sorted(set(await far.gathered(100))) == list(range(100))


async def test_while_a_connection_of_a_node_of_partisan_stays_ours_sees_each_once_whatever_else_is_cut() -> None:
    async with pair(QUICK, retransmit_interval="100") as (far, py, sink):
        for round in range(5):
            await far.number(py.name, 50, "#{ack => true}", first=50 * round)
            py.kill_connections(far.name)
            await eventually(lambda: py.is_connected(far.name), "it is connected again")
        await nothing_waits(far, py)
        assert sorted(numbers(sink.messages)) == list(range(250))


async def test_nothing_acknowledged_is_lost_by_cuts_of_everything_in_both_directions() -> None:
    env = {"retransmit_interval": "200", "connection_interval": "100", "provoked": "Failed to send"}
    async with pair(QUICK, **env) as (far, py, sink):
        for round in range(5):
            await far.number(py.name, 50, "#{ack => true}", first=50 * round)
            for number in range(50 * round, 50 * round + 50):
                py.forward_message(("sink", far.name), number, ack=True)
                if number == 50 * round + 25:
                    py.kill_connections(far.name)
            if round % 2:
                await far.eval(f"partisan_peer_connections:kill('{py.name}')")
            else:
                py._acceptor.disconnect(far.name)
            await eventually(lambda: py.is_connected(far.name), "it is connected again")
        await nothing_waits(far, py)
        assert set(numbers(sink.messages)) == set(range(250))  # what was in doubt at a cut of all may come twice
        assert set(await far.gathered(250)) == set(range(250))
        await meshed([far, py])


async def test_what_is_not_acknowledged_in_time_is_reported_and_does_not_come_again() -> None:
    ours = {**QUICK, "connection_ping": {"idle_timeout": 60.0}}
    async with pair(ours) as (far, py, _):
        far.freeze()
        with pytest.raises(NotAcknowledged):
            await py.deliver(("sink", far.name), Atom("late"), expiry=0.3)
        assert py.unacknowledged(far.name) == 0
        far.thaw()
        await py.deliver(("sink", far.name), Atom("next"))
        assert (await far.gathered(1))[-1] is Atom("next")


@pytest.mark.parametrize(
    "clock",
    ["nil", "{lbl, [{n, 1}]}", '"abc"', "<<1:3>>", "#{1 => a, 1.0 => b}", "partisan:make_ref()", "-0.0", "[[]]"],
)
async def test_a_clock_of_any_kind_is_acknowledged_as_it_came(clock: str) -> None:
    async with pair() as (far, py, sink):
        assert await far.send(py.name, "sink", "hello", f"#{{ack => true, clock => {clock}}}") is OK
        await sink.has(1)
        await nothing_waits(far, py)


async def test_a_clock_of_ours_is_acknowledged_by_a_node_of_partisan() -> None:
    async with pair() as (far, py, _):
        await py.deliver(("sink", far.name), Atom("hello"), clock=(Atom("mine"), [1, b"2"]))
        assert await far.gathered(1) == [Atom("hello")]


async def test_options_of_every_kind_are_taken_in_both_forms() -> None:
    async with pair(broadcast="true", channels="#{bulk => #{parallelism => 2}}") as (far, py, sink):
        each = [
            "[]",
            "[{channel, bulk}, {partition_key, 3}]",
            "#{channel => bulk, partition_key => 1}",
            "#{transitive => true}",
            f"#{{transitive => true, out_links => ['{py.name}']}}",
            "#{retransmission => true, ack => true}",
            "#{unheard_of => 1}",
        ]
        for place, options in enumerate(each):
            assert await far.send(py.name, "sink", str(place), options) is OK
        assert sorted(await sink.has(len(each))) == list(range(len(each)))
        assert await far.eval(f"partisan:forward_message({{sink, '{py.name}'}}, tuple)") is OK
        assert await far.eval(f"partisan:cast_message('{py.name}', sink, cast)") is OK
        await sink.heard(lambda message: message == (Atom("$gen_cast"), Atom("cast")))


async def test_what_a_node_of_partisan_would_have_relayed_is_no_harm_to_ours() -> None:
    async with pair({"broadcast": True}, broadcast="true") as (far, py, sink):
        options = f"#{{transitive => true, out_links => ['{py.name}']}}"
        await far.send("nowhere@127.0.0.1", "sink", "lost", options)
        with pytest.raises(NotConnected):
            py.forward_message(("sink", "nowhere@127.0.0.1"), 1, transitive=True)
        assert await far.send(py.name, "sink", "next") is OK
        await sink.heard(lambda message: message is Atom("next"))
        py.send(("sink", far.name), Atom("next"))
        assert await far.gathered(1) == [Atom("next")]


@pytest.mark.parametrize("ack", [False, True])
async def test_causal_messages_come_in_their_order_both_ways(ack: bool) -> None:
    async with pair({"causal_labels": ["order"]}, **ORDER) as (far, py, sink):
        await far.number(py.name, 100, f"#{{causal_label => order, ack => {str(ack).lower()}}}")
        for number in range(100):
            py.forward_message(("sink", far.name), number, causal_label="order", ack=ack)
        assert numbers(await sink.has(100)) == list(range(100))
        assert await far.gathered(100) == list(range(100))
        assert py.causal_waiting("order") == 0


async def test_what_is_lost_of_a_causal_order_is_waited_for_until_a_node_of_partisan_sends_it_again() -> None:
    env = {**ORDER, "retransmit_interval": "300"}
    async with pair({"causal_labels": ["order"]}, **env) as (far, py, sink):
        with py.faults.omit(source=far.name, kind="user", times=1):
            await far.number(py.name, 3, "#{causal_label => order, ack => true}")
            assert numbers(await sink.has(3)) == [0, 1, 2]
        await far.number(py.name, 2, "#{causal_label => order}", first=3)
        assert numbers(await sink.has(5)) == list(range(5))


async def test_a_hundred_thousand_messages_come_in_order_from_a_node_of_partisan() -> None:
    async with pair() as (far, py, sink):
        await far.number(py.name, MANY)
        assert numbers(await sink.has(MANY, 60.0)) == list(range(MANY))


async def test_a_hundred_thousand_messages_come_in_order_to_a_node_of_partisan() -> None:
    async with pair() as (far, py, _):
        for number in range(MANY):
            py.send(("sink", far.name), number)
            if number % 1000 == 999:
                await py.drain(far.name)
        assert await far.gathered(MANY) == list(range(MANY))


async def test_delays_of_either_side_keep_the_order() -> None:
    ours = {"ingress_delay": 0.02, "egress_delay": 0.02}
    async with pair(ours, ingress_delay="5", egress_delay="5") as (far, py, sink):
        await far.number(py.name, 50)
        for number in range(50):
            py.send(("sink", far.name), number)
        assert numbers(await sink.has(50)) == list(range(50))
        assert await far.gathered(50) == list(range(50))


async def test_without_its_fast_paths_a_node_of_partisan_is_understood_as_well() -> None:
    async with pair(disable_fast_forward="true", disable_fast_receive="true") as (far, py, sink):
        await far.number(py.name, 100)
        for number in range(100):
            py.send(("sink", far.name), number)
        assert numbers(await sink.has(100)) == list(range(100))
        assert await far.gathered(100) == list(range(100))


async def test_interposition_sees_changes_and_drops_what_is_exchanged_with_a_node_of_partisan() -> None:
    async with pair() as (far, py, sink):
        drop = Atom("drop")
        py.add_interposition("drop", lambda kind, peer, message: None if message is drop else (kind, message))
        for message in (Atom("drop"), Atom("keep")):
            py.send(("sink", far.name), message)
            await far.send(py.name, "sink", message.name)
        assert await sink.has(1) == [("receive_message", Atom("keep"))]
        assert await far.gathered(1) == [(b"forward_message", Atom("keep"))]
        assert py.remove_interposition("drop")


async def test_random_octets_at_ours_disturb_nothing_between_it_and_a_node_of_partisan() -> None:
    rng = random.Random(7)
    async with real() as far, python(provoked=".") as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        before = py.connections()
        for number in range(60):
            async with dial(py) if number % 2 else greeted(py, far.name) as peer:
                peer.write(rng.randbytes(rng.choice((1, 4, 100, 5000))))
                frame = bytearray(encode((Atom("forward_message"), Atom("sink"), [number, {b"k": (1.5, Atom("x"))}])))
                frame[rng.randrange(len(frame))] = rng.randrange(256)
                peer.write(len(frame).to_bytes(4, "big") + bytes(frame))
                peer.hang_up()
            assert await far.send(py.name, "sink", f"{{number, {number}}}") is OK
            py.send(("sink", far.name), number)
        assert await far.gathered(60) == list(range(60))
        await sink.heard(lambda message: message == (Atom("number"), 59))
        assert py.connections() == before


async def test_a_slow_reader_on_either_side_gets_everything() -> None:
    async with pair() as (far, py, _):
        far.freeze()
        payload = b"x" * 100_000
        for number in range(200):
            py.send(("sink", far.name), (number, payload))
        assert py.queued_octets(far.name) > 0
        far.thaw()
        assert [number for number, _ in await far.gathered(200)] == list(range(200))
