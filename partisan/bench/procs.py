"""Child processes that speak lines: a ready line first, bounded waits, and an end that always comes.

Three things end a child: `stop`, the end of its standard input (a child watches it, so that even a parent that was
killed leaves nothing behind), and its process group's signal. Children live in sessions of their own: Ctrl-C reaches
the parent alone, and the parent ends them.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

GRACE = 2.0
"""How long a child may take to end by itself, in seconds."""


class ChildFailed(Exception):
    """A child ended or was silent; the message carries the last lines that it wrote to standard error."""


class Child:
    """A process whose standard input and output are lines.

    Attributes:
        title: how messages call it.
        pid: the system's process id.
    """

    def __init__(self, title: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.title = title
        self._buffer = bytearray()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except OSError:
            self._errors.close()
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self.pid = self._process.pid

    def write_line(self, line: str) -> None:
        """Hand the child a line."""
        try:
            self._stdin.write(line.encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError as error:
            raise self._failure("ended") from error

    def read_line(self, seconds: float) -> str:
        """Return the child's next line; raise ChildFailed if it ends before or says none within `seconds`."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while (end := self._buffer.find(b"\n")) < 0:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._failure(f"said nothing for {seconds:.0f} s")
                chunk = os.read(self._stdout.fileno(), 65536)
                if not chunk:
                    raise self._failure("ended")
                self._buffer += chunk
        line = self._buffer[:end].decode(errors="replace")
        del self._buffer[: end + 1]
        return line

    def read_until(self, mark: str, seconds: float) -> str:
        """Return the first line that contains `mark`, passing over others; raise ChildFailed as `read_line` does."""
        deadline = time.monotonic() + seconds
        while True:
            line = self.read_line(max(0.0, deadline - time.monotonic()))
            if mark in line:
                return line

    def last_words(self) -> str:
        """Return the last lines that the child wrote to standard error, joined; empty if it wrote none."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines()]
        # The markers under a traceback's lines say nothing once the lines are joined.
        return " | ".join([line for line in lines if line.strip("^~")][-4:])

    def stop(self) -> None:
        """End the child: by the end of its input, then by SIGTERM, then by SIGKILL to all of its group."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                self._signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
                break
        # What the child itself started (erl starts a helper) is in its group and may outlive it.
        self._signal(signal.SIGKILL)
        self._stdout.close()
        self._errors.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _failure(self, what: str) -> ChildFailed:
        words = self.last_words()
        return ChildFailed(f"the {self.title} {what}" + (f": {words}" if words else ""))
