"""Answers to requests that were sent by `send_request`: wait for one, recognise one, keep many apart.

A process gets the outcome of such a request as a message: the request itself. `handle_info` and receive loops give what
they get to `check_response`; `receive_response` and `wait_response` take that message out of the mailbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, overload

from partisan._core.calls import Waiting, failure
from partisan._core.process import running
from partisan._core.requests import Request
from partisan.errors import CallTimeout, LocalProtocolError, PartisanError


class Response:
    """The outcome of a request.

    Attributes:
        request: which.
        label: under which it was in the collection; None if there was none.
        error: why there is no answer, or None.
    """

    __slots__ = ("error", "label", "request")

    def __init__(self, request: Request, label: Any = None) -> None:
        self.request = request
        self.label = label
        self.error: PartisanError | None = failure(request.outcome, request.target, None) if request.failed else None

    def __repr__(self) -> str:
        return f"<Response {self.label!r} {self.error if self.error is not None else self.request.outcome!r}>"

    @property
    def value(self) -> Any:
        """The answer. Raises `error` if there is none."""
        if self.error is not None:
            raise self.error
        return self.request.outcome


class RequestIds:
    """Requests under way, each with a label: which one a message answers is found in one look-up.

    It is changed in place; OTP's functions return another collection, these return this one.
    """

    __slots__ = ("_labels",)

    def __init__(self) -> None:
        self._labels: dict[Request, Any] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._labels)

    def __contains__(self, request: object) -> bool:
        return isinstance(request, Request) and request in self._labels

    def __repr__(self) -> str:
        return f"<RequestIds {list(self._labels.values())!r}>"

    def add(self, request: Request, label: Any) -> None:
        """Add a request. Raises ValueError if it is there already."""
        if not isinstance(request, Request):
            raise TypeError(f"{request!r} is no request: send_request() gives one")
        if request in self._labels:
            raise ValueError(f"{request!r} is in the collection already")
        self._labels[request] = label

    def items(self) -> list[tuple[Request, Any]]:
        """(request, label) of each, in the order in which they were added."""
        return list(self._labels.items())

    def answered(self, request: Request, delete: bool) -> Response:
        """The response of one of them, which is taken out with `delete`."""
        return Response(request, self._labels.pop(request) if delete else self._labels[request])


def reqids_new() -> RequestIds:
    """A collection of requests, empty."""
    return RequestIds()


def reqids_add(request: Request, label: Hashable, collection: RequestIds) -> RequestIds:
    """Add a request to a collection, which is changed and returned. Raises ValueError if it is there already."""
    collection.add(request, label)
    return collection


def reqids_size(collection: RequestIds) -> int:
    """How many requests are in a collection."""
    return len(collection)


def reqids_to_list(collection: RequestIds) -> list[tuple[Request, Any]]:
    """(request, label) of each in a collection, in the order in which they were added."""
    return collection.items()


@overload
async def receive_response(request: Request, timeout: float | None = None) -> Any: ...


@overload
async def receive_response(
    request: RequestIds, timeout: float | None = None, *, delete: bool = True
) -> Response | None: ...


async def receive_response(request: Request | RequestIds, timeout: float | None = None, *, delete: bool = True) -> Any:
    """Wait for the answer to a request, or for the first to those of a collection; after the time-out none is wanted.

    Args:
        request: what `send_request` gave, or a collection.
        timeout: seconds; None waits for ever. Then every request that was waited for is given up.
        delete: take the request out of the collection.
    Returns:
        Of a request the answer; of a collection a Response, or None if there is nothing to wait for.
    Raises:
        NoProc, NodeDown, Exit: of a request: as `call`.
        CallTimeout: the time is over.
        LocalProtocolError: the request was given before.
        NotInProcess: it is another process's.
    """
    try:
        if isinstance(request, Request):
            return await wait_response(request, timeout)
        return await wait_response(request, timeout, delete=delete)
    except CallTimeout:
        abandon((request,) if isinstance(request, Request) else request)
        raise


def abandon(requests: Iterable[Request]) -> None:
    """Want no answer to these requests any more, nor the messages of those that there are."""
    mine = running()
    for each in requests:
        each.drop()
        if each.arrived:
            each.taken()
            if each.mailed and mine is not None:
                mine.remove(each)


@overload
async def wait_response(request: Request, timeout: float | None = None) -> Any: ...


@overload
async def wait_response(
    request: RequestIds, timeout: float | None = None, *, delete: bool = True
) -> Response | None: ...


async def wait_response(request: Request | RequestIds, timeout: float | None = None, *, delete: bool = True) -> Any:
    """As `receive_response`, but after the time-out the requests go on: wait again, or check messages for them."""
    if isinstance(request, Request):
        found = await _first((request,), timeout)
        if found is None:
            if not request.pending:
                raise LocalProtocolError(f"the answer to {request!r} was taken before, or is not wanted")
            raise CallTimeout(timeout or 0.0, request.target)
        return Response(found).value
    if not any(each.pending or each.arrived for each in request):
        return None
    found = await _first(request, timeout)
    if found is None:
        raise CallTimeout(timeout or 0.0, [each.target for each in request])
    return request.answered(found, delete)


def check_response(message: object, request: Request | RequestIds, *, delete: bool = True) -> Response | None:
    """Whether a message that was received answers a request, or one of a collection: its Response, or None."""
    if type(message) is not Request or message.pending:
        return None
    if isinstance(request, RequestIds):
        if message not in request:
            return None
        message.taken()
        return request.answered(message, delete)
    if message is not request:
        return None
    message.taken()
    return Response(message)


async def _first(requests: Iterable[Request], timeout: float | None) -> Request | None:
    """The first of them to have an outcome that was not given before; None if none has in time."""
    if any(each.mailed for each in requests):
        return await Waiting(requests._labels if isinstance(requests, RequestIds) else requests, timeout)
    return await _first_outside(tuple(requests), timeout)


async def _first_outside(requests: tuple[Request, ...], timeout: float | None) -> Request | None:
    """The same for requests of code that is no process's own."""
    for each in requests:
        if each.arrived:
            each.taken()
            return each
    pending = [each for each in requests if each.pending]
    if not pending:
        return None
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for each in pending:
        if each.settled is not None:
            raise LocalProtocolError(f"{each!r} is waited for already")

    def settled(_: Request) -> None:
        if not first.done():
            first.set_result(None)

    for each in pending:
        each.settled = settled
    try:
        async with asyncio.timeout(timeout):
            await first
    except TimeoutError:
        return None
    finally:
        for each in pending:
            each.settled = None
    return await _first_outside(requests, timeout)
