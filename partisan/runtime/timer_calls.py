"""Messages of a node that are sent later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from partisan._core.watch import Watch
from partisan.etf import Pid, Reference
from partisan.runtime.message_calls import MessageCalls, Target
from partisan.runtime.parts import seconds_of


class Timer(Watch):
    """One message that is sent later; not to a process of this node that has ended before.

    Attributes:
        handle: of the loop.
        forget: callable(): the node knows it no longer.
    """

    handle: asyncio.TimerHandle
    forget: Callable[[], object]

    def fire(self, reason: object) -> int:
        self.handle.cancel()
        self.forget()
        return 0


class TimerCalls(MessageCalls):
    """The methods of a node that are about its timers."""

    _timers: dict[Reference, Timer]

    def send_after(
        self,
        seconds: float,
        target: Target,
        message: object,
        *,
        channel: str | None = None,
        partition_key: int | None = None,
        key: Hashable = None,
        ack: bool = False,
    ) -> Reference:
        """Send a message after some seconds; return the timer, for `cancel_timer`. Options are those of `send`.

        If it cannot be sent then, it is counted as undelivered. To a pid of this node, the timer ends with the process.
        """
        self._check()
        after = max(0.0, seconds_of(seconds, "time"))
        if not (isinstance(target, tuple) and len(target) == 3):  # a registry is asked when the time comes
            self._place(target)
        reference, timer = self.make_ref(), Timer()

        def send() -> None:
            del self._timers[reference]
            timer.unwatch()
            try:
                self.router.send(target, message, channel=channel, partition_key=partition_key, key=key, ack=ack)
            except Exception:
                self._undeliverable(target, message)

        timer.forget = lambda: self._timers.pop(reference, None)
        timer.handle = self.loop.call_later(after, send)
        self._timers[reference] = timer
        if isinstance(target, Pid) and target.node == self.name:
            process = self.scheduler.find(target)
            if process is not None:
                timer.watch(process)
        return reference

    def cancel_timer(self, timer: Reference) -> float | None:
        """Cancel a timer; return how many seconds it had left, None if it has fired or is none of this node."""
        self._check()
        found = self._timers.pop(timer, None)
        if found is None:
            return None
        found.unwatch()
        found.handle.cancel()
        return max(0.0, found.handle.when() - self.loop.time())

    def _stop_timers(self) -> None:
        """Cancel all of them."""
        for timer in list(self._timers.values()):
            timer.unwatch()
            timer.handle.cancel()
        self._timers.clear()
