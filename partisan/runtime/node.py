"""A node: processes, connections and a membership, under one name.

A node is an object; many live in one interpreter. It belongs to the event loop on which it was started, and to that
loop's thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import random
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Token
from types import TracebackType
from typing import Any

from partisan._core.connections import ConnectionTable
from partisan._core.process import Process, Scheduler
from partisan._core.router import Router, current_router_var
from partisan._core.sendqueue import Bound
from partisan.config import Config
from partisan.errors import ConfigError, LocalProtocolError, NotConnected
from partisan.etf import Atom, Codec, Pid, Reference
from partisan.managers.pluggable import PluggableManager
from partisan.names import DEFAULT_CHANNEL, ChannelOptions, ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.net.gate import Gate
from partisan.runtime.current import current
from partisan.runtime.exits import ExitSignal, report_exit
from partisan.telemetry import Telemetry

log = logging.getLogger(__name__)


class Node:
    """A member of a cluster.

    Args:
        name: `name@host`, or `name@ip:port` to listen there too; port 0 takes a free one. Without an address the node
            listens on 127.0.0.1 at a free port.
        config: options as a `Config`; or give them as keyword arguments (see `docs/configuration.md`).
    Attributes:
        name: `name@host`.
        config: the options in force.
        telemetry: where its events go.
    """

    def __init__(self, name: str | None = None, /, *, config: Config | None = None, **options: Any) -> None:
        if config is not None and options:
            raise ConfigError(next(iter(options)), "give options in a Config or as arguments, not both")
        self.config = config if config is not None else Config.load(node_options(name, options))
        if self.config.name is None:
            raise ConfigError("name", "a node needs a name: name@host")
        self.name: str = self.config.name
        self.telemetry = Telemetry()
        self._running = False
        self._tokens: list[tuple[contextvars.ContextVar[Any], Token[Any]]] = []

    def __repr__(self) -> str:
        return f"<Node {self.name} {'up' if self._running else 'down'}>"

    async def start(self) -> Node:
        """Listen, and begin to be a cluster of one. Raises ConfigError if an address cannot be bound."""
        if self._running:
            raise LocalProtocolError(f"{self.name} runs already")
        config = self.config
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._rng = random.Random(os.urandom(16))
        self._relief: dict[tuple[str, str], list[asyncio.Future[None]]] = {}
        self._ref_count = self._rng.getrandbits(48)
        self.scheduler = Scheduler(
            self.name,
            first_key=self._rng.getrandbits(40),
            wake=lambda: self.router.rouse(),
            call_later=self.loop.call_later,
            loop=self.loop,
            enter_task=asyncio.tasks._enter_task,
            leave_task=asyncio.tasks._leave_task,
            cancelled=asyncio.CancelledError,
            exited=report_exit,
        )
        self.table = ConnectionTable(bound=self._bound, fallback=config.channel_fallback)
        self.router = Router(
            self.name,
            codec=make_codec(config),
            scheduler=self.scheduler,
            table=self.table,
            clock=self.loop.time,
            call_soon=self.loop.call_soon,
            undeliverable=self._undeliverable,
        )
        self.send = self.router.send
        self._context = Context(
            node=self.name,
            loop=self.loop,
            config=config,
            router=self.router,
            telemetry=self.telemetry,
            rng=self._rng,
        )
        self._gate = Gate(self._context, [ListenAddress.parse(text) for text in config.listen_addrs])
        self.spec = NodeSpec.of(self.name, tuple(self._gate.addresses), config.channel_map())
        self._manager = PluggableManager(self._context, self.table, self.spec)
        self.scheduler.register(self._manager.wire_name, self._manager.receive)
        self._context.manager = self._manager
        self._running = True
        self._gate.open()
        self._manager.start()
        log.info("%s listens on %s", self.name, ", ".join(map(str, self._gate.addresses)))
        return self

    async def stop(self) -> None:
        """End every process, close every connection and listener. Peers keep this node as a member: see `leave`."""
        if not self._running:
            return
        self._running = False
        for process in list(self.scheduler.processes.values()):
            self.scheduler.interrupt(process, ExitSignal(Atom("shutdown")))
        self.router.turn()
        self._manager.stop()
        self._gate.close()
        for waiters in self._relief.values():
            for waiter in waiters:
                waiter.cancel()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Node:
        await self.start()
        self._tokens = [(current, current.set(self)), (current_router_var, current_router_var.set(self.router))]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for variable, token in reversed(self._tokens):
            variable.reset(token)
        self._tokens = []
        await self.stop()

    def _check(self) -> None:
        if not self._running:
            raise LocalProtocolError(f"{self.name} is not running")
        if threading.get_ident() != self._thread:
            self.router.send(self.name, None)  # raises WrongThread

    # Membership.

    @property
    def listen_addrs(self) -> tuple[ListenAddress, ...]:
        """Where the node listens, with the ports that the system chose."""
        return self.spec.listen_addrs

    async def join(self, contact: str | NodeSpec, *, timeout: float = 10.0) -> str:
        """Join the cluster of a node; return its name once it is connected and its members are ours.

        Args:
            contact: `name@ip:port`, `ip:port`, or the node's spec.
            timeout: seconds.
        Raises:
            ConnectFailed: it could not be reached or joined in time, or it is this node.
            HandshakeError: another node, or something else, answered.
        """
        self._check()
        return await self._manager.join(contact, timeout)

    async def leave(self, name: str | None = None) -> None:
        """Leave the cluster, or make another node leave it; what waits is written first."""
        self._check()
        await self._manager.leave(name)

    def members(self) -> list[str]:
        """Names of the members, this node included."""
        self._check()
        return self._manager.members()

    def is_connected(self, name: str, channel: str | None = None) -> bool:
        """Whether a connection to the node, or one of the channel, is up. A node is connected to itself."""
        return name == self.name or self.table.is_connected(name, channel)

    def is_fully_connected(self, name: str) -> bool:
        """Whether every channel of the node's spec has all its connections."""
        return name == self.name or self.table.is_fully_connected(name)

    def connection_count(self, name: str | None = None, channel: str | None = None) -> int:
        """How many connections to the node, or of its channel, or to all nodes, are up."""
        return self.table.count if name is None else self.table.connections(name, channel)

    def nodes(self) -> list[str]:
        """Names of the nodes to which a connection is up."""
        return self.table.nodes()

    # Processes.

    def spawn(self, function: Callable[..., Awaitable[Any]], *args: Any, name: str | None = None, **options: Any) -> Pid:
        """Start a process that runs `function(*args, **options)`; return its pid at once.

        Args:
            function: a coroutine function.
            name: a name to register it under; raises NameTaken.
        """
        self._check()
        coroutine = function(*args, **options)
        if not inspect.iscoroutine(coroutine):
            raise TypeError(f"{function!r} gave {type(coroutine).__name__}, not a coroutine: spawn an async function")
        context = contextvars.copy_context()
        context.run(current.set, self)
        context.run(current_router_var.set, self.router)
        title = getattr(function, "__qualname__", type(function).__name__)
        if name is not None and name in self.scheduler.names:
            coroutine.close()
        process = self._spawn(coroutine, title, context, name)
        return process.pid

    def _spawn(self, coroutine: Any, title: str, context: contextvars.Context, name: str | None) -> Process:
        process = self.scheduler.spawn(coroutine, title, context)
        if name is not None:
            self.scheduler.register(name, process)
        return process

    def register(self, name: str, pid: Pid) -> None:
        """Give a living process of this node a name. Raises NameTaken; NoProc if the process does not live."""
        self._check()
        self.scheduler.register(name, self._living(pid))

    def unregister(self, name: str) -> None:
        """Take a name away. Raises KeyError if nobody has it."""
        self._check()
        self.scheduler.unregister(name)

    def whereis(self, name: str) -> Pid | None:
        """The pid registered under the name on this node, or None."""
        process = self.scheduler.whereis(name)
        return None if process is None else process.pid

    def exit(self, pid: Pid, reason: object) -> None:
        """Send a process of this node an exit signal; `normal` is ignored, and so is a dead target."""
        self._check()
        process = self.scheduler.find(pid) if pid.node == self.name else None
        if process is not None and reason != Atom("normal"):
            self.scheduler.interrupt(process, ExitSignal(reason))
