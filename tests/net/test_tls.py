"""TLS between real nodes: traffic, endings, a certificate for each, and its reload while the node runs."""

from __future__ import annotations

import logging
import os
import random
import shutil
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from proxy import proxy
from support import FAST, Events, Sink, address_of, cluster, eventually, fully_meshed, running

from partisan import ConfigError, HandshakeError, Node
from partisan.names import ListenAddress
from partisan.net.link import DialledLink
from partisan.net.tls import PIECE, TlsStream
from partisan.runtime.node import check_reachable

B = "b@127.0.0.1"
CHANNELS = {"data": {"parallelism": 2}, "gossip": {"monotonic": True}, "lossy": {"queue_policy": "drop_oldest"}}
MIB = 1 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["one-sided", "mutual", "TLS 1.2"])
def options(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """Options of every node of a cluster."""
    shown = authority.issue("127.0.0.1")
    made = authority.one_sided(shown) if request.param == "one-sided" else authority.mutual(shown)
    if request.param == "TLS 1.2":
        made["tls_server_options"]["versions"] = ["tlsv1.2"]
    return made


def links_of(node: Node, channel: str = "data") -> list[DialledLink]:
    """The connections of a channel that the node uses."""
    edges = node._manager._dialer._edges.values()
    return [link for edge in edges for link in edge.links if link.channel == channel and link.in_table]


async def test_messages_travel_both_ways_on_every_kind_of_channel(options: dict[str, Any]) -> None:
    async with cluster("a", "b", channels=CHANNELS, **options) as nodes:
        sinks = [Sink(node) for node in nodes]
        for node, other in (nodes, nodes[::-1]):
            for number in range(200):
                node.send(("sink", other.name), (number, b"x" * number * 50), channel="data")
            node.send(("sink", other.name), "state", channel="gossip")
            node.send(("sink", other.name), "lossy", channel="lossy")
        for sink in sinks:
            messages = await sink.has(202)
            numbered = [message for message in messages if type(message) is tuple]
            assert numbered == [(number, b"x" * number * 50) for number in range(200)]
            assert {message for message in messages if type(message) is bytes} == {b"state", b"lossy"}
        assert {type(link.stream) for link in links_of(nodes[0])} == {TlsStream}


async def test_large_messages_arrive_as_they_were_sent(options: dict[str, Any]) -> None:
    async with cluster("a", "b", **options) as (a, b):
        sinks = Sink(a), Sink(b)
        rng = random.Random(1)
        payloads = [rng.randbytes(size) for size in (16383, 16384, 16385, 65535, 300_001, 5 * MIB, 20 * MIB, 3)]
        for payload in payloads:
            a.send(("sink", B), (payload, [payload[:100]] * 3, payload))
            b.send(("sink", a.name), payload)
        wanted = [zlib.crc32(payload) for payload in payloads]
        assert [zlib.crc32(payload) for payload in await sinks[0].has(len(payloads), 30.0)] == wanted
        for (one, small, two), payload in zip(await sinks[1].has(len(payloads), 30.0), payloads, strict=True):
            assert one == two == payload
            assert small == [payload[:100]] * 3


async def test_nothing_that_is_said_can_be_read_on_the_way(options: dict[str, Any]) -> None:
    async with running("a", "b", **options) as (a, b), proxy(b.listen_addrs[0].port) as between:
        sink = Sink(b)
        await a.join(f"{B}:{between.port}")
        a.send(("sink", B), b"a secret of sixty-four octets".ljust(64))
        await sink.has(1)
        assert len(between.forward) > 300
        for seen in (between.forward, between.backward):
            assert b"secret" not in seen
            assert b"hello" not in seen
            assert b"127.0.0.1" not in seen


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_octets_may_come_in_pieces_of_any_size(authority: Authority, piece: int) -> None:
    options = authority.mutual(authority.issue("127.0.0.1"))
    async with running("a", "b", **options) as (a, b), proxy(b.listen_addrs[0].port, piece) as between:
        sink = Sink(b)
        await a.join(f"{B}:{between.port}")
        for number in range(20):
            a.send(("sink", B), (number, b"y" * 500))
        assert await sink.has(20) == [(number, b"y" * 500) for number in range(20)]


async def test_a_peer_that_does_not_read_fills_the_queue_and_nothing_is_lost(options: dict[str, Any]) -> None:
    async with running("a", "b", **options) as (a, b), proxy(b.listen_addrs[0].port) as between:
        sink = Sink(b)
        await a.join(f"{B}:{between.port}")
        between.open.clear()
        [link] = await eventually(lambda: links_of(a, "undefined"))
        stream = link.stream
        assert isinstance(stream, TlsStream)
        usual = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2  # Linux doubles what it is set to
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # too small to take a piece whole
        messages = [(number, bytes([number]) * MIB) for number in range(40)]
        for message in messages:
            a.send(("sink", B), message)
        await eventually(lambda: stream._unsent is not None and len(stream._unsent) < PIECE)
        assert a.queued_octets(B) > 30 * MIB
        assert not stream._leaving.pending  # what the socket does not take is not encrypted ahead of time
        between.open.set()
        await sink.has(1)
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, usual)  # so small, the rest would take 15 s
        assert await sink.has(40, 30.0) == messages
        assert a.queued_octets(B) == 0


async def test_a_connection_that_is_cut_is_lost_and_dialled_again(authority: Authority) -> None:
    options = authority.mutual(authority.issue("127.0.0.1"))
    async with running("a", "b", **options) as (a, b), proxy(b.listen_addrs[0].port) as between:
        await a.join(f"{B}:{between.port}")
        await eventually(lambda: fully_meshed(a, b))
        events, sink = Events(a, "partisan.socket"), Sink(b)
        between.cut()
        await eventually(lambda: events.of("partisan.socket.error", node=B))
        await eventually(lambda: fully_meshed(a, b))
        a.send(("sink", B), 1)
        assert await sink.has(1) == [1]


# Endings.


async def test_what_waits_is_written_before_a_connection_is_closed(options: dict[str, Any]) -> None:
    async with cluster("a", "b", channels={"data": {"parallelism": 1}}, **options) as (a, b):
        sink = Sink(b)
        [link] = await eventually(lambda: links_of(a))
        messages = [(number, bytes([number]) * MIB) for number in range(20)]
        for message in messages:
            a.send(("sink", B), message, channel="data")
        dialer = a._manager._dialer
        [target] = dialer._edges
        dialer.drop(target, "test")
        assert await sink.has(20) == messages
        await eventually(lambda: not dialer._retired)
        assert link.stream.closed


async def test_a_connection_that_is_given_up_closes_its_half_and_waits_for_the_peer(options: dict[str, Any]) -> None:
    async with cluster("a", "b", channels={"data": {"parallelism": 1}}, handshake_timeout=60.0, **options) as (a, b):
        sink = Sink(b)
        [link] = await eventually(lambda: links_of(a))
        there = Events(b, "partisan.socket")
        for number in range(10):
            a.send(("sink", B), (number, b"x" * MIB), channel="data")
        link.fail(HandshakeError("timeout", B, "no answer"))
        assert link.retired
        await eventually(lambda: links_of(a) not in ([], [link]))
        a.send(("sink", B), "after", channel="data")
        await eventually(lambda: sink.messages[-1:] == [b"after"])
        numbers = [message[0] for message in sink.messages[:-1]]
        assert numbers == list(range(len(numbers)))
        assert not a._manager._dialer._retired
        assert there.of("partisan.socket.close", node=a.name, channel="data")
        assert not there.of("partisan.socket.error")  # an end that TLS was told of


async def test_the_sockets_own_half_is_closed_as_well(authority: Authority) -> None:
    options = authority.mutual(authority.issue("127.0.0.1"))
    async with running("a", "b", **options) as (a, b), proxy(b.listen_addrs[0].port) as between:
        await a.join(f"{B}:{between.port}")
        await eventually(lambda: fully_meshed(a, b))
        between.answers.clear()
        [link] = await eventually(lambda: links_of(a, "undefined"))
        link.fail(HandshakeError("timeout", B, "no answer"))
        await eventually(lambda: between.ended)
        assert link.retired
        between.answers.set()
        await eventually(lambda: link.stream.closed)


async def test_a_node_that_stops_says_so_in_tls(authority: Authority) -> None:
    options = authority.mutual(authority.issue("127.0.0.1"))
    async with cluster("a", "b", **options) as (a, b):
        events = Events(a, "partisan.socket")
        await b.stop()
        await eventually(lambda: events.of("partisan.socket.close", node=B))
        assert not [about for about in events.of("partisan.socket.error", node=B) if about["acceptor"]]


# Material.


async def test_new_files_are_used_by_new_connections_and_old_ones_live_on(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = authority.issue("127.0.0.1"), authority.issue("127.0.0.1", common_name="second")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(first.certfile, cert)
    shutil.copy(first.keyfile, key)
    theirs = authority.mutual(first)
    theirs["tls_server_options"].update(certfile=str(cert), keyfile=str(key))
    async with (
        running("a", "c", channels={"data": {"parallelism": 1}}, **authority.mutual(first)) as (a, c),
        running("b", channels={"data": {"parallelism": 1}}, **theirs) as [b],
    ):
        await a.join(address_of(b))
        await eventually(lambda: fully_meshed(a, b))
        [old] = await eventually(lambda: links_of(a))
        cert.write_text("nothing of use")
        with pytest.raises(ConfigError, match=r"option tls_server_options\.certfile: .* holds no certificate"):
            b.reconfigure()
        shutil.copy(second.certfile, cert)
        with pytest.raises(ConfigError, match=r"option tls_server_options\.keyfile: .* is not that of"):
            b.reconfigure()
        shutil.copy(second.keyfile, key)
        b.reconfigure()
        await c.join(address_of(b))
        [new] = await eventually(lambda: [link for link in links_of(c) if link.peer == B])
        assert common_name(old) == "node"
        assert common_name(new) == "second"
        assert links_of(a)[0] is old
        sink = Sink(b)
        a.send(("sink", B), 1, channel="data")
        assert await sink.has(1) == [1]


def common_name(link: DialledLink) -> str:
    assert isinstance(link.stream, TlsStream)
    certificate = link.stream.certificate()
    assert certificate is not None
    return dict(part[0] for part in certificate["subject"])["commonName"]


async def test_an_encrypted_key_is_read_with_its_password(authority: Authority) -> None:
    shown = authority.issue("127.0.0.1", password="open sesame")
    options = authority.one_sided(shown)
    options["tls_server_options"]["password"] = "open sesame"
    async with cluster("a", "b", **options) as nodes:
        assert "sesame" not in repr(nodes[0].config)


def broken(authority: Authority, tmp_path: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """What is wrong with the files of a server: its options, and what the error says."""
    good, other = authority.issue("127.0.0.1"), authority.issue("127.0.0.1")
    locked = authority.issue("127.0.0.1", password="pass")
    torn = tmp_path / "torn.pem"
    torn.write_text(Path(good.certfile).read_text().replace("MII", "XXX"))
    return {
        "a missing certificate": (good.options(certfile="/nowhere.pem"), r"certfile: .*cannot be read: No such file"),
        "a missing key": (good.options(keyfile="/nowhere.key"), r"keyfile: .*cannot be read: No such file"),
        "a key for a certificate": (good.options(certfile=good.keyfile), r"certfile: .*holds no certificate"),
        "a certificate for a key": (good.options(keyfile=good.certfile), r"keyfile: .*holds no private key"),
        "a torn certificate": (good.options(certfile=str(torn)), r"certfile: .*cannot be used"),
        "another's key": (good.options(keyfile=other.keyfile), r"keyfile: .*is not that of the certificate"),
        "no password": (locked.options(), r"password: .*encrypted, and it is missing"),
        "a wrong password": (locked.options(password="word"), r"password: .*encrypted, and it is wrong"),
        "missing authorities": (good.options(cacertfile="/nowhere.pem"), r"cacertfile: .*cannot be read"),
        "torn authorities": (good.options(cacertfile=str(torn)), r"cacertfile: .*broken certificate"),
        "unknown ciphers": (good.options(ciphers=["rot13"]), r"ciphers: OpenSSL knows none of rot13"),
    }


@pytest.mark.parametrize(
    "what",
    [
        "a missing certificate",
        "a missing key",
        "a key for a certificate",
        "a certificate for a key",
        "a torn certificate",
        "another's key",
        "no password",
        "a wrong password",
        "missing authorities",
        "torn authorities",
        "unknown ciphers",
    ],
)
async def test_a_file_that_cannot_be_used_is_named_before_the_node_listens(
    authority: Authority, tmp_path: Path, what: str
) -> None:
    options, says = broken(authority, tmp_path)[what]
    node = Node("a@127.0.0.1:0", tls=True, tls_server_options=options, **FAST)
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match=rf"option tls_server_options\.{says}"):
        await node.start()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_address_that_strangers_can_reach_is_warned_of_only_without_tls(caplog: pytest.LogCaptureFixture) -> None:
    address = ListenAddress("192.0.2.1", 1)
    check_reachable(address, tls=True)
    assert not caplog.records
    check_reachable(address, tls=False)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
