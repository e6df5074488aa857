"""Every handshake, keepalive, membership and forwarding frame that real nodes exchanged is read and written back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from partisan.etf import Atom, Codec, decode, exactly_equal
from partisan.wire.atom import MalformedMessage
from partisan.wire.forward import (
    Ack,
    Distance,
    Forward,
    Relay,
    Strategy,
    Unknown,
    ack_to_term,
    distance_to_term,
    inbound_from_term,
    relay_to_term,
    to_manager,
)
from partisan.wire.full import gossip_from_term, gossip_to_term, speaker, state_from_term, state_to_term
from partisan.wire.handshake import Hello, Refused, State, handshake_from_term, handshake_to_term
from partisan.wire.keepalive import keepalive_from_term, keepalive_to_term

VECTORS = Path(__file__).parents[1] / "vectors"
PARTISAN_WIRE = Codec(remote_refs=True)
FILES = [
    "core-client-server",
    "core-fake-peer2",
    "core-forward-options",
    "core-join2-leave",
    "core-join3-leave",
    "core-pings",
    "core-python-node",
    "core-scamp1",
    "core-scamp2",
    "core-update-members",
]
FULL = [name for name in FILES if name not in ("core-client-server", "core-scamp1", "core-scamp2")]


def frames(name):
    """The terms of a recording, leaving out what was sent malformed on purpose."""
    for line in (VECTORS / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("term"):
            yield decode(bytes.fromhex(record["hex"]), codec=PARTISAN_WIRE)


@pytest.mark.parametrize("name", FILES)
def test_every_frame_of_the_handshake_is_read_and_written_back(name):
    seen = 0
    for term in frames(name):
        message = handshake_from_term(term)
        if message is not None:
            seen += 1
            assert isinstance(message, Hello | State | Refused)
            assert exactly_equal(handshake_to_term(message), term)
    assert seen >= 3


@pytest.mark.parametrize("name", FULL)
def test_every_greeting_of_full_membership_is_read_and_written_back_in_the_same_order(name):
    seen = 0
    for term in frames(name):
        message = handshake_from_term(term)
        if isinstance(message, State):
            try:
                state = state_from_term(message.state)
            except MalformedMessage:
                assert name == "core-fake-peer2"  # which tried wrong states on purpose
                continue
            seen += 1
            assert exactly_equal(state_to_term(state), message.state)
    assert seen


@pytest.mark.parametrize("name", FULL)
def test_every_gossip_is_read_and_written_back_in_the_same_order(name):
    seen = 0
    for term in frames(name):
        if type(term) is tuple and len(term) == 3 and term[0] is Atom("forward_message"):
            message = inbound_from_term(term)
            if isinstance(message, Strategy):
                seen += 1
                gossip = gossip_from_term(message.term)
                assert exactly_equal(to_manager(gossip_to_term(gossip)), term)
                assert speaker(gossip, gossip.sender.name) in (gossip.sender, None)
    assert seen


def test_every_ping_and_pong_is_read_and_written_back():
    seen = 0
    for name in FILES:
        for term in frames(name):
            try:
                message = keepalive_from_term(term)
            except MalformedMessage:
                continue
            if message is not None:
                seen += 1
                assert exactly_equal(keepalive_to_term(message), term)
    assert seen >= 20


@pytest.mark.parametrize("name", FILES)
def test_whatever_else_came_is_classified_and_protocol_messages_are_written_back(name):
    for term in frames(name):
        if type(term) is not tuple or term[0] is not Atom("forward_message"):
            continue
        message = inbound_from_term(term)
        if isinstance(message, Ack):
            assert exactly_equal(to_manager(ack_to_term(message.clock)), term)
        elif isinstance(message, Distance):
            assert exactly_equal(to_manager(distance_to_term(message)), term)
        elif isinstance(message, Relay):
            assert exactly_equal(to_manager(relay_to_term(message)), term)
        elif isinstance(message, Forward):
            assert (message.acknowledge is not None) == (len(term) == 5)
        else:
            assert isinstance(message, Strategy | Unknown)


def test_the_forward_options_recording_has_every_form():
    forms = {"plain": 0, "ack": 0, "causal": 0, "causal+ack": 0}
    padded = 0
    for term in frames("core-forward-options"):
        if type(term) is tuple and term[0] is Atom("forward_message"):
            message = inbound_from_term(term)
            if isinstance(message, Forward):
                form = "+".join(
                    n for n, w in (("causal", message.causal), ("ack", message.acknowledge)) if w is not None
                )
                forms[form or "plain"] += 1
                raw = term[-1]
                if type(raw) is tuple and raw and raw[0] is Atom("$partisan_padded"):
                    padded += 1
                    assert exactly_equal(message.message, raw[2])
    assert all(forms.values())
    assert padded
