"""A full mesh of many nodes in a few processes: how long it takes to form, and what it costs at rest."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from .host import Host, hosts

FORM_SECONDS = 300.0
"""How long the mesh may take to form."""

SETTLE_SECONDS = 3.0
"""Between the forming and the rest: joins are still gossiped about."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """What one mesh showed.

    Attributes:
        nodes: how many.
        joining: seconds from the first join to the last.
        forming: seconds from the last join until everybody had all its connections to everybody.
        cpu: share of a core that 16 nodes use at rest.
    """

    nodes: int
    joining: float
    forming: float
    cpu: float


def run(nodes: int, processes: int, rest: float) -> Mesh:
    """Form a mesh and leave it alone for `rest` seconds."""
    names = [f"n{number}" for number in range(nodes)]
    with hosts(*[f"mesh process {number}" for number in range(processes)]) as members:
        for number, host in enumerate(members):
            host.order("start", names=names[number::processes])
        contact = [host.answer("addresses")[0] for host in members][0]  # noqa: RUF015  # all must have started
        began = time.monotonic()
        for host in members:
            host.order("join", contact=contact)
        joined = max(host.answer("joined", FORM_SECONDS) for host in members)
        for host in members:
            host.order("meshed", names=[f"{name}@127.0.0.1" for name in names])
        meshed = max(host.answer("meshed", FORM_SECONDS) for host in members)
        time.sleep(SETTLE_SECONDS)
        before, start = _cpu(members), time.monotonic()
        time.sleep(rest)
        used = (_cpu(members) - before) / (time.monotonic() - start)
    return Mesh(nodes, joined - began, meshed - joined, used * 16 / nodes)


def _cpu(members: list[Host]) -> float:
    for host in members:
        host.order("usage")
    return math.fsum(host.facts("cpu")["cpu"] for host in members)


def connection_octets(parallelism: int) -> float:
    """Resident octets that both ends of a connection cost in one process that holds both nodes."""
    options = {"channels": {"data": {"parallelism": parallelism}}}
    with hosts("pair of nodes") as [host]:
        host.order("start", names=["a", "b"], **options)
        contact = host.answer("addresses")[0]
        host.order("usage")
        before = host.facts("rss")
        host.order("join", contact=contact)
        host.order("meshed", names=["a@127.0.0.1", "b@127.0.0.1"])
        host.answer("meshed", FORM_SECONDS)
        host.order("usage")
        after = host.facts("rss")
    return 2.0 * float(after["rss"] - before["rss"]) / float(after["ends"])
