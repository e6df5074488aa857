"""Three nodes in operating-system processes of their own: join, traffic, a kill and a return, a leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from node_process import NodeProcess

CHANNELS = [None, "data", "bulk", "nobody_has_configured_this"]


@contextlib.asynccontextmanager
async def processes(loop_name: str, *names: str) -> AsyncIterator[list[NodeProcess]]:
    started = [NodeProcess(name) for name in names]
    try:
        await asyncio.gather(*(process.start(loop_name) for process in started))
        yield started
    finally:
        for process in started:
            with contextlib.suppress(AttributeError):  # it never started
                await process.kill()


async def agree(*nodes: NodeProcess) -> None:
    """Wait until all have each other as members, and every connection that they want."""
    names = sorted(node.name for node in nodes)
    for node in nodes:
        await node.until("members", names)
        await node.until("meshed", True)


async def exchange(nodes: list[NodeProcess], count: int = 50) -> None:
    """Send numbered messages from each to each on every channel."""
    await asyncio.gather(*(send_to_all(node, nodes, count) for node in nodes))


async def send_to_all(node: NodeProcess, nodes: list[NodeProcess], count: int) -> None:
    for other in nodes:
        for channel in CHANNELS if other is not node else ():
            await node.tell("send", other.name, channel, count, 2000)


async def has_received(node: NodeProcess, expected: dict[str, dict[str, list[int]]]) -> None:
    await node.until("received", expected)


def numbered(senders: list[NodeProcess], receiver: NodeProcess, times: int = 1) -> dict[str, dict[str, list[int]]]:
    """What a receiver has after so many exchanges: all of it, in order."""
    lanes = {channel or "undefined": list(range(50)) * times for channel in CHANNELS}
    return {sender.name: lanes for sender in senders if sender is not receiver}


async def test_three_processes_join_talk_lose_one_and_take_it_back(loop_name: str) -> None:
    async with processes(loop_name, "a", "b", "c") as (a, b, c):
        await b.tell("join", a.address)
        await c.tell("join", a.address)
        await agree(a, b, c)
        await exchange([a, b, c])
        for node in (a, b, c):
            await has_received(node, numbered([a, b, c], node))

        old_port = c.port
        await c.kill()
        await a.until("connected", [b.name])
        await b.until("connected", [a.name])
        assert await a.tell("members") == [a.name, b.name, c.name]
        await a.tell("send", b.name, "data", 1, 10)

        await c.start(loop_name)
        assert c.port != old_port
        assert await c.tell("members") == [c.name]
        await c.tell("join", b.address)
        await agree(a, b, c)
        await exchange([a, b, c])
        await has_received(c, numbered([a, b], c))
        twice = numbered([b, c], a, times=2)
        await has_received(a, twice)

        await b.tell("leave")
        await a.until("members", [a.name, c.name])
        await c.until("members", [a.name, c.name])
        assert await b.tell("members") == [b.name]
        await a.until("connected", [c.name])
        assert [await node.stop() for node in (a, b, c)] == [0, 0, 0]


async def test_a_process_that_comes_back_at_its_old_address_is_found_again(loop_name: str) -> None:
    async with processes(loop_name, "a", "b") as (a, b):
        await b.tell("join", a.address)
        await agree(a, b)
        await b.kill()
        await a.until("connected", [])
        await b.start(loop_name, port=b.port)
        await agree(a, b)  # nobody has told b to join: a dials it, and its word reaches b
        await a.tell("send", b.name, None, 50, 10)
        await has_received(b, {a.name: {"undefined": list(range(50))}})
