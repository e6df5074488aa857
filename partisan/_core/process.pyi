"""Processes: coroutines with a mailbox and a pid, what they wait for, and the signals that they take."""

from collections.abc import Coroutine
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, Protocol

from typing_extensions import disjoint_base

from partisan.etf import Pid, Reference

from .awaitable import Awaitable
from .deadlines import Deadlines, Timed
from .mailbox import Mailbox
from .watch import Watch, Watched

__all__ = [
    "Checkpoint",
    "Parked",
    "Process",
    "Receive",
    "Runner",
    "checkpoint",
    "current_process_var",
    "receive",
    "running",
]

class _Handle(Protocol):
    def cancel(self) -> object: ...

current_process_var: ContextVar[Process]

def running() -> Process | None:
    """The process in whose context this code runs (a task that a process started counts), or None."""

def receive(*patterns: Any, timeout: float | None = None) -> Receive:
    """Await the oldest message of the running process that matches one of the patterns, and take it.

    Args:
        patterns: none takes any message. `...` matches anything, a class its instances, a tuple a tuple of as many
            matching elements, another callable what it says yes to, any other value what is equal and of its type.
        timeout: seconds; 0 only looks.
    Raises:
        ReceiveTimeout: nothing that matches came in time.
        NotInProcess: there is no current process, or this is a task that a process started.
        TypeError: the timeout is no number.
    """

def checkpoint() -> Checkpoint:
    """Let others run if this process has had its share, and wait while a full send queue holds it."""

@disjoint_base
class Receive(Timed):
    """What `receive()` returns: awaiting it yields the next message that matches."""

    @property
    def process(self) -> Process: ...
    @property
    def patterns(self) -> tuple[Any, ...]: ...
    def throw(self, kind: Any, value: BaseException | None = None, traceback: TracebackType | None = None) -> Any:
        """Raise at the await, as an iterator's `throw`: the wait is over."""

    def close(self) -> None:
        """The process's coroutine is closed: the wait is over."""

    def settle(self) -> None:
        """Forget what this wait has learnt, so that it can be awaited again."""

class Checkpoint(Awaitable):
    """What `checkpoint()` returns."""

class Parked(Timed):
    """Abstract: what a process awaits that makes it ready itself, whatever messages come meanwhile."""

@disjoint_base
class Runner:
    """Abstract: what runs processes, as far as they know it."""

    @property
    def loop(self) -> Any: ...
    @property
    def deadlines(self) -> Deadlines:
        """Of what its processes wait for."""

    @property
    def delivered(self) -> int:
        """Messages put into mailboxes."""

    @property
    def dropped(self) -> int:
        """Messages that full mailboxes have lost."""

    def send_local(self, process: Process, message: Any) -> None:
        """Put a message into a process's mailbox."""

@disjoint_base
class Process(Watched):
    """An actor: a coroutine with a mailbox and a pid.

    While its code runs it stands in for asyncio's current task; the methods that asyncio looks for keep asyncio's
    names and meaning.
    """

    @property
    def pid(self) -> Pid: ...
    @property
    def scheduler(self) -> Runner: ...
    @property
    def mailbox(self) -> Mailbox: ...
    @property
    def context(self) -> Context | None:
        """In which its code runs; None once it has ended."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its registered names."""

    @property
    def state(self) -> int:
        """Ready 0, running 1, receiving 2, awaiting 3, held by a full send queue 4, done 5, in a call 6."""

    @property
    def exit_reason(self) -> Any:
        """Why it has ended; None before."""

    @property
    def max_mailbox(self) -> int:
        """How many messages its mailbox holds at most."""

    @property
    def dropped(self) -> int:
        """How many messages it has lost for that."""

    @property
    def requests(self) -> int:
        """How many of its requests, calls apart, wait for an answer."""

    def bound_mailbox(self, messages: int, policy: str) -> None:
        """Let no more messages wait than this.

        Args:
            messages: at least 1.
            policy: what becomes of one that is too many: "drop_newest", "drop_oldest", or "exit": it is dropped, and
                the process ends with `{system_limit, max_mailbox}`.
        Raises:
            ValueError: there is no such policy, or room for none.
        """

    @property
    def holds(self) -> int:
        """How many full send queues hold it now."""

    def hold(self) -> int:
        """Something that it sends to is full: do not run this process past its next await until release()."""

    def release(self) -> int:
        """What it sends to has room again: the end of one hold()."""

    @property
    def trapping(self) -> bool:
        """Whether exit signals come as messages."""

    @property
    def alive(self) -> bool:
        """Whether it has not ended and is not about to."""

    @property
    def killed(self) -> bool:
        """Whether it was told to end at once: it goes no further than its next await."""

    @property
    def links(self) -> list[Pid]:
        """The pids that it is linked to."""

    @property
    def monitors(self) -> dict[Reference, Watch]:
        """What it monitors."""

    def signal(self, reason: Any, sender: Pid, linked: bool = False) -> int:
        """Take an exit signal, as a process of BEAM does.

        Args:
            sender: the process that sent it, or that has ended.
            linked: it came along a link; then `kill` is a reason like another.
        """

    def doom(self, reason: Any, kill: bool = False) -> int:
        """End this process, whether it traps exits or not; the first reason counts.

        It meets an ExitSignal wherever it waits, and in each receive() from then on; with `kill` it is closed at
        the next.
        """

    def trap_exit(self, flag: bool) -> bool:
        """Get exit signals as messages `(EXIT, pid, reason)` from now on, or no longer; return how it was."""

    def tie(self, key: Any, watch: Watch) -> int:
        """Hold a watch: it is dropped when this process ends."""

    def untie(self, key: Any) -> Watch | None:
        """Hold it no longer: the watch, or None if there is none under this key."""

    channel: str | None
    """Of what its gen functions send to other nodes, unless said; None is the default channel."""

    @property
    def hibernating(self) -> bool:
        """Whether it waits, and has given memory back."""

    def hibernate(self) -> None:
        """Give memory back; called before a wait that is expected to be long."""

    def remove(self, pattern: Any) -> bool:
        """Take the oldest message that matches out of its mailbox, unread; whether there was one."""

    def future_done(self, future: Any) -> None:
        """The awaited future has completed (a stale one is ignored)."""

    def cancel(self, msg: Any = None) -> bool:
        """Raise CancelledError inside the process, as `asyncio.Task.cancel`."""

    def uncancel(self) -> int: ...
    def cancelling(self) -> int: ...
    def done(self) -> bool: ...
    @property
    def _fut_waiter(self) -> Any:
        """As asyncio's tasks: what it awaits. (AnyIO looks at this, and at the next, to cancel.)"""

    @property
    def _must_cancel(self) -> bool:
        """As asyncio's tasks: whether it was cancelled and has not met that."""
    def get_loop(self) -> Any: ...
    def get_coro(self) -> Coroutine[Any, Any, Any] | None: ...
    def get_name(self) -> str: ...
    def set_name(self, value: object) -> None: ...
