"""A process that holds several nodes and does what lines of JSON ask: `python -m partisan.bench.cluster.nodes`.

    {"do": "start", "names": [Name], "host": Host, Option: Value ...}
                                                      -> {"addresses": ["name@ip:port"]}
    {"do": "join", "contact": Address}                -> {"joined": seconds}, when each node has joined
    {"do": "meshed", "names": [Name]}                 -> {"meshed": seconds}, when all reach all of them
    {"do": "usage"}                                   -> {"cpu": seconds, "rss": octets, "ends": of connections}
    {"do": "sink"}                                    -> {"sink": true}: the first node counts what `sink` gets
    {"do": "stream", "to": Node, "seconds": S, "ack": Bool}
                                                      -> {"rate": messages a second that the sink confirmed}
    {"do": "watch", "name": Name}                     -> {"watching": true}, when it is a peer of the one node here,
                                                         and {"down": true} when it no longer is
    {"do": "forget", "name": Name}                    -> {"forgotten": true}, when it was made to leave

Times are the monotonic clock's, which is one for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import partisan
from partisan import Atom
from partisan.bench.memory import resident_octets
from partisan.telemetry import PEER_DOWN

POLL = 0.01
"""Seconds between two looks at whether everybody is connected."""

OCTETS, BURST = 16, 64
"""Of a message in a stream, and how many are sent between two looks at the clock."""

PATIENCE = 60.0
"""Seconds that a join may take."""


def say(**facts: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(facts), flush=True)


class Nodes:
    """The nodes of this process, and what can be asked of them."""

    def __init__(self) -> None:
        self.nodes: list[partisan.Node] = []

    async def start(self, names: list[str], host: str = "127.0.0.1", **options: Any) -> None:
        """Start nodes on free ports."""
        for name in names:
            node = partisan.Node(f"{name}@{host}:0", **options)
            await node.start()
            self.nodes.append(node)
        say(addresses=[address_of(node) for node in self.nodes])

    async def join(self, contact: str) -> None:
        """Let each node join the contact, one after the other; the contact itself stays as it is."""
        for node in self.nodes:
            if address_of(node) != contact:
                await node.join(contact, timeout=PATIENCE)
        say(joined=time.monotonic())

    async def meshed(self, names: list[str]) -> None:
        """Wait until every node has all its connections to every name."""
        for node in self.nodes:
            while not (len(node.members()) == len(names) and all(node.is_fully_connected(name) for name in names)):
                await asyncio.sleep(POLL)
        say(meshed=time.monotonic())

    async def usage(self) -> None:
        """Say what the process has used, and how many ends of connections it holds."""
        gc.collect()
        ends = 2 * sum(node.connection_count() for node in self.nodes)  # in a mesh as many come in as go out
        say(cpu=time.process_time(), rss=resident_octets(os.getpid()), ends=ends)

    async def sink(self) -> None:
        """Have the first node count messages, and tell the count to whoever asks."""
        self.nodes[0].spawn(_sink, name="sink")
        say(sink=True)

    async def stream(self, to: str, seconds: float, ack: bool) -> None:
        """Send small messages from the one node here as fast as they go, and say how many arrived in a second."""
        [node] = self.nodes
        rate: asyncio.Future[float] = node.loop.create_future()
        node.spawn(_stream, ("sink", to), seconds, ack, rate)
        say(rate=await rate)

    async def watch(self, name: str) -> None:
        """Tell when the one node here loses a peer."""
        [node] = self.nodes

        def lost(event: str, measurements: Mapping[str, Any], about: Mapping[str, Any]) -> None:
            if about["node"] == name:
                say(down=True)
                node.telemetry.detach(name)

        await self._reach(node, name)
        node.telemetry.attach(name, PEER_DOWN, lost)
        say(watching=True)

    async def _reach(self, node: partisan.Node, name: str) -> None:
        while not node.is_fully_connected(name):
            await asyncio.sleep(POLL)

    async def forget(self, name: str) -> None:
        """Take a node that will not return out of the cluster."""
        for node in self.nodes:
            await node.leave(name)
        say(forgotten=True)


async def _sink() -> None:
    count = 0
    while True:
        match await partisan.receive():
            case (Atom("report"), asker):
                partisan.send(asker, count)
                count = 0
            case _:
                count += 1


async def _stream(target: tuple[str, str], seconds: float, ack: bool, rate: asyncio.Future[float]) -> None:
    payload = bytes(OCTETS)
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        for _ in range(BURST):
            partisan.send(target, payload, ack=ack)
        await partisan.checkpoint()
    partisan.send(target, (Atom("report"), partisan.self()))
    rate.set_result(await partisan.receive() / (time.perf_counter() - start))


def address_of(node: partisan.Node) -> str:
    """What another node joins it by."""
    return f"{node.name.partition('@')[0]}@{node.listen_addrs[0]}"


def allow_files() -> None:
    """A mesh needs a descriptor for each end of a connection: ask for as many as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def main() -> None:
    """Do what each line asks, until the input ends."""
    allow_files()
    nodes = Nodes()
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        await getattr(nodes, order.pop("do"))(**order)


if __name__ == "__main__":
    partisan.run(main())
