"""Tell subscribers what happens in a node: named events with measurements and metadata, as BEAM's telemetry does.

Each node has one `Telemetry`. A subscriber attaches to an event or to everything below a prefix; it runs inside the
emitter, so it should be short. What it raises is logged once and detaches it: observers never disturb the observed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .errors import LocalProtocolError
from .throttle import ThrottledLog

__all__ = ["EVENTS", "SAMPLED", "About", "Handler", "Telemetry", "log_events"]

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
REQUEST_REFUSED: Final = "partisan.request.refused"
CAUSAL_REFUSED: Final = "partisan.causal.refused"
CAUSAL_GIVEN_UP: Final = "partisan.causal.given_up"
CAUSAL_MISSING: Final = "partisan.causal.missing"
FRAME_REJECTED: Final = "partisan.frame.rejected"
DISCOVERY_LOOKUP: Final = "partisan.discovery.lookup"
DISCOVERY_SKIPPED: Final = "partisan.discovery.skipped"
DISCOVERY_ERROR: Final = "partisan.discovery.error"
LONG_SCHEDULE: Final = "partisan.process.long_schedule"
LARGE_MAILBOX: Final = "partisan.process.large_mailbox"

# What an operator wants to see without asking, what concerns one debugging, and what means that something went wrong.
_STATE, _TRAFFIC, _TROUBLE = logging.INFO, logging.DEBUG, logging.WARNING


@dataclass(frozen=True, slots=True)
class About:
    """What is known of an event.

    Attributes:
        level: at which `log_events` logs it.
        when: the occasion.
        measurements: name -> unit.
        metadata: name -> what it is.
    """

    level: int
    when: str
    measurements: Mapping[str, str]
    metadata: Mapping[str, str]


_COUNT = {"count": "always 1"}
_NODE = {"node": "name of the peer"}
_LANE = {**_NODE, "channel": "name of the channel"}
_MESSAGES = {"count": "messages", "octets": "octets"}
_ACCEPTOR = {"acceptor": "whether the peer dialled"}
_ADDRESS = {"address": "of the other end, as ip:port"}
_ERROR = {"error": "what is wrong: an exception, or words"}
_BACKEND = {"backend": "`peer_discovery.type`"}
_PROCESS = {"process": "its pid", "name": "the name of its function"}

EVENTS: Final[Mapping[str, About]] = {
    CHANNEL_CONFIGURED: About(
        _TRAFFIC,
        "a node starts, for each channel; and for each channel that `reconfigure` changes",
        {"max": "connections: the parallelism"},
        {"channel": "name of the channel", "options": "its `ChannelConfig`"},
    ),
    CLIENT_HEARTBEAT: About(
        _TRAFFIC, "a ping on a connection that this node dialled is answered", {"latency": "s"}, _LANE
    ),
    SERVER_HEARTBEAT: About(
        _TRAFFIC, "a ping on a connection that the peer dialled is answered", {"latency": "s"}, _LANE
    ),
    CONNECTION_COUNT: About(
        _TRAFFIC,
        "a connection has shaken hands, or one that had is closed",
        {"count": "connections of this peer and direction", "total": "connections of all peers, both directions"},
        {**_NODE, **_ACCEPTOR},
    ),
    CONNECTION_MONITORS: About(
        _TRAFFIC, "every interval", {"count": "monitors that this node holds of processes and nodes elsewhere"}, {}
    ),
    CONNECTION_OUTSTANDING: About(
        _TRAFFIC,
        "every interval, for each channel on which something waits to be sent; and once when nothing does any more",
        {"octets": "octets that wait now"},
        _LANE,
    ),
    PEER_JOIN: About(_STATE, "a node has become a member", _COUNT, _NODE),
    PEER_LEAVE: About(_STATE, "a node is a member no more", _COUNT, _NODE),
    PEER_UP: About(_STATE, "the overlay's edge to a peer is usable", _COUNT, _NODE),
    PEER_DOWN: About(_STATE, "the overlay's edge to a peer is usable no more", _COUNT, _NODE),
    PEER_CHANNEL_UP: About(
        _STATE, "the first connection of a channel to a peer is up: messages take it", _COUNT, _LANE
    ),
    PEER_CHANNEL_DOWN: About(_STATE, "the last connection of a channel to a peer is used no more", _COUNT, _LANE),
    SOCKET_OPEN: About(
        _TRAFFIC, "a connection is open, its handshake still to come", _COUNT, {**_ACCEPTOR, **_ADDRESS}
    ),
    SOCKET_CONNECT: About(
        _TRAFFIC, "a dialled connection is established", _COUNT, {"channel": "name of the channel", **_ADDRESS}
    ),
    SOCKET_ACCEPT: About(_TRAFFIC, "a peer that dialled has said its name", _COUNT, _LANE),
    SOCKET_CLOSE: About(
        _TRAFFIC,
        "a connection that was open is closed; as many as were opened",
        _COUNT,
        {**_LANE, **_ACCEPTOR, **_ADDRESS},
    ),
    SOCKET_ERROR: About(
        _TROUBLE,
        "a connection fails, cannot be made, or is refused: with the error `max_connections`, or `descriptors` where "
        "the process may not have as many (address `?`: it could not even accept)",
        _COUNT,
        {**_LANE, **_ACCEPTOR, **_ADDRESS, **_ERROR},
    ),
    SOCKET_SEND: About(
        _TRAFFIC,
        "every interval, for each peer and channel to which the sockets took something",
        {"octets": "octets that the sockets took", "frames": "frames accepted for sending, without those discarded"},
        _LANE,
    ),
    SOCKET_RECV: About(
        _TRAFFIC,
        "every interval, for each peer and channel from which something came",
        {"octets": "octets", "frames": "whole frames"},
        _LANE,
    ),
    QUEUE_HIGH_WATER: About(
        _TROUBLE,
        "what waits for a peer on a channel has passed high water, or is down to half of it",
        {"octets": "octets that wait"},
        {**_LANE, "over": "whether high water is passed"},
    ),
    QUEUE_DROPPED: About(
        _TROUBLE,
        "every interval, for each channel on which messages that waited were dropped: by its policy, or for want of a "
        "connection (side `sender`); and that mailboxes bounded by `max_mailbox` have lost messages (side `receiver`, "
        "which has neither node, channel nor octets)",
        _MESSAGES,
        {**_LANE, "side": "`sender` or `receiver`"},
    ),
    QUEUE_DELIVERED: About(
        _TRAFFIC,
        "a peer has acknowledged messages (side `sender`); every interval, that messages were put into mailboxes here "
        "(side `receiver`, which has neither node, channel nor octets)",
        _MESSAGES,
        {**_LANE, "side": "`sender` or `receiver`"},
    ),
    QUEUE_UNDELIVERED: About(
        _TROUBLE,
        "a connection is lost with octets that waited (side `sender`; how many messages those were is not known, and "
        "count 0), or a message came for nobody (side `receiver`, which has neither node, channel nor octets)",
        _MESSAGES,
        {**_LANE, "side": "`sender` or `receiver`", "target": "for whom the message was"},
    ),
    REQUEST_REFUSED: About(
        _TROUBLE,
        "another node asked for what the allow-list does not have",
        _COUNT,
        {**_NODE, "what": "a function, or an entry of the list"},
    ),
    QUEUE_RETRANSMITTED: About(_TRAFFIC, "messages that were not acknowledged are sent again", _MESSAGES, _LANE),
    QUEUE_UNACKNOWLEDGED: About(
        _TRAFFIC, "every interval, for each channel on which messages wait to be acknowledged", _MESSAGES, _LANE
    ),
    CAUSAL_REFUSED: About(
        _TROUBLE,
        "a message in causal order is not delivered: too much waits already (reason `full`), it came after what "
        "follows it had been delivered without it (`late`), or its sender has begun anew (`restarted`); or one carries "
        "less than it should of the order of others, which is too much (`trimmed`)",
        _COUNT,
        {**_NODE, "label": "of the order", "reason": "one of these"},
    ),
    CAUSAL_GIVEN_UP: About(
        _TROUBLE,
        "a message has waited as long as `causal.patience` for others, and waits for them no more",
        _COUNT,
        {**_NODE, "label": "of the order"},
    ),
    CAUSAL_MISSING: About(
        _TROUBLE,
        "messages of a peer in causal order, at least one, are lost: what came after them is delivered",
        _COUNT,
        {**_NODE, "label": "of the order"},
    ),
    FRAME_REJECTED: About(
        _TROUBLE,
        "a peer sent what it may not: its connection is closed, or a message of the membership is ignored (which has "
        "neither channel, acceptor nor address)",
        _COUNT,
        {**_LANE, **_ACCEPTOR, **_ADDRESS, **_ERROR},
    ),
    DISCOVERY_LOOKUP: About(
        _TRAFFIC,
        "nodes were looked for, and an answer came",
        {"nodes": "nodes that were found", "seconds": "s"},
        _BACKEND,
    ),
    DISCOVERY_SKIPPED: About(
        _TROUBLE,
        "something that was found is no node that could be joined: it is left out",
        _COUNT,
        {**_BACKEND, "entry": "what was found", **_ERROR},
    ),
    DISCOVERY_ERROR: About(
        _TROUBLE,
        "nodes were looked for in vain, or what was found could not be made the membership, which stays as it is",
        _COUNT,
        {**_BACKEND, **_ERROR},
    ),
    LONG_SCHEDULE: About(
        _TROUBLE,
        "a process held all others up for longer than `long_schedule`",
        {"seconds": "s", "steps": "steps that share the time: 1 if it is known whose it was"},
        {**_PROCESS, "where": "the line at which it waits now; this and the others are None if it is not known who"},
    ),
    LARGE_MAILBOX: About(
        _TROUBLE,
        "a mailbox grows beyond `large_mailbox`; again only after it was half of that",
        {"messages": "messages that wait"},
        _PROCESS,
    ),
}
"""Every event: the table in `docs/telemetry.md` is made of this."""

SAMPLED: Final = (
    SOCKET_SEND,
    SOCKET_RECV,
    CONNECTION_MONITORS,
    CONNECTION_OUTSTANDING,
    QUEUE_DROPPED,
    QUEUE_DELIVERED,
    QUEUE_UNACKNOWLEDGED,
)
"""Events that are told every `telemetry_interval`, and only while somebody listens to one of them."""

_NOTHING: Final[Mapping[str, Any]] = {}


class Telemetry:
    """The events of one node, and who listens to them.

    An emitter whose facts cost something to gather asks first: `if telemetry.wants(SOCKET_SEND): telemetry.emit(...)`,
    and otherwise says `telemetry.count(SOCKET_SEND)`, so that the counters are right whoever listens.

    Attributes:
        changed: called when somebody begins or ceases to listen; or None. The node's own.
    """

    def __init__(self) -> None:
        self.changed: Callable[[], None] | None = None
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
            TypeError: `function` cannot be called.
        """
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called")
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

    def tell_queue(
        self, event: str, node: str | None, channel: str, *, count: int = 1, octets: int = 0, **metadata: Any
    ) -> None:
        """Emit one of the events `partisan.queue.*` about messages for a peer.

        Args:
            event: as `QUEUE_DELIVERED`, `QUEUE_RETRANSMITTED`, `QUEUE_UNACKNOWLEDGED`.
            count: messages.
            octets: of these; 0 if that is not known.
        """
        self.emit(event, {"count": count, "octets": octets}, {"node": node, "channel": channel, **metadata})

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
        if self.changed is not None:
            self.changed()


def _below(event: str, prefix: str) -> bool:
    return event == prefix or event.startswith(f"{prefix}.")


def log_events(
    telemetry: Telemetry,
    target: logging.Logger = logger,
    handler_id: str = "log",
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Log every event from now on: changes of state at INFO, traffic at DEBUG, trouble at WARNING.

    Trouble of one kind, by event, peer, reason and class of error, is logged once and then at most once a
    minute, with how many there were between.
    """
    throttled = ThrottledLog(clock)

    def log(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        level = EVENTS[event].level
        if not target.isEnabledFor(level):
            return
        facts = " ".join(f"{key}={value}" for key, value in {**measurements, **metadata}.items())
        if level >= _TROUBLE:
            alike = (metadata.get(name) for name in ("node", "over", "reason"))
            kind = (event, *alike, type(metadata.get("error")))
            throttled(target, level, kind, "%s %s", event, facts)
        else:
            target.log(level, "%s %s", event, facts)

    telemetry.attach(handler_id, "partisan", log)
