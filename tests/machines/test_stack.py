"""A membership and a broadcast as one machine: each gets what is its own, and trees follow the overlay."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.errors import LocalProtocolError
from partisan.machines.faults import Partition
from partisan.machines.full import FullConfig, FullMembership
from partisan.machines.hyparview import HyParView, HyParViewConfig
from partisan.machines.lww_map import Delete, LwwMap, Put
from partisan.machines.machine import (
    Join,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Retune,
    Start,
    StartTimer,
    StopTimer,
    Unreachable,
    Violation,
)
from partisan.machines.plumtree import EXCHANGE_TIMER, Plumtree
from partisan.machines.plumtree_messages import CancelExchanges, Merged, PlumtreeConfig, Prune
from partisan.machines.stack import Stack
from partisan.sim.network import Network

NODES = 12


def full(peer, rng, restored):
    return FullMembership(peer, FullConfig(), rng, restored)


def hyparview(peer, rng, restored):
    return HyParView(peer, HyParViewConfig(), rng, restored)


OVERLAYS = {"full": full, "hyparview": hyparview}
CONFIG = PlumtreeConfig(report=True, exchange_tick=5.0)


def cluster(overlay, seed=1, nodes=NODES, config=CONFIG):
    """Nodes with a map each, that have joined."""

    def build(peer, rng, restored):
        return Stack(overlay(peer, rng, restored), Plumtree(peer, config, rng, {"map": LwwMap(peer, net.births(peer))}))

    net = Net(build, seed, unreachable=Unreachable if overlay is hyparview else None)
    for peer in range(nodes):
        net.boot(peer)
        if peer:
            net.tell(peer, Join(0))
        net.run(0.5)
    net.run(20.0)
    return net


class Net(Network):
    """One that knows how to broadcast."""

    def births(self, peer):
        return self._births[peer]

    def write(self, peer, data):
        self.tell(peer, self.machine(peer).upper.prepare(data, "map"))

    def maps(self):
        return [dict(self.replica(peer).items()) for peer in self.nodes]

    def replica(self, peer):
        return self.machine(peer).upper.handlers["map"]

    def merged(self):
        return [fact for _, _, fact in self.facts if isinstance(fact, Merged)]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_broadcast_while_all_neighbors_are_dead_reaches_the_others_without_an_exchange(seed):
    net = cluster(hyparview, seed, nodes=24, config=PlumtreeConfig(report=True, exchange_tick=None))
    for number in range(3):
        net.write(5, Put(b"k", number))
        net.run(5.0)
    dead = net.machine(5).upper.neighbors
    assert dead
    for peer in dead:
        net.crash(peer, detection=1.0)
    net.write(5, Put(b"k", 99))
    net.run(60.0)
    assert net.maps() == [{b"k": 99}] * (24 - len(dead))


@pytest.mark.parametrize("overlay", OVERLAYS.values(), ids=OVERLAYS)
class TestEveryOverlay:
    def test_the_trees_have_the_neighbors_of_the_overlay(self, overlay):
        net = cluster(overlay)
        net.crash(3)
        net.run(30.0)
        for node in net.nodes.values():
            up = [other for other, edge in node.edges.items() if edge.node is not None]
            assert sorted(node.machine.upper.neighbors) == sorted(up)
            assert 3 not in up

    def test_a_write_reaches_everybody_and_the_next_ones_once_each(self, overlay):
        net = cluster(overlay)
        for number in range(3):
            net.write(5, Put(b"k", number))
            net.run(10.0)
        net.sent.clear()
        before = len(net.merged())
        net.write(5, Put(b"k", 9))
        net.run(4.9)
        assert len(net.merged()) == before + NODES - 1
        assert net.sent[Prune] == 0
        assert net.maps() == [{b"k": 9}] * NODES

    def test_who_comes_back_without_memory_gets_what_was_written_and_tells_what_it_wrote(self, overlay):
        net = cluster(overlay)
        for peer in range(0, NODES, 2):
            net.crash(peer, detection=0.5)
        net.run(10.0)
        net.write(1, Put(b"k", 1))
        net.write(3, Delete(b"l"))
        net.run(10.0)
        for peer in range(0, NODES, 2):
            net.boot(peer)
            net.write(peer, Put(b"l", peer))
            net.tell(peer, Join(1))
        net.run(120.0)
        assert len({tuple(sorted(found.items())) for found in net.maps()}) == 1
        assert net.maps()[0][b"k"] == 1

    def test_a_broadcast_survives_the_loss_of_a_third(self, overlay):
        net = cluster(overlay)
        for number in range(3):
            net.write(5, Put(b"k", number))
            net.run(5.0)
        for peer in (0, 2, 4, 6):
            net.crash(peer)
        net.write(5, Put(b"k", 99))
        net.run(30.0)
        assert net.maps() == [{b"k": 99}] * (NODES - 4)

    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 999),
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 2)),
                st.tuples(st.just("crash"), st.integers(1, 5)),
                st.tuples(st.just("return"), st.integers(1, 5)),
                st.tuples(st.just("run"), st.floats(0.0, 2.0)),
            ),
            max_size=25,
        ),
    )
    def test_maps_agree_after_any_history(self, overlay, seed, steps):
        net = cluster(overlay, seed, nodes=6)
        for number, (verb, *rest) in enumerate(steps):
            if verb == "run":
                net.run(rest[0])
            elif verb == "put" and rest[0] in net.nodes:
                net.write(rest[0], Put(rest[1], number))
            elif verb == "crash" and rest[0] in net.nodes:
                net.crash(rest[0])
            elif verb == "return" and rest[0] not in net.nodes:
                net.boot(rest[0])
                net.tell(rest[0], Join(0))
        for peer in range(1, 6):
            if peer in net.nodes:
                net.tell(peer, Join(0))
        net.run(150.0)
        assert len({tuple(sorted(found.items())) for found in net.maps()}) == 1


@settings(max_examples=15, deadline=None)
@given(
    side=st.integers(1, 62),
    writes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans(), st.floats(0.0, 3.0)), max_size=12),
)
def test_what_a_partition_kept_apart_converges_when_it_is_over(side, writes):
    groups = [bool(side >> peer & 1) for peer in range(6)]
    net = cluster(full, nodes=6)
    apart = tuple(tuple(str(peer) for peer in range(6) if groups[peer] is here) for here in (True, False))
    net.inject(Partition(groups=apart))
    for number, (peer, key, present, seconds) in enumerate(writes):
        net.write(peer, Put(key, number) if present else Delete(key))
        net.run(seconds)
    net.run(10.0)
    net.write(groups.index(True), Put(b"here", 1))
    net.run(10.0)
    assert [b"here" in found for found in net.maps()] == groups
    net.heal()
    net.run(150.0)
    assert len({tuple(sorted(found.items(), key=repr)) for found in net.maps()}) == 1
    assert len({tuple(sorted(net.replica(peer).vector)) for peer in range(6)}) == 1


def test_equal_seeds_give_equal_runs():
    digests = []
    for seed in (1, 1, 2):
        net = cluster(hyparview, seed)
        net.write(5, Put(b"k", 1))
        net.run(30.0)
        digests.append(net.digest())
    assert digests[0] == digests[1] != digests[2]


class Below:
    """A membership that does as it is told, and notes what it hears."""

    def __init__(self, effects=()):
        self.effects = list(effects)
        self.heard = []
        self.greeting = "hello"

    def handle(self, event, now):
        self.heard.append(event)
        return list(self.effects)


def test_the_upper_machine_hears_of_a_neighbor_before_what_follows():
    up, down, told = Notify(NeighborUp(1)), Notify(NeighborDown(1, "x")), Notify(MembersChanged((0,)))
    below = Below([told, up, told, down, told])
    upper = Plumtree(0, CONFIG, Random(1))
    seen = []
    handle = upper.handle
    upper.handle = lambda event, now: (seen.append(event), handle(event, now))[1]
    assert Stack(below, upper).handle(Join(1), 0.0) == below.effects
    assert seen == [up.fact, down.fact]


def test_each_machine_gets_what_is_its_own():
    below = Below()
    stack = Stack(below, Plumtree(0, replace(CONFIG, heartbeat=None), Random(1)))
    assert stack.greeting == "hello"
    assert [type(each) for each in stack.handle(Start(), 0.0)] == [StartTimer, StopTimer]
    assert stack.handle(CancelExchanges(), 0.0) == []
    assert [type(each.fact) for each in stack.handle(Received(1, Prune(0, 0)), 0.0)] == [Violation]
    stack.handle(Retune(replace(CONFIG, lazy_tick=7.0)), 0.0)
    assert stack.upper.config.lazy_tick == 7.0
    assert below.heard == [Start()]
    stack.handle(Received(1, "else"), 0.0)
    stack.handle(Retune("its own"), 0.0)
    assert below.heard[1:] == [Received(1, "else"), Retune("its own")]
    with pytest.raises(LocalProtocolError):
        Stack(hyparview(0, Random(1), None), Plumtree(0, CONFIG, Random(1))).handle(EXCHANGE_TIMER, 0.0)
