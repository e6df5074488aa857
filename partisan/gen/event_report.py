"""What is logged, once, of a handler that has failed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HandlerReport:
    """The end of a handler; the log record has it as its attribute `report`.

    Attributes:
        manager: the manager's registered name or pid.
        handler: its name, or (name, id).
        message: the last that it took; None if there was none.
        state: as `format_status` gives it.
        reason: why it was removed.
        error: the exception, if one is the reason.
    """

    manager: Any
    handler: Any
    message: Any
    state: Any
    reason: Any
    error: BaseException | None = None


def format_log(report: HandlerReport, *, single_line: bool = False, depth: int | None = None) -> str:
    """The text of a report (OTP's `format_log`).

    Args:
        single_line: on one line, the parts separated by full stops.
        depth: how deep terms are shown, and 30 characters a level; what is cut off is dots. None shows all.
    """
    shown = repr
    if depth is not None:
        shallow = Repr()
        shallow.maxlevel = depth
        shallow.maxstring = shallow.maxother = 30 * depth
        shown = shallow.repr
    parts = (
        f"gen_event handler {report.handler} crashed",
        f"Was installed in {report.manager}",
        f"Last event was: {shown(report.message)}",
        f"When handler state == {shown(report.state)}",
        f"Reason == {shown(report.reason)}",
    )
    if single_line:
        return ". ".join(" ".join(part.split()) for part in parts)
    return "\n** ".join(parts)


def log_report(report: HandlerReport) -> None:
    """Log a report, with the traceback if there is one."""
    log.error("%s", format_log(report), exc_info=report.error, extra={"report": report})
