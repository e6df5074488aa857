"""A node: processes, connections and a membership, under one name.

A node is an object; many live in one interpreter. It belongs to the event loop on which it was started, and to that
loop's thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import ipaddress
import logging
import os
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import Token
from types import TracebackType
from typing import Any

from partisan import telemetry
from partisan._core.connections import ConnectionTable
from partisan._core.process import Process, Scheduler
from partisan._core.router import Router, current_router_var
from partisan._core.sendqueue import Bound
from partisan.config import Config
from partisan.errors import ConfigError, LocalProtocolError, NameTaken, NoProc
from partisan.etf import Atom, Codec, Pid, Reference
from partisan.managers.pluggable import PluggableManager
from partisan.names import DEFAULT_CHANNEL, ChannelOptions, Contact, ListenAddress, NodeSpec
from partisan.net.acceptor import Acceptor
from partisan.net.certificates import TlsMaterial
from partisan.net.context import Context
from partisan.runtime.busy_wait import BusyWait
from partisan.runtime.current import current
from partisan.runtime.exits import ExitSignal, report_exit
from partisan.runtime.python_peers import PythonPeers
from partisan.telemetry import Telemetry

log = logging.getLogger(__name__)

Target = Pid | Atom | str | tuple[str | Atom, str | Atom]
"""Whom a message can be sent to: a pid, a name on this node, or (name, node)."""

LOOPBACK = "127.0.0.1:0"
"""Where a node listens that is given no address."""

FORWARD_OPTIONS = frozenset({"channel", "partition_key", "key"})
"""Message options that `forward_message` and `cast_message` take."""


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
        self.config = config if config is not None else Config.load(named(name, options))
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
        self._ended = asyncio.Event()  # set whenever the last process ends
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
            exited=self._exited,
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
        self.send = self.router.send  # type: ignore[assignment,method-assign]  # without a detour from now on
        if config.busy_wait > 0.0:
            self.router.after_burst = BusyWait(self.loop, config.busy_wait).extend
        self._context = Context(
            node=self.name,
            loop=self.loop,
            config=config,
            router=self.router,
            telemetry=self.telemetry,
            rng=self._rng,
            tls=TlsMaterial(config) if config.tls else None,
        )
        addresses = [ListenAddress.parse(text) for text in config.listen_addrs or (LOOPBACK,)]
        for address in addresses:
            check_reachable(address, tls=config.tls)
        self._acceptor = Acceptor(self._context, addresses)
        self.spec = NodeSpec.of(self.name, self._acceptor.addresses, channel_map(config))
        python = PythonPeers(self._context, self.table, PluggableManager.wire_name)
        self.scheduler.register(python.wire_name, python.receive)
        self._manager = PluggableManager(self._context, self.table, self.spec, python.edge)
        self.scheduler.register(self._manager.wire_name, self._manager.receive)
        self._context.manager = self._manager
        self._running = True
        self._manager.start()
        log.info("%s listens on %s", self.name, ", ".join(map(str, self._acceptor.addresses)))
        return self

    async def stop(self, *, grace: float = 5.0) -> None:
        """End every process, then close every connection and listener. Peers keep this node as a member: see `leave`.

        Args:
            grace: seconds that processes have to end after their exit signal `shutdown`.
        """
        if not self._running:
            return
        self._running = False
        self._ended.clear()
        for process in list(self.scheduler.processes.values()):
            self.scheduler.interrupt(process, ExitSignal(Atom("shutdown")))
        if self.scheduler.processes:
            try:
                await asyncio.wait_for(self._ended.wait(), grace)
            except TimeoutError:
                log.warning("%s leaves processes behind: %s", self.name, list(self.scheduler.processes.values()))
        self._manager.stop()
        self._acceptor.close()
        for waiters in self._relief.values():
            for waiter in waiters:
                waiter.cancel()

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
        if not hasattr(self, "spec"):
            raise LocalProtocolError(f"{self.name} has not been started")
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
        self._check()
        return name == self.name or self.table.is_connected(name, channel)

    def is_fully_connected(self, name: str) -> bool:
        """Whether every channel of the node's spec has all its connections."""
        self._check()
        return name == self.name or self.table.is_fully_connected(name)

    def connection_count(self, name: str | None = None, channel: str | None = None) -> int:
        """How many connections to the node, or of its channel, or to all nodes, are up."""
        self._check()
        return self.table.count if name is None else self.table.connections(name, channel)

    def nodes(self) -> list[str]:
        """Names of the nodes to which a connection is up."""
        self._check()
        return self.table.nodes()

    # Processes.

    def spawn(
        self, function: Callable[..., Awaitable[Any]], *args: Any, name: str | Atom | None = None, **options: Any
    ) -> Pid:
        """Start a process that runs `function(*args, **options)`; return its pid at once.

        Args:
            function: a coroutine function.
            name: a name to register it under; raises NameTaken.
        """
        self._check()
        if name is not None:
            name = registered(name)
            if name in self.scheduler.names:
                raise NameTaken(name)
        if inspect.iscoroutine(function):
            function.close()
            raise TypeError("pass spawn() the function, not its call: spawn(f, x), not spawn(f(x))")
        coroutine = function(*args, **options)
        if not inspect.iscoroutine(coroutine):
            raise TypeError(f"{function!r} gave {type(coroutine).__name__}, not a coroutine: spawn an async function")
        context = contextvars.copy_context()
        context.run(current.set, self)
        context.run(current_router_var.set, self.router)
        title = getattr(function, "__qualname__", type(function).__name__)
        process = self.scheduler.spawn(coroutine, title, context)
        if name is not None:
            self.scheduler.register(name, process)
        return process.pid

    def register(self, name: str | Atom, pid: Pid) -> None:
        """Give a living process of this node a name. Raises NameTaken; NoProc if the process does not live."""
        self._check()
        process = self._living(pid)
        if process is None:
            raise NoProc(Atom("noproc"))
        self.scheduler.register(registered(name), process)

    def unregister(self, name: str | Atom) -> None:
        """Take a name away. Raises KeyError if nobody has it."""
        self._check()
        name = registered(name)
        if self.scheduler.whereis(name) is None:
            raise KeyError(name)
        self.scheduler.unregister(name)

    def whereis(self, name: str | Atom) -> Pid | None:
        """The pid registered under the name on this node, or None."""
        self._check()
        process = self.scheduler.whereis(registered(name))
        return None if process is None else process.pid

    def exit(self, pid: Pid, reason: object) -> None:
        """Send a process of this node an exit signal; `normal` is ignored, and so is a dead target."""
        self._check()
        process = self._living(pid)
        if process is not None and reason != Atom("normal"):
            self.scheduler.interrupt(process, ExitSignal(reason))

    def _living(self, pid: Pid) -> Process | None:
        if not isinstance(pid, Pid):
            raise TypeError(f"{pid!r} is no pid")
        return self.scheduler.find(pid) if pid.node == self.name else None

    # Messages.

    def send(self, target: Target, message: object, **options: Any) -> None:
        """Send a message to a process: encode, queue, return; see `partisan.send`."""
        self._check()
        self.router.send(target, message, **options)

    def forward_message(self, target: Target, message: object, **options: Any) -> None:
        """Send a message with options, as `send`: channel, partition_key, key. Named as in Partisan."""
        self._check_options(options)
        self.send(target, message, **options)

    def cast_message(self, target: Target, message: object, **options: Any) -> None:
        """Send `{'$gen_cast', Message}`: what a gen_server takes as a cast."""
        self._check_options(options)
        self.send(target, (Atom("$gen_cast"), message), **options)

    def _check_options(self, options: dict[str, Any]) -> None:
        unknown = sorted(options.keys() - FORWARD_OPTIONS)
        if unknown:
            raise TypeError(f"unknown message option {unknown[0]!r}; known are {', '.join(sorted(FORWARD_OPTIONS))}")

    def make_ref(self) -> Reference:
        """A reference that this node has not made before."""
        self._check()
        self._ref_count += 1
        count = self._ref_count
        return Reference(self.name, (count & 0x3FFFF, count >> 18 & 0xFFFFFFFF, count >> 50))

    async def drain(self, name: str, channel: str | None = None) -> None:
        """Wait until what is queued to the node on the channel is below high water: back-pressure outside of processes.

        Returns at once if it is. A lost connection drains its queue.
        """
        self._check()
        bound = self.table.lane(name, channel or DEFAULT_CHANNEL).bound
        if bound.over:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._relief.setdefault((bound.node, bound.channel), []).append(waiter)
            await waiter

    def queued_octets(self, name: str, channel: str | None = None) -> int:
        """How many octets wait to be sent to the node on the channel."""
        self._check()
        return int(self.table.lane(name, channel or DEFAULT_CHANNEL).bound.queued_octets)

    def threadsafe(self, function: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
        """From another thread: call `function(*args, **options)` in the node's thread; a future of its result.

        The one door into a node from elsewhere: `node.threadsafe(node.send, "sink", message).result()`.
        """
        if not self._running:
            raise LocalProtocolError(f"{self.name} is not running")
        future: Future[Any] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **options))
            except Exception as error:
                future.set_exception(error)

        self.loop.call_soon_threadsafe(call)
        return future

    def _bound(self, name: str, channel: str) -> Bound:
        """The octet bound of a (peer, channel)."""
        channels = self.config.channels
        options = channels.get(channel, channels[DEFAULT_CHANNEL])
        return Bound(
            name,
            channel,
            high_water=options.max_queue_octets,
            hard_limit=options.hard_queue_octets,
            policy=options.queue_policy,
            changed=self._bound_changed,
        )

    def _bound_changed(self, bound: Bound) -> None:
        about = {"node": bound.node, "channel": bound.channel, "over": bound.over}
        self.telemetry.emit(telemetry.QUEUE_HIGH_WATER, {"octets": bound.queued_octets}, about)
        if not bound.over:
            for waiter in self._relief.pop((bound.node, bound.channel), ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _exited(self, process: Process, reason: object, error: BaseException | None) -> None:
        report_exit(process, reason, error)
        if not self.scheduler.processes:
            self._ended.set()

    def _undeliverable(self, target: object, message: object) -> None:
        """A message came for nobody: counted, and dropped as in Erlang."""
        if self.telemetry.wants(telemetry.QUEUE_UNDELIVERED):
            self.telemetry.emit(telemetry.QUEUE_UNDELIVERED, {"count": 1}, {"target": target})
        else:
            self.telemetry.count(telemetry.QUEUE_UNDELIVERED)


def registered(name: str | Atom) -> str:
    """The text of a name to register a process under. Raises TypeError."""
    if isinstance(name, Atom):
        return name.name
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no process name: a str or an Atom")
    return name


def check_reachable(address: ListenAddress, *, tls: bool) -> None:
    """Refuse an address that peers cannot dial; warn of one that strangers can, in the clear."""
    ip = ipaddress.ip_address(address.host)
    if ip.is_unspecified:
        raise ConfigError(
            "listen_addrs", f"peers are told to dial {address}, which is nowhere: give one of its addresses"
        )
    if not ip.is_loopback and not tls:
        log.warning("listening on %s without TLS: whoever reaches it can join", address)


def named(name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The options with what the first argument of `Node` says: `name@host` or `name@ip:port`."""
    if name is None:
        return options
    if "name" in options:
        raise ConfigError("name", "it is given twice")
    host = name.partition("@")[2]
    if ":" not in host:
        return {"name": name, **options}
    if "listen_addrs" in options:
        raise ConfigError("listen_addrs", f"the name {name!r} says an address already")
    contact = Contact.parse(name, "name")
    return {"name": contact.name, "listen_addrs": [str(contact.address)], **options}


def channel_map(config: Config) -> dict[str, ChannelOptions]:
    """What a node's spec says about its channels."""
    return {
        name: ChannelOptions(channel.parallelism, channel.monotonic, channel.compression)
        for name, channel in config.channels.items()
    }


def make_codec(config: Config) -> Codec:
    """The codec of a node's wire."""
    codec = config.codec
    return Codec(
        none=codec.none,
        strings=codec.strings,
        binaries=codec.binaries,
        remote_refs=True,
        max_depth=codec.max_depth,
        max_items=codec.max_items,
        max_octets=config.max_frame_octets,
        max_inflated=codec.max_inflated_octets,
    )
