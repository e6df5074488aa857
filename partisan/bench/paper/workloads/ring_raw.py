"""Raw sockets beside the echo on a ring: `python -m partisan.bench.paper.workloads.ring_raw FACTS`.

Each client is a thread with a blocking socket of its own to each of the other nodes, and each socket has a thread at
its other end: frames of a 4-byte length, no names, no terms. Sockets are kept from one repetition to the next, as the
connections of the other transports are. With few clients a bound, rather than a rival; with many, it is threads that
wait for one interpreter. Takes the orders of `ring_python`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from typing import Any

from partisan.bench.child import announce

from .base import selected
from .python_node import say
from .ring import PARTITIONS

LENGTH = struct.Struct(">I")


def receive(connection: socket.socket, buffer: bytearray) -> memoryview | None:
    """Receive a frame into a buffer that grows; None if the peer has closed."""
    head = bytearray(LENGTH.size)
    if not _fill(connection, memoryview(head)):
        return None
    size = LENGTH.unpack(head)[0]
    if len(buffer) < size:
        buffer.extend(bytes(size - len(buffer)))
    body = memoryview(buffer)[:size]
    return body if _fill(connection, body) else None


def _fill(connection: socket.socket, view: memoryview) -> bool:
    filled = 0
    while filled < len(view):
        count = connection.recv_into(view[filled:])
        if not count:
            return False
        filled += count
    return True


def send(connection: socket.socket, body: bytes | memoryview) -> None:
    """Send a frame: the length is in one packet with the beginning of the body."""
    head = LENGTH.pack(len(body))
    sent = connection.sendmsg([head, body])
    if sent < len(head):
        connection.sendall(head[sent:])
    if (sent := max(0, sent - len(head))) < len(body):
        connection.sendall(memoryview(body)[sent:])


def echo(connection: socket.socket) -> None:
    """Send back every frame until the peer closes."""
    buffer = bytearray()
    with connection, contextlib.suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (body := receive(connection, buffer)) is not None:
            send(connection, body)
            body.release()


def accept(listener: socket.socket) -> None:
    """Give every connection a thread that echoes."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


class Clients:
    """The clients of one node, and their sockets.

    Attributes:
        sockets: for each client, one to each of the other nodes by its number.
    """

    def __init__(self, names: list[str], me: int, addresses: list[str]) -> None:
        self.names, self.me, self.addresses = names, me, addresses
        self.sockets: list[dict[int, socket.socket]] = []

    def connect(self, actors: int) -> None:
        """Have sockets for so many clients."""
        while len(self.sockets) < actors:
            mine: dict[int, socket.socket] = {}
            for owner in set(range(len(self.names))) - {self.me}:
                host, _, port = self.addresses[owner].rpartition(":")
                mine[owner] = socket.create_connection((host, int(port)))
                mine[owner].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets.append(mine)

    def run(self, actors: int, payload: bytes, most: int, until: int) -> list[float]:
        """Run them; return the latencies in microseconds. Raises OSError if one of them met one."""
        micros: list[list[float]] = [[] for _ in range(actors)]
        errors: list[OSError] = []

        def work(number: int) -> None:
            try:
                self._client(number, payload, most, until, micros[number])
            except OSError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(actors)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return [each for times in micros for each in times]

    def _client(self, number: int, payload: bytes, most: int, until: int, micros: list[float]) -> None:
        rng, clock, buffer = random.Random(f"{self.me} {number}"), time.perf_counter_ns, bytearray()
        sockets = self.sockets[number]
        while len(micros) < most and ((start := clock()) < until or not micros):
            owner = rng.randrange(PARTITIONS) % len(self.names)
            if owner != self.me:
                send(sockets[owner], payload)
                if (body := receive(sockets[owner], buffer)) is None:
                    raise ConnectionError(f"{self.names[owner]} has closed")
                body.release()
            micros.append((clock() - start) / 1000)


def hold(facts: dict[str, Any]) -> None:
    """Hold a node, and do what is ordered."""
    names = list(facts["names"].values())
    me = names.index(facts["names"][facts["host"]])
    host = names[me].partition("@")[2]
    with socket.create_server((host, 0), backlog=1024) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        say(listening=f"{host}:{listener.getsockname()[1]}")
        clients = Clients(names, me, [])
        for line in sys.stdin:
            order, *words = line.split()
            if order == "peers":
                clients.addresses = words
                announce()
                continue
            actors, octets, most, milliseconds, _, samples = map(int, words[1:])
            clients.connect(actors)
            payload, start = os.urandom(octets), time.perf_counter_ns()
            micros = clients.run(actors, payload, most, start + milliseconds * 1_000_000)
            seconds = (time.perf_counter_ns() - start) / 1e9
            kept = [round(each, 1) for each in selected(micros, samples)]
            say(done=True, operations=len(micros), failed=0, seconds=seconds, micros=kept, more={})


if __name__ == "__main__":
    hold(json.loads(sys.argv[1]))
