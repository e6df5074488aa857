"""Functions that run at this node because another node asked for it.

Each runs in a process of its own, at most `max_remote_calls` at once. What becomes of it is an outcome, a tuple in the
classes of Erlang: (return, Value), (throw, Value), (exit, Reason), (error, Reason, Stacktrace), or (signal, Reason) if
its process got an exit signal. A caller that is lost meanwhile does not stop it, as in OTP: its outcome then reaches
nobody.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from partisan import telemetry
from partisan._core.process import Process
from partisan._core.watch import Watch
from partisan.errors import EncodeError, Exit, NotAllowed, NotConnected, Overloaded, Throw, UndefinedFunction
from partisan.etf import Atom, Pid
from partisan.net.context import Context
from partisan.runtime.allow import AllowList, Function
from partisan.runtime.exits import crash_reason
from partisan.wire.atom import MalformedMessage, name_of

log = logging.getLogger(__name__)

RETURN, THROW, EXIT, ERROR, SIGNAL = map(Atom, ("return", "throw", "exit", "error", "signal"))
UNDEF, BADARG, SYSTEM_LIMIT, NOT_ALLOWED = map(Atom, ("undef", "badarg", "system_limit", "not_allowed"))

Outcome = tuple[Any, ...]
Told = Callable[[Outcome], None]
"""Takes the outcome; must not raise."""


class Running(Watch):
    """A process that runs a function for another node: tells the outcome when it has ended."""

    def __init__(self, told: Told, ended: Callable[[], None]) -> None:
        self.outcome: Outcome | None = None
        self.told = told
        self.ended = ended

    def fire(self, reason: object) -> int:
        """It has ended; without an outcome, because of a signal."""
        self.ended()
        self.told((SIGNAL, reason) if self.outcome is None else self.outcome)
        return 0


async def _run(running: Running, function: Function, args: list[Any]) -> None:
    running.outcome = await outcome_of(function, args)


async def outcome_of(function: Function, args: list[Any]) -> Outcome:
    """Call a function, plain or async."""
    try:
        value = function(*args)
        if inspect.isawaitable(value):
            value = await value
    except Throw as error:
        return (THROW, error.value)
    except Exit as error:
        return (EXIT, error.term)
    except NotAllowed as error:  # of what a built-in function was asked to do
        return failed((NOT_ALLOWED, error.what))
    except UndefinedFunction:
        return failed(UNDEF)
    except (Exception, SystemExit) as error:  # sys.exit() of what another node calls, as argparse's, is not this node's
        reason = crash_reason(error)
        whole = isinstance(reason, tuple) and len(reason) == 2
        return (ERROR, *reason) if whole else (ERROR, reason, [])  # type: ignore[misc]
    return (RETURN, value)


def failed(reason: object) -> Outcome:
    """The outcome of what was not called at all."""
    return (ERROR, reason, [])


async def call_plain(function: Function, args: list[Any]) -> None:
    """What a process runs that was started with a plain function."""
    value = function(*args)
    if inspect.isawaitable(value):
        await value


class Applied:
    """Runs functions for other nodes.

    Args:
        context: the node's.
        allow: its allow-list.
        spawn: callable(function, *arguments) -> pid: starts a process.
        builtins: `module:function` -> what does it at each node; they look at the allow-list themselves.
    """

    def __init__(
        self,
        context: Context,
        allow: AllowList,
        spawn: Callable[..., Pid],
        builtins: dict[str, Function],
    ) -> None:
        self.running = 0
        self._context = context
        self._allow = allow
        self._spawn = spawn
        self._builtins = builtins

    def apply(self, who: str | None, module: Any, function: Any, args: Any, told: Told) -> None:
        """Call a function that another node (`who`) names, and tell the outcome."""
        try:
            found, args = self.find(who, module, function, args)
        except NotAllowed:
            told(failed((NOT_ALLOWED, (module, function, len(args)))))
            return
        except UndefinedFunction:
            told((ERROR, UNDEF, [(module, function, args, [])]))
            return
        except MalformedMessage:
            told(failed(BADARG))
            return
        if self.running >= self._context.config.max_remote_calls:
            told(failed(SYSTEM_LIMIT))
            return
        self.running += 1
        running = Running(told, self._one_less)
        pid = self._spawn(_run, running, found, args)
        process = self._context.router.scheduler.find(pid)
        assert isinstance(process, Process)  # just made
        running.watch(process)

    def counted(self, function: Callable[[], Awaitable[None]]) -> Pid:
        """Run a coroutine function in a process that counts among those that run for other nodes."""
        self.running += 1
        pid = self._spawn(function)
        process = self._context.router.scheduler.find(pid)
        assert isinstance(process, Process)  # just made
        Running(lambda outcome: None, self._one_less).watch(process)
        return pid

    def find(self, who: str | None, module: Any, function: Any, args: Any) -> tuple[Function, list[Any]]:
        """The function that is meant, and its arguments as a list.

        Raises:
            NotAllowed, UndefinedFunction: as `AllowList.find`; what is not allowed is told and counted.
            MalformedMessage: names that are no atoms, arguments that are no list.
        """
        module, function, args = name_of(module, "module"), name_of(function, "function"), arguments(args)
        try:
            return self._allow.find(module, function, len(args)), args
        except NotAllowed as error:
            builtin = self._builtins.get(f"{module}:{function}")
            if builtin is not None:
                return self._builtin(builtin, who, len(args)), args
            self.refused(who, error)
            raise

    def _builtin(self, builtin: Function, who: str | None, arity: int) -> Function:
        def checked(*args: Any) -> Any:
            try:
                return builtin(who, *args)
            except NotAllowed as error:
                self.refused(who, error)
                raise

        try:
            inspect.signature(builtin).bind(who, *[None] * arity)
        except TypeError as error:
            raise UndefinedFunction(f"{builtin.__name__}/{arity}") from error
        return checked

    def check(self, who: str | None, what: str) -> None:
        """Raise NotAllowed, tell it and count it, unless `exit`, `spawn` or `sys` is open."""
        try:
            self._allow.check(what)
        except NotAllowed as error:
            self.refused(who, error)
            raise

    def refused(self, who: str | None, error: NotAllowed) -> None:
        """Another node was refused: tell the log and telemetry."""
        about = {"node": who, "what": error.what}
        self._context.telemetry.emit(telemetry.REQUEST_REFUSED, {"count": 1}, about)
        kind = ("refused", who)
        self._context.log(log, logging.WARNING, kind, "%s refuses %s to %s", self._context.node, error.what, who)

    def _one_less(self) -> None:
        self.running -= 1


def arguments(args: Any) -> list[Any]:
    """The arguments as a list: small integers travel as a string. Raises MalformedMessage."""
    if isinstance(args, bytes):
        return list(args)
    if isinstance(args, str):
        return [ord(character) for character in args]
    if not isinstance(args, list):
        raise MalformedMessage("arguments", f"{type(args).__name__} is no list")
    return args


def answer(send: Callable[[Any], None], made: Callable[[Outcome], Any], outcome: Outcome) -> None:
    """Send an outcome as the answer that is made of it; if it is no term, or too much of one, that is the error."""
    try:
        try:
            send(made(outcome))
        except EncodeError as error:
            send(made(failed((Atom("EncodeError"), str(error)))))
    except (NotConnected, Overloaded) as error:  # whoever asked is lost, or will not take it
        log.debug("an outcome reaches nobody: %s", error)
