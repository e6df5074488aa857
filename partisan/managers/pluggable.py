"""The pluggable manager: a membership machine, the connections that it asks for, and its messages on the wire.

It is thin: the machine decides who is a member and whom to connect to, the dialer keeps the connections, and this glue
translates between machine messages and terms. User messages never pass through here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from partisan import telemetry
from partisan._core.connections import ConnectionTable
from partisan.errors import ConfigError, ConnectFailed, HandshakeError, NotConnected, RemoteProtocolError, StateError
from partisan.machines.distance import Answer, DistanceConfig, Distances, Question
from partisan.machines.farewells import Farewells
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
    Removed,
    Respec,
    Retune,
    Save,
    Send,
    Start,
    UpdateMembers,
    Violation,
)
from partisan.managers.state_file import StateFile
from partisan.managers.strategies import chosen
from partisan.names import MEMBERSHIP_CHANNEL, Contact, ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.net.dialer import Dialer, Target
from partisan.net.driver import Driver
from partisan.net.link import MAY_BE, AcceptedLink, DialledLink, Link
from partisan.wire.atom import MalformedMessage
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

log = logging.getLogger(__name__)

WIRE_NAME = "partisan_pluggable_peer_service_manager"
"""The registered name that peers address the manager by (partisan 5.0.3)."""


JOIN_FAILURES = {
    "self": "that is this node's own name, and another node needs another",
    "greeting": "its membership state is none that this node understands",
    "left": "it was given up",
}
"""What the machine's reasons mean to who called join."""

MUTE = f"; it took a connection, but has said nothing yet: {MAY_BE}"
"""What a join that has run out of time adds if no attempt has failed yet."""

LASTING = frozenset({"unexpected_peer", "refused", "certificate", "tls", "http"})
"""Reasons of a HandshakeError that another attempt does not change: a join fails at once."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who in the node is told of its overlay.

    Attributes:
        edge: callable(node, up): an edge to the node has become usable, or no longer is.
        lane: callable(node, channel): a connection of the channel is up or gone.
        members: callable(names): the members are now these.
        part: callable(node, unless): close what the node has dialled, unless that says that it is wanted again.
    """

    edge: Callable[[str, bool], None]
    lane: Callable[[str, str], None]
    members: Callable[[list[str]], None]
    part: Callable[[str, Callable[[], bool]], None]


def _lasting(target: Target, error: Exception) -> Exception | None:
    """What a join ends with at once, if another attempt would fail as this one did."""
    if isinstance(error, MalformedMessage):  # a greeting of another strategy, or of no node at all
        failed = ConnectFailed(str(target), str(error))
        failed.__cause__ = error
        return failed
    return error if isinstance(error, HandshakeError) and error.reason in LASTING else None


MICRO = 10**6


def time_of(stamp: int) -> tuple[int, int, int]:
    """Microseconds as Erlang's {MegaSeconds, Seconds, MicroSeconds}."""
    return (stamp // MICRO**2, stamp // MICRO % MICRO, stamp % MICRO)


def stamp_of(time: object) -> int | None:
    """The microseconds that a time stands for; None if it is none."""
    match time:
        case (int(mega), int(seconds), int(micro)):
            return mega * MICRO**2 + seconds * MICRO + micro
    return None


class PluggableManager:
    """The overlay of one node: a membership over a mesh.

    Args:
        context: the node's.
        table: its connections.
        spec: what it tells peers about itself.
        audience: hears of what changes.
    Raises:
        ConfigError: the membership strategy is none.
        StateError: what was saved cannot be used.
    """

    wire_name = WIRE_NAME

    def __init__(self, context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience) -> None:
        self._context = context
        self._audience = audience
        self._spec = spec
        config = context.config
        self._strategy = chosen(config)
        self._file: StateFile | None = None
        if config.persist_dir is not None and config.persist_state:
            self._file = StateFile(config.persist_dir, spec.name, self._strategy.name, context.loop)
        self._machine = self._strategy.build(spec, self._strategy.options(config), context.rng, self._restored())
        self._dialer = Dialer(context, table, self)
        self._joins: dict[Target, dict[asyncio.Future[str], float]] = {}  # and until when each is tried
        self._failures: dict[Target, Exception] = {}
        self._driver = Driver(
            self._machine,
            context.loop,
            {
                Send: lambda effect: self._send(effect.peer, effect.message),
                Connect: lambda effect: self._dialer.keep(effect.peer),
                Disconnect: self._disconnect,
                Notify: lambda effect: self._tell[type(effect.fact)](effect.fact),
                Save: self._save,
            },
        )
        self._tell: dict[type, Callable[[Any], None]] = {
            MembersChanged: self._members_changed,
            MemberReplaced: self._member_replaced,
            Joined: self._joined,
            JoinFailed: self._join_failed,
            NeighborUp: lambda fact: self._edge_changed(fact.peer, True),
            NeighborDown: lambda fact: self._edge_changed(fact.peer, False, fact.reason),
            Removed: self._removed,
            Violation: self._violation,
        }
        self._distances = Distances(spec, DistanceConfig(config.distance_interval), context.rng)
        self._measuring = Driver(
            self._distances,
            context.loop,
            {Send: lambda effect: self._measure(effect.peer, effect.message), Notify: lambda effect: None},
            clock=time.monotonic,
        )
        self._known: dict[str, NodeSpec] = {spec.name: spec}
        self._renamed: set[str] = set()  # nodes whose edge is about to go down under one spec and up under another
        self._farewells = Farewells()
        self._diallers: dict[str, int] = {}  # node that has dialled this one -> how many connections of it are open
        self._waiting: dict[str, asyncio.Future[None]] = {}  # resolved when the node has dialled this one
        self._written: tuple[object, object] = (None, None)  # the message last made a term, and that

    def _restored(self) -> object:
        """The greeting that a former life of the node saved."""
        term = None if self._file is None else self._file.load()
        if self._file is None or term is None:
            return None
        try:
            return self._strategy.greeting_from_term(term)
        except RemoteProtocolError as error:
            raise StateError("damaged", str(self._file.path), str(error)) from error

    def retune(self) -> None:
        """The options of the node have changed: gossip, and dial, by the new ones from now on."""
        self._driver.handle(Retune(self._strategy.options(self._context.config)))

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
        """Begin: as a cluster of one, or as what was saved."""
        self._driver.handle(Start())
        if self._context.config.distance_enabled:
            self._measuring.handle(Start())

    async def stop(self, grace: float) -> None:
        """Close every connection that this node has dialled, when the peer has read it or after `grace` seconds."""
        self._driver.stop()
        self._measuring.stop()
        for waiters in self._joins.values():
            for waiter in waiters:
                waiter.cancel()
        closing = [self._dialer.close(grace)]
        if self._file is not None:
            closing.append(self._file.close(grace))
        await asyncio.gather(*closing)

    def members(self) -> list[str]:
        """Names of the members, in the order of their specs."""
        return [member.name for member in self._machine.members]

    def specs(self) -> list[NodeSpec]:
        """Specs of the members, in Erlang's term order."""
        return list(self._machine.members)

    def spec_of(self, name: str) -> NodeSpec | None:
        """The spec of a member."""
        return self._known.get(name)

    def expects(self, name: str) -> bool:
        """Whether the node may soon be a member: it is being joined, or has dialled this one."""
        return name in self._diallers or self._dialer.keeps(name)

    def foreign(self) -> tuple[list[str], list[str]]:
        """Names of members that run Partisan itself, and of nodes that may: members and diallers that did not say."""
        real, unheard = ([peer.name for peer in peers] for peers in self._machine.foreign(self._machine.members))
        return real, unheard + [name for name in self._diallers if name not in self._known]

    def greeting(self) -> object:
        """The membership machine's state."""
        return self._machine.greeting

    def distances(self) -> dict[str, float]:
        """Seconds to each neighbor and back."""
        return {peer.name: seconds for peer, seconds in self._distances.seconds.items()}

    def connections(self) -> list[DialledLink]:
        """The connections that messages are routed to."""
        return self._dialer.connections()

    @property
    def state_error(self) -> StateError | None:
        """Why the membership could not be saved last."""
        return None if self._file is None else self._file.error

    def target_of(self, contact: str | NodeSpec | Contact) -> Target:
        """Whom a contact means: a member's own spec if it is one's name, else what it says. Raises ConfigError."""
        if isinstance(contact, NodeSpec | Contact):
            addresses = contact.listen_addrs if isinstance(contact, NodeSpec) else contact.addresses
            if not any(address.port for address in addresses):
                raise ConfigError("contact", f"{contact!s}: nobody listens on port 0")
            return contact
        if not isinstance(contact, str):
            raise TypeError(f"{contact!r} is no contact: a str such as name@host:port, or a NodeSpec")
        if contact not in self._known and ":" not in contact:
            where = f"{contact}:port" if "@" in contact else "name@host:port or host:port"
            raise ConfigError("contact", f"{contact!r} is no member: say where it listens, as {where} or by a NodeSpec")
        return self._known.get(contact) or Contact.parse(contact)

    def update_members(self, contacts: Iterable[str | NodeSpec | Contact]) -> None:
        """Make these the members; see `Node.update_members`."""
        members = tuple(self._member(self.target_of(contact)) for contact in contacts)
        with self._leaving():
            self._driver.handle(UpdateMembers(members))

    def _member(self, target: Target) -> Target:
        """The member that a contact means, by its name or else by its address; or the contact."""
        if isinstance(target, NodeSpec):
            return target
        if target.name is not None:
            return self._known.get(target.name, target)
        at = {*target.addresses}
        return next((spec for spec in self._known.values() if not at.isdisjoint(spec.listen_addrs)), target)

    async def join(self, contact: str | NodeSpec | Contact, timeout: float) -> str:
        """Join the contact's cluster; see `Node.join`."""
        target = self.target_of(contact)
        loop = self._context.loop
        end = loop.time() + timeout
        waiter: asyncio.Future[str] = loop.create_future()
        if target not in self._joins:
            self._failures.pop(target, None)
        waiters = self._joins.setdefault(target, {})
        waiters[waiter] = end
        try:
            self._farewells.joined([target.name])
            self._driver.handle(Join(target))
            await asyncio.wait([waiter], timeout=timeout)  # not a timeout that cancels: it may just have been done
            if not waiter.done():
                last = self._failures.get(target)
                why = f"; {last}" if last else MUTE if self._dialer.awaits_hello(target) else ""
                raise ConnectFailed(str(contact), f"not within {timeout:.3g} s{why}") from last
        finally:
            del waiters[waiter]
            if not waiters:
                self._joins.pop(target, None)
                self._failures.pop(target, None)
                self._driver.handle(GiveUp(target))
        name = waiter.result()
        await self._answered(name, end - loop.time())
        return name

    async def _answered(self, name: str, timeout: float) -> None:
        """Wait a while until the node has dialled this one, so that it can answer what it is sent.

        It may never manage to (a firewall in between), and is a member all the same. Where members are not mutual it
        has no reason to.
        """
        if self._machine.mutual and name not in self._diallers:
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
        self._dialer.hurry(peer)

    def undialled_by(self, peer: str) -> None:
        """A connection that the peer had opened is gone, or now says another name."""
        self._diallers[peer] -= 1
        if not self._diallers[peer]:
            del self._diallers[peer]
            self._farewells.closed(peer)
            self._context.acknowledged.session_over(peer)
            self._context.causal.session_over(peer)

    async def leave(self, name: str | None) -> None:
        """Leave the cluster, or make a member leave it."""
        if name is None or name == self._spec.name:
            with self._leaving():
                self._driver.handle(Leave())
            return
        member = self._known.get(name)
        if member is None:
            raise NotConnected(name, member=False)
        self._driver.handle(Leave(member))

    @contextlib.contextmanager
    def _leaving(self) -> Iterator[None]:
        """Whatever is done in here may make us leave: note who might not hear of it."""
        connected = self._context.router.table.is_connected
        deaf = [peer for name, peer in self._known.items() if not (name in self._diallers and connected(name))]
        foreign = [peer.name for peers in self._machine.foreign(deaf) for peer in peers]
        yield
        if self._machine.members == (self._spec,):
            self._farewells.left(foreign)

    def disconnect(self, name: str) -> bool:
        """Close every connection to the node; while it is a member it is dialled again."""
        return self._dialer.disconnect(name)

    # The wire.

    def local_state(self, peer: str) -> object:
        greeting = self._machine.greeting
        if self._farewells.greets(peer):
            log.info("%s tells %s that it has left", self._context.node, peer)
            self._audience.part(peer, lambda: self._dialer.keeps(peer))
            greeting = self._machine.farewell
        return self._strategy.greeting_to_term(self._spec, greeting)

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
            self._take_strategy(inbound.term, link)
        elif isinstance(inbound, Forward) and inbound.causal is not None:
            self._context.causal.received(inbound, link)
        elif isinstance(inbound, Forward):
            if inbound.acknowledge is not None:
                self._acknowledge(*inbound.acknowledge, link.channel if link is not None else None)
            self._context.router.deliver(inbound.target, inbound.message)
        elif isinstance(inbound, Ack):
            self._context.acknowledged.acked(inbound.clock, link)
        elif isinstance(inbound, Distance):
            self._take_distance(inbound)
        elif not (isinstance(inbound, Unknown) and self._context.faults.take_control(inbound.term, link)):
            log.debug("%s has no use for %r", self._context.node, inbound)

    def _acknowledge(self, node: str, term: tuple[object, ...], channel: str | None) -> None:
        """Tell the sender that its message arrived; without a connection to it, it will send again."""
        try:
            self._context.router.send((WIRE_NAME, node), term[2], channel=channel)
        except NotConnected:
            log.debug("%s cannot acknowledge to %s: not connected", self._context.node, node)

    def _take_strategy(self, term: object, link: Link | None) -> None:
        sender, message = self._strategy.message_from_term(term)
        if sender is None:  # the message does not say; the connection does, unless it has not yet
            self._driver.handle(Received(None if link is None else link.peer, message))
            return
        if link is not None and link.peer not in (None, sender.name):
            self._violation(Violation(link.peer, f"it speaks of the membership in the name of {sender}"))
            return
        self._driver.handle(Received(sender, message))
        if isinstance(link, AcceptedLink) and self._known.get(sender.name) != sender:
            link.greet(sender.name)  # it was removed, or replaced, and has not heard: it learns that from our state

    def _send(self, peer: NodeSpec, message: object) -> None:
        """Send a machine's message; one value that goes to many peers is made a term once."""
        if self._written[0] is not message:
            self._written = (message, self._strategy.message_to_term(self._spec, message))
        self._send_term(peer.name, self._written[1])

    def _take_distance(self, distance: Distance) -> None:
        if not distance.answer:
            answer = Distance(True, distance.source, distance.destination, distance.time)
            self._send_term(distance.source.name, distance_to_term(answer))
            return
        stamp = stamp_of(distance.time)
        if stamp is not None and distance.source == self._spec:
            self._measuring.handle(Received(distance.destination, Answer(stamp)))

    def _measure(self, peer: NodeSpec, question: Question) -> None:
        self._send_term(peer.name, distance_to_term(Distance(False, self._spec, peer, time_of(question.stamp))))

    def _send_term(self, node: str, term: object) -> None:
        try:
            self._context.router.send((WIRE_NAME, node), term, channel=MEMBERSHIP_CHANNEL)
        except NotConnected:
            log.debug("%s has no connection to tell %s", self._context.node, node)

    # What the dialer tells.

    def identify(self, name: str, address: ListenAddress, state: object) -> NodeSpec:
        found = self._strategy.speaker(state, name, address)
        if found is None:
            raise HandshakeError("malformed", name, "its own spec is not among the members that it tells")
        return found

    def connected(self, peer: Target, target: Target, state: object) -> None:
        self._driver.handle(Connected(peer, target, self._strategy.greeting_from_term(state)))

    def lane_changed(self, node: str, channel: str) -> None:
        self._audience.lane(node, channel)

    def renamed(self, peer: NodeSpec) -> None:
        self._renamed.add(peer.name)
        self._driver.handle(Connected(peer, peer))

    def disconnected(self, target: Target, reason: str) -> None:
        self._driver.handle(Disconnected(target, reason))

    def failed(self, target: Target, error: Exception) -> None:
        first = target not in self._failures
        self._failures[target] = error
        waiters = self._joins.get(target)
        if not waiters:
            if target not in self._machine.members:
                self._update_failed(target, f"not yet: {error}")
        elif (lasting := _lasting(target, error)) is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(lasting)
            self._driver.handle(GiveUp(target))
        elif first:
            left = max(waiters.values()) - self._context.loop.time()
            log.warning("%s cannot reach %s yet: %s; trying for %.1f s", self._context.node, target, error, left)

    def _update_failed(self, target: Target, why: str) -> None:
        """Nobody waits for a join that an update of the members asked for: say here what keeps it."""
        context = self._context
        kind = ("update", str(target))
        context.log(log, logging.WARNING, kind, "%s is to have the member %s; %s", context.node, target, why)

    # What the machine tells.

    def _emit(self, event: str, peer: NodeSpec) -> None:
        self._context.telemetry.emit(event, {"count": 1}, {"node": str(peer)})

    def _disconnect(self, effect: Disconnect) -> None:
        """Give the edge up, and mostly what the peer has opened to us as well: if it still wants us, it dials again."""
        self._dialer.drop(effect.peer, effect.reason)
        name = effect.peer.name
        if effect.both and name is not None:
            self._audience.part(name, lambda: self._dialer.keeps(name))

    def _save(self, effect: Save) -> None:
        if self._file is not None:
            self._file.save(lambda: self._strategy.greeting_to_term(self._spec, effect.state))

    def _edge_changed(self, peer: NodeSpec, up: bool, reason: str = "") -> None:
        if self._context.config.distance_enabled:
            self._measuring.handle(Connected(peer, peer) if up else Disconnected(peer, reason))
        if peer.name in self._renamed:  # its connections went over to another spec: it was never down
            if up:
                self._renamed.remove(peer.name)
            return
        self._emit(telemetry.PEER_UP if up else telemetry.PEER_DOWN, peer)
        self._audience.edge(peer.name, up)

    def _removed(self, fact: Removed) -> None:
        why = "another node has come under its name" if fact.reason == "replaced" else "a member made it leave"
        log.warning("%s is no member of its cluster any more, and alone: %s", self._context.node, why)

    def _members_changed(self, fact: MembersChanged) -> None:
        known = {member.name: member for member in fact.members}
        for name in known.keys() - self._known.keys():
            self._emit(telemetry.PEER_JOIN, known[name])
        for name in self._known.keys() - known.keys():
            self._emit(telemetry.PEER_LEAVE, self._known[name])
            self._context.acknowledged.forget(name, "it has left")
            self._context.causal.forget(name)
        self._known = known
        self._farewells.joined(known)
        self._context.causal.members(known, self.foreign()[0])
        log.info("%s has members %s", self._context.node, ", ".join(known))
        self._audience.members(sorted(known))

    def _member_replaced(self, fact: MemberReplaced) -> None:
        name, former, peer = self._context.node, fact.former, fact.peer
        if former.listen_addrs != peer.listen_addrs:
            old, new = (", ".join(map(str, spec.listen_addrs)) for spec in (former, peer))
            log.warning("%s: member %s has moved from %s to %s", name, peer, old, new)
        else:
            log.info("%s: member %s has other channels now", name, peer)
        log.debug("%s: member %s is replaced: %r becomes %r", name, peer, former, peer)

    def _joined(self, fact: Joined) -> None:
        for waiter in self._joins.get(fact.contact, ()):
            if not waiter.done():
                waiter.set_result(fact.peer.name)

    def _join_failed(self, fact: JoinFailed) -> None:
        why = JOIN_FAILURES.get(fact.reason, fact.reason)
        for waiter in self._joins.get(fact.contact, ()):
            if not waiter.done():
                waiter.set_exception(ConnectFailed(str(fact.contact), why))
        if fact.contact not in self._joins and fact.reason != "left":
            self._update_failed(fact.contact, f"it is given up: {why}")

    def _violation(self, fact: Violation) -> None:
        context, peer = self._context, str(fact.peer)
        kind = (peer, fact.detail.partition(":")[0])
        context.log(log, logging.WARNING, kind, "%s: %s broke the protocol: %s", context.node, peer, fact.detail)
        context.telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, {"node": peer, "error": fact.detail})
