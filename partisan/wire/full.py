"""Full membership as terms.

    Gossip     {membership_strategy, {SenderSpec, State}}
    Summary    {membership_strategy, {SenderSpec, {full_digest, Actor, Digest}}}, between Python nodes only
    greeting   State = {full_v1, Actor, {state_orset, [{Spec, [{Token, Active}]}]}}

The lists are ordered dictionaries: ascending by Erlang's term order, without duplicates. Real nodes compare them
structurally, so an order of our own would make every state look new to them, for ever. We write them so, and read them
in any order.

Writing a state is linear in its size (and n log n to sort it): a driver that sends one `Gossip` to many peers should
encode it once.

Source: section 4.1 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from partisan.errors import MembershipTooLarge
from partisan.etf import Atom
from partisan.machines.full import FullState, Gossip, Summary
from partisan.machines.machine import Peer
from partisan.machines.orset import OrSet
from partisan.names import ListenAddress, NodeSpec
from partisan.wire.atom import MalformedMessage, malformed
from partisan.wire.order import spec_key
from partisan.wire.spec import spec_from_term, spec_to_term

_MEMBERSHIP_STRATEGY, _FULL_V1, _STATE_ORSET = Atom("membership_strategy"), Atom("full_v1"), Atom("state_orset")
_FULL_DIGEST = Atom("full_digest")

MOST_TOKENS = 64
"""Tokens that are taken from a peer for each element that is, on average (ours)."""

_TOKEN_LIMIT = 255
"""Octets of an actor or token that are accepted; real ones have 20 (ours)."""


def gossip_to_term(gossip: Gossip | Summary) -> tuple[Any, ...]:
    """Return what goes to a peer's manager."""
    sender = spec_to_term(cast(NodeSpec, gossip.sender))
    if isinstance(gossip, Summary):
        return (_MEMBERSHIP_STRATEGY, (sender, (_FULL_DIGEST, gossip.actor, gossip.digest)))
    return (_MEMBERSHIP_STRATEGY, (sender, _state_term(gossip.actor, gossip.state)))


def gossip_from_term(term: object, most: int = 1 << 20) -> Gossip | Summary:
    """Read what came for the manager; see `state_from_term`."""
    if type(term) is not tuple or len(term) != 2 or term[0] is not _MEMBERSHIP_STRATEGY:
        malformed("gossip", term)
    payload = term[1]
    if type(payload) is not tuple or len(payload) != 2:
        malformed("gossip", term)
    if type(payload[1]) is tuple and len(payload[1]) == 3 and payload[1][0] is _FULL_DIGEST:
        _, actor, digest = payload[1]
        if type(actor) is not bytes or type(digest) is not bytes or max(len(actor), len(digest)) > _TOKEN_LIMIT:
            malformed("summary", payload[1])
        return Summary(spec_from_term(payload[0]), actor, digest)
    state = state_from_term(payload[1], most)
    return Gossip(spec_from_term(payload[0]), state.actor, state.state)


def state_to_term(state: FullState) -> tuple[Any, ...]:
    """Return what a handshake tells of the membership."""
    return _state_term(state.actor, state.state)


def state_from_term(term: object, most: int = 1 << 20) -> FullState:
    """Read what a handshake told. Linear in its size; one that is too large is refused before it is looked at.

    Args:
        most: elements that are taken, and 64 times as many tokens.
    Raises:
        MalformedMessage: it is no state of full membership.
        MembershipTooLarge: it has more elements or tokens.
    """
    if type(term) is not tuple or len(term) != 3 or term[0] is not _FULL_V1:
        malformed("membership state", term)
    _, actor, orset = term
    if type(actor) is not bytes or len(actor) > _TOKEN_LIMIT:
        malformed("actor", actor)
    if type(orset) is not tuple or len(orset) != 2 or orset[0] is not _STATE_ORSET or type(orset[1]) is not list:
        malformed("membership state", term)
    _check_size(orset[1], most)
    entries: dict[Peer, Mapping[bytes, bool]] = {}
    for pair in orset[1]:
        if type(pair) is not tuple or len(pair) != 2:
            malformed("membership state", pair)
        entries[spec_from_term(pair[0])] = _read_tokens(pair[1])
    if len(entries) != len(orset[1]):
        raise MalformedMessage("membership state", "a node spec occurs twice")
    return FullState(actor, OrSet(entries))


def _check_size(dictionary: list[Any], most: int) -> None:
    if len(dictionary) > most:
        raise MembershipTooLarge(len(dictionary), most)
    tokens = sum(
        len(pair[1]) for pair in dictionary if type(pair) is tuple and len(pair) == 2 and type(pair[1]) is list
    )
    if tokens > most * MOST_TOKENS:
        raise MembershipTooLarge(tokens, most * MOST_TOKENS, "tokens")


def speaker(state: FullState, name: str, address: ListenAddress | None = None) -> NodeSpec | None:
    """Find the spec by which the node of that name means itself in its own state.

    Args:
        state: what the node's handshake told.
        name: what its hello told.
        address: where it was dialled; decides if the state has several specs of the name.
    Returns:
        The spec, or None if the name is no member of the state.
    """
    own = [spec for spec in state.state.members if isinstance(spec, NodeSpec) and spec.name == name]
    for spec in own:
        if address in spec.listen_addrs:
            return spec
    return own[-1] if own else None


def _state_term(actor: bytes, state: OrSet[Peer]) -> tuple[Any, ...]:
    items = cast("OrSet[NodeSpec]", state).items()
    dictionary = [
        (spec_to_term(spec), sorted(tokens.items())) for spec, tokens in sorted(items, key=lambda i: spec_key(i[0]))
    ]
    return (_FULL_V1, actor, (_STATE_ORSET, dictionary))


def _read_tokens(term: object) -> dict[bytes, bool]:
    if type(term) is not list or not term:
        malformed("tokens", term)
    tokens: dict[bytes, bool] = {}
    for pair in term:
        if type(pair) is not tuple or len(pair) != 2:
            malformed("tokens", term)
        token, active = pair
        if type(token) is not bytes or len(token) > _TOKEN_LIMIT or type(active) is not bool or token in tokens:
            malformed("tokens", term)
        tokens[token] = active
    return tokens
