"""Erlang nodes as the rest of a node sees them: what `partisan.dist` does for it, if it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from partisan._core.calls import call
from partisan._core.process import Process
from partisan.config import Config
from partisan.errors import CallTimeout, ConnectFailed, NodeDown
from partisan.etf import Atom, Pid, Reference
from partisan.names import ListenAddress
from partisan.runtime.apply import Outcome
from partisan.runtime.monitors import Waiter


class FarLinks(Protocol):
    """Links to their processes."""

    def link(self, mine: Process, pid: Pid) -> None:
        """Link a process here to one there."""

    def unlink(self, mine: Process, pid: Pid) -> None:
        """The process has taken its end of a link away."""


class FarMonitors(Protocol):
    """Monitors of their processes."""

    def begin(self, key: Reference, waiter: Waiter, node: str, target: Pid | Atom, holder: Pid | None = None) -> None:
        """Monitor a process; `waiter` is told once, unless `end` comes before."""

    def end(self, key: Reference) -> bool:
        """Tell the waiter nothing any more."""


class Far(Protocol):
    """The distribution of a node."""

    @property
    def links(self) -> FarLinks:
        """Links to their processes."""

    @property
    def monitors(self) -> FarMonitors:
        """Monitors of their processes."""

    def is_peer(self, name: str) -> bool:
        """Whether a connection to the node is up."""

    def peers(self, *, hidden: bool) -> list[str]:
        """Names of the connected nodes that are hidden, or of those that are not."""

    def may_reach(self, name: str) -> bool:
        """Whether to connect to the node when it is called."""

    def takes_calls(self, name: str) -> bool:
        """Whether the node is asked by the distribution: it is connected so, or by nothing else and to be reached."""

    async def reach(self, name: str) -> None:
        """Connect to the node. Raises ConnectFailed."""

    def disconnect(self, name: str) -> bool:
        """Close the connection to the node; whether there was one."""

    def connections(self) -> list[tuple[str, ListenAddress, int]]:
        """Connections that are up: (node, where its other end is, octets that wait)."""

    def reload_tls(self, config: Config) -> None:
        """Read the files of TLS again, for connections that are made from now on. Raises ConfigError."""

    def check_allowed(self) -> None:
        """Close the connections of nodes that may not connect any more (`allowed_nodes`)."""

    def exit(self, sender: Pid, pid: Pid, reason: object) -> None:
        """Send a process there an exit signal. Raises EncodeError."""

    async def start_at(
        self, node: str, sender: Pid, module: str, function: str, args: list[Any], *, linked: bool
    ) -> Pid:
        """Start a process there. Raises NodeDown, SpawnRefused, EncodeError."""

    async def execute(self, node: str, module: str, function: str, args: list[Any]) -> Outcome:
        """Have a function called there. Raises NodeDown, SpawnRefused, EncodeError."""

    def cast(self, node: str, module: str, function: str, args: list[Any]) -> None:
        """Have a function called there, and hear nothing of it. Raises EncodeError."""

    async def start(self) -> None:
        """Begin. Raises ConfigError, EpmdError."""

    async def stop(self) -> None:
        """Close every connection."""


NODEDOWN = Atom("nodedown")


class Unreached:
    """Calls of nodes that are not connected, and may be reached as Erlang nodes: they connect first.

    Args:
        far: the distribution.
        loop: the node's.
    """

    def __init__(self, far: Far, loop: asyncio.AbstractEventLoop) -> None:
        self._far = far
        self._loop = loop

    def call(
        self,
        target: Any,
        message: object,
        timeout: float | None,
        channel: str | None,
        partition_key: int | None,
        label: object,
        where: object,
    ) -> Awaitable[Any] | None:
        """Take the arguments of `calls.call`; None: the node is not to be reached."""
        node = target.node if isinstance(target, Pid) else target[1]
        name = node.name if isinstance(node, Atom) else node
        if not self._far.may_reach(name):
            return None
        options = {"channel": channel, "partition_key": partition_key, "label": label, "where": where}
        return self._call(name, target, message, timeout, options)

    async def _call(self, node: str, target: Any, message: object, timeout: float | None, options: Any) -> Any:
        called = (options["where"], Atom("call"), [target, message])
        begun = self._loop.time()
        try:
            async with asyncio.timeout(timeout):
                await self._far.reach(node)
        except ConnectFailed as error:
            raise NodeDown((NODEDOWN, Atom(node)), called) from error
        except TimeoutError:
            raise CallTimeout(0.0 if timeout is None else timeout, target, called) from None
        left = None if timeout is None else max(0.0, timeout - (self._loop.time() - begun))
        return await call(target, message, timeout=left, **options)
