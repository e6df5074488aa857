"""The experiment `memory`: the resident set of a process that holds one idle node and nothing else."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from .measure import MeasurementFailed
from .procs import Child, ChildFailed
from .report import Row
from .transports.base import START_SECONDS


def resident_octets(pid: int) -> int:
    """Return the resident set size of a process, in octets: from /proc, or where there is none from `ps`."""
    statm = Path(f"/proc/{pid}/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    answer = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    )
    if not answer.stdout.strip().isdecimal():
        raise MeasurementFailed(f"ps does not know process {pid}: {answer.stderr.strip()}")
    return int(answer.stdout) * 1024


def run(processes: int) -> list[int]:
    """Start idle nodes one after the other; return the resident octets of each process."""
    found = []
    for _ in range(processes):
        child = Child("idle node", [sys.executable, "-m", f"{__package__}.idle_node"])
        try:
            child.read_until("ready", START_SECONDS)
            found.append(resident_octets(child.pid))
        except ChildFailed as error:
            raise MeasurementFailed(str(error)) from error
        finally:
            child.stop()
    return found


def rows(found: list[int]) -> list[Row]:
    """List the one row; its octets are the resident set."""
    octets = int(statistics.median(found))
    return [Row("memory", "idle", "partisan", "default", None, octets, None, None, None, None)]
