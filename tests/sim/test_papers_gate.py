"""The gate for what the papers and the simulator must show: each of its bounds can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from partisan.sim.published import PUBLISHED, RANGES

SOAK = Path(__file__).parents[1] / "soak"
sys.path.insert(0, str(SOAK))

import papers  # noqa: E402

SAID = "27,000,000 events in 110.5 s, 162,000 a second of one core\n13.4 KiB a node, with 10,000 of them\n"
XBOT = {
    ("hyparview", "mean degree", "stable"): 5.0,
    ("hyparview", "reliability after failures", 50): 99.9,
    ("xbot", "link cost, % of hyparview", "stable"): 40.0,
    ("xbot", "mean degree", "stable"): 4.99,
    ("xbot", "reached from one node, %", "stable"): 100.0,
    ("xbot", "reliability after failures", 50): 99.5,
}
SCALE = {
    **{
        (protocol, figure, size): value
        for protocol, most in papers.SIZES.items()
        for size in (50, most)
        for figure, value in (("connections", 5.0), ("reached", 100.0))
    },
    **{(protocol, "growth", figure): 0.7 for protocol in ("hyparview", "plumtree") for figure in papers.GROWN},
    ("plumtree", "growth", "memory with trees"): 0.8,
    ("full", "growth", "connections"): 3.0,
    ("hyparview", "healing", 10): 9.0,
}


def failures(scenario, rows, said=SAID, overlays=20, full=True, speed=150_000.0):
    return [each.what for each in papers.check(scenario, rows, said, overlays, full, speed) if each.fails]


@pytest.mark.parametrize(
    ("scenario", "rows"),
    [("hyparview-paper", PUBLISHED), ("plumtree-paper", PUBLISHED), ("xbot", XBOT), ("scale", SCALE)],
)
def test_what_was_published_keeps_every_bound_and_nothing_at_all_keeps_none(scenario, rows):
    assert failures(scenario, rows) == []
    bounds = papers.check(scenario, {}, "", 20, True, 150_000.0)
    assert bounds
    assert all(bound.fails for bound in bounds)


@pytest.mark.parametrize(
    ("figure", "point", "inside", "outside"),
    [
        ("reliability", 10, 98.1, 97.9),
        ("reliability", 90, 97.8, 97.6),
        ("healing", 10, 3.0, 4.0),
        ("healing", 90, 6.0, 7.0),
        ("healing", 90, 2.0, 1.0),
        ("path length", "stable", 6.7, 6.8),
        ("path length", "stable", 6.1, 6.0),
        ("clustering", "stable", 0.0013, 0.0014),
        ("clustering", "stable", 0.00062, 0.0006),
    ],
)
def test_each_bound_of_hyparview_can_fail(figure, point, inside, outside):
    key = ("hyparview", figure, point)
    assert failures("hyparview-paper", {**PUBLISHED, key: inside}) == []
    assert failures("hyparview-paper", {**PUBLISHED, key: outside}) == [f"hyparview, {figure}, {point}"]


def test_there_is_a_bound_for_each_point_of_hyparview_that_has_one():
    assert len(papers.hyparview({})) == 9 + 9 + 1 + 1
    assert failures("hyparview-paper", {**PUBLISHED, ("hyparview", "reliability", 95): 0.0}) == []


@pytest.mark.parametrize(
    ("before", "after", "failed"),
    [
        ("in 110.5 s", "in 600.5 s", "seconds to the table"),
        ("162,000", "149,000", "events a second of one core"),
        ("13.4 KiB", "16.1 KiB", "KiB a node"),
        ("10,000 of", "1,000 of", "KiB a node"),
    ],
)
def test_each_bound_on_the_cost_can_fail(before, after, failed):
    assert failures("hyparview-paper", PUBLISHED, SAID.replace(before, after)) == [failed]


HELD = [key for key, value in PUBLISHED.items() if key[0] in papers.TREES and (key in RANGES or value > 5.0)]


@pytest.mark.parametrize("key", HELD, ids=papers.name_of)
def test_each_bound_of_plumtree_can_fail(key):
    least, greatest = RANGES.get(key, (0.9 * PUBLISHED[key], 1.1 * PUBLISHED[key]))
    assert failures("plumtree-paper", {**PUBLISHED, key: 1.01 * greatest + 0.01}) == [papers.name_of(key)]
    assert failures("plumtree-paper", {**PUBLISHED, key: 0.99 * least - 0.01}) == [papers.name_of(key)]


def test_single_values_of_five_or_less_have_no_bound_and_are_counted():
    key = ("plumtree m-s", "redundancy at first", 1)
    assert failures("plumtree-paper", {**PUBLISHED, key: 50.0}) == []
    assert papers.plumtree(PUBLISHED, 20)[1] == sum(k[0] in papers.TREES for k in PUBLISHED) - len(HELD)


def test_what_chance_decides_is_told_and_not_held_of_few_overlays():
    key = ("plumtree m-s", "last delivery hop", "stable")
    rows = {**PUBLISHED, key: 30.0}
    assert failures("plumtree-paper", rows, overlays=20) == [papers.name_of(key)]
    assert failures("plumtree-paper", rows, overlays=2) == []
    (bound,) = [each for each in papers.plumtree(rows, 2)[0] if each.what == papers.name_of(key)]
    assert (bound.kept, bound.verdict) == (False, "chance: of 20 overlays")
    rows[("plumtree m-s", "healing", 90)] = 20.0
    assert failures("plumtree-paper", rows, overlays=2) == []
    rows[("plumtree m-s", "reliability", 30)] = 50.0
    assert failures("plumtree-paper", rows, overlays=2) == ["plumtree m-s, reliability, 30"]


@pytest.mark.parametrize(
    ("figure", "point", "value", "failed"),
    [
        ("link cost, % of hyparview", "stable", 50.1, "link cost, % of hyparview"),
        ("mean degree", "stable", 4.9, "mean degree"),
        ("reached from one node, %", "stable", 99.9, "reached from one node, %"),
        ("reliability after failures", 50, 98.8, "reliability after 50 % failed"),
    ],
)
def test_each_bound_of_xbot_can_fail(figure, point, value, failed):
    assert failures("xbot", {**XBOT, ("xbot", figure, point): value}) == [failed]


@pytest.mark.parametrize("protocol", ["hyparview", "plumtree"])
def test_each_bound_of_scale_can_fail(protocol):
    for name, figure, point in [key for key in SCALE if key[0] == protocol]:
        if figure == "growth":
            grown = {**SCALE, (protocol, "growth", point): 1.01}
            assert failures("scale", grown) == [f"{protocol}, growth of {point}"]
        elif figure == "reached":
            assert failures("scale", {**SCALE, (name, figure, point): 99.9}) == [f"{protocol}, reached"]


@pytest.mark.parametrize("protocol", papers.SIZES)
def test_every_size_must_be_simulated_by_a_full_run(protocol):
    few = {key: value for key, value in SCALE.items() if key != (protocol, "connections", papers.SIZES[protocol])}
    assert failures("scale", few) == [f"{protocol}, nodes"]
    assert failures("scale", few, full=False) == []


def test_the_program_says_what_is_not_kept_and_exits_with_1(tmp_path):
    def run():
        rows = [dict(zip(("protocol", "figure", "point", "measured"), (*k, v), strict=True)) for k, v in found.items()]
        (tmp_path / "xbot.json").write_text(json.dumps(rows))
        (tmp_path / "xbot.txt").write_text("")
        command = [sys.executable, str(SOAK / "papers.py"), "xbot", "--from", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    found = dict(XBOT)
    done = run()
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "every bound that is held is kept"), done.stderr
    found["xbot", "link cost, % of hyparview", "stable"] = 60.0
    done = run()
    assert done.returncode == 1
    assert [line.split()[-1] for line in done.stdout.splitlines() if "link cost" in line] == ["NO"]
    assert done.stdout.splitlines()[-1] == "bounds that are not kept: 1"
