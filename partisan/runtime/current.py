"""The current node and the current process: what the module functions of `partisan` act on.

Both travel in context variables, so that many nodes live in one interpreter: inside a process they are its own, and
inside `async with Node(...)` the node is that one.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from partisan._core.process import Process, running
from partisan._core.router import NO_NODE
from partisan.errors import Exit, LocalProtocolError, NotInProcess
from partisan.runtime.exits import ExitSignal

if TYPE_CHECKING:
    from partisan.etf import Pid
    from partisan.runtime.node import Node

current: ContextVar[Node] = ContextVar("partisan_current_node")


def node() -> Node:
    """The current node. Raises LocalProtocolError outside of a process and of `async with Node(...)`."""
    try:
        return current.get()
    except LookupError:
        raise LocalProtocolError(NO_NODE) from None


def process() -> Process:
    """The current process. Raises NotInProcess outside of one, and in a task whose process has ended."""
    found = running()
    if found is None or found.done():
        raise NotInProcess("this works inside a living process only")
    return found


def self() -> Pid:
    """The pid of the current process (a task that a process started counts as it)."""
    found = running()
    if found is None:
        raise NotInProcess("this works inside a process only")
    return found.pid


def exit(*target_and_reason: Any) -> None:
    """`exit(reason)` ends the current process; `exit(pid, reason)` sends another one an exit signal.

    As in Erlang, a process ignores the signal `normal` from another, and a signal to a process that does not exist. A
    signal to oneself takes effect at once, unless exits are trapped and it is not `kill`.
    """
    if len(target_and_reason) == 1:
        _exit_self(target_and_reason[0])
    if len(target_and_reason) != 2:
        raise TypeError("exit() takes a reason, or a pid and a reason")
    pid, reason = target_and_reason
    node().exit(pid, reason)
    found = running()
    if found is not None and found.pid == pid and not found.alive:
        raise ExitSignal(reason)  # now, not at the next await


def _exit_self(reason: object) -> NoReturn:
    process()
    raise Exit(reason)
