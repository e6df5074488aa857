"""The command line: `python -m partisan.bench micro|actors|cluster|tls|beam|memory|paper|demo`."""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from . import actors, beam, cluster, demo, goals, memory, micro, tls, transports
from .cluster.run import FIGURES
from .measure import MeasurementFailed
from .paper import cli as paper
from .procs import ENDING
from .report import Row, write_json

SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB)?", re.IGNORECASE)
METAVAR = "{micro,actors,cluster,tls,beam,memory,paper,demo}"
UNITS = {"b": 1, "kib": 1024, "mib": 1024 * 1024}

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def names(known: Sequence[str], kind: str) -> Callable[[str], list[str]]:
    """Build a reader of comma-separated names that must be known."""

    def read(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is no {kind} (one of {', '.join(known)})")
        return chosen

    return read


def read_actors(text: str) -> list[int]:
    """Read comma-separated numbers of actors, each at least 1."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers") from None
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{min(counts)} is below 1")
    return counts


def read_octets(text: str) -> list[int]:
    """Read comma-separated sizes such as `16,1KiB,8MiB`."""
    sizes = []
    for part in text.split(","):
        match = SIZE.fullmatch(part.strip())
        if match is None or not int(match[1]):
            raise argparse.ArgumentTypeError(f"{part!r} is no size (such as 16, 1KiB or 8MiB)")
        sizes.append(int(match[1]) * UNITS[(match[2] or "B").lower()])
    return sizes


def read_seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not math.isfinite(seconds) or seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return seconds


def read_count(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _add_micro(commands: Commands) -> None:
    """The options of `micro`."""
    peers = [name for name in transports.NAMES if name != micro.OURS]
    plan = micro.Plan()
    one = commands.add_parser(
        "micro",
        help="small workloads between two processes, side by side with other transports",
        description="Run small workloads between two processes over partisan and over other transports, in turns, and "
        "print ratios. A peer that this machine lacks is skipped, and the table says so.",
    )
    one.add_argument(
        "--peers",
        type=names(peers, "peer"),
        default=peers,
        metavar="PEER[,..]",
        help=f"of {', '.join(peers)}; default all",
    )
    one.add_argument(
        "--only",
        type=names(micro.WORKLOADS, "workload"),
        default=micro.WORKLOADS,
        metavar="WORKLOAD[,..]",
        help=f"of {', '.join(micro.WORKLOADS)}; default all",
    )
    one.add_argument(
        "--actors", type=read_actors, default=plan.actors, metavar="N[,..]", help="pairs of actors; default 1,16,128"
    )
    one.add_argument(
        "--octets", type=read_octets, default=plan.octets, metavar="SIZE[,..]", help="default 16,1KiB,512KiB,8MiB"
    )
    one.add_argument(
        "--seconds", type=read_seconds, default=plan.seconds, metavar="S", help="of a point in a round; default 1"
    )
    one.add_argument("--repeat", type=read_count, default=plan.rounds, metavar="N", help="rounds; default 3")
    one.add_argument("--json", type=Path, metavar="FILE", help="write one row a measured point")


def _add_tls(commands: Commands) -> None:
    """The options of `tls`."""
    secure = commands.add_parser("tls", help="a stream and an echo with TLS beside the same without")
    secure.add_argument(
        "--seconds", type=read_seconds, default=1.0, metavar="S", help="of a point in a round; default 1"
    )
    secure.add_argument("--repeat", type=read_count, default=5, metavar="N", help="rounds; default 5")
    secure.add_argument("--json", type=Path, metavar="FILE", help="write one row a measured point")


def _add_actors(commands: Commands) -> None:
    """The options of `actors`."""
    acting = commands.add_parser("actors", help="calls beside Erlang's, and processes beside asyncio's tasks")
    acting.add_argument(
        "--seconds", type=read_seconds, default=1.0, metavar="S", help="of a point in a round; default 1"
    )
    acting.add_argument("--repeat", type=read_count, default=5, metavar="N", help="rounds; default 5")
    acting.add_argument(
        "--processes",
        type=read_count,
        default=actors.PROCESSES,
        metavar="N",
        help="whose memory is told; default 1000000",
    )
    acting.add_argument("--json", type=Path, metavar="FILE", help="write one row a measured point")


def _add_beam(commands: Commands) -> None:
    """The options of `beam`."""
    mixed = commands.add_parser("beam", help="a Python and an Erlang node beside two Erlang nodes")
    mixed.add_argument(
        "--seconds", type=read_seconds, default=1.0, metavar="S", help="of a point in a round; default 1"
    )
    mixed.add_argument("--repeat", type=read_count, default=5, metavar="N", help="rounds; default 5")
    mixed.add_argument("--json", type=Path, metavar="FILE", help="write one row a measured point")


def _add_memory(commands: Commands) -> None:
    """The options of `memory`."""
    idle = commands.add_parser("memory", help="resident memory of an idle node process")
    idle.add_argument("--repeat", type=read_count, default=3, metavar="N", help="processes to measure; default 3")
    idle.add_argument("--json", type=Path, metavar="FILE", help="write the row")


def _add_cluster(commands: Commands) -> None:
    """The options of `cluster`."""
    many = commands.add_parser("cluster", help="what a full mesh costs, and how soon it misses a member")
    size = cluster.Plan()
    many.add_argument(
        "--only",
        type=names(FIGURES, "figure"),
        default=FIGURES,
        metavar="FIGURE[,..]",
        help=f"of {', '.join(FIGURES)}; default all",
    )
    many.add_argument("--nodes", type=read_count, default=size.nodes, metavar="N", help="of the mesh; default 64")
    many.add_argument("--processes", type=read_count, default=size.processes, metavar="N", help="for them; default 4")
    many.add_argument("--rest", type=read_seconds, default=size.rest, metavar="S", help="left alone; default 30")
    many.add_argument("--repeat", type=read_count, default=size.times, metavar="N", help="kills; default 9")
    many.add_argument("--json", type=Path, metavar="FILE", help="write one row a figure")


def _add_demo(commands: Commands) -> None:
    """The options of `demo`."""
    show = commands.add_parser("demo", help="three nodes in a full mesh with traffic over named channels")
    show.add_argument("--seconds", type=read_seconds, default=5.0, metavar="S", help="of traffic; default 5")


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    top = argparse.ArgumentParser(prog="python -m partisan.bench", description="Measure partisan on this machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar=METAVAR)
    for add in (_add_micro, _add_actors, _add_tls, _add_beam, _add_memory, _add_cluster, _add_demo):
        add(commands)
    paper.add(commands, read_actors, read_octets, read_count, read_seconds)
    return top


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def _micro(options: argparse.Namespace) -> int:
    plan = micro.Plan(
        workloads=options.only,
        peers=options.peers,
        actors=options.actors,
        octets=options.octets,
        seconds=options.seconds,
        rounds=options.repeat,
    )
    results = micro.run(plan, say)
    found = goals.goals_of(results)
    if found:
        say(goals.render(found))
    _write(options.json, results.rows())
    return 0


def _tls(options: argparse.Namespace) -> int:
    results = tls.run(options.repeat, options.seconds, say)
    say(goals.render(tls.goals_of(results)))
    _write(options.json, results.rows())
    return 0


def _actors(options: argparse.Namespace) -> int:
    results = actors.run(options.repeat, options.seconds, options.processes, say)
    say(goals.render(results.goals()))
    _write(options.json, results.rows())
    return 0


def _beam(options: argparse.Namespace) -> int:
    results = beam.run(options.repeat, options.seconds, say)
    say(goals.render(results.goals()))
    _write(options.json, results.rows())
    return 0


def _memory(options: argparse.Namespace) -> int:
    octets = memory.run(options.repeat)
    say(goals.render([goals.memory_goal([each / 2**20 for each in octets])]))
    _write(options.json, memory.rows(octets))
    return 0


def _cluster(options: argparse.Namespace) -> int:
    plan = cluster.Plan(options.only, options.nodes, options.processes, options.rest, options.repeat)
    results = cluster.run(plan, say)
    say(goals.render(results.goals))
    _write(options.json, results.rows)
    return 0


def _paper(options: argparse.Namespace) -> int:
    return paper.run(options, say)


def _demo(options: argparse.Namespace) -> int:
    demo.run(options.seconds, say)
    return 0


def _write(path: Path | None, rows: Sequence[Row]) -> None:
    if path is not None:
        write_json(path, rows)


def _terminated(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that every child is ended on the way out.
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = parser().parse_args(arguments)
    for number in set(ENDING) - {signal.SIGINT}:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _terminated)
    commands = {
        "micro": _micro,
        "actors": _actors,
        "cluster": _cluster,
        "tls": _tls,
        "beam": _beam,
        "memory": _memory,
        "paper": _paper,
        "demo": _demo,
    }
    try:
        if getattr(options, "json", None) is not None and options.command != "paper":
            # Before anything is measured: a wrong path must not cost the run.
            write_json(options.json, [])
        return commands[options.command](options)
    except KeyboardInterrupt:
        return 130
    except (MeasurementFailed, OSError) as error:
        print(f"partisan.bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
