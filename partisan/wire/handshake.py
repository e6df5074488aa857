"""The handshake of a connection as terms.

    acceptor -> dialler   {hello, Node}              at once
    dialler -> acceptor   {hello, Node, Channel}     if Node is whom it dialled
    acceptor -> dialler   {state, Tag, State}        what it knows of the membership; may come again
                          {hello, {error, pang}}     instead of it: refused

Source: section 2.1 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from partisan.etf import Atom
from partisan.wire.atom import atom_of, malformed, name_of, node_of

UNTAGGED = "undefined"
"""The role of a node that has none."""

_HELLO, _STATE, _ERROR, _PANG = Atom("hello"), Atom("state"), Atom("error"), Atom("pang")


@dataclass(frozen=True, slots=True)
class Hello:
    """The name of who speaks.

    Attributes:
        node: `name@host`.
        channel: what the connection is for; None in the acceptor's hello, which names none.
    """

    node: str
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the acceptor knows of the membership.

    Attributes:
        tag: its role: "undefined", "client" or "server".
        state: a term; which, is the affair of its membership.
    """

    tag: str
    state: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """The acceptor does not want the dialler."""


Handshake = Hello | State | Refused


def handshake_to_term(message: Handshake) -> tuple[Any, ...]:
    """Return the message as a term."""
    if isinstance(message, State):
        return (_STATE, atom_of(message.tag), message.state)
    if isinstance(message, Refused):
        return (_HELLO, (_ERROR, _PANG))
    if message.channel is None:
        return (_HELLO, Atom(message.node))
    return (_HELLO, Atom(message.node), atom_of(message.channel))


def handshake_from_term(term: object) -> Handshake | None:
    """Read a message of the handshake.

    Returns:
        The message, or None if the term is none of the handshake.
    Raises:
        MalformedMessage: it is one by its tag, but of a wrong shape.
    """
    if type(term) is not tuple or not term:
        return None
    if term[0] is _STATE and len(term) == 3:
        return State(name_of(term[1], "state"), term[2])
    if term[0] is not _HELLO:
        return None
    if len(term) == 3:
        return Hello(node_of(term[1], "hello"), name_of(term[2], "hello"))
    if len(term) != 2:
        malformed("hello", term)
    if term[1] == (_ERROR, _PANG):
        return Refused()
    return Hello(node_of(term[1], "hello"))
