"""Run one protocol machine on an event loop.

The mirror image of the simulator: events go into the machine one at a time, and what it asks for is carried out in
order after it has answered. An event that arises meanwhile waits its turn, so the machine is never re-entered.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from partisan.machines.machine import Effect, Event, StartTimer, StopTimer, TimedOut, Timer

log = logging.getLogger(__name__)

LONG, GRAIN = 5.0, 1.0
"""A timer of so many seconds waits for the next multiple of so many of the loop's clock: thousands of pings then wake
their process, and that of their peers, together and not each by itself (ours)."""


class Runnable(Protocol):
    """What a driver wants of a machine; `Machine` is one."""

    myself: Any

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what the world must now do, in order."""


World = Mapping[type, Callable[[Any], None]]


class Driver:
    """Feeds events to a machine and carries out its effects.

    Args:
        machine: the protocol; nobody else may call it.
        loop: whose clock is the machine's.
        world: effect type -> callable(effect) that carries it out; timers are the driver's own. An effect that the
            machine never asks for may be missing.
        before_timeout: called before the machine hears of a timer: tells it what it is not told by events.
        clock: the machine's clock instead of the loop's, which may stand still within a turn and count milliseconds.
    """

    __slots__ = (
        "_before_timeout",
        "_carry_out",
        "_clock",
        "_events",
        "_loop",
        "_running",
        "_stopped",
        "_timers",
        "machine",
    )

    def __init__(
        self,
        machine: Runnable,
        loop: asyncio.AbstractEventLoop,
        world: World,
        before_timeout: Callable[[], None] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock or loop.time
        self.machine = machine
        self._before_timeout = before_timeout
        self._loop = loop
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._events: deque[Event] = deque()
        self._running = False
        self._stopped = False
        timers: World = {StartTimer: self._start_timer, StopTimer: self._stop_timer}
        self._carry_out = {**world, **timers}

    def handle(self, event: Event) -> None:
        """Give the machine an event and carry out what it asks for; ignored once stopped."""
        if self._stopped:
            return
        self._events.append(event)
        if self._running:
            return
        self._running = True
        try:
            while self._events and not self._stopped:
                event = self._events.popleft()
                log.debug("%s takes %r", self.machine.myself, event)
                for effect in self.machine.handle(event, self._clock()):
                    self._carry_out[type(effect)](effect)
        finally:
            self._running = False

    def stop(self) -> None:
        """Cancel every timer; events are ignored from now on."""
        self._stopped = True
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()

    def _start_timer(self, effect: StartTimer) -> None:
        self._stop_timer(effect)
        when = self._loop.time() + effect.after
        if effect.after >= LONG:
            when = math.ceil(when / GRAIN) * GRAIN
        self._timers[effect.timer] = self._loop.call_at(when, self._fire, effect.timer)

    def _stop_timer(self, effect: StartTimer | StopTimer) -> None:
        handle = self._timers.pop(effect.timer, None)
        if handle is not None:
            handle.cancel()

    def _fire(self, timer: Timer) -> None:
        del self._timers[timer]
        if self._before_timeout is not None:
            self._before_timeout()
        self.handle(TimedOut(timer))
