"""A manager of events, for the tests of the cases of OTP's gen_event suite."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from event_support import Teller, heard
from support import eventually, inside, running

import partisan
from partisan import Node
from partisan.gen import event

TELLER = Teller.module


class Case:
    """A manager, and what the tests do with it in one process."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.manager: Any = None

    async def run(self, body: Callable[[], Awaitable[None]], **options: Any) -> None:
        """Run a test in a process of the node, with a manager that is gone in the end."""

        async def whole() -> None:
            self.manager = await event.start(name="my_handlers", **options)
            await body()
            if partisan.whereis("my_handlers") is not None:
                await event.stop("my_handlers")

        await inside(self.node, whole)
        assert not self.node.scheduler.aliases

    async def ended(self) -> None:
        await eventually(lambda: self.node.scheduler.find(self.manager) is None)


@contextlib.asynccontextmanager
async def managed() -> AsyncIterator[Case]:
    """A case on a node of its own."""
    async with running("a") as (node,):
        yield Case(node)


async def supervised(handler: Any = Teller) -> None:
    """Add a handler that this process supervises, and hear that."""
    await event.add_sup_handler("my_handlers", handler, partisan.self())
    await heard((TELLER, "init"))
