"""Send queues: the octets that reach the socket, the bound that they share, and what each policy does at it."""

from __future__ import annotations

import ctypes
import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan._core.bound import Bound
from partisan._core.process import Process, checkpoint, receive
from partisan._core.sendqueue import DroppingQueue, MonotonicQueue, SendQueue
from partisan.errors import EncodeError, LocalProtocolError, Overloaded
from partisan.etf import Atom, Codec
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


# The bound and its policies.


def test_the_bound_counts_what_all_its_queues_hold() -> None:
    changes: list[bool] = []
    shared = Bound(PEER, "data", high_water=300, hard_limit=1000, changed=lambda bound: changes.append(bound.over))
    queues = [queue_of(bound=shared) for _ in range(3)]
    for queue in queues:
        queue.push(CODEC, b"x" * 100)
    assert shared.queued_octets == sum(map(len, queues)) > 300
    assert changes == [True]
    drain(queues[0])
    assert changes == [True], "not before low water"
    drain(queues[1])
    assert changes == [True, False]
    assert (shared.high_water, shared.low_water) == (300, 150)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(KeyError):
        Bound(PEER, "data", high_water=1, hard_limit=1, policy="hope")


async def pour(core: Core, log: list[object], size: int = 100) -> None:
    """Send as fast as allowed; note each message sent."""
    number = 0
    while True:
        await receive("go")
        for _ in range(5):
            core.send(TARGET, (number, b"x" * size))
            log.append(number)
            number += 1


def pouring(core: Core, log: list[object]) -> Process:
    process = core.spawn(pour(core, log))
    core.tell(process, *["go"] * 10)
    return process


def test_wait_holds_the_sender_at_its_next_await_and_relieves_it_at_low_water() -> None:
    core = Core(high_water=400)
    queue = core.connect(PEER)
    log: list[object] = []
    process = pouring(core, log)
    assert log == [0, 1, 2, 3, 4], "it ran on to its next await"
    assert process.holds == 1
    assert core.relieved[-1][1] is True
    queue.sent(len(queue) - 201)
    core.run()
    assert log == [0, 1, 2, 3, 4], "201 octets are above low water"
    queue.sent(1)
    core.run()
    assert log == list(range(10))
    assert process.holds == 1
    drain(queue)
    core.close()


def test_a_held_process_keeps_its_messages_and_others_run() -> None:
    core = Core(high_water=400)
    queue = core.connect(PEER)
    log: list[object] = []
    process = pouring(core, log)
    found: list[object] = []

    async def other() -> None:
        found.append(await receive())

    core.tell(core.spawn(other()), "x")
    assert found == ["x"]
    assert list(process.mailbox) == ["go"] * 9
    while len(queue):
        drain(queue)
        core.run()
    assert log == list(range(50))
    core.close()


def test_a_held_process_can_be_told_to_exit() -> None:
    core = Core(high_water=400)
    queue = core.connect(PEER)
    process = pouring(core, [])
    core.scheduler.interrupt(process, KeyError())
    core.run()
    assert process.done()
    drain(queue)  # relieving the dead does nothing
    core.run()
    core.close()


def test_a_lost_connection_relieves_who_waited_for_it() -> None:
    core = Core(high_water=400)
    queue = core.connect(PEER)
    core.connect(PEER, "other")
    log: list[object] = []
    process = pouring(core, log)
    queue.close()
    core.table.remove(PEER, "undefined", queue)
    assert process.holds == 0
    core.run()
    core.close()


def test_wait_raises_overloaded_at_the_hard_limit() -> None:
    core = Core(high_water=400, hard_limit=800)
    queue = core.connect(PEER)
    sent = 0
    while len(queue) < 800:
        core.send(TARGET, b"x" * 100)
        sent += 1
    with pytest.raises(Overloaded) as caught:
        core.send(TARGET, b"x" * 100)
    assert (caught.value.node, caught.value.channel, caught.value.queued_octets) == (PEER, "undefined", len(queue))
    assert len(messages(drain(queue), core.codec)) == sent
    core.send(TARGET, 1)


def test_error_raises_overloaded_at_high_water() -> None:
    core = Core(policy="error", high_water=400, hard_limit=10_000)
    queue = core.connect(PEER)
    while len(queue) <= 400:
        core.send(TARGET, b"x" * 100)
    with pytest.raises(Overloaded):
        core.send(TARGET, b"x" * 100)
    queue.sent(len(queue) - 200)
    core.send(TARGET, 1)
    drain(queue)


def test_drop_oldest_drops_and_counts_and_keeps_the_newest() -> None:
    core = Core(policy="drop_oldest", high_water=1000)
    queue = core.connect(PEER, kind=DroppingQueue)
    for number in range(100):
        core.send(TARGET, (number, b"x" * 100))
    assert queue.queued_octets <= 1000
    size = len(queue)
    wire = drain(queue)
    assert len(wire) == size
    found = [number for number, _ in messages(wire, core.codec)]
    assert found == list(range(100))[-len(found) :]
    shared = core.relieved[0][0] if core.relieved else core.table.lane(PEER, "undefined").bound
    assert shared.dropped_frames == 100 - len(found)
    assert shared.dropped_octets == shared.dropped_frames * (size // len(found))
    assert shared.queued_octets == 0


def test_drop_oldest_never_drops_what_is_being_sent() -> None:
    core = Core(policy="drop_oldest", high_water=1000)
    queue = core.connect(PEER, kind=DroppingQueue)
    core.send(TARGET, (0, b"x" * 500))
    queue.prepare(0.0)
    queue.sent(10)
    for number in range(1, 50):
        core.send(TARGET, (number, b"x" * 100))
    frame = framed(core.codec.encode((Atom("forward_message"), Atom("sink"), (0, b"x" * 500))))
    wire = frame[:10] + drain(queue)
    found = [number for number, _ in messages(wire, core.codec)]
    assert found[0] == 0
    assert found[1:] == list(range(50))[-len(found) + 1 :]


def test_a_single_frame_above_high_water_is_still_sent() -> None:
    core = Core(policy="drop_oldest", high_water=1000)
    queue = core.connect(PEER, kind=DroppingQueue)
    core.send(TARGET, 1)
    core.send(TARGET, b"x" * 5000)
    assert messages(drain(queue), core.codec) == [b"x" * 5000]


@pytest.mark.parametrize("kind", [MonotonicQueue, DroppingQueue])
def test_handshakes_and_pings_are_neither_superseded_nor_dropped(kind: type[SendQueue]) -> None:
    core = Core(policy="drop_oldest", high_water=500)
    queue = core.connect(PEER, kind=kind)
    queue.push(core.codec, Atom("hello"))
    for number in range(20):
        core.send(TARGET, (number, b"x" * 100))
    queue.push(core.codec, Atom("ping"))
    core.send(TARGET, (20, b""))
    found = messages(drain(queue), core.codec)
    assert found[0] == Atom("hello")
    assert Atom("ping") in found
    assert found[-1] == (20, b"")


# Monotonic channels.


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
    queue = queue_of(MonotonicQueue, quantum=50_000)
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


# Other limits.


def test_a_bound_takes_other_limits_and_judges_what_waits_by_them() -> None:
    core = Core(high_water=1000, hard_limit=10_000)
    queue = core.connect(PEER)
    bound = core.table.lane(PEER, "undefined").bound
    while len(queue) <= 600:
        core.send(TARGET, b"x" * 100)
    bound.adjust(high_water=500, hard_limit=5000, policy="error")
    assert (bound.over, bound.high_water, bound.low_water, bound.hard_limit) == (True, 500, 250, 5000)
    with pytest.raises(Overloaded):
        core.send(TARGET, 1)
    bound.adjust(high_water=2000, hard_limit=100, policy="error")
    assert (bound.over, bound.hard_limit) == (False, 2000)
    assert [over for _, over in core.relieved] == [True, False]
    core.send(TARGET, 1)
    drain(queue)


def test_processes_that_a_bound_holds_go_on_when_waiting_is_the_policy_no_more() -> None:
    core = Core(high_water=200)
    queue = core.connect(PEER)
    sent: list[int] = []

    async def pump() -> None:
        for number in range(3):
            core.send(TARGET, b"x" * 300)
            sent.append(number)
            await checkpoint()

    core.spawn(pump())
    assert sent == [0]
    core.table.lane(PEER, "undefined").bound.adjust(high_water=200, hard_limit=1 << 20, policy="error")
    core.run()
    assert isinstance(core.exits[0][2], Overloaded)
    drain(queue)


def test_discarded_frames_are_counted_and_superseded_ones_are_not_dropped() -> None:
    core = Core()
    queue = core.connect(PEER, kind=MonotonicQueue)
    for number in range(10):
        core.send(TARGET, number)
    bound = core.table.lane(PEER, "undefined").bound
    assert (queue.pushed_frames, queue.discarded_frames, bound.dropped_frames) == (10, queue.superseded_frames, 0)
    assert queue.superseded_frames == 9 - (len(messages(drain(queue), core.codec)) - 1)


def test_frames_are_compressed_by_the_level_that_is_in_force_when_they_are_pushed() -> None:
    core = Core()
    queue = core.connect(PEER)
    core.send(TARGET, b"x" * 5000)
    plain = len(queue)
    queue.level = 6
    core.send(TARGET, b"x" * 5000)
    assert plain > 5000 > len(queue) - plain
    assert messages(drain(queue), core.codec) == [b"x" * 5000] * 2
