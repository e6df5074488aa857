"""Keepalive as terms: `{ping, Node, Id, Ts}` and `{pong, Node, Id, Ts}`, bare on the connection.

Id is any term and Ts milliseconds since the epoch; both come back as they went. Not to be confused with the ping that
is addressed to a manager and measures distance (`partisan.wire.forward`).

Source: section 2.7 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from typing import Any, cast

from partisan.etf import Atom
from partisan.machines.keepalive import Ping, Pong
from partisan.wire.atom import node_of

_PING, _PONG = Atom("ping"), Atom("pong")


def keepalive_to_term(message: Ping | Pong) -> tuple[Any, ...]:
    """Return the message as a term."""
    return (_PING if type(message) is Ping else _PONG, Atom(cast(str, message.sender)), message.id, message.sent)


def keepalive_from_term(term: object) -> Ping | Pong | None:
    """Read a ping or pong.

    Returns:
        The message, or None if the term is neither.
    Raises:
        MalformedMessage: it names no node.
    """
    if type(term) is not tuple or len(term) != 4 or (term[0] is not _PING and term[0] is not _PONG):
        return None
    kind = Ping if term[0] is _PING else Pong
    return kind(node_of(term[1], "keepalive"), term[2], term[3])
