"""Names and atoms: how a decoded term shows an atom, and what a term of the wrong shape raises.

The codec decodes the atoms true, false and undefined to True, False and None; every name that travels as an atom may be
one of these (the default channel is called undefined), so names pass through here in both directions.
"""

from __future__ import annotations

from typing import Any, NoReturn

from partisan.errors import ConfigError, RemoteProtocolError
from partisan.etf import Atom
from partisan.names import check_node_name

_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "undefined": None}


class MalformedMessage(RemoteProtocolError):
    """A peer sent a well-formed term that is no message of the protocol.

    Attributes:
        what: the part that is wrong, as "node spec" or "hello".
    """

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"malformed {what}: {detail}")
        self.what = what


def malformed(what: str, term: object) -> NoReturn:
    """Raise MalformedMessage that shows the beginning of the term."""
    shown = repr(term)
    raise MalformedMessage(what, shown if len(shown) <= 120 else f"{shown[:120]}...")


def atom_of(name: str) -> Any:
    """Return the term that the codec writes as the atom of that name."""
    return _CONSTANTS[name] if name in _CONSTANTS else Atom(name)


def name_of(term: object, what: str) -> str:
    """Return the name of the atom; raise MalformedMessage if the term is none."""
    if isinstance(term, Atom):
        return term.name
    if term is None:
        return "undefined"
    if term is True:
        return "true"
    if term is False:
        return "false"
    malformed(what, term)


def node_of(term: object, what: str) -> str:
    """Return the node name of the atom; raise MalformedMessage if the term is none of the form name@host."""
    try:
        return check_node_name(name_of(term, what))
    except ConfigError as error:
        raise MalformedMessage(what, f"{term!r} is no node name") from error
