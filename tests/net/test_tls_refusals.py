"""What TLS refuses: each has a named error without a traceback, and two other nodes go on conversing meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from authority import Authority, Identity
from scripted import FORWARD, HELLO, PING, STATE, Peer, dial, encode, host
from support import Events, Sink, address_of, eventually, running, undisturbed

from partisan import Atom, ConnectFailed, HandshakeError, Node

HOST = "127.0.0.1"
PLAIN_HELLO = encode((HELLO, Atom("p@127.0.0.1"), None))
SOON = {"handshake_timeout": 0.3, "connect_timeout": 0.3}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("foreign"), "foreign")


@pytest.fixture(scope="module")
def shown(authority: Authority) -> Identity:
    return authority.issue(HOST)


@pytest.fixture(autouse=True)
def _no_tracebacks(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert [record for record in caplog.get_records("call") if record.exc_info] == []
    assert [record for record in caplog.get_records("call") if record.levelno > logging.WARNING] == []


def reasons(events: Events, acceptor: bool) -> list[str]:
    """Why connections of one direction failed."""
    return [
        about["error"].reason
        for about in events.of("partisan.frame.rejected", acceptor=acceptor)
        if isinstance(about["error"], HandshakeError)
    ]


@contextlib.asynccontextmanager
async def dial_tls(node: Node, authority: Authority, shown: Identity | None = None) -> AsyncIterator[Peer]:
    """A script's TLS connection to the node."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(authority.cacertfile)
    if shown is not None:
        tls.load_cert_chain(shown.certfile, shown.keyfile)
    address = node.listen_addrs[0]
    peer = Peer(*await asyncio.open_connection(address.host, address.port, ssl=tls))
    try:
        yield peer
    finally:
        peer.vanish()


# Who does not speak TLS, or should not.


async def test_a_dialler_that_waits_in_plaintext_is_let_go_in_time(authority: Authority, shown: Identity) -> None:
    async with undisturbed(**authority.one_sided(shown), **SOON) as (a, _), dial(a) as peer:
        events = Events(a)
        assert await peer.ended() == b""
        await eventually(lambda: reasons(events, acceptor=True) == ["timeout"])
        [error] = events.errors()
        assert "plaintext" in str(error)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (
            len(encode((HELLO, Atom("p@127.0.0.1"), None))).to_bytes(4) + encode((HELLO, Atom("p@127.0.0.1"), None)),
            "tls",
        ),
        (b"\xff" * 100, "tls"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "tls"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http"),
        (b"CONNECT localhost:80 HTTP/1.1\r\n\r\n", "http"),
    ],
)
async def test_a_dialler_that_speaks_something_else_to_a_tls_port_is_refused(
    authority: Authority, shown: Identity, octets: bytes, reason: str
) -> None:
    async with undisturbed(**authority.one_sided(shown)) as (a, _), dial(a) as peer:
        events = Events(a)
        peer.write(octets)
        await peer.ended()
        await eventually(lambda: reasons(events, acceptor=True) == [reason])
        assert len(events.of("partisan.socket.error")) == 1


async def test_a_browser_that_speaks_tls_is_refused_for_its_http(authority: Authority, shown: Identity) -> None:
    async with undisturbed(**authority.one_sided(shown)) as (a, _), dial_tls(a, authority) as peer:
        events = Events(a)
        peer.write(b"GET / HTTP/1.1\r\n\r\n")
        await peer.ended()
        assert reasons(events, acceptor=True) == ["http"]


async def test_a_dialler_that_goes_in_the_middle_of_the_handshake_is_forgotten(
    authority: Authority, shown: Identity
) -> None:
    async with undisturbed(**authority.one_sided(shown)) as (a, _), dial(a) as peer:
        events = Events(a)
        peer.write(b"\x16\x03\x01\x02\x00\x01")
        await peer.flushed()
        peer.hang_up()
        await eventually(lambda: events.of("partisan.socket.close", acceptor=True))
        assert not events.errors()
        assert len(events.of("partisan.socket.error")) == 1


async def test_a_dialler_with_tls_is_refused_by_a_plaintext_port_and_says_so(
    authority: Authority, shown: Identity
) -> None:
    async with undisturbed() as (a, _), running("c", **authority.one_sided(shown)) as [c]:
        events = Events(a)
        with pytest.raises(HandshakeError, match="does not speak TLS") as caught:
            await c.join(address_of(a))
        assert caught.value.reason == "tls"
        await eventually(lambda: reasons(events, acceptor=True) == ["tls"])
        assert "the peer speaks TLS" in str(events.errors()[0])


async def test_a_plaintext_dialler_of_a_tls_port_gives_up_in_time(authority: Authority, shown: Identity) -> None:
    async with undisturbed(**authority.one_sided(shown)) as (a, _), running("c", **SOON) as [c]:
        with pytest.raises(ConnectFailed, match="no hello within"):
            await c.join(address_of(a), timeout=1.0)


async def test_a_port_that_accepts_and_says_nothing_is_given_up_in_the_time_of_connecting(
    authority: Authority, shown: Identity
) -> None:
    options = {**authority.one_sided(shown), "connect_timeout": 0.2, "handshake_timeout": 60.0}
    async with running("c", **options) as [c], host() as mute:
        events = Events(c)
        with pytest.raises(ConnectFailed, match="no TLS in time"):
            await c.join(f"{HOST}:{mute.port}", timeout=1.5)
        assert set(reasons(events, acceptor=False)) == {"timeout"}


async def test_no_version_in_common_is_named_on_both_sides(authority: Authority, shown: Identity) -> None:
    new, old = authority.mutual(shown), authority.mutual(shown)
    new["tls_server_options"]["versions"] = ["tlsv1.3"]
    old["tls_client_options"]["versions"] = ["tlsv1.2"]
    async with undisturbed(**new) as (a, _), running("c", **old) as [c]:
        events = Events(a)
        with pytest.raises(HandshakeError) as caught:
            await c.join(address_of(a))
        assert caught.value.reason == "tls"
        await eventually(lambda: "tls" in reasons(events, acceptor=True))


# Certificates that a dialler does not accept.

SERVERS: dict[str, Callable[[Authority, Authority], Identity]] = {
    "expired": lambda authority, _: authority.issue(HOST, expired=True),
    "foreign": lambda _, foreign: foreign.issue(HOST),
    "of another host": lambda authority, _: authority.issue("127.0.0.9", "localhost"),
    "of another node": lambda authority, _: authority.issue(HOST, "uri:partisan:z@127.0.0.1"),
    "without a name": lambda authority, _: authority.issue(),
}


@pytest.mark.parametrize("what", SERVERS)
@pytest.mark.parametrize("contact", ["by name", "by address"])
async def test_a_dialler_refuses_a_certificate(
    authority: Authority, foreign: Authority, what: str, contact: str
) -> None:
    wrong = authority.one_sided(SERVERS[what](authority, foreign))
    right = authority.one_sided(authority.issue(HOST))
    async with running("a", **wrong) as [a], undisturbed_pair(right) as (b, c):
        there = Events(a)
        with pytest.raises(HandshakeError) as caught:
            await c.join(address_of(a) if contact == "by name" else str(a.listen_addrs[0]))
        assert caught.value.reason == "certificate"
        await eventually(lambda: there.of("partisan.socket.close", acceptor=True))
        if what in ("expired", "foreign"):
            assert set(reasons(there, acceptor=True)) == {"certificate"}
        assert set(b.members()) == set(c.members()) == {"b@127.0.0.1", "c@127.0.0.1"}


@contextlib.asynccontextmanager
async def undisturbed_pair(options: dict[str, Any]) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes `b` and `c` that stay joined."""
    async with running("b", "c", **options) as (b, c):
        await c.join(address_of(b))
        lost = Events(c, "partisan.membership.peer.down")
        yield b, c
        assert not lost.seen


async def test_a_dialler_that_verifies_nothing_takes_any_certificate(foreign: Authority) -> None:
    options = {
        "tls": True,
        "tls_server_options": foreign.issue("example.org").options(),
        "tls_client_options": {"verify": "verify_none"},
    }
    async with running("a", "b", **options) as (a, b):
        assert await b.join(address_of(a)) == a.name


async def test_a_dialler_may_be_told_not_to_mind_names(authority: Authority) -> None:
    options = authority.one_sided(authority.issue("example.org"))
    options["tls_client_options"]["verify_name"] = False
    async with running("a", "b", **options) as (a, b):
        assert await b.join(address_of(a)) == a.name


# Certificates that an acceptor does not accept.

CLIENTS: dict[str, Callable[[Authority, Authority], Identity | None]] = {**SERVERS, "none": lambda *_: None}
UNNAMED = ("of another host", "of another node", "without a name")


@pytest.mark.parametrize("what", CLIENTS)
async def test_an_acceptor_with_mutual_tls_refuses_a_certificate(
    authority: Authority, foreign: Authority, shown: Identity, what: str
) -> None:
    identity = CLIENTS[what](authority, foreign)
    theirs = authority.mutual(shown)
    theirs["tls_client_options"] = {"cacertfile": authority.cacertfile}
    if identity is not None:
        theirs["tls_client_options"].update(identity.options())
    async with undisturbed(**authority.mutual(shown)) as (a, _), running("c", **theirs) as [c]:
        events = Events(a)
        if what in UNNAMED:
            with pytest.raises(ConnectFailed, match="its log says why; mind which node this one's certificate is for"):
                await c.join(address_of(a), timeout=0.5)
        else:
            with pytest.raises(HandshakeError) as caught:
                await c.join(address_of(a))
            assert caught.value.reason == "certificate"
        await eventually(lambda: reasons(events, acceptor=True))
        assert set(reasons(events, acceptor=True)) == {"certificate"}
        assert c.name not in a.members()


async def test_a_certificate_that_is_asked_for_need_not_be_shown(authority: Authority, shown: Identity) -> None:
    options = authority.mutual(shown)
    options["tls_server_options"]["fail_if_no_peer_cert"] = False
    without = {**options, "tls_client_options": {"cacertfile": authority.cacertfile}}
    async with running("a", **options) as [a], running("b", **without) as [b]:
        assert await b.join(address_of(a)) == a.name


@pytest.mark.parametrize("names", [["uri:partisan:p@127.0.0.1"], ["127.0.0.1"]])
async def test_messages_before_the_hello_wait_until_the_name_is_proved(
    authority: Authority, shown: Identity, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    own = authority.issue(*names)
    async with undisturbed(**authority.mutual(shown)) as (a, _), dial_tls(a, authority, own) as peer:
        sink = Sink(a)
        assert await peer.told() == (HELLO, Atom(a.name))
        large = b"x" * 300_000
        peer.tell((FORWARD, Atom("sink"), 1), (FORWARD, Atom("sink"), (2, large)), (FORWARD, Atom("sink"), 3))
        peer.tell((PING, Atom("p@127.0.0.1"), 1, 0))
        await eventually(lambda: "a ping that does not name the peer" in caplog.text)  # by then they would have come
        assert sink.messages == []
        peer.tell((HELLO, Atom("p@127.0.0.1"), None), (FORWARD, Atom("sink"), 4))
        assert (await peer.told())[0] is STATE
        assert await sink.has(4) == [1, (2, large), 3, 4]


async def test_messages_before_a_hello_with_another_nodes_name_are_never_delivered(
    authority: Authority, shown: Identity
) -> None:
    own = authority.issue("uri:partisan:p@127.0.0.1")
    async with undisturbed(**authority.mutual(shown)) as (a, _), dial_tls(a, authority, own) as peer:
        sink, events = Sink(a), Events(a)
        await peer.told()
        peer.tell((FORWARD, Atom("sink"), 1), (HELLO, Atom("b@127.0.0.1"), None), (FORWARD, Atom("sink"), 2))
        assert await peer.ended() == b""
        assert reasons(events, acceptor=True) == ["certificate"]
        assert "p@127.0.0.1" in str(events.errors()[0])
        assert sink.messages == []


async def test_more_than_a_frame_may_have_does_not_wait_for_a_hello(authority: Authority, shown: Identity) -> None:
    options = {**authority.mutual(shown), "max_frame_octets": 100_000}
    async with undisturbed(**options) as (a, _), dial_tls(a, authority, shown) as peer:
        events = Events(a)
        await peer.told()
        peer.tell(*[(FORWARD, Atom("sink"), b"x" * 30_000)] * 4)
        assert await peer.ended() == b""
        assert "before its hello" in str(events.errors()[0])


async def test_a_proved_peer_cannot_take_another_name_later(authority: Authority, shown: Identity) -> None:
    own = authority.issue("uri:partisan:p@127.0.0.1")
    async with undisturbed(**authority.mutual(shown)) as (a, _), dial_tls(a, authority, own) as peer:
        events = Events(a)
        await peer.told()
        peer.tell((HELLO, Atom("p@127.0.0.1"), None))
        assert (await peer.told())[0] is STATE
        peer.tell((HELLO, Atom("b@127.0.0.1"), None))
        assert await peer.ended() == b""
        assert events.of("partisan.frame.rejected", acceptor=True)


async def test_a_broken_record_ends_its_connection(authority: Authority, shown: Identity) -> None:
    async with undisturbed(**authority.mutual(shown)) as (a, _), dial_tls(a, authority, shown) as peer:
        events = Events(a)
        await peer.told()
        peer.tell((HELLO, Atom("p@127.0.0.1"), None))
        assert (await peer.told())[0] is STATE
        os.write(peer.socket.fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):  # the node says what was wrong
            await peer.ended()
        [about] = events.of("partisan.socket.error", node="p@127.0.0.1")
        assert isinstance(about["error"], ssl.SSLError)
