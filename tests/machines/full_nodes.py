"""Machines of full membership, and what is said to them."""

from __future__ import annotations

import random

from partisan.machines.full import (
    FullConfig,
    FullMembership,
    FullState,
    Gossip,
)
from partisan.machines.machine import (
    Connected,
    Join,
    Notify,
    Received,
    Send,
    Start,
)
from partisan.machines.orset import OrSet
from partisan.names import ChannelOptions, ListenAddress, NodeSpec


def spec(name, port=1000, **channels):
    return NodeSpec.of(f"{name}@h", (ListenAddress("127.0.0.1", port),), channels or {"undefined": ChannelOptions()})


A, B, C, D = (spec(name) for name in "abcd")


def by_name(peer):
    return (peer.name, peer.listen_addrs)


def node(myself=A, restored=None, seed=1, **options):
    machine = FullMembership(myself, FullConfig(key=by_name, **options), random.Random(seed), restored)
    machine.handle(Start(), 0.0)
    return machine


def alone(peer, token=b"t"):
    return FullState(b"actor", OrSet({peer: {token: True}}))


def member(machine, *peers):
    """Join the peers and connect them; return the machine."""
    for peer in peers:
        machine.handle(Join(peer), 0.0)
        machine.handle(Connected(peer, peer, alone(peer)), 0.0)
    assert set(peers) < set(machine.members)
    return machine


def facts(effects):
    return [e.fact for e in effects if type(e) is Notify]


def sends(effects):
    return [(e.peer, e.message.state) for e in effects if type(e) is Send]


def gossip(sender, state):
    return Received(sender.name, Gossip(sender, b"actor", state))
