"""A run in a file, and the file run again; `partisan.machines.record` says what is in it.

Reading a trace makes objects of `partisan.machines`, `partisan.names` and `partisan.sim` alone, and of terms; it
imports nothing but these modules.
"""

from __future__ import annotations

import importlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from random import Random
from typing import Any, TypeAlias

from partisan.errors import PartisanError
from partisan.machines import record
from partisan.machines.machine import Effect, Event, Peer
from partisan.machines.orset import OrSet
from partisan.machines.record import HIDDEN, LEFT_OUT, PLAIN, VERSION, Forms, digest_of
from partisan.machines.record import to_json as to_json
from partisan.sim.network import Build, Driven

_ROOTS = ("partisan.machines.", "partisan.names", "partisan.sim.")

CALLS = ("reserve",)
"""Methods that a trace may call."""

Make: TypeAlias = Callable[[Any], Build]
"""options -> what builds machines of a protocol; `replay` is given one by name."""


class TraceError(ValueError):
    """A trace cannot be read.

    Attributes:
        line: which one, from 1.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line


def from_json(value: Any, forms: Forms = PLAIN) -> Any:
    """Return the value that this stands for. Raises ValueError if it stands for none."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"no value: {value!r:.80}")
    ((tag, inside),) = value.items()
    try:
        return _READ[tag](inside, forms)
    except (KeyError, TypeError, AttributeError, IndexError, PartisanError) as error:
        raise ValueError(f"no value: {value!r:.80}: {error}") from error


def _class(inside: list[Any], forms: Forms) -> Any:
    place, *values = inside
    module, _, name = place.partition(":")
    if not module.startswith(_ROOTS):
        raise ValueError(f"{place!r} is none of ours")
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(f"{place!r} is not there") from error
    if not isinstance(kind, type) or not is_dataclass(kind):
        raise ValueError(f"{place!r} is no dataclass")
    wanted = [each for each in fields(kind) if each.init]
    if len(wanted) != len(values):
        raise ValueError(f"{place!r} has {len(wanted)} fields, not {len(values)}")
    given: dict[str, Any] = {}
    for each, part in zip(wanted, values, strict=True):
        if part == LEFT_OUT:
            if each.default is MISSING:
                raise ValueError(f"{place!r} needs {each.name}")
        else:
            given[each.name] = from_json(part, forms)
    return kind(**given)


def _function(inside: str, forms: Forms) -> Any:
    found = forms.functions.get(inside)
    if found is None:
        raise ValueError(f"there is no function {inside!r} here")
    return found


def _term(inside: str, forms: Forms) -> Any:
    if forms.decode is None:
        raise ValueError("terms are not known here")
    return forms.decode(bytes.fromhex(inside))


_READ: dict[str, Callable[[Any, Forms], Any]] = {
    "b": lambda inside, forms: bytes.fromhex(inside),
    "l": lambda inside, forms: [from_json(each, forms) for each in inside],
    "t": lambda inside, forms: tuple(from_json(each, forms) for each in inside),
    "d": lambda inside, forms: {from_json(key, forms): from_json(each, forms) for key, each in inside},
    "f": lambda inside, forms: float(inside),
    "c": _class,
    "o": lambda inside, forms: OrSet(from_json(inside, forms)),
    "k": _function,
    "e": _term,
    "h": lambda inside, forms: HIDDEN,
}


class Recorder(record.Recorder):
    """Writes the trace of a simulation, too; see `partisan.machines.record`."""

    def __init__(self, write: Callable[[str], object], forms: Forms = PLAIN) -> None:
        super().__init__(write, forms)
        self._births: dict[Peer, int] = {}

    def recording(
        self, protocol: str, config: Any, seed: int | str, build: Build, outside: record.Outside | None = None
    ) -> Build:
        """Begin, and return a `build` for `Network` that records whatever it makes.

        Args:
            seed: the network's.
            outside: what all machines ask by, if they ask.
        """
        self.begin(protocol, config, seed)

        def recorded(peer: Peer, rng: Random, saved: Any) -> Driven:
            birth = self._births[peer] = self._births.get(peer, 0) + 1
            return self.life(peer, f"{seed}/{peer}/{birth}", saved, build(peer, rng, saved), outside=outside)

        return recorded


class Answers:
    """What the program answered to a machine, as a trace has it; runs out where the machine asks more."""

    def __init__(self) -> None:
        self.waiting: deque[Any] = deque()

    def __call__(self, *args: Any) -> Any:
        """The next answer; None if it was not asked then."""
        return self.waiting.popleft() if self.waiting else None


class Answered:
    """A machine that asks; what a `Make` builds of such."""

    def __init__(self, make: Callable[[Answers], Driven]) -> None:
        self.answers = Answers()
        self.machine = make(self.answers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""
        return self.machine.handle(event, now)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a machine answered something else than was recorded.

    Attributes:
        line: of the trace, from 1.
        peer: whose machine.
        event: what it took; of a call, its name and what it was given.
        effects: what it answers now.
        raised: the exception that came instead, if one did.
    """

    line: int
    peer: Peer
    event: Event
    effects: tuple[Effect, ...]
    raised: Exception | None = None


@dataclass(slots=True)
class Replayed:
    """What became of a replay.

    Attributes:
        protocol: as recorded; those of its machines, in order, if nodes ran several.
        events: how many were given to machines.
        machines: as they are at the end; by (peer, protocol) if nodes ran several.
        divergence: the first one, where the replay ended; None if all went as recorded.
    """

    protocol: str
    events: int
    machines: dict[Any, Driven]
    divergence: Divergence | None = None


class Replay:
    """One run of a trace.

    Args:
        makers: protocol -> what makes its machines.
        forms: how its values are read.
    Attributes:
        done: what became of it so far.
        epoch: what makes the times those since 1970; None if they are virtual.
    """

    def __init__(self, makers: Mapping[str, Make], forms: Forms) -> None:
        self.done = Replayed("", 0, {})
        self.epoch: float | None = None
        self.begun = False
        self._makers = makers
        self._forms = forms
        self._build: Build | None = None

    def take(self, line: Any, number: int) -> None:
        """Take a line. Raises ValueError, KeyError, TypeError if it is none."""
        if not self.begun:
            self._begin(line)
        elif "e" in line or "c" in line:
            self._event(line, number)
        elif "u" not in line:
            self._life(line)

    def _begin(self, line: Any) -> None:
        if not isinstance(line, dict) or "partisan_trace" not in line:
            raise ValueError("this is no trace")
        if line["partisan_trace"] != VERSION:
            raise ValueError(f"a trace of version {line['partisan_trace']!r}, where {VERSION} is known")
        self._forms = replace(self._forms, payloads=line.get("payloads", True) is True)
        if line["protocol"] is not None:
            self._build = self._maker(line["protocol"])(from_json(line["config"], self._forms))
            self.done.protocol = line["protocol"]
        self.epoch = None if line.get("epoch") is None else float(line["epoch"])
        self.begun = True

    def _maker(self, protocol: str) -> Make:
        if protocol not in self._makers:
            raise ValueError(f"nobody makes machines of {protocol!r}")
        return self._makers[protocol]

    def _key(self, line: dict[str, Any], name: str) -> tuple[Peer, Any]:
        peer = from_json(line["n"], self._forms)
        return peer, (peer, line[name]) if name in line else peer

    def _life(self, line: dict[str, Any]) -> None:
        peer, key = self._key(line, "p")
        build = self._build
        if "p" in line:
            build = self._maker(line["p"])(from_json(line["config"], self._forms))
            if line["p"] not in self.done.protocol.split(", "):
                self.done.protocol = ", ".join(filter(None, (self.done.protocol, line["p"])))
        if build is None:
            raise ValueError(f"a life of {peer!r} without a protocol")
        self.done.machines[key] = build(peer, Random(line["chance"]), from_json(line["saved"], self._forms))

    def _event(self, line: dict[str, Any], number: int) -> None:
        peer, key = self._key(line, "m")
        machine = self.done.machines.get(key)
        if machine is None:
            raise ValueError(f"{peer!r} takes an event before its life has begun")
        what, take = self._what(line, machine)
        if isinstance(machine, Answered):
            answers = machine.answers.waiting
            answers.clear()
            answers.extend(from_json(each, self._forms) for each in line.get("a", ()))
        digest, wanted, raised, answer = "", line["x"], None, None
        try:
            answer = take()
        except Exception as error:
            digest, raised = f"!{type(error).__name__}", error
        else:
            digest = digest_of(answer, self._forms)
        self.done.events += 1
        if digest != wanted and self.done.divergence is None:
            effects = tuple(answer) if type(answer) is list else (answer,)
            self.done.divergence = Divergence(number, peer, what, () if raised else effects, raised)

    def _what(self, line: dict[str, Any], machine: Driven) -> tuple[Any, Callable[[], Any]]:
        if "e" in line:
            event, now = from_json(line["e"], self._forms), line["t"]
            return event, lambda: machine.handle(event, now)
        name, args = line["c"], [from_json(each, self._forms) for each in line["i"]]
        if name not in CALLS:
            raise ValueError(f"{name!r} is not to be called")
        return (name, *args), lambda: getattr(machine, name)(*args)


def replay(
    lines: Iterable[str | bytes], makers: Mapping[str, Make], strict: bool = True, forms: Forms = PLAIN
) -> Replayed:
    """Run a trace again, as far as it goes as recorded.

    Args:
        lines: of the file.
        makers: protocol -> what makes its machines.
        strict: end at the first divergence; else go on to the end.
        forms: how values are read that only some programs know.
    Raises:
        TraceError: it is no trace, of a later version, or of a protocol that nobody makes.
    """
    run = Replay(makers, forms)
    for number, text in enumerate(lines, 1):
        try:
            run.take(json.loads(text), number)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TraceError(number, str(error)) from error
        if strict and run.done.divergence is not None:
            break
    if not run.begun:
        raise TraceError(1, "the file is empty")
    return run.done
