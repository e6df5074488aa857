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

    An error in a callback, which the loop would only log, fails the test with an AssertionError.

    Args:
        loop: a name of LOOPS.
    """
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        runner.run(test)
    assert not complaints, f"the loop was told of {complaints}"
