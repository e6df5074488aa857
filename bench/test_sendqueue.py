"""Send queues: from a term to octets that a socket takes."""

from __future__ import annotations

import pytest

from bench.conftest import Rounds
from partisan._core.bound import Bound
from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.sendqueue import SendQueue
from partisan.etf import Atom, Codec

CODEC = Codec()


def bound(high_water: int = 1 << 30) -> Bound:
    return Bound("b@127.0.0.1", "data", high_water=high_water, hard_limit=1 << 30, policy="wait")


def take(queue: SendQueue) -> None:
    """Let a socket that takes everything have what waits."""
    while queue.prepare(0.0):
        queue.sent(sum(piece.nbytes for piece in queue.segments()) if queue.gathers else memoryview(queue).nbytes)
    queue.written(False)


@pytest.mark.parametrize(
    ("octets", "count"),
    [(16, 1000), (1024, 1000), (65536, 100), (1 << 20, 100)],
    ids=["16", "1 KiB", "64 KiB", "1 MiB"],
)
def test_a_message_is_queued_and_taken(rounds: Rounds[int], octets: int, count: int) -> None:
    queue, term = SendQueue(bound()), (Atom("forward_message"), Atom("sink"), bytes(octets))

    def work() -> int:
        before = queue.pushed_frames
        for _ in range(count):
            queue.push(CODEC, term)
        take(queue)
        return queue.pushed_frames - before

    assert rounds(count, work) == count
    assert queue.sent_octets > count * octets
    assert queue.queued_octets == 0


def test_a_compressed_message_is_queued_and_taken(rounds: Rounds[None]) -> None:
    queue, term = SendQueue(bound(), level=1), [{"id": number, "name": f"user-{number}"} for number in range(50)]

    def work() -> None:
        for _ in range(20):
            queue.push(CODEC, term)
        take(queue)

    rounds(20, work)
    assert queue.sent_octets < queue.pushed_frames * len(CODEC.encode(term))


def test_a_monotonic_message_supersedes_one_that_waits(rounds: Rounds[None]) -> None:
    """1,000 messages of ten keys, of which ten or a few more are sent."""
    queue = MonotonicQueue(bound())

    def work() -> None:
        for number in range(1000):
            queue.push(CODEC, (Atom("state"), number), key=number % 10, now=0.0)
        take(queue)

    rounds(1000, work)
    assert queue.superseded_frames > queue.pushed_frames * 0.9


def test_a_message_above_high_water_drops_the_oldest(rounds: Rounds[None]) -> None:
    queue = DroppingQueue(Bound("b", "data", high_water=4096, hard_limit=1 << 30, policy="drop_oldest"))

    def work() -> None:
        for number in range(1000):
            queue.push(CODEC, (Atom("state"), number, bytes(100)), key=1)

    rounds(1000, work)
    assert queue.discarded_frames > queue.pushed_frames * 0.9
