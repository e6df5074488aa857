"""Look into processes of every behaviour, and steer them (OTP's `sys`): the client's functions, and the process's part.

A request is `{system, From, Request}`. A process hands it to its `System`, which answers, and keeps the process while
it is suspended.
"""

from __future__ import annotations

from typing import Any, Protocol

from partisan._core.calls import call as ask
from partisan._core.calls import reply
from partisan._core.process import receive
from partisan.errors import Exit
from partisan.etf import Atom, Pid
from partisan.runtime.message_calls import Target

SYSTEM, OK, EXIT = Atom("system"), Atom("ok"), Atom("EXIT")
_SYS = Atom("sys")


class Behaviour(Protocol):
    """What a process that obeys system messages is to `sys`."""

    def system_get_state(self) -> Any: ...
    def system_replace_state(self, state: Any) -> Any: ...
    def system_status(self) -> Any: ...


class System:
    """The part of one process that system messages are for.

    Args:
        behaviour: whose state is asked for.
        parent: whose exit signal ends the process; None: nobody's.
    Attributes:
        suspended: whether it takes nothing but system messages.
        debug: what is told of each message, or None: the process looks at this once a message.
    """

    def __init__(self, behaviour: Behaviour, parent: Pid | None) -> None:
        self._behaviour = behaviour
        self.parent = parent
        self.suspended = False
        self.debug: Any = None

    async def handle(self, caller: Any, request: Any) -> None:
        """Obey a system message; return when the process may go on. Raises Exit if it is to end."""
        self._obey(caller, request)
        while self.suspended:
            message = await receive((SYSTEM, tuple, ...), (EXIT, self.parent, ...))
            if message[0] is EXIT:
                raise Exit(message[2])
            self._obey(message[1], message[2])

    def _obey(self, caller: Any, request: Any) -> None:
        match request:
            case Atom("get_state"):
                reply(caller, (OK, self._behaviour.system_get_state()))
            case Atom("suspend"):
                self.suspended = True
                reply(caller, OK)
            case Atom("resume"):
                self.suspended = False
                reply(caller, OK)
            case (Atom("terminate"), reason):
                reply(caller, OK)
                raise Exit(reason)
            case _:
                reply(caller, (Atom("error"), (Atom("unknown_system_msg"), request)))


async def get_state(target: Target, timeout: float | None = 5.0) -> Any:
    """The state of a process."""
    answer = await ask(target, Atom("get_state"), timeout=timeout, label=SYSTEM, where=_SYS)
    return answer[1]
