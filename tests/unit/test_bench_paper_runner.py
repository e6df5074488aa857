"""A run of the published experiments: turns, failures, skips, interruptions, and what is left afterwards."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from partisan.bench.measure import MeasurementFailed
from partisan.bench.paper.cells import AFFINITY, DISTERL, PARTISAN, Cell, Repetition
from partisan.bench.paper.cli import saving
from partisan.bench.paper.experiments import Task
from partisan.bench.paper.facts import preflight
from partisan.bench.paper.load import UNKNOWN, Load, look
from partisan.bench.paper.networks import Networks
from partisan.bench.paper.progress import Lines
from partisan.bench.paper.results import Run, read_json
from partisan.bench.paper.runner import Runner
from partisan.bench.paper.workloads import find
from partisan.bench.paper.workloads.base import Amount, Workload, answer
from partisan.bench.paper.workloads.micro import Micro
from partisan.bench.places import LOOPBACK
from partisan.bench.procs import Child, ChildFailed

WAIT = 20.0


class Noted(Workload):
    """A workload that measures nothing and writes down what is asked of it."""

    log: ClassVar[list[str]] = []
    faults: ClassVar[dict[str, BaseException]] = {}

    @classmethod
    def why_not(cls, cell: Cell) -> str | None:
        return "not here" if cell.transport == "raw" else None

    def _note(self, what: str, cell: Cell) -> None:
        self.log.append(f"{what} {cell.transport} {cell.actors}")
        if (fault := self.faults.get(self.log[-1])) is not None:
            raise fault

    def start(self) -> None:
        self._note("start", self.cell)

    def run(self, cell: Cell, amount: Amount) -> Repetition:
        self._note(f"run {amount.seconds:g}", cell)
        return Repetition(10, 2.0, (1000.0, 3000.0))

    def stop(self) -> None:
        self.log.append(f"stop {self.cell.transport}")


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noted, "log", [])
    monkeypatch.setattr(Noted, "faults", {})


def cell(transport: str, actors: int = 1, experiment: str = "microbenchmarks", rtt: float = 0.0) -> Cell:
    group = DISTERL if transport == "disterl" else PARTISAN
    return Cell(experiment, "micro", transport, group, actors, 16, rtt)


def measure(tasks: Sequence[Task], refused: dict[Cell, str] | None = None, into: Run | None = None) -> Run:
    into = into if into is not None else Run()
    said: list[str] = []
    networks = Networks(said.append, emulate=False)
    runner = Runner(networks, Lines(said.append), lambda cell: f"again {cell.transport}", refused, lambda name: Noted)
    runner.run(tasks, into)
    assert said
    return into


def test_transports_of_a_place_take_turns_and_are_started_once() -> None:
    tasks = [Task(cell(name, actors), 9, 2.0, 2) for actors in (1, 4) for name in ("disterl", "partisan")]
    run = measure(tasks)
    warm, turn = "run 0.3", "run 2"
    assert Noted.log == [
        "start disterl 1",
        f"{warm} disterl 1",
        f"{turn} disterl 1",
        "start partisan 1",
        f"{warm} partisan 1",
        f"{turn} partisan 1",
        f"{turn} disterl 1",
        f"{turn} partisan 1",
        *(f"{each} {name} 4" for name in ("disterl", "partisan") for each in (warm, turn)),
        f"{turn} disterl 4",
        f"{turn} partisan 4",
        "stop disterl",
        "stop partisan",
    ]
    assert [len(each.repetitions) for each in run.outcomes] == [2] * 4
    assert run.outcomes[0].rate == 5.0
    assert run.outcomes[0].median_ms == 1.0
    assert run.outcomes[0].command == "again disterl"


def test_what_was_measured_so_far_is_kept_after_each_place(tmp_path: Path) -> None:
    kept: list[tuple[int, bool]] = []
    said: list[str] = []
    path, ends = tmp_path / "results.json", "the machine stops here"
    save = saving(path, said.append, every=0.0)

    def keep(run: Run) -> None:
        save(run)
        found = read_json(path)
        kept.append((len(found.outcomes), found.interrupted))
        if len(kept) == 2:
            raise RuntimeError(ends)

    tasks = [Task(cell(name, actors), 9, 1.0, 1) for actors in (1, 4, 9) for name in ("disterl", "partisan")]
    networks = Networks(said.append, emulate=False)
    runner = Runner(networks, Lines(said.append), lambda cell: "", None, lambda name: Noted, save=keep)
    with pytest.raises(RuntimeError, match=ends):
        runner.run(tasks, Run())
    assert kept == [(2, True), (4, True)]
    saving(path, said.append)(Run())  # too soon
    assert len(read_json(path).outcomes) == 4
    saving(tmp_path / "nowhere" / "results.json", said.append, every=0.0)(Run())
    assert "No such file" in said[-1]


def test_what_cannot_be_tried_is_skipped_with_the_reason() -> None:
    refused = {cell("partisan"): "too little memory"}
    run = measure([Task(cell(name), 9, 1.0, 1) for name in ("raw", "partisan", "disterl")], refused)
    found = [(each.status, each.reason) for each in run.outcomes]
    assert found == [("skipped", "not here"), ("skipped", "too little memory"), ("measured", "")]


def test_a_cell_that_fails_is_ended_keeps_what_it_has_and_lets_the_others_go_on() -> None:
    Noted.faults["run 2 disterl 1"] = MeasurementFailed("it\n  broke")
    tasks = [Task(cell(name), 9, 2.0, 2) for name in ("disterl", "partisan")]
    run = measure([*tasks, Task(cell("disterl", 4), 9, 1.0, 1)])
    assert [(each.status, each.reason) for each in run.outcomes] == [
        ("failed", "it broke"),
        ("measured", ""),
        ("measured", ""),
    ]
    assert Noted.log.count("run 2 disterl 1") == 1
    assert [line for line in Noted.log if line.startswith("start disterl")] == ["start disterl 1", "start disterl 4"]


def test_nodes_that_do_not_start_are_ended_too() -> None:
    Noted.faults["start disterl 1"] = ChildFailed("no ready line")
    run = measure([Task(cell("disterl"), 9, 1.0, 1)])
    assert run.outcomes[0].reason == "no ready line"
    assert Noted.log == ["start disterl 1", "stop disterl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_keeps_what_was_measured_and_stops_all(number: int) -> None:
    class Pressing(Noted):
        def run(self, cell: Cell, amount: Amount) -> Repetition:
            if cell.actors == 4:
                signal.raise_signal(number)
            return super().run(cell, amount)

        def stop(self) -> None:
            signal.raise_signal(number)  # once more, while things are ended
            super().stop()

    def terminated(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminated)
    run = Run()
    runner = Runner(
        Networks(print, emulate=False), Lines(lambda text: None), lambda cell: "", {}, lambda name: Pressing
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.run([Task(cell("disterl", actors), 9, 1.0, 1) for actors in (1, 4, 8)], run)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert run.interrupted
    assert [each.status for each in run.outcomes] == ["measured"]
    assert Noted.log[-1] == "stop disterl"


def test_another_experiment_or_network_gets_nodes_of_its_own() -> None:
    tasks = [
        Task(cell("disterl", 1, *where), 9, 1.0, 1) for where in (("echo-perf", 0.0), ("echo-perf", 1.0), ("x", 1.0))
    ]
    run = measure(tasks)
    assert [line for line in Noted.log if "run" not in line] == ["start disterl 1", "stop disterl"] * 3
    assert [each.scaled for each in run.outcomes] == [
        "",
        *["on plain loopback, without a round trip of 1 ms: it was not wished"] * 2,
    ]
    assert {each.link_share for each in run.outcomes} == {None}


def test_the_load_between_two_looks_is_told_as_parts_of_all_processors() -> None:
    before = Load(10, 100, 5)
    assert before.shares(Load(60, 200, 30)) == {"cpu": 0.5, "relay": 0.25}
    assert before.shares(Load(60, 200, None)) == {"cpu": 0.5}
    assert before.shares(before) == before.shares(UNKNOWN) == UNKNOWN.shares(before) == {}


def test_the_relays_part_of_the_load_is_what_its_process_has_computed() -> None:
    before, until = look(os.getpid()), time.process_time() + 0.2
    while time.process_time() < until:
        pass
    found = before.shares(look(os.getpid()))
    assert 0 < found["relay"] <= 1
    assert 0 < found["cpu"] <= 1
    ended = subprocess.Popen(["true"])
    ended.wait(WAIT)
    assert look(ended.pid).relay is None


def test_a_workload_without_a_module_is_skipped() -> None:
    with pytest.raises(LookupError, match="no workload 'sprint'"):
        find("sprint")


def test_the_end_of_another_process_is_noticed_while_one_is_awaited() -> None:
    waiting = Child("patient", [sys.executable, "-c", "input()"])
    ending = Child("other", [sys.executable, "-c", "input(); raise SystemExit('worn out')"])
    try:
        ending.write_line("go")
        with pytest.raises(ChildFailed, match="the other ended with status 1: worn out"):
            answer(waiting, "{", WAIT, [ending])
    finally:
        waiting.stop()
        ending.stop()


def test_an_answer_that_is_no_object_is_a_failure() -> None:
    child = Child("babbler", [sys.executable, "-c", "print('[1', flush=True); print('[2]', flush=True); input()"])
    try:
        for _ in range(2):
            with pytest.raises(MeasurementFailed, match="the babbler answered"):
                answer(child, "[", WAIT)
    finally:
        child.stop()


def test_too_little_memory_and_disk_are_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Cell("microbenchmarks-largepayload", "micro", "partisan", AFFINITY, 10_000, 1 << 30, 1.0)
    found = preflight([Task(large, 9, 1.0, 1)], tmp_path, "it needs root")
    assert "too little memory" in found.refused[large]
    assert any("it needs root; everything runs on plain loopback" in note for note in found.notes)
    assert not found.fatal
    monkeypatch.setattr("partisan.bench.paper.facts.DISK_OCTETS", 1 << 60)
    assert "too little disk" in preflight([Task(cell("partisan"), 9, 1.0, 1)], tmp_path, "").fatal
    assert preflight([], tmp_path, "").fatal


def test_a_missing_erl_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    notes = preflight([Task(cell("disterl"), 9, 1.0, 1)], tmp_path, "").notes
    assert notes == ["disterl is skipped: not on the PATH: erl, erlc, epmd"]


@pytest.mark.parametrize(("transport", "group"), [("disterl", DISTERL), ("partisan", PARTISAN), ("partisan", AFFINITY)])
def test_pairs_of_actors_are_measured(transport: str, group: object) -> None:
    assert group in (DISTERL, PARTISAN, AFFINITY)
    here = Cell("microbenchmarks", "micro", transport, group, 4, 1024, 0.0)  # type: ignore[arg-type]
    if (reason := Micro.why_not(here)) is not None:
        pytest.skip(reason)
    workload = Micro(here, LOOPBACK)
    try:
        workload.start()
        for actors, octets in ((4, 1024), (2, 1 << 20), (6, 16)):
            found = workload.run(
                Cell("microbenchmarks", "micro", transport, here.group, actors, octets, 0.0), Amount(5, WAIT)
            )
            assert found.operations == len(found.micros) == 5 * actors
            # Both ends read one clock: a message takes some time, and less than all of them together.
            assert 0 < min(found.micros) <= max(found.micros) < found.seconds * 1e6
    finally:
        workload.stop()


def test_a_node_that_is_killed_fails_the_measurement_at_once() -> None:
    here = Cell("microbenchmarks", "micro", "partisan", PARTISAN, 2, 16, 0.0)
    workload = Micro(here, LOOPBACK)
    try:
        workload.start()
        assert workload._receivers is not None
        os.kill(workload._receivers.pid, signal.SIGKILL)
        with pytest.raises((ChildFailed, MeasurementFailed), match="receivers"):
            workload.run(here, Amount(10**9, 600.0))
    finally:
        workload.stop()


def emulated(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Networks:
    """Networks that are checked for a moment only, and write down what they say."""
    monkeypatch.setattr("partisan.bench.paper.networks.CHECK_SECONDS", 0.2)
    networks = Networks(said.append)
    if networks.missing:
        pytest.skip(networks.missing)
    return networks


def test_pairs_on_an_emulated_network_wait_for_its_way_and_say_how_full_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    networks = emulated(monkeypatch, said)
    far = Cell("microbenchmarks", "micro", "partisan", AFFINITY, 2, 1024, 10.0)
    run = Run()
    Runner(networks, Lines(said.append), lambda cell: "").run([Task(far, 3, WAIT, 1)], run)
    (outcome,) = run.outcomes
    assert (outcome.status, outcome.reason) == ("measured", "")
    # Half a round trip at least; 10 % are left to what the relay allows itself.
    assert min(outcome.repetitions[0].micros) > 4500
    assert outcome.link_share is not None
    assert 0 < outcome.link_share < 0.5
    assert 0 <= outcome.repetitions[0].extra["relay"] <= 1
    assert "loopback" not in outcome.scaled
    assert {link["rtt_ms"] for link in run.links} == {1.0, 10.0}


def test_a_network_whose_relay_is_killed_fails_one_cell_and_the_next_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    networks = emulated(monkeypatch, said)

    class Killing(Noted):
        def run(self, cell: Cell, amount: Amount) -> Repetition:
            found = super().run(cell, amount)
            if self.log.count("run 1 disterl 2") == 2 and networks.relay is not None:
                os.kill(networks.relay, signal.SIGKILL)
                assert _is_gone(networks.relay)
                self.log[-1] = "killed"
                raise MeasurementFailed("it said nothing")
            return found

    tasks = [Task(cell(name, actors, rtt=5.0), 9, 1.0, 2) for actors in (2, 3) for name in ("partisan", "disterl")]
    run = Run()
    Runner(networks, Lines(said.append), lambda cell: "", {}, lambda name: Killing).run(tasks, run)
    assert [(each.status, each.reason) for each in run.outcomes] == [
        ("measured", ""),
        ("failed", "the relay of the emulated network was killed (signal 9)"),
        ("measured", ""),
        ("measured", ""),
    ]
    after = Noted.log[Noted.log.index("killed") + 1 :]
    assert after[:4] == ["stop disterl", "stop partisan", "start partisan 3", "run 0.3 partisan 3"]
    assert after[5] == "start disterl 3"


def test_nodes_that_are_started_anew_are_warmed_again() -> None:
    class Stopped(Networks):
        def fate(self) -> str:
            return "was killed (signal 9)"

    Noted.faults["run 2 disterl 1"] = MeasurementFailed("it broke")
    tasks = [Task(cell(name), 9, 2.0, 2) for name in ("partisan", "disterl")]
    said: list[str] = []
    Runner(Stopped(said.append, emulate=False), Lines(said.append), lambda cell: "", {}, lambda name: Noted).run(
        tasks, Run()
    )
    assert Noted.log[-4:] == ["start partisan 1", "run 0.3 partisan 1", "run 2 partisan 1", "stop partisan"]


def test_windows_are_smaller_in_the_hosts_of_a_scaled_cell_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    networks = emulated(monkeypatch, said)
    found: dict[int, list[int]] = {}

    class Looking(Noted):
        def start(self) -> None:
            for name in ("tcp_rmem", "tcp_wmem"):
                command = self.place.command("b", ["cat", f"/proc/sys/net/ipv4/{name}"])
                words = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=True).stdout.split()
                found.setdefault(self.cell.scale, []).append(int(words[2]))

    run = Run()
    tasks = [Task(replace(cell("partisan", rtt=5.0), scale=scale), 3, WAIT, 1) for scale in (1, 8)]
    Runner(networks, Lines(said.append), lambda cell: "", {}, lambda name: Looking).run(tasks, run)
    assert [each.status for each in run.outcomes] == ["measured"] * 2
    assert found[8] == [each // 8 for each in found[1]]
    assert [line.split()[0] for line in Noted.log] == ["run", "run", "stop"] * 2
    checked = {(link["rtt_ms"], link["scale"]): [link["tcp_rmem"][2], link["tcp_wmem"][2]] for link in run.links}
    assert checked == {(1.0, 1): found[1], (5.0, 1): found[1], (5.0, 8): found[8]}
    assert all(each.link_share is not None for each in run.outcomes)
    assert any("5 ms with windows 1/8 of the machine's" in line for line in said)


@pytest.mark.parametrize("rtt", [20.0, 0.0])
def test_a_cell_of_scaled_windows_is_skipped_where_no_network_is_emulated(rtt: float) -> None:
    run = measure([Task(replace(cell("partisan", rtt=rtt), scale=8), 9, 1.0, 1)])
    assert [(each.status, each.reason) for each in run.outcomes] == [
        ("skipped", "windows are scaled on hosts of an emulated network alone: it was not wished")
    ]
    assert not Noted.log


def test_a_network_that_cannot_be_opened_fails_its_cells_and_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def check(networks: Networks, rtt_ms: float, scale: int) -> None:
        asked.append(rtt_ms)
        raise MeasurementFailed("the relay said nothing")

    monkeypatch.setattr(Networks, "_check", check)
    networks = Networks(print)
    networks.missing = ""
    run = Run()
    tasks = [Task(cell("partisan", actors, rtt=20.0), 9, 1.0, 1) for actors in (1, 2)]
    Runner(networks, Lines(lambda text: None), lambda cell: "", {}, lambda name: Noted).run(tasks, run)
    assert [(each.status, each.reason) for each in run.outcomes] == [("failed", "the relay said nothing")] * 2
    assert len(asked) == 1
    assert not Noted.log


HANGUP = pytest.param(
    signal.SIGHUP,
    129,
    marks=pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="nohup has it ignored"),
)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), HANGUP])
def test_ctrl_c_and_the_end_of_the_terminal_leave_no_process_and_write_what_was_measured(
    tmp_path: Path, number: int, status: int
) -> None:
    words = ["-m", "partisan.bench", "paper", "--loopback", "--only", "microbenchmarks", "--transports", "partisan"]
    words += ["--actors", "1,2", "--octets", "16", "--repeat", "1", "--seconds", "0.1", "--out", str(tmp_path)]
    # Enough of them that it cannot be done before the signal comes.
    command = Child("run", [sys.executable, *words, "--rtt", ",".join(map(str, range(50)))])
    try:
        command.read_until("[1/", WAIT * 2)
        children = [int(each) for each in Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()]
        os.kill(command.pid, number)
        while command.read_available():
            pass
        assert command.fate().startswith(f"ended with status {status}")
    finally:
        command.stop()
    for pid in children:
        assert _is_gone(pid)
    run = read_json(tmp_path / "results.json")
    assert run.interrupted
    assert run.outcomes[0].status == "measured"
    assert json.loads((tmp_path / "results.json").read_text())["interrupted"] is True
    assert (tmp_path / "results.csv").read_text().startswith("partisan,partisan,1,1,false,1,false,0.015625,1,0,")


def test_ctrl_c_ends_the_check_of_a_network_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Checked(Networks):
        def check(self, hosts: Sequence[str], rtt_ms: float, scale: int = 1) -> None:
            signal.raise_signal(signal.SIGINT)
            self._say("it goes on")

    said: list[str] = []
    runner = Runner(
        Checked(said.append, emulate=False), Lines(lambda text: None), lambda cell: "", {}, lambda name: Noted
    )
    with pytest.raises(KeyboardInterrupt):
        runner.run([Task(cell("disterl", rtt=1.0), 9, 1.0, 1)], Run())
    assert not said
    assert not Noted.log


def test_an_output_that_is_gone_loses_nothing_that_was_measured() -> None:
    class Gone(Lines):
        def done(self, outcome: object) -> None:
            raise BrokenPipeError

    run = Run()
    runner = Runner(Networks(print, emulate=False), Gone(lambda text: None), lambda cell: "", {}, lambda name: Noted)
    with pytest.raises(BrokenPipeError):
        runner.run([Task(cell(name), 9, 1.0, 1) for name in ("disterl", "partisan")], run)
    assert [each.status for each in run.outcomes] == ["measured"] * 2
    assert Noted.log[-2:] == ["stop disterl", "stop partisan"]


def _is_gone(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], WAIT)[0])
    finally:
        os.close(descriptor)
