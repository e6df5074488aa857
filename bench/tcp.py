"""Compare settings of TCP and of our writes over a long way: `python bench/tcp.py [ROUNDS [SETTING,.. [LOSS]]]`.

Two or three nodes of ours with 4 channels of 16 connections, at a round trip of 20 ms on an emulated network, which
needs root. Rounds of all settings alternate; a setting's figure at a point is the median of its ratios to the first one
of the same round, with the least and the greatest. Above 1 it is better. LOSS is the part of the packets that is lost.
About 16 seconds a setting a round.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from partisan.bench.measure import MeasurementFailed
from partisan.bench.netem import Network
from partisan.bench.paper.cells import AFFINITY, Cell, Outcome
from partisan.bench.paper.networks import Hosts
from partisan.bench.paper.workloads import find
from partisan.bench.paper.workloads.base import Amount
from partisan.bench.report import table

ROUNDS = 5
KIB = 1024
RTT_MS = 20.0
CONGESTION, UNSENT = "net.ipv4.tcp_congestion_control", "net.ipv4.tcp_notsent_lowat"
IDLE = "net.ipv4.tcp_slow_start_after_idle"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is set.

    Attributes:
        sysctls: of the hosts.
        options: of the nodes, as environment variables.
    """

    sysctls: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


SETTINGS = {
    "as it is": Setting(),
    "not sent 128 KiB": Setting({UNSENT: str(128 * KIB)}),
    "not sent 512 KiB": Setting({UNSENT: str(512 * KIB)}),
    "reno": Setting({CONGESTION: "reno"}),
    "cubic": Setting({CONGESTION: "cubic"}),
    "bbr": Setting({CONGESTION: "bbr"}),
    "no slow start after idle": Setting({IDLE: "0"}),
    "reno without slow start after idle": Setting({CONGESTION: "reno", IDLE: "0"}),
    "cubic without slow start after idle": Setting({CONGESTION: "cubic", IDLE: "0"}),
    "writes of 128 KiB": Setting(options={"PARTISAN_WRITE_OCTETS": str(128 * KIB)}),
    "writes of 1 MiB": Setting(options={"PARTISAN_WRITE_OCTETS": str(1024 * KIB)}),
    "all connections": Setting(options={"PARTISAN_SHARE_CONNECTIONS": "false"}),
}


def points() -> dict[str, tuple[Cell, Amount]]:
    """What is measured, by name."""
    found = {}
    for actors, messages in ((16, 76), (128, 9)):
        cell = Cell("microbenchmarks-highlatency", "micro", "partisan", AFFINITY, actors, 512 * KIB, RTT_MS)
        found[f"pairs, 512 KiB, {actors}"] = cell, Amount(messages, 20.0)
    for actors in (1, 32):
        cell = Cell("perf-suite", "echo", "partisan", AFFINITY, actors, 1024 * KIB, RTT_MS)
        found[f"echo, 1 MiB, {actors}"] = cell, Amount(100_000, 2.0)
    return found


def measure(setting: Setting, loss: float = 0.0) -> dict[str, Outcome]:
    """Measure all points once, each after a run that does not count."""
    found = {}
    os.environ.update(setting.options)
    try:
        for workload in ("micro", "echo"):
            chosen = {name: each for name, each in points().items() if each[0].workload == workload}
            kind = find(workload)
            with Network(len(kind.HOSTS), rtt=RTT_MS / 1000, loss=loss, settings=setting.sysctls) as network:
                nodes = kind(next(iter(chosen.values()))[0], Hosts(network, kind.HOSTS))
                try:
                    nodes.start()
                    for name, (cell, amount) in chosen.items():
                        nodes.run(cell, Amount(amount.messages, 0.3))
                        found[name] = Outcome(cell, "measured", repetitions=(nodes.run(cell, amount),))
                finally:
                    nodes.stop()
    finally:
        for name in setting.options:
            del os.environ[name]
    return found


def can_be_had(name: str) -> bool:
    """Whether hosts can be set so; if not, say why."""
    try:
        with Network(2, rtt=RTT_MS / 1000, settings=SETTINGS[name].sysctls):
            return True
    except MeasurementFailed as error:
        print(f"{name} is skipped: {error}")
        return False


def figures(outcome: Outcome) -> tuple[float, float, float]:
    """Operations a second, and how small the median and the 99th percentile are: one by milliseconds."""
    return outcome.rate, 1 / outcome.median_ms, 1 / outcome.p99_ms


def main() -> None:
    """Measure, and print a table for each point."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    names = [next(iter(SETTINGS)), *sys.argv[2].split(",")] if len(sys.argv) > 2 else list(SETTINGS)
    loss = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    if reason := Network.unavailable():
        sys.exit(f"no network can be emulated: {reason}")
    found: dict[str, list[dict[str, Outcome]]] = {name: [] for name in names}
    names = [name for name in names if can_be_had(name)]
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(measure(SETTINGS[name], loss))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for point in points():
        print(f"\n{point} actors, {RTT_MS:g} ms")
        lines = [[name, *_line(found, name, point)] for name in names]
        print(table(("setting", "operations/s", "ratio", "median ms", "ratio", "p99 ms", "ratio"), lines))


def _line(found: Mapping[str, list[dict[str, Outcome]]], name: str, point: str) -> list[str]:
    first = [figures(each[point]) for each in next(iter(found.values()))]
    own = [figures(each[point]) for each in found[name]]
    line = []
    for column in range(3):
        ratios = [mine[column] / theirs[column] for mine, theirs in zip(own, first, strict=True)]
        value = statistics.median(each[column] for each in own)
        line += [f"{value if column == 0 else 1 / value:,.1f}"]
        line += [f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
    return line


if __name__ == "__main__":
    main()
