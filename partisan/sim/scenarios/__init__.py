"""The scenarios that come with the simulator."""

from __future__ import annotations

from partisan.sim.scenario import Scenario
from partisan.sim.scenarios import full_mesh, hyparview_paper, plumtree_paper

SCENARIOS: dict[str, Scenario] = {
    each.name: each for each in (full_mesh.SCENARIO, hyparview_paper.SCENARIO, plumtree_paper.SCENARIO)
}
"""By name."""
