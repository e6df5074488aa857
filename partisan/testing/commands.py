"""What a test has a node process do besides its own functions; each acts on the current node and gives plain values."""

from __future__ import annotations

from typing import Any

import partisan
from partisan.faults import faults
from partisan.testing.clusters import held
from partisan.testing.overlays import View, view_of


async def join(contact: str) -> str:
    """Join a cluster; the name of the contact."""
    return await partisan.join(contact)


async def leave() -> None:
    """Leave the cluster."""
    await partisan.leave()


def members() -> list[str]:
    """Names of the members, sorted."""
    return sorted(partisan.members())


def connected() -> list[str]:
    """Names of the nodes to which a connection is up, sorted."""
    return sorted(partisan.nodes())


def view() -> View:
    """As `partisan.testing.overlays.view_of`."""
    return view_of(partisan.node())


def counters() -> dict[str, Any]:
    """As `Node.counters`."""
    return partisan.node().counters()


def holds() -> dict[str, int]:
    """As `partisan.testing.held`, without the process that asks."""
    found = held(partisan.node())
    found["processes"] -= 1
    return {name: count for name, count in found.items() if count}


def cut(name: str, close: bool) -> None:
    """As `partisan.testing.cut`."""
    node = partisan.node()
    faults().partition((node.name,), (name,))
    if close:
        node.kill_connections(name)


def slow(name: str, seconds: float) -> None:
    """As `partisan.testing.slow`."""
    both = (partisan.node().name, name)
    faults().delay(seconds, source=both, destination=both)


def heal() -> None:
    """End every fault of the node."""
    faults().clear()
