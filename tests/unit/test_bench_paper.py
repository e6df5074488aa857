"""The published experiments: which cells they are, how they are named, and what a simulation of them weighs."""

import itertools
import math
import subprocess
import sys
from collections import Counter

import pytest

from partisan import etf
from partisan.bench.paper.cells import AFFINITY, DISTERL, PARTISAN, Cell, writes_of
from partisan.bench.paper.experiments import (
    ALL,
    NAMES,
    SIZES,
    UnknownName,
    Wish,
    cell_of,
    estimate,
    experiment_of,
    tasks_of,
    text_of,
)
from partisan.bench.paper.nodes import configuration, options_of, spec_text
from partisan.bench.paper.workloads import scale_node
from partisan.bench.paper.workloads.ring import is_write


@pytest.mark.parametrize("size", SIZES)
def test_every_cell_is_read_as_it_was_written(size: str) -> None:
    tasks = tasks_of(Wish(size))
    assert {task.cell.experiment for task in tasks} == set(NAMES)
    assert all(cell_of(text_of(task.cell)) == task.cell for task in tasks)
    assert max(Counter(text_of(task.cell) for task in tasks).values()) == 1


def test_cells_of_one_place_are_together() -> None:
    places = [task.cell.place for task in tasks_of(Wish())]
    assert len(set(places)) == 1 + sum(a != b for a, b in itertools.pairwise(places))


def test_the_quick_size_has_every_experiment_and_fits_twenty_minutes() -> None:
    tasks = tasks_of(Wish("quick"))
    assert {task.cell.experiment for task in tasks} == set(NAMES)
    assert estimate(tasks) < 19 * 60


def test_the_full_size_is_the_published_one_and_says_nothing_of_scaling() -> None:
    tasks = tasks_of(Wish("full", only=("microbenchmarks-highlatency",)))
    assert {(task.cell.octets, task.cell.rtt_ms, task.messages) for task in tasks} == {(512 * 1024, 20.0, 10_000)}
    assert {task.cell.actors for task in tasks} == {16, 32, 64, 128}
    assert {task.scaled for task in tasks} == {""}


def test_every_actor_of_a_pair_sends_as_many_messages_whatever_its_transport() -> None:
    tasks = tasks_of(Wish("quick", only=("microbenchmarks", "microbenchmarks-largepayload")))
    by_place = {(task.cell.actors, task.cell.octets): task.messages for task in tasks}
    assert by_place == {(16, 512 << 10): 57, (128, 512 << 10): 7, (16, 8 << 20): 3, (32, 8 << 20): 3}
    assert all(task.messages == by_place[task.cell.actors, task.cell.octets] for task in tasks)
    assert "57 messages an actor instead of 10,000; at most 20 s" in tasks[0].scaled


def test_what_is_smaller_than_published_is_said() -> None:
    (task,) = tasks_of(Wish("quick", cells=("echo-perf/disterl/disterl/7x1048576@20",)))
    assert "1 s instead of 120 s" in task.scaled
    assert "2 repetitions instead of 5" in task.scaled
    assert "7 actors instead of 16, 32, 64, 128" in task.scaled
    assert "1,048,576 octets instead of" in task.scaled


def test_wishes_narrow_and_replace_what_is_measured() -> None:
    wish = Wish("quick", ("fsm-perf",), ("partisan",), (3,), (5,), (7.0,), repeat=2, seconds=0.5, ratio="50/50")
    (task,) = tasks_of(wish)
    group = AFFINITY.with_parallelism(8)
    assert task.cell == Cell("fsm-perf", "kvs", "partisan", group, 3, 5, 7.0, "50/50")
    assert (task.repetitions, task.seconds) == (2, 0.5)


def test_a_simulation_keeps_its_places_whatever_payload_and_network_are_wished() -> None:
    tasks = tasks_of(Wish("quick", ("scale",), octets=(5,), rtts=(7.0,), actors=(8,)))
    assert {(task.cell.actors, task.cell.octets, task.cell.rtt_ms) for task in tasks} == {(8, 0, 0.0)}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: experiment_of("microbenchmark"), "did you mean 'microbenchmarks'"),
        (lambda: tasks_of(Wish(transports=("distrel",))), "did you mean 'disterl'"),
        (lambda: cell_of("echo-perf/disterl/partisna/1x1@1"), "did you mean 'partisan'"),
        (lambda: cell_of("echo-perf"), "no cell of the form EXPERIMENT/"),
        (lambda: cell_of("echo-perf/disterl/disterl/1x1@1:0"), "no cell of the form EXPERIMENT/"),
        (lambda: experiment_of("zzz"), "one of microbenchmarks"),
        (lambda: cell_of("head-of-line/partisan/partisan/1x16@1/three chanels"), "did you mean 'three channels'"),
        (lambda: cell_of("scale/partisan/partisan/32x0@0/hyparvew"), "did you mean 'hyparview'"),
        (lambda: cell_of("scale/partisan/partisan/32x5@0/hyparview"), "what is simulated is written Nx0@0"),
        (lambda: cell_of("echo-perf/raw/partisan/1x0@1"), "all else has a payload"),
        (lambda: cell_of("echo-perf/raw/partisan/0x1@1"), "no cell of the form EXPERIMENT/"),
        (lambda: cell_of("echo-perf/raw/partisan/1x1@1/90/10"), "echo-perf has no variants: '90/10'"),
        (lambda: cell_of("echo-perf/disterl/partisan/1x1@1"), "disterl has but one configuration group, 'disterl'"),
        (lambda: cell_of("echo-perf/partisan/disterl/1x1@1"), "partisan has no configuration group 'disterl'"),
        (lambda: cell_of("echo-perf/raw/partisan/1x1@10001"), "no round trip is longer than 10000 ms"),
        (lambda: cell_of("fsm-perf/partisan/partisan/1x1@1/90/20"), "no ratio of reads and writes that make 100"),
        (lambda: tasks_of(Wish(ratio="half")), "'half' is no ratio of reads and writes"),
        (lambda: tasks_of(Wish(only=("echo-perf",), ratio="50/50")), "is of fsm-perf and kvs-latency, and neither"),
        (lambda: tasks_of(Wish(cells=("scale/partisan/partisan/32x0@0",), actors=(1,))), "nothing chooses among cells"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(call: object, says: str) -> None:
    assert callable(call)
    with pytest.raises(UnknownName, match=says):
        call()


def test_a_ratio_is_kept_by_every_hundred_operations_and_its_writes_are_spread() -> None:
    assert [writes_of(each) for each in ("100/0", "90/10", "33/67", "0/100")] == [0, 10, 67, 100]
    for writes in (0, 1, 10, 33, 40, 50, 67, 100):
        chosen = [count for count in range(1, 101) if is_write(count, writes)]
        assert len(chosen) == writes
        assert all(b - a <= math.ceil(100 / writes) for a, b in itertools.pairwise(chosen))
    assert [count for count in range(1, 31) if is_write(count, 10)] == [10, 20, 30]


def test_the_parallelism_of_a_group_is_part_of_a_cells_name() -> None:
    cell = Cell("kvs-latency", "kvs", "partisan", AFFINITY.with_parallelism(8), 8, 1, 1.5, "90/10")
    name = "kvs-latency/partisan/partisan_with_partitioned_parallelism_and_channels*8/8x1@1.5/90/10"
    assert text_of(cell) == name
    assert cell_of(name) == cell


def test_the_scale_of_windows_is_part_of_a_cells_name_and_its_place() -> None:
    cell = Cell("echo-perf", "echo", "disterl", DISTERL, 3, 1 << 20, 20.0, scale=8)
    assert text_of(cell) == "echo-perf/disterl/disterl/3x1048576@20:8"
    assert cell_of(text_of(cell)) == cell
    assert cell_of("echo-perf/disterl/disterl/3x1048576@20").place != cell.place


def test_what_scaled_windows_mean_is_said_at_the_published_counts_too() -> None:
    tasks = tasks_of(Wish("full", only=("echo-perf-scaled",)))
    assert {(task.cell.octets, task.cell.scale) for task in tasks} == {(1 << 20, 8)}
    (said,) = {task.scaled for task in tasks}
    assert said.startswith("1 MiB for 8 MiB, and TCP's greatest windows 1/8 of the machine's, so that")
    assert "instead of" not in said


def test_the_older_set_up_of_the_store_is_measured_once_and_is_what_its_ratio_gives() -> None:
    cells = [task.cell for task in tasks_of(Wish("quick", ("fsm-perf",), ("disterl", "partisan")))]
    older = [cell for cell in cells if cell.variant == "50/50"]
    assert {cell.place for cell in older} == {("fsm-perf", "50/50", 128, 1 << 20, 20.0, 1)}
    assert [cell.group.parallelism for cell in older] == [1, 8]
    tasks = tasks_of(Wish("quick", ("fsm-perf",), ("disterl", "partisan"), ratio="50/50"))
    assert [task.cell for task in tasks] == older
    assert tasks[0].scaled == "2 s instead of 120 s: to fit the time that two cores have"
    assert len(cells) > len(tasks_of(Wish("quick", ("fsm-perf",), ("disterl", "partisan"), ratio="70/30"))) > len(older)


def test_the_transports_of_an_experiment_are_the_harnesss_groups() -> None:
    found = experiment_of("microbenchmarks").configurations()
    assert found[0] == ("disterl", DISTERL)
    assert [name for name, _ in found] == ["disterl", *["partisan-erlang"] * 3, *["partisan"] * 3]
    assert ("partisan", PARTISAN) in found
    assert all(each.published.rtts for each in ALL)


def test_a_group_is_the_same_to_our_nodes_and_to_real_ones() -> None:
    assert options_of(AFFINITY) == {
        "parallelism": 16,
        "channels": {name: {"monotonic": False} for name in ("gossip", "broadcast", "vnode")},
    }
    text = configuration("a@10.0.0.1", 10200, AFFINITY)
    assert "{parallelism,16}" in text
    assert "vnode=>#{parallelism=>16,monotonic=>false,compression=>false}" in text
    assert "{peer_ip,{10,0,0,1}}" in text
    assert "undefined=>#{parallelism=>16" in spec_text("a@10.0.0.1", 10200, AFFINITY)


def test_runs_at_one_time_take_other_ports_for_their_nodes() -> None:
    ask = "from partisan.bench.paper.nodes import free_port; print([free_port() for _ in range(20)])"
    runs = [subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True) for _ in range(2)]
    mine, theirs = ([int(each) for each in run.stdout.strip()[1:-1].split(",")] for run in runs)
    assert len(set(mine)) == len(set(theirs)) == 20
    assert len(set(mine) & set(theirs)) < 5, "of 22,568"


def test_counters_are_merged_node_by_node() -> None:
    lanes = scale_node.Lanes(4)

    def packed(*counts: int) -> int:
        return sum(count << scale_node.LANE * number for number, count in enumerate(counts))

    assert lanes.merge(packed(1, 5, 0, 32767), packed(2, 3, 7, 1)) == packed(2, 5, 7, 32767)
    assert lanes.merge(packed(0, 0, 0, 0), packed(0, 0, 0, 9)) == packed(0, 0, 0, 9)
    assert lanes.counting(packed(0, 1, 0, 32767)) == 2


def test_a_counter_weighs_what_its_term_does() -> None:
    lanes = scale_node.Lanes(3)
    names = ["n0000@10.0.0.1", "n0001@10.0.0.1", "n0002@10.0.0.1"]
    weights = scale_node.Weights(lanes, names)
    weights.through(scale_node.Propagated(1 + (200 << 2 * scale_node.LANE)))
    counter = {etf.Atom(names[0]): 1, etf.Atom(names[2]): 200}
    term = (etf.Atom("forward_message"), etf.Atom("counter"), (etf.Atom("state"), counter))
    assert weights.octets == 4 + len(etf.encode(term))
    assert weights.overlay == 0


@pytest.mark.parametrize("overlay", ["client-server", "hyparview"])
def test_counters_agree_in_the_end_and_equal_seeds_cost_the_same(overlay: str) -> None:
    found = scale_node.simulate(overlay, 12, 3, minutes=1.0)
    assert found["agreed"]
    assert 0 < found["overlay_octets"] < found["octets"]
    assert (found["server_rate"] > 0) == (overlay == "client-server")
    assert found == scale_node.simulate(overlay, 12, 3, minutes=1.0)
    assert not math.isclose(found["octets"], scale_node.simulate(overlay, 12, 4, minutes=1.0)["octets"], rel_tol=1e-9)
