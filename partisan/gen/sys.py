"""Look into processes of every behaviour, and steer them (OTP's `sys`): the client's functions, and the process's part.

A request is `{system, From, Request}`, with OTP's terms, so that `partisan_sys` of a real node works on ours, and ours
on theirs. A process hands it to its `System`, which answers, and keeps the process while it is suspended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from partisan._core.calls import call as ask
from partisan._core.calls import reply
from partisan._core.process import receive
from partisan._core.requests import Request
from partisan.errors import EncodeError, Exit, PartisanError
from partisan.etf import Atom, Export, Pid
from partisan.gen import proc_lib
from partisan.gen.control import NOTHING
from partisan.gen.debug import DONE, LOG_LENGTH, Debug, Function, described
from partisan.runtime.current import node, process
from partisan.runtime.exits import crash_reason
from partisan.runtime.message_calls import Target

__all__ = [
    "DONE",
    "System",
    "change_code",
    "get_log",
    "get_state",
    "get_status",
    "install",
    "log",
    "log_to_file",
    "no_debug",
    "remove",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "terminate",
    "trace",
]

SYSTEM, OK, ERROR, EXIT = Atom("system"), Atom("ok"), Atom("error"), Atom("EXIT")
NOT_ALLOWED = Atom("not_allowed")
_SYS = Atom("sys")
TOLD_DEPTH = 8
"""How deep an answer is looked into for what is no term."""

_RUNNING, _SUSPENDED, _DEBUG, _GET = Atom("running"), Atom("suspended"), Atom("debug"), Atom("get")
_REPLACE, _INSTALL, _REMOVE, _CODE = Atom("replace_state"), Atom("install"), Atom("remove"), Atom("change_code")
_LOG, _FILE, _TRACE, _COUNT = Atom("log"), Atom("log_to_file"), Atom("trace"), Atom("statistics")
_CALLBACK_FAILED, _NO_STATISTICS = Atom("callback_failed"), Atom("no_statistics")


class _Behaviour(Protocol):
    """What a process that obeys system messages is to `sys`."""

    def system_get_state(self) -> Any: ...
    def system_replace(self, function: Callable[[Any], Any]) -> Any: ...
    def system_status(self) -> Any: ...
    def system_about(self) -> list[Any]: ...
    def system_code_change(self, module: Any, old_version: Any, extra: Any) -> Any: ...


class System:
    """The part of one process that system messages are for.

    Args:
        behaviour: whose state is asked for.
        parent: whose exit signal ends the process; None: nobody's.
        name: of the process, for people.
        hibernate_after: seconds without a message after which it gives memory back; None: never.
        debug: as `GenServer.start`.
    Attributes:
        suspended: whether it takes nothing but system messages.
        debug: what is told of each message, or None: the process looks at this once a message.
        last: the message in hand when its loop ended.
        farewell: (From, answer) that is sent when `terminate` has returned, or None.
    """

    def __init__(
        self,
        behaviour: _Behaviour,
        parent: Pid | None,
        *,
        name: object = None,
        hibernate_after: float | None = None,
        debug: Any = (),
    ) -> None:
        self._behaviour = behaviour
        self.parent = parent
        self.name = name
        self.hibernate_after = hibernate_after
        self.suspended = False
        self.last: Any = NOTHING
        self.farewell: tuple[Any, Any] | None = None
        self.debug: Debug | None = Debug(name, debug) if debug else None

    def tell(self, event: tuple[Any, ...]) -> None:
        """Tell an event, if the process is debugged."""
        if self.debug is not None:
            self.debug.tell(event)

    async def handle(self, caller: Any, request: Any) -> None:
        """Obey a system message; return when the process may go on. Raises Exit if it is to end."""
        await self._obey(caller, request)
        while self.suspended:
            message = await receive((SYSTEM, ..., ...), (EXIT, self.parent, ...))
            if message[0] is EXIT:
                raise Exit(message[2])
            await self._obey(message[1], message[2])

    async def _obey(self, caller: Any, request: Any) -> None:
        if type(request) is tuple and len(request) == 2 and request[0] == Atom("terminate"):
            reply(caller, OK)
            raise Exit(request[1])
        try:
            answer = await self._answer(caller, request)
        except Exception as error:
            kind = Atom(type(error).__name__[:255])
            reason = error.term if isinstance(error, Exit) else crash_reason(error)
            answer = (ERROR, (_CALLBACK_FAILED, (self._behaviour_name(), kind), reason))
        try:
            reply(caller, answer)
        except EncodeError:
            reply(caller, _told(answer))

    async def _answer(self, caller: Any, request: Any) -> Any:
        match request:
            case Atom("get_state"):
                return _answer_of(caller, self._behaviour.system_get_state())
            case Atom("get_status"):
                return self._status()
            case Atom("suspend"):
                self.suspended = True
            case Atom("resume"):
                self.suspended = False
            case (Atom("replace_state"), function):
                permitted = _function(caller, function)
                if permitted is None:
                    return (ERROR, NOT_ALLOWED)
                return _answer_of(caller, self._behaviour.system_replace(permitted))
            case (Atom("change_code"), module, old, extra) if self.suspended:
                if not _permitted(caller):
                    return (ERROR, NOT_ALLOWED)
                return await self._change_code(module, old, extra)
            case (Atom("debug"), what):
                return self._debug(caller, what)
            case _:
                return (ERROR, (Atom("unknown_system_msg"), request))
        return OK

    async def _change_code(self, module: Any, old: Any, extra: Any) -> Any:
        try:
            changed = self._behaviour.system_code_change(module, old, extra)
            if hasattr(changed, "__await__"):
                await changed
        except Exit as error:
            return (ERROR, error.term)
        except Exception as error:
            return (ERROR, (EXIT, crash_reason(error)))
        return OK

    def _status(self) -> Any:
        mine = process()
        state = _SUSPENDED if self.suspended else _RUNNING
        title = getattr(self._behaviour, "_TITLE", type(self._behaviour).__qualname__)
        dictionary = [(Atom("$ancestors"), list(proc_lib.ancestors.get()))]
        debug = [] if self.debug is None else list(self.debug.log or ())
        status = self._behaviour.system_status()
        header = [
            (Atom("header"), f"Status for {title.lower()} {self.name}"),
            (Atom("data"), [("Status", state), ("Parent", self.parent), ("Logged events", debug)]),
            (Atom("data"), [("State", status)]),
            *self._behaviour.system_about(),
        ]
        about = [dictionary, state, self.parent, debug, header]
        return (Atom("status"), mine.pid, (Atom("module"), self._behaviour_name()), about)

    def _behaviour_name(self) -> Atom:
        return Atom(f"{type(self._behaviour).__module__}.{type(self._behaviour).__qualname__}"[:255])

    def _debug(self, caller: Any, what: Any) -> Any:
        """Obey what is about debugging."""
        debug = self.debug or Debug(self.name)
        answer: Any = OK
        match what:
            case Atom("no_debug"):
                debug.close()
            case (Atom("trace"), bool(flag)):
                debug.trace = flag
            case (Atom("log"), Atom("get")):
                answer = (OK, [event for event, _ in debug.log or ()])
            case (Atom("log"), Atom("print")):
                for event, name in debug.log or ():
                    print(f"*DBG* {name} {described(event)}")
            case (Atom("log"), False):
                debug.set_log(0)
            case (Atom("log"), True):
                debug.set_log(LOG_LENGTH)
            case (Atom("log"), (True, int(events))):
                debug.set_log(events)
            case (Atom("statistics"), Atom("get")):
                answer = (OK, _statistics(debug))
            case (Atom("statistics"), bool(flag)):
                debug.set_statistics(flag)
            case (Atom("log_to_file"), False):
                debug.set_file(None)
            case (Atom("log_to_file") | Atom("install") | Atom("remove"), argument):
                if not _local(caller):  # it writes files, and runs functions
                    return (ERROR, NOT_ALLOWED)
                answer = _installed(debug, what[0], argument)
            case _:
                return (ERROR, (Atom("unknown_debug"), what))
        self.debug = debug if debug.active else None
        return answer


def _installed(debug: Debug, what: Atom, argument: Any) -> Any:
    if what is _FILE:
        try:
            debug.set_file(argument)
        except OSError as error:
            return (ERROR, (Atom("open_file"), str(error)))
    elif what is _REMOVE:
        debug.remove(argument)
    else:
        debug.install(*argument)
    return OK


def _statistics(debug: Debug) -> Any:
    if debug.statistics is None:
        return _NO_STATISTICS
    begun, heard, told = debug.statistics
    values = {"start_time": begun, "current_time": time.time(), "messages_in": heard, "messages_out": told}
    return [(Atom(name), value) for name, value in values.items()]


def _told(value: Any, depth: int = TOLD_DEPTH) -> Any:
    """The value, with text instead of those of its parts that are no terms."""
    try:
        node().router.codec.encode(value)
    except EncodeError:
        if depth and type(value) in (tuple, list):
            return type(value)(_told(each, depth - 1) for each in value)
        if depth and type(value) is dict:
            return {_told(key, 0): _told(each, depth - 1) for key, each in value.items()}
        return repr(value)
    return value


def _local(caller: Any) -> bool:
    """Whether a process of this node asks: its tag is the request itself, which nothing that a peer sends can be."""
    return type(caller) is tuple and len(caller) == 2 and type(caller[1]) is Request


def _permitted(caller: Any) -> bool:
    """Whether whoever asks may change a process: who is of this node, or of any if `sys` is on the allow-list."""
    return _local(caller) or node().allows("sys")


def _function(caller: Any, function: Any) -> Any:
    """The function that whoever asks may have applied, or None: other nodes name one that is exposed to them.

    They do so by "module:function", or `fun module:function/1`.
    """
    if callable(function):
        return function if _local(caller) else None
    if not _permitted(caller):
        return None
    text = function.decode("utf-8", "replace") if isinstance(function, bytes) else function
    match text:
        case Export(Atom(module), Atom(name), 1):
            pass
        case str() if ":" in text:
            module, _, name = text.partition(":")
        case _:
            return None
    try:
        return node()._remote.allow.find(module, name, 1)
    except PartisanError:
        return None


# The client's functions.


async def _ask(target: Target, request: object, timeout: float | None) -> Any:
    return await ask(target, request, timeout=timeout, label=SYSTEM, where=_SYS)


def _value(answer: Any) -> Any:
    """What `{ok, Value}` or `ok` tells. Raises Exit for `{error, Reason}`."""
    match answer:
        case (Atom("ok"), value):
            return value
        case (Atom("error"), reason):
            raise Exit(reason)
        case _:
            return None


def _wraps(at: str) -> bool:
    """Whether a node's processes tell a state as `{ok, State}`: OTP's do since 26.1; Partisan's, made of 24, do not."""
    far = node()._far
    return far is not None and far.is_peer(at)


def _answer_of(caller: Any, state: Any) -> Any:
    """A state as the node of whoever asks wants it. OTP before 26.1 wants it plain, and cannot be told apart."""
    far = type(caller) is tuple and type(caller[0]) is Pid and _wraps(caller[0].node)
    return (OK, state) if far else state


def _state(target: Target, answer: Any) -> Any:
    """A state that a process has told. Raises Exit for `{error, Reason}`."""
    match answer:
        case (Atom("error"), reason):
            raise Exit(reason)
        case (Atom("ok"), state) if _wraps(node()._place(target)[0]):
            return state
    return answer


async def get_state(target: Target, timeout: float | None = 5.0) -> Any:
    """The state of a process; of a `GenServer` its attributes.

    What is no term comes from another node as text. All functions here raise NoProc, NodeDown, CallTimeout as `call`.
    """
    return _state(target, await _ask(target, Atom("get_state"), timeout))


async def replace_state(target: Target, function: Any, timeout: float | None = 5.0) -> Any:
    """Apply a function to the state of a process, which its result becomes; return that.

    Args:
        function: callable(state); for a process of another node "module:function", which must be exposed there, and
            `sys` must be on its allow-list: no code is sent.
    Raises:
        Exit: the function failed, and nothing has changed; `not_allowed`.
    """
    return _state(target, await _ask(target, (_REPLACE, function), timeout))


async def get_status(target: Target, timeout: float | None = 5.0) -> Any:
    """`(status, pid, (module, name), [dictionary, running or suspended, parent, debug, about it])`, as in OTP."""
    return await _ask(target, Atom("get_status"), timeout)


async def suspend(target: Target, timeout: float | None = 5.0) -> None:
    """Let a process take nothing but system messages."""
    _value(await _ask(target, Atom("suspend"), timeout))


async def resume(target: Target, timeout: float | None = 5.0) -> None:
    """Let a suspended process go on."""
    _value(await _ask(target, Atom("resume"), timeout))


async def change_code(
    target: Target, module: object, old_version: object, extra: object, timeout: float | None = 5.0
) -> None:
    """Have a suspended process call `code_change(old_version, extra)`.

    Args:
        module: of an event manager, whose handlers; of others for people only.
    Raises:
        Exit: that failed, or the process is not suspended.
    """
    _value(await _ask(target, (_CODE, module, old_version, extra), timeout))


async def terminate(target: Target, reason: object, timeout: float | None = 5.0) -> None:
    """Tell a process to end; see `stop`, which waits until it has."""
    _value(await _ask(target, (Atom("terminate"), reason), timeout))


async def trace(target: Target, flag: bool, timeout: float | None = 5.0) -> None:
    """Log each event of a process at INFO (logger `partisan.gen.debug`), or no longer."""
    _value(await _ask(target, (_DEBUG, (_TRACE, flag)), timeout))


async def log(
    target: Target, flag: bool | str, events: int = LOG_LENGTH, timeout: float | None = 5.0
) -> list[tuple[Any, ...]] | None:
    """Keep the latest events of a process.

    Args:
        flag: True keeps them from now on, False no longer; "get" returns them, "print" prints them there.
    """
    if isinstance(flag, str):
        return list(_value(await _ask(target, (_DEBUG, (_LOG, Atom(flag))), timeout)) or ())
    _value(await _ask(target, (_DEBUG, (_LOG, (True, events) if flag else False)), timeout))
    return None


async def get_log(target: Target, timeout: float | None = 5.0) -> list[tuple[Any, ...]]:
    """The events that `log` has kept, the oldest first."""
    return await log(target, "get", timeout=timeout) or []


async def log_to_file(target: Target, path: str | None, timeout: float | None = 5.0) -> None:
    """Write each event of a process of this node to a file, one a line; None stops it. Raises Exit."""
    _value(await _ask(target, (_DEBUG, (_FILE, False if path is None else path)), timeout))


async def statistics(target: Target, flag: bool | str, timeout: float | None = 5.0) -> dict[str, Any] | None:
    """Count the messages of a process: True counts, False no longer, "get" returns the counts.

    Returns:
        start_time and current_time (seconds since the epoch), messages_in, messages_out; None if nothing is counted.
    """
    if flag != "get":
        _value(await _ask(target, (_DEBUG, (_COUNT, bool(flag))), timeout))
        return None
    found = _value(await _ask(target, (_DEBUG, (_COUNT, _GET)), timeout))
    return {str(key): value for key, value in found} if isinstance(found, list) else None


async def no_debug(target: Target, timeout: float | None = 5.0) -> None:
    """End everything that these functions have begun."""
    _value(await _ask(target, (_DEBUG, Atom("no_debug")), timeout))


async def install(
    target: Target,
    function: Function,
    state: object = None,
    *,
    identity: Hashable = None,
    timeout: float | None = 5.0,
) -> None:
    """Have a process of this node call a function for each event.

    Args:
        function: callable(state, event, name); returns its next state, or DONE.
        identity: for `remove`; None: the function.
    """
    entry = (function if identity is None else identity, function, state)
    _value(await _ask(target, (_DEBUG, (_INSTALL, entry)), timeout))


async def remove(target: Target, identity: Hashable, timeout: float | None = 5.0) -> None:
    """Have a function called no longer: it, or its identity."""
    _value(await _ask(target, (_DEBUG, (_REMOVE, identity)), timeout))
