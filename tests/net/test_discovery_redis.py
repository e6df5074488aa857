"""Nodes that find each other by what they say in Redis, under the keys of partisan 5.0.3's strategy for compose."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
from discovery_servers import Redis, found_by, serving
from support import FAST, Events, eventually, free_port, fully_meshed, running, settled

from partisan import ConfigError, DiscoveryFailed, Node, telemetry
from partisan.etf import Atom, decode, encode
from partisan.wire.spec import spec_from_term, spec_to_term

A, B, C = (f"{name}@127.0.0.1" for name in "abc")
KEYS = {name: f"partisan/undefined/0/server/{name}".encode() for name in (A, B, C)}


def by_redis(server: Redis, **more: Any) -> dict[str, Any]:
    """The option of a node that uses this Redis."""
    options = {key: more.pop(key) for key in ("initial_delay", "timeout", "max_nodes", "remove") if key in more}
    return found_by("redis", {"url": server.url, **more}, **options)


@pytest.fixture
def server(tmp_path: Path) -> Redis:
    return Redis(tmp_path)


@contextlib.contextmanager
def client_of(server: Redis) -> Any:
    """What somebody else does in the same Redis."""
    with redis.Redis.from_url(server.url) as client:
        yield client


@contextlib.asynccontextmanager
async def looking(server: Redis, **more: Any) -> AsyncIterator[Node]:
    """The node `a`, which looks when it is told to."""
    async with Node("a@127.0.0.1:0", **FAST, **by_redis(server, initial_delay=600.0, **more)) as node:
        yield node


async def test_three_nodes_find_each_other_by_their_keys_and_one_that_stops_leaves(server: Redis) -> None:
    async with serving(server), running("a", "b", "c", **by_redis(server)) as (a, b, c):
        await eventually(lambda: fully_meshed(a, b, c), timeout=30.0)
        with client_of(server) as client:
            assert {*client.keys("*")} == {*KEYS.values()}
            assert spec_from_term(decode(client.get(KEYS[B]))) == b.spec
            assert 0 < client.pttl(KEYS[B]) <= 180_000
            await c.stop()
            await eventually(lambda: fully_meshed(a, b), timeout=30.0)
            assert {*client.keys("*")} == {KEYS[A], KEYS[B]}


async def test_an_outage_of_redis_keeps_the_membership_also_if_it_returns_empty(server: Redis) -> None:
    async with serving(server), running("a", "b", "c", **by_redis(server, timeout=1.0)) as nodes:
        await eventually(lambda: fully_meshed(*nodes), timeout=30.0)
        left = [Events(node, "partisan.membership.peer.leave") for node in nodes]
        await server.stop()
        await eventually(lambda: all(node.discovery.error is not None for node in nodes))
        assert nodes[0].discovery.error.reason == "unreachable"  # type: ignore[union-attr]
        for node in nodes[1:]:
            await node.discovery.disable()
        await server.start()
        await eventually(lambda: nodes[0].discovery.error is None)
        with client_of(server) as client:
            await eventually(lambda: client.keys("*") == [KEYS[A]])
        asked = Events(nodes[0], telemetry.DISCOVERY_LOOKUP, handler_id="asked")
        await eventually(lambda: len(asked.seen) >= 2)
        assert all(fully_meshed(*nodes) for _ in nodes)
        assert not any(events.seen for events in left)


async def test_what_redis_has_lost_is_gone_when_its_time_is_over(server: Redis) -> None:
    async with serving(server), running("b") as [b], looking(server) as a:
        now = 1000.0
        a._discovery._backend._here = HereAt(a._discovery._backend._here, lambda: now)  # type: ignore[union-attr]
        with client_of(server) as client:
            client.set(KEYS[B], encode(spec_to_term(b.spec)))
            assert await a.discovery.lookup() == [a.spec, b.spec]
            client.flushall()
            now += 100_000.0  # so long may an outage be
            assert await a.discovery.lookup() == [a.spec, b.spec]
            now += 179.0
            assert await a.discovery.lookup() == [a.spec, b.spec]
            now += 2.0
            assert await a.discovery.lookup() == [a.spec]


class HereAt:
    """What a backend is told, at another time."""

    def __init__(self, here: Any, clock: Any) -> None:
        self._here = here
        self.clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._here, name)


async def test_a_key_that_is_deleted_makes_its_node_leave(server: Redis) -> None:
    async with serving(server), running("a", "b", **by_redis(server)) as (a, b):
        await eventually(lambda: fully_meshed(a, b), timeout=30.0)
        await b.discovery.disable()
        await eventually(lambda: a.members() == [A] and b.members() == [B], timeout=30.0)


REAL = bytes.fromhex(
    "8374000000036400086368616E6E656C737400000002640013706172746973616E5F6D656D62657273686970740000000364000B636F6D"
    "7072657373696F6E640004747275656400096D6F6E6F746F6E696364000566616C736564000B706172616C6C656C69736D610164000975"
    "6E646566696E6564740000000364000B636F6D7072657373696F6E64000566616C73656400096D6F6E6F746F6E696364000566616C7365"
    "64000B706172616C6C656C69736D610164000C6C697374656E5F61646472736C00000001740000000264000269706804617F6100610061"
    "01640004706F727462000027D86A6400046E616D6564000B61403132372E302E302E31"
)
"""What `term_to_binary` of OTP 25 makes of the spec of a@127.0.0.1:10200."""


async def test_what_a_node_of_the_beam_has_written_is_read(server: Redis) -> None:
    async with serving(server), looking(server, identifier="eval*[x]", timestamp=7, tag="client") as a:
        with client_of(server) as client:
            client.set("partisan/eval*[x]/7/server/a@127.0.0.1", REAL)
            client.set("partisan/evalX[x]/7/server/b@127.0.0.1", REAL)  # another cluster's
            client.set("partisan/eval*[x]/7/b@127.0.0.1", encode((1, [])))  # an artifact
            [spec] = await a.discovery.lookup()
            assert spec == spec_from_term(decode(REAL))
            assert client.exists("partisan/eval*[x]/7/client/a@127.0.0.1")


async def test_values_that_are_no_specs_are_left_out_and_told(server: Redis) -> None:
    spec = decode(REAL)
    channels = {Atom(f"channel {number}"): {Atom("parallelism"): 1} for number in range(4000)}
    wrong = {
        "x@h": b"",
        "y@h": b"junk",
        "a@127.0.0.2": REAL,  # another node's
        "b@h": encode(Atom("b@h")),
        "c@h": encode({Atom("name"): Atom("c@h"), Atom("listen_addrs"): [], Atom("channels"): {}}),
        "d@h": encode({**spec, Atom("name"): Atom("d@h"), Atom("more"): 1}),
        "e@h": encode({**spec, Atom("name"): b"e@h"}),
        "f@h": encode({**spec, Atom("name"): Atom("f@h"), Atom("channels"): channels}),
        "g@h": REAL + b"more",
        "h@h": b"\x83P\x7f\xff\xff\xff" + bytes(40),
        "i@h": b"\x83" + b"l\0\0\0\1" * 10_000,
        "j@h": REAL[:-1],
        "no name": REAL,
        "\udcff@h": REAL,
    }
    async with serving(server), looking(server) as a, running("z") as [z]:
        events = Events(a)
        with client_of(server) as client:
            for name, value in wrong.items():
                client.set(b"partisan/undefined/0/server/" + name.encode(errors="surrogateescape"), value)
            client.rpush("partisan/undefined/0/server/list@h", "an item")
            client.set("partisan/undefined/0/client/z@127.0.0.1", encode(spec_to_term(z.spec)))
            assert await a.discovery.lookup() == [z.spec, a.spec]
        told = {str(about["entry"]).removeprefix("partisan/undefined/0/server/") for about in events.of(SKIPPED)}
        assert told == {*wrong, "list@h", r"\xff@h"} - {"x@h", "\udcff@h"}


SKIPPED = telemetry.DISCOVERY_SKIPPED


async def test_more_keys_than_there_may_be_nodes_are_a_failed_lookup(server: Redis) -> None:
    async with serving(server), looking(server, max_nodes=2) as a:
        with client_of(server) as client:
            client.mset({f"partisan/undefined/0/client/{number}": b"" for number in range(20)})
        with pytest.raises(DiscoveryFailed, match=r"too_many \(more than 8 keys"):
            await a.discovery.lookup()


@pytest.mark.parametrize("tags", [("client",), ("client", "client")])
async def test_only_the_tags_that_are_asked_for_are_found(server: Redis, tags: tuple[str, ...]) -> None:
    async with serving(server), running("b") as [b], looking(server, tags=tags) as a:
        with client_of(server) as client:
            client.set("partisan/undefined/0/client/b@127.0.0.1", encode(spec_to_term(b.spec)))
        assert await a.discovery.lookup() == [b.spec]


async def test_a_password_that_is_wrong_is_refused_and_shown_nowhere(
    server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://:secret-1@127.0.0.1:{server.port}"
    async with serving(server, "--requirepass", "secret-2"), looking(server, url=url) as a:
        with pytest.raises(DiscoveryFailed) as caught:
            await a.discovery.lookup()
        assert caught.value.reason == "refused"
        await settled(a)
        for text in (str(caught.value), caplog.text, repr(a.config)):
            assert "secret" not in text


async def test_a_url_that_is_none_is_an_error_at_the_start_that_does_not_show_it() -> None:
    with pytest.raises(ConfigError, match=r"peer_discovery\.config\.url: it is no URL of Redis$"):
        await Node("a@127.0.0.1:0", **found_by("redis", {"url": "http://:secret@h"})).start()


async def test_redis_is_where_the_environment_says(server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_SERVICE_PORT", str(server.port))
    async with serving(server), looking(server, url="") as a:
        assert await a.discovery.lookup() == [a.spec]


async def test_a_node_whose_redis_is_gone_stops_all_the_same(server: Redis, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(server), looking(server) as a:
        await a.discovery.lookup()
        await server.stop()
        await a.stop()
        assert "the own key stays until it expires" in caplog.text


async def test_a_port_on_which_nobody_is_is_a_failed_lookup(server: Redis) -> None:
    async with looking(server, url=f"redis://127.0.0.1:{free_port()}") as a:
        with pytest.raises(DiscoveryFailed) as caught:
            await a.discovery.lookup()
        assert caught.value.reason == "unreachable"


async def test_a_time_out_that_is_changed_is_that_of_the_next_lookup(server: Redis) -> None:
    async with serving(server), looking(server, timeout=0.3) as a:
        await a.discovery.lookup()
        server.signal(signal.SIGSTOP)
        with pytest.raises(DiscoveryFailed, match="timeout"):
            await a.discovery.lookup()
        a.reconfigure(peer_discovery={"timeout": 30.0})
        asyncio.get_running_loop().call_later(1.0, server.signal, signal.SIGCONT)  # longer than it had at first
        assert await a.discovery.lookup() == [a.spec]
