"""The membership API on real nodes: members, joins, departures, and what is told of them."""

from __future__ import annotations

import errno
import inspect
import logging
from collections.abc import Callable
from typing import Any

import pytest
from scripted import FORWARD, MANAGER, STRATEGY, greeted, spec_term, state_term
from support import (
    FAST,
    Events,
    Sink,
    address_of,
    cluster,
    eventually,
    free_port,
    fully_meshed,
    running,
    settled,
    undisturbed,
)

import partisan
from partisan import Atom, ConnectFailed, Contact, Node, NotConnected, NotInProcess, peer_service
from partisan.errors import NoAvailableSlots
from partisan.names import ChannelOptions, ListenAddress, NodeSpec

A, B, C = (f"{name}@127.0.0.1" for name in "abc")


class Calls:
    """A subscriber that keeps what it is told, and that others can make fail."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, value: Any) -> None:
        self.seen.append(value)


# Members.


async def test_the_functions_of_the_module_act_on_the_current_node() -> None:
    async with running("b") as [b], running("a") as [a]:
        assert partisan.node() is a
        assert await peer_service.sync_join(address_of(b)) == B
        assert await peer_service.join(address_of(b)) == B
        assert peer_service.members() == [A, B]
        assert peer_service.member(B)
        assert peer_service.member(b.spec)
        assert not peer_service.member(C)
        assert sorted(spec.name for spec in peer_service.members_for_orchestration()) == [A, B]
        assert sorted(peer_service.decode(peer_service.get_local_state())) == [A, B]
        assert sorted(peer_service.decode(peer_service.members_for_orchestration())) == peer_service.members()
        assert peer_service.manager() == "partisan_pluggable_peer_service_manager"
        assert {(each.node, each.channel) for each in peer_service.connections()} == {
            (B, "undefined"),
            (B, "partisan_membership"),
        }
        assert {each.address for each in peer_service.connections()} == set(b.listen_addrs)
        with pytest.raises(NoAvailableSlots, match="'tag'"):
            peer_service.reserve("tag")
        told: list[list[str]] = []
        handle = peer_service.add_callback(told.append)
        await peer_service.update_members([A])
        await eventually(lambda: told == [[A]])
        assert handle.cancel()
        assert not handle.cancel()
        await eventually(lambda: b.members() == [B])
        await peer_service.join(address_of(b))
        await peer_service.leave()
        assert peer_service.members() == [A]
        assert told == [[A]]
        await peer_service.stop()
        assert not a.is_alive()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"membership_strategy": "scamp_v1"},
        {"membership_strategy": "scamp_v2"},
        {"peer_service_manager": "hyparview"},
        {"peer_service_manager": "client_server", "tag": "server"},
        {"peer_service_manager": "static"},
    ],
    ids=lambda options: "-".join(options.values()) or "full",
)
async def test_the_members_are_read_from_the_state_of_every_membership(options: dict[str, Any]) -> None:
    async with cluster("a", "b", **options) as (a, b):
        assert a.members() == b.members() == [A, B]
        assert sorted(peer_service.decode(a.get_local_state())) == [A, B]


@pytest.mark.parametrize("wrong", [None, 5, A, [A], [5]])
def test_what_is_no_state_of_a_membership_is_an_error_that_shows_it(wrong: Any) -> None:
    with pytest.raises(TypeError, match="is neither the state of a membership nor a list of specs"):
        peer_service.decode(wrong)


async def test_a_member_that_is_made_to_leave_is_disconnected_from_all_and_can_join_again() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        await a.leave(C)
        for node in (a, b):
            await eventually(lambda node=node: sorted(node.members()) == [A, B] and not node.is_connected(C))
        await eventually(lambda: not c.nodes() and c.members() == [C])
        for node in (a, b):
            await eventually(lambda node=node: all(link.peer != C for link in node._acceptor.links))
        await c.join(address_of(b))
        await eventually(lambda: fully_meshed(a, b, c))


async def test_who_goes_on_as_a_member_after_its_removal_is_told_and_then_closed() -> None:
    async with running("a") as [a], greeted(a, "p@127.0.0.1") as peer:
        spec = spec_term("p@127.0.0.1", free_port(), {None: 1})
        peer.tell((FORWARD, MANAGER, (STRATEGY, (spec, state_term(spec)))))
        await eventually(lambda: a.member("p@127.0.0.1"))
        await a.leave("p@127.0.0.1")
        peer.tell((FORWARD, MANAGER, (STRATEGY, (spec, state_term(spec)))))
        while (term := await peer.told())[0] is not Atom("state"):
            pass
        tokens = {entry[Atom("name")]: dead for entry, dead in term[2][2][1]}
        assert tokens[Atom("p@127.0.0.1")] == [(b"\x01" * 20, False)]
        await peer.ended()
        assert a.members() == [A]


async def test_a_second_node_of_one_name_takes_its_place_and_the_first_says_so(caplog: Any) -> None:
    async with cluster("a", "b", periodic_interval=0.2) as (a, b), running("a") as [other]:
        with caplog.at_level(logging.WARNING, "partisan.managers"):
            await other.join(address_of(b))
            await eventually(lambda: fully_meshed(other, b))
            await eventually(lambda: a.members() == [A])
        assert "another node has come under its name" in caplog.text
        sink = Sink(other)
        b.send(("sink", A), 1)
        assert await sink.has(1) == [1]


async def test_a_node_that_moved_replaces_its_spec_in_spite_of_a_member_that_still_tells_the_old_one() -> None:
    """The member is a real node: it keeps both specs, and tells both as live until it is told otherwise."""
    async with running("a") as [a], running("c") as [c], greeted(a, "p@127.0.0.1", Atom("partisan_membership")) as peer:
        old = spec_term(C, free_port(), {None: 1})
        spec = spec_term("p@127.0.0.1", free_port(), {None: 1})
        gossip = (FORWARD, MANAGER, (STRATEGY, (spec, state_term(spec, old))))
        peer.tell(gossip)
        await eventually(lambda: a.member(C))
        assert not a.member(c.spec)
        await c.join(address_of(a))
        await eventually(lambda: a.member(c.spec) and c.member(A))
        peer.tell(gossip, gossip)
        sink = Sink(a)
        peer.tell((FORWARD, Atom("sink"), 1))
        await sink.has(1)
        assert [each for each in a.members() if each == C] == [C]
        assert a.member(c.spec)
        assert await a.node_spec(C) == c.spec


# What is told.


async def test_every_change_of_a_node_and_of_its_channels_is_told_exactly_once() -> None:
    async with running("a", "b", channels={"data": {"parallelism": 3}}) as (a, b):
        any_up, up, data_up, any_down, down, data_down, other = (Calls() for _ in range(7))
        a.on_up("_", any_up)
        a.on_up(B, up)
        a.on_up(B, data_up, channel="data")
        a.on_down("any", any_down)
        a.on_down(B, down)
        a.on_down("_", data_down, channel="data")
        a.on_up(C, other)
        a.on_down(C, other)
        await a.sync_join(address_of(b))
        await eventually(lambda: any_up.seen == up.seen == data_up.seen == [B])
        assert any_down.seen == down.seen == data_down.seen == []
        assert a.kill_connections([B, C]) == [B]
        await eventually(lambda: len(any_up.seen) == len(up.seen) == len(data_up.seen) == 2)
        assert any_down.seen == down.seen == data_down.seen == [B]
        await a.leave()
        await eventually(lambda: any_down.seen == down.seen == data_down.seen == [B, B])
        await settled(a)
        assert any_up.seen == up.seen == data_up.seen == [B, B]
        assert other.seen == []


async def test_a_member_learnt_by_gossip_comes_up_too() -> None:
    """The reference loses this one."""
    async with cluster("a", "b") as (a, b), running("c") as [c]:
        told = Calls()
        b.on_up(C, told)
        await c.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b, c))
        assert told.seen == [C]


async def test_a_node_that_comes_back_elsewhere_goes_down_once_and_up_once() -> None:
    async with cluster("a", "b") as (a, b):
        events: list[tuple[str, str]] = []
        a.on_up("_", lambda node: events.append(("up", node)))
        a.on_down("_", lambda node: events.append(("down", node)))
        await b.stop()
        await eventually(lambda: events == [("down", B)])
        async with running("b") as [second]:
            await second.join(address_of(a))
            await eventually(lambda: fully_meshed(a, second))
            assert events == [("down", B), ("up", B)]


async def test_subscribers_that_fail_or_change_the_membership_disturb_nothing(caplog: Any) -> None:
    async with running("a", "b", "c") as (a, b, c):
        told, nodes = Calls(), []

        def fails() -> None:
            raise ValueError("on purpose")

        def changes(node: str) -> None:
            nodes.append(partisan.node())
            a.loop.create_task(a.join(address_of(c)))

        a.on_up("_", fails)
        a.add_callback(fails)
        once = a.on_up(B, changes)
        a.on_up("_", told)
        with caplog.at_level(logging.ERROR, "partisan.runtime"):
            await a.join(address_of(b))
            await eventually(lambda: sorted(told.seen) == [B, C])
        await eventually(lambda: fully_meshed(a, b, c))
        assert nodes == [a]
        assert caplog.text.count("on purpose") >= 3
        assert once.active


async def test_members_are_told_to_callbacks_as_they_change() -> None:
    async with running("a", "b", "c") as (a, b, c):
        told = Calls()
        handle = a.add_callback(told)
        await a.join(address_of(b))
        await eventually(lambda: told.seen)
        await c.join(address_of(b))
        await eventually(lambda: told.seen == [[A, B], [A, B, C]] or [sorted(each) for each in told.seen])
        await eventually(lambda: fully_meshed(a, b, c))
        await c.leave()
        await eventually(lambda: [sorted(each) for each in told.seen] == [[A, B], [A, B, C], [A, B]])
        handle.cancel()
        await b.leave()
        await eventually(lambda: a.members() == [A])
        await settled(a)
        assert len(told.seen) == 3


async def test_a_supervised_callback_ends_with_the_process_that_gave_it() -> None:
    async with running("a", "b", "c") as (a, b, c):
        told = Calls()

        async def owner() -> None:
            peer_service.add_sup_callback(told)
            await partisan.receive()

        pid = a.spawn(owner)
        await a.join(address_of(b))
        await eventually(lambda: [sorted(each) for each in told.seen] == [[A, B]])
        a.send(pid, Atom("end"))
        await eventually(lambda: not a.is_process_alive(pid))
        await a.join(address_of(c))
        await eventually(lambda: fully_meshed(a, b, c))
        assert len(told.seen) == 1
        with pytest.raises(NotInProcess):
            a.add_sup_callback(told)


async def test_a_pid_is_sent_messages_until_it_ends() -> None:
    async with running("a", "b") as (a, b):
        sink = Sink(a)
        handles = [
            a.on_up("_", sink.pid),
            a.on_down(B, sink.pid),
            a.on_up(B, sink.pid, channel="undefined"),
            a.add_callback(sink.pid),
        ]
        await a.join(address_of(b))
        await sink.has(3)
        sorted_members = a.members()
        await a.leave()
        messages = await sink.has(5)
        up, down, members = Atom("nodeup"), Atom("nodedown"), Atom("members")
        names = [Atom(name) for name in sorted_members]
        assert sorted(map(repr, messages[:3])) == sorted(
            map(repr, [(up, Atom(B), None), (members, names), (up, Atom(B))])
        )
        assert sorted(map(repr, messages[3:])) == sorted(map(repr, [(down, Atom(B)), (members, [Atom(A)])]))
        a.exit(sink.pid, Atom("kill"))
        await eventually(lambda: not any(handle.active for handle in handles))


async def test_what_cannot_be_told_is_refused_when_it_is_given() -> None:
    async def coroutine(node: str) -> None:
        pass

    async with running("a") as [a]:
        for wrong in (coroutine, "text", None, lambda node, more: None):
            with pytest.raises(TypeError):
                a.on_up("_", wrong)  # type: ignore[arg-type]
        with pytest.raises(partisan.ConfigError, match="of the form name@host"):
            a.on_up("b", print)


async def test_a_channel_that_nobody_has_is_refused_when_it_is_asked_for() -> None:
    async with running("a", channels=["gossip"]) as [a], running("b", channels=["data"]) as [b]:
        for ask in (a.on_up, a.on_down):
            for node in (B, "_"):
                with pytest.raises(
                    partisan.ConfigError, match=r"channels\.data: there is no such channel; known are gossip"
                ):
                    ask(node, print, channel="data")
            ask(B, print, channel="gossip").cancel()
        await a.sync_join(address_of(b))
        downs = Calls()
        a.on_down(B, downs, channel="data")  # its member has told of it
        assert a.kill_connections(B)
        await eventually(lambda: downs.seen == [B])


async def test_a_stopped_node_tells_nothing_more() -> None:
    async with cluster("a", "b") as (a, _):
        told = Calls()
        handles = [a.on_down("_", told), a.add_callback(told)]
        await a.stop(grace=0.5)
        await settled(a)
        assert not told.seen
        assert not any(handle.active for handle in handles)


# A node, and others.


async def test_a_node_says_what_it_is() -> None:
    async with running("b") as [b], running("a", channels=["data"], metadata={"zone": "x", "rack": 3}) as [a]:
        await a.sync_join(address_of(b))
        await b.sync_join(address_of(a))
        info = partisan.node_info()
        assert (info.name, info.listen_addrs, info.connection_count) == (A, a.listen_addrs, 2)
        assert info.metadata == {"zone": "x", "rack": 3}
        assert info.channels["data"] == partisan.channel_opts("data")
        assert info.state_error is None
        assert partisan.nodestring() == A
        assert partisan.default_channel() == "undefined"
        assert partisan.is_alive()
        assert partisan.nodes() == partisan.nodes("visible") == [B]
        assert sorted(partisan.nodes("known")) == sorted(partisan.nodes("this", "visible")) == [A, B]
        assert partisan.nodes("known", "this", "visible").count(A) == 1
        assert partisan.nodes("hidden") == []
        with pytest.raises(ValueError, match="no kind of nodes"):
            partisan.nodes("strange")  # type: ignore[arg-type]
        with pytest.raises(partisan.ConfigError, match="no such channel"):
            partisan.channel_opts("gossip")


async def test_members_are_in_the_order_of_their_names_whatever_their_specs_say() -> None:
    async with running("a", channels=["data"]) as [a], running("b") as [b]:
        told = Calls()
        for node in (a, b):
            node.add_callback(told)
        await a.sync_join(address_of(b))
        assert [spec.name for spec in a.members_for_orchestration()] == [b.name, a.name]
        for node in (a, b):
            assert node.members() == node.nodes("known") == [a.name, b.name]
        await eventually(lambda: told.seen == [[a.name, b.name]] * 2)


ASKS: dict[str, Callable[[Node, str], object]] = {
    "queued_octets": lambda node, channel: node.queued_octets(B, channel),
    "drain": lambda node, channel: node.drain(B, channel),
    "omit": lambda node, channel: node.faults.omit(channel=["gossip", channel], probability=0.0),
    "cut": lambda node, channel: node.faults.cut(B, channel=channel, probability=0.0),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
async def test_a_question_about_a_channel_that_nobody_has_is_refused(ask: Callable[[Node, str], object]) -> None:
    async with running("a", channels=["gossip"]) as [a], running("b", channels=["data"]) as [b]:
        for channel in ("gossip", "undefined"):
            await answered(ask(a, channel))
        a.faults.clear()
        with pytest.raises(partisan.ConfigError, match=r"channels\.data: there is no such channel; known are gossip"):
            await answered(ask(a, "data"))
        assert len(a.faults.rules) == 0, "a rule that was refused is in force"
        await a.sync_join(address_of(b))
        await answered(ask(a, "data"))  # its member has told of it


async def answered(answer: object) -> None:
    if inspect.isawaitable(answer):
        await answer


async def test_the_spec_of_a_member_is_known_and_another_is_a_named_error() -> None:
    async with cluster("a", "b") as (a, b):
        assert await a.node_spec() == await a.node_spec(A) == a.spec
        assert await a.node_spec(B) == await a.node_spec(Atom(B)) == b.spec
        with pytest.raises(NotConnected, match=f"{C} is no member"):
            await a.node_spec(C)
        async with greeted(a, "p@127.0.0.1"):
            with pytest.raises(NotConnected, match="is no member"):
                await a.node_spec("p@127.0.0.1", timeout=0.01)


async def test_the_spec_of_a_node_that_is_just_joining_is_waited_for() -> None:
    async with running("a") as [a], greeted(a, "p@127.0.0.1") as peer:
        asking = a.loop.create_task(a.node_spec("p@127.0.0.1"))
        await settled(a)
        spec = spec_term("p@127.0.0.1", free_port(), {None: 1})
        peer.tell((FORWARD, MANAGER, (STRATEGY, (spec, state_term(spec)))))
        assert (await asking).name == "p@127.0.0.1"


async def test_what_is_local_is_told_from_what_is_not() -> None:
    async with running("b") as [b], running("a") as [a]:
        here, there = Sink(a), Sink(b)
        assert partisan.is_local(here.pid)
        assert partisan.is_local_pid(here.pid)
        assert not partisan.is_local(there.pid)
        assert not partisan.is_local_pid(there.pid)
        assert not partisan.is_local_pid(3)
        assert partisan.is_local_reference(partisan.make_ref())
        assert not partisan.is_local_reference(b.make_ref())
        assert not partisan.is_local_reference(here.pid)
        assert partisan.is_local_name("sink")
        assert partisan.is_local_name(Atom("sink"))
        assert partisan.is_local_name(("sink", A))
        assert not partisan.is_local_name(("sink", B))
        assert not partisan.is_local_name("nobody")
        assert partisan.is_local(("sink", A))
        assert not partisan.is_local(("sink", B))
        assert partisan.is_pid(here.pid)
        assert partisan.is_reference(partisan.make_ref())
        assert not partisan.is_reference(here.pid)
        assert partisan.is_process_alive(here.pid)
        with pytest.raises(ValueError, match="no process of this node"):
            partisan.is_process_alive(there.pid)
        assert not partisan.is_self(here.pid)


async def test_a_node_can_be_disconnected_for_good() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        assert await a.disconnect_node(C)
        assert not await a.disconnect_node("x@127.0.0.1")
        await eventually(lambda: fully_meshed(a, b) and c.members() == [C])
        assert await a.disconnect_node(A)
        assert a.members() == [A]


async def test_connections_that_were_lost_are_found_again_though_nobody_failed() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        assert sorted(a.kill_connections([B, C])) == [B, C]
        assert a.kill_connections("x@127.0.0.1") == []
        await eventually(lambda: fully_meshed(a, b, c))


async def test_distances_to_neighbors_are_measured_where_that_is_asked_for() -> None:
    async with cluster("a", "b", distance_enabled=True, distance_interval=0.05) as (a, b), running("c") as [c]:
        await eventually(lambda: a.distances().keys() == {B} and b.distances().keys() == {A})
        assert 0.0 < a.distances()[B] < 10.0
        first = a.distances()[B]
        await eventually(lambda: a.distances()[B] != first)
        await c.join(address_of(a))
        await eventually(lambda: a.distances().keys() == {B, C})
        assert c.distances() == {}
        await b.leave()
        await eventually(lambda: a.distances().keys() == {C})


async def test_a_join_to_a_port_that_nobody_listens_on_names_the_errno_and_a_bad_contact_its_form() -> None:
    async with running("a", **FAST) as [a]:
        with pytest.raises(ConnectFailed, match=str(errno.ECONNREFUSED)):
            await a.sync_join(f"127.0.0.1:{free_port()}", timeout=0.3)
        for wrong in ("nowhere", "b@host", "b@127.0.0.1:99999", ":1"):
            with pytest.raises(partisan.ConfigError):
                await a.join(wrong)
        with pytest.raises(TypeError, match="no contact"):
            await a.join(7)  # type: ignore[arg-type]


async def test_a_spec_without_an_address_or_with_wrong_parts_is_refused_when_it_is_made() -> None:
    address, options = ListenAddress("127.0.0.1", 1), ChannelOptions()
    for addresses, channels, option in (
        ((), (), "listen_addrs"),
        (("127.0.0.1:1",), (), "listen_addrs"),
        ((address,), (("data", {"parallelism": 1}),), "channels"),
        ((address,), ("data",), "channels"),
        ((address,), (("data", options, 1),), "channels"),
        ([address], (), "listen_addrs"),
        ((address,), [("data", options)], "channels"),
        ((address,), None, "channels"),
        ((address,), (("data", options), ("data", options)), "channels"),
    ):
        with pytest.raises(partisan.ConfigError) as caught:
            NodeSpec(B, addresses, channels)  # type: ignore[arg-type]
        assert caught.value.option == option
    with pytest.raises(partisan.ConfigError, match="no number of connections"):
        ChannelOptions(0)
    for port in (True, 65536, "1"):
        with pytest.raises(partisan.ConfigError, match="no port between 0 and 65535"):
            ListenAddress("127.0.0.1", port)  # type: ignore[arg-type]
    for wrong in (("127.0.0.1:1", B), (address, "b"), (address, B, "127.0.0.1:1"), (address, B, [address])):
        with pytest.raises(partisan.ConfigError) as caught:
            Contact(*wrong)  # type: ignore[arg-type]
        assert caught.value.option == "contact"


async def test_a_contact_at_port_0_is_refused_at_once() -> None:
    async with running("a") as [a]:
        nowhere = ListenAddress("127.0.0.1", 0)
        for contact in ("b@127.0.0.1:0", "127.0.0.1:0", Contact(nowhere, B), NodeSpec(B, (nowhere,), ())):
            with pytest.raises(partisan.ConfigError, match="nobody listens on port 0"):
                await a.join(contact)  # type: ignore[arg-type]
        assert a.members() == [A]


async def test_a_peer_that_tells_of_a_node_without_an_address_disturbs_nothing() -> None:
    async with undisturbed() as (a, _), greeted(a, "p@127.0.0.1") as peer:
        events = Events(a)
        spec = spec_term("p@127.0.0.1", 9, {None: 1})
        nowhere = {**spec_term(C, 9, {None: 1}), Atom("listen_addrs"): []}
        peer.tell((FORWARD, MANAGER, (STRATEGY, (spec, state_term(spec, nowhere)))))
        await peer.ended()
        (error,) = events.errors()
        assert "no address" in str(error)
        assert len(a.members()) == 2


async def test_a_node_is_started_and_stopped_by_the_functions_too() -> None:
    async with running("b") as [b]:
        started = await partisan.start("a@127.0.0.1:0", **FAST)
        try:
            assert partisan.node() is started
            await partisan.join(address_of(b))
            Sink(b)
            partisan.send(("sink", B), 1)
        finally:
            await partisan.stop(grace=0.5)
        assert not partisan.is_alive()
        assert not started.is_alive()


async def test_a_message_to_the_manager_of_a_node_arrives_there_and_disturbs_nothing(caplog: Any) -> None:
    async with cluster("a", "b") as (a, b):
        with caplog.at_level(logging.DEBUG, "partisan.managers"):
            a.send_message(B, (Atom("something"), 1))
            await eventually(lambda: "has no use for Unknown" in caplog.text)
        assert fully_meshed(a, b)
