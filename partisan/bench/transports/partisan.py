"""Two nodes with the defaults of a fresh node, and one more channel for the workload `hol`; the receivers are named.

A stream goes to a sink that counts. A request carries its sender's pid, and the echo sends the payload there. Senders
look at the clock and call `checkpoint` once a burst: between two bursts the node may hold them back. Many large
messages at once meet the hard cap of a queue; whoever does waits until it has drained, and sends again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import partisan
from partisan import Atom
from partisan.bench import child
from partisan.bench.measure import Job, Measurement, MeasurementFailed, Point
from partisan.gen.server import GenServer, call

from .base import PythonTransport

CHANNELS: dict[str, dict[str, object]] = {"stream": {}}
"""The channel of the stream in `hol`; everything else travels on the default channel."""

LARGE = 8 * 1024 * 1024
REPORT, COUNTED = Atom("report"), Atom("counted")
GREETER = "greeter"
GREET_SECONDS = 0.05
"""How long a greeting may stay without an answer until the next."""

Target: TypeAlias = partisan.Pid | tuple[str, str]


class Partisan(PythonTransport):
    """This package."""

    name = "partisan"

    def why_skip(self, point: Point) -> str | None:
        return None


TRANSPORT = Partisan


def serve(actors: int) -> None:
    """Hold a node with named sinks and echoes."""
    partisan.run(_serve(actors))


async def _serve(actors: int) -> None:
    async with partisan.Node("b@127.0.0.1:0", channels=CHANNELS) as node:
        node.spawn(_greet, name=GREETER)
        for i in range(actors):
            node.spawn(sink, name=f"sink_{i}")
            node.spawn(echo, node, name=f"echo_{i}")
            await Answerer.start(name=f"call_{i}")
        child.announce(node=node.name, address=str(node.listen_addrs[0]))
        await asyncio.Event().wait()


class Answerer(GenServer):
    """Answers a call with what it was asked."""

    def handle_call(self, request: Any, caller: Any) -> Any:
        return request


async def _greet() -> None:
    """Greet back; a client whose greeting comes before this node has dialled it greets again."""
    while True:
        sender = await partisan.receive()
        with contextlib.suppress(partisan.NotConnected):
            partisan.send(sender, GREETER)


async def _reach(server: str, reached: asyncio.Event) -> None:
    """Greet until the way back is open as well: each node dials the connections on which it sends."""
    answer = None
    while answer is None:
        partisan.send((GREETER, server), partisan.self())
        with contextlib.suppress(partisan.ReceiveTimeout):
            answer = await partisan.receive(timeout=GREET_SECONDS)
    reached.set()


def counted(message: Any) -> int:
    """Read what a sink has counted."""
    match message:
        case (Atom("counted"), int(count)):
            return count
    raise MeasurementFailed(f"a sink has answered {message!r}")


async def sink() -> None:
    """Count what comes, and tell it to who asks, as the sinks of the Erlang module do."""
    count = 0
    while True:
        message = await partisan.receive()
        if type(message) is tuple:
            partisan.send(message[1], (COUNTED, count))
            count = 0
        else:
            count += 1


async def echo(node: partisan.Node) -> None:
    """Send back what comes."""
    while True:
        sender, payload = await partisan.receive()
        try:
            partisan.send(sender, payload)
        except partisan.Overloaded:
            await send_patiently(node, sender, payload)


async def send_patiently(node: partisan.Node, target: Target, message: object, channel: str | None = None) -> None:
    """Send a message; while a full queue refuses it, wait until there is room."""
    while True:
        try:
            partisan.send(target, message, channel=channel)
            return
        except partisan.Overloaded as refused:
            await node.drain(refused.node, refused.channel)


def drive(facts: dict[str, Any]) -> None:
    """Hold a node that joins the server's, and answer jobs."""
    partisan.run(_drive(facts))


async def _drive(facts: dict[str, Any]) -> None:
    server = facts["node"]
    async with partisan.Node("a@127.0.0.1:0", channels=CHANNELS) as node:
        await node.join(f"{server.partition('@')[0]}@{facts['address']}")
        reached = asyncio.Event()
        node.spawn(_reach, server, reached)
        await reached.wait()
        child.announce()
        while (job := await asyncio.to_thread(child.next_job)) is not None:
            child.reply(await run(node, server, job))


async def run(node: partisan.Node, server: str, job: Job) -> Measurement:
    """Measure a point against a server that is connected."""
    point = job.point
    if point.workload == "oneway":
        count, seconds, _ = await _measure(node, server, _Stream(node, job, None))
        return Measurement.of_stream(point, count, seconds)
    if point.workload == "call":
        return Measurement.beside(None, *await _measure(node, server, _Calls(node, job)))
    exchange = _Exchange(node, job)
    if point.workload == "echo":
        return Measurement.of_echo(point, *await _measure(node, server, exchange))
    if point.config == "idle":
        return Measurement.beside(None, *await _measure(node, server, exchange))
    channel = "stream" if point.config == "other_channel" else None
    stream = _Stream(node, Job(Point("oneway", 1, LARGE), job.seconds), channel)
    (sent, took, _), found = await asyncio.gather(_measure(node, server, stream), _measure(node, server, exchange))
    return Measurement.beside(sent * LARGE / took, *found)


async def _measure(node: partisan.Node, server: str, work: _Work) -> tuple[int, float, list[int]]:
    """Run one actor a pair; return the sum of what they completed, the seconds, all latencies in nanoseconds."""
    done: asyncio.Queue[int | Exception] = asyncio.Queue()
    start = time.perf_counter()
    work.stop_at = start + work.job.seconds
    for i in range(work.job.point.actors):
        node.spawn(_worker, work, server, i, done)
    total = 0
    for _ in range(work.job.point.actors):
        count = await done.get()
        if isinstance(count, Exception):
            raise count
        total += count
    return total, time.perf_counter() - start, work.latencies


async def _worker(work: _Work, server: str, i: int, done: asyncio.Queue[int | Exception]) -> None:
    """Hand over the count of one actor, or what stopped it: the run must not wait for an actor that is gone."""
    try:
        done.put_nowait(await work.actor(server, i))
    except Exception as error:
        done.put_nowait(error)


class _Work(ABC):
    def __init__(self, node: partisan.Node, job: Job) -> None:
        self.node = node
        self.job = job
        self.payload = bytes(job.point.octets)
        self.latencies: list[int] = []
        self.stop_at = 0.0

    @abstractmethod
    async def actor(self, server: str, i: int) -> int:
        """Do the work of one actor; return how much it completed."""


class _Stream(_Work):
    """Senders that stop for nothing but the node's back-pressure."""

    def __init__(self, node: partisan.Node, job: Job, channel: str | None) -> None:
        super().__init__(node, job)
        self.channel = channel

    async def actor(self, server: str, i: int) -> int:
        target = (f"sink_{i}", server)
        payload, channel, stop_at = self.payload, self.channel, self.stop_at
        clock, send, burst = time.perf_counter, partisan.send, range(self.job.point.burst)
        while clock() < stop_at:
            for _ in burst:
                try:
                    send(target, payload, channel=channel)
                except partisan.Overloaded:
                    await send_patiently(self.node, target, payload, channel)
            await partisan.checkpoint()
        await send_patiently(self.node, target, (REPORT, partisan.self()), channel)
        return counted(await partisan.receive())


class _Exchange(_Work):
    """Stop-and-wait clients."""

    async def actor(self, server: str, i: int) -> int:
        target = (f"echo_{i}", server)
        request = (partisan.self(), self.payload)
        clock, send, receive = time.perf_counter_ns, partisan.send, partisan.receive
        stride, unseen = self.job.point.stride, range(self.job.point.stride - 1)
        latencies, stop_at, count = self.latencies, int(self.stop_at * 1e9), 0
        after = 0
        while after < stop_at:
            for _ in unseen:
                send(target, request)
                await receive()
            before = clock()
            try:
                send(target, request)
            except partisan.Overloaded:
                await send_patiently(self.node, target, request)
            await receive()
            after = clock()
            latencies.append(after - before)
            count += stride
        return count


class _Calls(_Work):
    """Callers, each of a server of its own."""

    async def actor(self, server: str, i: int) -> int:
        target, payload = (f"call_{i}", server), self.payload
        clock, latencies, stop_at, count = time.perf_counter_ns, self.latencies, int(self.stop_at * 1e9), 0
        stride, unseen = self.job.point.stride, range(self.job.point.stride - 1)
        after = 0
        while after < stop_at:
            for _ in unseen:
                await call(target, payload)
            before = clock()
            await call(target, payload)
            after = clock()
            latencies.append(after - before)
            count += stride
        return count
