"""Module functions that act on the current node; each is the method of `Node` of the same name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from partisan.config import Config
from partisan.etf import Pid, Reference
from partisan.names import NodeSpec
from partisan.runtime.current import node
from partisan.runtime.message_calls import Target


def spawn(function: Callable[..., Awaitable[Any]], *args: Any, name: str | None = None, **options: Any) -> Pid:
    """Start a process that runs `function(*args, **options)`; return its pid at once."""
    return node().spawn(function, *args, name=name, **options)


def register(name: str, pid: Pid) -> None:
    """Give a living process of the current node a name. Raises NameTaken, NoProc."""
    node().register(name, pid)


def unregister(name: str) -> None:
    """Take a name away. Raises KeyError if nobody has it."""
    node().unregister(name)


def whereis(name: str) -> Pid | None:
    """The pid registered under the name on the current node, or None."""
    return node().whereis(name)


def forward_message(target: Target, message: object, **options: Any) -> None:
    """Send a message with options: channel, partition_key, key."""
    node().forward_message(target, message, **options)


def cast_message(target: Target, message: object, **options: Any) -> None:
    """Send `{'$gen_cast', Message}`: what a gen_server takes as a cast."""
    node().cast_message(target, message, **options)


def make_ref() -> Reference:
    """A reference that the current node has not made before."""
    return node().make_ref()


def reconfigure(**options: Any) -> Config:
    """Change options of the current node while it runs: all or none. Raises ConfigError."""
    return node().reconfigure(**options)


async def join(contact: str | NodeSpec, *, timeout: float = 10.0) -> str:
    """Join the cluster of a node; return its name. Raises ConnectFailed, HandshakeError."""
    return await node().join(contact, timeout=timeout)


async def leave(name: str | None = None) -> None:
    """Leave the cluster, or make another node leave it."""
    await node().leave(name)


def members() -> list[str]:
    """Names of the members, the current node included."""
    return node().members()


def nodes() -> list[str]:
    """Names of the nodes to which a connection is up."""
    return node().nodes()


def is_connected(name: str, channel: str | None = None) -> bool:
    """Whether a connection to the node, or one of the channel, is up."""
    return node().is_connected(name, channel)


def is_fully_connected(name: str) -> bool:
    """Whether every channel of the node's spec has all its connections."""
    return node().is_fully_connected(name)
