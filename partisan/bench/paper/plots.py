"""The pictures of the report: latencies as notched box plots, throughput as curves, as the paper draws them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from partisan.bench.report import size

from .cells import Cell, Outcome
from .published import FIGURES, OCTETS
from .verdicts import value


def can_draw() -> bool:
    """Whether matplotlib is here, which comes with the extra `bench`."""
    return find_spec("matplotlib") is not None


def label(cell: Cell) -> str:
    """How a cell's transport and group are called in a picture: `partisan 4/16/T` as in the paper."""
    group = cell.group
    if cell.transport not in ("partisan", "partisan-erlang"):
        return cell.transport
    text = f"{cell.transport} {group.channels}/{group.parallelism}/{'T' if group.affinity else 'F'}"
    text += " monotonic" if group.monotonic else ""
    if cell.workload == "scale":
        return cell.variant
    return text if cell.workload in ("micro", "echo", "kvs") else f"{cell.transport}, {cell.variant}"


def draw(outcomes: Sequence[Outcome], directory: Path) -> dict[str, list[tuple[Path, str]]]:
    """Draw the figures of what was measured.

    Returns:
        By experiment, the files and what each shows.
    """
    drawn: dict[str, list[tuple[Path, str]]] = {}
    for experiment in FIGURES:
        chosen = [each for each in outcomes if each.cell.experiment == experiment and each.repetitions]
        if chosen:
            drawn[experiment] = list(_DRAWERS.get(experiment, _boxes)(experiment, chosen, directory))
    return drawn


def _parts(outcomes: Sequence[Outcome]) -> Iterator[tuple[tuple[int, float, str], list[Outcome]]]:
    """A picture for each payload, round-trip time and variant."""
    keys = dict.fromkeys((each.cell.octets, each.cell.rtt_ms, each.cell.variant) for each in outcomes)
    for key in keys:
        yield key, [each for each in outcomes if (each.cell.octets, each.cell.rtt_ms, each.cell.variant) == key]


def _title(experiment: str, octets: int, rtt_ms: float, variant: str) -> str:
    about = [size(octets)] if octets else []
    about += [f"round trip {rtt_ms:g} ms"] if rtt_ms else ["loopback"]
    about += [variant] if variant else []
    return f"{experiment}: {', '.join(about)}"


def _boxes(experiment: str, outcomes: Sequence[Outcome], directory: Path) -> Iterator[tuple[Path, str]]:
    """Latencies by number of actors, a box for each configuration."""
    for key, chosen in _parts(outcomes):
        yield _box_plot(_title(experiment, *key), chosen, directory, lambda cell: cell.actors, "actors")


def _by_connections(experiment: str, outcomes: Sequence[Outcome], directory: Path) -> Iterator[tuple[Path, str]]:
    for key, chosen in _parts(outcomes):
        title = _title(experiment, *key)
        yield _box_plot(title, chosen, directory, lambda cell: cell.group.parallelism, "connections a channel")


def _by_round_trip(experiment: str, outcomes: Sequence[Outcome], directory: Path) -> Iterator[tuple[Path, str]]:
    for octets, variant in dict.fromkeys((each.cell.octets, each.cell.variant) for each in outcomes):
        chosen = [each for each in outcomes if (each.cell.octets, each.cell.variant) == (octets, variant)]
        title = f"{experiment}: {size(octets)}, {variant}"
        yield _box_plot(title, chosen, directory, lambda cell: round(cell.rtt_ms), "round trip, ms")


def _blocking(experiment: str, outcomes: Sequence[Outcome], directory: Path) -> Iterator[tuple[Path, str]]:
    """All variants in one picture: they are what is compared."""
    for octets, rtt_ms in dict.fromkeys((each.cell.octets, each.cell.rtt_ms) for each in outcomes):
        chosen = [each for each in outcomes if (each.cell.octets, each.cell.rtt_ms) == (octets, rtt_ms)]
        title = _title(experiment, octets, rtt_ms, "")
        yield _box_plot(title, chosen, directory, lambda cell: cell.actors, "actors")


def _box_plot(
    title: str, outcomes: Sequence[Outcome], directory: Path, of: Callable[[Cell], int], axis: str
) -> tuple[Path, str]:
    pyplot = _pyplot()
    places = sorted({of(each.cell) for each in outcomes})
    kinds = list(dict.fromkeys(label(each.cell) for each in outcomes))
    canvas, axes = pyplot.subplots(figsize=(max(7.0, 0.5 * len(places) * len(kinds) + 3), 5))
    width = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        chosen = {of(each.cell): each for each in outcomes if label(each.cell) == kind}
        times = [[m / 1000 for r in chosen[p].repetitions for m in r.micros] if p in chosen else [] for p in places]
        at = [place + (number - (len(kinds) - 1) / 2) * width for place in range(len(places))]
        some = [(a, t) for a, t in zip(at, times, strict=True) if t]
        if not some:
            continue
        boxes = axes.boxplot(
            [t for _, t in some], positions=[a for a, _ in some], widths=width * 0.85, notch=True, showfliers=False,
            patch_artist=True, manage_ticks=False,
        )  # fmt: skip
        for box in boxes["boxes"]:
            box.set_facecolor(f"C{number}")
            box.set_alpha(0.6)
        axes.plot([], [], color=f"C{number}", linewidth=6, alpha=0.6, label=kind)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_xticks(range(len(places)), [str(place) for place in places])
    axes.set_xlabel(axis)
    axes.set_ylabel("latency, ms")
    return _save(pyplot, canvas, axes, directory, title)


def _throughput(experiment: str, outcomes: Sequence[Outcome], directory: Path) -> Iterator[tuple[Path, str]]:
    """Operations a second by number of actors, with the least and the greatest of the repetitions."""
    for key, chosen in _parts(outcomes):
        yield _curves(_title(experiment, *key), chosen, directory)


def _curves(title: str, outcomes: Sequence[Outcome], directory: Path) -> tuple[Path, str]:
    pyplot = _pyplot()
    canvas, axes = pyplot.subplots(figsize=(7, 5))
    for kind in dict.fromkeys(label(each.cell) for each in outcomes):
        chosen = sorted((each for each in outcomes if label(each.cell) == kind), key=lambda each: each.cell.actors)
        rates = [each.rate for each in chosen]
        below = [each.rate - min(r.rate for r in each.repetitions) for each in chosen]
        above = [max(r.rate for r in each.repetitions) - each.rate for each in chosen]
        actors = [each.cell.actors for each in chosen]
        axes.errorbar(actors, rates, yerr=[below, above], marker="o", capsize=3, label=kind)
    _ticks(axes, sorted({each.cell.actors for each in outcomes}))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("actors")
    axes.set_ylabel("operations/s")
    return _save(pyplot, canvas, axes, directory, title)


def _scale(experiment: str, outcomes: Sequence[Outcome], directory: Path) -> Iterator[tuple[Path, str]]:
    pyplot = _pyplot()
    canvas, axes = pyplot.subplots(figsize=(7, 5))
    for variant in dict.fromkeys(each.cell.variant for each in outcomes):
        chosen = sorted((each for each in outcomes if each.cell.variant == variant), key=lambda each: each.cell.actors)
        points = [(each.cell.actors, value(each, OCTETS)) for each in chosen]
        points = [each for each in points if not math.isnan(each[1])]
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=variant)
    axes.set_yscale("log")
    _ticks(axes, sorted({each.cell.actors for each in outcomes}))
    axes.set_xlabel("nodes")
    axes.set_ylabel("octets sent in all")
    yield _save(pyplot, canvas, axes, directory, experiment)


def _ticks(axes: Any, places: Sequence[int]) -> None:
    """Put powers of two at equal distances, each with its number."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [str(place) for place in places])
    axes.minorticks_off()


def _save(pyplot: Any, canvas: Any, axes: Any, directory: Path, title: str) -> tuple[Path, str]:
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    # Below the picture: within it, it would lie on what is drawn.
    columns = 2 if max(map(len, axes.get_legend_handles_labels()[1])) > 24 else 4
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=columns, frameon=False)
    path = directory / f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}.png"
    canvas.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(canvas)
    return path, title


def _pyplot() -> Any:
    import_module("matplotlib").use("Agg")
    return import_module("matplotlib.pyplot")


_DRAWERS: dict[str, Callable[[str, Sequence[Outcome], Path], Iterator[tuple[Path, str]]]] = {
    "microbenchmarks-queueoverhead": _by_connections,
    "echo-perf": _throughput,
    "echo-perf-scaled": _throughput,
    "fsm-perf": _throughput,
    "kvs-latency": _by_round_trip,
    "perf-suite": _throughput,
    "scale": _scale,
    "head-of-line": _blocking,
}
