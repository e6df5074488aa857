"""How a supervisor and its children are described, and what makes a description wrong."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from partisan.errors import BadChildSpec
from partisan.etf import Atom
from partisan.gen.behaviour import Behaviour
from partisan.machines.supervision import AUTO_SHUTDOWNS, RESTARTS, STRATEGIES
from partisan.runtime.current import node
from partisan.runtime.process_calls import Name

INFINITY, BRUTAL_KILL = "infinity", "brutal_kill"
SHUTDOWN = 5.0
"""Seconds that a worker has to end in, unless its spec says otherwise (OTP)."""


@dataclass(frozen=True, slots=True)
class Flags:
    """How a supervisor treats its children.

    Attributes:
        strategy: "one_for_one", "one_for_all", "rest_for_one" or "simple_one_for_one".
        intensity: how often children are started again within `period` before the supervisor gives up (OTP: 1).
        period: seconds, above 0 (OTP: 5).
        auto_shutdown: "never", "any_significant" or "all_significant": whether it ends with its significant children.
    """

    strategy: str = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: str = "never"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How a child is started, ended, and started again.

    Attributes:
        id: what it is called by in its supervisor; hashable.
        start: a behaviour's class, which is started by `start_link` with `args`, `name` and `options`; or a callable,
            plain or async, that is called with `args` in the supervisor's process, links what it starts to that, and
            returns its pid, (pid, what else `start_child` is to return), or Ignore(). `spawned` makes one of an async
            function that is the child itself.
        args: what it is started with.
        name: under which a behaviour is registered.
        options: more of its `start_link`: `timeout`, `channel`.
        restart: "permanent": it is always started again; "transient": unless it ended in order (normal, shutdown,
            {shutdown, Term}); "temporary": never.
        significant: its end may end the supervisor; see `Flags.auto_shutdown`.
        shutdown: seconds that it has to end after its exit signal `shutdown`, then it is killed; "infinity";
            "brutal_kill" kills at once. By default 5.0, for a supervisor "infinity".
        type: "worker" or "supervisor"; by default what `start` is.
        modules: told by `which_children`; by default the module of `start`.
    """

    id: Hashable
    start: Callable[..., Any]
    args: tuple[Any, ...] = ()
    name: Name | None = field(default=None, kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    restart: str = field(default="permanent", kw_only=True)
    significant: bool = field(default=False, kw_only=True)
    shutdown: float | str | None = field(default=None, kw_only=True)
    type: str | None = field(default=None, kw_only=True)
    modules: tuple[Any, ...] | str | None = field(default=None, kw_only=True)

    @property
    def kind(self) -> str:
        """The type, decided."""
        if self.type is not None:
            return self.type
        return "supervisor" if getattr(self.start, "supervises", False) else "worker"

    @property
    def seconds(self) -> float | None:
        """Seconds that it has to end in; None for ever, 0.0 none at all."""
        if self.shutdown is None:
            return None if self.kind == "supervisor" else SHUTDOWN
        if isinstance(self.shutdown, str):
            return None if self.shutdown == INFINITY else 0.0
        return None if math.isinf(self.shutdown) else self.shutdown

    @property
    def brutal(self) -> bool:
        return self.shutdown == BRUTAL_KILL

    def to_term(self) -> dict[Atom, Any]:
        """The map that OTP describes a child by; seconds are milliseconds there."""
        seconds = self.seconds
        shutdown: Any = INFINITY if seconds is None else round(seconds * 1000)
        if self.brutal:
            shutdown = BRUTAL_KILL
        return {
            Atom("id"): self.id,
            Atom("start"): (*place(self.start), list(self.args)),
            Atom("restart"): Atom(self.restart),
            Atom("significant"): self.significant,
            Atom("shutdown"): Atom(shutdown) if isinstance(shutdown, str) else shutdown,
            Atom("type"): Atom(self.kind),
            Atom("modules"): modules_of(self),
        }


def spawned(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make the `start` of a child of an async function that is the child: it runs as long as the child lives."""

    def start(*args: Any) -> Any:
        return node().spawn_link(function, *args)

    start.__qualname__ = getattr(function, "__qualname__", "spawned")
    start.__module__ = getattr(function, "__module__", __name__)
    return start


def place(start: Callable[..., Any]) -> tuple[Atom, Atom]:
    """Where a callable is defined: module, name."""
    return _module(start), Atom(str(getattr(start, "__qualname__", type(start).__qualname__))[:255])


def _module(start: Callable[..., Any]) -> Atom:
    return Atom(str(getattr(start, "__module__", None) or type(start).__module__)[:255])


def modules_of(spec: ChildSpec) -> Any:
    """What `which_children` tells of the modules: a list of atoms, or the atom dynamic."""
    if spec.modules is None:
        return [_module(spec.start)]
    if isinstance(spec.modules, str):
        return Atom(spec.modules)
    return [each if isinstance(each, Atom) else Atom(str(each)) for each in spec.modules]


def bad(reason: str, *details: Any) -> BadChildSpec:
    """The error of a description, with a reason as OTP gives it: `{invalid_restart_type, Value}`."""
    return BadChildSpec((Atom(reason), *details) if details else Atom(reason))


def checked_flags(flags: Any) -> Flags:
    """Flags, of a Flags, a mapping, or (strategy, intensity, period). Raises BadChildSpec."""
    if isinstance(flags, Mapping):
        flags = Flags(**_known(flags, Flags))
    elif isinstance(flags, tuple) and len(flags) == 3:
        flags = Flags(*flags)
    if not isinstance(flags, Flags):
        raise bad("invalid_type", flags)
    if _text(flags.strategy) not in STRATEGIES:
        raise bad("invalid_strategy", flags.strategy)
    if not _number(flags.intensity, int) or flags.intensity < 0:
        raise bad("invalid_intensity", flags.intensity)
    if not _number(flags.period, int, float) or not 0 < flags.period < float("inf"):
        raise bad("invalid_period", flags.period)
    if _text(flags.auto_shutdown) not in AUTO_SHUTDOWNS:
        raise bad("invalid_auto_shutdown", flags.auto_shutdown)
    return Flags(_text(flags.strategy), flags.intensity, flags.period, _text(flags.auto_shutdown))


def checked_specs(specs: Any, auto_shutdown: str | None = None) -> list[ChildSpec]:
    """Child specs, each a ChildSpec or a mapping; None for `auto_shutdown` leaves `significant` alone.

    Raises:
        BadChildSpec: one is wrong, or two have the same id.
    """
    if isinstance(specs, str | bytes | Mapping) or not isinstance(specs, Iterable):
        raise bad("badarg", specs)
    found: dict[Hashable, ChildSpec] = {}
    for each in specs:
        spec = checked_spec(each, auto_shutdown)
        if spec.id in found:
            raise bad("duplicate_child_name", spec.id)
        found[spec.id] = spec
    return list(found.values())


def checked_spec(spec: Any, auto_shutdown: str | None = None) -> ChildSpec:
    """A child spec. Raises BadChildSpec."""
    if isinstance(spec, Mapping):
        known = _known(spec, ChildSpec)
        for needed in ("id", "start"):
            if needed not in known:
                raise bad(f"missing_{needed}")
        spec = ChildSpec(**known)
    if not isinstance(spec, ChildSpec):
        raise bad("invalid_child_spec", spec)
    try:
        hash(spec.id)
    except TypeError:
        raise bad("invalid_id", spec.id) from None
    _check_start(spec)
    if _text(spec.restart) not in RESTARTS:
        raise bad("invalid_restart_type", spec.restart)
    _check_significant(spec, auto_shutdown)
    _check_shutdown(spec.shutdown)
    if spec.type is not None and _text(spec.type) not in ("worker", "supervisor"):
        raise bad("invalid_child_type", spec.type)
    _check_modules(spec.modules)
    shutdown = _text(spec.shutdown) or spec.shutdown
    kind = None if spec.type is None else _text(spec.type)
    modules = _text(spec.modules) or spec.modules
    return replace(
        spec, args=tuple(spec.args), restart=_text(spec.restart), shutdown=shutdown, type=kind, modules=modules
    )


def _check_start(spec: ChildSpec) -> None:
    if not callable(spec.start) or not isinstance(spec.args, tuple | list):
        raise bad("invalid_mfargs", (spec.start, spec.args))
    if inspect.isclass(spec.start) and not issubclass(spec.start, Behaviour):
        raise bad("invalid_mfargs", (spec.start, spec.args))
    if not inspect.isclass(spec.start) and (spec.name is not None or spec.options):
        raise bad("invalid_mfargs", (spec.start, spec.name, spec.options))


def _check_significant(spec: ChildSpec, auto_shutdown: str | None) -> None:
    if not isinstance(spec.significant, bool):
        raise bad("invalid_significant", spec.significant)
    if not spec.significant:
        return
    if spec.restart == "permanent":
        raise bad("bad_combination", [(Atom("restart"), spec.restart), (Atom("significant"), True)])
    if auto_shutdown == "never":
        raise bad("bad_combination", [(Atom("auto_shutdown"), auto_shutdown), (Atom("significant"), True)])


def _check_shutdown(shutdown: Any) -> None:
    if shutdown is None or _text(shutdown) in (INFINITY, BRUTAL_KILL):
        return
    if not _number(shutdown, int, float) or not shutdown >= 0:
        raise bad("invalid_shutdown", shutdown)


def _check_modules(modules: Any) -> None:
    if modules is None or _text(modules) == "dynamic":
        return
    if not isinstance(modules, tuple | list):
        raise bad("invalid_modules", modules)
    for each in modules:
        if not isinstance(each, str | Atom):
            raise bad("invalid_module", each)


def _known(given: Mapping[Any, Any], kind: type) -> dict[str, Any]:
    """What of a mapping the class has a field for; as in OTP, the rest is for others."""
    names = {each.name for each in fields(kind)}
    return {_text(key): value for key, value in given.items() if _text(key) in names}


def _text(value: Any) -> str:
    """The name that a str or an atom says; empty for anything else."""
    if isinstance(value, Atom):
        return value.name
    return value if isinstance(value, str) else ""


def _number(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
