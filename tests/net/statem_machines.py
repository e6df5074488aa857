"""State machines for tests, and a test body that is a process."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from support import eventually, running

import partisan
from partisan import Node
from partisan.gen.statem import GenStatem, NextState
from partisan.runtime.exits import ExitSignal

MODES = ("state_functions", "handle_event_function")

Behave = Callable[[Any, Any, Any, Any], Any]
"""Called with the type of an event, its content, the state and the data."""


def nothing_left(node: Node) -> bool:
    """Whether a node has no process, no request and no time-out any more."""
    scheduler = node.scheduler
    return not scheduler.processes and not scheduler.aliases and not len(scheduler.deadlines)


async def as_process(node: Node, body: Callable[..., Awaitable[None]], *args: Any, **options: Any) -> None:
    """Run a body in a process of the node, to its end."""
    done = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            await body(*args, **options)
        except ExitSignal as signal:
            settle(AssertionError(f"the test was told to exit: {signal.reason!r}"))
        except BaseException as error:
            settle(error)
        else:
            settle(None)

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    node.spawn(run)
    await done


def in_process(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Make the body of a test a process of a node, which must have no other left in the end."""

    @functools.wraps(test)
    async def run(*args: Any, **options: Any) -> None:
        async with running("a") as (node,):
            await as_process(node, test, *args, **options)
            await eventually(lambda: nothing_left(node))

    return run


class Scripted(GenStatem):
    """Does what a function says, in both modes of callbacks; its states are "a", "b", "c" and "d"."""

    def init(self, mode: Any, behave: Behave, begin: Any = None) -> Any:
        self.mode = mode
        self.behave = behave
        return NextState("a", 0) if begin is None else begin

    def callback_mode(self) -> Any:  # type: ignore[override]
        return self.mode

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        return self.behave(event_type, content, state, data)

    def a(self, event_type: Any, content: Any, data: Any) -> Any:
        return self.behave(event_type, content, "a", data)

    def b(self, event_type: Any, content: Any, data: Any) -> Any:
        return self.behave(event_type, content, "b", data)

    def c(self, event_type: Any, content: Any, data: Any) -> Any:
        return self.behave(event_type, content, "c", data)

    def d(self, event_type: Any, content: Any, data: Any) -> Any:
        return self.behave(event_type, content, "d", data)


def ignore(*_: Any) -> None:
    """A behaviour that keeps its state, whatever comes."""


def teller(me: partisan.Pid) -> Behave:
    """A behaviour that tells a process each event: (state, type, content)."""

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> None:
        partisan.send(me, (state, event_type, content))

    return behave


async def heard(count: int) -> list[Any]:
    """The next messages of the current process."""
    return [await partisan.receive(timeout=10.0) for _ in range(count)]
