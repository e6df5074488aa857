"""What is read together is taken before anybody acts on it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from partisan._core.process import receive
from partisan._core.sendqueue import SendQueue
from partisan._core.stream import Stream
from partisan.etf import Atom, Codec
from tests.unit.hollow import Core, framed

PLAIN = Codec()
FORWARD, BOB, PING = Atom("forward_message"), (Atom("encoded_name"), list(b"bob")), Atom("ping")
LARGE = 200_000


def frame(term: object) -> bytes:
    return framed(PLAIN.encode(term))


@pytest.fixture
def seen(core: Core) -> list[Any]:
    """What has happened: sizes of messages when their receiver acts on them, and other frames when they come."""
    found: list[Any] = []

    async def bob() -> None:
        while True:
            message = await receive()
            found.append(len(message))
            if len(message) == LARGE:
                assert core.controlled == [PING], "what came behind it is not taken yet"

    core.scheduler.register("bob", core.spawn(bob()))
    return found


def test_what_comes_between_begin_and_finish_is_acted_on_at_the_end(core: Core, seen: list[Any]) -> None:
    inbound = core.inbound()
    inbound.begin()
    for term in ((FORWARD, BOB, b"x" * 10), (FORWARD, BOB, b"x" * LARGE), PING):
        inbound.receive_data(frame(term))
    assert (seen, core.controlled) == ([], [PING])
    inbound.finish()
    assert seen == [10, LARGE]
    inbound.receive_data(frame((FORWARD, BOB, b"")))
    assert seen == [10, LARGE, 0]


def test_what_is_for_the_end_of_a_burst_comes_before_anybody_acts(core: Core, seen: list[Any]) -> None:
    inbound = core.inbound()
    inbound.begin()
    inbound.receive_data(frame((FORWARD, BOB, b"")))
    core.router.at_end(lambda: seen.append("first"))
    core.router.at_end(lambda: seen.append("second"))
    inbound.finish()
    core.router.at_end(lambda: seen.append("now"))
    assert seen == ["first", "second", 0, "now"]


def test_whatever_fails_at_the_end_of_a_burst_the_rest_is_done(core: Core, seen: list[Any]) -> None:
    inbound = core.inbound()
    inbound.begin()
    inbound.receive_data(frame((FORWARD, BOB, b"")))
    core.router.at_end(lambda: 1 // 0)
    core.router.at_end(lambda: seen.append("second"))
    with pytest.raises(ZeroDivisionError):
        inbound.finish()
    assert seen == ["second", 0]


def test_one_readiness_of_a_socket_is_one_burst_however_large_its_messages(core: Core, seen: list[Any]) -> None:
    class Loop:
        def time(self) -> float:
            return 0.0

        def add_reader(self, descriptor: int, function: object) -> None: ...
        def remove_reader(self, descriptor: int) -> None: ...

    mine, peer = socket.socketpair()
    with peer:
        for side in (mine, peer):
            side.setblocking(False)
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        stream = Stream(
            Loop(),  # type: ignore[arg-type]
            mine,
            quantum=1 << 20,
            lost=lambda error, octets: seen.append(error),
            refused=seen.append,
        )
        inbound = core.inbound()
        stream.start(inbound, SendQueue(core.table.lane("b@127.0.0.1", "data").bound, write=stream.write))
        octets = frame((FORWARD, BOB, b"x" * LARGE)) + frame((FORWARD, BOB, b"y")) + frame(PING)
        assert peer.send(octets) == len(octets)
        stream.read()
        assert seen == [LARGE, 1]
        assert core.controlled == [PING]
        stream.close()
