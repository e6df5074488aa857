"""Nodes in this program, on free ports of the loopback: alone or joined and fully meshed, ended with their block."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from partisan import Node
from partisan.testing.probes import probes
from partisan.testing.waiting import eventually

FAST = {"connection_interval": 0.05, "connection_jitter": 0.02, "reconnect_backoff_max": 0.2}
"""Options with which a lost connection is dialled again soon."""

GRACE = 0.5
"""Seconds that a node has to stop: it waits little for silent peers."""


SETTLE = 2.0
"""Seconds after a block in which a clean one may end what it began."""


def free_port() -> int:
    """A port of the loopback on which nobody listens."""
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


def held(node: Node) -> dict[str, int]:
    """What a node has of what a program can forget to end; what is none is left out. The node may have stopped.

    `processes` (without probes), `links`, `monitors`, `timers` and `calls` are those of `Node.counters`; `time-outs`
    are waits that have one; `far links`, `starts`, `rpc` and `served` are what other nodes are asked for, or ask for.
    """
    remote = node._remote
    counted = node.scheduler.census()
    counts = {
        **counted,
        "processes": counted["processes"] - probes(node),
        "timers": len(node._timers),
        "time-outs": len(node.scheduler.deadlines),
        "far links": len(remote.links.ends),
        "starts": len(remote.spawns),
        "rpc": len(remote.asking),
        "served": remote.applied.running,
    }
    return {name: count for name, count in counts.items() if count}


@contextlib.asynccontextmanager
async def running(
    *names: str, clean: bool = False, settle: float = SETTLE, **options: Any
) -> AsyncIterator[list[Node]]:
    """Start nodes, each a cluster of one, on free ports; stop them at the end.

    Args:
        names: without host: `a` is `a@127.0.0.1`.
        clean: fail if the block leaves a node with more than it began with: see `held`.
        settle: seconds that what is about to end has for it.
        options: of every node; those of `FAST` are their defaults here.
    """
    nodes = [Node(f"{name}@127.0.0.1:0", **{**FAST, **options}) for name in names]
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node)
            stack.push_async_callback(node.stop, grace=GRACE)
        async with _left_clean(nodes, settle if clean else None):
            yield nodes


@contextlib.asynccontextmanager
async def cluster(
    *names: str, clean: bool = False, settle: float = SETTLE, **options: Any
) -> AsyncIterator[list[Node]]:
    """As `running`, of nodes that are joined: each is connected with each on every channel."""
    async with running(*names, **options) as nodes:
        for node in nodes[1:]:
            await node.join(address_of(nodes[0]))
        await eventually(lambda: fully_meshed(*nodes), timeout=30.0)
        async with _left_clean(nodes, settle if clean else None):
            yield nodes


@contextlib.asynccontextmanager
async def _left_clean(nodes: list[Node], settle: float | None) -> AsyncIterator[None]:
    """Assert that the block leaves nothing behind; not if it fails, and not of nodes that it stopped."""
    before = {node.name: held(node) for node in nodes}

    def left() -> dict[str, dict[str, int]]:
        found = {}
        for node in nodes:
            now, then = held(node), before[node.name]
            more = {name: count - then.get(name, 0) for name, count in now.items() if count > then.get(name, 0)}
            if more:
                found[node.name] = more
        return found

    yield
    if settle is None:
        return
    try:
        await eventually(lambda: not left(), timeout=settle)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}") from None
