"""What is known of the processes of a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, Final, Literal, TypedDict, cast

from partisan._core.process import Process
from partisan._core.ties import Monitor
from partisan.etf import Atom, Pid
from partisan.runtime.process_calls import ProcessCalls

__all__ = ["InfoCalls", "ProcessInfo", "frame_of"]

Function = tuple[str, str, int]
"""Module, qualified name, number of arguments."""

Status = Literal["runnable", "running", "waiting", "suspended", "exiting"]

_CHAIN = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))


class ProcessInfo(TypedDict, total=False):
    """What is known of a process.

    Attributes:
        registered_name: the first of its names, or None.
        initial_call: the function that it runs, without its arguments.
        current_function: where it waits now.
        current_location: file and line of that.
        status: "suspended" by a full send queue; "exiting" once it has been told to.
        message_queue_len, messages: what waits in its mailbox, oldest first.
        links: pids that it is linked to.
        monitors: what it monitors: ("process", pid or (name, node)).
        monitored_by: pids of the processes of this node that monitor it.
        trap_exit: whether exit signals come as messages.
        dropped: messages that its mailbox, bounded by `max_mailbox`, has lost.
    """

    registered_name: str | None
    initial_call: Function
    current_function: Function
    current_location: tuple[str, int]
    status: Status
    message_queue_len: int
    messages: list[Any]
    links: list[Pid]
    monitors: list[tuple[str, Any]]
    monitored_by: list[Pid]
    trap_exit: bool
    dropped: int


_STATES: Final[tuple[Status, ...]] = (
    "runnable",
    "running",
    "waiting",
    "waiting",
    "suspended",
    "exiting",
    "waiting",
)
"""By `Process.state`."""


def frame_of(process: Process) -> FrameType | None:
    """The frame in which a process waits; None if it has ended."""
    waits: Any = process.get_coro()
    found = None
    while waits is not None:
        for frame, inner in _CHAIN:
            if getattr(waits, frame, None) is not None:
                found, waits = getattr(waits, frame), getattr(waits, inner)
                break
        else:
            break
    return found


def _function(frame: FrameType | None) -> Function:
    if frame is None:  # written in C
        return ("", "", 0)
    code = frame.f_code
    return (str(frame.f_globals.get("__name__", "")), code.co_qualname, code.co_argcount)


def _initial(process: Process) -> Function:
    return _function(getattr(process.get_coro(), "cr_frame", None))


def _location(process: Process) -> tuple[str, int]:
    frame = frame_of(process)
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _monitored_by(process: Process) -> list[Pid]:
    return [watch.holder.pid for watch in reversed(process.watches()) if isinstance(watch, Monitor)]


ITEMS: Final[Mapping[str, Callable[[Process], Any]]] = {
    "registered_name": lambda process: process.names[0] if process.names else None,
    "initial_call": _initial,
    "current_function": lambda process: _function(frame_of(process)),
    "current_location": _location,
    "status": lambda process: _STATES[process.state] if process.alive else "exiting",
    "message_queue_len": lambda process: len(process.mailbox),
    "messages": lambda process: list(process.mailbox),
    "links": lambda process: process.links,
    "monitors": lambda process: [("process", getattr(tie, "item", None)) for tie in process.monitors.values()],
    "monitored_by": _monitored_by,
    "trap_exit": lambda process: process.trapping,
    "dropped": lambda process: process.dropped,
}
"""Item -> what it is of a process."""


class InfoCalls(ProcessCalls):
    """The methods of a node that tell of its processes."""

    def processes(self) -> list[Pid]:
        """The pids of the processes of this node, oldest first; those that have been told to end are among them."""
        self._check()
        return [process.pid for process in self.scheduler.processes.values()]

    def process_info(self, pid: Pid, items: str | Atom | Iterable[str | Atom] | None = None) -> ProcessInfo | None:
        """What is known of a process of this node; None if it has ended.

        Args:
            items: which keys of `ProcessInfo` are wanted; None: all but `messages`.
        Raises:
            ValueError: there is no such item, or the process is another node's.
        """
        self._check()
        if pid.node != self.name:
            raise ValueError(f"{pid!r} is no process of this node")
        wanted = [name for name in ITEMS if name != "messages"] if items is None else _named(items)
        process = self._living(pid)
        if process is None:
            return None
        return cast(ProcessInfo, {name: ITEMS[name](process) for name in wanted})


def _named(items: str | Atom | Iterable[str | Atom]) -> list[str]:
    """The names of items. Raises ValueError."""
    given = [items] if isinstance(items, str | Atom) else items
    names = [item.name if isinstance(item, Atom) else item for item in given]
    for name in names:
        if name not in ITEMS:
            raise ValueError(f"{name!r} is no item of process_info: {', '.join(ITEMS)}")
    return names
