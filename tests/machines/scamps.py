"""Machines of SCAMP, alone, acquainted with others, and in clusters."""

from __future__ import annotations

import math
import random

import pytest

from partisan.machines.machine import (
    Connected,
    Join,
    Send,
    Start,
    Violation,
)
from partisan.machines.scamp import ScampConfig
from partisan.machines.scamp_v1 import ScampV1, ScampV1State
from partisan.machines.scamp_v2 import ScampV2, ScampV2State
from partisan.sim.topology import reach

VERSIONS = pytest.mark.parametrize("kind", [ScampV1, ScampV2], ids=["v1", "v2"])
REAL = b"r" * 20
"""The actor of a node of another implementation."""


def named(peer):
    return peer[0] if type(peer) is tuple else peer


def cluster(network, kind, count, seed=1, gap=0.2, **options):
    """Nodes that join one by one, each through one that is there."""
    options = {"copies": 3, "lease": math.inf, "name": named} | options
    config = ScampConfig(**options)
    net = network(seed, lambda peer, rng, restored: kind(peer, config, rng, restored))
    chance = random.Random(seed)
    for peer in range(count):
        net.boot(peer)
        if peer:
            net.tell(peer, Join(("contact", chance.randrange(peer))))
        net.run(gap)
    return net


def views(net):
    return {peer: dict.fromkeys(node.machine.view) for peer, node in net.nodes.items()}


def holders(net, peer):
    return [other for other, view in views(net).items() if peer in view]


def violations(net):
    return [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]


def all_reach_all(net):
    graph = views(net)
    return all(len(reach(graph, peer)) == len(graph) for peer in graph)


def alone(kind, peer=0, **options):
    """A machine that has started, with nobody else in the world."""
    machine = kind(peer, ScampConfig(name=named, **options), random.Random(1))
    machine.handle(Start(), 0.0)
    return machine


def state_of(kind, peer, actor=b"", view=()):
    full = (*view, peer)
    return ScampV1State(actor, full) if kind is ScampV1 else ScampV2State(peer, actor, full, ())


def acquainted(kind, *peers, me=0, actor=None, now=0.0, **options):
    """A machine that has these in view and connected; who they are by their actor."""
    machine = alone(kind, me, **options)
    for peer in peers:
        machine.handle(Join(peer), now)
        machine.handle(Connected(peer, peer, state_of(kind, peer, actor or alone(kind, peer).actor)), now)
    assert machine.view == peers
    return machine


def sent(effects, kind=object):
    return [(e.peer, e.message) for e in effects if type(e) is Send and isinstance(e.message, kind)]
