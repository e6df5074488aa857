"""X-BOT in the simulator: links at half the cost, in an overlay that is as good as before."""

from __future__ import annotations

import pytest

from partisan.sim.__main__ import HyParViewCodec
from partisan.sim.scenario import Options
from partisan.sim.scenarios import xbot as scenario

NODES = 120


@pytest.fixture(scope="module")
def outcome():
    return scenario.run(Options(NODES, seed=4))


def test_links_cost_half_and_the_overlay_is_as_good_as_before(outcome):
    found = {(each.protocol, each.figure): each.measured for each in outcome.measured}
    assert found["xbot", "link cost, % of hyparview"] < 50.0
    assert found["xbot", "link cost, ms"] < found["hyparview", "link cost, ms"] / 2
    assert found["xbot", "mean degree"] >= found["hyparview", "mean degree"] - 0.05
    assert found["xbot", "least degree"] >= 3
    for protocol in ("hyparview", "xbot"):
        assert found[protocol, "asymmetric edges"] <= 2  # those of a swap under way
        assert found[protocol, "reached from one node, %"] == 100.0
        assert found[protocol, "reliability after failures"] > 96.0


def test_another_seed_moves_the_figures(outcome):
    cost, part = scenario.measure(Options(NODES, seed=5), False)
    assert cost != outcome.measured[0].measured
    assert part.digests[0] != outcome.digests[0]


def test_steps_travel_as_terms_too(monkeypatch):
    pytest.importorskip("partisan.etf", reason="needs the compiled codec")
    monkeypatch.setattr(scenario, "CYCLES", 5)
    codec = HyParViewCodec()
    sent, plain = {}, codec.through

    def through(message):
        sent[type(message).__name__] = None
        return plain(message)

    codec.through = through
    scenario.measure(Options(100, seed=4, codec=codec), True)
    assert {"Optimization", "Replace", "Switch", "SwitchReply", "ReplaceReply", "OptimizationReply"} <= sent.keys()
