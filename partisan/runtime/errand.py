"""What a process of its own does for code that waits for it.

The wait is tied to the process by a watch, not by what its coroutine does in the end: a process that is killed before
its first step, as by a node that stops, runs none of its code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from partisan._core.scheduler import Scheduler
from partisan._core.watch import Watch
from partisan.errors import Exit
from partisan.etf import Atom, Pid

KILLED = Atom("killed")


class Errand(Watch):
    """A process's result: its end without one is an error.

    Args:
        lost: callable(reason of the end): the exception for that.
    Attributes:
        result: what whoever waits for awaits.
    """

    def __init__(self, lost: Callable[[object], Exception]) -> None:
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._lost = lost

    def settle(self, value: Any) -> None:
        """This is the result, unless nobody wants it any more."""
        if not self.result.done():
            self.result.set_result(value)

    def fail(self, error: Exception) -> None:
        """There is no result, for this reason."""
        if not self.result.done():
            self.result.set_exception(error)

    def fire(self, reason: object) -> int:
        """The process has ended; that says nothing once there is a result."""
        self.fail(self._lost(reason))
        return 0


async def by_process(
    spawn: Callable[..., Pid],
    scheduler: Scheduler,
    function: Callable[..., Awaitable[Any]],
    *args: Any,
    timeout: float | None = None,
    lost: Callable[[object], Exception] = Exit,
) -> Any:
    """Have a process run `function(*args)`; return what it returns, raise what it raises.

    The process is killed when nobody waits any more.

    Args:
        spawn: callable(function, *arguments) -> pid: starts a process of the scheduler.
        timeout: seconds; the process takes its first step in any case. Raises TimeoutError.
        lost: callable(reason): what is raised if the process is ended meanwhile, as by its node's stop.
    """
    errand = Errand(lost)
    process = scheduler.find(spawn(_run, errand, function, args))
    assert process is not None  # it takes its first step later
    process.set_name(getattr(function, "__qualname__", type(function).__name__))
    errand.watch(process)
    try:
        async with asyncio.timeout(timeout):
            return await errand.result
    finally:
        errand.unwatch()
        process.doom(KILLED, True)


async def _run(errand: Errand, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
    try:
        errand.settle(await function(*args))
    except Exception as error:
        errand.fail(error)
