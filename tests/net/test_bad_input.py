"""Bad input: each gets a named error on its own connection, and two other nodes go on conversing meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import zlib
from typing import Any

import pytest
from scripted import FORWARD, HELLO, MANAGER, PING, STRATEGY, dial, encode, greeted, spec_term, state_term
from support import STARVED, Events, Sink, eventually, undisturbed

import partisan
from partisan import (
    Atom,
    ConnectionLost,
    FrameError,
    GenServer,
    HandshakeError,
    MembershipTooLarge,
    Overloaded,
    RemoteProtocolError,
    Supervisor,
)
from partisan.etf import ImproperList
from tests.memory import growth_from_now

MIB = 1 << 20

LIMITS = {"max_frame_octets": 32 * MIB, "codec": {"max_inflated_octets": 8 * MIB, "max_items": 2_000_000}}

MESSAGE_TO = b"\x83\x68\x03\x77\x0fforward_message"
"""How a message begins; its target comes next."""

MESSAGE_TO_SINK = MESSAGE_TO + b"\x77\x04sink"
"""How a message begins; its term comes next."""


def deflated(inflated_octets: int, announced: int | None = None) -> bytes:
    """A compressed term, a binary of zeros."""
    body = b"\x6d" + (inflated_octets - 5).to_bytes(4, "big") + bytes(inflated_octets - 5)
    return b"\x83\x50" + (announced or inflated_octets).to_bytes(4, "big") + zlib.compress(body, 9)


def nested(levels: int, inside: bytes = b"\x6a") -> bytes:
    """A list in a list in a list."""
    return b"\x6c\x00\x00\x00\x01" * levels + inside + b"\x6a" * levels


MALFORMED: dict[str, bytes] = {
    "no version octet": b"\x00\x68\x02",
    "garbage": random.Random(1).randbytes(200),
    "garbage behind the version octet": b"\x83\x00" + random.Random(2).randbytes(200),
    "an unknown tag": b"\x83\x01",
    "only the version octet": b"\x83",
    "a tuple cut short": b"\x83\x68\x03\x77\x05hello",
    "a tuple that lies about its arity": b"\x83\x69\xff\xff\xff\xff\x6a",
    "a list that lies about its length": b"\x83\x6c\xff\xff\xff\xff\x6a",
    "a map that lies about its size": b"\x83\x74\x7f\xff\xff\xff\x6a\x6a",
    "a binary that lies about its length": b"\x83\x6d\xff\xff\xff\xff\x00",
    "a big integer that lies about its size": b"\x83\x6f\xff\xff\xff\xff\x00\x01",
    "an atom that is not UTF-8": b"\x83\x68\x02\x77\x02\xff\xfe\x6a",
    "a long atom that is not UTF-8": b"\x83\x76\x00\x03\xe2\x28\xa1",
    "an overlong atom": b"\x83\x76\x7f\xff" + b"x" * 0x7FFF,
    "a list ten million deep": b"\x83" + nested(10_000_000)[: 20 * MIB],
    "a message nested too deep": MESSAGE_TO_SINK + nested(100_000),
    "a message with an atom that is not UTF-8": MESSAGE_TO_SINK + b"\x77\x02\xff\xfe",
    "a message that lies about its arity": MESSAGE_TO_SINK + b"\x69\x00\xff\xff\xff\x6a",
    "a message cut short": MESSAGE_TO_SINK + b"\x6d\x00\x00\x00\xff" + b"x" * 254,
    "a long message cut short": MESSAGE_TO_SINK + b"\x6d\x00\x20\x00\x00" + b"x" * MIB,
    "a message to a target that is cut short": MESSAGE_TO + b"\x68\x02\x77\x0bencoded_pid\x6b\x00\xff<0.1",
    "a bomb within the frame limit": deflated(16 * MIB),
    "a bomb that lies about its size": deflated(16 * MIB, announced=1000),
    "a bomb that announces four gigabytes": b"\x83\x50\xff\xff\xff\xff" + zlib.compress(bytes(1000)),
    "a compressed term that is not compressed": b"\x83\x50\x00\x00\x00\x10" + b"x" * 50,
    "a bomb in a compressed term": b"\x83\x50" + (100_000).to_bytes(4, "big") + zlib.compress(deflated(16 * MIB)[1:]),
    "a local term": b"\x83\x79" + bytes(30),
    "a cached atom without a header": b"\x83\x52\x00",
    "more items than are allowed": b"\x83\x6c" + (3_000_000).to_bytes(4, "big") + b"\x61\x01" * 3_000_000 + b"\x6a",
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_frame_ends_its_connection_alone(what: str) -> None:
    async with undisturbed(**LIMITS) as (a, _), greeted(a) as peer, greeted(a, "q@127.0.0.1") as bystander:
        sink, events, grown = Sink(a), Events(a), growth_from_now()
        peer.say(MALFORMED[what])
        assert await peer.ended() == b""
        [error] = events.errors()
        assert isinstance(error, FrameError)
        assert error.reason == "malformed"
        assert error.octets == len(MALFORMED[what])
        assert events.of("partisan.socket.close", node="p@127.0.0.1", acceptor=True)
        assert grown() < 64 * MIB
        bystander.tell((FORWARD, Atom("sink"), 1))
        assert await sink.has(1) == [1]


async def test_an_empty_frame_ends_its_connection() -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        events = Events(a)
        peer.write(b"\x00\x00\x00\x00")
        assert await peer.ended() == b""
        [error] = events.errors()
        assert isinstance(error, FrameError)
        assert error.reason == "empty"


@pytest.mark.parametrize("announced", [32 * MIB + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
async def test_an_oversized_frame_ends_its_connection_at_its_header(announced: int) -> None:
    async with undisturbed(**LIMITS) as (a, _), greeted(a) as peer:
        events, grown = Events(a), growth_from_now()
        peer.write(announced.to_bytes(4, "big"))
        assert await peer.ended() == b""
        [error] = events.errors()
        assert isinstance(error, FrameError)
        assert (error.reason, error.octets) == ("oversized", announced)
        assert grown() < 4 * MIB


async def test_memory_grows_with_what_arrives_not_with_what_is_announced() -> None:
    async with undisturbed() as (a, _), contextlib.AsyncExitStack() as stack:
        grown = growth_from_now()
        for number in range(20):
            peer = await stack.enter_async_context(dial(a))
            opening = (b"\x83\x68\x02" if number % 2 else MESSAGE_TO_SINK) + b"\x6c\x00\xff\xff\xff"
            peer.write((200 * MIB).to_bytes(4, "big") + opening + b"\x61\x01" * 100)
            await peer.flushed()
        await eventually(lambda: sum(link.inbound.missing > 0 for link in a._acceptor.links) == 20)
        assert grown() < 20 * MIB


async def test_a_frame_cut_by_the_end_of_the_connection_is_reported_by_its_closing() -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        sink, events = Sink(a), Events(a)
        peer.write((1000).to_bytes(4, "big") + MESSAGE_TO_SINK)
        await peer.close()
        await eventually(lambda: events.of("partisan.socket.close", node="p@127.0.0.1"))
        assert not sink.messages


async def test_a_peer_that_never_says_hello_is_let_go() -> None:
    async with undisturbed(handshake_timeout=0.3) as (a, _), dial(a) as peer:
        events = Events(a)
        assert await peer.told() == (HELLO, Atom("a@127.0.0.1"))
        assert await peer.ended() == b""
        [error] = events.errors()
        assert isinstance(error, HandshakeError)
        assert error.reason == "timeout"


async def test_a_peer_that_says_hello_octet_by_octet_is_let_go_in_the_same_time() -> None:
    async with undisturbed(handshake_timeout=0.3) as (a, _), dial(a) as peer:
        events = Events(a)
        ending = asyncio.ensure_future(peer.ended())
        for octet in (1000).to_bytes(4, "big") + b"\x83" * 996:
            peer.write(bytes([octet]))
            await asyncio.wait({ending}, timeout=0.01)
            if ending.done():
                break
        await ending
        [error] = events.errors()
        assert isinstance(error, HandshakeError)
        assert error.reason == "timeout"


async def test_a_web_browser_is_let_go() -> None:
    async with undisturbed() as (a, _), dial(a) as peer:
        events = Events(a)
        peer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await peer.ended()
        [error] = events.errors()
        assert isinstance(error, HandshakeError)
        assert error.reason == "http"


THEIRS = spec_term("p@127.0.0.1", 1, {None: 1})


def gossip(state: Any) -> tuple[Any, ...]:
    return (FORWARD, MANAGER, (STRATEGY, (THEIRS, state)))


def orset(dictionary: Any, actor: Any = b"\x01" * 20) -> tuple[Any, ...]:
    return (Atom("full_v1"), actor, (Atom("state_orset"), dictionary))


def spec_with(key: str, value: Any) -> dict[Any, Any]:
    return {**THEIRS, Atom(key): value}


TOKENS = [(b"\x01" * 20, True)]

WRONG_MESSAGES: dict[str, Any] = {
    "a hello with a number for a name": (HELLO, 42, None),
    "a hello with a binary for a name": (HELLO, b"p@127.0.0.1", None),
    "a hello with a name that names no node": (HELLO, Atom("nobody"), None),
    "a hello with a channel that is no atom": (HELLO, Atom("p@127.0.0.1"), b"data"),
    "a hello with a list of channels": (HELLO, Atom("p@127.0.0.1"), [None]),
    "a hello of four": (HELLO, Atom("p@127.0.0.1"), None, 1),
    "the hello of an acceptor": (HELLO, Atom("p@127.0.0.1")),
    "a state": (Atom("state"), None, state_term(THEIRS)),
    "a refusal": (HELLO, (Atom("error"), Atom("pang"))),
    "a ping without a name": (PING, 1, 2, 3),
    "gossip that is an atom": gossip(Atom("state")),
    "gossip of another strategy": gossip((Atom("scamp_v1"), b"\x01" * 20, {}, None)),
    "gossip without a sender": (FORWARD, MANAGER, (STRATEGY, state_term(THEIRS))),
    "gossip with a sender that is an atom": (FORWARD, MANAGER, (STRATEGY, (Atom("p@127.0.0.1"), state_term(THEIRS)))),
    "gossip with an actor that is no binary": gossip(orset([(THEIRS, TOKENS)], actor=Atom("me"))),
    "gossip with an actor of a megabyte": gossip(orset([(THEIRS, TOKENS)], actor=bytes(MIB))),
    "gossip with a dictionary that is a map": gossip(orset({1: 2})),
    "gossip with a dictionary of atoms": gossip(orset([Atom("x")])),
    "gossip with a spec that is an atom": gossip(orset([(Atom("p@127.0.0.1"), TOKENS)])),
    "gossip with a spec twice": gossip(orset([(THEIRS, TOKENS), (THEIRS, TOKENS)])),
    "gossip with no tokens": gossip(orset([(THEIRS, [])])),
    "gossip with a token that is an integer": gossip(orset([(THEIRS, [(1, True)])])),
    "gossip with a token that is maybe active": gossip(orset([(THEIRS, [(b"\x01" * 20, Atom("maybe"))])])),
    "gossip with a name that is a binary": gossip(orset([(spec_with("name", b"p@127.0.0.1"), TOKENS)])),
    "gossip with a port out of range": gossip(
        orset([(spec_with("listen_addrs", [{Atom("ip"): (127, 0, 0, 1), Atom("port"): 70_000}]), TOKENS)])
    ),
    "gossip with an address of five numbers": gossip(
        orset([(spec_with("listen_addrs", [{Atom("ip"): (1, 2, 3, 4, 5), Atom("port"): 1}]), TOKENS)])
    ),
    "gossip with an address that is a name": gossip(
        orset([(spec_with("listen_addrs", [{Atom("ip"): b"localhost", Atom("port"): 1}]), TOKENS)])
    ),
    "gossip with a channel of parallelism 0": gossip(
        orset([(spec_with("channels", {None: {Atom("parallelism"): 0}}), TOKENS)])
    ),
    "gossip with channels that are a list": gossip(orset([(spec_with("channels", [1]), TOKENS)])),
    "a measurement with atoms for specs": (FORWARD, MANAGER, (PING, Atom("x"), Atom("y"), (1, 2, 3))),
    "an acknowledged message from a number": (FORWARD, 1, 2, Atom("sink"), 3),
    "a forwarded message of two": (FORWARD, Atom("sink")),
    "a relayed message with a lifetime that is an atom": (
        FORWARD,
        MANAGER,
        (Atom("relay_message"), Atom("x@y"), 1, Atom("for_ever")),
    ),
}


@pytest.mark.parametrize("what", WRONG_MESSAGES)
async def test_a_term_of_the_wrong_shape_ends_its_connection_alone(what: str) -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        events = Events(a)
        members = a.members()
        peer.tell(WRONG_MESSAGES[what])
        [error] = await eventually(events.errors)
        assert isinstance(error, RemoteProtocolError)
        assert await peer.ended() == b""
        assert a.members() == members


class Asked(GenServer):
    """It answers everything."""

    def handle_call(self, request: object, caller: object) -> object:
        return request


async def started(name: str) -> None:
    """Start a server, or a supervisor called top, and stay."""
    await (Supervisor.start(children=[], name=name) if name == "top" else Asked.start(name=name))
    await partisan.receive("never")


@pytest.mark.parametrize("term", [Atom("hello"), 42, b"x" * 1000, [], (), (Atom("unheard_of"), 1), {1: 2}, 1.5, None])
async def test_an_unknown_bare_term_is_reported_and_wedges_nothing(term: Any) -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        sink, events = Sink(a), Events(a)
        peer.tell(term, (FORWARD, MANAGER, term), (FORWARD, Atom("sink"), 1))
        assert await sink.has(1) == [1]
        assert events.of("partisan.frame.rejected")


@pytest.mark.parametrize("name", [b"nobody", MANAGER.name.encode()], ids=["of nobody", "of the manager"])
@pytest.mark.parametrize("before", [(), (Atom("p@127.0.0.1"), Atom("clock"))], ids=["plain", "acknowledged"])
async def test_a_request_in_a_name_of_the_asked_node_itself_ends_no_server(name: bytes, before: Any) -> None:
    async with undisturbed() as (a, _), dial(a) as peer:
        sink = Sink(a)
        for target in ("server", "top"):
            a.spawn(started, target)
            server = await eventually(lambda target=target: a.whereis(target))  # type: ignore[misc]
            asker = ImproperList([Atom(a.name)], b"#Name" + name), b"tag"
            peer.tell((FORWARD, *before, Atom(target), (Atom("$gen_call"), asker, Atom("which_children"))))
            peer.tell((FORWARD, *before, Atom(target), (Atom("$gen_call"), (a.whereis("sink"), b"tag"), Atom("ask"))))
            await eventually(lambda: sink.messages)
            sink.messages.clear()
            assert a.whereis(target) == server


async def test_gossip_of_an_unreachable_flood_of_members_is_refused() -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        events = Events(a)
        crowd = [(spec_term(f"n{number}@127.0.0.1", 1, {None: 1}), TOKENS) for number in range(70_000)]
        peer.tell(gossip(orset(crowd)))
        await eventually(lambda: events.of("partisan.frame.rejected"), timeout=STARVED)
        assert len(a.members()) == 2


async def test_a_set_of_a_million_ends_its_connection_alone_and_changes_no_members() -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        events = Events(a)
        peer.tell(gossip(orset([(1, [])] * 1_000_000)))
        await peer.ended(STARVED)
        (error,) = events.errors()
        assert isinstance(error, MembershipTooLarge)
        assert (error.found, error.limit) == (1_000_000, a.config.max_members)
        assert len(a.members()) == 2


async def test_a_violation_does_not_cost_the_messages_before_it() -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        sink = Sink(a)
        body = encode((FORWARD, Atom("sink"), 1))
        peer.say(*[body] * 500, b"\x83\x01", *[body] * 500)
        await peer.ended()
        assert await sink.has(500) == [1] * 500


async def test_new_names_without_end_are_forgotten() -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        grown = growth_from_now()
        for number in range(0, 40_000, 1000):
            peer.tell(*((HELLO, Atom(f"n{n}_{'x' * 80}@127.0.0.1"), None) for n in range(number, number + 1000)))
            for _ in range(1000):
                await peer.hear()
        assert grown() < 16 * MIB


async def test_new_atoms_without_end_do_not_grow_memory() -> None:
    async with undisturbed() as (a, _), greeted(a) as peer:
        sink, grown = Sink(a), growth_from_now()
        for batch in range(60):
            if batch == 20:
                grown = growth_from_now()
            peer.tell(*((FORWARD, Atom("sink"), Atom(f"{'x' * 200}{batch}_{n}")) for n in range(2000)))
            await sink.has(2000)
            sink.messages.clear()
        assert grown() < 16 * MIB


PINGS = {"idle_timeout": 0.2, "timeout": 0.1, "max_attempts": 3}


async def test_a_dialler_that_vanished_without_a_word_is_found_out_by_pings() -> None:
    async with undisturbed(connection_ping=PINGS) as (a, _), greeted(a) as peer:
        events = Events(a)
        heard = [await peer.told() for _ in range(3)]
        assert {term[0] for term in heard} == {PING}
        assert await peer.ended() == b""
        [about] = events.of("partisan.socket.error", node="p@127.0.0.1")
        assert isinstance(about["error"], ConnectionLost)
        assert about["error"].reason == "timeout"
        assert not events.errors()
        assert events.of("partisan.socket.close", node="p@127.0.0.1")


async def test_a_dialler_that_sends_messages_but_no_pongs_is_alive() -> None:
    async with undisturbed(connection_ping=PINGS) as (a, _), greeted(a) as peer:
        sink, events = Sink(a), Events(a)
        patience = 1.25 * PINGS["idle_timeout"] + PINGS["max_attempts"] * PINGS["timeout"]
        enough, number = a.loop.time() + 2 * patience, 0
        while a.loop.time() < enough:
            peer.tell((FORWARD, Atom("sink"), number))
            number += 1
            await sink.has(number)
        assert not events.errors()


@pytest.mark.parametrize(
    "asking", [(PING, Atom("p@127.0.0.1"), b"x" * 60_000, 1), (HELLO, Atom("p@127.0.0.1"), None)], ids=["ping", "hello"]
)
async def test_a_peer_that_asks_and_does_not_read_the_answers_is_given_up(asking: tuple[Any, ...]) -> None:
    async with undisturbed(connection_ping={"idle_timeout": 3600.0}) as (a, _), greeted(a) as peer:
        events, grown = Events(a), growth_from_now()
        peer.stop_reading()
        batch = [asking] * (10 if asking[0] is PING else 5000)
        ended = False
        while not ended:
            peer.tell(*batch)
            await peer.flushed()
            ended = bool(events.of("partisan.socket.close", node="p@127.0.0.1"))
        [error] = events.errors()
        assert isinstance(error, Overloaded)
        assert grown() < 64 * MIB
