"""Event managers: processes that tell events to the handlers that are installed in them (OTP's `gen_event`).

    class Log(EventHandler):
        def init(self, path):
            self.file = open(path, "a")

        def handle_event(self, event):
            self.file.write(f"{event}\\n")

    await event.start(name="alarms")
    await event.add_handler("alarms", Log, "alarms.log")
    event.notify("alarms", "the disk is full")

On the wire a request is `{CallerPid, From, Command}`, where other behaviours have `$gen_call` for a label, and an event
that nobody waits for is `{notify, Event}`. (`partisan_gen_event:notify` does not cross Partisan's connections: a real
node reaches a manager here by `sync_notify`, or by `partisan:forward_message` of that tuple.)

Source: OTP 24, `gen_event`; reference, partisan-upper, section 6.3.
"""

from __future__ import annotations

from typing import Any

from partisan._core.calls import call as ask
from partisan._core.calls import request
from partisan._core.process import running
from partisan._core.requests import Request
from partisan.errors import HandlerFailed, NoHandler, NoProc, NotConnected
from partisan.etf import Atom, Pid, Reference
from partisan.gen import responses
from partisan.gen.call import stop as stop
from partisan.gen.control import Reply as Reply
from partisan.gen.control import Stop as Stop
from partisan.gen.event_handlers import ERROR, spec
from partisan.gen.event_handlers import EventHandler as EventHandler
from partisan.gen.event_handlers import Hibernate as Hibernate
from partisan.gen.event_handlers import Remove as Remove
from partisan.gen.event_handlers import Swap as Swap
from partisan.gen.event_manager import NOT_FOUND
from partisan.gen.event_manager import GenEvent as GenEvent
from partisan.gen.event_report import HandlerReport as HandlerReport
from partisan.gen.event_report import format_log as format_log
from partisan.gen.responses import RequestIds as RequestIds
from partisan.gen.responses import Response as Response
from partisan.gen.responses import reqids_add as reqids_add
from partisan.gen.responses import reqids_new as reqids_new
from partisan.gen.responses import reqids_size as reqids_size
from partisan.gen.responses import reqids_to_list as reqids_to_list
from partisan.runtime.current import node
from partisan.runtime.current import self as me
from partisan.runtime.message_calls import Target
from partisan.runtime.process_calls import Name

NOTIFY, SYNC_NOTIFY, CALL, WHICH = map(Atom, ("notify", "sync_notify", "call", "which_handlers"))
ADD, ADD_SUP, DELETE = map(Atom, ("add_handler", "add_sup_handler", "delete_handler"))
SWAP, SWAP_SUP, GEN_EVENT = map(Atom, ("swap_handler", "swap_sup_handler", "gen_event"))

Handler = type[EventHandler] | Atom | str | tuple[type[EventHandler] | Atom | str, Any]
"""What names a handler: its class, the name of that, or (one of them, id)."""


async def start(name: Name | None = None, *, timeout: float | None = None, **options: Any) -> Pid:
    """Start an event manager without handlers; return its pid.

    Args:
        name: to register it under.
        timeout: seconds that the start may take.
        options: of `GenEvent`.
    Raises:
        AlreadyStarted: another process has the name.
    """
    return _pid(await GenEvent.start(name=name, timeout=timeout, **options))


async def start_link(name: Name | None = None, *, timeout: float | None = None, **options: Any) -> Pid:
    """As `start`, and link the current process to it. Raises NotInProcess, too."""
    return _pid(await GenEvent.start_link(name=name, timeout=timeout, **options))


async def start_monitor(
    name: Name | None = None, *, timeout: float | None = None, **options: Any
) -> tuple[Pid, Reference]:
    """As `start`, and monitor it from the current process. Raises NotInProcess, too."""
    pid, reference = await GenEvent.start_monitor(name=name, timeout=timeout, **options)
    return _pid(pid), reference


def notify(manager: Target, event: object, *, channel: str | None = None, partition_key: int | None = None) -> None:
    """Tell an event to the handlers of a manager; whether that exists, or can be reached, is not told, but counted.

    Args:
        manager: a pid, a name, or (name, node).
        channel, partition_key: as in `partisan.send`.
    """
    here, message = node(), (NOTIFY, event)
    try:
        here.send(manager, message, channel=channel, partition_key=partition_key)
    except (NotConnected, NoProc):
        here._undeliverable(manager, message)


async def sync_notify(
    manager: Target, event: object, *, timeout: float | None = None, channel: str | None = None
) -> None:
    """As `notify`, and return when every handler has taken the event. Raises as `call` of a server."""
    await _ask(manager, (SYNC_NOTIFY, event), timeout, channel)


async def add_handler(
    manager: Target, handler: Handler, args: Any = None, *, timeout: float | None = None, channel: str | None = None
) -> None:
    """Install a handler: one is made of the class, and its `init(args)` called, in the manager.

    Args:
        handler: its class, the name of that, or (one of them, id). A manager of another node gets the name, and knows
            the classes that were given to it as `handlers`.
        timeout: seconds; None waits for ever.
    Raises:
        HandlerFailed: `init` has raised, or returned Stop(reason); `reason` is why.
    """
    _added(await _ask(manager, (ADD, _named(manager, handler), args), timeout, channel))


async def add_sup_handler(
    manager: Target, handler: Handler, args: Any = None, *, timeout: float | None = None, channel: str | None = None
) -> None:
    """As `add_handler`; the current process supervises the handler.

    It is linked to the manager. When it ends the handler is removed, by `terminate((stop, reason))`. When the handler
    is removed for another reason it gets the message (gen_event_EXIT, handler, reason): `normal` after `delete_handler`
    or Remove(), `shutdown` when the manager ends, (swapped, new handler, who supervises that), the value that it should
    not have returned, or (EXIT, reason) of its failure. Raises NotInProcess, too, and LinkUnsupported: a manager at a
    node of Partisan would end of it.
    """
    _check_link(manager)
    _added(await _ask(manager, (ADD_SUP, _named(manager, handler), args, me()), timeout, channel))


async def delete_handler(
    manager: Target, handler: Handler, argument: Any = None, *, timeout: float | None = None, channel: str | None = None
) -> Any:
    """Remove a handler; return what its `terminate(argument)` returns.

    Raises:
        NoHandler: it is not installed.
        HandlerFailed: `terminate` has raised; the handler is gone.
    """
    answer = await _ask(manager, (DELETE, _named(manager, handler), argument), timeout, channel)
    if answer == (ERROR, NOT_FOUND):
        raise NoHandler(handler)
    return _unless_failed(answer)


async def swap_handler(
    manager: Target,
    old: tuple[Handler, Any],
    new: tuple[Handler, Any],
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> None:
    """Put a handler in the place of another, which may be missing.

    Args:
        old: (handler, argument of its `terminate`).
        new: (handler, args): `init((args, what that has returned))`, with the atom error if there was no old one. Who
            supervised the old one supervises it.
    Raises:
        HandlerFailed: `init` of the new one has failed; the old one is gone.
    """
    await _swap(manager, SWAP, old, new, (), timeout, channel)


async def swap_sup_handler(
    manager: Target,
    old: tuple[Handler, Any],
    new: tuple[Handler, Any],
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> None:
    """As `swap_handler`; the current process supervises the new handler, as in `add_sup_handler`."""
    _check_link(manager)
    await _swap(manager, SWAP_SUP, old, new, (me(),), timeout, channel)


async def which_handlers(
    manager: Target, *, timeout: float | None = None, channel: str | None = None
) -> list[Atom | tuple[Atom, Any]]:
    """The handlers that are installed, the latest first: the name (`EventHandler.module`) of each, or (name, id)."""
    found: list[Atom | tuple[Atom, Any]] = await _ask(manager, WHICH, timeout, channel)
    return found


async def call(
    manager: Target,
    handler: Handler,
    query: object,
    *,
    timeout: float | None = 5.0,
    channel: str | None = None,
    partition_key: int | None = None,
) -> Any:
    """Ask a handler; return what its `handle_call` answers.

    Raises:
        NoHandler: it is not installed.
        HandlerFailed: `handle_call` has raised; the handler is gone.
        NoProc, NodeDown, Exit, CallTimeout, Overloaded, EncodeError: as `call` of a server.
    """
    return answered(
        handler, await _ask(manager, (CALL, _named(manager, handler), query), timeout, channel, partition_key)
    )


def send_request(
    manager: Target,
    handler: Handler,
    query: object,
    *,
    label: Any = None,
    collection: RequestIds | None = None,
    channel: str | None = None,
    partition_key: int | None = None,
) -> Request:
    """Ask a handler and go on; see `receive_response`, `wait_response` and `check_response`.

    Args:
        label, collection: add it to the collection under the label.
        channel, partition_key: as in `call`.
    """
    command = (CALL, _named(manager, handler), query)
    sent = request(manager, command, label=_label(), channel=channel, partition_key=partition_key)
    if collection is not None:
        collection.add(sent, label)
    return sent


async def receive_response(request: Request | RequestIds, timeout: float | None = None, *, delete: bool = True) -> Any:
    """As that of `partisan.gen.server`; the answer of one request is understood as by `call`."""
    if isinstance(request, RequestIds):
        return _understood(await responses.receive_response(request, timeout, delete=delete))
    return answered(request.target, await responses.receive_response(request, timeout))


async def wait_response(request: Request | RequestIds, timeout: float | None = None, *, delete: bool = True) -> Any:
    """As `receive_response`, but after the time-out the requests go on."""
    if isinstance(request, RequestIds):
        return _understood(await responses.wait_response(request, timeout, delete=delete))
    return answered(request.target, await responses.wait_response(request, timeout))


def check_response(message: object, request: Request | RequestIds, *, delete: bool = True) -> Response | None:
    """As that of `partisan.gen.server`; `error` is also that there is no such handler, or that it has failed."""
    return _understood(responses.check_response(message, request, delete=delete))


def _understood(response: Response | None) -> Response | None:
    if response is not None and response.error is None:
        try:
            answered(response.request.target, response.value)
        except (NoHandler, HandlerFailed) as error:
            response.error = error
    return response


def answered(handler: object, answer: Any) -> Any:
    """What the answer to a call means. Raises NoHandler, HandlerFailed."""
    match answer if type(answer) is tuple else None:
        case (Atom("error"), Atom("bad_module")):
            raise NoHandler(handler)
        case (Atom("error"), (Atom("EXIT"), reason)):
            raise HandlerFailed(reason)
    return answer


async def _ask(
    manager: Target, command: Any, timeout: float | None, channel: str | None, partition_key: int | None = None
) -> Any:
    return await ask(
        manager,
        command,
        timeout=timeout,
        channel=channel,
        partition_key=partition_key,
        label=_label(),
        where=GEN_EVENT,
    )


async def _swap(
    manager: Target,
    command: Atom,
    old: tuple[Handler, Any],
    new: tuple[Handler, Any],
    owner: tuple[Pid, ...],
    timeout: float | None,
    channel: str | None,
) -> None:
    names = (_named(manager, old[0]), old[1], _named(manager, new[0]), new[1])
    answer = await _ask(manager, (command, *names, *owner), timeout, channel)
    match answer:
        case Atom("ok"):
            return
        case (Atom("error"), reason):
            _added(reason)
        case _:
            raise HandlerFailed(answer)


def _label() -> Pid:
    """What requests begin with: the pid of whoever asks."""
    mine = running()
    return node()._outside if mine is None else mine.pid


def _named(manager: Target, handler: Handler) -> Any:
    """A handler as the manager is to understand it: another node gets names only. Raises TypeError."""
    named = spec(handler)
    return handler if node()._place(manager)[0] == node().name else named.term


def _check_link(manager: Target) -> None:
    """Raise LinkUnsupported if the manager cannot link itself to a process here."""
    here = node()
    at = here._place(manager)[0]
    if at != here.name and not here._reaches(at):
        here._remote.links.check(at)


def _added(answer: Any) -> None:
    """Raises HandlerFailed for all but ok."""
    match answer:
        case Atom("ok"):
            return
        case (Atom("EXIT") | Atom("error"), (Atom("EXIT"), reason)) | (Atom("EXIT") | Atom("error"), reason):
            raise HandlerFailed(reason)
        case _:
            raise HandlerFailed(answer)


def _unless_failed(answer: Any) -> Any:
    """Raises HandlerFailed for (EXIT, reason)."""
    match answer if type(answer) is tuple else None:
        case (Atom("EXIT"), reason) | (Atom("error"), (Atom("EXIT"), reason)):
            raise HandlerFailed(reason)
    return answer


def _pid(started: Pid | None) -> Pid:
    assert started is not None  # a manager never ignores its start
    return started
