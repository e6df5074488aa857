"""Code that is no process, and wants what only a process has."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from partisan.runtime.errand import by_process
from partisan.runtime.process_calls import ProcessCalls

T = TypeVar("T")


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
        result: T = await by_process(self.spawn, self.scheduler, function, *args)
        return result
