"""The experiment `cluster` measures small things between real processes, and leaves none behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from partisan.bench import erlang
from partisan.bench.__main__ import main
from partisan.bench.cluster import acked, loss, mesh


def test_a_small_mesh_forms_and_rests() -> None:
    found = mesh.run(4, 2, rest=0.2)
    assert found.nodes == 4
    assert found.joining > 0
    assert found.cpu >= 0


def test_a_connection_takes_some_memory() -> None:
    assert mesh.connection_octets(20) > 0


def test_a_stream_is_measured_with_acknowledgement_and_without() -> None:
    [(with_ack, without)] = acked.run(1, 0.1)
    assert with_ack > 0
    assert without > 0


def test_a_killed_node_is_missed() -> None:
    assert all(seconds > 0 for seconds in loss.kill_ours(2))


def test_a_killed_erlang_node_is_missed() -> None:
    if (reason := erlang.why_not()) is not None:
        pytest.skip(reason)
    assert all(seconds > 0 for seconds in loss.kill_erlang(2))


def test_a_silent_cut_is_missed_when_the_keepalive_has_run_out() -> None:
    if (reason := loss.why_no_cut()) is not None:
        pytest.skip(reason)
    assert loss.cut_ours() > loss.PING["timeout"]


def test_the_command_writes_a_row_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.json"
    options = ["--only", "mesh", "--nodes", "2", "--processes", "2", "--rest", "0.1", "--json", str(path)]
    assert main(["cluster", *options]) == 0
    assert [row["workload"] for row in json.loads(path.read_text())] == ["mesh", "rest"]
    assert "mesh of 2" in capsys.readouterr().out
