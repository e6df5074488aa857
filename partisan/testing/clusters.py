"""Nodes in this program, on free ports of the loopback: alone or joined, ended with their block."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any, TypeAlias

from partisan import Node
from partisan.testing.overlays import formed, missing, view_of
from partisan.testing.probes import probes
from partisan.testing.waiting import eventually

FAST = {"connection_interval": 0.05, "connection_jitter": 0.02, "reconnect_backoff_max": 0.2}
"""Options with which a lost connection is dialled again soon."""

Each: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Name of a node -> its options."""

GRACE = 0.5
"""Seconds that a node has to stop: it waits little for silent peers."""


SETTLE = 2.0
"""Seconds after a block in which a clean one may end what it began."""


_PORTS = range(15_000, 32_000)
"""Below those that systems give to connections: one of these would have taken a port before its node does."""


def free_port() -> int:
    """A port of the loopback on which nobody listens, taken at random from `_PORTS`. Raises OSError: none was found."""
    for port in Random().sample(_PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(errno.EADDRINUSE, "of a hundred ports of the loopback none is free")


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
    *names: str, clean: bool = False, settle: float = SETTLE, each: Each | None = None, **options: Any
) -> AsyncIterator[list[Node]]:
    """Start nodes, each a cluster of one, on free ports; stop them at the end.

    Args:
        names: without host: `a` is `a@127.0.0.1`.
        clean: fail if the block leaves a node with more than it began with: see `held`.
        settle: seconds that what is about to end has for it.
        each: name -> options of that node besides.
        options: of every node; those of `FAST` are their defaults here.
    """
    own = each or {}
    nodes = [Node(f"{name}@127.0.0.1:0", **{**FAST, **options, **own.get(name, {})}) for name in names]
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node)
            stack.push_async_callback(node.stop, grace=GRACE)
        async with _left_clean(nodes, settle if clean else None):
            yield nodes


@contextlib.asynccontextmanager
async def cluster(
    *names: str, clean: bool = False, settle: float = SETTLE, each: Each | None = None, **options: Any
) -> AsyncIterator[list[Node]]:
    """As `running`, of nodes that have joined the first and become one overlay of whatever kind, as `formed` says.

    So by default each is connected with each on every channel.
    """
    async with running(*names, each=each, **options) as nodes:
        await join_all(*nodes)
        async with _left_clean(nodes, settle if clean else None):
            yield nodes


async def join_all(*nodes: Node, timeout: float = 30.0) -> None:
    """Let nodes join the first of them, and wait until they are `formed`. Raises AssertionError, which says what lacks.

    Static links have one direction: there the first joins the others as well.
    """
    for node in nodes[1:]:
        await node.join(address_of(nodes[0]), timeout=timeout)
        if node.config.peer_service_manager == "static":
            await nodes[0].join(address_of(node), timeout=timeout)
    try:
        await eventually(lambda: formed(*nodes), timeout=timeout)
    except AssertionError:
        lacks = missing({node.name: view_of(node) for node in nodes})
        raise AssertionError(f"not within {timeout} s: {'; '.join(lacks)}") from None


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
