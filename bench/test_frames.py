"""The frame reader: octets of a connection in, frames out."""

from __future__ import annotations

import pytest

from bench.conftest import Rounds
from partisan._core.frame import FrameReader, Slab
from partisan._core.process import receive
from partisan.etf import Codec
from tests.unit.hollow import Core, drain, framed

CODEC = Codec()


class Count(FrameReader):
    """Counts frames and the large binaries in them."""

    frames = 0
    binaries = 0

    def frame(self, body: bytes, planted: list[bytes] | None) -> None:
        self.frames += 1
        self.binaries += len(planted or ())


def feed(reader: FrameReader, octets: memoryview, size: int) -> None:
    """Give a reader a stream, so many octets a read at most, as a socket would."""
    position = 0
    while position < len(octets):
        buffer = reader.get_buffer()
        here = min(size, len(buffer), len(octets) - position)
        buffer[:here] = octets[position : position + here]
        position += here
        reader.received(here)


@pytest.mark.parametrize(
    ("octets", "count", "read"),
    [(16, 2000, 1 << 18), (100, 2000, 1 << 18), (100, 2000, 1000), (16384, 50, 1 << 18), (1 << 20, 4, 1 << 18)],
    ids=["16 octets", "100 octets", "100 octets in reads of 1000", "16 KiB", "1 MiB"],
)
def test_a_frame_is_cut_from_the_stream(rounds: Rounds[int], octets: int, count: int, read: int) -> None:
    stream = memoryview(framed(CODEC.encode(bytes(octets))) * count)
    slab = Slab()

    def cut() -> int:
        reader = Count(slab)
        feed(reader, stream, read)
        return reader.frames

    assert rounds(count, cut) == count


@pytest.mark.parametrize("octets", [16, 1024])
def test_a_message_is_read_and_received_by_a_process(rounds: Rounds[int], core: Core, octets: int) -> None:
    queue = core.connect("b@127.0.0.1")
    for _ in range(1000):
        core.send(("sink", "b@127.0.0.1"), bytes(octets))
    stream = memoryview(drain(queue))
    received = 0

    async def sink() -> None:
        nonlocal received
        while True:
            await receive()
            received += 1

    core.scheduler.register("sink", core.spawn(sink()))
    inbound = core.inbound()

    def read() -> int:
        before = received
        feed(inbound, stream, 1 << 16)
        core.run()
        return received - before

    assert rounds(1000, read) == 1000
