"""Children and supervisors for the cases of the supervisor: each test runs inside of a process, as OTP's cases do."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import partisan
from partisan import Atom, Node, Pid
from partisan.errors import StartFailed
from partisan.gen import supervisor as sup
from partisan.gen.control import Stop
from partisan.gen.server import GenServer, cast
from partisan.gen.supervisor import ChildSpec, Supervisor

NORMAL, SHUTDOWN, KILL, KILLED = Atom("normal"), Atom("shutdown"), Atom("kill"), Atom("killed")
ABNORMAL = Atom("abnormal")
DOWN, EXIT = Atom("DOWN"), Atom("EXIT")
REASONS = {"normal": NORMAL, "shutdown": SHUTDOWN, "shutdown_term": (SHUTDOWN, 1), "abnormal": ABNORMAL}


def in_process(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Run a test in a process of a fresh node that traps exits; nothing that it started may be left in the end."""

    @functools.wraps(test)
    async def run(**given: Any) -> None:
        async with Node("a@127.0.0.1:0") as node:
            done = asyncio.get_running_loop().create_future()

            async def body() -> None:
                partisan.trap_exit()
                try:
                    await test(**given)
                except Exception as error:
                    done.set_exception(error)
                else:
                    done.set_result(None)

            node.spawn(body)
            await done

    return run


class Worker(GenServer):
    """Ends with whatever reason it is told."""

    def init(self, *args: Any) -> None:
        self.args = args

    def handle_call(self, request: Any, caller: Any) -> Any:
        return self.args

    def handle_cast(self, reason: Any) -> Any:
        return Stop(reason)


class Recorder(Worker):
    """Tells a list of its start and, unless it is killed, of its end."""

    def init(self, events: list[Any], name: Any) -> None:  # type: ignore[override]
        partisan.trap_exit()
        self.events, self.name = events, name
        events.append(("start", name))

    def terminate(self, reason: object) -> None:
        self.events.append(("end", self.name))


class Hanging(GenServer):
    """Does not end when it is told to."""

    def init(self) -> None:
        partisan.trap_exit()

    async def terminate(self, reason: object) -> None:
        await asyncio.Event().wait()


class Scripted:
    """A start that does what it is told to, time after time; the last word is for ever.

    Args:
        outcomes: "up", "ignore", an exception to raise, or any value to return.
    Attributes:
        starts: how often it was called.
    """

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.starts = 0
        self.arguments: list[tuple[Any, ...]] = []

    async def __call__(self, *args: Any) -> Any:
        self.starts += 1
        self.arguments.append(args)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome == "up":
            return await Worker.start_link(args=args)
        return Atom("ignore") if outcome == "ignore" else outcome


def worker(key: Any, restart: str = "permanent", **options: Any) -> ChildSpec:
    return ChildSpec(key, Worker, restart=restart, **options)


async def start(*children: Any, **flags: Any) -> Pid:
    """Start a supervisor that is linked to the test."""
    pid = await Supervisor.start_link(children=children, **flags)
    assert pid is not None
    return pid


async def pid_of(supervisor: Pid, name: Any) -> Any:
    return next(child.pid for child in await sup.which_children(supervisor) if child.id == name)


async def pids(supervisor: Pid) -> list[Any]:
    """In start order."""
    return [child.pid for child in reversed(await sup.which_children(supervisor))]


async def names(supervisor: Pid) -> list[Any]:
    """In start order."""
    return [child.id for child in reversed(await sup.which_children(supervisor))]


async def down(reference: Any) -> Any:
    """The reason of an end that is monitored."""
    return (await partisan.receive((DOWN, reference, ..., ..., ...), timeout=10.0))[4]


async def end(pid: Pid, reason: object = ABNORMAL) -> None:
    """Let a worker end by itself; its supervisor has heard of it when this returns, and does what it does next."""
    reference = partisan.monitor(pid)
    if reason == KILL:
        partisan.exit(pid, KILL)
    else:
        cast(pid, reason)
    await down(reference)


async def ended(pid: Pid) -> Any:
    """Wait for the end of a process that is linked to the test: the reason."""
    return (await partisan.receive((EXIT, pid, ...), timeout=10.0))[2]


async def stop(pid: Pid, reason: object = SHUTDOWN) -> Any:
    """Tell a supervisor as its parent to end, and wait for that."""
    partisan.exit(pid, reason)
    return await ended(pid)


async def lives(pid: Pid) -> bool:
    """Whether a supervisor goes on, once it has done what it was doing."""
    try:
        await sup.count_children(pid)
    except partisan.Exit:
        return False
    return True


async def fails(starting: Awaitable[Any]) -> Any:
    """The reason why a start fails."""
    try:
        await starting
    except StartFailed as error:
        return error.reason
    raise AssertionError("it has started")


def reports(caplog: Any, context: str | None = None) -> list[sup.SupervisorReport]:
    """The supervisor reports that were logged."""
    found = [getattr(record, "report", None) for record in caplog.records if record.levelno == logging.ERROR]
    return [
        each
        for each in found
        if isinstance(each, sup.SupervisorReport) and (context is None or each.context == context)
    ]
