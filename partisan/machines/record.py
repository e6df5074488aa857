r"""What machines are told, in a file: enough for `partisan.sim.record` to run them again.

A machine is decided by its options, its chance, what it had saved, what it asks of the program that runs it, and the
events that it takes, with their times. A trace has just these, so it can be replayed without the network that made it,
be that simulated or of sockets. It is lines of JSON:

    {"partisan_trace": 1, "protocol": NAME, "config": VALUE, "seed": SEED, ...}    first
    {"n": NODE, "chance": SEED, "saved": VALUE}                                    NODE begins a life
    {"n": NODE, "t": SECONDS, "e": VALUE, "x": DIGEST}                             it takes an event
    {"n": NODE, "c": NAME, "i": [VALUE, ...], "x": DIGEST}                         it is called by that name
    {"n": NODE, "t": SECONDS, "u": WAY, "p": NAME, "d": VALUE, "v": VALUE}         a message of processes passes it

NODE is a VALUE as well; SECONDS are what the machine was told. DIGEST is of the effects that it answered, or the value
that it returned, as 16 hexadecimal digits: replay compares them; `"!"` and a name is what it raised instead. A line
has `"a": [VALUE, ...]` if the machine asked the program meanwhile, which answered so. A later life of a node takes the
place of the former. The end of a life is not told, as nothing follows. No machine here takes messages of processes, be
they the program's or parts of a node: the last kind of line, which only traces have that were asked for it, says which
way one went, to or from the node of which name (or null), to whom there, and what it was.

Where a node runs several machines the first line has `null` for protocol, options and seed; each life says `"p": NAME`
and `"config": VALUE` of its own, and each event that name as `"m"`. The first line may say `"epoch": SECONDS`, which
make the times those since 1970, and `"payloads": false` where the program's own messages are left out.

A VALUE is a number, a string, true, false or null; or an object of one key: `{"b": HEX}` octets, `{"l": [...]}` a list,
`{"t": [...]}` a tuple, `{"d": [[KEY, VALUE], ...]}` a mapping, `{"f": "inf"}` a number that JSON has not,
`{"c": ["module:Class", FIELD, ...]}` a dataclass, `{"o": VALUE}` an OR-set, `{"k": NAME}` a function that both sides
know by that name, `{"e": HEX}` any other term, in Erlang's external format, and `{"h": 0}` what is left out. Functions
among options that have no name, `{"-": 0}`, are the default ones again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol

from partisan.errors import PartisanError
from partisan.machines.machine import Effect, Event, Peer
from partisan.machines.orset import OrSet

VERSION = 1

LONGEST = 1 << 20
"""Octets of a message of the program that is written (ours)."""

LEFT_OUT: dict[str, Any] = {"-": 0}

PRIVATE: dict[str, tuple[str, ...]] = {
    "partisan.machines.monitor:Down": ("reason",),
    "partisan.machines.monitor:Ended": ("reason",),
    "partisan.machines.monitor:Fired": ("reason",),
}
"""Class -> its fields that are the program's own, and of which nothing depends."""


class Hidden:
    """What stands for a value that was left out."""

    def __repr__(self) -> str:
        return "<left out>"


HIDDEN = Hidden()


@dataclass(frozen=True, slots=True)
class Forms:
    """How values are written that only some programs know.

    Attributes:
        functions: name -> function.
        encode: term -> octets; raises if it is none. None knows no terms.
        decode: octets -> term.
        payloads: whether what is the program's own is written.
    """

    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    encode: Callable[[Any], bytes] | None = None
    decode: Callable[[bytes], Any] | None = None
    payloads: bool = True


PLAIN = Forms()


class Driven(Protocol):
    """What is recorded: a `Machine`, or whatever takes events and answers effects as one."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""


def to_json(value: Any, forms: Forms = PLAIN) -> Any:
    """Return what stands for the value in a trace. Raises TypeError if nothing does."""
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if kind is bytes:
        return {"b": value.hex()}
    if kind is list:
        return {"l": [to_json(each, forms) for each in value]}
    if kind is tuple:
        return {"t": [to_json(each, forms) for each in value]}
    if isinstance(value, OrSet):
        return {"o": to_json(dict(value.items()), forms)}
    if isinstance(value, Mapping):
        return {"d": [[to_json(key, forms), to_json(each, forms)] for key, each in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        return _dataclass_to_json(value, forms)
    return _other_to_json(value, forms)


def _dataclass_to_json(value: Any, forms: Forms) -> Any:
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    hidden = () if forms.payloads else PRIVATE.get(name, ())
    wanted = (each.name for each in fields(value) if each.init)
    return {"c": [name, *({"h": 0} if each in hidden else to_json(getattr(value, each), forms) for each in wanted)]}


def _other_to_json(value: Any, forms: Forms) -> Any:
    if value is HIDDEN:
        return {"h": 0}
    if callable(value):
        for name, function in forms.functions.items():
            if function is value:
                return {"k": name}
        return LEFT_OUT
    if forms.encode is None:
        raise TypeError(f"a {type(value).__name__} has no place in a trace: {value!r:.80}")
    return {"e": forms.encode(value).hex()}


def digest_of(answer: Any, forms: Forms = PLAIN) -> str:
    """Summarise what a machine answered: a list of effects, or what it returned."""
    answers = [to_json(each, forms) for each in answer] if type(answer) is list else to_json(answer, forms)
    return hashlib.blake2b(json.dumps(answers).encode(), digest_size=8).hexdigest()


class Outside:
    """What a machine asks of the program, by functions that it was given: written down, too."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what does the same as the function, and is recorded."""

        def asked(*args: Any) -> Any:
            answer = function(*args)
            self.answers.append(answer)
            return answer

        return asked


class Recorded:
    """A machine whose events are written down; in all else it is the machine.

    Args:
        about: what each line begins with.
        calls: names of methods that change the machine as events do.
    """

    def __init__(
        self, recorder: Recorder, about: dict[str, Any], machine: Driven, outside: Outside, calls: Iterable[str]
    ) -> None:
        self._recorder = recorder
        self._about = about
        self._machine = machine
        self._outside = outside
        self._calls = tuple(calls)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._machine, name)
        if name not in self._calls:
            return found
        return lambda *args: self._recorder.taken(
            {**self._about, "c": name}, "i", args, lambda: found(*args), self._outside
        )

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""
        answered: list[Effect] = self._recorder.taken(
            {**self._about, "t": now}, "e", event, lambda: self._machine.handle(event, now), self._outside
        )
        return answered


class Recorder:
    """Writes a trace.

    Args:
        write: takes text, as a file's does.
        forms: how values are written.
        failed: told why something could not be written, after which nothing more is; None has it raised.
    Attributes:
        events: how many were written.
        over: whether nothing more is written.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        forms: Forms = PLAIN,
        failed: Callable[[Exception], object] | None = None,
    ) -> None:
        self.events = 0
        self.over = False
        self._text = write
        self._forms = forms
        self._failed = failed
        self._begun = False

    def begin(self, protocol: str | None, config: Any, seed: int | str | None, epoch: float | None = None) -> None:
        """Write the first line.

        Args:
            protocol, config, seed: of the run; None where each life has its own.
            epoch: what makes the times those since 1970, if they are of a clock.
        Raises:
            RuntimeError: it is written: a file has one run.
        """
        if self._begun:
            raise RuntimeError("a trace has one run, and this one has begun")
        self._begun = True
        line = {"partisan_trace": VERSION, "protocol": protocol, "config": to_json(config, self._forms), "seed": seed}
        if epoch is not None:
            line["epoch"] = epoch
        if not self._forms.payloads:
            line["payloads"] = False
        self._line(line)

    def life(
        self,
        peer: Peer,
        chance: int | str,
        saved: Any,
        machine: Driven,
        *,
        protocol: str | None = None,
        config: Any = None,
        outside: Outside | None = None,
        calls: Iterable[str] = (),
    ) -> Recorded:
        """Begin a life of a node, whose machine draws from `Random(chance)`; return what is to be driven instead.

        Args:
            protocol, config: of this machine, where the run has none.
            outside: what the machine asks by.
            calls: its methods that change it.
        """
        about: dict[str, Any] = {"n": to_json(peer, self._forms)}
        line = {**about, "chance": chance, "saved": to_json(saved, self._forms)}
        if protocol is not None:
            about["m"] = protocol
            line |= {"p": protocol, "config": to_json(config, self._forms)}
        self._line(line)
        return Recorded(self, about, machine, outside or Outside(), calls)

    def taken(self, line: dict[str, Any], key: str, what: Any, take: Callable[[], Any], outside: Outside) -> Any:
        """Have a machine take something, and write what that was and what came of it."""
        told = self._told(what)  # before the machine, which may keep it, can change it
        outside.answers.clear()
        try:
            answer = take()
        except Exception as error:
            raised = f"!{type(error).__name__}"
            self._write(line, key, told, outside, lambda: raised)
            raise
        self._write(line, key, told, outside, lambda: digest_of(answer, self._forms))
        return answer

    def passed(self, node: str, now: float, way: str, peer: str | None, target: Any, message: Any) -> None:
        """Write that a message between processes passes a node.

        Args:
            way: "forward_message" or "receive_message".
            peer: the name of the node at the other end, if that is known.
            target: for whom it is.
            message: left out unless what is the program's own is written, and if it is no term or a long one.
        """
        if self.over:
            return
        shown = self._term(message) if self._forms.payloads else to_json(HIDDEN)
        try:
            self._line({"n": node, "t": now, "u": way, "p": peer, "d": self._term(target), "v": shown})
        except _UNWRITABLE as error:
            self._fail(error)

    def _term(self, what: Any) -> Any:
        """A value that the program chose, as it is on the wire."""
        encode = self._forms.encode
        try:
            if encode is None:
                return to_json(what, self._forms)
            octets = encode(what)
        except _UNWRITABLE:
            return to_json(HIDDEN)
        return {"e": octets.hex()} if len(octets) <= LONGEST else to_json(HIDDEN)

    def _told(self, what: Any) -> Any:
        try:
            if not self.over:
                return [to_json(each, self._forms) for each in what] if type(what) is tuple else self._value(what)
        except _UNWRITABLE as error:
            self._fail(error)
        return None

    def _value(self, what: Any) -> Any:
        return to_json(what, self._forms)

    def _write(self, line: dict[str, Any], key: str, told: Any, outside: Outside, digest: Callable[[], str]) -> None:
        if self.over:
            return
        try:
            line[key] = told
            if outside.answers:
                line["a"] = [self._value(each) for each in outside.answers]
            line["x"] = digest()
            self.events += 1
            self._line(line)
        except _UNWRITABLE as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._failed is None:
            raise error
        self.over = True
        self._failed(error)

    def _line(self, line: dict[str, Any]) -> None:
        self._text(json.dumps(line, separators=(",", ":")) + "\n")


_UNWRITABLE = (TypeError, ValueError, RecursionError, PartisanError)
"""What it is to have no place in a trace."""
