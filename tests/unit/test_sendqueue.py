"""Send queues: the octets that reach the socket, and when they are written."""

from __future__ import annotations

import ctypes
import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan._core.bound import Bound
from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.sendqueue import SendQueue
from partisan.errors import EncodeError, LocalProtocolError
from partisan.etf import Codec
from tests.unit.hollow import Core, bodies, drain, framed, messages

LARGE = 65536
CODEC = Codec()
PEER = "b@127.0.0.1"
TARGET = ("sink", PEER)
BIG = bytes(range(256)) * 300


def bound(policy: str = "wait", high_water: int = 1000, hard_limit: int = 10_000) -> Bound:
    return Bound(PEER, "data", high_water=high_water, hard_limit=hard_limit, policy=policy)


def queue_of(kind: type[SendQueue] = SendQueue, **options: Any) -> SendQueue:
    return kind(options.pop("bound", bound(high_water=1 << 30)), **options)


TERMS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.binary(max_size=200),
    st.integers(LARGE, LARGE + 5).map(lambda size: b"L" * size),
    st.tuples(st.integers(0, 9), st.integers(LARGE, LARGE + 99).map(bytes), st.binary(max_size=10)),
    st.just((BIG, BIG, b"x", BIG)),
)


# What reaches the socket.


@settings(max_examples=60, deadline=None)
@given(st.lists(TERMS, max_size=10), st.sampled_from([100, 70_000, 1 << 20]), st.integers(0, 2**32))
def test_the_octets_on_the_wire_are_the_encoding_whatever_the_socket_takes(
    terms: list[Any], quantum: int, seed: int
) -> None:
    chance = random.Random(seed)
    queue = queue_of(quantum=quantum)
    left = list(terms)
    wire = bytearray()
    while left or len(queue):
        if left and (not len(queue) or chance.random() < 0.3):
            queue.push(CODEC, left.pop(0))
            continue
        if chance.random() < 0.5:
            with memoryview(queue) as view:
                offered = bytes(view)
        else:
            offered = b"".join(bytes(segment) for segment in queue.segments())
        assert 0 < len(offered) <= queue.quantum
        taken = chance.choice([len(offered), chance.randint(0, len(offered))])
        wire += offered[:taken]
        waits = len(queue) - taken
        assert queue.sent(taken) == waits
    assert bytes(wire) == b"".join(framed(CODEC.encode(term)) for term in terms)
    assert queue.sent_octets == len(wire)
    assert queue.pushed_frames == len(terms)
    assert memoryview(queue).nbytes == 0


def test_large_payloads_are_handed_out_by_reference() -> None:
    queue = queue_of(quantum=1 << 20)
    queue.push(CODEC, (1, BIG, b"between", BIG))
    segments = queue.segments()
    assert [segment.obj is BIG for segment in segments] == [False, True, False, True]
    assert sum(segment.nbytes for segment in segments) == len(queue)
    assert queue.gathers


def test_a_payload_below_the_size_is_copied_so_that_one_write_takes_all() -> None:
    queue = queue_of()
    queue.push(CODEC, b"s" * (LARGE - 1))
    assert [segment.obj for segment in queue.segments()] == [None]
    assert not queue.gathers


def test_a_gathered_write_has_a_bounded_number_of_segments() -> None:
    queue = queue_of(quantum=1 << 30)
    for _ in range(40):
        queue.push(CODEC, BIG)
    assert len(queue.segments()) <= 17
    assert drain(queue) == framed(CODEC.encode(BIG)) * 40


def test_no_more_than_the_quantum_is_handed_out_at_once() -> None:
    queue = queue_of(quantum=70_000)
    queue.push(CODEC, (BIG, BIG))
    assert sum(segment.nbytes for segment in queue.segments()) == 70_000
    assert memoryview(queue).nbytes <= 70_000


def test_a_drained_queue_gives_large_buffers_back_and_works_on() -> None:
    queue = queue_of()
    for _ in range(3):
        for number in range(40_000):
            queue.push(CODEC, number)
        assert drain(queue) == b"".join(framed(CODEC.encode(number)) for number in range(40_000))


def test_a_queue_that_never_drains_forgets_what_it_has_sent() -> None:
    """One octet always waits; the octets in front of it must not be kept."""
    queue = queue_of()
    frame = framed(CODEC.encode(b"f" * 1000))
    for _ in range(3000):
        queue.push(CODEC, b"f" * 1000)
        queue.sent(min(len(frame), len(queue) - 1))
    assert len(queue) == 1
    assert drain(queue) == frame[-1:]


def test_more_than_waits_cannot_have_been_sent() -> None:
    queue = queue_of()
    queue.push(CODEC, 1)
    with pytest.raises(LocalProtocolError):
        queue.sent(len(queue) + 1)
    assert drain(queue) == framed(CODEC.encode(1))


def test_a_raw_frame_goes_out_as_it_is() -> None:
    queue = queue_of()
    queue.push_raw(CODEC.encode(1))
    queue.push_raw(b"\x83" + b"r" * 1000)
    assert drain(queue) == framed(CODEC.encode(1)) + framed(b"\x83" + b"r" * 1000)


def test_a_term_that_cannot_be_encoded_leaves_no_octet_behind() -> None:
    queue = queue_of()
    queue.push(CODEC, "first")
    with pytest.raises(EncodeError):
        queue.push(CODEC, (BIG, object()))
    queue.push(CODEC, (2, BIG))
    assert drain(queue) == framed(CODEC.encode("first")) + framed(CODEC.encode((2, BIG)))
    assert queue.pushed_frames == 2


@pytest.mark.parametrize("kind", [SendQueue, MonotonicQueue, DroppingQueue])
def test_a_frame_above_the_limit_is_refused_and_leaves_nothing_behind(kind: type[SendQueue]) -> None:
    limit = len(CODEC.encode(BIG))
    queue = queue_of(kind, max_frame=limit)
    queue.push(CODEC, BIG)
    with pytest.raises(EncodeError, match=str(limit)):
        queue.push(CODEC, BIG + b"1")
    assert drain(queue) == framed(CODEC.encode(BIG))


# Compression.


@pytest.mark.parametrize("level", [1, 6, 9])
def test_a_compressed_frame_inflates_to_the_plain_one(level: int) -> None:
    queue = queue_of(level=level)
    terms = [b"c" * 100_000, "short", list(range(1000)), (BIG, 1)]
    for term in terms:
        queue.push(CODEC, term)
    found = list(bodies(drain(queue)))
    assert [CODEC.decode(body) for body in found] == [b"c" * 100_000, b"short", list(range(1000)), (BIG, 1)]
    assert [body[1] == 80 for body in found] == [True, False, True, True]
    assert zlib.decompress(found[0][6:]) == CODEC.encode(terms[0])[1:]
    assert sum(map(len, found)) < 10_000


def test_what_does_not_shrink_goes_out_plainly() -> None:
    noise = random.Random(3).randbytes(5000)
    queue = queue_of(level=9)
    queue.push(CODEC, noise)
    assert drain(queue) == framed(CODEC.encode(noise))


def test_frames_are_compressed_by_the_level_that_is_in_force_when_they_are_pushed() -> None:
    core = Core()
    queue = core.connect(PEER)
    core.send(TARGET, b"x" * 5000)
    plain = len(queue)
    queue.level = 6
    core.send(TARGET, b"x" * 5000)
    assert plain > 5000 > len(queue) - plain
    assert messages(drain(queue), core.codec) == [b"x" * 5000] * 2


# Buffers that somebody looks at.


@pytest.mark.parametrize("kind", [SendQueue, MonotonicQueue, DroppingQueue])
def test_a_queue_cannot_change_while_its_octets_are_looked_at(kind: type[SendQueue]) -> None:
    queue = queue_of(kind)
    queue.push(CODEC, BIG)
    queue.prepare(0.0)
    with memoryview(queue):
        for change in (
            lambda: queue.push(CODEC, 1),
            lambda: queue.push_raw(b"\x83\x6a"),
            lambda: queue.prepare(0.0),
            lambda: queue.sent(1),
            queue.close,
        ):
            with pytest.raises(BufferError):
                change()
    assert drain(queue) == framed(CODEC.encode(BIG))


def test_the_octets_of_a_queue_cannot_be_written_by_others() -> None:
    queue = queue_of()
    queue.push(CODEC, 1)
    with memoryview(queue) as view:
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 1
    with pytest.raises((BufferError, TypeError)):
        ctypes.c_char.from_buffer(queue)
    assert drain(queue) == framed(CODEC.encode(1))


# The link.


def test_the_first_frame_of_an_idle_queue_arranges_one_write() -> None:
    arranged: list[SendQueue] = []
    queue = queue_of(schedule=arranged.append, write=lambda: None)
    for number in range(5):
        queue.push(CODEC, number)
    assert arranged == [queue]
    drain(queue)
    queue.push(CODEC, 1)
    assert arranged == [queue, queue]


def test_a_blocked_queue_waits_for_its_socket() -> None:
    arranged: list[SendQueue] = []
    queue = queue_of(schedule=arranged.append, write=lambda: None)
    queue.push(CODEC, 1)
    queue.written(True)
    assert queue.blocked
    queue.push(CODEC, 2)
    assert len(arranged) == 1
    queue.written(False)
    assert len(arranged) == 2, "what waits is arranged for"


def test_a_queue_that_has_a_quantum_is_written_at_once() -> None:
    writes: list[int] = []
    queue = queue_of(schedule=lambda queue: None, write=lambda: writes.append(len(queue)), quantum=1000)
    queue.push(CODEC, b"1" * 600)
    assert writes == []
    queue.push(CODEC, b"2" * 600)
    assert len(writes) == 1
    queue.written(True)
    queue.push(CODEC, b"3" * 600)
    assert len(writes) == 1, "not while the socket takes nothing"


def test_a_full_socket_is_tried_again_for_so_many_octets_as_it_may_have_room_before_it_says_so() -> None:
    writes: list[int] = []
    queue = queue_of(schedule=lambda queue: None, write=lambda: writes.append(len(queue)), quantum=1000)
    queue.push(CODEC, b"1" * 600)
    queue.written(True)
    for _ in range(200):
        queue.push(CODEC, b"2" * (1024 - 10))
    assert [octets // LARGE for octets in writes] == [1, 2, 3]
    queue.push(CODEC, BIG)
    assert len(writes) == 4, "at once for a large one"


@pytest.mark.parametrize("kind", [MonotonicQueue, DroppingQueue])
def test_what_may_never_be_sent_waits_until_the_socket_has_said_that_it_takes_more(kind: type[SendQueue]) -> None:
    writes: list[int] = []
    queue = queue_of(kind, schedule=lambda queue: None, write=lambda: writes.append(len(queue)), quantum=1000)
    queue.push(CODEC, b"1" * 600, key=0)
    queue.written(True)
    for number in range(4):
        queue.push(CODEC, BIG, key=number)
    assert writes == []


def test_a_closed_queue_takes_nothing_and_relieves_its_bound() -> None:
    shared = bound(high_water=100)
    queue, other = queue_of(bound=shared), queue_of(bound=shared)
    queue.push(CODEC, b"q" * 200)
    other.push(CODEC, b"o" * 20)
    assert shared.over
    waited = len(queue)
    assert queue.close() == waited
    assert queue.closed
    assert not shared.over
    assert shared.queued_octets == len(other)
    assert len(queue) == 0
    assert queue.close() == 0
    with pytest.raises(LocalProtocolError):
        queue.push(CODEC, 1)


@pytest.mark.parametrize("kind", [MonotonicQueue, DroppingQueue])
def test_a_closed_queue_relieves_its_bound_of_frames_that_wait_apart(kind: type[SendQueue]) -> None:
    shared = bound()
    queue = queue_of(kind, bound=shared)
    queue.push(CODEC, b"a" * 50, key=1)
    queue.push(CODEC, (1, BIG), key=2)
    queue.close()
    assert shared.queued_octets == 0
    assert queue.prepare(0.0) is False


def test_a_queue_can_be_rebound() -> None:
    first, second = bound(high_water=100), bound(high_water=100)
    queue = queue_of(bound=first)
    queue.push(CODEC, b"x" * 200)
    queue.rebind(second)
    assert (first.queued_octets, first.over) == (0, False)
    assert (second.queued_octets, second.over) == (len(queue), True)
    drain(queue)
    assert second.queued_octets == 0
