"""What the tests of real sockets share besides `partisan.testing`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import partisan
from partisan import Atom, Node, Overloaded, testing
from partisan.testing import FAST as FAST
from partisan.testing import Events as Events
from partisan.testing import Probe, held
from partisan.testing import address_of as address_of
from partisan.testing import eventually as eventually
from partisan.testing import free_port as free_port
from partisan.testing import fully_meshed as fully_meshed

inside = testing.within

FAR = ("far links", "starts", "rpc", "served", "calls")
"""What `held` counts of a node's business with others."""


async def settled(node: Node) -> None:
    """Let whatever is under way on the loop be told."""
    for _ in range(20):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(*names: str, **options: Any) -> AsyncIterator[list[Node]]:
    """As `partisan.testing.running`; nodes that have stopped have no processes, links, monitors, timers or calls."""
    async with testing.running(*names, **options) as nodes:
        yield nodes
    assert_nothing_left(*nodes)


@contextlib.asynccontextmanager
async def cluster(*names: str, **options: Any) -> AsyncIterator[list[Node]]:
    """As `partisan.testing.cluster`, likewise."""
    async with testing.cluster(*names, **options) as nodes:
        yield nodes
    assert_nothing_left(*nodes)


def assert_nothing_left(*nodes: Node) -> None:
    """What has stopped is left with nothing of its own."""
    left = {node.name: {name: count for name, count in held(node).items() if name not in FAR[:-1]} for node in nodes}
    assert not any(left.values()), f"left behind: {left}"


async def refused_for_long(send: Callable[[], object], turns: int = 50) -> None:
    """Send to who does not read until a queue has refused it for so many turns: the system's buffers are full, too."""
    refused = 0
    while refused < turns:
        try:
            send()
            refused = 0
        except Overloaded:
            refused += 1
        await asyncio.sleep(0)


class Sink(Probe):
    """A probe by the name that the tests send to."""

    def __init__(self, node: Node, name: str = "sink") -> None:
        super().__init__(node, name)


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


async def soon(future: asyncio.Future[Any]) -> Any:
    """The result of a future, for which nobody waits for ever."""
    async with asyncio.timeout(STARVED):
        return await future


async def killed_unstepped(node: Node, begin: Callable[[], Awaitable[Any]]) -> Any:
    """What code outside of processes gets if the process that is made for it is killed before its first step."""
    before = set(node.processes())
    waiting = asyncio.ensure_future(begin())
    while not (made := set(node.processes()) - before):
        await asyncio.sleep(0)  # a turn of the loop, in which the process is made and not run
    [process] = map(node.scheduler.find, made)
    assert process is not None
    assert inspect.getcoroutinestate(process.get_coro()) == inspect.CORO_CREATED  # type: ignore[arg-type]
    process.doom(Atom("killed"), True)
    return await soon(waiting)


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
    return {name: count for name, count in held(node).items() if name in FAR}
