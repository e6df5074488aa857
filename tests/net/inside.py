"""Code that a test wants to run inside a process of a node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from partisan import Node


async def inside(node: Node, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run a coroutine function as a process of the node; what it returns, or raises."""
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            outcome.set_result(await function(*arguments))
        except Exception as error:
            outcome.set_exception(error)

    node.spawn(run)
    return await asyncio.wait_for(outcome, 30.0)
