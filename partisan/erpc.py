"""Call functions at other nodes, as OTP's `erpc`: the classes of what a function raises are kept.

    throw                 Throw(value)
    exit                  RemoteExit((exception, Reason)); of an exit signal RemoteExit((signal, Reason))
    error                 ErpcException((exception, Reason, Stacktrace))
    erpc itself           ErpcError((erpc, Reason)): ErpcTimeout, ErpcNoConnection, badarg, system_limit

Between Python nodes this is an extra; towards nodes that have not agreed on it, as real ones, it is made of the
reference's rpc, which tells no classes: whatever a function raised is an ErpcException there, without a stacktrace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, overload

from partisan._core.calls import call as call_process
from partisan._core.process import Process, receive
from partisan._core.watch import Watch
from partisan.errors import (
    BadRpc,
    CallTimeout,
    ErpcError,
    ErpcException,
    ErpcNoConnection,
    ErpcTimeout,
    Exit,
    NodeDown,
    NotConnected,
    Overloaded,
    PartisanError,
    ReceiveTimeout,
    RemoteExit,
    RpcTimeout,
    SpawnRefused,
    Throw,
)
from partisan.etf import Atom, Reference
from partisan.runtime.apply import ERROR, RETURN, SIGNAL, SYSTEM_LIMIT, Outcome
from partisan.runtime.asking import set_result
from partisan.runtime.current import node as current_node
from partisan.runtime.current import process as current_process
from partisan.runtime.extras import NAME
from partisan.runtime.remote_calls import Node, named

__all__ = [
    "RequestId",
    "RequestIds",
    "Response",
    "call",
    "cast",
    "check_response",
    "multicall",
    "multicast",
    "receive_response",
    "reqids_add",
    "reqids_new",
    "reqids_size",
    "reqids_to_list",
    "send_request",
    "wait_response",
]

_ERPC, _CAST, _EXCEPTION, _SIGNAL = Atom("erpc"), Atom("cast"), Atom("exception"), Atom("signal")
_TIMEOUT, _NOCONNECTION, _BADARG, _KILL = Atom("timeout"), Atom("noconnection"), Atom("badarg"), Atom("kill")


async def call(
    node: Node,
    module: str,
    function: str,
    args: Iterable[Any] = (),
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> Any:
    """Call a function at a node and return its value.

    Args:
        timeout: seconds; None waits until the answer, or the loss of the node.
        channel: of the request and of the answer.
    Raises:
        Throw, RemoteExit, ErpcException: what the function raised.
        ErpcError: the operation itself failed; ErpcTimeout, ErpcNoConnection.
        Overloaded, EncodeError: the node cannot be asked.
    """
    name, arguments = _checked(node, module, function, args, timeout)
    return _value(await _outcome(name, module, function, arguments, timeout, channel))


def cast(node: Node, module: str, function: str, args: Iterable[Any] = (), *, channel: str | None = None) -> None:
    """Have a function called at a node; what becomes of it nobody hears. Raises EncodeError, ErpcError (badarg)."""
    name, arguments = _checked(node, module, function, args, None)
    here = current_node()
    if name not in here._remote.erpc.supported:
        here._remote.asking.cast(name, module, function, arguments, channel)
        return
    message = (_ERPC, _CAST, (Atom(module), Atom(function), arguments))
    try:
        here.router.send((NAME, name), message, channel=channel)
    except (NotConnected, Overloaded):  # as every cast: nobody hears of it
        return


async def multicall(
    nodes: Iterable[Node],
    module: str,
    function: str,
    args: Iterable[Any] = (),
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> list[Any]:
    """Call a function at several nodes at once.

    Returns:
        For each node, in order, the value, or the exception that `call` would have raised.
    """
    arguments = list(args)
    return await asyncio.gather(
        *(call(node, module, function, arguments, timeout=timeout, channel=channel) for node in nodes),
        return_exceptions=True,
    )


def multicast(
    nodes: Iterable[Node], module: str, function: str, args: Iterable[Any] = (), *, channel: str | None = None
) -> None:
    """Have a function called at several nodes; what becomes of it nobody hears."""
    arguments = list(args)
    for node in nodes:
        cast(node, module, function, arguments, channel=channel)


class RequestId:
    """A call that goes on meanwhile, of the process that made it; its answer comes as a message to that process."""

    def __init__(self, reference: Reference, owner: Process) -> None:
        self._reference = reference
        self._owner = owner
        self._asker: Process | None = None

    def __repr__(self) -> str:
        return f"<RequestId {self._reference!r}>"

    def _abandon(self) -> None:
        """Nobody wants the answer any more."""
        self._owner.untie(self)
        if self._asker is not None:
            self._asker.doom(_KILL, True)


@dataclass(frozen=True, slots=True)
class Response:
    """The value of a call that was begun; `label` and `reqids`, the collection, if it was in one."""

    value: Any
    label: Any = None
    reqids: RequestIds | None = None


class RequestIds:
    """Requests with a label each, found by their references.

    It is changed in place; OTP's functions return another collection, these return this one.
    """

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests: dict[Reference, tuple[RequestId, Any]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __repr__(self) -> str:
        return f"<RequestIds {[label for _, label in self._requests.values()]!r}>"


class _Held(Watch):
    """What the owner of a request holds: when it ends, nobody wants the answer any more."""

    def __init__(self, request: RequestId) -> None:
        self._request = request

    def drop(self) -> int:
        self._request._abandon()
        return 0


@overload
def send_request(
    node: Node, module: str, function: str, args: Iterable[Any] = ..., *, channel: str | None = ...
) -> RequestId: ...


@overload
def send_request(
    node: Node,
    module: str,
    function: str,
    args: Iterable[Any] = ...,
    *,
    label: Any,
    reqids: RequestIds,
    channel: str | None = ...,
) -> RequestIds: ...


def send_request(
    node: Node,
    module: str,
    function: str,
    args: Iterable[Any] = (),
    *,
    label: Any = None,
    reqids: RequestIds | None = None,
    channel: str | None = None,
) -> RequestId | RequestIds:
    """Begin a call from the current process, and go on: see `receive_response`, `wait_response`, `check_response`.

    Returns:
        The request, or, if a collection was given, that, to which the request was added.
    Raises:
        NotInProcess: there is no process to which the answer could come.
    """
    name, arguments = _checked(node, module, function, args, None)
    here, owner = current_node(), current_process()
    request = RequestId(here.make_ref(), owner)
    pid = here.spawn(_ask, request, name, module, function, arguments, channel)
    request._asker = here.scheduler.find(pid)
    owner.tie(request, _Held(request))
    return request if reqids is None else reqids_add(request, label, reqids)


def _checked(
    node: Node, module: str, function: str, args: Iterable[Any], timeout: float | None
) -> tuple[str, list[Any]]:
    """The node's name and the arguments as a list. Raises ErpcError: badarg."""
    text = isinstance(node, str | Atom) and isinstance(module, str) and isinstance(function, str)
    several = isinstance(args, Iterable) and not isinstance(args, str | bytes)
    wait = timeout is None or (isinstance(timeout, int | float) and timeout >= 0)
    if not (text and several and wait):
        raise ErpcError((_ERPC, _BADARG))
    return named(node), list(args)


async def _outcome(
    node: str, module: str, function: str, args: list[Any], timeout: float | None, channel: str | None
) -> Outcome:
    """What became of the function. Raises ErpcTimeout, ErpcNoConnection."""
    here = current_node()
    mfa = (Atom(module), Atom(function), args)
    try:
        if node == here.name:
            return await _here(mfa, timeout)
        far = here._far
        if far is not None and far.takes_calls(node):
            return await _far_outcome(far.execute(node, module, function, args), timeout)
        if node not in here._remote.erpc.supported:
            options: dict[str, Any] = {"timeout": timeout, "channel": channel}
            return (RETURN, await here._remote.asking.call(node, module, function, args, **options))
        answer = await call_process((NAME, node), mfa, timeout=timeout, channel=channel, label=_ERPC)
    except (CallTimeout, RpcTimeout):
        raise ErpcTimeout((_ERPC, _TIMEOUT)) from None
    except NodeDown:
        raise ErpcNoConnection((_ERPC, _NOCONNECTION)) from None
    except BadRpc as error:
        return (ERROR, error.reason, [])
    except Exit as error:  # it knew erpc, and does not any more
        return (SIGNAL, error.reason)
    return answer if isinstance(answer, tuple) and answer else (ERROR, _BADARG, [])


async def _far_outcome(executing: Awaitable[Outcome], timeout: float | None) -> Outcome:
    """The outcome of a function at an Erlang node."""
    try:
        async with asyncio.timeout(timeout):
            return await executing
    except TimeoutError:
        raise ErpcTimeout((_ERPC, _TIMEOUT)) from None
    except SpawnRefused as error:
        raise ErpcError((_ERPC, error.reason)) from None


async def _here(mfa: tuple[Atom, Atom, list[Any]], timeout: float | None) -> Outcome:
    """Call a function of this node, as another one would."""
    here = current_node()
    future: asyncio.Future[Outcome] = here.loop.create_future()
    here._remote.applied.apply(here.name, *mfa, lambda outcome: set_result(future, outcome))
    try:
        async with asyncio.timeout(timeout):
            return await future
    except TimeoutError:
        raise ErpcTimeout((_ERPC, _TIMEOUT)) from None


def _value(outcome: Outcome) -> Any:
    """The value of an outcome, or what it raises."""
    match outcome:
        case (Atom("return"), value):
            return value
        case (Atom("throw"), value):
            raise Throw(value)
        case (Atom("exit"), reason):
            raise RemoteExit((_EXCEPTION, reason))
        case (Atom("signal"), reason):
            raise RemoteExit((_SIGNAL, reason))
        case (Atom("error"), Atom("system_limit"), []):
            raise ErpcError((_ERPC, SYSTEM_LIMIT))
        case (Atom("error"), reason, stacktrace):
            raise ErpcException((_EXCEPTION, reason, stacktrace))
        case _:
            raise ErpcError((_ERPC, _BADARG))


def _read(answer: Any) -> Any:
    """The value of the answer to a request, or what it raises."""
    if isinstance(answer, PartisanError):
        raise answer
    return _value(answer)


async def _ask(request: RequestId, node: str, module: str, function: str, args: list[Any], channel: str | None) -> None:
    try:
        answer: Any = await _outcome(node, module, function, args, None, channel)
    except PartisanError as error:
        answer = error
    request._asker = None
    request._owner.untie(request)
    current_node().send(request._owner.pid, (request._reference, answer))


async def receive_response(
    request: RequestId | RequestIds, timeout: float | None = None, *, delete: bool = True
) -> Any:
    """Wait for the value of a call; without it in time the call is given up.

    Args:
        request: a request; or a collection: then what comes first of it, and what is given up and taken out is all of
            it.
        timeout: seconds.
        delete: take the request out of the collection that the response has.
    Returns:
        The value; of a collection a `Response`, or None if it is empty.
    Raises:
        What `call` raises; of a collection with the attributes `label` and `reqids`.
    """
    if isinstance(request, RequestIds) and not request:
        return None
    try:
        message = await receive(lambda message: _answered(message, request) is not None, timeout=timeout)
    except ReceiveTimeout:
        _give_up(request)
        raise ErpcTimeout((_ERPC, _TIMEOUT)) from None
    found = check_response(message, request, delete=delete)
    return found.value if found is not None and isinstance(request, RequestId) else found


async def wait_response(
    request: RequestId | RequestIds, timeout: float | None = 0.0, *, delete: bool = True
) -> Response | None:
    """As `receive_response`, but the call goes on if its value is not there in time: then None."""
    if isinstance(request, RequestIds) and not request:
        return None
    try:
        message = await receive(lambda message: _answered(message, request) is not None, timeout=timeout)
    except ReceiveTimeout:
        return None
    return check_response(message, request, delete=delete)


def _give_up(request: RequestId | RequestIds) -> None:
    if isinstance(request, RequestId):
        request._abandon()
        return
    for each, _ in reqids_to_list(request):
        each._abandon()
    request._requests.clear()


def check_response(message: object, request: RequestId | RequestIds, *, delete: bool = True) -> Response | None:
    """The value of the call whose answer this message of the mailbox is; None if it is another message.

    Raises what `call` raises.
    """
    reference = _answered(message, request)
    if reference is None:
        return None
    assert isinstance(message, tuple)  # it answers
    if isinstance(request, RequestId):
        return Response(_read(message[1]))
    _, label = request._requests.pop(reference) if delete else request._requests[reference]
    try:
        return Response(_read(message[1]), label, request)
    except PartisanError as error:
        vars(error).update(label=label, reqids=request)
        raise


def _answered(message: object, request: RequestId | RequestIds) -> Reference | None:
    """The reference of the request that a message answers, if it is this one or one of these."""
    reference = message[0] if type(message) is tuple and len(message) == 2 else None
    if type(reference) is not Reference:
        return None
    mine = reference == request._reference if isinstance(request, RequestId) else reference in request._requests
    return reference if mine else None


def reqids_new() -> RequestIds:
    """A collection without requests."""
    return RequestIds()


def reqids_add(request: RequestId, label: Any, reqids: RequestIds) -> RequestIds:
    """Add a request to a collection, which is changed and returned. Raises ErpcError (badarg) if it is in there."""
    if request._reference in reqids._requests:
        raise ErpcError((_ERPC, _BADARG))
    reqids._requests[request._reference] = request, label
    return reqids


def reqids_size(reqids: RequestIds) -> int:
    """How many requests are in the collection."""
    return len(reqids)


def reqids_to_list(reqids: RequestIds) -> list[tuple[RequestId, Any]]:
    """The requests of the collection, with their labels."""
    return list(reqids._requests.values())
