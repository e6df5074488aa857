"""An emulated network as an application of the benchmark uses it: a context manager and the commands inside it."""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from partisan.bench.measure import MeasurementFailed
from partisan.bench.procs import Child, ChildFailed

from . import devices, process
from .rules import MOST_HOSTS, Rules

START_SECONDS = 120.0
"""How long the relay may take to start, on a machine that is busy with other things."""


class NetworkFailed(MeasurementFailed):
    """The network could not be made, or its relay has ended."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of the packets of one host, or of all.

    Attributes:
        packets: delivered.
        octets: of those, with the headers of IP.
        lost: packets lost on purpose.
        dropped: packets for which the queue before the line was full.
        overrun: packets for which the relay had no room left: its own limit.
        refused: packets that the receiving device did not take.
        stray: packets for no host of the network.
        backlog: the most octets that waited for a line.
        late: seconds that packets were delivered behind their time, on the average.
        latest: and at most.
    """

    packets: int
    octets: int
    lost: int
    dropped: int
    overrun: int
    refused: int
    stray: int
    backlog: int
    late: float
    latest: float


TALLY = struct.Struct("10Q")
"""`struct tally` of csrc/packets.h."""


def read_counters(tallies: bytes) -> Counters:
    """Add up the tallies of some hosts, each TALLY.size octets."""
    each = list(TALLY.iter_unpack(tallies))
    packets, octets, lost, dropped, overrun, refused, stray, _, late, _ = map(sum, zip(*each, strict=True))
    backlog, latest = max(one[7] for one in each), max(one[9] for one in each) / 1e9
    average = late / 1e9 / max(1, packets)
    return Counters(packets, octets, lost, dropped, overrun, refused, stray, backlog, average, latest)


class Network:
    """Hosts in network namespaces of their own, and the relay that joins them while the context is entered.

    Everything in it goes with the context: also what is still running in a namespace is killed.
    """

    def __init__(
        self,
        hosts: int,
        *,
        rtt: float,
        jitter: float = 0.0,
        loss: float = 0.0,
        bandwidth: float | None = None,
        seed: int = 0,
        queue: int | None = None,
        mtu: int = devices.MTU,
        reorder: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a network; see `Rules` for what is not told here.

        Args:
            hosts: how many, 2 to 64.
            settings: sysctls set in each namespace, such as `net.ipv4.tcp_congestion_control`.
        """
        if not 2 <= hosts <= MOST_HOSTS:
            raise ValueError(f"{hosts} hosts: not within 2 and {MOST_HOSTS}")
        self.hosts = hosts
        self.rules = Rules(rtt, jitter, loss, bandwidth, queue, seed, mtu, reorder)
        self._settings = dict(settings or {})
        self._relay: Child | None = None
        self._namespaces: list[int] = []
        self._inodes: set[int] = set()
        self._tallies: mmap.mmap | None = None

    def __enter__(self) -> Network:
        """Make the hosts and start the relay; raise NetworkFailed, with nothing left behind, if that cannot be."""
        if self._relay is not None:
            raise RuntimeError("the network is there already")
        if reason := self.unavailable():
            raise NetworkFailed(f"no emulated network: {reason}")
        told = process.order(self.hosts, self.rules, self._settings, os.getpid())
        try:
            self._relay = Child("relay", [sys.executable, "-m", process.__name__, told])
            process.hurry(self._relay.pid)
            answer = json.loads(self._relay.read_line(START_SECONDS))
            if "error" in answer:
                raise NetworkFailed(f"no emulated network: {answer['error']}")
            self._namespaces = answer["ready"]["namespaces"]
            self._inodes = {os.stat(self._of_relay(each)).st_ino for each in self._namespaces}
            with open(self._of_relay(answer["ready"]["tallies"]), "rb") as shared:
                self._tallies = mmap.mmap(shared.fileno(), 0, prot=mmap.PROT_READ)
        except ChildFailed as error:
            self._stop()
            raise NetworkFailed(f"no emulated network: {error}") from error
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what runs in the network, and the network."""
        self._stop()

    def _of_relay(self, descriptor: int) -> str:
        return f"/proc/{self._entered().pid}/fd/{descriptor}"

    def _entered(self) -> Child:
        if self._relay is None:
            raise RuntimeError("the network is not there: enter it first")
        return self._relay

    def _stop(self) -> None:
        if self._relay is None:
            return
        self._relay.stop()
        # The relay has done so itself, unless it was killed.
        devices.end_inhabitants(self._inodes)
        self._relay = None
        self._namespaces = []
        self._inodes = set()

    @property
    def relay(self) -> int:
        """The process id of the relay."""
        return self._entered().pid

    def fate(self) -> str:
        """Say how the relay ended before its time: `was killed (signal 9)`; empty while it carries packets."""
        return self._entered().fate() if self._entered().ended else ""

    def address(self, host: int) -> str:
        """Return the IPv4 address of a host, 0 being the first."""
        if not 0 <= host < self.hosts:
            raise ValueError(f"host {host}: the network has {self.hosts}, the first is 0")
        return str(devices.address_of(host))

    def command(self, host: int, arguments: Sequence[str]) -> list[str]:
        """Return a command that runs `arguments` inside a host's namespace."""
        self.address(host)
        self._entered()
        return ["nsenter", f"--net={self._of_relay(self._namespaces[host])}", "--", *arguments]

    def counters(self, host: int | None = None) -> Counters:
        """Return what became of the packets that a host sent, or all hosts, also after the end of the network."""
        if self._tallies is None:
            raise RuntimeError("the network was never there: enter it first")
        first = 0 if host is None else host
        count = self.hosts if host is None else 1
        return read_counters(self._tallies[first * TALLY.size : (first + count) * TALLY.size])

    @staticmethod
    def unavailable() -> str:
        """Say why no network can be emulated here; empty if one can."""
        if sys.platform != "linux":
            return "it needs Linux"
        if importlib.util.find_spec(f"{__package__}.relay") is None:
            return "its relay is not compiled"
        if os.geteuid() != 0:
            return "it needs root"
        for program in ("nsenter", "unshare"):
            if shutil.which(program) is None:
                return f"it needs the program {program} (Debian: util-linux)"
        try:
            os.close(os.open(devices.TUN, os.O_RDWR))
        except OSError as error:
            return f"it needs TUN devices: {devices.TUN}: {error.strerror}"
        made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, timeout=30, check=False)
        return f"it needs network namespaces: {made.stderr.strip()}" if made.returncode else ""
