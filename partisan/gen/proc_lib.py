"""Start processes that say when they are ready, and that know who started them (OTP's `proc_lib`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from partisan._core.process import Process, running
from partisan._core.ties import link
from partisan._core.watch import Watch
from partisan.errors import StartFailed
from partisan.etf import Atom, Pid, Reference
from partisan.runtime.current import node, process

_KILL, _TIMEOUT = Atom("kill"), Atom("timeout")

ancestors: ContextVar[tuple[Pid | Atom, ...]] = ContextVar("partisan_ancestors", default=())
"""Who started the current process, and who that one: names where they have one, the nearest first."""

_starting: ContextVar[Starting | None] = ContextVar("partisan_starting", default=None)


class Starting(Watch):
    """A start that is waited for: it watches the new process until that says that it is ready.

    Attributes:
        parent: who waits; None for code that is no process's own.
    """

    def __init__(self, parent: Process | None) -> None:
        self.parent = parent
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, value: object) -> None:
        """The process is ready; `start` returns this."""
        self.unwatch()
        if not self.outcome.done():
            self.outcome.set_result(value)

    def fail(self, error: BaseException) -> None:
        """The process does not start; `start` raises this."""
        self.unwatch()
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def fire(self, reason: object) -> int:
        self.fail(StartFailed(reason))
        return 0


async def start(function: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None) -> Any:
    """Start a process that runs `function(*args)`; return what it gives to `init_ack`.

    Args:
        timeout: seconds; a process that is not ready then is killed.
    Raises:
        StartFailed: it ended before, or `init_fail` was called, or the time is over (reason `timeout`).
    """
    return (await _start(function, args, timeout, linked=False, monitored=False))[0]


async def start_link(function: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None) -> Any:
    """As `start`, and link the current process to it. Raises NotInProcess, StartFailed."""
    process()
    return (await _start(function, args, timeout, linked=True, monitored=False))[0]


async def start_monitor(
    function: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None
) -> tuple[Any, Reference]:
    """As `start`, and monitor it from the current process: (value, reference). Raises NotInProcess, StartFailed."""
    process()
    value, reference = await _start(function, args, timeout, linked=False, monitored=True)
    assert reference is not None
    return value, reference


async def _start(
    function: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    timeout: float | None,
    *,
    linked: bool,
    monitored: bool,
) -> tuple[Any, Reference | None]:
    here, parent = node(), running()
    starting = Starting(parent)
    pid = here.spawn(_begin, starting, function, args)
    child = here.scheduler.find(pid)
    assert child is not None  # it takes its first step later
    child.set_name(getattr(function, "__qualname__", type(function).__name__))
    starting.watch(child)
    if linked and parent is not None:
        link(parent, child)
    reference = here.monitor(pid) if monitored else None
    try:
        async with asyncio.timeout(timeout):
            return await starting.outcome, reference
    except TimeoutError:
        _abandon(starting, child, parent, linked)
        raise StartFailed(_TIMEOUT) from None
    except asyncio.CancelledError:
        _abandon(starting, child, parent, linked)
        raise
    except StartFailed:
        if reference is not None:
            here.demonitor(reference, flush=True)
        raise


def _abandon(starting: Starting, child: Process, parent: Process | None, linked: bool) -> None:
    """Nobody waits for the child any more: kill it, and take no exit signal from it."""
    starting.unwatch()
    if linked and parent is not None:
        node().unlink(child.pid)
    child.doom(_KILL, True)


async def _begin(starting: Starting, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    _starting.set(starting)
    if starting.parent is not None:
        ancestors.set((_called(starting.parent), *ancestors.get()))
    return await function(*args)


def _called(of: Process) -> Pid | Atom:
    return Atom(of.names[0]) if of.names else of.pid


def init_ack(value: object = None) -> None:
    """Say that the current process is ready: whoever started it gets the value, or the pid if there is none.

    Said again, or in a process that nobody waits for, it does nothing.
    """
    starting = _starting.get()
    if starting is not None:
        _starting.set(None)
        starting.settle(process().pid if value is None else value)


def init_fail(reason: object) -> None:
    """Say that the current process does not start: whoever started it gets StartFailed. It is to end then."""
    starting = _starting.get()
    if starting is not None:
        _starting.set(None)
        starting.fail(reason if isinstance(reason, BaseException) else StartFailed(reason))


def parent() -> Process | None:
    """Who started the current process by `start` or `start_link` and waits for it; None if nobody does any more."""
    starting = _starting.get()
    return None if starting is None else starting.parent
