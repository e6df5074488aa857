"""The pluggable manager: a membership machine, the connections that it asks for, and its messages on the wire.

It is thin: the machine decides who is a member and whom to connect to, the dialer keeps the connections, and this glue
translates between machine messages and terms. User messages never pass through here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from partisan import telemetry
from partisan._core.connections import ConnectionTable
from partisan.config import Config
from partisan.errors import ConnectFailed, HandshakeError, NotConnected
from partisan.machines.full import FullConfig, FullMembership, Gossip
from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    GiveUp,
    Join,
    Joined,
    JoinFailed,
    Leave,
    MemberReplaced,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Respec,
    Retune,
    Save,
    Send,
    Start,
    Violation,
)
from partisan.names import MEMBERSHIP_CHANNEL, Contact, ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.net.dialer import Dialer, Target
from partisan.net.driver import Driver
from partisan.net.link import Link
from partisan.wire import full
from partisan.wire.forward import (
    Ack,
    Distance,
    Forward,
    Inbound,
    Strategy,
    Unknown,
    distance_to_term,
    inbound_from_term,
)
from partisan.wire.order import spec_key

log = logging.getLogger(__name__)

WIRE_NAME = "partisan_pluggable_peer_service_manager"
"""The registered name that peers address the manager by (partisan 5.0.3)."""


JOIN_FAILURES = {
    "self": "that is this node itself",
    "greeting": "its membership state is none that this node understands",
    "left": "it was given up",
}
"""What the machine's reasons mean to who called join."""

LASTING = frozenset({"unexpected_peer", "refused", "certificate", "tls", "http"})
"""Reasons of a HandshakeError that another attempt does not change: a join fails at once."""


def full_config(config: Config) -> FullConfig:
    """What the options mean to the machine."""
    return FullConfig(
        gossip=config.gossip,
        period=config.periodic_interval,
        fanout=None if config.periodic_enabled else 0,
        key=spec_key,
    )


class PluggableManager:
    """The overlay of one node: full membership over a full mesh.

    Args:
        context: the node's.
        table: its connections.
        spec: what it tells peers about itself.
        edges: each a callable(node, up): the edge to the node has become usable, or no longer is.
    """

    wire_name = WIRE_NAME

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        spec: NodeSpec,
        edges: Iterable[Callable[[str, bool], None]] = (),
    ) -> None:
        self._context = context
        self._edges = tuple(edges)
        self._spec = spec
        self._machine = FullMembership(
            spec,
            full_config(context.config),
            context.rng,
        )
        self._dialer = Dialer(context, table, self)
        self._joins: dict[Target, list[asyncio.Future[str]]] = {}
        self._failures: dict[Target, Exception] = {}
        self._driver = Driver(
            self._machine,
            context.loop,
            {
                Send: lambda effect: self._send(effect.peer, effect.message),
                Connect: lambda effect: self._dialer.keep(effect.peer),
                Disconnect: lambda effect: self._dialer.drop(effect.peer, effect.reason),
                Notify: lambda effect: self._tell[type(effect.fact)](effect.fact),
                Save: lambda effect: None,  # a node starts afresh: persistence is not asked for
            },
        )
        self._tell: dict[type, Callable[[Any], None]] = {
            MembersChanged: self._members_changed,
            MemberReplaced: self._member_replaced,
            Joined: self._joined,
            JoinFailed: self._join_failed,
            NeighborUp: lambda fact: self._edge_changed(fact.peer, True),
            NeighborDown: lambda fact: self._edge_changed(fact.peer, False),
            Violation: self._violation,
        }
        self._known: dict[str, NodeSpec] = {spec.name: spec}
        self._renamed: set[str] = set()  # nodes whose edge is about to go down under one spec and up under another
        self._diallers: dict[str, int] = {}  # node that has dialled this one -> how many connections of it are open
        self._waiting: dict[str, asyncio.Future[None]] = {}  # resolved when the node has dialled this one
        self._written: tuple[Gossip | None, object] = (None, None)  # the gossip last made a term, and that

    def retune(self) -> None:
        """The options of the node have changed: gossip, and dial, by the new ones from now on."""
        self._driver.handle(Retune(full_config(self._context.config)))

    def retime(self) -> None:
        """The pauses before dialling have changed."""
        self._dialer.retime()

    def replace_connections(self, channels: Iterable[str]) -> None:
        """Make the connections of these channels anew, without a gap: what they queue by has changed."""
        self._dialer.replace(channels)

    def respec(self, spec: NodeSpec) -> None:
        """Tell the members another spec of this node, by which they dial it from now on."""
        self._spec = spec
        self._driver.handle(Respec(spec))

    def start(self) -> None:
        """Begin as a cluster of one."""
        self._driver.handle(Start())

    async def stop(self, grace: float) -> None:
        """Close every connection that this node has dialled, when the peer has read it or after `grace` seconds."""
        self._driver.stop()
        for waiters in self._joins.values():
            for waiter in waiters:
                waiter.cancel()
        await self._dialer.close(grace)

    def members(self) -> list[str]:
        """Names of the members, in the order of their specs."""
        return [member.name for member in self._machine.members]

    def specs(self) -> list[NodeSpec]:
        """Specs of the members, in Erlang's term order."""
        return list(self._machine.members)

    async def join(self, contact: str | NodeSpec, timeout: float) -> str:
        """Join the contact's cluster; see `Node.join`."""
        if not isinstance(contact, str | NodeSpec):
            raise TypeError(f"{contact!r} is no contact: a str such as name@ip:port, or a NodeSpec")
        target: Target = Contact.parse(contact) if isinstance(contact, str) else contact
        loop = self._context.loop
        end = loop.time() + timeout
        waiter: asyncio.Future[str] = loop.create_future()
        waiters = self._joins.setdefault(target, [])
        waiters.append(waiter)
        try:
            self._driver.handle(Join(target))
            await asyncio.wait([waiter], timeout=timeout)  # not a timeout that cancels: it may just have been done
            if not waiter.done():
                last = self._failures.get(target)
                raise ConnectFailed(str(contact), f"not within {timeout} s" + (f"; {last}" if last else "")) from last
        finally:
            waiters.remove(waiter)
            if not waiters:
                self._joins.pop(target, None)
                self._failures.pop(target, None)
                self._driver.handle(GiveUp(target))
        name = waiter.result()
        await self._answered(name, end - loop.time())
        return name

    async def _answered(self, name: str, timeout: float) -> None:
        """Wait a while until the node has dialled this one, so that it can answer what it is sent.

        It may never manage to (a firewall in between), and is a member all the same.
        """
        if name not in self._diallers:
            waiting = self._waiting.setdefault(name, self._context.loop.create_future())
            await asyncio.wait([waiting], timeout=min(timeout, self._context.config.connection_interval))
            if not waiting.done():
                log.warning("%s has joined %s, which has not dialled back", self._context.node, name)

    def dialled_by(self, peer: str) -> None:
        """A peer has opened a connection to this node and said its name.

        Raises HandshakeError if that is this node's own: a node never dials itself, so another one has the same name,
        and nobody could tell the two apart. (A real acceptor takes any name; real nodes do not dial their own either.)
        """
        self._diallers[peer] = self._diallers.get(peer, 0) + 1  # of who is refused, too: its end is told as any other
        if peer == self._spec.name:
            raise HandshakeError("unexpected_peer", peer, "that is this node's own name")
        waiting = self._waiting.pop(peer, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def undialled_by(self, peer: str) -> None:
        """A connection that the peer had opened is gone, or now says another name."""
        self._diallers[peer] -= 1
        if not self._diallers[peer]:
            del self._diallers[peer]
            self._context.acknowledged.session_over(peer)

    async def leave(self, name: str | None) -> None:
        """Leave the cluster, or make a member leave it."""
        if name is None or name == self._spec.name:
            self._driver.handle(Leave())
            return
        member = self._known.get(name)
        if member is None:
            raise NotConnected(name)
        self._driver.handle(Leave(member))

    def disconnect(self, name: str) -> bool:
        """Close every connection to the node; while it is a member it is dialled again."""
        return self._dialer.disconnect(name)

    # The wire.

    def local_state(self) -> object:
        return full.state_to_term(self._machine.greeting)

    def receive(self, term: object, link: Link | None) -> None:
        """Take a message that is addressed to the manager."""
        self._take(inbound_from_term(term), link)

    def receive_bare(self, term: object, link: Link) -> None:
        """Take a frame that is neither a plain message nor part of a handshake or keepalive."""
        inbound = inbound_from_term(term)
        if isinstance(inbound, Unknown):
            self._violation(Violation(link.peer, f"unexpected frame {term!r:.120}"))
        else:
            self._take(inbound, link)

    def _take(self, inbound: Inbound, link: Link | None) -> None:
        if isinstance(inbound, Strategy):
            gossip = full.gossip_from_term(inbound.term)
            sender = link.peer if link is not None else None
            self._driver.handle(Received(sender or gossip.sender.name, gossip))
        elif isinstance(inbound, Forward):
            if inbound.acknowledge is not None:
                self._acknowledge(*inbound.acknowledge, link.channel if link is not None else None)
            self._context.router.deliver(inbound.target, inbound.message)
        elif isinstance(inbound, Ack):
            self._context.acknowledged.acked(inbound.clock, link)
        elif isinstance(inbound, Distance) and not inbound.answer:
            answer = Distance(True, inbound.source, inbound.destination, inbound.time)
            self._send_term(inbound.source.name, distance_to_term(answer))
        elif not (isinstance(inbound, Unknown) and self._context.faults.take_control(inbound.term, link)):
            log.debug("%s has no use for %r", self._context.node, inbound)

    def _acknowledge(self, node: str, term: tuple[object, ...], channel: str | None) -> None:
        """Tell the sender that its message arrived; without a connection to it, it will send again."""
        try:
            self._context.router.send((WIRE_NAME, node), term[2], channel=channel)
        except NotConnected:
            log.debug("%s cannot acknowledge to %s: not connected", self._context.node, node)

    def _send(self, peer: NodeSpec, gossip: Gossip) -> None:
        """Send a machine's message; one value that goes to many peers is made a term once."""
        if self._written[0] is not gossip:
            self._written = (gossip, full.gossip_to_term(gossip))
        self._send_term(peer.name, self._written[1])

    def _send_term(self, node: str, term: object) -> None:
        try:
            self._context.router.send((WIRE_NAME, node), term, channel=MEMBERSHIP_CHANNEL)
        except NotConnected:
            log.debug("%s has no connection to tell %s", self._context.node, node)

    # What the dialer tells.

    def identify(self, name: str, address: ListenAddress, state: object) -> NodeSpec:
        found = full.speaker(full.state_from_term(state), name, address)
        if found is None:
            raise HandshakeError("malformed", name, "its own spec is not among the members that it tells")
        return found

    def connected(self, peer: NodeSpec, target: Target, state: object) -> None:
        self._driver.handle(Connected(peer, target, full.state_from_term(state)))

    def renamed(self, peer: NodeSpec) -> None:
        self._renamed.add(peer.name)
        self._driver.handle(Connected(peer, peer))

    def disconnected(self, target: Target, reason: str) -> None:
        self._driver.handle(Disconnected(target, reason))

    def failed(self, target: Target, error: Exception) -> None:
        self._failures[target] = error
        if isinstance(error, HandshakeError) and error.reason in LASTING:
            for waiter in self._joins.get(target, ()):
                if not waiter.done():
                    waiter.set_exception(error)
            if target in self._joins:
                self._driver.handle(GiveUp(target))

    # What the machine tells.

    def _emit(self, event: str, peer: NodeSpec) -> None:
        self._context.telemetry.emit(event, {"count": 1}, {"node": str(peer)})

    def _edge_changed(self, peer: NodeSpec, up: bool) -> None:
        if peer.name in self._renamed:  # its connections went over to another spec: it was never down
            if up:
                self._renamed.remove(peer.name)
            return
        self._emit(telemetry.PEER_UP if up else telemetry.PEER_DOWN, peer)
        for edge in self._edges:
            edge(peer.name, up)

    def _members_changed(self, fact: MembersChanged) -> None:
        known = {member.name: member for member in fact.members}
        for name in known.keys() - self._known.keys():
            self._emit(telemetry.PEER_JOIN, known[name])
        for name in self._known.keys() - known.keys():
            self._emit(telemetry.PEER_LEAVE, self._known[name])
            self._context.acknowledged.forget(name, "it has left")
        self._known = known
        log.info("%s has members %s", self._context.node, ", ".join(known))

    def _member_replaced(self, fact: MemberReplaced) -> None:
        moved = fact.former.listen_addrs != fact.peer.listen_addrs  # else it has other channels now
        level = logging.WARNING if moved else logging.INFO
        name = self._context.node
        log.log(level, "%s: member %s is replaced: %r becomes %r", name, fact.peer, fact.former, fact.peer)

    def _joined(self, fact: Joined) -> None:
        for waiter in self._joins.get(fact.contact, ()):
            if not waiter.done():
                waiter.set_result(fact.peer.name)

    def _join_failed(self, fact: JoinFailed) -> None:
        for waiter in self._joins.get(fact.contact, ()):
            if not waiter.done():
                waiter.set_exception(ConnectFailed(str(fact.contact), JOIN_FAILURES.get(fact.reason, fact.reason)))

    def _violation(self, fact: Violation) -> None:
        context, peer = self._context, str(fact.peer)
        kind = (peer, fact.detail.partition(":")[0])
        context.log(log, logging.WARNING, kind, "%s: %s broke the protocol: %s", context.node, peer, fact.detail)
        context.telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, {"node": peer, "error": fact.detail})
