"""Waits that end: for something to become true, for what a process does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from partisan import Node

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds in which whatever a test waits for has long come, also on a busy machine."""

_PAUSE, _SHARE = 0.002, 0.02
"""Seconds between two looks, at least; and as a share of the time that it has taken so far."""


async def eventually(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Return what the condition gives as soon as that is true.

    Args:
        condition: plain or async; called again and again.
        timeout: seconds by the loop's clock.
    Raises:
        AssertionError: it was not true in time; it says what was given last.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        found = condition()
        if inspect.iscoroutine(found):  # not of a future: that it is there may be the condition
            found = await found
        if found:
            return found
        taken = clock() - began
        if taken > timeout:
            raise AssertionError(f"not within {timeout} s: {condition}: {found!r}")
        await asyncio.sleep(max(_PAUSE, taken * _SHARE))


async def within(node: Node, function: Callable[..., Awaitable[T]], *args: Any, timeout: float = PATIENCE) -> T:
    """Run `function(*args)` in a new process of the node; return what it returns, raise what it raises.

    So a test can do what only a process can: `receive`, `link`, `monitor`.

    Args:
        timeout: seconds; the process is killed then.
    Raises:
        TimeoutError: it took longer.
        Exit: the process was ended by an exit signal.
    """
    async with asyncio.timeout(timeout):
        return await node.run(function, *args)
