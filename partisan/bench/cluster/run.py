"""Run the figures of the experiment one after the other, and say what each must reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from partisan.bench import erlang
from partisan.bench.goals import Goal
from partisan.bench.report import Row

from . import acked, loss, mesh

FIGURES = ("mesh", "acked", "memory", "kill", "cut")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        figures: of FIGURES.
        nodes: of the mesh.
        processes: that hold them.
        rest: seconds for which the mesh is left alone.
        times: how often a process is killed, and rounds of memory.
    """

    figures: Sequence[str] = FIGURES
    nodes: int = 64
    processes: int = 4
    rest: float = 30.0
    times: int = 9


@dataclass(slots=True)
class Results:
    """Rows for JSON, and goals."""

    rows: list[Row]
    goals: list[Goal]


Say = Callable[[str], None]


def run(plan: Plan, say: Say) -> Results:
    """Measure every figure of the plan. Raises MeasurementFailed."""
    results = Results([], [])
    for figure in plan.figures:
        MEASURES[figure](plan, results, say)
    return results


def _row(workload: str, transport: str, config: str, *, octets: int | None = None, us: float | None = None) -> Row:
    return Row("cluster", workload, transport, config, None, octets, None, None, us, None)


def _mesh(plan: Plan, results: Results, say: Say) -> None:
    found = mesh.run(plan.nodes, plan.processes, plan.rest)
    say(
        f"mesh of {found.nodes} nodes in {plan.processes} processes: joined within {found.joining:.1f} s, formed "
        f"{found.forming:.2f} s after the last join, {100 * found.cpu:.2f} % of a core each 16 nodes at rest"
    )
    config = f"{found.nodes} nodes"
    results.rows.append(_row("mesh", "partisan", config, us=found.forming * 1e6))
    results.rows.append(_row("rest", "partisan", config, us=found.cpu * 1e6))
    results.goals.append(Goal(f"mesh of {found.nodes}: seconds from the last join", found.forming, 15.0, True))
    results.goals.append(Goal("mesh: % of a core each 16 nodes at rest", 100 * found.cpu, 2.0, True))


def _acked(plan: Plan, results: Results, say: Say) -> None:
    found = acked.run(5, 1.0)
    ratios = [with_ack / without for with_ack, without in found]
    with_ack, without = (statistics.median(rates) for rates in zip(*found, strict=True))
    median, spread = statistics.median(ratios), f"{min(ratios):.2f}..{max(ratios):.2f}"
    say(f"one-way, 16 B: {with_ack:,.0f} messages/s acknowledged, {without:,.0f} not: {median:.2f}x ({spread})")
    for config, rate in (("acknowledged", with_ack), ("default", without)):
        results.rows.append(Row("cluster", "oneway", "partisan", config, 1, 16, rate, rate * 16, None, None))
    results.goals.append(Goal("one-way, 16 B: acknowledged against not", median, 0.4, False, spread))


def _memory(plan: Plan, results: Results, say: Say) -> None:
    found = [mesh.connection_octets(250) for _ in range(3)]
    octets = statistics.median(found)
    say(f"a connection at rest takes {octets / 1024:.1f} KiB, both ends together")
    results.rows.append(_row("memory", "partisan", "both ends", octets=int(octets)))
    spread = f"{min(found) / 1024:.1f}..{max(found) / 1024:.1f}"
    results.goals.append(Goal("memory of a connection at rest, both ends, KiB", octets / 1024, 24.0, True, spread))


def _kill(plan: Plan, results: Results, say: Say) -> None:
    reason = erlang.why_not()
    rounds = loss.kills(plan.times, erlang=reason is None)
    ours, *theirs = zip(*rounds, strict=True)
    median = statistics.median(ours)
    spread = f"{min(ours) * 1e3:.2f}..{max(ours) * 1e3:.2f}"
    say(f"kill -9 is noticed after {median * 1e3:.2f} ms ({spread})")
    results.rows.append(_row("kill", "partisan", "default", us=median * 1e6))
    results.goals.append(Goal("kill -9 noticed, ms", median * 1e3, 50.0, True, spread))
    if reason is not None:
        say(f"disterl skipped: {reason}")
        return
    other = statistics.median(theirs[0])
    ratios = [one / another for one, another in rounds]
    ratio, spread = statistics.median(ratios), f"{min(ratios):.2f}..{max(ratios):.2f}"
    say(f"two erl nodes, killed in turns with ours: {other * 1e3:.2f} ms; ours takes {ratio:.2f}x ({spread})")
    results.rows.append(_row("kill", "disterl", "default", us=other * 1e6))
    results.goals.append(Goal("kill -9 noticed, against two erl nodes", ratio, 1.0, True, spread))


def _cut(plan: Plan, results: Results, say: Say) -> None:
    reason = loss.why_no_cut()
    if reason is not None:
        say(f"silent cut skipped: {reason}")
        return
    seconds = loss.cut_ours()
    bound = loss.KEEPALIVE_SECONDS
    say(f"a silent cut is noticed after {seconds:.2f} s, with a keepalive of {bound:.1f} s")
    results.rows.append(_row("cut", "partisan", f"keepalive {bound:g} s", us=seconds * 1e6))
    results.goals.append(Goal("silent cut noticed, against the keepalive time", seconds / bound, 1.1, True))


MEASURES: dict[str, Callable[[Plan, Results, Say], None]] = {
    "mesh": _mesh,
    "acked": _acked,
    "memory": _memory,
    "kill": _kill,
    "cut": _cut,
}
