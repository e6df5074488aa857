"""`python -m partisan.sim` as its user meets it."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import select
import signal
import subprocess
import sys

import pytest

from partisan.sim import __main__ as command_line
from partisan.sim.scenario import InTurn, Outcome, Scenario


def run(*arguments, hash_seed="random"):
    return subprocess.run(
        [sys.executable, "-m", "partisan.sim", *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def without_speed(done):
    costs = ("a second of one core", "an event costs", "KiB a node")
    return [line for line in done.stderr.splitlines() if not any(cost in line for cost in costs)]


def test_it_says_what_events_and_nodes_cost():
    done = run("hyparview-paper", "--nodes", "100", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^[\d,]+ events in [\d.]+ s, [\d,]+ a second of one core$", done.stderr, re.M)
    assert re.search(r"^an event costs [\d,]+ turns of an empty loop, of \d+ ns here and now$", done.stderr, re.M)
    cost = re.search(r"^([\d.]+) KiB a node, with 100 of them$", done.stderr, re.M)
    assert 4.0 < float(cost[1]) < 400.0
    assert "published values are of 10,000 nodes, not 100" in done.stderr
    assert re.search(r"^path length\n.*\n +hyparview +stable +- ", done.stdout, re.M)


def test_a_small_mesh_is_measured_and_written(tmp_path):
    done = run("full-mesh", "--nodes", "12", "--seed", "3", "--json", f"{tmp_path}/r.json", "--out", f"{tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "edges a node" in done.stdout
    assert "seed 3, digest" in done.stderr
    rows = json.loads((tmp_path / "r.json").read_text())
    assert {(row["protocol"], row["seed"]) for row in rows} == {("full", 3)}
    edges = [row for row in rows if row["figure"] == "edges a node"]
    assert [(row["published"], row["measured"]) for row in edges] == [(None, 11.0)]
    assert (tmp_path / "out" / "full-mesh.csv").exists()


def test_equal_seeds_say_the_same_whatever_the_hash_seed_and_another_seed_does_not():
    first, again, other = (
        run("full-mesh", "--nodes", "12", "--seed", seed, hash_seed=hash_seed)
        for seed, hash_seed in (("1", "1"), ("1", "2"), ("2", "1"))
    )
    assert (first.stdout, without_speed(first)) == (again.stdout, without_speed(again))
    assert without_speed(first) != without_speed(other)


def test_with_the_codec_the_same_happens():
    pytest.importorskip("partisan.etf", reason="needs the compiled codec")
    plain, encoded = (run("full-mesh", "--nodes", "12", *more) for more in ((), ("--codec",)))
    assert encoded.returncode == 0, encoded.stderr
    assert [line.split()[:2] for line in encoded.stdout.splitlines()] == [
        line.split()[:2] for line in plain.stdout.splitlines()
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nothing",), "invalid choice"),
        (("full-mesh", "--nodes", "0"), "whole number"),
        (("full-mesh", "--nodes", "1"), "2 nodes at least"),
        (("full-mesh", "--seed", "x"), "invalid int"),
    ],
)
def test_wrong_options_are_explained(arguments, problem):
    done = run(*arguments)
    assert done.returncode == 2
    assert problem in done.stderr


def test_a_path_that_cannot_be_written_costs_no_run(tmp_path):
    done = run("full-mesh", "--json", f"{tmp_path}/no/such/place.json")
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert "know each other" not in done.stderr


def test_a_run_that_fails_says_how_to_repeat_it(monkeypatch, capsys):
    def fail(options):
        raise RuntimeError("it went wrong")

    monkeypatch.setitem(command_line.SCENARIOS, "broken", Scenario("broken", "fails", fail))
    assert command_line.main(["broken", "--seed", "5"]) == 1
    said = capsys.readouterr().err
    assert "it went wrong" in said
    assert "python -m partisan.sim broken --seed 5" in said


def test_a_scenario_without_a_codec_refuses_to_use_one(monkeypatch, capsys):
    monkeypatch.setitem(command_line.SCENARIOS, "bare", Scenario("bare", "has none", lambda options: Outcome()))
    with pytest.raises(SystemExit):
        command_line.main(["bare", "--codec"])
    assert "no codec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        *(((name, "--full"), "no --full") for name in ("full-mesh", "xbot")),
        *(
            ((name, "--seeds", "5"), "no --seeds")
            for name in ("full-mesh", "hyparview-paper", "xbot", "scale", "churn")
        ),
        *(
            ((name, "--baselines"), f"no baselines of {name}")
            for name in ("full-mesh", "plumtree-paper", "xbot", "scale", "churn")
        ),
        *(((name, "--trace", "none"), "writes no trace") for name in ("plumtree-paper", "scale")),
        (("hyparview-paper", "--baselines", "--codec"), "with a codec"),
        (("scale", "--codec"), "no codec"),
        (("full-mesh", "--jobs", "2"), "no --jobs"),
        (("churn", "--jobs", "2", "--trace", "none"), "one process does all"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(arguments, problem, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("name", command_line.SCENARIOS)
def test_every_option_that_is_taken_is_read_by_the_scenario(name):
    """As names in its source, or in that of what it is made of."""
    scenario = command_line.SCENARIOS[name]
    source = inspect.getsource(sys.modules[scenario.run.__module__])
    assert ("options.full" in source) == scenario.full
    assert ("options.seeds" in source) == scenario.seeds
    assert ("options.runner" in source) == scenario.points


def double_and_spoil(state, point):
    state.append(point)
    return sum(state)


@pytest.mark.parametrize("runner", [InTurn(), command_line.Forked(1), command_line.Forked(3)])
def test_each_point_is_measured_from_the_same_state(runner):
    if not isinstance(runner, InTurn) and not command_line.Forked.is_possible():
        pytest.skip("no fork here")
    assert runner.points(lambda: [100], double_and_spoil, range(7)) == [100 + n for n in range(7)]


@pytest.mark.skipif(not command_line.Forked.is_possible(), reason="no fork here")
def test_a_point_that_fails_fails_the_run(capfd):
    with pytest.raises(command_line.PointFailed, match="point 0"):
        command_line.Forked(2).points(lambda: 1, lambda state, point: state / point, [0, 1])
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("runner", [InTurn(), command_line.Forked(1), command_line.Forked(2), command_line.Forked(5)])
def test_what_has_points_of_its_own_is_done_for_each_in_order(runner):
    if not isinstance(runner, InTurn) and not command_line.Forked.is_possible():
        pytest.skip("no fork here")

    def work(inner, seed):
        return inner.points(lambda: [seed], double_and_spoil, range(3))

    assert runner.each(work, (10, 20, 30)) == [[10, 11, 12], [20, 21, 22], [30, 31, 32]]


@pytest.mark.skipif(not command_line.Forked.is_possible(), reason="no fork here")
def test_a_run_that_fails_leaves_no_process_that_measures():
    begun, begins = os.pipe()
    living, lives = os.pipe()  # at its end once nobody has the side that is written to

    def wait_for_ever(state, point):
        os.write(begins, b"x")
        signal.pause()

    def work(inner, fails):
        if fails:
            os.close(lives)
            os.read(begun, 1)
            sys.exit(1)
        return inner.points(lambda: None, wait_for_ever, [0])

    with pytest.raises(command_line.PointFailed, match="point True"):
        command_line.Forked(2).each(work, [False, True])
    os.close(lives)
    assert select.select([living], [], [], 30.0)[0]
    assert os.read(living, 1) == b""
    for end in (begun, begins, living):
        os.close(end)


ENDLESS = """
import os, sys
from partisan.sim import __main__ as command_line
from partisan.sim.scenario import Scenario

def wait_for_ever(state, point):
    os.write(BEGINS, b"x")
    while True:
        pass  # as those that measure: a signal just before a call that waits would be seen after it

def run(options):
    options.runner.each(lambda inner, seed: inner.points(lambda: None, wait_for_ever, [0, 1]), [0, 1])

command_line.SCENARIOS["endless"] = Scenario("endless", "does not end", run)
sys.exit(command_line.main(["endless", "--jobs", "4"]))
"""


HANGUP = pytest.param(
    signal.SIGHUP,
    129,
    marks=pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="nohup has it ignored"),
)


@pytest.mark.skipif(not command_line.Forked.is_possible(), reason="no fork here")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), HANGUP])
def test_a_run_that_is_ended_ends_the_processes_that_measure_without_a_traceback(number, status):
    begun, begins = os.pipe()
    script = ENDLESS.replace("BEGINS", str(begins))
    ended = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, pass_fds=[begins], start_new_session=True
    )
    os.close(begins)  # so that it is at its end once none of those processes lives
    try:
        told = b""
        while len(told) < 4:
            assert select.select([begun], [], [], 30.0)[0]
            told += os.read(begun, 4)
        if number == signal.SIGINT:
            os.killpg(ended.pid, number)  # as a terminal does
        else:
            ended.send_signal(number)
        assert ended.wait(30.0) == status
        assert select.select([begun], [], [], 30.0)[0]
        assert os.read(begun, 1) == b""
        assert ended.stderr.read() == ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(ended.pid, signal.SIGKILL)
        ended.stderr.close()
        os.close(begun)
