"""What an experiment asks of a transport: a server process, a client process, and points measured between them."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from partisan.bench.measure import Job, Measurement, MeasurementFailed, Point
from partisan.bench.procs import Child, ChildFailed

START_SECONDS = 20.0
"""How long a process may take until it is ready."""

SLACK_SECONDS = 30.0
"""How long a point may take beyond its own seconds: queues drain, large messages finish."""


class Transport(ABC):
    """Two processes and a way to send between them. Subclasses say how each process is started."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self._server: Child | None = None
        self._client: Child | None = None

    @abstractmethod
    def why_not(self) -> str | None:
        """Say why this machine cannot run the transport, or None if it can."""

    def why_skip(self, point: Point) -> str | None:
        """Say why the transport has no such point, or None if it has."""
        if point.workload == "hol":
            return "it has no channels that keep a small echo and a stream apart"
        if point.workload == "call":
            return "it has no calls"
        return None

    @property
    def running(self) -> bool:
        """True between `start` and `stop`."""
        return self._client is not None

    def start(self, actors: int) -> None:
        """Start both processes, with `actors` named receivers of each kind; raise MeasurementFailed if that fails."""
        try:
            self._server = self.start_server(actors)
            facts = json.loads(self._server.read_until('"ready"', START_SECONDS))
            self._client = self.start_client(facts)
            self._client.read_until('"ready"', START_SECONDS)
        except ChildFailed as error:
            self.stop()
            raise MeasurementFailed(str(error)) from error

    @abstractmethod
    def start_server(self, actors: int) -> Child:
        """Start the process that holds the named receivers."""

    @abstractmethod
    def start_client(self, facts: dict[str, Any]) -> Child:
        """Start the process that sends, given what the server announced."""

    def spread(self) -> bool:
        """Give each process a core of its own, so that where the system puts them is no part of a figure.

        Returns whether that could be done: not on a single core, nor where the system has no such call.
        """
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        children = [child for child in (self._server, self._client) if child is not None]
        if len(cores) < len(children):
            return False
        for core, child in zip(cores, children, strict=False):
            os.sched_setaffinity(child.pid, {core})
        return True

    def run(self, point: Point, seconds: float) -> Measurement:
        """Measure one point; on failure end both processes and raise MeasurementFailed."""
        assert self._client is not None, "run() before start()"
        try:
            self._client.write_line(Job(point, seconds).line())
            return Measurement.parse(self._client.read_until("{", seconds + SLACK_SECONDS))
        except (ChildFailed, MeasurementFailed) as error:
            words = self._server.last_words() if self._server is not None else ""
            self.stop()
            raise MeasurementFailed(
                f"{error}; the {self.name} server wrote: {words}" if words else str(error)
            ) from error

    def stop(self) -> None:
        """End both processes, the client first."""
        client, server = self._client, self._server
        self._client = self._server = None
        try:
            if client is not None:
                client.stop()
        finally:
            if server is not None:
                server.stop()


class PythonTransport(Transport):
    """A transport whose two processes are Python, in `serve` and `drive` of the module of its name.

    Args:
        environment: variables of both processes, besides this one's own.
    """

    needs: ClassVar[Sequence[str]] = ()
    """Modules that must be there to be imported."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._environment = environment

    def why_not(self) -> str | None:
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(missing)} (pip install 'partisan[bench]')" if missing else None

    def start_server(self, actors: int) -> Child:
        return self._python("server", str(actors))

    def start_client(self, facts: dict[str, Any]) -> Child:
        return self._python("client", json.dumps(facts))

    def _python(self, role: str, argument: str) -> Child:
        command = [sys.executable, "-m", f"{__package__.rpartition('.')[0]}.child", self.name, role, argument]
        return Child(f"{self.name} {role}", command, self._environment)
