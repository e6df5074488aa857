r"""A run in a file, and the file run again.

A machine is decided by its options, its chance, what it had saved, and the events that it takes, with their times. A
trace has just these, so it can be replayed without the network that made it, be that simulated or of sockets; whoever
writes one calls `Recorder`, and needs to know no more. A trace is lines of JSON:

    {"partisan_trace": 1, "protocol": NAME, "config": VALUE, "seed": SEED}     first
    {"n": NODE, "chance": SEED, "saved": VALUE}                                NODE begins a life
    {"n": NODE, "t": SECONDS, "e": VALUE, "x": DIGEST}                         it takes an event

NODE is a VALUE as well; SECONDS are what the machine was told. DIGEST is of the effects that it answered, as 16
hexadecimal digits: replay compares them. A later life of a node takes the place of the former. The end of a life is not
told, as nothing follows.

A VALUE is a number, a string, true, false or null; or an object of one key: `{"b": HEX}` octets, `{"l": [...]}` a list,
`{"t": [...]}` a tuple, `{"d": [[KEY, VALUE], ...]}` a mapping, `{"f": "inf"}` a number that JSON has not,
`{"c": ["module:Class", FIELD, ...]}` a dataclass of `partisan.machines`, `partisan.names` or `partisan.sim`, and
`{"o": VALUE}` an OR-set. Functions among options are left out, and are the default ones again.

Reading a trace makes no other objects, and imports nothing but these modules.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from random import Random
from typing import Any, TypeAlias

from partisan.machines.machine import Effect, Event, Peer
from partisan.machines.orset import OrSet
from partisan.sim.network import Build, Driven

VERSION = 1
_ROOTS = ("partisan.machines.", "partisan.names", "partisan.sim.")
_LEFT_OUT: dict[str, Any] = {"-": 0}

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


def to_json(value: Any) -> Any:
    """Return what stands for the value in a trace. Raises TypeError if nothing does."""
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if kind is bytes:
        return {"b": value.hex()}
    if kind is list:
        return {"l": [to_json(each) for each in value]}
    if kind is tuple:
        return {"t": [to_json(each) for each in value]}
    if isinstance(value, OrSet):
        return {"o": to_json(dict(value.items()))}
    if isinstance(value, Mapping):
        return {"d": [[to_json(key), to_json(each)] for key, each in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        name = f"{kind.__module__}:{kind.__qualname__}"
        return {"c": [name, *(to_json(getattr(value, each.name)) for each in fields(value) if each.init)]}
    if callable(value):
        return _LEFT_OUT
    raise TypeError(f"a {kind.__name__} has no place in a trace: {value!r:.80}")


def from_json(value: Any) -> Any:
    """Return the value that this stands for. Raises ValueError if it stands for none."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"no value: {value!r:.80}")
    ((tag, inside),) = value.items()
    try:
        return _READ[tag](inside)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"no value: {value!r:.80}: {error}") from error


def _class(inside: list[Any]) -> Any:
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
        if part == _LEFT_OUT:
            if each.default is MISSING:
                raise ValueError(f"{place!r} needs {each.name}")
        else:
            given[each.name] = from_json(part)
    return kind(**given)


_READ: dict[str, Callable[[Any], Any]] = {
    "b": bytes.fromhex,
    "l": lambda inside: [from_json(each) for each in inside],
    "t": lambda inside: tuple(from_json(each) for each in inside),
    "d": lambda inside: {from_json(key): from_json(each) for key, each in inside},
    "f": float,
    "c": _class,
    "o": lambda inside: OrSet(from_json(inside)),
}


def digest_of(effects: list[Effect]) -> str:
    """Summarise what a machine answered."""
    text = json.dumps([to_json(effect) for effect in effects])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class _Recorded:
    """A machine whose events are written down."""

    def __init__(self, peer: Any, machine: Driven, write: Callable[[dict[str, Any]], None]) -> None:
        self._peer = peer
        self._machine = machine
        self._write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def handle(self, event: Event, now: float) -> list[Effect]:
        told = to_json(event)
        effects = self._machine.handle(event, now)
        self._write({"n": self._peer, "t": now, "e": told, "x": digest_of(effects)})
        return effects


class Recorder:
    """Writes a trace.

    Args:
        write: takes text, as a file's does.
    Attributes:
        events: how many were written.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self.events = 0
        self._text = write
        self._begun = False
        self._births: dict[Peer, int] = {}

    def begin(self, protocol: str, config: Any, seed: int | str) -> None:
        """Write the first line. Raises RuntimeError if it is written: a file has one run."""
        if self._begun:
            raise RuntimeError("a trace has one run, and this one has begun")
        self._begun = True
        self._line({"partisan_trace": VERSION, "protocol": protocol, "config": to_json(config), "seed": seed})

    def life(self, peer: Peer, chance: int | str, saved: Any, machine: Driven) -> Driven:
        """Begin a life of a node, whose machine draws from `Random(chance)`; return what is to be driven instead."""
        told = to_json(peer)
        self._line({"n": told, "chance": chance, "saved": to_json(saved)})
        return _Recorded(told, machine, self._event)

    def recording(self, protocol: str, config: Any, seed: int | str, build: Build) -> Build:
        """Begin, and return a `build` for `Network` that records whatever it makes.

        Args:
            seed: the network's.
        """
        self.begin(protocol, config, seed)

        def recorded(peer: Peer, rng: Random, saved: Any) -> Driven:
            birth = self._births[peer] = self._births.get(peer, 0) + 1
            return self.life(peer, f"{seed}/{peer}/{birth}", saved, build(peer, rng, saved))

        return recorded

    def _event(self, line: dict[str, Any]) -> None:
        self.events += 1
        self._line(line)

    def _line(self, line: dict[str, Any]) -> None:
        self._text(json.dumps(line, separators=(",", ":")) + "\n")


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a machine answered something else than was recorded.

    Attributes:
        line: of the trace, from 1.
        effects: what it answers now.
    """

    line: int
    peer: Peer
    event: Event
    effects: tuple[Effect, ...]


@dataclass(slots=True)
class Replayed:
    """What became of a replay.

    Attributes:
        protocol: as recorded.
        events: how many were given to machines.
        machines: as they are at the end.
        divergence: the first one, where the replay ended; None if all went as recorded.
    """

    protocol: str
    events: int
    machines: dict[Peer, Driven]
    divergence: Divergence | None = None


def replay(lines: Iterable[str], makers: Mapping[str, Make], strict: bool = True) -> Replayed:
    """Run a trace again, as far as it goes as recorded.

    Args:
        lines: of the file.
        makers: protocol -> what makes its machines.
        strict: end at the first divergence; else go on to the end.
    Raises:
        TraceError: it is no trace, of a later version, or of a protocol that nobody makes.
    """
    build: Build | None = None
    done = Replayed("", 0, {})
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            if build is None:
                build, done.protocol = _begin(line, makers)
            elif "e" in line:
                _take(line, number, done)
            else:
                peer = from_json(line["n"])
                done.machines[peer] = build(peer, Random(line["chance"]), from_json(line["saved"]))
        except (ValueError, KeyError, TypeError) as error:
            raise TraceError(number, str(error)) from error
        if strict and done.divergence is not None:
            break
    if build is None:
        raise TraceError(1, "the file is empty")
    return done


def _begin(line: Any, makers: Mapping[str, Make]) -> tuple[Build, str]:
    if not isinstance(line, dict) or "partisan_trace" not in line:
        raise ValueError("this is no trace")
    if line["partisan_trace"] != VERSION:
        raise ValueError(f"a trace of version {line['partisan_trace']!r}, where {VERSION} is known")
    protocol = line["protocol"]
    if protocol not in makers:
        raise ValueError(f"nobody makes machines of {protocol!r}")
    return makers[protocol](from_json(line["config"])), protocol


def _take(line: dict[str, Any], number: int, done: Replayed) -> None:
    peer, event = from_json(line["n"]), from_json(line["e"])
    machine = done.machines.get(peer)
    if machine is None:
        raise ValueError(f"{peer!r} takes an event before its life has begun")
    effects = machine.handle(event, line["t"])
    done.events += 1
    if digest_of(effects) != line["x"] and done.divergence is None:
        done.divergence = Divergence(number, peer, event, tuple(effects))
