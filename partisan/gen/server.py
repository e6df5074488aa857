"""Servers: processes that answer calls and hear casts (OTP's `gen_server`)."""

from __future__ import annotations

import logging
from types import CoroutineType
from typing import Any, NoReturn

from partisan._core.calls import reply as reply
from partisan._core.process import receive
from partisan.errors import BadReturn, Exit, ReceiveTimeout
from partisan.etf import Atom, Pid, Reference
from partisan.gen.behaviour import EXIT, SYSTEM, Behaviour, called, undefined
from partisan.gen.call import abcast as abcast
from partisan.gen.call import call as call
from partisan.gen.call import cast as cast
from partisan.gen.call import multi_call as multi_call
from partisan.gen.call import send_request as send_request
from partisan.gen.call import stop as stop
from partisan.gen.concurrent import BOUND, Concurrent, Finished
from partisan.gen.control import CONTROL, NOTHING, Continue, Ignore, NoReply, Reply, Stop
from partisan.gen.debug import NOREPLY, OUT
from partisan.gen.report import format_log as format_log
from partisan.gen.responses import RequestIds as RequestIds
from partisan.gen.responses import Response as Response
from partisan.gen.responses import check_response as check_response
from partisan.gen.responses import receive_response as receive_response
from partisan.gen.responses import reqids_add as reqids_add
from partisan.gen.responses import reqids_new as reqids_new
from partisan.gen.responses import reqids_size as reqids_size
from partisan.gen.responses import reqids_to_list as reqids_to_list
from partisan.gen.responses import wait_response as wait_response
from partisan.gen.sys import System
from partisan.runtime.current import process
from partisan.runtime.process_calls import Name

log = logging.getLogger(__name__)

CALL, CAST, TIMEOUT = Atom("$gen_call"), Atom("$gen_cast"), Atom("timeout")


PLAIN = frozenset((type(None), bool, int, float, str, bytes, tuple, list, dict, Atom, Pid))
"""Types of answers that are nothing else: most calls are looked at no further."""


class GenServer(Behaviour):
    """A process that answers calls and hears casts: subclass it, and `start` it.

    The instance is the state. Callbacks may be plain or async; they are called one after the other, so that no two
    touch the state at once. What they may return besides None or an answer is a control value: `NoReply`, `Reply`,
    `Continue`, `Stop`, and from `init` `Ignore`. Whatever they raise ends the process: `raise Exit(reason)` with a
    chosen reason.

    Options of `start`, besides those of `Behaviour.start`:
        concurrent: True, or how many: an async `handle_call` runs in a task of its own, so that others are answered
            meanwhile; `receive` does not work there. Everything else stays one after the other. The tasks end with the
            server; what one raises ends it.
    """

    _TITLE = "Generic server"

    __slots__ = ("_concurrent",)  # no part of the state
    _concurrent: Concurrent | None

    def handle_call(self, request: Any, caller: Any) -> Any:
        """Answer a call.

        Args:
            request: what was asked.
            caller: who waits: (pid, tag), as OTP's `From`; for `reply`, after NoReply().
        Returns:
            The answer, None too; or a control value.
        """
        raise undefined(self, "handle_call", request)

    def handle_cast(self, message: Any) -> Any:
        """Hear a cast; return None or a control value."""
        raise undefined(self, "handle_cast", message)

    def handle_info(self, message: Any) -> Any:
        """Hear any other message, `Atom("timeout")` among them; return None or a control value."""
        log.warning("%r has no handle_info: %r is dropped", process(), message)

    def handle_continue(self, value: Any) -> Any:
        """Go on after a Continue(value), before any message; return None or a control value."""
        raise undefined(self, "handle_continue", value)

    def _options(self, *, concurrent: bool | int = False, **options: Any) -> None:
        super()._options(**options)
        if type(concurrent) is not bool and concurrent < 1:
            raise ValueError(f"concurrent {concurrent!r} is neither a bool nor at least 1")
        bound = BOUND if concurrent is True else int(concurrent)
        self._concurrent = Concurrent(process(), bound) if bound else None

    def _check_init(self, control: Any) -> None:
        if control is not None and type(control) not in (NoReply, Continue, Stop, Ignore):
            raise BadReturn("init", control)
        if type(control) is NoReply:
            _check(control, "init")

    async def _loop(self, system: System, control: Any) -> None:
        message: Any = NOTHING
        try:
            timeout = None if control is None else await self._obey(control, "init")
            handle_call, handle_cast, handle_info = self.handle_call, self.handle_cast, self.handle_info
            parent, idle, debug = system.parent, system.hibernate_after, system.debug
            while True:
                if timeout is None and idle is None:
                    message = await receive()
                else:
                    message = await self._wait(timeout, idle)
                if debug is not None:
                    debug.hear(message)
                if type(message) is tuple and message:
                    tag = message[0]
                    if tag is CALL and len(message) == 3:
                        caller = message[1]
                        answer = handle_call(message[2], caller)
                        if type(answer) not in PLAIN:
                            if self._concurrent is not None and type(answer) is CoroutineType:
                                await self._concurrent.begin(answer, caller)
                                timeout = None
                                continue
                            if hasattr(type(answer), "__await__"):
                                answer = await answer
                            if type(answer) in CONTROL:
                                timeout = self._answer(answer, caller, system)
                                if type(timeout) in CONTROL:
                                    timeout = await self._obey(timeout, "handle_call")
                                continue
                        reply(caller, answer)
                        timeout = None
                        if debug is not None:
                            debug.tell((OUT, answer, caller))
                        continue
                    if tag is CAST and len(message) == 2:
                        control, callback = handle_cast(message[1]), "handle_cast"
                    elif tag is SYSTEM and len(message) == 3:
                        await system.handle(message[1], message[2])
                        debug = system.debug
                        continue
                    elif tag is EXIT and len(message) == 3 and message[1] == parent:
                        raise Exit(message[2])
                    else:
                        control, callback = handle_info(message), "handle_info"
                elif type(message) is Finished:
                    if message.error is not None:
                        raise message.error
                    timeout = self._answer(message.control, message.caller, system)
                    if type(timeout) in CONTROL:
                        timeout = await self._obey(timeout, "handle_call")
                    continue
                else:
                    control, callback = handle_info(message), "handle_info"
                if hasattr(type(control), "__await__"):
                    control = await control
                timeout = None if control is None else await self._obey(control, callback)
                if debug is not None:
                    debug.tell((NOREPLY,))
        except BaseException:
            system.last = message
            raise
        finally:
            if self._concurrent is not None:
                self._concurrent.stop()

    async def _wait(self, timeout: float | None, idle: float | None) -> Any:
        """The next message; Atom("timeout") when the time is over; after `idle` s without one, memory is given back."""
        if timeout is not None:
            try:
                return await receive(timeout=timeout)
            except ReceiveTimeout:
                return TIMEOUT
        try:
            return await receive(timeout=idle)
        except ReceiveTimeout:
            process().hibernate()
            return await receive()

    def _answer(self, control: Any, caller: Any, system: System) -> Any:
        """Answer with what `handle_call` returned; return the time-out of the next message, or what is yet to obey."""
        if type(control) is Reply:
            after = _after(control, "handle_call")
            reply(caller, control.value)
            system.tell((OUT, control.value, caller))
            return after
        if type(control) is Stop and control.reply is not NOTHING:
            system.farewell = (caller, control.reply)
            raise Exit(control.reason)
        return control

    async def _obey(self, control: Any, callback: str) -> float | None:
        """Obey a control value; return the time-out of the next message. Raises Exit for Stop, and BadReturn."""
        while control is not None:
            kind = type(control)
            if kind is Stop and control.reply is NOTHING:
                raise Exit(control.reason)
            if kind is Continue:
                control = await called(self.handle_continue, control.value)
            elif kind is NoReply:
                after = _after(control, callback)
                if type(after) is not Continue:
                    timeout: float | None = after
                    return timeout
                control = await called(self.handle_continue, after.value)
            else:
                raise BadReturn(callback, control)
            callback = "handle_continue"
        return None


def _after(control: NoReply | Reply, callback: str) -> Any:
    """The time-out that it asks for, or a Continue. Raises BadReturn."""
    _check(control, callback)
    if control.continue_ is not NOTHING:
        return Continue(control.continue_)
    if control.hibernate:
        process().hibernate()
    return control.timeout


def _check(control: NoReply | Reply, callback: str) -> None:
    """Raise BadReturn for a time-out that is none."""
    timeout = control.timeout
    if timeout is not None and (type(timeout) not in (int, float) or not timeout >= 0):
        raise BadReturn(callback, control)


# The functions of the module, for those who look for them here: OTP's names, with the class where OTP has the module.


async def start(server: type[GenServer], **options: Any) -> Pid | None:
    """As `server.start(**options)`."""
    return await server.start(**options)


async def start_link(server: type[GenServer], **options: Any) -> Pid | None:
    """As `server.start_link(**options)`."""
    return await server.start_link(**options)


async def start_monitor(server: type[GenServer], **options: Any) -> tuple[Pid | None, Reference]:
    """As `server.start_monitor(**options)`."""
    return await server.start_monitor(**options)


async def enter_loop(
    server: GenServer,
    control: NoReply | Continue | Stop | None = None,
    *,
    name: Name | None = None,
    **options: Any,
) -> NoReturn:
    """Make the current process a server, in the state that it has; it never returns.

    Args:
        server: the state; its `init` is not called.
        control: as `init` would return.
        name: under which the process is registered.
        options: as those of `start`.
    Raises:
        Exit: the server has ended; `process_was_not_started_by_proc_lib`; `process_not_registered` under the name.
    """
    await server._enter(control, name, options)
