"""The command line: `python -m partisan.sim SCENARIO`.

What the simulator itself must not have is here: the codec, processes, and the clock that says how fast it was.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from partisan.machines.faults import flipped
from partisan.machines.record import PLAIN, Forms
from partisan.sim import report
from partisan.sim.makers import MAKERS
from partisan.sim.moments import Moment, moments_of
from partisan.sim.published import NODES
from partisan.sim.record import Recorder, Replayed, TraceError, replay
from partisan.sim.scenario import Codec, InTurn, Options, Runner, Scenario
from partisan.sim.scenarios import SCENARIOS

PROGRAM = "python -m partisan.sim"

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a run to end: Ctrl-C, `kill`, and a terminal that is closed."""

WAIT = 0.5
"""How long a wait for results may last at a time, in seconds: a signal just before it is not seen until it is over."""

State = TypeVar("State")
Point = TypeVar("Point")
Result = TypeVar("Result")


class PointFailed(RuntimeError):
    """A process that measured a point has ended without a result; it has printed why."""


class Forked:
    """Measures points side by side: a process each, forked from the one that prepared the state.

    Args:
        jobs: processes at a time.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def alone(self) -> Forked:
        """See `Runner`."""
        return Forked(1)

    @staticmethod
    def is_possible() -> bool:
        """Whether the system forks."""
        return "fork" in multiprocessing.get_all_start_methods()

    def points(
        self, prepare: Callable[[], State], measure: Callable[[State, Point], Result], points: Sequence[Point]
    ) -> list[Result]:
        """See `Runner`."""
        return self._fork(prepare(), measure, points, daemon=True)

    def each(self, work: Callable[[Runner, Point], Result], points: Sequence[Point]) -> list[Result]:
        """See `Runner`."""
        together = min(self.jobs, len(points))
        if together <= 1:
            return [work(self, point) for point in points]
        return self._fork(Forked(self.jobs // together), work, points, daemon=False)  # they have children of their own

    def _fork(
        self, state: State, measure: Callable[[State, Point], Result], points: Sequence[Point], daemon: bool
    ) -> list[Result]:
        gc.freeze()  # or the collector would write to, and so copy, every page of the state in every process
        fork = multiprocessing.get_context("fork")
        results: dict[int, Result] = {}
        running: dict[Any, tuple[int, Any]] = {}
        waiting = list(enumerate(points))
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    number, point = waiting.pop(0)
                    here, there = fork.Pipe(duplex=False)
                    child = fork.Process(target=_measure, args=(there, measure, state, point), daemon=daemon)
                    # What a signal raises within the hooks of a fork is lost.
                    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
                    try:
                        child.start()
                        running[here] = (number, child)
                    finally:
                        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
                    there.close()
                for done in wait(list(running), WAIT):
                    number, child = running.pop(done)
                    results[number] = _result(done, child, points[number])
        finally:
            gc.unfreeze()
            for _, child in running.values():
                child.terminate()
        return [results[number] for number in range(len(points))]


def _measure(there: Connection, measure: Callable[[State, Point], Result], state: State, point: Point) -> None:
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who forked this process ends it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    there.send(measure(state, point))
    there.close()


def _ended(number: int, frame: object) -> None:
    sys.exit(128 + number)  # as an exception, so that the processes that measure are ended on the way out


def _result(done: Any, child: Any, point: object) -> Any:
    try:
        return done.recv()
    except EOFError:
        raise PointFailed(f"no result for the point {point}") from None
    finally:
        done.close()
        child.join()


class _SpecCodec:
    """Nodes as they are in life; here, as the simulator runs without a compiled core, and this does not.

    Attributes:
        peer, key: see `Codec`.
        encode: message -> octets; None if it has no wire.
        decode: (octets, the message that they were) -> message.
    """

    encode: Callable[[Any], bytes | None]
    decode: Callable[[bytes, Any], Any]

    def __init__(self) -> None:
        from partisan.names import ChannelOptions, ListenAddress, NodeSpec
        from partisan.wire import order

        channels = {"undefined": ChannelOptions(), "partisan_membership": ChannelOptions(1, False, True)}

        def peer(number: int) -> NodeSpec:
            address = ListenAddress("127.0.0.1", 1024 + number % 60_000)
            return NodeSpec.of(f"n{number}@sim", (address,), channels)

        self.peer: Callable[[int], NodeSpec] = peer
        self.key: Callable[[Any], Any] = order.spec_key

    def through(self, message: Any) -> Any:
        """See `Codec`."""
        octets = self.encode(message)
        return message if octets is None else self.decode(octets, message)

    def flip(self, message: Any, positions: tuple[float, ...]) -> Any:
        """See `Codec`."""
        octets = self.encode(message)
        return message if octets is None else self.decode(flipped(octets, positions), message)


class FullCodec(_SpecCodec):
    """Full membership through `partisan.wire.full` and the term format."""

    def __init__(self) -> None:
        super().__init__()
        from partisan import etf
        from partisan.machines.full import Gossip, Summary
        from partisan.wire import full

        def encode(message: Any) -> bytes:
            is_gossip = isinstance(message, Gossip | Summary)
            return bytes(etf.encode(full.gossip_to_term(message) if is_gossip else full.state_to_term(message)))

        def decode(octets: bytes, message: Any) -> Any:
            term = etf.decode(octets)
            return full.gossip_from_term(term) if isinstance(message, Gossip | Summary) else full.state_from_term(term)

        self.encode, self.decode = encode, decode


class HyParViewCodec(_SpecCodec):
    """HyParView through `partisan.wire.hyparview` and the term format; a flood has no wire, and stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        from partisan import etf
        from partisan.machines.hyparview import HyParViewState
        from partisan.sim.flood import Flooded
        from partisan.wire import hyparview

        def encode(message: Any) -> bytes | None:
            if isinstance(message, Flooded):
                return None
            is_state = isinstance(message, HyParViewState)
            return bytes(
                etf.encode(hyparview.state_to_term(message) if is_state else hyparview.message_to_term(message))
            )

        def decode(octets: bytes, message: Any) -> Any:
            term, is_state = etf.decode(octets), isinstance(message, HyParViewState)
            return hyparview.state_from_term(term) if is_state else hyparview.message_from_term(term)

        self.encode, self.decode = encode, decode


class PlumtreeCodec(HyParViewCodec):
    """Plumtree through `partisan.wire.plumtree`, over HyParView as above."""

    def __init__(self) -> None:
        super().__init__()
        from partisan import etf
        from partisan.machines.plumtree import Plumtree
        from partisan.wire import plumtree

        encode_membership, decode_membership = self.encode, self.decode

        def encode(message: Any) -> bytes | None:
            if type(message) not in Plumtree.HEARS:
                return encode_membership(message)
            return bytes(etf.encode(plumtree.message_to_term(message)))

        def decode(octets: bytes, message: Any) -> Any:
            if type(message) not in Plumtree.HEARS:
                return decode_membership(octets, message)
            return plumtree.message_from_term(etf.decode(octets), message.channel)

        self.encode, self.decode = encode, decode


CODECS: dict[str, Callable[[], Codec]] = {"full": FullCodec, "hyparview": HyParViewCodec, "plumtree": PlumtreeCodec}
"""By the name that a scenario gives."""


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    about = "\n".join(f"  {each.name:18}{each.about}" for each in SCENARIOS.values())
    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Run protocols under virtual time, and print what they cost beside what was published.",
        epilog=f"scenarios:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO", help="one of those below")
    top.add_argument("--nodes", type=_count, metavar="N", help="how many; default: as many as the scenario is about")
    top.add_argument("--seed", type=int, default=1, metavar="S", help="of all chance; default 1")
    top.add_argument("--full", action="store_true", help="as thorough as what was published; slow")
    top.add_argument("--seeds", type=_count, metavar="N", help="with plumtree-paper: means over so many overlays")
    top.add_argument("--codec", action="store_true", help="send every message through the term format; slow")
    top.add_argument("--baselines", action="store_true", help="also what it is compared with; slow")
    top.add_argument("--trace", type=Path, metavar="FILE", help="write all that happens; `replay FILE` runs it again")
    top.add_argument("--jobs", type=_count, metavar="N", help="processes for the points; default: one a core")
    top.add_argument("--out", type=Path, metavar="DIR", help="write text, CSV, JSON, and PNG if matplotlib is here")
    top.add_argument("--json", type=Path, metavar="FILE", help="write one row a value")
    return top


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options(chosen: argparse.Namespace, scenario: Scenario, recorder: Recorder | None) -> Options:
    """Raises ImportError if a codec is asked for and the core is not compiled."""
    codec = CODECS[scenario.codec]() if chosen.codec and scenario.codec else None
    forks = Forked.is_possible() and recorder is None  # a trace has one writer
    runner: Runner = Forked(chosen.jobs or os.cpu_count() or 1) if forks else InTurn()
    return Options(chosen.nodes, chosen.seed, chosen.full, codec, runner, _say, recorder, chosen.seeds)


def _prepare_files(chosen: argparse.Namespace) -> None:
    """Before anything is simulated: a wrong path must not cost the run."""
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.json is not None:
        chosen.json.open("a").close()  # what is there stays until there is something else


def _run(chosen: argparse.Namespace, scenario: Scenario) -> None:
    _prepare_files(chosen)
    if chosen.trace is None:
        _simulate(chosen, scenario, None)
        return
    with chosen.trace.open("w") as file:
        recorder = Recorder(file.write, _forms() if chosen.codec else PLAIN)
        _simulate(chosen, scenario, recorder)
    _say(f"wrote {recorder.events:,} events to {chosen.trace}")


def _simulate(chosen: argparse.Namespace, scenario: Scenario, recorder: Recorder | None) -> None:
    options = _options(chosen, scenario, recorder)
    before, turn = _memory(), _turn()
    began, used = time.perf_counter(), _used()
    thresholds = gc.get_threshold()
    gc.set_threshold(10_000_000, 5, 5)  # a run makes no cycles; but one network may follow another
    try:
        outcome = scenario.run(options)
        if chosen.baselines and scenario.baselines is not None:
            outcome.add(scenario.baselines(options))
    finally:
        gc.set_threshold(*thresholds)
    elapsed, used = time.perf_counter() - began, _used() - used
    nodes = NODES if chosen.nodes is None else chosen.nodes  # scenarios with published values are about as many
    rows = report.rows_of(outcome.measured, chosen.seed, nodes)
    print(report.text(rows))
    caveat = report.caveat(rows, nodes)
    if caveat is not None:
        _say(caveat)
    cost = max(used, 1e-9) / max(outcome.events, 1)
    _say(f"{outcome.events:,} events in {elapsed:.1f} s, {1.0 / cost:,.0f} a second of one core")
    _say(f"an event costs {cost / turn:,.0f} turns of an empty loop, of {turn * 1e9:.0f} ns here and now")
    after = _memory()
    if outcome.nodes and before is not None and after is not None:
        _say(f"{(after - before) / outcome.nodes / 1024:.1f} KiB a node, with {outcome.nodes:,} of them")
    _say(f"seed {chosen.seed}, digest {outcome.digest}")
    if chosen.json is not None:
        chosen.json.write_text(report.to_json(rows))
    if chosen.out is not None:
        for path in report.write(rows, chosen.out, scenario.name):
            _say(f"wrote {path}")
        if not report.can_draw():
            _say("no pictures: matplotlib is not here (pip install 'partisan[bench]')")


def _used() -> float:
    """Seconds of processors that this process and its children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _forms() -> Forms:
    """How the traces of nodes are read; those of simulations need nothing that is compiled."""
    try:
        from partisan.wire.trace import forms_of_terms
    except ImportError:
        return PLAIN
    return forms_of_terms()


def _files(places: Sequence[Path]) -> Iterator[Path]:
    """The files, and those in the directories, by their names."""
    for place in places:
        yield from sorted(each for each in place.iterdir() if each.is_file()) if place.is_dir() else (place,)


def _replay(arguments: Sequence[str]) -> int:
    """Run traces again; the status is 0 if every machine answered as it had."""
    top = argparse.ArgumentParser(
        prog=f"{PROGRAM} replay", description="Run traces again that were written by --trace, or by nodes."
    )
    top.add_argument("traces", type=Path, metavar="FILE", nargs="+", help="a trace, or a directory of traces")
    top.add_argument("--events", action="store_true", help="print the events of all files, in the order of their times")
    chosen = top.parse_args(arguments)
    paths, forms = list(_files(chosen.traces)), _forms()
    status, path = 0, None
    try:
        moments: list[Moment] = []
        for path in paths if chosen.events else ():
            with path.open("rb") as file:
                moments += moments_of(file, forms)
        for moment in sorted(moments, key=lambda each: each.at):
            print(moment)
        for path in paths:
            with path.open("rb") as file:  # of octets: those that are no text are a damaged line
                status = max(status, _say_replayed(path, replay(file, MAKERS, forms=forms), len(paths) > 1))
    except (OSError, TraceError) as error:
        _say(f"partisan.sim: {error}" if path is None or len(paths) == 1 else f"partisan.sim: {path}: {error}")
        return 2
    return status


def _say_replayed(path: Path, done: Replayed, named: bool) -> int:
    where = f"{path}: " if named else ""
    print(f"{where}{done.protocol}: {done.events:,} events of {len(done.machines):,} machines")
    if done.divergence is None:
        print(f"{where}every machine answered as it was recorded")
        return 0
    at = done.divergence
    answer = f"raises {at.raised!r}" if at.raised is not None else f"answers {list(at.effects)!r}"
    print(f"{where}line {at.line}: node {at.peer!r} takes {at.event!r}, and now {answer}")
    return 1


def _memory() -> int | None:
    """The most octets of memory that this process has had so far; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()  # `ru_maxrss` counts the parent's before `exec`
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)


def _turn() -> float:
    """Seconds of a processor that a turn of an empty loop takes: by it runs on different machines can be compared."""
    turns, best = 300_000, 1.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(turns):
            pass
        best = min(best, (time.process_time() - began) / turns)
    return best


def _problem(chosen: argparse.Namespace, scenario: Scenario) -> str | None:
    """What was asked for that the scenario does not do."""
    name = scenario.name
    if chosen.nodes is not None and chosen.nodes < scenario.least:
        return f"{name} takes {scenario.least} nodes at least"
    if chosen.codec and scenario.codec is None:
        return f"the messages of {name} have no codec"
    if chosen.trace is not None and not scenario.recorded:
        return f"{name} writes no trace"
    if chosen.baselines and (scenario.baselines is None or chosen.codec):
        return f"there are no baselines of {name}" + (" with a codec" if scenario.baselines else "")
    if chosen.full and not scenario.full:
        return f"{name} is as thorough as it gets: there is no --full"
    if chosen.seeds is not None and not scenario.seeds:
        return f"{name} takes no means: there is no --seeds"
    if chosen.jobs is not None and (chosen.trace is not None or not scenario.points):
        return "with --trace one process does all" if scenario.points else f"{name} is one run: there is no --jobs"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario or a trace; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] == "replay":
        return _replay(given[1:])
    top = parser()
    chosen = top.parse_args(arguments)
    scenario = SCENARIOS[chosen.scenario]
    problem = _problem(chosen, scenario)
    if problem is not None:
        top.error(problem)
    for number in set(ENDING) - {signal.SIGINT}:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _ended)
    try:
        _run(chosen, scenario)
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, ImportError, OSError) as error:
        _say(f"partisan.sim: {error}")
        _say(f"again: {PROGRAM} {shlex.join(given)} (seed {chosen.seed})")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
