"""Options that change while nodes run: each takes effect on what is there and on what comes, all or none."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted import HELLO, Member, dial, fill, greeted, member
from support import Conversation, Events, Sink, address_of, cluster, eventually, fully_meshed, running

import partisan
from partisan import Atom, ConfigError, HandshakeError, Node, Overloaded, telemetry
from partisan.config import Config
from partisan.config_load import walk
from partisan.names import ChannelOptions
from partisan.runtime.reconfigure import APPLIED

A, B = "a@127.0.0.1", "b@127.0.0.1"
BODY = b"x" * 65536
PYTHON = {"mixed_cluster": False}


def links_of(node: Node, channel: str) -> set[Any]:
    """The connections that the node has dialled for a channel."""
    return {link for link in node._context.traffic.links if not link.acceptor and link.channel == channel}


class Sender:
    """A process that sends numbers to a sink of another node, and never minds what happens to connections.

    Attributes:
        sent: how many.
    """

    def __init__(self, here: Node, there: Node, channel: str) -> None:
        self.sent = 0
        self.stopped = False
        self._to, self._channel = ("sink", there.name), channel
        self.sink = Sink(there)
        here.spawn(self._run)

    async def _run(self) -> None:
        while not self.stopped:
            partisan.send(self._to, self.sent, channel=self._channel)
            self.sent += 1
            await asyncio.sleep(0)

    async def goes_on(self) -> None:
        wanted = self.sent + 50
        await eventually(lambda: len(self.sink.messages) >= wanted)

    async def all_came_in_order(self) -> None:
        self.stopped = True
        await self.goes_on_to_the_end()
        assert self.sink.messages == list(range(self.sent))

    async def goes_on_to_the_end(self) -> None:
        await eventually(lambda: len(self.sink.messages) >= self.sent)


# All or nothing.


def test_every_live_option_has_a_way_to_take_effect_and_no_other_has() -> None:
    live = {row.path.partition(".")[0] for row in walk(Config) if row.about.live}
    assert live == set(APPLIED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_frame_octets": 4096}, "max_frame_octets: it cannot change while the node runs: that needs a restart"),
        ({"codec": {"none": "nil"}}, "codec.none: it cannot change"),
        ({"name": "c@127.0.0.1"}, "name: it cannot change"),
        ({"channel_fallback": False}, "channel_fallback: it cannot change"),
        ({"tls": True}, "tls: it cannot change"),
        ({"busy_wait": 5.0}, "busy_wait: 5.0 is above"),
        ({"parralelism": 2}, "parralelism: .*did you mean parallelism"),
        ({"channels": {"data": {"hard_queue_octets": 1}}}, "channels.data.hard_queue_octets: 1 is below"),
        ({"channels": {"undefined": {"parallelism": 2}}}, "channels.undefined.parallelism: say it"),
    ],
)
async def test_one_wrong_option_and_nothing_changes(options: dict[str, Any], message: str) -> None:
    async with running("a", channels=["data"]) as [a]:
        before, spec = a.config, a.spec
        for given in (options, {"parallelism": 3, "periodic_interval": 1.0, **options}):
            with pytest.raises(ConfigError, match=f"option {message}"):
                a.reconfigure(**given)
        assert (a.config, a.spec, a._context.config) == (before, spec, before)


async def test_an_option_that_needs_a_restart_may_be_given_as_it_is() -> None:
    async with running("a", max_frame_octets=4096) as [a]:
        assert a.reconfigure(max_frame_octets=4096, busy_wait=0.001) is a.config
        assert a.config.busy_wait == 0.001


async def test_a_node_that_does_not_run_is_not_reconfigured() -> None:
    with pytest.raises(partisan.LocalProtocolError):
        Node("a@127.0.0.1:0").reconfigure(parallelism=2)


async def test_the_module_function_acts_on_the_current_node() -> None:
    async with running("a") as [a]:
        assert partisan.reconfigure(busy_wait=0.001) is a.config


async def test_tables_are_merged_with_what_is_there() -> None:
    async with running("a", channels={"data": {"parallelism": 2}, "bulk": {}}, **PYTHON) as [a]:
        a.reconfigure(channels={"data": {"max_queue_octets": 1000}, "more": {}, "bulk": None}, parallelism=3)
        assert a.config.channel("data").parallelism == 2
        assert a.config.channel("data").max_queue_octets == 1000
        assert a.config.channel("more").parallelism == a.config.channel("undefined").parallelism == 3
        assert a.config.channel("partisan_membership").parallelism == 1
        assert "bulk" not in a.config.channels
        a.reconfigure(parallelism=4)
        assert a.config.channel("more").parallelism == 4


# Channels: what this node tells its peers.


async def test_peers_dial_by_the_new_channel_map_and_no_message_is_lost_or_swapped() -> None:
    async with cluster("a", "b", channels={"data": {"parallelism": 1}}, **PYTHON) as (a, b):
        sender = Sender(a, b, "data")
        events = Events(a, "partisan.membership")
        await sender.goes_on()
        for parallelism in (4, 2, 3, 1, 5):
            b.reconfigure(channels={"data": {"parallelism": parallelism}})
            await eventually(lambda: a.connection_count(B, "data") == parallelism)  # noqa: B023
            await sender.goes_on()
        await sender.all_came_in_order()
        await eventually(lambda: fully_meshed(a, b))
        assert sorted(options.parallelism for options in data_of(a)) == [1, 5]
        for event in (telemetry.PEER_LEAVE, telemetry.PEER_DOWN, telemetry.PEER_UP, telemetry.PEER_CHANNEL_DOWN):
            assert not events.of(event)
        await eventually(lambda: len(links_of(a, "data")) == 5)


def data_of(node: Node) -> list[ChannelOptions]:
    """What the members' specs say of the channel data."""
    return [options for spec in node._manager.specs() for name, options in spec.channels if name == "data"]


def real(b: Member) -> None:
    """Let the scripted member speak as the real node of a recording, which listened at that port."""
    b.speaks_as("core-join2-leave", "a->b#1", 11202)


async def test_while_a_real_node_is_a_member_a_parallelism_that_was_told_stays() -> None:
    channels = {"data": {"parallelism": 3}, "more": {}}
    async with member(B, {None: 1}) as b, running("a", parallelism=2, channels=channels) as [a]:
        real(b)
        await b.joined_by(a)
        spec = a.spec
        why = rf"peers were told \d, and {re.escape(B)} of Partisan 5\.0\.3 .*: make them leave"
        for parallelism in (1, 4):
            for path, options in {
                "parallelism": {"parallelism": parallelism},
                r"channels\.data\.parallelism": {"channels": {"data": {"parallelism": parallelism}}},
                r"channels\.more\.parallelism": {"channels": {"more": {"parallelism": parallelism}}},
            }.items():
                with pytest.raises(ConfigError, match=f"option {path}: {why}"):
                    a.reconfigure(**options)
        assert a.spec == spec
        a.reconfigure(channels={"data": None, "new": {"parallelism": 5}})
        with pytest.raises(ConfigError, match=why):
            a.reconfigure(channels={"data": {"parallelism": 2}})
        a.reconfigure(channels={"data": {"parallelism": 3, "compression": True}})
        assert a.spec.channel("data") == ChannelOptions(3, False, True)
        assert a.spec.channel("new") == ChannelOptions(5)


async def test_when_the_real_node_has_left_it_may_change() -> None:
    async with member(B, {None: 1}) as b, running("a", channels={"data": {"parallelism": 3}}) as [a]:
        real(b)
        await b.joined_by(a)
        await a.leave(B)
        await eventually(lambda: not a.counters()["connections"].get(B, {}).get("accepted"))
        a.reconfigure(parallelism=2, channels={"data": None})
        await b.joined_by(a)
        # What was told before this member came, it was not told.
        a.reconfigure(channels={"data": {"parallelism": 4}})
        assert a.spec.channel("data") == ChannelOptions(4)


async def test_among_python_nodes_it_may_change_although_the_cluster_might_be_mixed() -> None:
    async with cluster("a", "b") as (a, b):
        assert b.config.mixed_cluster
        b.reconfigure(parallelism=3)
        await eventually(lambda: a.connection_count(B, "undefined") == 3)
        await eventually(lambda: fully_meshed(a, b))


async def test_while_it_is_not_known_what_a_node_runs_it_stays() -> None:
    stranger = "p@127.0.0.1"
    why = rf"peers were told 1, and {re.escape(stranger)} did not say yet what they run: wait"
    async with running("a") as [a]:
        async with greeted(a, stranger):
            with pytest.raises(ConfigError, match=f"option parallelism: {why}"):
                a.reconfigure(parallelism=2)
        await eventually(lambda: not a._manager.expects(stranger))
        a.reconfigure(parallelism=2)
    async with running("a", mixed_cluster=False) as [a], greeted(a, stranger):
        a.reconfigure(parallelism=2)


async def test_a_peer_that_is_lost_after_it_told_another_spec_goes_down_and_comes_up() -> None:
    async with cluster("a", "b", connection_interval=0.02, **PYTHON) as (a, b):
        b.reconfigure(parallelism=2)
        await eventually(lambda: a.connection_count(B, "undefined") == 2)
        events = Events(a, "partisan.membership.peer")
        a._manager.disconnect(B)
        await eventually(lambda: fully_meshed(a, b))
        assert events.of(telemetry.PEER_DOWN) == events.of(telemetry.PEER_UP) == [{"node": B}]


async def test_a_new_channel_is_dialled_and_one_that_is_taken_away_parts() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        b.reconfigure(channels={"data": {"parallelism": 2}})
        await eventually(lambda: a.connection_count(B, "data") == c.connection_count(B, "data") == 2)
        assert a.connection_count(c.name, "data") == 0
        sender = Sender(a, b, "data")
        await sender.goes_on()
        b.reconfigure(channels={"data": None})
        await eventually(lambda: not a.connection_count(B, "data"))
        await sender.goes_on()
        await sender.all_came_in_order()
        await eventually(lambda: fully_meshed(a, b, c))


async def test_who_watches_a_node_hears_of_its_new_channels_and_not_that_it_was_down() -> None:
    async with running("a", channels=["data"]) as [a], running("b") as [b]:
        await a.join(address_of(b))
        await eventually(lambda: fully_meshed(a, b))
        told: list[Any] = []
        for channel in (None, "data"):
            a.on_up(B, lambda node, channel=channel: told.append(("up", node, channel)), channel=channel)
            a.on_down(B, lambda node, channel=channel: told.append(("down", node, channel)), channel=channel)
        b.reconfigure(channels={"data": {"parallelism": 2}})
        await eventually(lambda: told and fully_meshed(a, b))
        b.reconfigure(channels={"data": None})
        await eventually(lambda: len(told) == 2 and fully_meshed(a, b))
        assert told == [("up", B, "data"), ("down", B, "data")]
        b._manager.disconnect(A)
        a._manager.disconnect(B)
        await eventually(lambda: len(told) == 4)
        assert told[2:] == [("down", B, None), ("up", B, None)]


async def test_the_distance_is_measured_to_a_node_that_has_told_another_spec_and_forgotten_when_it_leaves() -> None:
    async with cluster("a", "b", distance_enabled=True, distance_interval=0.05) as (a, b):
        await eventually(lambda: B in a.distances())
        b.reconfigure(channels={"data": {}})
        await eventually(lambda: a._manager.spec_of(B) == b.spec and B in a.distances())
        first = a.distances()[B]
        await eventually(lambda: a.distances()[B] != first)
        await b.leave()
        await eventually(lambda: a.distances() == {})


async def test_what_is_kept_on_disk_is_under_the_spec_that_a_node_has_told_last(tmp_path: Path) -> None:
    options: dict[str, Any] = {"persist_dir": str(tmp_path)}
    async with running("b") as [b]:
        async with running("a", **options) as [a]:
            await a.sync_join(address_of(b))
            a.reconfigure(channels={"data": {}})
            await eventually(lambda: b.connection_count(A, "data"))
        async with running("a", **options) as [a]:
            await eventually(lambda: fully_meshed(a, b))
            assert b._manager.spec_of(A) == a.spec
            assert a.spec.channel("data") is None


async def test_the_parallelism_of_the_node_is_that_of_every_channel_that_does_not_say() -> None:
    async with cluster("a", "b", channels={"data": {}, "one": {"parallelism": 1}}, **PYTHON) as (a, b):
        b.reconfigure(parallelism=3)
        counts = lambda: [a.connection_count(B, channel) for channel in ("undefined", "data", "one")]  # noqa: E731
        await eventually(lambda: counts() == [3, 3, 1])
        await eventually(lambda: fully_meshed(a, b))


async def test_other_options_of_a_channel_change_what_peers_queue_it_by() -> None:
    async with cluster("a", "b", channels=["data"]) as (a, b):
        sender = Sender(a, b, "data")
        [former] = links_of(a, "data")
        b.reconfigure(channels={"data": {"compression": 9}})
        await eventually(lambda: former.queue.level == 9)
        await sender.goes_on()
        assert links_of(a, "data") == {former}
        await sender.all_came_in_order()
        b.reconfigure(channels={"data": {"monotonic": True}})
        await eventually(lambda: {type(link.queue).__name__ for link in links_of(a, "data")} == {"MonotonicQueue"})
        [new] = links_of(a, "data")
        assert new.queue.send_window == 1.0
        a.reconfigure(channels={"data": {"send_window": 0.25}})
        assert new.queue.send_window == 0.25
        assert a.is_fully_connected(B)


async def test_a_node_that_joins_later_and_one_that_was_away_learn_the_new_channel_map() -> None:
    async with cluster("a", "b", connection_interval=0.02, **PYTHON) as (a, b), running("c") as [c]:
        a._manager.disconnect(B)
        b.reconfigure(parallelism=2)
        await c.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b, c))
        assert a.connection_count(B, "undefined") == c.connection_count(B, "undefined") == 2
        assert len(a.members()) == len(c.members()) == 3


async def test_a_lone_node_tells_its_new_channel_map_to_whom_it_joins() -> None:
    async with running("a", "b", **PYTHON) as (a, b):
        for parallelism in (2, 1, 3):
            b.reconfigure(parallelism=parallelism)
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
        assert a.connection_count(B, "undefined") == 3
        assert a.members() == b.members()


# Channels: how this node queues.


async def test_bounds_change_for_queues_that_are_there() -> None:
    async with member(B, {None: 1, "data": 1}) as b, running("a", channels=["data"]) as [a]:
        data = await b.stuck(a)
        await fill(a, B, BODY, 2 << 20)
        bound = a.table.lane(B, "data").bound
        assert not bound.over
        a.reconfigure(channels={"data": {"max_queue_octets": 1 << 20, "hard_queue_octets": 1 << 20}})
        assert bound.over
        waiting = a.loop.create_task(a.drain(B, "data"))
        with pytest.raises(Overloaded):
            a.send(("sink", B), 1, channel="data")
        a.reconfigure(channels={"data": {"max_queue_octets": 64 << 20, "hard_queue_octets": 64 << 20}})
        await asyncio.wait_for(waiting, 5.0)
        a.send(("sink", B), 1, channel="data")
        data.reading.set()
        await eventually(lambda: data.heard[-1:] == [1])


async def test_a_sender_that_waits_meets_the_error_when_that_becomes_the_policy() -> None:
    channels = {"data": {"max_queue_octets": 1 << 20}}
    async with member(B, {None: 1, "data": 1}) as b, running("a", channels=channels) as [a]:
        await b.stuck(a)
        await fill(a, B, BODY, 2 << 20)
        caught: list[Exception] = []

        async def pump() -> None:
            try:
                while True:
                    partisan.send(("sink", B), BODY, channel="data")
                    await partisan.checkpoint()
            except Overloaded as error:
                caught.append(error)

        a.spawn(pump, name="pump")
        process = a.scheduler.whereis("pump")
        assert process is not None
        await eventually(lambda: process.holds)
        a.reconfigure(channels={"data": {"queue_policy": "error"}})
        await eventually(lambda: caught)


async def test_connections_are_replaced_without_a_gap_when_queues_begin_or_cease_to_drop() -> None:
    async with cluster("a", "b", channels=["data"]) as (a, b):
        sender = Sender(a, b, "data")
        events = Events(a, "partisan.membership")
        await sender.goes_on()
        for policy, kind in (("drop_oldest", "DroppingQueue"), ("wait", "SendQueue")):
            former = links_of(a, "data")
            a.reconfigure(channels={"data": {"queue_policy": policy}})
            new = await eventually(lambda: links_of(a, "data") - former)  # noqa: B023
            await eventually(lambda: links_of(a, "data") == new)  # noqa: B023
            assert {type(link.queue).__name__ for link in new} == {kind}
            await sender.goes_on()
        await sender.all_came_in_order()
        assert not events.seen
        assert a.connection_count(B) == b.connection_count(A) == 3


async def test_payloads_are_agreed_on_when_a_channel_begins_to_ask_for_them() -> None:
    async with cluster("a", "b", channels=["data"]) as (a, b):
        sender = Sender(a, b, "data")
        lane = a.table.lane(B, "data")
        assert lane.envelope is None
        a.reconfigure(channels={"data": {"payload": "msgpack"}})
        await eventually(lambda: lane.envelope)
        await sender.goes_on()
        a.reconfigure(channels={"data": {"payload": "etf"}})
        assert lane.envelope is None
        a.reconfigure(channels={"data": {"payload": "msgpack"}})
        assert lane.envelope is not None
        await sender.all_came_in_order()


# The rest.


async def test_connections_that_are_there_ping_by_the_new_options() -> None:
    async with cluster("a", "b") as (a, b):
        here, there = Events(a), Events(b)
        a.reconfigure(connection_ping={"idle_timeout": 0.03})
        await eventually(lambda: here.of(telemetry.CLIENT_HEARTBEAT) and here.of(telemetry.SERVER_HEARTBEAT))
        assert not there.of(telemetry.CLIENT_HEARTBEAT)
        a.reconfigure(connection_ping={"enabled": False})
        assert all(not link._driver._timers for link in a._context.traffic.links)
        await b.leave()
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
        await eventually(lambda: all(link.up and not link._driver._timers for link in a._context.traffic.links))
        a.reconfigure(connection_ping={"enabled": True})
        before = len(here.of(telemetry.CLIENT_HEARTBEAT))
        await eventually(lambda: len(here.of(telemetry.CLIENT_HEARTBEAT)) > before)


async def test_a_dead_peer_is_found_by_the_new_options() -> None:
    async with member(B, {None: 1}) as b, running("a") as [a]:
        await b.joined_by(a)
        await eventually(lambda: a.is_fully_connected(B))
        for connection in b.connections:
            connection.answering.clear()
        events = Events(a, "partisan.membership")
        a.reconfigure(connection_ping={"idle_timeout": 0.02, "timeout": 0.02, "max_attempts": 1})
        await eventually(lambda: events.of(telemetry.PEER_DOWN, node=B))


async def test_gossip_follows_the_new_interval() -> None:
    async with cluster("a", "b") as (a, b):
        before = b.counters()["messages"]["delivered"], b.counters()["received"]["frames"]
        a.reconfigure(periodic_interval=0.01)
        await eventually(lambda: b.counters()["received"]["frames"] > before[1] + 10)
        a.reconfigure(periodic_enabled=False)
        assert a._manager._machine.config.fanout == 0
        a.reconfigure(gossip=False)
        assert a._manager._machine.config.gossip is False


async def test_a_pause_under_way_before_a_dial_is_cut_to_its_new_length() -> None:
    async with running("b") as [b], running("a", connection_interval=600.0, reconnect_backoff_max=600.0) as [a]:
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
        a._manager.disconnect(B)
        assert not a.is_connected(B)
        a.reconfigure(connection_interval=0.01, connection_jitter=0.0, reconnect_backoff_max=0.1)
        await eventually(lambda: fully_meshed(a, b))


async def test_a_node_begins_and_ceases_to_look_for_work_before_it_sleeps() -> None:
    async with cluster("a", "b") as (a, b):
        conversation = Conversation(a, b)
        assert a.router.after_burst is None
        a.reconfigure(busy_wait=0.01)
        assert a.router.after_burst is not None
        await conversation.goes_on()
        a.reconfigure(busy_wait=0.0)
        assert a.router.after_burst is None
        await conversation.goes_on()


async def test_a_node_that_may_connect_no_more_is_cut_off_and_refused() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        events = Events(a, "partisan.socket")
        a.reconfigure(allowed_nodes=[c.name])
        await eventually(lambda: a.counters()["connections"].get(B, {}).get("accepted", 0) == 0)
        [error, *_] = [about["error"] for about in events.of(telemetry.SOCKET_ERROR, node=B, acceptor=True)]
        assert isinstance(error, HandshakeError)
        assert error.reason == "refused"
        async with dial(a) as peer:
            await peer.told()
            peer.tell((HELLO, Atom("p@127.0.0.1"), None))
            assert await peer.ended() == b""
        assert c.is_connected(a.name)
        a.reconfigure(allowed_nodes=None)
        await eventually(lambda: fully_meshed(a, b, c))


async def test_observation_follows_its_options() -> None:
    async with running("a", telemetry_interval=600.0, long_schedule=0.0, large_mailbox=0) as [a]:
        events = Events(a)
        a.reconfigure(telemetry_interval=0.01)
        await eventually(lambda: events.of(telemetry.CONNECTION_MONITORS))

        async def lazy() -> None:
            await partisan.receive(str)

        pid = a.spawn(lazy, name="lazy")
        for number in range(20):
            a.send("lazy", number)
        assert not events.of(telemetry.LARGE_MAILBOX)
        a.reconfigure(large_mailbox=10, long_schedule=1e-9)
        a.send("lazy", 1)
        assert events.of(telemetry.LARGE_MAILBOX, process=pid)
        a.send("lazy", "end")
        await eventually(lambda: events.of(telemetry.LONG_SCHEDULE))


@pytest.fixture
def level() -> Iterator[Callable[[], int]]:
    """The level of the package's logger, which is what it was after the test."""
    logger = logging.getLogger("partisan")
    before = logger.level
    yield lambda: logger.level
    logger.setLevel(before)


async def test_logging_is_left_alone_where_no_level_is_given(level: Callable[[], int]) -> None:
    logging.getLogger("partisan").setLevel(logging.ERROR)
    async with running("a") as [a]:
        a.reconfigure(busy_wait=0.001, log_level=None)
        assert level() == logging.ERROR


async def test_a_level_is_set_at_the_start_and_whenever_it_is_changed(
    level: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    async with running("a", log_level="INFO") as [a]:
        assert level() == logging.INFO
        assert any(text.startswith("a@127.0.0.1 listens on") for text in caplog.messages)
        a.reconfigure(log_level="DEBUG")
        assert level() == logging.DEBUG
        a.reconfigure(log_level=None)
        assert level() == logging.DEBUG


@pytest.mark.parametrize("wrong", ["LOUD", "debug", 10, ""])
async def test_a_level_that_is_none_changes_nothing(wrong: object, level: Callable[[], int]) -> None:
    async with running("a", log_level="WARNING") as [a]:
        with pytest.raises(
            ConfigError, match=r"option log_level: .* is not one of CRITICAL, ERROR, WARNING, INFO, DEBUG"
        ):
            a.reconfigure(log_level=wrong)
        assert level() == logging.WARNING


async def test_nodes_of_one_process_share_the_level(level: Callable[[], int]) -> None:
    async with running("a", log_level="WARNING") as [a], running("b", log_level="ERROR"):
        assert level() == logging.ERROR
        a.reconfigure(log_level="WARNING")
        assert level() == logging.WARNING
    assert level() == logging.WARNING


def test_the_page_of_the_options_says_how_each_live_one_takes_effect() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    [section] = re.findall(r"## Change options of a running node\n(.*?)\n## ", page, re.DOTALL)
    missing = [option for option in APPLIED if f"`{option}`" not in section]
    assert missing == []
