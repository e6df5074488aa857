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


World = Mapping[type, Callable[[Any], None]] | Callable[[Effect], None]


class Soon:
    """A timer of no time at all: calls `fire(timer)` when it is called, unless it was cancelled."""

    __slots__ = ("_fire", "_timer")

    def __init__(self, fire: Callable[[Timer], None], timer: Timer) -> None:
        self._fire: Callable[[Timer], None] | None = fire
        self._timer = timer

    def __call__(self) -> None:
        if self._fire is not None:
            self._fire(self._timer)

    def cancel(self) -> None:
        """Never fire."""
        self._fire = None


class Driver:
    """Feeds events to a machine and carries out its effects.

    Args:
        machine: the protocol; nobody else may call it.
        loop: whose clock is the machine's.
        world: effect type -> callable(effect) that carries it out; timers are the driver's own. An effect that the
            machine never asks for may be missing. Or one callable(effect) for all of them.
        before_timeout: called before the machine hears of a timer: tells it what it is not told by events.
        clock: the machine's clock instead of the loop's, which may stand still within a turn and count milliseconds.
        soon: callable(function) that calls `function` when what was read together has been taken: where timers of no
            time at all go; None: the next turn of the loop.
    """

    __slots__ = (
        "_before_timeout",
        "_carry_out",
        "_clock",
        "_loop",
        "_running",
        "_soon",
        "_stopped",
        "_timers",
        "_waiting",
        "machine",
    )

    def __init__(
        self,
        machine: Runnable,
        loop: asyncio.AbstractEventLoop,
        world: World,
        before_timeout: Callable[[], None] | None = None,
        clock: Callable[[], float] | None = None,
        soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._clock = clock
        self._soon = soon
        self.machine = machine
        self._before_timeout = before_timeout
        self._loop = loop
        self._timers: dict[Timer, asyncio.TimerHandle | Soon] = {}
        self._waiting: deque[Event] | None = None  # what has arisen while the machine was busy; few ever have any
        self._running = False
        self._stopped = False
        self._carry_out = (lambda effect: world[type(effect)](effect)) if isinstance(world, Mapping) else world

    def handle(self, event: Event) -> None:
        """Give the machine an event and carry out what it asks for; ignored once stopped."""
        if self._stopped:
            return
        if self._running:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(event)
            return
        if self._waiting:  # the machine has failed with events left
            self._waiting.append(event)
            event = self._waiting.popleft()
        self._running = True
        failures: list[Exception] = []
        try:
            self._take(event, failures)
            while self._waiting and not self._stopped:
                self._take(self._waiting.popleft(), failures)
        finally:
            self._running = False
        if failures:
            raise failures[0] if len(failures) == 1 else ExceptionGroup("several effects failed", failures)

    def _take(self, event: Event, failures: list[Exception]) -> None:
        """Give it to the machine, and carry out all that it asks for: one that fails takes no other with it."""
        log.debug("%s takes %r", self.machine.myself, event)
        for effect in self.machine.handle(event, self._loop.time() if self._clock is None else self._clock()):
            try:
                if type(effect) is StartTimer:
                    self._start_timer(effect)
                elif type(effect) is StopTimer:
                    self._stop_timer(effect)
                else:
                    self._carry_out(effect)
            except Exception as error:
                failures.append(error)

    def stop(self) -> None:
        """Cancel every timer; events are ignored from now on."""
        self._stopped = True
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()

    def _start_timer(self, effect: StartTimer) -> None:
        self._stop_timer(effect)
        if self._stopped:
            return
        if effect.after == 0.0 and self._soon is not None:
            self._timers[effect.timer] = soon = Soon(self._fire, effect.timer)
            self._soon(soon)
            return
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
