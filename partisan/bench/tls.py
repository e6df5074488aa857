"""The experiment `tls`: what encryption costs. The same nodes and workloads with TLS and without, in turns, in one run.

Both sides show a certificate and verify the other's (mutual TLS); it is made with the `openssl` command for each run.
Which side of a point was measured is in its `config`: "tls" or "plain". Each process has a core of its own: on one
core a stream without TLS finds its octets in the cache, and the ratio halves (`docs/performance.md`).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .goals import Goal
from .measure import Measurement, MeasurementFailed, Point
from .micro import WARM_SECONDS
from .report import Ratio, Row, median_row, number, size, table
from .transports.base import Transport
from .transports.partisan import Partisan

CONFIGS = ("plain", "tls")
STREAM = Point("oneway", 1, 512 * 1024)
POINTS = (STREAM, Point("echo", 1, 16))


@dataclass(slots=True)
class Results:
    """What was measured, by point with its config, a measurement a round."""

    rounds: dict[Point, list[Measurement | None]] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """List the rows of medians."""
        rows = [median_row("tls", Partisan.name, point, each) for point, each in self.rounds.items()]
        return [row for row in rows if row is not None]

    def against_plain(self, point: Point, key: str) -> Ratio | None:
        """One figure of a point with TLS, divided by the same without, round by round."""
        figures = []
        for config in reversed(CONFIGS):
            rounds = self.rounds.get(replace(point, config=config), [])
            figures.append([None if each is None else getattr(each, key) for each in rounds])
        return Ratio.of(*figures)


def certificate(directory: Path) -> Mapping[str, str]:
    """Make a certificate for 127.0.0.1 there; return the environment of nodes that show and trust it.

    Raises MeasurementFailed if there is no `openssl` command, or it fails.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise MeasurementFailed("no openssl on the path: a certificate cannot be made")
    key, cert = directory / "key.pem", directory / "cert.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    files = ["-keyout", str(key), "-out", str(cert), "-addext", "subjectAltName=IP:127.0.0.1"]
    done = subprocess.run(
        [openssl, "req", "-x509", *kind, *files], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise MeasurementFailed(f"openssl made no certificate: {done.stderr.strip()[-200:]}")
    environment = {"PARTISAN_TLS": "true"}
    for role in ("CLIENT", "SERVER"):
        options = {"CERTFILE": str(cert), "KEYFILE": str(key), "CACERTFILE": str(cert), "VERIFY": "verify_peer"}
        environment |= {f"PARTISAN_TLS_{role}_OPTIONS__{name}": value for name, value in options.items()}
    return environment | {"PARTISAN_TLS_SERVER_OPTIONS__FAIL_IF_NO_PEER_CERT": "true"}


def run(rounds: int, seconds: float, say: Callable[[str], None]) -> Results:
    """Measure every point, plain and with TLS in turns; say each table. All processes are ended when this returns.

    Raises MeasurementFailed.
    """
    results = Results()
    with tempfile.TemporaryDirectory(prefix="partisan-bench-") as directory:
        environment = {"plain": {"PARTISAN_TLS": "false"}, "tls": certificate(Path(directory))}
        transports: dict[str, Transport] = {config: Partisan(environment[config]) for config in CONFIGS}
        try:
            for transport in transports.values():
                transport.start(1)
                if not transport.spread():
                    say("the processes have no core each: the figure then depends on where the system puts them\n")
            for point in POINTS:
                _measure(point, transports, rounds, seconds, results)
                say(render(point, results) + "\n")
        finally:
            for transport in transports.values():
                transport.stop()
    return results


def _measure(point: Point, transports: Mapping[str, Transport], rounds: int, seconds: float, results: Results) -> None:
    for index in range(rounds):
        for config, transport in transports.items():
            here = replace(point, config=config)
            if not index:
                transport.run(here, min(WARM_SECONDS, seconds))
            results.rounds.setdefault(here, []).append(transport.run(here, seconds))


def render(point: Point, results: Results) -> str:
    """Render the table of one point: a line a config, and how TLS compares."""
    lines = []
    for config in CONFIGS:
        here = replace(point, config=config)
        row = median_row("tls", Partisan.name, here, results.rounds.get(here, []))
        if row is None:
            continue
        rate = "-" if row.octets_per_second is None else size(row.octets_per_second)
        lines.append([config, number(row.messages_per_second), rate, number(row.p50_us, 1), number(row.p99_us, 1)])
        if config == "tls":
            ratios = [results.against_plain(point, key) for key in ("messages_per_second", "p50_us")]
            lines[-1] += ["" if ratio is None else str(ratio) for ratio in ratios]
    headers = ["config", "messages/s", "octets/s", "p50 us", "p99 us", "rate against plain", "p50 against plain"]
    body = table(headers, [line + [""] * (len(headers) - len(line)) for line in lines])
    title = f"{point.workload}, {size(point.octets)}, {point.actors} actor"
    return "\n".join([title, *(f"  {line}" for line in body.splitlines())])


def goals_of(results: Results) -> list[Goal]:
    """List the goal of a stream, if it was measured."""
    ratio = results.against_plain(STREAM, "octets_per_second")
    if ratio is None:
        return []
    return [
        Goal(
            "oneway 512 KiB, 1 actor: TLS against plain",
            ratio.median,
            0.35,
            spread=f"{ratio.least:.2f}..{ratio.most:.2f}",
        )
    ]
