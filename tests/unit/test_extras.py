"""The agreement on extras, without sockets: two values that tell each other what they would send."""

import pytest

from partisan.errors import RemoteProtocolError
from partisan.etf import Atom
from partisan.runtime.extras import MOST_OWED, Agreed, Capabilities, Tell

A, B = "a@h", "b@h"
MSGPACK = frozenset({"msgpack"})


def capabilities(node, *names):
    return (Atom("capabilities"), Atom(node), 1, [Atom(name) for name in names])


class Pair:
    """Two nodes; what one tells the other arrives when `run` is called, in order, if there is a way."""

    def __init__(self, wanted_by=(A, B), understood=(("msgpack",), ("msgpack",))):
        self.nodes = {n: Capabilities(n, u, n in wanted_by) for n, u in zip((A, B), understood, strict=True)}
        self.wire = []
        self.told = 0

    def carry_out(self, node, effects):
        self.wire += [(node, effect.peer, effect.message) for effect in effects if isinstance(effect, Tell)]

    def connect(self, node, peer):
        self.carry_out(node, self.nodes[node].connected(peer))

    def run(self):
        while self.wire:
            sender, peer, message = self.wire.pop(0)
            self.told += 1
            assert self.told < 10, "they never stop"
            self.carry_out(peer, self.nodes[peer].received(sender, message))

    def agreed(self):
        return self.nodes[A].agreed(B), self.nodes[B].agreed(A)


def test_an_offer_and_its_answer_make_an_agreement():
    node = Capabilities(A, ["msgpack"], True)
    assert node.connected(B) == [Tell(B, capabilities(A, "msgpack"))]
    assert node.agreed(B) == frozenset()
    assert node.received(B, capabilities(B, "answer", "later", "msgpack")) == [Agreed(B, MSGPACK)]
    assert node.agreed(B) == MSGPACK


def test_who_wants_nothing_offers_nothing_but_answers():
    node = Capabilities(A, ["msgpack"], False)
    assert node.connected(B) == []
    assert node.received(B, capabilities(B, "msgpack")) == [
        Agreed(B, MSGPACK),
        Tell(B, capabilities(A, "answer", "msgpack")),
    ]


def test_without_an_answer_nothing_is_agreed():
    node = Capabilities(A, ["msgpack"], True)
    node.connected(B)
    assert node.agreed(B) == frozenset()
    assert node.disconnected(B) == []


def test_nothing_is_agreed_with_a_peer_that_understands_other_things():
    node = Capabilities(A, ["msgpack"], True)
    node.connected(B)
    assert node.received(B, capabilities(B, "answer", "later")) == []


def test_a_lost_peer_is_forgotten():
    node = Capabilities(A, ["msgpack"], True)
    node.connected(B)
    node.received(B, capabilities(B, "answer", "msgpack"))
    assert node.disconnected(B) == [Agreed(B, frozenset())]
    assert node.agreed(B) == frozenset()
    assert node.disconnected(B) == []


def test_an_offer_before_there_is_a_connection_is_answered_later_and_not_trusted_until_then():
    node = Capabilities(A, ["msgpack"], False)
    assert node.received(B, capabilities(B, "msgpack")) == []
    assert node.connected(B) == [Tell(B, capabilities(A, "answer", "msgpack"))]
    assert node.agreed(B) == frozenset()
    node.disconnected(B)
    assert node.connected(B) == []


def test_only_the_latest_of_many_early_offers_are_remembered():
    node = Capabilities(A, ["msgpack"], False)
    for number in range(MOST_OWED + 1):
        node.received(f"{number}@h", capabilities(f"{number}@h", "msgpack"))
    assert node.connected("0@h") == []
    assert len(node.connected("1@h")) == 1


def test_a_peer_that_is_connected_anew_is_another_one():
    node = Capabilities(A, ["msgpack"], True)
    node.connected(B)
    node.received(B, capabilities(B, "answer", "msgpack"))
    assert node.connected(B) == [Agreed(B, frozenset()), Tell(B, capabilities(A, "msgpack"))]


@pytest.mark.parametrize("wanted_by", [(A,), (B,), (A, B)])
@pytest.mark.parametrize("order", [(A, B), (B, A)])
@pytest.mark.parametrize("between", [False, True])
def test_both_agree_whoever_connects_first(wanted_by, order, between):
    pair = Pair(wanted_by)
    for node in order:
        pair.connect(node, B if node == A else A)
        if between:
            pair.run()
    pair.run()
    for node, found in zip((A, B), pair.agreed(), strict=True):
        assert found == MSGPACK or node not in wanted_by


def test_one_side_that_lost_its_connections_agrees_again():
    pair = Pair()
    pair.connect(A, B)
    pair.connect(B, A)
    pair.run()
    assert pair.agreed() == (MSGPACK, MSGPACK)
    pair.nodes[A].disconnected(B)
    pair.connect(A, B)
    pair.run()
    assert pair.agreed() == (MSGPACK, MSGPACK)


@pytest.mark.parametrize(
    "message",
    [
        (Atom("capabilities"),),
        (Atom("capabilities"), Atom(B), Atom("one"), []),
        (Atom("capabilities"), Atom(B), 1, Atom("msgpack")),
        (Atom("capabilities"), Atom(B), 1, [b"msgpack"]),
        (Atom("capabilities"), Atom(A), 1, []),
        (Atom("capabilities"), b"b@h", 1, []),
        (Atom("capabilities"), Atom(B), 1, [Atom("msgpack")] * 65),
    ],
)
def test_malformed_capabilities_are_refused(message):
    node = Capabilities(A, ["msgpack"], True)
    node.connected(B)
    with pytest.raises(RemoteProtocolError):
        node.received(B, message)
