"""Run a program on the event loop that the figures of this package are measured on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

import uvloop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, loop: Literal["uvloop", "asyncio"] = "uvloop", debug: bool = False) -> T:
    """Run a coroutine to its end on a new event loop, as `asyncio.run`, and return its result."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
        return runner.run(main)
