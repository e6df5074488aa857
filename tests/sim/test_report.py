"""The report puts published values beside the measured ones; nothing else knows them."""

from __future__ import annotations

import ast
import csv
import io
import json
from pathlib import Path

import pytest

import partisan.sim
from partisan.sim import report
from partisan.sim.scenario import Measured

MEASURED = [
    Measured("hyparview", "reliability", 90, 99.25),
    Measured("hyparview", "reliability", 95, 88.0),
    Measured("hyparview", "path length", "stable", 6.4),
    Measured("ours", "messages a node", "join", 12345.0),
]
ROWS = report.rows_of(MEASURED, 7)


def test_rows_have_the_published_value_or_none():
    assert [row.published for row in ROWS] == [99.7, 91.0, 6.38542, None]
    assert {row.seed for row in ROWS} == {7}


def test_beside_another_number_of_nodes_there_is_nothing_published_that_depends_on_it():
    tree = Measured("plumtree m-s", "last delivery hop", "stable", 12.0)
    few = report.rows_of([*MEASURED, tree], 7, 100)
    assert [row.published for row in few] == [99.7, 91.0, None, None, None]
    assert ["plumtree", "m-s", "stable", "-", "12"] in [line.split() for line in report.text(few).splitlines()]
    assert "50 to 77" not in report.text(few)
    assert "50 to 77" in report.text(report.rows_of([tree], 7))
    assert "100: those that depend on it are left out" in report.caveat(few, 100)
    assert report.caveat(ROWS, 10_000) is None
    assert report.caveat(report.rows_of(MEASURED[3:], 7, 100), 100) is None


def test_json_and_csv_have_every_value():
    loaded = json.loads(report.to_json(ROWS))
    assert loaded[0] == {
        "protocol": "hyparview",
        "figure": "reliability",
        "point": 90,
        "published": 99.7,
        "measured": 99.25,
        "seed": 7,
    }
    assert (loaded[3]["published"], loaded[3]["point"]) == (None, "join")
    assert json.loads(report.to_json([])) == []
    lines = list(csv.DictReader(io.StringIO(report.to_csv(ROWS))))
    assert [line["measured"] for line in lines] == ["99.25", "88.0", "6.4", "12345.0"]
    assert lines[3]["published"] == ""


def test_text_has_a_table_for_each_figure_with_published_beside_measured():
    lines = report.text(ROWS).splitlines()
    assert lines[0] == "reliability"
    assert lines[2].split() == ["hyparview", "90", "99.7", "99.25"]
    assert lines[-1].split() == ["ours", "join", "-", "12,345"]
    assert len({len(line) for line in lines[1:4]}) == 1


def test_means_stand_beside_their_spread_and_without_means_there_is_no_column_for_it():
    mean = Measured("hyparview", "reliability", 90, 99.25, (98.5, 100.0))
    rows = report.rows_of([mean, *MEASURED[1:]], 7)
    lines = report.text(rows).splitlines()
    assert lines[1].split() == ["protocol", "point", "published", "measured", "least", "greatest"]
    assert lines[2].split() == ["hyparview", "90", "99.7", "99.25", "98.5", "100"]
    assert lines[3].split() == ["hyparview", "95", "91", "88", "-", "-"]
    first, second, *_ = json.loads(report.to_json(rows))
    assert (first["least"], first["greatest"], second["least"]) == (98.5, 100.0, None)
    assert next(csv.DictReader(io.StringIO(report.to_csv(rows))))["greatest"] == "100.0"
    assert "least" not in report.text(ROWS) + report.to_json(ROWS) + report.to_csv(ROWS)


def test_files_are_written_and_pictures_where_there_are_numbers_for_points(tmp_path):
    pytest.importorskip("matplotlib")
    written = report.write(ROWS, tmp_path / "new", "a-scenario")
    names = [path.name for path in written]
    assert names == ["a-scenario.txt", "a-scenario.csv", "a-scenario.json", "a-scenario-reliability.png"]
    assert all(path.stat().st_size for path in written)


def test_files_are_written_without_pictures_where_matplotlib_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "can_draw", lambda: False)
    assert [path.suffix for path in report.write(ROWS, tmp_path, "s")] == [".txt", ".csv", ".json"]


def test_no_simulation_reads_a_published_value():
    root = Path(partisan.sim.__file__).parent
    for path in root.rglob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom | ast.Import)
            for name in [getattr(node, "module", None), *(f"{a.name}" for a in node.names)]
        }
        reads = any(name and ("published" in name.lower() or name == "report") for name in names)
        assert not reads or path.name in ("report.py", "__main__.py"), path
