"""What a supervisor tells the log: who was started, who failed, and why it gave up.

The logger is `partisan.gen.supervisor`: progress at INFO, failures once each at ERROR, with the record's `report` for
programs and its text for people.
"""

from __future__ import annotations

import logging
import reprlib
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("partisan.gen.supervisor")


@dataclass(frozen=True, slots=True)
class SupervisorReport:
    """Something went wrong.

    Attributes:
        supervisor: its name or pid, and class: as `counters (Tree)`.
        context: "start_error", "child_terminated", "shutdown_error" (a child did not end as it was told), or
            "shutdown" (too many attempts within the period end the supervisor).
        reason: the reason term.
        offender: of the child: pid, id, start, restart, significant, shutdown, type.
    """

    supervisor: str
    context: str
    reason: object
    offender: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """A child has started.

    Attributes:
        supervisor: as in SupervisorReport.
        started: of the child, as `offender` there.
    """

    supervisor: str
    started: dict[str, Any]


Report = SupervisorReport | ProgressReport


def tell(report: Report, error: BaseException | None = None) -> None:
    """Log a report; the traceback of `error` with it."""
    level = logging.INFO if isinstance(report, ProgressReport) else logging.ERROR
    if log.isEnabledFor(level):
        log.log(level, "%s", _Lazy(report), extra={"report": report}, exc_info=error)


def format_log(
    report: Report, *, single_line: bool = False, depth: int | None = None, chars_limit: int | None = None
) -> str:
    """The text of a report.

    Args:
        single_line: all in one line.
        depth: levels of nested terms, and elements of each, that are written; `...` stands for the rest.
        chars_limit: characters that each value may take, about; the middle of longer ones is left out.
    """
    short = _shortener(depth, chars_limit)
    about: list[tuple[str, object]]
    if isinstance(report, ProgressReport):
        title, about = "PROGRESS REPORT", [("started", report.started)]
    else:
        title = "SUPERVISOR REPORT"
        about = [("context", report.context), ("reason", report.reason), ("offender", report.offender)]
    rows: list[tuple[str, object]] = [("supervisor", report.supervisor), *about]
    if single_line:
        return f"{title} " + ", ".join(f"{name}: {_line(value, short)}" for name, value in rows)
    return "\n    ".join([title, *(f"{name}: {_line(value, short)}" for name, value in rows)])


class _Lazy:
    """A report that becomes text when a handler wants it."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __str__(self) -> str:
        return format_log(self._report, single_line=True)


def _line(value: object, short: reprlib.Repr | None) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_line(each, short)}" for name, each in value.items()) + "}"
    return repr(value) if short is None else short.repr(value)


def _shortener(depth: int | None, chars_limit: int | None) -> reprlib.Repr | None:
    if depth is None and chars_limit is None:
        return None
    short = reprlib.Repr()
    items = 1 << 30 if depth is None else depth
    short.maxlevel = 1 << 10 if depth is None else depth
    short.maxtuple = short.maxlist = short.maxarray = short.maxdict = items
    short.maxset = short.maxfrozenset = short.maxdeque = items
    short.maxstring = short.maxlong = short.maxother = 1 << 30 if chars_limit is None else chars_limit
    return short
