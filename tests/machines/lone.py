"""One HyParView machine whose peers are played by the test, and the views of many."""

from __future__ import annotations

import random

from partisan.machines.hyparview import (
    LOW,
    UNTAGGED,
    HyParView,
    HyParViewConfig,
    Neighbor,
    NeighborRequest,
    ShuffleReply,
)
from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Notify,
    Received,
    Send,
    Start,
    Violation,
)
from partisan.sim import topology

NEVER = (1, 0)
"""What says that no farewell was read."""

US = 100
"""The machine's own value."""


class Lone:
    """One machine, called 100, and what it did last."""

    def __init__(self, restored=None, seed=1, oracle=None, **options):
        self.now = 0.0
        self.machine = HyParView(US, HyParViewConfig(**options), random.Random(seed), restored, oracle)
        self.effects = []
        self.do(Start())

    def do(self, event):
        self.effects = self.machine.handle(event, self.now)
        return self.effects

    def up(self, peer, contact=None):
        return self.do(Connected(peer, peer if contact is None else contact))

    def hear(self, peer, message):
        return self.do(Received(peer, message))

    def befriend(self, *peers, tag=UNTAGGED):
        for peer in peers:
            self.hear(peer, Neighbor(peer, tag, NEVER, US))
            self.up(peer)
            assert peer in self.machine.active
        return self

    def know(self, *peers):
        """Put peers into the passive view."""
        self.hear(99, ShuffleReply(peers, 99))
        assert set(peers).issubset(self.machine.passive)
        return self

    def sent(self, kind=object):
        return [(e.peer, e.message) for e in self.effects if isinstance(e, Send) and isinstance(e.message, kind)]

    def facts(self, kind=object):
        return [e.fact for e in self.effects if isinstance(e, Notify) and isinstance(e.fact, kind)]

    def connects(self):
        return [e.peer for e in self.effects if isinstance(e, Connect)]

    def disconnects(self):
        return [e.peer for e in self.effects if isinstance(e, Disconnect)]

    def refuses(self, what):
        assert [fact.detail.partition(":")[0] for fact in self.facts(Violation)] == [what]
        assert not self.sent()
        assert not self.connects()


def request(peer, priority=LOW, tag=UNTAGGED, last=NEVER, exchange=()):
    return NeighborRequest(peer, priority, tag, last, exchange)


def active_views(net):
    """The overlay of a test network: each node's neighbors."""
    return {peer: node.machine.active for peer, node in net.nodes.items()}


def reached(net):
    """How many nodes can be reached from the first one along active views."""
    return len(topology.reach(active_views(net), next(iter(net.nodes))))
