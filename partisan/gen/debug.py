"""What is told of the messages of one process while it is debugged: the process's part of `sys.trace` and its kin.

An event is a tuple that begins with an atom: `(in, Message)`, `(out, Message, To)`, `(noreply,)`, or a behaviour's own.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TextIO

from partisan.etf import Atom

log = logging.getLogger(__name__)

IN, OUT, NOREPLY, DONE, SYSTEM = Atom("in"), Atom("out"), Atom("noreply"), Atom("done"), Atom("system")
LOG_LENGTH = 10
"""Events that are kept by `log` unless another number is asked for (as in OTP)."""

Function = Callable[[Any, tuple[Any, ...], object], Any]
"""Called with its state, the event and the process's name; returns its next state, or `DONE` to be removed."""


class Debug:
    """What is done with the events of one process.

    Args:
        name: of the process, for people.
        options: as those of `GenServer.start`: "trace", "log", ("log", events), "statistics", ("log_to_file", path),
            ("install", (function, state)), ("install", (id, function, state)).
    Attributes:
        trace: whether each is logged.
        log: the latest (event, name), or None.
        statistics: [begun (s since the epoch), messages in, messages out], or None.
    """

    def __init__(self, name: object, options: Iterable[Any] = ()) -> None:
        self.name = name
        self.trace = False
        self.log: deque[tuple[tuple[Any, ...], object]] | None = None
        self.statistics: list[Any] | None = None
        self._file: TextIO | None = None
        self._installed: dict[Hashable, tuple[Function, Any]] = {}
        for option in options:
            self._option(option)

    def _option(self, option: Any) -> None:
        match option:
            case "trace":
                self.trace = True
            case "log":
                self.set_log(LOG_LENGTH)
            case ("log", int(events)):
                self.set_log(events)
            case "statistics":
                self.set_statistics(True)
            case ("log_to_file", str(path)):
                self.set_file(path)
            case ("install", (function, state)):
                self.install(function, function, state)
            case ("install", (identity, function, state)):
                self.install(identity, function, state)
            case _:
                raise ValueError(f"{option!r} is no debug option: trace, log, statistics, log_to_file or install")

    @property
    def active(self) -> bool:
        """Whether anything is to be told."""
        return bool(self.trace or self.log is not None or self.statistics or self._file or self._installed)

    def set_log(self, events: int) -> None:
        """Keep so many events; 0 keeps none."""
        self.log = deque(self.log or (), maxlen=events) if events > 0 else None

    def set_statistics(self, wanted: bool) -> None:
        """Count messages from now on, or no longer."""
        self.statistics = [time.time(), 0, 0] if wanted else None

    def set_file(self, path: str | None) -> None:
        """Write each event to a file, one a line, until that fails; None stops it. Raises OSError."""
        former, self._file = self._file, None
        if former is not None:
            with contextlib.suppress(OSError):  # what could not be written still waits in it
                former.close()
        if path is not None:
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  # closed by set_file(None) or close()

    def install(self, identity: Hashable, function: Function, state: Any) -> None:
        """Call a function with each event. One that is installed already stays as it is."""
        self._installed.setdefault(identity, (function, state))

    def remove(self, identity: Hashable) -> None:
        """Call it no longer: by its identity, or by the function."""
        self._installed = {
            key: entry for key, entry in self._installed.items() if key != identity and entry[0] is not identity
        }

    def close(self) -> None:
        """Tell nothing any more."""
        self.trace, self.log, self.statistics, self._installed = False, None, None, {}
        self.set_file(None)

    def hear(self, message: Any) -> None:
        """Take a message that has come; those of `sys` are not told."""
        if not (type(message) is tuple and message and message[0] is SYSTEM):
            self.tell((IN, message))

    def tell(self, event: tuple[Any, ...]) -> None:
        """Take an event. A function that raises is removed."""
        if self.trace:
            log.info("*DBG* %s %s", self.name, described(event))
        if self.log is not None:
            self.log.append((event, self.name))
        if self.statistics is not None:
            self.statistics[1] += event[0] is IN
            self.statistics[2] += event[0] is OUT
        if self._file is not None:
            self._write(self._file, event)
        for identity, (function, state) in list(self._installed.items()):
            try:
                state = function(state, event, self.name)
            except Exception:
                log.exception("%s: the debug function %r failed, and is removed", self.name, function)
                state = DONE
            if state == DONE:
                self._installed.pop(identity, None)
            elif identity in self._installed:
                self._installed[identity] = (function, state)

    def _write(self, file: TextIO, event: tuple[Any, ...]) -> None:
        try:
            file.write(f"*DBG* {self.name} {described(event)}\n")
            file.flush()
        except Exception:  # a full disk, or a repr that fails: no fault of the process
            log.exception("%s: events cannot be written to %s, and are no more", self.name, file.name)
            self.set_file(None)


def described(event: tuple[Any, ...]) -> str:
    """An event for people."""
    match event:
        case (Atom("in"), (Atom("$gen_call"), (pid, _), request)):
            return f"got call {request!r} from {pid}"
        case (Atom("in"), (Atom("$gen_cast"), message)):
            return f"got cast {message!r}"
        case (Atom("in"), message):
            return f"got {message!r}"
        case (Atom("out"), message, to):
            return f"sent {message!r} to {to}"
        case (Atom("noreply"),):
            return "goes on"
        case _:
            return f"event {event!r}"
