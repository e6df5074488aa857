"""Code that is no process, and wants what only a process has."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from partisan._core.watch import Watch
from partisan.errors import Exit
from partisan.runtime.process_calls import KILLED, ProcessCalls

T = TypeVar("T")


class _Outcome(Watch, Generic[T]):
    """What becomes of a process that was started for its result.

    Attributes:
        future: is settled by its result or exception, or, if it is ended from outside, by an Exit.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[T] = loop.create_future()

    async def of(self, function: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> None:
        """What the process does. Its failure is its caller's, and no crash."""
        try:
            result = await function(*args)
        except Exception as error:
            if not self.future.done():
                self.future.set_exception(error)
        else:
            if not self.future.done():
                self.future.set_result(result)

    def fire(self, reason: object) -> int:
        if not self.future.done():
            self.future.set_exception(Exit(reason))
        return 0


class InsideCalls(ProcessCalls):
    """The method of a node that runs a function as a process and waits for its result."""

    async def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `function(*args)` in a process of its own; return what it returns, raise what it raises.

        So code outside of processes does what only a process can: `receive`, `link`, `monitor`. Whoever waits and is
        cancelled kills the process.

        Raises:
            Exit: the process was ended by an exit signal, or with the node.
            TypeError: it is no function.
        """
        if inspect.iscoroutine(function):  # what a newcomer passes
            function.close()
            raise TypeError("pass run() the function, not its call: run(f, x), not run(f(x))")
        outcome: _Outcome[T] = _Outcome(self.loop)
        pid = self.spawn(outcome.of, function, args)
        process = self.scheduler.find(pid)
        assert process is not None  # it has been made, and has not run
        outcome.watch(process)
        try:
            return await outcome.future
        finally:
            outcome.unwatch()
            if not process.done():
                process.doom(KILLED, True)
