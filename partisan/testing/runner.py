"""Run a coroutine test on a loop of its own, which must end without a complaint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from partisan.testing.clock import VirtualLoop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
    "virtual": VirtualLoop,
}
"""Name of a loop -> what makes it."""


def run_test(test: Coroutine[Any, Any, Any], loop: str = "asyncio") -> None:
    """Run a test to its end on a fresh loop.

    An error in a callback, which the loop would only log, fails the test with an AssertionError. One that is no
    Exception, as a time-out of pytest that comes amid a callback, ends the test at once.

    Args:
        loop: a name of LOOPS.
    """
    complaints: list[dict[str, Any]] = []
    ends: list[BaseException] = []

    async def watched() -> None:
        mine = asyncio.current_task()
        assert mine is not None

        def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            complaints.append(context)
            error = context.get("exception")
            if isinstance(error, BaseException) and not isinstance(error, Exception):
                ends.append(error)
                mine.cancel()

        asyncio.get_running_loop().set_exception_handler(complain)
        await test

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        try:
            runner.run(watched())
        except asyncio.CancelledError:
            if ends:
                raise ends[0] from None
            raise
    assert not complaints, f"the loop was told of {complaints}"
