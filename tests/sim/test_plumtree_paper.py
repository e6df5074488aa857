"""The scenario of the Plumtree paper, small: trees save what they should, and break and heal as they should."""

from __future__ import annotations

from functools import partial

import pytest

from partisan.machines.plumtree_messages import Push
from partisan.sim import __main__ as command_line
from partisan.sim import report
from partisan.sim.published import RANGES
from partisan.sim.scenario import InTurn, Options
from partisan.sim.scenarios import plumtree_paper as scenario

NODES = 100


@pytest.fixture(scope="module")
def outcome():
    if not command_line.Forked.is_possible():
        pytest.skip("no fork here")
    return scenario.run(Options(NODES, seed=5, runner=command_line.Forked(2)))


def values(outcome, figure):
    return {(each.protocol, each.point): each.measured for each in outcome.measured if each.figure == figure}


def test_there_is_a_value_beside_each_published_one(outcome):
    rows = report.rows_of(outcome.measured, 5)
    found = {(row.protocol, row.figure) for row in rows if row.published is not None}
    protocols = {name for name in scenario.VARIANTS if not name.startswith("threshold")}
    published = {(protocol, figure) for protocol, figure, point in report.PUBLISHED if protocol in protocols}
    assert found | {(p, f) for p in protocols for f in ("payload", "control", "total")} == published
    assert all(low <= report.PUBLISHED[key] <= high for key, (low, high) in RANGES.items())
    assert "45 to 70" in report.text(rows)


def test_a_tree_has_no_redundancy_and_the_flood_has_three(outcome):
    redundancy = values(outcome, "redundancy")
    assert redundancy.pop(("eager", "stable")) == pytest.approx(3.0, abs=0.1)
    assert {*redundancy.values()} == {0.0}
    assert len(redundancy) == 6


def test_every_link_carries_the_payload_or_two_announcements(outcome):
    payload, control = values(outcome, "payload"), values(outcome, "control")
    links = (payload["eager", NODES] + NODES - 1) / 2
    for name in ("plumtree s-s", "plumtree m-s"):
        assert payload[name, NODES] == NODES - 1
        assert control[name, NODES] == pytest.approx(2 * (links - (NODES - 1)), abs=2)
    assert (
        values(outcome, "total")["plumtree s-s", NODES]
        == payload["plumtree s-s", NODES] + control["plumtree s-s", NODES]
    )


def test_links_come_up_eager_and_the_first_messages_make_a_tree_of_them(outcome):
    redundancy = values(outcome, "redundancy at first")
    for name in ("plumtree s-s", "plumtree m-s"):
        first, second, third = (redundancy[name, cycle] for cycle in (1, 2, 3))
        assert 1.5 < first < 2.5  # joins leave views with room
        assert 2.5 < first + second + third < 3.1  # until there are as many links as the flood has
        assert third < second < first


def test_a_tree_that_many_senders_have_made_is_deeper_unless_shorter_ways_are_taken(outcome):
    hops = values(outcome, "last delivery hop")
    assert hops["plumtree m-s", "stable"] > 1.5 * hops["plumtree s-s", "stable"]
    assert hops["plumtree m-s", "stable"] > hops["optimized m-s", "stable"]
    control = values(outcome, "control")
    assert control["plumtree m-s", NODES] < control["threshold 7 m-s", NODES] < control["optimized m-s", NODES]


def test_figures_of_several_seeds_are_means_and_have_a_spread(monkeypatch):
    monkeypatch.setattr(scenario, "VARIANTS", {"eager": scenario.VARIANTS["eager"]})
    both = scenario.run(Options(40, seed=5, seeds=2))
    parts = [scenario.life(Options(40), InTurn(), (f"5/{number}", "eager")) for number in range(2)]
    assert both.digests == [digest for part in parts for digest in part.digests]
    for mean, *each in zip(both.measured, *(part.measured for part in parts), strict=True):
        found = [one.measured for one in each]
        assert (mean.measured, mean.spread) == (sum(found) / 2, (min(found), max(found)))
    assert len({*both.digests}) == 4


def test_all_are_reached_while_nothing_or_little_fails(outcome):
    assert {*values(outcome, "reliability, stable").values()} == {100.0}
    assert all(value > 99.0 for value in values(outcome, "reliability under failures").values())


def test_many_failures_break_it_and_cycles_mend_it(outcome):
    reliability, healing = values(outcome, "reliability"), values(outcome, "healing")
    for name in ("plumtree s-s", "plumtree m-s"):
        assert reliability[name, 10] > 95.0
        assert reliability[name, 90] <= 50.0
        assert healing[name, 50] <= 2


def test_a_point_is_the_same_measured_in_this_process(outcome):
    cluster = scenario.prepare(Options(NODES), "5/0", "plumtree m-s")
    part = scenario.measure("plumtree m-s", cluster, ("massive", 80, 0))
    assert part.measured[0].measured == values(outcome, "reliability")["plumtree m-s", 80]
    assert part.digests[0] in outcome.digests


def test_the_reach_that_chance_decides_is_a_mean_over_several_failures(outcome):
    points = InTurn().points(
        lambda: scenario.prepare(Options(NODES), "5/0", "plumtree m-s"),
        partial(scenario.measure, "plumtree m-s"),
        [("massive", 60, 0), *(("reach", 60, draw) for draw in range(1, 1 + scenario.MORE_DRAWS))],
    )
    drawn = [part.measured[0].measured for part in points]
    assert len({part.digests[0] for part in points}) == 1 + scenario.MORE_DRAWS
    key = ("plumtree m-s", "reliability", 60)
    [row] = [each for each in outcome.measured if (each.protocol, each.figure, each.point) == key]
    assert row.measured == pytest.approx(sum(drawn) / len(drawn))
    assert row.spread == (min(drawn), max(drawn))


def test_another_seed_moves_the_figures(outcome):
    other = scenario.prepare(Options(NODES), "6/0", "plumtree m-s")
    assert scenario.measure("plumtree m-s", other, ("massive", 70, 0)).digests[0] not in outcome.digests


def cluster(codec):
    variant = scenario.VARIANTS["optimized m-s"]
    made = scenario.Cluster(Options(30, codec=codec), 3, variant)
    made.join()
    made.retune(made.cycling)
    for _ in range(3):
        made.cycle()
    made.retune(made.quiet)
    made.fail(6, 5.0)
    made.broadcast(5.0)
    return made


def test_with_the_codec_the_same_happens():
    pytest.importorskip("partisan.etf", reason="needs the compiled codec")
    bare = command_line.PlumtreeCodec()
    bare.through = lambda message: message
    plain, encoded = cluster(bare), cluster(command_line.PlumtreeCodec())
    assert encoded.network.digest() == plain.network.digest()
    assert encoded.network.sent == plain.network.sent
    assert encoded.network.sent[Push] > 100
    assert encoded.reliability(4) == 100.0
