"""What every manager does: a machine on a loop, the connections that it asks for, and who hears of what it tells.

It is thin: the machine decides who is a member and whom to connect to, the dialer keeps the connections, and a manager
translates between machine messages and terms. User messages never pass through here.

A manager is a subclass that names itself as peers address it (`wire_name`) and says how its messages travel:
`_transmit` sends a term to a peer's manager, `_take` gets what comes out of a frame. It may do more in the hooks that
are named so below.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, ClassVar

from partisan import telemetry
from partisan._core.connections import ConnectionTable
from partisan.errors import (
    ConfigError,
    ConnectFailed,
    HandshakeError,
    NoAvailableSlots,
    NotConnected,
    Overloaded,
    RemoteProtocolError,
    StateError,
)
from partisan.etf import Atom
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
    UpdateMembers,
    Violation,
)
from partisan.machines.record import Outside
from partisan.managers.audience import Audience
from partisan.managers.diallers import Diallers
from partisan.managers.glue import Glue, OverlayMachine
from partisan.managers.joins import EXPECTED, Joins, why_failed
from partisan.managers.measuring import Measuring
from partisan.managers.state_file import StateFile
from partisan.names import MEMBERSHIP_CHANNEL, Contact, ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.net.dialer import Dialer, Target
from partisan.net.driver import Driver
from partisan.net.link import DialledLink, Link
from partisan.wire.forward import Ack, Distance, Forward, Inbound, Relay, Unknown, inbound_from_term
from partisan.wire.greetings import check_overlay
from partisan.wire.handshake import UNTAGGED

log = logging.getLogger(__name__)


class OverlayManager(ABC):
    """The overlay of one node.

    Args:
        context: the node's.
        table: its connections.
        spec: what it tells peers about itself.
        audience: hears of what changes.
        glue: the protocol.
    Raises:
        StateError: what was saved cannot be used.
    Attributes:
        wire_name: the registered name that peers address the manager by.
        partial: whether a node need not know all others.
        mutual: whether who is a member has this node for one.
        extra: the extra by which its kind tell each other what Partisan has no words for, if there is one.
        passes_on: whether a real node of its kind relays messages to others.
        knows_ways: whether `next_hops` is to be preferred to the broadcast trees.
    """

    wire_name: ClassVar[str]
    partial: bool = True
    mutual: bool = True
    extra: ClassVar[str | None] = None
    passes_on: ClassVar[bool] = False
    knows_ways: ClassVar[bool] = False

    _calls: ClassVar[tuple[str, ...]] = ()
    """Methods of the machine that change it, besides `handle`."""

    def __init__(
        self, context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience, glue: Glue
    ) -> None:
        self._context = context
        self._audience = audience
        self._spec = spec
        self._glue = glue
        self._atom = Atom(self.wire_name)
        config = context.config
        self._file: StateFile | None = None
        if config.persist_dir is not None and config.persist_state:
            self._file = StateFile(config.persist_dir, spec.name, glue.name, context.loop)
        self._machine = self._made(glue.options(config), self._restored())
        self._dialer = Dialer(context, table, self)
        self._joins = Joins(context.node, context.loop, self._dialer.awaits_hello)
        self._diallers = Diallers(context.loop)
        self._measuring = Measuring(context, spec, self._send_forwarded)
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
            Joined: lambda fact: self._joins.joined(fact.contact, fact.peer.name),
            JoinFailed: self._join_failed,
            NeighborUp: lambda fact: self._edge_changed(fact.peer, True),
            NeighborDown: lambda fact: self._edge_changed(fact.peer, False, fact.reason),
            MemberReplaced: self._member_replaced,
            Violation: self._violation,
        }
        self._known: dict[str, NodeSpec] = {spec.name: spec}
        self._parting: dict[str, str] = {}  # nodes that have connections but no edge any more, and why
        self._renamed: set[str] = set()  # nodes whose edge is about to go down under one spec and up under another
        self._written: tuple[object, object] = (None, None)  # the message last made a term, and that

    def _made(self, options: Any, restored: object) -> OverlayMachine:
        """The machine, of which a trace is written if the node is traced."""
        context = self._context
        if context.tracing is None:
            return self._build(options, context.rng, restored, None)
        return context.tracing.machine(
            self._protocol,
            self._spec,
            options,
            restored,
            lambda rng, outside: self._build(options, rng, restored, outside),
            self._calls,
        )

    @property
    def _protocol(self) -> str:
        """A hook: by which `partisan.sim.makers` knows the machine."""
        return self._glue.name

    def _build(self, options: Any, rng: Random, restored: object, outside: Outside | None) -> OverlayMachine:
        """A hook: make the machine; what it asks by passes through `outside` if there is that."""
        return self._glue.build(self._spec, options, rng, restored)

    def _restored(self) -> object:
        """The state that a former life of the node saved."""
        term = None if self._file is None else self._file.load()
        if self._file is None or term is None:
            return None
        try:
            return self._glue.saved_from_term(term)
        except RemoteProtocolError as error:
            raise StateError("damaged", str(self._file.path), str(error)) from error

    # What the node asks.

    def retune(self) -> None:
        """The options of the node have changed: go on by the new ones."""
        self._driver.handle(Retune(self._glue.options(self._context.config)))

    def retime(self) -> None:
        """The pauses before dialling have changed."""
        self._dialer.retime()

    def replace_connections(self, channels: Iterable[str]) -> None:
        """Make the connections of these channels anew, without a gap: what they queue by has changed."""
        self._dialer.replace(channels)

    def respec(self, spec: NodeSpec) -> None:
        """Tell the members another spec of this node, by which they dial it from now on."""
        self._spec = self._measuring.spec = spec
        self._driver.handle(Respec(spec))

    def start(self) -> None:
        """Begin: as a cluster of one, or as what was saved."""
        self._driver.handle(Start())
        self._measuring.start()

    async def stop(self, grace: float) -> None:
        """Close every connection that this node has dialled, when the peer has read it or after `grace` seconds."""
        self._driver.stop()
        self._measuring.stop()
        self._joins.cancel()
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

    @abstractmethod
    def foreign(self) -> tuple[list[str], list[str]]:
        """Names of peers that run Partisan itself, and of those that may and did not say yet."""

    def may_be_python(self, name: str) -> bool:
        """Whether it is worth to wait until the peer says that it runs this package."""
        return not any(name in names for names in self.foreign())

    def greeted_python(self, name: str) -> bool:
        """Whether a peer's handshake tells that it runs this package: it may have no connection to say it on."""
        return False

    def next_hops(self, name: str) -> list[str]:
        """Names of the neighbors to whom a message goes that is for a node which is no neighbor, to be passed on.

        Empty if it is one, as it is sent to directly, or if there is no way. Whoever passes messages on bounds their
        hops, and knows one that comes again. By default these are all neighbors.
        """
        if name == self._spec.name or self._is_connected(name):
            return []
        return [peer for peer in self._known if peer != self._spec.name and self._is_connected(peer)]

    def greeting(self) -> object:
        """The machine's state, as handshakes tell it."""
        return self._machine.greeting

    def distances(self) -> dict[str, float]:
        """Seconds to each neighbor and back."""
        return self._measuring.seconds()

    def connections(self) -> list[DialledLink]:
        """The connections that messages are routed to."""
        return self._dialer.connections()

    def reserve(self, tag: object) -> None:
        """Reserve a slot for a tag. Raises NoAvailableSlots: most overlays have none."""
        raise NoAvailableSlots(tag)

    @property
    def state_error(self) -> StateError | None:
        """Why the state could not be saved last."""
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
        """Let these be the members; see `Node.update_members`."""
        members = tuple(self._member(self.target_of(contact)) for contact in contacts)
        self._driver.handle(UpdateMembers(members))

    def _member(self, target: Target) -> Target:
        """The member that a contact means, by its name or else by its address; or the contact.

        That is also a member's that is not connected and is to be elsewhere than it was: both places are tried.
        """
        at = {*(target.listen_addrs if isinstance(target, NodeSpec) else target.addresses)}
        if target.name is None:
            return next((spec for spec in self._known.values() if not at.isdisjoint(spec.listen_addrs)), target)
        known = self._known.get(target.name)
        if known is None:
            return target
        there = known == self._spec or self._is_connected(known.name) or not at.isdisjoint(known.listen_addrs)
        return known if there else target

    async def join(self, contact: str | NodeSpec | Contact, timeout: float) -> str:
        """Join the contact's cluster; see `Node.join`."""
        target = self.target_of(contact)
        end = self._context.loop.time() + timeout
        name = await self._joins.wait(
            target,
            contact,
            timeout,
            begin=lambda: self._begin_join(target),
            give_up=lambda: self._driver.handle(GiveUp(target)),
        )
        await self._dialled_back(name, end)
        return name

    async def _dialled_back(self, name: str, end: float) -> None:
        """A hook: wait a while until who was joined can answer what it is sent; it may never (a firewall between)."""
        pause = min(end - self._context.loop.time(), self._context.config.connection_interval)
        if not await self._diallers.answered(name, pause):
            log.warning("%s has joined %s, which has not dialled back", self._context.node, name)

    def _begin_join(self, target: Target) -> None:
        """A hook: somebody waits for this join."""
        self._driver.handle(Join(target))

    async def leave(self, name: str | None) -> None:
        """Leave the cluster, or make a member leave it. Raises NotConnected if the other is none."""
        if name is None or name == self._spec.name:
            self._driver.handle(Leave())
            return
        member = self._known.get(name)
        if member is None:
            raise NotConnected(name, member=False)
        self._driver.handle(Leave(member))

    def disconnect(self, name: str) -> bool:
        """Close every connection to the node; while it is a member it is dialled again."""
        return self._dialer.disconnect(name)

    # What connections tell.

    def dialled_by(self, peer: str) -> None:
        """A peer has opened a connection to this node and said its name.

        Raises HandshakeError if that is this node's own: a node never dials itself, so another one has the same name,
        and nobody could tell the two apart. (A real acceptor takes any name; real nodes do not dial their own either.)
        """
        self._diallers.opened(peer)  # of who is refused, too: its end is told as any other
        if peer == self._spec.name:
            raise HandshakeError("unexpected_peer", peer, "that is this node's own name")
        self._diallers.greeted(peer)
        self._dialer.hurry(peer)

    def undialled_by(self, peer: str) -> None:
        """A connection that the peer had opened is gone, or now says another name."""
        if self._diallers.closed(peer):
            self._session_over(peer)

    def _session_over(self, peer: str) -> None:
        """A hook: the last connection that the peer had opened is gone."""
        self._context.acknowledged.session_over(peer)
        self._context.causal.session_over(peer)

    def local_state(self, peer: str) -> object:
        """What the handshake tells the peer, which has dialled, as a term."""
        return self._glue.greeting_to_term(self._spec, self._machine.greeting)

    def local_tag(self) -> str:
        """The role that the handshake tells beside the state."""
        return self._context.config.tag or UNTAGGED

    def receive(self, term: object, link: Link | None) -> None:
        """Take a message that is addressed to the manager."""
        self._take(term, link, bare=False)

    def receive_bare(self, term: object, link: Link) -> None:
        """Take a frame that is neither a plain message nor part of a handshake or keepalive."""
        self._take(term, link, bare=True)

    def receive_extra(self, message: tuple[Any, ...], link: Link) -> None:
        """Take a message that came under the name of `extra`. Raises MalformedMessage."""
        raise NotImplementedError(f"{self.wire_name} has no extra")

    @abstractmethod
    def _take(self, term: object, link: Link | None, bare: bool) -> None:
        """Take what came for the manager.

        Args:
            term: the whole frame.
            link: on which connection; None if none can be told.
            bare: it was not addressed to anybody.
        """

    def _inbound(self, term: object) -> Inbound:
        """Classify what came. Raises MalformedMessage."""
        return inbound_from_term(term, self._atom)

    def _take_inbound(self, inbound: Inbound, link: Link | None, bare: bool) -> None:
        """Take what does not concern the machine."""
        if isinstance(inbound, Forward) and inbound.causal is not None:
            self._context.causal.received(inbound, link)
        elif isinstance(inbound, Forward):
            if inbound.acknowledge is not None:
                self._acknowledge(*inbound.acknowledge, link.channel if link is not None else None)
            reader = link.inbound if link is not None else None
            self._context.router.deliver(inbound.target, inbound.message, reader)
        elif isinstance(inbound, Ack):
            self._context.acknowledged.acked(inbound.clock, None if link is None else link.peer)
        elif isinstance(inbound, Distance):
            self._measuring.take(inbound)
        elif isinstance(inbound, Relay):
            self._audience.relayed(inbound, link)
        elif isinstance(inbound, Unknown) and bare:
            who = link.peer if link is not None else None
            self._violation(Violation(who, f"unexpected frame {inbound.term!r:.120}"))
        elif not (isinstance(inbound, Unknown) and self._context.faults.take_control(inbound.term, link)):
            log.debug("%s has no use for %r", self._context.node, inbound)

    def _acknowledge(self, node: str, term: tuple[object, ...], channel: str | None) -> None:
        """Tell the sender that its message arrived; while it cannot be told, it will send again."""
        try:
            self._context.router.send((self.wire_name, node), term[2], channel=channel)
        except (NotConnected, Overloaded) as error:
            log.debug("%s cannot acknowledge to %s: %s", self._context.node, node, error)

    def _heard(self, sender: NodeSpec | None, message: object, link: Link | None) -> bool:
        """Give the machine a message, unless its sender is not who its connection says; whether it got it.

        Args:
            sender: who says it; None if the connection alone knows, unless that does not know it yet.
        """
        if sender is not None and link is not None and link.peer not in (None, sender.name):
            self._violation(Violation(link.peer, f"it speaks of the membership in the name of {sender}"))
            return False
        who = sender if sender is not None or link is None else link.peer
        self._driver.handle(Received(who, message))
        return True

    def _send(self, peer: NodeSpec, message: object) -> None:
        """Send a machine's message; one value that goes to many peers is made a term once."""
        if self._written[0] is not message:
            self._written = (message, self._glue.message_to_term(self._spec, message))
        self._transmit(peer.name, self._written[1])

    @abstractmethod
    def _transmit(self, node: str, term: object) -> None:
        """Send a machine's message, as a term, to the manager of a node; one that is not connected misses it."""

    def _send_forwarded(self, node: str, term: object) -> None:
        """Send a term to the node's manager by its name, on the channel of the membership."""
        try:
            self._context.router.send((self.wire_name, node), term, channel=MEMBERSHIP_CHANNEL)
        except (NotConnected, Overloaded) as error:
            log.debug("%s cannot tell %s: %s", self._context.node, node, error)

    # What the dialer tells.

    def identify(self, name: str, address: ListenAddress, tag: str, state: object) -> NodeSpec:
        check_overlay(self._glue.name, tag, state)
        found = self._glue.speaker(state, name, address)
        if found is None:
            raise HandshakeError("malformed", name, "its own spec is not among the members that it tells")
        return found

    def connected(self, peer: Target, target: Target, tag: str, state: object) -> None:
        self._driver.handle(Connected(peer, target, self._greeting(state, tag)))

    def _greeting(self, state: object, tag: str) -> Any:
        """A hook: what a peer's handshake tells the machine. Raises RemoteProtocolError."""
        return self._glue.greeting_from_term(state)

    def lane_changed(self, node: str, channel: str) -> None:
        self._audience.lane(node, channel)
        if node in self._parting:
            self._context.loop.call_soon(self._parted, node)

    def _parted(self, name: str) -> None:
        """A connection is gone of an edge that was given up before, while messages were held for the node."""
        if name in self._parting and not self._is_connected(name):
            self._audience.parted(name, self._parting.pop(name))

    def _is_connected(self, name: str) -> bool:
        return self._context.router.table.has_own(name)

    def wants_all(self, peer: NodeSpec) -> bool:
        return True

    def renamed(self, peer: NodeSpec) -> None:
        self._renamed.add(peer.name)
        self._driver.handle(Connected(peer, peer))

    def disconnected(self, target: Target, reason: str) -> None:
        self._driver.handle(Disconnected(target, reason))

    def failed(self, target: Target, error: Exception) -> None:
        if target not in self._joins:
            self._unreachable(target, error)
        elif self._joins.attempt_failed(target, error):
            self._driver.handle(GiveUp(target))

    def _unreachable(self, target: Target, error: Exception) -> None:
        """A hook: somebody for whom nobody waits cannot be reached."""
        if target not in self._machine.members:
            self._update_failed(target, f"not yet: {error}")

    def _update_failed(self, target: Target, why: str, level: int = logging.WARNING) -> None:
        """Nobody waits for a join that an update of the members asked for: say here what keeps it."""
        context = self._context
        kind = ("update", str(target))
        context.log(log, level, kind, "%s is to have the member %s; %s", context.node, target, why)

    # What the machine tells.

    def _emit(self, event: str, peer: NodeSpec) -> None:
        self._context.telemetry.emit(event, {"count": 1}, {"node": str(peer)})

    def _disconnect(self, effect: Disconnect) -> None:
        """Give the edge up, and mostly what the peer has opened to us as well: if it still wants us, it dials again."""
        self._dialer.drop(effect.peer, effect.reason)
        name = effect.peer.name
        if effect.both and name is not None:
            self._part(name)

    def _part(self, name: str) -> None:
        """Close what the node has dialled, once it is silent, unless it is wanted by then."""
        self._audience.part(name, lambda: self._dialer.keeps(name))

    def _save(self, effect: Save) -> None:
        if self._file is not None:
            spec = self._spec
            self._file.save(lambda: self._glue.saved_to_term(spec, effect.state))

    def _edge_changed(self, peer: NodeSpec, up: bool, reason: str = "") -> None:
        self._measuring.edge(peer, up, reason)
        if peer.name in self._renamed:  # its connections went over to another spec: it was never down
            if up:
                self._renamed.remove(peer.name)
            return
        self._emit(telemetry.PEER_UP if up else telemetry.PEER_DOWN, peer)
        self._parting.pop(peer.name, None)
        if not up and self._is_connected(peer.name) and not self._dialer.keeps(peer.name):
            self._parting[peer.name] = reason
        self._audience.edge(peer.name, up, reason)

    def _members_changed(self, fact: MembersChanged) -> None:
        known = {member.name: member for member in fact.members}
        for name in known.keys() - self._known.keys():
            self._emit(telemetry.PEER_JOIN, known[name])
        for name in self._known.keys() - known.keys():
            self._emit(telemetry.PEER_LEAVE, self._known[name])
            self._gone(name)
        self._known = known
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

    def _gone(self, name: str) -> None:
        """A hook: the node is no member any more."""
        self._context.acknowledged.forget(name, "it has left")
        self._context.causal.forget(name)

    def _join_failed(self, fact: JoinFailed) -> None:
        why = why_failed(fact.reason)
        if fact.contact in self._joins:
            self._joins.failed(fact.contact, ConnectFailed(str(fact.contact), why))
        elif fact.reason != "left":
            level = logging.INFO if fact.reason in EXPECTED else logging.WARNING
            self._update_failed(fact.contact, f"it is given up: {why}", level)

    def _violation(self, fact: Violation) -> None:
        context, peer = self._context, str(fact.peer)
        kind = (peer, fact.detail.partition(":")[0])
        context.log(log, logging.WARNING, kind, "%s: %s broke the protocol: %s", context.node, peer, fact.detail)
        context.telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, {"node": peer, "error": fact.detail})
