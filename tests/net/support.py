"""Nodes, sinks, events and a bounded wait: what the tests of real sockets share."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import partisan
from partisan import Node

FAST = {"connection_interval": 0.05, "connection_jitter": 0.02, "reconnect_backoff_max": 0.2}
"""Options with which a lost connection is dialled again soon."""


async def eventually(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Return what the condition gives as soon as that is true; fail if it is not in time (s)."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {condition}")
        await asyncio.sleep(0.002)


async def settled(node: Node) -> None:
    """Let whatever is under way on the loop be told."""
    for _ in range(20):
        await asyncio.sleep(0)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def address_of(node: Node) -> str:
    """What another node joins it by."""
    return f"{node.name.partition('@')[0]}@{node.listen_addrs[0]}"


def fully_meshed(*nodes: Node) -> bool:
    """Whether all have the same members and every connection that each wants of the others."""
    names = sorted(node.name for node in nodes)
    return all(
        sorted(node.members()) == names and all(node.is_fully_connected(name) for name in names) for node in nodes
    )


@contextlib.asynccontextmanager
async def running(*names: str, **options: Any) -> AsyncIterator[list[Node]]:
    """Start nodes of these names on free ports, each a cluster of one; at the end they wait little for silent peers."""
    nodes = [Node(f"{name}@127.0.0.1:0", **{**FAST, **options}) for name in names]
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node)
            stack.callback(assert_nothing_left, node)
            stack.push_async_callback(node.stop, grace=0.5)
        yield nodes


def assert_nothing_left(node: Node) -> None:
    """A node that has stopped has no processes, links, monitors, timers or calls."""
    left = {**node.scheduler.census(), "timers": len(node._timers), "time-outs": len(node.scheduler.deadlines)}
    assert not any(left.values()), f"{node.name} is left with {left}"


@contextlib.asynccontextmanager
async def cluster(*names: str, **options: Any) -> AsyncIterator[list[Node]]:
    """Start nodes, join all to the first, and wait until they are fully meshed."""
    async with running(*names, **options) as nodes:
        for node in nodes[1:]:
            await node.join(address_of(nodes[0]))
        await eventually(lambda: fully_meshed(*nodes))
        yield nodes


class Sink:
    """A named process that keeps what it receives.

    Attributes:
        messages: in the order of arrival.
    """

    def __init__(self, node: Node, name: str = "sink") -> None:
        self.messages: list[Any] = []
        self.pid = node.spawn(self._run, name=name)

    async def _run(self) -> None:
        while True:
            self.messages.append(await partisan.receive())

    async def has(self, count: int, timeout: float = 10.0) -> list[Any]:
        """Wait until so many messages have come, and return all."""
        await eventually(lambda: len(self.messages) >= count, timeout)
        return self.messages


class Events:
    """The telemetry of a node, kept.

    Attributes:
        seen: (event, measurements, metadata), in order.
    """

    def __init__(self, node: Node, prefix: str = "partisan") -> None:
        self.seen: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
        node.telemetry.attach("events", prefix, lambda *event: self.seen.append(event))

    def of(self, event: str, **metadata: Any) -> list[Mapping[str, Any]]:
        """The metadata of the events of this name that have at least what is given."""
        return [
            about
            for name, _, about in self.seen
            if name == event and all(about.get(key) == value for key, value in metadata.items())
        ]

    def errors(self) -> list[Exception]:
        """What was reported of rejected frames, in order."""
        return [about["error"] for about in self.of("partisan.frame.rejected")]


STARVED = 30.0
"""How long (s) a conversation may stand still: what stalls it for good is caught, a busy machine is not."""


class Conversation:
    """Two nodes that go on exchanging messages until told to stop: the witness that nothing else is disturbed.

    Attributes:
        rounds: echoes that came back.
    """

    def __init__(self, here: Node, there: Node) -> None:
        self.rounds = 0
        self._there = there
        there.spawn(self._echo, name="conversation_echo")
        self._talker = here.spawn(self._talk)

    async def _echo(self) -> None:
        while True:
            caller, number = await partisan.receive()
            partisan.send(caller, number)

    async def _talk(self) -> None:
        while True:
            partisan.send(("conversation_echo", self._there.name), (partisan.self(), self.rounds))
            assert await partisan.receive(timeout=STARVED) == self.rounds
            self.rounds += 1
            await asyncio.sleep(0.001)

    async def goes_on(self) -> None:
        """Wait for ten more rounds."""
        wanted = self.rounds + 10
        await eventually(lambda: self.rounds >= wanted, timeout=STARVED)


@contextlib.asynccontextmanager
async def undisturbed(**options: Any) -> AsyncIterator[tuple[Node, Node]]:
    """Two joined nodes that converse; in the end they still do, on the connections that they had."""
    async with cluster("a", "b", **options) as (a, b):
        conversation = Conversation(b, a)
        await conversation.goes_on()
        lost = Events(b, "partisan.socket.close")
        yield a, b
        await conversation.goes_on()
        assert fully_meshed(a, b)
        assert not lost.of("partisan.socket.close", node=a.name)


async def inside(node: Node, function: Callable[[], Any]) -> Any:
    """What a coroutine function gives, or raises, that runs in a process of the node."""
    outcome: asyncio.Future[Any] = node.loop.create_future()

    async def run() -> None:
        try:
            outcome.set_result(await function())
        except Exception as error:
            outcome.set_exception(error)

    node.spawn(run)
    async with asyncio.timeout(STARVED):
        return await outcome


async def soon(future: asyncio.Future[Any]) -> Any:
    """The result of a future, for which nobody waits for ever."""
    async with asyncio.timeout(STARVED):
        return await future


async def agreed(*nodes: Node) -> None:
    """Wait until every two of these nodes have agreed on what they may ask of each other."""
    await eventually(
        lambda: all(one is other or other.name in one._remote.erpc.supported for one in nodes for other in nodes)
    )


@contextlib.asynccontextmanager
async def python_cluster(*names: str, **options: Any) -> AsyncIterator[list[Node]]:
    """As `cluster`, of nodes that have agreed; in the end nothing that one asked of another is left."""
    async with cluster(*names, **options) as nodes:
        await agreed(*nodes)
        yield nodes
        await eventually(lambda: not any(left_over(node) for node in nodes))


def left_over(node: Node) -> dict[str, int]:
    """What a node still has to do with others; what is none is left out."""
    remote = node._remote
    counts = {
        "links": len(remote.links.ends),
        "starts": len(remote.spawns),
        "calls": len(remote.asking),
        "running": remote.applied.running,
        "aliases": len(node.scheduler.aliases),
    }
    return {name: count for name, count in counts.items() if count}
