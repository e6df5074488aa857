"""Our side of the workload `micro`: `python -m partisan.bench.paper.workloads.micro_python receivers|senders FACTS`.

arm ACTORS                             -> {"armed": true}: so many receivers are there, and have seen nothing
report MOST                            -> {"micros": [...]}: how long messages took since then, at most so many
run ACTORS OCTETS MESSAGES MILLISECONDS
                                       -> {"done": true, "operations": N, "seconds": S}
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from typing import Any

import partisan
from partisan import Atom
from partisan.bench.child import announce

from .python_node import each_done, orders, say, send

OK = Atom("ok")
POLL = 0.02
"""Seconds between two looks at whether all connections are up."""

GREETER = "greeter"


def _node(facts: dict[str, Any], short: str) -> partisan.Node:
    address = facts["address"]
    return partisan.Node(f"{short}@{address}:0", **facts["options"])


class Receivers:
    """Named receivers that write down how long messages took, and say that they have come."""

    def __init__(self, node: partisan.Node) -> None:
        self.node = node
        self.count = 0
        self.nanoseconds: list[int] = []

    def arm(self, actors: int) -> None:
        """Have at least so many, with nothing written down."""
        for number in range(self.count, actors):
            self.node.spawn(self._receiver, name=f"receiver_{number}")
        self.count = max(self.count, actors)
        self.nanoseconds = []
        gc.collect()

    def report(self, most: int) -> list[float]:
        """The times since then in microseconds, an even selection."""
        step = -(-len(self.nanoseconds) // most) or 1
        return [round(each / 1000, 1) for each in self.nanoseconds[::step]]

    async def _receiver(self) -> None:
        clock, receive, send = time.perf_counter_ns, partisan.receive, partisan.send
        while True:
            _payload, _node, sender, start = await receive()
            self.nanoseconds.append(clock() - start)
            send(sender, OK)


async def receivers(facts: dict[str, Any]) -> None:
    """Hold the node of the receivers."""
    async with _node(facts, "b") as node:
        held = Receivers(node)
        node.spawn(_greet, node, name=GREETER)
        announce(node=node.name, address=str(node.listen_addrs[0]))
        async for order, *words in orders():
            if order == "arm":
                held.arm(int(words[0]))
                say(armed=True)
            elif order == "join":
                await node.join(words[0])
            else:
                say(micros=held.report(int(words[0])))


async def _greet(node: partisan.Node) -> None:
    """Answer a node that asks whether all connections to it are up."""
    while True:
        sender = await partisan.receive()
        with contextlib.suppress(partisan.NotConnected):
            partisan.send(sender, node.is_fully_connected(sender.node))


async def _reach(node: partisan.Node, peer: str, reached: asyncio.Event) -> None:
    """Wait until all connections are up each way: each node dials those on which it sends."""
    answer: object = False
    while answer is not True:
        with contextlib.suppress(partisan.ReceiveTimeout, partisan.NotConnected):
            if node.is_fully_connected(peer):
                partisan.send((GREETER, peer), partisan.self())
                answer = await partisan.receive(timeout=1.0)
        await asyncio.sleep(POLL)
    reached.set()


class Senders:
    """Stop-and-wait senders, each to a receiver of its own."""

    def __init__(self, node: partisan.Node, peer: str) -> None:
        self.node = node
        self.peer = peer

    async def run(self, actors: int, octets: int, messages: int, milliseconds: int) -> tuple[int, float]:
        """Run them; return how many messages were acknowledged, and the seconds."""
        payload = os.urandom(octets)
        done: asyncio.Queue[int | Exception] = asyncio.Queue()
        start = time.perf_counter_ns()
        until = start + milliseconds * 1_000_000
        for number in range(actors):
            self.node.spawn(self._sender, number, payload, messages, until, done)
        total = sum(await each_done(done, actors))
        return total, (time.perf_counter_ns() - start) / 1e9

    async def _sender(self, number: int, payload: bytes, most: int, until: int, done: Any) -> None:
        try:
            done.put_nowait(await self._exchange(number, payload, most, until))
        except Exception as error:  # whatever it is: the run must not wait for an actor that is gone
            done.put_nowait(error)

    async def _exchange(self, number: int, payload: bytes, most: int, until: int) -> int:
        target = (f"receiver_{number}", self.peer)
        clock, receive = time.perf_counter_ns, partisan.receive
        name, me, count = Atom(self.node.name), partisan.self(), 0
        while count < most and ((start := clock()) < until or not count):
            await send(self.node, target, (payload, name, me, start))
            await receive()
            count += 1
        return count


async def senders(facts: dict[str, Any]) -> None:
    """Hold the node of the senders."""
    peer = facts["peer"]
    async with _node(facts, "a") as node:
        say(up=f"{node.name.partition('@')[0]}@{node.listen_addrs[0]}")
        await node.join(f"{peer.partition('@')[0]}@{facts['contact']}")
        reached = asyncio.Event()
        node.spawn(_reach, node, peer, reached)
        await reached.wait()
        held = Senders(node, peer)
        announce()
        async for _order, *words in orders():
            operations, seconds = await held.run(*(int(word) for word in words))
            say(done=True, operations=operations, seconds=seconds)


def main(arguments: list[str]) -> None:
    """Become one of the two nodes."""
    role, text = arguments
    partisan.run({"receivers": receivers, "senders": senders}[role](json.loads(text)))


if __name__ == "__main__":
    main(sys.argv[1:])
