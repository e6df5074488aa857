"""Servers: processes that answer calls and hear casts (OTP's `gen_server`)."""

from __future__ import annotations

from inspect import isawaitable
from typing import Any

from partisan._core.calls import reply as reply
from partisan._core.process import receive
from partisan.errors import BadReturn, Exit, ReceiveTimeout
from partisan.etf import Atom
from partisan.gen.behaviour import EXIT, SYSTEM, Behaviour, called
from partisan.gen.call import abcast as abcast
from partisan.gen.call import call as call
from partisan.gen.call import cast as cast
from partisan.gen.call import multi_call as multi_call
from partisan.gen.call import send_request as send_request
from partisan.gen.call import stop as stop
from partisan.gen.control import NOTHING, Continue, NoReply, Reply, Stop
from partisan.gen.sys import System

CALL, CAST, TIMEOUT = Atom("$gen_call"), Atom("$gen_cast"), Atom("timeout")

_CONTROL = frozenset((Continue, NoReply, Reply, Stop))


class GenServer(Behaviour):
    """A process that answers calls and hears casts."""

    def handle_call(self, request: Any, caller: Any) -> Any:
        """Answer a call: return the answer, or a control value; `reply(caller, answer)` answers a NoReply() later."""
        raise Exit((Atom("bad_call"), request))

    def handle_cast(self, message: Any) -> Any:
        """Hear a cast; return None or a control value."""
        raise Exit((Atom("bad_cast"), message))

    def handle_info(self, message: Any) -> Any:
        """Hear any other message; return None or a control value."""

    def handle_continue(self, value: Any) -> Any:
        """Go on after a Continue(value), before any message; return None or a control value."""
        raise Exit((Atom("bad_continue"), value))

    async def _loop(self, system: System, control: Any) -> None:
        handle_call, handle_cast, handle_info = self.handle_call, self.handle_cast, self.handle_info
        timeout = None if control is None else await self._obey(control, "init")
        parent = system.parent
        while True:
            try:
                message = await (receive() if timeout is None else receive(timeout=timeout))
            except ReceiveTimeout:
                message = TIMEOUT
            if type(message) is tuple and message:
                tag = message[0]
                if tag is CALL and len(message) == 3:
                    caller = message[1]
                    answer = handle_call(message[2], caller)
                    if isawaitable(answer):
                        answer = await answer
                    if type(answer) in _CONTROL:
                        timeout = await self._answer(answer, caller)
                    else:
                        reply(caller, answer)
                        timeout = None
                    continue
                if tag is CAST and len(message) == 2:
                    control, callback = handle_cast(message[1]), "handle_cast"
                elif tag is SYSTEM and len(message) == 3:
                    await system.handle(message[1], message[2])
                    continue
                elif tag is EXIT and len(message) == 3 and message[1] == parent:
                    raise Exit(message[2])
                else:
                    control, callback = handle_info(message), "handle_info"
            else:
                control, callback = handle_info(message), "handle_info"
            if isawaitable(control):
                control = await control
            timeout = None if control is None else await self._obey(control, callback)

    async def _answer(self, control: Any, caller: Any) -> float | None:
        """Obey what `handle_call` returned; return the time-out of the next message."""
        if type(control) is Reply:
            reply(caller, control.value)
        elif type(control) is Stop and control.reply is not NOTHING:
            reply(caller, control.reply)
        return await self._obey(control, "handle_call")

    async def _obey(self, control: Any, callback: str) -> float | None:
        """Obey a control value; return the time-out of the next message. Raises Exit for Stop, and BadReturn."""
        while True:
            kind = type(control)
            if kind is Stop:
                raise Exit(control.reason)
            if kind is Continue:
                control = await called(self.handle_continue, control.value)
            elif kind in (NoReply, Reply):
                if control.continue_ is NOTHING:
                    timeout: float | None = control.timeout
                    return timeout
                control = await called(self.handle_continue, control.continue_)
            elif control is None:
                return None
            else:
                raise BadReturn(callback, control)
            callback = "handle_continue"
