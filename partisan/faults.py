"""Faults, partitions and interposition on the current node; each function is the `Node` method of the same name.

The kinds of faults are methods of `faults()`: `faults().omit(probability=0.1)`; see docs/faults.md. For simulations,
`partisan.machines.faults` has the same rules as values.
"""

from __future__ import annotations

from collections.abc import Mapping

from partisan.etf import Reference
from partisan.machines.faults import KINDS as KINDS
from partisan.names import NodeSpec
from partisan.net.faults import Fault as Fault
from partisan.net.faults import LiveFaults as LiveFaults
from partisan.net.interposition import DROP as DROP
from partisan.net.interposition import Delayed as Delayed
from partisan.net.interposition import Direction, Interposed, Stage
from partisan.runtime.current import node


def faults() -> LiveFaults:
    """The faults of the current node."""
    return node().faults


def inject_partition(*names: str | NodeSpec, ttl: int | None = None) -> Reference:
    """Cut the current node off from others, both ways; return what `resolve_partition` takes. See the node's method."""
    return node().inject_partition(*names, ttl=ttl)


def resolve_partition(reference: Reference) -> bool:
    """Heal the partition of that reference; whether there was one."""
    return node().resolve_partition(reference)


def partitions() -> list[tuple[Reference, tuple[str, ...]]]:
    """The injected partitions: (reference, names of the nodes that the current one is cut off from)."""
    return node().partitions()


def add_interposition(name: str, function: Interposed, on: Direction = "both", when: Stage = "interpose") -> None:
    """Let a function see, change, delay or drop the user messages between the current node and others."""
    node().add_interposition(name, function, on, when)


def remove_interposition(name: str, on: Direction = "both", when: Stage = "interpose") -> bool:
    """Remove a function; whether there was one."""
    return node().remove_interposition(name, on, when)


def interpositions(on: Direction = "both", when: Stage = "interpose") -> Mapping[str, Interposed]:
    """The functions of a stage, by name."""
    return node().interpositions(on, when)
