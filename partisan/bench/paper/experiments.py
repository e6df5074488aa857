"""The experiments under the names of the published harness, and the cells of which they consist at each size."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from partisan.bench.report import size
from partisan.errors import PartisanError

from .cells import (
    AFFINITY,
    AFFINITY_MONOTONIC,
    CHANNELLED,
    DISTERL,
    MONOTONIC,
    PARALLELISM,
    PARTISAN,
    PARTITIONED,
    Cell,
    Group,
    writes_of,
)

KIB, MIB = 1024, 1024 * 1024
TRANSPORTS = ("disterl", "partisan-erlang", "partisan", "pyzmq", "raw")
"""In the order in which a place is measured."""

PARTISANS = ("partisan-erlang", "partisan")
SIZES = ("quick", "default", "full")
GROUPS = (DISTERL, PARTISAN, PARALLELISM, CHANNELLED, MONOTONIC, PARTITIONED, AFFINITY, AFFINITY_MONOTONIC)

MOST_RTT_MS = 10_000.0
"""The longest round trip that a network is emulated with."""

CELL = re.compile(
    r"(?P<experiment>[^/]+)/(?P<transport>[^/]+)/(?P<group>[a-z_]+)(?:\*(?P<parallelism>\d+))?"
    r"/(?P<actors>[1-9]\d*)x(?P<octets>\d+)@(?P<rtt>\d+(?:\.\d+)?)(?::(?P<scale>[1-9]\d{0,3}))?(?:/(?P<variant>.+))?"
)


class UnknownName(PartisanError, LookupError):
    """Nothing has that name; the message says what may have been meant."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Where an experiment is measured, and how much of it.

    Attributes:
        actors, octets, rtts: the values; each is combined with every other.
        messages, seconds: of a repetition, at most; see `workloads.base.Amount`.
        repetitions: how many.
        budget: of octets that all actors of a repetition send together, roughly; None for no such bound.
    """

    actors: tuple[int, ...]
    octets: tuple[int, ...]
    rtts: tuple[float, ...]
    messages: int
    seconds: float
    repetitions: int
    budget: float | None = None

    def messages_of(self, actors: int, octets: int) -> int:
        """How many messages each actor sends at most: as many of all, or who is held back would count for less."""
        if self.budget is None:
            return self.messages
        return min(self.messages, max(LEAST_MESSAGES, int(self.budget / (actors * max(1, octets)))))


LEAST_MESSAGES = 3
"""Of an actor, whatever the budget."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment of the harness.

    Attributes:
        groups: of the transports that have groups.
        others: transports with but one group, besides these.
        variants: see `Cell.variant`.
        scale: see `Cell.scale`; the payloads of the axes are smaller by as much already.
        published: where it was measured, and how much.
        quick, default: what is measured of it, at that size.
        simulated: it has neither nodes nor a network, and one transport.
        besides: what else goes by its name: another variant, with groups and axes of its own.
    """

    name: str
    about: str
    workload: str
    published: Axes
    quick: Axes
    default: Axes
    groups: tuple[Group, ...] = (PARTISAN, PARALLELISM, AFFINITY)
    others: tuple[str, ...] = ("disterl",)
    variants: tuple[str, ...] = ("",)
    scale: int = 1
    simulated: bool = False
    besides: Experiment | None = None

    def of(self, variant: str) -> Experiment:
        """The part of it that has a variant."""
        return self.besides if self.besides is not None and variant in self.besides.variants else self

    def axes(self, size: str) -> Axes:
        """Where it is measured at a size."""
        return {"quick": self.quick, "default": self.default, "full": self.published}[size]

    def configurations(self) -> list[tuple[str, Group]]:
        """The transports and groups that are compared."""
        if self.simulated:
            return [("partisan", PARTISAN)]
        found = [(name, DISTERL if name == "disterl" else PARTISAN) for name in self.others if name == "disterl"]
        found += [(name, group) for name in PARTISANS for group in self.groups]
        return found + [(name, PARTISAN) for name in self.others if name != "disterl"]


ACTORS = (16, 32, 64, 128)


def _micro(name: str, about: str, octets: int, rtt: float) -> Experiment:
    quick = (16, 32) if octets > MIB else (16, 128)
    return Experiment(
        name,
        about,
        "micro",
        published=Axes(ACTORS, (octets,), (rtt,), 10_000, 3600.0, 1),
        quick=Axes(quick, (octets,), (rtt,), 10_000, 20.0, 2, 480e6),
        default=Axes(ACTORS, (octets,), (rtt,), 10_000, 60.0, 5, 2.5e9),
    )


def _throughput(name: str, about: str, workload: str, variants: tuple[str, ...], others: tuple[str, ...]) -> Experiment:
    octets = (KIB, 512 * KIB, 8 * MIB)
    quick = Axes((16, 64), octets, (1.0, 20.0), 100_000, 1.0, 2)
    if workload == "kvs":  # of ten operations of a client one writes; with 8 MiB these ten take a second
        quick = replace(quick, actors=(16,), seconds=2.0)
    return Experiment(
        name,
        about,
        workload,
        published=Axes(ACTORS, octets, (1.0, 20.0), 100_000, 120.0, 5),
        quick=quick,
        default=Axes(ACTORS, octets, (1.0, 20.0), 100_000, 10.0, 3),
        groups=(AFFINITY,),
        others=others,
        variants=variants,
    )


ALL = (
    _micro("microbenchmarks", "figure 1: latency of 512 KiB at 1 ms", 512 * KIB, 1.0),
    Experiment(
        "microbenchmarks-queueoverhead",
        "figure 2: 128 actors on 4 channels of 8 to 128 connections each",
        "micro",
        published=Axes((128,), (512 * KIB,), (1.0,), 10_000, 3600.0, 1),
        quick=Axes((128,), (512 * KIB,), (1.0,), 10_000, 20.0, 1, 640e6),
        default=Axes((128,), (512 * KIB,), (1.0,), 10_000, 60.0, 5, 2.5e9),
        groups=tuple(AFFINITY.with_parallelism(each) for each in (8, 16, 32, 64, 128)),
        others=(),
    ),
    _micro("microbenchmarks-highlatency", "figure 3: latency of 512 KiB at 20 ms", 512 * KIB, 20.0),
    _micro("microbenchmarks-largepayload", "figure 4: latency of 8 MiB at 1 ms", 8 * MIB, 1.0),
    _throughput("echo-perf", "figures 5 and 6: echo among three nodes", "echo", ("",), ("disterl", "pyzmq", "raw")),
    Experiment(
        "echo-perf-scaled",
        "figure 6 where the link has room: echo of 1 MiB for 8 MiB at 20 ms, with TCP's windows an eighth as well",
        "echo",
        published=Axes(ACTORS, (MIB,), (20.0,), 100_000, 120.0, 5),
        quick=Axes((16, 64, 128), (MIB,), (20.0,), 100_000, 3.0, 2),
        default=Axes(ACTORS, (MIB,), (20.0,), 100_000, 10.0, 3),
        groups=(AFFINITY,),
        scale=8,
    ),
    replace(
        _throughput("fsm-perf", "figures 7 and 8: a key-value store on three nodes", "kvs", ("90/10",), ("disterl",)),
        besides=Experiment(
            "fsm-perf",
            "the same in the set-up of the older claims: objects of 1 MiB, half of the operations write",
            "kvs",
            published=Axes(ACTORS, (MIB,), (1.0, 20.0), 100_000, 120.0, 1),
            quick=Axes((128,), (MIB,), (20.0,), 100_000, 2.0, 2),
            default=Axes(ACTORS, (MIB,), (1.0, 20.0), 100_000, 10.0, 3),
            groups=(AFFINITY.with_parallelism(8),),
            variants=("50/50",),
        ),
    ),
    Experiment(
        "kvs-latency",
        "the key-value store with 1 MiB objects over growing round trips, 8 connections",
        "kvs",
        published=Axes((8,), (MIB,), (1.0, 10.0, 20.0, 40.0, 80.0, 120.0), 100_000, 120.0, 1),
        quick=Axes((8,), (MIB,), (1.0, 20.0, 80.0), 100_000, 2.0, 1),
        default=Axes((8,), (MIB,), (1.0, 10.0, 20.0, 40.0, 80.0, 120.0), 100_000, 10.0, 3),
        groups=(PARTISAN, AFFINITY_MONOTONIC.with_parallelism(8)),
        variants=("90/10",),
    ),
    Experiment(
        "perf-suite",
        "echo among three nodes over growing payloads and numbers of actors",
        "echo",
        published=Axes(
            (1, 2, 4, 8, 16, 24, 32, 64, 120), (MIB, 2 * MIB, 4 * MIB, 8 * MIB), (1.0, 20.0), 100_000, 120.0, 1
        ),
        quick=Axes((1, 32), (MIB, 8 * MIB), (20.0,), 100_000, 1.0, 1),
        default=Axes((1, 4, 16, 64), (MIB, 2 * MIB, 4 * MIB, 8 * MIB), (1.0, 20.0), 100_000, 5.0, 2),
        groups=(PARTISAN, AFFINITY),
    ),
    Experiment(
        "scale",
        "figure 9: what a counter of advertisement impressions costs, client-server and HyParView, simulated",
        "scale",
        published=Axes((32, 64, 128, 256, 512, 1024), (0,), (0.0,), 1, 7200.0, 2),
        quick=Axes((32, 64, 128, 256, 512, 1024), (0,), (0.0,), 1, 240.0, 1),
        default=Axes((32, 64, 128, 256, 512, 1024), (0,), (0.0,), 1, 1200.0, 1),
        groups=(PARTISAN,),
        others=(),
        variants=("client-server", "hyparview"),
        simulated=True,
    ),
    Experiment(
        "head-of-line",
        "requests beside anti-entropy and gossip of the ring: on one connection, and on channels of their own",
        "head-of-line",
        published=Axes((16,), (KIB,), (1.0,), 100_000, 60.0, 5),
        quick=Axes((16,), (KIB,), (1.0,), 100_000, 3.0, 2),
        default=Axes((16,), (KIB,), (1.0,), 100_000, 10.0, 5),
        groups=(PARTISAN,),
        variants=("one connection", "three channels", "three channels, one monotonic"),
    ),
)
NAMES = tuple(each.name for each in ALL)


@dataclass(frozen=True, slots=True)
class Task:
    """A cell that is to be measured, and how much of it.

    Attributes:
        scaled: what is smaller than published, and why; empty if nothing is.
    """

    cell: Cell
    messages: int
    seconds: float
    repetitions: int
    scaled: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which cells are wanted; an empty tuple leaves an axis as the size has it.

    Attributes:
        size: of SIZES.
        only: experiments.
        repeat, seconds: instead of the size's, if given.
        ratio: the variant of the key-value store, instead of "90/10".
        cells: these alone, as `text_of` writes them.
    """

    size: str = "default"
    only: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    actors: tuple[int, ...] = ()
    octets: tuple[int, ...] = ()
    rtts: tuple[float, ...] = ()
    repeat: int | None = None
    seconds: float | None = None
    ratio: str = ""
    cells: tuple[str, ...] = field(default=())


def known(name: str, names: Iterable[str], kind: str) -> str:
    """Return a name that is among these. Raises UnknownName, which suggests the nearest."""
    names = list(names)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, 1, 0.5)
    meant = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(names)}"
    raise UnknownName(f"{name!r} is no {kind}: {meant}")


def experiment_of(name: str) -> Experiment:
    """Return an experiment by its name. Raises UnknownName."""
    return ALL[NAMES.index(known(name, NAMES, "experiment"))]


def text_of(cell: Cell) -> str:
    """Write a cell as one word, which `cell_of` reads."""
    group = cell.group
    parallel = f"*{group.parallelism}" if group.parallelism != _group(group.name).parallelism else ""
    text = f"{cell.experiment}/{cell.transport}/{group.name}{parallel}/{cell.actors}x{cell.octets}@{cell.rtt_ms:g}"
    text += f":{cell.scale}" if cell.scale > 1 else ""
    return f"{text}/{cell.variant}" if cell.variant else text


def cell_of(text: str) -> Cell:
    """Read what `text_of` wrote. Raises UnknownName."""
    found = CELL.fullmatch(text)
    if found is None:
        form = "EXPERIMENT/TRANSPORT/GROUP[*PARALLELISM]/ACTORSxOCTETS@RTT[:SCALE][/VARIANT]"
        raise UnknownName(f"{text!r} is no cell of the form {form}")
    experiment = experiment_of(found["experiment"])
    transport = known(found["transport"], TRANSPORTS, "transport")
    group = _group(known(found["group"], [each.name for each in GROUPS], "configuration group"))
    if found["parallelism"]:
        group = group.with_parallelism(int(found["parallelism"]))
    _check_group(transport, group)
    variant = _checked_variant(experiment, found["variant"] or experiment.variants[0])
    sizes = int(found["actors"]), int(found["octets"]), float(found["rtt"])
    if sizes[2] > MOST_RTT_MS:
        raise UnknownName(f"{text!r}: no round trip is longer than {MOST_RTT_MS:g} ms")
    if experiment.simulated != (sizes[1:] == (0, 0.0)) or not (experiment.simulated or sizes[1]):
        raise UnknownName(f"{text!r}: what is simulated is written Nx0@0, and all else has a payload")
    return Cell(experiment.name, experiment.workload, transport, group, *sizes, variant, int(found["scale"] or 1))


def _check_group(transport: str, group: Group) -> None:
    """Raise UnknownName if a transport has no such group: its figures would be told as those of another."""
    alone = {"disterl": DISTERL, "pyzmq": PARTISAN, "raw": PARTISAN}.get(transport)
    if alone is not None and group != alone:
        raise UnknownName(f"{transport} has but one configuration group, {alone.name!r}")
    if alone is None and group.name == DISTERL.name:
        raise UnknownName(f"{transport} has no configuration group {group.name!r}")


def _checked_variant(experiment: Experiment, variant: str) -> str:
    """Return a variant that an experiment has; of a store's, any ratio is one. Raises UnknownName."""
    if experiment.workload == "kvs":
        try:
            writes_of(variant)
        except ValueError as error:
            raise UnknownName(str(error)) from None
        return variant
    if not any(experiment.variants) and variant:
        raise UnknownName(f"{experiment.name} has no variants: {variant!r}")
    return known(variant, experiment.variants, f"variant of {experiment.name}")


def _group(name: str) -> Group:
    return next(each for each in GROUPS if each.name == name)


def tasks_of(wish: Wish) -> list[Task]:
    """List what is to be measured, cells of one place together. Raises UnknownName."""
    for name in wish.transports:
        known(name, TRANSPORTS, "transport")
    if wish.cells:
        if wish.only or wish.transports or wish.actors or wish.octets or wish.rtts or wish.ratio:
            raise UnknownName("a cell says by itself what it is: nothing chooses among cells that are named")
        return [_task(wish, cell) for cell in map(cell_of, wish.cells)]
    chosen = [experiment_of(name) for name in wish.only] or list(ALL)
    if wish.ratio:
        stores = [each for each in chosen if each.workload == "kvs"]
        if not stores:
            raise UnknownName(f"the ratio {wish.ratio} is of fsm-perf and kvs-latency, and neither is measured")
        _checked_variant(stores[0], wish.ratio)
    return [
        _task(wish, cell) for experiment in chosen for part in _parts(experiment, wish) for cell in _cells(part, wish)
    ]


def _parts(experiment: Experiment, wish: Wish) -> list[Experiment]:
    """The experiment, and what goes by its name besides; of these the one that has the ratio which is wished."""
    if experiment.besides is None:
        return [experiment]
    return [experiment.of(wish.ratio)] if wish.ratio else [experiment, experiment.besides]


def _cells(experiment: Experiment, wish: Wish) -> list[Cell]:
    axes = experiment.axes(wish.size)
    configurations = [each for each in experiment.configurations() if not wish.transports or each[0] in wish.transports]
    # A simulation has neither payloads nor a network: those axes are as they are.
    fixed = experiment.simulated
    return [
        Cell(experiment.name, experiment.workload, transport, group, actors, octets, rtt, variant, experiment.scale)
        for rtt in (axes.rtts if fixed else wish.rtts or axes.rtts)
        for variant in _variants(experiment, wish)
        for octets in (axes.octets if fixed else wish.octets or axes.octets)
        for actors in wish.actors or axes.actors
        for transport, group in configurations
    ]


def _variants(experiment: Experiment, wish: Wish) -> Sequence[str]:
    return (wish.ratio,) if wish.ratio and experiment.workload == "kvs" else experiment.variants


def _task(wish: Wish, cell: Cell) -> Task:
    axes = experiment_of(cell.experiment).of(cell.variant).axes(wish.size)
    axes = replace(axes, repetitions=wish.repeat or axes.repetitions, seconds=wish.seconds or axes.seconds)
    messages = axes.messages_of(cell.actors, cell.octets)
    return Task(cell, messages, axes.seconds, axes.repetitions, scaled_of(cell, axes))


def scaled_of(cell: Cell, axes: Axes) -> str:
    """Say what of a cell is smaller than published, and why; empty if nothing is."""
    published = experiment_of(cell.experiment).of(cell.variant).published
    smaller = []
    if cell.workload == "scale":
        return "simulated: 1,024 nodes do not fit one machine"
    messages = axes.messages_of(cell.actors, cell.octets)
    if messages < published.messages:
        smaller.append(f"{messages:,} messages an actor instead of {published.messages:,}")
    if axes.seconds < published.seconds:
        most = "at most " if axes.budget is not None else ""
        whole = f" instead of {published.seconds:g} s" if axes.budget is None else ""
        smaller.append(f"{most}{axes.seconds:g} s{whole}")
    if axes.repetitions < published.repetitions:
        smaller.append(f"{axes.repetitions} repetitions instead of {published.repetitions}")
    for name, value, values in (("actors", cell.actors, published.actors), ("octets", cell.octets, published.octets)):
        if value not in values:
            smaller.append(f"{value:,} {name} instead of {', '.join(f'{each:,}' for each in values)}")
    why = "to fit the time that two cores have"
    told = [f"{'; '.join(smaller)}: {why}"] if smaller else []
    return "; ".join([_windows(cell), *told] if cell.scale > 1 else told)


def _windows(cell: Cell) -> str:
    """Say what it means that windows are scaled, and why they are."""
    return (
        f"{size(cell.octets)} for {size(cell.scale * cell.octets)}, and TCP's greatest windows 1/{cell.scale} of the "
        f"machine's, so that a window carries the same share of a message: like a link that is {cell.scale} times as "
        "wide, because at full size the emulated one fills up"
    )


def estimate(tasks: Sequence[Task]) -> float:
    """How long these will take, in seconds: what is measured, its warming up, and the starts of nodes."""
    starts = {(task.cell.experiment, task.cell.transport, task.cell.group, task.cell.rtt_ms) for task in tasks}
    begun = sum(START_ESTIMATE + _connecting(transport, group) for _, transport, group, _ in starts)
    return begun + sum(task.repetitions * _estimate_of(task) for task in tasks)


def _connecting(transport: str, group: Group) -> float:
    return CONNECTION_ESTIMATE * group.channels * group.parallelism if transport == "partisan-erlang" else 0.0


def _estimate_of(task: Task) -> float:
    if task.cell.workload == "scale":
        part = 1.0 if task.cell.variant == "hyparview" else 0.15
        return part * SCALE_ESTIMATE * math.pow(task.cell.actors / 1024, 1.3)
    sent = task.messages * task.cell.actors * task.cell.octets / RATE_ESTIMATE
    return min(task.seconds, sent) + EXTRA_ESTIMATE


SCALE_ESTIMATE = 90.0
"""Seconds that 1,024 nodes take to be simulated."""

RATE_ESTIMATE = 300e6
"""Octets a second that pairs of actors send together."""

START_ESTIMATE = 2.5
"""Seconds that nodes take to be started."""

CONNECTION_ESTIMATE = 0.05
"""Seconds that real nodes take besides for each of their connections."""

EXTRA_ESTIMATE = 0.4
"""Seconds of a repetition besides its own: warming up, and what is under way at its end."""
