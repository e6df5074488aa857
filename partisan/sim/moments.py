"""What a trace tells of each moment, for people: several traces of one cluster can be read as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from partisan.machines.machine import Peer
from partisan.machines.record import VERSION, Forms
from partisan.sim.record import TraceError, from_json


@dataclass(frozen=True, slots=True)
class Passed:
    """A message between processes that was sent or came.

    Attributes:
        peer: the node at the other end, if that is known.
        target: for whom it was there.
        message: what it was, if the trace has that.
    """

    peer: str | None
    target: Any
    message: Any


@dataclass(frozen=True, slots=True)
class Moment:
    """An event that a machine took, or a message between processes.

    Attributes:
        at: seconds: since 1970 by the node's clock, or virtual ones.
        peer: the node; at a message its name alone.
        machine: the protocol, if the node ran several; of a message "forward_message" or "receive_message".
    """

    at: float
    peer: Peer
    machine: str
    event: Any

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.at:.6f}", str(self.peer), self.machine, repr(self.event))))


def moments_of(lines: Iterable[str | bytes], forms: Forms) -> Iterator[Moment]:
    """Read the events of a trace. Raises TraceError."""
    epoch: float | None = None
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            if epoch is None:
                if line["partisan_trace"] != VERSION:
                    raise ValueError(f"a trace of version {line['partisan_trace']!r}, where {VERSION} is known")
                epoch = float(line.get("epoch", 0.0))
            elif "e" in line:
                event = from_json(line["e"], forms)
                yield Moment(epoch + line["t"], from_json(line["n"], forms), str(line.get("m", "")), event)
            elif "u" in line:
                passed = Passed(line["p"], from_json(line["d"], forms), from_json(line["v"], forms))
                yield Moment(epoch + line["t"], line["n"], line["u"], passed)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TraceError(number, f"no line of a trace: {error}") from error
