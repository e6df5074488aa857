"""How processes end: exit signals, and what is told when one fails."""

from __future__ import annotations

import asyncio
import logging

from partisan._core.process import Process
from partisan.errors import Exit

log = logging.getLogger(__name__)


class ExitSignal(asyncio.CancelledError):
    """Raised inside a process that another one, or its node, told to exit.

    It is a cancellation, so `finally` blocks run and well-behaved code lets it pass.

    Attributes:
        reason: the reason term.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason


def report_exit(process: Process, reason: object, error: BaseException | None) -> None:
    """Log, once and with its traceback, the failure of a process; a chosen exit is no failure."""
    if error is not None and not isinstance(error, Exit | asyncio.CancelledError):
        log.error("%s: %r failed", process.pid.node, process, exc_info=error)
