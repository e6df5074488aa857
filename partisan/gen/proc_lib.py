"""Start processes that say when they are ready, and that know who started them (OTP's `proc_lib`).

`stop` is the one of `partisan.gen.call`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from partisan._core.process import Process, running
from partisan._core.ties import link, unlink
from partisan._core.watch import Watch
from partisan.errors import LocalProtocolError, StartFailed
from partisan.etf import Atom, Pid, Reference
from partisan.gen.call import stop as stop
from partisan.runtime.current import node, process

_KILLED, _TIMEOUT = Atom("killed"), Atom("timeout")

ancestors: ContextVar[tuple[Pid | Atom, ...]] = ContextVar("partisan_ancestors", default=())
"""Who started the current process, and who that one: names where they have one, the nearest first."""


class Origin:
    """How a process was started.

    Attributes:
        pid: whose origin this is: what it starts otherwise inherits the variable, but not the origin.
        parent: who started it; None for code that is no process's own.
        initial: (module, function, arity) of what it runs.
        label: what `set_label` gave it.
    """

    __slots__ = ("initial", "label", "parent", "pid")

    def __init__(self, pid: Pid, parent: Pid | None, initial: tuple[str, str, int]) -> None:
        self.pid = pid
        self.parent = parent
        self.initial = initial
        self.label: object = None


_origin: ContextVar[Origin | None] = ContextVar("partisan_origin", default=None)

_starting: ContextVar[Starting | None] = ContextVar("partisan_starting", default=None)


class Starting(Watch):
    """A start that is waited for: it watches the new process until that says that it is ready.

    Attributes:
        parent: who waits; None for code that is no process's own.
        child: who is started.
    """

    def __init__(self, parent: Process | None) -> None:
        self.parent = parent
        self.child: Pid | None = None
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, value: object) -> None:
        """The process is ready; `start` returns this."""
        self.unwatch()
        if not self.outcome.done():
            self.outcome.set_result(value)

    def fail(self, error: BaseException) -> None:
        """The process does not start; `start` raises this."""
        self.unwatch()
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def fire(self, reason: object) -> int:
        self.fail(StartFailed(reason))
        return 0


async def start(function: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None) -> Any:
    """Start a process that runs `function(*args)`; return what it gives to `init_ack`.

    Args:
        timeout: seconds; a process that is not ready then is killed (reason `killed`, as any process that is).
    Raises:
        StartFailed: it ended before, or `init_fail` was called, or the time is over (reason `timeout`).
    """
    return (await _start(function, args, timeout, linked=False, monitored=False))[0]


async def start_link(function: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None) -> Any:
    """As `start`, and link the current process to it. Raises NotInProcess, StartFailed."""
    process()
    return (await _start(function, args, timeout, linked=True, monitored=False))[0]


async def start_monitor(
    function: Callable[..., Awaitable[Any]], *args: Any, timeout: float | None = None
) -> tuple[Any, Reference]:
    """As `start`, and monitor it from the current process: (value, reference). Raises NotInProcess, StartFailed.

    Of a process that does not start no message comes.
    """
    process()
    value, reference = await _start(function, args, timeout, linked=False, monitored=True)
    assert reference is not None
    return value, reference


async def _start(
    function: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    timeout: float | None,
    *,
    linked: bool,
    monitored: bool,
) -> tuple[Any, Reference | None]:
    here, parent = node(), running()
    starting = Starting(parent)
    pid = here.spawn(_begin, starting, function, args)
    child = here.scheduler.find(pid)
    assert child is not None  # it takes its first step later
    child.set_name(getattr(function, "__qualname__", type(function).__name__))
    starting.child = pid
    starting.watch(child)
    if linked and parent is not None:
        link(parent, child)
    reference = here.monitor(pid) if monitored else None
    try:
        async with asyncio.timeout(timeout):
            return await starting.outcome, reference
    except TimeoutError:
        _abandon(starting, child, parent, linked)
        _forget(reference)
        raise StartFailed(_TIMEOUT) from None
    except asyncio.CancelledError:
        _abandon(starting, child, parent, linked)
        _forget(reference)
        raise
    except StartFailed:
        _forget(reference)
        raise


def _abandon(starting: Starting, child: Process, parent: Process | None, linked: bool) -> None:
    """Nobody waits for the child any more: kill it, and take no exit signal from it."""
    starting.unwatch()
    if linked and parent is not None:
        unlink(parent, child.pid)
    child.doom(_KILLED, True)


def _forget(reference: Reference | None) -> None:
    """Take the monitor away, and its message: whoever has no value has no reference either."""
    if reference is not None:
        with contextlib.suppress(LocalProtocolError):  # the node stops, and so does whoever monitors
            node().demonitor(reference, flush=True)


async def _begin(starting: Starting, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    _starting.set(starting)
    _originate(starting.parent, function, args)
    return await function(*args)


def _originate(started_by: Process | None, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Let the current process know where it comes from."""
    if started_by is not None:
        ancestors.set((_called(started_by), *ancestors.get()))
    name = getattr(function, "__qualname__", type(function).__qualname__)
    initial = (str(getattr(function, "__module__", "")), name, len(args))
    _origin.set(Origin(process().pid, None if started_by is None else started_by.pid, initial))


def _called(of: Process) -> Pid | Atom:
    return Atom(of.names[0]) if of.names else of.pid


def _mine() -> Starting | None:
    """The start of the current process, while it is waited for."""
    starting = _starting.get()
    return starting if starting is not None and starting.child == process().pid else None


def init_ack(value: object = None) -> None:
    """Say that the current process is ready: whoever started it gets the value, or the pid if there is none.

    Said again, or in a process that nobody waits for, it does nothing.
    """
    starting = _mine()
    if starting is not None:
        _starting.set(None)
        starting.settle(process().pid if value is None else value)


def init_fail(reason: object) -> None:
    """Say that the current process does not start: whoever started it gets StartFailed. It is to end then."""
    starting = _mine()
    if starting is not None:
        _starting.set(None)
        starting.fail(reason if isinstance(reason, BaseException) else StartFailed(reason))


def parent() -> Pid | None:
    """Who started the current process by one of these functions; None if that was code that is no process's own."""
    origin = origin_of(process())
    return None if origin is None else origin.parent


def origin_of(of: Process) -> Origin | None:
    """How a process of this node was started, if by one of these functions."""
    origin = None if of.context is None else of.context.get(_origin)
    return origin if isinstance(origin, Origin) and origin.pid == of.pid else None


# Processes that nobody waits for.


def spawn(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Pid:
    """As `partisan.spawn`, and let the process know who started it."""
    return node().spawn(_plainly, running(), function, args, **options)


def spawn_link(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Pid:
    """As `spawn`, and link the current process to it. Raises NotInProcess."""
    return node().spawn_link(_plainly, process(), function, args, **options)


def spawn_monitor(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> tuple[Pid, Reference]:
    """As `spawn`, and monitor it from the current process. Raises NotInProcess."""
    return node().spawn_monitor(_plainly, process(), function, args, **options)


def spawn_opt(
    function: Callable[..., Awaitable[Any]], *args: Any, link: bool = False, monitor: bool = False, **options: Any
) -> Pid | tuple[Pid, Reference]:
    """As `spawn`, with a link, a monitor or both: the pid, with a monitor (pid, reference). Raises NotInProcess."""
    if not monitor:
        return (spawn_link if link else spawn)(function, *args, **options)
    pid, reference = spawn_monitor(function, *args, **options)
    if link:
        node().link(pid)
    return pid, reference


async def _plainly(
    started_by: Process | None, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], **options: Any
) -> Any:
    process().set_name(getattr(function, "__qualname__", type(function).__qualname__))
    _originate(started_by, function, args)
    return await function(*args, **options)


def hibernate() -> None:
    """Give memory back, before a wait that is expected to be long: the mailbox's, if it is empty.

    In OTP this drops the stack, too, and does not return. A coroutine's frames cannot be dropped: it returns at once,
    and the process waits in its next `receive()`.
    """
    process().hibernate()


# What is known of a process.


def initial_call(pid: Pid) -> tuple[str, str, list[str]] | None:
    """(module, function, names of the arguments) of what a process of this node was started with by these functions.

    None of any other process. The arguments themselves are not kept.
    """
    found = translate_initial_call(pid)
    return None if found is None else (*found[:2], [f"argument_{number}" for number in range(1, found[2] + 1)])


def translate_initial_call(pid: Pid) -> tuple[str, str, int] | None:
    """(module, function, number of arguments); of a behaviour its class's `init`. None as in `initial_call`."""
    found = node().scheduler.find(pid)
    origin = None if found is None else origin_of(found)
    return None if origin is None else origin.initial


def set_initial_call(module: str, function: str, arity: int) -> None:
    """Say what the current process runs in truth: behaviours do, whose processes all begin alike."""
    origin = origin_of(process())
    if origin is not None:
        origin.initial = (module, function, arity)


def set_label(label: object) -> None:
    """Say what the current process is for, to people; one that was not started by these functions keeps nothing."""
    origin = origin_of(process())
    if origin is not None:
        origin.label = label


def get_label(pid: Pid) -> object:
    """What a process of this node has said that it is for; None if it has not."""
    found = node().scheduler.find(pid)
    origin = None if found is None else origin_of(found)
    return None if origin is None else origin.label


def format(reason: object) -> str:
    """The reason of an end as text; an exception's as Python would show it, the innermost frame last."""
    match reason:
        case ((Atom() as kind, str() | bytes() as text), [*frames]):
            said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            return "".join([*map(_frame, reversed(frames)), f"{kind.name}: {said}"])
        case _:
            return repr(reason)


def _frame(frame: object) -> str:
    match frame:
        case (Atom() as module, Atom() as function, _, [*place]):
            where: dict[str, Any] = {str(entry[0]): entry[1] for entry in place if isinstance(entry, tuple)}
            return f'  File "{where.get("file", module.name)}", line {where.get("line", "?")}, in {function.name}\n'
        case _:
            return f"  {frame!r}\n"
