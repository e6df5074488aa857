"""A minimal uvloop protocol: msgpack in frames of a 4-byte length, named receivers that are plain callbacks.

It is what one writes in an afternoon without an actor library: no mailboxes, no processes, no supervision, no
reconnecting. Frames are gathered and written once a loop turn, and a paused transport pauses the senders.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Any, cast

from partisan.bench import child
from partisan.bench.measure import Job, Measurement

from .base import PythonTransport

LENGTH = struct.Struct(">I")
GATHER = 65536
"""Gathered frames are written at once from this many octets on."""

BUFFER = 262144
"""Frames that fit in so many octets are received many at a time; a larger one straight into a body that is kept."""

Handler = Callable[[str, Any], None]
"""Called with the name to answer to and the payload."""


class Asyncio(PythonTransport):
    """uvloop and msgpack."""

    name = "asyncio"
    needs = ("uvloop", "msgpack")


TRANSPORT = Asyncio


class Link(asyncio.BufferedProtocol):
    """One connection: frames of (to, reply to, payload) handed to the receiver of that name.

    Attributes:
        receivers: name to handler.
        connected: done once there is a transport.
    """

    def __init__(self, receivers: dict[str, Handler]) -> None:
        import msgpack  # type: ignore[import-untyped]

        self.receivers = receivers
        self.connected = asyncio.get_running_loop().create_future()
        self._pack: Callable[[object], bytes] = msgpack.Packer().pack
        self._unpack: Callable[[memoryview], tuple[str, str, Any]] = msgpack.unpackb
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(BUFFER))
        self._kept = memoryview(b"")
        self._body: memoryview | None = None
        self._filled = 0
        self._gathered: list[bytes] = []
        self._gathered_octets = 0
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.connected.set_result(None)

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    async def writable(self) -> None:
        """Wait until the transport takes more."""
        if self._gathered_octets >= GATHER:
            self._write()
        while self._writable is not None:
            await self._writable

    def send(self, to: str, reply_to: str, payload: object) -> None:
        """Gather one frame."""
        body = self._pack((to, reply_to, payload))
        if not self._gathered_octets:
            asyncio.get_running_loop().call_soon(self._write)
        self._gathered += (LENGTH.pack(len(body)), body)
        self._gathered_octets += len(body)

    def _write(self) -> None:
        if self._gathered and self._transport is not None:
            if self._gathered_octets < GATHER:
                self._transport.write(b"".join(self._gathered))
            else:
                self._transport.writelines(self._gathered)
        self._gathered = []
        self._gathered_octets = 0

    def get_buffer(self, _hint: int) -> memoryview:
        if self._body is not None:
            return self._body[self._filled :]
        return self._buffer[self._filled :]

    def buffer_updated(self, count: int) -> None:
        self._filled += count
        if self._body is None:
            self._take_frames()
        elif self._filled == len(self._body):
            self._deliver(self._body)
            self._body, self._filled = None, 0

    def _take_frames(self) -> None:
        """Deliver every whole frame in the buffer; receive the rest of one that cannot fit in it elsewhere."""
        view, size, at = self._buffer, self._filled, 0
        while size - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(view, at)
            end = at + LENGTH.size + length
            if end > size:
                break
            self._deliver(view[at + LENGTH.size : end])
            at = end
        rest = size - at
        if rest >= LENGTH.size and length + LENGTH.size > len(view):
            if length > len(self._kept):
                self._kept = memoryview(bytearray(length))
            self._body = self._kept[:length]
            self._filled = rest - LENGTH.size
            self._body[: self._filled] = view[at + LENGTH.size : size]
            return
        view[:rest] = bytes(view[at:size])
        self._filled = rest

    def _deliver(self, frame: memoryview) -> None:
        to, reply_to, payload = self._unpack(frame)
        self.receivers[to](reply_to, payload)


class Sink:
    """A named receiver that counts, and says its count when asked by an empty message."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.count = 0

    def __call__(self, reply_to: str, payload: Any) -> None:
        if payload is None:
            self.link.send(reply_to, "", self.count)
            self.count = 0
        else:
            self.count += 1


def serve(actors: int) -> None:
    """Serve named sinks and echoes to whoever connects."""
    import uvloop

    uvloop.run(_serve(actors))


async def _serve(actors: int) -> None:
    def build() -> Link:
        receivers: dict[str, Handler] = {}
        link = Link(receivers)

        def echo(reply_to: str, payload: Any) -> None:
            link.send(reply_to, "", payload)

        for i in range(actors):
            receivers[f"sink_{i}"] = Sink(link)
            receivers[f"echo_{i}"] = echo
        return link

    server = await asyncio.get_running_loop().create_server(build, "127.0.0.1", 0)
    child.announce(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


def drive(facts: dict[str, Any]) -> None:
    """Answer jobs over one connection."""
    import uvloop

    uvloop.run(_drive(facts["port"]))


async def _drive(port: int) -> None:
    receivers: dict[str, Handler] = {}
    _, link = await asyncio.get_running_loop().create_connection(lambda: Link(receivers), "127.0.0.1", port)
    await link.connected
    child.announce()
    while (job := await asyncio.to_thread(child.next_job)) is not None:
        child.reply(await (_echo(link, job) if job.point.workload == "echo" else _stream(link, job)))


async def _stream(link: Link, job: Job) -> Measurement:
    point = job.point
    loop = asyncio.get_running_loop()
    counts: list[asyncio.Future[int]] = [loop.create_future() for _ in range(point.actors)]
    payload = bytes(point.octets)
    burst, clock = range(point.burst), time.perf_counter
    start = clock()

    async def sender(i: int) -> None:
        link.receivers[f"sender_{i}"] = lambda _, count: counts[i].set_result(count)
        to = f"sink_{i}"
        while clock() < start + job.seconds:
            for _ in burst:
                link.send(to, "", payload)
            await link.writable()
        link.send(to, f"sender_{i}", None)

    await asyncio.gather(*(sender(i) for i in range(point.actors)))
    total = sum(await asyncio.gather(*counts))
    return Measurement.of_stream(point, total, clock() - start)


class Client:
    """One stop-and-wait client: sends, takes the echo, sends again until the time is over."""

    def __init__(self, link: Link, i: int, job: Job, latencies: list[int]) -> None:
        self.link = link
        self.name, self.to = f"client_{i}", f"echo_{i}"
        self.payload = bytes(job.point.octets)
        self.stride = job.point.stride
        self.latencies = latencies
        self.count = 0
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.before = time.perf_counter_ns()
        self.stop_at = self.before + int(job.seconds * 1e9)
        link.receivers[self.name] = self
        link.send(self.to, self.name, self.payload)

    def __call__(self, _reply_to: str, _payload: Any) -> None:
        self.count += 1
        place = self.count % self.stride
        if not place:
            after = time.perf_counter_ns()
            self.latencies.append(after - self.before)
            if after >= self.stop_at:
                self.done.set_result(self.count)
                return
            self.before = after
        elif place == self.stride - 1:
            self.before = time.perf_counter_ns()
        self.link.send(self.to, self.name, self.payload)


async def _echo(link: Link, job: Job) -> Measurement:
    latencies: list[int] = []
    start = time.perf_counter()
    clients = [Client(link, i, job, latencies) for i in range(job.point.actors)]
    total = sum(await asyncio.gather(*(client.done for client in clients)))
    return Measurement.of_echo(job.point, total, time.perf_counter() - start, latencies)
