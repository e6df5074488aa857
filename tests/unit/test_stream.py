"""Streams whose queue's listeners act in the middle of a write; the loop is the test's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from partisan._core.bound import Bound
from partisan._core.distqueue import DistQueue
from partisan._core.frame import FrameReader, Slab
from partisan._core.sendqueue import SendQueue
from partisan._core.stream import Stream
from partisan.etf import Atom, Codec, Pid

CODEC = Codec()


class Loop:
    """What a stream asks of a loop. As a real one, it refuses to watch what is no descriptor."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], object]] = {}
        self.writers: dict[int, Callable[[], object]] = {}

    def time(self) -> float:
        return 0.0

    def add_reader(self, descriptor: int, function: Callable[[], object]) -> None:
        assert descriptor >= 0
        self.readers[descriptor] = function

    def remove_reader(self, descriptor: int) -> None:
        assert descriptor >= 0
        del self.readers[descriptor]

    def add_writer(self, descriptor: int, function: Callable[[], object]) -> None:
        assert descriptor >= 0
        self.writers[descriptor] = function

    def remove_writer(self, descriptor: int) -> None:
        assert descriptor >= 0
        del self.writers[descriptor]


class End:
    """A stream to a peer that is the test, with a bound whose relief does something."""

    def __init__(self, relieved: Callable[[Stream], object], high_water: int) -> None:
        self.loop = Loop()
        self.told: list[Any] = []
        sock, self.peer = socket.socketpair()
        for side in (sock, self.peer):
            side.setblocking(False)
        self.stream = Stream(
            self.loop,  # type: ignore[arg-type]
            sock,
            quantum=1 << 18,
            lost=lambda error, octets: self.told.append((error, octets)),
            refused=self.told.append,
        )
        self.bound = Bound(
            "b@h",
            "data",
            high_water=high_water,
            hard_limit=1 << 30,
            changed=lambda bound: None if bound.over else relieved(self.stream),
        )
        self.queue = SendQueue(self.bound, write=self.stream.write)
        self.stream.start(FrameReader(Slab()), self.queue)

    def take(self) -> bytes:
        """What has come to the peer."""
        octets = b""
        try:
            while piece := self.peer.recv(1 << 20):
                octets += piece
        except BlockingIOError:
            pass
        return octets


@pytest.fixture
def ends() -> Iterator[list[End]]:
    made: list[End] = []
    yield made
    for end in made:
        end.stream.close()
        end.peer.close()


@pytest.mark.parametrize("octets", [2_000, 4_000_000], ids=["written at once", "written bit by bit"])
@pytest.mark.parametrize("act", [Stream.close, Stream.retire, Stream.finish])
def test_a_stream_may_be_ended_by_who_hears_that_its_bound_is_relieved(
    ends: list[End], act: Callable[[Stream], object], octets: int
) -> None:
    end = End(act, high_water=1000)
    ends.append(end)
    end.queue.push(CODEC, b"x" * octets)
    came = 0
    end.stream.write()
    while end.loop.writers:
        came += len(end.take())
        for write in list(end.loop.writers.values()):
            write()
    came += len(end.take())
    assert came > octets - 1000
    assert end.told == []
    assert end.bound.queued_octets == 0
    assert end.queue.closed
    if act is Stream.close:
        assert end.stream.closed
        assert end.loop.readers == {}


def test_a_write_asked_for_while_a_message_is_written_comes_after_it(ends: list[End]) -> None:
    end = End(lambda stream: None, high_water=1 << 30)
    ends.append(end)

    class Value(bytearray):
        def __bytes__(self) -> bytes:
            end.queue.push(CODEC, "inner")
            end.stream.write()
            assert end.take() == b""
            return b"value"

    end.queue.push(CODEC, "first")
    end.queue.push(CODEC, Value())
    assert end.take() == b"".join(
        len(body).to_bytes(4, "big") + body for body in map(CODEC.encode, ("first", b"value", "inner"))
    )
    assert len(end.queue) == 0


@pytest.mark.parametrize("began", [False, True], ids=["before the first write", "after it"])
def test_a_stream_of_the_distribution_ends_when_the_large_messages_that_wait_are_written(
    ends: list[End], began: bool
) -> None:
    marked: list[SendQueue] = []
    end = End(lambda stream: None, high_water=1 << 30)
    ends.append(end)
    queue = DistQueue(
        end.bound,
        codec=CODEC,
        outside=Pid("a@h", 1),
        headers=True,
        fragments=True,
        write=end.stream.write,
        schedule=marked.append,
    )
    end.stream.start(FrameReader(Slab()), queue)
    queue.tell((2, Atom(""), Pid("b@h", 2)), b"x" * 3_000_000, sender=Pid("a@h", 1))
    if began:
        end.stream.write()
    end.stream.finish()
    came = 0
    while not queue.closed:
        came += len(end.take())
        end.stream.write()
    came += len(end.take())
    assert came > 3_000_000
    assert end.peer.recv(1) == b"", "and then its end"
    assert end.bound.queued_octets == 0
