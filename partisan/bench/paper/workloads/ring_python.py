"""Our side of the workloads on a ring: `python -m partisan.bench.paper.workloads.ring_python FACTS`.

One of three nodes, which hold the partitions of a ring in turn. Facts are JSON: `host` and `names` (host -> node),
`contact` (whom to join, or null), `options` of the node and `channels` (what travels on which).

run KIND ACTORS OCTETS MESSAGES MILLISECONDS WRITES SAMPLES
    -> {"done": true, "operations": N, "failed": N, "seconds": S, "micros": [...], "more": {...}}
forget
    -> {"forgotten": true}: partitions have no objects any more
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import random
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import partisan
from partisan import Atom
from partisan.bench.child import announce

from .base import selected
from .python_node import each_done, orders, say, send
from .ring import (
    GOSSIP_OCTETS,
    GOSSIP_SECONDS,
    KEEP_OCTETS,
    PARTITIONS,
    POLL,
    QUORUM,
    REPLICAS,
    SERVICE_SECONDS,
    STREAM_OCTETS,
    STREAM_WINDOW,
    TIMEOUT,
    is_write,
)

TICK = 0.001
"""The timers of uvloop count whole milliseconds from the last one that is over, those of the BEAM from the next: with
one more both serve as long, SERVICE_SECONDS at least."""

ECHO, GET, PUT, FORGET = Atom("echo"), Atom("get"), Atom("put"), Atom("forget")
OK, NOT_FOUND, LATE = Atom("ok"), Atom("not_found"), Atom("late")


async def serve() -> None:
    """Take the time that a partition takes for a request."""
    await asyncio.sleep(SERVICE_SECONDS + TICK)


@dataclass(frozen=True, slots=True)
class Job:
    """What each of a node's clients does.

    Attributes:
        most: operations of each, at most.
        until: when no more are begun, on the clock of `time.perf_counter_ns`.
        writes: how many of a hundred operations of a store write, evenly spread.
    """

    payload: bytes
    most: int
    until: int
    writes: int


class Ring:
    """A node's part of the ring."""

    def __init__(self, node: partisan.Node, facts: dict[str, Any]) -> None:
        self.node = node
        self.names: list[str] = list(facts["names"].values())
        self.others = [name for name in self.names if name != node.name]
        self.channels: dict[str, str | None] = facts["channels"]
        self.gossips = 0
        self.keep = 1
        self.mine = range(self.names.index(node.name), PARTITIONS, len(self.names))
        self.forgotten: asyncio.Queue[int] = asyncio.Queue()
        for partition in self.mine:
            node.spawn(self._partition, partition, name=f"partition_{partition}")
        node.spawn(self._taker, name="store")
        node.spawn(self._listener, name="gossip")

    def place(self, partition: int) -> tuple[str, str]:
        """The process that holds a partition."""
        return f"partition_{partition}", self.names[partition % len(self.names)]

    def expect(self, octets: int) -> None:
        """Make ready for objects of so many octets."""
        self.keep = max(1, KEEP_OCTETS // max(1, octets))

    async def forget(self) -> None:
        """Forget all objects."""
        for partition in self.mine:
            partisan.send(f"partition_{partition}", (FORGET, None, 0, None, None))
        for _ in self.mine:
            await self.forgotten.get()
        with contextlib.suppress(OSError, AttributeError):
            # glibc keeps what was freed, in case it is wanted again here.
            ctypes.CDLL(None).malloc_trim(0)

    async def _ask(self, partition: int, request: object) -> None:
        await send(self.node, self.place(partition), request, self.channels["requests"])

    async def _partition(self, partition: int) -> None:
        """Hold one partition: echo at once, or serve objects, one request after the other."""
        objects: dict[str, bytes] = {}
        channel = self.channels["requests"]
        while True:
            kind, sender, number, name, value = await partisan.receive()
            if kind is ECHO:
                await send(self.node, sender, (number, value), channel)
            elif kind is FORGET:
                objects.clear()
                self.forgotten.put_nowait(partition)
            else:
                await serve()
                if kind is PUT:
                    objects.pop(name, None)  # what is written again is among the newest
                    objects[name] = value
                    if len(objects) > self.keep:
                        del objects[next(iter(objects))]
                answer = OK if kind is PUT else objects.get(name, NOT_FOUND)
                await send(self.node, sender, (number, answer), channel)

    async def echo(self, number: int, job: Job) -> tuple[list[float], int]:
        """Ask partitions at random for the payload; return the latencies in microseconds."""
        rng, clock, me = random.Random(f"{self.node.name} {number}"), time.perf_counter_ns, partisan.self()
        micros: list[float] = []
        while len(micros) < job.most and ((start := clock()) < job.until or not micros):
            await self._ask(rng.randrange(PARTITIONS), (ECHO, me, len(micros), None, job.payload))
            await partisan.receive()
            micros.append((clock() - start) / 1000)
        return micros, 0

    async def objects(self, number: int, job: Job) -> tuple[list[float], int]:
        """Read and write objects with normal keys; return the latencies, and how many operations were too late."""
        rng, clock, me = random.Random(f"{self.node.name} {number}"), time.perf_counter_ns, partisan.self()
        micros: list[float] = []
        failed = count = 0
        while count < job.most and ((start := clock()) < job.until or not count):
            count += 1
            key = f"object{int((rng.gauss(0.0, 1.0) + 1.0) * 5000)}"
            value = job.payload if is_write(count, job.writes) else None
            self.node.spawn(self._operation, me, key, value)
            if await partisan.receive() is LATE:
                failed += 1
            else:
                micros.append((clock() - start) / 1000)
        return micros, failed

    async def _operation(self, client: partisan.Pid, key: str, value: bytes | None) -> None:
        """Ask all replicas, and tell the client when a quorum has answered."""
        me, kind = partisan.self(), GET if value is None else PUT
        first = zlib.crc32(key.encode()) % PARTITIONS
        for replica in range(REPLICAS):
            await self._ask((first + replica) % PARTITIONS, (kind, me, replica, key, value))
        try:
            for _ in range(QUORUM):
                await partisan.receive(timeout=TIMEOUT)
        except partisan.ReceiveTimeout:
            partisan.send(client, LATE)
        else:
            partisan.send(client, OK)

    async def _taker(self) -> None:
        """Take the objects of anti-entropy."""
        while True:
            sender, _ = await partisan.receive()
            await send(self.node, sender, OK, self.channels["anti-entropy"])

    async def _listener(self) -> None:
        """Take the gossip."""
        while True:
            await partisan.receive()
            self.gossips += 1

    async def stream(self, peer: str, until: int) -> int:
        """Send objects to a node's store, so many at once; return the octets that have arrived."""
        payload, me, clock = os.urandom(STREAM_OCTETS), partisan.self(), time.perf_counter_ns
        sent = taken = 0
        while clock() < until or taken < sent:
            while sent - taken < STREAM_WINDOW and clock() < until:
                await send(self.node, ("store", peer), (me, payload), self.channels["anti-entropy"])
                sent += 1
            if taken < sent:
                await partisan.receive()
                taken += 1
        return taken * STREAM_OCTETS

    async def gossip(self, until: int) -> int:
        """Send the state of the ring to one of the others after the other; return how many were sent."""
        payload, count = os.urandom(GOSSIP_OCTETS), 0
        while time.perf_counter_ns() < until:
            await send(self.node, ("gossip", self.others[count % len(self.others)]), payload, self.channels["gossip"])
            count += 1
            await asyncio.sleep(GOSSIP_SECONDS)
        return count


async def run(ring: Ring, kind: str, actors: int, job: Job) -> dict[str, Any]:
    """Run a node's clients to their end, and what goes on beside them."""
    done: asyncio.Queue[object] = asyncio.Queue()
    beside: asyncio.Queue[object] = asyncio.Queue()

    async def tell(queue: asyncio.Queue[object], work: Callable[..., Awaitable[object]], *words: object) -> None:
        try:
            queue.put_nowait(await work(*words))
        except Exception as error:  # whatever it is: the run must not wait for a process that is gone
            queue.put_nowait(error)

    start, before = time.perf_counter_ns(), ring.gossips
    mixed = kind == "head-of-line"
    for peer in ring.others if mixed else ():
        ring.node.spawn(tell, beside, ring.stream, peer, job.until)
    if mixed:
        gossiped: asyncio.Queue[object] = asyncio.Queue()
        ring.node.spawn(tell, gossiped, ring.gossip, job.until)
    for number in range(actors):
        ring.node.spawn(tell, done, ring.objects if kind == "kvs" else ring.echo, number, job)
    results: list[Any] = await each_done(done, actors)
    seconds = (time.perf_counter_ns() - start) / 1e9
    micros = [each for times, _ in results for each in times]
    more: dict[str, float] = {}
    if mixed:
        streamed: list[Any] = await each_done(beside, len(ring.others))
        more = {"stream_octets": sum(streamed), "gossip_received": ring.gossips - before}
        more["gossip_sent"] = float((await each_done(gossiped, 1))[0])  # type: ignore[arg-type]
    return {
        "operations": len(micros), "failed": sum(failed for _, failed in results), "seconds": seconds,
        "micros": micros, "more": more,
    }  # fmt: skip


async def hold(facts: dict[str, Any]) -> None:
    """Hold a node of the ring, and do what is ordered."""
    async with partisan.Node(f"{facts['names'][facts['host']]}:0", **facts["options"]) as node:
        ring = Ring(node, facts)
        say(listening=str(node.listen_addrs[0]))
        if facts["contact"]:
            await node.join(facts["contact"])
        while not all(node.is_fully_connected(name) for name in ring.others):
            await asyncio.sleep(POLL)
        announce()
        async for order, *words in orders():
            if order == "forget":
                await ring.forget()
                say(forgotten=True)
                continue
            kind = words[0]
            actors, octets, most, milliseconds, writes, samples = map(int, words[1:])
            ring.expect(octets)
            gc.collect()
            payload = os.urandom(octets)
            until = time.perf_counter_ns() + milliseconds * 1_000_000
            found = await run(ring, kind, actors, Job(payload, most, until, writes))
            found["micros"] = [round(each, 1) for each in selected(found["micros"], samples)]
            say(done=True, **found)


if __name__ == "__main__":
    partisan.run(hold(json.loads(sys.argv[1])))
