"""SCAMP on the wire: every frame that real nodes exchanged is read and written back, and no other is written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.errors import MembershipTooLarge, RemoteProtocolError
from partisan.etf import Atom, Codec, ErlMap, decode, encode, exactly_equal
from partisan.machines.scamp import Heartbeat, Subscription, Unsubscription
from partisan.machines.scamp_v1 import ScampV1State
from partisan.machines.scamp_v2 import Departure, Kept, Replacement, ScampV2State
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from partisan.wire.atom import MalformedMessage
from partisan.wire.forward import Strategy, inbound_from_term, to_manager
from partisan.wire.handshake import State, handshake_from_term
from partisan.wire.scamp import message_from_term, message_to_term, speaker, state_from_term, state_to_term
from partisan.wire.spec import spec_to_term

VECTORS = Path(__file__).parents[1] / "vectors"
PARTISAN_WIRE = Codec(remote_refs=True)
STRATEGY = Atom("membership_strategy")

A, B = (NodeSpec.of(f"{n}@h", (ListenAddress("127.0.0.1", 1000),), {"undefined": ChannelOptions()}) for n in "ab")
SPEC = spec_to_term(A)
FIRST = [Subscription(A), Unsubscription(A), Heartbeat(A)]
MESSAGES = [*FIRST, Kept(A), Departure(A), Replacement(A, B)]
STATES = [
    (1, ScampV1State(b"a" * 20, (A, B))),
    (1, ScampV1State(b"a" * 20, (A,), (1795, 235092, 425389))),
    (2, ScampV2State(A, b"a" * 20, (B, A, B), (B,))),
    (2, ScampV2State(A, b"", (), (), (0, 0, 0))),
]


def frames(version):
    """What was sent, and by whom."""
    for line in (VECTORS / f"core-scamp{version}.jsonl").read_text().splitlines():
        record = json.loads(line)
        yield record["dir"], decode(bytes.fromhex(record["hex"]), codec=PARTISAN_WIRE)


@pytest.mark.parametrize("version", [1, 2])
def test_every_recorded_frame_is_read_and_written_back(version):
    seen = Counter()
    for direction, term in frames(version):
        handshake = handshake_from_term(term)
        if isinstance(handshake, State):
            state = state_from_term(handshake.state, version, 100)
            seen[type(state)] += 1
            assert exactly_equal(state_to_term(state), handshake.state)
            name = f"{direction[0]}@127.0.0.1"
            found = speaker(state, name)
            assert found is not None
            assert found.name == name
        elif handshake is None:
            inbound = inbound_from_term(term)
            assert isinstance(inbound, Strategy)
            message = message_from_term(inbound.term, version)
            seen[type(message)] += 1
            assert exactly_equal(to_manager(message_to_term(message)), term)
    expected = {1: {ScampV1State, *map(type, FIRST)}, 2: {ScampV2State, Subscription, Heartbeat, Kept, Departure}}
    assert set(seen) == expected[version]


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_is_written_and_read_back(message):
    term = decode(encode(message_to_term(message)))
    assert message_from_term(term, 2) == message
    if message in FIRST:
        assert message_from_term(term, 1) == message
    else:
        with pytest.raises(MalformedMessage):
            message_from_term(term, 1)


@pytest.mark.parametrize(("version", "state"), STATES)
def test_every_state_is_written_and_read_back(version, state):
    assert state_from_term(decode(encode(state_to_term(state))), version, 10) == state


def test_a_view_that_is_too_large_is_refused():
    with pytest.raises(MembershipTooLarge):
        state_from_term(state_to_term(STATES[0][1]), 1, 1)
    with pytest.raises(MembershipTooLarge):
        state_from_term(state_to_term(STATES[2][1]), 2, 2)


@pytest.mark.parametrize(
    ("version", "theirs"),
    [(1, "scamp_v2"), (2, "scamp_v1"), (1, "full_v1"), (2, "RandomGossip")],
)
def test_the_state_of_another_strategy_is_refused(version, theirs):
    terms = {
        "scamp_v1": state_to_term(STATES[0][1]),
        "scamp_v2": state_to_term(STATES[2][1]),
        "full_v1": (Atom("full_v1"), b"a", (Atom("state_orset"), [])),
        "RandomGossip": (Atom("partisan_strategy"), Atom("RandomGossip"), SPEC, 1),
    }
    with pytest.raises(MalformedMessage, match="membership state"):
        state_from_term(terms[theirs], version, 10)


WORDS = st.sampled_from(
    [
        *map(Atom, ("ping", "forward_subscription", "replace_subscription", "scamp_v1", "scamp_v2", "x")),
        SPEC,
        STRATEGY,
        None,
        b"a",
    ]
)
TERMS = st.recursive(
    st.one_of(WORDS, st.integers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=6).map(tuple),
        st.lists(inner, max_size=3).map(lambda keys: ErlMap([(key, []) for key in keys[:1]])),
    ),
    max_leaves=12,
)


@given(TERMS, st.sampled_from([1, 2]))
def test_any_term_is_read_or_refused(term, version):
    for read in (
        lambda: message_from_term(term, version),
        lambda: message_from_term((STRATEGY, term), version),
        lambda: state_from_term(term, version, 10),
    ):
        try:
            read()
        except RemoteProtocolError:
            continue


@given(st.lists(st.one_of(WORDS, st.integers(), st.lists(WORDS, max_size=2)), min_size=3, max_size=5))
def test_any_state_of_the_right_size_is_read_or_refused(fields):
    for version in (1, 2):
        try:
            state_from_term((Atom(f"scamp_v{version}"), *fields), version, 10)
        except RemoteProtocolError:
            continue
