"""Plumtree on the wire: every frame that real nodes exchanged is read and written back, and its story is retold."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from partisan.etf import Atom, Codec, decode, encode, exactly_equal
from partisan.machines.heartbeat import CHANNEL, MOD, NOBODY, Heartbeats
from partisan.machines.machine import NeighborUp, Notify, Received, Start, Violation
from partisan.machines.plumtree import Plumtree
from partisan.machines.plumtree_messages import (
    Graft,
    IgnoredIHave,
    IHave,
    Missing,
    PlumtreeConfig,
    Prune,
    Push,
    Say,
)
from partisan.wire.atom import MalformedMessage
from partisan.wire.plumtree import SERVER, id_key, message_from_term, message_to_term, say_from_term, say_to_term

RECORDED = Path(__file__).parents[1] / "vectors" / "upper-plumtree.jsonl"
PARTISAN_WIRE = Codec(remote_refs=True)
A, B = "a@127.0.0.1", "b@127.0.0.1"
MESSAGES = [
    Push((Atom("ubc"), b"k"), [b"v", 1.5], "ubc", 0, A, B),
    Prune(A, B),
    IHave(7, "ubc", 3, A, B),
    IgnoredIHave(7, "undefined", 3, A, B),
    Graft(None, "ubc", 3, A, B),
    Graft(None, None, 3, A, B),
]


def frames():
    """(line, from and to, channel, message) of all that was sent to the server."""
    for line in RECORDED.read_text().splitlines():
        record = json.loads(line)
        if record.get("term"):
            term = decode(bytes.fromhex(record["hex"]), codec=PARTISAN_WIRE)
            if term[0] is Atom("forward_message") and term[1] is SERVER:
                yield record["dir"], record["channel"], term[2]


def test_every_recorded_frame_is_read_and_written_back():
    seen = Counter()
    for direction, channel, term in frames():
        message = message_from_term(term, channel)
        seen[type(message)] += 1
        assert exactly_equal(message_to_term(message), term)
        assert message.sender.partition("@")[0] == direction[0]
        assert message.channel == channel
    assert set(seen) == {Push, Prune, IHave, IgnoredIHave, Graft}
    assert sum(seen.values()) > 60


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_codec(message):
    assert message_from_term(decode(encode(message_to_term(message)))) == message


def test_an_exchange_survives_the_codec():
    said = Say("map", (0, ((b"a", 1, ((1, 2),)),)), A, "gossip")
    assert say_from_term(decode(encode(say_to_term(said))), "gossip") == said


def test_every_message_of_the_machine_has_its_term():
    assert {type(message) for message in MESSAGES} | {Say} == set(Plumtree.HEARS)


CAST = Atom("$gen_cast")


@pytest.mark.parametrize(
    "term",
    [
        None,
        (),
        (CAST,),
        (CAST, ()),
        (CAST, (1, 2)),
        (CAST, (Atom("update"), [])),
        (Atom("$gen_call"), (Atom("prune"), Atom(A), Atom(B))),
        (CAST, [Atom("prune"), Atom(A), Atom(B)]),
    ],
)
def test_what_is_none_of_its_messages_is_left_to_others(term):
    assert message_from_term(term) is None


@pytest.mark.parametrize(
    "term",
    [
        (Atom("prune"), Atom(A)),
        (Atom("prune"), Atom(A), Atom("no node")),
        (Atom("prune"), A.encode(), Atom(B)),
        (Atom("prune"), None, Atom(B)),
        (Atom("broadcast"), 1, 2, Atom("ubc"), Atom(A)),
        (Atom("broadcast"), 1, 2, Atom("ubc"), -1, Atom(A), Atom(B)),
        (Atom("i_have"), 1, Atom("ubc"), 1 << 40, Atom(A), Atom(B)),
        (Atom("i_have"), 1, Atom("ubc"), True, Atom(A), Atom(B)),
        (Atom("graft"), 1, b"ubc", 1, Atom(A), Atom(B)),
        (Atom("ignored_i_have"), 1, Atom("ubc"), 1, 2, Atom(B)),
    ],
)
def test_what_no_real_node_sends_is_malformed(term):
    with pytest.raises(MalformedMessage):
        message_from_term((CAST, term))


@pytest.mark.parametrize(
    "term", [(Atom("exchange"),), (Atom("exchange"), 1, 2, Atom(A)), (Atom("exchange"),) + (A,) * 3]
)
def test_an_exchange_of_another_shape_is_malformed(term):
    with pytest.raises(MalformedMessage):
        say_from_term(term)


def test_ids_are_told_apart_as_erlang_does():
    assert len({id_key(each) for each in (1, 1.0, True, b"1", Atom("1"), [1], (1,), {1: 1})}) == 8
    assert id_key((Atom("n"), 1, [b"x"])) == id_key((Atom("n"), 1, [b"x"]))


def test_a_node_that_hears_the_recording_takes_every_message_and_every_heartbeat():
    """What b, who was there, heard: nothing is a violation, and heartbeats of nonode@nohost prune nobody."""
    beats = Heartbeats(Atom(B), 1, nobody=Atom(NOBODY))
    made = Plumtree(B, PlumtreeConfig(key=id_key), Random(1), {MOD: beats, "ubc": Known()})
    made.handle(Start(), 0.0)
    for name in "acd":
        made.handle(NeighborUp(f"{name}@127.0.0.1"), 0.0)
    heard = {}
    for direction, channel, term in frames():
        if not direction.endswith(">b"):
            continue
        message = message_from_term(term, channel)
        effects = made.handle(Received(message.sender, message), 1.0)
        assert not [each for each in effects if type(each) is Notify and type(each.fact) is Violation]
        if type(message) is Push and message.mod == MOD:
            assert channel == CHANNEL
            assert any(type(each.message) is Prune for each in effects) is (message.id in heard)
            heard[message.id] = None
    assert {id[0] for id in heard} == {Atom(NOBODY)}
    assert len({id[1] for id in heard}) > 1
    assert all(beats.is_stale(id) for id in heard)


class Known:
    """The handler of the recording."""

    def __init__(self):
        self.kept = {}

    def merge(self, id, payload):
        return self.kept.setdefault(id_key(id), payload) is payload

    def is_stale(self, id):
        return id_key(id) in self.kept

    def graft(self, id):
        return Missing.UNKNOWN

    def broadcast_channel(self):
        return "gossip"
