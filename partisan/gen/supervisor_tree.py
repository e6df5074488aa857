"""What drives the decisions of a supervisor: its children's processes, and what it is asked about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from partisan._core.references import read
from partisan.errors import AlreadyStarted, BadChildSpec, Exit, StartFailed
from partisan.etf import Atom, Pid
from partisan.gen.control import NOTHING
from partisan.gen.supervisor_children import (
    ERROR,
    KILLED,
    OK,
    SHUTDOWN,
    Entry,
    end,
    hold,
    in_order,
    let_go,
    start,
)
from partisan.gen.supervisor_report import ProgressReport, SupervisorReport, tell
from partisan.gen.supervisor_specs import ChildSpec, Flags, checked_spec, modules_of, place
from partisan.machines import supervision as m
from partisan.runtime.current import node, process

INTENSITY = Atom("reached_max_restart_intensity")
RESTARTING, NOT_FOUND, RUNNING = Atom("restarting"), Atom("not_found"), Atom("running")
SIMPLE, ALREADY_STARTED, ALREADY_PRESENT = Atom("simple_one_for_one"), Atom("already_started"), Atom("already_present")


class Tree:
    """The children of one supervisor. Its methods run in the supervisor's process, one at a time.

    Args:
        title: how the reports call the supervisor.
        flags, specs: checked ones; a simple_one_for_one has one spec, the template.
    """

    def __init__(self, title: Callable[[], str], flags: Flags, specs: list[ChildSpec]) -> None:
        self._title = title
        self._machine = m.Supervision(flags.strategy, flags.intensity, flags.period, flags.auto_shutdown)
        self._by_pid: dict[Pid, m.Child] = {}
        self._number = 0  # of the latest child of a template
        self.flags = flags
        self.template: ChildSpec | None = None
        self._take(specs)

    def _take(self, specs: list[ChildSpec]) -> None:
        if not self._machine.simple:
            self._machine.adopt(m.Child(spec.id, spec.restart, spec.significant, Entry(spec)) for spec in specs)
            for spec in specs:
                self._machine.children[spec.id].about.spec = spec
            return
        self.template = specs[0]
        for child in self._machine.children.values():
            self._machine.retype(child, self.template.restart, self.template.significant)
            child.about.spec = self.template

    def change(self, flags: Flags, specs: list[ChildSpec]) -> None:
        """Go on by other flags and specs; new children are not started, and old ones stay. Raises BadChildSpec."""
        if (flags.strategy == SIMPLE.name) != self._machine.simple:
            raise BadChildSpec((Atom("invalid_strategy"), flags.strategy))
        self.flags = flags
        self._machine.change(flags.strategy, flags.intensity, flags.period, flags.auto_shutdown)
        self._take(specs)

    def state(self) -> dict[str, Any]:
        """What `sys` shows."""
        return {"flags": self.flags, "children": [self._row(child) for child in self._machine.children.values()]}

    # Processes.

    async def begin(self) -> None:
        """Start all children in order. Raises Exit when one does not start; those before it are up then."""
        for child in list(self._machine.children.values()):
            try:
                await self._start(child)
            except StartFailed as error:
                self._report("start_error", error.reason, child, error)
                reason = (Atom("failed_to_start_child"), child.key, error.reason)
                raise Exit((SHUTDOWN, reason)) from error

    async def end_all(self) -> None:
        """End all children, the latest first; those of a template at once."""
        children = [step.child for step in self._machine.stop()]
        if not self._machine.simple:
            for child in children:
                await self._end([child])
        elif children:
            await self._end(children)

    async def ended(self, pid: Pid, reason: object) -> None:
        """A process has ended; if it is a child's, do what that means. Raises Exit if the supervisor is to end."""
        child = self._by_pid.pop(pid, None)
        if child is not None:
            entry: Entry = child.about
            steps = self._machine.ended(child, in_order(reason), node().loop.time())
            await self._perform(steps, reason)
            if entry.pid == pid:
                let_go(entry)

    async def retry(self, step: m.Retry) -> None:
        """Try again to start a child. Raises Exit if the supervisor is to end."""
        await self._perform(self._machine.retry(step.key, node().loop.time()), None)

    async def _perform(self, steps: Iterable[m.Step], reason: object) -> None:
        for step in steps:
            match step:
                case m.Start(child):
                    try:
                        await self._start(child)
                    except StartFailed as error:
                        self._report("start_error", error.reason, child, error)
                        for then in self._machine.failed(child):
                            process().scheduler.send_local(process(), then)
                        return
                case m.End(child):
                    await self._end([child])
                case m.Report(context, child):
                    self._report(context, INTENSITY if context == "shutdown" else reason, child)
                case m.Shutdown():
                    raise Exit(SHUTDOWN)

    async def _start(self, child: m.Child) -> tuple[Pid | None, Any]:
        """Start a child: its pid, None if it ignores the start, and what else its start gave. Raises StartFailed."""
        entry: Entry = child.about
        if entry.monitor is not None:
            let_go(entry)
        pid, extra = await start(entry.spec, entry.extra)
        if pid is None:
            entry.pid = None
            self._machine.started(child, up=False)
            return pid, extra
        hold(entry, pid)
        self._by_pid[pid] = child
        self._machine.started(child)
        if child.temporary:  # it is never started again: what it was started with is not kept for it
            entry.extra = ()
            if not self._machine.simple:
                entry.spec = replace(entry.spec, args=(), options={})
        tell(ProgressReport(self._title(), self._about(child)))
        return pid, extra

    async def _end(self, children: list[m.Child]) -> None:
        pids = [child.about.pid for child in children]
        told = [self._about(child) for child in children]
        reasons = await end([child.about for child in children])
        for child, pid, about, reason in zip(children, pids, told, reasons, strict=True):
            self._by_pid.pop(pid, None)
            self._machine.down(child)
            as_told = KILLED if child.about.spec.brutal else SHUTDOWN
            if reason != as_told and not (child.restart != "permanent" and in_order(reason)):
                tell(SupervisorReport(self._title(), "shutdown_error", reason, about))

    def _report(self, context: str, reason: object, child: m.Child, error: BaseException | None = None) -> None:
        cause = None if error is None else error.__cause__
        tell(SupervisorReport(self._title(), context, reason, self._about(child)), cause)

    def _about(self, child: m.Child) -> dict[str, Any]:
        entry: Entry = child.about
        module, name = place(entry.spec.start)
        return {
            "pid": entry.pid,
            "id": entry.spec.id,
            "start": f"{module.name}.{name.name}",
            "restart": child.restart,
            "significant": child.significant,
            "shutdown": "infinity" if entry.spec.seconds is None else entry.spec.shutdown or entry.spec.seconds,
            "type": entry.spec.kind,
        }

    # What it is asked, in OTP's terms.

    async def answer(self, request: Any) -> Any:
        """The answer to a request, as OTP's supervisor gives it."""
        match request:
            case (Atom("start_child"), given):
                return await (self._start_extra(given) if self._machine.simple else self._start_new(given))
            case (Atom("terminate_child"), key):
                return await self._terminate(self._meant(key))
            case (Atom("restart_child"), key):
                return await self._restart(self._meant(key))
            case (Atom("delete_child"), key):
                return self._delete(self._meant(key))
            case (Atom("get_childspec"), key):
                return self._spec(self._meant(key))
            case Atom("which_children"):
                return [self._row(child) for child in reversed(self._machine.children.values())]
            case Atom("count_children"):
                return self._counts()
        return ERROR, (Atom("bad_call"), request)

    async def _start_extra(self, args: Any) -> Any:
        """Start a child of the template, with more arguments."""
        template = self.template
        assert template is not None
        if not isinstance(args, list | tuple):
            return ERROR, (Atom("badarg"), args)
        self._number += 1
        entry = Entry(template, tuple(args))
        child = self._machine.add(m.Child(self._number, template.restart, template.significant, entry))
        try:
            return _done(*await self._start(child))
        except StartFailed as error:
            self._machine.drop(child)
            return ERROR, error.reason

    async def _start_new(self, given: Any) -> Any:
        try:
            spec = checked_spec(given, self.flags.auto_shutdown)
        except BadChildSpec as error:
            return ERROR, error.reason
        old = self._machine.children.get(spec.id)
        if old is not None:
            return ERROR, (ALREADY_STARTED, old.about.pid) if old.state is m.UP else ALREADY_PRESENT
        child = self._machine.add(m.Child(spec.id, spec.restart, spec.significant, Entry(spec)))
        try:
            return _done(*await self._start(child))
        except AlreadyStarted as error:
            self._machine.drop(child)
            return ERROR, error.reason
        except StartFailed as error:
            self._report("start_error", error.reason, child, error)
            self._machine.drop(child)
            return ERROR, (error.reason, _record(spec))

    async def _terminate(self, key: Any) -> Any:
        if self._machine.simple:
            if not isinstance(key, Pid):
                return ERROR, SIMPLE
            child = self._by_pid.get(key)
            if child is None:
                alive = key.node == node().name and node().scheduler.find(key) is not None
                return (ERROR, NOT_FOUND) if alive else OK
        else:
            child = self._child(key)
            if child is None:
                return ERROR, NOT_FOUND
        if child.state is m.UP:
            await self._end([child])
        else:
            self._machine.down(child)
        return OK

    async def _restart(self, key: Any) -> Any:
        child = self._child(key)
        if self._machine.simple:
            return ERROR, SIMPLE
        if child is None:
            return ERROR, NOT_FOUND
        if child.state is not m.DOWN:
            return ERROR, RESTARTING if child.state is m.RESTARTING else RUNNING
        try:
            return _done(*await self._start(child))
        except StartFailed as error:
            self._report("start_error", error.reason, child, error)
            return ERROR, error.reason

    def _delete(self, key: Any) -> Any:
        child = self._child(key)
        if self._machine.simple:
            return ERROR, SIMPLE
        if child is None:
            return ERROR, NOT_FOUND
        if child.state is not m.DOWN:
            return ERROR, RESTARTING if child.state is m.RESTARTING else RUNNING
        self._machine.drop(child)
        return OK

    def _spec(self, key: Any) -> Any:
        if isinstance(key, Pid):
            child = self._by_pid.get(key)
            spec = None if child is None else child.about.spec
        elif self.template is not None:
            spec = self.template if key == self.template.id else None
        else:
            child = self._child(key)
            spec = None if child is None else child.about.spec
        return (ERROR, NOT_FOUND) if spec is None else (OK, spec)

    def _meant(self, key: Any) -> Any:
        """The id or pid that is meant: what is a `str` here comes from elsewhere as a binary, a pid maybe as a URI."""
        if not isinstance(key, bytes) or key in self._machine.children:
            return key
        pid, text = read(key), key.decode(errors="replace")
        template = None if self.template is None else self.template.id
        return pid if isinstance(pid, Pid) else text if text in (*self._machine.children, template) else key

    def _child(self, key: Any) -> m.Child | None:
        if self._machine.simple:
            return None
        try:
            return self._machine.children.get(key)
        except TypeError:  # no id: it cannot be hashed
            return None

    def _row(self, child: m.Child) -> tuple[Any, ...]:
        entry: Entry = child.about
        pid = RESTARTING if child.state is m.RESTARTING else entry.pid
        key = None if self._machine.simple else child.key
        return key, pid, Atom(entry.spec.kind), modules_of(entry.spec)

    def _counts(self) -> list[tuple[Atom, int]]:
        children = self._machine.children.values()
        supervisors = sum(child.about.spec.kind == "supervisor" for child in children)
        return [
            (Atom("specs"), 1 if self._machine.simple else len(children)),
            (Atom("active"), sum(child.state is m.UP for child in children)),
            (Atom("supervisors"), supervisors),
            (Atom("workers"), len(children) - supervisors),
        ]


def _done(pid: Pid | None, extra: Any) -> tuple[Any, ...]:
    return (OK, pid) if extra is NOTHING else (OK, pid, extra)


def _record(spec: ChildSpec) -> tuple[Any, ...]:
    """A child as OTP's supervisor names it in a failure."""
    term = spec.to_term()
    names = ("id", "start", "restart", "significant", "shutdown", "type", "modules")
    return (Atom("child"), None, *(term[Atom(name)] for name in names))
