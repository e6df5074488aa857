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
from collections.abc import Callable, Mapping, Sequence

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a run to end: Ctrl-C, `kill`, and a terminal that is closed."""

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
                if not self.read_available():
                    raise self._failure("ended")
        return self._take_line(end)

    def fileno(self) -> int:
        """Return the descriptor of its standard output, for a selector."""
        return self._stdout.fileno()

    def read_available(self) -> bool:
        """Read once what it has written; return False at the end of its output."""
        chunk = os.read(self._stdout.fileno(), 65536)
        self._buffer += chunk
        return bool(chunk)

    def find(self, mark: str) -> str | None:
        """Return the first line read that contains `mark`, passing over others; None if there is none yet."""
        while (end := self._buffer.find(b"\n")) >= 0:
            if mark in (line := self._take_line(end)):
                return line
        return None

    def _take_line(self, end: int) -> str:
        line = self._buffer[:end].decode(errors="replace")
        del self._buffer[: end + 1]
        return line

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    def fate(self) -> str:
        """Say how a child whose output has ended did end: `was killed (signal 9)`, `ended with status 1: why`."""
        try:
            status = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if status < 0:
            return f"was killed (signal {-status})"
        words = self.last_words()
        return f"ended with status {status}" + (f": {words}" if words else "")

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


def gather(
    children: Sequence[Child], mark: str, seconds: float, failed: Callable[[Child, str], None]
) -> dict[Child, str]:
    """Wait for a line that contains `mark` from each of the children, watching all at once.

    Args:
        seconds: how long to wait at most.
        failed: callable(child, what became of it): told at once of each that ends before it has said the line, and at
            last of each that did not say it in time.
    Returns:
        The lines of those that said it.
    """
    deadline = time.monotonic() + seconds
    lines: dict[Child, str] = {}
    with selectors.DefaultSelector() as selector:
        for child in children:
            # What was read together with an earlier line may hold this one.
            if (line := child.find(mark)) is not None:
                lines[child] = line
            else:
                selector.register(child, selectors.EVENT_READ, child)
        while (waiting := [key.data for key in selector.get_map().values()]) and (
            ready := selector.select(max(0.0, deadline - time.monotonic()))
        ):
            for child in [key.data for key, _ in ready]:
                open_still = child.read_available()
                if (line := child.find(mark)) is not None:
                    lines[child] = line
                elif open_still:
                    continue
                selector.unregister(child)
                if line is None:
                    failed(child, child.fate())
        for child in waiting:
            failed(child, f"said nothing for {seconds:.0f} s")
    return lines
