"""What HyParView is compared with: Cyclon, CyclonAcked and SCAMP, at a size that is quick."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.machine import Join, Received, Retune, Send, Start, TimedOut, Unreachable
from partisan.sim import topology
from partisan.sim.__main__ import main
from partisan.sim.baselines.cyclon import SHUFFLE_TIMER, Answer, Cyclon, CyclonConfig, Offer, Walk
from partisan.sim.baselines.datagrams import Datagrams
from partisan.sim.baselines.gossip import Gossiping
from partisan.sim.flood import Flood, Flooded, Heard
from partisan.sim.network import UnknownPeer
from partisan.sim.scenario import Options
from partisan.sim.scenarios import baselines

CONFIG = CyclonConfig(view=6, exchanged=3, ttl=3)


def network(count=60, seed=1, config=CONFIG, acked=None, facts=None):
    heard = [] if facts is None else facts

    def build(peer, rng):
        return Gossiping(Cyclon(peer, config, rng), 4, rng)

    net = Datagrams(build, seed, latency=0.02, listener=lambda *fact: heard.append(fact), acked=acked)
    chance = random.Random(seed)
    for peer in range(count):
        net.boot(peer)
        if peer:
            net.tell(peer, Join(chance.randrange(peer)))
        net.run(0.5)
    return net


def views(net):
    return {peer: dict.fromkeys(node.machine.membership.view) for peer, node in net.nodes.items()}


class TestCyclon:
    def test_views_are_full_and_the_graph_is_connected(self):
        net = network()
        net.run(300.0)
        graph = views(net)
        assert all(len(view) >= 5 and peer not in view for peer, view in graph.items())
        assert all(len(topology.reach(graph, peer)) == 60 for peer in graph)

    def test_a_shuffle_goes_to_the_oldest_and_swaps_with_it(self):
        here, there = (Cyclon(peer, CONFIG, random.Random(peer)) for peer in (0, 1))
        here.handle(Received(9, Answer(((1, 2.0), (2, 5.0), (3, 4.0)))), 6.0)
        there.handle(Received(9, Answer(((7, 1.0), (8, 1.0)))), 6.0)
        (offer,) = (e for e in here.handle(TimedOut(SHUFFLE_TIMER), 10.0) if type(e) is Send)
        assert offer.peer == 1
        assert set(offer.message.entries) == {(0, 10.0), (2, 5.0), (3, 4.0)}
        assert here.view == (2, 3)
        (answer,) = there.handle(Received(0, offer.message), 10.0)
        assert set(answer.message.entries) == {(7, 1.0), (8, 1.0)}
        assert sorted(there.view) == [0, 2, 3, 7, 8]
        here.handle(Received(1, answer.message), 10.0)
        assert sorted(here.view) == [2, 3, 7, 8]

    def test_who_has_failed_is_gone_from_all_views_in_time(self):
        net = network()
        net.run(100.0)
        for peer in range(0, 60, 3):
            net.crash(peer)
        net.run(1000.0)
        assert all(peer % 3 for view in views(net).values() for peer in view)

    def test_no_shuffles_when_they_are_turned_off(self):
        net = network(5, config=CyclonConfig(period=math.inf))
        before = net.events
        net.run(100.0)
        assert net.events == before
        net.tell(0, Retune(CONFIG))
        net.run(100.0)
        assert net.sent[Offer] > 5

    @settings(max_examples=100, deadline=None)
    @given(
        st.integers(0, 99),
        st.lists(
            st.one_of(
                st.builds(
                    Received, st.integers(0, 9), st.builds(Walk, st.integers(0, 9), st.sampled_from([None, 0, 2]))
                ),
                st.builds(
                    Received,
                    st.integers(0, 9),
                    st.tuples(
                        st.sampled_from([Offer, Answer]),
                        st.lists(st.tuples(st.integers(0, 9), st.floats(0, 9)), max_size=9).map(tuple),
                    ).map(lambda pair: pair[0](pair[1])),
                ),
                st.just(TimedOut(SHUFFLE_TIMER)),
                st.builds(Join, st.integers(1, 9)),
                st.builds(Received, st.integers(0, 9), st.text()),
            )
        ),
    )
    def test_views_stay_sound_whatever_comes(self, seed, events):
        machine = Cyclon(0, CONFIG, random.Random(seed))
        machine.handle(Start(), 0.0)
        for now, event in enumerate(events):
            machine.handle(event, float(now))
            assert 0 not in machine.view
            assert len(machine.view) <= CONFIG.view


class TestDatagrams:
    def test_a_message_to_who_has_failed_is_lost_or_its_sender_is_told(self):
        for acked in (None, Flooded):
            facts = []
            net = network(8, acked=acked, facts=facts)
            net.run(50.0)
            for peer in range(1, 8):
                net.crash(peer)
            before = views(net)[0]
            net.tell(0, Flood(1))
            net.run(1.0)
            told = len(before) - len(views(net)[0])
            assert told == (4 if acked else 0)
            assert [fact for _, _, fact in facts if type(fact) is Heard] == [Heard(1, 0)]

    def test_equal_seeds_give_equal_digests(self):
        assert network(seed=3).digest() == network(seed=3).digest() != network(seed=4).digest()

    def test_who_does_not_run_is_unknown(self):
        with pytest.raises(UnknownPeer):
            network(2).tell(9, Flood(1))


def test_gossip_reaches_most_and_is_passed_on_once_to_four():
    facts = []
    net = network(100, config=CyclonConfig(view=20, exchanged=8, ttl=4), facts=facts)
    net.run(100.0)
    before = net.sent[Flooded]
    net.tell(5, Flood(1))
    net.run(2.0)
    heard = [peer for _, peer, fact in facts if type(fact) is Heard]
    assert len(set(heard)) == len(heard) > 85
    assert net.sent[Flooded] - before == 4 * len(heard)


def test_a_membership_that_cannot_forget_is_not_told():
    class Fixed:
        view = (1, 2)

        def handle(self, event, now):
            raise AssertionError

    assert Gossiping(Fixed(), 4, random.Random(1)).handle(Unreachable(1, "x"), 0.0) == []


@pytest.fixture(scope="module")
def measured():
    found = baselines.run(Options(nodes=150)).measured
    return {(each.protocol, each.figure, each.point): each.measured for each in found}


def test_every_published_point_is_measured(measured):
    for protocol in ("cyclon", "cyclon-acked", "scamp"):
        assert {point for p, figure, point in measured if (p, figure) == (protocol, "reliability")} == {
            *baselines.FAILURES
        }
        for figure in ("clustering", "path length", "maximum hops", "view size"):
            assert measured[protocol, figure, "stable"] > 0.0
    assert measured["cyclon", "healing", 10] >= 1.0
    assert ("scamp", "healing", 10) not in measured


def test_acknowledgements_keep_cyclon_going_where_it_breaks_down_without(measured):
    assert measured["cyclon-acked", "reliability", 60] > measured["cyclon", "reliability", 60] + 10.0
    assert measured["cyclon", "reliability", 10] > 90.0
    assert measured["cyclon", "reliability", 90] < 20.0
    assert measured["scamp", "reliability", 10] > 80.0


def test_the_command_line_adds_them_to_what_they_are_compared_with(capsys):
    with pytest.raises(SystemExit):
        main(["full-mesh", "--baselines"])
    assert "no baselines of full-mesh" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["hyparview-paper", "--baselines", "--codec"])
    assert main(["hyparview-paper", "--baselines", "--nodes", "100"]) == 0
    out = capsys.readouterr().out
    for protocol in ("hyparview", "cyclon", "cyclon-acked", "scamp"):
        assert f"  {protocol} " in out
