"""Calls of one server that are answered at the same time, each in a task of its process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from partisan._core.calls import reply
from partisan._core.process import Process
from partisan.gen.control import CONTROL

BOUND = 100
"""Calls at the same time unless another number is asked for (ours)."""


class Finished:
    """A call has come to what the server itself must do: a control value, or an exception. A message to its process.

    Attributes:
        caller: `From`.
        control: what `handle_call` returned.
        error: what it raised, or None; CancelledError of what it awaited, too.
    """

    __slots__ = ("caller", "control", "error")

    def __init__(self, caller: Any, control: Any, error: BaseException | None) -> None:
        self.caller = caller
        self.control = control
        self.error = error


class Concurrent:
    """The calls under way of one server.

    Args:
        mine: its process.
        bound: how many at the same time; the server takes no message while there are so many.
    """

    def __init__(self, mine: Process, bound: int) -> None:
        self._mine = mine
        self._bound = bound
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False  # the server ends: of what is cancelled from then on nobody is told

    async def begin(self, answer: Coroutine[Any, Any, Any], caller: Any) -> None:
        """Go on with a call in a task, when there is room."""
        try:
            while len(self._tasks) >= self._bound:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:  # the server ends
            answer.close()
            raise
        task = asyncio.get_running_loop().create_task(self._answer(answer, caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Cancel them all: the server ends."""
        self._over = True
        for task in self._tasks:
            task.cancel()

    async def _answer(self, coroutine: Coroutine[Any, Any, Any], caller: Any) -> None:
        try:
            answer = await coroutine
        except asyncio.CancelledError as error:
            if not self._over:
                self._tell(Finished(caller, None, error))
            raise
        except Exception as error:
            self._tell(Finished(caller, None, error))
            return
        if type(answer) in CONTROL:
            self._tell(Finished(caller, answer, None))
            return
        try:
            reply(caller, answer)
        except Exception as error:  # it is no term: the server's fault, as it would be in its own loop
            self._tell(Finished(caller, None, error))

    def _tell(self, message: Finished) -> None:
        self._mine.scheduler.send_local(self._mine, message)
