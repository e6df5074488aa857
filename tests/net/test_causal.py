"""Messages in causal order over sockets: reordered, cut off, acknowledged, and with a script that is a real node."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripted import ACK, FORWARD, MANAGER, Connection, Member, greeted, host
from support import Events, Sink, cluster, eventually, running

import partisan
from partisan import Atom, NotConnected
from partisan.errors import ConfigError, UnknownLabel

B = "b@127.0.0.1"
LABEL = {"causal_labels": ["default"]}
LANES = {"channels": {"slow": {}, "fast": {}}, **LABEL}
ORDER: dict[str, Any] = {"causal_label": "default"}
CAUSAL, DEFAULT, SINK = Atom("causal"), Atom("default"), Atom("sink")


async def agreed(*nodes: partisan.Node) -> None:
    """Wait until all of them settle with each other."""
    await eventually(lambda: all(len(node._causal._settling) == len(nodes) - 1 for node in nodes))


async def test_what_a_third_node_relays_waits_for_what_came_before_it() -> None:
    async with cluster("a", "b", "c", **LANES) as [a, b, c]:
        at_b, at_c = Sink(b), Sink(c)
        with a.faults.delay(0.5, channel="slow", kind="user"):
            a.send(("sink", b.name), 1, channel="slow", **ORDER)
            a.send(("sink", c.name), 2, channel="fast", **ORDER)
            await at_c.has(1)
            c.send(("sink", b.name), 3, channel="fast", **ORDER)
            await eventually(lambda: b.causal_waiting("default") == 1)
            assert at_b.messages == []
            assert await at_b.has(2) == [1, 3]
        assert b.causal_waiting("default") == 0


async def test_without_a_label_and_with_another_it_does_not_wait() -> None:
    async with cluster("a", "b", channels=LANES["channels"], causal_labels=["default", "other"]) as [a, b]:
        sink = Sink(b)
        with a.faults.delay(0.5, channel="slow", kind="user"):
            a.send(("sink", b.name), 1, channel="slow", **ORDER)
            a.send(("sink", b.name), 2, channel="fast", **ORDER)
            a.send(("sink", b.name), 3, channel="fast", causal_label="other")
            a.send(("sink", b.name), 4, channel="fast")
            assert await sink.has(2) == [3, 4]
            assert await sink.has(4) == [3, 4, 1, 2]


async def test_acknowledged_messages_arrive_once_and_in_order_whatever_is_lost() -> None:
    async with cluster("a", "b", "c", **LABEL, retransmit_interval=0.05, retransmit_backoff_max=0.1) as [a, b, c]:
        sink = Sink(b)
        with a.faults.omit(kind="user", probability=0.3), c.faults.duplicate(kind="user", probability=0.3):
            for number in range(0, 200, 2):
                a.send(("sink", b.name), number, ack=True, **ORDER)
                c.forward_message(("sink", b.name), number + 1, ack=True, **ORDER)
            await sink.has(200)
        await eventually(lambda: not a.unacknowledged(b.name) and not c.unacknowledged(b.name))
        assert [each for each in sink.messages if each % 2 == 0] == list(range(0, 200, 2))
        assert [each for each in sink.messages if each % 2] == list(range(1, 200, 2))


async def test_deliver_returns_when_the_message_is_taken_though_it_waits() -> None:
    async with cluster("a", "b", **LANES) as [a, b]:
        sink = Sink(b)
        with a.faults.delay(0.5, channel="slow", kind="user"):
            a.send(("sink", b.name), 1, channel="slow", **ORDER)
            await a.deliver(("sink", b.name), 2, channel="fast", **ORDER)
            assert b.causal_waiting("default") == 1
            assert await sink.has(2) == [1, 2]


async def test_what_a_cut_has_taken_is_not_waited_for() -> None:
    async with cluster("a", "b", "c", **LANES) as [a, b, c]:
        await agreed(a, b, c)
        at_b, at_c = Sink(b), Sink(c)
        missing = Events(b, "partisan.causal.missing")
        a.send(("sink", b.name), 0, **ORDER)
        await at_b.has(1)
        with a.faults.omit(destination=b.name, kind="user"):
            a.send(("sink", b.name), "lost", **ORDER)
        a.send(("sink", c.name), 1, **ORDER)
        await at_c.has(1)
        c.send(("sink", b.name), 2, **ORDER)
        a.send(("sink", b.name), 1, **ORDER)
        await eventually(lambda: b.causal_waiting("default") == 2)
        a._manager.disconnect(b.name)
        assert sorted(await at_b.has(3)) == [0, 1, 2]
        assert missing.of("partisan.causal.missing", node=a.name)


async def test_what_waits_too_long_is_delivered_and_said() -> None:
    async with cluster("a", "b", **LABEL, causal={"patience": 0.2}) as [a, b]:
        sink = Sink(b)
        given_up = Events(b, "partisan.causal.given_up")
        with a.faults.omit(kind="user"):
            a.send(("sink", b.name), "lost", **ORDER)
        a.send(("sink", b.name), 1, **ORDER)
        assert await sink.has(1) == [1]
        assert given_up.of("partisan.causal.given_up", node=a.name, label="default")


async def test_above_the_bound_messages_are_refused_and_those_that_are_kept_come_again() -> None:
    options = {"causal": {"max_waiting": 4}, "retransmit_interval": 0.1, "retransmit_backoff_max": 0.1}
    async with cluster("a", "b", **LABEL, **options) as [a, b]:
        sink = Sink(b)
        refused = Events(b, "partisan.causal.refused")
        with a.faults.omit(kind="user", times=1):
            for number in range(10):
                a.send(("sink", b.name), number, ack=True, **ORDER)
            assert await sink.has(10) == list(range(10))
        assert refused.of("partisan.causal.refused", node=a.name, reason="full")


async def test_a_message_to_its_own_node_is_there_at_once() -> None:
    async with running("a", **LABEL) as [a]:
        sink = Sink(a)
        a.send("sink", 1, **ORDER)
        a.send(sink.pid, 2, ack=True, **ORDER)
        await a.deliver(("sink", a.name), 3, **ORDER)
        assert await sink.has(3) == [1, 2, 3]


async def test_a_label_that_is_not_there_is_a_named_error() -> None:
    async with running("a", **LABEL) as [a]:
        for send in (a.send, a.forward_message):
            with pytest.raises(UnknownLabel, match="no label 'nowhere'; there are default") as caught:
                send(("sink", B), 1, causal_label="nowhere")
            assert caught.value.label == "nowhere"
        with pytest.raises(ConfigError):
            await a.deliver("sink", 1, causal_label="nowhere")
        with pytest.raises(UnknownLabel):
            a.causal_waiting("nowhere")


async def test_what_cannot_be_sent_has_no_place_in_the_order() -> None:
    async with cluster("a", "b", **LABEL) as [a, b]:
        sink = Sink(b)
        a.send(("sink", b.name), 1, **ORDER)
        with pytest.raises(partisan.EncodeError):
            a.send(("sink", b.name), object(), **ORDER)
        with pytest.raises(NotConnected):
            a.send(("sink", "nobody@nowhere"), 1, **ORDER)
        a.send(("sink", b.name), 2, **ORDER)
        assert await sink.has(2) == [1, 2]


@pytest.mark.parametrize("options", [{"clock": 1}, {"clock": 1, "key": 2, "ack": True}, {"key": 1, **ORDER}])
async def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    async with running("a", **LABEL) as [a]:
        with pytest.raises(ValueError, match=r"clock|key"):
            a.send(("sink", B), 1, **options)


async def test_interposed_functions_see_the_message_alone() -> None:
    async with cluster("a", "b", **LABEL) as [a, b]:
        sink = Sink(b)
        seen: list[Any] = []
        a.add_interposition("see", lambda kind, peer, message: seen.append((kind, message)), on="forward", when="pre")
        b.add_interposition("see", lambda kind, peer, message: seen.append((kind, peer)), on="receive", when="pre")
        a.send(("sink", b.name), 1, **ORDER)
        a.send(("sink", b.name), 2, ack=True, **ORDER)
        await sink.has(2)
        assert seen[:2] == [("forward_message", 1), ("forward_message", 2)]
        assert seen[2:] == [("receive_message", a.name)] * 2


async def test_padding_is_taken_off() -> None:
    async with cluster("a", "b", **LABEL, binary_padding=True) as [a, b]:
        sink = Sink(b)
        a.send(("sink", b.name), 1, **ORDER)
        a.send(("sink", b.name), 2, ack=True, **ORDER)
        assert await sink.has(2) == [1, 2]


# With a script that speaks as a real node does.


class Reader(Member):
    """A member that keeps causal frames as they come, and acknowledges what wants it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.frames: list[Any] = []

    async def _handle(self, connection: Connection, term: Any) -> None:
        message = term[-1]
        if type(message) is not tuple or len(message) != 7:
            await super()._handle(connection, term)
            return
        self.frames.append(term)
        if len(term) == 5:
            self.dialler.tell((FORWARD, MANAGER, (ACK, term[2])))


@contextlib.asynccontextmanager
async def reader(node: partisan.Node) -> AsyncIterator[Reader]:
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


def causal(number: int, before: list[Any], message: Any, to: str) -> tuple[Any, ...]:
    """What a real node writes: `before` is the clock of its last message to us."""
    dependencies = [(Atom(to), before)] if before else []
    return (CAUSAL, DEFAULT, Atom(to), SINK, dependencies, [(Atom(B), number)], message)


async def test_a_real_node_is_sent_the_frames_that_it_would_send() -> None:
    async with running("a", **LABEL) as [a], reader(a) as b:
        me = Atom(a.name)
        a.send(("sink", B), 1, **ORDER)
        a.send(("sink", B), 2, ack=True, **ORDER)
        await eventually(lambda: len(b.frames) == 2 and not a.unacknowledged(B))
        [plain, acknowledged] = b.frames
        first = plain[2][5][0][1]
        assert plain == (FORWARD, SINK, (CAUSAL, DEFAULT, Atom(B), SINK, [], [(me, first)], 1))
        clock = [(me, first + 1)]
        wrapped = (CAUSAL, DEFAULT, Atom(B), SINK, [(Atom(B), [(me, first)])], clock, 2)
        assert acknowledged == (FORWARD, me, (DEFAULT, clock), SINK, wrapped)


async def test_a_clock_of_ones_own_comes_back_with_the_acknowledgement() -> None:
    async with running("a", **LABEL) as [a], reader(a) as b:
        a.forward_message(("sink", B), (1, 2, 3, 4, 5, 6, 7), ack=True, clock=("mine", 7), retransmission=False)
        await eventually(lambda: not a.unacknowledged(B))
        assert b.frames == [(FORWARD, Atom(a.name), (b"mine", 7), SINK, (1, 2, 3, 4, 5, 6, 7))]


async def test_messages_of_a_real_node_are_ordered_by_its_own_rule_and_a_restart_of_it_is_noticed() -> None:
    async with running("a", **LABEL) as [a]:
        sink = Sink(a)
        async with greeted(a, B) as b:
            b.tell((FORWARD, SINK, causal(3, [(Atom(B), 1)], "second", a.name)))
            b.tell((FORWARD, SINK, causal(1, [], "first", a.name)))
            b.tell((FORWARD, SINK, causal(1, [], "first again", a.name)))
            assert await sink.has(2) == [b"first", b"second"]
        await eventually(lambda: B not in a._manager._diallers)
        async with greeted(a, B) as b:
            b.tell((FORWARD, SINK, causal(1, [], "another life", a.name)))
            assert (await sink.has(3))[2] == b"another life"


@pytest.mark.parametrize(
    "frame",
    [
        (CAUSAL, Atom("nowhere"), Atom("a@127.0.0.1"), SINK, [], [(Atom(B), 1)], "lie"),
        (CAUSAL, DEFAULT, Atom("c@127.0.0.1"), SINK, [], [(Atom(B), 1)], "lie"),
        (CAUSAL, DEFAULT, Atom("a@127.0.0.1"), SINK, [], [(Atom("c@127.0.0.1"), 1)], "lie"),
        (CAUSAL, DEFAULT, Atom("a@127.0.0.1"), SINK, [], [], "lie"),
        (CAUSAL, DEFAULT, Atom("a@127.0.0.1"), SINK, [], [(Atom(B), 1), (Atom("a@127.0.0.1"), 1 << 62)], "lie"),
        (CAUSAL, DEFAULT, Atom("a@127.0.0.1"), SINK, [], [(Atom(B), 1 << 63)], "lie"),
        (CAUSAL, DEFAULT, Atom("a@127.0.0.1"), SINK, [], [(Atom(B), 1), (Atom(B), 2)], "lie"),
        (CAUSAL, DEFAULT, Atom("a@127.0.0.1"), SINK, [(Atom("a@127.0.0.1"), [(Atom(B), 1)])], [(Atom(B), 1)], "lie"),
    ],
)
@pytest.mark.parametrize("wanted", [False, True])
async def test_a_clock_that_lies_costs_that_message_and_nothing_else(frame: Any, wanted: bool) -> None:
    async with running("a", **LABEL) as [a]:
        sink = Sink(a)
        rejected = Events(a, "partisan.frame.rejected")
        async with greeted(a, B) as b:
            whole = (FORWARD, Atom(B), (DEFAULT, frame[5]), SINK, frame) if wanted else (FORWARD, SINK, frame)
            b.tell(whole)
            b.tell((FORWARD, SINK, causal(5, [], "true", a.name)))
            assert await sink.has(1) == [b"true"]
        assert len(rejected.of("partisan.frame.rejected", node=B)) == 1


async def test_what_only_looks_causal_is_a_message() -> None:
    async with cluster("a", "b") as [a, b]:
        sink = Sink(b)
        message = (CAUSAL, 1, 2, 3, 4, 5, 6)
        a.send(("sink", b.name), message)
        a.send(("sink", b.name), message, ack=True)
        assert await sink.has(2) == [message, message]
