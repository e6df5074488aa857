"""The experiment `cluster` measures small things between real processes, and leaves none behind."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from partisan.bench import erlang
from partisan.bench.__main__ import main
from partisan.bench.cluster import acked, loss, mesh
from partisan.bench.cluster.run import Plan, run


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
    assert all(seconds > 0 for [seconds] in loss.kills(2, erlang=False))


def test_a_killed_erlang_node_is_missed() -> None:
    if (reason := erlang.why_not()) is not None:
        pytest.skip(reason)
    assert all(ours > 0 and theirs > 0 for ours, theirs in loss.kills(2, erlang=True))


def test_kills_are_taken_in_turns_and_compared_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def side(name: str, *seconds: float) -> Callable[[], Any]:
        @contextlib.contextmanager
        def watched() -> Iterator[Callable[[int], float]]:
            def kill(number: int) -> float:
                taken.append(name)
                return seconds[number]

            yield kill

        return watched

    # The machine is slow in the first round; the medians of the sides (0.004 and 0.003) say nothing.
    monkeypatch.setattr(loss, "ours", side("ours", 0.008, 0.001, 0.004))
    monkeypatch.setattr(loss, "theirs", side("theirs", 0.016, 0.002, 0.003))
    monkeypatch.setattr(erlang, "why_not", lambda: None)
    found = run(Plan(figures=["kill"], times=3), lambda line: None)
    assert taken == ["ours", "theirs"] * 3
    assert found.goals[-1].found == 0.5


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
