"""The micro benches of the compiled core do what they are named after, and their times are told beside saved ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")

ROOT = Path(__file__).parents[2]
BASELINE = "baseline.json"

pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="this is no checkout")


def test_every_bench_runs() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "bench", "--benchmark-disable"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def run_of(node: str = "here", **seconds: float) -> dict[str, Any]:
    """A run as pytest-benchmark writes it, of benches that do ten things a round."""
    return {
        "machine_info": {"node": node, "python_implementation": "CPython", "python_version": "3.11.7"},
        "benchmarks": [
            {"fullname": f"bench/{name}", "stats": {"min": time, "mean": 9.0}, "extra_info": {"count": 10}}
            for name, time in seconds.items()
        ],
    }


def compared(where: Path, run: dict[str, Any], *flags: str) -> list[list[str]]:
    """The words of each line that is printed for a run, the heading left out."""
    now = where / "now.json"
    now.write_text(json.dumps(run))
    command = [sys.executable, str(ROOT / "bench" / "compare.py"), str(now), str(where / "new" / BASELINE), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [line.split() for line in done.stdout.splitlines()[1:]]


def saved(where: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((where / "new" / BASELINE).read_text())["ns"]
    return found


def test_the_first_run_is_saved_and_the_next_is_told_beside_it(tmp_path: Path) -> None:
    first = compared(tmp_path, run_of(push=1e-6, pull=2e-6))
    assert first[:2] == [["pull", "200.0", "new"], ["push", "100.0", "new"]]
    assert compared(tmp_path, run_of(push=3e-6)) == [["push", "100.0", "300.0", "3.00"]]
    assert saved(tmp_path) == {"push": pytest.approx(100), "pull": pytest.approx(200)}


def test_a_bench_that_is_new_is_added_to_the_saved_run(tmp_path: Path) -> None:
    compared(tmp_path, run_of(push=1e-6))
    compared(tmp_path, run_of(push=2e-6, pull=2e-6))
    assert saved(tmp_path) == {"push": pytest.approx(100), "pull": pytest.approx(200)}


def test_a_run_is_saved_anew_when_that_is_asked_for_and_what_did_not_run_is_kept(tmp_path: Path) -> None:
    compared(tmp_path, run_of(push=1e-6, pull=2e-6))
    assert compared(tmp_path, run_of(push=2e-6), "--save")[0] == ["push", "100.0", "200.0", "2.00"]
    assert saved(tmp_path) == {"push": pytest.approx(200), "pull": pytest.approx(200)}


def test_times_of_another_machine_are_said_to_be_that_and_are_not_mixed(tmp_path: Path) -> None:
    compared(tmp_path, run_of("there", push=1e-6, pull=2e-6))
    lines = compared(tmp_path, run_of(push=2e-6, other=1e-6))
    assert "there," in lines[-1]
    assert "other" not in saved(tmp_path)
    compared(tmp_path, run_of(push=2e-6), "--save")
    assert saved(tmp_path) == {"push": pytest.approx(200)}


@pytest.mark.parametrize(("value", "saves"), [("", False), ("1", True)])
def test_whether_a_run_is_saved_is_said_by_the_caller(value: str, saves: bool) -> None:
    environment = {**os.environ, "BENCH_SAVE": value, "BENCH_ARGS": "-k codec"}
    command = ["make", "--dry-run", "--no-print-directory", "bench"]
    dry = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    test, compare = dry.stdout.splitlines()[-2:]
    assert test.endswith(" -k codec")
    assert "bench/compare.py" in compare
    assert compare.endswith("--save") is saves
