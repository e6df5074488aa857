"""Each published figure beside the measured one: is its claim reproduced here, and if not, what stood against it?

A claim is judged at its own point, or at the nearest smaller one of the same experiment, which is named, where both
sides were measured and the emulated link was at most half full for the side that the claim says loses. A link that is
full for the side that wins holds it back: the ratio is smaller than it would be. A ratio is always of one run.

Where an experiment has a double with payload and windows smaller by one factor, the double's point is judged if the
link had room there for both sides, and had not at full size; the ratio at full size is told beside it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from partisan.bench.goals import Goal
from partisan.bench.report import size

from .cells import Cell, Outcome
from .published import CLAIMS, KIB, MEDIAN, MIB, OCTETS, P99, RATE, Claim
from .workloads.ring import SERVICE_SECONDS

ERLANG, OURS, REAL = "disterl", "partisan", "partisan-erlang"
ONE_CONNECTION, THREE_CHANNELS = "one connection", "three channels"
CLIENT_SERVER, HYPARVIEW = "client-server", "hyparview"

NEAR = 0.8
"""A claim counts as reproduced at this part of its published ratio, and as of the same direction below it."""

STEADY = 0.95
"""Where nothing differed, it is reproduced if nothing differs: ratios from here to its inverse are no difference."""

NODES = 3
"""Of a ring."""

FARTHEST = 16
"""A claim is judged at a payload at most so many times smaller: packets decide at 1 KiB, and octets at 512."""

ROOM = 4.0
"""Where a rival has less than one part in so many of what waiting allows, it is not waiting that it is measured by."""

SCALED = {"echo-perf": "echo-perf-scaled"}
"""Experiments, and their doubles with payload and windows smaller by one factor (`Cell.scale`)."""

FIGURES_1_TO_8 = (
    "microbenchmarks",
    "microbenchmarks-queueoverhead",
    "microbenchmarks-highlatency",
    "microbenchmarks-largepayload",
    "echo-perf",
    "fsm-perf",
    *SCALED.values(),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two outcomes at one place: the design that the claim says loses, and the one that wins."""

    theirs: Outcome
    ours: Outcome

    def values(self, metric: str) -> tuple[float, float]:
        """The figures of both."""
        return value(self.theirs, metric), value(self.ours, metric)

    def ratio(self, metric: str) -> float:
        """How many times better the second is; 0 if that one alone has failed, NaN if either was not measured."""
        if self.lost:
            return 0.0
        theirs, ours = self.values(metric)
        above, below = (ours, theirs) if metric == RATE else (theirs, ours)
        return above / below if below else math.nan

    @property
    def measured(self) -> bool:
        """Whether both were."""
        return self.theirs.status == self.ours.status == "measured"

    @property
    def lost(self) -> bool:
        """Whether the second has failed where the first was measured: that counts, and no smaller point excuses it."""
        return self.theirs.status == "measured" and self.ours.status == "failed"

    @property
    def link_bound(self) -> bool:
        """Whether the link was more than half full for either."""
        return self.theirs.link_bound or self.ours.link_bound


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a claim.

    Attributes:
        point: where it was judged, as text; empty if nowhere.
        theirs, ours, real: measured; `real` is Partisan itself. NaN where there is none.
        ratio: of `ours` against `theirs`.
        word: "reproduced", "same direction", "not reproduced" or "not measured".
        note: what was scaled, why it was not measured, or what was found to stand against it.
        full_size: the ratio at full size, and where, if a scaled point was judged and that was measured too; or empty.
    """

    claim: Claim
    point: str
    theirs: float
    ours: float
    real: float
    ratio: float
    word: str
    note: str
    full_size: str = ""


def value(outcome: Outcome, metric: str) -> float:
    """An outcome's figure; NaN if it has none."""
    if metric == OCTETS:
        return _extra(outcome, "octets")
    return {MEDIAN: outcome.median_ms, P99: outcome.p99_ms, RATE: outcome.rate}[metric]


def pairs(outcomes: Sequence[Outcome], claim: Claim, winner: str = OURS) -> Iterator[Pair]:
    """All places of the claim's experiment, and of its double, that have both designs."""
    names = (claim.experiment, SCALED.get(claim.experiment))
    candidates = [each for each in outcomes if each.cell.experiment in names]
    if claim.experiment in ("head-of-line", "scale"):
        lost, won = (
            (ONE_CONNECTION, THREE_CHANNELS) if claim.experiment == "head-of-line" else (CLIENT_SERVER, HYPARVIEW)
        )
        losers = [each for each in candidates if (each.cell.transport, each.cell.variant) == (winner, lost)]
        winners = [each for each in candidates if (each.cell.transport, each.cell.variant) == (winner, won)]
    else:
        candidates = [each for each in candidates if (each.cell.variant or claim.variant) == claim.variant]
        losers = [each for each in candidates if each.cell.transport == ERLANG]
        winners = [each for each in candidates if each.cell.transport == winner and each.cell.group.affinity]
    for theirs in losers:
        for ours in winners:
            if theirs.cell.place[2:] == ours.cell.place[2:]:
                yield Pair(theirs, ours)


def is_below(claim: Claim, cell: Cell) -> bool:
    """Whether a claim may be judged at a cell: at most its payload and actors, of one regime, and the same network."""
    if claim.experiment == "scale":
        return cell.actors == claim.actors
    octets = cell.scale * cell.octets
    below = octets <= claim.octets <= FARTHEST * octets and cell.actors <= claim.actors and cell.rtt_ms == claim.rtt_ms
    return below or claim.experiment == "head-of-line"


def distance(claim: Claim, cell: Cell) -> tuple[float, float]:
    """How far a measured cell is from a claim's point: of the payload first, then of the actors, as powers of two."""
    octets = abs(math.log2(claim.octets / (cell.scale * cell.octets))) if claim.octets and cell.octets else 0.0
    actors = abs(math.log2(claim.actors / cell.actors)) if claim.actors and cell.actors else 0.0
    return octets, actors


def judge(outcomes: Sequence[Outcome], claim: Claim) -> Verdict:
    """Set a claim beside what was measured."""
    found = [pair for pair in pairs(outcomes, claim) if is_below(claim, pair.ours.cell)]
    measured = [pair for pair in found if pair.measured or pair.lost]
    if not measured:
        return _missing(outcomes, claim, found)
    best, full = _decisive(measured, claim)
    theirs, ours = best.values(claim.metric)
    ratio = best.ratio(claim.metric)
    others = [pair.ours for pair in pairs(outcomes, claim, REAL) if pair.ours.cell.place == best.ours.cell.place]
    real = value(others[0], claim.metric) if others else math.nan
    word = _word(claim.ratio, ratio)
    notes = [each for each in (best.theirs.scaled, best.ours.scaled) if each]
    beside = ""
    if full is not None and best.ours.cell.scale > 1:
        beside = f"{full.ratio(claim.metric):.2f}x at full size ({point(full.ours.cell)})"
        notes.append(f"{beside}: {against(full.ours)}")
    if distance(claim, best.ours.cell) != (0.0, 0.0):
        notes.append(f"judged at {point(best.ours.cell)}, the nearest below it that was measured")
    if best.lost:
        notes.append(f"{best.ours.cell.transport} has failed: {best.ours.reason}")
    elif word != "reproduced" and claim.experiment != "scale":
        notes.append(f"what stood against it: {against(best.ours)}")
    note = "; ".join(dict.fromkeys(notes))
    return Verdict(claim, point(best.ours.cell), theirs, ours, real, ratio, word, note, beside)


def _decisive(measured: Sequence[Pair], claim: Claim) -> tuple[Pair, Pair | None]:
    """The pair at which a claim is judged, and the one at full size that is nearest to it, however full its link."""
    full = [pair for pair in measured if pair.ours.cell.scale == 1]
    scaled = [pair for pair in measured if pair.ours.cell.scale > 1]
    nearest = [min(full, key=lambda pair: (pair.theirs.link_bound, distance(claim, pair.ours.cell)))] if full else []
    nearest += [min(scaled, key=lambda pair: (pair.link_bound, distance(claim, pair.ours.cell)))] if scaled else []
    # Of those that are as good the first, which is the one at full size.
    best = min(nearest, key=lambda pair: (pair.link_bound, distance(claim, pair.ours.cell)[0]))
    return best, min(full, key=lambda pair: distance(claim, pair.ours.cell)) if full else None


def _word(published: float | None, ratio: float) -> str:
    claimed = published or 1.0
    near = STEADY if abs(claimed - 1) < 1 - STEADY else NEAR
    if ratio >= near * claimed:
        return "reproduced"
    return "same direction" if min(claimed, ratio) > 1 / STEADY else "not reproduced"


def _missing(outcomes: Sequence[Outcome], claim: Claim, found: Sequence[Pair]) -> Verdict:
    """A claim without a point where both designs were measured."""
    sides = [side for pair in found for side in (pair.theirs, pair.ours)]
    if claim.experiment == "scale" and len(found) == 1 and found[0].ours.status == "measured":
        # Where a simulated star ends is taken from the published one, and so says nothing for the claim.
        return Verdict(
            claim, point(found[0].ours.cell), math.nan, value(found[0].ours, OCTETS), math.nan, math.nan,
            "not measured", f"HyParView goes on; client-server: {found[0].theirs.reason}",
        )  # fmt: skip
    reasons = [f"{each.cell.transport}: {each.status}, {each.reason}" for each in sides if each.status != "measured"]
    reasons = reasons or ["no such point in this run"]
    nan = math.nan
    return Verdict(claim, "", nan, nan, nan, nan, "not measured", "; ".join(dict.fromkeys(reasons)))


def against(outcome: Outcome) -> str:
    """What was found to be full while a cell was measured: the link, the processors, or neither."""
    if outcome.link_bound:
        assert outcome.link_share is not None
        return f"the emulated link was {outcome.link_share:.0%} full, so the relay was measured, not the transport"
    busy, relay = _extra(outcome, "cpu"), _extra(outcome, "relay")
    if math.isnan(busy):
        return "not known: the processors' load was not measured"
    told = f"{busy:.0%} busy" if math.isnan(relay) else f"{busy:.0%} busy, {relay:.0%} with the relay"
    if busy > 0.85:
        return f"the processors were {told}"
    return f"neither the link nor the processors were full ({told}): it waits"


def _extra(outcome: Outcome, name: str) -> float:
    """The median of one of the figures besides; NaN if it is not there."""
    found = [each.extra[name] for each in outcome.repetitions if name in each.extra]
    return statistics.median(found) if found else math.nan


def point(cell: Cell) -> str:
    """A cell's point as text."""
    what = [f"{cell.actors} {'nodes' if cell.experiment == 'scale' else 'actors'}"] if cell.actors else []
    what += [size(cell.octets)] if cell.octets else []
    what += [f"{cell.rtt_ms:g} ms"] if cell.rtt_ms else []
    what += [f"windows 1/{cell.scale}"] if cell.scale > 1 else []
    return ", ".join([*what, *([cell.variant] if cell.variant and cell.experiment == "fsm-perf" else [])])


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Every claim of an experiment of which anything was tried; of a double alone, those that it bears on."""
    tried = {each.cell.experiment for each in outcomes}
    return [judge(outcomes, claim) for claim in CLAIMS if claim.experiment in tried or _bears(outcomes, claim)]


def _bears(outcomes: Sequence[Outcome], claim: Claim) -> bool:
    return any(is_below(claim, pair.ours.cell) for pair in pairs(outcomes, claim))


def goals(outcomes: Sequence[Outcome]) -> list[Goal]:
    """What this package set itself beside the published claims, of which both sides were measured."""
    found: list[Goal] = []
    for title, experiment, octets in (
        ("512 KiB at 20 ms, affinity: median lower than disterl's", "microbenchmarks-highlatency", 512 * KIB),
        ("8 MiB echo at 20 ms: operations against disterl", "echo-perf", 8 * MIB),
    ):
        claim = next(
            c for c in CLAIMS if (c.experiment, c.octets, c.actors, c.rtt_ms) == (experiment, octets, 128, 20.0)
        )
        verdict = judge(outcomes, claim)
        if not math.isnan(verdict.ratio):
            published = f"published {claim.ratio}x ({claim.source})"
            told = "; ".join(filter(None, (verdict.point, verdict.full_size, published)))
            found.append(Goal(title, verdict.ratio, 5.0, spread=told))
    for rival in (ERLANG, REAL):
        found += _never_below(outcomes, rival)
    blocked = [judge(outcomes, claim) for claim in CLAIMS if claim.experiment == "head-of-line"]
    title = "99th percentile of requests beside anti-entropy, three channels: lower than one connection's"
    found += [Goal(title, each.ratio, 12.5, spread=each.point) for each in blocked if not math.isnan(each.ratio)]
    return found


def _never_below(outcomes: Sequence[Outcome], rival: str) -> Iterable[Goal]:
    """Ours against a rival at every point of figures 1 to 8: the least ratio, of all and of small payloads."""
    found = list(every_pair(outcomes, rival))
    small = [pair for pair in found if pair.ours.cell.octets <= KIB]
    for title, bound, chosen in (
        ("every point of figures 1 to 8: the least", 0.95, found),
        ("payloads up to 1 KiB: the least", 2.0, small),
        ("payloads up to 1 KiB where not all wait: the least", 2.0, [each for each in small if room(each) >= ROOM]),
    ):
        if chosen:
            least = min(chosen, key=lambda pair: pair.ratio(_metric(pair.ours.cell)))
            where = f"{least.ours.cell.experiment}, {point(least.ours.cell)}"
            if least.lost:
                where += f": it has failed, {least.ours.reason}"
            elif room(least) < ROOM:
                where += f"; a network and a store without any cost of their own would allow {room(least):.2f}x"
            yield Goal(f"{title} against {rival}", least.ratio(_metric(least.ours.cell)), bound, spread=where)


def room(pair: Pair) -> float:
    """How many times the rival's operations there would be if nothing took time but the waiting."""
    rate = pair.theirs.rate
    return most_by_waiting(pair.ours.cell) / rate if rate else math.nan


def most_by_waiting(cell: Cell) -> float:
    """Operations a second of actors that only wait: for the round trip, and for a partition to serve; or infinity.

    Of the partitions that an echo may ask a third is on its own node. An object has a replica on each node, and two of
    the three answer.
    """
    rtt = cell.rtt_ms / 1000
    seconds = {"echo": rtt * (1 - 1 / NODES), "kvs": SERVICE_SECONDS + rtt}.get(cell.workload, 0.0)
    return NODES * cell.actors / seconds if seconds else math.inf


def _metric(cell: Cell) -> str:
    return MEDIAN if cell.workload == "micro" else RATE


def every_ratio(outcomes: Sequence[Outcome], rival: str) -> Iterator[tuple[float, Cell]]:
    """(ours against the rival, the cell of ours) of every pair."""
    for pair in every_pair(outcomes, rival):
        yield pair.ratio(_metric(pair.ours.cell)), pair.ours.cell


def every_pair(outcomes: Sequence[Outcome], rival: str) -> Iterator[Pair]:
    """The rival and ours, at each place and in each group that the rival has measured, and ours has or has failed at.

    The distribution of Erlang has one group, which is set against each of ours.
    """
    chosen = [each for each in outcomes if each.cell.experiment in FIGURES_1_TO_8]
    for ours in (each for each in chosen if each.cell.transport == OURS):
        for theirs in (each for each in chosen if each.cell.transport == rival):
            same = rival == ERLANG or theirs.cell.group == ours.cell.group
            pair = Pair(theirs, ours)
            if same and theirs.cell.place == ours.cell.place and (pair.measured or pair.lost):
                yield pair
