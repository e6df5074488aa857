"""What ties processes together: links and monitors."""

from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from partisan.etf import Pid, Reference

from .process import Process
from .watch import Watch

__all__ = ["Link", "Monitor", "link", "unlink"]

@disjoint_base
class Link(Watch):
    """One end of a link.

    Args:
        mine: the process of this node at this end.
        pid: of the other.
        tell: tells the node of the other end that this one has ended: (mine, theirs, reason).
    """

    def __init__(self, mine: Process, pid: Pid, tell: Callable[[Pid, Pid, Any], object] | None = None) -> None: ...
    @property
    def mine(self) -> Process: ...
    @property
    def pid(self) -> Pid: ...

@disjoint_base
class Monitor(Watch):
    """Tells its holder, by `(tag, reference, process, item, reason)`, that what it watches has ended.

    Args:
        holder: the process that monitors.
        reference: under which it holds this.
        item: what is monitored: a pid, or (name, node).
        tag: DOWN, unless the holder wanted another.
    """

    def __init__(self, holder: Process, reference: Reference, item: Any, tag: Any) -> None: ...
    @property
    def holder(self) -> Process: ...
    @property
    def reference(self) -> Reference: ...
    @property
    def item(self) -> Any: ...
    @property
    def tag(self) -> Any: ...

def link(one: Process, other: Process) -> None:
    """Link two living processes of this node; nothing if they are, or are one."""

def unlink(mine: Process, pid: Pid) -> Link | None:
    """Take a process's end of a link away, and the other end if that is of this node; the end, or None."""
