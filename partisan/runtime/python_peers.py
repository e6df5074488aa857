"""What a node does with the Python nodes among its peers: payloads in msgpack on the channels that ask for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from partisan._core.connections import ConnectionTable
from partisan.errors import NotConnected, Overloaded
from partisan.etf import Atom
from partisan.net.context import Context
from partisan.runtime.extras import NAME, OVER_RELAYS, Extras
from partisan.runtime.payload import PayloadCodec
from partisan.wire.acknowledged import CAPABILITY, KEPT
from partisan.wire.atom import malformed

if TYPE_CHECKING:
    from partisan.net.link import Link

log = logging.getLogger(__name__)

MSGPACK = "msgpack"
"""The capability, and the tag of `{msgpack, Target, Octets}`, in which Target stands as in a plain frame."""

AGAIN, LAST = 5.0, 80.0
"""Seconds until it is offered again to a peer that is there by relays and has told nothing; twice as many each time, up
to the last (ours)."""

_MSGPACK = Atom(MSGPACK)
_NONE: frozenset[str] = frozenset()


class Handler(Protocol):
    """Takes the messages of one extra."""

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take a message that has the extra's name as its tag. Raises MalformedMessage."""

    def agreed(self, node: str, may: bool) -> None:
        """Whether the extra may be used towards the node."""


class PythonPeers:
    """The extras of one node, between its overlay and its connection table.

    Args:
        context: the node's.
        table: its connections.
        manager: the name of the peers' managers: what is for them is never anything but plain Partisan.
        handlers: further extras by their capability.
    """

    wire_name = NAME

    def __init__(self, context: Context, table: ConnectionTable, manager: str, handlers: Mapping[str, Handler]) -> None:
        self._context = context
        self._table = table
        self._plain = frozenset((Atom(manager), Atom(NAME)))
        self._codec = PayloadCodec(context.router.codec)
        self._channels = self._wanted()
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}
        self._reminders: dict[str, asyncio.TimerHandle] = {}  # for far nodes that have told nothing yet
        self._extras = Extras(
            context.node,
            send=self._send,
            handlers={
                MSGPACK: self._payload,
                CAPABILITY: context.acknowledged.acked_many,
                KEPT: context.acknowledged.relayed,
                **{name: handler.receive for name, handler in handlers.items()},
            },
            agreed=self._agreed,
            wanted=True,
        )
        self._handlers = handlers
        self.receive = self._extras.receive

    def retune(self) -> None:
        """The options of the channels have changed: use msgpack on those that ask for it, with whom has agreed."""
        former, self._channels = self._channels, self._wanted()
        for node in self._extras.peers():
            for channel in set(former) - set(self._channels):
                self._table.lane(node, channel).envelope = None
            self._agreed(node, self._extras.agreed(node))
        if self._channels:
            self._extras.want()

    def _wanted(self) -> list[str]:
        return [name for name, channel in self._context.config.channels.items() if channel.payload == MSGPACK]

    def edge(self, node: str, up: bool) -> None:
        """The overlay's edge to the node has become usable, or no longer is."""
        if up or not self._table.has_own(node):  # else it lives on under another spec
            self._extras.edge(node, up)
            if not up:
                self._let_go(node)
            elif not self._extras.agreed(node):
                self._remind(node, AGAIN)

    def _remind(self, node: str, seconds: float) -> None:
        """Offer again later what a far node, or its answer, may have missed."""
        self._stop_reminding(node)
        self._reminders[node] = self._context.loop.call_later(seconds, self._again, node, seconds)

    def _again(self, node: str, seconds: float) -> None:
        del self._reminders[node]
        if not self._table.has_own(node):
            self._extras.offer_again(node)
            if seconds < LAST:
                self._remind(node, 2 * seconds)

    def _stop_reminding(self, node: str) -> None:
        timer = self._reminders.pop(node, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Offer nothing any more."""
        for node in list(self._reminders):
            self._stop_reminding(node)

    def near(self, node: str, up: bool) -> None:
        """There is a connection to the node, or none any more: use what is about connections, or cease to."""
        agreed = self._extras.agreed(node)
        if agreed and (up or not self._table.has_own(node)):
            self._use(node, agreed)
        if up:
            self._extras.offer_again(node)
        elif not agreed and node in self._extras.peers():
            self._remind(node, AGAIN)

    def has(self, node: str) -> bool:
        """Whether the node has said that it runs this package."""
        return bool(self._extras.agreed(node))

    async def agreement(self, node: str, timeout: float) -> None:
        """Return when extras are agreed with the node, or after so many seconds."""
        if self._extras.agreed(node):
            return
        waiter: asyncio.Future[None] = self._context.loop.create_future()
        self._waiters.setdefault(node, {})[waiter] = None
        try:
            await asyncio.wait([waiter], timeout=timeout)
        finally:
            waiters = self._waiters.get(node, {})
            waiters.pop(waiter, None)
            if not waiters:
                self._waiters.pop(node, None)

    def _agreed(self, node: str, capabilities: frozenset[str]) -> None:
        self._let_go(node)
        self._use(node, capabilities)
        log.info("%s and %s agree on %s", self._context.node, node, ", ".join(sorted(capabilities)) or "nothing")

    def _use(self, node: str, capabilities: frozenset[str]) -> None:
        """Use what is agreed, but what is about connections only while there are any."""
        connected = capabilities if self._table.has_own(node) else _NONE
        if node in self._table.peers:
            envelope = self._envelope if MSGPACK in connected else None
            for channel in self._channels:
                self._table.lane(node, channel).envelope = envelope
        self._context.acknowledged.agreed(node, CAPABILITY in connected, KEPT in capabilities)
        for name, handler in self._handlers.items():
            handler.agreed(node, name in (capabilities if name in OVER_RELAYS else connected))

    def _let_go(self, node: str) -> None:
        self._stop_reminding(node)
        for waiter in self._waiters.pop(node, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _envelope(self, target: Any, message: object) -> tuple[Any, ...] | None:
        """What is sent instead of a message; None for those that go plainly."""
        if target in self._plain:
            return None
        return (_MSGPACK, target, self._codec.encode(message))

    def _payload(self, message: tuple[Any, ...], link: Link) -> None:
        if len(message) != 3:
            malformed(NAME, message)
        self._context.router.deliver(message[1], self._codec.decode(message[2]), link.inbound)

    def _send(self, node: str, message: tuple[Any, ...]) -> None:
        try:
            self._context.router.send((NAME, node), message)
        except (NotConnected, Overloaded) as error:
            log.info("%s agrees on nothing with %s: %s", self._context.node, node, error)
