"""What clients ask of a replicated store, what they are told, and what they may expect."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from partisan import Atom

from .protocol import Id
from .scenario import Run

Key: TypeAlias = Atom | bytes | int
"""Not `str`, which arrives as `bytes` at another node."""


@dataclass(frozen=True, slots=True)
class Write:
    """Command: set a key, and tell when it is done."""

    key: Key
    value: object


@dataclass(frozen=True, slots=True)
class Read:
    """Command: tell the value of a key; None if it has none."""

    key: Key


@dataclass(frozen=True, slots=True)
class Answered:
    """Fact: the command of that number at this node has been answered; a write with None."""

    request: Id
    value: object


@dataclass(frozen=True, slots=True)
class Asked:
    """A command of a run, from when to when it took; it has no answer if that is for ever."""

    id: Id
    command: Read | Write
    start: float
    end: float
    answer: object

    @property
    def is_write(self) -> bool:
        return isinstance(self.command, Write)

    @property
    def value(self) -> object:
        """What it writes."""
        return getattr(self.command, "value", None)


NEVER = Asked((-1, 0), Write(b"", None), -inf, -inf, None)
"""The write that all keys begin with."""


def one_store(run: Run) -> str | None:
    """What a client reads is what was last answered to be written, or what is being written meanwhile."""
    asked = history(run)
    for read in asked:
        if read.is_write or read.end == inf:
            continue
        writes = [each for each in asked if each.is_write and each.command.key == read.command.key]
        done = [write for write in writes if write.end <= read.start]
        last = max(done, key=lambda write: write.end, default=NEVER)
        late = [write for write in writes if write is last or (write.end > last.start and write.start < read.end)]
        if read.answer not in [write.value for write in (last, *late)]:
            written = f"{last.value!r} was written by {last.end:.3f} s"
            return f"node {read.id[0]} reads {read.answer!r} at {read.start:.3f} s, though {written}"
    return None


def liveness(run: Run) -> str | None:
    """Whoever lives is answered."""
    for each in history(run):
        if each.end == inf and each.id[0] in run.alive:
            return f"node {each.id[0]} is never answered: {each.command}"
    return None


def history(run: Run) -> list[Asked]:
    """The commands of a run, in order."""
    answers = {step.what.request: (step.at, step.what.value) for step in run.facts(Answered)}
    asked: list[Asked] = []
    for at, peer, command in run.scenario.commands:
        id = peer, 1 + sum(each.id[0] == peer for each in asked)
        asked.append(Asked(id, command, at, *answers.get(id, (inf, None))))  # type: ignore[arg-type]
    return asked
