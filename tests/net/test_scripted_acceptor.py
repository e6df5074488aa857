"""Our accepting side against the dialling side of real nodes, as it was recorded, and against scripts."""

from __future__ import annotations

import pytest
from scripted import (
    CODEC,
    FORWARD,
    HELLO,
    MANAGER,
    PING,
    PONG,
    STATE,
    STRATEGY,
    decode,
    dial,
    encode,
    greeted,
    host,
    recorded,
    spec_term,
    state_frame,
    state_term,
    with_port,
)
from support import Events, Sink, address_of, eventually, running

from partisan import Atom, HandshakeError, Node

HELLO_OF_B = b"\x83\x68\x02\x77\x05hello\x77\x0bb@127.0.0.1"
A_PORT, B_PORT = 11201, 11202
"""Where the nodes of the recordings listened."""


def pong_to(ping: bytes, name: str) -> bytes:
    """What answers the ping: it names the one who answers, and id and time come back as they are."""
    _, _, ping_id, sent = decode(ping)
    return encode((PONG, Atom(name), ping_id, sent))


async def test_a_recorded_dialler_is_greeted_and_told_the_members() -> None:
    hello = recorded("core-join2-leave", "a->b#1", "a>b")[0]
    async with running("b") as [b], dial(b) as peer:
        assert await peer.hear() == HELLO_OF_B
        peer.say(hello)
        state = await peer.hear()
        assert state.startswith(
            b"\x83\x68\x03\x77\x05state\x77\x09undefined\x68\x03\x77\x07full_v1\x6d\x00\x00\x00\x14"
        )
        _, tag, (_, actor, (_, dictionary)) = decode(state)
        assert tag is None
        assert len(actor) == 20
        [(spec, [(token, active)])] = dictionary
        assert spec[Atom("name")] == Atom("b@127.0.0.1")
        assert len(token) == 20
        assert active is True


async def test_what_a_recorded_dialler_gossips_makes_it_a_member_that_is_dialled_back() -> None:
    frames = recorded("core-join2-leave", "a->b#4", "a>b")[:2]
    async with running("b") as [b], host() as there, dial(b) as peer:
        assert await peer.hear() == HELLO_OF_B
        peer.say(frames[0], with_port(frames[1], A_PORT, there.port))
        await eventually(lambda: "a@127.0.0.1" in b.members())
        back = await there.arrival()
        back.tell((HELLO, Atom("a@127.0.0.1")))
        assert await back.told() == (HELLO, Atom("b@127.0.0.1"), None)


async def test_every_recorded_ping_is_answered_with_our_name_and_its_own_id_and_time() -> None:
    script = recorded("core-pings", "b->a#3", "b>a")
    pings = [frame for frame in script if decode(frame)[0] is PING]
    assert pings
    async with running("a") as [a], dial(a) as peer:
        await peer.hear()
        peer.say(script[0])
        assert (await peer.told())[0] is STATE
        for ping in pings:
            peer.say(ping)
            assert await peer.hear() == pong_to(ping, "a@127.0.0.1")


async def test_a_script_that_named_itself_falsely_in_a_ping_gets_no_answer_and_stays() -> None:
    frames = recorded("core-fake-peer2", "f->a#1", "f>a")
    async with running("a") as [a], dial(a) as peer:
        await peer.hear()
        hello, ping, false_ping = frames
        peer.say(hello, false_ping, ping)
        assert (await peer.told())[0] is STATE
        assert await peer.hear() == pong_to(ping, "a@127.0.0.1")


async def test_a_recorded_python_node_has_its_messages_delivered_and_acknowledged() -> None:
    dialled = recorded("core-python-node", "p->a#1", "p>a")
    hello, gossip, plain, acknowledged = dialled[:4]
    port = dict(decode(gossip)[2][1][0][Atom("listen_addrs")][0])[Atom("port")]
    async with running("a") as [a], host() as there, dial(a) as peer:
        sink = Sink(a)
        await peer.hear()
        peer.say(hello, with_port(gossip, port, there.port))
        back = await there.arrival()
        back.tell((HELLO, Atom("p@127.0.0.1")))
        assert await back.told() == (HELLO, Atom("a@127.0.0.1"), None)
        await eventually(lambda: a.is_connected("p@127.0.0.1"))
        peer.say(plain, acknowledged)
        assert await sink.has(2) == [Atom("hi_from_python"), Atom("acked_from_python")]
        expected = recorded("core-python-node", "a->p#2", "a>p")
        [ack] = [
            decode(frame) for frame in expected if decode(frame)[0] is FORWARD and decode(frame)[2][0] == Atom("ack")
        ]
        assert await back.told() == ack


async def test_messages_before_the_hello_are_delivered() -> None:
    async with running("a") as [a], dial(a) as peer:
        sink = Sink(a)
        peer.tell(
            (FORWARD, Atom("sink"), b"early"), (HELLO, Atom("p@127.0.0.1"), None), (FORWARD, Atom("sink"), b"late")
        )
        assert await sink.has(2) == [b"early", b"late"]
        assert await peer.told() == (HELLO, Atom("a@127.0.0.1"))
        assert (await peer.told())[0] is STATE


@pytest.mark.parametrize("again", [False, True], ids=["at first", "later"])
async def test_a_dialler_that_says_our_own_name_is_refused(again: bool) -> None:
    async with running("a", "b") as (a, b):
        assert await b.join(address_of(a)) == a.name
        events = Events(a)
        async with dial(a) as peer:
            await peer.told()
            if again:
                peer.tell((HELLO, Atom("p@127.0.0.1"), None))
                await peer.told()
            peer.tell((HELLO, Atom(a.name), None), (FORWARD, Atom("sink"), 1))
            await peer.ended()
        [error] = events.errors()
        assert isinstance(error, HandshakeError)
        assert (error.reason, error.peer) == ("unexpected_peer", a.name)
        await eventually(lambda: events.of("partisan.socket.close", acceptor=True))
        assert sorted(a.members()) == [a.name, b.name]
        assert b.is_connected(a.name)


async def test_a_repeated_hello_is_answered_again() -> None:
    async with running("a") as [a], greeted(a) as peer:
        peer.tell((HELLO, Atom("p@127.0.0.1"), Atom("data")))
        assert (await peer.told())[0] is STATE
        peer.tell((HELLO, Atom("p@127.0.0.1"), Atom("nobody_configured_this")))
        assert (await peer.told())[0] is STATE


async def test_a_padded_message_is_stripped_in_every_form() -> None:
    padded = (Atom("$partisan_padded"), b"x" * 64, b"inside")
    async with running("a") as [a], greeted(a) as peer:
        sink = Sink(a)
        peer.tell((FORWARD, Atom("sink"), padded), (FORWARD, Atom("p@127.0.0.1"), 1, Atom("sink"), padded))
        assert await sink.has(2) == [b"inside", b"inside"]


async def test_every_form_of_a_server_reference_finds_its_process() -> None:
    async with running("a") as [a], greeted(a) as peer:
        sink = Sink(a)
        number = f"0.{sink.pid.id}.{sink.pid.serial}"
        targets = [
            Atom("sink"),
            (Atom("encoded_name"), list(b"sink")),
            (Atom("encoded_pid"), list(f"<{number}>".encode())),
            b"partisan:name:a@127.0.0.1:sink",
            f"partisan:pid:a@127.0.0.1:{number}".encode(),
            sink.pid,
        ]
        peer.tell(*((FORWARD, target, place) for place, target in enumerate(targets)))
        assert await sink.has(len(targets)) == list(range(len(targets)))


async def test_a_message_for_nobody_is_counted_and_harms_nothing() -> None:
    async with running("a") as [a], greeted(a) as peer:
        sink, events = Sink(a), Events(a)
        peer.tell((FORWARD, Atom("nobody_has_this_name"), 1), (FORWARD, Atom("sink"), 2))
        assert await sink.has(1) == [2]
        assert events.of("partisan.queue.undelivered")


async def test_a_measurement_of_distance_is_answered_to_the_one_who_measures() -> None:
    async with running("a") as [a], host() as there:
        theirs = spec_term("p@127.0.0.1", there.port, {None: 1})
        async with greeted(a) as peer:
            peer.tell((FORWARD, MANAGER, (STRATEGY, (theirs, state_term(theirs)))))
            back = await there.arrival()
            back.tell((HELLO, Atom("p@127.0.0.1")), state_frame(theirs))
            assert (await back.told())[0] is HELLO
            await eventually(lambda: a.is_connected("p@127.0.0.1"))
            ours = spec_term("a@127.0.0.1", a.listen_addrs[0].port, {None: 1})
            stamp = (1795, 234951, 45)
            peer.tell((FORWARD, MANAGER, (PING, theirs, ours, stamp)))
            while (answer := await back.told())[2][0] is STRATEGY:
                pass
            assert answer == (FORWARD, MANAGER, (PONG, theirs, ours, stamp))


async def test_frames_cut_anywhere_are_put_together() -> None:
    async with running("a") as [a], greeted(a) as peer:
        sink = Sink(a)
        stream = b""
        for place in range(40):
            body = CODEC.encode((FORWARD, Atom("sink"), (place, b"x" * (place * 7))))
            stream += len(body).to_bytes(4, "big") + body
        for place in range(0, len(stream), 97):
            peer.write(stream[place : place + 97])
            await peer.flushed()
        messages = await sink.has(40)
        assert messages == [(place, b"x" * (place * 7)) for place in range(40)]


async def test_a_node_that_stops_closes_what_was_dialled_to_it() -> None:
    node = Node("a@127.0.0.1:0")
    await node.start()
    async with greeted(node) as peer:
        await node.stop()
        assert await peer.ended() == b""
