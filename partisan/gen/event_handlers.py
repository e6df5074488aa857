"""Handlers of an event manager: what they are, what they may return, and the list of those that are installed.

All of it is pure: `partisan.gen.event` calls the handlers and does what follows from what they return.

A handler is named by its class, which other nodes know by an atom (`EventHandler.module`), and by an id where several
of a class are installed: `Log`, `(Log, 1)`, `Atom("Log")`, `(Atom("Log"), 1)`.

Source: OTP 24, `gen_event`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from partisan.errors import BadReturn, Exit
from partisan.etf import Atom, Pid
from partisan.gen.control import NOTHING, Continue, Ignore, NoReply, Reply, Stop

log = logging.getLogger(__name__)

OK, ERROR, STOP, UNDEF = Atom("ok"), Atom("error"), Atom("stop"), Atom("undef")
REMOVE_HANDLER = Atom("remove_handler")
LONGEST_NAME = 255
"""Characters of an atom."""


@dataclass(frozen=True, slots=True)
class Hibernate:
    """Go on, and give memory back until the next message."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove this handler: its `terminate` is called with `remove_handler`; `reply` answers the call first."""

    reply: Any = OK


@dataclass(frozen=True, slots=True)
class Swap:
    """Put another handler in the place of this one.

    Attributes:
        handler: which, as in `add_handler`.
        args: its `init` gets (args, what `terminate` of this one has returned).
        argument: what `terminate` of this one gets.
        reply: answers the call.
    """

    handler: Any
    args: Any = None
    argument: Any = None
    reply: Any = OK


class EventHandler:
    """What an event manager tells events to. The instance is the handler's state. Callbacks may be plain or async.

    Attributes:
        module: the name by which other nodes know the class, and by which every reply and message names it: an atom;
            that of the class unless it gives another.
    """

    module: ClassVar[Atom] = Atom("EventHandler")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        named = vars(cls).get("module", cls.__qualname__[-LONGEST_NAME:])
        cls.module = named if isinstance(named, Atom) else Atom(named)

    def init(self, args: Any) -> Any:
        """Set the state up.

        Args:
            args: as given to `add_handler`; after a swap (args, what the former handler's `terminate` has returned, or
                the atom error if it was not installed).
        Returns:
            None, Hibernate(), or Stop(reason) to refuse: whoever adds it gets HandlerFailed.
        """

    def handle_event(self, event: Any) -> Any:
        """Take an event; return None, Hibernate(), Remove() or Swap(...)."""
        raise undefined(self, "handle_event", event)

    def handle_call(self, request: Any) -> Any:
        """Answer a call: return the answer, or Reply(value, hibernate=True), Remove(reply) or Swap(..., reply=...)."""
        raise undefined(self, "handle_call", request)

    def handle_info(self, message: Any) -> Any:
        """Take any other message to the manager; return as `handle_event`."""
        log.warning("%s has no handle_info for %r", self.module, message)

    def terminate(self, argument: Any) -> Any:
        """The handler is removed; what this returns is what `delete_handler` returns.

        Args:
            argument: of `delete_handler` or of a swap; remove_handler after Remove(); stop if the manager ends;
                (stop, reason) if the process that supervises it has ended; (error, value) after a bad return, (error,
                (EXIT, reason)) after an exception.
        """
        return OK

    def code_change(self, old_version: Any, extra: Any) -> Any:
        """The code of the class is another one: set the state right (`sys.change_code`)."""
        raise undefined(self, "code_change", old_version, extra)

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        """What is shown of it by `sys.get_status`, and logged when it fails.

        Args:
            status: `state`, the attributes of the instance; when it failed `message` and `reason`, too.
        Returns:
            The same keys.
        """
        return status


def undefined(handler: EventHandler | Atom, function: str, *args: Any) -> Exit:
    """What calling a function that a handler does not have raises, as in Erlang."""
    module = handler if isinstance(handler, Atom) else handler.module
    return Exit((UNDEF, [(module, Atom(function), list(args), [])]))


@dataclass(frozen=True, slots=True)
class Spec:
    """Which handler is meant.

    Attributes:
        module: its name.
        id: NOTHING if none is given.
        kind: its class, if that is known.
        key: of the id, as another node would name it, where a text is a binary.
    """

    module: Atom
    id: Any = field(default=NOTHING, compare=False)
    kind: type[EventHandler] | None = field(default=None, compare=False)
    key: Any = field(init=False)

    def __post_init__(self) -> None:
        key = self.id.encode() if isinstance(self.id, str) else self.id
        object.__setattr__(self, "key", (type(key), key))

    @property
    def term(self) -> Any:
        """As it is told: the name, or (name, id)."""
        return self.module if self.id is NOTHING else (self.module, self.id)


def spec(handler: Any) -> Spec:
    """Understand what names a handler: a class, an atom or a text, or (one of them, id). Raises TypeError."""
    identity = NOTHING
    if type(handler) is tuple and len(handler) == 2:
        handler, identity = handler
    if isinstance(handler, type) and issubclass(handler, EventHandler):
        return Spec(handler.module, identity, handler)
    if isinstance(handler, Atom):
        return Spec(handler, identity)
    if isinstance(handler, str):
        return Spec(Atom(handler), identity)
    raise TypeError(f"{handler!r} names no handler: a class of EventHandler, its name, or (one of them, id)")


@dataclass(eq=False, slots=True)
class Installed:
    """A handler that is installed.

    Attributes:
        spec: what it is named by.
        handler: the instance.
        owner: the process that supervises it, or None.
    """

    spec: Spec
    handler: EventHandler
    owner: Pid | None = None

    @property
    def state(self) -> dict[str, Any]:
        return dict(vars(self.handler))

    @property
    def entry(self) -> tuple[Atom, Any, dict[str, Any]]:
        """(name, id, state), as `sys.get_state` tells it; the id is False if there is none."""
        return self.spec.module, False if self.spec.id is NOTHING else self.spec.id, self.state

    def become(self, state: dict[str, Any]) -> None:
        """Take another state."""
        vars(self.handler).clear()
        vars(self.handler).update(state)


class Handlers:
    """Those that are installed, the latest first.

    Args:
        known: the classes that may be named by their atom alone when one is added.
    """

    def __init__(self, known: Iterable[type[EventHandler]] = ()) -> None:
        self._installed: list[Installed] = []
        self._known: dict[Atom, type[EventHandler]] = {}
        for kind in known:
            named = spec(kind)
            if named.kind is None or self._known.setdefault(kind.module, kind) is not kind:
                raise ValueError(f"{kind!r} is no class of EventHandler with a name of its own")

    def __iter__(self) -> Iterator[Installed]:
        return iter(tuple(self._installed))

    def __len__(self) -> int:
        return len(self._installed)

    def __contains__(self, entry: object) -> bool:
        return entry in self._installed

    def find(self, named: Spec) -> Installed | None:
        """The latest that is named so, or None."""
        for entry in self._installed:
            if entry.spec == named and (named.kind is None or entry.spec.kind is named.kind):
                return entry
        return None

    def kind(self, named: Spec) -> type[EventHandler]:
        """The class to make a handler of. Raises Exit `undef` if it is not known here."""
        found = named.kind or self._known.get(named.module)
        if found is None:
            raise undefined(named.module, "init")
        return found

    def add(self, entry: Installed, before: Installed | None = None) -> None:
        """Install it first, or before another."""
        self._installed.insert(0 if before is None else self._installed.index(before), entry)

    def remove(self, entry: Installed) -> None:
        self._installed.remove(entry)

    def of(self, owner: Pid) -> list[Installed]:
        """Those that a process supervises."""
        return [entry for entry in self._installed if entry.owner == owner]

    def terms(self) -> list[Any]:
        """The names of all, or (name, id)."""
        return [entry.spec.term for entry in self._installed]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from what a callback has returned.

    Attributes:
        reply: of a call.
        hibernate: whether the manager gives memory back.
        then: Remove or Swap if the handler goes, or None.
    """

    reply: Any = OK
    hibernate: bool = False
    then: Remove | Swap | None = None


def after_init(value: Any) -> bool:
    """Whether to hibernate. Raises BadReturn for what is neither None, ok nor Hibernate()."""
    if isinstance(value, Hibernate):
        return True
    if value is None or value is OK:
        return False
    raise BadReturn("init", value)


def after_event(callback: str, value: Any) -> Outcome:
    """What follows from a value of `handle_event` or `handle_info`. Raises BadReturn."""
    if value is None or value is OK:
        return Outcome()
    if isinstance(value, Hibernate):
        return Outcome(hibernate=True)
    if isinstance(value, Remove | Swap):
        return Outcome(then=value)
    raise BadReturn(callback, value)


def after_call(value: Any) -> Outcome:
    """What follows from a value of `handle_call`: any is the answer, but for control values. Raises BadReturn."""
    if isinstance(value, Remove | Swap):
        return Outcome(reply=value.reply, then=value)
    if isinstance(value, Reply):
        if value.timeout is not None or value.continue_ is not NOTHING:
            raise BadReturn("handle_call", value)
        return Outcome(reply=value.value, hibernate=value.hibernate)
    if isinstance(value, Hibernate | NoReply | Continue | Stop | Ignore):
        raise BadReturn("handle_call", value)
    return Outcome(reply=value)
