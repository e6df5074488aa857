"""Messages of a node that are sent later."""

from __future__ import annotations

import asyncio
from typing import Any

from partisan.etf import Reference
from partisan.runtime.message_calls import MessageCalls, Target


class TimerCalls(MessageCalls):
    """The methods of a node that are about its timers."""

    _timers: dict[Reference, asyncio.TimerHandle]

    def send_after(self, seconds: float, target: Target, message: object, **options: Any) -> Reference:
        """Send a message after some seconds; return the timer, for `cancel_timer`. Options are those of `send`.

        If it cannot be sent then, it is counted as undelivered.
        """
        self._check()
        self._place(target)
        timer = self.make_ref()

        def fire() -> None:
            del self._timers[timer]
            try:
                self.router.send(target, message, **options)
            except Exception:
                self._undeliverable(target, message)

        self._timers[timer] = self.loop.call_later(max(0.0, seconds), fire)
        return timer

    def cancel_timer(self, timer: Reference) -> float | None:
        """Cancel a timer; return how many seconds it had left, None if it has fired or is none of this node."""
        self._check()
        handle = self._timers.pop(timer, None)
        if handle is None:
            return None
        handle.cancel()
        return max(0.0, handle.when() - self.loop.time())
