"""Messages in msgpack between nodes of this package, and plain messages to everybody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import FORWARD, greeted, member
from support import FAST, Events, Sink, address_of, cluster, eventually, fully_meshed, running, undisturbed

import partisan
from partisan import Atom, Node
from partisan.errors import RemoteProtocolError
from partisan.etf import Codec, ErlMap, ImproperList
from partisan.runtime.payload import PayloadCodec

MSGPACK = {"data": {"payload": "msgpack"}}
PYTHON, CAPABILITIES, TAG = Atom("partisan_python"), Atom("capabilities"), Atom("msgpack")
# What every node of ours offers.
EXTRAS = [Atom(name) for name in ("acks", "calls", "erpc", "exchange", "exit", "kept", "links", "relay", "spawn")]
PAYLOADS = PayloadCodec(Codec(remote_refs=True))

MESSAGES: list[Any] = [
    1,
    2**80,
    -1.5,
    None,
    True,
    "text",
    b"octets",
    Atom("ok"),
    (Atom("add"), [1, (2, ())]),
    {"key": [1, 2], (1, "a"): {}},
    ErlMap([(1, "int"), (1.0, "float")]),
    ImproperList([1], 2),
    bytes(100_000),
]


def agreed(node: Node, peer: str, channel: str = "data") -> bool:
    """Whether what the node sends to the peer on the channel is a payload."""
    return node.table.lane(peer, channel).envelope is not None


async def test_messages_arrive_as_the_term_codec_brings_them() -> None:
    async with cluster("a", "b", channels=MSGPACK) as (a, b):
        await eventually(lambda: agreed(a, b.name) and agreed(b, a.name))
        coded, plain = Sink(b, "coded"), Sink(b, "plain")
        for message in MESSAGES:
            a.send(("coded", b.name), message, channel="data")
            a.send(("plain", b.name), message)
        assert await coded.has(len(MESSAGES)) == await plain.has(len(MESSAGES))
        assert [type(message) for message in coded.messages] == [type(message) for message in plain.messages]


async def test_a_pid_is_a_target_and_travels_in_a_message() -> None:
    async with cluster("a", "b", channels=MSGPACK) as (a, b):
        await eventually(lambda: agreed(a, b.name) and agreed(b, a.name))
        here = Sink(a, "here")

        async def echo() -> None:
            caller, number = await partisan.receive()
            b.send(caller, (partisan.self(), number), channel="data")

        pid = b.spawn(echo)
        a.send(pid, (here.pid, 7), channel="data")
        assert await here.has(1) == [(pid, 7)]


async def test_a_node_that_wants_no_payloads_still_takes_them() -> None:
    async with running("a", channels=MSGPACK) as [a], running("b", channels=["data"]) as [b]:
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b) and agreed(a, b.name))
        assert not agreed(b, a.name)
        there, here = Sink(b), Sink(a)
        a.send(("sink", b.name), ("text", Atom("ok")), channel="data")
        b.send(("sink", a.name), ("text", Atom("ok")), channel="data")
        assert await there.has(1) == await here.has(1) == [(b"text", Atom("ok"))]


async def test_order_is_kept_when_the_codec_changes_in_mid_stream() -> None:
    async with (
        member("p@127.0.0.1", {None: 1, "data": 1}) as peer,
        Node("a@127.0.0.1:0", **FAST, channels=MSGPACK) as a,
        greeted(a, "p@127.0.0.1") as script,
    ):
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1", "data"))
        script.tell((FORWARD, PYTHON, (CAPABILITIES, Atom("p@127.0.0.1"), 1, [Atom("answer"), TAG])))
        sent = after = 0
        while after < 100:  # most of the first are written before the answer is read
            a.send(("echo", "p@127.0.0.1"), sent, channel="data")
            sent, after = sent + 1, after + agreed(a, "p@127.0.0.1")
            if sent % 10 == 0:
                await script.flushed()
        [stream] = peer.of("data")
        await eventually(lambda: len(stream.heard) == sent)
        assert sent > after
        assert [type(message) for message in stream.heard] == [int] * (sent - after) + [tuple] * after
        assert [PAYLOADS.decode(m[2]) if type(m) is tuple else m for m in stream.heard] == list(range(sent))


async def test_an_agreement_is_forgotten_with_the_last_connection_and_made_anew() -> None:
    async with cluster("a", "b", channels=MSGPACK) as (a, b):
        await eventually(lambda: agreed(a, b.name) and agreed(b, a.name))
        a._manager.disconnect(b.name)
        assert not a.is_connected(b.name)
        assert not agreed(a, b.name)
        await eventually(lambda: agreed(a, b.name))
        assert agreed(b, a.name)


async def test_a_peer_that_never_answers_is_offered_once_and_spoken_to_plainly() -> None:
    async with (
        member("p@127.0.0.1", {None: 1, "data": 1}) as peer,
        Node("a@127.0.0.1:0", **FAST, channels=MSGPACK) as a,
        greeted(a, "p@127.0.0.1"),
    ):
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1", "data"))
        for number in range(10):
            a.send(("echo", "p@127.0.0.1"), (number, "text"), channel="data")
        await eventually(lambda: len(peer.messages()) == 10)
        assert peer.offers == [(CAPABILITIES, Atom(a.name), 1, sorted([*EXTRAS, TAG], key=str))]
        assert peer.messages() == [(n, b"text") for n in range(10)]


async def test_an_offer_is_answered() -> None:
    async with (
        member("p@127.0.0.1", {None: 1}) as peer,
        Node("a@127.0.0.1:0", **FAST) as a,
        greeted(a, "p@127.0.0.1") as script,
    ):
        await peer.joined_by(a)
        await eventually(lambda: peer.offers)
        script.tell((FORWARD, PYTHON, (CAPABILITIES, Atom("p@127.0.0.1"), 1, [TAG, Atom("later")])))
        await eventually(lambda: len(peer.offers) == 2)
        assert peer.offers[1] == (CAPABILITIES, Atom(a.name), 1, sorted([*EXTRAS, Atom("answer"), TAG], key=str))


async def test_a_peer_that_agrees_is_sent_payloads_and_its_manager_is_not() -> None:
    channels = {**MSGPACK, "partisan_membership": {"payload": "msgpack"}}
    async with (
        member("p@127.0.0.1", {None: 1, "data": 1}) as peer,
        Node("a@127.0.0.1:0", **FAST, channels=channels) as a,
        greeted(a, "p@127.0.0.1") as script,
    ):
        await peer.joined_by(a)
        script.tell((FORWARD, PYTHON, (CAPABILITIES, Atom("p@127.0.0.1"), 1, [Atom("answer"), TAG])))
        await eventually(lambda: agreed(a, "p@127.0.0.1"))
        a.send(("echo", "p@127.0.0.1"), (1, "text"), channel="data")
        await eventually(lambda: len(peer.messages()) == 1)
        tag, target, octets = peer.messages()[0]
        assert (tag, target) == (TAG, Atom("echo"))
        assert PAYLOADS.decode(octets) == (1, b"text")
        a.send(("partisan_pluggable_peer_service_manager", "p@127.0.0.1"), Atom("x"), channel="data")
        a.send(("echo", "p@127.0.0.1"), 2, channel="data")
        await eventually(lambda: len(peer.messages()) == 2)
        assert PAYLOADS.decode(peer.messages()[1][2]) == 2


@pytest.mark.parametrize(
    "extra",
    [
        (TAG, Atom("sink"), b"\xdd\xff\xff\xff\xff"),
        (TAG, Atom("sink"), b"\xc1"),
        (TAG, Atom("sink"), b""),
        (TAG, Atom("sink"), 1),
        (TAG, Atom("sink")),
        (TAG, PYTHON, PAYLOADS.encode((TAG, Atom("sink"), PAYLOADS.encode(1)))),
        (CAPABILITIES, Atom("p@127.0.0.1"), 1, TAG),
        (CAPABILITIES, Atom("somebody@else"), 1, [TAG]),
        (CAPABILITIES, Atom("p@127.0.0.1"), 1, [TAG] * 65),
        (Atom("kept"), 1),
        (Atom("kept"), (FORWARD, Atom("somebody@else"), (None, [(Atom("somebody@else"), 1)]), Atom("sink"), 1)),
        (Atom("unknown"), 1),
        (),
        1,
    ],
)
async def test_a_malformed_extra_ends_its_own_connection_with_a_named_error(extra: Any) -> None:
    async with undisturbed(channels=MSGPACK) as (a, _), greeted(a, "p@127.0.0.1") as script:
        events = Events(a, "partisan.frame.rejected")
        sink = Sink(a)
        script.tell((FORWARD, PYTHON, extra))
        await script.ended()
        [error] = events.errors()
        assert isinstance(error, RemoteProtocolError)
        assert sink.messages == []


async def test_a_wait_for_an_agreement_that_is_given_up_leaves_nothing_behind() -> None:
    async with running("a") as (a,):
        for _ in range(3):
            await a._python.agreement("ghost@127.0.0.1", 0.0)
        waiting = asyncio.create_task(a._python.agreement("ghost@127.0.0.1", 3600.0))
        other = asyncio.create_task(a._python.agreement("ghost@127.0.0.1", 3600.0))
        await eventually(lambda: len(a._python._waiters.get("ghost@127.0.0.1", ())) == 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(a._python._waiters["ghost@127.0.0.1"]) == 1
        a._python._let_go("ghost@127.0.0.1")
        await other
        assert not a._python._waiters
