"""Client-server over a network: clusters with any history, and real nodes among them."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.client_server import (
    CLIENT,
    SERVER,
    UNDEFINED,
    ClientServer,
    ClientServerConfig,
    Introduction,
    Parting,
    go_together,
)
from partisan.machines.machine import (
    Join,
    Leave,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Received,
    Send,
)

QUIET = 60.0
"""Seconds, six rounds: enough for whatever is still to be told."""


def tag_of(peer):
    """The role of a node in the clusters below, by its number."""
    return (SERVER, SERVER, SERVER, CLIENT, CLIENT, CLIENT, UNDEFINED, UNDEFINED)[peer % 8]


def build(peer, rng, restored):
    return ClientServer(peer, ClientServerConfig(tag=tag_of(peer)), rng, restored)


def routes(net):
    """The most hops from any node to any other by `next_hops`, or None if one is not reached."""
    most = 0
    for source, target in itertools.permutations(net.nodes, 2):
        front, seen, hops = [source], [source], 0
        while front:
            hops += 1
            if any(target in net.nodes[at].machine.members for at in front):
                break
            front = [n for at in front for n in net.nodes[at].machine.next_hops(target) if n not in seen]
            seen += front
        else:
            return None
        most = max(most, hops)
    return most


class Real:
    """A node of Partisan 5.0.3 as its manager is: one-sided, and crashes on what it does not know."""

    def __init__(self, peer, tag):
        self.inner = ClientServer(peer, ClientServerConfig(tag=tag), random.Random(0))

    @property
    def greeting(self):
        return self.inner.greeting

    def handle(self, event, now):
        if isinstance(event, Received):  # an extra for a name that nobody has
            assert isinstance(event.message, Introduction | Parting)
            return []
        return [e for e in self.inner.handle(event, now) if not isinstance(e, Send)]


STEPS = st.one_of(
    st.tuples(st.just("join"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("remove"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("crash"), st.integers(0, 5)),
    st.tuples(st.just("return"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("cut"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(
        st.just("heal"),
    ),
    st.tuples(st.just("run"), st.floats(0.0, 3.0)),
)


def perform(net, step):
    """Do one step of a random interleaving, if it makes sense now."""
    verb, *rest = step
    here = bool(rest) and rest[0] in net.nodes
    if verb == "run":
        net.run(rest[0])
    elif verb == "heal":
        net.heal()
    elif verb == "cut" and rest[0] != rest[1]:
        net.cut(*rest)
    elif verb == "return" and not here:
        net.boot(rest[0], net.saved.get(rest[0]) if rest[1] else None)
    elif here and verb == "join" and rest[0] != rest[1]:
        net.tell(rest[0], Join(("contact", rest[1])))
    elif here and verb in ("leave", "remove"):
        net.tell(rest[0], Leave(rest[1] if verb == "remove" else None))
    elif here and verb == "crash":
        net.crash(rest[0])


class TestClusters:
    def test_a_join_has_two_sides(self, network):
        net = network(1, build)
        net.boot(0)
        net.boot(3)
        net.tell(3, Join(("contact", 0)))
        net.run(5.0)
        assert net.nodes[0].machine.members == net.nodes[3].machine.members == (0, 3)
        net.tell(0, Leave(3))
        net.run(5.0)
        assert net.nodes[0].machine.members == (0,)
        assert net.nodes[3].machine.members == (3,)

    def test_clients_of_different_servers_reach_each_other_over_two_others(self, network):
        net = network(2, build)
        for peer in range(6):
            net.boot(peer)
        for one, other in [(0, 1), (0, 2), (1, 2), (3, 0), (4, 1), (5, 2)]:
            net.tell(one, Join(("contact", other)))
        net.run(5.0)
        assert routes(net) == 3
        assert net.nodes[0].machine.members == (0, 1, 2, 3)
        assert net.nodes[3].machine.members == (0, 3)

    @pytest.mark.parametrize("memory", [True, False])
    def test_a_server_that_comes_back_has_its_clients_again(self, network, memory):
        net = network(3, build)
        for peer in (0, 3, 4, 5):
            net.boot(peer)
        for client in (3, 4, 5):
            net.tell(client, Join(("contact", 0)))
        net.run(5.0)
        net.crash(0)
        net.run(5.0)
        assert net.nodes[3].machine.next_hops(4) == ()
        net.boot(0, net.saved[0] if memory else None)
        net.run(QUIET)
        assert net.nodes[0].machine.members == (0, 3, 4, 5)
        assert net.nodes[3].machine.next_hops(4) == (0,)

    @settings(max_examples=300, deadline=None)
    @given(seed=st.integers(0, 1000), steps=st.lists(STEPS, min_size=8, max_size=50))
    def test_after_any_history_members_know_each_other_and_have_edges(self, network, seed, steps):
        net = network(seed, build)
        for peer in range(6):
            net.boot(peer)
        for step in steps:
            perform(net, step)
        net.heal()
        net.run(2 * QUIET)
        for peer, node in net.nodes.items():
            members = node.machine.members
            assert peer in members
            living = [other for other in members if other in net.nodes and other != peer]
            assert all(peer in net.nodes[other].machine.members for other in living)
            assert sorted(other for other, edge in node.edges.items() if edge.up) == living
            assert all(go_together(tag_of(peer), tag_of(other)) for other in members if other != peer)
            assert not node.machine._invited
            assert not node.machine._parting

    @settings(max_examples=100, deadline=None)
    @given(seed=st.integers(0, 1000), steps=st.lists(STEPS, min_size=8, max_size=40))
    def test_neighbors_go_up_and_down_in_turn(self, network, seed, steps):
        net = network(seed, build)
        for peer in range(6):
            net.boot(peer)
        for step in steps:
            if step[0] != "return":
                perform(net, step)
        net.run(QUIET)
        for facts in net.facts.values():
            up = {}
            for fact in facts:
                if isinstance(fact, NeighborUp | NeighborDown):
                    assert up.get(fact.peer, False) == isinstance(fact, NeighborDown)
                    up[fact.peer] = isinstance(fact, NeighborUp)

    def test_members_are_reported_when_they_change_and_only_then(self, network):
        net = network(7, build)
        for peer in range(6):
            net.boot(peer)
            net.tell(peer, Join(("contact", 0)))
        net.run(QUIET)
        for peer, facts in net.facts.items():
            reported = [fact.members for fact in facts if isinstance(fact, MembersChanged)]
            assert reported[0] == (peer,)
            assert reported[-1] == ((0, peer) if peer else (0, 1, 2, 3, 4, 5))
            assert all(a != b for a, b in itertools.pairwise(reported))

    def test_equal_seeds_give_equal_traces(self, network):
        def digest(seed):
            net = network(seed, build)
            for peer in range(6):
                net.boot(peer)
                net.tell(peer, Join(("contact", peer % 3)))
            net.run(QUIET)
            return net.digest()

        assert digest(1) == digest(1) != digest(2)


class TestAmongRealNodes:
    @staticmethod
    def mixed(network):
        net = network(1, lambda peer, rng, saved: Real(peer, CLIENT) if peer == 3 else build(peer, rng, saved))
        for peer in (0, 3):
            net.boot(peer)
        return net

    def test_a_real_node_that_we_join_is_a_member_here_and_learns_nothing(self, network):
        net = self.mixed(network)
        net.tell(0, Join(("contact", 3)))
        net.run(QUIET)
        assert net.nodes[0].machine.members == (0, 3)
        assert net.nodes[3].machine.inner.members == (3,)
        net.tell(0, Leave(3))
        assert net.nodes[0].machine.members == (0,)

    def test_of_a_real_node_that_joins_us_we_are_a_member_and_it_is_none_here(self, network):
        net = self.mixed(network)
        net.tell(3, Join(("contact", 0)))
        net.run(QUIET)
        assert net.nodes[0].machine.members == (0,)
        assert net.nodes[3].machine.inner.members == (0, 3)

    def test_if_each_joins_the_other_both_know_each_other(self, network):
        net = self.mixed(network)
        net.tell(3, Join(("contact", 0)))
        net.tell(0, Join(("contact", 3)))
        net.run(QUIET)
        assert net.nodes[0].machine.members == net.nodes[3].machine.inner.members == (0, 3)
