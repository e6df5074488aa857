"""HyParView as terms; they travel bare, on the default channel.

    {join, Spec, Tag, Epoch}
    {forward_join, JoinerSpec, JoinerTag, JoinerEpoch, TTL, Spec}
    {neighbor, Spec, Tag, Id, ReceiverSpec}
    {disconnect, Spec, Id}
    {neighbor_request, Spec, Priority, Tag, Id, [Spec]}
    {neighbor_accepted, Spec, Tag, Id, [Spec]}
    {neighbor_rejected, Spec, [Spec]}                       from a real node that has no room: {neighbor_rejected, Spec}
    {shuffle, [Spec], TTL, Spec}
    {shuffle_reply, [Spec], Spec}
    {inject_partition, Ref, Spec, TTL}, {resolve_partition, Ref}
    {Step, Answer, OldSpec, InitiatorSpec, CandidateSpec, DisconnectSpec}
    greeting   {state, #{Spec => []}, Epoch}

Spec is the sender's where nothing else is said; Id is `{Epoch, Count}`, Tag and Priority are atoms. Any other term
crashes a real manager, and so does the short `neighbor_rejected`: it is read here and never written. Step is one of
X-BOT's: optimization, replace, switch, whose Answer is `undefined`, and each with `_reply`, whose Answer is a boolean;
DisconnectSpec is `undefined` where nobody is given up.

`relay_message` and `forward_message` are no affair of the membership: `partisan.wire.forward` reads them.

Source: sections 1.1, 1.3, 1.8 and 1.9 of the partisan 5.0.3 reference (upper layers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from partisan.errors import MembershipTooLarge
from partisan.etf import Atom, ErlMap
from partisan.machines.hyparview import (
    HIGH,
    LOW,
    Farewell,
    ForwardJoin,
    HyParViewState,
    InjectPartition,
    JoinRequest,
    Neighbor,
    NeighborAccepted,
    NeighborRejected,
    NeighborRequest,
    ResolvePartition,
    Shuffle,
    ShuffleReply,
)
from partisan.machines.view import DisconnectId
from partisan.machines.xbot import (
    ENDS,
    Optimization,
    OptimizationReply,
    Replace,
    ReplaceReply,
    Step,
    Switch,
    SwitchReply,
)
from partisan.names import NodeSpec
from partisan.wire.atom import atom_of, malformed, name_of
from partisan.wire.spec import spec_from_term, spec_to_term

_STATE = Atom("state")
_PRIORITIES = {Atom(HIGH): HIGH, Atom(LOW): LOW}

MOST_ADVERTISED = 1024
"""Specs that are read of one message; how many are taken is the machine's affair (ours)."""

_COUNT_BITS = 64
"""Of an epoch, a count or a time to live that is read (ours)."""

Message = (
    JoinRequest
    | ForwardJoin
    | Neighbor
    | Farewell
    | NeighborRequest
    | NeighborAccepted
    | NeighborRejected
    | Shuffle
    | ShuffleReply
    | InjectPartition
    | ResolvePartition
    | Step
)


def message_to_term(message: Message) -> tuple[Any, ...]:
    """Return what goes to a peer's manager, bare. Lists of specs are as long as the message's."""
    return _WRITE[type(message)](message)


def message_from_term(term: object) -> Message | None:
    """Read what came for the manager.

    Returns:
        The message, or None if the term is none of HyParView.
    Raises:
        MalformedMessage: it is one by its tag, but not of a shape that real nodes send.
        MembershipTooLarge: it advertises too many peers.
    """
    if type(term) is not tuple or not term:
        return None
    kind = _KINDS.get(term[0].name) if isinstance(term[0], Atom) else None
    if kind is None:
        return None
    arities, read = kind
    if len(term) not in arities:
        malformed(cast(Atom, term[0]).name, term)
    return read(*term[1:])


def state_to_term(state: HyParViewState) -> tuple[Any, ...]:
    """Return what a handshake tells of the membership."""
    return (_STATE, ErlMap([(spec_to_term(spec), []) for spec in state.active]), state.epoch)


def state_from_term(term: object) -> HyParViewState:
    """Read what a handshake told. Raises MalformedMessage, MembershipTooLarge."""
    if type(term) is not tuple or len(term) != 3 or term[0] is not _STATE or not isinstance(term[1], Mapping):
        malformed("greeting", term)
    _check_size(len(term[1]))
    if not all(type(value) is list and not value for value in term[1].values()):
        malformed("greeting", term)
    return HyParViewState(tuple(spec_from_term(spec) for spec in term[1]), _number(term[2], "greeting"))


def sender_of(message: Message) -> NodeSpec | None:
    """Who says it: the origin of a shuffle, nobody for the end of a partition or for a step without its sender."""
    if isinstance(message, ResolvePartition):
        return None
    if isinstance(message, Step):
        return cast(NodeSpec, getattr(message, ENDS[type(message)][0]))
    return cast(NodeSpec, message.origin if isinstance(message, InjectPartition) else message.sender)


def _specs_to_term(specs: Iterable[NodeSpec]) -> list[Any]:
    return [spec_to_term(spec) for spec in specs]


def _check_size(count: int) -> None:
    if count > MOST_ADVERTISED:
        raise MembershipTooLarge(count, MOST_ADVERTISED)


def _specs(term: object, what: str) -> tuple[NodeSpec, ...]:
    if type(term) is not list:
        malformed(what, term)
    _check_size(len(term))
    return tuple(spec_from_term(spec) for spec in term)


def _number(term: object, what: str) -> int:
    if type(term) is not int or term < 0 or term.bit_length() > _COUNT_BITS:
        malformed(what, term)
    return term


def _id(term: object, what: str) -> DisconnectId:
    if type(term) is not tuple or len(term) != 2:
        malformed(what, term)
    return (_number(term[0], what), _number(term[1], what))


def _priority(term: object) -> str:
    if not isinstance(term, Atom) or term not in _PRIORITIES:
        malformed("neighbor_request", term)
    return _PRIORITIES[term]


_STEPS: dict[str, type[Step]] = {
    "optimization": Optimization,
    "optimization_reply": OptimizationReply,
    "replace": Replace,
    "replace_reply": ReplaceReply,
    "switch": Switch,
    "switch_reply": SwitchReply,
}


def _write_step(tag: str) -> Callable[[Step], tuple[Any, ...]]:
    def write(m: Step) -> tuple[Any, ...]:
        peers = (spec_to_term(m.old), spec_to_term(m.initiator), spec_to_term(m.candidate))
        return (Atom(tag), m.answer, *peers, None if m.disconnect is None else spec_to_term(m.disconnect))

    return write


def _read_step(tag: str, kind: type[Step]) -> Callable[..., Step]:
    answers = (True, False) if tag.endswith("_reply") else (None,)

    def read(answer: object, old: object, initiator: object, candidate: object, disconnect: object) -> Step:
        if not any(answer is each for each in answers):
            malformed(tag, answer)
        peers = spec_from_term(old), spec_from_term(initiator), spec_from_term(candidate)
        return kind(cast("bool | None", answer), *peers, None if disconnect is None else spec_from_term(disconnect))

    return read


_WRITE: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    JoinRequest: lambda m: (Atom("join"), spec_to_term(m.sender), atom_of(m.tag), m.epoch),
    ForwardJoin: lambda m: (
        Atom("forward_join"),
        spec_to_term(m.joiner),
        atom_of(m.tag),
        m.epoch,
        m.ttl,
        spec_to_term(m.sender),
    ),
    Neighbor: lambda m: (
        Atom("neighbor"),
        spec_to_term(m.sender),
        atom_of(m.tag),
        m.last,
        spec_to_term(m.receiver),
    ),
    Farewell: lambda m: (Atom("disconnect"), spec_to_term(m.sender), m.number),
    NeighborRequest: lambda m: (
        Atom("neighbor_request"),
        spec_to_term(m.sender),
        Atom(m.priority),
        atom_of(m.tag),
        m.last,
        _specs_to_term(m.exchange),
    ),
    NeighborAccepted: lambda m: (
        Atom("neighbor_accepted"),
        spec_to_term(m.sender),
        atom_of(m.tag),
        m.last,
        _specs_to_term(m.exchange),
    ),
    NeighborRejected: lambda m: (Atom("neighbor_rejected"), spec_to_term(m.sender), _specs_to_term(m.exchange)),
    Shuffle: lambda m: (Atom("shuffle"), _specs_to_term(m.exchange), m.ttl, spec_to_term(m.sender)),
    ShuffleReply: lambda m: (Atom("shuffle_reply"), _specs_to_term(m.exchange), spec_to_term(m.sender)),
    InjectPartition: lambda m: (Atom("inject_partition"), m.ref, spec_to_term(m.origin), m.ttl),
    ResolvePartition: lambda m: (Atom("resolve_partition"), m.ref),
    **{kind: _write_step(tag) for tag, kind in _STEPS.items()},
}


def _join(spec: object, tag: object, epoch: object) -> JoinRequest:
    return JoinRequest(spec_from_term(spec), name_of(tag, "join"), _number(epoch, "join"))


def _forward_join(joiner: object, tag: object, epoch: object, ttl: object, sender: object) -> ForwardJoin:
    what = "forward_join"
    numbers = _number(epoch, what), _number(ttl, what)
    return ForwardJoin(spec_from_term(joiner), name_of(tag, what), *numbers, spec_from_term(sender))


def _neighbor(spec: object, tag: object, last: object, receiver: object) -> Neighbor:
    what = "neighbor"
    return Neighbor(spec_from_term(spec), name_of(tag, what), _id(last, what), spec_from_term(receiver))


def _disconnect(spec: object, number: object) -> Farewell:
    return Farewell(spec_from_term(spec), _id(number, "disconnect"))


def _neighbor_request(spec: object, priority: object, tag: object, last: object, specs: object) -> NeighborRequest:
    what = "neighbor_request"
    terms = _priority(priority), name_of(tag, what), _id(last, what)
    return NeighborRequest(spec_from_term(spec), *terms, _specs(specs, what))


def _neighbor_accepted(spec: object, tag: object, last: object, specs: object) -> NeighborAccepted:
    what = "neighbor_accepted"
    return NeighborAccepted(spec_from_term(spec), name_of(tag, what), _id(last, what), _specs(specs, what))


def _neighbor_rejected(spec: object, specs: object = None) -> NeighborRejected:
    exchange = () if specs is None else _specs(specs, "neighbor_rejected")
    return NeighborRejected(spec_from_term(spec), exchange)


def _shuffle(specs: object, ttl: object, sender: object) -> Shuffle:
    return Shuffle(_specs(specs, "shuffle"), _number(ttl, "shuffle"), spec_from_term(sender))


def _shuffle_reply(specs: object, sender: object) -> ShuffleReply:
    return ShuffleReply(_specs(specs, "shuffle_reply"), spec_from_term(sender))


def _inject_partition(ref: object, origin: object, ttl: object) -> InjectPartition:
    return InjectPartition(ref, spec_from_term(origin), _number(ttl, "inject_partition"))


_KINDS: dict[str, tuple[tuple[int, ...], Callable[..., Message]]] = {
    "join": ((4,), _join),
    "forward_join": ((6,), _forward_join),
    "neighbor": ((5,), _neighbor),
    "disconnect": ((3,), _disconnect),
    "neighbor_request": ((6,), _neighbor_request),
    "neighbor_accepted": ((5,), _neighbor_accepted),
    "neighbor_rejected": ((2, 3), _neighbor_rejected),
    "shuffle": ((4,), _shuffle),
    "shuffle_reply": ((3,), _shuffle_reply),
    "inject_partition": ((4,), _inject_partition),
    "resolve_partition": ((2,), ResolvePartition),
    **{tag: ((6,), _read_step(tag, kind)) for tag, kind in _STEPS.items()},
}
