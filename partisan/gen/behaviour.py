"""What every behaviour has in common: how its process starts, is named, ends, and obeys `sys`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from partisan._core.process import Process
from partisan.errors import AlreadyStarted, Exit, NameTaken, StartFailed
from partisan.etf import Atom, Pid, Reference
from partisan.gen import proc_lib
from partisan.gen.control import Ignore, Stop
from partisan.gen.sys import System
from partisan.runtime.current import node, process
from partisan.runtime.exits import ExitSignal, crash_reason

NORMAL, EXIT, SYSTEM = Atom("normal"), Atom("EXIT"), Atom("system")
_ALREADY_STARTED = Atom("already_started")
_IGNORED = object()


class Behaviour:
    """A process made of callbacks. The instance is its state; it lives as long as the process."""

    async def init(self, *args: Any) -> Any:
        """Set the state up; return None, or a control value. Plain or async, as every callback."""

    def terminate(self, reason: object) -> Any:
        """The process ends: by a control value, an error, or its parent's exit signal if it traps exits."""

    # Starting.

    @classmethod
    async def start(
        cls, *, name: str | Atom | None = None, args: tuple[Any, ...] = (), timeout: float | None = None, **options: Any
    ) -> Pid | None:
        """Start a process of this behaviour; return its pid when `init` has returned, None if that returned Ignore().

        Args:
            name: to register it under.
            args: of `init`.
            timeout: seconds that `init` may take; then the process is killed.
        Raises:
            AlreadyStarted: another process has the name.
            StartFailed: `init` raised, or returned Stop(reason); `reason` is why, `timeout` if it took too long.
        """
        return _pid(await proc_lib.start(cls._run, name, args, options, timeout=timeout))

    @classmethod
    async def start_link(
        cls, *, name: str | Atom | None = None, args: tuple[Any, ...] = (), timeout: float | None = None, **options: Any
    ) -> Pid | None:
        """As `start`, and link the current process to it. Raises NotInProcess, too."""
        return _pid(await proc_lib.start_link(cls._run, name, args, options, timeout=timeout))

    @classmethod
    async def start_monitor(
        cls, *, name: str | Atom | None = None, args: tuple[Any, ...] = (), timeout: float | None = None, **options: Any
    ) -> tuple[Pid | None, Reference]:
        """As `start`, and monitor it from the current process. Raises NotInProcess, too."""
        value, reference = await proc_lib.start_monitor(cls._run, name, args, options, timeout=timeout)
        return _pid(value), reference

    @classmethod
    async def _run(cls, name: str | Atom | None, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """The whole life of the process."""
        mine, parent = process(), proc_lib.parent()
        if name is not None and not _register(name, mine):
            return
        mine.set_name(cls.__qualname__)
        self = cls()
        self._options(**options)
        system = System(self, None if parent is None else parent.pid)
        control = await self._begin(args)
        if control is _IGNORED:
            return
        proc_lib.init_ack()
        await self._live(system, control)

    def _options(self, **options: Any) -> None:
        """Take what else was given to `start`. Raises TypeError for what is unknown."""
        if options:
            raise TypeError(f"{type(self).__qualname__} has no option {', '.join(options)}")

    async def _begin(self, args: tuple[Any, ...]) -> Any:
        """Call `init`: the control value that it returned, or _IGNORED. Raises what ends the process."""
        try:
            control = await called(self.init, *args)
        except Exit as error:
            _fail(error.reason)
            raise
        except Exception as error:
            _fail(crash_reason(error))
            raise
        if isinstance(control, Stop):
            _fail(control.reason)
            raise Exit(control.reason)
        if isinstance(control, Ignore):
            _unregister()
            proc_lib.init_ack(control)
            return _IGNORED
        return control

    async def _live(self, system: System, control: Any) -> None:
        """Run the loop to its end; `terminate` hears why."""
        try:
            await self._loop(system, control)
        except Exit as error:
            await called(self.terminate, error.reason)
            raise
        except ExitSignal as signal:
            if process().trapping:
                await called(self.terminate, signal.reason)
            raise
        except Exception as error:
            await called(self.terminate, crash_reason(error))
            raise

    async def _loop(self, system: System, control: Any) -> None:
        """Take messages for ever, from what `init` returned on. Raises Exit to end the process."""
        raise NotImplementedError

    # What `sys` asks.

    def system_get_state(self) -> Any:
        """The state that `sys.get_state` tells: the attributes of the instance."""
        return dict(vars(self))

    def system_replace_state(self, state: Any) -> Any:
        """Take another state; return it."""
        vars(self).clear()
        vars(self).update(state)
        return state

    def system_status(self) -> Any:
        """What `sys.get_status` tells of it."""
        return self.system_get_state()


async def called(callback: Callable[..., Any], *args: Any) -> Any:
    """Call a callback, which may be async."""
    value = callback(*args)
    return await value if inspect.isawaitable(value) else value


def _pid(value: Any) -> Pid | None:
    return None if isinstance(value, Ignore) else value


def _register(name: str | Atom, mine: Process) -> bool:
    try:
        node().register(name, mine.pid)
    except NameTaken:
        holder = node().whereis(name)
        proc_lib.init_fail(AlreadyStarted((_ALREADY_STARTED, holder), holder))
        return False
    return True


def _unregister() -> None:
    for name in process().names:
        node().unregister(name)


def _fail(reason: object) -> None:
    """The process does not start: it gives its name back before anybody hears so."""
    _unregister()
    proc_lib.init_fail(StartFailed(reason))
