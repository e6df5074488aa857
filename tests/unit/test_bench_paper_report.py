"""The report of the published experiments says what was measured, what was not, and which claim held."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from partisan.bench.paper import compare, plots, published, report, results, verdicts
from partisan.bench.paper.cells import AFFINITY, DISTERL, PARTISAN, Cell, Group, Outcome, Repetition
from partisan.bench.paper.document import Document, Heading, Paragraph, Table

KIB = 1024
MIB = 1024 * KIB
HIGH_LATENCY = "microbenchmarks-highlatency"


def micro(
    transport: str,
    milliseconds: float,
    *,
    experiment: str = HIGH_LATENCY,
    group: Group | None = None,
    actors: int = 128,
    octets: int = 512 * KIB,
    rtt_ms: float = 20.0,
    **about: object,
) -> Outcome:
    """An outcome whose median is this, in three repetitions that scatter."""
    group = group or (DISTERL if transport == "disterl" else AFFINITY)
    cell = Cell(experiment, "micro", transport, group, actors, octets, rtt_ms)
    times = [Repetition(100, 2.0, tuple(milliseconds * f * 1000 for f in (0.9, 1.0, 1.1)), {"cpu": 0.97})] * 3
    return Outcome(cell, "measured", repetitions=tuple(times), **about)  # type: ignore[arg-type]


def ring(
    transport: str, operations: int, octets: int, rtt_ms: float, *, actors: int = 128, scale: int = 1, **about: object
) -> Outcome:
    group = DISTERL if transport == "disterl" else AFFINITY
    experiment = "echo-perf" if scale == 1 else "echo-perf-scaled"
    cell = Cell(experiment, "echo", transport, group, actors, octets, rtt_ms, scale=scale)
    return Outcome(cell, "measured", repetitions=(Repetition(operations, 10.0, (5.0,)),), **about)  # type: ignore[arg-type]


def blocked(variant: str, milliseconds: float) -> Outcome:
    cell = Cell("head-of-line", "head-of-line", "partisan", PARTISAN, 8, 16, 0.0, variant)
    return Outcome(cell, "measured", repetitions=(Repetition(10, 1.0, (milliseconds * 1000,)),))


def scaled(variant: str, nodes: int, octets: float | None) -> Outcome:
    cell = Cell("scale", "scale", "partisan", PARTISAN, nodes, 0, 0.0, variant)
    if octets is None:
        return Outcome(cell, "failed", "the server has no memory left")
    return Outcome(cell, "measured", repetitions=(Repetition(1, 1.0, (), {"octets": octets}),))


def the(outcomes: list[Outcome], experiment: str, actors: int = 128, octets: int = 512 * KIB) -> verdicts.Verdict:
    found = [v for v in verdicts.verdicts(outcomes) if v.claim.experiment == experiment]
    return next(v for v in found if (v.claim.actors, v.claim.octets) in ((actors, octets), (actors, 0), (0, 0)))


def test_a_claim_is_reproduced_at_its_own_point() -> None:
    verdict = the([micro("disterl", 250.0), micro("partisan", 17.0)], HIGH_LATENCY)
    assert (verdict.word, verdict.point, verdict.claim.ratio) == ("reproduced", "128 actors, 512 KiB, 20 ms", 13.4)
    assert verdict.ratio == pytest.approx(250 / 17)


def test_less_than_was_published_is_the_same_direction_and_what_was_full_is_named() -> None:
    verdict = the([micro("disterl", 50.0), micro("partisan", 17.0)], HIGH_LATENCY)
    assert (verdict.word, verdict.note) == ("same direction", "what stood against it: the processors were 97% busy")


def test_what_is_no_better_is_not_reproduced() -> None:
    assert the([micro("disterl", 17.0), micro("partisan", 17.0)], HIGH_LATENCY).word == "not reproduced"


def test_a_claim_that_nothing_differs_holds_where_nothing_differs() -> None:
    both = [ring("disterl", 308, 512 * KIB, 1.0), ring("partisan", 300, 512 * KIB, 1.0)]
    assert the(both, "echo-perf").word == "reproduced"


def test_a_point_whose_link_was_full_for_the_loser_gives_way_to_a_smaller_one() -> None:
    outcomes = [
        *(micro("disterl", 250.0, link_share=0.9), micro("partisan", 200.0, link_share=0.9)),
        *(micro("disterl", 60.0, octets=64 * KIB), micro("partisan", 10.0, octets=64 * KIB, scaled="64 KiB for 512")),
    ]
    verdict = the(outcomes, HIGH_LATENCY)
    assert (verdict.point, verdict.ratio) == ("128 actors, 64 KiB, 20 ms", pytest.approx(6.0))
    assert "64 KiB for 512; judged at 128 actors, 64 KiB, 20 ms" in verdict.note


def test_a_payload_of_another_order_says_nothing_of_a_claim_however_full_the_link_was() -> None:
    outcomes = [
        *(micro("disterl", 250.0, link_share=0.9), micro("partisan", 200.0, link_share=0.9)),
        *(micro("disterl", 60.0, octets=KIB), micro("partisan", 1.0, octets=KIB)),
    ]
    verdict = the(outcomes, HIGH_LATENCY)
    assert (verdict.point, verdict.word) == ("128 actors, 512 KiB, 20 ms", "same direction")
    assert "the emulated link was 90% full" in verdict.note
    assert the(outcomes[2:], HIGH_LATENCY).word == "not measured"


def test_a_link_that_is_full_for_the_winner_alone_makes_no_claim_easier() -> None:
    outcomes = [
        *(micro("disterl", 250.0, link_share=0.1), micro("partisan", 20.0, link_share=0.8)),
        *(micro("disterl", 60.0, actors=16), micro("partisan", 20.0, actors=16)),
    ]
    assert the(outcomes, HIGH_LATENCY).ratio == pytest.approx(12.5)


def echoes(
    theirs: int, ours: int, share: float, *, actors: int = 128, scale: int = 1, full: int = 8 * MIB
) -> list[Outcome]:
    """Both sides of figure 6 for a payload at full size, of which ours fills so much of the link."""
    octets = full // scale
    return [
        ring("disterl", theirs, octets, 20.0, actors=actors, scale=scale, link_share=0.1),
        ring("partisan", ours, octets, 20.0, actors=actors, scale=scale, link_share=share),
    ]


def figure_6(outcomes: list[Outcome]) -> verdicts.Verdict:
    found = [each for each in verdicts.verdicts(outcomes) if each.claim.experiment == "echo-perf"]
    return next(each for each in found if (each.claim.octets, each.claim.rtt_ms) == (8 * MIB, 20.0))


def test_a_scaled_point_with_room_on_the_link_is_judged_instead_of_a_full_one_that_is_told_beside_it() -> None:
    outcomes = [*echoes(50, 100, 0.7), *echoes(50, 400, 0.3, actors=64, scale=8)]
    verdict = figure_6(outcomes)
    assert (verdict.point, verdict.ratio) == ("64 actors, 1 MiB, 20 ms, windows 1/8", pytest.approx(8.0))
    assert verdict.full_size == "2.00x at full size (128 actors, 8 MiB, 20 ms)"
    assert f"{verdict.full_size}: the emulated link was 70% full" in verdict.note
    (aim,) = [goal for goal in verdicts.goals(outcomes) if "8 MiB echo" in goal.title]
    assert aim.found == pytest.approx(8.0)
    assert aim.spread == f"{verdict.point}; {verdict.full_size}; published 34.96x (web; 38.07 in ATC)"


def test_full_size_is_judged_where_the_link_had_room_and_where_it_had_none_at_either() -> None:
    for share in (0.3, 0.7):
        outcomes = [*echoes(50, 100, share), *echoes(50, 400, share, scale=8)]
        verdict = figure_6(outcomes)
        assert (verdict.point, verdict.full_size) == ("128 actors, 8 MiB, 20 ms", "")


def test_of_scaled_points_the_nearest_with_room_on_the_link_is_judged() -> None:
    outcomes = [echo for actors in (16, 64, 128) for echo in echoes(50, 400, actors / 127, actors=actors, scale=8)]
    assert figure_6(outcomes).point == "16 actors, 1 MiB, 20 ms, windows 1/8"


def test_a_scaled_point_says_nothing_of_claims_about_other_payloads_and_networks() -> None:
    judged = verdicts.verdicts(echoes(50, 400, 0.3, scale=8))
    assert [(each.claim.octets, each.claim.rtt_ms) for each in judged] == [(8 * MIB, 20.0)]
    smaller = verdicts.verdicts(echoes(50, 400, 0.3, scale=8, full=MIB // 2))
    assert [each.claim.octets for each in smaller if each.point] == [MIB // 2, 8 * MIB]
    assert [each.claim.octets for each in verdicts.verdicts(echoes(50, 400, 0.3, scale=8, full=4 * MIB))] == [8 * MIB]
    assert judged[0].note == "what stood against it: not known: the processors' load was not measured"


def test_a_claim_is_not_judged_by_a_point_that_is_harder() -> None:
    outcomes = [micro("disterl", 250.0), micro("partisan", 17.0)]
    assert the(outcomes, HIGH_LATENCY, actors=64).note == "no such point in this run"


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"cpu": 0.9, "relay": 0.4}, "the processors were 90% busy, 40% with the relay"),
        ({"cpu": 0.5, "relay": 0.1}, "neither the link nor the processors were full (50% busy, 10% with the relay)"),
        ({}, "not known: the processors' load was not measured"),
    ],
)
def test_what_stood_against_a_claim_is_what_was_measured(extra: dict[str, float], says: str) -> None:
    outcome = micro("partisan", 17.0)
    times = tuple(Repetition(each.operations, each.seconds, each.micros, extra) for each in outcome.repetitions)
    assert verdicts.against(replace(outcome, repetitions=times)).startswith(says)


def test_a_full_link_is_what_stood_against_a_claim() -> None:
    both = [micro("disterl", 250.0), micro("partisan", 200.0, link_share=0.9)]
    assert "the emulated link was 90% full" in the(both, HIGH_LATENCY).note


@pytest.mark.parametrize("status", ["skipped", "failed"])
def test_what_was_not_measured_is_not_reproduced_and_says_why(status: str) -> None:
    gone = Outcome(micro("disterl", 1.0).cell, status, "no erl here")
    verdict = the([gone, micro("partisan", 17.0)], HIGH_LATENCY)
    assert (verdict.word, verdict.note) == ("not measured", f"disterl: {status}, no erl here")
    assert math.isnan(verdict.ratio)


def test_a_point_at_which_ours_alone_has_failed_is_not_excused_by_a_smaller_one() -> None:
    gone = replace(micro("partisan", 17.0), status="failed", reason="the senders were killed")
    smaller = [micro("disterl", 130.0, actors=64), micro("partisan", 10.0, actors=64)]
    outcomes = [micro("disterl", 250.0), gone, *smaller]
    verdict = the(outcomes, HIGH_LATENCY)
    assert (verdict.word, verdict.point) == ("not reproduced", "128 actors, 512 KiB, 20 ms")
    assert verdict.note == "partisan has failed: the senders were killed"
    assert the(outcomes, HIGH_LATENCY, actors=64).word == "reproduced"
    aims = {goal.title: goal for goal in verdicts.goals(outcomes)}
    least = aims["every point of figures 1 to 8: the least against disterl"]
    assert (least.found, least.reached) == (0.0, False)
    assert least.spread.endswith("128 actors, 512 KiB, 20 ms: it has failed, the senders were killed")
    assert not aims["512 KiB at 20 ms, affinity: median lower than disterl's"].reached


def test_partisan_itself_stands_beside_the_claim() -> None:
    outcomes = [micro("disterl", 250.0), micro("partisan", 17.0), micro("partisan-erlang", 30.0)]
    assert the(outcomes, HIGH_LATENCY).real == pytest.approx(30.0)


def test_channels_are_set_against_one_connection() -> None:
    outcomes = [blocked("one connection", 100.0), blocked("three channels", 4.0)]
    assert the(outcomes, "head-of-line").ratio == pytest.approx(25.0)
    (aim,) = [goal for goal in verdicts.goals(outcomes) if "99th" in goal.title]
    assert aim.reached


def test_an_overlay_that_goes_on_where_the_server_is_taken_to_stop_reproduces_nothing() -> None:
    outcomes = [
        *(scaled("client-server", 256, 1e9), scaled("hyparview", 256, 2e9)),
        *(scaled("client-server", 512, None), scaled("hyparview", 512, 9e9)),
    ]
    assert the(outcomes, "scale", 256).ratio == pytest.approx(0.5)
    assert the(outcomes, "scale", 256).word == "reproduced"
    verdict = the(outcomes, "scale", 512)
    assert (verdict.word, verdict.ours, verdict.note) == (
        "not measured", 9e9, "HyParView goes on; client-server: the server has no memory left",
    )  # fmt: skip


def test_the_aims_name_the_point_where_ours_is_least() -> None:
    outcomes = [
        *(micro("disterl", 9.0, octets=KIB), micro("partisan", 3.0, octets=KIB)),
        *(micro("disterl", 9.0), micro("partisan", 10.0), micro("partisan-erlang", 20.0)),
    ]
    found = {goal.title: (round(goal.found, 2), goal.reached) for goal in verdicts.goals(outcomes)}
    assert found["every point of figures 1 to 8: the least against disterl"] == (0.9, False)
    assert found["payloads up to 1 KiB: the least against disterl"] == (3.0, True)
    assert found["every point of figures 1 to 8: the least against partisan-erlang"] == (2.0, True)


def test_where_everybody_waits_the_aim_says_what_could_be_had_at_most() -> None:
    outcomes = [
        *(ring("disterl", 30_000, KIB, 20.0, actors=16), ring("partisan", 33_000, KIB, 20.0, actors=16)),
        *(ring("disterl", 200_000, KIB, 1.0, actors=64), ring("partisan", 600_000, KIB, 1.0, actors=64)),
    ]
    found = {goal.title: goal for goal in verdicts.goals(outcomes)}
    least = found["payloads up to 1 KiB: the least against disterl"]
    assert (round(least.found, 2), least.reached) == (1.1, False)
    assert least.spread.endswith("would allow 1.20x"), "3 nodes of 16 actors, and two thirds of 20 ms"
    least = found["payloads up to 1 KiB where not all wait: the least against disterl"]
    assert (round(least.found, 2), least.reached) == (3.0, True)
    store = Cell("fsm-perf", "kvs", "partisan", AFFINITY, 16, KIB, 20.0, "90/10")
    assert verdicts.most_by_waiting(store) == pytest.approx(3 * 16 / 0.03)
    assert verdicts.most_by_waiting(replace(store, workload="micro")) == math.inf


RUN = results.Run(
    {"machine": "two cores", "python": "3.11"},
    "python -m partisan.bench paper",
    [
        *(micro("disterl", 250.0, command="again --cell 1"), micro("partisan", 17.0, link_share=0.1)),
        Outcome(micro("partisan-erlang", 1.0).cell, "skipped", "PARTISAN_ERL_LIBS names nothing"),
        *(ring("disterl", 5, 8 * MIB, 20.0), ring("partisan", 175, 8 * MIB, 20.0)),
        *(blocked("one connection", 100.0), blocked("three channels", 4.0)),
        *(scaled("client-server", 32, 43e6), scaled("hyparview", 32, 90e6)),
    ],
    [
        {
            "rtt_ms": 20.0,
            "rtt": 0.02,
            "rtt_measured": 0.0201,
            "bandwidth": None,
            "streams": 9123456789.123,
            "tcp_rmem": [4096, 131072, 33554432],
            "counters": {"packets": 156896, "lost": 0},
        }
    ],
    75.0,
)


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    results.write_json(tmp_path / "run.json", RUN)
    assert results.read_json(tmp_path / "run.json") == RUN


def test_a_run_from_before_windows_could_be_scaled_is_read_and_compared(tmp_path: Path) -> None:
    results.write_json(tmp_path / "run.json", RUN)
    found = json.loads((tmp_path / "run.json").read_text())
    assert {outcome["cell"].pop("scale") for outcome in found["outcomes"]} == {1}
    (tmp_path / "old.json").write_text(json.dumps(found))
    old = results.read_json(tmp_path / "old.json")
    assert old == RUN
    assert "1.00x" in compare.compare(old, RUN)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"outcomes": [{"cell": 1}]}', '{"outcomes": [], "more": 1}', '{"outcomes": [], "facts": []}'],
)
def test_a_file_without_results_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(results.NoResults, match=r"bad\.json holds no results"):
        results.read_json(tmp_path / "bad.json")


@pytest.mark.parametrize("part", [{"micros": ["soon"]}, {"seconds": None}, {"extra": {"octets": "many"}}])
def test_a_file_whose_figures_are_no_numbers_is_refused_before_a_run_and_not_after_it(
    tmp_path: Path, part: dict[str, object]
) -> None:
    results.write_json(tmp_path / "bad.json", RUN)
    found = json.loads((tmp_path / "bad.json").read_text())
    found["outcomes"][0]["repetitions"][0] |= part
    (tmp_path / "bad.json").write_text(json.dumps(found))
    with pytest.raises(results.NoResults, match=r"bad\.json holds no results"):
        results.read_json(tmp_path / "bad.json")


def test_the_harness_s_table_has_its_eleven_columns(tmp_path: Path) -> None:
    results.write_csv(tmp_path / "results.csv", RUN.outcomes[:2])
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert len(lines) == 18
    assert lines[1] == ["partisan", "disterl", "128", "1", "false", "1", "false", "512", "2", "20", "250000"]
    assert lines[9][1:7] == ["partisan", "128", "4", "false", "16", "true"]


def test_the_report_holds_claims_aims_cells_and_pictures(tmp_path: Path) -> None:
    written = {path.name for path in report.write(RUN, tmp_path)}
    page = (tmp_path / "report.md").read_text()
    for part in ("13.40x", "14.71x", "reproduced", "PARTISAN_ERL_LIBS names nothing", "again --cell 1", "two cores"):
        assert part in page
    assert "| 20 | 20.100 ms | - | 9.12 Gbit/s | 4096 131072 33554432 | packets 156,896 |" in page
    assert "9 cells: 8 measured, 1 skipped, 0 failed, in 1.2 minutes." in page
    html = (tmp_path / "report.html").read_text()
    assert '<td class="good">reproduced</td>' in html
    if plots.can_draw():
        assert len([name for name in written if name.endswith(".png")]) == 4
        assert html.count("data:image/png;base64,") == 4


def test_payloads_of_one_experiment_have_pictures_of_their_own(tmp_path: Path) -> None:
    if not plots.can_draw():
        pytest.skip("matplotlib is not here: pip install 'partisan[bench]'")
    for outcomes in (
        [replace(blocked("three channels", 4.0), cell=replace(blocked("three channels", 4.0).cell, octets=octets))
         for octets in (16, KIB)],
        [ring("partisan", 5, octets, 20.0) for octets in (KIB, MIB)],
        [micro("partisan", 5, octets=octets) for octets in (KIB, MIB)],
    ):  # fmt: skip
        ((_, drawn),) = plots.draw(outcomes, tmp_path).items()
        assert len({path for path, _ in drawn}) == 2
        assert all(plots.size(each.cell.octets) in caption for each, (_, caption) in zip(outcomes, drawn, strict=True))


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    report.write(results.Run(interrupted=True), tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "0 cells" in page
    assert "It was ended before all was measured." in page


def test_markup_in_what_was_measured_stays_text() -> None:
    page = Document([Heading("a < b", 1), Paragraph("<script>"), Table(("x",), [("a|b & <c>",)])])
    assert "a\\|b & <c>" in page.markdown()
    assert "&lt;script&gt;" in page.html()
    assert "a|b &amp; &lt;c&gt;" in page.html()


def test_a_run_is_compared_with_an_earlier_one() -> None:
    earlier = results.Run(
        outcomes=[
            *(micro("disterl", 250.0), micro("partisan", 34.0, link_share=0.1)),
            micro("partisan", 1.0, actors=1, link_share=0.1),
        ]
    )
    text = compare.compare(earlier, RUN)
    assert "partisan 4/16/T             2.00x  better" in text
    assert "disterl             1.00x    same" in text
    assert "measured only then: 1" in text
    assert "measured only now: 6" in text
    assert "no cell in common" in compare.compare(results.Run(), RUN)


def test_a_run_on_plain_loopback_is_not_compared_with_one_on_emulated_networks() -> None:
    far = results.Run({"machine": "old", "python": "3.11"}, outcomes=[micro("partisan", 34.0, link_share=0.2)])
    near = results.Run({"machine": "new", "python": "3.11"}, outcomes=[micro("partisan", 2.0)])
    assert compare.compare(far, near).splitlines() == [
        "the two runs have no cell in common",
        "measured only then: 1",
        "measured only now: 1",
        "machine: old then, new now",
    ]


def test_every_figure_has_a_claim_or_was_published_without_numbers() -> None:
    without = {"microbenchmarks-queueoverhead", "kvs-latency", "perf-suite"}
    doubles = set(verdicts.SCALED.values())
    assert {claim.experiment for claim in published.CLAIMS} | without | doubles == set(published.FIGURES)
