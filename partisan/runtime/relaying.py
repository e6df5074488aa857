"""Messages to nodes that are no neighbors: what `machines/relay` decides, on the node's connections.

Between Python nodes frames travel as the extra `relay`. What comes out of one is delivered as if its sender were at the
other end of a connection (`Far`), so that calls, links, monitors and answers work as between neighbors. Messages to
neighbors never pass here: the router asks only where there is no connection.

Towards real nodes it is `{relay_message, Dest, M, TTL}`: what comes is delivered or goes on, and it is sent to such
neighbors alone that know it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from partisan import telemetry
from partisan._core.inbound import Inbound
from partisan._core.requests import Request
from partisan.config import Config
from partisan.errors import (
    EncodeError,
    NotAcknowledged,
    NotConnected,
    Overloaded,
    RemoteProtocolError,
    TermError,
)
from partisan.etf import Atom, Pid
from partisan.machines.machine import NeighborDown, Notify, Received, Retune, Send, Violation
from partisan.machines.relay import Relays
from partisan.machines.relay_messages import (
    Abandon,
    Abroad,
    Acknowledged,
    Arrived,
    EdgeUp,
    Frame,
    GivenUp,
    Handed,
    Heard,
    Kind,
    Relay,
    RelayConfig,
    Spread,
    Word,
)
from partisan.names import DEFAULT_CHANNEL
from partisan.net.context import Context
from partisan.net.driver import Driver
from partisan.runtime.extras import NAME as PYTHON
from partisan.runtime.extras import OVER_RELAYS
from partisan.runtime.strangers import Strangers
from partisan.wire.atom import malformed
from partisan.wire.forward import Forward, inbound_from_term, relay_to_term
from partisan.wire.forward import Relay as Foreign
from partisan.wire.plumtree import SERVER
from partisan.wire.relay import CAPABILITY, frame_from_term, frame_to_term, load_from_term, load_to_term

if TYPE_CHECKING:
    from partisan.net.link import Link
    from partisan.runtime.presence import Presence

log = logging.getLogger(__name__)

MOST_FAR = 1024
"""Nodes that are no neighbors with which messages were exchanged, remembered; the latest (ours)."""

AGREEMENT = 1.0
"""Seconds after which a neighbor that has not agreed to take frames is spoken to as a real node (ours)."""

MARGIN = 4096
"""Octets that a frame may have beside its load (ours)."""

KEPT = object()
"""The tag of messages that somebody else keeps, and sends again."""

_FORWARD, _ACK, _CALL, _NODEDOWN = map(Atom, ("forward_message", "ack", "$gen_call", "nodedown"))


def relay_config(config: Config) -> RelayConfig:
    """What the options mean to the machine."""
    given = config.relay
    return RelayConfig(
        ttl=config.relay_ttl,
        timeout=given.timeout,
        retry=given.retry,
        window=given.max_waiting,
        max_octets=given.max_waiting_octets,
    )


class Far:
    """Stands for the connection that there is not, to a node whose messages are relayed.

    Attributes:
        peer, name: the node.
        channel: of the message in hand.
        inbound: its origin.
    """

    def __init__(self, context: Context, node: str) -> None:
        self.peer = self.name = node
        self.channel = DEFAULT_CHANNEL
        self.inbound = Inbound(context.slab, 1, router=context.router, link=self, control=_nothing)

    def on(self, channel: str | None) -> Far:
        """A message on that channel is in hand."""
        self.channel = self.inbound.channel = channel or DEFAULT_CHANNEL
        return self


def _nothing(term: object) -> None:
    """No frame comes on a connection that is none."""


class Relaying:
    """The relay of one node.

    Args:
        context: the node's; its manager is set before the first message.
        presence: knows who lives.
        peers: callable(root) -> (eager, lazy): the neighbors in the tree of that node's broadcasts.
        asked: callable(message): takes a question to what broadcasts.
    """

    def __init__(
        self,
        context: Context,
        presence: Presence,
        peers: Callable[[str], tuple[list[str], list[str]]],
        asked: Callable[[object], None],
        life: int,
    ) -> None:
        self._context = context
        self._router = context.router
        self._presence = presence
        self._peers = peers
        self._asked = asked
        self._near: set[str] = set()
        self._speakers: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}  # of neighbors that may be about to say what they take
        self._far: dict[str, Far] = {}  # who has written to us, or was written to, by relays; the latest last
        self._strangers = Strangers(context.loop.time)
        self._handing = False
        self._written: tuple[object, bytes] = (None, b"")  # the frame last encoded, and that
        self.machine = Relays(
            context.node, relay_config(context.config), context.rng, life, self._hops, lambda: context.manager.mutual
        )
        self._driver = Driver(self.machine, context.loop, {Send: self._send, Notify: self._notify})
        self._facts: dict[type, Callable[[Any], None]] = {
            Arrived: self._arrived,
            Heard: lambda fact: presence.heard_word(fact.by, fact.word),
            Acknowledged: self._acknowledged,
            GivenUp: self._given_up,
            Violation: self._violation,
        }
        self._router.relaying = self._takes

    # What the node says.

    def retune(self) -> None:
        """The options of the node have changed."""
        self._driver.handle(Retune(relay_config(self._context.config)))

    def stop(self) -> None:
        """Relay nothing any more."""
        for node in list(self._timers):
            self._drop_timer(node)
        self._driver.stop()

    def _drop_timer(self, node: str) -> None:
        timer = self._timers.pop(node, None)
        if timer is not None:
            timer.cancel()

    def edge(self, node: str, up: bool) -> None:
        """The overlay's edge to the node has become usable, or no longer is."""
        if up:
            self._near.add(node)
            if self._takes_frames(node):
                self._neighbor(EdgeUp(node, Kind.SPEAKER))
            else:  # it may be about to say so
                self._drop_timer(node)
                self._timers[node] = self._context.loop.call_later(AGREEMENT, self._tell_kind, node)
        elif node in self._near and not self._router.table.has_own(node):
            self._near.discard(node)
            self._neighbor(NeighborDown(node, "closed"))

    def _neighbor(self, event: EdgeUp | NeighborDown) -> None:
        """There are other ways than before: what is kept for nodes that are no neighbors may take one of them."""
        self._driver.handle(event)
        self._context.acknowledged.reconsider()

    def agreed(self, node: str, may: bool) -> None:
        """Whether the node takes frames."""
        (self._speakers.add if may else self._speakers.discard)(node)
        if node in self._near:
            takes = self._takes_frames(node)
            self._neighbor(EdgeUp(node, Kind.SPEAKER) if takes else NeighborDown(node, "it takes no frames"))

    def _takes_frames(self, node: str) -> bool:
        """Whether the neighbor has said so, or runs this package by its handshake."""
        return node in self._speakers or self._context.manager.greeted_python(node)

    def _tell_kind(self, node: str) -> None:
        """The neighbor has had the time to say that it takes frames."""
        self._timers.pop(node, None)
        if node in self._near and node not in self._speakers:
            other = Kind.RELAY if self._context.manager.passes_on else Kind.PLAIN
            self._neighbor(EdgeUp(node, Kind.SPEAKER if self._takes_frames(node) else other))

    def befriend(self, node: str) -> None:
        """Have what is sent to the node from now on relayed, while it is no neighbor."""
        self._link(node)

    def down(self, node: str) -> None:
        """The node is down: nothing will come of it, or go to it."""
        self._far.pop(node, None)
        self._driver.handle(Abandon(node, "it is down"))

    def spread(self, word: Word) -> None:
        """Let every Python node hear."""
        self._driver.handle(Spread(word))

    def counters(self) -> dict[str, int]:
        """What was relayed since the start (`Counts`), and what waits for a receipt."""
        return {**asdict(self.machine.counts), "waiting": self.machine.sizes["kept"]}

    def _hops(self, dest: str, origin: str) -> Iterable[str]:
        """Where the overlay knows the way: by that; else by the tree of the origin's broadcasts."""
        manager = self._context.manager
        return manager.next_hops(dest) if manager.knows_ways else self._peers(origin)[0]

    # What goes out.

    def _takes(self, node: str, target: Any, message: Any, channel: str | None, ack: bool) -> bool:
        """Take what the router has no connection for, if that is to be relayed."""
        if not self.may(node, ack):
            if ack:
                self.check(node)
            return False
        self.send(node, target, message, channel=channel)
        return True

    def may(self, node: str, ack: bool = False) -> bool:
        """Whether what is sent to the node is relayed without being asked for.

        Not if it is a neighbor of which a channel is missing, or down; nor what is kept for a member to come back.
        """
        if self._handing or self._router.table.has_own(node) or not self.machine.can_send:
            return False
        if ack and node in self._context.manager.members():
            return False
        if node in self._far:
            return True
        return self._context.config.broadcast and not self._presence.is_down(node)

    def check(self, node: str) -> None:
        """Raise NotConnected if the node is down, and nothing waits for it to come back: it is no member."""
        context = self._context
        if (
            context.config.broadcast
            and node not in context.manager.members()
            and not self._router.table.is_connected(node)
            and self._presence.is_down(node)
        ):
            raise NotConnected(node, known=True)

    def send(
        self,
        node: str,
        target: Atom | Pid,
        message: object,
        *,
        channel: str | None = None,
        out_links: Iterable[str] | None = None,
        expiry: float | None = None,
        tag: Hashable = None,
        ttl: int | None = None,
    ) -> None:
        """Send a message by relays; with a `ttl` over so many nodes at most.

        Raises:
            NotConnected: there is nobody to pass it on.
            Overloaded: too much to that node has no receipt yet.
            EncodeError: it is no term, or too large.
        """
        if not self.machine.can_send:
            raise NotConnected(node)
        load = self._router.codec.encode(load_to_term(target, message, channel))
        if len(load) > self._context.config.max_frame_octets - MARGIN:
            raise EncodeError(f"a message of {len(load)} octets is too large to be relayed")
        if not self.machine.room(node, len(load)):
            raise Overloaded(node, channel or DEFAULT_CHANNEL, self.machine.waiting(node)[1])
        links = None if out_links is None else tuple(out_links)
        tag = _asking(message) if tag is None else tag
        self._driver.handle(Relay(node, load, len(load), tag, ttl, expiry, links))

    def can_carry(self, node: str, octets: int) -> bool:
        """Whether so much more can be relayed to the node now, and leave half of its room to what is not sent again."""
        count, waiting = self.machine.waiting(node)
        config = self.machine.config
        return not count or (2 * count < config.window and 2 * (waiting + octets) <= config.max_octets)

    def carry(self, node: str, message: tuple[Any, ...], channel: str | None) -> None:
        """Relay a message to the node's `partisan_python`, without a word if it gets lost: it is sent again.

        Raises as `send`.
        """
        self.send(node, PYTHON_ATOM, message, channel=channel, tag=KEPT)

    def _send(self, effect: Send) -> None:
        """Carry out what the machine sends to a neighbor."""
        message: Any = effect.message
        self._handing = True  # what a neighbor does not get now is sent again, by the machine
        try:
            if type(message) is Frame:
                if self._written[0] is not message:
                    term = (_FORWARD, PYTHON_ATOM, frame_to_term(message))
                    self._written = (message, self._router.codec.encode(term))
                self._push(effect.peer, PYTHON_ATOM, self._written[1])
            elif type(message) is Handed:
                target, inner, channel = self._read(message.load)
                if target == PYTHON_ATOM:
                    return  # as in `_send_abroad`
                self._router.forward(effect.peer, _to(target), inner, channel=channel)
            elif type(message) is Abroad:
                self._send_abroad(effect.peer, message)
        except (NotConnected, Overloaded) as error:
            log.debug("%s: %s gets no copy: %s", self._context.node, effect.peer, error)
        except (RemoteProtocolError, TermError, TypeError) as error:
            self._violation(Violation(effect.peer, f"a message for it cannot be read: {error}"))
        finally:
            self._handing = False

    def _send_abroad(self, peer: str, message: Abroad) -> None:
        target, inner, _ = self._read(message.load)
        if target == PYTHON_ATOM:
            return  # who does not know it drops it, and who knows it takes it from its sender alone
        frame = (_FORWARD, target, inner)
        self._strangers.first(None, -1, self._router.codec.encode((Atom(message.dest), frame)))  # real nodes return it
        term = relay_to_term(Foreign(message.dest, frame, message.ttl))
        self._push(peer, Atom(self._context.manager.wire_name), self._router.codec.encode(term))

    def _push(self, peer: str, target: Atom, body: bytes) -> None:
        self._router.push_body(self._router.queue_to(peer, target, partition_key=0), body)

    def _read(self, load: bytes) -> tuple[Any, Any, str | None]:
        return load_from_term(self._router.codec.decode(load))

    # What comes in.

    def receive(self, message: tuple[Any, ...], link: Link | Far) -> None:
        """Take `{relay, ...}` from a neighbor. Raises MalformedMessage."""
        if type(link) is Far:
            malformed(CAPABILITY, message)
        self._driver.handle(Received(link.peer, frame_from_term(message)))

    def receive_foreign(self, relay: Foreign, link: Link | None) -> None:
        """Take `{relay_message, Dest, M, TTL}`."""
        context = self._context
        whence = None if link is None else link.peer
        inner = inbound_from_term(relay.term, Atom(context.manager.wire_name))
        if not isinstance(inner, Forward) or inner.causal is not None or inner.target == PYTHON_ATOM:
            log.debug("%s passes no %r on", context.node, inner)
            return
        frame = (_FORWARD, inner.target, inner.message)
        if not self._strangers.first(whence, relay.ttl, self._router.codec.encode((Atom(relay.node), frame))):
            return
        if relay.node == context.node:
            self._router.deliver(inner.target, inner.message)
            return
        try:
            if self._router.table.is_connected(relay.node):
                self._router.forward(relay.node, _to(inner.target), inner.message)
            elif relay.ttl > 0 and self.machine.can_send:
                ttl = min(relay.ttl, self.machine.config.ttl)  # or it would go round among real nodes for ever
                self.send(relay.node, inner.target, inner.message, ttl=ttl)
        except (NotConnected, Overloaded, TypeError) as error:
            log.debug("%s does not pass a message on to %s: %s", context.node, relay.node, error)

    def _arrived(self, fact: Arrived) -> None:
        try:
            target, message, channel = self._read(fact.load)
            self._deliver(self._link(fact.origin).on(channel), target, message)
        except (RemoteProtocolError, TermError) as error:
            self._violation(Violation(fact.origin, f"a relayed message: {error}"))
        self._presence.heard_of(fact.origin)

    def _deliver(self, link: Far, target: Any, message: Any) -> None:
        """Deliver a message as from a connection; but what is about connections is refused. Raises MalformedMessage."""
        name = target.name if type(target) is Atom else None
        if name == self._context.manager.wire_name:
            if type(message) is not tuple or len(message) != 2 or message[0] != _ACK:
                malformed("target of a relayed message", target)
            self._context.acknowledged.acked(message[1], link.peer)  # over a link of one direction
            return
        if name == PYTHON and (type(message) is not tuple or not message or _name(message[0]) not in OVER_RELAYS):
            malformed("relayed extra", message)
        if target == SERVER:
            if type(message) is not tuple or not message or message[0] != _CALL:
                malformed("relayed broadcast", message)
            self._asked(message)
        elif self._router.receiving is not None:
            self._router.receiving(target, message, link.inbound)
        else:
            self._router.hand_over(target, message, link.inbound)

    def _link(self, node: str) -> Far:
        far = self._far.pop(node, None) or Far(self._context, node)
        self._far[node] = far
        if len(self._far) > MOST_FAR:
            del self._far[next(iter(self._far))]
        return far

    # What the machine tells.

    def _notify(self, effect: Notify) -> None:
        self._facts[type(effect.fact)](effect.fact)

    def _acknowledged(self, fact: Acknowledged) -> None:
        if isinstance(fact.tag, asyncio.Future) and not fact.tag.done():
            fact.tag.set_result(None)

    def _given_up(self, fact: GivenUp) -> None:
        """A message did not arrive, as far as can be told: tell who waits, or at least say so."""
        if fact.tag is KEPT:
            return
        context, node = self._context, str(fact.dest)
        about = {"node": node, "side": "sender", "relayed": True}
        context.telemetry.emit(telemetry.QUEUE_UNDELIVERED, {"count": 1}, about)
        tag = fact.tag
        if isinstance(tag, Request):
            tag.fire((_NODEDOWN, Atom(node)))
        elif isinstance(tag, asyncio.Future):
            if not tag.done():
                tag.set_exception(NotAcknowledged(node, fact.reason))
        else:
            text = "%s: a message to %s, which is no neighbor, did not arrive: %s"
            context.log(log, logging.WARNING, ("relay", node), text, context.node, node, fact.reason)

    def _violation(self, fact: Violation) -> None:
        context, peer = self._context, str(fact.peer)
        kind = ("relay", peer, fact.detail.partition(":")[0])
        context.log(log, logging.WARNING, kind, "%s: relayed by %s: %s", context.node, peer, fact.detail)
        context.telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, {"node": peer, "error": fact.detail})


PYTHON_ATOM = Atom(PYTHON)


def _asking(message: object) -> Request | None:
    """The request that a message is."""
    if type(message) is tuple and len(message) == 3 and type(message[1]) is tuple and len(message[1]) == 2:
        tag = message[1][1]
        return tag if isinstance(tag, Request) else None
    return None


def _name(term: object) -> str | None:
    return term.name if type(term) is Atom else None


def _to(target: object) -> Atom | Pid:
    """A target that can be sent to plainly. Raises TypeError."""
    if isinstance(target, Atom | Pid):
        return target
    raise TypeError(f"{target!r} is neither a pid nor a name")
