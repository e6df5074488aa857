"""Client-server on the wire: every frame that real nodes exchanged is read, and written back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from partisan.errors import MembershipTooLarge
from partisan.etf import Atom, Codec, decode, encode, exactly_equal
from partisan.machines.client_server import Introduction, Parting
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from partisan.wire.atom import MalformedMessage
from partisan.wire.client_server import EXTRA, members_from_term, members_to_term, message_from_term, message_to_term
from partisan.wire.forward import Forward, inbound_from_term
from partisan.wire.handshake import Hello, State, handshake_from_term, handshake_to_term
from partisan.wire.kind import kind_of
from partisan.wire.spec import spec_to_term

VECTORS = Path(__file__).parents[1] / "vectors" / "core-client-server.jsonl"
PARTISAN_WIRE = Codec(remote_refs=True)
MANAGER = Atom("partisan_client_server_peer_service_manager")

A, B = (NodeSpec.of(f"{n}@h", (ListenAddress("127.0.0.1", 1000),), {"undefined": ChannelOptions()}) for n in "ab")
SPEC = spec_to_term(A)
MESSAGES = [Introduction(A, "client", True), Introduction(A, "undefined", False), Parting(B)]


def frames():
    for line in VECTORS.read_text().splitlines():
        record = json.loads(line)
        octets = bytes.fromhex(record["hex"])
        yield record, octets, decode(octets, codec=PARTISAN_WIRE)


def test_every_recorded_frame_is_read_and_written_back():
    tags = {}
    for record, octets, term in frames():
        message = handshake_from_term(term)
        speaker, listener = (f"{name}@127.0.0.1" for name in record["dir"].split(">"))
        if isinstance(message, State):
            members = members_from_term(message.state)
            assert speaker in [member.name for member in members]
            tags[speaker] = message.tag
            written = handshake_to_term(State(message.tag, members_to_term(members)))
            assert exactly_equal(written, term)
            assert len(encode(written, codec=PARTISAN_WIRE)) <= len(octets)
        elif isinstance(message, Hello):
            assert message.node == speaker != listener
            assert exactly_equal(handshake_to_term(message), term)
        else:
            forward = inbound_from_term(term, MANAGER)
            assert isinstance(forward, Forward)
            assert forward.target == Atom("sink")
            assert exactly_equal((Atom("forward_message"), forward.target, forward.message), term)
    assert tags == {"d@127.0.0.1": "server", "e@127.0.0.1": "client"}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_codec_and_goes_by_a_name_that_no_real_node_has(message):
    assert message_from_term(decode(encode(message_to_term(message)))) == message
    frame = (Atom("forward_message"), Atom("partisan_python"), message_to_term(message))
    assert kind_of(encode(frame)) == "membership"


def test_a_set_of_members_survives_the_codec():
    assert members_from_term(decode(encode(members_to_term((A, B))))) == (A, B)
    assert members_from_term(decode(encode(members_to_term(())))) == ()


def wrong_terms():
    for message in MESSAGES:
        tag, body = message_to_term(message)
        yield (tag,)
        yield (tag, body, 1)
        yield (Atom("other"), body)
        yield (tag, list(body))
        yield (tag, (*body, 1))
        for at in range(len(body)):
            for wrong in (1.5, b"x", (1,), [1], {}, Atom("other") if at != 2 else 7):
                yield (tag, (*body[:at], wrong, *body[at + 1 :]))


def test_whatever_has_another_shape_is_malformed():
    terms = list(wrong_terms())
    for term in (*terms, None, (), 1, [], (Atom(EXTRA),)):
        with pytest.raises(MalformedMessage):
            message_from_term(term)
    assert len(terms) > 60


@pytest.mark.parametrize("term", [None, (), [], 7, b"x", {1: []}, {Atom("a"): 1}, [(SPEC, [])]])
def test_what_is_no_set_of_members_is_malformed(term):
    with pytest.raises(MalformedMessage):
        members_from_term(term)


def test_a_set_that_is_too_large_is_refused_before_it_is_looked_at():
    with pytest.raises(MembershipTooLarge):
        members_from_term({number: [] for number in range(5)}, most=4)
