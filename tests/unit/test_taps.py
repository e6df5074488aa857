"""Taps: every frame of a queue or reader goes through them, whole, and past them only on request."""

from __future__ import annotations

from typing import Any

import pytest

from partisan._core.bound import Bound
from partisan._core.frame import Slab
from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.inbound import Inbound
from partisan._core.process import receive
from partisan._core.sendqueue import SendQueue
from partisan.errors import FrameError
from partisan.etf import Atom, Codec, Pid
from tests.oracle.cases import compressed
from tests.unit.hollow import Core, bodies, drain, framed

CODEC = Codec(remote_refs=True)
PEER = "b@127.0.0.1"
BIG = bytes(range(256)) * 400
FORWARD = Atom("forward_message")
TERMS = [1, (b"x", BIG, b"y", BIG), BIG, "text" * 100]


def bound() -> Bound:
    return Bound(PEER, "data", high_water=1000, hard_limit=1 << 30)


def tapped(queue: SendQueue) -> list[tuple[bytes, Any]]:
    """Give the queue a tap; what goes into that."""
    taken: list[tuple[bytes, Any]] = []
    queue.tap = lambda tapped, body, key: taken.append((body, key))
    return taken


# Out.


@pytest.mark.parametrize("level", [0, 6])
def test_a_tap_is_given_whole_frames_and_the_queue_nothing(level: int) -> None:
    queue = SendQueue(bound(), level=level)
    taken = tapped(queue)
    for term in TERMS:
        queue.push(CODEC, term)
    assert [CODEC.decode(body) for body, _ in taken] == [CODEC.decode(CODEC.encode(term)) for term in TERMS]
    assert (len(queue), queue.pushed_frames) == (0, 0)


@pytest.mark.parametrize("kind", [SendQueue, MonotonicQueue, DroppingQueue])
@pytest.mark.parametrize("level", [0, 6])
def test_what_is_put_past_the_tap_is_on_the_wire_as_it_would_have_been(kind: type[SendQueue], level: int) -> None:
    plain, queue = kind(bound(), level=level), kind(bound(), level=level)
    taken = tapped(queue)
    for term in TERMS:
        plain.push(CODEC, term)
        queue.push(CODEC, term)
    for body, key in taken:
        queue.put(body, key)
    assert drain(queue) == drain(plain)


def test_a_superseded_frame_is_superseded_past_the_tap_too() -> None:
    queue = MonotonicQueue(bound())
    taken = tapped(queue)
    for value in range(3):
        queue.push(CODEC, value, key="k", now=1.0)
    for body, key in taken:
        queue.put(body, key, 1.0)
    assert queue.superseded_frames > 0
    assert list(bodies(drain(queue, 1.0)))[-1] == CODEC.encode(2)


def test_what_is_no_bytes_is_refused_as_a_frame() -> None:
    queue = SendQueue(bound())
    for push in (queue.push_raw, queue.put):
        with pytest.raises(TypeError):
            push(None)  # type: ignore[arg-type]
    assert queue.pushed_frames == 0


def test_octets_withheld_count_until_they_are_given_back_or_the_queue_closes() -> None:
    limit = bound()
    queue = SendQueue(limit)
    queue.withhold(1500)
    assert (limit.queued_octets, limit.over) == (1500, True)
    queue.withhold(-1000)
    assert (limit.queued_octets, limit.over) == (500, False)
    other = bound()
    queue.rebind(other)
    assert (limit.queued_octets, other.queued_octets) == (0, 500)
    assert queue.close() == 500
    queue.withhold(-500)
    assert other.queued_octets == 0


def test_what_was_held_while_a_slot_changed_hands_goes_through_the_tap(core: Core) -> None:
    barriers: list[Any] = []
    first = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1)
    core.table.configure(PEER, {"undefined": 2})
    second = core.connect(PEER)
    core.send(("sink", PEER), (2, BIG))  # held: the slots change hands
    core.send(("sink", PEER), 3)
    drain(first)
    taken = [*tapped(first), *tapped(second)]
    found: list[bytes] = []
    first.tap = second.tap = lambda queue, body, key: found.append(body)
    for barrier in barriers:
        barrier()
    assert [CODEC.decode(body)[2] for body in found] == [(2, BIG), 3]
    assert not taken
    assert core.table.lane(PEER, "undefined").bound.queued_octets == 0
    assert (len(first), len(second)) == (0, 0)


# In.


def collector(core: Core) -> list[Any]:
    found: list[Any] = []

    async def collect() -> None:
        while True:
            found.append(await receive())

    core.scheduler.register("sink", core.spawn(collect()))
    return found


def feed(inbound: Any, *terms: Any) -> None:
    inbound.receive_data(b"".join(framed(CODEC.encode(term)) for term in terms))


def test_a_tap_says_which_frames_go_on(core: Core) -> None:
    found, inbound = collector(core), core.inbound()
    inbound.tap = lambda body, planted: CODEC.decode(body)[2] != 2
    feed(inbound, *((FORWARD, Atom("sink"), number) for number in range(4)))
    assert found == [0, 1, 3]


@pytest.mark.parametrize("message", [b"small", BIG, (b"x", BIG, BIG)])
def test_what_a_tap_has_kept_can_be_replayed_and_wakes_whom_it_is_for(core: Core, message: Any) -> None:
    found, inbound = collector(core), core.inbound()
    kept: list[tuple[bytes, list[bytes] | None]] = []
    inbound.tap = lambda body, planted: kept.append((body, planted)) or False
    feed(inbound, (FORWARD, Atom("sink"), message))
    assert found == []
    body, planted = kept[0]
    inbound.replay(body, None if planted is None else list(planted))
    inbound.replay(body, planted)
    assert found == [message, message]


def test_what_waited_for_the_hello_goes_through_the_tap_once(core: Core) -> None:
    found, inbound = collector(core), core.inbound()
    seen: list[bytes] = []
    inbound.tap = lambda body, planted: not seen.append(body)
    inbound.hold()
    feed(inbound, *((FORWARD, Atom("sink"), number) for number in range(3)))
    inbound.release()
    core.router.rouse()
    core.run()
    assert found == [0, 1, 2]
    assert len(seen) == 3
    feed(inbound, (FORWARD, Atom("sink"), 3))
    assert len(seen) == 4


def test_small_frames_that_wait_for_the_hello_are_charged_what_they_take_besides(core: Core) -> None:
    found, inbound = collector(core), Inbound(Slab(), 10_000, router=core.router, link=None, control=lambda term: True)
    inbound.hold()
    feed(inbound, *((FORWARD, Atom("sink"), number) for number in range(50)))
    with pytest.raises(FrameError, match="before its hello"):
        feed(inbound, *((FORWARD, Atom("sink"), number) for number in range(50, 100)))  # of fewer than 40 octets each
    assert found == []


def test_one_frame_as_large_as_any_may_be_can_wait_for_the_hello(core: Core) -> None:
    size = len(CODEC.encode((FORWARD, Atom("sink"), b"x" * 1000)))
    found, inbound = collector(core), Inbound(Slab(), size, router=core.router, link=None, control=lambda term: True)
    inbound.hold()
    feed(inbound, (FORWARD, Atom("sink"), b"x" * 1000))
    inbound.release()
    core.router.rouse()
    core.run()
    assert found == [b"x" * 1000]


def test_a_replayed_frame_may_be_malformed(core: Core) -> None:
    with pytest.raises(FrameError, match="octet 3"):
        core.inbound().replay(b"\x03h")


def test_a_tap_may_replay_within_the_burst_and_what_is_no_message_is_given_to_control(core: Core) -> None:
    found, inbound = collector(core), core.inbound()

    def twice(body: bytes, planted: list[bytes] | None) -> bool:
        inbound.replay(body, planted)
        return True

    inbound.tap = twice
    feed(inbound, (FORWARD, Atom("sink"), 1), (Atom("hello"), 2))
    assert found == [1, 1]
    assert core.controlled == [(Atom("hello"), 2)] * 2


# Interposition and padding in the router.


def test_what_is_sent_to_others_is_given_to_forwarding_and_goes_on_by_forward(core: Core) -> None:
    queue = core.connect(PEER)
    seen: list[Any] = []
    core.router.forwarding = lambda *about: seen.append(about)
    pid = Pid(PEER, 5, 6)
    core.send(("sink", PEER), 1, channel="data", partition_key=7, key="k")
    core.send(pid, 2)
    assert seen == [(PEER, Atom("sink"), 1, "data", 7, "k", False), (PEER, pid, 2, None, None, None, False)]
    assert len(queue) == 0
    for node, target, message, *_ in seen:
        core.router.forward(node, target, message)
    core.router.forwarding = None
    octets = drain(queue)
    core.send(("sink", PEER), 1)
    core.send(pid, 2)
    assert drain(queue) == octets
    with pytest.raises(TypeError):
        core.router.forward(PEER, "sink", 1)  # type: ignore[arg-type]


def test_what_stays_in_the_node_is_not_given_to_forwarding(core: Core) -> None:
    found = collector(core)
    core.router.forwarding = lambda *about: pytest.fail("it was")
    core.send("sink", 1)
    core.send(("sink", core.name), 2)
    core.run()
    assert found == [1, 2]


@pytest.mark.parametrize("form", ["name", "pid", "encoded name", "compressed", "deliver"])
def test_what_comes_is_given_to_receiving_in_every_form_and_goes_on_by_hand_over(core: Core, form: str) -> None:
    found, inbound = collector(core), core.inbound()
    seen: list[Any] = []
    core.router.receiving = lambda target, message, reader: seen.append((target, message, reader))
    process = core.scheduler.whereis("sink")
    assert process is not None
    message = b"x" * 500
    if form == "name":
        feed(inbound, (FORWARD, Atom("sink"), message))
    elif form == "pid":
        feed(inbound, (FORWARD, (Atom("encoded_pid"), list(process.pid.text.encode())), message))
    elif form == "encoded name":
        feed(inbound, (FORWARD, (Atom("encoded_name"), list(b"sink")), message))
    elif form == "compressed":
        inbound.receive_data(framed(compressed(CODEC.encode((FORWARD, Atom("sink"), message))[1:])))
    else:
        core.router.deliver(Atom("sink"), message)
    assert found == []
    assert len(seen) == 1
    target, passed, reader = seen[0]
    assert (passed, reader) == (message, None if form == "deliver" else inbound)
    core.router.hand_over(target, passed, reader)
    core.run()
    assert found == [message]


def test_user_messages_are_padded_and_those_to_parts_of_every_node_are_not(core: Core) -> None:
    queue = core.connect(PEER)
    core.scheduler.register("manager", lambda message, link: None)
    core.router.padding = b"p" * 64
    core.send(("sink", PEER), 1)
    core.send(("manager", PEER), 2)
    core.send(Pid(PEER, 5, 6), 3)
    sent = [CODEC.decode(body)[2] for body in bodies(drain(queue))]
    padded = Atom("$partisan_padded")
    assert sent == [(padded, b"p" * 64, 1), 2, (padded, b"p" * 64, 3)]


def test_an_enveloped_message_is_padded_around_the_envelope(core: Core) -> None:
    queue = core.connect(PEER)
    core.table.lane(PEER, "undefined").envelope = lambda target, message: (Atom("msgpack"), target, b"octets")
    core.router.padding = b"p"
    core.send(("sink", PEER), 1)
    (body,) = bodies(drain(queue))
    inner = (Atom("msgpack"), Atom("sink"), b"octets")
    assert CODEC.decode(body) == (FORWARD, Atom("partisan_python"), (Atom("$partisan_padded"), b"p", inner))
