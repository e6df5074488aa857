"""Joins on real nodes: what has been established when one returns, and whom `update_members` joins on its own."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from scripted import FORWARD, MANAGER, STRATEGY, greeted, host, member, spec_term, state_frame, state_term
from support import FAST, Events, address_of, cluster, eventually, free_port, fully_meshed, running, settled

import partisan
from partisan import Atom, ConnectFailed, Contact, Node

A, B, C = (f"{name}@127.0.0.1" for name in "abc")


async def test_sync_join_returns_when_every_channel_has_all_its_connections() -> None:
    async with running("a") as [a], running("b", channels={"data": {"parallelism": 8}}) as [b]:
        assert await a.sync_join(address_of(b)) == B
        assert a.is_fully_connected(B)
        assert a.connection_count(B, "data") == 8
        assert await a.sync_join(B) == B


async def test_a_timeout_of_a_join_that_is_no_number_is_said_to_be_none() -> None:
    async with running("a") as [a]:
        for each in (a.join, a.sync_join):
            with pytest.raises(TypeError, match="timeout '1' is no number of seconds"):
                await each("b@127.0.0.1:1", timeout="1")  # type: ignore[arg-type]


async def test_when_a_join_returns_either_node_is_a_member_for_the_other_and_can_send_to_it() -> None:
    async with running("a", "b", channels={"data": {"parallelism": 4}}) as (a, b):
        for each in ("join", "sync_join"):
            await getattr(a, each)(address_of(b))
            assert a.member(b.spec)
            assert b.member(a.spec)
            assert a.is_connected(B, "undefined")
            assert b.is_connected(A, "undefined")
            await a.leave()
            await eventually(lambda: not a.nodes() and not b.nodes() and b.members() == [B])


async def test_sync_join_does_not_wait_for_the_connections_of_the_other_direction() -> None:
    async with (
        running("a", channels={"data": {"parallelism": 8}}) as [a],
        member(B, {None: 1, "data": 2}) as b,
        greeted(a, B),  # the one connection that it ever opens
    ):
        assert await a.sync_join(b.address) == B
        assert a.connection_count(B, "data") == 2
        assert a.counters()["connections"][B] == {"dialled": 3, "accepted": 1}


@pytest.mark.parametrize(
    "order", ["h1 s1 h2 s2", "h1 h2 s1 s2", "h1 h2 s2 s1", "h2 h1 s1 s2", "h2 h1 s2 s1", "h2 s2 h1 s1"]
)
async def test_a_member_that_is_joined_while_it_is_dialled_gets_no_connection_too_many(order: str) -> None:
    """It answers on the connection of the member (1) and on that of the join (2): a name (h), then a state (s) each."""
    async with running("a", connection_interval=0.02) as [a], greeted(a, C) as told, host() as script:
        mine, other = spec_term(B, script.port, {None: 1}), spec_term(C, free_port(), {None: 1})
        told.tell((FORWARD, MANAGER, (STRATEGY, (other, state_term(other, mine)))))
        peers = {"1": await script.arrival()}
        joining = a.loop.create_task(a.join(f"{B}:{script.port}"))
        peers["2"] = await script.arrival()
        for what, which in order.split():
            if what == "h":
                peers[which].tell((Atom("hello"), Atom(B)))
                with contextlib.suppress(asyncio.IncompleteReadError):  # closed at once, as there is another
                    await peers[which].told()
            else:
                peers[which].tell(state_frame(mine))
                await settled(a)
        assert await joining == B
        assert a.is_fully_connected(B)
        await eventually(lambda: a.connection_count(B) == 1)
        ended = [asyncio.ensure_future(peer.ended()) for peer in peers.values()]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert a.connection_count(B) == 1
        assert [task.cancel() for task in ended].count(True) == 1


@pytest.mark.parametrize("turns", range(10))
async def test_a_member_that_is_joined_just_when_its_dial_is_done_gets_no_connection_too_few(turns: int) -> None:
    """The connection of the join is greeted so many turns of the loop after the node begins to dial the member."""
    async with running("a", connection_interval=0.02) as [a], greeted(a, C) as told, host() as script:
        mine, other = spec_term(B, script.port, {None: 3}), spec_term(C, free_port(), {None: 1})
        joining = a.loop.create_task(a.join(f"{B}:{script.port}"))
        first = await script.arrival()
        first.tell((Atom("hello"), Atom(B)))
        await first.told()
        told.tell((FORWARD, MANAGER, (STRATEGY, (other, state_term(other, mine)))))
        for _ in range(turns):
            await asyncio.sleep(0)
        first.tell(state_frame(mine))
        for _ in range(2):
            peer = await script.arrival()
            peer.tell((Atom("hello"), Atom(B)))
            await peer.told()
            peer.tell(state_frame(mine))
        assert await joining == B
        await eventually(lambda: a.connection_count(B) == 3)
        assert a.is_fully_connected(B)


async def test_sync_join_of_ourselves_is_done_at_once() -> None:
    async with running("a") as [a]:
        assert await a.sync_join(A) == await a.sync_join(a.spec) == await a.sync_join(address_of(a)) == A


async def test_sync_join_of_a_member_that_never_takes_all_connections_fails_in_time() -> None:
    async with running("a", handshake_timeout=30.0) as [a], host() as script:
        port = script.port
        joining = a.loop.create_task(a.sync_join(f"p@127.0.0.1:{port}", timeout=2.0))
        peer = await script.arrival()
        peer.tell((Atom("hello"), Atom("p@127.0.0.1")))
        await peer.told()
        peer.tell(state_frame(spec_term("p@127.0.0.1", port, {None: 1, "data": 2})))
        with pytest.raises(ConnectFailed, match="not fully connected within"):
            await joining
        assert a.member("p@127.0.0.1")


async def test_a_member_is_joined_by_its_name_alone() -> None:
    async with cluster("a", "b") as (a, _):
        assert await a.join(B) == B


async def test_a_name_alone_of_no_member_is_refused_and_the_error_says_how_to_give_its_address() -> None:
    async with running("a") as [a]:
        missing = f"'{C}' is no member: say where it listens, as {C}:port or by a NodeSpec"
        for ask in (a.join, a.sync_join, lambda contact: a.update_members([A, contact])):
            with pytest.raises(partisan.ConfigError, match=re.escape(missing)):
                await ask(C)
            with pytest.raises(
                partisan.ConfigError, match=r"'nowhere' is no member: .* as name@host:port or host:port"
            ):
                await ask("nowhere")
        assert a.members() == [A]


async def test_one_contact_is_no_list_of_members() -> None:
    async with cluster("a", "b") as (a, b):
        for contact in (B, address_of(b), b.spec):
            with pytest.raises(TypeError, match="is one contact: give a list of all members"):
                await a.update_members(contact)  # type: ignore[arg-type]
        assert fully_meshed(a, b)


async def test_update_members_joins_who_is_new_and_removes_who_is_missing() -> None:
    async with cluster("a", "b") as (a, b), running("c", "d") as (c, d):
        unnamed = str(c.listen_addrs[0])
        await a.update_members([A, unnamed, Contact(d.listen_addrs[0], d.name)])
        await eventually(lambda: fully_meshed(a, c, d))
        assert b.members() == [B]
        # By name, by address alone and by spec: all known, nobody is dialled anew or leaves.
        events = Events(a, "partisan.membership")
        await a.update_members([a.spec, unnamed, d.name])
        await a.update_members([])
        await settled(a)
        assert not events.seen
        await a.update_members([c.spec, d.spec])
        assert a.members() == [A]
        await eventually(lambda: fully_meshed(c, d))


async def test_a_member_to_be_that_cannot_be_reached_is_warned_of_once_told_each_time_and_tried_until_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with running("a") as [a]:
        errors = Events(a, "partisan.socket.error")
        await a.update_members([A, f"b@127.0.0.1:{port}"])
        assert a.members() == [A], "it does not wait"
        about = {"node": B, "address": f"127.0.0.1:{port}", "acceptor": False, "channel": "undefined"}
        await eventually(lambda: len(errors.of("partisan.socket.error", **about)) >= 3)
        [record] = [each for each in caplog.records if "is to have the member" in each.getMessage()]
        assert record.levelname == "WARNING"
        assert f"{A} is to have the member {B} at 127.0.0.1:{port}; not yet: [Errno " in record.getMessage()
        async with Node(f"b@127.0.0.1:{port}", **FAST) as b:
            await eventually(lambda: fully_meshed(a, b))


async def test_a_join_of_a_cluster_that_has_no_room_fails_and_leaves_both_as_they_were() -> None:
    async with running("a", "b", max_members=2) as (a, b), running("c", max_members=2) as [c]:
        await b.join(address_of(a))
        with pytest.raises(ConnectFailed, match="more than max_members"):
            await c.join(address_of(a))
        assert c.members() == [C]
        assert a.members() == [A, B]


async def test_a_member_to_be_that_turns_out_to_be_somebody_else_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a", "b") as (a, b):
        await a.update_members([A, f"c@{b.listen_addrs[0]}"])
        await eventually(lambda: f"not yet: handshake with {C}" in caplog.text and f"{B} answered" in caplog.text)
        assert a.members() == [A]


async def test_a_join_that_an_update_asked_for_is_given_up_by_an_update_without_it() -> None:
    async with running("a") as [a]:
        port = free_port()
        await a.update_members([A, f"x@127.0.0.1:{port}"])
        assert a._manager._dialer.keeps("x@127.0.0.1")
        joining = a.loop.create_task(a.join(f"y@127.0.0.1:{port}", timeout=5.0))
        await settled(a)
        await a.update_members([A])
        assert not a._manager._dialer.keeps("x@127.0.0.1")
        assert a._manager._dialer.keeps("y@127.0.0.1")
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)


async def test_a_member_that_dials_again_is_dialled_at_once_however_long_the_pause_would_be() -> None:
    slow = {"connection_interval": 600.0, "reconnect_backoff_max": 600.0}
    async with running("a", **slow) as [a]:
        async with running("b") as [b]:
            await b.join(address_of(a))
            await eventually(lambda: fully_meshed(a, b))
            port = b.listen_addrs[0].port
            await b.stop()
            await eventually(lambda: not a.is_connected(B))
        async with Node(f"{B}:{port}", **FAST) as again:
            await again.join(address_of(a))
            await eventually(lambda: fully_meshed(a, again))
