"""What is measured, and how it travels between the processes of an experiment: points, jobs, measurements.

A point is one cell of an experiment. A job is a point to be measured for some seconds; it goes to a client process as
one line of words, which a BEAM process splits as easily as a Python one. A measurement comes back as one line of JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

SMALL = 4096
"""Messages up to this size are fast enough that reading the clock at each would be seen in the figures, in octets."""

SAMPLE = 16
"""With many actors and small messages, one operation in so many has its latency recorded."""

BURST_OCTETS = 65536
BURST_MESSAGES = 64


class MeasurementFailed(Exception):
    """A point could not be measured: a process ended, was silent for too long, or the receiver's count is wrong."""


@dataclass(frozen=True, slots=True)
class Point:
    """One cell of an experiment.

    Attributes:
        workload: "oneway", "echo", "hol" or "codec".
        actors: how many pairs of actors work at once.
        octets: the size of each message's payload.
        config: which variant of the workload, "default" where there is one only.
    """

    workload: str
    actors: int
    octets: int
    config: str = "default"

    @property
    def burst(self) -> int:
        """How many messages a sender writes between two looks at the clock."""
        return max(1, min(BURST_MESSAGES, BURST_OCTETS // max(1, self.octets)))

    @property
    def stride(self) -> int:
        """One operation in how many has its latency recorded."""
        return 1 if self.actors == 1 or self.octets > SMALL else SAMPLE


@dataclass(frozen=True, slots=True)
class Job:
    """A point to be measured, for `seconds` of sending."""

    point: Point
    seconds: float

    def line(self) -> str:
        """Render as `workload actors octets config stride burst seconds`."""
        p = self.point
        return f"{p.workload} {p.actors} {p.octets} {p.config} {p.stride} {p.burst} {self.seconds:.3f}"

    @classmethod
    def parse(cls, line: str) -> Job:
        """Read what `line` wrote."""
        workload, actors, octets, config, _stride, _burst, seconds = line.split()
        return cls(Point(workload, int(actors), int(octets), config), float(seconds))


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of one point in one round; None where one makes no sense.

    Attributes:
        messages_per_second: messages that the receiver confirmed (oneway), or completed operations (echo).
        octets_per_second: payload octets in one direction; for `hol`, those of the stream beside the echo.
        p50_us: median latency of an operation, in microseconds.
        p99_us: 99th percentile of the same.
    """

    messages_per_second: float
    octets_per_second: float | None
    p50_us: float | None
    p99_us: float | None

    def line(self) -> str:
        """Render as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Measurement:
        """Read a measurement; raise MeasurementFailed if the line is none."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise MeasurementFailed(f"no measurement but {line.strip()[:200]!r}") from error

    @classmethod
    def of_stream(cls, point: Point, count: int, seconds: float) -> Measurement:
        """Build from a confirmed count of one-way messages."""
        return cls(count / seconds, count * point.octets / seconds, None, None)

    @classmethod
    def of_echo(cls, point: Point, count: int, seconds: float, nanoseconds: list[int]) -> Measurement:
        """Build from completed operations and their recorded latencies."""
        return cls.beside(count * point.octets / seconds, count, seconds, nanoseconds)

    @classmethod
    def beside(cls, stream: float | None, count: int, seconds: float, nanoseconds: list[int]) -> Measurement:
        """Build from an echo beside a stream of so many octets a second, None for no stream."""
        p50, p99 = percentiles_us(nanoseconds)
        return cls(count / seconds, stream, p50, p99)


def percentiles_us(nanoseconds: list[int]) -> tuple[float | None, float | None]:
    """Return the 50th and 99th percentile (nearest rank) in microseconds, or None for both if there are no samples."""
    if not nanoseconds:
        return None, None
    ordered = sorted(nanoseconds)

    def at(fraction: float) -> float:
        return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)] / 1000.0

    return at(0.50), at(0.99)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values."""
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))
