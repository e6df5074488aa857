"""The scenario of the HyParView paper, small: its overlays are sound, its figures those that the report knows."""

from __future__ import annotations

import pytest

from partisan.machines.hyparview import NeighborRequest
from partisan.machines.machine import Join
from partisan.sim import __main__ as command_line
from partisan.sim import report, topology
from partisan.sim.latency import Uniform
from partisan.sim.scenario import InTurn, Options
from partisan.sim.scenarios import hyparview_paper as scenario

NODES = 100


@pytest.fixture(scope="module")
def outcome():
    if not command_line.Forked.is_possible():
        pytest.skip("no fork here")
    return scenario.run(Options(NODES, seed=5, runner=command_line.Forked(2)))


def values(outcome, figure):
    return {each.point: each.measured for each in outcome.measured if each.figure == figure}


def test_there_is_a_value_beside_each_published_one(outcome):
    rows = report.rows_of(outcome.measured, 5)
    published = [key for key in report.PUBLISHED if key[0] == "hyparview"]
    assert {(row.protocol, row.figure, row.point) for row in rows if row.published is not None} == {*published}


def test_few_failures_cost_next_to_nothing_and_the_overlay_heals(outcome):
    assert values(outcome, "reliability, stable") == {"stable": 100.0}
    reliability = values(outcome, "reliability")
    assert tuple(reliability) == scenario.FAILURES
    assert all(reliability[failed] > 97.0 for failed in (10, 20, 30))
    assert all(0.0 < value <= 100.0 for value in reliability.values())
    assert all(cycles <= 2 for failed, cycles in values(outcome, "healing").items() if failed <= 50)


def test_the_overlay_is_symmetric_and_views_are_within_their_size(outcome):
    assert values(outcome, "asymmetric edges") == {"stable": 0.0}
    degrees = values(outcome, "in-degree")
    assert sum(degrees.values()) == NODES
    assert max(degrees) <= 5


def test_healing_is_measured_by_cycles_and_at_once(outcome):
    assert tuple(values(outcome, "healing")) == scenario.HEALED_FAILURES
    assert tuple(values(outcome, "healing at once")) == scenario.AT_ONCE


@pytest.mark.parametrize("by_cycles", [False, True])
def test_lost_neighbors_are_replaced_at_once_unless_it_is_by_cycles(by_cycles):
    made = scenario.prepare(Options(NODES, seed=5))
    if by_cycles:
        made.by_cycles()
    made.rest()
    made.network.sent.clear()
    made.fail(50)
    made.cycles(1)
    assert bool(made.network.sent[NeighborRequest]) is not by_cycles
    made.stir()
    made.cycles(1)
    assert made.network.sent[NeighborRequest]
    config = scenario._membership(made.network.nodes[next(iter(made.network.nodes))].machine).config
    assert config.key is int


def test_a_point_is_the_same_measured_in_this_process(outcome):
    [part] = InTurn().points(lambda: scenario.prepare(Options(NODES, seed=5)), scenario.measure, [("reliability", 80)])
    assert part.measured[0].measured == values(outcome, "reliability")[80]
    assert part.digests[0] in outcome.digests


def test_another_seed_moves_the_figures(outcome):
    other = scenario.prepare(Options(NODES, seed=6))
    assert scenario.measure(other, ("reliability", 80)).digests[0] not in outcome.digests


def overlay(codec, seed=3, latency=None):
    made = scenario.Overlay(Options(seed=seed, codec=codec), 30, latency=latency)
    made.form()
    made.retune(made.config)
    made.cycles(3)
    made.fail(20)
    made.broadcast(3)
    return made


def test_with_the_codec_the_same_happens():
    pytest.importorskip("partisan.etf", reason="needs the compiled codec")
    bare = command_line.HyParViewCodec()
    bare.through = lambda message: message
    plain, encoded = overlay(bare), overlay(command_line.HyParViewCodec())
    assert topology.is_connected(encoded.graph())
    assert encoded.network.events == plain.network.events
    assert encoded.network.digest() == plain.network.digest()
    assert {*encoded.tally.reached.values()} == {24} == {*plain.tally.reached.values()}


class Unchanged:
    """A codec that changes nothing, but has messages carried one by one."""

    def peer(self, number):
        return number

    def key(self, peer):
        return peer

    def through(self, message):
        return message


@pytest.mark.parametrize("other", [{"codec": Unchanged()}, {"codec": None, "latency": Uniform(0.02, 0.02)}])
def test_what_is_sent_to_several_at_once_happens_as_if_it_was_sent_one_by_one(other):
    assert scenario.LATENCY == 0.02
    together, one_by_one = overlay(None), overlay(**other)
    assert together.network.digest() == one_by_one.network.digest()
    assert together.network.sent == one_by_one.network.sent
    assert together.network.dropped == one_by_one.network.dropped


def test_joining_costs_few_requests_that_are_refused():
    made = scenario.Overlay(Options(seed=3), 300)
    made.form()
    assert made.network.sent[NeighborRequest] < 6 * 300


def test_a_cycle_fills_views_and_closes_no_more_triangles_than_chance_does():
    made = scenario.Overlay(Options(seed=3), 300)
    made.form()
    made.retune(made.config)
    made.cycles(20)
    graph = made.graph()
    assert sum(map(len, graph.values())) > 4.9 * 300
    assert topology.clustering(graph) < 2 * 4 / 300


def test_a_node_that_fails_comes_back_into_the_overlay():
    made = overlay(None)
    gone = next(peer for peer in made.peers if peer not in made.network.nodes)
    made.network.boot(gone, made.network.saved[gone])
    made.network.tell(gone, Join(next(iter(made.network.nodes))))
    made.cycles(1)
    assert len(topology.reach(made.graph(), gone)) == 25
