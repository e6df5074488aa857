"""Send queues by which somebody sends while a message is written: a finaliser, or the `__bytes__` of a value in it."""

from __future__ import annotations

import gc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from typing_extensions import Buffer

from partisan._core.bound import Bound
from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.sendqueue import SendQueue
from partisan.errors import EncodeError, LocalProtocolError
from partisan.etf import Codec
from partisan.net.tls import pieces
from tests.unit.hollow import Core, bodies, drain, messages

CODEC = Codec()
PEER = "b@127.0.0.1"
TARGET = ("sink", PEER)
THRESHOLDS = range(1, 30)
"""After how many more objects the collector runs: at one of them it does amid whatever is tried."""


def bound(**options: Any) -> Bound:
    return Bound(PEER, "data", **{"high_water": 1 << 30, "hard_limit": 1 << 30, **options})


class Doing(bytearray):
    """A value that does something when it is written."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__(b"value")
        self.action = action

    def __bytes__(self) -> bytes:
        self.action()
        return bytes(memoryview(self))


@contextmanager
def garbage(action: Callable[[], object], threshold: int) -> Iterator[None]:
    """A cycle whose finaliser acts when so many objects have been made."""

    class Finalised:
        def __del__(self) -> None:
            action()

    gc.collect()
    gc.disable()
    found = gc.get_threshold()
    try:
        kept: list[Any] = [(number, []) for number in range(500)]  # so that what frees some others does not put it off
        cycle = Finalised()
        cycle.itself = cycle  # type: ignore[attr-defined]
        del cycle
        gc.set_threshold(gc.get_count()[0] + threshold)
        gc.enable()
        yield
        gc.disable()
        del kept
    finally:
        gc.set_threshold(*found)
        gc.collect()
        gc.enable()


def found_in(queue: SendQueue) -> list[Any]:
    waiting = len(queue)
    octets = drain(queue)
    assert len(octets) == waiting, "the queue knows what it holds"
    return [CODEC.decode(body) for body in bodies(octets)]


@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.parametrize("kind", [SendQueue, DroppingQueue])
def test_what_is_sent_while_a_message_is_written_is_a_frame_of_its_own_behind_it(
    kind: type[SendQueue], level: int
) -> None:
    shared = bound()
    queue = kind(shared, level=level)
    large = b"L" * 70_000

    def send() -> None:
        for number in range(3):
            queue.push(CODEC, (number, Doing(lambda: queue.push_raw(CODEC.encode(large)))))

    queue.push(CODEC, ("outer", large, Doing(send), "end"))
    queue.push(CODEC, "last")
    assert queue.pushed_frames == 8
    assert shared.queued_octets == len(queue)
    queue.prepare(0.0)
    assert found_in(queue) == [
        (b"outer", large, b"value", b"end"), large, (0, b"value"), large, (1, b"value"), large, (2, b"value"), b"last"
    ]  # fmt: skip
    assert shared.queued_octets == 0


def test_messages_to_processes_keep_their_frames_when_one_is_sent_while_another_is_written() -> None:
    core = Core()
    queue = core.connect(PEER)
    core.send(TARGET, ("outer", Doing(lambda: core.send(TARGET, "inner")), "end"))
    assert messages(drain(queue), core.codec) == [(b"outer", b"value", b"end"), b"inner"]


@pytest.mark.parametrize(
    "message",
    [[b"x" * 70_000] * 5, [{"a": 1, b"b": 2, number: 3} for number in range(20)], [{"a": [1.5, "é", None]}] * 20],
    ids=["large binaries", "maps of keys of two kinds", "maps"],
)
def test_a_finaliser_may_send_whenever_the_collector_runs(message: object) -> None:
    for threshold in THRESHOLDS:
        shared = bound()
        queue = SendQueue(shared)
        with garbage(partial(queue.push, CODEC, "released"), threshold):
            queue.push(CODEC, message)
        frames = found_in(queue)
        assert len(frames) <= 2
        assert CODEC.decode(CODEC.encode(message)) in frames
        assert shared.queued_octets == 0


@pytest.mark.parametrize("frames", [1, 400])
def test_a_finaliser_may_send_while_a_frame_is_compressed(frames: int) -> None:
    for threshold in range(1, 12):
        queue = SendQueue(bound(), level=6)

        def send(queue: SendQueue = queue) -> None:
            for _ in range(frames):
                queue.push(CODEC, b"released" * 20)

        with garbage(send, threshold):
            queue.push(CODEC, b"abcd" * 1000)
        found = found_in(queue)
        assert b"abcd" * 1000 in found
        assert len(found) in (1, frames + 1)


def test_a_queue_closed_while_a_frame_is_compressed_leaves_nothing_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = bound()
    queue = SendQueue(shared, level=6)

    def compress(plain: Buffer, level: int) -> bytes:
        queue.close()
        return zlib_compress(bytes(plain), level)

    zlib_compress = zlib.compress
    monkeypatch.setattr(zlib, "compress", compress)
    with pytest.raises(LocalProtocolError, match="closed"):
        queue.push(CODEC, b"abcd" * 1000)
    assert (shared.queued_octets, len(queue)) == (0, 0)


def test_a_frame_that_cannot_be_compressed_leaves_no_octet_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def compress(plain: Buffer, level: int) -> bytes:
        raise MemoryError

    queue = SendQueue(bound(), level=6)
    queue.push(CODEC, "first")
    with monkeypatch.context() as patched:
        patched.setattr(zlib, "compress", compress)
        with pytest.raises(MemoryError):
            queue.push(CODEC, b"abcd" * 1000)
    queue.push(CODEC, "last")
    assert found_in(queue) == [b"first", b"last"]


# Octets that are lent to who encrypts them.


def test_what_is_sent_while_octets_are_lent_moves_none_of_them_and_goes_behind() -> None:
    shared = bound()
    queue = SendQueue(shared, write=lambda: None, schedule=lambda queue: None)
    sent = [bytes([65 + number]) * 20_000 for number in range(10)]
    for message in sent:
        queue.push(CODEC, message)
    octets = b""
    for number, piece in enumerate(pieces(queue.segments())):
        queue.push(CODEC, (number, b"#" * 60_000))
        sent.append((number, b"#" * 60_000))  # type: ignore[arg-type]
        assert shared.queued_octets > len(queue) + number * 60_000, "what waits for its turn is charged"
        octets += bytes(piece)
    queue.sent(len(octets))
    octets += drain(queue)
    assert [CODEC.decode(body) for body in bodies(octets)] == sent
    assert shared.queued_octets == 0


@pytest.mark.parametrize("kind", [MonotonicQueue, DroppingQueue])
def test_frames_that_wait_apart_stay_there_while_octets_are_lent(kind: type[SendQueue]) -> None:
    queue = kind(bound())
    queue.push(CODEC, b"first", key=1)
    queue.prepare(0.0)
    octets = queue.segments()
    queue.push(CODEC, b"x" * 300_000, key=2)
    queue.prepare(0.0)
    taken = b"".join(octets)
    queue.sent(len(taken))
    assert [CODEC.decode(body) for body in bodies(taken + drain(queue))] == [b"first", b"x" * 300_000]


def test_octets_stay_where_they_are_until_they_are_given_back_though_the_queue_is_closed() -> None:
    shared = bound()
    queue = SendQueue(shared)
    queue.push(CODEC, b"x" * 60_000)
    waited = len(queue)
    segment = queue.segments()[0]
    queue.push(CODEC, 1)
    assert queue.close() == waited + 4 + len(CODEC.encode(1))
    assert bytes(segment)[4:] == CODEC.encode(b"x" * 60_000)
    assert queue.sent(waited) == 0
    assert (shared.queued_octets, len(queue)) == (0, 0)


def test_who_writes_is_called_when_the_octets_are_his_again() -> None:
    called: list[str] = []
    queue = SendQueue(bound())
    queue.defer(lambda: called.append("at once"))
    queue.push(CODEC, 1)
    octets = b"".join(queue.segments())
    assert queue.held
    queue.push(CODEC, 2)
    queue.defer(lambda: called.append(f"with {len(queue)} octets"))
    queue.push(CODEC, 3)
    assert called == ["at once"]
    queue.sent(len(octets))
    assert not queue.held
    assert called == ["at once", f"with {len(octets)} octets"]
    assert found_in(queue) == [2, 3]


# Octets that are sent already.


def test_octets_that_are_sent_are_given_back_only_when_no_message_is_written() -> None:
    queue = SendQueue(bound(), quantum=300_000)
    for _ in range(20):
        queue.push(CODEC, b"z" * 60_000)
    octets = b"".join(bytes(segment) for segment in queue.segments())
    queue.sent(len(octets))
    queue.push(CODEC, ("outer", Doing(lambda: queue.push(CODEC, "inner"))))
    frames = [CODEC.decode(body) for body in bodies(octets + drain(queue))]
    assert frames == [b"z" * 60_000] * 20 + [(b"outer", b"value"), b"inner"]


def test_a_link_that_is_asked_to_write_while_a_message_is_written_gets_whole_frames_only() -> None:
    taken: list[bytes] = []

    def write() -> None:
        taken.append(b"".join(bytes(segment) for segment in queue.segments()))
        queue.sent(len(taken[-1]))
        queue.written(False)

    queue = SendQueue(bound(), write=write, schedule=lambda queue: None, quantum=1000)
    queue.push(CODEC, b"first")

    def send() -> None:
        queue.push(CODEC, b"i" * 2000)
        write()
        assert not queue.gathers
        with pytest.raises(BufferError):
            memoryview(queue)
        with pytest.raises(LocalProtocolError):
            queue.sent(1)

    queue.push(CODEC, ("outer", Doing(send)))
    assert taken[0] == b"", "nothing while the message was written"
    octets = b"".join(taken) + drain(queue)
    assert [CODEC.decode(body) for body in bodies(octets)] == [b"first", (b"outer", b"value"), b"i" * 2000]


@pytest.mark.parametrize("level", [0, 6])
def test_a_queue_that_is_closed_while_a_message_is_written_takes_neither_it_nor_its_octets(level: int) -> None:
    shared = bound(high_water=1000)
    queue = SendQueue(shared, level=level)
    queue.push(CODEC, b"before")

    def close() -> None:
        queue.push(CODEC, b"i" * 2000)
        assert shared.over, "what waits for its turn is charged"
        assert queue.close() == shared_before

    shared_before = shared.queued_octets + 4 + len(CODEC.encode(b"i" * 2000))
    with pytest.raises(LocalProtocolError, match="closed"):
        queue.push(CODEC, ("outer", Doing(close), b"x" * 70_000))
    assert (shared.queued_octets, shared.over, len(queue), queue.close()) == (0, False, 0, 0)
    with pytest.raises(LocalProtocolError, match="closed"):
        queue.push(CODEC, 1)


def test_what_was_sent_while_a_message_was_written_goes_out_though_that_message_does_not() -> None:
    queue = SendQueue(bound())
    with pytest.raises(EncodeError):
        queue.push(CODEC, ("outer", Doing(lambda: queue.push(CODEC, "inner")), object()))
    queue.push(CODEC, "last")
    assert found_in(queue) == [b"inner", b"last"]


def test_what_is_too_large_is_refused_to_who_sends_it_while_another_message_is_written() -> None:
    queue = SendQueue(bound(), max_frame=100)
    refused: list[int] = []

    def send() -> None:
        with pytest.raises(EncodeError, match="limit of 100"):
            queue.push(CODEC, b"x" * 200)
        with pytest.raises(EncodeError):
            queue.push(CODEC, object())
        refused.append(1)

    queue.push(CODEC, Doing(send))
    assert refused
    assert found_in(queue) == [b"value"]


def test_a_tap_gets_what_is_sent_while_a_message_is_written_behind_that() -> None:
    seen: list[object] = []
    queue = SendQueue(bound())
    queue.tap = lambda queue, body, key: seen.append(CODEC.decode(body))
    queue.push(CODEC, ("outer", Doing(lambda: queue.push(CODEC, "inner"))))
    assert seen == [(b"outer", b"value"), b"inner"]
    assert len(queue) == 0


def test_octets_that_were_charged_while_their_queue_was_rebound_are_discharged() -> None:
    queue: SendQueue

    def changed(bound: Bound) -> None:
        if not bound.over:
            queue.push(CODEC, "heard")

    first = bound(high_water=100, changed=changed)
    second = bound()
    queue = SendQueue(first)
    queue.push(CODEC, b"x" * 200)
    queue.rebind(second)
    assert (first.queued_octets, second.queued_octets) == (0, len(queue))
    drain(queue)
    assert second.queued_octets == 0


def test_a_listener_that_closes_the_queue_which_has_just_charged_its_bound_does_no_harm() -> None:
    queue: SendQueue
    shared = bound(high_water=100, changed=lambda bound: queue.close() if bound.over else None)
    queue = SendQueue(shared, write=lambda: None, schedule=lambda queue: None, quantum=10)
    queue.push(CODEC, 1)
    queue.push(CODEC, b"x" * 200)
    assert (queue.closed, shared.queued_octets) == (True, 0)


def test_messages_that_are_held_while_a_connection_changes_hands_keep_those_sent_while_one_is_written() -> None:
    core = Core()
    barriers: list[Callable[[], object]] = []
    first = core.connect(PEER, barrier=barriers.append)
    core.table.lane(PEER, "undefined").resize(2, True)
    for number in range(8):
        core.send((f"sink{number}", PEER), "before")
    core.connect(PEER, barrier=barriers.append)
    before = drain(first)
    assert barriers, "a slot changes hands"

    def done() -> None:
        core.send(TARGET, "inner")
        while barriers:
            barriers.pop()()
        core.send(TARGET, "inner last")

    core.send(TARGET, ("outer", Doing(done)))
    core.send(TARGET, "last")
    octets = b"".join(drain(queue) for queue in core.table.lane(PEER, "undefined").connections)
    assert before
    assert messages(octets, core.codec) == [(b"outer", b"value"), b"inner", b"inner last", b"last"]


@pytest.mark.parametrize("kind", [SendQueue, MonotonicQueue, DroppingQueue])
def test_a_large_payload_of_a_subclass_of_bytes_is_sent_as_any_other(kind: type[SendQueue]) -> None:
    class Octets(bytes):
        pass

    queue = kind(bound())
    queue.push(CODEC, Octets(b"o" * 70_000))
    queue.prepare(0.0)
    assert found_in(queue) == [b"o" * 70_000]
