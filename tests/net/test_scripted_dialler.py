"""Our dialling side against the accepting side of real nodes, as it was recorded, and against scripts."""

from __future__ import annotations

import pytest
from scripted import (
    FORWARD,
    HELLO,
    MANAGER,
    PING,
    PONG,
    STRATEGY,
    Host,
    Peer,
    decode,
    host,
    member,
    recorded,
    spec_term,
    state_frame,
    with_port,
)
from support import FAST, Events, Sink, eventually, running

from partisan import Atom, ConnectionLost, HandshakeError, Node, Pid

HELLO_OF_A = b"\x83\x68\x03\x77\x05hello\x77\x0ba@127.0.0.1\x77\x09undefined"
B_PORT = 11202
"""Where the node that the recordings dialled listened."""

ERROR, PANG = Atom("error"), Atom("pang")


async def shaken(there: Host, name: str, *specs: object) -> tuple[Peer, object]:
    """Answer our node's next connection as the node of that name; the connection and its channel."""
    peer = await there.arrival()
    peer.tell((HELLO, Atom(name)))
    hello = await peer.told()
    peer.tell(state_frame(*specs))
    return peer, hello[2]


async def test_a_recorded_acceptor_is_joined_over_all_channels_that_it_wants() -> None:
    hello, state = recorded("core-join2-leave", "a->b#1", "b>a")[:2]
    async with running("a", channels={"data": {"parallelism": 5}}) as [a], host() as there:
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        first = await there.arrival()
        first.say(hello)
        assert await first.hear() == HELLO_OF_A
        state = with_port(state, B_PORT, there.port)
        first.say(state)
        assert await joining == "b@127.0.0.1"
        channels = [None]
        for _ in range(4):
            peer = await there.arrival()
            peer.say(hello)
            tag, name, channel = await peer.told()
            assert (tag, name) == (HELLO, Atom("a@127.0.0.1"))
            channels.append(channel)
            peer.say(state)
        data = Atom("data")
        assert sorted(channels, key=str) == sorted(
            [None, data, data, Atom("mono"), Atom("partisan_membership")], key=str
        )
        await eventually(lambda: a.is_fully_connected("b@127.0.0.1"))
        assert sorted(a.members()) == ["a@127.0.0.1", "b@127.0.0.1"]


async def test_messages_of_who_answers_wait_until_it_has_said_its_name() -> None:
    async with running("a") as [a], host() as there:
        sink = Sink(a)
        joining = a.loop.create_task(there.joined_by(a, "p@127.0.0.1"))
        first = await there.arrival()
        spec = spec_term("p@127.0.0.1", there.port, {None: 1})
        first.tell((FORWARD, Atom("sink"), 1), (PING, Atom("p@127.0.0.1"), 1, 0))
        assert (await first.told())[0] is PONG
        assert sink.messages == []
        first.tell((HELLO, Atom("p@127.0.0.1")), (FORWARD, Atom("sink"), 2))
        assert (await first.told())[0] is HELLO
        assert await sink.has(2) == [1, 2]
        first.tell(state_frame(spec))
        assert await joining == "p@127.0.0.1"


async def test_messages_of_who_is_not_who_was_dialled_are_never_delivered() -> None:
    async with running("a") as [a], host() as there:
        sink = Sink(a)
        joining = a.loop.create_task(there.joined_by(a, "p@127.0.0.1"))
        peer = await there.arrival()
        peer.tell((FORWARD, Atom("sink"), 1), (HELLO, Atom("q@127.0.0.1")), (FORWARD, Atom("sink"), 2))
        with pytest.raises(HandshakeError, match=r"q@127\.0\.0\.1 answered"):
            await joining
        await peer.ended()
        assert sink.messages == []


async def test_what_we_gossip_to_a_recorded_acceptor_holds_its_spec_as_it_told_it() -> None:
    hello, state = recorded("core-join2-leave", "a->b#1", "b>a")[:2]
    async with running("a") as [a], host() as there:
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        first = await there.arrival()
        state = with_port(state, B_PORT, there.port)
        first.say(hello, state)
        await joining
        assert await first.hear() == HELLO_OF_A
        tag, manager, (strategy, (sender, told)) = await first.told()
        assert (tag, manager, strategy) == (FORWARD, MANAGER, STRATEGY)
        assert sender[Atom("name")] == Atom("a@127.0.0.1")
        dictionary = told[2][1]
        theirs = decode(state)[2][2][1][0]
        assert theirs in dictionary
        assert [spec[Atom("name")].name for spec, _ in dictionary] == ["a@127.0.0.1", "b@127.0.0.1"]
        for _ in range(4):
            await there.arrival()


async def test_recorded_pings_of_an_acceptor_are_answered() -> None:
    script = recorded("core-fake-peer2", "a->f#5")
    hello, state = script[0], script[2]
    port = next(address[Atom("port")] for address in decode(state)[2][2][1][0][0][Atom("listen_addrs")])
    async with running("a") as [a], host() as there:
        joining = a.loop.create_task(there.joined_by(a, "f@127.0.0.1"))
        peer = await there.arrival()
        peer.say(hello, with_port(state, port, there.port))
        await joining
        ping = (PING, Atom("f@127.0.0.1"), [1, (2, b"three")], 1795234951045)
        peer.tell(ping)
        while (heard := await peer.told())[0] is not PONG:
            pass
        assert heard == (PONG, Atom("a@127.0.0.1"), *ping[2:])


async def test_a_silent_acceptor_is_pinged_and_then_given_up() -> None:
    ping = {"idle_timeout": 0.1, "timeout": 0.1, "max_attempts": 3}
    async with running("a", connection_ping=ping) as [a], host() as there:
        events = Events(a)
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        peer, _ = await shaken(there, "b@127.0.0.1", spec_term("b@127.0.0.1", there.port, {None: 1}))
        await joining
        pings = [decode(frame) for frame in frames_of(await peer.ended())]
        pings = [term for term in pings if term[0] is PING]
        assert len(pings) == 3
        assert len({term[2] for term in pings}) == 3
        assert all(term[1] == Atom("a@127.0.0.1") and type(term[3]) is int for term in pings)
        [about] = events.of("partisan.socket.error", acceptor=False)
        assert isinstance(about["error"], ConnectionLost)
        assert about["error"].reason == "timeout"
        assert events.of("partisan.membership.peer.down", node="b@127.0.0.1")
        assert "b@127.0.0.1" in a.members()


async def test_an_answered_ping_keeps_the_connection_and_measures_it() -> None:
    ping = {"idle_timeout": 0.1, "timeout": 0.2, "max_attempts": 2}
    async with running("a", connection_ping=ping) as [a], host() as there:
        events = Events(a)
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        peer, _ = await shaken(there, "b@127.0.0.1", spec_term("b@127.0.0.1", there.port, {None: 1}))
        await joining
        for _ in range(6):
            while (heard := await peer.told())[0] is not PING:
                pass
            peer.tell((PONG, Atom("b@127.0.0.1"), *heard[2:]))
        assert not events.of("partisan.frame.rejected", acceptor=False)
        assert len(events.of("partisan.connection.client.heartbeat", node="b@127.0.0.1")) >= 5


async def test_another_name_than_the_one_dialled_is_refused_and_told_nothing() -> None:
    async with running("a") as [a], host() as there:
        events = Events(a)
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        peer = await there.arrival()
        peer.say(recorded("core-fake-peer2", "?->f#2", "f>?")[0])
        with pytest.raises(HandshakeError) as caught:
            await joining
        assert caught.value.reason == "unexpected_peer"
        assert await peer.ended() == b""
        assert events.errors() == [caught.value]
        assert a.members() == ["a@127.0.0.1"]


async def test_a_refusal_as_recorded_ends_the_join() -> None:
    async with running("a") as [a], host() as there:
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        peer = await there.arrival()
        peer.say(recorded("core-fake-peer2", "?->f#3", "f>?")[0])
        with pytest.raises(HandshakeError, match="refused"):
            await joining
        assert await peer.ended() == b""


async def test_a_message_from_an_acceptor_does_not_kill_the_node() -> None:
    hello, back = recorded("core-fake-peer2", "a->f#4", "f>a")
    async with running("a") as [a], host() as there:
        joining = a.loop.create_task(there.joined_by(a, "f@127.0.0.1"))
        peer = await there.arrival()
        peer.say(hello, back)
        peer.tell(state_frame(spec_term("f@127.0.0.1", there.port, {None: 1})))
        assert await joining == "f@127.0.0.1"


async def test_plain_messages_have_the_recorded_form() -> None:
    async with running("a") as [a], host() as there:
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        peer, _ = await shaken(there, "b@127.0.0.1", spec_term("b@127.0.0.1", there.port, {None: 1}))
        await joining
        while (await peer.told())[0] is not FORWARD:  # our gossip
            pass
        a.send(("sink", "b@127.0.0.1"), Atom("plain_default"))
        assert await peer.hear() == b"\x83\x68\x03\x77\x0fforward_message\x77\x04sink\x77\x0dplain_default"
        a.cast_message(("sink", "b@127.0.0.1"), Atom("cast_payload"))
        assert await peer.told() == (FORWARD, Atom("sink"), (Atom("$gen_cast"), Atom("cast_payload")))


@pytest.mark.parametrize(("option", "form"), [("improper_list", "list"), ("tuple", "tuple")])
async def test_our_pids_and_references_go_out_in_the_form_that_was_asked_for(option: str, form: str) -> None:
    async with running("a", remote_ref_format=option) as [a], member("b@127.0.0.1", {None: 1}) as b:
        await b.joined_by(a)
        theirs = [Pid("b@127.0.0.1", 1, 2, form=other) for other in ("list", "tuple")]
        pid, reference = Sink(a).pid, a.make_ref()
        a.send(("sink", b.name), [pid, reference, *theirs])
        await eventually(b.messages)
        [[*found]] = b.messages()
        assert found == [pid, reference, *theirs]
        assert [each.form for each in found] == [form, form, "list", "tuple"], "what is not ours keeps its form"


async def test_a_peer_that_goes_is_dialled_again_until_it_is_back() -> None:
    async with running("a") as [a], host() as there:
        spec = spec_term("b@127.0.0.1", there.port, {None: 1})
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        peer, _ = await shaken(there, "b@127.0.0.1", spec)
        await joining
        for _ in range(3):
            peer.vanish()
            await eventually(lambda: not a.is_connected("b@127.0.0.1"))
            peer, channel = await shaken(there, "b@127.0.0.1", spec)
            assert channel is None
            await eventually(lambda: a.is_connected("b@127.0.0.1"))


async def test_every_address_of_a_peer_is_tried() -> None:
    async with host() as gone:
        closed = gone.port
    async with running("a") as [a], host() as there:
        spec = spec_term("b@127.0.0.1", there.port, {None: 1})
        spec[Atom("listen_addrs")] = [{Atom("ip"): (127, 0, 0, 1), Atom("port"): port} for port in (closed, there.port)]
        joining = a.loop.create_task(there.joined_by(a, "b@127.0.0.1"))
        peer, _ = await shaken(there, "b@127.0.0.1", spec)
        await joining
        for _ in range(3):
            peer.vanish()
            peer, _ = await shaken(there, "b@127.0.0.1", spec)
        await eventually(lambda: a.is_connected("b@127.0.0.1"))


async def test_a_leaving_node_says_so_before_it_closes() -> None:
    async with host() as there:
        node = Node("a@127.0.0.1:0", **FAST)
        await node.start()
        spec = spec_term("b@127.0.0.1", there.port, {None: 1})
        joining = node.loop.create_task(there.joined_by(node, "b@127.0.0.1"))
        peer, _ = await shaken(there, "b@127.0.0.1", spec)
        await joining
        await node.leave()
        last = decode(frames_of(await peer.ended())[-1])
        tokens = {entry[Atom("name")].name: dict(tokens) for entry, tokens in last[2][1][1][2][1]}
        assert not any(tokens["a@127.0.0.1"].values())
        assert all(tokens["b@127.0.0.1"].values())
        assert node.members() == ["a@127.0.0.1"]
        await peer.close()
        await node.stop()


def frames_of(octets: bytes) -> list[bytes]:
    """Cut a stream into the bodies of its frames."""
    bodies = []
    while octets:
        size = int.from_bytes(octets[:4], "big")
        bodies.append(octets[4 : 4 + size])
        octets = octets[4 + size :]
    return bodies
