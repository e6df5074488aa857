"""Supervisors: processes that start others, end them, and start them again when they fail (OTP's `supervisor`).

    class Tree(Supervisor):
        def init(self):
            return Flags(strategy="rest_for_one"), [ChildSpec("store", Store), ChildSpec("front", Front, (8080,))]

    await Tree.start_link(name="tree")

or, where there is nothing to decide, `Supervisor.start_link(children=[...], strategy="one_for_all")`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from partisan._core.calls import call as ask
from partisan._core.calls import reply
from partisan._core.process import receive
from partisan._core.requests import Request
from partisan.errors import (
    AlreadyPresent,
    AlreadyStarted,
    BadChildSpec,
    ChildError,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    EncodeError,
    Exit,
    OnlyByPid,
    StartFailed,
)
from partisan.etf import Atom, Pid
from partisan.gen.behaviour import _IGNORED, Behaviour, _fail, called
from partisan.gen.control import Ignore
from partisan.gen.supervisor_children import ERROR
from partisan.gen.supervisor_report import ProgressReport as ProgressReport
from partisan.gen.supervisor_report import SupervisorReport as SupervisorReport
from partisan.gen.supervisor_report import format_log as format_log
from partisan.gen.supervisor_specs import ChildSpec as ChildSpec
from partisan.gen.supervisor_specs import Flags as Flags
from partisan.gen.supervisor_specs import bad, checked_flags, checked_specs, place
from partisan.gen.supervisor_specs import spawned as spawned
from partisan.gen.supervisor_tree import Tree
from partisan.gen.sys import System
from partisan.machines.supervision import Retry
from partisan.runtime.current import node, process
from partisan.runtime.message_calls import Target
from partisan.runtime.process_calls import Name

log = logging.getLogger(__name__)

MODULE, IN = Atom("supervisor"), Atom("in")
_CALLBACK_MODULE, _SPEC = Atom("get_callback_module"), Atom("get_childspec")
_SYSTEM, _GET_STATE = Atom("system"), Atom("get_state")


class Supervisor(Behaviour):
    """A process that keeps others running.

    A subclass gives `init`; without one, `start` takes `children` and the fields of `Flags` as keyword arguments.
    Shutdown of a supervisor ends its children, the latest first, before it ends itself.
    """

    _TITLE = "Supervisor"
    supervises = True
    _given: tuple[Any, Any] = ({}, ())

    def init(self, *args: Any) -> Any:
        """Describe the tree: (Flags, child specs), or Ignore(). Flags and specs may be mappings, too.

        A specification that is wrong, or a child that does not start, ends the supervisor; `start` raises StartFailed
        then. `sys.change_code` calls this again, with the same arguments.
        """
        return self._given

    def _options(self, *, children: Iterable[Any] | None = None, **options: Any) -> None:
        flags = {each.name: options.pop(each.name) for each in fields(Flags) if each.name in options}
        super()._options(**options)
        if type(self).init is not Supervisor.init:
            if children is not None or flags:
                raise TypeError(f"{type(self).__qualname__}.init says what the children are: give `start` none")
            return
        self._given = flags, list(children or ())

    async def _begin(self, args: tuple[Any, ...], name: Name | None) -> Any:
        process().trap_exit(True)
        self._args = args
        control = await super()._begin(args, name)
        if control is _IGNORED:
            return control
        try:
            flags, specs = self._understood(control)
            self._tree = Tree(self._title, flags, specs)
            try:
                await self._tree.begin()
            except (Exception, asyncio.CancelledError):
                if not process().killed:  # then their links tell the children
                    await self._tree.end_all()
                raise
        except Exit as error:
            _fail(error.reason, name)
            raise
        return None

    def _understood(self, described: Any) -> tuple[Flags, list[ChildSpec]]:
        """What `init` returned. Raises Exit with OTP's reason for what is wrong with it."""
        if not isinstance(described, tuple) or len(described) != 2:
            module, name = place(type(self))
            raise Exit((Atom("bad_return"), (module, Atom(f"{name.name}.init"), described)))
        try:
            flags = checked_flags(described[0])
        except BadChildSpec as error:
            raise Exit((Atom("supervisor_data"), error.reason)) from error
        try:
            return flags, _template_or_all(flags, described[1])
        except BadChildSpec as error:
            wrong = error.reason if flags.strategy == "simple_one_for_one" else (Atom("start_spec"), error.reason)
            raise Exit(wrong) from error

    async def _loop(self, system: System, control: Any) -> None:
        try:
            while True:
                message = await receive()
                if system.debug is not None:
                    system.tell((IN, message))
                system.last = message
                await self._take(message, system)
        except (Exception, asyncio.CancelledError):
            if not process().killed:
                await self._tree.end_all()
            raise

    async def _take(self, message: Any, system: System) -> None:
        """Do what a message says. Raises Exit if the supervisor is to end."""
        match message:
            case (Atom("EXIT"), pid, reason):
                if pid == system.parent:
                    raise Exit(reason)
                await self._tree.ended(pid, reason)
            case (Atom("DOWN"), _, _, Pid() as pid, reason):
                await self._tree.ended(pid, reason)
            case (Atom("$gen_call"), caller, request):
                await self._answer(caller, request)
            case Retry():
                await self._tree.retry(message)
            case (Atom("system"), caller, request):
                await system.handle(caller, request)
            case _:
                log.error("%s received what it does not expect: %r", self._title(), message)

    async def _answer(self, caller: Any, request: Any) -> None:
        near = type(caller) is tuple and len(caller) == 2 and type(caller[1]) is Request  # of this node
        if request == _CALLBACK_MODULE:
            answer: Any = type(self) if near else place(type(self))[0]
        else:
            answer = await self._tree.answer(request)
        if not near and type(answer) is tuple and isinstance(answer[1], ChildSpec):
            answer = (answer[0], answer[1].to_term())
        try:
            reply(caller, answer)
        except EncodeError as error:
            log.warning("%s cannot tell another node %r: %s", self._title(), request, error)
            reply(caller, (ERROR, (Atom("not_encodable"), str(error))))

    def _title(self) -> str:
        mine = process()
        return f"{mine.names[0] if mine.names else repr(mine.pid)} ({type(self).__qualname__})"

    # What `sys` asks.

    def system_about(self) -> list[Any]:
        """What the status tells besides: the callbacks' module, where OTP's `get_callback_module` looks for it."""
        return [(MODULE, [(list(b"Callback"), place(type(self))[0])])]

    def system_get_state(self) -> Any:
        """The flags, and the children as `which_children` tells them."""
        return self._tree.state()

    def system_replace_state(self, state: Any) -> Any:
        """Refused: the state is processes. Flags and specs change by `sys.change_code`, children by their functions."""
        raise Exit((Atom("not_allowed"), Atom("replace_state")))

    async def code_change(self, old_version: Any, extra: Any) -> None:
        """Call `init` again and go on by what it returns: children keep running, new ones are not started.

        Raises Exit, with OTP's reason, if that is wrong; nothing has changed then.
        """
        described = await called(self.init, *self._args)
        if isinstance(described, Ignore):
            return
        if not isinstance(described, tuple) or len(described) != 2:
            raise Exit(described)
        try:
            flags = checked_flags(described[0])
            self._tree.change(flags, _template_or_all(flags, described[1]))
        except BadChildSpec as error:
            raise Exit(error.reason) from error


def _template_or_all(flags: Flags, given: Any) -> list[ChildSpec]:
    """The child specs; of a simple_one_for_one there is one. Raises BadChildSpec."""
    specs = checked_specs(given, flags.auto_shutdown)
    if flags.strategy == "simple_one_for_one" and len(specs) != 1:
        raise bad("bad_start_spec", specs)
    return specs


# What clients ask.


class Child(NamedTuple):
    """A row of `which_children`.

    Attributes:
        id: None for the children of a simple_one_for_one.
        pid: None while it is down; the atom `restarting` while attempts to start it again fail.
        type: "worker" or "supervisor".
        modules: atoms, or "dynamic".
    """

    id: Any
    pid: Pid | Atom | None
    type: str
    modules: tuple[Atom, ...] | str


class Counts(NamedTuple):
    """How many children a supervisor has: specs, of these processes that are up, supervisors and workers, up or not."""

    specs: int
    active: int
    supervisors: int
    workers: int


_REFUSALS: dict[Any, type[ChildError]] = {
    Atom("not_found"): ChildNotFound,
    Atom("running"): ChildRunning,
    Atom("restarting"): ChildRestarting,
    Atom("already_present"): AlreadyPresent,
    Atom("simple_one_for_one"): OnlyByPid,
}


async def start_child(
    supervisor: Target,
    child: ChildSpec | Mapping[str, Any] | Sequence[Any],
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> Any:
    """Have a child started; return its pid, None if it ignores the start, or (pid, what else its start returned).

    Args:
        child: a child spec; for a simple_one_for_one the arguments that come after those of its template.
        timeout: seconds, as of any call; by default for ever, as the child's start takes as long as it takes.
    Raises:
        AlreadyStarted: a child of this id is up; `pid` is whose.
        AlreadyPresent: one is there, and down.
        StartFailed: it did not start, and is no child.
        BadChildSpec: the spec is wrong.
        Exit, CallTimeout: as `call`.
    """
    given: Any = list(child) if isinstance(child, list | tuple) else child
    answer = await _ask(supervisor, (Atom("start_child"), given), timeout, channel)
    if answer[0] == ERROR:
        raise _start_error(answer[1], None if isinstance(given, list) else child)
    return _pid_and_more(answer)


async def terminate_child(
    supervisor: Target, child: Any, *, timeout: float | None = None, channel: str | None = None
) -> None:
    """End a child, by its id, or by its pid in a simple_one_for_one. A temporary one is forgotten; others stay, down.

    It does not count as the end of a significant child. Raises ChildNotFound, OnlyByPid.
    """
    _done(await _ask(supervisor, (Atom("terminate_child"), child), timeout, channel), child)


async def restart_child(
    supervisor: Target, child: Any, *, timeout: float | None = None, channel: str | None = None
) -> Any:
    """Start a child that is down, by its id; return as `start_child`.

    Raises:
        ChildNotFound, ChildRunning, ChildRestarting, OnlyByPid: it cannot be.
        StartFailed: it did not start, and stays down.
    """
    answer = await _ask(supervisor, (Atom("restart_child"), child), timeout, channel)
    if answer[0] == ERROR:
        refused = _refusal(answer[1], child)
        raise refused if refused is not None else StartFailed(answer[1])
    return _pid_and_more(answer)


async def delete_child(
    supervisor: Target, child: Any, *, timeout: float | None = None, channel: str | None = None
) -> None:
    """Forget a child that is down, by its id. Raises ChildNotFound, ChildRunning, ChildRestarting, OnlyByPid."""
    _done(await _ask(supervisor, (Atom("delete_child"), child), timeout, channel), child)


async def which_children(
    supervisor: Target, *, timeout: float | None = None, channel: str | None = None
) -> list[Child]:
    """The children, the latest first."""
    rows = await _ask(supervisor, Atom("which_children"), timeout, channel)
    return [
        Child(key, pid, kind.name, modules.name if isinstance(modules, Atom) else tuple(modules))
        for key, pid, kind, modules in rows
    ]


async def count_children(supervisor: Target, *, timeout: float | None = None, channel: str | None = None) -> Counts:
    """How many children there are."""
    answer = await _ask(supervisor, Atom("count_children"), timeout, channel)
    return Counts(**{name.name: count for name, count in answer})


async def get_childspec(
    supervisor: Target, child: Any, *, timeout: float | None = None, channel: str | None = None
) -> Any:
    """The spec of a child, by its id or pid; of one of another node the map that OTP has. Raises ChildNotFound.

    The arguments of a temporary child are not kept.
    """
    return _done(await _ask(supervisor, (_SPEC, child), timeout, channel), child)


async def get_callback_module(supervisor: Target, *, timeout: float | None = None, channel: str | None = None) -> Any:
    """The class of a supervisor; of one of another node the atom of its module.

    OTP's supervisors are asked for their state, in which it is: they would end of the question that ours answer.
    """
    here = node()
    if here._place(supervisor)[0] != here.name:
        answer = await ask(supervisor, _GET_STATE, timeout=timeout, channel=channel, label=_SYSTEM, where=MODULE)
        match answer[1] if type(answer) is tuple and answer[:1] == (Atom("ok"),) else answer:
            case (Atom("state"), *_, Atom() as module, _):  # its record, of whichever release
                return module
    return await _ask(supervisor, _CALLBACK_MODULE, timeout, channel)


def check_childspecs(specs: Iterable[Any], auto_shutdown: str | None = None) -> None:
    """Raise BadChildSpec if one of the specs is wrong, or two have the same id.

    Args:
        auto_shutdown: what the flags say of it; significant children are wrong where it is "never". By default that
            is not looked at.
    """
    if auto_shutdown is not None:
        checked_flags({"auto_shutdown": auto_shutdown})
    checked_specs(specs, auto_shutdown)


async def start_link(supervisor: type[Supervisor] = Supervisor, **options: Any) -> Pid | None:
    """`supervisor.start_link(**options)`, where an Erlang programmer looks for it."""
    return await supervisor.start_link(**options)


async def _ask(supervisor: Target, request: Any, timeout: float | None, channel: str | None) -> Any:
    return await ask(supervisor, request, timeout=timeout, channel=channel, where=MODULE)


def _done(answer: Any, child: Any) -> Any:
    """What `ok` came with, if anything. Raises the error that the answer is."""
    if type(answer) is tuple and answer[0] == ERROR:
        raise _refusal(answer[1], child) or ChildError(answer[1], child)
    return answer[1] if type(answer) is tuple else None


def _refusal(reason: Any, child: Any) -> ChildError | None:
    kind = _REFUSALS.get(reason) if isinstance(reason, Atom) else None
    return None if kind is None else kind(reason, child)


def _start_error(reason: Any, child: Any) -> Exception:
    """The error of a start: of what OTP has as `{error, Reason}`."""
    if type(reason) is tuple and len(reason) == 2:
        if reason[0] == Atom("already_started"):
            return AlreadyStarted(reason, reason[1])
        if child is not None and type(reason[1]) is tuple and reason[1][:1] == (Atom("child"),):
            return StartFailed(reason[0])
    if child is None:  # of a template: whatever its start gave
        return StartFailed(reason)
    key = child.get("id") if isinstance(child, Mapping) else child.id if isinstance(child, ChildSpec) else child
    return _refusal(reason, key) or BadChildSpec(reason)


def _pid_and_more(answer: Any) -> Any:
    return answer[1] if len(answer) == 2 else (answer[1], answer[2])
