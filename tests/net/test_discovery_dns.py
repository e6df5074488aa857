"""Nodes that find each other by DNS, as dnsmasq tells it; and what of a server that tells nonsense is believed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from discovery_servers import Dns, found_by, serving
from support import FAST, Events, eventually, free_port, fully_meshed

from partisan import ConfigError, Contact, DiscoveryFailed, Node, telemetry
from partisan.names import ListenAddress

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


def by_dns(server: Any, record_type: str, query: str, **more: Any) -> dict[str, Any]:
    """The option of a node that asks this server."""
    options = {key: more.pop(key) for key in ("initial_delay", "timeout", "max_nodes", "remove") if key in more}
    config = {"record_type": record_type, "query": query, "node_basename": "shop", "nameservers": [server.address]}
    return found_by("dns", {**config, **more}, **options)


@contextlib.asynccontextmanager
async def nodes_at(names: list[str], port: int, **options: Any) -> AsyncIterator[list[Node]]:
    """Three nodes on one port of three addresses of the loopback."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Node(name, listen_addrs=[f"{host}:{port}"], **FAST, **options))
            for name, host in zip(names, HOSTS, strict=True)
        ]


@pytest.fixture
def server(tmp_path: Path) -> Dns:
    found = Dns(tmp_path)
    found.knows(*(f"{host} n{number}.test shop.test" for number, host in enumerate(HOSTS, 1)))
    return found


BY_ADDRESS = [f"shop@{host}" for host in HOSTS]
BY_NAME = [f"shop@n{number}.test" for number in (1, 2, 3)]
ADDRESSES = "a", "shop.test", BY_ADDRESS
NAMES = "fqdns", "shop.test", BY_NAME
SERVICES = "srv", "_shop._tcp.test", BY_NAME


@pytest.mark.parametrize(("kind", "query", "names"), [ADDRESSES, NAMES, SERVICES])
async def test_three_nodes_find_each_other_by_records(server: Dns, kind: str, query: str, names: list[str]) -> None:
    port = free_port()
    services = [f"--srv-host=_shop._tcp.test,n{number}.test,{port}" for number in (1, 2, 3)]
    async with (
        serving(server, *services),
        nodes_at(names, port, **by_dns(server, kind, query)) as nodes,
    ):
        await eventually(lambda: fully_meshed(*nodes), timeout=30.0)
        assert {str(who) for who in nodes[0].discovery.found} == {
            f"{name} at {host}:{port}" for name, host in zip(names, HOSTS, strict=True)
        }


async def test_a_node_that_dns_does_not_know_any_more_leaves_and_one_that_it_knows_again_returns(server: Dns) -> None:
    port = free_port()
    async with serving(server), nodes_at(BY_ADDRESS, port, **by_dns(server, "a", "shop.test")) as [a, b, c]:
        await eventually(lambda: fully_meshed(a, b, c), timeout=30.0)
        await c.discovery.disable()  # or it would join again, as it finds the others
        server.knows(*(f"{host} shop.test" for host in HOSTS[:2]))
        await eventually(lambda: fully_meshed(a, b) and c.members() == [c.name], timeout=30.0)
        server.knows(*(f"{host} shop.test" for host in HOSTS))
        await eventually(lambda: fully_meshed(a, b, c), timeout=30.0)


async def test_an_outage_of_dns_and_a_name_that_is_gone_keep_the_membership(server: Dns) -> None:
    port = free_port()
    options = by_dns(server, "a", "shop.test", timeout=0.5)
    async with serving(server), nodes_at(BY_ADDRESS, port, **options) as nodes:
        await eventually(lambda: fully_meshed(*nodes), timeout=30.0)
        events = Events(nodes[0])
        server.knows("127.0.0.1 other.test")
        await eventually(lambda: len(events.of(telemetry.DISCOVERY_ERROR)) >= 2)
        assert reason_of(nodes[0]) == "not_found"
        await server.stop()
        await eventually(lambda: reason_of(nodes[0]) == "timeout")
        assert all(node.members() == sorted(BY_ADDRESS) for node in nodes)
        server.knows(*(f"{host} shop.test" for host in HOSTS[1:]))
        await nodes[0].discovery.disable()
        await server.start()
        await eventually(lambda: fully_meshed(*nodes[1:]), timeout=30.0)


def reason_of(node: Node) -> str:
    return str(getattr(node.discovery.error, "reason", None))


@contextlib.asynccontextmanager
async def looking(kind: str, query: str, server: Any, **more: Any) -> AsyncIterator[Node]:
    """A node that looks when it is told to."""
    options = by_dns(server, kind, query, initial_delay=600.0, **more)
    async with Node("shop@127.0.0.1:0", **FAST, **options) as node:
        yield node


async def test_an_ipv6_address_is_found_under_the_port_that_is_given(server: Dns) -> None:
    server.knows("::1 n1.test shop.test", "fe80::2 n2.test shop.test", "127.0.0.1 shop.test")
    async with serving(server), looking("aaaa", "shop.test", server, port=10200) as node:
        assert [str(who) for who in await node.discovery.lookup()] == [
            "shop@::1 at [::1]:10200",
            "shop@fe80::2 at [fe80::2]:10200",
        ]
    async with serving(server), looking("fqdns", "shop.test", server, port=10200, inet6=True) as node:
        assert [str(who) for who in await node.discovery.lookup()] == [
            "shop@n1.test at [::1]:10200",
            "shop@n2.test at [fe80::2]:10200",
        ]


async def test_addresses_of_one_host_belong_to_one_node_and_a_host_without_any_is_known_by_name(server: Dns) -> None:
    server.knows("127.0.0.3 n1.test", "127.0.0.2 n1.test", "::1 n2.test")
    services = [f"--srv-host=_shop._tcp.test,{host}.test,10201" for host in ("n1", "n2", "n3")]
    async with serving(server, *services), looking("srv", "_shop._tcp.test", server) as node:
        events = Events(node)
        assert await node.discovery.lookup() == [
            Contact(ListenAddress("127.0.0.2", 10201), "shop@n1.test", (ListenAddress("127.0.0.3", 10201),)),
            "shop@n2.test",
            "shop@n3.test",
        ]
        skipped = {str(about["entry"]) for about in events.of(telemetry.DISCOVERY_SKIPPED, backend="dns")}
        assert skipped == {"n2.test", "n3.test"}


async def test_another_nameserver_is_asked_when_the_first_does_not_answer(server: Dns) -> None:
    async with (
        serving(server),
        looking(
            "a", "shop.test", server, nameservers=[f"127.0.0.1:{free_port()}"], alt_nameservers=[server.address]
        ) as node,
    ):
        assert len(await node.discovery.lookup()) == 3


async def test_a_nameserver_that_is_silent_costs_a_lookup_of_many_nodes_its_patience_once(server: Dns) -> None:
    hosts = [f"n{number}.test" for number in range(40)]
    server.knows(*(f"127.0.0.1 {host}" for host in hosts))
    services = [f"--srv-host=_shop._tcp.test,{host},{10200 + number}" for number, host in enumerate(hosts)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        first = f"127.0.0.1:{silent.getsockname()[1]}"
        async with (
            serving(server, *services),
            looking("srv", "_shop._tcp.test", server, nameservers=[first, server.address]) as node,
        ):
            assert len(await node.discovery.lookup()) == len(hosts)


async def test_nameservers_of_the_system_that_change_are_asked_at_the_next_lookup(
    server: Dns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resolv.conf"

    class Resolver(dns.asyncresolver.Resolver):
        def __init__(self, **options: Any) -> None:
            super().__init__(str(file), **options)
            self.port = server.port

    monkeypatch.setattr(dns.asyncresolver, "Resolver", Resolver)
    async with serving(server), looking("a", "shop.test", server, nameservers=[]) as node:
        for _ in range(2):
            file.write_text("nameserver 127.0.0.9\n")  # where nobody is
            with pytest.raises(DiscoveryFailed):
                await node.discovery.lookup()
            file.write_text("nameserver 127.0.0.1\n")
            assert len(await node.discovery.lookup()) == 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("query", "a..b"),
        ("query", "x" * 300),
        ("node_basename", "a@b"),
        ("node_basename", "a b"),
        ("nameservers", ["localhost"]),
        ("alt_nameservers", ["127.0.0.1:65536"]),
    ],
)
async def test_an_option_that_cannot_be_meant_is_an_error_at_the_start(option: str, value: Any) -> None:
    config = {"record_type": "a", "query": "shop.test", "node_basename": "shop", option: value}
    with pytest.raises(ConfigError, match=rf"peer_discovery\.config\.{option}"):
        await Node("a@127.0.0.1:0", **FAST, **found_by("dns", config)).start()


# A server that tells nonsense.

Answer = Callable[[dns.message.Message], "dns.message.Message | bytes | None"]


class Liar:
    """A server whose answers a test decides, over UDP and TCP."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._port = free_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def octets(self, query: bytes, limit: int) -> bytes | None:
        answer = self._answer(dns.message.from_wire(query))
        if answer is None or isinstance(answer, bytes):
            return answer
        try:
            return answer.to_wire(max_size=limit)
        except dns.exception.TooBig:
            answer.answer = []
            answer.flags |= dns.flags.TC
            return answer.to_wire()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        liar = self

        class Udp(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, address: Any) -> None:
                octets = liar.octets(data, 1232)
                if octets is not None:
                    self.transport.sendto(octets, address)

        self._udp, _ = await loop.create_datagram_endpoint(Udp, ("127.0.0.1", self._port))
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            [size] = struct.unpack("!H", await reader.readexactly(2))
            octets = self.octets(await reader.readexactly(size), 65535) or b""
            writer.write(struct.pack("!H", len(octets)) + octets)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()


def answers(*records: tuple[str, str]) -> Answer:
    """Answers every question with those of (type, text) that are of its type."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(query)
        [question] = query.question
        found = [text for kind, text in records if dns.rdatatype.from_text(kind) == question.rdtype]
        if found:
            made.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", question.rdtype, found))
        return made

    return answer


def garbage(query: dns.message.Message) -> bytes:
    return query.id.to_bytes(2, "big") + random.Random(query.id).randbytes(200)


def cut_short(query: dns.message.Message) -> bytes:
    return answers(("A", "10.0.0.1"), ("SRV", "0 0 1 n.test."))(query).to_wire()[:-3]  # type: ignore[union-attr]


def loop(query: dns.message.Message) -> dns.message.Message:
    made = dns.message.make_response(query)
    name = query.question[0].name
    for number in range(40):
        made.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", f"n{number}.test."))
        name = dns.name.from_text(f"n{number}.test.")
    made.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "n0.test."))
    return made


MANY = [("A", f"10.0.{number // 200}.{number % 200}") for number in range(3000)]
MANY_SRV = [("SRV", f"0 0 {number} n.test.") for number in range(1, 1000)]


@pytest.mark.parametrize(
    ("kind", "answer", "reasons"),
    [
        ("a", garbage, {"timeout", "malformed", "refused"}),
        ("a", cut_short, {"timeout", "malformed", "refused"}),
        ("srv", cut_short, {"timeout", "malformed", "refused"}),
        ("a", loop, {"malformed", "refused", "not_found", "timeout"}),
        ("a", lambda query: None, {"timeout"}),
        ("a", lambda query: b"", {"timeout", "malformed", "refused"}),
        ("a", answers(), {"not_found"}),
        ("fqdns", answers(("AAAA", "::1")), {"not_found"}),
        ("a", answers(*MANY), {"too_many"}),
        ("fqdns", answers(*MANY), {"too_many"}),
        ("srv", answers(*MANY_SRV), {"too_many"}),
    ],
)
async def test_an_answer_that_is_none_is_a_failed_lookup(kind: str, answer: Answer, reasons: set[str]) -> None:
    patience = 0.7 if "timeout" in reasons else 30.0
    async with (
        serving(Liar(answer)) as liar,
        looking(kind, "shop.test", liar, timeout=patience, max_nodes=500) as node,
    ):
        with pytest.raises(DiscoveryFailed) as caught:
            await node.discovery.lookup()
        assert caught.value.reason in reasons


LABEL = "x" * 63


LONG = f"{LABEL}.{LABEL}.{LABEL}"


@pytest.mark.parametrize(
    ("kind", "records", "found", "skipped"),
    [
        ("srv", ["SRV 0 0 0 n.test.", "SRV 0 0 7 m.test.", "A 10.0.0.1"], ["shop@m.test"], {"n.test"}),
        ("srv", ["SRV 0 0 0 ."], [], set()),
        ("srv", [r"SRV 0 0 7 a\@b.test.", r"SRV 0 0 7 a\032b.", "A 10.0.0.1"], [], {r"a\@b.test", r"a\032b"}),
        ("srv", [f"SRV 0 0 7 {LONG}.", "A 10.0.0.1"], [], {LONG[:120] + "..."}),
        ("srv", ["SRV 0 0 7 N.Test.", "SRV 0 0 7 n.test.", "A 10.0.0.1"], ["shop@n.test"], set()),
        ("fqdns", ["A 10.0.0.1", r"PTR evil\000.test."], [], {r"evil\000.test"}),
        ("fqdns", ["A 10.0.0.1", "PTR ."], [], {"."}),
        ("fqdns", ["A 10.0.0.1", "PTR 127.1."], [], {"127.1"}),
        ("fqdns", ["A 10.0.0.1"], [], {"10.0.0.1"}),
        ("fqdns", ["A 10.0.0.1", "A 10.0.0.2", "PTR n.test.", "PTR m.test."], ["shop@m.test"], set()),
    ],
)
async def test_a_record_that_can_be_no_node_is_left_out_and_told(
    kind: str, records: list[str], found: list[str], skipped: set[str]
) -> None:
    pairs = [(kind, text) for kind, _, text in (record.partition(" ") for record in records)]
    async with serving(Liar(answers(*pairs))) as liar, looking(kind, "shop.test", liar) as node:
        events = Events(node)
        contacts = await node.discovery.lookup()
        assert [getattr(who, "name", who) for who in contacts] == found
        assert {about["entry"] for about in events.of(telemetry.DISCOVERY_SKIPPED, backend="dns")} == skipped


def refusing(kind: str) -> Answer:
    """Answers questions for addresses and services, and refuses those of a kind."""

    def answer(query: dns.message.Message) -> Any:
        made = answers(("A", "10.0.0.1"), ("A", "10.0.0.2"), ("SRV", "0 0 7 n.test."))(query)
        if query.question[0].rdtype == dns.rdatatype.from_text(kind):
            made = dns.message.make_response(query)
            made.set_rcode(dns.rcode.REFUSED)
        return made

    return answer


@pytest.mark.parametrize(("kind", "refused"), [("fqdns", "PTR"), ("srv", "A")])
async def test_an_answer_in_parts_is_a_failed_lookup(kind: str, refused: str) -> None:
    async with serving(Liar(refusing(refused))) as liar, looking(kind, "shop.test", liar) as node:
        with pytest.raises(DiscoveryFailed) as caught:
            await node.discovery.lookup()
        assert caught.value.reason == "refused"


async def test_a_large_answer_is_taken_over_tcp() -> None:
    async with serving(Liar(answers(*MANY))) as liar, looking("a", "shop.test", liar, port=1, timeout=30.0) as node:
        assert len(await node.discovery.lookup()) == len(MANY)
