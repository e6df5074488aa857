"""Relayed frames as terms, between Python nodes alone.

    {forward_message, partisan_python, {relay, Origin, Life, Serial, Dest, TTL, Flags, Body}}

    Dest    the name of a node; undefined is everybody
    Flags   1 over all neighbors, 2 also to nodes that relay in their own way, or the sum of these
    Body    {parcel, Number, Base, Load}
            {receipt, Of, Life, First, Last}
            {lost, Node, Life}, {left, Node, Life}
    Load    a binary: the term {Target, Message, Channel}, which relays do not read

Names of nodes are atoms. Real nodes drop what is sent to `partisan_python`; what they say themselves, and understand if
they run HyParView, is `{relay_message, Dest, M, TTL}` (`partisan.wire.forward`).
"""

from __future__ import annotations

from typing import Any

from partisan.etf import Atom
from partisan.machines.relay_messages import Body, Frame, Parcel, Receipt, Word
from partisan.wire.atom import malformed, name_of, node_of

CAPABILITY = "relay"
"""The extra, and the tag of its messages."""

_RELAY = Atom(CAPABILITY)
_PARCEL, _RECEIPT, _LOST, _LEFT = map(Atom, ("parcel", "receipt", "lost", "left"))
_WIDE, _ABROAD = 1, 2


def frame_to_term(frame: Frame) -> tuple[Any, ...]:
    """Return what is sent to `partisan_python`."""
    dest = None if frame.dest is None else Atom(frame.dest)
    flags = _WIDE * frame.wide + _ABROAD * frame.abroad
    return (_RELAY, Atom(frame.origin), frame.life, frame.serial, dest, frame.ttl, flags, _body_to_term(frame.body))


def _body_to_term(body: Body) -> tuple[Any, ...]:
    if type(body) is Parcel:
        return (_PARCEL, body.number, body.base, body.load)
    if type(body) is Receipt:
        return (_RECEIPT, Atom(body.of), body.life, body.first, body.last)
    assert type(body) is Word  # there is no other
    return (_LEFT if body.by_itself else _LOST, Atom(body.node), body.life)


def frame_from_term(term: tuple[Any, ...]) -> Frame:
    """Read what came for `partisan_python` with the tag of this extra. Raises MalformedMessage.

    Numbers may be any integers: what they mean is judged elsewhere.
    """
    if len(term) != 8:
        malformed(CAPABILITY, term)
    _, origin, life, serial, dest, ttl, flags, body = term
    if not all(type(number) is int for number in (life, serial, ttl, flags)) or not 0 <= flags <= _WIDE + _ABROAD:
        malformed(CAPABILITY, term)
    return Frame(
        node_of(origin, CAPABILITY),
        life,
        serial,
        None if dest is None else node_of(dest, CAPABILITY),
        ttl,
        bool(flags & _WIDE),
        bool(flags & _ABROAD),
        _body_from_term(body),
    )


def _body_from_term(body: Any) -> Body:
    found: Body
    match body:
        case (Atom("parcel"), int(number), int(base), bytes(load)):
            found = Parcel(number, base, load, len(load))
        case (Atom("receipt"), of, int(life), int(first), int(last)):
            found = Receipt(node_of(of, CAPABILITY), life, first, last)
        case (Atom("lost" | "left") as said, node, int(life)):
            found = Word(node_of(node, CAPABILITY), life, said is _LEFT)
        case _:
            malformed(CAPABILITY, body)
    return found


def load_to_term(target: object, message: object, channel: str | None) -> tuple[Any, ...]:
    """Return what a load is the encoding of."""
    return (target, message, None if channel is None else Atom(channel))


def load_from_term(term: object) -> tuple[Any, Any, str | None]:
    """Read what a load was: (target, message, channel or None). Raises MalformedMessage."""
    if type(term) is not tuple or len(term) != 3:
        malformed("load of a relayed message", term)
    target, message, channel = term
    return target, message, None if channel is None else name_of(channel, "channel of a relayed message")
