"""What a run must know of the machine: facts for its report, and what it lacks, before anything starts."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from partisan.bench.report import size

from .cells import Cell
from .experiments import Task
from .nodes import why_no_erlang
from .workloads import find

SETTINGS = ("tcp_congestion_control", "tcp_rmem", "tcp_wmem", "tcp_slow_start_after_idle", "tcp_notsent_lowat")
DISK_OCTETS = 200 * 2**20
"""What results and temporary files may take."""


@dataclass(slots=True)
class Preflight:
    """What was found before anything started.

    Attributes:
        notes: what is missing, and what that means.
        refused: cells that are not to be tried, and why.
        fatal: why nothing can be measured at all, or empty.
    """

    notes: list[str] = field(default_factory=list)
    refused: dict[Cell, str] = field(default_factory=dict)
    fatal: str = ""


def preflight(tasks: Sequence[Task], directory: Path, no_network: str) -> Preflight:
    """Look for what the tasks need.

    Args:
        directory: where results go; it is made.
        no_network: why no network can be emulated, or empty.
    """
    found = Preflight()
    if not tasks:
        found.fatal = "nothing is left to be measured"
    for transport in ("disterl", "partisan-erlang"):
        if any(task.cell.transport == transport for task in tasks) and (reason := why_no_erlang(transport)):
            found.notes.append(f"{transport} is skipped: {reason}")
    if no_network and any(task.cell.rtt_ms for task in tasks):
        found.notes.append(f"no network is emulated: {no_network}; everything runs on plain loopback")
    if no_network and any(task.cell.scale > 1 for task in tasks):
        found.notes.append("what needs smaller windows is skipped: they are those of emulated hosts")
    available = available_octets()
    for task in tasks:
        needed = _needed(task.cell)
        if available is not None and needed > available:
            found.refused[task.cell] = f"too little memory: {size(available)} are free, {size(needed)} may be needed"
    if found.refused:
        found.notes.append(f"{len(found.refused)} cells are skipped: {next(iter(found.refused.values()))}")
    for place in (directory, Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(place).free
            if free < DISK_OCTETS:
                found.fatal = f"too little disk: {size(free)} are free in {place}, {size(DISK_OCTETS)} may be needed"
    return found


def _needed(cell: Cell) -> int:
    try:
        return find(cell.workload).octets_needed(cell)
    except LookupError:
        return 0


def available_octets() -> int | None:
    """The memory that can be had without swapping, in octets; None where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def facts_of() -> dict[str, str]:
    """Facts of the machine and the versions, by name."""
    facts = {
        "machine": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for name in ("partisan", "uvloop", "pyzmq"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[name] = importlib.metadata.version(name)
    for name in SETTINGS:
        with contextlib.suppress(OSError):
            facts[name] = " ".join(Path("/proc/sys/net/ipv4", name).read_text().split())
    if why_no_erlang("disterl") is None:
        facts["otp"] = _otp()
    return facts


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _otp() -> str:
    expression = "io:put_chars(erlang:system_info(otp_release)), halt()."
    try:
        done = subprocess.run(
            ["erl", "-noshell", "-eval", expression], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"
    return done.stdout.strip()
