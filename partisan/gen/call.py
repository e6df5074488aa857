"""Ask, tell and answer the processes of every behaviour (OTP's `gen`)."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any

from partisan._core.calls import call as ask
from partisan._core.calls import reply as reply
from partisan._core.calls import request
from partisan._core.requests import Request
from partisan.errors import Exit, NoProc, NotConnected
from partisan.etf import Atom
from partisan.runtime.current import node
from partisan.runtime.message_calls import Target

__all__ = ["abcast", "call", "cast", "multi_call", "reply", "send_request"]

CAST = Atom("$gen_cast")


def call(
    target: Target,
    message: object,
    *,
    timeout: float | None = 5.0,
    channel: str | None = None,
    partition_key: int | None = None,
) -> Awaitable[Any]:
    """Ask a process and await its answer; the end of the process, and that there is none, are noticed.

    Args:
        target: a pid, a name, or (name, node).
        timeout: seconds; None waits for ever. An answer that comes later is dropped.
        channel: of the request and of the answer; None is the default channel.
        partition_key: as in `partisan.send`.
    Raises:
        NoProc: nobody has the name, or the process has ended before.
        NodeDown: its node is not connected, or was lost.
        Exit: the process has ended without an answer; `reason` is why.
        CallTimeout: no answer came in time.
        Overloaded, EncodeError: as `partisan.send`.
    """
    return ask(target, message, timeout=timeout, channel=channel, partition_key=partition_key)


def cast(target: Target, message: object, *, channel: str | None = None, partition_key: int | None = None) -> None:
    """Tell a process something; whether it exists, or can be reached, is not told (as in OTP), but counted."""
    here = node()
    try:
        here.send(target, (CAST, message), channel=channel, partition_key=partition_key)
    except (NotConnected, NoProc):
        here._undeliverable(target, message)


def send_request(target: Target, message: object, *, channel: str | None = None) -> Request:
    """Ask a process and go on; see `receive_response`, `wait_response` and `check_response`."""
    return request(target, message, channel=channel)


def abcast(nodes: Iterable[str], name: str | Atom, message: object, *, channel: str | None = None) -> None:
    """Cast to the process of this name on every one of the nodes."""
    for each in nodes:
        cast((name, each), message, channel=channel)


async def multi_call(
    nodes: Iterable[str], name: str | Atom, message: object, *, timeout: float | None = None, channel: str | None = None
) -> tuple[list[tuple[str, Any]], list[str]]:
    """Ask the process of this name on every one of the nodes at once: ([(node, answer)], nodes without an answer)."""
    raise NotImplementedError


async def stop(target: Target, reason: object = None, *, timeout: float | None = None) -> None:
    """Make a process end in order, with `terminate`; return when it has. Raises Exit, CallTimeout."""
    raise NotImplementedError


_ = Exit
