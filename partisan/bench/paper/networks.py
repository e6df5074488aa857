"""The places of a run: this machine as it is, or an emulated network of a round-trip time, if it can be had."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from partisan.bench.measure import MeasurementFailed
from partisan.bench.places import LOOPBACK, Place

CAPACITY_RTT = 1.0
"""Over which round trip, in ms, the relay's own limit is found: so short a one that windows do not bound it."""

CHECK_SECONDS = 2.0
"""How long an emulated network's own limits are measured, each of three."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line on which a host of an emulated network sends.

    Attributes:
        bandwidth: bits a second; None: what the relay can.
        queue: octets that may wait for it; None: what it carries in a round trip.
    """

    bandwidth: float | None = None
    queue: int | None = None


FREE = Line()


class Hosts:
    """The hosts of an emulated network, by name.

    Args:
        network: a `partisan.bench.netem.Network` that was entered.
        names: of its hosts, in their order.
    """

    def __init__(self, network: Any, names: Sequence[str]) -> None:
        self._network = network
        self._names = tuple(names)

    def address(self, host: str) -> str:
        """See `Place`."""
        return str(self._network.address(self._names.index(host)))

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """See `Place`."""
        return [str(word) for word in self._network.command(self._names.index(host), argv)]

    def octets(self) -> int:
        """How many octets the network has carried so far, all hosts together."""
        return int(self._network.counters().octets)


class Networks:
    """Opens one place at a time, and knows what each can carry.

    Args:
        say: told of the limits of each network.
        emulate: False leaves everything on plain loopback.
    Attributes:
        links: what each network can do by its own check, a mapping each with "rtt_ms"; see `Run.links`.
        missing: why no network can be emulated, or empty.
    """

    def __init__(self, say: Callable[[str], None], emulate: bool = True) -> None:
        self._say = say
        self._stack = contextlib.ExitStack()
        self._open: tuple[tuple[str, ...], float, Line] | None = None
        self._hosts: Hosts | None = None
        self._limits: dict[float, float] = {}
        self._broken: dict[tuple[tuple[str, ...], float], str] = {}
        self.links: list[dict[str, Any]] = []
        self.missing = why_not() if emulate else "it was not wished"

    def place(self, hosts: Sequence[str], rtt_ms: float, line: Line = FREE) -> Place:
        """Open a place with these hosts; the one before it is closed, unless it is the same."""
        wanted = (tuple(hosts), rtt_ms, line)
        if wanted != self._open:
            self.close()
            if rtt_ms > 0 and hosts and not self.missing:
                self._enter(*wanted)
            self._open = wanted
        return self._hosts or LOOPBACK

    def _enter(self, hosts: tuple[str, ...], rtt_ms: float, line: Line) -> None:
        """Check and open a network; one that has failed is not tried again."""
        if reason := self._broken.get((hosts, rtt_ms)):
            raise MeasurementFailed(reason)
        bounds = {"bandwidth": line.bandwidth, "queue": line.queue}
        try:
            for each in (CAPACITY_RTT, rtt_ms):
                self._check(each)
            network = self._stack.enter_context(_netem().Network(len(hosts), rtt=rtt_ms / 1000, **bounds))
        except MeasurementFailed as error:
            self._broken[hosts, rtt_ms] = str(error)
            raise
        self._hosts = Hosts(network, hosts)

    def limit(self, rtt_ms: float) -> float | None:
        """How many octets a second the relay carries at most; None for loopback.

        What eight connections carry over a long way is what their windows allow; the relay can do what it does over
        any.
        """
        return max(self._limits.values()) if rtt_ms in self._limits else None

    def octets(self) -> int:
        """How many octets the open network has carried so far; 0 of loopback."""
        return self._hosts.octets() if self._hosts is not None else 0

    def _check(self, rtt_ms: float) -> None:
        if rtt_ms in self._limits:
            return
        limits = asdict(_netem().check(rtt_ms / 1000, CHECK_SECONDS))
        self._limits[rtt_ms] = max(limits["one_stream"], limits["streams"]) / 8
        self.links.append({"rtt_ms": rtt_ms, **limits})
        one, eight = limits["one_stream"] / 8e6, limits["streams"] / 8e6
        send, receive = limits["tcp_wmem"][2] >> 10, limits["tcp_rmem"][2] >> 10
        self._say(
            f"the network of {rtt_ms:g} ms: {1000 * limits['rtt_measured']:.2f} ms measured; one TCP connection "
            f"carries {one:,.0f} MB/s, eight {eight:,.0f} MB/s; {limits['congestion']}, windows up to {send:,} KiB to "
            f"send and {receive:,} KiB to receive"
        )

    def close(self) -> None:
        """Close the place that is open."""
        self._open = self._hosts = None
        self._stack.close()


def why_not() -> str:
    """Say why no network can be emulated here; empty if one can."""
    try:
        return str(_netem().Network.unavailable())
    except ModuleNotFoundError as error:
        return f"the packet relay is not there: {error}"


def _netem() -> Any:
    return importlib.import_module("partisan.bench.netem")
