"""The workloads on a ring of three nodes do the same on every transport, and are timed alike."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvloop

from partisan.bench.memory import resident_octets
from partisan.bench.paper.cells import AFFINITY, DISTERL, PARTISAN, Cell, Group
from partisan.bench.paper.workloads import ring_raw
from partisan.bench.paper.workloads.base import Amount
from partisan.bench.paper.workloads.ring import SERVICE_SECONDS, Ring
from partisan.bench.paper.workloads.ring_python import serve
from partisan.bench.places import LOOPBACK

WAIT = 20.0
STORE_MICROS = SERVICE_SECONDS * 1e6


@pytest.fixture(params=["disterl", "partisan", "pyzmq", "raw"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def cell(workload: str, transport: str, actors: int, octets: int, variant: str = "") -> Cell:
    group: Group = {"disterl": DISTERL, "partisan": AFFINITY}.get(transport, PARTISAN)
    experiment = {"echo": "echo-perf", "kvs": "fsm-perf"}[workload]
    return Cell(experiment, workload, transport, group, actors, octets, 0.0, variant)


def started(first: Cell) -> Ring:
    if (reason := Ring.why_not(first)) is not None:
        pytest.skip(reason)
    ring = Ring(first, LOOPBACK)
    try:
        ring.start()
    except BaseException:
        ring.stop()
        raise
    return ring


def test_an_echo_goes_around_on_every_transport(transport: str) -> None:
    ring = started(cell("echo", transport, 2, 1024))
    try:
        for actors, octets in ((2, 1024), (3, 1 << 20)):
            found = ring.run(cell("echo", transport, actors, octets), Amount(4, WAIT))
            assert found.operations == len(found.micros) == 3 * 4 * actors
            assert 0 < found.seconds < WAIT
            assert not found.extra
    finally:
        ring.stop()


@pytest.mark.parametrize("transport", ["disterl", "partisan"])
def test_an_operation_of_the_store_takes_the_time_of_a_partition_at_least(transport: str) -> None:
    ring = started(cell("kvs", transport, 1, 1024, "50/50"))
    try:
        found = ring.run(cell("kvs", transport, 1, 1024, "50/50"), Amount(20, WAIT))
        assert found.operations == 3 * 20
        assert min(found.micros) >= STORE_MICROS
    finally:
        ring.stop()


def test_raw_clients_keep_their_sockets_and_send_a_frame_in_one_piece() -> None:
    pieces: list[int] = []
    answering: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            while piece := connection.recv(1 << 16):
                pieces.append(len(piece))
                connection.sendall(piece)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                answering.append(threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True))
                answering[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, args=(listener,), daemon=True)
        accepting.start()
        here = f"127.0.0.1:{listener.getsockname()[1]}"
        clients = ring_raw.Clients(["a", "b", "c"], 0, [here] * 3)
        for actors in (1, 2, 2):
            clients.connect(actors)
            found = clients.run(actors, b"x" * 100, 20, time.perf_counter_ns() + int(WAIT * 1e9))
            assert len(found) == 20 * actors
        listener.shutdown(socket.SHUT_RDWR)  # a thread waits there
    for connection in [each for mine in clients.sockets for each in mine.values()]:
        connection.close()
    for thread in [accepting, *answering]:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert len(answering) == 2 * 2
    assert set(pieces) == {104}


@pytest.mark.parametrize("transport", ["disterl", "partisan"])
def test_nodes_that_wait_for_their_next_turn_keep_no_objects(transport: str) -> None:
    large = cell("kvs", transport, 4, 1 << 20, "0/100")
    ring = started(large)
    try:
        before = sum(resident_octets(child.pid) for child in ring._nodes.values())
        assert ring.run(large, Amount(8, WAIT)).operations == 3 * 4 * 8
        written = 3 * 3 * 4 * 8 * large.octets
        until = time.monotonic() + WAIT
        while (after := sum(resident_octets(child.pid) for child in ring._nodes.values())) - before >= written / 2:
            assert time.monotonic() < until, f"{after - before} octets more than before, {written} were written"
            time.sleep(0.01)
        assert ring.run(large, Amount(1, WAIT)).operations == 3 * 4
    finally:
        ring.stop()


def test_a_partition_of_ours_is_no_quicker_than_its_time_beside_others() -> None:
    async def turn() -> None:
        while True:
            await asyncio.sleep(0)  # a loop that does not wait sees its timers as soon as they are due

    async def times() -> list[float]:
        busy, found = asyncio.create_task(turn()), []
        for _ in range(30):
            start = time.perf_counter()
            await serve()
            found.append(time.perf_counter() - start)
        busy.cancel()
        return found

    assert min(uvloop.run(times())) >= SERVICE_SECONDS
