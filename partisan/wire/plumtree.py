"""Plumtree as terms: casts to the server that broadcasts in every node.

    {forward_message, partisan_plumtree_broadcast, {'$gen_cast', M}}        on the channel of the message's handler

    M   {broadcast, Id, Payload, Mod, Round, Root, From}
        {prune, Root, From}
        {i_have, Id, Mod, Round, Root, From}
        {ignored_i_have, Id, Mod, Round, Root, From}
        {graft, Id, Mod, Round, Root, From}

Mod, Root and From are atoms: a module that there must be at a real node, and names of nodes. To the machine names of
nodes are str, as a `NodeSpec` has them, and it finds the peer by its name: `PlumtreeConfig.name` as it is by default.
Id and Payload are whatever the handler makes; `id_key` tells ids apart as Erlang does, which takes 1 and 1.0 for two.

Between Python nodes alone, as no real node knows it: what handlers say to each other in an exchange,

    {forward_message, partisan_python, {exchange, Mod, Body, From}}

Source: section 2.1 of the partisan 5.0.3 reference (upper layers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from partisan.etf import Atom, encode
from partisan.machines.plumtree_messages import (
    DEFAULT_CHANNEL,
    Graft,
    IgnoredIHave,
    IHave,
    Prune,
    Push,
    Say,
)
from partisan.wire.atom import atom_of, malformed, name_of, node_of

SERVER = Atom("partisan_plumtree_broadcast")
"""The name to which messages are addressed."""

EXTRA = "exchange"
"""The tag of what is said between Python nodes alone."""

_CAST = Atom("$gen_cast")
_EXCHANGE = Atom(EXTRA)
_ROUND_BITS = 32

Message = Push | Prune | IHave | IgnoredIHave | Graft


def message_to_term(message: Message) -> tuple[Any, ...]:
    """Return what is sent to `SERVER`, as its message."""
    return (_CAST, _WRITE[type(message)](message))


def message_from_term(term: object, channel: str = DEFAULT_CHANNEL) -> Message | None:
    """Read what came for `SERVER`.

    Args:
        channel: on which it came.
    Returns:
        The message, or None if the term is none of Plumtree.
    Raises:
        MalformedMessage: it is one by its tag, but not of a shape that real nodes send.
    """
    if type(term) is not tuple or len(term) != 2 or term[0] is not _CAST:
        return None
    cast = term[1]
    if type(cast) is not tuple or not cast:
        return None
    kind = _KINDS.get(cast[0].name) if isinstance(cast[0], Atom) else None
    if kind is None:
        return None
    arity, read = kind
    if len(cast) != arity:
        malformed("broadcast message", cast)
    message = read(*cast[1:])
    message.channel = channel
    return message


def say_to_term(message: Say) -> tuple[Any, ...]:
    """Return what goes to the extras of another Python node."""
    return (_EXCHANGE, atom_of(message.mod), message.body, atom_of(message.sender))


def say_from_term(term: tuple[Any, ...], channel: str = DEFAULT_CHANNEL) -> Say:
    """Read an extra whose tag is `EXTRA`. Raises MalformedMessage."""
    if len(term) != 4:
        malformed("exchange", term)
    return Say(name_of(term[1], "exchange"), term[2], node_of(term[3], "exchange"), channel)


def id_key(id: Any) -> bytes:
    """By which ids are known: equal for what Erlang takes for equal, unless it has maps in it. Raises EncodeError."""
    return encode(id)


def _round(term: object, what: str) -> int:
    if type(term) is not int or term < 0 or term.bit_length() > _ROUND_BITS:
        malformed(what, term)
    return term


_Common = tuple[str, int, str, str]


def _common(what: str, mod: object, round: object, root: object, sender: object) -> _Common:
    return name_of(mod, what), _round(round, what), node_of(root, what), node_of(sender, what)


def _push(id: object, payload: object, *rest: object) -> Push:
    return Push(id, payload, *_common("broadcast", *rest))


def _prune(root: object, sender: object) -> Prune:
    return Prune(node_of(root, "prune"), node_of(sender, "prune"))


def _i_have(id: object, *rest: object) -> IHave:
    return IHave(id, *_common("i_have", *rest))


def _ignored_i_have(id: object, *rest: object) -> IgnoredIHave:
    return IgnoredIHave(id, *_common("ignored_i_have", *rest))


def _graft(id: object, mod: object, *rest: object) -> Graft:
    graft = Graft(id, *_common("graft", mod, *rest))
    if id is None and mod is None:
        graft.mod = None
    return graft


def _about(message: Any) -> tuple[Any, ...]:
    mod = None if message.mod is None else atom_of(message.mod)
    return (message.id, mod, message.round, atom_of(message.root), atom_of(message.sender))


_WRITE: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    Push: lambda m: (Atom("broadcast"), m.id, m.payload, *_about(m)[1:]),
    Prune: lambda m: (Atom("prune"), atom_of(m.root), atom_of(m.sender)),
    IHave: lambda m: (Atom("i_have"), *_about(m)),
    IgnoredIHave: lambda m: (Atom("ignored_i_have"), *_about(m)),
    Graft: lambda m: (Atom("graft"), *_about(m)),
}
_KINDS: dict[str, tuple[int, Callable[..., Message]]] = {
    "broadcast": (7, _push),
    "prune": (3, _prune),
    "i_have": (6, _i_have),
    "ignored_i_have": (6, _ignored_i_have),
    "graft": (6, _graft),
}
