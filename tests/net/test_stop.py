"""How a node goes: what was sent is read first, and a connection is not closed before its peer has spoken."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from scripted import HELLO, Host, Peer, host, member
from support import FAST, STARVED, Sink, address_of, cluster, eventually, fully_meshed, inside, running, soon

import partisan
from partisan import Atom, ConnectFailed, Node
from partisan._core.connections import ConnectionTable
from partisan.errors import LocalProtocolError
from partisan.net.link import DialledLink

B = "b@127.0.0.1"


def abandoned_of(node: Node) -> set[DialledLink]:
    return node._manager._dialer._abandoned


async def given_up(a: Node, script: Host) -> Peer:
    """A connection whose dialler has lost interest before the hello."""
    with pytest.raises(ConnectFailed):
        await a.join(f"{B}:{script.port}", timeout=0.2)
    return await script.arrival()


async def test_what_was_sent_before_the_stop_is_read() -> None:
    async with member(B, {None: 1, "data": 2}) as b, running("a") as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        payload = b"x" * 1_000_000
        sent = [(number, payload) for number in range(20)]
        for message in sent:
            a.send(("sink", B), message, channel="data")
        await a.stop(grace=30.0)
        assert b.messages() == sent


async def test_a_node_that_leaves_and_stops_at_once_is_forgotten() -> None:
    async with cluster("a", "b", "c") as [a, b, c]:
        await a.leave()
        await a.stop()
        await eventually(lambda: sorted(b.members()) == sorted(c.members()) == [b.name, c.name])


async def test_nodes_that_stop_together_do_not_wait_for_each_other() -> None:
    async with cluster("a", "b", "c") as nodes:
        async with asyncio.timeout(10.0):
            await asyncio.gather(*[node.stop(grace=60.0) for node in nodes])


async def test_a_stopped_node_says_so_to_whoever_sends_and_sends_again_when_it_runs() -> None:
    async with running("a") as [a]:
        await a.stop()
        for target in ("sink", ("sink", B), ("sink", a.name)):
            with pytest.raises(LocalProtocolError, match="is not running"):
                a.send(target, 1)
        await a.stop()
        await a.start()
        sink = Sink(a)
        a.send("sink", 1)
        assert await sink.has(1) == [1]


async def test_a_stopped_node_starts_again_and_is_a_member_as_before() -> None:
    async with running("b") as [b]:
        a = Node("a@127.0.0.1", **FAST)
        for number in range(3):
            async with a:
                await a.join(address_of(b))
                sink = Sink(a)
                b.send(sink.pid, number)
                assert await sink.has(1) == [number]


async def test_a_connection_given_up_before_the_hello_is_closed_after_it() -> None:
    async with host() as script, running("a") as [a]:
        peer = await given_up(a, script)
        [link] = abandoned_of(a)
        assert not link.stream.closed
        peer.tell((HELLO, Atom(B)))
        assert await peer.ended() == b""
        assert not abandoned_of(a)


async def test_a_connection_given_up_before_the_hello_is_closed_when_none_comes() -> None:
    async with host() as script, running("a", handshake_timeout=0.4) as [a]:
        peer = await given_up(a, script)
        assert await peer.ended() == b""
        assert not abandoned_of(a)


async def test_a_peer_that_closes_a_connection_given_up_is_heard() -> None:
    async with host() as script, running("a") as [a]:
        peer = await given_up(a, script)
        await peer.close()
        await eventually(lambda: not abandoned_of(a))


async def test_a_node_that_stops_waits_for_the_hello_of_a_connection_given_up() -> None:
    async with host() as script, running("a") as [a]:
        peer = await given_up(a, script)
        stopping = asyncio.create_task(a.stop(grace=30.0))
        await asyncio.sleep(0)
        assert not stopping.done()
        peer.tell((HELLO, Atom(B)))
        await asyncio.wait_for(stopping, 10.0)
        assert await peer.ended() == b""


async def test_a_dial_that_is_no_longer_wanted_when_it_succeeds_is_greeted_first() -> None:
    async with host() as script, running("a") as [a]:
        joining = asyncio.create_task(a.join(f"{B}:{script.port}"))
        dialer = a._manager._dialer
        await eventually(lambda: dialer._edges)
        [target] = dialer._edges
        dialer.drop(target, "test")
        peer = await script.arrival()
        await eventually(lambda: abandoned_of(a))
        peer.tell((HELLO, Atom(B)))
        assert await peer.ended() == b""
        joining.cancel()


async def test_what_is_held_because_connections_change_hands_is_written_before_they_are_closed() -> None:
    async with member(B, {None: 1, "data": 1}, allowed=1) as b, running("a") as [a]:
        await b.joined_by(a)
        a.send(("sink", B), 0, channel="data")  # over the default channel's connection
        [first] = b.connections
        first.answering.clear()
        b.admit(10)
        await eventually(lambda: a.is_fully_connected(B))
        a.send(("sink", B), 1, channel="data")
        await a.leave()
        stopping = asyncio.create_task(a.stop(grace=30.0))
        first.answering.set()
        await asyncio.wait_for(stopping, 20.0)
        assert b.messages() == [0, 1]


class Holding:
    """A table of connections that holds messages, as one does while slots change hands."""

    def __init__(self, table: ConnectionTable) -> None:
        self._table = table

    def holds(self, node: str) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


async def test_an_edge_that_is_given_up_while_messages_are_held_is_over_when_its_connections_are_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running("a", "b") as (a, b):
        await a.join(address_of(b))
        dialer = a._manager._dialer
        monkeypatch.setattr(dialer, "_table", Holding(dialer._table))
        dialer.drop(b.spec, "a test")
        assert dialer._settling
        await b.stop(grace=0.0)
        await eventually(lambda: not dialer._settling)


async def test_a_node_is_down_once_the_messages_that_were_held_for_it_when_its_edge_was_given_up_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[Any] = []

    async def listen(name: str) -> None:
        partisan.monitor_node(name)
        partisan.monitor(("sleeper", name))
        while True:
            heard.append(await partisan.receive())

    async def for_ever() -> None:
        await partisan.receive(lambda message: False)

    async with running("a", "b") as (a, b):
        await a.join(address_of(b))
        b.spawn(for_ever, name="sleeper")
        a.spawn(listen, b.name)
        await eventually(lambda: a._monitors.machine.counts["held"] == 1)
        dialer = a._manager._dialer
        table = dialer._table
        monkeypatch.setattr(dialer, "_table", Holding(table))
        await a.leave(b.name)
        await eventually(lambda: dialer._settling)
        assert a.is_connected(b.name)
        assert heard == []
        monkeypatch.setattr(dialer, "_table", table)
        for edge in list(dialer._settling):
            dialer._settle(edge)
        await eventually(lambda: len(heard) == 2)
        assert (Atom("nodedown"), Atom(b.name)) in heard
        assert not a._python.has(b.name)
        assert not a._manager._parting


async def stubborn(going: asyncio.Event, may_end: asyncio.Event) -> None:
    """Hold up the stop of the node."""
    going.set()
    try:
        await partisan.receive()
    finally:
        await may_end.wait()


async def test_a_stop_goes_on_when_whoever_waits_for_it_is_cancelled_and_another_waits_for_its_end(
    tmp_path: Path,
) -> None:
    kept = {"persist_dir": str(tmp_path), "causal_labels": ("label",)}
    async with running("b") as [b]:
        a = Node("a@127.0.0.1", **FAST, **kept)
        await a.start()
        await a.join(address_of(b))
        going, may_end = asyncio.Event(), asyncio.Event()
        a.spawn(stubborn, going, may_end)
        await going.wait()
        stopping = asyncio.create_task(a.stop(grace=60.0))
        await eventually(lambda: not a.is_alive())
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        with pytest.raises(LocalProtocolError, match="has not stopped yet"):
            await a.start()
        again = asyncio.create_task(a.stop(grace=60.0))
        may_end.set()
        await again
        assert not a._manager._dialer._edges
        assert not a._acceptor.links
        await a.start()  # nothing holds its file
        await eventually(lambda: fully_meshed(a, b))
        await a.stop()


async def test_a_process_stops_a_node_that_was_never_started() -> None:
    async with running("b") as [b]:
        await inside(b, Node("a@127.0.0.1").stop)


async def test_a_process_that_ends_for_a_stop_does_not_wait_for_it() -> None:
    async with running("a") as [a]:
        going = asyncio.Event()

        async def stops_again() -> None:
            going.set()
            try:
                await partisan.receive()
            finally:
                await a.stop(grace=3600.0)

        a.spawn(stops_again)
        await going.wait()
        await asyncio.wait_for(a.stop(grace=3600.0), STARVED)


async def test_another_stop_lets_the_first_take_no_more_than_its_own_grace() -> None:
    async with running("a") as [a]:
        going = asyncio.Event()
        a.spawn(stubborn, going, asyncio.Event())
        await going.wait()
        stopping = asyncio.create_task(a.stop(grace=3600.0))
        await eventually(lambda: not a.is_alive())
        await a.stop(grace=0.0)
        await stopping
        assert a.scheduler.processes == {}


async def test_a_process_stops_its_node_by_a_task() -> None:
    async with running("b", "a") as (b, a):
        await a.join(address_of(b))
        log: list[str] = []

        async def stops() -> None:
            await asyncio.create_task(partisan.stop())
            log.append("stopped")

        a.spawn(stops)
        await eventually(lambda: log == ["stopped"])
        await eventually(lambda: a.scheduler.processes == {})
        assert not a._manager._dialer._edges


async def test_a_process_that_goes_on_beside_the_stop_of_its_node_is_ended() -> None:
    async with running("a") as [a]:
        log: list[object] = []

        async def goes_on() -> None:
            log.append(asyncio.create_task(partisan.stop(grace=60.0)))
            try:
                await partisan.receive()
            finally:
                log.append("ended")

        a.spawn(goes_on)
        await eventually(lambda: "ended" in log)
        await a.stop(grace=60.0)
        assert a.scheduler.processes == {}


async def test_what_is_left_of_a_node_is_stopped_though_a_part_of_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(grace: float) -> None:
        raise RuntimeError("as asked")

    async with running("b", "a") as (b, a):
        await a.join(address_of(b))
        monkeypatch.setattr(a._causal, "stop", fails)
        with pytest.raises(RuntimeError, match="as asked"):
            await a.stop()
        assert not a._manager._dialer._edges
        await eventually(lambda: not b.is_connected(a.name))


async def test_what_waits_for_others_when_the_node_stops_fails_by_name_and_is_not_cancelled() -> None:
    async with host() as script, running("a") as [a]:
        joining = asyncio.create_task(a.join(f"{B}:{script.port}", timeout=3600.0))
        await script.arrival()
        asking = asyncio.create_task(a.node_spec(B, timeout=3600.0))
        await eventually(lambda: a._watching._waiters)
        await a.stop(grace=0.0)
        with pytest.raises(ConnectFailed, match="this node stops"):
            await soon(joining)
        with pytest.raises(LocalProtocolError, match="does not run any more"):
            await soon(asking)
