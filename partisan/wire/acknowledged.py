"""Acknowledged delivery as terms.

    message            {forward_message, Source, {undefined, [{Source, Number}]}, ServerRef, Message}
    acknowledgement    {ack, Clock} to the source's manager (`partisan.wire.forward`); Clock as it came
    acknowledgements   {acks, [{First, Last}]} to `partisan_python`, where both nodes have agreed on `acks`
    by relays          {kept, Message} to `partisan_python`, where both nodes have agreed on `kept`

A clock may be any term, as senders may choose their own; and that of a causal message has its label and what else that
message depends on. Such messages are acknowledged all the same, and have no number here: whoever sent them does not say
what makes them one.

Source: section 3.3 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

import zlib
from typing import Any

from partisan.etf import Atom, encode
from partisan.machines.acknowledged import MOST_NUMBER, MOST_RANGES
from partisan.machines.seen import Ranges
from partisan.wire.atom import malformed

CAPABILITY = "acks"
"""The extra of Python nodes: many acknowledgements in one message."""

KEPT = "kept"
"""The extra of Python nodes: what was sent to a neighbor goes on by relays when the two are neighbors no more."""

_FORWARD_MESSAGE, _ACKS, _KEPT = Atom("forward_message"), Atom(CAPABILITY), Atom(KEPT)


def clock_to_term(source: Atom, number: int) -> tuple[None, list[tuple[Atom, int]]]:
    """Return the clock under which the source sends its message of that number."""
    return (None, [(source, number)])


def number_from_clock(clock: object, source: Atom) -> int | None:
    """Read the number of a clock that the source has made; None if it is no such clock."""
    if type(clock) is not tuple or len(clock) != 2 or clock[0] is not None:
        return None
    entries = clock[1]
    if type(entries) is not list or len(entries) != 1:
        return None
    entry = entries[0]
    if type(entry) is not tuple or len(entry) != 2 or entry[0] != source:
        return None
    number = entry[1]
    return number if type(number) is int and 0 <= number < MOST_NUMBER else None


def message_to_term(source: Atom, number: int, target: Any, message: Any) -> tuple[Any, ...]:
    """Return the frame of a message to a process that is to be acknowledged.

    Args:
        source: our own node.
        target: the server reference, a term.
    """
    return (_FORWARD_MESSAGE, source, (None, [(source, number)]), target, message)


def clocked_to_term(source: Atom, clock: Any, target: Any, message: Any) -> tuple[Any, ...]:
    """As `message_to_term`, with a clock of one's own."""
    return (_FORWARD_MESSAGE, source, clock, target, message)


def number_from_message(term: object, peer: Atom) -> int | None:
    """Read the number of a message that wants an acknowledgement, and which the peer sent in its own name.

    Args:
        term: the whole frame, decoded; the target and the message are its last two elements.
        peer: as the connection says.
    Returns:
        None if it is anything else, which is then for `inbound_from_term`.
    """
    if type(term) is not tuple or len(term) != 5 or term[0] is not _FORWARD_MESSAGE or term[1] != peer:
        return None
    return number_from_clock(term[2], peer)


def fingerprint(target: Any, message: Any) -> int:
    """Return 32 bits that are the same for every copy of a message, and hardly for another."""
    return zlib.crc32(encode((target, message)))


def acks_to_term(ranges: Ranges) -> tuple[Any, ...]:
    """Return the message to `partisan_python` that acknowledges the ranges."""
    return (_ACKS, list(ranges))


def acks_from_term(term: object) -> Ranges:
    """Read what came for `partisan_python`; raise MalformedMessage if it is no such message."""
    if type(term) is not tuple or len(term) != 2 or term[0] is not _ACKS:
        malformed("acks", term)
    ranges = term[1]
    if type(ranges) is not list or len(ranges) > MOST_RANGES:
        malformed("acks", term)
    for pair in ranges:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not int or type(pair[1]) is not int:
            malformed("acks", term)
    return tuple(ranges)


def kept_to_term(message: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the message to `partisan_python` that has one that is to be acknowledged in it."""
    return (_KEPT, message)


def kept_from_term(term: object) -> Any:
    """Read what came for `partisan_python`; raise MalformedMessage if it is no such message."""
    if type(term) is not tuple or len(term) != 2 or term[0] is not _KEPT:
        malformed("kept", term)
    return term[1]
