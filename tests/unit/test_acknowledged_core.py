"""The compiled part of acknowledged delivery: its store does what the pure one does, and no number harms it."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan._core import acknowledged
from partisan._core.process import receive
from partisan.errors import EncodeError, FrameError, LocalProtocolError
from partisan.etf import Atom, encode
from partisan.machines import outstanding
from partisan.machines.acknowledged import AcknowledgedConfig, AcknowledgedDelivery, Forget
from tests.unit.hollow import Core, bodies, drain, framed

PEER = "b@127.0.0.1"
FORWARD = Atom("forward_message")
LAST = 2**64 - 1
FIRST = outstanding.FIRST_NUMBER + 7

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("pop"), st.integers(-3, 60)),
        st.tuples(st.just("drop"), st.integers(-3, 60), st.integers(0, 30)),
    ),
    max_size=60,
)


def told(store: Any, first: int, last: int) -> Any:
    count, at, tags, missing = store.drop(first, last)
    return count, at if count else None, tags, missing


@given(STEPS)
def test_both_stores_agree_whatever_is_done(steps: list[Any]) -> None:
    compiled, pure = acknowledged.Fresh(FIRST), outstanding.Fresh(FIRST)
    now = 0.0
    for step in steps:
        if step[0] == "append":
            for number in range(step[1]):
                now += 1.0
                parcels = [outstanding.Parcel("m", number, number % 3 or None) for _ in range(2)]
                compiled.append(parcels[0], now)
                pure.append(parcels[1], now)
        elif step[0] == "pop":
            ours, theirs = compiled.pop(FIRST + step[1]), pure.pop(FIRST + step[1])
            assert (ours is None) == (theirs is None)
            assert ours is None or (ours.at, ours.octets, ours.tag) == (theirs.at, theirs.octets, theirs.tag)
        else:
            first = FIRST + step[1]
            assert told(compiled, first, first + step[2]) == told(pure, first, first + step[2])
        assert (len(compiled), compiled.octets, compiled.next) == (len(pure), pure.octets, pure.next)
        assert list(compiled) == list(pure)
        assert [compiled.at(number) for number in compiled] == [pure.at(number) for number in pure]
        around = range(FIRST - 1, compiled.next + 1)
        assert [held.at if (held := compiled.get(number)) else None for number in around] == [
            held.at if (held := pure.get(number)) else None for number in around
        ]


def parcel(octets: int = 1) -> outstanding.Parcel:
    return outstanding.Parcel("m", octets)


def test_ranges_may_end_at_the_last_number_there_is_and_before_they_begin() -> None:
    store = acknowledged.Fresh(LAST - 3)
    for _ in range(3):
        store.append(parcel(), 1.0)
    assert store.drop(LAST - 1, LAST) == (1, 1.0, [], [LAST])
    assert store.drop(LAST, LAST) == (0, 0.0, [], [LAST])
    assert store.drop(LAST, LAST - 5) == (0, 0.0, [], [])
    assert list(store) == [LAST - 3, LAST - 2]


def test_a_number_that_is_not_held_has_no_time() -> None:
    store = acknowledged.Fresh(FIRST)
    store.append(parcel(), 1.0)
    for number in (FIRST - 1, FIRST + 1, FIRST + 16, FIRST - 16):
        with pytest.raises(KeyError):
            store.at(number)
    assert store.at(FIRST) == 1.0


def test_a_store_that_was_stretched_gives_its_room_back_when_it_is_empty() -> None:
    store = acknowledged.Fresh(FIRST)
    store.append(parcel(), 1.0)
    for number in range(1, 200_000):  # all but the first are acknowledged at once
        store.append(parcel(), 1.0)
        store.pop(FIRST + number)
    assert sys.getsizeof(store) > 200_000 * 8
    store.pop(FIRST)
    assert sys.getsizeof(store) < 4096
    store.append(parcel(), 2.0)
    assert (len(store), list(store), store.at(store.next - 1)) == (1, [FIRST + 200_000], 2.0)


# In and out, through a router.


class Keeper:
    """What the router of a core keeps and has seen.

    Attributes:
        found: messages that came to the process `sink`.
        owed: how often acknowledgements were asked for.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.owed = 0
        self.found: list[Any] = []
        self.machine = AcknowledgedDelivery(
            core.name,
            AcknowledgedConfig(),
            random.Random(1),
            fresh=acknowledged.Fresh,  # type: ignore[arg-type]
        )
        self.fast = core.router.acknowledging = acknowledged.Acknowledging(
            core.name,
            sent=self.machine.sent,
            seen=self.machine.seen,
            clock=lambda: core.now,
            carry_out=self.machine.take_effects,
            owe=self.owe,
            hold=lambda node: None,
            expected=lambda node: False,
            first_number=outstanding.FIRST_NUMBER,
        )
        self.fast.max_messages, self.fast.max_octets, self.fast.high_water = 1000, 1 << 24, 500
        self.machine.seen.coalesce(PEER, True)
        self.inbound = core.inbound()
        self.inbound.expect(PEER)
        core.scheduler.register("sink", core.spawn(self.collect()))

    def owe(self) -> None:
        self.owed += 1

    async def collect(self) -> None:
        while True:
            self.found.append(await receive())

    def feed(self, *numbers: int, message: object = "m") -> None:
        """What the peer sends under these numbers."""
        self.inbound.receive_data(
            b"".join(
                framed(encode((FORWARD, Atom(PEER), (None, [(Atom(PEER), number)]), Atom("sink"), message)))
                for number in numbers
            )
        )

    def acks(self) -> Any:
        """What is to be acknowledged at the end of a loop turn."""
        self.fast.owing = False
        self.fast.settle()
        return self.machine.seen.take_acks()


@pytest.fixture
def keeper(core: Core) -> Keeper:
    return Keeper(core)


@pytest.mark.parametrize("first", [outstanding.FIRST_NUMBER, FIRST, LAST - 2])
def test_numbers_in_line_are_seen_once_and_acknowledged_in_one(keeper: Keeper, first: int) -> None:
    numbers = [first, first + 1, first + 2]
    keeper.feed(*numbers)
    keeper.feed(*numbers)
    assert len(keeper.found) == 3
    assert keeper.owed == 1
    assert {(peer, number) for peer, ranges in keeper.acks() for a, b in ranges for number in range(a, b + 1)} == {
        (PEER, number) for number in numbers
    }
    keeper.feed(*numbers)
    assert (len(keeper.found), keeper.owed) == (3, 2)
    assert keeper.core.controlled == []


@given(st.lists(st.one_of(st.integers(LAST - 4, LAST), st.integers(FIRST, FIRST + 4), st.just(-1)), max_size=20))
def test_numbers_in_any_order_are_seen_once_up_to_the_last_there_is(numbers: list[int]) -> None:
    core = Core()
    keeper = Keeper(core)
    came, owing = [], set()
    for number in numbers:
        if number < 0:
            got = {n for _, ranges in keeper.acks() for a, b in ranges for n in range(a, b + 1)}
            assert got == owing
            owing = set()
        else:
            keeper.feed(number, message=number)
            came.append(number)
            owing.add(number)
    assert keeper.found == list(dict.fromkeys(came))
    core.close()


def test_a_message_that_cannot_be_read_is_not_taken_for_one_that_came(keeper: Keeper) -> None:
    whole = encode((FORWARD, Atom(PEER), (None, [(Atom(PEER), FIRST)]), Atom("sink"), b"message"))
    for cut in range(1, len(whole) - whole.index(b"\x6a")):
        with pytest.raises(FrameError):
            keeper.inbound.replay(whole[:-cut])
    assert (keeper.found, keeper.owed) == ([], 0)
    keeper.inbound.replay(whole)
    assert (keeper.found, keeper.owed) == ([b"message"], 1)


def test_a_frame_that_ends_behind_its_number_is_malformed(keeper: Keeper) -> None:
    whole = encode((FORWARD, Atom(PEER), (None, [(Atom(PEER), FIRST)]), Atom("sink"), b"message"))
    with pytest.raises(FrameError):
        keeper.inbound.receive_data(framed(whole[: whole.index(b"\x6a") + 1]))
    assert keeper.owed == 0


def test_a_message_above_the_limit_of_a_frame_is_not_kept(keeper: Keeper) -> None:
    queue = keeper.core.connect(PEER)
    keeper.fast.max_frame = 1000
    with pytest.raises(EncodeError, match="above the limit of 1000"):
        keeper.core.send(("sink", PEER), b"x" * 1000, ack=True)
    assert (len(keeper.machine.sent), len(queue)) == (0, 0)
    keeper.core.send(("sink", PEER), b"x" * 800, ack=True)
    assert len(keeper.machine.sent) == 1


class Closing(bytearray):
    """Octets that end, while they are encoded, somebody who has a last word."""

    def __init__(self, core: Core, octets: bytes) -> None:
        super().__init__(octets)
        self.core = core

    def __bytes__(self) -> bytes:
        self.core.send(("sink", PEER), "last word", ack=True)
        return bytes(memoryview(self))


def test_what_is_sent_while_a_message_is_encoded_goes_in_a_frame_of_its_own(keeper: Keeper) -> None:
    queue = keeper.core.connect(PEER)
    for message in (Closing(keeper.core, b"octets"), [b"x" * 300_000, Closing(keeper.core, b"more")]):
        keeper.core.send(("sink", PEER), message, ack=True)
    terms = [keeper.core.codec.decode(body) for body in bodies(drain(queue))]
    assert [term[4] for term in terms] == [b"last word", b"octets", b"last word", [b"x" * 300_000, b"more"]]
    first = terms[0][2][1][0][1]
    assert [term[2][1][0][1] for term in terms] == [first, first + 1, first + 2, first + 3]
    assert list(keeper.machine.sent.lane(PEER).fresh) == [first, first + 1, first + 2, first + 3]


SIZES = st.one_of(st.integers(0, 300), st.integers(1900, 2200), st.integers(65_000, 67_000))


@given(st.lists(SIZES, min_size=1, max_size=60), st.integers(1, 4))
def test_what_is_kept_are_the_octets_that_were_queued(sizes: list[int], stride: int) -> None:
    core = Core()
    keeper = Keeper(core)
    queue = core.connect(PEER)
    empty = sys.getsizeof(keeper.machine.sent.lane(PEER).fresh)
    for size in sizes:
        core.send(("sink", PEER), bytes([size % 251]) * size, ack=True)
    fresh = keeper.machine.sent.lane(PEER).fresh
    frames = dict(zip(fresh, bodies(drain(queue)), strict=True))
    assert fresh.octets == sum(map(len, frames.values()))
    while frames:  # room is given back in another order than it was taken
        for number in list(frames)[::stride]:
            looked, taken = fresh.get(number), fresh.pop(number)
            for parcel in (looked, taken):
                assert parcel is not None
                assert (parcel.frame, parcel.octets) == (frames[number], len(frames[number]))  # type: ignore[attr-defined]
            del frames[number]
    assert (len(fresh), fresh.octets) == (0, 0)
    assert sys.getsizeof(fresh) < empty + 4096
    core.close()


def numbers_kept(keeper: Keeper, node: str) -> list[int]:
    return list(keeper.machine.sent.lane(node).fresh)


def test_what_is_sent_after_a_node_was_forgotten_is_kept_anew(keeper: Keeper) -> None:
    queue = keeper.core.connect(PEER)
    for _ in range(3):
        keeper.core.send(("sink", PEER), 1, ack=True)
    former = numbers_kept(keeper, PEER)
    keeper.machine.handle(Forget(PEER, "gone"), 0.0)
    for _ in range(2):
        keeper.core.send(("sink", PEER), 2, ack=True)
    terms = [keeper.core.codec.decode(body) for body in bodies(drain(queue))]
    assert [term[2][1][0][1] for term in terms] == former + numbers_kept(keeper, PEER)
    assert len(numbers_kept(keeper, PEER)) == 2
    assert not set(former) & set(numbers_kept(keeper, PEER))


def test_messages_to_two_nodes_in_turn_keep_to_their_lanes(keeper: Keeper) -> None:
    nodes = [PEER, "c@127.0.0.1"]
    queues = [keeper.core.connect(node) for node in nodes]
    for message in range(20):
        keeper.core.send(("sink", nodes[message % 2]), message, ack=True)
    for which, (node, queue) in enumerate(zip(nodes, queues, strict=True)):
        terms = [keeper.core.codec.decode(body) for body in bodies(drain(queue))]
        assert [term[4] for term in terms] == list(range(which, 20, 2))
        assert [term[2][1][0][1] for term in terms] == numbers_kept(keeper, node)


async def send_many(core: Core, messages: int, *, later: float) -> None:
    for number in range(messages):
        core.send(("sink", PEER), number, ack=True)
        core.now += later


def times_kept(keeper: Keeper) -> list[float]:
    fresh = keeper.machine.sent.lane(PEER).fresh
    return [fresh.at(number) for number in fresh]


def test_messages_of_a_burst_share_the_time_but_not_for_long(keeper: Keeper) -> None:
    keeper.core.connect(PEER)
    keeper.core.spawn(send_many(keeper.core, 100, later=1.0))
    keeper.core.run()
    assert times_kept(keeper) == [0.0] * 64 + [64.0] * 36
    keeper.core.spawn(send_many(keeper.core, 1, later=1.0))
    keeper.core.run()
    assert times_kept(keeper)[-1] == 100.0


def test_messages_from_outside_of_a_burst_have_their_own_time(keeper: Keeper) -> None:
    keeper.core.connect(PEER)
    for second in range(3):
        keeper.core.now = float(second)
        keeper.core.send(("sink", PEER), second, ack=True)
    assert times_kept(keeper) == [0.0, 1.0, 2.0]


def test_a_router_that_keeps_nothing_says_so(core: Core) -> None:
    core.connect(PEER)
    with pytest.raises(LocalProtocolError, match="keeps no messages"):
        core.send(("sink", PEER), 1, ack=True)
    inbound = core.inbound()
    inbound.expect(PEER)
    term = (FORWARD, Atom(PEER), (None, [(Atom(PEER), FIRST)]), Atom("sink"), 1)
    inbound.receive_data(framed(encode(term)))
    assert core.controlled == [term]
