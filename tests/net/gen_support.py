"""Servers on nodes: what the tests of `partisan.gen` share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from support import eventually

from partisan import Node
from partisan.gen.server import GenServer


async def within(node: Node, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a function in a process of the node; what it returns or raises."""
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            outcome.set_result(await function(*args))
        except Exception as error:
            outcome.set_exception(error)

    node.spawn(run)
    return await asyncio.wait_for(outcome, 30)


async def calls_agreed(*nodes: Node) -> None:
    """Wait until each node watches the calls of the others."""
    await eventually(lambda: all(a.table.peers[b.name].watches_calls for a in nodes for b in nodes if a is not b))


async def started(node: Node, kind: type[GenServer], **options: Any) -> Any:
    """Start a server on the node."""
    return await within(node, lambda: kind.start(**options))
