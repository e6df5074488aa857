"""The self-check: what an emulated network really gives, on this machine and now."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from partisan.bench.procs import Child, ChildFailed

from . import ends
from .devices import MTU
from .network import START_SECONDS, Counters, Network, NetworkFailed

ROUND_TRIPS = 200
STREAMS = 8
TOLERANCE = 0.05
"""How far the round-trip time may be from what was asked for, as a share of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a network gives, beside what it was asked for; times in seconds, rates in bits a second of payload.

    Attributes:
        rtt: as asked for.
        rtt_measured: median of what the kernel finds when it opens TCP connections: no process has to wake up for it.
        rtt_least: the least of that.
        rtt_most: the greatest.
        echo: median of small echoes over TCP between two processes, which have to.
        bandwidth: as asked for; None for no limit.
        one_stream: the rate of one TCP connection.
        streams: the rate of `STREAMS` TCP connections together.
        jitter, loss: as asked for.
        mtu: of the devices, in octets.
        congestion: the congestion control of TCP in the namespaces.
        tcp_rmem, tcp_wmem: least, initial and greatest octets of TCP's buffers there: they bound the window.
        counters: what became of all packets of the check.
    """

    rtt: float
    rtt_measured: float
    rtt_least: float
    rtt_most: float
    echo: float
    bandwidth: float | None
    one_stream: float
    streams: float
    jitter: float
    loss: float
    mtu: int
    congestion: str
    tcp_rmem: tuple[int, int, int]
    tcp_wmem: tuple[int, int, int]
    counters: Counters

    @property
    def error(self) -> float:
        """How far the round-trip time is from what was asked for, as a share of that; 0 if none was."""
        return (self.rtt_measured - self.rtt) / self.rtt if self.rtt else 0.0

    @property
    def good(self) -> bool:
        """Whether the round-trip time is as asked for, within TOLERANCE and what jitter does to it."""
        return abs(self.rtt_measured - self.rtt) <= TOLERANCE * self.rtt + 2 * self.jitter or not self.rtt

    def share(self, rate: float) -> float:
        """Return how full the network is at `rate` bits a second: above a half, it is the relay that is measured."""
        return rate / self.streams


class _Ends:
    """The processes at both ends of a network's first two hosts, while the context is entered."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.children: list[Child] = []
        self.far: dict[str, Any] = {}

    def __enter__(self) -> _Ends:
        try:
            here = [sys.executable, "-m", ends.__name__, self._network.address(1)]
            self.children.append(Child("far end of the self-check", self._network.command(1, here)))
            self.far = self._answer(0, START_SECONDS)
            near = self._network.command(0, [*here, str(self.far["port"])])
            self.children.append(Child("near end of the self-check", near))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.stop()

    def _answer(self, end: int, seconds: float) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self.children[end].read_line(seconds))
        except ChildFailed as error:
            words = [child.last_words() for child in self.children]
            raise NetworkFailed(f"the self-check failed: {error} ({'; '.join(filter(None, words))})") from error
        return answer

    def times(self, kind: str, seconds: float) -> dict[str, float]:
        """Return the median, least and most seconds of round trips: "connect" as the kernel sees them, or "echo"."""
        self.children[1].write_line(f"{kind} {ROUND_TRIPS} {seconds}")
        return self._answer(1, seconds + START_SECONDS)

    def rate(self, streams: int, seconds: float) -> float:
        """Return the bits a second that arrive, a start of a third of the time left out."""
        self.children[1].write_line(f"stream {streams} {seconds}")
        self.children[0].write_line(f"count {seconds / 3} {seconds * 0.6}")
        counted = self._answer(0, seconds + START_SECONDS)
        self._answer(1, seconds + START_SECONDS)
        return float(8 * counted["octets"] / counted["seconds"])


def check(
    rtt: float,
    seconds: float = 5.0,
    *,
    jitter: float = 0.0,
    loss: float = 0.0,
    bandwidth: float | None = None,
    seed: int = 0,
    queue: int | None = None,
    mtu: int = MTU,
    settings: Mapping[str, str] | None = None,
) -> Limits:
    """Make a network of two hosts and measure it, in at most about four times `seconds`; may raise NetworkFailed."""
    network = Network(
        2, rtt=rtt, jitter=jitter, loss=loss, bandwidth=bandwidth, seed=seed, queue=queue, mtu=mtu, settings=settings
    )
    with network:
        return measure(network, seconds)


def measure(network: Network, seconds: float = 5.0) -> Limits:
    """Measure a network that was entered, between its first two hosts, as `check` does."""
    with _Ends(network) as both:
        settings = both.far["settings"]
        handshakes = both.times("connect", seconds)
        echo = both.times("echo", seconds)
        one = both.rate(1, seconds)
        many = both.rate(STREAMS, seconds)
    read, write = (tuple(map(int, settings[name])) for name in ("tcp_rmem", "tcp_wmem"))
    rules = network.rules
    return Limits(
        rtt=rules.rtt,
        rtt_measured=handshakes["median"],
        rtt_least=handshakes["least"],
        rtt_most=handshakes["most"],
        echo=echo["median"],
        bandwidth=rules.bandwidth,
        one_stream=one,
        streams=many,
        jitter=rules.jitter,
        loss=rules.loss,
        mtu=rules.mtu,
        congestion=settings["tcp_congestion_control"][0],
        tcp_rmem=(read[0], read[1], read[2]),
        tcp_wmem=(write[0], write[1], write[2]),
        counters=network.counters(),
    )
