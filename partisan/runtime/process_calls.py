"""Processes of a node: start, name, find and end them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any

from partisan._core.process import Process, running
from partisan.errors import NameTaken, NoProc
from partisan.etf import Atom, Pid
from partisan.runtime.exits import report_exit
from partisan.runtime.parts import NodePart

log = logging.getLogger(__name__)


class ProcessCalls(NodePart):
    """The methods of a node that are about its processes."""

    _ended: asyncio.Event
    _outside: Pid  # in whose name code that is no process's own sends exit signals

    def spawn(
        self, function: Callable[..., Awaitable[Any]], *args: Any, name: str | Atom | None = None, **options: Any
    ) -> Pid:
        """Start a process that runs `function(*args, **options)`; return its pid at once.

        Args:
            function: a coroutine function.
            name: a name to register it under; raises NameTaken.
        """
        self._check()
        if name is not None:
            name = registered(name)
            if name in self.scheduler.names:
                raise NameTaken(name)
        if inspect.iscoroutine(function):
            function.close()
            raise TypeError("pass spawn() the function, not its call: spawn(f, x), not spawn(f(x))")
        coroutine = function(*args, **options)
        if type(coroutine) is not CoroutineType and not inspect.iscoroutine(coroutine):
            raise TypeError(f"{function!r} gave {type(coroutine).__name__}, not a coroutine: spawn an async function")
        process = self.scheduler.spawn(coroutine, getattr(function, "__qualname__", type(function).__name__))
        if name is not None:
            self.scheduler.register(name, process)
        return process.pid

    def register(self, name: str | Atom, pid: Pid) -> None:
        """Give a living process of this node a name. Raises NameTaken; NoProc if the process does not live."""
        self._check()
        process = self._living(pid)
        if process is None:
            raise NoProc(Atom("noproc"), pid)
        self.scheduler.register(registered(name), process)

    def unregister(self, name: str | Atom) -> None:
        """Take a name away. Raises KeyError if nobody has it."""
        self._check()
        name = registered(name)
        if self.scheduler.whereis(name) is None:
            raise KeyError(name)
        self.scheduler.unregister(name)

    def whereis(self, name: str | Atom) -> Pid | None:
        """The pid registered under the name on this node, or None."""
        self._check()
        process = self.scheduler.whereis(registered(name))
        return None if process is None else process.pid

    def exit(self, pid: Pid, reason: object) -> None:
        """Send a process of this node an exit signal; `normal` is ignored, and so is a dead target."""
        self._check()
        process = self._living(pid)
        if process is not None:
            sender = running()
            process.signal(reason, self._outside if sender is None else sender.pid)

    def _living(self, pid: Pid) -> Process | None:
        if not isinstance(pid, Pid):
            raise TypeError(f"{pid!r} is no pid")
        return self.scheduler.find(pid) if pid.node == self.name else None

    async def _end_processes(self, grace: float) -> None:
        self._ended.clear()
        for process in list(self.scheduler.processes.values()):
            process.doom(Atom("shutdown"))
        if self.scheduler.processes:
            try:
                await asyncio.wait_for(self._ended.wait(), grace)
            except TimeoutError:
                log.warning("%s leaves processes behind: %s", self.name, list(self.scheduler.processes.values()))

    def _exited(self, process: Process, reason: object, error: BaseException | None) -> None:
        if error is not None:
            report_exit(process, reason, error)
        self._watching.ended(process.pid)
        if not self.scheduler.processes:
            self._ended.set()


def registered(name: str | Atom) -> str:
    """The text of a name to register a process under. Raises TypeError."""
    if isinstance(name, Atom):
        return name.name
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no process name: a str or an Atom")
    return name
