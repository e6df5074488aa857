"""Tables, ratios, goals and JSON rows."""

import json
from pathlib import Path

import pytest

from partisan.bench import codec, goals
from partisan.bench.measure import Measurement, Point
from partisan.bench.micro import Results, render
from partisan.bench.report import Ratio, Row, median_row, size, table, write_json

POINT = Point("oneway", 1, 16)
KEYS = [
    "experiment",
    "workload",
    "transport",
    "config",
    "actors",
    "octets",
    "messages_per_second",
    "octets_per_second",
    "p50_us",
    "p99_us",
]


def rounds(*rates: float) -> list[Measurement | None]:
    return [Measurement(rate, rate * 16, None, None) for rate in rates]


def test_a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_medians() -> None:
    assert Ratio.of([10.0, 30.0, 20.0], [10.0, 10.0, 40.0]) == Ratio(1.0, 0.5, 3.0)


def test_a_round_that_lacks_a_side_does_not_count() -> None:
    assert Ratio.of([10.0, None, 30.0], [5.0, 5.0]) == Ratio(2.0, 2.0, 2.0)
    assert Ratio.of([None], [1.0]) is None


def test_sizes_have_binary_units() -> None:
    assert [size(each) for each in (16, 1024, 512 * 1024, 8 << 20)] == ["16 B", "1 KiB", "512 KiB", "8 MiB"]


def test_columns_are_aligned() -> None:
    assert table(["name", "n"], [["a", "1"], ["longer", "20"]]).splitlines() == [
        "name     n",
        "------  --",
        "a        1",
        "longer  20",
    ]


def test_a_row_is_the_median_of_the_rounds_that_were_measured() -> None:
    row = median_row("micro", "raw", POINT, [*rounds(1.0, 5.0, 3.0), None])
    assert row == Row("micro", "oneway", "raw", "default", 1, 16, 3.0, 48.0, None, None)
    assert median_row("micro", "raw", POINT, [None]) is None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_json_is_a_list_of_rows_with_the_agreed_keys(tmp_path: Path, count: int) -> None:
    row = Row("micro", "oneway", "raw", "default", 1, 16, 3.0, 48.0, None, None)
    write_json(tmp_path / "rows.json", [row] * count)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == count
    assert all(list(each) == KEYS for each in rows)


def test_a_table_says_what_was_skipped_and_why() -> None:
    results = Results(rounds={(POINT, "partisan"): rounds(6.0), (POINT, "raw"): rounds(2.0)})
    results.skipped[POINT, "disterl"] = "not on the PATH: erl"
    text = render(POINT, ["partisan", "disterl", "raw"], results)
    assert "disterl skipped: not on the PATH: erl" in text
    assert "3.00x (3.00..3.00)" in text


def test_goals_are_judged_where_both_sides_were_measured() -> None:
    results = Results(rounds={(POINT, "partisan"): rounds(9.0, 8.0), (POINT, "disterl"): rounds(2.0, 2.0)})
    (goal,) = goals.goals_of(results)
    assert goal.reached
    assert goal.found == 4.25
    assert not goals.memory_goal([60.0]).reached


def test_the_codec_goal_is_a_geometric_mean_over_shapes_and_directions() -> None:
    results = Results()
    for direction, ours in (("encode", 1.0), ("decode", 4.0)):
        results.codec.append(codec.ShapeResult("1000 ints", direction, (10, 20), [ours] * 3, [2.0] * 3))
    mean, least = goals.goals_of(results)
    assert mean.found == pytest.approx(1.0)
    assert least.found == 0.5
    assert {row.transport for row in results.rows()} == {"partisan", "msgspec"}
