"""Client-server, and static links, as terms.

    greeting      {state, Tag, #{Spec => []}}          Tag is the node's role; of static links it is `static`
    message       {forward_message, ServerRef, Msg}    as of every manager, see `partisan.wire.forward`

The manager of a real node crashes on any other frame. What nodes of our kind tell each other besides travels as an
extra, which a real node drops quietly:

    {forward_message, partisan_python, {client_server, {introduction, Spec, Tag, Joining}}}
    {forward_message, partisan_python, {client_server, {parting, Spec}}}

Source: section 8.1 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from partisan.errors import MembershipTooLarge
from partisan.etf import Atom, ErlMap
from partisan.machines.client_server import Introduction, Parting
from partisan.names import NodeSpec
from partisan.wire.atom import atom_of, malformed, name_of
from partisan.wire.spec import spec_from_term, spec_to_term

EXTRA = "client_server"
"""The extra, by its capability."""

_EXTRA, _INTRODUCTION, _PARTING = Atom(EXTRA), Atom("introduction"), Atom("parting")


def members_to_term(members: Iterable[NodeSpec]) -> ErlMap:
    """Return the set of members that a handshake tells, and that is saved."""
    return ErlMap([(spec_to_term(spec), []) for spec in members])


def members_from_term(term: object, most: int = 1 << 20) -> tuple[NodeSpec, ...]:
    """Read a set of members.

    Args:
        most: members that are taken.
    Raises:
        MalformedMessage: it is none.
        MembershipTooLarge: it has more members; that is seen before they are looked at.
    """
    if not isinstance(term, Mapping):
        malformed("members", term)
    if len(term) > most:
        raise MembershipTooLarge(len(term), most)
    if not all(type(value) is list and not value for value in term.values()):
        malformed("members", term)
    return tuple(spec_from_term(spec) for spec in term)


def message_to_term(message: Introduction | Parting) -> tuple[Any, ...]:
    """Return what goes to `partisan_python` of a peer."""
    if isinstance(message, Parting):
        return (_EXTRA, (_PARTING, spec_to_term(message.sender)))
    return (_EXTRA, (_INTRODUCTION, spec_to_term(message.sender), atom_of(message.tag), message.joining))


def message_from_term(term: object) -> Introduction | Parting:
    """Read what came for `partisan_python` under the name of this extra. Raises MalformedMessage."""
    if type(term) is not tuple or len(term) != 2 or term[0] is not _EXTRA or type(term[1]) is not tuple:
        malformed(EXTRA, term)
    body = term[1]
    if len(body) == 2 and body[0] is _PARTING:
        return Parting(spec_from_term(body[1]))
    if len(body) != 4 or body[0] is not _INTRODUCTION or type(body[3]) is not bool:
        malformed(EXTRA, term)
    return Introduction(spec_from_term(body[1]), name_of(body[2], EXTRA), body[3])
