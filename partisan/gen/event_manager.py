"""The process of an event manager."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from partisan._core.calls import reply
from partisan._core.culprit import short
from partisan._core.process import receive
from partisan._core.references import place_of, read
from partisan.errors import (
    BadReturn,
    EncodeError,
    Exit,
    HandlerFailed,
    LinkUnsupported,
    NoProc,
    NotConnected,
    Overloaded,
    ReceiveTimeout,
)
from partisan.etf import Atom, Pid, Reference
from partisan.gen.behaviour import EXIT, NORMAL, SYSTEM, Behaviour, called
from partisan.gen.control import NOTHING, Stop
from partisan.gen.event_handlers import (
    ERROR,
    OK,
    REMOVE_HANDLER,
    STOP,
    EventHandler,
    Handlers,
    Installed,
    Outcome,
    Remove,
    Spec,
    Swap,
    after_call,
    after_event,
    after_init,
    spec,
    undefined,
)
from partisan.gen.event_report import HandlerReport, log_report
from partisan.gen.sys import System
from partisan.runtime.current import node, process
from partisan.runtime.exits import LINE, ExitSignal, crash_reason

log = logging.getLogger(__name__)

IN, SWAPPED, SHUTDOWN, GEN_EVENT_EXIT = map(Atom, ("in", "swapped", "shutdown", "gen_event_EXIT"))
CALL = Atom("$gen_call")
NOT_FOUND, BAD_MODULE = Atom("module_not_found"), Atom("bad_module")


class Failure:
    """What a callback has raised, or returned and should not have.

    Attributes:
        term: (EXIT, reason), as `catch` gives it in Erlang, or the value.
        error: the exception.
    """

    __slots__ = ("error", "term")

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.term = error.value if isinstance(error, BadReturn) else (EXIT, _reason(error))


class GenEvent(Behaviour):
    """An event manager. An option of `start`, besides those of every behaviour:

    Args:
        handlers: classes that may be added by their names, as other nodes do.
    """

    _TITLE = "Event manager"

    def __init__(self) -> None:
        self._handlers = Handlers()
        self._hibernating = False
        self._monitored: dict[Pid, Reference] = {}  # who supervises handlers and cannot be linked

    def _options(self, *, handlers: Iterable[type[EventHandler]] = (), **options: Any) -> None:
        super()._options(**options)
        self._handlers = Handlers(handlers)

    async def init(self, *args: Any) -> None:
        """Hear of the end of whoever supervises a handler by a message."""
        process().trap_exit(True)

    async def terminate(self, reason: object) -> None:
        """Remove all handlers."""
        for entry in self._handlers:
            await self._take_out(entry, STOP, SHUTDOWN)

    # The loop.

    async def _loop(self, system: System, control: Any) -> None:
        while True:
            message = system.last = await self._next(system.hibernate_after)
            if system.debug is not None and not (type(message) is tuple and message[:1] == (SYSTEM,)):
                system.tell((IN, message))
            match message if type(message) is tuple else None:
                case (Atom("notify"), event):
                    await self._dispatch("handle_event", event)
                case (label, (asker, _) as caller, command) if _is_request(label, asker):
                    await self._obey(caller, command, message)
                case (Atom("system"), caller, command):
                    await system.handle(caller, command)
                case (Atom("EXIT"), Pid() as pid, reason):
                    if pid == system.parent:
                        raise Exit(reason)
                    await self._bereave(pid, reason)
                case (Atom("DOWN"), Reference() as reference, _, Pid() as pid, reason) if (
                    self._monitored.get(pid) == reference
                ):
                    await self._bereave(pid, reason)
                case _:
                    await self._dispatch("handle_info", message)

    async def _next(self, idle: float | None) -> Any:
        """Wait for a message; after so many seconds without one, or if a handler wants that, give memory back."""
        if not self._hibernating:
            try:
                return await (receive() if idle is None else receive(timeout=idle))
            except ReceiveTimeout:
                pass
        self._hibernating = False
        process().hibernate()
        return await receive()

    async def _obey(self, caller: Any, command: Any, message: Any) -> None:
        """Do what a request wants, and answer it."""
        try:
            match command if type(command) is tuple else (command,):
                case (Atom("stop"),):
                    _answer(caller, OK)
                    raise Exit(NORMAL)
                case (Atom("which_handlers"),):
                    _answer(caller, self._handlers.terms())
                case (Atom("sync_notify"), event):
                    await self._dispatch("handle_event", event)
                    _answer(caller, OK)
                case (Atom("call"), handler, query):
                    await self._call(caller, spec(handler), query)
                case _:
                    done = await self._change(command)
                    if done is NOTHING:
                        await self._dispatch("handle_info", message)
                    else:
                        _answer(caller, done)
        except TypeError as error:  # it names no handler: what callbacks raise does not come here
            _answer(caller, (ERROR, (EXIT, crash_reason(error))))

    async def _change(self, command: Any) -> Any:
        """Add, delete or swap a handler: the answer; NOTHING if this is no such command. Raises TypeError."""
        match command if type(command) is tuple else None:
            case (Atom("add_handler"), handler, args):
                return await self._add(spec(handler), args, None)
            case (Atom("add_sup_handler"), handler, args, term) if isinstance(owner := read(term), Pid):
                return await self._add(spec(handler), args, owner)
            case (Atom("delete_handler"), handler, argument):
                entry = self._handlers.find(spec(handler))
                return (ERROR, NOT_FOUND) if entry is None else await self._take_out(entry, argument, NORMAL)
            case (Atom("swap_handler"), handler, argument, other, args):
                return await self._swap(self._handlers.find(spec(handler)), argument, spec(other), args, None)
            case (Atom("swap_sup_handler"), handler, argument, other, args, term) if isinstance(
                owner := read(term), Pid
            ):
                return await self._swap(self._handlers.find(spec(handler)), argument, spec(other), args, owner)
        return NOTHING

    # What handlers are told, and what follows.

    async def _dispatch(self, callback: str, message: Any) -> None:
        """Tell every handler; what one of them does is no matter of the others."""
        for entry in self._handlers:
            value = await _try(entry.handler, callback, message)
            try:
                outcome = after_event(callback, _given(value))
            except Exception as error:
                await self._fail(entry, Failure(error), message)
            else:
                await self._follow(entry, outcome, message)

    async def _call(self, caller: Any, named: Spec, query: Any) -> None:
        """Have one handler answer."""
        entry = self._handlers.find(named)
        if entry is None:
            _answer(caller, (ERROR, BAD_MODULE))
            return
        value = await _try(entry.handler, "handle_call", query)
        try:
            outcome = after_call(_given(value))
            reply(caller, outcome.reply)
        except Exception as error:
            failure = Failure(error)
            _answer(caller, (ERROR, failure.term))
            await self._fail(entry, failure, query)
        else:
            await self._follow(entry, outcome, query)

    async def _follow(self, entry: Installed, outcome: Outcome, message: Any) -> None:
        """Do what a callback wants by what it has returned."""
        self._hibernating = self._hibernating or outcome.hibernate
        if isinstance(outcome.then, Remove):
            await self._take_out(entry, REMOVE_HANDLER, NORMAL)
        elif isinstance(outcome.then, Swap):
            try:
                named = spec(outcome.then.handler)
            except TypeError as error:
                await self._fail(entry, Failure(error), message)
                return
            owner = entry.owner
            done = await self._swap(entry, outcome.then.argument, named, outcome.then.args, owner)
            if done is not OK and owner is not None:  # whoever swaps by a request is answered instead
                _tell(owner, (GEN_EVENT_EXIT, named.term, done[1]))

    async def _fail(self, entry: Installed, failure: Failure, message: Any) -> None:
        """A handler has failed: log that, and remove it."""
        self._report_failure(entry, failure, message)
        await self._take_out(entry, (ERROR, failure.term), failure.term)

    # Handlers come and go.

    async def _add(self, named: Spec, args: Any, owner: Pid | None) -> Any:
        """Install a handler: ok, or why not, as Erlang tells it."""
        value: Any
        try:
            kind = self._handlers.kind(named)
            entry = Installed(Spec(kind.module, named.id, kind), kind(), owner)
            value = _given(await _try(entry.handler, "init", args))
            if isinstance(value, Stop):
                return (ERROR, value.reason)
            self._hibernating = after_init(value) or self._hibernating
        except Exception as error:
            if not isinstance(error, Exit):
                log.error("%s: the handler %s cannot be added", _name(), named.term, exc_info=error)
            return Failure(error).term
        self._handlers.add(entry)
        if owner is not None:
            self._tie(owner)
        return OK

    async def _swap(self, old: Installed | None, argument: Any, named: Spec, args: Any, owner: Pid | None) -> Any:
        """Put a handler in the place of another, or of none: ok, or (error, why not).

        Args:
            owner: who is to supervise the new one; None: who did the old one, if anybody.
        """
        former: Any = ERROR
        if old is not None:
            owner = old.owner if owner is None else owner
            former = await self._take_out(old, argument, (SWAPPED, named.term, owner))
        done = await self._add(named, (args, former), owner)
        return OK if done is OK else (ERROR, done)

    async def _take_out(self, entry: Installed, argument: Any, why: Any) -> Any:
        """Remove a handler, and tell who supervises it why: what its `terminate` returns, or (EXIT, reason)."""
        self._handlers.remove(entry)
        value = await _try(entry.handler, "terminate", argument)
        if isinstance(value, Failure):
            self._report_failure(entry, value, argument)
        if entry.owner is not None:
            self._untie(entry.owner)
            _tell(entry.owner, (GEN_EVENT_EXIT, entry.spec.term, why))
        return value.term if isinstance(value, Failure) else value

    async def _bereave(self, owner: Pid, reason: Any) -> None:
        """A process has ended: remove the handlers that it supervised."""
        self._monitored.pop(owner, None)
        for entry in self._handlers.of(owner):
            entry.owner = None
            await self._take_out(entry, (STOP, reason), SHUTDOWN)

    def _tie(self, owner: Pid) -> None:
        """Hear when a process ends. As in OTP the link stays when the handler is gone."""
        try:
            node().link(owner)
        except LinkUnsupported:
            if owner not in self._monitored:
                self._monitored[owner] = node().monitor(owner)

    def _untie(self, owner: Pid) -> None:
        if owner in self._monitored and not self._handlers.of(owner):
            node().demonitor(self._monitored.pop(owner), flush=True)

    def _report_failure(self, entry: Installed, failure: Failure, message: Any) -> None:
        """Log the failure of a handler."""
        shown = _shown(entry, state=entry.state, message=message, reason=failure.term)
        log_report(
            HandlerReport(
                manager=_name(),
                handler=entry.spec.term,
                message=shown["message"],
                state=shown["state"],
                reason=shown["reason"],
                error=failure.error,
            )
        )

    # What `sys` asks.

    def system_get_state(self) -> list[Any]:
        """(name, id, state) of each handler, the id False if it has none."""
        return [entry.entry for entry in self._handlers]

    def system_replace(self, function: Callable[[Any], Any]) -> list[Any]:
        """Apply a function to (name, id, state) of each handler; return all.

        One for which it fails, or does not return such an entry, keeps its state.
        """
        for entry in self._handlers:
            try:
                module, identity, state = function(entry.entry)
                if (module, identity) != entry.entry[:2] or not isinstance(state, dict):
                    raise BadReturn("replace_state", (module, identity, state))
            except Exception:
                log.exception("%s: the state of %s is not replaced", _name(), entry.spec.term)
            else:
                entry.become(state)
        return self.system_get_state()

    async def system_code_change(self, module: Any, old_version: Any, extra: Any) -> None:
        """Call `code_change` of the handlers of a class, or of a class's name; if one fails, none has changed."""
        named = spec(module).module
        changed = []
        try:
            for entry in self._handlers:
                if entry.spec.module is named:
                    changed.append((entry, entry.state))
                    await called(entry.handler.code_change, old_version, extra)
        except Exception as error:
            for entry, state in changed:
                entry.become(state)
            raise Exit((EXIT, _reason(error))) from error

    def system_status(self) -> list[Any]:
        """(name, id, state) of each handler, the state as its `format_status` shows it."""
        return [(*entry.entry[:2], _shown(entry, state=entry.state)["state"]) for entry in self._handlers]


async def _try(handler: EventHandler, name: str, *args: Any) -> Any:
    """Call a callback: what it returns, or a Failure. What ends the manager itself is raised."""
    callback: Callable[..., Any] | None = getattr(handler, name)
    try:
        if callback is None:
            raise undefined(handler, name, *args)
        return await called(callback, *args)
    except asyncio.CancelledError as error:
        mine = process()
        if isinstance(error, ExitSignal) or mine.cancelling() or not mine.alive:
            raise
        cancelled = HandlerFailed(Atom("cancelled"))
        cancelled.__cause__ = error
        return Failure(cancelled)
    except Exception as error:
        return Failure(error)


def _is_request(label: object, asker: object) -> bool:
    """Whether `{label, {asker, Tag}, Command}` is a request: the pid of whoever asks may be a URI."""
    return (label == CALL or isinstance(read(label), Pid)) and place_of(asker) is not None


def _given(value: Any) -> Any:
    """What a callback has returned. Raises what it has raised."""
    if isinstance(value, Failure):
        raise value.error
    return value


def _reason(error: Exception) -> object:
    return error.term if isinstance(error, Exit) else crash_reason(error)


def _shown(entry: Installed, **status: Any) -> dict[str, Any]:
    """The status of a handler as its `format_status` shows it; as it is where that fails."""
    try:
        return {**status, **entry.handler.format_status(dict(status))}
    except Exception:
        log.exception("%s: format_status of %s failed", _name(), entry.spec.term)
        return status


def _name() -> str:
    """The manager's name, or its pid."""
    mine = process()
    return mine.names[0] if mine.names else str(mine.pid)


def _answer(caller: Any, answer: Any) -> None:
    """Answer a request; by a failure if the answer is no term that can be sent."""
    try:
        reply(caller, answer)
    except EncodeError as error:
        log.error("%s: the answer %r is no term", _name(), answer, exc_info=error)
        reply(caller, (ERROR, (EXIT, crash_reason(error))))


def _tell(owner: Pid, message: tuple[Any, ...]) -> None:
    """Tell who supervises a handler; if that cannot be told, it is counted."""
    here = node()
    try:
        try:
            here.send(owner, message)
        except EncodeError:  # the reason is no term, or too large
            here.send(owner, (*message[:-1], short(message[-1])[:LINE]))
    except (NotConnected, NoProc, Overloaded, EncodeError):
        here._undeliverable(owner, message)
