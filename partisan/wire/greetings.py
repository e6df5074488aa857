"""Which overlay a peer runs, told by the shape of the state in its handshake.

    {full_v1, Actor, Set}                                     full
    {scamp_v1, Actor, Map, LastPing}                          scamp_v1
    {scamp_v2, OwnSpec, Actor, [Spec], [Spec], LastPing}      scamp_v2
    {state, Map, Epoch}                                       hyparview
    #{Spec => []}                                             client_server; static if the role beside it is `static`
    {partisan_strategy, Name, OwnSpec, Value}                 Name, a strategy of one's own

Each protocol reads its own states and judges what is wrong in them. Here is only what a node that runs another one
needs in order to say so.
"""

from __future__ import annotations

from collections.abc import Mapping

from partisan.etf import Atom
from partisan.wire.atom import MalformedMessage

STATIC_TAG = "static"
"""The role that static links tell, since their states look as those of client-server (ours: real nodes know client and
server, and take nobody of another role for a member)."""

_SHAPES = {("full_v1", 3): "full", ("scamp_v1", 4): "scamp_v1", ("scamp_v2", 6): "scamp_v2"}


def overlay_of(tag: str, state: object) -> str | None:
    """The manager, or for the pluggable one the strategy, that greets so; None if that cannot be told.

    Args:
        tag: the role in the handshake.
        state: the term beside it.
    """
    if isinstance(state, Mapping):
        return ("static" if tag == STATIC_TAG else "client_server") if _is_set(state) else None
    if type(state) is not tuple or not state or not isinstance(state[0], Atom):
        return None
    kind = state[0].name
    if kind == "state" and len(state) == 3 and isinstance(state[1], Mapping):
        return "hyparview"
    if kind == "partisan_strategy" and len(state) == 4 and isinstance(state[1], Atom):
        return state[1].name if state[1].name.isidentifier() else None
    return _SHAPES.get((kind, len(state)))


def check_overlay(ours: str, tag: str, state: object) -> None:
    """Raise MalformedMessage, which names both, if the peer greets as another overlay than ours does."""
    theirs = overlay_of(tag, state)
    if theirs is not None and theirs != ours:
        raise MalformedMessage("greeting", f"the peer runs {theirs}, this node {ours}")


def _is_set(state: Mapping[object, object]) -> bool:
    """Whether it is a set of something, as Erlang's are: a node is in its own at least."""
    return bool(state) and all(type(value) is list and not value for value in state.values())
