"""The connection table: slots, fallback, counts, and order while connections come and go."""

from __future__ import annotations

from typing import Any

import pytest

from partisan._core.connections import ConnectionTable
from partisan._core.distqueue import DistQueue
from partisan._core.sendqueue import SendQueue
from partisan.errors import NotConnected
from tests.unit.ends import Ends
from tests.unit.hollow import Barriers, Core, drain, messages, sent

PEER = "b@127.0.0.1"
OTHER = "c@127.0.0.1"
DEFAULT = "undefined"


# Slots.


@pytest.mark.parametrize("parallelism", [1, 2, 3, 7])
def test_a_partition_key_chooses_the_connection_as_the_reference_does(core: Core, parallelism: int) -> None:
    """K rem parallelism, counted from 0."""
    core.table.configure(PEER, {"data": parallelism})
    queues = [core.connect(PEER, "data") for _ in range(parallelism)]
    for key in range(40):
        core.send(("sink", PEER), key, channel="data", partition_key=key)
    assert sent(core, queues) == [list(range(slot, 40, parallelism)) for slot in range(parallelism)]


@pytest.mark.parametrize("key", [-1, 1.0, "1", b"", True, (1,)])
@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("node", [PEER, "a@127.0.0.1"], ids=["remote", "local"])
def test_a_partition_key_that_is_no_natural_number_is_refused(
    core: Core, key: Any, parallelism: int, node: str
) -> None:
    core.table.configure(PEER, {"data": parallelism})
    core.connect(PEER, "data")
    with pytest.raises(ValueError, match="partition_key"):
        core.send(("sink", node), 1, channel="data", partition_key=key)


def test_a_pair_keeps_to_one_connection_and_pairs_are_spread(core: Core) -> None:
    core.table.configure(PEER, {"data": 4})
    queues = [core.connect(PEER, "data") for _ in range(4)]
    for number in range(3):
        for name in range(64):
            core.send((f"sink{name}", PEER), (name, number), channel="data")
    found = sent(core, queues)
    homes: dict[int, set[int]] = {}
    for slot, received in enumerate(found):
        for name, _ in received:
            homes.setdefault(name, set()).add(slot)
    assert all(len(slots) == 1 for slots in homes.values())
    assert all(len(received) >= 3 * 64 / 16 for received in found), "no connection is left out"


def test_senders_of_one_receiver_are_spread_too(core: Core) -> None:
    core.table.configure(PEER, {"data": 4})
    queues = [core.connect(PEER, "data") for _ in range(4)]

    async def say() -> None:
        core.send(("sink", PEER), 1, channel="data")

    for _ in range(64):
        core.spawn(say())
    assert all(len(received) >= 4 for received in sent(core, queues))


def test_connections_take_the_free_slots_in_order_and_a_lost_one_is_filled_again(core: Core) -> None:
    core.table.configure(PEER, {"data": 3})
    queues = [SendQueue(core.table.lane(PEER, "data").bound) for _ in range(5)]
    assert [core.table.add(PEER, "data", queue) for queue in queues[:3]] == [0, 1, 2]
    core.table.remove(PEER, "data", queues[1])
    assert core.table.add(PEER, "data", queues[3]) == 1
    assert core.table.add(PEER, "data", queues[4]) == 3, "one more than configured has a place too"
    assert core.table.lane(PEER, "data").connections == [queues[0], queues[3], queues[2], queues[4]]


def test_while_some_are_down_the_others_carry_their_slots(core: Core) -> None:
    core.table.configure(PEER, {"data": 4})
    queue = core.connect(PEER, "data")
    for key in range(8):
        core.send(("sink", PEER), key, channel="data", partition_key=key)
    assert sent(core, [queue]) == [list(range(8))]


# Fallback and errors.


def test_a_channel_without_connections_uses_the_default_one(core: Core) -> None:
    core.table.configure(PEER, {DEFAULT: 1, "data": 2})
    queue = core.connect(PEER)
    core.send(("sink", PEER), 1, channel="data", partition_key=1)
    core.send(("sink", PEER), 2, channel="never heard of")
    assert sent(core, [queue]) == [[1, 2]]


def test_without_fallback_such_a_channel_is_not_connected() -> None:
    core = Core(fallback=False)
    core.connect(PEER)
    with pytest.raises(NotConnected):
        core.send(("sink", PEER), 1, channel="data")


def test_other_channels_do_not_stand_in(core: Core) -> None:
    core.connect(PEER, "data")
    with pytest.raises(NotConnected):
        core.send(("sink", PEER), 1, channel="gossip")
    with pytest.raises(NotConnected):
        core.send(("sink", PEER), 1)


def test_not_connected_tells_whether_the_node_was_ever_known(core: Core) -> None:
    with pytest.raises(NotConnected) as never:
        core.send(("sink", PEER), 1)
    assert (never.value.node, never.value.known) == (PEER, False)
    queue = core.connect(PEER)
    queue.close()
    core.table.remove(PEER, DEFAULT, queue)
    with pytest.raises(NotConnected) as lost:
        core.send(("sink", PEER), 1)
    assert lost.value.known


def test_what_is_closed_but_not_yet_removed_is_used_no_more(core: Core) -> None:
    core.table.configure(PEER, {"data": 2})
    first, second = core.connect(PEER, "data"), core.connect(PEER, "data")
    first.close()
    core.send(("sink", PEER), 1, channel="data", partition_key=0)
    assert sent(core, [second]) == [[1]]
    second.close()
    core.table.remove(PEER, "data", second)
    with pytest.raises(NotConnected):
        core.send(("sink", PEER), 1, channel="data", partition_key=1)


# Counts.


def test_counts_follow_each_connection(core: Core) -> None:
    table = core.table
    table.configure(PEER, {DEFAULT: 1, "data": 2})
    assert not table.is_connected(PEER)
    assert not table.is_fully_connected(PEER)
    queues = [core.connect(PEER), core.connect(PEER, "data")]
    assert (table.count, table.connections(PEER), table.connections(PEER, "data")) == (2, 2, 1)
    assert table.is_connected(PEER, "data")
    assert not table.is_connected(PEER, "gossip")
    assert not table.is_fully_connected(PEER)
    queues.append(core.connect(PEER, "data"))
    assert table.is_fully_connected(PEER)
    table.remove(PEER, "data", queues[1])
    assert not table.is_fully_connected(PEER)
    assert table.connections(PEER, "data") == 1
    table.configure(PEER, {DEFAULT: 1, "data": 1})
    assert table.is_fully_connected(PEER), "the peer's spec now wants fewer"
    table.configure(PEER, {DEFAULT: 1})
    table.remove(PEER, "data", queues[2])
    assert table.is_fully_connected(PEER), "a channel that the spec does not name is not wanted"
    assert table.nodes() == [PEER]
    table.remove(PEER, DEFAULT, queues[0])
    assert table.nodes() == []
    assert not table.is_fully_connected(PEER)
    assert table.count == 0


def test_counts_of_strangers_are_zero(core: Core) -> None:
    assert core.table.connections(PEER) == 0
    assert not core.table.is_connected(PEER)
    assert not core.table.is_fully_connected(PEER)
    assert core.table.peers == {}, "asking makes no entry"


def test_questions_cost_the_same_however_many_connections_there_are() -> None:
    """The answers are kept: no lane is looked at for them."""
    asked: list[str] = []

    class Channels(dict[str, int]):
        def items(self) -> Any:
            asked.append("items")
            return super().items()

    core = Core()
    core.table.configure(PEER, Channels(data=50))
    for _ in range(50):
        core.connect(PEER, "data")
    asked.clear()
    assert core.table.is_fully_connected(PEER)
    assert core.table.connections(PEER) == 50
    assert asked == []


def test_a_node_is_forgotten_only_when_nothing_connects_it(core: Core) -> None:
    queue = core.connect(PEER)
    core.table.discard(PEER)
    assert list(core.table.peers) == [PEER]
    core.table.remove(PEER, DEFAULT, queue)
    core.table.discard(PEER)
    core.table.discard(OTHER)
    assert core.table.peers == {}


def test_each_node_and_channel_has_a_bound_of_its_own() -> None:
    made: list[tuple[str, str]] = []
    core = Core()
    table = ConnectionTable(bound=lambda node, channel: (made.append((node, channel)), core.bound(node, channel))[1])
    lanes = [table.lane(PEER, DEFAULT), table.lane(PEER, "data"), table.lane(OTHER, "data"), table.lane(PEER, "data")]
    assert made == [(PEER, DEFAULT), (PEER, "data"), (OTHER, "data")]
    assert lanes[1] is lanes[3]
    assert "data" in repr(lanes[1])
    assert PEER in repr(table.peer(PEER))


# Taking over, with the barrier in the test's hand.


def test_a_home_that_comes_up_takes_over_after_the_barrier(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {DEFAULT: 1, "data": 1})
    default = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1, channel="data")
    data = core.connect(PEER, "data")
    core.send(("sink", PEER), 2, channel="data")
    assert sent(core, [default, data]) == [[1], []], "2 waits until 1 is handled"
    barriers.fire()
    core.send(("sink", PEER), 3, channel="data")
    assert sent(core, [default, data]) == [[], [2, 3]]


def test_large_payloads_that_wait_for_the_barrier_are_not_copied(core: Core) -> None:
    barriers = Barriers()
    payload = b"p" * 100_000
    default = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1, channel="data")
    drain(default)
    data = core.connect(PEER, "data", quantum=1 << 20)
    core.send(("sink", PEER), (payload, 1), channel="data")
    core.send(("sink", PEER), (2, payload), channel="data")
    barriers.fire()
    assert sum(segment.obj is payload for segment in data.segments()) == 2
    assert sent(core, [data]) == [[(payload, 1), (2, payload)]]


def test_a_home_that_is_lost_and_replaced_during_the_take_over_loses_nothing(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {DEFAULT: 1, "data": 1})
    default = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1, channel="data")
    first = core.connect(PEER, "data", barrier=barriers.append)
    core.send(("sink", PEER), 2, channel="data")
    first.close()
    core.table.remove(PEER, "data", first)
    second = core.connect(PEER, "data", barrier=barriers.append)
    core.send(("sink", PEER), 3, channel="data")
    assert sent(core, [default, second]) == [[1], []]
    barriers.fire()
    core.send(("sink", PEER), 4, channel="data")
    assert sent(core, [default, second]) == [[], [2, 3, 4]]
    assert core.table.lane(PEER, "data").bound.queued_octets == 0


def test_a_take_over_with_nowhere_to_go_counts_what_is_lost(core: Core) -> None:
    barriers = Barriers()
    default = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1, channel="data")
    data = core.connect(PEER, "data")
    core.send(("sink", PEER), b"x" * 100, channel="data")
    bound = core.table.lane(PEER, "data").bound
    for channel, queue in (("data", data), (DEFAULT, default)):
        queue.close()
        core.table.remove(PEER, channel, queue)
    barriers.fire()
    assert bound.queued_octets == 0
    assert bound.dropped_frames == 1
    assert bound.dropped_octets > 100


def test_when_the_parallelism_changes_what_was_sent_before_is_handled_first(core: Core) -> None:
    """A pair then hashes to another slot: its messages must not overtake each other."""
    barriers = Barriers()
    core.table.configure(PEER, {"data": 2})
    queues = [core.connect(PEER, "data", barrier=barriers.append) for _ in range(2)]
    core.send(("sink", PEER), 1, channel="data", partition_key=2)
    core.table.configure(PEER, {"data": 3})
    queues.append(core.connect(PEER, "data", barrier=barriers.append))
    core.send(("sink", PEER), 2, channel="data", partition_key=2)
    assert sent(core, queues) == [[1], [], []]
    for _ in range(4):
        barriers.fire()
    assert sent(core, queues) == [[], [], [2]]


# Retiring: the peer may still read what a connection was given that this side has given up.


def test_a_retired_connection_is_down_at_once_but_its_slots_hold_until_it_is_released(core: Core) -> None:
    core.table.configure(PEER, {"data": 2})
    queues = [core.connect(PEER, "data") for _ in range(2)]
    for key in range(2):
        core.send(("sink", PEER), key, channel="data", partition_key=key)
    assert sent(core, queues) == [[0], [1]]
    queues[0].close()
    core.table.retire(PEER, "data", queues[0])
    assert core.table.connections(PEER, "data") == 1
    assert not core.table.is_fully_connected(PEER)
    for key in range(2, 6):
        core.send(("sink", PEER), key, channel="data", partition_key=key)
    assert sent(core, queues[1:]) == [[3, 5]], "only the slot that used it holds"
    assert core.table.lane(PEER, "data").bound.queued_octets > 0
    core.table.release(PEER, "data", queues[0])
    assert sent(core, queues[1:]) == [[2, 4]]
    assert core.table.lane(PEER, "data").bound.queued_octets == 0


def test_while_only_retired_connections_are_left_the_node_is_not_connected(core: Core) -> None:
    first = core.connect(PEER)
    core.send(("sink", PEER), 1)
    first.close()
    core.table.retire(PEER, DEFAULT, first)
    assert not core.table.is_connected(PEER)
    with pytest.raises(NotConnected):
        core.send(("sink", PEER), 2)
    core.table.discard(PEER)
    second = core.connect(PEER)
    core.send(("sink", PEER), 3)
    assert sent(core, [second]) == [[]], "what the first was given comes before"
    core.table.release(PEER, DEFAULT, first)
    core.send(("sink", PEER), 4)
    assert sent(core, [second]) == [[3, 4]]


def test_a_channel_that_used_a_retired_connection_as_fallback_holds_too(core: Core) -> None:
    first = core.connect(PEER)
    core.send(("sink", PEER), 1, channel="data")
    first.close()
    core.table.retire(PEER, DEFAULT, first)
    data = core.connect(PEER, "data")
    core.send(("sink", PEER), 2, channel="data")
    assert sent(core, [data]) == [[]]
    core.table.release(PEER, DEFAULT, first)
    assert sent(core, [data]) == [[2]]


def test_a_barrier_of_a_retired_connection_is_passed_at_its_release(core: Core) -> None:
    barriers = Barriers()
    default = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1, channel="data")
    data = core.connect(PEER, "data")
    core.send(("sink", PEER), 2, channel="data")
    default.close()
    core.table.retire(PEER, DEFAULT, default)
    assert sent(core, [data]) == [[]]
    core.table.release(PEER, DEFAULT, default)
    assert sent(core, [data]) == [[2]]
    barriers.fire()


def test_when_the_parallelism_changes_a_retired_connection_is_still_waited_for(core: Core) -> None:
    core.table.configure(PEER, {"data": 2})
    queues = [core.connect(PEER, "data") for _ in range(2)]
    core.send(("sink", PEER), 1, channel="data", partition_key=2)
    queues[0].close()
    core.table.retire(PEER, "data", queues[0])
    core.table.configure(PEER, {"data": 3})
    core.send(("sink", PEER), 2, channel="data", partition_key=2)
    assert sent(core, queues[1:]) == [[]]
    core.table.release(PEER, "data", queues[0])
    assert sent(core, queues[1:]) == [[2]]


def test_what_is_held_for_a_retired_connection_and_finds_no_other_is_counted(core: Core) -> None:
    first = core.connect(PEER)
    core.send(("sink", PEER), 1)
    first.close()
    core.table.retire(PEER, DEFAULT, first)
    second = core.connect(PEER)
    core.send(("sink", PEER), 2)
    second.close()
    core.table.remove(PEER, DEFAULT, second)
    core.table.release(PEER, DEFAULT, first)
    bound = core.table.lane(PEER, DEFAULT).bound
    assert (bound.queued_octets, bound.dropped_frames) == (0, 1)


# The property: never a swap.


@pytest.mark.parametrize("shares", [False, True], ids=["apart", "sharing"])
@pytest.mark.parametrize("losses", [False, True], ids=["without losses", "with losses"])
def test_whatever_comes_and_goes_there_may_be_a_gap_but_never_a_swap(losses: bool, shares: bool) -> None:
    for seed in range(300):
        try:
            Ends(seed, shares).live(120, losses)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


def test_who_chooses_another_connection_with_each_message_is_never_overtaken() -> None:
    for seed in range(12):
        try:
            Ends(seed, shares=True).crowd(1000)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


def test_connections_that_are_replaced_again_and_again_take_the_homes_that_are_free(core: Core) -> None:
    core.table.configure(PEER, {"data": 1})
    former = core.connect(PEER, "data")
    for _ in range(10):
        queue = SendQueue(core.table.lane(PEER, "data").bound, schedule=core.router.mark, write=lambda: None)
        assert core.table.add(PEER, "data", queue) in (0, 1)
        former.close()
        core.table.remove(PEER, "data", former)
        former = queue
        core.send(("sink", PEER), 1, channel="data")
        assert messages(drain(queue), core.codec) == [1]


def test_a_node_whose_spec_is_not_known_yet_is_not_fully_connected(core: Core) -> None:
    core.connect(PEER, DEFAULT)
    assert core.table.is_connected(PEER)
    assert not core.table.is_fully_connected(PEER)
    core.table.configure(PEER, {DEFAULT: 1})
    assert core.table.is_fully_connected(PEER)


# Another wire.


def foreign(core: Core) -> DistQueue:
    """A connection of Erlang's distribution."""
    queue = DistQueue(core.table.lane(PEER, DEFAULT).bound, codec=core.codec, outside=core.router.outside)
    assert core.table.add(PEER, DEFAULT, queue) == -1
    return queue


def test_a_foreign_connection_has_no_place_among_those_of_a_channel(core: Core) -> None:
    core.table.configure(PEER, {DEFAULT: 1})
    queue = foreign(core)
    assert core.table.is_connected(PEER)
    assert not core.table.has_own(PEER)
    assert not core.table.is_fully_connected(PEER)
    assert not core.table.is_connected(PEER, DEFAULT)
    core.connect(PEER, DEFAULT)
    assert core.table.has_own(PEER)
    assert core.table.is_fully_connected(PEER)
    assert core.table.count == core.table.connections(PEER) == 2
    core.table.remove(PEER, DEFAULT, queue)
    assert core.table.count == core.table.connections(PEER) == 1


def test_a_channel_keeps_to_a_foreign_connection_that_it_began_on_until_that_is_lost(core: Core) -> None:
    queue = foreign(core)
    core.send(("sink", PEER), 1)
    own = core.connect(PEER, DEFAULT)
    core.table.configure(PEER, {DEFAULT: 3})  # pairs hash to other slots: nothing that is held may go to another wire
    core.send(("sink", PEER), 2)
    assert (queue.pushed_frames, own.pushed_frames) == (2, 0)
    core.table.remove(PEER, DEFAULT, queue)
    core.send(("sink", PEER), 3)
    foreign(core)
    core.send(("sink", PEER), 4)
    assert sent(core, [own]) == [[3, 4]]


def test_messages_to_parts_of_the_node_never_take_a_foreign_connection(core: Core) -> None:
    core.scheduler.register("part", lambda message, link: None)
    core.scheduler.register("net_kernel", lambda message, link: None)
    core.router.foreign_parts = frozenset(["net_kernel"])
    queue = foreign(core)
    with pytest.raises(NotConnected):
        core.send(("part", PEER), 1)
    core.send(("net_kernel", PEER), 2)
    own = core.connect(PEER, DEFAULT)
    core.send(("part", PEER), 3)
    core.send(("net_kernel", PEER), 4)
    assert queue.pushed_frames == 2
    assert sent(core, [own]) == [[3]]


def test_a_node_that_only_a_foreign_connection_keeps_is_as_if_its_spec_had_never_been_told(core: Core) -> None:
    core.table.configure(PEER, {"data": 3})
    queue = foreign(core)
    core.table.discard(PEER)
    assert not core.table.lane(PEER, "data").configured
    core.table.remove(PEER, DEFAULT, queue)
    core.table.discard(PEER)
    assert PEER not in core.table.peers
