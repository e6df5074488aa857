"""Ask, tell, answer and stop the processes of every behaviour (OTP's `gen`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable
from typing import Any

from partisan._core.calls import call as ask
from partisan._core.calls import reply as reply
from partisan._core.calls import request
from partisan._core.process import receive, running
from partisan._core.requests import Request
from partisan.errors import CallTimeout, Exit, NodeDown, NoProc, NotConnected, Overloaded
from partisan.etf import Atom, Pid
from partisan.gen.responses import RequestIds, abandon, receive_response
from partisan.runtime.current import node
from partisan.runtime.errand import KILLED, by_process
from partisan.runtime.message_calls import Target

__all__ = ["abcast", "call", "cast", "multi_call", "reply", "send_request", "stop"]

CAST, SYSTEM, TERMINATE = Atom("$gen_cast"), Atom("system"), Atom("terminate")
NORMAL, NOPROC, NOCONNECTION, CALLING_SELF = map(Atom, ("normal", "noproc", "noconnection", "calling_self"))
_PROC_LIB, _STOP = Atom("proc_lib"), Atom("stop")


def call(
    target: Target,
    message: object,
    *,
    timeout: float | None = 5.0,
    channel: str | None = None,
    partition_key: int | None = None,
    transitive: bool = False,
) -> Awaitable[Any]:
    """Ask a process and await its answer; the end of the process, and that there is none, are noticed.

    Args:
        target: a pid, a name, (name, node), or a remote reference to a process.
        timeout: seconds; None waits for ever. An answer that comes later is dropped.
        channel: of the request and of the answer; None is the process's own (`channel` of `GenServer.start`), or the
            default channel.
        partition_key: as in `partisan.send`.
        transitive: have other nodes pass on what this node and that of the process say to each other, from now on and
            while the two are no neighbors. With the option `broadcast` of both that is so without asking.
    Raises:
        NoProc: nobody has the name, or the process has ended before.
        NodeDown: its node is not connected, or was lost.
        Exit: the process has ended without an answer; `reason` is why. Or it is the one that asks: `calling_self`.
        CallTimeout: no answer came in time.
        Overloaded, EncodeError: as `partisan.send`.
    """
    if transitive:
        node()._befriend(target)
    return ask(target, message, timeout=timeout, channel=channel, partition_key=partition_key)


def cast(target: Target, message: object, *, channel: str | None = None, partition_key: int | None = None) -> None:
    """Tell a process something; whether it exists, or can be reached, is not told (as in OTP), but counted."""
    if channel is None:
        mine = running()
        channel = None if mine is None else mine.channel
    here = node()
    try:
        here.send(target, (CAST, message), channel=channel, partition_key=partition_key)
    except (NotConnected, NoProc):
        here._undeliverable(target, message)


def send_request(
    target: Target,
    message: object,
    *,
    label: Any = None,
    collection: RequestIds | None = None,
    channel: str | None = None,
    partition_key: int | None = None,
) -> Request:
    """Ask a process and go on; see `receive_response`, `wait_response` and `check_response`.

    Args:
        label, collection: add it to the collection under the label.
        channel, partition_key: as in `call`.
    Raises:
        Overloaded, EncodeError: as `partisan.send`.
    """
    sent = request(target, message, channel=channel, partition_key=partition_key)
    if collection is not None:
        collection.add(sent, label)
    return sent


def abcast(nodes: Iterable[str] | None, name: str | Atom, message: object, *, channel: str | None = None) -> None:
    """Cast to the process of this name on every one of the nodes; None: this node and all that are connected."""
    for each in everywhere() if nodes is None else nodes:
        cast((name, each), message, channel=channel)


async def multi_call(
    nodes: Iterable[str] | None,
    name: str | Atom,
    message: object,
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> tuple[list[tuple[str, Any]], list[str]]:
    """Ask the process of this name on every one of the nodes at once.

    Args:
        nodes: names; None: this node and all that are connected.
        timeout: seconds for all together; None waits until each has answered or is lost.
    Returns:
        ([(node, answer)], nodes without an answer), both in the order of the nodes.
    """
    asked: list[tuple[str, Request | None]] = []
    requests = RequestIds()
    for each in everywhere() if nodes is None else nodes:
        try:
            sent = send_request((name, each), message, channel=channel)
        except Overloaded:
            asked.append((each, None))
        else:
            asked.append((each, sent))
            requests.add(sent, each)
    loop = asyncio.get_running_loop()
    end = None if timeout is None else loop.time() + timeout
    try:
        while await receive_response(requests, None if end is None else max(0.0, end - loop.time())) is not None:
            pass
    except CallTimeout:
        pass
    finally:
        abandon(requests)
    answered = [(each, sent.outcome) for each, sent in asked if sent is not None and sent.state == ANSWERED]
    return answered, [each for each, sent in asked if sent is None or sent.state != ANSWERED]


ANSWERED = 1
"""`Request.state` of one that was answered."""


def everywhere() -> list[str]:
    """The names of this node and of all that are connected."""
    here = node()
    return [here.name, *(name for name in here.nodes() if name != here.name)]


async def stop(target: Target, reason: object = NORMAL, *, timeout: float | None = None) -> None:
    """Make a process end in order, with `terminate`, by a system message; return when it has ended.

    Args:
        timeout: seconds; None waits for ever. The process is told to end in any case.
    Raises:
        NoProc: there is none.
        Exit: it has ended for another reason; or it is the current one: `calling_self`; or this node stops: `killed`.
        NodeDown: its node is not connected, or was lost.
        CallTimeout: it has not ended in time.
        Overloaded, EncodeError: it cannot be told, as `partisan.send`.
    """
    here, mine = node(), running()
    where = (_PROC_LIB, _STOP, [target, reason, timeout])
    if mine is not None and _found(target) is mine is _stepped():
        raise Exit(CALLING_SELF, where)
    try:
        found = await by_process(
            here.spawn, here.scheduler, _stop, target, reason, timeout=timeout, lost=lambda _: Exit(KILLED, where)
        )
    except TimeoutError:
        raise CallTimeout(timeout or 0.0, target, where) from None
    if found == reason:
        return
    if found == NOPROC:
        raise NoProc(found, target, where)
    if found == NOCONNECTION:
        raise NodeDown(found, where)
    raise Exit(found, where)


async def _stop(target: Target, reason: object) -> object:
    """In a process of its own: tell the target to end, wait until it has, and return why it did."""
    try:
        reference = node().monitor(target)
    except NoProc as error:  # a registry does not have the name
        return error.reason
    with contextlib.suppress(Exit):  # the monitor tells why
        await ask(target, (TERMINATE, reason), timeout=None, label=SYSTEM)
    return (await receive((..., reference, ..., ..., ...)))[4]


def _stepped() -> object:
    """What runs now: a task, or a process, which stands in for one."""
    return asyncio.current_task()


def _found(target: Target) -> object:
    """The process of this node that is meant, or None."""
    here = node()
    try:
        at, name = here._place(target)
    except NoProc:
        return None
    if at != here.name:
        return None
    return here.scheduler.find(name) if isinstance(name, Pid) else here.scheduler.whereis(name.name)
