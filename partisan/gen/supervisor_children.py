"""How the processes of a supervisor's children are started and ended."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from partisan._core.process import Process, receive
from partisan._core.ties import link
from partisan._core.watch import Watch
from partisan.errors import Exit, LinkUnsupported, PartisanError, ReceiveTimeout, StartFailed
from partisan.etf import Atom, Pid, Reference
from partisan.gen.behaviour import called
from partisan.gen.control import NOTHING, Ignore
from partisan.gen.supervisor_specs import ChildSpec
from partisan.runtime.current import node, process
from partisan.runtime.exits import crash_reason

log = logging.getLogger(__name__)

OK, ERROR, IGNORE = Atom("ok"), Atom("error"), Atom("ignore")
EXIT, DOWN, NOPROC, NOCONNECTION = Atom("EXIT"), Atom("DOWN"), Atom("noproc"), Atom("noconnection")
NORMAL, SHUTDOWN, KILL, KILLED = Atom("normal"), Atom("shutdown"), Atom("kill"), Atom("killed")
TIMEOUT = Atom("timeout")

FAR_GRACE = 5.0
"""Seconds to wait for the end of a killed child of another node (ours): its node may never tell."""

SLOW_START = 5.0
"""Seconds that the start of a child may take until that is logged (ours)."""
HINT = "a function that is the child itself is given as spawned(function)"


@dataclass(slots=True, eq=False)
class Entry:
    """What is known of a child.

    Attributes:
        spec: how it is described.
        extra: what its supervisor's template is called with besides.
        pid: its process; None while it is down.
        monitor: of a process of another node.
    """

    spec: ChildSpec
    extra: tuple[Any, ...] = ()
    pid: Pid | None = None
    monitor: Reference | None = field(default=None)


def in_order(reason: object) -> bool:
    """Whether a process that ends so has not failed: normal, shutdown, {shutdown, Term}."""
    return reason in (NORMAL, SHUTDOWN) or (type(reason) is tuple and len(reason) == 2 and reason[0] == SHUTDOWN)


async def start(spec: ChildSpec, extra: Sequence[Any] = ()) -> tuple[Pid | None, Any]:
    """Start a child: its pid, None if it ignores the start, and what else its start gave, NOTHING by default.

    Raises:
        StartFailed: with the reason of OTP's `{error, Reason}`; `{'EXIT', Reason}` if `start` raised itself.
    """
    args = (*spec.args, *extra)
    slow = asyncio.get_running_loop().call_later(SLOW_START, _say_slow, spec)
    try:
        if inspect.isclass(spec.start):
            value = await spec.start.start_link(name=spec.name, args=args, **spec.options)  # type: ignore[attr-defined]
            return value, NOTHING
        value = await called(spec.start, *args)
    except StartFailed:
        raise
    except Exit as error:
        raise StartFailed((EXIT, error.term)) from error
    except Exception as error:
        raise StartFailed((EXIT, crash_reason(error))) from error
    finally:
        slow.cancel()
    if value is None:  # perhaps what a behaviour's start_link gave it
        log.warning("the start of child %r returned None, which counts as Ignore(): %s", spec.id, HINT)
    return _meaning(value)


def _say_slow(spec: ChildSpec) -> None:
    text = "the start of child %r has not returned for %g s, and its supervisor waits: %s"
    log.warning(text, spec.id, SLOW_START, HINT)


def _meaning(value: Any) -> tuple[Pid | None, Any]:
    """What a start returned, in Python's forms or OTP's."""
    match value:
        case Pid():
            return value, NOTHING
        case (Pid() as pid, extra):
            return pid, extra
        case (Atom("ok"), Pid() as pid):
            return pid, NOTHING
        case (Atom("ok"), Pid() as pid, extra):
            return pid, extra
        case None | Ignore() | Atom("ignore"):
            return None, NOTHING
        case (Atom("error"), reason):
            raise StartFailed(reason)
        case _:
            raise StartFailed(value)


def hold(entry: Entry, pid: Pid) -> None:
    """Hear of the end of a child that has started, and let it hear of ours."""
    here, mine = node(), process()
    entry.pid = pid
    if pid.node == here.name:
        other = here.scheduler.find(pid)
        if other is None:
            mine.signal(NOPROC, pid, True)  # too late for a link, which it had if its end is to be known
        else:
            link(mine, other)
        return
    entry.monitor = here.monitor(pid)
    with contextlib.suppress(LinkUnsupported):  # then it outlives a supervisor that is killed
        here.link(pid)


class Ended(Watch):
    """Waits for the end of a process.

    Attributes:
        reason: of it, when `over` is set.
    """

    def __init__(self, of: Process) -> None:
        self.over = asyncio.Event()
        self.reason: object = None
        self.watch(of)

    def fire(self, reason: object) -> int:
        self.reason = reason
        self.over.set()
        return 0


async def end(entries: Sequence[Entry]) -> list[object]:
    """End children of one way of ending, all at once; their reasons, in order.

    They get the exit signal `shutdown` and are killed when their time is over; brutal ones are killed at once. The
    links stay, so that a supervisor that is killed meanwhile takes them along: their exit signals come, for nobody.
    """
    spec = entries[0].spec
    waiting = [_tell_end(entry, KILL if spec.brutal else SHUTDOWN) for entry in entries]
    pairs = list(zip(entries, waiting, strict=True))
    try:
        try:
            async with asyncio.timeout(None if spec.brutal else spec.seconds):
                reasons = [await _over(each) for each in waiting]
        except TimeoutError:
            reasons = [await _kill(entry, each) for entry, each in pairs]
    finally:
        for each in waiting:
            if isinstance(each, Ended):
                each.unwatch()
    for entry in entries:
        let_go(entry)
    return reasons


def _tell_end(entry: Entry, signal: Atom) -> Ended | object:
    """Send a child its exit signal; what to wait for, or its reason if there is nothing to wait for."""
    here, mine, pid = node(), process(), entry.pid
    assert pid is not None
    if pid.node != here.name:
        return _tell_far(entry, pid, signal)
    other = here.scheduler.find(pid)
    if other is None:
        return _reason_told(mine, pid)
    ended = Ended(other)
    other.signal(signal, mine.pid)
    return ended


def _tell_far(entry: Entry, pid: Pid, signal: Atom) -> object:
    try:
        node().exit(pid, signal)
    except PartisanError as error:
        log.warning("%s cannot end %r: %s", node().name, pid, error)
        return NOCONNECTION
    return entry.monitor


def _reason_told(mine: Process, pid: Pid) -> object:
    """Why a child has ended that was found to have: what its exit signal, not yet read, says."""
    found: list[object] = []

    def take(message: object) -> bool:
        if type(message) is tuple and len(message) == 3 and message[0] is EXIT and message[1] == pid:
            found.append(message[2])
            return True
        return False

    mine.remove(take)
    return found[0] if found else NOPROC


async def _over(waiting: Ended | object) -> object:
    """Wait for the end of a child: its reason."""
    if isinstance(waiting, Ended):
        await waiting.over.wait()
        return waiting.reason
    if isinstance(waiting, Reference):
        if not process().alive:
            return NOCONNECTION  # being ended itself, it can receive no more
        return (await receive((DOWN, waiting, ..., ..., ...)))[4]
    return waiting


async def _kill(entry: Entry, waiting: Ended | object) -> object:
    if isinstance(waiting, Ended):
        if not waiting.over.is_set():
            other = None if entry.pid is None else node().scheduler.find(entry.pid)
            if other is not None:
                other.signal(KILL, process().pid)
            await waiting.over.wait()
        return waiting.reason
    if isinstance(waiting, Reference) and entry.pid is not None and process().alive:
        _tell_far(entry, entry.pid, KILL)
        try:
            return (await receive((DOWN, waiting, ..., ..., ...), timeout=FAR_GRACE))[4]
        except ReceiveTimeout:
            return TIMEOUT
    return waiting


def let_go(entry: Entry) -> None:
    """Forget the process of a child that has ended."""
    if entry.monitor is not None and process().alive:
        node().demonitor(entry.monitor, flush=True)
    entry.pid = entry.monitor = None
