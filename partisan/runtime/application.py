"""Applications: trees of processes that start with their node and are ended in order before it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from partisan._core.process import Process, receive
from partisan._core.ties import link
from partisan.errors import StartFailed
from partisan.etf import Atom, Pid
from partisan.runtime.current import process
from partisan.runtime.errand import Errand
from partisan.runtime.tie_calls import TieCalls

log = logging.getLogger(__name__)

EXIT, SHUTDOWN = Atom("EXIT"), Atom("shutdown")

SHARE = 0.8
"""How much of a stopping node's grace its applications have; the rest is for whatever they leave (ours)."""


class Application:
    """A tree that runs on a node.

    Attributes:
        pid: of the process at its top; None if that ignored its start.
        reason: why it has ended; None while it runs.
    """

    def __init__(self, node: str, title: str) -> None:
        self.pid: Pid | None = None
        self.reason: object = None
        self._node = node
        self._title = title
        self._over = asyncio.Event()
        self._asked = False
        self._keeper: Process | None = None

    def __repr__(self) -> str:
        return f"<Application {self._title} {'over' if self._over.is_set() else self.pid}>"

    async def ended(self) -> object:
        """Wait until it has ended; return the reason."""
        await self._over.wait()
        return self.reason

    async def stop(self) -> object:
        """End it in order, as a supervisor ends a child that is one; return the reason."""
        self._asked = True
        if self._keeper is not None and self._keeper.alive:
            self._keeper.signal(SHUTDOWN, Pid(self._node, 0))
        return await self.ended()

    async def _keep(self, starting: Starting, start: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Be the parent of the process at the top."""
        mine = process()
        mine.trap_exit(True)
        try:
            self.pid = await _started(start, args)
        except Exception as error:
            self._end(SHUTDOWN, told=True)
            starting.fail(error)
            return
        starting.settle(self.pid)
        if self.pid is None:
            self._end(Atom("ignore"), told=True)
        else:
            self._end(await self._watch(mine, self.pid), told=self._asked)

    async def _watch(self, mine: Any, top: Pid) -> object:
        """Wait until the top has ended, telling it to when asked: its reason."""
        other = mine.scheduler.find(top)
        if other is not None:
            link(mine, other)
        while True:
            _, sender, reason = await receive((EXIT, ..., ...))
            if sender == top:
                return reason
            if self._asked:
                other = mine.scheduler.find(top)
                if other is not None:
                    other.signal(reason, mine.pid)

    def _kept(self, keeper: Process, starting: Starting) -> None:
        self._keeper = keeper
        starting.watch(keeper)

    def _end(self, reason: object, told: bool) -> None:
        if self._over.is_set():
            return
        self.reason = reason
        self._over.set()
        if not told:
            log.error("%s: the application %s has ended: %r", self._node, self._title, reason)


class Starting(Errand):
    """The start of an application. It watches the parent of the process at the top, which may be ended at any time."""

    def __init__(self, application: Application) -> None:
        super().__init__(lambda _: StartFailed(SHUTDOWN))
        self._application = application

    def fire(self, reason: object) -> int:
        """The parent has ended; what it had started hears so by its link."""
        self._application._end(SHUTDOWN, told=True)
        return super().fire(reason)


class ApplicationCalls(TieCalls):
    """The methods of a node that are about its applications."""

    applications: list[Application]

    async def start_application(self, start: Any, *args: Any) -> Application:
        """Start a tree of processes, which lives until it ends by itself, or the node stops.

        A stopping node ends its applications first, the latest first, while it can still send and be called.

        Args:
            start: the class of a supervisor, or a function, plain or async, that is called in a process of its own,
                links what it starts to that, and returns its pid.
            args: of its `init`, or of the function.
        Raises:
            StartFailed: it did not start, or the node stops meanwhile (reason `shutdown`). Nothing of it is left, as
                when this is cancelled.
            TypeError: what was given starts nothing.
        """
        self._check()
        if not callable(start) and not hasattr(start, "start_link"):
            raise TypeError(f"{start!r} is no application: neither the class of a supervisor nor a function")
        title = getattr(start, "__qualname__", type(start).__qualname__)
        application = Application(self.name, title)
        starting = Starting(application)
        keeper = self.scheduler.find(self.spawn(application._keep, starting, start, args))
        assert keeper is not None  # it takes its first step later
        application._kept(keeper, starting)
        self.applications.append(application)
        try:
            await starting.result
        except BaseException:
            if application in self.applications:  # a stop of the node takes it out
                self.applications.remove(application)
            keeper.doom(SHUTDOWN)
            raise
        log.info("%s has started the application %s", self.name, title)
        return application

    async def _stop_applications(self, grace: float) -> None:
        """End all, the latest first; give up after some seconds."""
        try:
            async with asyncio.timeout(grace * SHARE):
                while self.applications:
                    await self.applications.pop().stop()
        except TimeoutError:
            log.warning("%s: applications have not ended in time", self.name)
            self.applications.clear()


async def _started(start: Any, args: tuple[Any, ...]) -> Pid | None:
    value = start.start_link(args=args) if hasattr(start, "start_link") else start(*args)
    if isawaitable(value):
        value = await value
    if value is not None and not isinstance(value, Pid):
        raise StartFailed((Atom("bad_return"), value))
    return value
