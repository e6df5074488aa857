"""pyzmq: PUSH to PULL for streams, DEALER to ROUTER for echoes; the receiver's name is the first part of each message.

Payloads are plain octets, which is less work than any codec. Large ones are handed over without a copy.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from partisan.bench import child
from partisan.bench.measure import Job, Measurement

from .base import PythonTransport

if TYPE_CHECKING:
    import zmq

LARGE = 65536
"""From this size payloads are passed without a copy (the threshold that pyzmq itself uses), in octets."""

LARGE_WATER = 8
"""High-water mark of the sockets for large payloads, in messages: the default of 1000 would hold gigabytes."""

REPORT = b""
"""As a payload it asks a sink for its count."""


class Zmq(PythonTransport):
    """pyzmq, with one I/O thread a process."""

    name = "zmq"
    needs = ("zmq",)


TRANSPORT = Zmq


def serve(actors: int) -> None:
    """Serve named sinks on two PULL sockets (small and large payloads) and named echoes on a ROUTER."""
    import zmq

    context = zmq.Context()
    small, large, router = context.socket(zmq.PULL), context.socket(zmq.PULL), context.socket(zmq.ROUTER)
    large.rcvhwm = LARGE_WATER
    ports = [each.bind_to_random_port("tcp://127.0.0.1") for each in (small, large, router)]
    counts = {b"sink_%d" % i: 0 for i in range(actors)}
    echoes = {b"echo_%d" % i for i in range(actors)}
    poller = zmq.Poller()
    for each in (small, large, router):
        poller.register(each, zmq.POLLIN)
    child.announce(ports=ports)
    while True:
        ready = dict(poller.poll())
        for each in (small, large):
            if each in ready:
                _sink(each, counts, router, copy=each is small)
        if router in ready:
            _echo_all(router, echoes)


def _sink(pull: zmq.Socket[bytes], counts: dict[bytes, int], router: zmq.Socket[bytes], copy: bool) -> None:
    """Count all that waits; a report goes to the client whose identity follows the name."""
    import zmq

    try:
        while True:
            to = pull.recv(zmq.NOBLOCK)
            payload = pull.recv(copy=copy)
            if len(payload):
                counts[to] += 1
            else:
                router.send_multipart([b"client", to, b"%d" % counts[to]])
                counts[to] = 0
    except zmq.Again:
        return


def _echo_all(router: zmq.Socket[bytes], echoes: set[bytes]) -> None:
    """Send back all that waits: identity, echo's name, client's name, payload."""
    import zmq

    try:
        while True:
            identity, to, reply_to = router.recv(zmq.NOBLOCK), router.recv(), router.recv()
            payload: Any = router.recv(copy=False)
            if to not in echoes:
                raise KeyError(to)
            router.send(identity, zmq.SNDMORE)
            router.send(reply_to, zmq.SNDMORE)
            router.send(payload, copy=False)
    except zmq.Again:
        return


def drive(facts: dict[str, Any]) -> None:
    """Answer jobs over one socket of each kind."""
    import zmq

    context = zmq.Context()
    small, large, dealer = context.socket(zmq.PUSH), context.socket(zmq.PUSH), context.socket(zmq.DEALER)
    large.sndhwm = LARGE_WATER
    dealer.identity = b"client"
    for each, port in zip((small, large, dealer), facts["ports"], strict=True):
        each.connect(f"tcp://127.0.0.1:{port}")
    child.announce()
    while (job := child.next_job()) is not None:
        if job.point.workload == "echo":
            child.reply(_echo(dealer, job))
        else:
            child.reply(_stream(large if job.point.octets >= LARGE else small, dealer, job))
    context.destroy(linger=0)


def _stream(push: zmq.Socket[bytes], dealer: zmq.Socket[bytes], job: Job) -> Measurement:
    import zmq

    point = job.point
    payload = bytes(point.octets)
    copy = point.octets < LARGE
    names = [b"sink_%d" % i for i in range(point.actors)]
    send, clock, burst, more = push.send, time.perf_counter, range(point.burst), zmq.SNDMORE
    start = clock()
    stop_at = start + job.seconds
    while clock() < stop_at:
        for name in names:
            for _ in burst:
                send(name, more)
                send(payload, 0, copy=copy)
    for name in names:
        send(name, more)
        send(REPORT)
    total = sum(int(dealer.recv_multipart()[1]) for _ in names)
    return Measurement.of_stream(point, total, clock() - start)


def _echo(dealer: zmq.Socket[bytes], job: Job) -> Measurement:
    import zmq

    point = job.point
    payload = bytes(point.octets)
    copy = point.octets < LARGE
    names = {b"client_%d" % i: b"echo_%d" % i for i in range(point.actors)}
    send, recv, clock, more = dealer.send, dealer.recv, time.perf_counter_ns, zmq.SNDMORE

    def request(client: bytes) -> None:
        send(names[client], more)
        send(client, more)
        send(payload, 0, copy=copy)

    latencies: list[int] = []
    start = clock()
    stop_at = start + int(job.seconds * 1e9)
    sent = dict.fromkeys(names, start)
    counts = dict.fromkeys(names, 0)
    for client in names:
        request(client)
    waiting = len(names)
    while waiting:
        client = recv()
        recv(copy=copy)
        counts[client] += 1
        place = counts[client] % point.stride
        if not place:
            after = clock()
            latencies.append(after - sent[client])
            if after >= stop_at:
                waiting -= 1
                continue
            sent[client] = after
        elif place == point.stride - 1:
            sent[client] = clock()
        request(client)
    return Measurement.of_echo(point, sum(counts.values()), (clock() - start) / 1e9, latencies)
