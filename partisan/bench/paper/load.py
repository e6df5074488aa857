"""How busy the processors of the machine are, and what of that is the relay's, where the system tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
IDLE, IOWAIT = 3, 4
USER, SYSTEM = 11, 12
"""Where a process's times are behind its name in `/proc/PID/stat`."""


@dataclass(frozen=True, slots=True)
class Load:
    """Times so far, in the system's units.

    Attributes:
        busy: of all processors.
        whole: busy or idle.
        relay: that the relay of an emulated network has had of it; None if there is none.
    """

    busy: int
    whole: int
    relay: int | None

    def shares(self, later: Load) -> dict[str, float]:
        """The parts of the time until then, 0 to 1: "cpu" busy, "relay" for the relay; what is unknown is left out."""
        whole = later.whole - self.whole
        if whole <= 0 or not self.whole:
            return {}
        found = {"cpu": (later.busy - self.busy) / whole}
        if self.relay is not None and later.relay is not None:
            found["relay"] = (later.relay - self.relay) / whole
        return found


UNKNOWN = Load(0, 0, None)


def look(relay: int | None = None) -> Load:
    """Look at the processors, and at a relay by its process id; UNKNOWN where the system does not tell."""
    try:
        words = (PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return UNKNOWN
    times = [int(word) for word in words]
    return Load(sum(times) - times[IDLE] - times[IOWAIT], sum(times), relay and _of_process(relay))


def _of_process(pid: int) -> int | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()
    return int(words[USER]) + int(words[SYSTEM])
