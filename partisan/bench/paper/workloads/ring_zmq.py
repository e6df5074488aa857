"""pyzmq beside the echo on a ring: `python -m partisan.bench.paper.workloads.ring_zmq FACTS`.

Each of three nodes has a ROUTER that echoes and a DEALER to each of the others. Partitions and clients are numbers, not
actors, and the payload is plain octets: a bound, rather than a rival. Takes the orders of `ring_python`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any

from partisan.bench.child import announce

from .base import selected
from .python_node import say
from .ring import PARTITIONS

LARGE = 65536
"""From this size on messages are handed over without a copy, in octets."""


class Node:
    """One node: its sockets, and its clients while they run."""

    def __init__(self, facts: dict[str, Any]) -> None:
        import zmq

        self.names: list[str] = list(facts["names"].values())
        self.me = self.names.index(facts["names"][facts["host"]])
        self.zmq, self.context, self.poller = zmq, zmq.Context(), zmq.Poller()
        self.router = self.context.socket(zmq.ROUTER)
        self.port = self.router.bind_to_random_port(f"tcp://{self.names[self.me].partition('@')[2]}")
        self.dealers: dict[int, Any] = {}
        # Without a buffer: the poller does not see what one holds.
        self.orders = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 (open to the end)
        self.poller.register(self.router, zmq.POLLIN)
        self.poller.register(self.orders.fileno(), zmq.POLLIN)

    def connect(self, addresses: list[str]) -> None:
        """Connect to all others."""
        for number, address in enumerate(addresses):
            if number != self.me:
                dealer = self.dealers[number] = self.context.socket(self.zmq.DEALER)
                dealer.connect(f"tcp://{address.rpartition('@')[2]}")
                self.poller.register(dealer, self.zmq.POLLIN)

    def _waits(self, socket: Any) -> bool:
        """Whether a message can be taken."""
        return bool(socket.getsockopt(self.zmq.EVENTS) & self.zmq.POLLIN)

    def serve(self) -> None:
        """Send back all that waits."""
        while self._waits(self.router):
            parts: Any = self.router.recv_multipart(copy=False)
            self.router.send_multipart(parts, copy=len(parts[-1]) < LARGE)

    def idle(self) -> bytes:
        """Serve until an order comes; return it, empty at the end."""
        while True:
            ready = dict(self.poller.poll())
            if self.router in ready:
                self.serve()
            if self.orders.fileno() in ready:
                return self.orders.readline()

    def run(self, actors: int, octets: int, most: int, milliseconds: int) -> tuple[list[float], float]:
        """Run the clients; return the latencies in microseconds, and the seconds."""
        rng, clock, payload, copy = random.Random(self.me), time.perf_counter_ns, os.urandom(octets), octets < LARGE
        begin = clock()
        until, begun, counts = begin + milliseconds * 1_000_000, [0] * actors, [0] * actors
        micros: list[float] = []

        def ask(client: int) -> bool:
            """Begin operations until one is under way; whether one is."""
            while counts[client] < most and ((start := clock()) < until or not counts[client]):
                begun[client] = start
                counts[client] += 1
                owner = rng.randrange(PARTITIONS) % len(self.names)
                if owner != self.me:
                    self.dealers[owner].send_multipart([b"%d" % client, payload], copy=copy)
                    return True
                micros.append((clock() - start) / 1000)
            return False

        waiting = sum([ask(client) for client in range(actors)])
        while waiting:
            ready = dict(self.poller.poll())
            if self.router in ready:
                self.serve()
            for dealer in self.dealers.values():
                while self._waits(dealer):
                    client = int(bytes(dealer.recv_multipart(copy=False)[0]))
                    micros.append((clock() - begun[client]) / 1000)
                    waiting -= not ask(client)
        return micros, (clock() - begin) / 1e9


def hold(facts: dict[str, Any]) -> None:
    """Hold a node, and do what is ordered."""
    node = Node(facts)
    say(listening=f"{node.names[node.me].partition('@')[2]}:{node.port}")
    while line := node.idle():
        order, *words = line.decode().split()
        if order == "peers":
            node.connect(words)
            announce()
            continue
        actors, octets, most, milliseconds, _, samples = map(int, words[1:])
        micros, seconds = node.run(actors, octets, most, milliseconds)
        kept = [round(each, 1) for each in selected(micros, samples)]
        say(done=True, operations=len(micros), failed=0, seconds=seconds, micros=kept, more={})


if __name__ == "__main__":
    hold(json.loads(sys.argv[1]))
