"""The connect loop: keep as many connections to each wanted peer as its spec asks for.

An edge is what a machine's `Connect(peer)` asks for. First one connection of the default channel is dialled; its
handshake names the peer and brings its state. Then the peer's own channel map says how many connections each channel
wants, and the missing ones are dialled side by side, those of other channels as soon as the overlay wants them. A
failure backs off: the pause doubles from `connection_interval` to `reconnect_backoff_max`, with jitter, and a
connection that comes up resets it. A peer with several addresses is dialled at each in turn.

A peer that has told another spec of itself, with the same addresses, keeps its edge and what is up of it: only what the
new channel map changes is dialled, parted or replaced. A connection that is replaced parts when the new one is up.

A connection that is no longer wanted parts: what waits on it is written, and it stays until the peer has closed it too;
one whose handshake has not begun goes on until it has, and closes then (`net/link.py` says why). A dial that is under
way is not cut short either. And as long as messages are held because connections change hands, none parts.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Iterable, Iterator
from typing import Protocol

from partisan import telemetry
from partisan._core.connections import ConnectionTable
from partisan.errors import ConnectionLost, PartisanError
from partisan.names import DEFAULT_CHANNEL, ChannelOptions, Contact, ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.net.link import DialledLink
from partisan.net.sockets import connect

log = logging.getLogger(__name__)

Target = NodeSpec | Contact


class Overlay(Protocol):
    """Who asked for the edges, and hears of them."""

    def identify(self, name: str, address: ListenAddress, tag: str, state: object) -> NodeSpec:
        """The spec of the peer that answered there so. Raises RemoteProtocolError to refuse it."""

    def connected(self, peer: Target, target: Target, tag: str, state: object) -> None:
        """The first connection of an edge has shaken hands, or its peer tells its state again."""

    def disconnected(self, target: Target, reason: str) -> None:
        """The last connection of an edge is gone."""

    def renamed(self, peer: NodeSpec) -> None:
        """The edge to what the peer was before is now the edge to it, and is connected."""

    def failed(self, target: Target, error: Exception) -> None:
        """An attempt to connect has failed; another will follow."""

    def lane_changed(self, node: str, channel: str) -> None:
        """A connection of the channel has come up or is gone."""

    def wants_all(self, peer: NodeSpec) -> bool:
        """Whether the edge to the peer, which is connected, is to have all its channels, and not the default one alone.

        It is asked whenever the edge is looked at; `Dialer.keep` looks at it again.
        """


class Edge:
    """One wanted peer and the connections to it.

    Attributes:
        target: whom the machine asked for: a spec, or a contact until its name is known.
        up: whether the overlay was told that it is connected.
        links: connections whose handshake has begun or is done, with their channels.
        dialling: channels of those that are being made, each until it is one of the links or has failed.
        stale: those of them that part as soon as another one of the channel is up.
        attempts: failures in a row.
    """

    __slots__ = ("addresses", "attempts", "dialling", "links", "stale", "target", "timer", "up")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.up = False
        self.links: dict[DialledLink, str] = {}
        self.stale: set[DialledLink] = set()
        self.dialling: list[str] = []
        self.attempts = 0
        self.timer: asyncio.TimerHandle | None = None
        self.addresses = self._rotate()

    def _rotate(self) -> Iterator[ListenAddress]:
        while True:
            target = self.target
            yield from target.listen_addrs if isinstance(target, NodeSpec) else target.addresses

    def pending(self, channel: str) -> int:
        """Connections of the channel that are being made or not yet usable."""
        made = sum(1 for link, name in self.links.items() if name == channel and not link.up)
        return made + self.dialling.count(channel)

    def usable(self, channel: str) -> list[DialledLink]:
        """Connections of the channel that carry messages and are to stay, oldest first."""
        return [
            link for link, name in self.links.items() if name == channel and link.in_table and link not in self.stale
        ]


class Dialer:
    """Keeps the edges that the overlay asks for.

    Args:
        context: the node's.
        table: where connections enter when their handshake is done.
        overlay: hears of edges.
    """

    def __init__(self, context: Context, table: ConnectionTable, overlay: Overlay) -> None:
        self._context = context
        self._table = table
        self._overlay = overlay
        self._edges: dict[Target, Edge] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # dials under way, wanted or not
        self._retired: set[DialledLink] = set()  # used no more, but the peer may have octets of them to read
        self._abandoned: set[DialledLink] = set()  # wanted no more before the peer has said hello
        self._settling: dict[Edge, asyncio.TimerHandle] = {}  # given up, but messages are held for them
        self._closed = False
        self._idle = asyncio.Event()  # set once nothing is left of a closed dialer

    def keep(self, target: Target) -> None:
        """Keep an edge to the target from now on; said again, look at once for what it lacks."""
        edge = self._edges.get(target)
        if edge is None:
            former = self._former(target)
            if former is not None and isinstance(target, NodeSpec):
                self._rename(former, target)
                return
            edge = self._edges[target] = Edge(target)
        if edge.timer is None:
            self._visit(edge)

    def hurry(self, name: str) -> None:
        """The node lives: dial it at once if its edge is down and waits for its pause to end."""
        for edge in list(self._edges.values()):
            if edge.target.name == name and edge.timer is not None and not edge.up:
                self._rest(edge)
                self._visit(edge)

    def keeps(self, name: str) -> bool:
        """Whether an edge to a node of that name is wanted."""
        return any(target.name == name for target in self._edges)

    def awaits_hello(self, target: Target) -> bool:
        """Whether a connection to the target is open on which it has not said its name."""
        edge = self._edges.get(target)
        return edge is not None and any(not link.up for link in edge.links)

    def connections(self) -> list[DialledLink]:
        """The connections that messages are routed to."""
        return [link for edge in self._edges.values() for link in edge.links if link.in_table]

    def _former(self, target: Target) -> Edge | None:
        """The edge to what the peer was before it told another spec with the same addresses."""
        if isinstance(target, NodeSpec):
            for edge in self._edges.values():
                known = edge.target
                if edge.up and isinstance(known, NodeSpec) and known.name == target.name:
                    return edge if set(known.listen_addrs) == set(target.listen_addrs) else None
        return None

    def _rename(self, edge: Edge, spec: NodeSpec) -> None:
        former = edge.target
        assert isinstance(former, NodeSpec)
        del self._edges[former]
        self._edges[spec] = edge
        edge.target = spec
        log.info("%s: %s has told another spec of itself", self._context.node, spec)
        self._configure(spec)
        for channel, options in former.channels:
            self._fit(edge, channel, options, spec.channel(channel))
        self._overlay.renamed(spec)
        self._rest(edge)
        self._visit(edge)

    def _fit(self, edge: Edge, channel: str, had: ChannelOptions, wanted: ChannelOptions | None) -> None:
        """Make the connections of a channel what the peer now wants, as far as that is not to dial more."""
        if wanted is not None and wanted.monotonic != had.monotonic:
            self._make_stale(edge, channel)
        keep = wanted.parallelism if wanted is not None else 0
        usable = edge.usable(channel)
        for link in usable[keep:]:
            self._part(edge, link)
        if wanted is not None:
            for link in usable[:keep]:
                link.queue.level = wanted.compression_level

    def _configure(self, spec: NodeSpec) -> None:
        self._table.configure(spec.name, {name: options.parallelism for name, options in spec.channels})

    def _make_stale(self, edge: Edge, channel: str) -> None:
        edge.stale.update(edge.usable(channel))
        for link in [link for link, name in edge.links.items() if name == channel and not link.in_table]:
            self._part(edge, link)

    def replace(self, channels: Iterable[str]) -> None:
        """Replace the connections of these channels by such as are made by the options that are now in force."""
        for edge in list(self._edges.values()):
            if edge.up:
                for channel in channels:
                    self._make_stale(edge, channel)
                self._rest(edge)
                self._visit(edge)

    def retime(self) -> None:
        """The pauses before dialling have other lengths now: so have those that are under way."""
        for edge in self._edges.values():
            if edge.timer is not None:
                self._rest(edge)
                edge.attempts = 0
                self._come_again(edge)

    def drop(self, target: Target, reason: str) -> None:
        """Give the edge up; what waits on its connections is written first."""
        edge = self._edges.pop(target, None)
        if edge is None:
            return
        log.debug("%s gives up the edge to %s: %s", self._context.node, target, reason)
        self._rest(edge)
        for link in [link for link in edge.links if not link.in_table]:
            self._part(edge, link)
        if edge.links:
            limit = self._context.config.handshake_timeout
            self._settling[edge] = self._context.loop.call_later(limit, self._part_all, edge)
            self._settle(edge)

    def _settle(self, edge: Edge) -> None:
        """Part from the edge as soon as no message is held: until the peer has answered on all its connections."""
        if not (edge.links and self._table.holds(next(iter(edge.links)).name)):
            self._part_all(edge)
            return
        unanswered = set(edge.links)
        for link in list(unanswered):
            link.probe(functools.partial(self._answered, edge, unanswered, link))

    def _answered(self, edge: Edge, unanswered: set[DialledLink], link: DialledLink) -> None:
        unanswered.discard(link)
        if not unanswered:
            self._context.loop.call_soon(
                self._settle_further, edge
            )  # a link that is lost is the edge's until it said so

    def _settle_further(self, edge: Edge) -> None:
        if edge in self._settling:
            self._settle(edge)

    def _part_all(self, edge: Edge) -> None:
        self._settling.pop(edge).cancel()
        for link in list(edge.links):
            self._part(edge, link)
        for other in list(self._edges.values()):
            if other.up and other.target.name == edge.target.name:  # wanted again meanwhile: it lacks these
                self._rest(other)
                self._visit(other)
        self._check_idle()

    async def close(self, grace: float) -> None:
        """Give every edge up, and wait until each peer has read what was sent to it.

        Args:
            grace: seconds after which no peer is waited for any more; what it has not taken is lost, and counted.
        """
        self._closed = True
        for target in list(self._edges):
            self.drop(target, "the node stops")
        self._check_idle()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            log.warning("%s leaves peers that have not closed within %.3g s", self._context.node, grace)
        finally:
            for edge in list(self._settling):
                self._part_all(edge)
            for task in self._tasks:
                task.cancel()
            for link in self._retired | self._abandoned:
                link.close()
                self._released(link)

    def disconnect(self, name: str) -> bool:
        """Close every connection to the node; a wanted edge is dialled again. Returns whether there were any."""
        found = [(edge, link) for edge in self._edges.values() for link in edge.links if link.peer == name]
        error = ConnectionLost("disconnected", name, "on request")
        for edge, link in found:
            if link.up:
                link.fail(error)
            else:
                self._part(edge, link)
                self._lost(edge, error)
        return bool(found)

    def _rest(self, edge: Edge) -> None:
        if edge.timer is not None:
            edge.timer.cancel()
            edge.timer = None

    def _part(self, edge: Edge, link: DialledLink) -> None:
        """Use the connection no more, and close it as soon as the peer has heard all that was meant for it."""
        if link.in_table:
            link.finish()
        elif link.up:
            link.close()
        else:
            self._abandoned.add(link)
            link.abandon()
        self._leave_table(edge, link)

    def _check_idle(self) -> None:
        if self._closed and not (self._tasks or self._settling or self._retired or self._abandoned):
            self._idle.set()

    def _visit(self, edge: Edge) -> None:
        """Dial what the edge lacks, and come again if something failed."""
        edge.timer = None
        if self._edges.get(edge.target) is not edge:
            return
        for channel, missing in self._missing(edge):
            for _ in range(missing):
                self._dial(edge, channel)

    def _missing(self, edge: Edge) -> list[tuple[str, int]]:
        if not edge.up:
            return [(DEFAULT_CHANNEL, 0 if edge.links or edge.dialling else 1)]
        target = edge.target
        assert isinstance(target, NodeSpec)  # an edge is up only under the spec that it was identified with
        have = self._table.connections
        stale = [edge.links[link] for link in edge.stale]
        return [
            (channel, options.parallelism - have(target.name, channel) + stale.count(channel) - edge.pending(channel))
            for channel, options in target.channels
            if channel == DEFAULT_CHANNEL or self._overlay.wants_all(target)
        ]

    def _dial(self, edge: Edge, channel: str) -> None:
        address = next(edge.addresses)
        task = self._context.loop.create_task(self._connect(edge, channel, address))
        edge.dialling.append(channel)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._dialled(edge, channel, address, done))

    def _dialled(self, edge: Edge, channel: str, address: ListenAddress, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            about = {"node": edge.target.name, "channel": channel, "acceptor": False, "address": str(address)}
            self._context.telemetry.emit(telemetry.SOCKET_ERROR, {"count": 1}, {**about, "error": error})
            self._lost(edge, error)
        self._check_idle()

    async def _connect(self, edge: Edge, channel: str, address: ListenAddress) -> None:
        """Open a socket to the address and begin the handshake on it."""
        context = self._context
        until = context.loop.time() + context.config.connect_timeout
        try:
            sock = await self._reach(edge, address, until)
        finally:
            edge.dialling.remove(channel)  # once this task is seen to be done would be late: greetings come between
        options = edge.target.channel(channel) if isinstance(edge.target, NodeSpec) else None
        context.telemetry.emit(telemetry.SOCKET_CONNECT, {"count": 1}, {"address": str(address), "channel": channel})
        link = DialledLink(
            context,
            sock,
            peer=edge.target.name,
            channel=channel,
            options=options,
            opened=self._opened,
            greeted=self._greeted,
            lost=self._link_lost,
            released=self._released,
        )
        link.owner = edge
        link.address = address
        edge.links[link] = channel
        link.secure_by(until)
        link.start()
        if self._edges.get(edge.target) is not edge:
            self._part(edge, link)

    async def _reach(self, edge: Edge, address: ListenAddress, until: float) -> socket.socket:
        """Open a socket to the address, by that time."""
        context = self._context
        context.faults.check(edge.target.name)
        sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout_at(until):
                await connect(context.loop, sock, address.host, address.port)
        except BaseException:
            sock.close()
            raise
        return sock

    def _opened(self, link: DialledLink) -> None:
        """The peer has said who it is, and we have answered: the connection carries messages from now on."""
        edge: Edge = link.owner
        if isinstance(edge.target, Contact) and any(
            other.up and isinstance(other.target, NodeSpec) and other.target.name == link.peer
            for other in self._edges.values()
        ):
            return  # the contact is a peer that has an edge: its greeting will tell which
        if self._suffices(edge, link.channel):
            self._part(edge, link)  # it was dialled before another one of a contact was found to be for this edge
            return
        link.queue.rebind(self._table.lane(link.name, link.channel).bound)
        self._table.add(link.name, link.channel, link.queue)
        link.in_table = True
        edge.attempts = 0
        if self._table.connections(link.name, link.channel) == 1:
            self._tell_channel(telemetry.PEER_CHANNEL_UP, link)
        self._overlay.lane_changed(link.name, link.channel)
        former = next((other for other in edge.stale if other.channel == link.channel), None)
        if former is not None:
            self._part(edge, former)

    def _suffices(self, edge: Edge, channel: str) -> bool:
        """Whether the edge has as many usable connections of the channel as the peer wants."""
        options = edge.target.channel(channel) if isinstance(edge.target, NodeSpec) else None
        return options is not None and len(edge.usable(channel)) >= options.parallelism

    def _tell_channel(self, event: str, link: DialledLink) -> None:
        self._context.telemetry.emit(event, {"count": 1}, {"node": link.name, "channel": link.channel})

    def _greeted(self, link: DialledLink, tag: str, state: object) -> None:
        """The peer has sent its state: the first one makes the edge usable and says what else to dial.

        One that comes again on a connection is news; those of further connections are not.
        """
        edge: Edge = link.owner
        again, link.told = link.told, True
        target = edge.target
        if self._edges.get(target) is not edge:
            return
        if edge.up:
            if again:
                self._overlay.connected(target, target, tag, state)
            return
        spec = self._overlay.identify(link.name, link.address, tag, state)
        known = self._edges.get(spec)
        if known is not None and known is not edge:
            self._merge(edge, known)
            if known.up:
                self._overlay.connected(spec, target, tag, state)
                return
            edge = known
        else:
            del self._edges[target]
            edge.target = spec
            self._edges[spec] = edge
        self._configure(spec)
        edge.up = True
        self._overlay.connected(spec, target, tag, state)
        self._visit(edge)

    def _merge(self, edge: Edge, known: Edge) -> None:
        """A contact turned out to be a peer that has an edge already: that one takes over what it lacks of it."""
        del self._edges[edge.target]
        self._rest(edge)
        for link, channel in list(edge.links.items()):
            if link.in_table and not self._suffices(known, channel):
                del edge.links[link]
                known.links[link] = channel
                link.owner = known
            else:
                self._part(edge, link)

    def _leave_table(self, edge: Edge, link: DialledLink) -> None:
        edge.links.pop(link, None)
        edge.stale.discard(link)
        if link.in_table:
            link.in_table = False
            if link.retired:
                self._retired.add(link)
                self._table.retire(link.name, link.channel, link.queue)
            else:
                self._table.remove(link.name, link.channel, link.queue)
            if not self._table.is_connected(link.name, link.channel):
                self._tell_channel(telemetry.PEER_CHANNEL_DOWN, link)
            self._overlay.lane_changed(link.name, link.channel)

    def _released(self, link: DialledLink) -> None:
        """The peer has closed a connection that parted, too, or has had its time."""
        if link in self._retired:
            self._retired.remove(link)
            self._table.release(link.name, link.channel, link.queue)
        self._abandoned.discard(link)
        self._forget(link.peer)
        self._check_idle()

    def _link_lost(self, link: DialledLink, error: Exception | None) -> None:
        self._leave_table(link.owner, link)
        self._lost(link.owner, error)
        self._forget(link.peer)

    def _forget(self, name: str | None) -> None:
        """Remember nothing of a node that is wanted no more, once it has read what it was sent."""
        if name is not None and not self.keeps(name) and all(edge.target.name != name for edge in self._settling):
            self._table.discard(name)

    def _lost(self, edge: Edge, error: BaseException | None) -> None:
        """A connection of the edge could not be made, or is gone: tell, and dial again after a pause."""
        if self._closed or self._edges.get(edge.target) is not edge:
            return
        reason = str(error) if error is not None else "closed"
        log.debug("%s lost a connection to %s: %s", self._context.node, edge.target, reason)
        if edge.up and not any(link.in_table for link in edge.links):
            edge.up = False
            log.info("%s is disconnected from %s: %s", self._context.node, edge.target, reason)
            self._overlay.disconnected(edge.target, reason)
            if self._edges.get(edge.target) is not edge:
                return
        elif isinstance(error, PartisanError | OSError) and not edge.up:
            self._overlay.failed(edge.target, error)
            if self._edges.get(edge.target) is not edge:
                return
        self._come_again(edge)

    def _come_again(self, edge: Edge) -> None:
        """Dial what the edge lacks after a pause, unless one is under way."""
        config = self._context.config
        pause = min(config.connection_interval * 2.0**edge.attempts, config.reconnect_backoff_max)
        edge.attempts = min(edge.attempts + 1, 16)
        if edge.timer is None:
            pause += self._context.rng.random() * min(pause, config.connection_jitter)
            edge.timer = self._context.loop.call_later(pause, self._visit, edge)
