"""Looks for faults under which a protocol breaks its promise.

As Filibuster does for Partisan: run without faults, then with a fault at each place of that run, then with another one
at each later place of what that led to, and so on. A place is a step of a node: a message that leaves it, or a fact
that it tells. The fewest faults come first, so what is found is as short as can be. The seed decides all chance: equal
seeds search the same schedules in the same order.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from .scenario import Crash, Fault, Omit, Run, Scenario, Schedule, Split, Step
from .simulation import execute

ENOUGH = 20_000
"""Runs after which a search ends."""


@dataclass
class Outcome:
    """What a search came to.

    Attributes:
        runs: how many schedules were run.
        problem: how the promise was broken; None if it never was.
        run: the last run: the one that broke it, if any.
        whole: whether every schedule was run, or one that broke the promise was found.
    """

    runs: int
    problem: str | None
    run: Run
    whole: bool = True


def search(scenario: Scenario, seed: int | str = 1, enough: int = ENOUGH) -> Outcome:
    """Run the schedules of a scenario until one breaks the promise."""
    waiting: deque[tuple[Schedule, int]] = deque([((), 0)])  # and the first step of its run to put another fault at
    runs = 0
    while True:
        schedule, first = waiting.popleft()
        run = execute(scenario, schedule, seed)
        runs += 1
        problem = scenario.check(run)
        if problem is None and len(schedule) < scenario.most:
            for place in range(first, len(run.steps)):
                for fault in faults_at(run.steps[place], scenario):
                    waiting.append(((*schedule, fault), place if isinstance(fault, Crash) else place + 1))
        if problem is not None or not waiting or runs >= enough:
            return Outcome(runs, problem, run, problem is not None or not waiting)


def faults_at(step: Step, scenario: Scenario) -> Iterator[Fault]:
    """The faults that there are at a step, which has them as its first consequence."""
    if step.at > scenario.window:
        return
    if Omit in scenario.faults and step.to is not None:
        yield Omit(step.node, step.to, step.kind, step.nth)
    if Crash in scenario.faults:
        what = f"tell {type(step.what).__name__}" if step.to is None else f"send {step.kind} to {step.to}"
        yield Crash(step.node, step.number, what)
    if Split in scenario.faults:
        for size in range(1, scenario.nodes // 2 + 1):
            for group in combinations(range(scenario.nodes), size):
                if 2 * size < scenario.nodes or 0 in group:  # each way to split once
                    yield Split(group, step.at)


def report(scenario: Scenario, outcome: Outcome, trace: bool = True) -> str:
    """What a search came to, in words."""
    kinds = " or ".join(kind.__name__.lower() for kind in scenario.faults)
    tried = f"at most {scenario.most} {kinds}" if kinds else "no faults"
    runs = "1 run" if outcome.runs == 1 else f"{outcome.runs} runs"
    lines = [scenario.title, f"  {scenario.nodes} nodes, {tried}: {runs}"]
    if outcome.problem is None:
        return "\n".join([*lines, "  kept in all of them" if outcome.whole else "  kept in those; there are more"])
    lines += [f"  found: {fault}" for fault in outcome.run.schedule] or ["  found without faults"]
    lines += [f"  broken: {outcome.problem}"]
    if trace:
        steps = [step for step in outcome.run.steps if step.at <= scenario.window and step.kind != "Ack"]
        lines += ["  what happened:", *(f"  {step}" for step in steps)]
    return "\n".join(lines)


def main(*scenarios: Scenario) -> None:
    """Search through each scenario, and print what comes out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1, help="decides all chance (default: 1)")
    parser.add_argument("--trace", action="store_true", help="print the steps of what is found")
    given = parser.parse_args()
    for scenario in scenarios:
        print(report(scenario, search(scenario, given.seed), given.trace), end="\n\n")
