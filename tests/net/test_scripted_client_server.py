"""Client-server against a script that speaks as recorded real nodes do: what these would crash on is never sent."""

from __future__ import annotations

import asyncio

import pytest
from scripted import (
    FORWARD,
    HELLO,
    PING,
    PONG,
    PYTHON,
    STATE,
    Host,
    Peer,
    dial,
    encode,
    host,
    recorded,
    spec_term,
    with_port,
)
from support import Events, Sink, eventually, running

import partisan
from partisan import Atom, Node, NotAcknowledged

SERVER, PORT = "d@127.0.0.1", 11211
"""The recorded server, and where it listened."""

CLIENT = {"peer_service_manager": "client_server", "tag": "client"}


def survives(term: object) -> bool:
    """Whether a real client-server manager would survive this frame of a dialler."""
    match term:
        case (tag, Atom(), _) if tag is HELLO:
            return True
        case (tag, _, _, _):
            return tag in (PING, PONG)
        case (tag, Atom() as target, _):
            return tag is FORWARD and target != Atom("partisan_client_server_peer_service_manager")
    return False


class Real:
    """The recorded server: shakes hands as it did, answers pings, and notes every frame."""

    def __init__(self, script: Host) -> None:
        self.frames: list[object] = []
        self._script = script
        hello, state = recorded("core-client-server", "e->d#1", "d>e")
        self._hello, self._state = hello, with_port(state, PORT, script.port)
        self._tasks = [asyncio.get_running_loop().create_task(self._serve())]

    async def _serve(self) -> None:
        while True:
            peer = await self._script.arrival(timeout=3600.0)
            self._tasks.append(asyncio.get_running_loop().create_task(self._converse(peer)))

    async def _converse(self, peer: Peer) -> None:
        peer.say(self._hello)
        while True:
            try:
                term = await peer.told(timeout=3600.0, offers=True)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.frames.append(term)
            if term[0] is HELLO:
                peer.say(self._state)
            elif term[0] is PING:
                peer.tell((PONG, Atom(SERVER), *term[2:]))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def messages(self, target: str) -> list[object]:
        return [term[2] for term in self.frames if term[0] is FORWARD and term[1] == Atom(target)]


async def joined(node: Node, script: Host) -> Real:
    real = Real(script)
    assert await node.join(f"{SERVER}:{script.port}") == SERVER
    await eventually(lambda: node.is_fully_connected(SERVER))
    return real


async def test_a_real_server_is_joined_and_sent_only_what_it_survives() -> None:
    quick = {"connection_ping": {"idle_timeout": 0.1}, "distance_enabled": True, "distance_interval": 0.05}
    async with host() as script, running("e", **CLIENT, **quick, periodic_interval=0.05) as [node]:
        real = await joined(node, script)
        assert node.members() == [SERVER, node.name]
        node.send(("sink", SERVER), (Atom("from_client"), 1))
        node.send(("sink", SERVER), "kept until it says that it is of our kind", ack=True)

        async def watch() -> None:
            partisan.monitor(("sink", SERVER))

        node.spawn(watch)
        await eventually(lambda: real.messages("sink") == [(Atom("from_client"), 1)])
        await eventually(lambda: any(term[0] is PING for term in real.frames))
        await node.leave(SERVER, grace=0.1)
        assert node.members() == [node.name]
        await eventually(lambda: any(message[0] is Atom("client_server") for message in real.messages(PYTHON.name)))
        await eventually(lambda: not node.connections())
        await real.stop()
        assert [term for term in real.frames if not survives(term)] == []


async def test_a_message_with_acknowledgement_is_given_up_when_a_real_node_is_left() -> None:
    async with host() as script, running("e", **CLIENT) as [node]:
        real = await joined(node, script)
        waiting = asyncio.ensure_future(node.deliver(("sink", SERVER), 1))
        await eventually(lambda: node.unacknowledged(SERVER) == 1)
        await node.leave(SERVER, grace=0.0)
        with pytest.raises(NotAcknowledged):
            await waiting
        assert real.messages("sink") == []
        await real.stop()


async def test_a_real_client_that_joins_has_us_as_a_member_and_is_none_here() -> None:
    async with running("s", peer_service_manager="client_server", tag="server") as [node]:
        sink = Sink(node)
        rejected = Events(node, "partisan.frame.rejected")
        async with dial(node) as peer:
            assert await peer.told() == (HELLO, Atom(node.name))
            peer.tell((HELLO, Atom("e@127.0.0.1"), None))
            state = await peer.told()
            assert state[:2] == (STATE, Atom("server"))
            assert len(state[2]) == 1
            assert next(iter(state[2].values())) == []
            *_, message = recorded("core-client-server", "e->d#1", "e>d")
            peer.say(message)
            await sink.has(1)
            assert node.members() == [node.name]
            assert not rejected.of("partisan.frame.rejected")


@pytest.mark.parametrize(
    "introduction",
    [
        ("introduction", 1, Atom("client"), True),
        ("introduction", spec_term("x@127.0.0.1", 9, {None: 1}), Atom("client"), True),
        ("introduction", spec_term("s@127.0.0.1", 9, {None: 1}), Atom("client"), True),
        ("introduction", spec_term("p@127.0.0.1", 9, {None: 1}), Atom("boss"), True),
        ("parting", spec_term("x@127.0.0.1", 9, {None: 1})),
        ("parting",),
        ("other", 1),
    ],
    ids=str,
)
async def test_an_extra_that_lies_or_has_another_shape_makes_nobody_a_member(introduction: tuple[object, ...]) -> None:
    async with running("s", peer_service_manager="client_server", tag="server") as [node]:
        rejected = Events(node, "partisan.frame.rejected")
        async with dial(node) as peer:
            peer.tell((HELLO, Atom("p@127.0.0.1"), None))
            peer.say(encode((FORWARD, PYTHON, (Atom("client_server"), (Atom(introduction[0]), *introduction[1:])))))
            await eventually(lambda: rejected.of("partisan.frame.rejected"))
            assert node.members() == [node.name]
            assert not node._manager._dialer.keeps("p@127.0.0.1")
            assert not node._manager._dialer.keeps("x@127.0.0.1")
