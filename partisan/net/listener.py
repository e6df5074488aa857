"""Listening sockets: accept connections and hand them on.

A burst of connections is accepted a few at a time, so that other sockets get their turn. When descriptors run out the
listener rests and tries again; above `most_connections` a connection is accepted and closed at once, and counted.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Callable

from partisan.errors import ConfigError
from partisan.names import ListenAddress
from partisan.throttle import ThrottledLog

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 64
"""Connections accepted in one loop turn at most (ours)."""

REST = 0.5
"""Seconds without accepting after descriptors or memory ran out (ours)."""

RESERVE = 64
"""Descriptors that accepted connections leave to the node's own dialling and to the rest of the process (ours)."""

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def most_connections(configured: int) -> int:
    """How many connections may be accepted: as configured, or fewer if the process may not have the descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return configured
    return min(configured, max(soft - RESERVE, soft // 2))


class Listener:
    """One listening socket.

    Args:
        loop: the node's.
        address: where; port 0 takes a free one.
        accepted: callable(socket): a new connection, non-blocking.
        exhausted: callable(): descriptors or memory ran out, and it rests.
        throttled: logs that it has to rest.
    Raises:
        ConfigError: the address cannot be bound.
    Attributes:
        address: where it really listens.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: ListenAddress,
        accepted: Callable[[socket.socket], None],
        exhausted: Callable[[], None],
        throttled: ThrottledLog,
        *,
        backlog: int = 4096,
    ) -> None:
        self._loop = loop
        self._accepted = accepted
        self._exhausted = exhausted
        self._log = throttled
        self._resting: asyncio.TimerHandle | None = None
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sock.bind((address.host, address.port))
            self._sock.listen(backlog)
        except OSError as error:
            self._sock.close()
            raise ConfigError("listen_addrs", f"cannot listen on {address}: {error.strerror}") from error
        self._sock.setblocking(False)
        self.address = ListenAddress(address.host, self._sock.getsockname()[1])
        loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                why = (self.address, REST, error.strerror)
                self._log(log, logging.WARNING, error.errno, "%s cannot accept connections for %s s: %s", *why)
                self._loop.remove_reader(self._sock.fileno())
                self._resting = self._loop.call_later(REST, self._resume)
                self._exhausted()
                return
            sock.setblocking(False)
            self._accepted(sock)

    def _resume(self) -> None:
        self._resting = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening; accepted connections stay."""
        if self._sock.fileno() < 0:
            return
        if self._resting is not None:
            self._resting.cancel()
        else:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
