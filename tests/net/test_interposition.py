"""Interposition on real nodes: what functions see, and what becomes of messages by what they return."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support import Conversation, Events, Sink, cluster, eventually, fully_meshed, running

from partisan import Atom, EncodeError, NotAcknowledged
from partisan.faults import DROP, Delayed

FORWARD, RECEIVE = "forward_message", "receive_message"
SIDES = pytest.mark.parametrize("on", ["forward", "receive"])


async def test_functions_see_user_messages_at_both_ends_and_nothing_of_the_overlay() -> None:
    async with cluster("a", "b", periodic_interval=0.02) as (a, b):
        sink, mine = Sink(b), Sink(a)
        seen: list[Any] = []
        gossip = Events(a, "partisan.membership")
        for node in (a, b):
            node.add_interposition("look", lambda kind, peer, message: seen.append((kind, peer, message)), when="pre")
        a.send(("sink", b.name), 1)
        a.send(sink.pid, 2)
        a.send("sink", "own")
        await sink.has(2)
        await mine.has(1)
        assert seen == [
            (FORWARD, b.name, 1),
            (FORWARD, b.name, 2),
            (RECEIVE, a.name, 1),
            (RECEIVE, a.name, 2),
        ]
        c_name = None
        async with running("c") as (c,):
            await c.join(f"a@{a.listen_addrs[0]}")
            await eventually(lambda: fully_meshed(a, b, c))
            c_name = c.name
        assert gossip.of("partisan.membership.peer.join", node=c_name)
        assert len(seen) == 4


@SIDES
async def test_messages_are_changed_by_each_function_in_turn(on: Any) -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        node = a if on == "forward" else b
        node.add_interposition("add", lambda kind, peer, message: message + 1, on)
        node.add_interposition("double", lambda kind, peer, message: message * 2, on)
        a.send(("sink", b.name), 3)
        assert await sink.has(1) == [8]
        assert list(node.interpositions(on)) == ["add", "double"]
        assert node.remove_interposition("add", on)
        assert not node.remove_interposition("add", on)
        a.send(("sink", b.name), 3)
        assert await sink.has(2) == [8, 6]


@SIDES
@pytest.mark.parametrize("answer", [None, DROP])
async def test_none_drops_and_removal_restores(on: Any, answer: Any) -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        node = a if on == "forward" else b
        events = Events(node)
        node.add_interposition("drop", lambda kind, peer, message: answer if message == 1 else message, on)
        for message in (1, 2):
            a.send(("sink", b.name), message)
        assert await sink.has(1) == [2]
        assert len(events.of("partisan.queue.dropped", interposition=True)) == 1
        node.remove_interposition("drop", on)
        a.send(("sink", b.name), 1)
        assert await sink.has(2) == [2, 1]


@SIDES
async def test_a_message_that_is_none_passes_a_function_that_returns_it(on: Any) -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        (a if on == "forward" else b).add_interposition("same", lambda kind, peer, message: message, on)
        a.send(("sink", b.name), None)
        assert await sink.has(1) == [None]


@SIDES
@pytest.mark.parametrize("after", [0.0, 0.05])
async def test_a_delayed_message_is_overtaken_and_arrives(on: Any, after: float) -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        node = a if on == "forward" else b

        def late(kind: str, peer: str, message: Any) -> Any:
            return Delayed(("late", message), after) if message == 1 else message

        node.add_interposition("late", late, on)
        for message in (1, 2):
            a.send(("sink", b.name), message)
        assert await sink.has(2) == [2, (b"late", 1) if on == "forward" else ("late", 1)]


@SIDES
async def test_a_delayed_message_is_seen_by_the_functions_behind(on: Any) -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        node = a if on == "forward" else b
        node.add_interposition("late", lambda kind, peer, message: Delayed(message, 0.01), on)
        node.add_interposition("odd", lambda kind, peer, message: message if message % 2 else DROP, on)
        node.add_interposition("more", lambda kind, peer, message: Delayed(message + 10, 0.01), on)
        for message in (1, 2, 3):
            a.send(("sink", b.name), message)
        assert await sink.has(2) == [11, 13]


async def test_a_delayed_message_that_is_no_term_is_dropped_and_counted() -> None:
    async with cluster("a", "b") as (a, b):
        sink, events = Sink(b), Events(a)
        a.add_interposition(
            "late", lambda kind, peer, message: Delayed(object()) if message == 1 else message, "forward"
        )
        for message in (1, 2):
            a.send(("sink", b.name), message)
        assert await sink.has(1) == [2]
        await eventually(lambda: events.of("partisan.queue.dropped", interposition=True, node=b.name))


async def test_a_delayed_message_to_a_node_that_has_gone_is_dropped_and_counted() -> None:
    async with cluster("a", "b") as (a, b):
        events = Events(a)
        a.add_interposition("late", lambda kind, peer, message: Delayed(message, 0.2), "forward")
        a.send(("sink", b.name), 1)
        await b.stop()
        await eventually(lambda: events.of("partisan.queue.dropped", interposition=True, node=b.name))


async def test_the_stages_run_in_their_order_and_only_interpose_changes() -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        steps: list[Any] = []

        def step(*about: Any) -> str:
            steps.append(about)
            return "changed"

        for when in ("post", "interpose", "pre"):
            a.add_interposition("step", lambda *about, when=when: step(when, *about), "forward", when)
        a.send(("sink", b.name), "as it was")
        assert await sink.has(1) == [b"changed"]
        assert steps == [
            ("pre", FORWARD, b.name, "as it was"),
            ("interpose", FORWARD, b.name, "as it was"),
            ("post", FORWARD, b.name, "as it was", "changed"),
        ]
        a.add_interposition("step", lambda *about: DROP, "forward")
        a.send(("sink", b.name), 1)
        assert steps[-1] == ("post", FORWARD, b.name, 1, DROP)


@SIDES
@pytest.mark.parametrize("when", ["pre", "interpose", "post"])
async def test_an_error_in_a_function_is_logged_by_its_name_and_the_message_passes(
    on: Any, when: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster("a", "b") as (a, b):
        sink, conversation = Sink(b), Conversation(a, b)
        (a if on == "forward" else b).add_interposition("clumsy", lambda *about: 1 // 0, on, when)
        a.send(("sink", b.name), 1)
        assert await sink.has(1) == [1]
        await conversation.goes_on()
    assert any("'clumsy' failed" in record.getMessage() and record.exc_info for record in caplog.records)


async def test_messages_in_msgpack_are_seen_as_they_are() -> None:
    async with cluster("a", "b", channels={"data": {"payload": "msgpack"}}) as (a, b):
        await eventually(lambda: a.table.lane(b.name, "data").envelope)
        sink = Sink(b)
        seen: list[Any] = []
        for node in (a, b):
            node.add_interposition("look", lambda kind, peer, message: seen.append((kind, message)) or message)
        a.send(("sink", b.name), Atom("x"), channel="data")
        assert await sink.has(1) == [Atom("x")]
        assert seen == [(FORWARD, Atom("x")), (RECEIVE, Atom("x"))]


async def test_without_functions_nothing_stands_in_the_way() -> None:
    async with running("a") as (a,):
        assert a.router.forwarding is a.router.receiving is None
        a.add_interposition("look", lambda *about: None, "forward", "pre")
        assert a.router.forwarding is not None
        assert a.router.receiving is None
        a.remove_interposition("look", "both", "pre")
        assert a.router.forwarding is a.router.receiving is None


@pytest.mark.parametrize("wrong", [{"on": "send"}, {"when": "during"}])
async def test_an_unknown_direction_or_stage_is_refused(wrong: dict[str, Any]) -> None:
    async with running("a") as (a,):
        with pytest.raises(ValueError, match="is none of"):
            a.add_interposition("look", print, **wrong)
        with pytest.raises(TypeError):
            a.add_interposition("look", 5)  # type: ignore[arg-type]


async def test_functions_stand_between_whichever_way_a_message_is_acknowledged() -> None:
    async with cluster("a", "b") as [a, b]:
        sink = Sink(b)
        a.add_interposition(
            "case", lambda kind, peer, message: None if message == "drop" else f"{message}!", on="forward"
        )
        with pytest.raises(NotAcknowledged, match="dropped"):
            await a.deliver(("sink", b.name), "drop")
        a.forward_message(("sink", b.name), "drop", ack=True, expiry=5.0)
        a.forward_message(("sink", b.name), "drop", ack=True, retransmission=False)
        await a.deliver(("sink", b.name), "x")
        a.forward_message(("sink", b.name), "y", ack=True, expiry=5.0)
        assert await sink.has(2) == [b"x!", b"y!"]


@pytest.mark.parametrize("how", [{}, {"expiry": 5.0}, {"causal_label": "default"}])
async def test_whoever_waits_for_a_delayed_message_hears_that_it_cannot_be_sent(how: dict[str, Any]) -> None:
    async with cluster("a", "b", causal_labels=["default"]) as [a, b]:
        a.add_interposition("late", lambda kind, peer, message: Delayed(object(), 0.01), on="forward")
        async with asyncio.timeout(5.0):
            with pytest.raises(EncodeError):
                await a.deliver(("sink", b.name), 1, **how)
