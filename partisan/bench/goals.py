"""The figures that a release must reach on a two-core machine, and what a run says about them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from . import codec
from .measure import Point, geometric_mean
from .micro import HOL_OCTETS, OURS, Results
from .report import Ratio, table

LARGE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and its bound.

    Attributes:
        title: what is compared.
        found: the figure of this run.
        bound: what it must reach.
        at_most: True when less is better.
        spread: how the figure varied over the rounds, as text.
    """

    title: str
    found: float
    bound: float
    at_most: bool = False
    spread: str = ""

    @property
    def reached(self) -> bool:
        """True when the bound is kept."""
        return self.found <= self.bound if self.at_most else self.found >= self.bound


def _ratio(title: str, ratio: Ratio | None, bound: float, at_most: bool = False) -> list[Goal]:
    if ratio is None:
        return []
    return [Goal(title, ratio.median, bound, at_most, f"{ratio.least:.2f}..{ratio.most:.2f}")]


def goals_of(results: Results) -> list[Goal]:
    """List the goals of which this run measured both sides."""
    goals: list[Goal] = []
    if results.codec:
        ratios = codec.ratios(results.codec)
        goals.append(Goal("codec against msgspec.msgpack, geometric mean", geometric_mean(ratios), 1.0))
        goals.append(Goal("codec against msgspec.msgpack, least of all shapes", min(ratios), 0.7))

    def against(point: Point, peer: str, key: str) -> Ratio | None:
        return Ratio.of(results.figures(point, OURS, key), results.figures(point, peer, key))

    rate = "messages_per_second"
    goals += _ratio("oneway 16 B, 1 actor: rate against disterl", against(Point("oneway", 1, 16), "disterl", rate), 3.0)
    goals += _ratio(
        "echo 16 B, 128 actors: rate against disterl", against(Point("echo", 128, 16), "disterl", rate), 3.0
    )
    goals += _ratio(
        "echo 16 B, 1 actor: p50 against raw", against(Point("echo", 1, 16), "raw", "p50_us"), 1.3, at_most=True
    )
    goals += _ratio(
        "oneway 8 MiB, 1 actor: octets against raw",
        against(Point("oneway", 1, LARGE), "raw", "octets_per_second"),
        0.8,
    )
    idle, other, one = (
        results.figures(Point("hol", 1, HOL_OCTETS, config), OURS, "p99_us")
        for config in ("idle", "other_channel", "one_channel")
    )
    goals += _ratio("hol: p99 beside another channel's stream, against idle", Ratio.of(other, idle), 10.0, at_most=True)
    goals += _ratio("hol: p99 on the stream's channel, against beside it", Ratio.of(one, other), 5.0)
    return goals


def memory_goal(mebibytes: Sequence[float]) -> Goal:
    """Build the goal for an idle node's resident memory, in MiB."""
    return Goal("memory of an idle node process, MiB", statistics.median(mebibytes), 45.0, at_most=True)


def render(goals: Sequence[Goal]) -> str:
    """Render the goals, a line each."""
    lines = []
    for goal in goals:
        bound = f"{'at most' if goal.at_most else 'at least'} {goal.bound:g}"
        verdict = "reached" if goal.reached else "missed"
        lines.append([goal.title, f"{goal.found:.2f}", goal.spread, bound, verdict])
    return table(["figure", "median", "spread", "goal", ""], lines)
