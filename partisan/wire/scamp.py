"""SCAMP, both versions, as terms; they travel as messages of the membership strategy.

    {membership_strategy, {forward_subscription, Spec}}        Spec subscribes
    {membership_strategy, {remove_subscription, Spec}}         Spec is to be dropped
    {membership_strategy, {ping, Spec}}                        Spec, the sender, is alive
    {membership_strategy, {keep_subscription, Spec}}           version 2: Spec, the sender, has the receiver in view
    {membership_strategy, {bootstrap_remove_subscription, Spec}}           Spec is to leave
    {membership_strategy, {replace_subscription, FormerSpec, NewSpec}}     FormerSpec, the sender, leaves
    greeting of version 1   {scamp_v1, Actor, #{Spec => []}, LastPing}
    greeting of version 2   {scamp_v2, OwnSpec, Actor, [Spec], [Spec], LastPing}

The views in greetings hold the node itself. LastPing is `undefined` or `{MegaSeconds, Seconds, MicroSeconds}`. Nothing
else of these names the sender; the connection does.

What crashes a real node is not written by the machines: `remove_subscription` to one of version 1,
`bootstrap_remove_subscription` to one of version 2 that it is about.

Source: sections 4.2 and 4.3 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from partisan.errors import MembershipTooLarge
from partisan.etf import Atom, ErlMap
from partisan.machines.scamp import Heartbeat, Subscription, Unsubscription
from partisan.machines.scamp_v1 import ScampV1State
from partisan.machines.scamp_v2 import Departure, Kept, Replacement, ScampV2State
from partisan.names import NodeSpec
from partisan.wire.atom import malformed
from partisan.wire.spec import spec_from_term, spec_to_term

_MEMBERSHIP_STRATEGY = Atom("membership_strategy")
_V1, _V2 = Atom("scamp_v1"), Atom("scamp_v2")

_ACTOR_LIMIT = 255
"""Octets of an actor that are accepted; real ones have 20 (ours)."""

_TIME_BITS = 64
"""Of each part of a time that is read (ours)."""

Message = Subscription | Unsubscription | Heartbeat | Kept | Departure | Replacement
State = ScampV1State | ScampV2State

_SINGLE: dict[str, Callable[[NodeSpec], Message]] = {
    "forward_subscription": Subscription,
    "remove_subscription": Unsubscription,
    "ping": Heartbeat,
    "keep_subscription": Kept,
    "bootstrap_remove_subscription": Departure,
}
_TAGS: dict[Any, str] = {kind: name for name, kind in _SINGLE.items()}
_FIRST = frozenset(("forward_subscription", "remove_subscription", "ping"))
"""What version 1 has."""

_REPLACE = "replace_subscription"


def message_to_term(message: Message) -> tuple[Any, ...]:
    """Return what goes to a peer's manager."""
    if isinstance(message, Replacement):
        payload: tuple[Any, ...] = (Atom(_REPLACE), spec_to_term(message.former), spec_to_term(message.peer))
    else:
        who = message.sender if isinstance(message, Heartbeat | Kept) else message.subscriber
        payload = (Atom(_TAGS[type(message)]), spec_to_term(who))
    return (_MEMBERSHIP_STRATEGY, payload)


def message_from_term(term: object, version: int) -> Message:
    """Read what came for the manager. Raises MalformedMessage if it is no message of that version."""
    what = "message of SCAMP"
    if type(term) is not tuple or len(term) != 2 or term[0] is not _MEMBERSHIP_STRATEGY:
        malformed(what, term)
    payload = term[1]
    if type(payload) is not tuple or not payload or not isinstance(payload[0], Atom):
        malformed(what, payload)
    name = payload[0].name
    if version == 2 and name == _REPLACE and len(payload) == 3:
        return Replacement(spec_from_term(payload[1]), spec_from_term(payload[2]))
    kind = _SINGLE.get(name)
    if kind is None or len(payload) != 2 or (version == 1 and name not in _FIRST):
        malformed(what, payload)
    return kind(spec_from_term(payload[1]))


def state_to_term(state: State) -> tuple[Any, ...]:
    """Return what a handshake tells of the membership."""
    view = [spec_to_term(spec) for spec in state.view]
    if isinstance(state, ScampV1State):
        return (_V1, state.actor, ErlMap([(spec, []) for spec in view]), state.heard)
    in_view = [spec_to_term(spec) for spec in state.in_view]
    return (_V2, spec_to_term(state.myself), state.actor, view, in_view, state.heard)


def state_from_term(term: object, version: int, most: int) -> State:
    """Read what a handshake told.

    Args:
        most: peers in a view that are taken.
    Raises:
        MalformedMessage: it is no state of that version.
        MembershipTooLarge: a view has more.
    """
    expected, size = (_V1, 4) if version == 1 else (_V2, 6)
    if type(term) is not tuple or len(term) != size or term[0] is not expected:
        malformed("membership state", term)
    if version == 1:
        _, actor, view, heard = term
        if not isinstance(view, Mapping) or not all(type(value) is list and not value for value in view.values()):
            malformed("membership state", term)
        return ScampV1State(_actor(actor), _specs(list(view), most), _time(heard))
    _, myself, actor, partial, in_view, heard = term
    views = (_specs(partial, most), _specs(in_view, most))
    return ScampV2State(spec_from_term(myself), _actor(actor), *views, _time(heard))


def speaker(state: State, name: str) -> NodeSpec | None:
    """Find the spec by which the node of that name means itself in its own state."""
    known: list[NodeSpec] = [state.myself] if isinstance(state, ScampV2State) else list(state.view)
    return next((spec for spec in known if spec.name == name), None)


def _actor(term: object) -> bytes:
    if type(term) is not bytes or len(term) > _ACTOR_LIMIT:
        malformed("actor", term)
    return term


def _specs(term: object, most: int) -> tuple[NodeSpec, ...]:
    if type(term) is not list:
        malformed("view", term)
    if len(term) > most:
        raise MembershipTooLarge(len(term), most)
    return tuple(spec_from_term(spec) for spec in term)


def _time(term: object) -> Any:
    if term is None:
        return None
    if type(term) is not tuple or len(term) != 3:
        malformed("time", term)
    if not all(type(part) is int and part >= 0 and part.bit_length() <= _TIME_BITS for part in term):
        malformed("time", term)
    return term
