"""Connections that peers have dialled: accept them, keep them, close them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable

from partisan import telemetry
from partisan.errors import HandshakeError
from partisan.names import DEFAULT_CHANNEL, ListenAddress
from partisan.net.context import Context
from partisan.net.link import NOT_ALLOWED, AcceptedLink, address_of
from partisan.net.listener import Listener, most_connections

log = logging.getLogger(__name__)

PART_AFTER = 1.0
"""Seconds of silence after which what a node has dialled that is wanted no more is closed (ours)."""


class Acceptor:
    """The listeners of a node and the connections that came in through them.

    Args:
        context: the node's.
        addresses: where to listen; port 0 takes a free one.
    Raises:
        ConfigError: an address cannot be bound; then nothing listens.
    """

    def __init__(self, context: Context, addresses: Iterable[ListenAddress]) -> None:
        self._context = context
        self._listeners: list[Listener] = []
        self.links: set[AcceptedLink] = set()
        try:
            for address in addresses:
                self._listeners.append(Listener(context.loop, address, self._accepted, self._exhausted, context.log))
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> tuple[ListenAddress, ...]:
        """Where it really listens."""
        return tuple(listener.address for listener in self._listeners)

    def deafen(self) -> None:
        """Stop listening; accepted connections stay."""
        for listener in self._listeners:
            listener.close()

    def close(self) -> None:
        """Stop listening and close every accepted connection."""
        self.deafen()
        for link in list(self.links):
            link.close()
        self.links.clear()

    def disconnect(self, name: str) -> None:
        """Close the connections that the node has dialled."""
        for link in [link for link in self.links if link.peer == name]:
            link.fail(None)

    def part(self, name: str, unless: Callable[[], bool]) -> None:
        """Close what the node has dialled once all of it is silent; not if `unless` says by then that it is wanted.

        All at once: a node of Partisan that has us for a member replaces one connection while others are open, and
        shakes hands with us as a stranger only where it has none.
        """
        self._context.loop.call_later(PART_AFTER, self._part, name, unless)

    def _part(self, name: str, unless: Callable[[], bool]) -> None:
        links = [link for link in self.links if link.peer == name]
        if not links or unless():
            return
        silent = self._context.loop.time() - PART_AFTER
        if all(link.stream.read_at <= silent for link in links):
            for link in links:
                link.fail(None)
        self.part(name, unless)

    def check_allowed(self) -> None:
        """Close the connections of nodes that may not connect any more, and hear nobody who has not said its name."""
        allowed = self._context.config.allowed_nodes
        if allowed is not None:
            for link in list(self.links):
                if link.peer is None:
                    link.inbound.hold()
                elif link.peer not in allowed:
                    link.fail(HandshakeError("refused", link.peer, NOT_ALLOWED))

    def _refuse(self, sock: socket.socket, limit: int) -> None:
        address = address_of(sock)
        sock.close()
        context = self._context
        why = "max_connections" if limit == context.config.max_connections else "descriptors"
        kind = (why, address.rpartition(":")[0])
        context.log(log, logging.WARNING, kind, "%s refuses a connection: it has %d (%s)", context.node, limit, why)
        self._tell_error(address, why)

    def _exhausted(self) -> None:
        # Who knocks is not known before there is a descriptor for it.
        self._tell_error("?", "descriptors")

    def _tell_error(self, address: str, error: str) -> None:
        about = {"node": None, "channel": DEFAULT_CHANNEL, "acceptor": True, "address": address, "error": error}
        self._context.telemetry.emit(telemetry.SOCKET_ERROR, {"count": 1}, about)

    def _accepted(self, sock: socket.socket) -> None:
        limit = most_connections(self._context.config.max_connections)
        if len(self.links) >= limit:
            self._refuse(sock, limit)
            return
        try:
            link = AcceptedLink(self._context, sock, self.links.discard)
        except OSError as error:  # the peer has gone between its knock and now
            sock.close()
            log.debug("%s lost a connection as it came: %s", self._context.node, error)
            return
        self.links.add(link)
        link.start()
