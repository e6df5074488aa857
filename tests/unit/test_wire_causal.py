"""Causal messages as terms: those that real nodes exchanged are read, written back, and made again by our machine."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.etf import Atom, Codec, decode, encode, exactly_equal
from partisan.machines.causal import CausalDelivery
from partisan.machines.causal_messages import CausalConfig, Stamped, State
from partisan.wire.atom import MalformedMessage
from partisan.wire.causal import (
    acknowledged_clock,
    causal_from_term,
    causal_to_term,
    is_causal,
    settled_from_term,
    settled_to_term,
    state_from_term,
    state_to_term,
    waiting_from_term,
    waiting_to_term,
)

VECTORS = Path(__file__).parents[1] / "vectors"
A, B = "a@127.0.0.1", "b@127.0.0.1"


def recorded():
    """(frame, its octets, causal message in it) of the recording with every option."""
    for line in (VECTORS / "core-forward-options.jsonl").read_text().splitlines():
        record = json.loads(line)
        if not record.get("term"):
            continue
        octets = bytes.fromhex(record["hex"])
        frame = decode(octets, codec=Codec(remote_refs=True))
        if type(frame) is tuple and is_causal(frame[-1]):
            yield frame, octets, frame[-1]


FRAMES = list(recorded())


def test_the_recording_has_causal_messages_with_and_without_acknowledgement():
    assert [len(frame) for frame, _, _ in FRAMES] == [3, 3, 5, 3, 3, 3]


@pytest.mark.parametrize(("frame", "octets", "message"), FRAMES, ids=range(len(FRAMES)))
def test_every_recorded_message_is_read_and_written_back(frame, octets, message):
    causal = causal_from_term(message)
    label = causal.label.name
    again = causal_to_term(label, causal.node, message[3], causal.dependencies, causal.clock, message[6])
    assert exactly_equal(again, message)
    if len(frame) == 5:
        assert exactly_equal(acknowledged_clock(label, causal.clock), frame[2])
    whole = (*frame[:-1], again)
    assert exactly_equal(decode(encode(whole)), decode(octets))


def test_our_machines_would_have_written_the_same():
    """Played anew by two machines that count from 1 and take each other for real nodes."""
    machines = {name: CausalDelivery(name, CausalConfig(), random.Random(0), count=0) for name in (A, B)}
    for _, _, message in FRAMES:
        causal = causal_from_term(message)
        sender, receiver = causal.clock[0][0], causal.node
        dependencies, clock = machines[sender].stamp(receiver, whole=False)
        machines[sender].sent(receiver)
        written = causal_to_term("lbl", receiver, message[3], dependencies, clock, message[6])
        assert exactly_equal(written, message)
        before = machines[receiver].delivered
        assert machines[receiver].receive(sender, Stamped(receiver, dependencies, clock, None), 0.0)
        assert machines[receiver].delivered == before + 1


NODES = st.sampled_from([A, B, "\u00e9@h"])
CLOCKS = st.lists(st.tuples(NODES, st.integers(0, 2**63 - 1)), max_size=3).map(tuple)
ROWS = st.lists(st.tuples(NODES, CLOCKS), max_size=3).map(tuple)


@given(st.integers(0, 2**63 - 1), CLOCKS, CLOCKS, ROWS, st.binary(), st.booleans())
def test_what_is_saved_is_read_as_it_was(count, heard, lost, rows, encoded, kept):
    state = State(count, heard, lost, rows)
    assert state_from_term(decode(encode(state_to_term(state)))) == state
    stamped = Stamped(A, rows, heard, None, kept)
    assert waiting_from_term(decode(encode(waiting_to_term(B, stamped, encoded)))) == (B, rows, heard, kept, encoded)


def test_a_settlement_is_read_as_it_was_written():
    assert settled_from_term(decode(encode(settled_to_term("default", 7)))) == ("default", 7)


@pytest.mark.parametrize("term", [(1, 2), (1, 2, 3), (1, Atom("x"), -1), (1, Atom("x"), 2**63), (1, Atom("x"), True)])
def test_what_is_no_settlement_is_malformed(term):
    with pytest.raises(MalformedMessage):
        settled_from_term(term)


TERMS = st.recursive(
    st.integers() | st.binary() | st.sampled_from([Atom("causal"), Atom("causal_state"), Atom(A), True, None]),
    lambda inner: st.lists(inner, max_size=6) | st.lists(inner, max_size=7).map(tuple),
    max_leaves=20,
)


@given(TERMS)
def test_no_term_raises_anything_but_malformed_message(term):
    for read in (state_from_term, waiting_from_term):
        with pytest.raises(MalformedMessage):
            read(term)
    if is_causal(term):
        causal_from_term(term)


@given(st.lists(TERMS, min_size=6, max_size=6))
def test_what_only_looks_causal_is_an_ordinary_message(parts):
    assert causal_from_term((Atom("causal"), *parts)) is None or isinstance(parts[0], Atom)
