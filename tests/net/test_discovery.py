"""Discovery on real nodes: what a lookup gives becomes the membership, and what it does not give changes nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from discovery_servers import found_by
from support import FAST, Events, address_of, cluster, eventually, free_port, fully_meshed, running, settled

from partisan import ConfigError, Contact, DiscoveryDisabled, DiscoveryFailed, MissingExtra, Node, discovery, telemetry
from partisan.names import ListenAddress

A, B, C = (f"{name}@127.0.0.1" for name in "abc")


class Oracle:
    """A backend whose answers a test decides: by `give`, a function of nothing.

    Attributes:
        asked: how many lookups have begun.
        closed: how often it was closed.
    """

    give: Callable[[], Any] = staticmethod(list)
    asked = 0
    closed = 0
    here: discovery.Here

    def __init__(self, config: Any, here: discovery.Here) -> None:
        type(self).here = here
        self.config = config

    async def lookup(self) -> Sequence[Any]:
        type(self).asked += 1
        given = type(self).give()
        return await given if asyncio.iscoroutine(given) else given

    async def close(self) -> None:
        type(self).closed += 1


def oracle(give: Callable[[], Any]) -> type[Oracle]:
    """A class of its own, so that tests do not see each other's."""
    return type("Oracle", (Oracle,), {"give": staticmethod(give)})


async def asked(kind: type[Oracle], times: int = 2) -> None:
    """Wait until so many further lookups are over."""
    enough = kind.asked + times + 1
    await eventually(lambda: kind.asked >= enough)


async def test_three_nodes_of_a_list_find_each_other() -> None:
    ports = [free_port() for _ in range(3)]
    addresses = [f"{name}@localhost:{port}" for name, port in zip("abc", ports, strict=True)]
    options = {**FAST, **found_by("list", {"addresses": addresses})}
    nodes = [
        Node(f"{name}@localhost", listen_addrs=[f"127.0.0.1:{port}"], **options)
        for name, port in zip("abc", ports, strict=True)
    ]
    async with nodes[0] as a, nodes[1] as b, nodes[2] as c:
        await eventually(lambda: fully_meshed(a, b, c), timeout=30.0)
        assert a.discovery.error is None
        assert {who.name for who in a.discovery.found} == {"a@localhost", "b@localhost", "c@localhost"}


async def test_a_host_of_a_list_that_is_not_found_is_told_and_keeps_nobody_from_joining() -> None:
    async with running("b") as [b]:
        addresses = [address_of(b), "x@nowhere.invalid:1"]
        a = Node("a@127.0.0.1:0", **FAST, **found_by("list", {"addresses": addresses}, timeout=20.0))
        events = Events(a)
        async with a:
            await eventually(lambda: fully_meshed(a, b), timeout=30.0)
            assert events.of(telemetry.DISCOVERY_SKIPPED, entry="x@nowhere.invalid:1", backend="list")
            assert a.discovery.found[1] == "x@nowhere.invalid"


async def test_a_member_whose_address_is_not_known_at_present_stays() -> None:
    async with cluster("a", "b") as (a, b):
        kind = oracle(lambda: [a.name, b.name])
        async with Node("c@127.0.0.1:0", **FAST, **found_by(kind, {}, initial_delay=600.0)) as c:
            await c.join(address_of(a))
            c.reconfigure(peer_discovery={"polling_interval": 0.01})
            await asked(kind)
            await settled(c)
            assert c.members() == [A, B, C]


async def test_a_member_that_is_not_found_leaves_at_the_next_lookup_and_one_that_is_found_joins() -> None:
    async with cluster("a", "b") as (a, b), running("d") as [d]:
        found: list[Any] = [a.spec, b.spec]
        kind = oracle(lambda: found)
        async with Node("c@127.0.0.1:0", **FAST, **found_by(kind, {})) as c:
            await eventually(lambda: fully_meshed(a, b, c), timeout=30.0)
            found[:] = [a.spec, Contact(d.listen_addrs[0])]
            await eventually(lambda: fully_meshed(a, c, d) and b.members() == [B], timeout=30.0)
            found[:] = [c.spec]
            await eventually(lambda: all(node.members() == [node.name] for node in (a, c, d)), timeout=30.0)


async def test_with_remove_off_members_that_are_not_found_stay() -> None:
    async with cluster("a", "b") as (a, b):
        kind = oracle(lambda: [b.spec])
        async with Node("c@127.0.0.1:0", **FAST, **found_by(kind, {}, remove=False)) as c:
            await eventually(lambda: fully_meshed(a, b, c), timeout=30.0)
            await asked(kind)
            assert c.members() == [A, B, C]
            c.reconfigure(peer_discovery={"remove": True})
            await eventually(lambda: c.members() == [B, C], timeout=30.0)


async def never() -> list[Any]:
    await asyncio.Event().wait()
    return []


def crash() -> list[Any]:
    raise ZeroDivisionError


def fail() -> list[Any]:
    raise DiscoveryFailed("oracle", "refused", "it will not say")


PORTS = [Contact(ListenAddress("127.0.0.1", port), f"n@h{port}") for port in range(1, 20)]


@pytest.mark.parametrize(
    ("give", "reason"),
    [
        (never, "timeout"),
        (crash, "failed"),
        (fail, "refused"),
        (lambda: None, "failed"),
        (lambda: PORTS, "too_many"),
    ],
)
async def test_a_lookup_that_fails_is_told_and_logged_and_keeps_the_membership(
    give: Callable[[], Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster("a", "b") as (a, b):
        answer: list[Callable[[], Any]] = [lambda: [a.spec, b.spec]]
        kind = oracle(lambda: answer[0]())
        options = found_by(kind, {}, timeout=0.5, max_nodes=8)
        async with Node("c@127.0.0.1:0", **FAST, **options) as c:
            await eventually(lambda: fully_meshed(a, b, c) and c.discovery.error is None, timeout=30.0)
            events = Events(c)
            answer[0] = give
            await eventually(lambda: len(events.of(telemetry.DISCOVERY_ERROR, backend="Oracle")) >= 2)
            assert isinstance(c.discovery.error, DiscoveryFailed)
            assert c.discovery.error.reason == reason
            with pytest.raises(DiscoveryFailed):
                await c.discovery.lookup()
            assert fully_meshed(a, b, c)
            assert not events.of(telemetry.PEER_LEAVE)
            [record] = [each for each in caplog.records if "keeps its members" in each.getMessage()]
            assert record.levelname == "WARNING"
            answer[0] = lambda: [a.spec]
            await eventually(lambda: c.members() == [A, C] and c.discovery.error is None, timeout=30.0)


async def test_an_answer_without_any_node_changes_nothing() -> None:
    async with cluster("a", "b") as (a, b):
        found: list[Any] = [a.spec, b.spec]
        kind = oracle(lambda: found)
        async with Node("c@127.0.0.1:0", **FAST, **found_by(kind, {})) as c:
            await eventually(lambda: fully_meshed(a, b, c), timeout=30.0)
            found.clear()
            await asked(kind)
            assert fully_meshed(a, b, c)


@pytest.mark.parametrize("junk", [7, None, ("n@h", 1), Contact(ListenAddress("127.0.0.1", 0), "n@h")])
async def test_what_is_no_node_among_what_was_found_is_left_out_and_told(junk: object) -> None:
    async with running("b") as [b]:
        kind = oracle(lambda: [junk, b.spec])
        a = Node("a@127.0.0.1:0", **FAST, **found_by(kind, {}))
        events = Events(a)
        async with a:
            await eventually(lambda: fully_meshed(a, b), timeout=30.0)
            assert await a.discovery.lookup() == [b.spec]
            assert events.of(telemetry.DISCOVERY_SKIPPED, backend="Oracle")
            assert events.of(telemetry.DISCOVERY_LOOKUP, backend="Oracle")


async def test_discovery_is_disabled_until_it_is_enabled_and_goes_on_whenever_it_is_enabled_again() -> None:
    async with running("b") as [b]:
        kind = oracle(lambda: [b.spec])
        async with Node("a@127.0.0.1:0", **FAST, **found_by(kind, {}, enabled=False)) as a:
            assert discovery.status() == "disabled"
            with pytest.raises(DiscoveryDisabled):
                await discovery.lookup()
            for closed in (1, 2):
                discovery.enable()
                discovery.enable()
                assert discovery.status() == "enabled"
                await eventually(lambda: fully_meshed(a, b), timeout=30.0)
                await asked(kind, times=3)
                assert await discovery.lookup() == [b.spec]
                await discovery.disable()
                await discovery.disable()
                assert (discovery.status(), kind.closed) == ("disabled", closed)
                assert fully_meshed(a, b)
                before = kind.asked
                await a.leave(B)
                await settled(a)
                assert kind.asked == before


async def test_a_lookup_changes_no_membership() -> None:
    async with running("b") as [b]:
        kind = oracle(lambda: [b.spec])
        async with Node("a@127.0.0.1:0", **FAST, **found_by(kind, {}, initial_delay=600.0)) as a:
            assert await a.discovery.lookup() == [b.spec]
            await settled(a)
            assert (a.members(), a.discovery.found) == ([A], ())


async def test_a_node_that_stops_gives_up_a_lookup_that_is_under_way() -> None:
    kind = oracle(never)
    async with Node("a@127.0.0.1:0", **FAST, **found_by(kind, {}, timeout=600.0)) as a:
        await eventually(lambda: kind.asked == 1)
    assert kind.closed == 1
    assert a._discovery._task is None


async def test_a_shorter_interval_counts_at_once() -> None:
    kind = oracle(list)
    async with Node("a@127.0.0.1:0", **FAST, **found_by(kind, {}, polling_interval=600.0)) as a:
        await eventually(lambda: kind.asked == 1)
        a.reconfigure(peer_discovery={"polling_interval": 0.01})
        await asked(kind)
        with pytest.raises(ConfigError, match=r"peer_discovery\.type: it cannot change while the node runs"):
            a.reconfigure(peer_discovery={"type": "module:Class"})


async def test_to_enable_what_is_not_configured_is_an_error() -> None:
    async with running("a") as [a]:
        with pytest.raises(ConfigError, match=r"peer_discovery\.type: it does not say how"):
            a.discovery.enable()
        assert a.discovery.status() == "disabled"


@pytest.mark.parametrize(
    ("kind", "config", "module", "extra"),
    [
        ("dns", {"query": "x.test", "node_basename": "n"}, "dns.asyncresolver", "dns"),
        ("redis", {}, "redis.asyncio", "redis"),
        ("kubernetes", {"label_selector": "a=b"}, "aiohttp", "k8s"),
    ],
)
async def test_a_library_that_is_missing_is_an_error_that_says_what_to_install(
    kind: str, config: dict[str, Any], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"partisan.discovery.by_{kind}", raising=False)
    node = Node("a@127.0.0.1:0", **FAST, **found_by(kind, config))
    with pytest.raises(MissingExtra, match=rf"pip install 'partisan\[{extra}\]'") as caught:
        await node.start()
    assert caught.value.extra == extra
    assert not node._running


@pytest.mark.parametrize("place", ["nowhere:Class", "partisan.discovery:Nobody", "partisan.names:NodeSpec"])
async def test_a_place_without_a_backend_is_an_error(place: str) -> None:
    with pytest.raises(ConfigError, match=r"peer_discovery\.type"):
        await Node("a@127.0.0.1:0", **FAST, **found_by(place, {})).start()


async def test_a_backend_is_told_its_options_and_its_node() -> None:
    kind = oracle(list)
    async with Node("a@127.0.0.1:0", **FAST, **found_by(kind, {"key": 1})) as a:
        await eventually(lambda: kind.asked > 0)
        assert a._discovery._backend.config == {"key": 1}  # type: ignore[union-attr]
        assert kind.here.spec == a.spec
        assert kind.here.port == a.listen_addrs[0].port


async def test_a_backend_sees_options_that_were_changed() -> None:
    kind = oracle(list)
    async with Node("a@127.0.0.1:0", **FAST, **found_by(kind, {})) as a:
        a.reconfigure(peer_discovery={"timeout": 7.0})
        assert kind.here.config.peer_discovery.timeout == 7.0


async def test_what_goes_wrong_with_the_members_is_logged_and_lookups_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running("b") as [b]:
        kind = oracle(lambda: [b.spec])
        async with Node("a@127.0.0.1:0", **FAST, **found_by(kind, {}, initial_delay=600.0)) as a:
            with monkeypatch.context() as patch:
                patch.setattr(a._discovery, "_members", lambda: 1 / 0)
                a.reconfigure(peer_discovery={"polling_interval": 0.01})
                await eventually(lambda: isinstance(a.discovery.error, ZeroDivisionError))
            assert "could not make what was found its members" in caplog.text
            await eventually(lambda: fully_meshed(a, b), timeout=30.0)
