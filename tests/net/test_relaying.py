"""Nodes that are no neighbors, over real sockets: messages, calls, monitors and links are relayed, or are errors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support import Events, Sink, address_of, cluster, eventually, inside, running
from views import knit, sound, views_of

import partisan
from partisan import (
    Atom,
    ConfigError,
    GenServer,
    Node,
    NodeDown,
    NotAcknowledged,
    NotConnected,
    Overloaded,
    rpc,
    testing,
)
from partisan.machines.outstanding import FIRST_NUMBER
from partisan.machines.relay_messages import Abroad, Frame, Parcel, Word
from partisan.testing import NodeProcess
from partisan.wire.acknowledged import kept_to_term, message_to_term
from partisan.wire.forward import Relay as Foreign
from partisan.wire.relay import frame_to_term

BEAT = 0.2
RING: dict[str, Any] = {
    "peer_service_manager": "hyparview",
    "hyparview": {"active_max_size": 3, "active_min_size": 2, "shuffle_interval": 0.2, "patience": 2.0},
    "broadcast": True,
    "plumtree": {"broadcast_heartbeat_interval": BEAT},
    "relay": {"timeout": 10.0, "silence": 25.0, "refutation": 1.0},
}
"""Views of two neighbors each: most nodes are far."""

NAMES = [f"n{number}" for number in range(8)]
NOCONNECTION = Atom("noconnection")


class Doubler(GenServer):
    def handle_call(self, request: Any, caller: Any) -> Any:
        return 2 * request


@contextlib.asynccontextmanager
async def ring(*names: str, known: bool = True, **options: Any) -> AsyncIterator[list[Node]]:
    """Nodes with small views, of which each knows all others."""
    async with running(*names, **{**RING, **options}) as nodes:
        for node in nodes[1:]:
            await node.join(address_of(nodes[0]), timeout=30.0)
        await knit(nodes)
        if known:
            await acquainted(nodes)
        yield nodes


async def acquainted(nodes: list[Node], *more: str, timeout: float = 30.0) -> None:
    """Wait until each of these has agreed with all, and with these others, on what they may ask of each other."""
    others = [(one, name) for one in nodes for name in (*(node.name for node in nodes), *more) if name != one.name]
    await eventually(lambda: all(name in one._remote.links._supported for one, name in others), timeout=timeout)


def far_pair(nodes: list[Node]) -> tuple[Node, Node]:
    """Two that are no neighbors."""
    return next(
        (one, other) for one, other in itertools.permutations(nodes, 2) if not one.table.is_connected(other.name)
    )


async def test_every_pair_exchanges_messages_and_each_comes_once() -> None:
    async with ring(*NAMES) as nodes:
        assert all(len(node.members()) <= 3 for node in nodes)
        sinks = {node.name: Sink(node) for node in nodes}
        for number in range(10):
            for one, other in itertools.permutations(nodes, 2):
                one.send(("sink", other.name), (Atom(one.name), number))
            await asyncio.sleep(0)
        for sink in sinks.values():
            await sink.has(70, timeout=30.0)
        for one, other in itertools.permutations(nodes, 2):
            found = [number for name, number in sinks[other.name].messages if name.name == one.name]
            assert sorted(found) == list(range(10))  # in order where the way did not change, as it may under HyParView
        assert all(len(sink.messages) == 70 for sink in sinks.values())
        assert all(node.nodes("known") == sorted(each.name for each in nodes) for node in nodes)


async def test_a_way_once_known_takes_few_copies() -> None:
    async with ring(*NAMES) as nodes:
        one, other = far_pair(nodes)
        sink = Sink(other)
        for sent in range(0, 1000, 20):
            before = sum(node.relays()["copies"] for node in nodes)
            for number in range(sent, sent + 20):
                one.send(("sink", other.name), number)
                await sink.has(number + 1)
            copies = sum(node.relays()["copies"] for node in nodes) - before
            if copies < 20 * (len(nodes) - 1):  # a flood takes more, and so does what is sent again
                break
        else:
            pytest.fail(f"no message went along one way: the last 20 took {copies} copies")
        assert sink.messages == list(range(sent + 20))


async def test_calls_casts_and_deliveries_reach_a_far_process() -> None:
    async with ring(*NAMES) as nodes:
        one, other = far_pair(nodes)
        pid = await inside(other, start_doubler)
        for number in range(5):
            assert await inside(one, call, ("doubler", other.name), number) == 2 * number
            assert await inside(one, call, pid, number) == 2 * number
        sink = Sink(other)
        one.cast_message(("sink", other.name), 1)
        await one.deliver(("sink", other.name), 2)
        one.forward_message(("sink", other.name), 3, ack=True)
        assert await sink.has(3) == [(Atom("$gen_cast"), 1), 2, 3]
        with pytest.raises(partisan.NoProc):
            await inside(one, call, ("nobody", other.name), 1)
        other.exit(pid, Atom("kill"))


async def start_doubler() -> Any:
    return await Doubler.start(name="doubler")


async def call(target: Any, request: Any, **options: Any) -> Any:
    return await partisan.call(target, request, **options)


async def for_ever() -> None:
    await partisan.receive()


async def test_a_far_process_is_monitored_and_linked_and_its_end_is_told() -> None:
    async def watch(pid: Any) -> Any:
        reference = partisan.monitor(pid)
        partisan.trap_exit(True)
        partisan.link(pid)
        return [await partisan.receive(timeout=20.0) for _ in range(2)], reference

    async with ring(*NAMES) as nodes:
        one, other = far_pair(nodes)
        pid = other.spawn(for_ever)
        watching = asyncio.ensure_future(inside(one, watch, pid))
        await eventually(lambda: len(other._remote.links.ends) == 1 and other._monitors.machine.counts["watched"] == 1)
        other.exit(pid, Atom("kill"))
        messages, reference = await watching
        assert (Atom("EXIT"), pid, Atom("killed")) in messages
        assert (Atom("DOWN"), reference, Atom("process"), pid, Atom("killed")) in messages


async def test_a_far_node_is_asked_to_start_and_to_call_and_may_refuse() -> None:
    async with ring(*NAMES[:6]) as nodes:
        one, other = far_pair(nodes)
        with pytest.raises(partisan.NotAllowed):
            await one.spawn_at(other.name, "somewhere", "something")
        with pytest.raises(partisan.BadRpc, match="not_allowed"):
            await inside(one, rpc.call, other.name, "somewhere", "something", [])
        assert await one.whereis_at(other.name, "nobody") is None


async def test_a_far_node_that_is_killed_is_told_to_who_watches_it_and_its_processes() -> None:
    async def wait(name: str) -> list[Any]:
        partisan.monitor_node(name)
        reference = partisan.monitor(("sleeper", name))
        found = [await partisan.receive(timeout=60.0) for _ in range(2)]
        return [each if each[0] == Atom("nodedown") else (each[1] == reference, each[4]) for each in found]

    gone = NodeProcess("gone", **RING)
    async with ring(*NAMES[:6]) as nodes:
        await gone.start()
        try:
            await gone.run("relaying_far:start_sleeper")
            for contact in nodes:  # views are so small that three nodes may have but each other: then it joins again
                await gone.join(address_of(contact))
                with contextlib.suppress(AssertionError):
                    await acquainted(nodes, gone.name, timeout=5.0)
                    break
            far = await eventually(lambda: [node for node in nodes if not node.table.is_connected(gone.name)])
            waiting = asyncio.ensure_future(inside(far[0], wait, gone.name, timeout=90.0))
            asking = asyncio.ensure_future(inside(far[0], call, ("sleeper", gone.name), 1, timeout=90.0))
            await eventually(lambda: far[0]._monitors.machine.counts["held"] == 1)
            await gone.kill()
            found = await waiting
            assert (Atom("nodedown"), Atom(gone.name)) in found
            assert (True, NOCONNECTION) in found
            with pytest.raises((NodeDown, partisan.CallTimeout)) as raised:
                await asking
            assert raised.type is NodeDown
            await eventually(lambda: all(gone.name not in node.nodes("known") for node in nodes), timeout=30.0)
            with pytest.raises(NotConnected):
                far[0].send(("sleeper", gone.name), 1)
        finally:
            with contextlib.suppress(testing.ProcessEnded):
                await gone.kill()


async def test_who_leaves_is_down_for_far_nodes_and_who_comes_back_is_up() -> None:
    async with ring(*NAMES[:6]) as nodes:
        one, other = far_pair(nodes)
        downs: list[Any] = []

        async def listen() -> None:
            partisan.monitor_nodes(True)
            while True:
                downs.append(await partisan.receive())

        listener = one.spawn(listen)
        await other.leave()
        await eventually(lambda: (Atom("nodedown"), Atom(other.name)) in downs)
        assert other.name not in one.nodes("known")
        await other.join(address_of(next(node for node in nodes if node is not other)), timeout=30.0)
        await eventually(lambda: (Atom("nodeup"), Atom(other.name)) in downs, timeout=30.0)
        one.exit(listener, Atom("kill"))


async def test_a_name_that_nobody_has_is_an_error() -> None:
    async with ring(*NAMES[:4], known=False, relay={"timeout": 0.6, "retry": 0.2}) as nodes:
        one, nobody = nodes[0], "nobody@127.0.0.1"
        events = Events(one, "partisan.queue")
        with pytest.raises(NotAcknowledged, match="no receipt has come"):
            await one.deliver(("sink", nobody), 1)
        with pytest.raises(NotAcknowledged):
            await one.deliver(("sink", nobody), 1, expiry=0.2)
        one.send(("sink", nobody), 1)
        await eventually(lambda: len(events.of("partisan.queue.undelivered", node=nobody, relayed=True)) == 3)
        with pytest.raises(NodeDown):
            await inside(one, call, ("doubler", nobody), 1)
        assert one.relays()["given_up"] == 4
        assert one.relays()["waiting"] == 0


async def test_a_node_without_neighbors_relays_nothing_and_says_so() -> None:
    async with running("a", **RING) as (a,):
        with pytest.raises(NotConnected):
            a.send(("sink", "b@127.0.0.1"), 1)
        with pytest.raises(NotConnected):
            a.send(("sink", "b@127.0.0.1"), 1, transitive=True)


async def test_without_the_option_messages_are_relayed_only_when_asked_to_and_answers_go_back() -> None:
    async with ring(*NAMES[:6], known=False, broadcast=False) as nodes:
        one, other = far_pair(nodes)
        sink, back = Sink(other), Sink(one, "back")
        pid = await inside(other, start_doubler)
        with pytest.raises(NotConnected):
            one.send(("sink", other.name), 0)
        with pytest.raises(NotConnected):
            other.send(("back", one.name), 0)
        partisan_way = [{"transitive": True}, {"broadcast": True}, {"out_links": one.members()}]
        for number, options in enumerate(partisan_way):
            one.send(("sink", other.name), number, **options)
        one.cast_message(("sink", other.name), 3, transitive=True)
        assert await sink.has(4) == [0, 1, 2, (Atom("$gen_cast"), 3)]
        other.send(("back", one.name), 1)  # it has been written to
        assert await back.has(1) == [1]
        third = next(node for node in nodes if node is not other and not node.table.is_connected(other.name))
        assert await inside(third, ask, ("doubler", other.name)) == 14
        assert one.nodes("known") == one.members()
        with pytest.raises(ValueError, match="pass on"):
            one.send(("sink", other.name), 1, transitive=True, key="k")
        one.forward_message(("sink", other.name), 1, out_links=[], expiry=0.1)
        await eventually(lambda: one.relays()["given_up"] == 1)
        other.exit(pid, Atom("kill"))


async def ask(target: Any) -> Any:
    return await partisan.call(target, 7, transitive=True)


async def test_more_than_may_wait_is_refused() -> None:
    async with ring(*NAMES[:4], known=False, relay={"max_waiting": 3, "timeout": 0.3}) as nodes:
        one = nodes[0]
        for number in range(3):
            one.send(("sink", "nobody@127.0.0.1"), number)
        with pytest.raises(Overloaded):
            one.send(("sink", "nobody@127.0.0.1"), 3)
        await eventually(lambda: one.relays()["given_up"] == 3)
        for expiry in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="expiry"):
                one.forward_message(("sink", "nobody@127.0.0.1"), 4, transitive=True, expiry=expiry)


async def test_many_who_take_a_node_for_dead_are_answered_by_few_heartbeats() -> None:
    async with cluster("a", "b", broadcast=True) as (a, b):
        sink, beats = Sink(b), b.broadcasts.heartbeats

        def told() -> int:
            latest = beats.latest(Atom(b.name))
            return 0 if latest is None else latest[2]

        await eventually(lambda: told() > 0 and b._presence._soon is None)
        before = told()
        for _ in range(100):
            a._relaying.spread(Word(b.name, beats.epoch, False))
        a.send(("sink", b.name), "behind them")
        await sink.has(1)
        await eventually(lambda: b._presence._soon is None)
        assert 0 < told() - before < 50


async def test_a_node_that_is_cut_off_is_down_and_what_is_sent_there_an_error_until_it_is_back() -> None:
    options = {"relay": {"timeout": 1.0, "silence": 4.0, "refutation": 0.3}, "connection_ping": {"idle_timeout": 0.3}}
    async with ring(*NAMES[:5], known=False, testing=True, **options) as nodes:
        one, other = far_pair(nodes)
        await eventually(lambda: other.name in one.nodes("known") and one.name in other.nodes("known"))
        faults = [each.faults.partition([other.name], [n.name for n in nodes if n is not other]) for each in nodes]
        await eventually(lambda: other.name not in one.nodes("known"), timeout=30.0)
        with pytest.raises((NotConnected, NotAcknowledged)):
            await one.deliver(("sink", other.name), 1)
        for fault in faults:
            fault.remove()
        for node in nodes:
            if not node.members()[1:]:
                await node.join(address_of(one if node is not one else nodes[1]), timeout=30.0)
        await eventually(lambda: sound(views_of(nodes)), timeout=30.0)
        await eventually(lambda: other.name in one.nodes("known"), timeout=30.0)
        sink = Sink(other)
        await one.deliver(("sink", other.name), 2)
        assert sink.messages == [2]


async def test_a_full_mesh_relays_past_a_link_that_is_missing() -> None:
    async with cluster("a", "b", "c", broadcast=True, plumtree=RING["plumtree"]) as (a, b, c):
        await eventually(lambda: all(len(node._relaying.machine._speakers) == 2 for node in (a, b, c)))
        sink = Sink(b)
        a.send(("sink", b.name), 1)
        assert await sink.has(1) == [1]
        assert all(node.relays()["copies"] == 0 for node in (a, b, c))  # neighbors need no relay


async def test_hostile_frames_are_violations_and_the_cluster_goes_on() -> None:
    async with ring(*NAMES[:4]) as nodes:
        one = nodes[0]
        peer = next(node for node in nodes if one.table.is_connected(node.name))
        events = Events(peer, "partisan.frame")

        def tell(frame: Frame) -> None:
            one.send((Atom("partisan_python"), peer.name), frame_to_term(frame))

        load = one.router.codec.encode((Atom("sink"), 1, None))
        good = Frame("x@h", 1, 1, peer.name, 3, False, False, Parcel(1, 1, load, len(load)))
        sink = Sink(peer)
        bad = [
            Frame("x@h", 1, 2, peer.name, 10**9, False, False, Parcel(1, 1, load, 1)),
            Frame(peer.name, 1 << 79, 1, one.name, 3, False, False, Parcel(1, 1, load, 1)),
            Frame("z@h", 1, 3, peer.name, 3, False, False, Parcel(1, 1, b"\x83no term", 1)),
            Frame("x@h", 1, 4, None, 3, False, False, Parcel(1, 1, load, 1)),
        ]
        for target in (Atom("partisan_hyparview_peer_service_manager"), Atom("partisan_python"),
                       Atom("partisan_plumtree_broadcast")):  # fmt: skip
            inner = one.router.codec.encode((target, (Atom("acks"), 1), None))
            serial = len(bad) + 1
            bad.append(Frame(f"y{serial}@h", 1, 1, peer.name, 3, False, False, Parcel(1, 1, inner, 1)))
        for frame in bad:
            tell(frame)
        await eventually(lambda: len(events.of("partisan.frame.rejected")) == len(bad))
        tell(good)
        tell(good)
        assert await sink.has(1) == [1]
        tell(Frame("x@h", 1, 9, None, 3, True, False, Word(one.name, 1, True)))  # it is not said by who it is about
        far = next(node for node in nodes if node is not one)
        assert await inside(far, call_echo, one) == 3
        assert sink.messages == [1]


async def call_echo(one: Node) -> Any:
    pid = one.spawn(echo)
    partisan.send(pid, (partisan.self(), 3))
    return await partisan.receive(timeout=20.0)


async def echo() -> None:
    caller, value = await partisan.receive()
    partisan.send(caller, value)


async def test_relayed_messages_of_real_nodes_are_delivered_passed_on_and_copies_dropped() -> None:
    async with ring(*NAMES[:5]) as nodes:
        one, other = far_pair(nodes)
        peer = next(node for node in nodes if one.table.is_connected(node.name))
        sinks = [Sink(node) for node in (one, peer, other)]
        frame = (Atom("forward_message"), Atom("sink"), 1)

        def heard(node: str, whence: str, ttl: int = 4) -> None:
            link = next(link for link in one._context.traffic.links if link.peer == whence)
            one._relaying.receive_foreign(Foreign(node, frame, ttl), link)

        ways = [link.peer for link in one._context.traffic.links if link.peer is not None]
        first, second = dict.fromkeys(ways)
        for node in (one, peer, other):
            heard(node.name, first)
            heard(node.name, second)
            heard(node.name, second, 3)
        for sink in sinks:
            assert await sink.has(1) == [1]
        heard(one.name, first)  # said again, the same way: another message
        assert await sinks[0].has(2) == [1, 1]
        assert [len(sink.messages) for sink in sinks] == [2, 1, 1]


async def test_what_real_nodes_pass_on_goes_no_further_than_it_may_and_does_not_go_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ring(*NAMES[:3]) as nodes:
        relaying = nodes[0]._relaying
        link = next(link for link in nodes[0]._context.traffic.links if link.peer is not None)
        sent: list[Any] = []
        monkeypatch.setattr(relaying, "send", lambda *args, **options: sent.append((args[2], options)))
        frame = (Atom("forward_message"), Atom("sink"), 1)
        relaying.receive_foreign(Foreign("x@h", frame, 2), link)
        relaying.receive_foreign(Foreign("x@h", (*frame[:2], 2), 1 << 40), link)
        assert sent == [(1, {"ttl": 2}), (2, {"ttl": 5})]
        load = relaying._router.codec.encode((Atom("sink"), 3, None))
        relaying._send_abroad(link.peer, Abroad("x@h", load, 4))
        relaying.receive_foreign(Foreign("x@h", (*frame[:2], 3), 3), link)  # our own has come back
        assert len(sent) == 2


async def test_the_options_change_while_it_runs() -> None:
    async with ring(*NAMES[:5]) as nodes:
        one, other = far_pair(nodes)
        assert other.name in one.nodes("known")
        one.reconfigure(broadcast=False)
        assert one.nodes("known") == sorted(one.members())
        one.reconfigure(broadcast=True, relay_ttl=9, relay={"timeout": 1.0})
        assert one._relaying.machine.config.ttl == 9
        await eventually(lambda: other.name in one.nodes("known"))
        with pytest.raises(ConfigError):
            one.reconfigure(relay_ttl=65)


async def test_what_waits_for_a_neighbor_goes_by_relays_when_it_is_none_any_more() -> None:
    views = {**RING, "hyparview": {"patience": 0.5, "shuffle_interval": 0.2}}
    async with running("a", "b", "c", **views) as (a, b, c):
        await testing.join_all(a, b, c)
        await acquainted([a, b, c])
        sink = Sink(b)
        fault = testing.cut(a, b)
        delivery = asyncio.ensure_future(a.deliver(("sink", b.name), "kept"))
        short = asyncio.ensure_future(a.deliver(("sink", b.name), "once", expiry=60.0))
        await eventually(lambda: a.unacknowledged(b.name) == 2)
        assert sink.messages == []
        closed = testing.cut(a, b, close=True)
        await asyncio.wait_for(asyncio.gather(delivery, short), 20.0)
        assert not a.table.is_connected(b.name)
        assert sorted(sink.messages) == [b"kept", b"once"]
        fault.remove()
        closed.remove()
        await a.join(address_of(b))
        await a.deliver(("sink", b.name), "near again")
        assert sink.messages[2:] == [b"near again"]
        assert a.unacknowledged(b.name) == 0


async def test_what_waits_for_a_neighbor_that_dropped_this_node_goes_when_there_is_a_way() -> None:
    quiet = {"patience": 0.5, "shuffle_interval": 60.0, "random_promotion": False}
    one = {"active_max_size": 2, "active_min_size": 1, **quiet}
    async with (
        running("a", "c", **{**RING, "hyparview": quiet}) as (a, c),
        running("b", **{**RING, "hyparview": one}) as [b],
    ):
        await a.join(address_of(b))
        await acquainted([a, b])
        sink = Sink(b)
        a.faults.cut(b.name)  # it hears b, which does not hear it
        delivery = asyncio.ensure_future(a.deliver(("sink", b.name), "kept"))
        await eventually(lambda: a.unacknowledged(b.name) == 1)
        await c.join(address_of(b))  # which has room for one
        await eventually(lambda: a.members() == [a.name])
        assert not a.table.is_connected(b.name)
        assert sink.messages == []
        await a.join(address_of(c))
        await asyncio.wait_for(delivery, 20.0)
        assert sink.messages == [b"kept"]
        assert not a.table.is_connected(b.name)


async def test_parts_of_a_node_take_no_kept_message_by_relays() -> None:
    async with ring(*NAMES[:4]) as nodes:
        one, other = far_pair(nodes)
        rejected = Events(other, "partisan.frame.rejected")
        sink = Sink(other)
        wire_name = other._manager.wire_name
        for number, target in enumerate(
            (Atom(wire_name), f"partisan:name:{other.name}:{wire_name}".encode(), Atom("partisan_python"))
        ):
            term = message_to_term(Atom(one.name), FIRST_NUMBER + number, target, 1)
            one._relaying.carry(other.name, kept_to_term(term), None)
        one._relaying.carry(other.name, kept_to_term(message_to_term(Atom(one.name), 7, Atom("sink"), 1)), None)
        await eventually(lambda: len(rejected.seen) == 4)
        for number in (9, 10, 9):
            term = message_to_term(Atom(one.name), FIRST_NUMBER + number, Atom("sink"), number)
            one._relaying.carry(other.name, kept_to_term(term), None)
        assert await sink.has(2) == [9, 10]
        assert other._acknowledged._machine.seen._senders == {}, "it has no connection that could end"
