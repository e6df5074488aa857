"""A blocking TCP socket and nothing else: frames of a 4-byte length, no names, no terms, one conversation.

It is the floor of latency and the ceiling of a stream. Its receiver keeps one buffer and receives every large frame
into it again, so it allocates nothing a message.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from partisan.bench import child
from partisan.bench.measure import Job, Measurement, Point

from .base import PythonTransport

LENGTH = struct.Struct(">I")
COUNT = struct.Struct(">Q")
LARGE = 65536
"""From this size a body is received straight into its place, not through the buffer of many frames."""

STREAM_SMALL, STREAM_LARGE, ECHO = b"s", b"l", b"e"


class Raw(PythonTransport):
    """A raw blocking socket."""

    name = "raw"

    def why_skip(self, point: Point) -> str | None:
        if point.workload == "hol":
            return "one blocking socket carries one conversation"
        return "one blocking socket serves one actor" if point.actors != 1 else None


TRANSPORT = Raw


def serve(_actors: int) -> None:
    """Serve one connection after the other; its first octet says which conversation it holds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child.announce(port=listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                mode = connection.recv(1)
                if mode == ECHO:
                    _echo(connection)
                elif mode == STREAM_LARGE:
                    connection.sendall(COUNT.pack(_count_large(connection)))
                elif mode == STREAM_SMALL:
                    connection.sendall(COUNT.pack(_count_small(connection)))


def _receive_exactly(connection: socket.socket, view: memoryview) -> bool:
    """Fill the view; False if the peer closed before."""
    filled = 0
    while filled < len(view):
        received = connection.recv_into(view[filled:])
        if not received:
            return False
        filled += received
    return True


def _count_large(connection: socket.socket) -> int:
    """Count frames up to the empty one, each body received into one buffer that is kept."""
    count = 0
    head = memoryview(bytearray(LENGTH.size))
    body = memoryview(bytearray(LARGE))
    while _receive_exactly(connection, head):
        (length,) = LENGTH.unpack(head)
        if not length:
            break
        if length > len(body):
            body = memoryview(bytearray(length))
        if not _receive_exactly(connection, body[:length]):
            break
        count += 1
    return count


def _count_small(connection: socket.socket) -> int:
    """Count frames up to the empty one, many to a read."""
    count = 0
    buffer = bytearray(4 * LARGE)
    view = memoryview(buffer)
    unpack, head = LENGTH.unpack_from, LENGTH.size
    filled = 0
    while received := connection.recv_into(view[filled:]):
        filled += received
        at = 0
        while filled - at >= head:
            (length,) = unpack(buffer, at)
            if not length:
                return count
            if filled - at - head < length:
                break
            at += head + length
            count += 1
        view[: filled - at] = bytes(view[at:filled])
        filled -= at
    return count


def _receive_frame(connection: socket.socket, view: memoryview) -> int:
    """Receive one frame that fits the view; return its whole length, 0 if the peer closed."""
    filled = 0
    whole = LENGTH.size
    while filled < whole:
        received = connection.recv_into(view[filled:])
        if not received:
            return 0
        filled += received
        if filled >= LENGTH.size:
            whole = LENGTH.size + int(LENGTH.unpack_from(view)[0])
    return whole


def _echo(connection: socket.socket) -> None:
    """Send every frame back. The first four octets say how long the payload of each will be."""
    announced = memoryview(bytearray(LENGTH.size))
    if not _receive_exactly(connection, announced):
        return
    view = memoryview(bytearray(LENGTH.size + int(LENGTH.unpack(announced)[0])))
    while whole := _receive_frame(connection, view):
        connection.sendall(view[:whole])


def drive(facts: dict[str, Any]) -> None:
    """Answer jobs, each over a connection of its own."""
    child.announce()
    while (job := child.next_job()) is not None:
        with socket.create_connection(("127.0.0.1", facts["port"])) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            child.reply(_drive_echo(connection, job) if job.point.workload == "echo" else _stream(connection, job))


def _stream(connection: socket.socket, job: Job) -> Measurement:
    point = job.point
    payload = bytes(point.octets)
    head = LENGTH.pack(point.octets)
    large = point.octets >= LARGE
    connection.sendall(STREAM_LARGE if large else STREAM_SMALL)
    sendall, clock, burst = connection.sendall, time.perf_counter, range(point.burst)
    start = clock()
    stop_at = start + job.seconds
    while clock() < stop_at:
        if large:
            sendall(head)
            sendall(payload)
        else:
            for _ in burst:
                sendall(head + payload)
    sendall(LENGTH.pack(0))
    answer = bytearray(COUNT.size)
    _receive_exactly(connection, memoryview(answer))
    return Measurement.of_stream(point, COUNT.unpack(answer)[0], clock() - start)


def _drive_echo(connection: socket.socket, job: Job) -> Measurement:
    point = job.point
    frame = LENGTH.pack(point.octets) + bytes(point.octets)
    view = memoryview(bytearray(len(frame)))
    connection.sendall(ECHO + LENGTH.pack(point.octets))
    sendall, clock = connection.sendall, time.perf_counter_ns
    latencies: list[int] = []
    before = start = clock()
    stop_at = start + int(job.seconds * 1e9)
    while before < stop_at:
        sendall(frame)
        if not _receive_frame(connection, view):
            raise ConnectionError("the echo server closed the connection")
        after = clock()
        latencies.append(after - before)
        before = after
    return Measurement.of_echo(point, len(latencies), (clock() - start) / 1e9, latencies)
