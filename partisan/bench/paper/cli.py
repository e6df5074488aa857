"""The command `python -m partisan.bench paper`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import report
from .cells import Cell
from .compare import compare
from .experiments import ALL, MOST_RTT_MS, NAMES, TRANSPORTS, UnknownName, Wish, known, tasks_of, text_of
from .facts import facts_of, preflight
from .networks import Networks
from .progress import Lines, Progress
from .results import NoResults, Run, read_json, write_csv, write_json
from .runner import Runner, undisturbed
from .terminal import Terminal, can_draw

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

PROGRAM = "python -m partisan.bench paper"
OUT = Path("partisan-paper")
AGAIN = "again"
RESULTS, TABLE = "results.json", "results.csv"
SAVED_SECONDS = 60.0
"""How often the results of a run that goes on are written."""


def _names(names: Sequence[str], kind: str) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(name.strip() for name in text.split(",") if name.strip())
        if not chosen:
            raise argparse.ArgumentTypeError(f"{text!r} names no {kind}")
        try:
            return tuple(known(name, names, kind) for name in chosen)
        except UnknownName as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _milliseconds(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of milliseconds") from None
    if not all(0 <= each <= MOST_RTT_MS for each in found):
        raise argparse.ArgumentTypeError(f"{text} has what is not within 0 and {MOST_RTT_MS:g}")
    return found


def add(commands: Commands, actors: Any, octets: Any, count: Any, seconds: Any) -> None:
    """Add the command and its options; the last four read their values as for all commands."""
    one = commands.add_parser(
        "paper",
        help="the published experiments, each figure beside the published one",
        description="Run the published experiments over several transports in turns, on emulated networks where that "
        "is possible, and write what was found. What cannot be tried is printed as skipped, with the reason.",
        epilog="Experiments: " + "; ".join(f"{each.name}: {each.about}" for each in ALL) + ".",
    )
    size = one.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="every figure, in under 20 minutes")
    size.add_argument("--full", action="store_true", help="the published sizes and counts, which take days")
    one.add_argument("--only", type=_names(NAMES, "experiment"), default=(), metavar="EXPERIMENT[,..]")
    one.add_argument(
        "--transports",
        type=_names(TRANSPORTS, "transport"),
        default=(),
        metavar="TRANSPORT[,..]",
        help=f"of {', '.join(TRANSPORTS)}; default all",
    )
    one.add_argument("--actors", type=actors, default=(), metavar="N[,..]", help="instead of each experiment's")
    one.add_argument("--octets", type=octets, default=(), metavar="SIZE[,..]", help="of payloads, instead")
    one.add_argument("--rtt", type=_milliseconds, default=(), metavar="MS[,..]", help="round-trip times, instead")
    one.add_argument("--ratio", default="", metavar="GETS/PUTS", help="of the key-value store; default 90/10")
    one.add_argument("--repeat", type=count, default=None, metavar="N", help="repetitions of each cell")
    one.add_argument("--seconds", type=seconds, default=None, metavar="S", help="of a repetition")
    one.add_argument(
        "--cell",
        action="append",
        default=[],
        metavar="CELL",
        help="this one alone, as the line below each outcome says",
    )
    one.add_argument("--loopback", action="store_true", help="emulate no network")
    one.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"for all results; default {OUT}")
    one.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    one.add_argument("--compare", type=Path, metavar="OLD", help="an earlier results.json; print ratios against it")


def wish_of(options: argparse.Namespace) -> Wish:
    """Read what is wanted. Raises UnknownName."""
    return Wish(
        "quick" if options.quick else "full" if options.full else "default",
        options.only,
        options.transports,
        tuple(options.actors),
        tuple(options.octets),
        options.rtt,
        options.repeat,
        options.seconds,
        options.ratio,
        tuple(options.cell),
    )


def again(options: argparse.Namespace) -> Callable[[Cell], str]:
    """Make what says how a cell is measured again."""
    # In a directory of its own: the results of this run must stay.
    out = options.out if options.out.name == AGAIN else options.out / AGAIN
    words = ["--out", str(out)]
    words += [f"--{name}" for name in ("quick", "full", "loopback") if getattr(options, name)]
    for name in ("repeat", "seconds"):
        if getattr(options, name) is not None:
            words += [f"--{name}", f"{getattr(options, name):g}"]
    return lambda cell: shlex.join([*PROGRAM.split(), *words, "--cell", text_of(cell)])


def run(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Run what is wanted; return the exit status. Raises OSError: results cannot be written."""
    try:
        tasks = tasks_of(wish_of(options))
        old = read_json(options.compare) if options.compare is not None else None
    except (UnknownName, NoResults) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    progress: Progress = Terminal() if can_draw() else Lines(say)
    networks = Networks(progress.say, emulate=not options.loopback)
    found = preflight(tasks, options.out, networks.missing)
    for note in found.notes:
        progress.say(note)
    if found.fatal:
        print(f"{PROGRAM}: {found.fatal}", file=sys.stderr)
        return 1
    outcome = Run(facts=facts_of(), command=shlex.join([*PROGRAM.split(), *sys.argv[2:]]))
    _try(options)
    try:
        save = saving(options.out / RESULTS, progress.say)
        Runner(networks, progress, again(options), found.refused, save=save).run(tasks, outcome)
    finally:
        with undisturbed():
            if outcome.outcomes or not (options.out / RESULTS).stat().st_size:
                _write(options, outcome)
                report.write(outcome, options.out)
                say(f"the report is {options.out / 'report.html'}")
    if old is not None:
        say(compare(old, outcome))
    return 0


def saving(path: Path, say: Callable[[str], None], every: float = SAVED_SECONDS) -> Callable[[Run], None]:
    """Make what writes a run that goes on, as one that was interrupted: it may take days, and end with its machine.

    Args:
        every: seconds that pass between two times.
    """
    written = time.monotonic()

    def save(outcome: Run) -> None:
        nonlocal written
        if time.monotonic() - written < every:
            return
        try:
            write_json(path, replace(outcome, interrupted=True))
        except OSError as error:
            say(f"what was measured so far is not kept in {path}: {error}")
        written = time.monotonic()

    return save


def _try(options: argparse.Namespace) -> None:
    """Raise OSError if results cannot be written; those of an earlier run stay until there are others."""
    for path in (options.out / RESULTS, options.out / TABLE, options.json):
        if path is not None:
            path.open("a").close()


def _write(options: argparse.Namespace, outcome: Run) -> None:
    write_json(options.out / RESULTS, outcome)
    write_csv(options.out / TABLE, outcome.outcomes)
    if options.json is not None:
        write_json(options.json, outcome)
