"""Erlang's distribution of one node: who it is there, its connections, and what comes on them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from partisan._core.connections import ConnectionTable
from partisan.config_distribution import Distribution
from partisan.dist import epmd
from partisan.dist.control import (
    Control,
    Demonitor,
    Down,
    Exit,
    Ignored,
    Link,
    Message,
    Monitor,
    Spawn,
    SpawnReply,
    Unlink,
    UnlinkAck,
)
from partisan.dist.flags import OURS, Flag
from partisan.dist.handshake import Cookies, Identity, Verdict, accept, initiate
from partisan.dist.kernel import Kernel
from partisan.dist.link import DistLink
from partisan.dist.spawning import DistSpawns
from partisan.dist.ties import DistLinks, Monitors, living, tell
from partisan.errors import ConnectFailed, EpmdError, HandshakeError, NodeDown, NotAllowed
from partisan.etf import Atom, Codec, Pid, Reference
from partisan.names import ListenAddress
from partisan.net.certificates import TlsMaterial
from partisan.net.context import Context
from partisan.net.listener import Listener, most_connections
from partisan.runtime.apply import Outcome
from partisan.runtime.remote import Remote

log = logging.getLogger(__name__)

NODEDOWN = Atom("nodedown")
LEAST_CREATION = 4
"""Creations below this had another meaning before OTP 23."""


class Distributed:
    """The distribution of one node.

    Args:
        context: the node's.
        table: its connections.
        options: of the distribution.
        remote: what others may ask of the node.
        spawn: callable(function, *arguments) -> pid: starts a process.
        make_ref: callable(): a new reference.
        edge: callable(node, up): hears of connections.
    Attributes:
        creation: which life of the node this is.
        port: where it listens.
    """

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        options: Distribution,
        remote: Remote,
        *,
        spawn: Callable[..., Pid],
        make_ref: Callable[[], Reference],
        edge: Callable[[str, bool], None],
    ) -> None:
        self.creation = 0
        self.port = 0
        self._context = context
        self._table = table
        self._options = options
        self._remote = remote
        self._edge = edge
        self._up: dict[str, DistLink] = {}
        self._all: set[DistLink] = set()
        self._dials: dict[str, asyncio.Task[DistLink]] = {}
        self._pending: dict[str, DistLink] = {}  # node -> the connection on which it is being dialled
        self._waiting: dict[str, asyncio.Future[DistLink]] = {}
        self._closing: dict[DistLink, Exception | None] = {}
        self._registration: epmd.Registration | None = None
        self._listener: Listener | None = None
        self._flags = OURS if options.hidden else OURS | Flag.PUBLISHED
        self._codec = Codec()
        self._tls = TlsMaterial(context.config) if options.tls else None
        self.monitors = Monitors(context, self.peer, make_ref)
        self.links = DistLinks(context, table, self.peer)
        self.spawns = DistSpawns(context, self.peer, self.links, remote.applied, remote.spawns, spawn, make_ref)
        self.kernel = Kernel(context, remote.applied)

    # Its life.

    async def start(self) -> None:
        """Listen, register with the daemon, and let the parts of Erlang's kernel be found.

        Raises:
            ConfigError: there is no cookie, or the address cannot be bound.
            EpmdError: there is no daemon, or it refuses the name.
        """
        options, context = self._options, self._context
        options.secret()
        address = ListenAddress(options.host, options.port)
        self._listener = Listener(context.loop, address, self._accepted, lambda: None, context.log)
        self.port = self._listener.address.port
        self.creation = context.rng.randrange(LEAST_CREATION, 1 << 32)
        try:
            if options.epmd:
                alive = context.node.partition("@")[0]
                self._registration = await epmd.register(
                    alive, self.port, hidden=options.hidden, epmd_port=options.epmd_port
                )
                self.creation = self._registration.creation
        except BaseException:
            self._listener.close()
            raise
        settings = context.router.codec.settings
        settings |= {"remote_refs": False, "home": Atom(context.node), "creation": self.creation}
        self._codec = Codec(**settings)
        for name, part in self.kernel.parts.items():
            context.router.scheduler.register(name, part)
        log.info("%s listens to Erlang nodes on %s:%d", context.node, options.host, self.port)

    async def stop(self) -> None:
        """Give the name back and close every connection."""
        if self._listener is not None:
            self._listener.close()
        for task in list(self._dials.values()):
            task.cancel()
        for link in list(self._all):
            link.close()
            self._gone(link)
        if self._registration is not None:
            await self._registration.close()

    # Connections.

    def peer(self, name: str) -> DistLink | None:
        """The connection to a node, if it is up."""
        link = self._up.get(name)
        return None if link is None or link.closed else link

    def peers(self, *, hidden: bool) -> list[str]:
        """Names of the connected nodes that are hidden, or of those that are not."""
        return [name for name, link in self._up.items() if link.published is not hidden]

    def may_reach(self, name: str) -> bool:
        """Whether it makes sense to connect to a node of this name."""
        return self._options.auto_connect and "@" in name and name != self._context.node

    def takes_calls(self, name: str) -> bool:
        """Whether the node is asked by the distribution: it is connected so, or by nothing else and to be reached."""
        return self.is_peer(name) or (not self._table.is_connected(name) and self.may_reach(name))

    def disconnect(self, name: str) -> bool:
        """Close the connection to a node; whether there was one."""
        link = self._up.get(name)
        if link is not None:
            link.fail(None)
        return link is not None

    def is_peer(self, name: str) -> bool:
        """Whether the connection to a node is up."""
        return self.peer(name) is not None

    async def reach(self, name: str) -> None:
        """Connect to a node, unless it is connected. Raises ConnectFailed."""
        await self.connect(name)

    async def connect(self, name: str) -> DistLink:
        """Connect to a node, unless it is connected.

        Raises:
            ConnectFailed: nobody is found, or the handshake has failed: its error is the cause.
        """
        link = self.peer(name)
        if link is not None:
            return link
        task = self._dials.get(name)
        if task is None:
            task = self._dials[name] = self._context.loop.create_task(self._dial(name))
            task.add_done_callback(lambda done: self._dialled(name, done))
        return await asyncio.shield(task)

    def _dialled(self, name: str, task: asyncio.Task[DistLink]) -> None:
        self._dials.pop(name, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _dial(self, name: str) -> DistLink:
        options, loop = self._options, self._context.loop
        waiter: asyncio.Future[DistLink] = loop.create_future()
        self._waiting[name] = waiter
        try:
            async with asyncio.timeout(options.setup_timeout):
                host, port = await self._find(name)
                sock = await self._open(host, port)
                exchange = initiate(
                    Identity(self._context.node, self.creation, self._flags),
                    name,
                    Cookies(*options.secrets(name)),
                    int.from_bytes(os.urandom(4), "big"),
                )
                link = self._make(sock, exchange, name)
                self._pending[name] = link
                link.start()
                return await waiter
        except TimeoutError:
            raise ConnectFailed(name, f"no connection within {options.setup_timeout:.3g} s") from None
        except (OSError, HandshakeError, EpmdError) as error:
            raise ConnectFailed(name, str(error)) from error
        finally:
            self._waiting.pop(name, None)
            pending = self._pending.pop(name, None)
            if pending is not None and not pending.up:
                pending.close()
                self._all.discard(pending)

    async def _find(self, name: str) -> tuple[str, int]:
        alive, _, host = name.partition("@")
        if name in self._options.ports:
            return host, self._options.ports[name]
        if not self._options.epmd and self._options.epmd_port is None:
            raise EpmdError("unreachable", f"the port of {name} is not among `ports`, and `epmd` is off")
        found = await epmd.find(alive, host, epmd_port=self._options.epmd_port, timeout=self._options.setup_timeout)
        if found is None:
            raise EpmdError("unknown", f"the daemon of {host} knows no node {alive}")
        return host, found.port

    async def _open(self, host: str, port: int) -> socket.socket:
        loop = self._context.loop
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        trouble: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address)
                return sock
            except OSError as error:
                sock.close()
                trouble = error
            except BaseException:
                sock.close()
                raise
        raise trouble

    def _make(self, sock: socket.socket, exchange: Any, dialled: str | None) -> DistLink:
        link = DistLink(
            self._context,
            self._table,
            self._options,
            self._codec,
            sock,
            exchange,
            owner=self,
            dialled=dialled,
            tls=self._tls,
        )
        self._all.add(link)
        return link

    def _accepted(self, sock: socket.socket) -> None:
        limit = most_connections(self._context.config.max_connections)
        if len(self._all) >= limit:
            sock.close()
            self._context.log(
                log, logging.WARNING, "dist", "%s refuses an Erlang node: it has %d", self._context.node, limit
            )
            return
        exchange = accept(
            Identity(self._context.node, self.creation, self._flags),
            lambda name: Cookies(*self._options.secrets(name)),
            int.from_bytes(os.urandom(4), "big"),
            self._judge,
        )
        try:
            link = self._make(sock, exchange, None)
        except OSError as error:
            sock.close()
            log.debug("%s lost a connection as it came: %s", self._context.node, error)
            return
        link.start()

    def _judge(self, name: str, creation: int) -> Verdict:
        allowed = self._context.config.allowed_nodes
        if name == self._context.node or (allowed is not None and name not in allowed):
            return Verdict.NOT_ALLOWED
        link = self.peer(name)
        if link is not None:
            return Verdict.ALIVE
        if name in self._pending:
            if name > self._context.node:
                pending = self._pending.pop(name)
                pending.close()
                self._all.discard(pending)
                return Verdict.SIMULTANEOUS
            return Verdict.REFUSED
        return Verdict.OK

    # What processes here ask.

    async def _link_to(self, node: str) -> DistLink:
        """The connection to a node, made if it may be. Raises NodeDown."""
        try:
            link = self.peer(node) or (await self.connect(node) if self.may_reach(node) else None)
        except ConnectFailed as error:
            raise NodeDown((NODEDOWN, Atom(node))) from error
        if link is None:
            raise NodeDown((NODEDOWN, Atom(node)))
        return link

    def exit(self, sender: Pid, pid: Pid, reason: object) -> None:
        """Send a process of an Erlang node an exit signal. Raises EncodeError."""
        link = self.peer(pid.node)
        if link is not None:
            self._context.router.codec.encode(reason)
            tell(link, Exit(sender, pid, reason, False), sender)

    async def start_at(
        self, node: str, sender: Pid, module: str, function: str, args: list[Any], *, linked: bool
    ) -> Pid:
        """Start a process at an Erlang node. Raises NodeDown, SpawnRefused, EncodeError."""
        link = await self._link_to(node)
        _, asked = self.spawns.start(link, sender, module, function, args, linked=linked, monitored=False)
        return await asked.started

    async def execute(self, node: str, module: str, function: str, args: list[Any]) -> Outcome:
        """Have an Erlang node call a function; its outcome. Raises NodeDown, SpawnRefused, EncodeError."""
        return await self.spawns.call(await self._link_to(node), module, function, args)

    def cast(self, node: str, module: str, function: str, args: list[Any]) -> None:
        """Have an Erlang node call a function, and hear nothing of it. Raises EncodeError."""
        link = self.peer(node)
        if link is not None:
            self.spawns.cast(link, module, function, args)

    # What connections tell.

    def up(self, link: DistLink) -> None:
        """The handshake of a connection is done."""
        name = link.name
        former = self._up.get(name)
        if former is not None:  # the peer says that it is dead
            former.close()
            self._gone(former)
        self._up[name] = link
        link.queue.watch = lambda target: self.monitors.watch_calls(link, target)
        self.links.edge(name, True)
        log.info("%s is connected to the Erlang node %s", self._context.node, name)
        self._edge(name, True)
        waiter = self._waiting.get(name)
        if waiter is not None and not waiter.done():
            waiter.set_result(link)

    def down(self, link: DistLink, error: Exception | None) -> None:
        """A connection is gone."""
        if link.up:
            log.info("%s has lost the Erlang node %s: %s", self._context.node, link.name, error or "closed")
        self._gone(link)
        waiter = self._waiting.get(link.name)
        if self._pending.get(link.name) is link and waiter is not None and not waiter.done():
            if isinstance(error, HandshakeError) and error.reason == "refused" and "connecting to us" in str(error):
                return  # its own connection comes
            waiter.set_exception(error or HandshakeError("closed", link.name))

    def _gone(self, link: DistLink) -> None:
        self._all.discard(link)
        name = link.name
        if self._up.get(name) is not link:
            return
        del self._up[name]
        self.links.edge(name, False)
        self.monitors.lost(name)
        self.spawns.lost(name)
        self._edge(name, False)
        self._table.discard(name)

    def control(self, link: DistLink, message: Control) -> None:
        """Take a control message."""
        match message:
            case Link() | Unlink() | UnlinkAck() | Exit(linked=True):
                self.links.receive(link, message)
            case Exit():
                self._exit(link, message)
            case Monitor():
                self.monitors.monitored(link, message)
            case Demonitor():
                self.monitors.demonitored(link, message)
            case Down():
                if not self.monitors.down(link, message):
                    self.spawns.ended(link, message)
            case Spawn():
                self.spawns.asked(link, message)
            case SpawnReply():
                self.spawns.replied(link, message)
            case Message():
                self._context.router.undeliverable(message.target, message.message)
            case Ignored():
                log.debug("%r says what means nothing here", link)

    def _exit(self, link: DistLink, message: Exit) -> None:
        if living(self._context.router.scheduler, message.target) is None:
            return
        try:
            self._remote.exits.take(link.peer, message.sender, message.target, message.reason)
        except NotAllowed as error:
            log.debug("%r: %s", link, error)
