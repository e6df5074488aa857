"""Ten thousand connections that say nothing, from a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from node_process import NodeProcess
from support import Conversation, cluster, eventually, fully_meshed

from tests.memory import growth_from_now

COUNT = 10_000
SPARE = 200
"""Descriptors that a test needs besides."""

PATIENCE = 120.0
"""How long (s) the connections may take to come, and to go: bounds a failure on a busy machine, claims no speed."""

CLIENT = Path(__file__).with_name("silent_client.py")


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raise the limit of open files as far as the test needs; skip it where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < COUNT + SPARE:
        pytest.skip(f"the hard limit of open files is {hard}, below {COUNT + SPARE}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, COUNT + SPARE), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def silent_client(port: int, count: int) -> AsyncIterator[None]:
    """A process that has opened so many connections."""
    pipe = asyncio.subprocess.PIPE
    client = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), str(port), str(count), stdin=pipe, stdout=pipe
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert int(await client.stdout.readline()) == count
        yield
    finally:
        client.stdin.close()
        await client.wait()


@pytest.mark.timeout(400)
async def test_ten_thousand_silent_connections_cost_little_and_are_let_go(many_descriptors: None) -> None:
    async with cluster("a", "b", handshake_timeout=5.0, max_connections=COUNT + SPARE) as (a, b):
        conversation = Conversation(b, a)
        await conversation.goes_on()
        grown = growth_from_now()
        async with silent_client(a.listen_addrs[0].port, COUNT):
            await conversation.goes_on()
            assert grown() < COUNT * 16_384
            closed = a.telemetry.counters
            await eventually(lambda: closed().get("partisan.socket.close", 0) >= COUNT, timeout=PATIENCE)
            await conversation.goes_on()
        assert a.telemetry.counters()["partisan.frame.rejected"] >= COUNT
        assert fully_meshed(a, b)


async def test_connections_above_the_limit_are_refused_and_counted() -> None:
    async with cluster("a", "b", max_connections=50) as (a, b):
        conversation = Conversation(b, a)
        async with silent_client(a.listen_addrs[0].port, 200):
            await eventually(lambda: a.telemetry.counters().get("partisan.socket.error", 0) >= 150, timeout=PATIENCE)
            assert len(a._acceptor.links) == 50
            await conversation.goes_on()


@contextlib.asynccontextmanager
async def short_of_descriptors(loop_name: str) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    """Two nodes in processes of their own, the first of which may have 256 descriptors."""
    a, b = NodeProcess("a"), NodeProcess("b")
    async with contextlib.AsyncExitStack() as stack:
        for node in (a, b):
            await node.start(loop_name)
            stack.push_async_callback(node.kill)
        await a.tell("limit_descriptors", 256)
        yield a, b


async def mesh(a: NodeProcess, b: NodeProcess) -> None:
    for node in (a, b):
        await node.until("members", [a.name, b.name])
        await node.until("meshed", True)


async def test_mute_connections_leave_descriptors_to_dial_with(loop_name: str) -> None:
    async with short_of_descriptors(loop_name) as (a, b):
        async with silent_client(a.port, 400):
            await a.until("refused", {"descriptors": 400 - (256 - 64)})
            await a.tell("join", b.address)
        await mesh(a, b)
        await a.tell("send", b.name, "data", 1, 10)
        await b.until("received", {a.name: {"data": [0]}})


async def test_a_node_that_has_run_out_of_descriptors_tells_so_and_accepts_again_once_it_has_some(
    loop_name: str,
) -> None:
    async with short_of_descriptors(loop_name) as (a, b):
        await a.tell("hoard_descriptors")
        async with silent_client(a.port, 1):
            await a.until("reasons", ["descriptors"])
            await a.tell("free_descriptors")
        await b.tell("join", a.address)
        await mesh(a, b)
