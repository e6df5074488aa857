"""Run a program on the event loop that the figures of this package are measured on."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

import uvloop

T = TypeVar("T")


class _Terminated:
    """Cancels the program when the operating system asks it to end, as a supervisor of containers does.

    Attributes:
        came: whether it has.
    """

    def __init__(self) -> None:
        self.came = False

    async def around(self, main: Coroutine[Any, Any, T]) -> T:
        """Run the program; without a handler of SIGTERM, unless the program has one or cannot have one here."""
        if (
            sys.platform == "win32"
            or threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        ):
            return await main
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # a runner runs a task

        def end() -> None:
            self.came = True
            task.cancel()

        loop.add_signal_handler(signal.SIGTERM, end)
        try:
            return await main
        finally:
            loop.remove_signal_handler(signal.SIGTERM)


def run(main: Coroutine[Any, Any, T], *, loop: Literal["uvloop", "asyncio"] = "uvloop", debug: bool = False) -> T:
    """Run a coroutine to its end on a new event loop, as `asyncio.run`, and return its result.

    SIGTERM cancels it, as Ctrl-C does, so that what it has entered is left and nodes stop in order. In other threads
    than the first, and where the program handles SIGTERM itself, it does not.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SystemExit: SIGTERM, with the status 143 that a shell tells of it.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop if loop == "uvloop" else None
    terminated = _Terminated()
    with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
        try:
            return runner.run(terminated.around(main))
        except asyncio.CancelledError:
            if not terminated.came:
                raise
            raise SystemExit(128 + signal.SIGTERM) from None
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
