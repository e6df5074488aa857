"""One connection of the distribution: handshake, ticks, and what it says to each side.

Its octets take the way of every other connection: a stream between a send queue and a frame reader, of which both are
the distribution's own. Once the handshake is done the queue stands in the node's connection table, so `send()` finds it
there as it finds those of Partisan's wire.
"""

from __future__ import annotations

import logging
import socket
from typing import Any, Protocol

from partisan import telemetry
from partisan._core.connections import ConnectionTable
from partisan._core.distin import DistIn
from partisan._core.distqueue import DistQueue
from partisan._core.stream import Stream
from partisan.config_distribution import Distribution
from partisan.dist.control import Control, read
from partisan.dist.flags import Flag
from partisan.dist.handshake import Established, Exchange, Handshake
from partisan.dist.ticks import Moved, Ticks, TicksConfig
from partisan.errors import ConnectionLost, HandshakeError, PartisanError
from partisan.etf import Codec, Pid
from partisan.machines.machine import Disconnect, Send, Start
from partisan.names import DEFAULT_CHANNEL
from partisan.net.certificates import TlsMaterial, is_bound, names_in
from partisan.net.context import Context
from partisan.net.driver import Driver
from partisan.net.link import address_of, handshake_bound
from partisan.net.losses import tell_loss
from partisan.net.tls import TlsStream, explained

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Who keeps the connections."""

    def taking(self, link: DistLink) -> None:
        """The handshake is done: what connection there was to the node is given up."""

    def up(self, link: DistLink) -> None:
        """It is in the table."""

    def down(self, link: DistLink, error: Exception | None) -> None:
        """It is gone: `link.up` tells whether it was usable before."""

    def control(self, link: DistLink, message: Control) -> None:
        """A control message has come. Raises FrameError to end the connection."""


class DistLink:
    """One connection.

    Args:
        context: the node's.
        table: its connections.
        options: of the distribution.
        codec: with the node's atom and creation.
        sock: connected, non-blocking; owned from now on.
        exchange: the handshake, as who has dialled or as who has been.
        owner: hears of what happens.
        dialled: the node that must answer; None if it has dialled us.
        tls: what TLS needs; None without.
    Attributes:
        peer: the node at the other end: once that is known.
        up: the handshake was done: it is in the connection table until it is closed.
        flags: what both can do.
        published: whether the peer is no hidden node.
        acceptor: whether the peer has dialled.
        address_text: where the other end is, as ip:port.
    """

    channel = DEFAULT_CHANNEL

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        options: Distribution,
        codec: Codec,
        sock: socket.socket,
        exchange: Exchange,
        owner: Owner,
        dialled: str | None,
        tls: TlsMaterial | None = None,
    ) -> None:
        self.peer = dialled
        self.acceptor = dialled is None
        self.address_text = address_of(sock)
        self.up = False
        self.flags = Flag(0)
        self.published = False
        self.creation = 0
        self._context = context
        self._table = table
        self._options = options
        self._owner = owner
        self._tls = tls
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._handshake = Handshake(exchange, head=2 if tls is None else 4)
        self._stream = self._make_stream(sock, tls)
        self._failing = self._removed = False
        self._bound = handshake_bound(context)
        limit = context.config.max_frame_octets
        self.queue = DistQueue(
            self._bound,
            codec=codec,
            outside=context.router.outside,
            write=self._stream.write,
            schedule=context.router.mark,
            max_frame=limit,
        )
        self.inbound = DistIn(
            context.slab,
            limit,
            router=context.router,
            codec=codec,
            link=self,
            control=self._control,
            max_sequences=options.max_sequences,
        )
        self.inbound.handshake = self._shake
        self._timer = context.loop.call_later(options.setup_timeout, self._late)
        self._ticks: Driver | None = None

    def __repr__(self) -> str:
        return f"<DistLink {self._context.node} {self.peer}>"

    @property
    def name(self) -> str:
        """The peer's name; "?" while it has not said it."""
        return self.peer or "?"

    def has(self, flag: Flag) -> bool:
        """Whether both can do this."""
        return bool(self.flags & flag)

    def is_past(self, pid: Pid) -> bool:
        """Whether a pid is of a former life of the peer: it takes a signal to one for an error of ours."""
        return pid.creation not in (0, self.creation)

    @property
    def closed(self) -> bool:
        """Whether nothing more comes or goes."""
        return self._stream.closed

    def _make_stream(self, sock: socket.socket, tls: TlsMaterial | None) -> Stream | TlsStream:
        context = self._context
        shared: dict[str, Any] = {"quantum": context.config.read_octets, "lost": self._lost, "refused": self.fail}
        if tls is None:
            return Stream(context.loop, sock, **shared)
        return TlsStream(context.loop, sock, material=tls, acceptor=self.acceptor, secured=lambda: None, **shared)

    def start(self) -> None:
        """Begin to read, and to say what is to be said first."""
        self._context.traffic.opened(self)
        self._stream.start(self.inbound, self.queue)
        self._say()

    def retune(self) -> None:
        """The options of pings have changed, of which there are none here."""

    def _say(self) -> None:
        if self._handshake.out and not self.closed:
            self.queue.say(bytes(self._handshake.out))
            self._handshake.out.clear()

    def _shake(self, octets: bytes) -> bytes | None:
        """Take octets of the handshake; those behind it once it is done."""
        self._handshake.receive(octets)
        self._say()
        if self._handshake.error is not None:
            self._stream.write()  # what is said to who is refused
            raise self._handshake.error
        if self._handshake.result is None:
            return None
        self._begin(self._handshake.result)
        return self._handshake.rest

    def _begin(self, result: Established) -> None:
        """The handshake is done."""
        self._check_certificate(result.peer)
        self._timer.cancel()
        self.peer, self.flags, self.published, self.creation = (
            result.peer,
            result.flags,
            result.published,
            result.creation,
        )
        headers = self.has(Flag.DIST_HDR_ATOM_CACHE)
        self.queue.agree(
            headers=headers,
            fragments=self.has(Flag.FRAGMENTS),
            senders=self.has(Flag.SEND_SENDER),
            aliases=self.has(Flag.ALIAS),
        )
        self.inbound.headers = headers
        self.inbound.channel = DEFAULT_CHANNEL
        self._owner.taking(self)
        self._bound = self._table.lane(self.peer, DEFAULT_CHANNEL).bound
        self.queue.rebind(self._bound)
        self._table.add(self.peer, DEFAULT_CHANNEL, self.queue)
        self.up = True
        self._context.traffic.shaken(self)
        self._ticks = Driver(
            Ticks(
                self._context.node,
                TicksConfig(self._options.net_ticktime, self._options.net_tickintensity),
                self._context.rng,
                peer=self.peer,
            ),
            self._context.loop,
            {
                Send: lambda effect: self.queue.tick(),
                Disconnect: lambda effect: self.fail(ConnectionLost("timeout", self.peer, effect.reason)),
            },
            before_timeout=self._tell_moved,
        )
        self._ticks.handle(Start())
        self._owner.up(self)

    def _check_certificate(self, node: str) -> None:
        """Refuse a peer that says a name to which the certificate that it has shown is not bound."""
        if self._tls is None or not isinstance(self._stream, TlsStream) or not self._tls.verifies_name(self.acceptor):
            return
        certificate = self._stream.certificate()
        if certificate is not None and not is_bound(certificate, node):
            raise HandshakeError("certificate", node, f"it is bound to {names_in(certificate)}")

    def _tell_moved(self) -> None:
        assert self._ticks is not None  # its own timer
        self._ticks.handle(Moved(self.inbound.received_octets, self.queue.sent_octets))

    def _control(self, term: tuple[Any, ...], payload: Any, has_payload: bool) -> None:
        if not self.closed:
            self._owner.control(self, read(term, payload, has_payload=has_payload))

    def _late(self) -> None:
        self.fail(HandshakeError("timeout", self.peer, f"no handshake within {self._options.setup_timeout} s"))

    def tell(self, control: tuple[Any, ...], *payload: Any, sender: Pid | None = None) -> None:
        """Queue a control message; nothing if the connection is lost: its loss tells the same. Raises EncodeError.

        No bound refuses it, for it may not be lost. A peer that does not read what it has asked for is given up.
        """
        if self.closed or not self.up:
            return
        self.queue.tell(control, *payload, sender=sender)
        limit = 2 * self._bound.hard_limit + self._context.config.max_frame_octets
        if self._bound.queued_octets > limit and not self._failing:
            self._failing = True
            error = ConnectionLost("overloaded", self.peer, f"{self._bound.queued_octets} octets wait for it")
            self._context.loop.call_soon(self.fail, error)  # whoever tells is in the midst of something

    def close(self) -> None:
        """Close at once; who closes does not hear of it."""
        self._count_undelivered(self._stream.close())
        self._settle()

    def fail(self, error: Exception | None) -> None:
        """Close because of an error (None: in order), and tell the owner."""
        if not self._stream.closed:
            self._lost(error, self._stream.close())

    def _lost(self, error: Exception | None, octets: int) -> None:
        self._settle()
        self._count_undelivered(octets)
        self._owner.down(self, tell_loss(self._context, log, self, error))

    def _count_undelivered(self, octets: int) -> None:
        if octets and self.up:
            self._context.telemetry.tell_queue(
                telemetry.QUEUE_UNDELIVERED, self.peer, self.channel, count=0, octets=octets, side="sender"
            )

    def _settle(self) -> None:
        """Nothing happens on this connection any more; said again, it changes nothing."""
        self._timer.cancel()
        if self._ticks is not None:
            self._ticks.stop()
        self._context.traffic.closed(self)
        if self.up and self.peer is not None and not self._removed:
            self._removed = True
            self._table.remove(self.peer, DEFAULT_CHANNEL, self.queue)
