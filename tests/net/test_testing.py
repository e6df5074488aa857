"""What `partisan.testing` gives to those who test their programs: clusters, links that fail, probes, waits."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

import partisan
from partisan import Atom, Node
from partisan.testing import (
    Events,
    Probe,
    VirtualLoop,
    cluster,
    cut,
    eventually,
    free_port,
    fully_meshed,
    heal,
    held,
    run_virtual,
    running,
    slow,
    within,
)

PING = {"connection_ping": {"idle_timeout": 0.1, "timeout": 0.1, "max_attempts": 2}}


async def forever() -> None:
    await partisan.receive(Atom("never"))


# Clusters.


async def test_a_cluster_is_meshed_on_every_channel_and_stopped_with_its_block() -> None:
    async with cluster("a", "b", "c", channels={"data": {"parallelism": 2}}) as nodes:
        assert fully_meshed(*nodes)
        assert [node.name for node in nodes] == ["a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"]
        assert nodes[0].connection_count(nodes[1].name, "data") == 2
    assert not any(node.is_alive() for node in nodes)


async def test_running_nodes_are_strangers_with_options_of_their_own() -> None:
    async with running("a", "b", metadata={"x": "1"}) as (a, b):
        assert (a.members(), b.members()) == ([a.name], [b.name])
        assert a.config.metadata == {"x": "1"}


async def link_to_one_that_stays(node: Node) -> None:
    partisan.link(node.spawn(forever))
    await forever()


LEFTOVERS: dict[str, Any] = {
    "processes": lambda node: node.spawn(forever),
    "links": lambda node: node.spawn(link_to_one_that_stays, node),
    "monitors": lambda node: node.spawn(watcher, node),
    "timers": lambda node: node.send_after(1000.0, "nobody", "late"),
    "time-outs": lambda node: node.spawn(patient),
}


async def watcher(node: Node) -> None:
    partisan.monitor(node.spawn(forever))
    await forever()


async def patient() -> None:
    await partisan.receive(Atom("never"), timeout=1000.0)


@pytest.mark.parametrize("what", LEFTOVERS)
@pytest.mark.parametrize("kind", [running, cluster])
async def test_a_clean_block_fails_if_it_leaves_something_behind(kind: Any, what: str) -> None:
    async def test() -> None:
        async with kind("a", "b", clean=True, settle=0.05) as (a, _):
            LEFTOVERS[what](a)
            await eventually(lambda: what in held(a))

    with pytest.raises(AssertionError, match=f"left behind: .*a@127.0.0.1.*{what}"):
        await test()


async def test_a_call_that_waits_for_its_answer_is_held() -> None:
    async with cluster("a", "b") as (a, b):
        b.spawn(forever, name="silent")
        asking = asyncio.ensure_future(within(a, lambda: partisan.call(("silent", b.name), "?", timeout=20.0)))
        await eventually(lambda: held(a).get("calls") == 1)
        asking.cancel()
        await asyncio.wait([asking])


async def test_a_clean_block_waits_for_what_is_about_to_end() -> None:
    async with running("a", clean=True) as (a,):
        a.spawn(asyncio.sleep, 0.05)
        assert held(a) == {"processes": 1}


async def test_probes_and_what_was_there_before_do_not_count() -> None:
    async with running("a") as (a,):
        Probe(a)
        assert held(a) == {}
        a.spawn(forever)
        assert held(a) == {"processes": 1}


async def test_the_error_of_a_block_is_not_hidden_by_what_it_leaves() -> None:
    nodes: list[Node] = []

    async def test() -> None:
        async with cluster("a", "b", clean=True) as (a, b):
            nodes.extend((a, b))
            a.spawn(forever)
            raise ValueError("of the test")

    with pytest.raises(ValueError, match="of the test"):
        await test()
    assert [node.is_alive() for node in nodes] == [False, False]


async def test_a_free_port_can_be_listened_at() -> None:
    port = free_port()
    async with Node(f"a@127.0.0.1:{port}") as node:
        assert node.listen_addrs[0].port == port


# Links that fail.


async def test_a_link_that_is_cut_is_missed_by_both_and_by_nobody_else_until_it_is_healed() -> None:
    async with cluster("a", "b", "c", **PING) as (a, b, c):
        cut(a, b)
        assert a.is_connected(b.name), "nobody is told"
        await eventually(lambda: not a.is_connected(b.name) and not b.is_connected(a.name))
        assert a.is_fully_connected(c.name)
        assert b.is_fully_connected(c.name)
        heal(a, b)
        await eventually(lambda: fully_meshed(a, b, c))


async def test_a_link_that_is_cut_and_closed_is_missed_at_once() -> None:
    async with cluster("a", "b", connection_ping={"enabled": False}) as (a, b):
        with cut(a, b, close=True) as fault:
            await eventually(lambda: not a.is_connected(b.name) and not b.is_connected(a.name))
            with pytest.raises(partisan.NotConnected):
                a.send(("sink", b.name), "lost")
            assert sorted(a.members()) == [a.name, b.name]
        await eventually(lambda: fully_meshed(a, b))
        assert fault.rule not in list(a.faults.rules)


async def test_a_slow_link_is_late_both_ways_and_in_order() -> None:
    async with cluster("a", "b") as (a, b):
        probes = {a: Probe(a), b: Probe(b)}
        slow(a, b, 0.2)
        for one, other in ((a, b), (b, a)):
            began = time.monotonic()
            for number in range(10):
                one.send(("probe", other.name), number)
            assert await probes[other].has(10) == list(range(10))
            assert time.monotonic() - began >= 0.19
        heal(a, b)
        assert not len(a.faults.rules)


async def test_only_what_is_between_the_nodes_named_is_healed() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        slow(a, b, 0.001)
        slow(c, a, 0.001)
        heal(b, a)
        assert (len(a.faults.rules), len(c.faults.rules)) == (0, 1)
        heal(c)
        assert len(c.faults.rules) == 1, "there is no link between one"
        slow(b, c, 0.001)
        heal(a, b, c)
        assert (len(b.faults.rules), len(c.faults.rules)) == (0, 0)
        heal(a, b, c)


async def test_a_node_that_was_cut_off_is_not_kept_alive() -> None:
    async with cluster("a", "b") as (a, b):
        cut(a, b)
    kept = weakref.ref(a)
    del a, b
    for _ in range(5):
        await asyncio.sleep(0)
        gc.collect()
    assert kept() is None


# Waits and witnesses.


async def test_eventually_gives_what_the_condition_gave_whether_it_is_plain_or_async() -> None:
    looks = iter([0, None, "found"])
    assert await eventually(lambda: next(looks)) == "found"

    async def later() -> int:
        await asyncio.sleep(0)
        return 7

    assert await eventually(later) == 7


async def test_eventually_fails_with_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.01 s: .*: \[\]"):
        await eventually(list, timeout=0.01)


async def test_within_returns_and_raises_what_the_function_does_in_a_process_of_the_node() -> None:
    async def where(number: int) -> tuple[str, int]:
        return partisan.self().node, number

    async def fails() -> None:
        raise ValueError("broken")

    async with running("a", "b") as (_, b):
        assert await within(b, where, 3) == (b.name, 3)
        with pytest.raises(ValueError, match="broken"):
            await within(b, fails)


async def test_within_tells_of_an_exit_signal_and_kills_what_takes_too_long() -> None:
    async def ends_itself() -> None:
        partisan.exit(Atom("kill"))

    async def is_told_to_end() -> None:
        partisan.node().exit(partisan.self(), Atom("boom"))
        await forever()

    async with running("a", clean=True) as (a,):
        with pytest.raises(partisan.Exit, match="kill"):
            await within(a, ends_itself)
        with pytest.raises(partisan.Exit, match="boom"):
            await within(a, is_told_to_end)
        with pytest.raises(TimeoutError):
            await within(a, forever, timeout=0.05)


async def test_a_probe_keeps_what_comes_and_finds_what_is_wanted() -> None:
    async with running("a") as (a,):
        probe = Probe(a)
        for number in range(5):
            a.send("probe", number)
        assert await probe.heard(lambda message: message > 2) == 3
        assert await probe.has(5) == [0, 1, 2, 3, 4]
        with pytest.raises(AssertionError):
            await probe.heard(lambda message: message == 9, timeout=0.01)


async def test_events_are_those_of_their_node() -> None:
    async with cluster("a", "b") as (a, b):
        events, other = Events(a, "partisan.membership"), Events(b, handler_id="other")
        a.kill_connections(b.name)
        await eventually(lambda: events.of("partisan.membership.peer.down", node=b.name))
        assert not events.of("partisan.membership.peer.down", node=a.name)
        assert not other.of("partisan.membership.peer.down", node=b.name)
        assert all(event.startswith("partisan.membership.") for event, _, _ in events.seen)


# A cluster under the virtual clock.


def test_a_cluster_lives_through_hours_and_its_keepalive_counts_by_the_virtual_clock() -> None:
    async def main() -> float:
        clock = asyncio.get_running_loop()
        assert isinstance(clock, VirtualLoop)
        async with cluster("a", "b", connection_ping={"idle_timeout": 20.0, "timeout": 10.0}) as (a, b):
            lost = Events(a, "partisan.membership.peer.down")
            await asyncio.sleep(600.0)
            assert fully_meshed(a, b)
            assert not lost.seen
            before = clock.time()
            cut(a, b)
            await eventually(lambda: not a.is_connected(b.name), timeout=600.0)
            passed = clock.time() - before
            heal(a, b)
            await eventually(lambda: fully_meshed(a, b), timeout=600.0)
            return passed

    assert 10.0 <= run_virtual(main()) < 600.0
