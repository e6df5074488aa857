"""Tell subscribers what happens in a node: named events with measurements and metadata, as BEAM's telemetry does.

Each node has one `Telemetry`. A subscriber attaches to an event or to everything below a prefix; it runs inside the
emitter, so it should be short. What it raises is logged once and detaches it: observers never disturb the observed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from .errors import LocalProtocolError

__all__ = ["EVENTS", "Handler", "Telemetry", "log_events"]

logger = logging.getLogger(__name__)

Handler = Callable[[str, Mapping[str, Any], Mapping[str, Any]], object]
"""A subscriber: takes the event's name, its measurements and its metadata; what it returns is ignored."""

CHANNEL_CONFIGURED: Final = "partisan.channel.configured"
CLIENT_HEARTBEAT: Final = "partisan.connection.client.heartbeat"
SERVER_HEARTBEAT: Final = "partisan.connection.server.heartbeat"
CONNECTION_COUNT: Final = "partisan.connection.count"
CONNECTION_MONITORS: Final = "partisan.connection.monitors"
CONNECTION_OUTSTANDING: Final = "partisan.connection.outstanding"
PEER_JOIN: Final = "partisan.membership.peer.join"
PEER_LEAVE: Final = "partisan.membership.peer.leave"
PEER_UP: Final = "partisan.membership.peer.up"
PEER_DOWN: Final = "partisan.membership.peer.down"
PEER_CHANNEL_UP: Final = "partisan.membership.peer.channel.up"
PEER_CHANNEL_DOWN: Final = "partisan.membership.peer.channel.down"
SOCKET_OPEN: Final = "partisan.socket.open"
SOCKET_CONNECT: Final = "partisan.socket.connect"
SOCKET_ACCEPT: Final = "partisan.socket.accept"
SOCKET_CLOSE: Final = "partisan.socket.close"
SOCKET_ERROR: Final = "partisan.socket.error"
SOCKET_SEND: Final = "partisan.socket.send"
SOCKET_RECV: Final = "partisan.socket.recv"
QUEUE_HIGH_WATER: Final = "partisan.queue.high_water"
QUEUE_DROPPED: Final = "partisan.queue.dropped"
QUEUE_DELIVERED: Final = "partisan.queue.delivered"
QUEUE_UNDELIVERED: Final = "partisan.queue.undelivered"
QUEUE_RETRANSMITTED: Final = "partisan.queue.retransmitted"
QUEUE_UNACKNOWLEDGED: Final = "partisan.queue.unacknowledged"
FRAME_REJECTED: Final = "partisan.frame.rejected"
LONG_SCHEDULE: Final = "partisan.process.long_schedule"
LARGE_MAILBOX: Final = "partisan.process.large_mailbox"

# What an operator wants to see without asking, what concerns one debugging, and what means that something went wrong.
_STATE, _TRAFFIC, _TROUBLE = logging.INFO, logging.DEBUG, logging.WARNING

EVENTS: Final[Mapping[str, int]] = {
    CHANNEL_CONFIGURED: _TRAFFIC,
    CLIENT_HEARTBEAT: _TRAFFIC,
    SERVER_HEARTBEAT: _TRAFFIC,
    CONNECTION_COUNT: _TRAFFIC,
    CONNECTION_MONITORS: _TRAFFIC,
    CONNECTION_OUTSTANDING: _TRAFFIC,
    PEER_JOIN: _STATE,
    PEER_LEAVE: _STATE,
    PEER_UP: _STATE,
    PEER_DOWN: _STATE,
    PEER_CHANNEL_UP: _STATE,
    PEER_CHANNEL_DOWN: _STATE,
    SOCKET_OPEN: _TRAFFIC,
    SOCKET_CONNECT: _TRAFFIC,
    SOCKET_ACCEPT: _TRAFFIC,
    SOCKET_CLOSE: _TRAFFIC,
    SOCKET_ERROR: _TROUBLE,
    SOCKET_SEND: _TRAFFIC,
    SOCKET_RECV: _TRAFFIC,
    QUEUE_HIGH_WATER: _TROUBLE,
    QUEUE_DROPPED: _TROUBLE,
    QUEUE_DELIVERED: _TRAFFIC,
    QUEUE_UNDELIVERED: _TROUBLE,
    QUEUE_RETRANSMITTED: _TRAFFIC,
    QUEUE_UNACKNOWLEDGED: _TRAFFIC,
    FRAME_REJECTED: _TROUBLE,
    LONG_SCHEDULE: _TROUBLE,
    LARGE_MAILBOX: _TROUBLE,
}
"""Every event, and the level at which `log_events` logs it."""

_NOTHING: Final[Mapping[str, Any]] = {}


class Telemetry:
    """The events of one node, and who listens to them.

    An emitter whose facts cost something to gather asks first: `if telemetry.wants(SOCKET_SEND): telemetry.emit(...)`,
    and otherwise says `telemetry.count(SOCKET_SEND)`, so that the counters are right whoever listens.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[str, Handler]] = {}  # handler id -> its prefix and function
        self._routes: dict[str, tuple[tuple[str, Handler], ...]] = dict.fromkeys(EVENTS, ())
        self._counts: dict[str, int] = dict.fromkeys(EVENTS, 0)

    def attach(self, handler_id: str, event_prefix: str, function: Handler) -> None:
        """Call `function` for the event named, or for every event below the prefix, from now on.

        Args:
            handler_id: what `detach` will name it by; unique in this node.
            event_prefix: a whole event, or leading parts of some, as "partisan.socket" or "partisan".
        Raises:
            LocalProtocolError: the handler id is taken, or no event has this prefix.
        """
        if handler_id in self._handlers:
            raise LocalProtocolError(f"a telemetry handler {handler_id!r} is attached already")
        if not any(_below(event, event_prefix) for event in EVENTS):
            raise LocalProtocolError(f"no telemetry event is named or begins with {event_prefix!r}")
        self._handlers[handler_id] = (event_prefix, function)
        self._route()

    def detach(self, handler_id: str) -> bool:
        """Stop calling the handler; return False if there is none (it may have been detached for raising)."""
        found = self._handlers.pop(handler_id, None)
        self._route()
        return found is not None

    def wants(self, event: str) -> bool:
        """Return whether anybody listens to the event."""
        return bool(self._routes[event])

    def emit(
        self, event: str, measurements: Mapping[str, Any] = _NOTHING, metadata: Mapping[str, Any] = _NOTHING
    ) -> None:
        """Count the event once and tell its subscribers, in the order in which they were attached.

        Args:
            event: one of `EVENTS`; KeyError otherwise.
            measurements: numbers; times in seconds, sizes in octets.
            metadata: what they are about, as node, channel or reason.
        """
        self._counts[event] += 1
        for handler_id, function in self._routes[event]:
            try:
                function(event, measurements, metadata)
            except Exception:
                logger.exception("telemetry handler %r raised at %s and is detached", handler_id, event)
                self.detach(handler_id)

    def count(self, event: str, times: int = 1) -> None:
        """Count the event without telling anybody."""
        self._counts[event] += times

    def counters(self) -> dict[str, int]:
        """Return how often each event has happened since the node was made; events that never did are left out."""
        return {event: times for event, times in self._counts.items() if times}

    def _route(self) -> None:
        self._routes = {
            event: tuple((key, function) for key, (prefix, function) in self._handlers.items() if _below(event, prefix))
            for event in EVENTS
        }


def _below(event: str, prefix: str) -> bool:
    return event == prefix or event.startswith(f"{prefix}.")


def log_events(telemetry: Telemetry, target: logging.Logger = logger, handler_id: str = "log") -> None:
    """Log every event from now on: changes of state at INFO, traffic at DEBUG, trouble at WARNING."""

    def log(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        level = EVENTS[event]
        if target.isEnabledFor(level):
            facts = " ".join(f"{key}={value}" for key, value in {**measurements, **metadata}.items())
            target.log(level, "%s %s", event, facts)

    telemetry.attach(handler_id, "partisan", log)
