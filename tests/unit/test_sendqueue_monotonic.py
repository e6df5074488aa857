"""Send queues of monotonic channels: what supersedes what, and what is sent all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan._core.bound import Bound
from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.sendqueue import SendQueue
from partisan.errors import LocalProtocolError
from partisan.etf import Codec
from tests.unit.hollow import Core, bodies, drain, messages

CODEC = Codec()
PEER = "b@127.0.0.1"
TARGET = ("sink", PEER)
BIG = bytes(range(256)) * 300


def monotonic(core: Core, **options: Any) -> SendQueue:
    """A monotonic connection on which something was sent just now: its send window has begun."""
    queue = core.connect(PEER, kind=MonotonicQueue, **options)
    core.send(TARGET, "prime")
    drain(queue, core.now)
    return queue


def test_of_a_backlog_only_the_newest_is_sent() -> None:
    core = Core()
    queue = monotonic(core)
    for number in range(10):
        core.send(TARGET, number)
    assert messages(drain(queue), core.codec) == [9]
    assert queue.superseded_frames == 9
    core.send(TARGET, 10)
    assert messages(drain(queue), core.codec) == [10]


def test_a_frame_that_has_begun_to_be_sent_is_not_superseded() -> None:
    core = Core()
    queue = core.connect(PEER, kind=MonotonicQueue)
    core.send(TARGET, 0)
    queue.prepare(0.0)
    assert queue.sent(0)
    for number in range(1, 10):
        core.send(TARGET, number)
    assert messages(drain(queue), core.codec) == [0, 9]


def test_a_key_limits_what_is_superseded_to_its_object() -> None:
    core = Core()
    queue = monotonic(core)
    for number in range(3):
        for key in ("x", ("y", 1), 7):
            core.send(TARGET, (key if isinstance(key, int) else 0, number), key=key)
    core.send(TARGET, "no key")
    core.send(TARGET, "no key either")
    assert messages(drain(queue), core.codec) == [(0, 2), (0, 2), (7, 2), b"no key either"]
    assert queue.superseded_frames == 7


def test_once_in_a_send_window_a_superseded_frame_is_sent_all_the_same() -> None:
    core = Core()
    queue = core.connect(PEER, kind=MonotonicQueue, send_window=1.0)
    core.send(TARGET, "first")
    queue.prepare(core.now)
    for step in range(50):  # the socket takes nothing for five seconds
        core.now = step / 10
        core.send(TARGET, step)
    found = messages(drain(queue, core.now), core.codec)
    assert found[0] == b"first"
    assert found[-1] == 49
    assert len(found) in (5, 6, 7)
    assert found[1:] == sorted(found[1:])


def test_the_bound_forgets_superseded_frames() -> None:
    core = Core(high_water=1000)
    queue = monotonic(core)
    for _ in range(100):
        core.send(TARGET, b"x" * 400)
    shared = core.table.lane(PEER, "undefined").bound
    assert shared.queued_octets == len(queue) < 500
    assert not shared.over


def test_large_payloads_wait_apart_by_reference_too() -> None:
    core = Core()
    queue = monotonic(core, quantum=1 << 20)
    core.send(TARGET, b"old")
    core.send(TARGET, (1, BIG, 2))
    queue.prepare(0.0)
    assert any(segment.obj is BIG for segment in queue.segments())
    assert messages(drain(queue), core.codec) == [(1, BIG, 2)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 70_000)), max_size=30), st.data())
def test_of_each_key_the_newest_always_arrives_and_nothing_is_older_than_what_came_before(
    pushes: list[tuple[int, int]], data: st.DataObject
) -> None:
    queue = MonotonicQueue(Bound(PEER, "data", high_water=1 << 30, hard_limit=1 << 30), quantum=50_000)
    wire = bytearray()
    for now, (key, size) in enumerate(pushes):
        queue.push(CODEC, (key, now, b"p" * size), key=key, now=now / 3)
        if data.draw(st.booleans()) and queue.prepare(now / 3):
            piece = b"".join(queue.segments())[: data.draw(st.integers(0, 80_000))]
            wire += piece
            queue.sent(len(piece))
    wire += drain(queue, 1e6)
    found = [CODEC.decode(body) for body in bodies(bytes(wire))]
    newest: dict[int, int] = {}
    for key, now, _ in found:
        assert now > newest.get(key, -1)
        newest[key] = now
    assert newest == {key: now for now, (key, _) in enumerate(pushes)}
    assert len(found) + queue.superseded_frames == len(pushes)


def test_discarded_frames_are_counted_and_superseded_ones_are_not_dropped() -> None:
    core = Core()
    queue = core.connect(PEER, kind=MonotonicQueue)
    for number in range(10):
        core.send(TARGET, number)
    bound = core.table.lane(PEER, "undefined").bound
    assert (queue.pushed_frames, queue.discarded_frames, bound.dropped_frames) == (10, queue.superseded_frames, 0)
    assert queue.superseded_frames == 9 - (len(messages(drain(queue), core.codec)) - 1)


def test_the_bound_counts_what_was_superseded_in_all_its_queues() -> None:
    core = Core()
    core.table.configure(PEER, {"undefined": 2})
    queues = [core.connect(PEER, kind=MonotonicQueue) for _ in range(2)]
    for number in range(20):
        core.send(TARGET, number, partition_key=number)
    bound = core.table.lane(PEER, "undefined").bound
    assert bound.superseded_frames == sum(queue.superseded_frames for queue in queues) > queues[0].superseded_frames > 0


# Keys whose own code runs while they are looked up.


class Key:
    """A key that does something when it is hashed or compared for the so-manieth time."""

    def __init__(self, action: Callable[[], object], when: int) -> None:
        self.action = action
        self.left = when

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()

    def __hash__(self) -> int:
        self.count()
        return 7

    def __eq__(self, other: object) -> bool:
        self.count()
        return isinstance(other, Key)


def bound() -> Bound:
    return Bound(PEER, "data", high_water=1 << 30, hard_limit=1 << 30)


@pytest.mark.parametrize("when", range(1, 12))
@pytest.mark.parametrize("kind", [MonotonicQueue, DroppingQueue])
def test_a_key_that_pushes_while_it_is_looked_up_leaves_nothing_charged(kind: type[SendQueue], when: int) -> None:
    shared = bound()
    queue = kind(shared)
    key = Key(lambda: queue.push(CODEC, "inner", key=key), when)
    for number in range(3):
        queue.push(CODEC, number, key=key)
        queue.push(CODEC, number, key=Key(lambda: queue.push(CODEC, "other", key=key), when))
    octets = drain(queue)
    assert list(bodies(octets))
    assert (len(queue), shared.queued_octets) == (0, 0)


@pytest.mark.parametrize("when", range(1, 12))
@pytest.mark.parametrize("kind", [MonotonicQueue, DroppingQueue])
def test_a_key_that_closes_the_queue_while_it_is_looked_up_leaves_nothing_charged(
    kind: type[SendQueue], when: int
) -> None:
    shared = bound()
    queue = kind(shared)
    key = Key(lambda: queue.close(), when)
    with contextlib.suppress(LocalProtocolError):
        for number in range(6):
            queue.push(CODEC, (number, BIG), key=key, now=number / 2)
            queue.prepare(number / 2)
    queue.prepare(10.0)
    queue.close()
    assert (len(queue), shared.queued_octets) == (0, 0)


def test_a_key_that_cannot_be_compared_leaves_the_queue_as_it_was() -> None:
    def fail() -> None:
        raise RuntimeError("not comparable")

    shared = bound()
    queue = MonotonicQueue(shared)
    queue.push(CODEC, 1, key=1)
    with pytest.raises(RuntimeError):
        queue.push(CODEC, 2, key=Key(fail, 1))
    with pytest.raises(TypeError):
        queue.push(CODEC, 3, key=[])  # type: ignore[arg-type]
    queue.push(CODEC, 4, key=4)
    assert [CODEC.decode(body) for body in bodies(drain(queue))] == [1, 4]
    assert shared.queued_octets == 0
