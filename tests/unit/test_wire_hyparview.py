"""HyParView on the wire: every frame that real nodes exchanged is read and written back, and no other is written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from partisan.errors import MembershipTooLarge
from partisan.etf import Atom, Codec, decode, encode, exactly_equal
from partisan.machines import hyparview as m
from partisan.machines import xbot as x
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from partisan.wire.atom import MalformedMessage
from partisan.wire.handshake import State, handshake_from_term
from partisan.wire.hyparview import (
    MOST_ADVERTISED,
    message_from_term,
    message_to_term,
    sender_of,
    state_from_term,
    state_to_term,
)
from partisan.wire.spec import spec_to_term

VECTORS = Path(__file__).parents[1] / "vectors"
PARTISAN_WIRE = Codec(remote_refs=True)
FILES = ["upper-hyparview", "upper-hyparview-small"]
OTHERS = {"hello", "state", "forward_message", "relay_message"}

A, B, C, D = (
    NodeSpec.of(f"{n}@h", (ListenAddress("127.0.0.1", 1000),), {"undefined": ChannelOptions()}) for n in "abcd"
)
SPEC = spec_to_term(A)
MESSAGES = [
    m.JoinRequest(A, "undefined", 3),
    m.ForwardJoin(A, "blue", 1, 6, B),
    m.Neighbor(A, "undefined", (1, 0), B),
    m.Farewell(A, (2, 7)),
    m.NeighborRequest(A, m.LOW, "blue", (1, 0), (A, B)),
    m.NeighborRequest(A, m.HIGH, "blue", (1, 0), ()),
    m.NeighborAccepted(A, "blue", (1, 0), (B,)),
    m.NeighborRejected(A, ()),
    m.Shuffle((A, B), 0, B),
    m.ShuffleReply((A,), B),
    m.InjectPartition(Atom("ref"), A, 2),
    m.ResolvePartition(Atom("ref")),
    x.Optimization(None, A, B, C, None),
    x.OptimizationReply(True, A, B, C, None),
    x.OptimizationReply(False, A, B, C, D),
    x.Replace(None, A, B, C, D),
    x.ReplaceReply(True, A, B, C, D),
    x.Switch(None, A, B, C, D),
    x.SwitchReply(False, A, B, C, D),
]


def frames(name):
    """What was sent, by whom, and whether it was the handshake or the like."""
    for line in (VECTORS / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("term"):
            yield record["dir"], decode(bytes.fromhex(record["hex"]), codec=PARTISAN_WIRE)


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_frame_is_read_and_written_back(name):
    seen = Counter()
    for direction, term in frames(name):
        message = message_from_term(term)
        if message is None:
            assert term[0].name in OTHERS
            continue
        seen[type(message)] += 1
        assert exactly_equal(message_to_term(message), term)
        speaker = sender_of(message)
        assert speaker is None or speaker.name.partition("@")[0] == direction[0]
    recorded = {m.JoinRequest, m.ForwardJoin, m.Neighbor, m.Shuffle, m.ShuffleReply}
    assert recorded.issubset(seen)


def test_the_recordings_have_every_message_but_a_rejection():
    seen = {type(message_from_term(term)) for name in FILES for _, term in frames(name)}
    assert {type(message) for message in MESSAGES} - seen == {m.NeighborRejected, *x.ENDS}  # real X-BOT crashes


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_greeting_is_read_and_written_back(name):
    seen = 0
    for _, term in frames(name):
        message = handshake_from_term(term)
        if isinstance(message, State):
            seen += 1
            state = state_from_term(message.state)
            assert len(state.active) >= 1
            assert exactly_equal(state_to_term(state), message.state)
    assert seen >= 20


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_codec(message):
    assert message_from_term(decode(encode(message_to_term(message)))) == message


def test_every_message_of_the_machine_has_its_term():
    assert {type(message) for message in MESSAGES} == set(m._HEARS)


@pytest.mark.parametrize(
    ("tag", "kind", "sender"),
    [
        ("optimization", x.Optimization, B),
        ("optimization_reply", x.OptimizationReply, C),
        ("replace", x.Replace, C),
        ("replace_reply", x.ReplaceReply, D),
        ("switch", x.Switch, D),
        ("switch_reply", x.SwitchReply, A),
    ],
)
def test_a_step_of_xbot_is_six_terms_in_the_order_of_the_reference(tag, kind, sender):
    answer = True if tag.endswith("_reply") else None
    term = (Atom(tag), answer, *map(spec_to_term, (A, B, C, D)))
    message = message_from_term(decode(encode(term)))
    assert type(message) is kind
    assert (message.old, message.initiator, message.candidate, message.disconnect) == (A, B, C, D)
    assert exactly_equal(message_to_term(message), term)
    assert sender_of(message) == sender
    with pytest.raises(MalformedMessage):
        message_from_term((term[0], None if answer else False, *term[2:]))


def test_the_rejection_that_crashes_a_real_manager_is_read_and_never_written():
    rejected = message_from_term((Atom("neighbor_rejected"), SPEC))
    assert rejected == m.NeighborRejected(A, ())
    assert message_to_term(rejected) == (Atom("neighbor_rejected"), SPEC, [])


@pytest.mark.parametrize("term", [(), None, 1, b"join", [], (1, 2), (Atom("foo"), Atom("bar")), (None, 1)])
def test_what_is_none_of_its_messages_is_left_to_others(term):
    assert message_from_term(term) is None


def wrong_terms():
    """Each message with each of its parts replaced by something else, or left out."""
    for message in MESSAGES:
        term = message_to_term(message)
        if len(term) > 3:
            yield term[:-2]
        yield (*term, 1, 2)
        for at in range(1, len(term)):
            if term[0].name.endswith("_partition") and at == 1:
                continue  # any term names a partition
            for wrong in (1.5, -1, b"x", (1,), [1], {}, 1 << 70, ((1, 2), 3), [SPEC, 1]):
                yield (*term[:at], wrong, *term[at + 1 :])
    tag, spec, _, *rest = message_to_term(MESSAGES[4])
    yield (tag, spec, Atom("urgent"), *rest)


def test_whatever_has_another_shape_is_malformed():
    count = 0
    for term in wrong_terms():
        with pytest.raises(MalformedMessage):
            message_from_term(term)
        count += 1
    assert count > 300


def test_more_peers_than_can_be_meant_are_refused_before_they_are_looked_at():
    many = [None] * (MOST_ADVERTISED + 1)
    for term in ((Atom("shuffle"), many, 3, SPEC), (Atom("shuffle_reply"), many, SPEC)):
        with pytest.raises(MembershipTooLarge):
            message_from_term(term)
    with pytest.raises(MembershipTooLarge):
        state_from_term((Atom("state"), {n: [] for n in range(MOST_ADVERTISED + 1)}, 1))


@pytest.mark.parametrize(
    "term",
    [None, (), (Atom("state"), [], 1), (Atom("state"), {}, -1), (Atom("state"), {1: []}, 1), (Atom("state"), {}, None)],
)
def test_a_greeting_of_another_shape_is_malformed(term):
    with pytest.raises(MalformedMessage):
        state_from_term(term)


def test_an_empty_greeting_is_one():
    assert state_from_term((Atom("state"), {}, 1)) == m.HyParViewState((), 1)
