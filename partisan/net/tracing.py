"""A running node's messages in a file, which `python -m partisan.sim replay` runs again.

What is written is what `partisan.machines.record` describes: what each machine was told, and a digest of its answers.
Machines that are written draw from generators of their own, whose seeds the file has. A thread writes it, so that a
slow disk holds nobody up; what does not fit in memory meanwhile, or on the disk, ends the trace, and not the node.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from partisan.errors import ConfigError
from partisan.machines.record import Outside, Recorder
from partisan.wire.trace import forms_of_terms

log = logging.getLogger(__name__)

MOST_WAITING = 64 * 1024 * 1024
"""Characters that may wait to be written (ours)."""

CHANCE_BITS = 128

_OURS = "partisan.machines."

Machine = TypeVar("Machine")


class TraceFile:
    """A file that a thread writes. One that is there already becomes PATH.old; what is no file is left alone.

    Args:
        path: of the file; its directory must be there.
        failed: told, in that thread, why nothing more is written.
    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, failed: Callable[[OSError], object]) -> None:
        self._failed = failed
        self._lines: deque[str] = deque()
        self._waiting = 0
        self._wake = threading.Condition()
        self._ended = False
        if path.exists() and not path.is_file():
            raise ConfigError("trace_file", f"{path} is there, and is no file")
        try:
            if path.exists():
                os.replace(path, path.with_name(path.name + ".old"))
            self._file = path.open("x", encoding="ascii")
        except OSError as error:
            raise ConfigError("trace_file", f"{path}: {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._run, name=f"partisan-trace-{path.name}", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Write it soon. Raises ValueError: too much waits already."""
        with self._wake:
            if self._waiting + len(text) > MOST_WAITING:
                raise ValueError(f"more than {MOST_WAITING} characters wait for the disk")
            self._waiting += len(text)
            self._lines.append(text)
            self._wake.notify()

    def close(self, grace: float) -> None:
        """Write what waits, for so many seconds at most, and end."""
        with self._wake:
            self._ended = True
            self._wake.notify()
        self._thread.join(grace)

    def _run(self) -> None:
        try:
            with self._file as file:
                while texts := self._next():
                    file.write("".join(texts))
                    file.flush()
        except OSError as error:
            self._failed(error)

    def _next(self) -> list[str]:
        """What waits, as soon as there is something; nothing at the end."""
        with self._wake:
            self._wake.wait_for(lambda: self._lines or self._ended)
            texts = list(self._lines)
            self._lines.clear()
            self._waiting = 0
            return texts


class Tracing:
    """The trace of one life of a node.

    Args:
        node: the node's name.
        path: of the file.
        payloads: whether what is the program's own is written.
        clock: that of the machines.
        rng: where the seeds of the machines come from.
    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, node: str, path: Path, payloads: bool, clock: Callable[[], float], rng: Random) -> None:
        self._node = node
        self._clock = clock
        self._path = path
        self._rng = rng
        self._file = TraceFile(path, self._lost)
        self._recorder = Recorder(self._file.write, forms_of_terms(payloads), self._stopped)
        self._recorder.begin(None, None, None, epoch=time.time() - clock())
        log.info("%s is traced in %s", node, path)

    def machine(
        self,
        protocol: str,
        myself: Any,
        config: Any,
        saved: Any,
        make: Callable[[Random, Outside], Machine],
        calls: Iterable[str] = (),
    ) -> Machine:
        """Make a machine whose events are written, if it is one of this package.

        Args:
            protocol: by which `partisan.sim.makers` knows it.
            make: is given its chance, and what functions that it asks by must pass through.
            calls: its methods that change it.
        Raises:
            ConfigError: its options, or what it had saved, have no place in a trace.
        """
        outside, chance = Outside(), self._rng.getrandbits(CHANCE_BITS)
        made: Any = make(Random(chance), outside)
        if not type(made).__module__.startswith(_OURS):
            log.warning("%s: %s is not traced: reading a trace imports nobody's modules", self._node, protocol)
            return cast(Machine, made)
        try:
            recorded = self._recorder.life(
                myself, chance, saved, made, protocol=protocol, config=config, outside=outside, calls=calls
            )
        except (TypeError, ValueError) as error:
            raise ConfigError("trace_file", f"{protocol} cannot be traced: {error}") from error
        return cast(Machine, recorded)

    def passed(self, way: str, peer: str | None, target: Any, message: Any) -> None:
        """Write that a message between processes has passed; what `Interposition.show` is given."""
        self._recorder.passed(self._node, self._clock(), way, peer, target, message)

    def close(self, grace: float) -> None:
        """Write what waits, for so many seconds at most, and end."""
        self._recorder.over = True
        self._file.close(grace)

    def _stopped(self, error: Exception) -> None:
        log.error("%s is traced no more in %s: %s", self._node, self._path, error)

    def _lost(self, error: OSError) -> None:
        self._recorder.over = True
        self._stopped(error)
