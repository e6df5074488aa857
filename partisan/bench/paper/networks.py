"""The places of a run: this machine as it is, or an emulated network of a round-trip time, if it can be had."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from partisan.bench.measure import MeasurementFailed
from partisan.bench.places import LOOPBACK, Place

CAPACITY_RTT = 1.0
"""Over which round trip, in ms, the relay's own limit is found: so short a one that windows do not bound it."""

CHECK_SECONDS = 2.0
"""How long an emulated network's own limits are measured, each of three."""

SYSCTLS = Path("/proc/sys")
WINDOWS = ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")
"""What bounds the windows of TCP: least, initial and greatest octets of the buffers to receive and to send."""


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

    @property
    def relay(self) -> int:
        """The process id of what carries the packets."""
        return int(self._network.relay)

    def fate(self) -> str:
        """How the relay ended before its time; empty while it carries packets."""
        return str(self._network.fate())

    def octets(self) -> int:
        """How many octets the network has carried so far, all hosts together."""
        return int(self._network.counters().octets)


class Networks:
    """Opens one place at a time, and knows what each can carry.

    Args:
        say: told of the limits of each network.
        emulate: False leaves everything on plain loopback.
    Attributes:
        links: what each network can do by its own check, a mapping each with "rtt_ms" and "scale"; see `Run.links`.
        missing: why no network can be emulated, or empty.
    """

    def __init__(self, say: Callable[[str], None], emulate: bool = True) -> None:
        self._say = say
        self._stack = contextlib.ExitStack()
        self._open: tuple[tuple[str, ...], float, Line, int] | None = None
        self._hosts: Hosts | None = None
        self._limits: dict[tuple[float, int], float] = {}
        self._broken: dict[tuple[tuple[str, ...], float, int], str] = {}
        self.links: list[dict[str, Any]] = []
        self.missing = why_not() if emulate else "it was not wished"

    def place(self, hosts: Sequence[str], rtt_ms: float, line: Line = FREE, scale: int = 1) -> Place:
        """Open a place with these hosts; the one before it is closed, unless it is the same. For `scale` see `Cell`."""
        wanted = (tuple(hosts), rtt_ms, line, scale)
        if wanted != self._open:
            self.close()
            if rtt_ms > 0 and hosts and not self.missing:
                self._enter(*wanted)
            self._open = wanted
        return self._hosts or LOOPBACK

    def check(self, hosts: Sequence[str], rtt_ms: float, scale: int = 1) -> None:
        """Find what the network of a place can carry, which takes seconds: so it may be interrupted, unlike `place`.

        Raises MeasurementFailed; a network that has failed is not tried again.
        """
        if not hosts or rtt_ms <= 0 or self.missing or (rtt_ms, scale) in self._limits:
            return
        if reason := self._broken.get((tuple(hosts), rtt_ms, scale)):
            raise MeasurementFailed(reason)
        self.close()
        try:
            self._check(CAPACITY_RTT, 1)
            self._check(rtt_ms, scale)
        except MeasurementFailed as error:
            self._broken[tuple(hosts), rtt_ms, scale] = str(error)
            raise

    def _enter(self, hosts: tuple[str, ...], rtt_ms: float, line: Line, scale: int) -> None:
        """Open a network; one that has failed is not tried again."""
        if reason := self._broken.get((hosts, rtt_ms, scale)):
            raise MeasurementFailed(reason)
        bounds = {"bandwidth": line.bandwidth, "queue": line.queue, "settings": smaller_windows(scale)}
        try:
            network = self._stack.enter_context(_netem().Network(len(hosts), rtt=rtt_ms / 1000, **bounds))
        except MeasurementFailed as error:
            self._broken[hosts, rtt_ms, scale] = str(error)
            raise
        self._hosts = Hosts(network, hosts)

    def limit(self, rtt_ms: float, scale: int = 1) -> float | None:
        """How many octets a second the relay carries at most; None for loopback.

        What eight connections carry over a long way is what their windows allow; the relay can do what it does over
        any.
        """
        return max(self._limits.values()) if (rtt_ms, scale) in self._limits else None

    @property
    def relay(self) -> int | None:
        """The process id of the open network's relay; None of loopback."""
        return self._hosts.relay if self._hosts is not None else None

    def fate(self) -> str:
        """How the open network ended before its time; empty while it is there, and of loopback."""
        return self._hosts.fate() if self._hosts is not None else ""

    def octets(self) -> int:
        """How many octets the open network has carried so far; 0 of loopback."""
        return self._hosts.octets() if self._hosts is not None else 0

    def _check(self, rtt_ms: float, scale: int) -> None:
        if (rtt_ms, scale) in self._limits:
            return
        limits = asdict(_netem().check(rtt_ms / 1000, CHECK_SECONDS, settings=smaller_windows(scale)))
        self._limits[rtt_ms, scale] = max(limits["one_stream"], limits["streams"]) / 8
        self.links.append({"rtt_ms": rtt_ms, "scale": scale, **limits})
        one, eight = limits["one_stream"] / 8e6, limits["streams"] / 8e6
        send, receive = limits["tcp_wmem"][2] >> 10, limits["tcp_rmem"][2] >> 10
        smaller = f" with windows 1/{scale} of the machine's" if scale > 1 else ""
        self._say(
            f"the network of {rtt_ms:g} ms{smaller}: {1000 * limits['rtt_measured']:.2f} ms measured; one TCP "
            f"connection carries {one:,.0f} MB/s, eight {eight:,.0f} MB/s; {limits['congestion']}, windows up to "
            f"{send:,} KiB to send and {receive:,} KiB to receive"
        )

    def close(self) -> None:
        """Close the place that is open."""
        self._open = self._hosts = None
        self._stack.close()


def smaller_windows(scale: int) -> dict[str, str]:
    """The settings of hosts whose greatest windows are so many times smaller than this machine's; none for 1.

    Raises MeasurementFailed: the machine does not say what its own are.
    """
    if scale == 1:
        return {}
    found = {}
    for name in WINDOWS:
        try:
            least, initial, greatest = map(int, SYSCTLS.joinpath(*name.split(".")).read_text().split())
        except (OSError, ValueError) as error:
            raise MeasurementFailed(f"{name} is not known here: {error}") from error
        most = max(least, greatest // scale)
        found[name] = f"{least} {min(initial, most)} {most}"
    return found


def why_not() -> str:
    """Say why no network can be emulated here; empty if one can."""
    try:
        return str(_netem().Network.unavailable())
    except ModuleNotFoundError as error:
        return f"the packet relay is not there: {error}"


def _netem() -> Any:
    return importlib.import_module("partisan.bench.netem")
