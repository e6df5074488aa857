"""What a node costs as memberships grow, and what broadcasts reach while nodes come and go."""

from __future__ import annotations

import dataclasses

import pytest

from partisan.sim.__main__ import main
from partisan.sim.scenario import Options
from partisan.sim.scenarios import churn, scale
from partisan.sim.weigh import octets


def by_name(outcome):
    return {(each.protocol, each.figure, each.point): each.measured for each in outcome.measured}


@pytest.fixture(scope="module")
def grown():
    subjects = {each.protocol: each for each in scale.SUBJECTS}
    small = {"hyparview": (60, 240), "plumtree": (60, 240), "scamp": (60, 240), "full": (15, 60)}
    chosen = tuple(dataclasses.replace(subjects[name], sizes=sizes) for name, sizes in small.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "SUBJECTS", chosen)
        return by_name(scale.run(Options()))


@pytest.mark.parametrize(
    "figure", ["messages in rest", "connections", "connections at most", "memory", "messages a broadcast"]
)
def test_hyparview_costs_a_node_no_more_than_the_logarithm_of_the_membership(grown, figure):
    assert grown["hyparview", "growth", figure] <= 1.1


@pytest.mark.parametrize(
    "figure",
    [
        "messages in rest",
        "connections",
        "connections at most",
        "memory",
        "memory with trees",
        "messages a first broadcast",
        "messages a broadcast",
    ],
)
def test_plumtree_costs_a_node_no_more_than_the_logarithm_of_the_membership(grown, figure):
    assert grown["plumtree", "growth", figure] <= 1.1


def test_a_tree_for_each_root_takes_memory_and_saves_payloads_once_it_is_there(grown):
    assert grown["plumtree", "memory with trees", 240] > grown["plumtree", "memory", 240] + 100 * scale.ROOTS
    assert grown["plumtree", "payloads a first broadcast", 240] > 2.0
    assert grown["plumtree", "payloads a broadcast", 240] == pytest.approx(1.0, abs=0.05)


def test_full_membership_costs_a_node_as_many_connections_as_there_are_others(grown):
    assert grown["full", "connections", 60] == 59.0
    assert grown["full", "growth", "connections"] > 1.5


def test_scamp_has_views_of_the_logarithm(grown):
    assert grown["scamp", "growth", "connections"] == pytest.approx(1.0, abs=0.35)


def test_a_broadcast_reaches_all(grown):
    assert grown["hyparview", "reached", 240] == grown["plumtree", "reached", 240] == 100.0


def test_as_many_nodes_as_are_asked_for_are_the_largest_size():
    subjects = {each.protocol: each for each in scale.SUBJECTS}
    for name in ("hyparview", "plumtree"):
        assert scale.sizes_of(subjects[name], Options(nodes=300)) == [100, 300]
        assert scale.sizes_of(subjects[name], Options(nodes=60)) == [60]
        assert scale.sizes_of(subjects[name], Options(nodes=5000)) == [100, 300, 1000, 5000]
        assert scale.sizes_of(subjects[name], Options(nodes=700, full=True)) == [100, 500, 700]
        assert scale.sizes_of(subjects[name], Options(full=True))[-1] == 50_000


def test_a_protocol_with_a_limit_goes_to_that():
    limits = {each.protocol: each.most for each in scale.SUBJECTS if each.most is not None}
    assert limits == {"scamp": 5000, "full": 200, "client-server": 1000}
    for each in scale.SUBJECTS:
        assert scale.sizes_of(each, Options(nodes=7000))[-1] == (each.most or 7000)
        assert each.most in (None, scale.sizes_of(each, Options(full=True))[-1])


def test_growth_is_told_against_the_logarithm():
    assert scale.growth({10: 1.0, 100: 2.0}) == pytest.approx(1.0)
    assert scale.growth({10: 1.0, 100: 10.0}) == pytest.approx(5.0)
    assert scale.growth({10: 5.0}) == 1.0


def test_a_weight_counts_what_belongs_to_the_value_once():
    @dataclasses.dataclass(slots=True)
    class Thing:
        first: object
        second: object

    shared = list(range(1000))
    part = [bytes(500), bytes(500)]
    assert octets(Thing(shared, part), [shared]) < 2000 < octets(Thing(shared, part))
    assert octets(Thing(part, part)) == octets(Thing(part, None)) - octets(None)
    loop = []
    loop.append(loop)
    assert octets(loop) > 0


@pytest.fixture(scope="module")
def churned():
    return churn.run(Options(nodes=60))


def test_broadcasts_reach_almost_all_while_nodes_come_and_go(churned):
    found = by_name(churned)
    assert found["hyparview", "reached, settled", 1] > 99.0
    assert found["hyparview", "reached", 10] > 90.0
    assert all(found["hyparview", "connected", rate] > 95.0 for rate in churn.RATES)


def test_churn_is_the_same_again_with_the_same_seed(churned):
    assert churn.run(Options(nodes=60)).digest == churned.digest != churn.run(Options(nodes=60, seed=2)).digest


def test_the_command_line_sends_churn_through_the_codec(capsys):
    pytest.importorskip("partisan.etf")
    assert main(["churn", "--nodes", "12", "--codec"]) == 0
    assert "reached, settled" in capsys.readouterr().out
