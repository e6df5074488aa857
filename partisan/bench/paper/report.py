"""The report of a run: `report.html` and `report.md`, each published figure beside the measured one, with pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from partisan.bench.report import number, size

from .cells import Outcome, Spot
from .document import Block, Document, Heading, Paragraph, Picture, Table
from .plots import can_draw, draw, label
from .published import FIGURES, OCTETS, RATE
from .results import Run
from .verdicts import Verdict, every_ratio, goals, point, value, verdicts


def write(run: Run, directory: Path) -> list[Path]:
    """Write the pages and the pictures of a run; return the files.

    Raises:
        OSError: the directory cannot be made, or a file not be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    pictures = draw(run.outcomes, directory) if can_draw() else {}
    page = document(run, pictures)
    written = [path for each in pictures.values() for path, _ in each]
    for name, text in (("report.md", page.markdown()), ("report.html", page.html())):
        path = directory / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def document(run: Run, pictures: dict[str, list[tuple[Path, str]]]) -> Document:
    """Build the page."""
    page = Document()
    page.add(Heading("The published experiments, measured here", 1), Paragraph(_summary(run)))
    page.add(Paragraph(f"Made by: {run.command}"), *_facts(run))
    found = verdicts(run.outcomes)
    page.add(Heading("The published claims"), *_claims(found), Heading("The aims"), *_goals(run.outcomes))
    for experiment, title in FIGURES.items():
        chosen = [each for each in run.outcomes if each.cell.experiment == experiment]
        if chosen:
            page.add(Heading(title), Paragraph(f"Experiment `{experiment}`."))
            page.add(*(Picture(path, caption) for path, caption in pictures.get(experiment, [])))
            page.add(*_cells(chosen), *_reasons(chosen))
    if not pictures:
        page.add(Paragraph("There are no pictures: matplotlib is not here (pip install 'partisan[bench]')."))
    return page


def _summary(run: Run) -> str:
    counts = {word: sum(each.status == word for each in run.outcomes) for word in ("measured", "skipped", "failed")}
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    ended = " It was ended before all was measured." if run.interrupted else ""
    return (
        f"{len(run.outcomes)} cells: {told}, in {run.seconds / 60:.1f} minutes.{ended} What was skipped or has failed \
counts as not reproduced. A ratio is of one run: absolute figures are of this machine alone."
    )


def _facts(run: Run) -> list[Block]:
    blocks: list[Block] = [Table(("fact", "here"), list(run.facts.items()))]
    if run.links:
        names = [name for name in dict.fromkeys(name for link in run.links for name in link) if name != "rtt"]
        rows = [[_told(name, link.get(name, "")) for name in names] for link in run.links]
        blocks += [Paragraph("What the emulated networks can do by themselves:"), Table(names, rows)]
    return blocks


RATES = ("bandwidth", "one_stream", "streams")
TIMES = ("rtt_measured", "rtt_least", "rtt_most", "echo", "jitter")


def _told(name: str, value: object) -> str:
    """A figure of a network's own check, with its unit where that is not in the name."""
    match value:
        case None:
            return "-"
        case dict():
            return ", ".join(f"{each} {_told(each, found)}" for each, found in value.items() if found)
        case list() | tuple():
            return " ".join(map(str, value))
        case int() | float() if name in RATES:
            return f"{value / 1e9:,.2f} Gbit/s"
        case int() | float() if name in TIMES:
            return f"{1000 * value:,.3f} ms"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _claims(found: Sequence[Verdict]) -> list[Block]:
    headers = (
        "claim",
        "measured at",
        "disterl",
        "Partisan",
        "ratio",
        "disterl here",
        "ours",
        "real Partisan",
        "ratio here",
    )
    rows = []
    for each in found:
        claim = each.claim
        published = [_figure(claim.theirs, claim.metric), _figure(claim.ours, claim.metric), _times(claim.ratio)]
        measured = [_figure(each.theirs, claim.metric), _figure(each.ours, claim.metric)]
        measured += [_figure(each.real, claim.metric), _times(each.ratio)]
        rows.append([_claim(each), each.point or "-", *published, *measured, each.word, each.note])
    words = (
        "In the table of scale and of head-of-line blocking, the first column of each pair is the design that loses: \
one server, one connection."
    )
    return [Table((*headers, "verdict", "note"), rows), Paragraph(words)] if rows else []


def _claim(verdict: Verdict) -> str:
    claim = verdict.claim
    where = [f"{claim.actors} {'nodes' if claim.experiment == 'scale' else 'actors'}"] if claim.actors else []
    where += [size(claim.octets)] if claim.octets else []
    where += [f"{claim.rtt_ms:g} ms"] if claim.rtt_ms else []
    where += [claim.variant] if claim.variant else []
    return f"{claim.experiment}, {', '.join(where)}: {claim.metric} ({claim.source})".replace(", :", ":")


def _goals(outcomes: Sequence[Outcome]) -> list[Block]:
    rows = [
        (each.title, f"{each.found:.2f}", f"{each.bound:g}", each.spread, "reached" if each.reached else "missed")
        for each in goals(outcomes)
    ]
    if not rows:
        return [Paragraph("No aim has both of its sides in this run.")]
    return [Table(("aim", "found", "at least", "where", ""), rows)]


def _cells(outcomes: Sequence[Outcome]) -> list[Block]:
    """All that was measured, with what one needs to doubt it."""
    base = {each.cell.place: each for each in outcomes if each.cell.transport == "disterl" and each.repetitions}
    headers = ("point", "configuration", "operations/s", "spread", "median ms", "p99 ms", "against disterl", "link")
    rows = []
    for each in outcomes:
        if not each.repetitions:
            continue
        rates = [repetition.rate for repetition in each.repetitions]
        spread = f"{number(min(rates), 1)} to {number(max(rates), 1)}"
        figures = [number(each.rate, 1), spread, _milli(each.median_ms), _milli(each.p99_ms)]
        figures += [_against(each, base), _link(each)]
        rows.append([point(each.cell), label(each.cell) or each.cell.transport, *figures])
    blocks: list[Block] = [Table(headers, rows)] if rows else []
    totals = [
        [point(each.cell), each.cell.variant, f"{value(each, OCTETS):,.0f}"] for each in outcomes if _has_octets(each)
    ]
    if totals:
        blocks = [Table(("nodes", "overlay", "octets in all"), totals)]
    least = sorted(each for each, _ in every_ratio(outcomes, "disterl"))
    if least:
        blocks.append(Paragraph(f"Ours against disterl: from {least[0]:.2f} to {least[-1]:.2f} times as good."))
    return blocks


def _has_octets(outcome: Outcome) -> bool:
    return not math.isnan(value(outcome, OCTETS))


def _against(outcome: Outcome, base: dict[Spot, Outcome]) -> str:
    theirs = base.get(outcome.cell.place)
    if theirs is None or theirs is outcome:
        return "-"
    if outcome.cell.workload == "micro":
        return _times(theirs.median_ms / outcome.median_ms)
    return _times(outcome.rate / theirs.rate if theirs.rate else math.nan)


def _link(outcome: Outcome) -> str:
    if outcome.link_share is None:
        return "-"
    return f"{outcome.link_share:.0%}{', the link is measured' if outcome.link_bound else ''}"


def _reasons(outcomes: Sequence[Outcome]) -> list[Block]:
    """What was skipped, failed or made smaller, and how to measure a cell again."""
    rows = [
        (point(each.cell), label(each.cell) or each.cell.transport, each.status, each.reason)
        for each in outcomes
        if each.status != "measured"
    ]
    blocks: list[Block] = [Table(("point", "configuration", "", "why"), rows)] if rows else []
    scaled = dict.fromkeys(each.scaled for each in outcomes if each.scaled)
    blocks += [Paragraph(f"Made smaller: {'; '.join(scaled)}.")] if scaled else []
    commands = [each.command for each in outcomes if each.command and each.status == "measured"]
    blocks += [Paragraph("A single point again:"), Paragraph(commands[-1], code=True)] if commands else []
    return blocks


def _figure(value: float | None, metric: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    if metric == OCTETS:
        return f"{value / 1e6:,.0f} MB"
    return number(value, 2 if value < 10 else 1) + ("/s" if metric == RATE else " ms")


def _milli(value: float) -> str:
    return "-" if math.isnan(value) else number(value, 3 if value < 10 else 1)


def _times(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}x"
