"""What the network keeps of a node is small."""

from __future__ import annotations

import gc
import tracemalloc

from partisan.machines.machine import Connect, StartTimer
from partisan.sim.latency import Constant
from partisan.sim.network import Network

NODES, EDGES = 1000, 5


class Quiet:
    __slots__ = ("peer", "rng")

    def __init__(self, peer, rng, restored):
        self.peer, self.rng = peer, rng

    def handle(self, event, now):
        if now == 0.0:
            return [StartTimer("t", 1e6), *(Connect((self.peer + n) % NODES) for n in range(1, EDGES + 1))]
        return []


def test_a_node_with_its_chance_a_timer_and_five_edges_takes_less_than_6_kib():
    gc.collect()
    tracemalloc.start()
    try:
        net = Network(Quiet, 1, latency=Constant(0.01), listener=lambda *_: None)
        for peer in range(NODES):
            net.boot(peer)
        net.run(1.0)
        gc.collect()
        octets = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert sum(edge.node is not None for node in net.nodes.values() for edge in node.edges.values()) == NODES * EDGES
    assert octets / NODES < 6 * 1024
