"""How busy the processors of the machine are, where the system tells."""

from __future__ import annotations

from pathlib import Path

STAT = Path("/proc/stat")
IDLE, IOWAIT = 3, 4


def processors() -> tuple[int, int] | None:
    """(time spent busy, time in all) of all processors so far, in the system's units; None if it is unknown."""
    try:
        words = STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    times = [int(word) for word in words]
    return sum(times) - times[IDLE] - times[IOWAIT], sum(times)


def busy_share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """The part of the time between two looks that the processors were busy, 0 to 1; None if it is unknown."""
    if before is None or after is None or after[1] <= before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])
