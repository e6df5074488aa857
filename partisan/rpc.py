"""Call functions at other nodes, as OTP's `rpc`, in the frames of the reference: what real nodes take and make.

What a function raises there, whatever its class, is a `BadRpc` here; `partisan.erpc` tells the classes apart. Each node
decides what it opens to others: see the option `allow`, and `partisan.expose`. A call of a node to itself passes the
same list, so that it means the same wherever it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from partisan.errors import BadRpc, NodeDown, RpcTimeout
from partisan.runtime.current import node as current_node
from partisan.runtime.remote_calls import Node, named

__all__ = ["Key", "async_call", "call", "cast", "multicall", "nb_yield", "yield_"]


async def call(
    node: Node,
    module: str,
    function: str,
    args: Iterable[Any] = (),
    *,
    timeout: float | None = None,
    channel: str | None = None,
    partition_key: int | None = None,
) -> Any:
    """Call a function at a node and return its value.

    Args:
        timeout: seconds; None waits until the answer, or the loss of the node.
        channel, partition_key: of the request, as for `partisan.send`; a Python node answers on that channel.
    Raises:
        BadRpc: it gave no value; its `reason` says why. RpcTimeout: none in time.
        NodeDown: the node is not connected, or was lost meanwhile.
        Overloaded, EncodeError: the node cannot be asked.
    """
    options: dict[str, Any] = {"timeout": timeout, "channel": channel, "partition_key": partition_key}
    return await current_node()._remote.asking.call(named(node), module, function, list(args), **options)


def cast(node: Node, module: str, function: str, args: Iterable[Any] = (), *, channel: str | None = None) -> None:
    """Have a function called at a node; what becomes of it nobody hears. Raises EncodeError."""
    current_node()._remote.asking.cast(named(node), module, function, list(args), channel)


async def multicall(
    nodes: Iterable[Node],
    module: str,
    function: str,
    args: Iterable[Any] = (),
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> tuple[list[Any], list[str]]:
    """Call a function at several nodes at once.

    Returns:
        The values of the nodes that answered, in their order, a `BadRpc` for a value where the function gave none; and
        the names of the nodes that did not answer: not connected, lost, or too late.
    """
    names, arguments = [named(node) for node in nodes], list(args)
    options: dict[str, Any] = {"timeout": timeout, "channel": channel}
    found = await asyncio.gather(
        *(call(name, module, function, arguments, **options) for name in names), return_exceptions=True
    )
    values: list[Any] = []
    bad: list[str] = []
    for name, value in zip(names, found, strict=True):
        if isinstance(value, NodeDown | RpcTimeout):
            bad.append(name)
        elif isinstance(value, BaseException) and not isinstance(value, BadRpc):
            raise value
        else:
            values.append(value)
    return values, bad


class Key:
    """A call that goes on meanwhile: see `async_call`."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task


def async_call(
    node: Node,
    module: str,
    function: str,
    args: Iterable[Any] = (),
    *,
    timeout: float | None = None,
    channel: str | None = None,
) -> Key:
    """Begin a call, and go on: `yield_` or `nb_yield` gives its value."""
    options: dict[str, Any] = {"timeout": timeout, "channel": channel}
    task = current_node().loop.create_task(call(node, module, function, list(args), **options))
    task.add_done_callback(_retrieved)
    return Key(task)


async def yield_(key: Key) -> Any:
    """Wait for the value of a call that was begun; raises what `call` raises."""
    return await asyncio.shield(key._task)


async def nb_yield(key: Key, timeout: float = 0.0) -> tuple[Any] | None:
    """The value of a call that was begun, as `(value,)`; None if it is not there in so many seconds."""
    done, _ = await asyncio.wait({key._task}, timeout=timeout)
    return (key._task.result(),) if done else None


def _retrieved(task: asyncio.Task[Any]) -> None:
    """Nobody need ask for the value."""
    if not task.cancelled():
        task.exception()
