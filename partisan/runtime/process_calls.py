"""Processes of a node: start, name, find and end them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any

from partisan._core.process import Process, running
from partisan._core.via import register_via, unregister_via, whereis_via
from partisan.errors import NameTaken, NoProc
from partisan.etf import Atom, Pid
from partisan.runtime.exits import report_exit
from partisan.runtime.parts import NodePart

log = logging.getLogger(__name__)

SHUTDOWN, KILLED = Atom("shutdown"), Atom("killed")

CLOSING = 1.0
"""Seconds in which killed processes are closed: a turn of the loop for each few dozens of them (ours)."""

Name = str | Atom | tuple[str | Atom, Any, Any]
"""What a process can be registered under: a name of this node, or ("via", registry, name)."""


class ProcessCalls(NodePart):
    """The methods of a node that are about its processes."""

    _ended: asyncio.Event
    _stopper: Process | None = None  # who has asked for the stop of the node
    _spared: Process | None = None  # the same, if it waits for that
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
        if type(function) is CoroutineType:  # type: ignore[comparison-overlap]  # what a newcomer passes
            function.close()
            raise TypeError("pass spawn() the function, not its call: spawn(f, x), not spawn(f(x))")
        coroutine = function(*args, **options)
        if type(coroutine) is not CoroutineType and not inspect.iscoroutine(coroutine):
            raise TypeError(f"{function!r} gave {type(coroutine).__name__}, not a coroutine: spawn an async function")
        process = self.scheduler.spawn(coroutine, getattr(function, "__qualname__", type(function).__name__))
        if name is not None:
            self.scheduler.register(name, process)
        return process.pid

    def register(self, name: Name, pid: Pid) -> None:
        """Give a living process of this node a name; one of a registry may be given to any process.

        Raises NameTaken; NoProc if the process does not live.
        """
        self._check()
        if isinstance(name, tuple):
            if not register_via(name, pid):
                raise NameTaken(repr(name))
            return
        process = self._living(pid)
        if process is None:
            raise NoProc(Atom("noproc"), pid)
        self.scheduler.register(registered(name), process)

    def unregister(self, name: Name) -> None:
        """Take a name away. Raises KeyError if nobody has it; a registry does as it likes."""
        self._check()
        if isinstance(name, tuple):
            unregister_via(name)
            return
        name = registered(name)
        if self.scheduler.whereis(name) is None:
            raise KeyError(name)
        self.scheduler.unregister(name)

    def whereis(self, name: Name) -> Pid | None:
        """The pid registered under the name on this node, or with the registry; or None."""
        self._check()
        if isinstance(name, tuple):
            if len(name) == 2:
                raise TypeError(f"{name!r} is a name of a node: whereis finds those of this one, whereis_at of others")
            return whereis_via(name)
        process = self.scheduler.whereis(registered(name))
        return None if process is None else process.pid

    def _living(self, pid: Pid) -> Process | None:
        if not isinstance(pid, Pid):
            raise TypeError(f"{pid!r} is no pid")
        return self.scheduler.find(pid) if pid.node == self.name else None

    async def _end_processes(self, grace: float) -> None:
        """Tell every process to shut down, the youngest first; kill those that have not ended in time.

        One of them may be who waits for the stop: it is spared. It waits for a future then, whether it stops the node
        itself or in a task that it has started (`wait_for` makes one); who goes on beside such a task does not.
        """
        stopper = self._stopper
        self._spared = stopper if stopper is not None and stopper._fut_waiter is not None else None
        if not await self._end_all(SHUTDOWN, False, grace):
            log.warning("%s kills processes that have not shut down: %s", self.name, self._others())
            if not await self._end_all(KILLED, True, CLOSING):
                log.error("%s leaves processes behind: %s", self.name, self._others())

    def _own(self) -> Process | None:
        """The current process, or the one whose task this is, if it is a living one of this node."""
        mine = running()
        return mine if mine is not None and mine.scheduler is self.scheduler and not mine.done() else None

    async def _end_all(self, reason: Atom, kill: bool, seconds: float) -> bool:
        """Whether all ended in time."""
        self._ended.clear()
        for process in reversed(self._others()):
            process.doom(reason, kill)
        if self._others():
            try:
                await asyncio.wait_for(self._ended.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def _others(self) -> list[Process]:
        return [process for process in self.scheduler.processes.values() if process is not self._spared]

    def _exited(self, process: Process, reason: object, error: BaseException | None) -> None:
        if error is not None:
            report_exit(process, reason, error)
        self._watching.ended(process.pid)
        if len(self.scheduler.processes) <= (self._spared is not None and not self._spared.done()):
            self._ended.set()


def registered(name: str | Atom) -> str:
    """The text of a name to register a process under. Raises TypeError."""
    if isinstance(name, Atom):
        return name.name
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no process name: a str or an Atom")
    return name
