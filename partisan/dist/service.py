"""Erlang's distribution of one node: who it is there, its connections, and what comes on them."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from partisan._core.connections import ConnectionTable
from partisan._core.process import Process
from partisan.config import Config
from partisan.config_distribution import Distribution
from partisan.dist import epmd
from partisan.dist.connecting import Connecting
from partisan.dist.control import (
    NO_PAYLOAD,
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
    written,
)
from partisan.dist.flags import OURS, Flag
from partisan.dist.handshake import Cookies, Exchange, Identity, Verdict, accept
from partisan.dist.kernel import Kernel
from partisan.dist.link import DistLink
from partisan.dist.spawning import DistSpawns
from partisan.dist.ties import DistLinks, Monitors, found_for, living, tell
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
REGISTER_AGAIN = 2.0
"""Seconds between attempts to register with a daemon that was restarted (ours)."""

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
        self._connecting = Connecting(context.loop, options, self._identity, self.peer, self._make)
        self._registration: epmd.Registration | None = None
        self._registering: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._flags = OURS if options.hidden else OURS | Flag.PUBLISHED
        self._codec = Codec()
        self._ready = False  # who comes before we know who we are is not let in
        self._tls = (context.tls or TlsMaterial(context.config)) if options.tls else None
        self.monitors = Monitors(context, self.peer, make_ref)
        self.links = DistLinks(context, self.peer)
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
        for name, part in self.kernel.parts.items():
            context.router.scheduler.register(name, part)
        context.router.foreign_parts = frozenset(self.kernel.parts)
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
                self._registering = context.loop.create_task(self._keep_registered(alive, self._registration))
        except BaseException:
            self._listener.close()
            raise
        settings = context.router.codec.settings
        settings |= {"remote_refs": False, "home": Atom(context.node), "creation": self.creation}
        self._codec = Codec(**settings)
        self._ready = True
        log.info("%s listens to Erlang nodes on %s:%d", context.node, options.host, self.port)

    async def _keep_registered(self, alive: str, registration: epmd.Registration) -> None:
        """Register again when the daemon has gone and come back; who we are stays as it is."""
        options = self._options
        while True:
            await asyncio.wait((registration.lost,))
            await registration.close()
            log.warning("%s: the port mapper daemon is gone: nobody finds this node", self._context.node)
            self._registration = None
            while self._registration is None:
                await asyncio.sleep(REGISTER_AGAIN)
                try:
                    self._registration = registration = await epmd.register(
                        alive, self.port, hidden=options.hidden, epmd_port=options.epmd_port
                    )
                except EpmdError as error:
                    log.debug("%s is not registered again: %s", self._context.node, error)
            log.info("%s is registered again", self._context.node)

    async def stop(self) -> None:
        """Give the name back and close every connection."""
        if self._listener is not None:
            self._listener.close()
        self._ready = False
        self._connecting.stop()
        if self._registering is not None:
            self._registering.cancel()
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
        """Connect to a node, unless it is connected. Raises ConnectFailed."""
        return await self._connecting.connect(name)

    def connections(self) -> list[tuple[str, ListenAddress, int]]:
        """Connections that are up: (node, where its other end is, octets that wait)."""
        return [
            (name, ListenAddress.parse(link.address_text), len(link.queue))
            for name, link in self._up.items()
            if link.address_text != "?"
        ]

    def reload_tls(self, config: Config) -> None:
        """Read the files of TLS again, for connections that are made from now on. Raises ConfigError."""
        if self._tls is not None and self._tls is not self._context.tls:
            self._tls.reload(config)

    def check_allowed(self) -> None:
        """Close the connections of nodes that may not connect any more (`allowed_nodes`)."""
        allowed = self._context.config.allowed_nodes
        if allowed is not None:
            for name in [name for name in self._up if name not in allowed]:
                self._up[name].fail(HandshakeError("refused", name, "it is not among `allowed_nodes`"))

    def _identity(self) -> Identity:
        return Identity(self._context.node, self.creation, self._flags)

    def _make(self, sock: socket.socket, exchange: Exchange, dialled: str | None) -> DistLink:
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
        if not self._ready:
            sock.close()
            return
        if len(self._all) >= limit:
            sock.close()
            self._context.log(
                log, logging.WARNING, "dist", "%s refuses an Erlang node: it has %d", self._context.node, limit
            )
            return
        exchange = accept(
            self._identity(),
            lambda name: Cookies(*self._options.secrets(name)),
            int.from_bytes(os.urandom(4), "big"),
            lambda name, creation: self._judge(name, link),
            self._name_for,
        )
        try:
            link = self._make(sock, exchange, None)
        except OSError as error:
            sock.close()
            log.debug("%s lost a connection as it came: %s", self._context.node, error)
            return
        link.start()

    def _judge(self, name: str, link: DistLink) -> Verdict:
        allowed = self._context.config.allowed_nodes
        if name == self._context.node or (allowed is not None and name not in allowed):
            return Verdict.NOT_ALLOWED
        return self._connecting.judge(name, link) if self.peer(name) is None else Verdict.ALIVE

    def _name_for(self, host: str) -> Identity:
        """Name a node that has none: it keeps the name as long as the connection."""
        alive = base64.b32encode(os.urandom(10)).decode()
        return Identity(f"{alive}@{host}", self._context.rng.randrange(LEAST_CREATION, 1 << 32))

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
        if link is not None and not link.is_past(pid):
            tuple_, payload = written(Exit(sender, pid, reason, False), payloads=link.has(Flag.EXIT_PAYLOAD))
            link.tell(tuple_, *(() if payload is NO_PAYLOAD else (payload,)), sender=sender)

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

    def taking(self, link: DistLink) -> None:
        """The handshake of a connection is done: one to the same node is dead, as the node says."""
        former = self._up.get(link.name)
        if former is not None:
            former.close()
            self._gone(former)

    def up(self, link: DistLink) -> None:
        """A connection is in the table."""
        name = link.name
        self._up[name] = link
        link.queue.watch = lambda target, request: self.monitors.watch_calls(link, target, request)
        self.links.edge(name, True)
        log.info("%s is connected to the Erlang node %s", self._context.node, name)
        self._connecting.arrived(link)
        self._edge(name, True)

    def down(self, link: DistLink, error: Exception | None) -> None:
        """A connection is gone."""
        self._gone(link)
        if link.up:
            log.info("%s has lost the Erlang node %s: %s", self._context.node, link.name, error or "closed")
        else:
            self._connecting.failed(link, error)

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
        peer = self._table.peers.get(name)
        if peer is not None and not any(lane.configured for lane in peer.lanes.values()):
            self._table.discard(name)  # else Partisan's overlay does, when it wants no connection any more

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
                self._deliver(link, message)
            case Ignored():
                log.debug("%r says what means nothing here", link)

    def _deliver(self, link: DistLink, message: Message) -> None:
        """Deliver what is for a part of Erlang's kernel, or carries a trace token; other messages never come here.

        The parts of Partisan are for its own connections alone.
        """
        router, target = self._context.router, message.target
        found = found_for(router.scheduler, target)
        if isinstance(target, Atom) and found is not None and found == self.kernel.parts.get(target.name):
            self.kernel.parts[target.name](message.message, link)
        elif isinstance(found, Process):
            router.hand_over(target, message.message, link.inbound)
        else:
            router.undeliverable(target, message.message)

    def _exit(self, link: DistLink, message: Exit) -> None:
        if living(self._context.router.scheduler, message.target) is None:
            return
        try:
            self._remote.exits.take(link.peer, message.sender, message.target, message.reason)
        except NotAllowed as error:
            log.debug("%r: %s", link, error)
