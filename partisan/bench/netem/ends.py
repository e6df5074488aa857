"""The two ends of the self-check, each a process inside a host: `python -m partisan.bench.netem.ends ADDRESS [PORT]`.

Without a port it is the far end: it says its port, answers what comes on connections that begin with `e`, throws away
what comes on those that begin with `s`, and at a line `count START SECONDS` of its input says how much that was in so
many seconds after the start. With a port it is the near end: `connect COUNT SECONDS`, `echo COUNT SECONDS` and
`stream CONNECTIONS SECONDS`.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import statistics
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CHUNK = 2**20
TCP_INFO_OCTETS = 104
TCPI_RTT = 68
"""Where `struct tcp_info` of linux/tcp.h has the smoothed round-trip time, in microseconds."""

SETTINGS = ("tcp_congestion_control", "tcp_rmem", "tcp_wmem")


class FarEnd:
    """Echoes, sinks, and counts."""

    def __init__(self, address: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((address, 0), backlog=64)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._buffer = bytearray(CHUNK)
        self._sunk = 0

    def run(self) -> None:
        """Serve until standard input ends."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        settings = {name: Path("/proc/sys/net/ipv4", name).read_text().split() for name in SETTINGS}
        say({"port": self._listener.getsockname()[1], "settings": settings})
        while True:
            if self._turn(None):
                line = sys.stdin.readline()
                if not line:
                    return
                _, start, seconds = line.split()
                self._serve(float(start))
                self._count(float(seconds))

    def _turn(self, seconds: float | None) -> bool:
        """Take what is there, waiting at most so long for something; return whether there is a line to read."""
        asked = False
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                asked = True
            else:
                key.data(key.fileobj)
        return asked

    def _serve(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._turn(left)

    def _count(self, seconds: float) -> None:
        start, before = time.monotonic(), self._sunk
        self._serve(seconds)
        say({"octets": self._sunk - before, "seconds": time.monotonic() - start})

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection.recv(1) == b"e":
            echo_back(connection)
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, self._sink)

    def _sink(self, connection: socket.socket) -> None:
        try:
            size = connection.recv_into(self._buffer)
        except ConnectionError:
            size = 0
        self._sunk += size
        if not size:
            self._selector.unregister(connection)
            connection.close()


def say(what: object) -> None:
    """Write a line of JSON at once."""
    print(json.dumps(what), flush=True)


def echo_back(connection: socket.socket) -> None:
    """Answer until the other end closes: with nothing but two system calls in the way of an answer."""
    with connection, contextlib.suppress(ConnectionError):
        while data := connection.recv(CHUNK):
            connection.sendall(data)


def connect(address: str, port: int, kind: bytes) -> socket.socket:
    """Connect to the far end."""
    connection = socket.create_connection((address, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(kind)
    return connection


def handshakes(address: str, port: int, count: int, seconds: float) -> None:
    """Say how long the kernel found the round trip of handshakes, at most `count` and about `seconds` long.

    No process has to wake up for them: this is the network's own time, as that of ICMP.
    """
    times: list[float] = []
    deadline = time.monotonic() + seconds
    while len(times) < count and (not times or time.monotonic() < deadline):
        with connect(address, port, b"s") as connection:
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_OCTETS)
            times.append(struct.unpack_from("I", told, TCPI_RTT)[0] / 1e6)
    say_times(times)


def say_times(times: list[float]) -> None:
    """Say the median and the extremes; the first is left out, as it pays for what the path has not seen yet."""
    times = sorted(times[1:]) or times
    say({"median": statistics.median(times), "least": times[0], "most": times[-1]})


def echo(address: str, port: int, count: int, seconds: float) -> None:
    """Say how long small echoes between two processes take, at most `count` and about `seconds` long."""
    times: list[float] = []
    with connect(address, port, b"e") as connection:
        deadline = time.monotonic() + seconds
        while len(times) < count and (not times or time.monotonic() < deadline):
            start = time.perf_counter()
            connection.sendall(b"sixteen octets: ")
            connection.recv(CHUNK)
            times.append(time.perf_counter() - start)
    say_times(times)


def stream(address: str, port: int, count: int, seconds: float) -> None:
    """Send as much as goes over `count` connections."""
    chunk = memoryview(bytes(CHUNK))
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        connections = [connect(address, port, b"s") for _ in range(count)]
        for each in connections:
            each.setblocking(False)
            selector.register(each, selectors.EVENT_WRITE)
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.send(chunk)
        for each in connections:
            # What is still queued is of no interest, and would take the line from the next measurement.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            each.close()
    say({"sent": True})


def main(arguments: Sequence[str]) -> int:
    """Be one of the ends; return the exit status."""
    address, *port = arguments
    if not port:
        FarEnd(address).run()
        return 0
    for line in sys.stdin:
        kind, count, seconds = line.split()
        {"connect": handshakes, "echo": echo, "stream": stream}[kind](address, int(port[0]), int(count), float(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
