"""Acknowledged messages and acknowledgements as terms: as real nodes sent them, and as nobody should."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.etf import Atom, Codec, decode, encode, exactly_equal
from partisan.machines.acknowledged import (
    FIRST_NUMBER,
    MOST_NUMBER,
    MOST_RANGES,
    Ack,
    Acknowledged,
    AcknowledgedConfig,
    AcknowledgedDelivery,
    Acks,
    Submit,
)
from partisan.machines.machine import Received, Send
from partisan.wire.acknowledged import (
    acks_from_term,
    acks_to_term,
    clock_to_term,
    fingerprint,
    kept_from_term,
    kept_to_term,
    message_to_term,
    number_from_clock,
    number_from_message,
)
from partisan.wire.atom import MalformedMessage
from partisan.wire.forward import Ack as AckTerm
from partisan.wire.forward import ack_to_term, inbound_from_term, to_manager

VECTORS = Path(__file__).parents[1] / "vectors"
PARTISAN_WIRE = Codec(remote_refs=True)
FILES = ["core-forward-options", "core-fake-peer2", "core-python-node"]
A, B, SINK = Atom("a@127.0.0.1"), Atom("b@127.0.0.1"), Atom("sink")


def frames(name):
    """(octets, term) of a recording, leaving out what was sent malformed on purpose."""
    for line in (VECTORS / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("term"):
            yield bytes.fromhex(record["hex"]), decode(bytes.fromhex(record["hex"]), codec=PARTISAN_WIRE)


def five_tuples(name):
    return [term for _, term in frames(name) if type(term) is tuple and len(term) == 5]


def test_every_numbered_message_of_real_nodes_is_read_and_written_back():
    numbers = []
    for term in five_tuples("core-forward-options"):
        number = number_from_message(term, A)
        if number is not None:
            numbers.append(number)
            assert exactly_equal(message_to_term(A, number, term[3], term[4]), term)
            assert exactly_equal(clock_to_term(A, number), term[2])
    assert numbers == [2, 3, 4, 10, 20, 20]


def test_messages_of_a_clock_of_their_own_or_of_causal_order_have_no_number():
    others = [term[2] for term in five_tuples("core-forward-options") if number_from_message(term, A) is None]
    assert others == [Atom("my_clock"), (Atom("lbl"), [(A, 3)])]


def test_a_real_node_acknowledges_the_numbers_that_it_was_sent_and_that_is_what_we_would_send():
    asked = [term[2] for term in five_tuples("core-forward-options")]
    acks = []
    for _, term in frames("core-forward-options"):
        inbound = inbound_from_term(term) if type(term) is tuple and term[0] is Atom("forward_message") else None
        if isinstance(inbound, AckTerm):
            acks.append(inbound.clock)
            assert exactly_equal(to_manager(ack_to_term(inbound.clock)), term)
    copies = 1  # of the message that was sent to a node that was down
    assert [number_from_clock(clock, A) for clock in acks] == [number_from_clock(clock, A) for clock in asked[:-copies]]
    assert len([clock for clock in acks if number_from_clock(clock, A) is None]) == 2


def test_a_copy_that_a_real_node_sent_has_the_fingerprint_of_the_first():
    first, again = (term for term in five_tuples("core-forward-options") if number_from_message(term, A) == 20)
    assert fingerprint(*first[3:]) == fingerprint(*again[3:])
    other = next(term for term in five_tuples("core-forward-options") if number_from_message(term, A) == 2)
    assert fingerprint(*first[3:]) != fingerprint(*other[3:])
    assert fingerprint(SINK, b"x") != fingerprint(Atom("asink"), b"x")


@pytest.mark.parametrize("name", FILES)
def test_what_real_nodes_and_a_peer_gone_wrong_sent_is_read_without_error(name):
    for _, term in frames(name):
        number_from_message(term, A)
        for part in term if type(term) is tuple else ():
            number_from_clock(part, A)


@pytest.mark.parametrize(
    "clock",
    [
        None,
        7,
        (),
        (None,),
        (None, []),
        (None, (A, 1)),
        (None, [(A, 1), (B, 1)]),
        (None, [(B, 1)]),
        (None, [(A, -1)]),
        (None, [(A, MOST_NUMBER)]),
        (None, [(A, True)]),
        (None, [(A, 1.0)]),
        (None, [(A, b"1")]),
        (None, [(A, 1, 1)]),
        (None, [[A, 1]]),
        (None, {A: 1}),
        (Atom("lbl"), [(A, 1)]),
        ([], [(A, 1)]),
        (None, [(A, 1)], 1),
        [(A, 1)],
    ],
    ids=repr,
)
def test_a_clock_that_is_not_the_sources_own_count_has_no_number(clock):
    assert number_from_clock(clock, A) is None
    assert number_from_message((Atom("forward_message"), A, clock, SINK, b"hi"), A) is None


def test_a_message_in_the_name_of_another_node_has_no_number():
    term = message_to_term(A, 7, SINK, b"hi")
    assert number_from_message(term, A) == 7
    assert number_from_message(term, B) is None
    assert number_from_message((term[0], B, *term[2:]), A) is None
    assert number_from_message(term[:4], A) is None
    assert number_from_message((Atom("backward"), *term[1:]), A) is None
    assert number_from_message((term[0], B, *term[2:]), B) is None


@pytest.mark.parametrize("ranges", [(), ((1, 2), (7, 7)), ((FIRST_NUMBER, FIRST_NUMBER + 9),)])
def test_acknowledged_ranges_survive_the_round_trip(ranges):
    assert acks_from_term(decode(encode(acks_to_term(ranges)))) == ranges


@pytest.mark.parametrize(
    "term",
    [
        7,
        (),
        (Atom("acks"),),
        (Atom("acks"), 7),
        (Atom("acks"), ((1, 2),)),
        (Atom("acks"), [1]),
        (Atom("acks"), [(1, 2, 3)]),
        (Atom("acks"), [(1, True)]),
        (Atom("acks"), [(b"", 1)]),
        (Atom("ack"), [(1, 2)]),
        (Atom("acks"), [(1, 2)], 1),
        (Atom("acks"), [(n, n) for n in range(MOST_RANGES + 1)]),
    ],
)
def test_acknowledged_ranges_of_another_shape_are_malformed(term):
    with pytest.raises(MalformedMessage, match="acks"):
        acks_from_term(term)


def test_a_message_that_goes_on_by_relays_survives_the_round_trip():
    message = message_to_term(A, 7, SINK, b"hi")
    assert kept_from_term(decode(encode(kept_to_term(message)))) == message


@pytest.mark.parametrize("term", [7, (), (Atom("kept"),), (Atom("acks"), 7), (Atom("kept"), 7, 8)])
def test_a_message_by_relays_of_another_shape_is_malformed(term):
    with pytest.raises(MalformedMessage, match="kept"):
        kept_from_term(term)


def through(sender, receiver, message):
    """What the receiver reads of what the sender's machine sends."""
    if isinstance(message, Acknowledged):
        term = decode(encode(message_to_term(sender, message.number, SINK, message.message)))
        return Acknowledged(number_from_message(term, sender), term[4], fingerprint(*term[3:]))
    if isinstance(message, Acks):
        return Acks(acks_from_term(decode(encode(acks_to_term(message.ranges)))))
    frame = encode(to_manager(ack_to_term(clock_to_term(receiver, message.number))))
    return Ack(number_from_clock(inbound_from_term(decode(frame)).clock, receiver))


@given(st.lists(st.binary(max_size=8), max_size=5), st.integers(0, 1 << 32))
def test_machines_understand_each_other_through_the_wire(contents, seed):
    a, b = (AcknowledgedDelivery(name.name, AcknowledgedConfig(), random.Random(f"{seed}{name}")) for name in (A, B))
    for content in contents:
        message = a.handle(Submit(B.name, content), 0.0)[-1].message
        for effect in b.handle(Received(A.name, through(A, B, message)), 0.0):
            if isinstance(effect, Send):
                a.handle(Received(B.name, through(B, A, effect.message)), 0.0)
    assert len(a.sent) == 0
    assert a.sent.delivered == len(contents)
