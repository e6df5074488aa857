"""The scheduler that steps processes."""

from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Protocol, Self

from typing_extensions import disjoint_base

from partisan.etf import Pid, Reference

from .identities import Alias
from .process import Process, Runner

__all__ = ["Scheduler"]

class _Handle(Protocol):
    def cancel(self) -> object: ...

@disjoint_base
class Scheduler(Runner):
    """The processes of one node, their names, and the queue of those that can run.

    Args:
        node: the node's name.
        first_key: where pid numbers start: pids carry no incarnation, so a node starts at a random point each boot.
        wake: arranges that `run()` is called soon.
        clock: gives monotonic seconds.
        call_later: starts a timer; gives a handle with `cancel()`.
        loop, enter_task, leave_task: asyncio's loop and its bookkeeping of the current task.
        cancelled: the exception class that cancellation raises.
        exit_signal: its subclass that an exit signal raises, made with the reason.
        crash_reason: gives the reason term of a process that an exception has ended.
        exited: called with process, reason and error: a process has ended; `error` is its exception, if any.
    """

    variables: tuple[tuple[ContextVar[Any], Any], ...]
    """Set in the context of every process."""

    next_alias: int
    """Number of the next alias."""

    forget: Callable[[str, Any, int], object]
    """Called with node, target and number: a request to another node is not wanted any more."""

    def __new__(
        cls,
        node: str,
        *,
        first_key: int,
        wake: Callable[[], object],
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], object]], _Handle],
        loop: Any,
        enter_task: Callable[[Any, Any], object],
        leave_task: Callable[[Any, Any], object],
        cancelled: type[BaseException],
        exit_signal: Callable[[Any], BaseException],
        crash_reason: Callable[[BaseException], Any],
        exited: Callable[[Process, Any, BaseException | None], object],
    ) -> Self: ...
    @property
    def processes(self) -> dict[int, Process]:
        """By serial << 28 | id."""

    @property
    def names(self) -> dict[str, Process | Callable[[Any, Any], object]]:
        """Registered name -> process, or a sink that takes (message, link)."""

    @property
    def node(self) -> str: ...
    @property
    def aliases(self) -> dict[int, Alias]:
        """What may be answered from elsewhere, by number."""

    @property
    def steps(self) -> int: ...
    def mark(self, reference: Reference) -> None:
        """The running process has made this reference: what waits in its mailbox does not contain it."""

    def census(self) -> dict[str, int]:
        """How many there are of each thing that processes hold or wait for: processes, links, monitors, calls."""

    def watch(
        self,
        *,
        stopwatch: Callable[[], float],
        long_step: float,
        slow: Callable[[Process | None, float, int], object],
        large_mailbox: int,
        crowd: Callable[[Process], object],
    ) -> None:
        """Report, from now on, processes that hold the others up and mailboxes that grow.

        A run is timed as a whole. If one of several steps took long, the report does not say whose step it was, and
        the next runs are timed step by step, so that whoever does it again is named.

        Args:
            stopwatch: gives seconds.
            long_step: seconds; 0 reports no steps, and times nothing.
            slow: takes process, seconds and steps; called after a step took longer, with None for the process if it is
                one of so many steps.
            large_mailbox: messages; 0 reports no mailboxes.
            crowd: called when a process's mailbox becomes longer; again only after it was half of that.
        """

    def spawn(self, coroutine: Coroutine[Any, Any, Any], title: str) -> Process:
        """Make a process of a coroutine, in a copy of this context; it takes its first step at the next run()."""

    def register(self, name: str, target: Process | Callable[[Any, Any], object]) -> None:
        """Give a process, or a sink `callable(message, link)`, a name.

        Raises:
            NameTaken: another has it.
            LocalProtocolError: the process has ended.
        """

    def unregister(self, name: str) -> None:
        """Take a name away. Raises KeyError if nobody has it."""

    def whereis(self, name: str) -> Process | None:
        """The process registered under the name, or None."""

    def find(self, pid: Pid) -> Process | None:
        """The living process of a pid of this node, or None."""

    def interrupt(self, process: Process, error: BaseException) -> None:
        """Raise `error` inside the process at its next step, whatever it waits for. Done processes ignore it."""

    def run(self) -> bool:
        """Step what is ready, a bounded number of times. True if more remains; then wake() has been called again."""
