"""What every behaviour has in common: how its process starts, is named, ends, and obeys `sys`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn

from partisan._core.calls import reply
from partisan._core.process import Process
from partisan.errors import AlreadyStarted, Exit, NameTaken, StartFailed
from partisan.etf import Atom, Pid, Reference
from partisan.gen import proc_lib
from partisan.gen.control import NOTHING, Ignore, Stop
from partisan.gen.report import ErrorReport, expected, log_report
from partisan.gen.sys import System
from partisan.runtime.current import node, process
from partisan.runtime.exits import ExitSignal, crash_reason
from partisan.runtime.process_calls import Name

log = logging.getLogger(__name__)

NORMAL, EXIT, SYSTEM, UNDEF = Atom("normal"), Atom("EXIT"), Atom("system"), Atom("undef")
_ALREADY_STARTED = Atom("already_started")
_IGNORED = object()


class Behaviour:
    """A process made of callbacks. The instance is its state; it lives as long as the process."""

    _TITLE: ClassVar[str] = "Process"
    """What kind of process it is, in reports."""

    def init(self, *args: Any) -> Any:
        """Set the state up; return None, or a control value. Plain or async, as every callback."""
        if args:
            raise undefined(self, "init", *args)

    def terminate(self, reason: object) -> Any:
        """The process ends: by a control value, an error, or its parent's exit signal if it traps exits."""

    def code_change(self, old_version: Any, extra: Any) -> Any:
        """`sys.change_code` asks for the state to be made that of the present code."""
        raise undefined(self, "code_change", old_version, extra)

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        """What is shown of it: `state`, and of one that ends `message`, `reason` and `log`; return it changed."""
        return status

    # Starting.

    @classmethod
    async def start(
        cls, *, name: Name | None = None, args: tuple[Any, ...] = (), timeout: float | None = None, **options: Any
    ) -> Pid | None:
        """Start a process of this behaviour; return its pid when `init` has returned, None if that returned Ignore().

        Args:
            name: to register it under, at this node or, as ("via", registry, name), where the registry says.
            args: of `init`.
            timeout: seconds that `init` may take; then the process is killed.
            options: `debug`: what to tell of its messages from the start, as `partisan.gen.debug.Debug`;
                `hibernate_after`: seconds without a message after which it gives memory back; `channel`: what its own
                calls and casts, and its answers to requests on the default channel, take; and those of the behaviour.
        Raises:
            AlreadyStarted: another process has the name.
            StartFailed: `init` raised, or returned Stop(reason); `reason` is why, `timeout` if it took too long.
        """
        return _pid(await proc_lib.start(cls._run, name, _arguments(args), options, timeout=timeout))

    @classmethod
    async def start_link(
        cls, *, name: Name | None = None, args: tuple[Any, ...] = (), timeout: float | None = None, **options: Any
    ) -> Pid | None:
        """As `start`, and link the current process to it. Raises NotInProcess, too."""
        return _pid(await proc_lib.start_link(cls._run, name, _arguments(args), options, timeout=timeout))

    @classmethod
    async def start_monitor(
        cls, *, name: Name | None = None, args: tuple[Any, ...] = (), timeout: float | None = None, **options: Any
    ) -> tuple[Pid | None, Reference]:
        """As `start`, and monitor it from the current process. Raises NotInProcess, too."""
        value, reference = await proc_lib.start_monitor(cls._run, name, _arguments(args), options, timeout=timeout)
        return _pid(value), reference

    @classmethod
    async def _run(cls, name: Name | None, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """The whole life of the process."""
        mine = process()
        proc_lib.set_initial_call(cls.__module__, f"{cls.__qualname__}.init", len(args))
        if name is not None and not _register(name, mine):
            return
        mine.set_name(cls.__qualname__)
        self = cls()
        system = self._system(**options)
        control = await self._begin(args, name)
        if control is _IGNORED:
            return
        proc_lib.init_ack()
        await self._live(system, control)

    def _system(
        self,
        *,
        debug: Iterable[Any] = (),
        hibernate_after: float | None = None,
        channel: str | None = None,
        **options: Any,
    ) -> System:
        """Make what system messages are for; take the options that all behaviours have."""
        self._options(**options)
        mine = process()
        mine.channel = channel
        name: object = mine.names[0] if mine.names else mine.pid
        parent = proc_lib.parent()
        if parent not in mine.links:  # one that only waits for the start ends nothing by its exit signals, as in OTP
            parent = None
        return System(self, parent, name=name, hibernate_after=hibernate_after, debug=tuple(debug))

    def _options(self, **options: Any) -> None:
        """Take what else was given to `start`. Raises TypeError for what is unknown."""
        if options:
            raise TypeError(f"{type(self).__qualname__} has no option {', '.join(options)}")

    async def _begin(self, args: tuple[Any, ...], name: Name | None) -> Any:
        """Call `init`: the control value that it returned, or _IGNORED. Raises what ends the process."""
        try:
            control = await called(self.init, *args)
            self._check_init(control)
        except Exit as error:
            _fail(error.term, name)
            raise
        except Exception as error:
            _fail(crash_reason(error), name)
            raise
        if isinstance(control, Stop):
            _fail(control.reason, name)
            raise Exit(control.reason)
        if isinstance(control, Ignore):
            _unregister(name)
            proc_lib.init_ack(control)
            return _IGNORED
        return control

    async def _enter(self, control: Any, name: Name | None, options: dict[str, Any]) -> NoReturn:
        """Let the current process, which must have the name, be this from now on."""
        mine = process()
        if proc_lib.origin_of(mine) is None:
            raise Exit(Atom("process_was_not_started_by_proc_lib"))
        if name is not None and node().whereis(name) != mine.pid:
            raise Exit(Atom("process_not_registered"))
        kind = type(self)
        proc_lib.set_initial_call(kind.__module__, f"{kind.__qualname__}.init", 0)
        system = self._system(**options)
        self._check_init(control)
        await self._live(system, control)
        raise Exit(NORMAL)

    def _check_init(self, control: Any) -> None:
        """Raise BadReturn for what `init` must not return."""

    def _terminate(self, reason: object) -> Any:
        """Call `terminate`."""
        return self.terminate(reason)

    async def _live(self, system: System, control: Any) -> None:
        """Run the loop to its end; `terminate` hears why. Raises Exit."""
        cause: BaseException
        try:
            try:
                await self._loop(system, control)
                return
            except Exit as error:
                reason, cause = error.term, error
            except ExitSignal as signal:
                if not process().trapping or process().killed:
                    raise
                reason, cause = signal.reason, signal
            except asyncio.CancelledError as error:
                mine = process()
                if mine.cancelling() or not mine.alive:
                    raise
                reason, cause = crash_reason(error), error  # something that a callback awaited was cancelled
            except Exception as error:
                reason, cause = crash_reason(error), error
            try:
                await self._end(system, reason, cause)
            finally:
                del cause  # its traceback has this frame: all of it would wait for the garbage collector
        finally:
            if system.debug is not None:
                system.debug.close()

    async def _end(self, system: System, reason: object, cause: BaseException) -> NoReturn:
        """Call `terminate`, answer whoever waits for the end, report it if it is none that was wished for."""
        try:
            await called(self._terminate, reason)
        except Exit as error:
            reason, cause = error.term, error
        except Exception as error:
            reason, cause = crash_reason(error), error
        finally:
            if system.farewell is not None:
                reply(*system.farewell)
        if not expected(reason):
            events = [] if system.debug is None else [event for event, _ in system.debug.log or ()]
            self._report(system, reason, cause, events)
        try:
            raise Exit(reason) from cause
        finally:
            del cause  # as in `_live`

    def _report(self, system: System, reason: object, cause: BaseException, events: list[Any]) -> None:
        """Log the end, once: the process ends with an Exit, of which nothing else is told."""
        message, client = system.last, None
        match message:
            case (Atom("$gen_call"), (client, _), request):
                message = request
            case (Atom("$gen_cast"), told):
                message = told
        status = {**self._status(), "reason": reason, "log": events}
        if message is not NOTHING:
            status["message"] = message
        status = self._formatted(status)
        error = cause
        while isinstance(error, Exit) and error.__cause__ is not None:
            error = error.__cause__
        chosen = isinstance(error, Exit) and error.call is None
        log_report(
            ErrorReport(
                self._TITLE,
                system.name,
                status.get("reason", reason),
                status.get("state"),
                status.get("message", NOTHING),
                client,
                status.get("log", events),
                None if chosen else error,
                self._details(status),
            )
        )

    def _status(self) -> dict[str, Any]:
        """What `format_status` is given of the present."""
        return {"state": self.system_get_state()}

    def _details(self, status: dict[str, Any]) -> list[tuple[str, Any]]:
        """What a report tells besides: titles and terms."""
        return []

    def _formatted(self, status: dict[str, Any]) -> dict[str, Any]:
        """The status as `format_status` gives it; if that fails, without what it might have hidden."""
        try:
            return self.format_status(dict(status))
        except Exception:
            log.exception("%s.format_status failed", type(self).__qualname__)
            return {**status, **dict.fromkeys(self._status(), f"{type(self).__qualname__}.format_status failed")}

    async def _loop(self, system: System, control: Any) -> None:
        """Take messages for ever, from what `init` returned on. Raises Exit to end the process."""
        raise NotImplementedError(f"{type(self).__qualname__} does not say what it does with messages")

    # What `sys` asks.

    def system_get_state(self) -> Any:
        """The state that `sys.get_state` tells: the attributes of the instance."""
        return dict(vars(self))

    def system_replace_state(self, state: Any) -> Any:
        """Take another state; return it."""
        vars(self).clear()
        vars(self).update(state)
        return state

    def system_replace(self, function: Callable[[Any], Any]) -> Any:
        """Take the state that a function makes of the present one; return it."""
        return self.system_replace_state(function(self.system_get_state()))

    def system_code_change(self, module: Any, old_version: Any, extra: Any) -> Any:
        """The code of a module is another one: only event managers look at which."""
        return self.code_change(old_version, extra)

    def system_about(self) -> list[Any]:
        """What `sys.get_status` tells after the state."""
        return []

    def system_status(self) -> Any:
        """What `sys.get_status` tells of it: the state, as `format_status` shows it."""
        return self._formatted({"state": self.system_get_state()}).get("state")


def _arguments(args: Any) -> tuple[Any, ...]:
    if not isinstance(args, tuple | list):
        raise TypeError(f"args={args!r} is no tuple of init's arguments: args=(value,) gives it one")
    return tuple(args)


def undefined(of: object, callback: str, *args: Any) -> Exit:
    """The end of a process whose class lacks a callback: `{undef, [{Class, Callback, Arguments, []}]}`."""
    kind = Atom(f"{type(of).__module__}.{type(of).__qualname__}"[:255])
    return Exit((UNDEF, [(kind, Atom(callback), list(args), [])]))


async def called(callback: Callable[..., Any], *args: Any) -> Any:
    """Call a callback, which may be async."""
    value = callback(*args)
    return await value if inspect.isawaitable(value) else value


def _pid(value: Any) -> Pid | None:
    return None if isinstance(value, Ignore) else value


def _register(name: Name, mine: Process) -> bool:
    try:
        node().register(name, mine.pid)
    except NameTaken:
        holder = node().whereis(name)
        proc_lib.init_fail(AlreadyStarted((_ALREADY_STARTED, holder), holder))
        return False
    return True


def _unregister(name: Name | None) -> None:
    if name is not None and node().whereis(name) == process().pid:
        node().unregister(name)


def _fail(reason: object, name: Name | None) -> None:
    """The process does not start: it gives its name back before anybody hears so."""
    _unregister(name)
    proc_lib.init_fail(StartFailed(reason))
