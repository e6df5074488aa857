"""What is logged, once, of a process of a behaviour that ends and should not have."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from reprlib import Repr
from typing import Any

from partisan.etf import Atom
from partisan.gen.control import NOTHING

log = logging.getLogger("partisan.gen")

SHUTDOWN, NORMAL = Atom("shutdown"), Atom("normal")


@dataclass(frozen=True)
class ErrorReport:
    """The end of a process; the log record has it as its attribute `report`.

    Attributes:
        title: what kind of process it is: "Generic server".
        name: its registered name or pid.
        reason: why it ends.
        state: as `format_status` gives it.
        message: the last one that it took; NOTHING if there was none.
        client: the pid of whoever had called, if the last message was a call.
        log: the events that `sys.log` kept.
        error: the exception, if one is the reason.
        details: what else there is to tell: titles and terms.
    """

    title: str
    name: object
    reason: object
    state: object
    message: Any = NOTHING
    client: object = None
    log: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    details: list[tuple[str, object]] = field(default_factory=list)


def format_log(report: ErrorReport, *, single_line: bool = False, depth: int | None = None) -> str:
    """The text of a report (OTP's `format_log`).

    Args:
        single_line: on one line, parts separated by full stops.
        depth: how deep terms are shown; deeper parts are dots. None shows all.
    """
    shown = repr if depth is None else _shallow(depth).repr
    parts = [("", f"{report.title} {report.name} terminating")]
    if report.message is not NOTHING:
        parts.append(("Last message", shown(report.message)))
    parts.append(("State", shown(report.state)))
    parts += [(title, shown(term)) for title, term in report.details]
    parts.append(("Reason", shown(report.reason)))
    if report.log:
        parts.append(("Logged events", shown(report.log)))
    if report.client is not None:
        parts.append(("Client", str(report.client)))
    lines = [f"{title}: {text}" if title else text for title, text in parts]
    return ". ".join(lines) if single_line else "\n** ".join(lines)


def _shallow(depth: int) -> Repr:
    shallow = Repr()
    shallow.maxlevel = depth
    shallow.maxstring = shallow.maxother = 30 * depth
    return shallow


def expected(reason: object) -> bool:
    """Whether a reason is none to complain of: normal, shutdown, or (shutdown, anything)."""
    return reason in (NORMAL, SHUTDOWN) or (type(reason) is tuple and len(reason) == 2 and reason[0] == SHUTDOWN)


def log_report(report: ErrorReport) -> None:
    """Log a report, with the traceback if there is one."""
    log.error("%s", format_log(report), exc_info=report.error, extra={"report": report})
