"""X-BOT, step by step and in clusters: links become cheaper, degrees and symmetry stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from partisan.machines.hyparview import (
    EDGE_TIMER,
    Declined,
    Farewell,
    HyParView,
    HyParViewConfig,
)
from partisan.machines.machine import (
    Disconnect,
    Disconnected,
    Join,
    Leave,
    NeighborDown,
    NeighborUp,
    Retune,
    Send,
    StartTimer,
    StopTimer,
    TimedOut,
    Unreachable,
    Violation,
)
from partisan.machines.xbot import (
    SWAP_TIMER,
    XBOT_TIMER,
    Optimization,
    OptimizationReply,
    Replace,
    ReplaceReply,
    RoundTrip,
    Switch,
    SwitchReply,
)
from partisan.sim import topology
from tests.machines.lone import US, Lone, active_views

OTHERS = (Optimization, OptimizationReply, Replace, ReplaceReply, Switch, SwitchReply)


def cost(peer):
    """A peer is as far away as its number says; of those from 1000 on nothing is known."""
    return float(peer) if peer < 1000 else None


def node(*friends, oracle=cost, **options):
    """A node with a full view of which the first neighbor is not biased."""
    options = {"active_max_size": len(friends) + 1, "xbot": True, **options}
    return Lone(oracle=oracle, **options).befriend(*friends)


class TestTheInitiator:
    def propose(self, **options):
        made = node(1, 50, 40, **options).know(10)
        made.do(TimedOut(XBOT_TIMER))
        made.up(10)
        return made

    def test_it_proposes_to_a_nearer_peer_to_take_the_place_of_its_farthest_neighbor(self):
        made = node(1, 40, 50).know(10)
        made.do(TimedOut(XBOT_TIMER))
        assert next(e.after for e in made.effects if isinstance(e, StartTimer)) == pytest.approx(10.0, abs=5.0)
        assert made.connects() == [10]
        made.up(10)
        assert made.sent() == [(10, Optimization(None, 50, US, 10, None))]
        assert made.machine.active == (1, 40, 50)

    def test_when_all_have_agreed_the_old_one_goes_without_a_word(self):
        made = self.propose()
        made.hear(10, OptimizationReply(True, 50, US, 10, 60))
        assert made.machine.active == (1, 40, 10)
        assert 50 in made.machine.passive
        assert made.disconnects() == [50]
        assert not made.sent()
        assert made.facts(NeighborDown | NeighborUp) == [NeighborDown(50, "swapped"), NeighborUp(10)]
        assert StopTimer(SWAP_TIMER) in made.effects

    def test_when_the_candidate_had_room_the_old_one_is_told_farewell(self):
        made = self.propose()
        made.hear(10, OptimizationReply(True, 50, US, 10, None))
        assert made.machine.active == (1, 40, 10)
        assert made.sent() == [(50, Farewell(US, (1, 1)))]

    def test_a_refusal_changes_nothing(self):
        made = self.propose()
        made.hear(10, OptimizationReply(False, 50, US, 10, 60))
        assert made.machine.active == (1, 50, 40)
        assert made.disconnects() == [10]
        assert 10 in made.machine.passive

    def test_a_swap_that_takes_too_long_is_given_up_and_an_agreement_that_comes_then_is_taken_back(self):
        made = self.propose()
        made.do(TimedOut(SWAP_TIMER))
        assert made.disconnects() == [10]
        made.hear(10, OptimizationReply(True, 50, US, 10, 60))
        made.up(10)
        assert made.sent() == [(10, Farewell(US, (1, 1)))]
        assert made.machine.active == (1, 50, 40)

    @pytest.mark.parametrize("event", [Disconnected(10, "closed"), TimedOut((EDGE_TIMER, 10))])
    def test_a_candidate_that_is_lost_ends_the_swap(self, event):
        made = self.propose()
        made.do(event)
        assert StopTimer(SWAP_TIMER) in made.effects
        assert made.disconnects() == [10]
        made.know(11)
        made.do(TimedOut(XBOT_TIMER))
        assert len(made.connects()) == 1  # the next

    def test_the_answer_of_another_swap_is_not_taken(self):
        made = self.propose()
        made.hear(10, OptimizationReply(True, 40, US, 10, 60))
        assert made.machine.active == (1, 50, 40)

    @pytest.mark.parametrize(
        ("friends", "known", "options"),
        [
            ((1, 50), (60,), {}),  # farther
            ((90, 50), (60,), {}),  # the farthest is not biased
            ((1, 50), (1000,), {}),  # nothing is known of it
            ((1, 1000), (10,), {}),  # nothing is known of the neighbor
            ((1, 50), (10,), {"active_max_size": 4}),  # there is room
            ((1, 50), (10,), {"xbot_unbiased": 2}),
        ],
    )
    def test_it_proposes_nothing_if_nothing_is_to_be_gained(self, friends, known, options):
        made = node(*friends, **options).know(*known)
        made.do(TimedOut(XBOT_TIMER))
        assert not made.connects()

    def test_who_holds_a_reserved_place_is_not_exchanged(self):
        made = Lone(oracle=cost, xbot=True, active_max_size=3, reservations=("blue",)).befriend(1)
        made.befriend(50, tag="blue").know(10)
        assert made.machine.reserved("blue") == 50
        made.do(TimedOut(XBOT_TIMER))
        assert not made.connects()

    def test_it_takes_part_in_one_swap_at_a_time(self):
        made = self.propose()
        made.know(11)
        made.do(TimedOut(XBOT_TIMER))
        assert not made.connects()
        made.hear(50, Replace(None, 5, 70, 50, US))
        assert made.sent() == [(50, ReplaceReply(False, 5, 70, 50, US))]


class TestTheCandidate:
    ASKED = Optimization(None, 99, 30, US, None)

    def test_with_room_it_takes_the_initiator_in(self):
        made = node(1, active_max_size=3)
        made.hear(30, self.ASKED)
        assert made.connects() == [30]
        made.up(30)
        assert made.sent() == [(30, OptimizationReply(True, 99, 30, US, None))]
        assert made.machine.active == (1, 30)

    def test_without_room_it_asks_its_farthest_neighbor_to_be_replaced_once_the_initiator_is_reached(self):
        made = node(1, 50, 40)
        made.hear(30, self.ASKED)
        assert not made.sent()
        made.up(30)
        assert made.sent() == [(50, Replace(None, 99, 30, US, 50))]
        assert made.machine.active == (1, 50, 40)
        made.hear(50, ReplaceReply(True, 99, 30, US, 50))
        assert made.machine.active == (1, 40, 30)
        assert made.sent() == [(30, OptimizationReply(True, 99, 30, US, 50))]
        assert made.disconnects() == [50]

    def test_the_old_one_is_not_the_one_that_is_replaced(self):
        made = node(1, 50, 40)
        made.hear(30, Optimization(None, 50, 30, US, None))
        made.up(30)
        assert made.sent() == [(40, Replace(None, 50, 30, US, 40))]

    def test_it_refuses_if_its_neighbor_does(self):
        made = node(1, 50)
        made.hear(30, self.ASKED)
        made.up(30)
        made.hear(50, ReplaceReply(False, 99, 30, US, 50))
        assert made.sent() == [(30, OptimizationReply(False, 99, 30, US, 50))]
        assert made.machine.active == (1, 50)
        assert made.disconnects() == [30]

    def test_it_refuses_if_its_neighbor_takes_too_long(self):
        made = node(1, 50)
        made.hear(30, self.ASKED)
        made.up(30)
        made.do(TimedOut(SWAP_TIMER))
        assert made.sent() == [(30, OptimizationReply(False, 99, 30, US, 50))]
        made.hear(50, ReplaceReply(True, 99, 30, US, 50))
        assert made.machine.active == (1, 50)
        assert not made.sent()

    def test_it_refuses_without_a_neighbor_to_give_up(self):
        made = node(1)
        made.hear(30, self.ASKED)
        made.up(30)
        assert made.sent() == [(30, OptimizationReply(False, 99, 30, US, None))]

    def test_it_refuses_a_neighbor(self):
        made = node(1, 30)
        made.hear(30, self.ASKED)
        assert made.sent() == [(30, OptimizationReply(False, 99, 30, US, None))]
        assert made.machine.active == (1, 30)


class TestTheDisconnect:
    def ask(self, old=20):
        made = node(1, 50)
        made.hear(50, Replace(None, old, 70, 50, US))
        made.up(old)
        return made

    def test_it_asks_the_old_one_to_be_its_neighbor_if_that_is_nearer_than_the_candidate(self):
        made = self.ask()
        assert made.sent() == [(20, Switch(None, 20, 70, 50, US))]
        made.hear(20, SwitchReply(True, 20, 70, 50, US))
        assert made.machine.active == (1, 20)
        told = Send(50, ReplaceReply(True, 20, 70, 50, US))
        assert made.effects.index(told) < made.effects.index(Disconnect(50, "swapped"))

    @pytest.mark.parametrize("old", [60, 1000])
    def test_it_refuses_if_it_is_not(self, old):
        made = self.ask(old)
        assert made.sent() == [(50, ReplaceReply(False, old, 70, 50, US))]
        assert made.disconnects() == [old]

    def test_it_refuses_if_the_old_one_does_or_cannot_be_reached(self):
        made = self.ask()
        made.hear(20, SwitchReply(False, 20, 70, 50, US))
        assert made.sent() == [(50, ReplaceReply(False, 20, 70, 50, US))]
        assert made.machine.active == (1, 50)
        made.hear(50, Replace(None, 21, 70, 50, US))
        made.do(Unreachable(21, "refused"))
        assert made.sent() == [(50, ReplaceReply(False, 21, 70, 50, US))]

    def test_it_is_replaced_by_a_neighbor_alone(self):
        made = node(1, 50)
        made.hear(60, Replace(None, 20, 70, 60, US))
        made.up(60)
        assert made.sent() == [(60, ReplaceReply(False, 20, 70, 60, US))]

    def test_an_old_one_that_has_it_as_a_neighbor_too_late_is_told(self):
        made = self.ask()
        made.do(TimedOut(SWAP_TIMER))
        made.hear(20, SwitchReply(True, 20, 70, 50, US))
        made.up(20)
        assert made.sent() == [(20, Farewell(US, (1, 1)))]
        assert made.machine.active == (1, 50)


class TestTheOldOne:
    def test_it_drops_the_initiator_without_a_word_once_the_disconnect_is_reached(self):
        made = node(1, 50)
        made.hear(20, Switch(None, US, 50, 70, 20))
        assert made.machine.active == (1, 50)
        made.up(20)
        assert made.machine.active == (1, 20)
        assert made.sent() == [(20, SwitchReply(True, US, 50, 70, 20))]
        assert made.disconnects() == [50]

    @pytest.mark.parametrize("initiator", [1, 60])  # not biased, no neighbor
    def test_it_refuses_if_the_initiator_is_no_neighbor_that_may_be_exchanged(self, initiator):
        made = node(1, 50)
        made.hear(20, Switch(None, US, initiator, 70, 20))
        made.up(20)
        assert made.sent() == [(20, SwitchReply(False, US, initiator, 70, 20))]
        assert made.machine.active == (1, 50)

    def test_an_initiator_that_has_gone_meanwhile_is_not_exchanged(self):
        made = node(1, 50, 40)
        made.hear(20, Switch(None, US, 50, 70, 20))
        made.do(Disconnected(50, "closed"))
        made.up(20)
        assert made.sent(SwitchReply) == [(20, SwitchReply(False, US, 50, 70, 20))]


class TestRoundTrips:
    def test_without_an_oracle_the_candidate_is_reached_and_its_round_trip_awaited(self):
        made = node(1, 50, oracle=None).know(10)
        for peer, seconds in ((1, 0.9), (50, 0.5)):
            made.do(RoundTrip(peer, seconds))
        made.do(TimedOut(XBOT_TIMER))
        assert made.connects() == [10]
        made.up(10)
        assert not made.sent()
        assert not made.disconnects()
        made.do(RoundTrip(10, 0.1))
        assert made.sent() == [(10, Optimization(None, 50, US, 10, None))]

    def test_a_candidate_that_is_farther_is_let_go(self):
        made = node(1, 50, oracle=None).know(10)
        made.do(RoundTrip(50, 0.5))
        made.do(TimedOut(XBOT_TIMER))
        made.up(10)
        made.do(RoundTrip(10, 0.6))
        assert not made.sent()
        assert made.disconnects() == [10]

    def test_the_disconnect_waits_for_that_of_the_old_one(self):
        made = node(1, 50, oracle=None)
        made.do(RoundTrip(50, 0.5))
        made.hear(50, Replace(None, 20, 70, 50, US))
        made.up(20)
        assert not made.sent()
        made.do(RoundTrip(20, 0.1))
        assert made.sent() == [(20, Switch(None, 20, 70, 50, US))]

    def test_a_round_trip_that_never_comes_ends_the_swap(self):
        made = node(1, 50, oracle=None).know(10)
        made.do(TimedOut(XBOT_TIMER))
        made.up(10)
        made.do(TimedOut(SWAP_TIMER))
        assert made.disconnects() == [10]


class TestBadInput:
    @pytest.mark.parametrize("kind", OTHERS)
    def test_without_xbot_a_step_is_declined(self, kind):
        made = Lone().befriend(1)
        made.hear(1, kind(None, 1, 2, 3, 4))
        assert made.facts() == [Declined(1, kind.__name__)]

    @pytest.mark.parametrize("kind", OTHERS)
    @pytest.mark.parametrize(
        "parts", [(1, 2, 3, 4), (US, US, US, US), ("1", 2, US, 4), (1, None, US, 4), (1, 1, US, 1)]
    )
    @pytest.mark.parametrize("answer", [None, True, 1])
    def test_a_step_that_is_forged_or_none_is_a_violation(self, kind, parts, answer):
        made = node(1, 50)
        made.hear(9, kind(answer, *parts))
        assert [type(fact) for fact in made.facts()] == [Violation]
        assert not made.sent()
        assert not made.connects()

    def test_one_that_is_for_somebody_else_or_has_the_wrong_answer_is_a_violation(self):
        for message in (
            Optimization(None, 99, 30, 31, None),
            Optimization(True, 99, 30, US, None),
            Switch(None, US, 50, 70, None),
            OptimizationReply(None, 50, US, 30, 60),
        ):
            made = node(1, 50)
            made.hear(30, message)
            assert [type(fact) for fact in made.facts()] == [Violation], message

    def test_steps_from_many_strangers_open_few_edges_and_cost_no_neighbor(self):
        made = node(1, 50, 40, most_edges=10)
        for peer in range(200, 1200):
            made.hear(peer, Optimization(None, 99, peer, US, None))
            made.hear(peer, Switch(None, US, 50, 70, peer))
        assert len(made.machine._edges) <= 13
        assert made.machine.active == (1, 50, 40)

    def test_one_who_has_left_takes_no_part(self):
        made = node(1, 50).know(10)
        made.do(TimedOut(XBOT_TIMER))
        made.do(Leave())
        assert StopTimer(SWAP_TIMER) in made.effects
        made.hear(30, Optimization(None, 99, 30, US, None))
        made.up(30)
        assert made.sent() == [(30, OptimizationReply(False, 99, 30, US, None))]


def test_it_can_be_switched_on_and_off():
    made = Lone(oracle=cost, active_max_size=3).befriend(1, 50).know(10)
    made.do(TimedOut(XBOT_TIMER))
    assert not made.connects()
    on = HyParViewConfig(active_max_size=3, xbot=True)
    made.do(Retune(on))
    assert any(isinstance(effect, StartTimer) and effect.timer == XBOT_TIMER for effect in made.effects)
    made.do(TimedOut(XBOT_TIMER))
    assert made.connects() == [10]
    made.do(Retune(HyParViewConfig(active_max_size=3)))
    assert StopTimer(XBOT_TIMER) in made.effects


@pytest.mark.parametrize("seed", range(10))
def test_nodes_that_tried_at_the_same_moment_do_not_stand_in_each_others_way_for_ever(network, seed):
    config = HyParViewConfig(active_max_size=3, active_min_size=2, random_promotion_interval=1.0, shuffle_interval=1.0)
    across = set()

    def build(peer, rng, restored):
        return HyParView(
            peer, config, rng, restored, lambda other: 1.0 if frozenset((peer, other)) in across else 100.0
        )

    net = network(seed, build)
    for peer in range(4):
        net.boot(peer)
        net.tell(peer, Join(("contact", 0)))
    net.run(30.0)
    views = active_views(net)
    assert {len(view) for view in views.values()} == {2}
    across |= {frozenset((one, other)) for one in views for other in views if one != other and other not in views[one]}
    config = replace(config, xbot=True, xbot_unbiased=0)
    for peer in net.nodes:
        net.tell(peer, Retune(config))
    for peer in net.nodes:
        net.tell(peer, TimedOut(XBOT_TIMER))
    net.run(200.0)
    views = active_views(net)
    assert across <= {frozenset((one, other)) for one in views for other in views[one]}
    assert topology.asymmetric(views) == 0


def ring(network, seed, xbot, count=60):
    """A cluster whose nodes lie on a circle."""
    config = HyParViewConfig(xbot=xbot, xbot_interval=5.0)

    def distance(a, b):
        return min((a - b) % count, (b - a) % count)

    def build(peer, rng, restored):
        return HyParView(peer, config, rng, restored, lambda other: float(distance(peer, other)))

    net = network(seed, build)
    for peer in range(count):
        net.boot(peer)
        if peer:
            net.tell(peer, Join(("contact", 0)))
        net.run(0.1)
    net.run(300.0)
    graph = active_views(net)
    links = [distance(node, peer) for node, peers in graph.items() for peer in peers]
    return net, graph, sum(links) / len(links)


@pytest.mark.parametrize("seed", range(2))
def test_links_cost_half_and_degree_symmetry_and_connectedness_are_kept(network, seed):
    _, plain, before = ring(network, seed, False)
    net, graph, after = ring(network, seed, True)
    assert after < before / 2
    assert sum(map(len, graph.values())) >= sum(map(len, plain.values())) - 4
    for peer in net.nodes:
        net.tell(peer, Retune(HyParViewConfig()))
    net.run(30.0)
    graph = active_views(net)
    assert topology.asymmetric(graph) == 0
    assert topology.is_connected(graph)
    assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]
