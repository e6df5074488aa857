"""What our nodes of every workload share: orders in, facts out, and patience with a full queue."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import TypeVar

import partisan

Result = TypeVar("Result")
Target = partisan.Pid | tuple[str, str]


async def orders() -> AsyncIterator[list[str]]:
    """The lines of the standard input as lists of words, until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().split()


def say(**facts: object) -> None:
    """Print a line of JSON at once."""
    print(json.dumps(facts), flush=True)


async def send(node: partisan.Node, target: Target, message: object, channel: str | None = None) -> None:
    """Send a message; what a full queue refuses is sent when there is room."""
    while True:
        try:
            partisan.send(target, message, channel=channel)
            return
        except partisan.Overloaded as refused:
            await node.drain(refused.node, refused.channel)


async def each_done(done: asyncio.Queue[Result | Exception], count: int) -> list[Result]:
    """Wait for so many results. Raises the first that is an exception."""
    results: list[Result] = []
    for _ in range(count):
        result = await done.get()
        if isinstance(result, Exception):
            raise result
        results.append(result)
    return results
