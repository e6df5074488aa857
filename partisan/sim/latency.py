"""How long a message takes from one node to another."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partisan.machines.machine import Peer

if TYPE_CHECKING:
    from random import Random


def _checked(problem: str, good: bool) -> None:
    if not good:
        raise ValueError(problem)


class Latency(ABC):
    """A model; times are in seconds, and the same way back need not take as long."""

    @property
    def fixed(self) -> float | None:
        """The time that every message takes, or None if it depends."""
        return None

    @abstractmethod
    def seconds(self, source: Peer, destination: Peer, rng: Random) -> float:
        """The time for the next message."""


@dataclass(frozen=True, slots=True)
class Constant(Latency):
    """Every message takes as long."""

    after: float

    def __post_init__(self) -> None:
        _checked(f"a latency of {self.after!r} s", 0.0 <= self.after < math.inf)

    @property
    def fixed(self) -> float:
        return self.after

    def seconds(self, source: Peer, destination: Peer, rng: Random) -> float:
        return self.after


@dataclass(frozen=True, slots=True)
class Uniform(Latency):
    """Each message takes a time between the two, by chance; those of one link still arrive in order."""

    least: float
    most: float

    def __post_init__(self) -> None:
        _checked(f"a latency from {self.least!r} to {self.most!r} s", 0.0 <= self.least <= self.most < math.inf)

    def seconds(self, source: Peer, destination: Peer, rng: Random) -> float:
        return self.least + (self.most - self.least) * rng.random()


@dataclass(frozen=True, slots=True)
class Plane(Latency):
    """Nodes lie on a plane: a message takes as long as it is far, and a bit by chance.

    Attributes:
        places: peer -> (x, y).
        per_unit: seconds for a distance of 1.
        least: seconds that are added to every message.
        jitter: seconds that are added by chance at most.
    """

    places: Mapping[Peer, tuple[float, float]]
    per_unit: float
    least: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("per_unit", "least", "jitter"):
            _checked(f"{name}={getattr(self, name)!r}", 0.0 <= getattr(self, name) < math.inf)

    def distance(self, source: Peer, destination: Peer) -> float:
        """How far apart two nodes are."""
        return math.dist(self.places[source], self.places[destination])

    def seconds(self, source: Peer, destination: Peer, rng: Random) -> float:
        chance = self.jitter * rng.random() if self.jitter else 0.0
        return self.least + self.per_unit * self.distance(source, destination) + chance
