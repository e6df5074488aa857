"""The bound that the send queues of a channel share, and what each policy does at it."""

from __future__ import annotations

import pytest

from partisan._core.bound import Bound
from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.process import Process, checkpoint, receive
from partisan._core.sendqueue import SendQueue
from partisan.errors import Overloaded
from partisan.etf import Atom, Codec
from tests.unit.hollow import Core, drain, framed, messages

CODEC = Codec()
PEER = "b@127.0.0.1"
TARGET = ("sink", PEER)


def test_the_bound_counts_what_all_its_queues_hold() -> None:
    changes: list[bool] = []
    shared = Bound(PEER, "data", high_water=300, hard_limit=1000, changed=lambda bound: changes.append(bound.over))
    queues = [SendQueue(shared) for _ in range(3)]
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
