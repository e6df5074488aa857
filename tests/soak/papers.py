"""Run scenarios of the simulator, and hold what they measure against what was published and what it must show.

    python tests/soak/papers.py hyparview-paper xbot scale
    python tests/soak/papers.py plumtree-paper --seeds 20
    python tests/soak/papers.py scale --full

Prints a table of bounds, measured values and verdicts, and exits with 1 if a bound is not kept. They are:

    hyparview-paper    reliability within 2 points of the published up to 90 % of failures, path length within 5 %,
                       clustering within a factor of 1.5, healing at most 2 cycles later or sooner; the table in ten
                       minutes, 16 KiB a node, and events a second of one core as `--speed` says, which depends on the
                       machine
    plumtree-paper     every figure inside the published range, or within 10 % of a single published value above 5
    xbot               links at half the cost at most; degrees and connectivity as without
    scale              of HyParView and Plumtree nothing grows faster than the logarithm of the size, and all are
                       reached; with --full to 50,000 nodes, client-server to 1,000 and full membership to 200

How published values are read, where they leave that open:

- A single value of 5 or less has no bound: a tolerance is given for larger ones alone, and of 0, or of one cycle, 10 %
  say nothing. How many there are is told.
- What a message reaches right after 40 % and more have failed, how deep the trees of many senders are, and when the
  last of the few that 60 % and more leave is found is decided by chance in each overlay; the bounds are those of means
  over 20, and of fewer these points are told but not held.

`--from DIR` reads rows that `--keep DIR` has kept instead of running anything.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partisan.sim.published import PUBLISHED, RANGES

Key = tuple[str, str, int | str]
"""(protocol, figure, point)"""

Rows = dict[Key, float]

OVERLAYS = 20
"""Of which means are held against Plumtree's paper."""

TREES = ("eager", "plumtree s-s", "plumtree m-s", "optimized s-s", "optimized m-s")
GROWN = ("messages to join", "messages in rest", "messages a broadcast", "connections", "connections at most", "memory")
SIZES = {"hyparview": 50_000, "plumtree": 50_000, "client-server": 1000, "full": 200}


@dataclass(frozen=True, slots=True)
class Bound:
    """What is to hold, and whether it does.

    Attributes:
        what: is measured.
        wanted: in words.
        measured: None if it is not there, which keeps no bound.
        kept: whether it holds.
        excuse: why it is not held, where it is not kept.
    """

    what: str
    wanted: str
    measured: float | None
    kept: bool
    excuse: str = ""

    @property
    def verdict(self) -> str:
        """In a word, or the excuse."""
        return "ok" if self.kept else (self.excuse or "NO")

    @property
    def fails(self) -> bool:
        """Whether this alone makes the whole fail."""
        return not self.kept and not self.excuse


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000.0 else f"{value:.5g}"


def _bound(
    what: str, wanted: str, measured: float | None, holds: Callable[[float], bool], excuse: str | None = None
) -> Bound:
    if measured is None:
        return Bound(what, wanted, None, False)
    return Bound(what, wanted, measured, holds(measured), excuse or "")


def _at_most(what: str, measured: float | None, most: float) -> Bound:
    return _bound(what, f"at most {_number(most)}", measured, lambda value: value <= most)


def _at_least(what: str, measured: float | None, least: float) -> Bound:
    return _bound(what, f"at least {_number(least)}", measured, lambda value: value >= least)


def _within(what: str, measured: float | None, least: float, greatest: float, excuse: str | None = None) -> Bound:
    wanted = f"{_number(least)} to {_number(greatest)}"
    return _bound(what, wanted, measured, lambda value: least <= value <= greatest, excuse)


def name_of(key: Key) -> str:
    """As the table has it."""
    return ", ".join(map(str, key))


def hyparview(rows: Rows) -> list[Bound]:
    """The bounds of `hyparview-paper`."""
    found = []
    for key, published in PUBLISHED.items():
        protocol, figure, point = key
        if protocol != "hyparview":
            continue
        value, name = rows.get(key), name_of(key)
        if figure == "reliability" and int(point) <= 90:
            found.append(_within(name, value, published - 2.0, min(published + 2.0, 100.0)))
        elif figure == "healing":
            found.append(_within(name, value, max(published - 2.0, 1.0), published + 2.0))
        elif figure == "path length":
            found.append(_within(name, value, published * 0.95, published * 1.05))
        elif figure == "clustering":
            found.append(_within(name, value, published / 1.5, published * 1.5))
    return found


def cost(said: str, speed: float) -> list[Bound]:
    """The bounds on what `hyparview-paper` costs, by what it has said."""
    took = re.search(r"^[\d,]+ events in ([\d.]+) s, ([\d,]+) a second of one core$", said, re.M)
    weight = re.search(r"^([\d.]+) KiB a node, with 10,000 of them$", said, re.M)
    seconds, rate = (None, None) if took is None else (float(took[1]), float(took[2].replace(",", "")))
    return [
        _at_most("seconds to the table", seconds, 600.0),
        _at_least("events a second of one core", rate, speed),
        _at_most("KiB a node", None if weight is None else float(weight[1]), 16.0),
    ]


def plumtree(rows: Rows, overlays: int) -> tuple[list[Bound], int]:
    """The bounds of `plumtree-paper`, and how many published values have none."""
    found, free = [], 0
    for key, published in PUBLISHED.items():
        protocol, figure, _ = key
        if protocol not in TREES:
            continue
        excuse = f"chance: of {OVERLAYS} overlays" if overlays < OVERLAYS and _is_chance(key) else None
        value, name, between = rows.get(key), name_of(key), RANGES.get(key)
        if between is not None:
            found.append(_within(name, value, *between, excuse))
        elif published > 5.0:
            most = 100.0 if figure.startswith("reliability") else published * 1.1
            found.append(_within(name, value, published * 0.9, most, excuse))
        else:
            free += 1
    return found, free


def _is_chance(key: Key) -> bool:
    protocol, figure, point = key
    if figure in ("reliability", "healing"):
        return int(point) >= (40 if figure == "reliability" else 60)
    return protocol == "plumtree m-s" and figure.startswith("last delivery hop")


def xbot(rows: Rows) -> list[Bound]:
    """The bounds of `xbot`."""

    def both(figure: str, point: int | str = "stable") -> tuple[float | None, float]:
        return rows.get(("xbot", figure, point)), rows.get(("hyparview", figure, point), float("inf"))

    degree, degree_without = both("mean degree")
    reached, reached_without = both("reliability after failures", 50)
    return [
        _at_most("link cost, % of hyparview", rows.get(("xbot", "link cost, % of hyparview", "stable")), 50.0),
        _at_least("mean degree", degree, 0.99 * degree_without),
        _at_least("reached from one node, %", rows.get(("xbot", "reached from one node, %", "stable")), 100.0),
        _at_least("reliability after 50 % failed", reached, reached_without - 1.0),
    ]


def scale(rows: Rows, full: bool) -> list[Bound]:
    """The bounds of `scale`."""
    found = []
    for protocol, most in SIZES.items():
        sizes = [int(point) for name, figure, point in rows if (name, figure) == (protocol, "connections")]
        excuse = None if full else "with --full"
        what = f"{protocol}, nodes"
        found.append(_bound(what, f"{most:,}", max(sizes, default=None), lambda value, m=most: value >= m, excuse))
    for protocol in ("hyparview", "plumtree"):
        figures = {figure: None for name, at, figure in rows if (name, at) == (protocol, "growth")}
        for figure in dict.fromkeys((*GROWN, *map(str, figures))):
            found.append(_at_most(f"{protocol}, growth of {figure}", rows.get((protocol, "growth", figure)), 1.0))
        reached = [value for (name, figure, _), value in rows.items() if (name, figure) == (protocol, "reached")]
        found.append(_at_least(f"{protocol}, reached", min(reached, default=None), 100.0))
    return found


def check(scenario: str, rows: Rows, said: str, overlays: int, full: bool, speed: float) -> list[Bound]:
    """All bounds of a scenario.

    Args:
        rows: as measured.
        said: what it wrote to the standard error.
        overlays: of which the rows are means.
        full: whether it was as thorough as what was published.
        speed: events a second of one core, at least.
    """
    if scenario == "hyparview-paper":
        return hyparview(rows) + cost(said, speed)
    if scenario == "plumtree-paper":
        return plumtree(rows, overlays)[0]
    return xbot(rows) if scenario == "xbot" else scale(rows, full)


SCENARIOS = ("hyparview-paper", "plumtree-paper", "xbot", "scale")


def rows_of(objects: Iterable[dict[str, Any]]) -> Rows:
    """What `--json` has written, by key."""
    return {(each["protocol"], each["figure"], each["point"]): float(each["measured"]) for each in objects}


def table(bounds: Iterable[Bound]) -> str:
    """A line a bound."""
    cells = [("bound", "wanted", "measured", "")]
    cells += [(b.what, b.wanted, "-" if b.measured is None else _number(b.measured), b.verdict) for b in bounds]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    return "\n".join(
        f"  {what:<{widths[0]}}  {wanted:>{widths[1]}}  {measured:>{widths[2]}}  {verdict}".rstrip()
        for what, wanted, measured, verdict in cells
    )


def simulate(scenario: str, arguments: argparse.Namespace, directory: Path) -> None:
    """Run a scenario, and leave its rows and what it said in the directory. Raises subprocess.CalledProcessError."""
    command = [sys.executable, "-m", "partisan.sim", scenario, "--seed", str(arguments.seed)]
    command += ["--json", str(directory / f"{scenario}.json")]
    command += ["--seeds", str(arguments.seeds)] if scenario == "plumtree-paper" else []
    command += ["--full"] if arguments.full and scenario != "xbot" else []
    said = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr or ():
            print(f"  {line}", end="", file=sys.stderr, flush=True)
            said.append(line)
    (directory / f"{scenario}.txt").write_text("".join(said))
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)


def main() -> int:
    """Run and check; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", choices=SCENARIOS, nargs="+", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2, help="overlays of plumtree-paper")
    parser.add_argument("--full", action="store_true", help="as thorough as what was published; slow")
    parser.add_argument("--speed", type=float, default=150_000.0, help="events a second of one core, at least")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--keep", type=Path, metavar="DIR", help="leave rows there")
    place.add_argument("--from", type=Path, metavar="DIR", dest="kept", help="read rows there, and run nothing")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.kept or arguments.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        for scenario in dict.fromkeys(arguments.scenarios):
            if arguments.kept is None:
                simulate(scenario, arguments, directory)
            rows = rows_of(json.loads((directory / f"{scenario}.json").read_text()))
            said = (directory / f"{scenario}.txt").read_text()
            bounds = check(scenario, rows, said, arguments.seeds, arguments.full, arguments.speed)
            print(f"{scenario}\n{table(bounds)}")
            if scenario == "plumtree-paper":
                print(f"  {plumtree(rows, arguments.seeds)[1]} single published values of 5 or less have no bound")
            failed += sum(bound.fails for bound in bounds)
    print(f"bounds that are not kept: {failed}" if failed else "every bound that is held is kept")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
