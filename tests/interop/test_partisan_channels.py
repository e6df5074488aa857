"""The connections between Python nodes and nodes of Partisan: channels, order, keepalives, silent peers, TLS."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, Identity
from partisans import Partisan, eventually, meshed, python, real
from support import Events, Sink

from partisan import ConnectFailed, HandshakeError, Node, telemetry
from partisan.etf import Atom
from partisan.testing import NodeProcess

OK = Atom("ok")
LANES = "#{bulk => #{parallelism => 4}, news => #{monotonic => true}, talk => #{}}"
CHANNELS = {"bulk": {"parallelism": 4}, "news": {"monotonic": True}, "talk": {}}
NAMES = ("undefined", "bulk", "news", "talk", "partisan_membership")
QUICK = "#{enabled => true, idle_timeout => 500, timeout => 1500, max_attempts => 3}"
SOON = {"connection_ping": {"idle_timeout": 0.5, "timeout": 1.5, "max_attempts": 3}}


def of(channel: str) -> str | None:
    """What the Python side calls a channel."""
    return None if channel == "undefined" else channel


async def test_messages_go_both_ways_on_every_channel_and_each_has_its_connections() -> None:
    async with real(channels=LANES) as far, python(channels=CHANNELS) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        for channel in NAMES:
            wanted = 4 if channel == "bulk" else 1
            assert (await far.connections(py.name, channel), py.connection_count(far.name, channel)) == (wanted, wanted)
            py.send(("sink", far.name), channel, channel=of(channel))
            await far.send(py.name, "sink", channel, f"#{{channel => {channel}}}")
        assert set(await sink.has(5)) == {None if name == "undefined" else Atom(name) for name in NAMES}
        assert set(await far.gathered(5)) == {name.encode() for name in NAMES}


async def test_each_side_has_the_connections_that_the_other_asks_for() -> None:
    async with real(channels="#{bulk => #{parallelism => 2}, theirs => #{}}") as far, python(channels=CHANNELS) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        assert [await far.connections(py.name, name) for name in ("bulk", "news", "theirs")] == [4, 1, 0]
        assert [py.connection_count(far.name, name) for name in ("bulk", "news", "theirs")] == [2, 0, 1]
        for channel in ("news", "theirs", "unheard_of"):  # what the other does not have takes the default channel
            py.send(("sink", far.name), channel, channel=channel)
            assert await far.send(py.name, "sink", channel, f"#{{channel => {channel}}}") is OK
        assert set(await far.gathered(3)) == {b"news", b"theirs", b"unheard_of"}
        assert set(await sink.has(3)) == {Atom("news"), Atom("theirs"), Atom("unheard_of")}


async def test_without_fallback_a_node_of_partisan_refuses_a_channel_that_ours_does_not_have() -> None:
    async with real(channels="#{theirs => #{}}", channel_fallback="false") as far, python() as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        refused = await far.send(py.name, "sink", "lost", "#{channel => theirs}")
        assert refused == (Atom("error"), Atom("disconnected"))
        assert await far.send(py.name, "sink", "here") is OK
        assert await sink.has(1) == [Atom("here")]


async def test_with_partition_keys_messages_of_one_key_stay_in_order_on_parallel_connections() -> None:
    async with real(channels=LANES) as far, python(channels=CHANNELS) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        for key in range(6):
            await far.number(py.name, 200, f"#{{channel => bulk, partition_key => {key}}}", key=str(key))
        for number in range(200):
            for key in range(6):
                py.send(("sink", far.name), (key, number), channel="bulk", partition_key=key)
        for messages in (await sink.has(1200), await far.gathered(1200)):
            seen: dict[int, list[int]] = defaultdict(list)
            for key, number in messages:
                seen[key].append(number)
            assert dict(seen) == {key: list(range(200)) for key in range(6)}


async def test_on_a_monotonic_channel_newer_messages_may_replace_older_and_the_last_comes() -> None:
    async with real(channels=LANES) as far, python(channels=CHANNELS) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        await far.number(py.name, 2000, "#{channel => news}")
        await sink.heard(lambda message: message[1] == 1999)
        assert (numbers := [number for _, number in sink.messages]) == sorted(set(numbers))
        for number in range(2000):
            py.send(("sink", far.name), number, channel="news")
        found: list[int] = []

        async def last() -> bool:
            found.extend(await far.taken())
            return found[-1:] == [1999]

        await eventually(last, "the last has come")
        assert found == sorted(set(found))


async def test_idle_connections_are_kept_by_pings_of_both_sides() -> None:
    async with real(connection_ping=QUICK) as far, python(**SOON) as py:
        beats = Events(py, telemetry.CLIENT_HEARTBEAT, handler_id="beats")
        tell = "fun(_, _, #{peer_node := Peer}, _) -> sink ! {beat, Peer} end"
        await far.eval(f"telemetry:attach(beats, [partisan, connection, client, hearbeat], {tell}, [])")
        await py.join(far.address)
        await meshed([far, py])
        before = py.connections()
        lost = Events(py, telemetry.SOCKET_CLOSE, handler_id="lost")
        assert set(await far.gathered(8)) == {(Atom("beat"), Atom(py.name))}
        await eventually(lambda: len(beats.of(telemetry.CLIENT_HEARTBEAT, node=far.name)) >= 8, "it has answered")
        assert py.connections() == before
        assert lost.seen == []


async def test_a_node_of_partisan_that_falls_silent_is_down_and_up_again_when_it_speaks() -> None:
    hasty = {**SOON, "connect_timeout": 1.0, "handshake_timeout": 2.0}
    async with real(provoked="error,closed") as far, python(provoked="timeout", **hasty) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        heard: list[str] = []
        py.on_down(far.name, lambda: heard.append("down"))
        py.on_up(far.name, lambda: heard.append("up"))
        far.freeze()
        await eventually(lambda: heard == ["down"], "its silence is noticed")
        assert far.name in py.members()
        far.thaw()
        await eventually(lambda: heard[:2] == ["down", "up"], "it is up again")
        await meshed([far, py])
        await eventually(lambda: py.is_connected(far.name), "it is connected")
        await py.deliver(("sink", far.name), Atom("again"))
        assert Atom("again") in await far.gathered(1)
        await far.send(py.name, "sink", "back", "#{ack => true}")
        await sink.heard(lambda message: message is Atom("back"))


async def test_a_python_node_that_falls_silent_is_down_for_a_node_of_partisan_and_comes_back() -> None:
    py = NodeProcess("p")
    try:
        # It answers what is gone there.
        async with real(connection_ping=QUICK, provoked="error,closed") as far:
            await py.start()
            await far.eval(f"partisan_peer_service:on_down('{py.name}', fun() -> sink ! down end)")
            await py.join(far.address)
            await meshed([far, py])
            py.pause()
            assert (await far.gathered(1))[0] is Atom("down")
            py.resume()
            await meshed([far, py])
    finally:
        py.resume()
        await py.kill()


# TLS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


AGAIN = {"handshake_timeout": 2.0}
MISSED = "no TLS in time|no hello within"
"""A node of Partisan that begins its part of the handshake late has missed the first octets of ours: we dial again."""


def secured(authority: Authority, shown: Identity, *, mutual: bool, versions: str = "") -> dict[str, str]:
    """The environment of a node of Partisan that speaks TLS."""
    own = f'{{certfile, "{shown.certfile}"}}, {{keyfile, "{shown.keyfile}"}}, {{cacertfile, "{authority.cacertfile}"}}'
    more = ", {verify, verify_peer}, {fail_if_no_peer_cert, true}" if mutual else ""
    client = f"[{own}, {{verify, verify_peer}}, {{server_name_indication, disable}}{versions}]"
    return {"tls": "true", "tls_client_options": client, "tls_server_options": f"[{own}{more}{versions}]"}


async def talk(far: Partisan, py: Node) -> None:
    """Let messages go both ways, a large one among them."""
    sink = Sink(py)
    await meshed([far, py])
    py.send(("sink", far.name), b"x" * (1 << 20))
    assert await far.gathered(1) == [b"x" * (1 << 20)]
    assert await far.send(py.name, "sink", "binary:copy(<<0>>, 1 bsl 20)", "#{ack => true}") is OK
    assert await sink.has(1) == [bytes(1 << 20)]


@pytest.mark.parametrize("joins", ["ours", "theirs"])
@pytest.mark.parametrize(("mutual", "version"), [(True, "tlsv1.3"), (True, "tlsv1.2"), (False, "tlsv1.3")])
async def test_everything_goes_over_tls_whoever_joins(
    authority: Authority, mutual: bool, version: str, joins: str
) -> None:
    shown = authority.issue("127.0.0.1")
    ours: dict[str, Any] = {**(authority.mutual(shown) if mutual else authority.one_sided(shown)), **AGAIN}
    theirs = secured(authority, shown, mutual=mutual, versions=f", {{versions, ['{version}']}}")
    async with real(provoked="partisan_peer_socket:accept", **theirs) as far, python(provoked=MISSED, **ours) as py:
        if joins == "ours":
            await py.join(far.address, timeout=50.0)
        else:
            await far.join(py)
        await talk(far, py)


async def test_who_is_of_another_authority_or_speaks_plainly_is_refused_by_ours(
    authority: Authority, tmp_path: Path
) -> None:
    strangers = Authority(tmp_path)
    ours = authority.mutual(authority.issue("127.0.0.1"))
    theirs = secured(strangers, strangers.issue("127.0.0.1"), mutual=True)
    refused = {"provoked": "tls|ssl|socket|conn"}
    async with real("a", **refused, **theirs) as far, real("b", **refused) as plain, python(provoked=".", **ours) as py:
        for each in (far, plain):
            with pytest.raises((ConnectFailed, HandshakeError)):
                await py.join(each.address, timeout=3.0)
            await each.join(py)
            assert py.members() == [py.name]
