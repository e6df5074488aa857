"""What a test looks at: the messages that a process receives, the telemetry of a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import partisan
from partisan import Node
from partisan.testing.waiting import eventually


class Probe:
    """A named process that keeps what it receives.

    Attributes:
        messages: in the order of arrival.
        pid: of the process.
    """

    def __init__(self, node: Node, name: str | None = "probe") -> None:
        self.messages: list[Any] = []
        self.pid = node.spawn(self._run, name=name)

    async def _run(self) -> None:
        while True:
            self.messages.append(await partisan.receive())

    async def has(self, count: int, timeout: float = 10.0) -> list[Any]:
        """Wait until so many messages have come, and return all."""
        await eventually(lambda: len(self.messages) >= count, timeout)
        return self.messages

    async def heard(self, wanted: Callable[[Any], object], timeout: float = 10.0) -> Any:
        """Wait for a message of which this is true, and return the first; it may have come before."""
        found = await eventually(lambda: [each for each in self.messages if wanted(each)][:1], timeout)
        return found[0]


class Events:
    """The telemetry of a node, kept.

    Attributes:
        seen: (event, measurements, metadata), in order.
    """

    def __init__(self, node: Node, prefix: str = "partisan", *, handler_id: str = "events") -> None:
        self.seen: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
        node.telemetry.attach(handler_id, prefix, lambda *event: self.seen.append(event))

    def of(self, event: str, **metadata: Any) -> list[Mapping[str, Any]]:
        """The metadata of the events of this name that have at least what is given."""
        return [
            about
            for name, _, about in self.seen
            if name == event and all(about.get(key) == value for key, value in metadata.items())
        ]

    def errors(self) -> list[Exception]:
        """What was reported of rejected frames, in order."""
        return [about["error"] for about in self.of("partisan.frame.rejected")]


def probes(node: Node) -> int:
    """How many of the node's processes are probes."""
    coroutines = [process.get_coro() for process in node.scheduler.processes.values()]
    return sum(getattr(coroutine, "cr_code", None) is Probe._run.__code__ for coroutine in coroutines)
