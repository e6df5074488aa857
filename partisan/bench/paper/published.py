"""What was published of each figure. Only the verdicts and the report read this; no experiment does.

Sources: "ATC" is the abstract of Meiklejohn, Miller and Alvaro, USENIX ATC 2019; "web" the authors' page of the same
experiments before it (github.com/cmeiklejohn/partisan-performance-page), values read off its plots within 3 %;
"arXiv" is 1802.02652, an earlier version with another set-up; "PPDP" is Meiklejohn, Enes, Yoo, Baquero, Van Roy and
Bieniusa, PPDP 2017, whose set-up is the one of the scale figure.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

MEDIAN = "median latency, ms"
RATE = "operations/s"
P99 = "99th percentile, ms"
OCTETS = "octets in all"

FIGURES = {
    "microbenchmarks": "Figure 1: latency of 512 KiB messages, 1 ms",
    "microbenchmarks-queueoverhead": "Figure 2: number of parallel connections, 512 KiB, 1 ms",
    "microbenchmarks-highlatency": "Figure 3: latency of 512 KiB messages, 20 ms",
    "microbenchmarks-largepayload": "Figure 4: latency of 8 MiB messages, 1 ms",
    "echo-perf": "Figures 5 and 6: echo on a ring of three nodes",
    "echo-perf-scaled": "Figure 6 where the link has room: echo of 1 MiB for 8 MiB, TCP's windows an eighth as well",
    "fsm-perf": "Figures 7 and 8: key-value store on a ring of three nodes",
    "kvs-latency": "Key-value store over round-trip times of 1 to 120 ms",
    "perf-suite": "Echo of 1 to 8 MiB",
    "scale": "Scale: the advertisement counter, client-server against HyParView (simulated)",
    "head-of-line": "Head-of-line blocking: requests beside anti-entropy and gossip",
}
"""The experiments in the order of the report, and what they show."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One published comparison.

    Attributes:
        experiment, variant, actors, octets, rtt_ms: the point; of the scale figure, actors are nodes.
        metric: MEDIAN, RATE, P99 or OCTETS; of all but RATE less is better.
        theirs: the value of Erlang's distribution, or of the design that loses; None where it was not published.
        ours: the value of Partisan with parallel affinitised connections, or of the design that wins.
        ratio: how many times better the latter is; None where a design failed or no ratio was published.
        source: where it stands.
    """

    experiment: str
    variant: str
    actors: int
    octets: int
    rtt_ms: float
    metric: str
    theirs: float | None
    ours: float | None
    ratio: float | None
    source: str


def _latencies(experiment: str, octets: int, rtt_ms: float, headline: float, source: str) -> list[Claim]:
    found = []
    for actors, theirs, ours in _MEDIANS[experiment]:
        ratio, where = (headline, source) if actors == 128 else (theirs / ours, "web, read off the plot")
        found.append(Claim(experiment, "", actors, octets, rtt_ms, MEDIAN, theirs, ours, ratio, where))
    return found


_MEDIANS = {
    "microbenchmarks": ((16, 3.1, 1.45), (32, 5.4, 1.9), (64, 9.7, 3.4), (128, 18.7, 10.1)),
    "microbenchmarks-highlatency": ((16, 45.0, 10.5), (32, 72.0, 30.0), (64, 130.0, 16.0), (128, 250.0, 17.0)),
    "microbenchmarks-largepayload": ((16, 64.0, 13.0), (32, 117.0, 21.5), (64, 230.0, 53.0), (128, 460.0, 122.0)),
}


def _rate(experiment: str, octets: int, rtt_ms: float, theirs: float, ours: float, ratio: float, source: str) -> Claim:
    variant = "90/10" if experiment == "fsm-perf" else ""
    return Claim(experiment, variant, 128, octets, rtt_ms, RATE, theirs, ours, ratio, source)


_SCALE = (
    (32, 43e6, 90e6),
    (64, 125e6, 250e6),
    (128, 400e6, 800e6),
    (256, 1.4e9, 2.9e9),
    (512, None, 11e9),
    (1024, None, 42e9),
)

CLAIMS: tuple[Claim, ...] = (
    *_latencies("microbenchmarks", 512 * KIB, 1.0, 1.9, "web"),
    *_latencies("microbenchmarks-highlatency", 512 * KIB, 20.0, 13.4, "web; 13.5 in ATC"),
    *_latencies("microbenchmarks-largepayload", 8 * MIB, 1.0, 3.7, "web"),
    _rate("echo-perf", 512 * KIB, 1.0, 308.0, 311.0, 1.01, "web"),
    _rate("echo-perf", 8 * MIB, 1.0, 58.0, 180.0, 3.10, "web"),
    _rate("echo-perf", 512 * KIB, 20.0, 45.0, 322.0, 7.21, "web"),
    _rate("echo-perf", 8 * MIB, 20.0, 5.0, 175.0, 34.96, "web; 38.07 in ATC"),
    _rate("fsm-perf", 512 * KIB, 1.0, 108.0, 104.0, 0.96, "web"),
    _rate("fsm-perf", 8 * MIB, 1.0, 63.0, 94.0, 1.4, "web"),
    _rate("fsm-perf", 512 * KIB, 20.0, 62.0, 111.0, 1.8, "web"),
    Claim("fsm-perf", "90/10", 128, 8 * MIB, 20.0, RATE, 1 / 120, 95.0, None, "web: 1 operation in 120 s against 95/s"),
    Claim("fsm-perf", "50/50", 128, MIB, 20.0, RATE, None, None, 18.0, "arXiv: 18 times, 30 under congestion"),
    *(
        Claim("scale", "", nodes, 0, 0.0, OCTETS, server, peers, server and server / peers, "PPDP, read off the plot")
        for nodes, server, peers in _SCALE
    ),
    Claim("head-of-line", "", 0, 0, 0.0, P99, None, None, 12.5, "in second-hand descriptions only: unverified"),
)
