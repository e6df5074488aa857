"""What the experiments of the paper are made of: configuration groups, cells, and what became of a cell.

Groups have the names of the published harness, which its tables and scripts use.
"""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass, field, replace
from typing import TypeAlias

CHANNELS = ("undefined", "gossip", "broadcast", "vnode")
"""The channels of the groups that have any besides the default one; `gossip` is the monotonic one where one is."""


@dataclass(frozen=True, slots=True)
class Group:
    """A configuration group of the published harness.

    Attributes:
        name: its name there.
        channels: how many; 1 or 4.
        monotonic: whether one of them is.
        parallelism: connections a channel.
        affinity: whether a sender keeps to one connection of them.
    """

    name: str
    channels: int = 1
    monotonic: bool = False
    parallelism: int = 1
    affinity: bool = False

    def with_parallelism(self, connections: int) -> Group:
        """Return the group with so many connections a channel."""
        return replace(self, parallelism=connections)


DISTERL = Group("disterl")
PARTISAN = Group("partisan")
PARALLELISM = Group("partisan_with_parallelism", parallelism=16)
CHANNELLED = Group("partisan_with_channels", channels=4)
MONOTONIC = Group("partisan_with_monotonic_channels", channels=4, monotonic=True)
PARTITIONED = Group("partisan_with_partitioned_parallelism", parallelism=16, affinity=True)
AFFINITY = Group("partisan_with_partitioned_parallelism_and_channels", channels=4, parallelism=16, affinity=True)
AFFINITY_MONOTONIC = Group(
    "partisan_with_partitioned_parallelism_and_channels_and_monotonic_channels",
    channels=4,
    monotonic=True,
    parallelism=16,
    affinity=True,
)


RATIO = re.compile(r"(\d{1,3})/(\d{1,3})")


def writes_of(ratio: str) -> int:
    """How many of a hundred operations of a store write: 10 of "90/10". Raises ValueError."""
    found = RATIO.fullmatch(ratio)
    if found is None or int(found[1]) + int(found[2]) != 100:
        raise ValueError(f"{ratio!r} is no ratio of reads and writes that make 100, such as 90/10")
    return int(found[2])


Spot: TypeAlias = tuple[str, str, int, int, float, int]
"""See `Cell.place`."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of an experiment on one transport.

    Attributes:
        experiment: its name, as the harness has it.
        workload: "micro", "echo", "kvs", "head-of-line" or "scale".
        transport: "disterl", "partisan-erlang", "partisan" (this package), "pyzmq" or "raw".
        group: how it is configured.
        actors: pairs of them; for three nodes, clients of each node.
        octets: of a payload.
        rtt_ms: round-trip time of the network; 0: loopback as it is.
        variant: what the workload distinguishes besides: "90/10", or what a head-of-line cell puts on which channel.
        scale: how many times smaller than the machine's the greatest windows of TCP are on the hosts; with a payload
            smaller by as much, a window carries the same share of a message as at full size.
    """

    experiment: str
    workload: str
    transport: str
    group: Group
    actors: int
    octets: int
    rtt_ms: float
    variant: str = ""
    scale: int = 1

    @property
    def place(self) -> Spot:
        """What cells of other transports and groups have in common with this one: they are compared."""
        return self.experiment, self.variant, self.actors, self.octets, self.rtt_ms, self.scale


@dataclass(frozen=True, slots=True)
class Repetition:
    """One measurement of a cell.

    Attributes:
        operations: completed.
        seconds: that they took, all together.
        micros: how long each took, in microseconds; of many, an even selection.
        extra: figures of one workload alone, by name: "stream_octets_per_second", "shed".
    """

    operations: int
    seconds: float
    micros: tuple[float, ...] = ()
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds if self.seconds > 0 else 0.0

    def percentile(self, fraction: float) -> float:
        """The latency below which this fraction of the operations were (nearest rank), in microseconds; NaN of none."""
        ordered = sorted(self.micros)
        return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)] if ordered else math.nan


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell.

    Attributes:
        status: "measured", "skipped" (it could not be tried) or "failed" (it was tried); both count as not reproduced.
        reason: why it was skipped or failed.
        repetitions: its measurements; a failed cell may have some.
        scaled: what was made smaller than published, and why; empty if nothing was.
        link_share: what part of the emulated link's bandwidth was used, 0 to 1; None on plain loopback.
        command: that measures this cell again.
    """

    cell: Cell
    status: str
    reason: str = ""
    repetitions: tuple[Repetition, ...] = ()
    scaled: str = ""
    link_share: float | None = None
    command: str = ""

    @property
    def median_ms(self) -> float:
        """Median over the repetitions of the median latency, in milliseconds; NaN if nothing was measured."""
        return self._middle([each.percentile(0.5) / 1000 for each in self.repetitions if each.micros])

    @property
    def p99_ms(self) -> float:
        """Median over the repetitions of the 99th percentile of the latency, in milliseconds; NaN likewise."""
        return self._middle([each.percentile(0.99) / 1000 for each in self.repetitions if each.micros])

    @property
    def rate(self) -> float:
        """Median over the repetitions of the operations a second; NaN likewise."""
        return self._middle([each.rate for each in self.repetitions])

    @property
    def link_bound(self) -> bool:
        """Whether the link was more than half full: then it is the link that was measured."""
        return self.link_share is not None and self.link_share > 0.5

    @staticmethod
    def _middle(values: list[float]) -> float:
        return statistics.median(values) if values else math.nan
