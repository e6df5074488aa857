"""The scenarios that come with the simulator."""

from __future__ import annotations

from dataclasses import replace

from partisan.sim.scenario import Scenario
from partisan.sim.scenarios import baselines, churn, full_mesh, hyparview_paper, plumtree_paper, scale, xbot

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        full_mesh.SCENARIO,
        replace(hyparview_paper.SCENARIO, baselines=baselines.run),
        xbot.SCENARIO,
        plumtree_paper.SCENARIO,
        scale.SCENARIO,
        churn.SCENARIO,
    )
}
"""By name."""
