"""Messages of every size round trip, and arrive as they were sent."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from support import Sink, cluster

import partisan
from partisan import Atom

KIB, MIB = 1 << 10, 1 << 20
THRESHOLDS = (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB)
"""Where a frame changes its way: carried or assembled, copied or kept by reference, one read or several."""

SIZES = sorted({0, 1, *(edge + off for edge in THRESHOLDS for off in (-60, -40, -30, -8, -4, -1, 0, 1, 4, 100))})


def octets(size: int) -> bytes:
    """Octets of that size that no shift nor repetition leaves as they are."""
    block = hashlib.shake_128(size.to_bytes(8, "big")).digest(min(size, 65_537))
    return (block * (size // max(len(block), 1) + 1))[:size]


async def echo() -> None:
    while True:
        caller, message = await partisan.receive()
        partisan.send(caller, message, channel="data")


async def round_trips(messages: list[Any], done: asyncio.Future[None]) -> None:
    """Send each message to the echo and compare what comes back."""
    try:
        for message in messages:
            partisan.send(("echo", "b@127.0.0.1"), (partisan.self(), message), channel="data")
            back = await partisan.receive(timeout=30.0)
            assert back == message
        done.set_result(None)
    except BaseException as error:
        done.set_exception(error)
        raise


async def echoed(messages: list[Any], **channel: Any) -> None:
    async with cluster("a", "b", channels={"data": channel}) as (a, b):
        b.spawn(echo, name="echo")
        done = a.loop.create_future()
        a.spawn(round_trips, messages, done)
        await done


@pytest.mark.parametrize("level", [0, 1])
async def test_binaries_of_sizes_around_every_threshold_round_trip(level: int) -> None:
    await echoed([octets(size) for size in SIZES], compression=level)


async def test_binaries_inside_of_terms_round_trip_wherever_they_stand() -> None:
    inside = [
        [octets(70_000), Atom("between"), octets(300_000), octets(5)],
        {b"key": octets(70_000), octets(65_536): b"value"},
        (octets(65_535), (octets(65_537), [octets(262_144), (1.5, octets(1))])),
        [octets(1000)] * 500,
        list(range(100_000)),
    ]
    await echoed(inside)


async def test_messages_of_many_sizes_at_once_keep_their_order() -> None:
    async with cluster("a", "b", parallelism=2) as (a, b):
        sink = Sink(b)
        sizes = [size for _ in range(5) for size in (10, 300_000, 0, 65_536, 5000, 1_000_000, 1)]
        for number, size in enumerate(sizes):
            a.send(("sink", "b@127.0.0.1"), (number, octets(size)), partition_key=1)
        got = await sink.has(len(sizes))
        assert [(number, len(body)) for number, body in got] == list(enumerate(sizes))
        assert all(body == octets(len(body)) for _, body in got)


@pytest.mark.parametrize("size", [8 * MIB, 64 * MIB])
async def test_a_large_binary_goes_both_ways(size: int) -> None:
    await echoed([octets(size)])


async def test_a_frame_above_the_limit_is_refused_by_its_sender() -> None:
    async with cluster("a", "b", max_frame_octets=MIB) as (a, b):
        sink = Sink(b)
        with pytest.raises(partisan.EncodeError, match="larger than"):
            a.send(("sink", "b@127.0.0.1"), octets(MIB))
        a.send(("sink", "b@127.0.0.1"), octets(MIB - 100))
        assert await sink.has(1) == [octets(MIB - 100)]
