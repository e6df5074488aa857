"""One connection: a stream, its handshake and its keepalive.

The acceptor says `{hello, Node}`; the dialler checks the name and answers `{hello, Node, Channel}`; the acceptor sends
its membership state. Messages travel from the dialler to the acceptor only, pings and pongs both ways, and a message
may arrive before the hello: real nodes send some. It waits for the hello where that decides whether it may be sent.
Frames that are no plain message come here as terms.

When this side gives up a connection that carries messages, the peer may not have read all of it, and must not read a
later connection first. So only our half of it is closed, and whoever routes messages hears when the peer has closed
its half: a peer does so when it has read all that went before. One that does not answer within `handshake_timeout`
is waited for no longer, and from then on the order towards it is not kept: it may read the new connection first.

A connection that is no longer wanted before the peer has said hello on it is closed only after that hello: the accept
loop of a real node ends with its listener if the connection is gone by the time it speaks (seen on Partisan 5.0.3).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from partisan import telemetry
from partisan._core.bound import Bound
from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.inbound import Inbound
from partisan._core.sendqueue import SendQueue
from partisan._core.stream import Stream
from partisan.config import Config, PingConfig
from partisan.errors import ConnectionLost, HandshakeError, LocalProtocolError, Overloaded
from partisan.machines.keepalive import Heartbeat, Keepalive, KeepaliveConfig, Probe, Probed
from partisan.machines.machine import Disconnect, Received, Retune, Send, Start, Violation
from partisan.names import DEFAULT_CHANNEL, ChannelOptions, ListenAddress
from partisan.net.certificates import is_bound, names_in
from partisan.net.driver import Driver
from partisan.net.losses import tell_loss
from partisan.net.sockets import tune
from partisan.net.tls import TlsStream
from partisan.wire.handshake import Handshake, Hello, Refused, State, handshake_from_term, handshake_to_term
from partisan.wire.keepalive import keepalive_from_term, keepalive_to_term

if TYPE_CHECKING:
    from partisan.net.context import Context
    from partisan.net.faults import Tap

log = logging.getLogger(__name__)

UNREAD_OCTETS = 1 << 20
"""Octets of answers that may wait for a dialler that does not read, before one more ends its connection (ours)."""

MAY_BE = "it may expect TLS, or be no node (a web server waits to be asked)"
"""What whoever takes a connection and says nothing may be."""

NOT_ALLOWED = "it is not among the allowed nodes"


def address_of(sock: socket.socket) -> str:
    """Where the other end of a connected socket is, for events and logs; "?" if it has gone already."""
    try:
        name = sock.getpeername()
    except OSError:
        return "?"
    if not isinstance(name, tuple):
        return str(name or "?")
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def keepalive_config(config: Config) -> KeepaliveConfig:
    """What the options mean to the keepalive of a connection."""
    return _keepalive_config(config.connection_ping)


@functools.lru_cache(maxsize=16)
def _keepalive_config(options: PingConfig) -> KeepaliveConfig:
    return KeepaliveConfig(**dataclasses.asdict(options))


def handshake_bound(context: Context) -> Bound:
    """An octet bound for a connection on which only the handshake and pings are said."""
    limit = context.config.max_frame_octets
    return Bound(context.node, DEFAULT_CHANNEL, high_water=limit, hard_limit=limit)


class Link(ABC):
    """A connection in either direction.

    Attributes:
        peer: the node at the other end, once it is known.
        channel: what the connection is for; the default channel until the hello.
        queue: what waits to be written.
        up: the handshake is done.
        tap: where faults are applied; None while there are none.
        address_text: where the other end is, as ip:port.
    """

    acceptor = False

    def __init__(self, context: Context, sock: socket.socket, peer: str | None, channel: str, queue: SendQueue) -> None:
        config = context.config
        tune(sock, config.connection_ping)
        self.context = context
        self.address_text = address_of(sock)
        self.peer = peer
        self.channel = channel
        self.queue = queue
        self.up = False
        self.tap: Tap | None = None
        self.stream = self._make_stream(sock)
        self.inbound = Inbound(
            context.slab, config.max_frame_octets, router=context.router, link=self, control=self._control
        )
        self.keepalive = Keepalive(
            context.node,
            keepalive_config(config),
            context.rng,
            peer=peer,
            acceptor=self.acceptor,
            epoch=time.time() - context.loop.time(),
        )
        self._driver = Driver(
            self.keepalive,
            context.loop,
            self._keepalive_wants,
            before_timeout=self._tell_heard,
            soon=context.router.at_end,
        )
        self._probes: dict[int, Callable[[], None]] = {}
        self._timer = context.loop.call_later(config.handshake_timeout, self._handshake_late)

    def _make_stream(self, sock: socket.socket) -> Stream | TlsStream:
        context = self.context
        shared: dict[str, Any] = {
            "quantum": context.config.read_octets,
            "lost": self._stream_lost,
            "refused": self.fail,
        }
        if context.tls is None:
            return Stream(context.loop, sock, **shared)
        return TlsStream(
            context.loop, sock, material=context.tls, acceptor=self.acceptor, secured=self._secured, **shared
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.context.node} {self.peer} {self.channel}>"

    @property
    def name(self) -> str:
        """The peer's name; LocalProtocolError before its hello."""
        if self.peer is None:
            raise LocalProtocolError("the peer has not said its name yet")
        return self.peer

    @property
    def closed(self) -> bool:
        """Whether it is used no more; its socket may still wait for the peer to close."""
        return self.stream.closed or self.stream.finishing

    def start(self) -> None:
        """Begin to read."""
        self.context.faults.watch(self)
        self.context.traffic.opened(self)
        self.stream.start(self.inbound, self.queue)

    def _write(self) -> None:
        self.stream.write()

    def retune(self) -> None:
        """The options of the node have changed: ping by the new ones from now on."""
        self._tell_heard()
        self._driver.handle(Retune(keepalive_config(self.context.config)))

    def probe(self, handled: Callable[[], None]) -> None:
        """Call `handled` when the peer has handled all that was sent here before, or the connection is lost."""
        if self.stream.closed:
            handled()
            return
        tag = len(self._probes) + 1
        while tag in self._probes:
            tag += 1
        self._probes[tag] = handled
        self._driver.handle(Probe(tag))

    def close(self) -> None:
        """Close at once; who closes does not hear of it."""
        self._count_undelivered(self.stream.close())
        self._settle()

    def _count_undelivered(self, octets: int) -> None:
        if octets:
            self.context.telemetry.tell_queue(
                telemetry.QUEUE_UNDELIVERED, self.peer, self.channel, count=0, octets=octets, side="sender"
            )

    def fail(self, error: Exception | None) -> None:
        """Close because of an error (None: the peer has closed), and tell the owner."""
        if not self.closed:
            self._give_up()
            self._report(error)

    def _give_up(self) -> None:
        """Use it no more because of an error on this side."""
        self.close()

    def _stream_lost(self, error: Exception | None, octets: int) -> None:
        if self.tap is not None:
            self.tap.hasten()
        self._settle()
        self._count_undelivered(octets)
        self._report(error)

    def _silence(self) -> None:
        """Nothing more is said on this connection."""
        self._timer.cancel()
        self._driver.stop()

    def _settle(self) -> None:
        """Nothing happens on this connection any more."""
        self.context.faults.unwatch(self)
        self._silence()
        self.context.traffic.closed(self)
        probes, self._probes = self._probes, {}
        for handled in probes.values():
            handled()

    def _report(self, error: Exception | None) -> None:
        self._owner_lost(tell_loss(self.context, log, self, error))

    @abstractmethod
    def _owner_lost(self, error: Exception | None) -> None:
        """Tell whoever keeps it that it is gone, and why (None: it was closed in order)."""

    def _handshake_late(self) -> None:
        seconds = self.context.config.handshake_timeout
        if isinstance(self.stream, TlsStream) and not self.stream.is_secured:
            self.fail(HandshakeError("timeout", self.peer, "no TLS in time: the peer may speak plaintext"))
        else:
            hint = "" if self.acceptor or self.stream.read_at else f"; it said nothing at all: {MAY_BE}"
            self.fail(HandshakeError("timeout", self.peer, f"no hello within {seconds} s{hint}"))

    def secure_by(self, when: float) -> None:
        """Give TLS until then, in seconds of the loop's clock, and the hello its own time after that."""
        if isinstance(self.stream, TlsStream) and not self.stream.is_secured and not self.stream.closed:
            self._timer.cancel()
            self._timer = self.context.loop.call_at(when, self._handshake_late)

    def _secured(self) -> None:
        """TLS is spoken from now on: what is left is the hello."""
        self._timer.cancel()
        self._timer = self.context.loop.call_later(self.context.config.handshake_timeout, self._handshake_late)

    def _check_certificate(self, node: str) -> None:
        """Refuse a peer that says a name which its certificate, if it has shown one, is not bound to."""
        tls = self.context.tls
        if tls is None or not isinstance(self.stream, TlsStream) or not tls.verifies_name(self.acceptor):
            return
        certificate = self.stream.certificate()
        if certificate is not None and not is_bound(certificate, node):
            raise HandshakeError("certificate", node, f"it is bound to {names_in(certificate)}")

    def _shaken(self) -> None:
        """Both ends know who the other is."""
        self.up = True
        self.context.traffic.shaken(self)
        self.keepalive.peer = self.peer
        self._driver.handle(Start())

    def _say(self, term: object) -> None:
        if not self.closed:
            self.queue.push(self.context.router.codec, term)

    def _control(self, term: object) -> bool:
        """Take a frame that is no plain message; whether it could be taken now."""
        if (
            type(term) is tuple
            and len(term) == 5
            and not self.inbound.holding
            and self.context.acknowledged.received(term, self)
        ):
            return True
        message = keepalive_from_term(term)
        if message is not None:
            self._driver.handle(Received(self.peer, message))
            return True
        greeting = handshake_from_term(term)
        if greeting is not None:
            self._shake(greeting)
        elif self.inbound.holding:
            return False
        else:
            self.context.manager.receive_bare(term, self)
        return True

    @abstractmethod
    def _shake(self, greeting: Handshake) -> None:
        """Take what the peer says of the handshake. Raises HandshakeError to refuse it."""

    def _tell_heard(self) -> None:
        """Tell the keepalive when octets came last: it is not told of every frame."""
        heard_at = self.stream.read_at if self.tap is None else self.tap.heard_at
        self.keepalive.heard(max(heard_at, self.keepalive.last_heard))

    def _keepalive_wants(self, effect: Any) -> None:
        kind = type(effect)
        if kind is Send:
            self._say(keepalive_to_term(effect.message))
        elif kind is Disconnect:
            self.fail(ConnectionLost("timeout", self.peer, effect.reason))
        else:
            self._keepalive_tells(effect.fact)

    def _keepalive_tells(self, fact: object) -> None:
        if isinstance(fact, Probed):
            handled = self._probes.pop(fact.tag, None)  # type: ignore[call-overload]
            if handled is not None:
                handled()
        elif isinstance(fact, Heartbeat):
            self.context.telemetry.emit(
                telemetry.SERVER_HEARTBEAT if self.acceptor else telemetry.CLIENT_HEARTBEAT,
                {"latency": fact.latency},
                {"node": self.peer, "channel": self.channel},
            )
        elif isinstance(fact, Violation):
            self.context.log(log, logging.WARNING, (self.peer, fact.detail), "%s: %s", self, fact.detail)


class AcceptedLink(Link):
    """A connection that a peer dialled: its messages come in here, and only the handshake and pings go out.

    Args:
        lost: callable(link): the connection is gone.
    """

    acceptor = True

    def __init__(self, context: Context, sock: socket.socket, lost: Callable[[AcceptedLink], None]) -> None:
        config = context.config
        queue = SendQueue(
            handshake_bound(context),
            write=self._write,
            schedule=context.router.mark,
            max_frame=config.max_frame_octets,
            quantum=config.write_octets,
        )
        super().__init__(context, sock, None, DEFAULT_CHANNEL, queue)
        self._lost = lost
        proves = context.tls is not None and context.tls.proves_every_dialler()
        if proves or config.allowed_nodes is not None:  # who it is decides whether it may send
            self.inbound.hold()

    def start(self) -> None:
        super().start()
        self._say(handshake_to_term(Hello(self.context.node)))

    def _say(self, term: object) -> None:
        """Answer; a dialler that asks and asks and does not read is given up."""
        if len(self.queue) > UNREAD_OCTETS:
            self.fail(Overloaded(self.peer or "?", self.channel, len(self.queue)))
        else:
            super()._say(term)

    def _shake(self, greeting: Handshake) -> None:
        """The dialler says who it is and what for; it may say so again."""
        if not isinstance(greeting, Hello) or greeting.channel is None:
            raise HandshakeError("malformed", self.peer, "a dialler says hello with its name and a channel")
        allowed = self.context.config.allowed_nodes
        if allowed is not None and greeting.node not in allowed:
            raise HandshakeError("refused", greeting.node, NOT_ALLOWED)
        self._check_certificate(greeting.node)
        if self.peer is not None:
            self.context.manager.undialled_by(self.peer)
        self.peer, self.channel = greeting.node, greeting.channel
        self.inbound.channel = greeting.channel
        self.inbound.expect(None)
        self.keepalive.peer = greeting.node
        self.greet(greeting.node)
        if not self.up:
            self.context.telemetry.emit(
                telemetry.SOCKET_ACCEPT, {"count": 1}, {"node": self.peer, "channel": self.channel}
            )
            self._shaken()
            self._timer.cancel()
        else:
            self.context.traffic.shaken(self)
        self.context.manager.dialled_by(greeting.node)
        self.inbound.release()

    def greet(self, peer: str) -> None:
        """Tell the dialler, of that name, what is known here of the membership; it may be told again."""
        state = self.context.manager.local_state(peer)
        self._say(handshake_to_term(State(self.context.manager.local_tag(), state)))

    def _owner_lost(self, error: Exception | None) -> None:
        if self.peer is not None:
            self.context.manager.undialled_by(self.peer)
        self._lost(self)


class DialledLink(Link):
    """A connection to a peer: our messages go out here.

    Args:
        peer: who must answer, or None to take whoever does.
        channel: what the connection is for.
        options: what the peer's spec says about the channel, or None if that is not known.
        opened: callable(link): the peer has answered as expected, messages may be sent.
        greeted: callable(link, tag, state): the peer has sent its membership state.
        lost: callable(link, error): the connection is gone, or retired.
        released: callable(link): a finished, retired or abandoned connection is gone.
    Attributes:
        owner: whatever the dialer keeps it for.
        address: where it was dialled.
        in_table: whether messages are routed here.
        abandoned: it closes at the peer's hello.
        told: the peer has sent its state.
    """

    def __init__(
        self,
        context: Context,
        sock: socket.socket,
        *,
        peer: str | None,
        channel: str,
        options: ChannelOptions | None,
        opened: Callable[[DialledLink], None],
        greeted: Callable[[DialledLink, str, object], None],
        lost: Callable[[DialledLink, Exception | None], None],
        released: Callable[[DialledLink], None],
    ) -> None:
        self.in_table = False
        self.abandoned = False
        self.told = False
        self._answered = False  # the peer has sent its state
        self.owner: Any = None
        self.address: ListenAddress
        self.opened = opened
        self.greeted = greeted
        self.lost = lost
        self.released = released
        super().__init__(context, sock, peer, channel, self._make_queue(context, channel, options or ChannelOptions()))
        self.inbound.hold()  # who answers may be anybody until its hello says, and is found to be, who was meant

    def _make_queue(self, context: Context, channel: str, options: ChannelOptions) -> SendQueue:
        config = context.config
        bound = handshake_bound(context)  # until the table gives it the one that the channel's connections share
        shared: dict[str, Any] = {
            "write": self._write,
            "schedule": context.router.mark,
            "barrier": self.probe,
            "level": options.compression_level,
            "max_frame": config.max_frame_octets,
            "quantum": config.write_octets,
        }
        ours = config.channels.get(channel, config.channels[DEFAULT_CHANNEL])
        if options.monotonic:
            return MonotonicQueue(bound, send_window=ours.send_window, **shared)
        if ours.queue_policy == "drop_oldest":
            return DroppingQueue(bound, **shared)
        return SendQueue(bound, **shared)

    def _shake(self, greeting: Handshake) -> None:
        if self.abandoned:
            self.close()
            self.released(self)
            return
        if isinstance(greeting, Refused):
            raise HandshakeError("refused", self.peer, "it answered pang")
        if isinstance(greeting, State):
            if not self.up:
                raise HandshakeError("malformed", self.peer, "it sent its state before its name")
            self._timer.cancel()
            self._answered = True
            self.greeted(self, greeting.tag, greeting.state)
            return
        if greeting.node == self.context.node:
            raise HandshakeError("unexpected_peer", greeting.node, "that is this node's own name")
        if self.peer is not None and greeting.node != self.peer:
            raise HandshakeError("unexpected_peer", self.peer, f"{greeting.node} answered")
        self._check_certificate(greeting.node)
        if not self.up:
            self.peer = greeting.node
            self._say(handshake_to_term(Hello(self.context.node, self.channel)))
            self._shaken()
            self.opened(self)
            self.inbound.release()

    @property
    def retired(self) -> bool:
        """Whether it is used no more, but the peer may have octets of it to read."""
        return self.stream.finishing and not self.stream.closed

    def finish(self) -> None:
        """Write what waits, then close our half; who finishes does not hear of it before the release."""
        self._silence()
        if self.tap is not None:
            self.tap.flush()
        self.stream.finish()
        self._wait_for_the_peer()

    def abandon(self) -> None:
        """Close as soon as the peer has said hello; who abandons does not hear of it before the release."""
        self.abandoned = True

    def _give_up(self) -> None:
        """Close our half at once if messages have gone out here; what waits is lost."""
        if not self.in_table:
            self.close()
            return
        self._silence()
        self._count_undelivered(self.stream.retire())
        self._wait_for_the_peer()

    def _wait_for_the_peer(self) -> None:
        """Give the peer time to read, and then to close; as long as it takes octets, it has more time."""
        seconds = self.context.config.handshake_timeout
        self._timer = self.context.loop.call_later(seconds, self._peer_late, self.queue.sent_octets)

    def _peer_late(self, sent: int) -> None:
        if self.queue.sent_octets > sent:
            self._wait_for_the_peer()
            return
        log.warning("%s: the peer has not closed its half in time; a swap is possible", self)
        self.close()
        self.released(self)

    def _stream_lost(self, error: Exception | None, octets: int) -> None:
        if not self.stream.finishing:
            super()._stream_lost(error, octets)
            return
        self._count_undelivered(octets)
        self._settle()
        self.released(self)

    def _owner_lost(self, error: Exception | None) -> None:
        if self.abandoned:
            self.released(self)
            return
        if error is None and not self._answered:
            why = "it did not answer the hello: it may refuse this node's name; its log says why"
            if self.context.tls is not None:
                why += "; mind which node this one's certificate is for"
            error = HandshakeError("closed", self.peer, why)
        self.lost(self, error)
