"""A run of the published experiments as a whole, as JSON that can be read again, and as the harness's table."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from partisan.errors import PartisanError

from .cells import Cell, Group, Outcome, Repetition

APPS = {"micro": "partisan", "echo": "echo", "kvs": "kvs"}
"""What the harness calls the application of a workload; any other goes by its own name."""


class NoResults(PartisanError, ValueError):
    """A file holds no results of this kind."""


@dataclass(slots=True)
class Run:
    """What a run has found.

    Attributes:
        facts: of the machine and the versions, by name.
        command: that made it.
        outcomes: in the order in which cells were begun.
        links: what each emulated network itself can do: its self-check, a mapping each with "rtt_ms".
        seconds: how long it took.
        interrupted: whether it was ended before all was measured.
    """

    facts: dict[str, str] = field(default_factory=dict)
    command: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


def write_json(path: Path, run: Run) -> None:
    """Write a run, so that `read_json` gives it back. What was there stays until all of it is written."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read_json(path: Path) -> Run:
    """Read a run. Raises NoResults."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Run(**found | {"outcomes": [_outcome(each) for each in found["outcomes"]]} | {"facts": _facts(found)})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise NoResults(f"{path} holds no results of `paper`: {error}") from error


def _facts(found: dict[str, Any]) -> dict[str, str]:
    return {str(name): str(fact) for name, fact in found.get("facts", {}).items()}


def _outcome(found: dict[str, Any]) -> Outcome:
    cell = Cell(**found["cell"] | {"group": Group(**found["cell"]["group"])})
    times = tuple(
        Repetition(
            int(each["operations"]),
            float(each["seconds"]),
            tuple(map(float, each["micros"])),
            {name: float(value) for name, value in each["extra"].items()},
        )
        for each in found["repetitions"]
    )
    return Outcome(**found | {"cell": cell, "repetitions": times})


def write_csv(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the harness's eleven columns, an operation a line and no heading, so that its scripts can read them.

    Of the operations of a repetition those whose time was kept (`workloads.base.SAMPLES`): enough for its plots of
    latencies, and for those of throughput, which count lines, where there were no more of them.

    App, Transport, Concurrency, Channels, Monotonic, Parallelism, Affinity, Size (KB), Num (of the operation), Latency
    (the round trip's label, in ms), Time (µs). Transports that the harness has not go by their own names.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        for outcome in outcomes:
            table.writerows(_lines(outcome))


def _lines(outcome: Outcome) -> list[tuple[str | int | float, ...]]:
    cell, group = outcome.cell, outcome.cell.group
    size, rtt = (f"{value:g}" for value in (cell.octets / 1024, cell.rtt_ms))
    flags = (group.channels, str(group.monotonic).lower(), group.parallelism, str(group.affinity).lower())
    about = (APPS.get(cell.workload, cell.workload), cell.transport, cell.actors, *flags, size)
    times = [time for each in outcome.repetitions for time in each.micros]
    return [(*about, number, rtt, round(time)) for number, time in enumerate(times, 1)]
