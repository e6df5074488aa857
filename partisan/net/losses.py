"""What is logged, and told as events, when a connection ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from partisan import telemetry
from partisan.errors import ConnectionLost, HandshakeError, PartisanError
from partisan.net.tls import explained

if TYPE_CHECKING:
    from partisan.net.context import Context


class Lost(Protocol):
    """A connection, of whatever wire, as `net.traffic.Link` describes it; `up` tells whether it was usable."""

    peer: str | None
    address_text: str
    up: bool

    @property
    def acceptor(self) -> bool:
        """Whether the peer has dialled."""

    @property
    def channel(self) -> str:
        """What it is for."""


def tell_loss(context: Context, log: logging.Logger, link: Lost, error: Exception | None) -> Exception | None:
    """Log how a connection ended, and tell who listens to events.

    Args:
        error: why; None if the peer has closed it.
    Returns:
        Why it ended, as its owner is to hear it: None if that was in order.
    """
    if error is None:
        return None if link.up else HandshakeError("closed", link.peer)
    if not link.up:
        error = explained(error, link.peer)
    about = {
        "node": link.peer,
        "channel": link.channel,
        "acceptor": link.acceptor,
        "address": link.address_text,
        "error": error,
    }
    # What a dialler is called and which port it has, it may vary at will: not so its host.
    kind = (link.address_text.rpartition(":")[0] if link.acceptor else link.peer, type(error))
    if _is_harmless(error):
        context.log(log, logging.INFO, kind, "%s: %s", link, error)
    elif isinstance(error, PartisanError):
        context.log(log, logging.WARNING, kind, "%s: %s", link, error)
        context.telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, about)
    elif not isinstance(error, OSError):
        context.log(log, logging.ERROR, kind, "%s failed", link, error=error)
    context.telemetry.emit(telemetry.SOCKET_ERROR, {"count": 1}, about)
    return error


def _is_harmless(error: Exception) -> bool:
    """Whether the peer has said nothing wrong: we gave the connection up, or its counterpart takes its place."""
    return isinstance(error, ConnectionLost) or (isinstance(error, HandshakeError) and error.reason == "simultaneous")
