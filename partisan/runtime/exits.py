"""How processes end: exit signals, and what is told when one fails."""

from __future__ import annotations

import asyncio
import logging
from traceback import walk_tb
from types import TracebackType

from partisan._core.culprit import short
from partisan._core.process import Process
from partisan.errors import BadReturn, CallTimeout, ErlangError, Exit, Throw
from partisan.etf import Atom

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


FRAMES = 32
"""How many frames of a traceback a reason tells, the innermost first."""


def crash_reason(error: BaseException) -> object:
    """The reason of a process that an exception has ended, in the shape that Erlang gives its own.

    `{{'ValueError', <<"text">>}, [{Module, Function, 0, [{file, File}, {line, Line}]}, ...]}`; a call that was not
    answered is `{timeout, {Module, Function, Arguments}}`.
    """
    if isinstance(error, CallTimeout):
        return (Atom("timeout"), error.call)
    if isinstance(error, BadReturn):
        reason = (Atom(error.kind), error.value)
        return reason if error.kind == "bad_return_value" else (reason, stacktrace(error.__traceback__))
    if isinstance(error, ErlangError):
        return (error.reason, stacktrace(error.__traceback__))
    if isinstance(error, Throw):
        return ((Atom("nocatch"), error.value), stacktrace(error.__traceback__))
    return ((Atom(type(error).__name__[:255]), _text(error)), stacktrace(error.__traceback__))


def _text(error: BaseException) -> str:
    """What an exception says; its own code may fail."""
    try:
        return str(error)
    except Exception as failure:
        return f"<str() failed: {type(failure).__name__}>"


UNENCODABLE = Atom("unencodable")

LINE = 200
"""How many characters are told of a reason that cannot be sent (ours)."""


def plainer(reason: object) -> object:
    """What other nodes are told of a reason that cannot be sent: `{unencodable, Text}`, and if not even that, the atom.

    Text is a line at most, however large the reason: of what is too large for a frame the text would be no smaller.
    """
    if isinstance(reason, tuple) and len(reason) == 2 and reason[0] is UNENCODABLE:
        return UNENCODABLE
    return (UNENCODABLE, short(reason)[:LINE].encode("utf-8", "backslashreplace").decode())


def stacktrace(traceback: TracebackType | None) -> list[object]:
    """A traceback as Erlang writes one."""
    found: list[object] = []
    for frame, line in walk_tb(traceback):
        code = frame.f_code
        if code.co_filename.endswith(".pyx"):  # how the scheduler came to the process
            continue
        module = str(frame.f_globals.get("__name__", ""))
        place = [(Atom("file"), code.co_filename), (Atom("line"), line)]
        found.append((Atom(module[:255]), Atom(code.co_qualname[:255]), 0, place))
    return found[::-1][:FRAMES]
