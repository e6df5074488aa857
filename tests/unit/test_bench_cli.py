"""The command line of the experiments: a bad flag is named, and said in words."""

import shlex
from pathlib import Path

import pytest

from partisan.bench.__main__ import main, parser
from partisan.bench.paper import cli
from partisan.bench.paper.experiments import cell_of, tasks_of
from partisan.bench.paper.results import read_json
from partisan.bench.paper.runner import Runner


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["micro", "--only", "oneway,sprint"], "argument --only: 'sprint' is no workload"),
        (["micro", "--peers", "smoke"], "argument --peers: 'smoke' is no peer"),
        (["micro", "--actors", "0"], "argument --actors: 0 is below 1"),
        (["micro", "--actors", "many"], "argument --actors: 'many' is no list of whole numbers"),
        (["micro", "--octets", "16,1Kx"], "argument --octets: '1Kx' is no size"),
        (["micro", "--octets", "0"], "argument --octets: '0' is no size"),
        (["micro", "--seconds", "nan"], "argument --seconds: nan is not above 0"),
        (["micro", "--seconds", "-1"], "argument --seconds: -1 is not above 0"),
        (["micro", "--repeat", "0"], "argument --repeat: '0' is no whole number"),
        (["memory", "--repeat", "x"], "argument --repeat: 'x' is no whole number"),
        (["micro", "--loud"], "unrecognized arguments: --loud"),
        (["paper", "--rtt", "20000"], "argument --rtt: 20000 has what is not within 0 and 10000"),
        (["paper", "--only", ","], "argument --only: ',' names no experiment"),
        (["marathon"], "'marathon'"),
    ],
)
def test_a_bad_flag_is_named(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_sizes_are_read_with_their_units() -> None:
    options = parser().parse_args(["micro", "--octets", "16,1KiB,8 mib", "--actors", "1,128"])
    assert options.octets == [16, 1024, 8 << 20]
    assert options.actors == [1, 128]


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["micro", "--json", "/nowhere/at/all/rows.json"]) == 1
    assert "/nowhere/at/all" in capsys.readouterr().err


def test_a_cell_is_measured_again_in_a_directory_of_its_own(tmp_path: Path) -> None:
    options = parser().parse_args(["paper", "--quick", "--repeat", "3", "--seconds", "0.5", "--out", str(tmp_path)])
    cell = cell_of("fsm-perf/partisan/partisan_with_partitioned_parallelism_and_channels*8/2x16@1.5/50/50")
    words = shlex.split(cli.again(options)(cell))
    again = parser().parse_args(words[3:])
    assert again.out == tmp_path / "again"
    (task,) = tasks_of(cli.wish_of(again))
    assert (task.cell, task.repetitions, task.seconds) == (cell, 3, 0.5)


@pytest.mark.parametrize("earlier", ["", '{"outcomes": []}'])
def test_a_run_that_is_ended_before_anything_was_measured_leaves_the_results_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: str
) -> None:
    (tmp_path / "results.json").write_text(earlier)

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "run", pressed)
    assert main(["paper", "--loopback", "--only", "microbenchmarks", "--out", str(tmp_path)]) == 130
    assert (tmp_path / "results.json").read_text() == earlier or not earlier
    assert read_json(tmp_path / "results.json").outcomes == []


def test_an_unwritable_directory_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.csv").mkdir()
    assert main(["paper", "--loopback", "--only", "microbenchmarks", "--out", str(tmp_path)]) == 1
    assert "results.csv" in capsys.readouterr().err
