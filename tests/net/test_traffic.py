"""Padding, compression and delays of what goes over real sockets."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from scripted import FORWARD, MANAGER, Member, Peer, decode, encode, greeted, member
from support import Sink, cluster, eventually, fully_meshed, running

from partisan import Atom, Node
from tests.oracle.cases import compressed

PADDED = Atom("$partisan_padded")
NAME = "s@127.0.0.1"
SCRIPT = Atom(NAME)

# Padding.


def heard(script: Member) -> list[Any]:
    """What the script was sent but for offers of extras, which are no user messages."""
    return [message for message in script.messages() if type(message) is int or message[0] is not Atom("capabilities")]


async def test_user_messages_are_padded_with_64_octets_that_stay_the_same() -> None:
    async with member(NAME, {None: 1, "partisan_membership": 1}) as script, running("a", binary_padding=True) as (a,):
        await script.joined_by(a)
        for message in (1, (Atom("x"), b"y")):
            a.send(("sink", NAME), message)
        await eventually(lambda: len(heard(script)) == 2)
        padding = heard(script)[0][1]
        assert len(padding) == 64
        assert heard(script) == [(PADDED, padding, 1), (PADDED, padding, (Atom("x"), b"y"))]


@pytest.mark.parametrize("payload", ["etf", "msgpack"])
async def test_padded_messages_arrive_as_they_were_sent_whatever_the_payload(payload: str) -> None:
    async with cluster("a", "b", binary_padding=True, channels={"data": {"payload": payload}}) as (a, b):
        sink = Sink(b)
        if payload == "msgpack":
            await eventually(lambda: a.table.lane(b.name, "data").envelope)
        for message in (1, (PADDED, b"mine", 2), b"x" * 300_000):
            a.send(sink.pid, message, channel="data")
        got = await sink.has(3)
        assert got == [1, (PADDED, b"mine", 2), b"x" * 300_000]


async def test_padding_may_be_turned_on_and_off_while_the_node_runs() -> None:
    async with member(NAME, {None: 1, "partisan_membership": 1}) as script, running("a") as (a,):
        await script.joined_by(a)
        for padded in (False, True, False):
            a._shape_traffic(replace(a.config, binary_padding=padded))
            a.send(("sink", NAME), 1)
        await eventually(lambda: len(heard(script)) == 3)
        assert [type(message) for message in heard(script)] == [int, tuple, int]


CLOCK = [(SCRIPT, 1)]
FORMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda padded: (FORWARD, Atom("sink"), padded),
    "acknowledged": lambda padded: (FORWARD, SCRIPT, (None, CLOCK), Atom("sink"), padded),
    "through the manager": lambda padded: (FORWARD, MANAGER, (FORWARD, Atom("sink"), padded)),
    "encoded name": lambda padded: (FORWARD, (Atom("encoded_name"), list(b"sink")), padded),
}


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("squeezed", [False, True])
async def test_padding_is_taken_off_in_every_form_in_which_it_comes(form: str, squeezed: bool) -> None:
    async with running("a") as (a,):
        sink = Sink(a)
        async with greeted(a, NAME) as peer:
            body = encode(FORMS[form]((PADDED, b"p" * 64, [1, 2.5])))
            peer.say(compressed(body[1:]) if squeezed else body)
            assert await sink.has(1) == [[1, 2.5]]


# Compression.


def squeezing(script: Member, compression: Any) -> None:
    """Let the script's spec ask for compression on the channel `data`."""
    script._spec[Atom("channels")][Atom("data")][Atom("compression")] = compression


async def bodies_to(script: Member, node: Node, *messages: Any) -> list[bytes]:
    """The frames that the messages become on the channel `data`, as octets."""
    await eventually(lambda: script.of("data"))
    await eventually(lambda: node.is_connected(NAME, "data"))
    peer: Peer = script.of("data")[0].peer
    found: list[bytes] = []
    hear: Callable[..., Awaitable[bytes]] = peer.hear

    async def kept(timeout: float = 10.0, offers: bool = False) -> bytes:
        found.append(await hear(timeout, offers))
        return found[-1]

    peer.hear = kept  # type: ignore[method-assign]
    node.send(("sink", NAME), "the script waits for this one already", channel="data")
    for message in messages:
        node.send(("sink", NAME), message, channel="data")
    await eventually(lambda: len(found) == len(messages))
    return found


@pytest.mark.parametrize("compression", [True, 1, 9])
async def test_frames_are_compressed_as_the_peers_spec_asks(compression: bool | int) -> None:
    async with member(NAME, {None: 1, "data": 1}) as script, running("a") as (a,):
        squeezing(script, compression)
        await script.joined_by(a)
        large, small = b"text " * 1000, b"text"
        squeezed, plain = await bodies_to(script, a, large, small)
        assert squeezed[:2] == b"\x83P"
        assert int.from_bytes(squeezed[2:6], "big") == len(encode((FORWARD, Atom("sink"), large))) - 1
        assert squeezed[6] == 0x78  # as zlib begins
        assert len(squeezed) < 200
        assert decode(squeezed) == (FORWARD, Atom("sink"), large)
        assert plain == encode((FORWARD, Atom("sink"), small))


@pytest.mark.parametrize("compression", [False, 0])
async def test_nothing_is_compressed_where_the_peers_spec_does_not_ask(compression: bool | int) -> None:
    async with member(NAME, {None: 1, "data": 1}) as script:
        squeezing(script, compression)
        async with running("a", channels={"data": {"compression": 9}}) as (a,):
            await script.joined_by(a)
            (plain,) = await bodies_to(script, a, b"text " * 1000)
            assert plain == encode((FORWARD, Atom("sink"), b"text " * 1000))


async def test_compressed_channels_carry_large_and_padded_messages_between_nodes() -> None:
    async with cluster("a", "b", binary_padding=True, channels={"data": {"compression": True}}) as (a, b):
        sink = Sink(b)
        messages = [b"x" * 1_000_000, list(range(1000)), "short"]
        for message in messages:
            a.send(("sink", b.name), message, channel="data")
        assert await sink.has(3) == [b"x" * 1_000_000, list(range(1000)), b"short"]


# Delays.


@pytest.mark.parametrize("option", ["egress_delay", "ingress_delay"])
async def test_every_frame_is_late_and_in_order(option: str) -> None:
    async with cluster("a", "b", **{option: 0.05}) as (a, b):
        sink = Sink(b)
        begin = time.monotonic()
        for number in range(100):
            a.send(("sink", b.name), number)
        assert await sink.has(100) == list(range(100))
        assert time.monotonic() - begin >= 0.045  # a loop's timers have a grain


@pytest.mark.parametrize("option", ["egress_delay", "ingress_delay"])
async def test_delays_may_change_while_the_node_runs_and_the_order_stays(option: str) -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        number = 0
        for seconds in (0.1, 0.0, 0.03, 0.0):
            for node in (a, b):
                node._shape_traffic(replace(node.config, **{option: seconds}))
            for _ in range(10):
                a.send(("sink", b.name), number)
                number += 1
        assert await sink.has(40) == list(range(40))
        for node in (a, b):
            await eventually(lambda node=node: all(link.tap is None for link in node._context.faults._links))


async def test_nodes_join_gossip_and_part_under_delays() -> None:
    async with cluster("a", "b", "c", egress_delay=0.02, ingress_delay=0.02) as (a, b, c):
        await c.leave()
        await eventually(lambda: c.name not in a.members() and c.name not in b.members())
        await eventually(lambda: fully_meshed(a, b))
