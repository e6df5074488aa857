"""A loop whose time passes at once: when nothing is ready, the clock jumps to the next timer.

`asyncio.sleep`, `call_later`, `asyncio.timeout`, `send_after`, time-outs of `receive` and `call`, and every timer of a
node count by the loop's clock, so an hour of them takes as long as what is done in it. Time stands still while code
runs. docs/testing.md says what this cannot do.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = 1000.0
"""Seconds that the clock shows first; it means as little as on any loop."""

PATIENCE = 0.001
"""Real seconds that open connections and pipes are given before the clock jumps."""

Ready = list[tuple[selectors.SelectorKey, int]]


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with a clock of its own.

    Args:
        patience: real seconds in which something may come from outside before the clock jumps, where a connection or a
            pipe is open. Raise it if other programs have to answer.
    """

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self._now = START
        self._abroad = 0  # functions that run in threads or other interpreters, and are waited for here
        watcher = _Watcher(self._pass, patience)
        super().__init__(watcher)
        watcher.open.clear()  # the loop's own pipe is none

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As on any loop; until the function returns, time passes as it really does."""
        future = super().run_in_executor(executor, func, *args)
        self._abroad += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, future: object) -> None:
        self._abroad -= 1

    def _pass(self, seconds: float, wait: Callable[[float], Ready]) -> Ready:
        """Nothing is ready, and the next timer is due in so many seconds."""
        if not self._abroad:
            self._now += seconds
            return []
        began = time.monotonic()
        ready = wait(seconds)
        self._now += min(seconds, time.monotonic() - began)
        return ready


class _Watcher(selectors.DefaultSelector):
    """A selector that lets virtual time pass instead of waiting for a timer.

    Args:
        idle: callable(seconds, wait): lets so much time pass; `wait` is what an ordinary selector does.
        patience: as of the loop.
    Attributes:
        open: descriptors from which something may come: all but sockets that listen.
    """

    def __init__(self, idle: Callable[[float, Callable[[float], Ready]], Ready], patience: float) -> None:
        super().__init__()
        self.open: set[int] = set()
        self._idle = idle
        self._patience = patience

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        if not _listens(key.fd):
            self.open.add(key.fd)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self.open.discard(key.fd)
        return key

    def select(self, timeout: float | None = None) -> Ready:
        if timeout is None:  # there is no timer
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0 and self.open:
            ready = super().select(self._patience)
        if ready or timeout <= 0:
            return ready
        return self._idle(timeout, super().select)


def _listens(descriptor: int) -> bool:
    """Whether it is a socket that only takes connections: whoever dials it from here has a descriptor, too."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:  # a pipe
        return False
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        sock.detach()


def run_virtual(main: Coroutine[Any, Any, T], *, patience: float = PATIENCE) -> T:
    """Run a coroutine to its end on a new `VirtualLoop`, as `partisan.run` does on an ordinary one; its result."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(patience=patience)) as runner:
        return runner.run(main)
