"""The two ends of the self-check, each a process inside a host: `python -m partisan.bench.netem.ends ADDRESS [PORT]`.

Without a port it is the far end: it says its port, answers what comes on connections that begin with `e`, throws away
what comes on those that begin with `s`, and at a line `count START SECONDS` of its input says how much that was, a start left out. With a
port it is the near end: `echo COUNT SECONDS` and `stream CONNECTIONS SECONDS`.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CHUNK = 2**20
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
            for key, _ in self._selector.select():
                if key.data is not None:
                    key.data(key.fileobj)
                elif line := sys.stdin.readline():
                    _, start, seconds = line.split()
                    self._serve(float(start))
                    self._count(float(seconds))
                else:
                    return

    def _serve(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.data is not None:
                    key.data(key.fileobj)

    def _count(self, seconds: float) -> None:
        start, before = time.monotonic(), self._sunk
        self._serve(seconds)
        say({"octets": self._sunk - before, "seconds": time.monotonic() - start})

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        echoes = connection.recv(1) == b"e"
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, self._echo if echoes else self._sink)

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()

    def _echo(self, connection: socket.socket) -> None:
        try:
            if data := connection.recv(CHUNK):
                connection.sendall(data)
                return
        except ConnectionError:
            pass
        self._close(connection)

    def _sink(self, connection: socket.socket) -> None:
        try:
            size = connection.recv_into(self._buffer)
        except ConnectionError:
            size = 0
        self._sunk += size
        if not size:
            self._close(connection)


def say(what: object) -> None:
    """Write a line of JSON at once."""
    print(json.dumps(what), flush=True)


def connect(address: str, port: int, kind: bytes) -> socket.socket:
    """Connect to the far end."""
    connection = socket.create_connection((address, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(kind)
    return connection


def echo(address: str, port: int, count: int, seconds: float) -> None:
    """Say the median and the extremes of the time of small echoes, at most `count` and about `seconds` long."""
    times: list[float] = []
    with connect(address, port, b"e") as connection:
        deadline = time.monotonic() + seconds
        while len(times) < count and time.monotonic() < deadline:
            start = time.perf_counter()
            connection.sendall(b"sixteen octets: ")
            connection.recv(CHUNK)
            times.append(time.perf_counter() - start)
    # The first pays for what the path has not seen yet.
    times = sorted(times[1:]) or times
    say({"median": statistics.median(times), "least": times[0], "most": times[-1], "count": len(times)})


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
        {"echo": echo, "stream": stream}[kind](address, int(port[0]), int(count), float(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
