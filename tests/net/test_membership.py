"""Clusters of nodes in one process: joining, leaving, and joins that cannot succeed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from scripted import FORWARD, HELLO, MANAGER, dial, host, member, spec_term, state_term
from support import FAST, Events, Sink, address_of, cluster, eventually, fully_meshed, running

import partisan
from partisan import Atom, ConfigError, ConnectFailed, HandshakeError, Node, NoProc, NotConnected
from partisan.machines.farewells import Owed
from partisan.net import acceptor


async def test_two_nodes_become_members_of_each_other() -> None:
    async with running("a", "b") as (a, b):
        events = Events(a, "partisan.membership")
        assert await a.join(address_of(b)) == "b@127.0.0.1"
        await eventually(lambda: fully_meshed(a, b))
        assert sorted(a.members()) == sorted(b.members()) == ["a@127.0.0.1", "b@127.0.0.1"]
        assert a.nodes() == ["b@127.0.0.1"]
        assert events.of("partisan.membership.peer.join", node="b@127.0.0.1")
        assert events.of("partisan.membership.peer.up", node="b@127.0.0.1")


async def test_three_nodes_joined_in_a_chain_form_a_full_mesh() -> None:
    async with running("a", "b", "c") as (a, b, c):
        await a.join(address_of(b))
        await b.join(address_of(c))
        await eventually(lambda: fully_meshed(a, b, c))
        sinks = [Sink(node) for node in (a, b, c)]
        for node in (a, b, c):
            for other in (a, b, c):
                node.send(("sink", other.name), Atom(node.name))
        for sink in sinks:
            assert sorted(sender.name for sender in await sink.has(3)) == sorted(a.members())


async def test_nodes_that_join_each_other_at_once_agree() -> None:
    async with running("a", "b", "c") as nodes:
        await asyncio.gather(*(node.join(address_of(other)) for node in nodes for other in nodes if node is not other))
        await eventually(lambda: fully_meshed(*nodes))


async def test_a_join_by_address_alone_takes_whoever_answers() -> None:
    async with running("a", "b") as (a, b):
        assert await a.join(str(b.listen_addrs[0])) == "b@127.0.0.1"
        assert await a.join(str(b.listen_addrs[0])) == "b@127.0.0.1"
        assert await a.join(b.spec) == "b@127.0.0.1"
        await eventually(lambda: fully_meshed(a, b))
        assert a.connection_count("b@127.0.0.1", "undefined") == 1


async def test_the_peers_channel_map_says_how_many_connections_are_dialled() -> None:
    async with running("a") as [a], running("b", channels={"data": {"parallelism": 3}}, parallelism=2) as [b]:
        await a.join(address_of(b))
        await eventually(lambda: fully_meshed(a, b))
        assert a.connection_count("b@127.0.0.1", "data") == 3
        assert a.connection_count("b@127.0.0.1", "undefined") == 2
        assert a.connection_count("b@127.0.0.1", "partisan_membership") == 1
        assert a.connection_count("b@127.0.0.1") == 6
        assert b.connection_count("a@127.0.0.1") == 2


async def test_a_channel_that_nobody_knows_is_warned_of_once_and_takes_the_default_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with cluster("a", "b") as (a, b):
        sink = Sink(b)
        for number in range(3):
            a.send(("sink", b.name), number, channel="misspelt")
        assert await sink.has(3) == [0, 1, 2]
        warnings = [record.getMessage() for record in caplog.records if "misspelt" in record.getMessage()]
        assert len(warnings) == 1
        assert b.name in warnings[0]
        assert not a.is_connected(b.name, "misspelt")


async def test_questions_about_a_queue_leave_nothing_behind() -> None:
    async with cluster("a", "b") as (a, b):
        lanes = set(a.table.peers[b.name].lanes)
        for number in range(10):
            with pytest.raises(ConfigError):
                a.queued_octets(b.name, f"made up {number}")
            with pytest.raises(ConfigError):
                await a.drain(b.name, f"made up {number}")
            assert a.queued_octets(f"stranger{number}@127.0.0.1") == 0
            await a.drain(f"stranger{number}@127.0.0.1")
        assert set(a.table.peers[b.name].lanes) == lanes
        assert list(a.table.peers) == [b.name]


async def test_a_node_that_leaves_is_forgotten_by_all() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        events = Events(a, "partisan.membership")
        await c.leave()
        assert c.members() == ["c@127.0.0.1"]
        await eventually(lambda: sorted(a.members()) == sorted(b.members()) == ["a@127.0.0.1", "b@127.0.0.1"])
        await eventually(lambda: not a.is_connected("c@127.0.0.1") and not c.nodes())
        assert events.of("partisan.membership.peer.leave", node="c@127.0.0.1")
        with pytest.raises(NotConnected):
            a.send(("sink", "c@127.0.0.1"), 1)


async def test_a_node_that_has_left_leaves_nothing_behind_in_the_table() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        await c.leave()
        await eventually(lambda: [*a.table.peers] == [b.name] and [*b.table.peers] == [a.name])
        assert not c.table.peers


async def test_a_node_that_left_can_join_again() -> None:
    async with cluster("a", "b", "c") as nodes:
        a, _, c = nodes
        await c.leave()
        await eventually(lambda: len(a.members()) == 2)
        await c.join(address_of(a))
        await eventually(lambda: fully_meshed(*nodes))


def tokens_of(a: Node, state: Any) -> list[bool]:
    """Which tokens of the node are alive in what it has told."""
    [alive] = [[active for _, active in tokens] for spec, tokens in state[2][2][1] if spec[Atom("name")].name == a.name]
    return alive


@contextlib.asynccontextmanager
async def dialled(a: Node, name: str) -> AsyncIterator[list[bool]]:
    """What a node hears of us when it has dialled us."""
    async with dial(a) as peer:
        await peer.told()
        peer.tell((HELLO, Atom(name), None))
        yield tokens_of(a, await peer.told())


def heard(a: Node, name: str) -> bool:
    """Whether a connection is open that the node has dialled."""
    return name in a._manager._diallers


async def test_a_real_node_that_may_have_missed_that_we_left_is_told_by_its_next_dial() -> None:
    name = "b@127.0.0.1"
    async with member(name, {None: 1}) as b, running("a") as [a]:
        await b.joined_by(a)
        await b.hang_up()
        await eventually(lambda: not heard(a, name))
        await a.leave()
        async with dialled(a, name) as first:
            assert first == [False]
            async with dialled(a, name) as second:
                assert second == first
            assert heard(a, name)
        await eventually(lambda: not heard(a, name))
        async with dialled(a, name) as again:  # it knows by now: it joins us
            assert sorted(again) == [False, True]


async def test_a_real_node_that_we_left_at_once_hears_it_when_all_that_it_had_open_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceptor, "PART_AFTER", 0.1)
    name = "b@127.0.0.1"
    async with member(name, {None: 1}, allowed=0) as b, running("a") as [a]:
        spec = spec_term(name, int(b.address.rpartition(":")[2]), {None: 1})
        async with dialled(a, name) as first, dial(a) as second:
            await second.told()
            second.tell((FORWARD, MANAGER, (Atom("membership_strategy"), (spec, state_term(spec)))))
            second.tell((HELLO, Atom(name), Atom("data")))
            await second.told()
            await eventually(lambda: name in a.members())
            await a.leave()
            async with dialled(a, name) as third:  # it reads no state there: it is connected
                assert third == [False]
            await second.ended()
        assert first == [True]
        await eventually(lambda: not heard(a, name))
        async with dialled(a, name) as told:
            assert told == [False]
        await eventually(lambda: not heard(a, name))
        async with dialled(a, name) as again:
            assert sorted(again) == [False, True]


async def test_a_real_node_with_which_we_shake_hands_as_we_leave_is_told_by_its_next_dial() -> None:
    name = "b@127.0.0.1"
    async with host() as script, running("a") as [a]:
        spec = spec_term(name, script.port, {None: 1})
        async with dialled(a, name), dial(a) as peer:
            await peer.told()
            peer.tell((FORWARD, MANAGER, (Atom("membership_strategy"), (spec, state_term(spec)))))
            answering = await script.arrival()
            answering.tell((HELLO, Atom(name)))
            await answering.told()
            await eventually(lambda: a.is_connected(name))
            await a.leave()
        await eventually(lambda: not heard(a, name))
        async with dialled(a, name) as told:
            assert told == [False]


async def test_what_a_node_opens_later_to_be_told_that_we_left_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "PART_AFTER", 0.02)
    name = "b@127.0.0.1"
    async with member(name, {None: 1}) as b, running("a") as [a]:
        await b.joined_by(a)
        await b.hang_up()
        await eventually(lambda: not heard(a, name))
        await a.update_members([f"c@{a.listen_addrs[0]}"])
        left = a.loop.time()
        await eventually(lambda: a.loop.time() > left + 0.1)  # what was open then has been closed by now
        async with dialled(a, name) as told:
            assert told == [False]
            await eventually(lambda: not heard(a, name))


async def test_who_was_connected_when_we_left_or_is_joined_again_is_greeted_as_anybody() -> None:
    name = "b@127.0.0.1"
    async with member(name, {None: 1}) as b, running("a") as [a]:
        await b.joined_by(a)
        await a.leave()
        async with dialled(a, name) as told:
            assert sorted(told) == [False, True]
        await b.hang_up()
        await eventually(lambda: not heard(a, name))
        await a.join(b.address, timeout=10.0)
        await a.leave()
        joining = asyncio.create_task(a.join(b.address))
        await asyncio.sleep(0)
        async with dialled(a, name) as told:
            assert sorted(told) == [False, False, True]
        await joining


async def test_a_python_node_hears_by_the_dial_after_it(tmp_path: Path) -> None:
    async with running("b") as [b]:
        async with running("a", persist_dir=str(tmp_path)) as [a]:
            await a.join(address_of(b))
            await eventually(lambda: fully_meshed(a, b))
            address = address_of(a)
        async with Node(address, persist_dir=str(tmp_path), **FAST) as a:
            await a.leave()  # before it has heard of anybody
            assert a._manager._farewells._owed == {b.name: Owed.NEXT}
            await eventually(lambda: b.members() == [b.name])
            assert a.members() == [a.name]


async def test_a_member_can_be_made_to_leave() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        await a.leave("c@127.0.0.1")
        await eventually(lambda: len(a.members()) == len(b.members()) == 2 and c.members() == ["c@127.0.0.1"])
        with pytest.raises(NotConnected, match=r"c@127\.0\.0\.1 is no member"):
            await a.leave("c@127.0.0.1")


async def test_a_node_that_comes_back_under_its_name_elsewhere_replaces_itself_and_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with cluster("a", "b") as (a, b):
        first = Node("c@127.0.0.1:0", **FAST)
        await first.start()
        await first.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b, first))
        await first.stop()
        await eventually(lambda: not a.is_connected("c@127.0.0.1"))
        async with running("c") as [second]:
            assert second.listen_addrs != first.listen_addrs
            await second.join(address_of(b))
            await eventually(lambda: fully_meshed(a, b, second))
            assert a.members().count("c@127.0.0.1") == 1
            old, new = first.listen_addrs[0], second.listen_addrs[0]
            for node in (a, b):
                moved = f"{node.name}: member c@127.0.0.1 has moved from {old} to {new}"
                assert [record.levelname for record in caplog.records if record.getMessage() == moved] == ["WARNING"]
            assert not [text for text in caplog.messages if repr(second.spec) in text]
            sink = Sink(second)
            a.send(("sink", "c@127.0.0.1"), 1)
            assert await sink.has(1) == [1]


async def test_a_join_under_a_wrong_name_says_who_answered() -> None:
    async with running("a", "b") as (a, b):
        with pytest.raises(HandshakeError, match=r"b@127\.0\.0\.1 answered") as caught:
            await a.join(f"x@{b.listen_addrs[0]}")
        assert caught.value.reason == "unexpected_peer"
        assert a.members() == ["a@127.0.0.1"]
        assert not a.nodes()
        assert b.members() == ["b@127.0.0.1"]


async def test_a_join_to_a_closed_port_fails_in_the_time_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with running("a") as [a]:
        start = time.monotonic()
        with pytest.raises(ConnectFailed, match=str(errno.ECONNREFUSED)):
            await a.join(f"127.0.0.1:{port}", timeout=0.4)
        assert time.monotonic() - start >= 0.39  # it goes on trying for as long as it may
        assert a.members() == ["a@127.0.0.1"]


async def test_the_first_refusal_of_a_join_is_logged_once_and_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refusal = f"a@127.0.0.1 cannot reach ? at 127.0.0.1:{port} yet: [Errno {errno.ECONNREFUSED}]"

    def warned() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.getMessage().startswith(refusal)]

    async with running("a") as [a]:
        errors = Events(a, "partisan.socket.error")
        for times in (1, 2):
            joining = asyncio.create_task(a.join(f"127.0.0.1:{port}", timeout=60.0))
            seen = len(errors.of("partisan.socket.error"))
            await eventually(lambda seen=seen: len(errors.of("partisan.socket.error")) >= seen + 2)  # type: ignore[misc]
            assert len(warned()) == times
            assert warned()[-1].levelname == "WARNING"
            assert re.search(r"; trying for [56]\d\.\d s$", warned()[-1].getMessage())
            joining.cancel()
            await asyncio.wait([joining])


async def test_a_node_does_not_join_itself() -> None:
    async with running("a") as [a]:
        with pytest.raises(ConnectFailed, match="that is this node's own name"):
            await a.join(address_of(a))
        with pytest.raises(HandshakeError, match="own name"):
            await a.join(str(a.listen_addrs[0]))
        assert a.members() == ["a@127.0.0.1"]


async def test_a_join_to_a_web_server_fails_with_a_reason() -> None:
    async with running("a") as [a], host() as web:
        joining = a.loop.create_task(a.join(f"127.0.0.1:{web.port}", timeout=1.0))
        peer = await web.arrival()
        peer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        with pytest.raises(HandshakeError) as caught:
            await joining
        assert caught.value.reason == "http"
        assert await peer.ended() == b""


async def test_a_join_to_what_waits_for_us_to_speak_says_so() -> None:
    """As a web server does: it would answer if it were asked something."""
    async with running("a") as [a], host() as mute:
        with pytest.raises(
            ConnectFailed,
            match=r"said nothing yet: it may expect TLS, or be no node \(a web server waits to be asked\)",
        ):
            await a.join(f"127.0.0.1:{mute.port}", timeout=0.4)
        assert a.members() == ["a@127.0.0.1"]


async def test_a_join_to_what_never_speaks_fails_in_the_time_given() -> None:
    async with running("a", handshake_timeout=0.3) as [a], host() as mute:
        with pytest.raises(ConnectFailed, match="no hello within"):
            await a.join(f"127.0.0.1:{mute.port}", timeout=0.8)


async def test_a_join_whose_contact_does_not_dial_back_in_time_is_done_all_the_same() -> None:
    slow = {"connection_interval": 60.0, "reconnect_backoff_max": 60.0}
    async with member("b@127.0.0.1", {None: 1}) as b, running("a", **slow) as [a]:
        assert await a.join(b.address, timeout=1.5) == "b@127.0.0.1"
        assert sorted(a.members()) == ["a@127.0.0.1", "b@127.0.0.1"]


async def test_a_join_that_fails_under_the_name_of_a_member_leaves_that_member_alone() -> None:
    async with cluster("a", "b", "c") as nodes:
        a, b, c = nodes
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectFailed):
            await a.join(f"b@127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with pytest.raises(HandshakeError):
            await a.join(f"b@{c.listen_addrs[0]}")
        await c.join(address_of(a))
        assert [sorted(node.members()) for node in nodes] == [[a.name, b.name, c.name]] * 3


async def test_a_join_that_is_cancelled_is_given_up() -> None:
    async with host() as script, running("a") as [a]:
        joining = asyncio.create_task(a.join(f"b@127.0.0.1:{script.port}"))
        peer = await script.arrival()
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        peer.tell((HELLO, Atom("b@127.0.0.1")))
        assert await peer.ended() == b""


async def test_a_node_outside_the_allow_list_is_refused() -> None:
    async with running("a", allowed_nodes=["c@127.0.0.1"]) as [a], running("b") as [b]:
        events = Events(a)
        with pytest.raises(ConnectFailed):
            await b.join(address_of(a), timeout=0.5)
        assert a.members() == ["a@127.0.0.1"]
        assert {error.reason for error in events.errors()} == {"refused"}


@pytest.mark.parametrize("live", [False, True])
async def test_who_says_no_name_is_not_heard_where_only_some_nodes_are_allowed(live: bool) -> None:
    allowed = {"allowed_nodes": ["c@127.0.0.1"]}
    async with running("a", **({} if live else allowed)) as [a], dial(a) as stranger, dial(a) as member:
        sink = Sink(a)
        for peer in (stranger, member):
            assert await peer.told() == (HELLO, Atom(a.name))
        if live:
            a.reconfigure(**allowed)
        stranger.tell((FORWARD, Atom("sink"), Atom("nameless")), (HELLO, Atom("b@127.0.0.1"), None))
        await stranger.ended()
        member.tell((FORWARD, Atom("sink"), Atom("early")), (HELLO, Atom("c@127.0.0.1"), None))
        assert await sink.has(1) == [Atom("early")]


async def test_a_taken_address_is_a_named_error() -> None:
    async with running("a") as [a]:
        with pytest.raises(ConfigError, match="cannot listen"):
            await Node(f"b@{a.listen_addrs[0]}").start()


async def test_names_of_other_nodes_that_nobody_has_are_no_error_and_local_ones_are() -> None:
    async with cluster("a", "b") as (a, b):
        events = Events(b)
        a.send(("nobody", "b@127.0.0.1"), 1)
        await eventually(lambda: events.of("partisan.queue.undelivered"))
        with pytest.raises(NoProc):
            a.send("nobody", 1)
        with pytest.raises(NotConnected):
            a.send(("sink", "never@127.0.0.1"), 1)


async def test_a_pid_in_a_message_is_where_the_answer_goes() -> None:
    async def echo() -> None:
        caller, message = await partisan.receive()
        partisan.send(caller, message)

    async def ask(answer: asyncio.Future[object]) -> None:
        partisan.send(("echo", "b@127.0.0.1"), (partisan.self(), b"question"))
        answer.set_result(await partisan.receive(timeout=5.0))

    async with cluster("a", "b") as (a, b):
        b.spawn(echo, name="echo")
        answer = a.loop.create_future()
        a.spawn(ask, answer)
        assert await answer == b"question"


async def test_many_small_clusters_live_in_one_process() -> None:
    async with cluster(*(f"n{number}" for number in range(8))) as nodes:
        assert all(len(node.members()) == 8 for node in nodes)
