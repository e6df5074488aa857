"""What a network does to packets, as one is asked for it and as the relay takes it: plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MOST_HOSTS = 64
MOST_SECONDS = 10.0
"""Of a round trip."""

LARGE_OCTETS = 66560
SMALL_OCTETS = 512

STORE_OCTETS = 768 * 2**20
"""At most so much memory is set aside for large packets. Only what was on its way at once is ever touched."""

FASTEST = 40e9
"""The store is sized for this many bits a second where no bandwidth is given: no relay of one thread reaches it."""

FASTEST_PACKETS = 1_500_000
"""Small packets a second that the store is sized for."""

LEAST_STORE = 64 * 2**20
"""Octets of the store for each host on top, for what comes at once after the relay had to wait for a core."""

LEAST_QUEUE = 2**20
"""Octets of a queue before a line, at least: ten packets of the greatest size and more."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What happens to a packet on its way; checked.

    Attributes:
        rtt: round-trip time in seconds; half of it each way.
        jitter: at most so many seconds are added to or taken from the delay of a way, evenly spread; order is kept.
        loss: share of packets that are lost, 0 to 1.
        bandwidth: bits a second that each host can send, headers of IP included; None for as many as the relay can.
        queue: octets that may wait for a host's line; what comes on top is dropped.
        seed: of loss and jitter.
        mtu: of the hosts' devices, in octets.
        reorder: whether jitter may let a packet overtake another between the same two hosts.
    """

    rtt: float
    jitter: float = 0.0
    loss: float = 0.0
    bandwidth: float | None = None
    queue: int | None = None
    seed: int = 0
    mtu: int = 65535
    reorder: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rtt) and 0 <= self.rtt <= MOST_SECONDS):
            raise ValueError(f"rtt {self.rtt} is not within 0 and {MOST_SECONDS:.0f} seconds")
        if not (math.isfinite(self.jitter) and 0 <= self.jitter <= self.rtt / 2):
            raise ValueError(f"jitter {self.jitter} is not within 0 and half of the rtt, {self.rtt / 2} seconds")
        if not 0 <= self.loss <= 1:
            raise ValueError(f"loss {self.loss} is no share within 0 and 1")
        if self.bandwidth is not None and not (math.isfinite(self.bandwidth) and self.bandwidth >= 1000):
            raise ValueError(f"bandwidth {self.bandwidth} is below 1000 bits a second")
        if self.queue is not None and self.queue < 0:
            raise ValueError(f"queue {self.queue} is below 0 octets")
        if not 576 <= self.mtu <= 65535:
            raise ValueError(f"mtu {self.mtu} is not within 576 and 65535 octets")

    @property
    def queue_octets(self) -> int:
        """Octets that may wait for a line: what was given, else what the line carries in a round trip."""
        if self.queue is not None:
            return self.queue
        return max(LEAST_QUEUE, math.ceil((self.bandwidth or 0) * self.rtt / 8))

    def room(self, hosts: int) -> tuple[int, int]:
        """Return how many small and how many large packets the relay makes room for."""
        longest = self.rtt / 2 + self.jitter
        rate = FASTEST if self.bandwidth is None else self.bandwidth
        waiting = 0 if self.bandwidth is None else self.queue_octets
        octets = hosts * (rate * longest / 8 + waiting + LEAST_STORE)
        smalls = 65536 + math.ceil(FASTEST_PACKETS * longest)
        return smalls, min(math.ceil(octets), STORE_OCTETS) // LARGE_OCTETS

    def numbers(self, hosts: int) -> dict[str, Any]:
        """Return the arguments of `relay.carry` that say all this."""
        smalls, larges = self.room(hosts)
        return {
            "delay": round(self.rtt / 2 * 1e9),
            "jitter": round(self.jitter * 1e9),
            "loss": min(round(self.loss * 2**64), 2**64 - 1),
            "octet": 0.0 if self.bandwidth is None else 8e9 / self.bandwidth,
            "queue": self.queue_octets,
            "reorder": self.reorder,
            "seed": self.seed % 2**56,
            "smalls": smalls,
            "larges": larges,
        }
