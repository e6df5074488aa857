"""A cluster of real specs whose every message is encoded and decoded: what is simulated is what is sent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from partisan.machines.client_server import (
    ClientServer,
    ClientServerConfig,
    ClientServerState,
    Introduction,
    Parting,
)
from partisan.machines.full import FullConfig, FullMembership, Gossip, Summary
from partisan.machines.hyparview import HyParView, HyParViewConfig, HyParViewState
from partisan.machines.machine import Join, Leave, Violation
from partisan.machines.membership import MembershipConfig
from partisan.machines.scamp_v1 import ScampConfig, ScampV1, ScampV1State
from partisan.machines.scamp_v2 import ScampV2, ScampV2State
from partisan.names import ChannelOptions, ListenAddress, NodeSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from random_gossip import RandomGossip

etf = pytest.importorskip("partisan.etf", reason="needs the compiled codec")
order = pytest.importorskip("partisan.wire.order")
wire = pytest.importorskip("partisan.wire.full")
hyparview = pytest.importorskip("partisan.wire.hyparview")
scamp = pytest.importorskip("partisan.wire.scamp")
star = pytest.importorskip("partisan.wire.client_server")
records = pytest.importorskip("partisan.wire.records")

CHANNELS = {"undefined": ChannelOptions(), "partisan_membership": ChannelOptions(1, False, True)}
SPECS = tuple(NodeSpec.of(f"n{n}@h", (ListenAddress("::1", 1000 + n),), CHANNELS) for n in range(8))


def through(message):
    if isinstance(message, Gossip | Summary):
        return wire.gossip_from_term(etf.decode(etf.encode(wire.gossip_to_term(message))))
    return wire.state_from_term(etf.decode(etf.encode(wire.state_to_term(message))))


def build(peer, rng, restored):
    return FullMembership(peer, FullConfig(key=order.spec_key), rng, restored)


def test_nodes_agree_also_if_every_message_is_encoded(network):
    net = network(1, build, through)
    for peer in SPECS:
        net.boot(peer)
    for peer in SPECS[1:]:
        net.tell(peer, Join(("contact", SPECS[0])))
    net.run(30.0)
    assert {node.machine.members for node in net.nodes.values()} == {SPECS}
    net.tell(SPECS[3], Leave())
    net.crash(SPECS[5])
    net.run(1.0)
    net.boot(SPECS[5], net.saved[SPECS[5]])
    net.run(30.0)
    stayed = SPECS[:3] + SPECS[4:]
    assert {node.machine.members for node in net.nodes.values()} == {stayed, (SPECS[3],)}
    assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]


def test_a_strategy_of_ones_own_agrees_also_if_every_message_is_encoded(network):
    kind = RandomGossip
    translate = records.Records(kind.__name__, kind.messages, 100)

    def encoded(message):
        return translate.message_from_term(etf.decode(etf.encode(translate.message_to_term(SPECS[0], message))))[1]

    net = network(
        3, lambda peer, rng, restored: kind(peer, MembershipConfig(key=order.spec_key), rng, restored), encoded
    )
    for peer in SPECS:
        net.boot(peer)
        net.tell(peer, Join(("contact", SPECS[0])))
    net.run(30.0)
    net.tell(SPECS[3], Leave())
    net.run(30.0)
    assert {node.machine.members for node in net.nodes.values()} == {SPECS[:3] + SPECS[4:], (SPECS[3],)}
    assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]


def test_encoding_changes_nothing_that_happens(network):
    def messages(*arguments):
        net = network(2, build, *arguments)
        for peer in SPECS:
            net.boot(peer)
            net.tell(peer, Join(("contact", SPECS[0])))
        net.run(30.0)
        return net.sent, net.facts

    assert messages() == messages(through)


def through_hyparview(message):
    if isinstance(message, HyParViewState):
        return hyparview.state_from_term(etf.decode(etf.encode(hyparview.state_to_term(message))))
    return hyparview.message_from_term(etf.decode(etf.encode(hyparview.message_to_term(message))))


def test_partial_views_are_the_same_if_every_message_is_encoded(network):
    specs = [NodeSpec.of(f"n{n}@h", (ListenAddress("::1", 1000 + n),), CHANNELS) for n in range(20)]
    config = HyParViewConfig(active_max_size=4, key=order.spec_key)

    def story(*arguments):
        net = network(4, lambda peer, rng, restored: HyParView(peer, config, rng, restored), *arguments)
        for peer in specs:
            net.boot(peer)
            if peer is not specs[0]:
                net.tell(peer, Join(("contact", specs[0])))
            net.run(0.1)
        net.run(30.0)
        net.crash(specs[5])
        net.tell(specs[7], Leave())
        net.run(30.0)
        assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]
        return net.sent, net.facts, [(node.machine.active, node.machine.passive) for node in net.nodes.values()]

    encoded = story(through_hyparview)
    assert encoded == story()
    assert sum(len(active) == 3 for active, _ in encoded[2]) >= 14


@pytest.mark.parametrize(("version", "kind"), [(1, ScampV1), (2, ScampV2)])
def test_scamp_is_the_same_if_every_message_is_encoded(network, version, kind):
    specs = [NodeSpec.of(f"n{n}@h", (ListenAddress("::1", 1000 + n),), CHANNELS) for n in range(20)]
    config = ScampConfig(copies=2, lease=40.0, key=order.spec_key)

    def encoded(message):
        if isinstance(message, ScampV1State | ScampV2State):
            return scamp.state_from_term(etf.decode(etf.encode(scamp.state_to_term(message))), version, 100)
        return scamp.message_from_term(etf.decode(etf.encode(scamp.message_to_term(message))), version)

    def story(*arguments):
        net = network(5, lambda peer, rng, restored: kind(peer, config, rng, restored), *arguments)
        for number, peer in enumerate(specs):
            net.boot(peer)
            if number:
                net.tell(peer, Join(("contact", specs[number // 2])))
            net.run(0.3)
        net.run(30.0)
        net.crash(specs[5])
        net.tell(specs[7], Leave())
        net.run(60.0)
        assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]
        return net.sent, net.facts, [node.machine.view for node in net.nodes.values()]

    assert story(encoded) == story()


def test_a_star_forms_and_parts_also_if_every_message_is_encoded(network):
    def through(message):
        if isinstance(message, Introduction | Parting):
            return star.message_from_term(etf.decode(etf.encode(star.message_to_term(message))))
        members = star.members_from_term(etf.decode(etf.encode(star.members_to_term(message.members))))
        return ClientServerState(message.tag, members)

    def build(peer, rng, restored):
        tag = "server" if peer in SPECS[:2] else "client"
        return ClientServer(peer, ClientServerConfig(tag=tag, key=order.spec_key), rng, restored)

    net = network(3, build, through)
    for peer in SPECS:
        net.boot(peer)
    for peer in SPECS[1:]:
        net.tell(peer, Join(("contact", SPECS[0])))
    net.run(30.0)
    assert net.nodes[SPECS[0]].machine.members == SPECS
    assert all(net.nodes[peer].machine.members == (SPECS[0], peer) for peer in SPECS[1:])
    net.tell(SPECS[0], Leave(SPECS[3]))
    net.tell(SPECS[4], Leave())
    net.run(30.0)
    assert net.nodes[SPECS[0]].machine.members == SPECS[:3] + SPECS[5:]
    assert net.nodes[SPECS[3]].machine.members == (SPECS[3],)
    assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]
