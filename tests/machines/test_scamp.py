"""SCAMP: how views form, last and go, in both versions."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    GiveUp,
    Join,
    Joined,
    JoinFailed,
    Leave,
    MemberReplaced,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Removed,
    Respec,
    Retune,
    Start,
    TimedOut,
    Unreachable,
    UpdateMembers,
    Violation,
)
from partisan.machines.membership import GOSSIP_TIMER
from partisan.machines.scamp import AWAY, Heartbeat, ScampConfig, Subscription, Unsubscription
from partisan.machines.scamp_v1 import ScampV1State
from partisan.machines.scamp_v2 import Departure, Kept, Replacement, ScampV2, ScampV2State
from partisan.sim.topology import reach
from tests.machines.scamps import (
    REAL,
    VERSIONS,
    acquainted,
    all_reach_all,
    alone,
    cluster,
    holders,
    named,
    sent,
    state_of,
    views,
    violations,
)


@VERSIONS
class TestJoining:
    def test_nodes_that_join_one_by_one_reach_each_other(self, network, kind):
        for seed in range(5):
            net = cluster(network, kind, 60, seed)
            net.run(2.0)
            assert all_reach_all(net)
            assert not violations(net)

    def test_views_grow_as_the_logarithm_of_the_membership(self, network, kind):
        means = {}
        for count in (40, 240):
            net = cluster(network, kind, count, gap=0.1)
            means[count] = sum(map(len, views(net).values())) / count
        assert means[40] < means[240] < means[40] * math.log(240) / math.log(40) * 1.5
        assert 1.5 * math.log(240) < means[240] < 5 * math.log(240)

    def test_two_nodes_have_each_other(self, network, kind):
        net = cluster(network, kind, 2, gap=1.0)
        assert [node.machine.members for node in net.nodes.values()] == [(0, 1), (0, 1)]
        assert Joined(("contact", 0), 0) in net.facts[1]

    def test_a_small_cluster_stays_one_when_the_contact_of_all_leaves(self, network, kind):
        for seed in range(60):
            net = cluster(network, kind, 1, seed, copies=2, period=1.0)
            for peer in range(1, 12):
                net.boot(peer)
                net.tell(peer, Join(("contact", 0)))
                net.run(0.05)
            net.run(1.0)
            net.tell(0, Leave())
            net.run(5.0)
            graph = {peer: view for peer, view in views(net).items() if peer != 0}
            assert [len(reach(graph, peer)) for peer in graph] == [11] * 11, seed
            assert net.nodes[0].machine.members == (0,)

    def test_who_joins_again_at_once_takes_its_farewells_back(self, network, kind):
        machine = acquainted(kind, 1, 2)
        if kind is ScampV2:
            machine.handle(Received(1, Kept(1)), 1.0)
        machine.handle(Disconnected(1, "closed"), 1.0)
        machine.handle(Leave(), 2.0)
        machine.handle(Join(2), 2.1)
        machine.handle(Connected(2, 2, state_of(kind, 2, alone(kind, 2).actor)), 2.2)
        assert machine.view == (2,)
        assert not sent(machine.handle(Connected(1, 1, state_of(kind, 1, alone(kind, 1).actor)), 2.3))

    def test_who_still_has_many_when_somebody_leaves_looks_for_nobody(self, network, kind):
        for peers, looks in (((1, 2, 3), True), ((1, 2, 3, 4), False)):
            machine = acquainted(kind, *peers, copies=2)
            machine.handle(Connected(2, 2, state_of(kind, 2, alone(kind, 2).actor, (7, 8))), 1.0)
            machine.handle(Received(1, Unsubscription(1)), 1.0)
            rounds = [machine.handle(TimedOut(GOSSIP_TIMER), now) for now in (2.0, 3.0, 4.0)]
            assert [Connect(7) in rounds[0], Connect(8) in rounds[1]] == [looks, looks]
            assert [bool(sent(effects, Subscription)) for effects in rounds] == [looks, looks, False]

    def test_two_clusters_become_one(self, network, kind):
        net = cluster(network, kind, 40)
        for peer in range(20):
            net.crash(peer)
        for peer in range(20):
            net.boot(100 + peer)
            if peer:
                net.tell(100 + peer, Join(("contact", 99 + peer)))
            net.run(0.2)
        net.tell(100, Join(("contact", 30)))
        net.run(2.0)
        graph = views(net)
        assert max(graph) > 100
        assert len(reach(graph, 119)) == len(graph) == 40

    def test_a_contact_multiplies_a_subscription_that_its_subscriber_sends(self, network, kind):
        machine = acquainted(kind, 1, 2, copies=4)
        effects = machine.handle(Received(9, Subscription(9)), 1.0)
        copies = sent(effects, Subscription)
        assert len(copies) == 2 + 4
        assert {peer for peer, _ in copies} == {1, 2}
        assert {message for _, message in copies} == {Subscription(9)}
        assert 9 not in machine.view

    def test_nodes_that_join_at_once_do_not_depend_on_their_contact(self, network, kind):
        config = ScampConfig(name=named, lease=math.inf)
        for seed in range(5):
            net = network(seed, lambda peer, rng, restored: kind(peer, config, rng, restored))
            for peer in range(40):
                net.boot(peer)
            for peer in range(1, 40):
                net.tell(peer, Join(("contact", 0)))
            net.run(12.0)
            net.crash(0)
            graph = views(net)
            assert all(len({*reach(graph, peer)} - {0}) == 39 for peer in graph)

    def test_who_was_kept_while_nobody_else_was_up_is_multiplied_in_a_round(self, network, kind):
        machine = alone(kind, copies=2, lease=math.inf)
        for peer in (1, 2, 3, 4):
            assert not sent(machine.handle(Received(peer, Subscription(peer)), 1.0), Subscription)
        assert machine.view == (1, 2, 3, 4)
        assert not sent(machine.handle(TimedOut(GOSSIP_TIMER), 10.0), Subscription), "nobody is up"
        for peer in (1, 2, 3):
            machine.handle(Connected(peer, peer, state_of(kind, peer)), 11.0)
        machine.handle(Received(4, Unsubscription(4)), 11.0)
        copies = sent(machine.handle(TimedOut(GOSSIP_TIMER), 20.0), Subscription)
        told = {who: [peer for peer, message in copies if message.subscriber == who] for who in (1, 2, 3, 4)}
        assert {who: len(peers) for who, peers in told.items()} == {1: 4, 2: 4, 3: 4, 4: 0}
        assert all(who not in peers for who, peers in told.items())
        assert not sent(machine.handle(TimedOut(GOSSIP_TIMER), 30.0), Subscription)

    def test_it_multiplies_those_of_one_node_once_in_half_a_lease(self, network, kind):
        machine = acquainted(kind, 1, 2, copies=4, lease=100.0)
        machine.handle(Received(9, Subscription(9)), 1.0)
        for now in (2.0, 50.0):
            assert len(sent(machine.handle(Received(9, Subscription(9)), now), Subscription)) <= 1
        assert len(sent(machine.handle(Received(9, Subscription(9)), 51.1), Subscription)) == 6

    def test_a_subscription_before_the_connection_has_said_a_name_is_taken_for_its_subscribers(self, network, kind):
        machine = acquainted(kind, 1, 2, copies=4)
        assert len(sent(machine.handle(Received(None, Subscription(9)), 1.0), Subscription)) == 6

    def test_a_copy_under_way_is_kept_with_a_chance_that_falls_with_the_view(self, network, kind):
        def kept(size):
            count = 0
            for seed in range(300):
                machine = kind(0, ScampConfig(name=named), random.Random(seed))
                machine.handle(Start(), 0.0)
                for peer in range(1, size + 1):
                    machine.handle(Join(peer), 0.0)
                    machine.handle(Connected(peer, peer, state_of(kind, peer)), 0.0)
                effects = machine.handle(Received(1, Subscription(99)), 1.0)
                assert (99 in machine.view) != bool(sent(effects, Subscription))
                count += 99 in machine.view
            return count / 300

        assert kept(1) == pytest.approx(1 / 2, abs=0.1)
        assert kept(9) == pytest.approx(1 / 10, abs=0.06)

    def test_a_copy_of_somebody_who_is_known_goes_on_and_dies_out(self, network, kind):
        machine = acquainted(kind, 1, 2, 3, most_passed=4)
        passed = [sent(machine.handle(Received(2, Subscription(1)), 1.0), Subscription) for _ in range(10)]
        assert [len(each) for each in passed] == [1] * 4 + [0] * 6
        assert all(peer != 1 for each in passed for peer, _ in each)
        machine.handle(TimedOut(GOSSIP_TIMER), 10.0)
        assert sent(machine.handle(Received(2, Subscription(1)), 11.0), Subscription)

    def test_a_full_view_refuses_and_says_so(self, network, kind):
        machine = acquainted(kind, 1, 2, max_members=3)
        for peer in (1, 2):
            machine.handle(Disconnected(peer, "closed"), 1.0)
        effects = machine.handle(Received(9, Subscription(9)), 1.0)
        assert [type(effect.fact) for effect in effects if type(effect) is Notify] == [Violation]
        assert machine.view == (1, 2)

    def test_an_update_of_the_members_makes_a_node_join_only_if_it_is_alone(self, network, kind):
        machine = alone(kind)
        assert machine.handle(UpdateMembers((0, 6, 5)), 1.0) == [Connect(5)]
        assert machine.handle(UpdateMembers((0, 6, 5)), 1.0) == []
        machine = acquainted(kind, 1)
        assert machine.handle(UpdateMembers((0, 5, 6)), 1.0) == []
        machine.handle(UpdateMembers((5, 6)), 1.0)
        assert machine.view == ()

    def test_an_update_of_the_members_does_not_make_a_node_join_whose_members_are_where_they_were(self, network, kind):
        machine = acquainted(kind, 1)
        machine.handle(Disconnected(1, "closed"), 1.0)
        assert machine.handle(UpdateMembers((0, 1, 5)), 2.0) == []

    def test_another_contact_is_joined_at_the_next_update_when_one_has_failed(self, network, kind):
        machine = alone(kind)
        machine.handle(UpdateMembers((0, 6, 5)), 1.0)
        machine.handle(Unreachable(5, "refused"), 1.0)
        assert machine.handle(UpdateMembers((0, 6, 5)), 1.0) == [Connect(6)]
        assert machine.handle(UpdateMembers((0, 6, 5)), 1.0) == []
        machine.handle(Unreachable(6, "refused"), 1.0)
        assert machine.handle(UpdateMembers((0, 6, 5)), 1.0) == [], "both are dialled"

    def test_a_contact_that_an_update_does_not_name_any_more_is_given_up(self, network, kind):
        machine = alone(kind)
        machine.handle(UpdateMembers((0, 5)), 1.0)
        effects = machine.handle(UpdateMembers((0, 6)), 1.0)
        assert [effect.fact for effect in effects if type(effect) is Notify] == [JoinFailed(5, "left")]
        assert [effect.peer for effect in effects if type(effect) is Disconnect] == [5]
        assert [effect.peer for effect in effects if type(effect) is Connect] == [6]


@VERSIONS
class TestRounds:
    def test_everybody_in_view_hears_a_heartbeat_in_every_round(self, network, kind):
        machine = acquainted(kind, 1, 2)
        assert sent(machine.handle(TimedOut(GOSSIP_TIMER), 10.0), Heartbeat) == [(1, Heartbeat(0)), (2, Heartbeat(0))]

    def test_who_hears_none_for_long_subscribes_again_and_who_hears_one_does_not(self, network, kind):
        for silent in (True, False):
            machine = acquainted(kind, 1, 2, silence=3, lease=1e6)
            again = []
            for now in (10.0, 20.0, 30.0, 40.0):
                if not silent:
                    machine.handle(Received(7, Heartbeat(7)), now)
                again += sent(machine.handle(TimedOut(GOSSIP_TIMER), now + 0.1), Subscription)
            assert [message for _, message in again] == [Subscription(0)] * silent * 2

    def test_without_rounds_nobody_is_isolated(self, network, kind):
        machine = acquainted(kind, 1, 2, fanout=0)
        assert not sent(machine.handle(TimedOut(GOSSIP_TIMER), 1000.0))

    def test_an_isolated_node_is_found_again(self, network, kind):
        net = cluster(network, kind, 30, copies=2)
        victim = 17
        for peer in holders(net, victim):
            net.nodes[peer].machine.handle(Received(victim, Unsubscription(victim)), net.now)
            net.nodes[peer].edges.pop(victim, None)
        assert not holders(net, victim)
        net.run(60.0)
        assert holders(net, victim)

    def test_a_subscription_ends_with_its_lease_unless_it_is_renewed(self, network, kind):
        machine = acquainted(kind, 1, 2, lease=100.0)
        machine.handle(Received(1, Subscription(1)), 60.0)  # goes on to 2
        machine.handle(TimedOut(GOSSIP_TIMER), 99.0)
        assert machine.view == (1, 2)
        effects = machine.handle(TimedOut(GOSSIP_TIMER), 100.0)
        assert machine.view == (2,)  # whoever is up last stays
        assert Disconnect(1, "expired", both=False) in effects

    def test_who_died_is_forgotten_when_the_lease_ends_and_the_living_are_not(self, network, kind):
        net = cluster(network, kind, 40, lease=60.0)
        for peer in range(30, 40):
            net.crash(peer)
        net.run(200.0)
        graph = views(net)
        assert all(peer < 30 for view in graph.values() for peer in view)
        assert all_reach_all(net)
        assert all(holders(net, peer) for peer in graph)
        assert not violations(net)

    def test_parts_that_were_apart_for_longer_than_a_lease_find_each_other(self, network, kind):
        for apart in (1, 10):
            net = cluster(network, kind, 20, lease=60.0)
            for peer in range(apart):
                for other in range(apart, 20):
                    net.cut(peer, other)
            net.run(150.0)
            assert len(reach(views(net), 0)) == apart
            net.heal()
            net.run(100.0)
            assert all_reach_all(net)
            assert not violations(net)

    def test_who_was_missed_is_dialled_in_turns_and_joined_when_it_answers(self, network, kind):
        machine = acquainted(kind, 1, 2, lease=30.0)
        for peer in (1, 2):
            machine.handle(Disconnected(peer, "closed"), 1.0)
        rounds = [machine.handle(TimedOut(GOSSIP_TIMER), now) for now in (30.0, 40.0, 50.0, 60.0)]
        assert machine.members == (0,)
        dialled = [[effect.peer for effect in effects if type(effect) is Connect] for effects in rounds]
        assert [peers[-1:] for peers in dialled] == [[1], [2], [1], [2]]
        effects = machine.handle(Connected(2, 2, alone(kind, 2).greeting), 61.0)
        assert machine.members == (0, 2)
        assert sent(effects, Subscription) == [(2, Subscription(0))]
        assert 1 in [effect.peer for effect in machine.handle(TimedOut(GOSSIP_TIMER), 100.0) if type(effect) is Connect]

    def test_who_has_nobody_dials_those_whom_its_last_peer_had(self, network, kind):
        machine = alone(kind)
        machine.handle(Join(1), 0.0)
        machine.handle(Connected(1, 1, state_of(kind, 1, alone(kind, 1).actor, view=(5, 0))), 0.0)
        assert not [each for each in machine.handle(TimedOut(GOSSIP_TIMER), 10.0) if type(each) is Connect]
        machine.handle(Received(1, Unsubscription(1)), 11.0)
        assert Connect(5) in machine.handle(TimedOut(GOSSIP_TIMER), 20.0)
        effects = machine.handle(Connected(5, 5, state_of(kind, 5, alone(kind, 5).actor)), 21.0)
        assert machine.members == (0, 5)
        assert sent(effects, Subscription) == [(5, Subscription(0))]

    def test_who_left_is_not_drawn_back_by_whom_it_tells(self, network, kind):
        net = cluster(network, kind, 6, gap=0.05, copies=2, period=0.3)
        net.run(5.0)
        net.tell(0, Leave())
        net.run(10.0)
        assert net.nodes[0].machine.members == (0,)
        assert not holders(net, 0)

    def test_who_left_unheard_is_not_drawn_back_and_who_is_said_to_have_left_is_not_dialled(self, network, kind):
        gone = acquainted(kind, 9, me=1)
        gone.handle(Leave(), 1.0)
        machine = acquainted(kind, 1, lease=30.0)
        machine.handle(Disconnected(1, "closed"), 1.0)
        machine.handle(TimedOut(GOSSIP_TIMER), 30.0)
        effects = machine.handle(Connected(1, 1, gone.greeting), 31.0)
        assert not sent(effects)
        assert [effect.peer for effect in effects if type(effect) is Disconnect] == [1]
        assert not [each for each in machine.handle(TimedOut(GOSSIP_TIMER), 40.0) if type(each) is Connect]
        machine = acquainted(kind, 1, lease=30.0)
        machine.handle(Disconnected(1, "closed"), 1.0)
        machine.handle(TimedOut(GOSSIP_TIMER), 30.0)
        machine.handle(Received(3, Unsubscription(1)), 31.0)
        machine.handle(Connected(1, 1, alone(kind, 1).greeting), 32.0)
        assert machine.members == (0,)
        assert not [each for each in machine.handle(TimedOut(GOSSIP_TIMER), 40.0) if type(each) is Connect]

    def test_a_node_that_restarts_with_its_memory_has_its_view(self, network, kind):
        net = cluster(network, kind, 20)
        before = net.nodes[9].machine.view
        net.crash(9)
        net.boot(9, net.saved[9])
        assert sorted(net.nodes[9].machine.view) == sorted(before)
        net.run(30.0)
        assert all_reach_all(net)

    def test_a_node_that_restarts_without_memory_is_found_by_those_who_have_it(self, network, kind):
        net = cluster(network, kind, 20, copies=2)
        assert holders(net, 9)
        net.crash(9)
        net.run(1.0)
        net.boot(9)
        assert net.nodes[9].machine.view == ()
        net.run(60.0)
        assert net.nodes[9].machine.view
        assert all_reach_all(net)

    def test_options_may_change(self, network, kind):
        machine = acquainted(kind, 1, 2, copies=1)
        machine.handle(Retune(ScampConfig(name=named, copies=7)), 1.0)
        assert len(sent(machine.handle(Received(9, Subscription(9)), 1.0), Subscription)) == 9


@VERSIONS
class TestLeaving:
    def test_who_leaves_is_alone_and_nobody_has_it(self, network, kind):
        net = cluster(network, kind, 30)
        net.tell(11, Leave())
        net.run(15.0)
        machine = net.nodes[11].machine
        assert machine.members == (11,)
        assert machine.actor.startswith(AWAY)
        assert not net.nodes[11].edges
        assert holders(net, 11) == []
        del net.nodes[11]
        assert all_reach_all(net)

    def test_who_left_can_join_again(self, network, kind):
        net = cluster(network, kind, 20)
        net.tell(11, Leave())
        net.run(15.0)
        net.tell(11, Join(("contact", 3)))
        net.run(15.0)
        assert holders(net, 11)
        assert not net.nodes[11].machine.is_away
        assert all_reach_all(net)

    def test_who_is_made_to_leave_is_told_and_alone(self, network, kind):
        net = cluster(network, kind, 20)
        victim = net.nodes[5].machine.view[0]
        net.tell(5, Leave(victim))
        net.run(15.0)
        assert Removed("removed") in net.facts[victim]
        assert net.nodes[victim].machine.view == ()
        assert holders(net, victim) == []

    def test_others_can_join_through_who_left(self, network, kind):
        net = cluster(network, kind, 3)
        net.tell(1, Leave())
        net.run(15.0)
        net.boot(9)
        net.tell(9, Join(("contact", 1)))
        net.run(1.0)
        assert net.nodes[1].machine.members == (1, 9)
        assert not net.nodes[1].machine.is_away

    def test_real_nodes_do_not_draw_back_who_left_them(self, network, kind):
        machine = acquainted(kind, 1, actor=REAL)
        machine.handle(Leave(), 1.0)
        for message in (Subscription(1), Heartbeat(1), Subscription(5)):
            assert not sent(machine.handle(Received(1, message), 2.0))
            assert machine.members == (0,)
        machine.handle(Join(1), 3.0)
        machine.handle(Connected(1, 1, state_of(kind, 1, REAL)), 3.0)
        assert machine.members == (0, 1)

    def test_another_value_of_ones_name_is_told_and_taken(self, network, kind):
        here, there, moved = (0, "a"), (1, "a"), (0, "b")
        machine = acquainted(kind, there, me=here)
        effects = machine.handle(Respec(moved), 1.0)
        assert (there, Heartbeat(moved)) in sent(effects)
        assert machine.members == (moved, there)
        other = acquainted(kind, here, me=there)
        facts = [e.fact for e in other.handle(Received(here, Heartbeat(moved)), 1.0) if type(e) is Notify]
        assert MemberReplaced(here, moved) in facts
        assert other.view == (moved,)


PEERS = st.one_of(st.integers(0, 7), st.sampled_from(["x", None, (1, "a"), (3,)]))
MESSAGES = st.one_of(
    st.builds(Subscription, PEERS),
    st.builds(Unsubscription, PEERS),
    st.builds(Heartbeat, PEERS),
    st.builds(Kept, PEERS),
    st.builds(Departure, PEERS),
    st.builds(Replacement, PEERS, PEERS),
    st.integers(),
)
ACTORS = st.sampled_from([b"", REAL, AWAY + b"1" * 8, b"\xffpartisan_py" + b"1" * 8])
STATES = st.one_of(
    st.none(),
    st.builds(ScampV1State, ACTORS, st.lists(PEERS, max_size=3).map(tuple)),
    st.builds(ScampV2State, PEERS, ACTORS, st.lists(PEERS, max_size=3).map(tuple), st.just(())),
)
EVENTS = st.one_of(
    st.builds(Received, st.one_of(st.none(), st.integers(0, 7)), MESSAGES),
    st.builds(Received, st.integers(1, 7), MESSAGES),
    st.builds(Connected, st.integers(0, 7), st.integers(0, 7), STATES),
    st.integers(1, 7).map(lambda peer: Connected(peer, peer, None)),
    st.builds(Disconnected, st.integers(0, 7), st.just("closed")),
    st.builds(Join, st.integers(0, 7)),
    st.builds(GiveUp, st.integers(0, 7)),
    st.builds(Leave, st.one_of(st.none(), st.integers(0, 7))),
    st.builds(UpdateMembers, st.lists(st.integers(0, 7), max_size=3).map(tuple)),
    st.just(TimedOut(GOSSIP_TIMER)),
)


class Watch:
    """Checks after every event what must hold."""

    def __init__(self, machine, most):
        self.machine, self.most = machine, most
        self.edges, self.up, self.members = {}, {}, None

    def __call__(self, effects):
        for effect in effects:
            if type(effect) is Connect:
                self.edges[effect.peer] = None
            elif type(effect) is Disconnect:
                self.edges.pop(effect.peer, None)
            elif type(effect) is Notify:
                self.hear(effect.fact)
        machine = self.machine
        names = [named(peer) for peer in machine.view]
        assert 0 not in names
        assert len(set(names)) == len(names) < self.most
        assert machine.members == tuple(sorted([*machine.view, machine.myself]))
        assert set(machine.view) <= set(self.edges)
        assert len(self.edges) <= 7
        assert set(self.up) <= set(machine.view)

    def hear(self, fact):
        if type(fact) is NeighborUp:
            assert fact.peer not in self.up
            self.up[fact.peer] = None
        elif type(fact) is NeighborDown:
            del self.up[fact.peer]
        elif type(fact) is MembersChanged:
            assert fact.members != self.members
            self.members = fact.members


@VERSIONS
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 99), events=st.lists(st.tuples(EVENTS, st.floats(0.0, 20.0)), max_size=40))
def test_whatever_happens_views_stay_sound(kind, seed, events):
    config = ScampConfig(name=named, lease=50.0, copies=2, max_members=5)
    machine = kind(0, config, random.Random(seed))
    watch = Watch(machine, 5)
    now = 0.0
    watch(machine.handle(Start(), now))
    for event, after in events:
        now += after
        if type(event) is Connected and event.contact not in watch.edges:
            continue
        if type(event) is Connected and event.contact != event.peer:
            watch.edges.pop(event.contact)
            watch.edges[event.peer] = None
        watch(machine.handle(event, now))
    state = machine.greeting
    restored = kind(0, config, random.Random(1), state)
    assert restored.members == machine.members
    assert len(machine._passed) <= 5 >= len(machine._spread)
    assert not machine._missed.keys() & machine._named.keys()
    assert 0 not in [*machine._missed, *machine._told]
