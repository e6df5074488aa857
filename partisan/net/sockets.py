"""What every connected socket is set to."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from partisan.config import PingConfig


def tune(sock: socket.socket, ping: PingConfig) -> None:
    """Send small frames at once, and let the system give a peer up that does not acknowledge what it is sent.

    Its patience is the keepalive's: a node that sends all the time and hears nothing of it would otherwise wait for the
    retransmissions of TCP to end, which takes a quarter of an hour. Where the system lacks the option, the pings alone
    find a silent peer. Raises OSError if the socket is not connected any more.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if ping.enabled and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * patience(ping)))


async def connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, host: str, port: int) -> None:
    """Connect a non-blocking socket to a numeric address.

    The loop's own `sock_connect` would ask the resolver about the address, in a thread under uvloop. Raises OSError.
    """
    code = sock.connect_ex((host, port))
    if code == errno.EINPROGRESS:
        writable = loop.create_future()
        loop.add_writer(sock.fileno(), _resolve, writable)
        try:
            await writable
        finally:
            loop.remove_writer(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def patience(ping: PingConfig) -> float:
    """Seconds of silence after which the keepalive gives a peer up."""
    return ping.idle_timeout + ping.timeout * ping.max_attempts
