"""The overlay that docs/overlays.md walks through, under virtual time: whatever happens, a ring in the end."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.errors import LocalProtocolError
from partisan.machines.lww_map import LwwMap, Put
from partisan.machines.machine import (
    Connected,
    Disconnect,
    Join,
    Joined,
    JoinFailed,
    Leave,
    NeighborDown,
    Notify,
    Received,
    Start,
    Unreachable,
    UpdateMembers,
)
from partisan.machines.membership import MembershipConfig
from partisan.machines.plumtree import Plumtree
from partisan.machines.plumtree_messages import PlumtreeConfig
from partisan.machines.stack import Stack
from partisan.sim.network import Network
from partisan.sim.topology import asymmetric, reach

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from ring import Near, Ring

ROUND = MembershipConfig().period


def ring(peer, rng, restored):
    broadcast = Plumtree(peer, PlumtreeConfig(), rng, {"said": LwwMap(actor=peer, epoch=1)})
    return Stack(Ring(peer, MembershipConfig(), rng, restored), broadcast)


def formed(count, seed=1, told=True):
    """So many nodes that join the first of them at once; they are told of dials that fail, or not."""
    net = Network(ring, seed=seed, unreachable=Unreachable if told else None)
    for peer in range(count):
        net.boot(peer)
    for peer in range(1, count):
        net.tell(peer, Join(0))
    net.run(ROUND)
    return net


def graph(net):
    return {p: [m for m in node.machine.membership.members if m != p] for p, node in net.nodes.items()}


def place(peer):
    return crc32(str(peer).encode())


def rings(peers):
    """The graph in which each of these has two neighbors on either side."""
    order = sorted(peers, key=place)
    size = len(order)
    near = {at: {order[(at + by) % size] for by in (-2, -1, 1, 2)} - {peer} for at, peer in enumerate(order)}
    return {peer: sorted(near[at]) for at, peer in enumerate(order)}


def is_ring(net, peers):
    views = graph(net)
    return {peer: sorted(views[peer]) for peer in peers} == rings(peers)


def heard(net, key):
    """Who has heard what was broadcast under that key."""
    return {peer for peer, node in net.nodes.items() if key in node.machine.upper.handlers["said"]}


def broadcast(net, peer, key):
    net.tell(peer, net.machine(peer).upper.prepare(Put(key, 1), "said"))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 17, 300])
def test_nodes_that_join_one_at_once_become_a_ring(count):
    net = formed(count)
    assert is_ring(net, range(count))


def test_two_rings_that_meet_become_one():
    net = Network(ring, seed=2, unreachable=Unreachable)
    for peer in range(100):
        net.boot(peer)
        if peer > 1:
            net.tell(peer, Join(peer % 2))
    net.run(ROUND)
    assert is_ring(net, range(0, 100, 2))
    assert is_ring(net, range(1, 100, 2))
    net.tell(42, Join(77))
    net.run(5 * ROUND)
    assert is_ring(net, range(100))


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_heals_when_a_third_of_it_is_killed_and_a_broadcast_reaches_all_that_live(seed):
    net = formed(300, seed)
    dead = Random(seed).sample(range(300), 100)
    for peer in dead:
        net.crash(peer)
    net.run(2 * ROUND)
    living = set(range(300)).difference(dead)
    assert is_ring(net, living)
    broadcast(net, min(living), b"after")
    net.run(ROUND)
    assert heard(net, b"after") == living


def test_the_dead_are_forgotten_by_all_and_found_again_when_they_come_back():
    net = formed(60)
    for peer in range(0, 60, 6):
        net.crash(peer)
    net.run(2 * Ring.old * ROUND)
    assert not any(peer % 6 == 0 for node in net.nodes.values() for peer in node.machine.greeting.ages)
    for peer in range(0, 60, 6):
        net.boot(peer, net.saved[peer])
    net.run(ROUND)
    assert is_ring(net, range(60))


@pytest.mark.parametrize("detection", [1.0, math.inf])
def test_who_is_silent_is_forgotten_though_nobody_finds_that_it_cannot_be_reached(detection):
    net = formed(60, told=False)
    silent = range(0, 60, 6)
    for peer in silent:
        net.crash(peer, detection)
    net.run(2 * Ring.old * ROUND)
    assert is_ring(net, {*range(60)}.difference(silent))
    assert not any(peer % 6 == 0 for node in net.nodes.values() for peer in node.machine.greeting.ages)


def test_a_node_that_comes_back_without_memory_is_taken_in_by_those_who_know_it():
    net = formed(40)
    net.crash(7, detection=0.0)
    net.boot(7)
    net.run(ROUND)
    assert is_ring(net, range(40))


def test_who_leaves_stays_away_until_it_joins_again():
    net = formed(40)
    net.tell(7, Leave())
    net.run(2 * Ring.old * ROUND)
    assert net.machine(7).membership.members == (7,)
    assert is_ring(net, [peer for peer in range(40) if peer != 7])
    net.tell(7, Join(23))
    net.run(ROUND)
    assert is_ring(net, range(40))


def test_a_node_that_was_cut_off_from_all_comes_back_by_itself():
    net = formed(20)
    with_all = graph(net)
    for peer in range(20):
        if peer != 7:
            net.crash(peer)
    net.run(Ring.old * ROUND)
    assert net.machine(7).membership.members != (7,)
    for peer in range(20):
        if peer != 7:
            net.boot(peer, net.saved[peer])
    net.run(30 * ROUND)
    assert graph(net) == with_all


def test_nobody_makes_another_leave_and_an_update_of_the_members_is_for_who_is_alone():
    net = formed(3)
    with pytest.raises(LocalProtocolError, match="only leave by itself"):
        net.tell(0, Leave(1))
    net.boot(3)
    net.tell(0, UpdateMembers((0, 3)))
    net.run(ROUND)
    assert not graph(net)[3]
    net.tell(3, UpdateMembers((3, 0)))
    net.run(ROUND)
    assert is_ring(net, range(4))
    net.tell(3, UpdateMembers((0, 1)))
    net.run(ROUND)
    assert not graph(net)[3]


def test_a_join_of_a_member_that_is_none_before_it_was_reached_is_done_all_the_same():
    near = rings(range(40))[0]
    machine = Ring(0, MembershipConfig(), Random(1), Near({peer: 0 for peer in range(1, 40) if peer not in near}))
    machine.handle(Start(), 0.0)
    contact = machine.members[1]
    machine.handle(Join(contact), 1.0)
    machine.handle(Received(near[0], Near(dict.fromkeys(near, 0))), 2.0)
    assert contact not in machine.members
    effects = machine.handle(Connected(contact, contact, Near({})), 3.0)
    assert Notify(Joined(contact, contact)) in effects
    assert Disconnect(contact, "far") in effects


def test_a_join_of_a_far_node_is_done_and_makes_it_no_neighbor():
    net = formed(40)
    joiner = next(peer for peer in range(40) if peer not in graph(net)[0] and peer)
    net.facts.clear()
    net.tell(joiner, Join(0))
    net.run(ROUND)
    assert not [fact for _, _, fact in net.facts if isinstance(fact, JoinFailed)]
    assert [fact.reason for _, peer, fact in net.facts if isinstance(fact, NeighborDown) and peer == joiner] == ["far"]


STEPS = st.one_of(
    st.tuples(st.sampled_from([Join]), st.integers(0, 11), st.integers(0, 11)),
    st.tuples(st.sampled_from([Leave, "crash", "boot", "return"]), st.integers(0, 11)),
    st.tuples(st.just("run"), st.floats(0.0, 1.0)),
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.lists(STEPS, max_size=40))
def test_whoever_knows_another_is_on_one_ring_with_it_after_any_history(seed, steps):
    net = formed(12, seed)
    for what, *who in steps:
        if what == "run":
            net.run(*who)
        elif what == "crash" and who[0] in net.nodes:
            net.crash(who[0])
        elif what in ("boot", "return") and who[0] not in net.nodes:
            net.boot(who[0], net.saved[who[0]] if what == "return" else None)
        elif not isinstance(what, str) and who[0] in net.nodes and who[0] != who[-1] * (len(who) - 1):
            net.tell(who[0], what(*who[1:]))
    net.run(30 * ROUND)
    views = graph(net)
    alive = {peer: [other for other in view if other in views] for peer, view in views.items()}
    assert asymmetric(alive) == 0
    left = set(alive)
    while left:
        known = {*reach(alive, min(left))}
        assert is_ring(net, known) or known == {min(left)}
        left -= known
