"""A set that only grows, kept by two nodes: each sends its whole state at every change, on a monotonic channel.

States of such a set join by union, whatever their order and however often they come: it is a conflict-free replicated
data type. So of the states that wait to be sent only the newest is needed, which is what a monotonic channel writes;
the receiver skips most of the ways there, and ends with the same set.
"""

from __future__ import annotations

import asyncio

import partisan
from partisan import Node

CHANNELS = {"states": {"monotonic": True}}
CHANGES = 1000


class GrowingSet:
    """One node's replica.

    Args:
        node: whose it is.
        peer: the name of the other one.
    """

    def __init__(self, node: Node, peer: str) -> None:
        self.node, self.peer = node, peer
        self.elements: frozenset[int] = frozenset()
        self.sent = self.arrived = 0
        node.spawn(self._listen, name="set")

    def add(self, element: int) -> None:
        self._join({element})
        self.node.send(("set", self.peer), sorted(self.elements), channel="states", key="set")
        self.sent += 1

    def _join(self, elements: set[int]) -> None:
        before, self.elements = self.elements, self.elements | elements
        assert before <= self.elements  # it never shrinks

    async def _listen(self) -> None:
        while True:
            self._join(set(await partisan.receive()))
            self.arrived += 1


async def main() -> None:
    async with Node("b@127.0.0.1:0", channels=CHANNELS) as b, Node("a@127.0.0.1:0", channels=CHANNELS) as a:
        await a.join(f"{b.name}:{b.listen_addrs[0].port}")
        while not (a.is_fully_connected(b.name) and b.is_fully_connected(a.name)):
            await asyncio.sleep(0.01)
        here, there = GrowingSet(a, b.name), GrowingSet(b, a.name)
        for number in range(CHANGES):
            here.add(2 * number)
            there.add(2 * number + 1)
            if number % 100 == 0:
                await asyncio.sleep(0)
        while here.elements != there.elements or len(here.elements) < 2 * CHANGES:
            await asyncio.sleep(0.01)
        print(f"both have {len(here.elements)} elements")
        for replica in (here, there):
            shed = replica.node.counters()["queues"][replica.peer]["states"]["superseded_frames"]
            print(f"{replica.node.name}: of {replica.sent} states most were shed: {shed > replica.sent / 2}")
        print(f"the last arrived: {here.arrived > 0 and there.arrived > 0}")


if __name__ == "__main__":
    partisan.run(main())
