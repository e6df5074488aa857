"""What processes of one node cost, beside asyncio's tasks on the same loop: `python -m partisan.bench.local_actors`.

It says a line of JSON: figure -> [ours, asyncio's] for each round, in seconds an operation. Each pair is measured in
turns. Memory is in octets a process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import partisan
from partisan.gen.server import GenServer, call

BATCH = 50
"""Processes, or tasks, that are started before they run."""

Measure = Callable[[partisan.Node, int], Awaitable[float]]


class Answerer(GenServer):
    """Answers a call with what it was asked, in a plain callback."""

    def handle_call(self, request: Any, caller: Any) -> Any:
        return request


async def in_process(node: partisan.Node, function: Callable[..., Awaitable[None]], *args: Any) -> float:
    """Seconds that a process takes to run a function."""
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        start = time.perf_counter()
        await function(*args)
        done.set_result(time.perf_counter() - start)

    node.spawn(run)
    return await done


async def our_calls(node: partisan.Node, count: int) -> float:
    """A call of a server, answered by a plain callback."""
    server = await Answerer.start()
    assert server is not None

    async def caller() -> None:
        for _ in range(count):
            await call(server, b"sixteen octets..")

    seconds = await in_process(node, caller)
    node.exit(server, partisan.Atom("kill"))
    return seconds


async def our_exchanges(node: partisan.Node, count: int) -> float:
    """Two processes that send to each other."""

    async def echo() -> None:
        while True:
            sender, payload = await partisan.receive()
            partisan.send(sender, payload)

    async def asker() -> None:
        request = (partisan.self(), b"sixteen octets..")
        for _ in range(count):
            partisan.send(server, request)
            await partisan.receive()

    server = node.spawn(echo)
    seconds = await in_process(node, asker)
    node.exit(server, partisan.Atom("kill"))
    return seconds


async def futures(_node: partisan.Node, count: int) -> float:
    """Two tasks that hand futures to each other: a request by one, its answer by another."""
    loop = asyncio.get_running_loop()
    asked: list[asyncio.Future[asyncio.Future[bytes]]] = [loop.create_future()]

    async def server() -> None:
        while True:
            answer = await asked[0]
            asked[0] = loop.create_future()
            answer.set_result(b"sixteen octets..")

    task = asyncio.create_task(server())
    await asyncio.sleep(0)
    start = time.perf_counter()
    for _ in range(count):
        answer: asyncio.Future[bytes] = loop.create_future()
        asked[0].set_result(answer)
        await answer
    seconds = time.perf_counter() - start
    task.cancel()
    return seconds


async def nothing() -> None:
    """What is spawned."""


async def our_spawns(node: partisan.Node, count: int) -> float:
    """Processes that end at once."""
    start = time.perf_counter()
    for _ in range(count // BATCH):
        for _ in range(BATCH):
            node.spawn(nothing)
        await asyncio.sleep(0)
    while node.scheduler.processes:
        await asyncio.sleep(0)
    return time.perf_counter() - start


async def tasks(_node: partisan.Node, count: int) -> float:
    """Tasks that end at once."""
    start = time.perf_counter()
    for _ in range(count // BATCH):
        for _ in range(BATCH):
            last = asyncio.create_task(nothing())
        await asyncio.sleep(0)
    await last
    return time.perf_counter() - start


PAIRS: dict[str, tuple[Measure, Measure]] = {
    "call": (our_calls, futures),
    "ping-pong": (our_exchanges, futures),
    "spawn": (our_spawns, tasks),
}


async def idle() -> None:
    """Wait for ever."""
    await partisan.receive()


async def memory(node: partisan.Node, count: int) -> float:
    """Octets of resident memory that an idle process takes."""
    before = resident()
    for i in range(count):
        node.spawn(idle)
        if i % BATCH == 0:
            await asyncio.sleep(0)
    while node.scheduler.steps < count:
        await asyncio.sleep(0)
    return (resident() - before) / count


def resident() -> int:
    """Octets of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main(rounds: int, seconds: float, processes: int) -> None:
    """Measure every pair so often, then the memory of so many processes."""
    found: dict[str, list[list[float]]] = {figure: [] for figure in PAIRS}
    async with partisan.Node("a@127.0.0.1:0") as node:
        for figure, pair in PAIRS.items():
            count = BATCH * max(1, int(seconds / await pair[1](node, 10_000) * 10_000 / BATCH))
            for _ in range(rounds):
                found[figure].append([await each(node, count) / count for each in pair])
    print(json.dumps({"pairs": found}), flush=True)
    node = await partisan.Node("m@127.0.0.1:0").start()
    for count in (10_000, processes):
        print(json.dumps({"processes": count, "octets": await memory(node, count)}), flush=True)
    os._exit(0)  # to end a million processes one by one is not what is measured


if __name__ == "__main__":
    partisan.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
