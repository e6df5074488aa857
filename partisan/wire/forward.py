"""What arrives behind the handshake: messages to processes, and protocol messages to the manager.

    {forward_message, ServerRef, Message}                     to a process
    {forward_message, Source, Clock, ServerRef, Message}      the same; Source wants {ack, Clock} sent to its manager
    {forward_message, Manager, M}                             a protocol message; a real node also takes a bare M

M is one of `{membership_strategy, P}`, `{ack, Clock}`, `{ping, SourceSpec, DestinationSpec, Time}` and its pong (a
measurement of distance), `{relay_message, Node, M, TTL}`, or a `forward_message` again. A Message may be wrapped as
`{'$partisan_padded', Padding, Message}`, or for causal delivery as
`{causal, Label, Node, ServerRef, Dependencies, Clock, Message}` (`partisan.wire.causal`).

The plain triple to a process that is neither padded nor causal is recognised where frames are read and does not pass
here; it would be classified as well.

Source: sections 3.2 to 3.5, 3.9 and 3.10 of the partisan 5.0.3 reference. Padding is taken off in every form, which the
reference does in the plain one only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from partisan.etf import Atom
from partisan.names import NodeSpec
from partisan.wire.atom import MalformedMessage, malformed, node_of
from partisan.wire.causal import Causal, causal_from_term, is_causal
from partisan.wire.spec import spec_from_term, spec_to_term

PLUGGABLE_MANAGER = Atom("partisan_pluggable_peer_service_manager")
"""The name to which protocol messages of the pluggable manager are addressed."""

_FORWARD_MESSAGE, _MEMBERSHIP_STRATEGY = Atom("forward_message"), Atom("membership_strategy")
_ACK, _PING, _PONG, _RELAY_MESSAGE = Atom("ack"), Atom("ping"), Atom("pong"), Atom("relay_message")
_PADDED = Atom("$partisan_padded")

_NESTING = 16
"""How many forward_message or padding wrappers around one message are taken off (ours)."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A message to a process.

    Attributes:
        target: the server reference, a term.
        message: without its wrappers.
        acknowledge: (node, term): send the term to the node, on the channel on which the message came; or None.
        causal: to be ordered before delivery; or None.
    """

    target: Any
    message: Any
    acknowledge: tuple[str, tuple[Any, ...]] | None = None
    causal: Causal | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """A message of the membership.

    Attributes:
        term: the whole `{membership_strategy, P}`.
    """

    term: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """The message of that clock arrived.

    Attributes:
        clock: a term, as we sent it.
    """

    clock: Any


@dataclass(frozen=True, slots=True)
class Distance:
    """A measurement of distance.

    Attributes:
        answer: whether this is the pong.
        source: who measures.
        destination: to whom.
        time: a term of the source's, {MegaSeconds, Seconds, MicroSeconds}; comes back as it went.
    """

    answer: bool
    source: NodeSpec
    destination: NodeSpec
    time: Any


@dataclass(frozen=True, slots=True)
class Relay:
    """A message on its way to another node.

    Attributes:
        node: for whom.
        term: what that node shall get, as if it had come to it directly.
        ttl: over how many more nodes it may go.
    """

    node: str
    term: Any
    ttl: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that the pluggable manager has no use for; other managers may.

    Attributes:
        term: without the address of the manager.
    """

    term: Any


Inbound = Forward | Strategy | Ack | Distance | Relay | Unknown


def to_manager(message: Any, manager: Atom = PLUGGABLE_MANAGER) -> tuple[Any, ...]:
    """Address a protocol message to the peer's manager."""
    return (_FORWARD_MESSAGE, manager, message)


def ack_to_term(clock: Any) -> tuple[Any, ...]:
    """Return the protocol message that acknowledges the clock."""
    return (_ACK, clock)


def relay_to_term(relay: Relay) -> tuple[Any, ...]:
    """Return the protocol message that passes a message on."""
    return (_RELAY_MESSAGE, Atom(relay.node), relay.term, relay.ttl)


def distance_to_term(distance: Distance) -> tuple[Any, ...]:
    """Return the protocol message that measures, or answers."""
    tag = _PONG if distance.answer else _PING
    return (tag, spec_to_term(distance.source), spec_to_term(distance.destination), distance.time)


def inbound_from_term(term: object, manager: Atom = PLUGGABLE_MANAGER) -> Inbound:
    """Classify what a connection brought, other than handshake and keepalive.

    Args:
        term: the whole frame, decoded.
        manager: the name under which our manager is addressed.
    Raises:
        MalformedMessage: a known tag with a wrong shape, or more wrappers than anybody needs.
    """
    for _ in range(_NESTING):
        if type(term) is not tuple or not term:
            return Unknown(term)
        if term[0] is not _FORWARD_MESSAGE:
            return _protocol_message(term)
        if len(term) == 5:
            source, clock = node_of(term[1], "forward_message"), term[2]
            return _forward(term[3], term[4], (source, to_manager(ack_to_term(clock), manager)))
        if len(term) != 3:
            malformed("forward_message", term)
        if term[1] is not manager:
            return _forward(term[1], term[2], None)
        term = term[2]
    raise MalformedMessage("forward_message", f"nested more than {_NESTING} times")


def _forward(target: Any, message: Any, acknowledge: tuple[str, tuple[Any, ...]] | None) -> Forward:
    message = without_padding(message)
    if is_causal(message):
        causal = causal_from_term(message)
        if causal is not None:
            return Forward(message[3], without_padding(message[6]), acknowledge, causal)
    return Forward(target, message, acknowledge)


def without_padding(message: Any) -> Any:
    """Return the message inside `{'$partisan_padded', Padding, Message}`, or what is no such thing as it is."""
    if type(message) is tuple and len(message) == 3 and message[0] is _PADDED:
        return message[2]
    return message


def _protocol_message(term: tuple[Any, ...]) -> Inbound:
    tag, arity = term[0], len(term)
    if tag is _MEMBERSHIP_STRATEGY and arity == 2:
        return Strategy(term)
    if tag is _ACK and arity == 2:
        return Ack(term[1])
    if (tag is _PING or tag is _PONG) and arity == 4:
        return Distance(tag is _PONG, spec_from_term(term[1]), spec_from_term(term[2]), term[3])
    if tag is _RELAY_MESSAGE and arity == 4:
        if type(term[3]) is not int:
            malformed("relay_message", term)
        return Relay(node_of(term[1], "relay_message"), term[2], term[3])
    return Unknown(term)
