"""Node processes as the experiments see them: orders out, answers in."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from partisan.bench.measure import MeasurementFailed
from partisan.bench.procs import Child, ChildFailed
from partisan.bench.transports.base import START_SECONDS


class Host:
    """A process that holds nodes.

    Args:
        title: how messages call it.
        prefix: a command that runs it, as `ip netns exec NAME`.
    """

    def __init__(self, title: str, prefix: Sequence[str] = ()) -> None:
        self.child = Child(title, [*prefix, sys.executable, "-m", f"{__package__}.nodes"])

    def order(self, do: str, **facts: Any) -> None:
        """Ask for something."""
        self.child.write_line(json.dumps({"do": do, **facts}))

    def answer(self, key: str, seconds: float = START_SECONDS) -> Any:
        """Wait for what was asked; other lines are passed over."""
        return json.loads(self.child.read_until(f'"{key}"', seconds))[key]

    def facts(self, key: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait for the whole answer that has this key."""
        found: dict[str, Any] = json.loads(self.child.read_until(f'"{key}"', seconds))
        return found


@contextlib.contextmanager
def hosts(*titles: str, prefixes: Sequence[Sequence[str]] = ()) -> Iterator[list[Host]]:
    """Start processes, and end them whatever happens; a child that fails is a measurement that fails."""
    found: list[Host] = []
    try:
        for number, title in enumerate(titles):
            found.append(Host(title, prefixes[number] if prefixes else ()))
        yield found
    except ChildFailed as error:
        raise MeasurementFailed(str(error)) from error
    finally:
        for host in found:
            host.child.stop()
