"""The connection table and the router: from a target to the connection that carries the message."""

from __future__ import annotations

from bench.conftest import Rounds
from partisan._core.sendqueue import SendQueue
from partisan.etf import Atom
from tests.unit.hollow import Core

PEER = "b@127.0.0.1"
SINK = (Atom("sink"), Atom(PEER))


def connected(core: Core, channel: str, parallelism: int) -> list[SendQueue]:
    core.table.configure(PEER, {channel: parallelism})
    return [core.connect(PEER, channel) for _ in range(parallelism)]


def take(core: Core, queues: list[SendQueue]) -> int:
    """Let sockets that take everything have what waits; returns the octets."""
    octets = 0
    core.run()
    for queue in queues:
        while queue.prepare(0.0):
            size = memoryview(queue).nbytes
            octets += size
            queue.sent(size)
        queue.written(False)
    return octets


def test_a_message_goes_out_on_the_default_channel(rounds: Rounds[int], core: Core) -> None:
    queues = connected(core, "undefined", 1)

    def work() -> int:
        for _ in range(1000):
            core.send(SINK, 1)
        return take(core, queues)

    assert rounds(1000, work) > 1000


def test_a_message_is_sent_by_partition_key_over_16_connections(rounds: Rounds[int], core: Core) -> None:
    queues = connected(core, "data", 16)

    def work() -> int:
        for key in range(1000):
            core.send(SINK, 1, channel="data", partition_key=key)
        return take(core, queues)

    assert rounds(1000, work) > 1000
    assert all(queue.sent_octets for queue in queues)


def test_messages_of_100_targets_keep_to_their_connections(rounds: Rounds[int], core: Core) -> None:
    queues = connected(core, "data", 4)
    targets = [(Atom(f"sink{number}"), Atom(PEER)) for number in range(100)]

    def work() -> int:
        for _ in range(10):
            for target in targets:
                core.send(target, 1, channel="data")
        return take(core, queues)

    assert rounds(1000, work) > 1000
    assert all(queue.sent_octets for queue in queues)


def test_a_message_goes_to_one_of_100_nodes(rounds: Rounds[int], core: Core) -> None:
    nodes = [f"n{number}@127.0.0.1" for number in range(100)]
    queues = [core.connect(node) for node in nodes]
    targets = [(Atom("sink"), Atom(node)) for node in nodes]

    def work() -> int:
        for _ in range(10):
            for target in targets:
                core.send(target, 1)
        return take(core, queues)

    assert rounds(1000, work) > 1000
    assert all(queue.sent_octets for queue in queues)


def test_a_connection_comes_and_goes(rounds: Rounds[None], core: Core) -> None:
    core.table.configure(PEER, {"data": 4})

    def work() -> None:
        for _ in range(100):
            queue = core.connect(PEER, "data")
            core.table.remove(PEER, "data", queue)

    rounds(100, work)
    assert core.table.count == 0
