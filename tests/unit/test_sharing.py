"""Slots that share a connection as long as none of them would wait there."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.router import PairKey
from partisan._core.sendqueue import SendQueue
from partisan.errors import EncodeError
from partisan.etf import Atom
from partisan.runtime.sharing import LOOK, Sharing
from tests.unit.hollow import Barriers, Core, Timer, sent

PEER = "b@127.0.0.1"
DEFAULT = "undefined"


@pytest.fixture
def core() -> Core:
    return Core(shares=True)


def say(core: Core, *keys: int) -> None:
    """Send messages of pairs, which hash to these."""
    for key in keys:
        core.send(("sink", PEER), key, channel="data", partition_key=PairKey(key))


def choose(core: Core, *keys: int) -> None:
    """Send messages with these partition keys."""
    for key in keys:
        core.send(("sink", PEER), key, channel="data", partition_key=key)


def four(core: Core, barriers: Barriers | None = None) -> list[SendQueue]:
    core.table.configure(PEER, {"data": 4})
    return [core.connect(PEER, "data", barrier=None if barriers is None else barriers.append) for _ in range(4)]


def test_as_long_as_nobody_waits_all_messages_go_on_one_connection(core: Core) -> None:
    queues = four(core)
    say(core, *range(40))
    assert sent(core, queues) == [list(range(40)), [], [], []]
    assert core.parted == []


def test_a_slot_that_has_not_been_used_does_not_wait_behind_another_ones_message(core: Core) -> None:
    queues = four(core)
    say(core, 0)
    queues[0].written(blocked=True)
    say(core, 1, 2, 0)
    assert sent(core, queues) == [[0, 0], [1], [2], []]
    assert core.parted == [True]


def test_a_slot_parts_when_it_would_wait_and_its_messages_wait_for_what_went_before(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 1)
    queues[0].written(blocked=True)
    say(core, 5)
    assert sent(core, queues) == [[1], [], [], []], "5 waits until 1 is handled"
    barriers.fire()
    assert sent(core, queues) == [[], [5], [], []]
    queues[0].written(blocked=False)
    say(core, 9, 2)
    assert sent(core, queues) == [[2], [9], [], []], "who has parted stays apart, whoever has not shares"


def look(core: Core) -> int:
    """Let the slots come nearer together; how many are still apart."""
    core.table.gather()
    return core.table.lane(PEER, "data").places.apart


def test_slots_come_together_again_when_nobody_has_waited_since(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    queues[0].written(blocked=True)
    say(core, 1, 2)
    assert sent(core, queues) == [[], [1], [2], []]
    assert look(core) == 2, "somebody has waited just now"
    queues[0].written(blocked=False)
    say(core, 1)
    assert [look(core) for _ in range(2)] == [2, 2], "the second step is not taken while somebody changes hands"
    say(core, 1, 2)
    assert sent(core, queues) == [[], [1, 1], [], []], "what its own connection was given is handled first"
    barriers.fire()
    assert look(core) == 0
    say(core, 1, 2)
    barriers.fire()
    assert sent(core, queues) == [[2, 2, 1], [], [], []]
    assert core.parted == [True]


def test_slots_stay_apart_while_any_of_their_connections_is_full(core: Core) -> None:
    queues = four(core)
    queues[0].written(blocked=True)
    say(core, 1)
    assert look(core) == 1
    queues[0].written(blocked=False)
    queues[1].written(blocked=True)
    say(core, 1)
    assert look(core) == 1
    queues[1].written(blocked=False)
    say(core, 1)
    assert look(core) == 0


def test_slots_do_not_come_together_where_they_would_wait(core: Core) -> None:
    queues = four(core)
    queues[0].written(blocked=True)
    say(core, 1)
    assert [look(core) for _ in range(3)] == [1, 1, 1], "nobody has sent, but it is full"
    queues[0].written(blocked=False)
    assert look(core) == 0


def coming_back(core: Core, barriers: Barriers) -> list[SendQueue]:
    """Four queues, and a slot that had parted from the first and comes back when the barrier fires."""
    queues = four(core, barriers)
    queues[0].written(blocked=True)
    say(core, 1)
    queues[0].written(blocked=False)
    assert [look(core) for _ in range(2)] == [1, 0]
    return queues


def test_who_comes_back_to_a_connection_that_has_become_full_parts_at_once(core: Core) -> None:
    barriers = Barriers()
    queues = coming_back(core, barriers)
    queues[0].written(blocked=True)
    say(core, 5)
    barriers.fire()
    assert sent(core, queues) == [[], [1, 5], [], []]


def test_who_has_come_back_and_sent_nothing_since_parts_without_waiting(core: Core) -> None:
    barriers = Barriers()
    queues = coming_back(core, barriers)
    barriers.fire()
    queues[0].written(blocked=True)
    say(core, 5)
    assert sent(core, queues) == [[], [1, 5], [], []], "the peer has handled 1, and nothing is before 5"
    say(core, 9)
    queues[0].written(blocked=False)
    assert sent(core, queues) == [[], [9], [], []]


def test_nobody_parts_to_a_connection_that_is_full_as_well(core: Core) -> None:
    queues = four(core)
    choose(core, 1)
    for queue in queues[:2]:
        queue.written(blocked=True)
    core.table.configure(PEER, {"data": 4})
    say(core, 2, 1)
    assert sent(core, queues) == [[], [1, 1], [2], []], "a slot that a partition key chose stays where it is"
    queues[3].written(blocked=True)
    say(core, 3)
    assert sent(core, queues) == [[3], [], [], []]


def test_after_the_shared_connection_came_back_all_share_it_again(core: Core) -> None:
    queues = four(core)
    say(core, 2)
    queues[0].close()
    core.table.remove(PEER, "data", queues[0])
    say(core, 2)
    queues[0] = core.connect(PEER, "data")
    say(core, 3)
    queues[0].written(blocked=True)
    say(core, 1)
    queues[0].written(blocked=False)
    core.table.gather()
    core.table.gather()
    say(core, 1, 2, 3)
    assert sent(core, queues) == [[3, 1, 2, 3], [2, 1], [], []]


def test_what_is_held_is_bounded_and_compressed_as_what_is_not(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {"data": 2})
    queues = [core.connect(PEER, "data", barrier=barriers.append, max_frame=10_000, level=6) for _ in range(2)]
    say(core, 1)
    queues[0].written(blocked=True)
    say(core, 1)
    with pytest.raises(EncodeError):
        core.send(("sink", PEER), random.Random(1).randbytes(20_000), channel="data", partition_key=PairKey(1))
    core.send(("sink", PEER), bytes(9_000), channel="data", partition_key=PairKey(1))
    barriers.fire()
    assert 0 < len(queues[1]) < 1_000


def test_a_node_is_not_forgotten_while_something_is_held_for_it(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {"data": 2})
    queues = [core.connect(PEER, "data", barrier=barriers.append) for _ in range(2)]
    say(core, 1)
    assert sent(core, queues) == [[1], []]
    queues[0].written(blocked=True)
    say(core, 3)
    for queue in queues:
        queue.close()
        core.table.retire(PEER, "data", queue)
    core.table.discard(PEER)
    after = core.connect(PEER, "data")
    say(core, 5)
    assert sent(core, [after]) == [[]], "1 may not have been read"
    barriers.fire()
    say(core, 7)
    assert sent(core, [after]) == [[3, 5, 7]]


def part_and_return(core: Core, queues: list[SendQueue]) -> int:
    """Let a slot part, and look until all have come together; how often that was."""
    queues[0].written(blocked=True)
    say(core, 1)
    queues[0].written(blocked=False)
    return returned(core)


def returned(core: Core) -> int:
    """Look until all have come together; how often that was."""
    return next(count for count in range(1, 1000) if look(core) == 0)


def test_who_parts_again_is_told_again_when_all_is_forgotten(core: Core) -> None:
    queues = four(core)
    for _ in range(2):
        part_and_return(core, queues)
        assert not core.table.gather()
    assert core.parted == [True, True]


def test_a_slot_goes_no_farther_than_where_it_need_not_wait(core: Core) -> None:
    core.table.configure(PEER, {"data": 8})
    queues = [core.connect(PEER, "data") for _ in range(8)]
    for crowded in (0, 1, 3):
        say(core, 7)
        queues[crowded].written(blocked=True)
    say(core, 7, 6, 5, 4, 3, 2)
    assert sent(core, queues) == [[7, 3], [7], [6, 2], [7], [4], [5], [], [7]]


def test_the_widest_step_is_taken_back_first(core: Core) -> None:
    core.table.configure(PEER, {"data": 8})
    queues = [core.connect(PEER, "data") for _ in range(8)]
    for crowded in (0, 1, 3):
        queues[crowded].written(blocked=True)
    say(core, 7, 2)
    for crowded in (0, 1, 3):
        queues[crowded].written(blocked=False)
    look(core)
    sent(core, queues)
    ways = []
    for apart in (2, 2, 0):
        assert look(core) == apart
        say(core, 7, 2)
        ways.append([at for at, found in enumerate(sent(core, queues)) if found])
    assert ways == [[2, 3], [0, 1], [0]]


def test_the_longer_it_was_in_vain_to_come_together_the_later_it_is_tried_again(core: Core) -> None:
    queues = four(core)
    assert [part_and_return(core, queues) for _ in range(8)] == [2, 3, 5, 9, 17, 33, 65, 65]
    assert not all(core.table.gather() for _ in range(63 + 31 + 15 + 7 + 3 + 1 + 8)), "in the end it is forgotten"
    assert part_and_return(core, queues) == 2


def test_what_was_not_in_vain_makes_the_next_step_come_sooner(core: Core) -> None:
    core.table.configure(PEER, {"data": 8})
    queues = [core.connect(PEER, "data") for _ in range(8)]
    for _ in range(4):
        part_and_return(core, queues)
    for crowded in (0, 1, 3):
        queues[crowded].written(blocked=True)
    say(core, 7)
    for crowded in (0, 1, 3):
        queues[crowded].written(blocked=False)
    assert returned(core) == 1 + (15 + 1) + (15 + 1) + (7 + 1)


def test_the_slot_whose_home_is_shared_has_nowhere_to_part_to(core: Core) -> None:
    queues = four(core)
    say(core, 0)
    queues[0].written(blocked=True)
    say(core, 4)
    assert sent(core, queues) == [[0, 4], [], [], []]
    assert core.parted == []


def test_a_slot_whose_home_is_down_stays_until_it_comes_up_and_is_needed(core: Core) -> None:
    core.table.configure(PEER, {"data": 2})
    first = core.connect(PEER, "data")
    say(core, 1)
    first.written(blocked=True)
    say(core, 3)
    assert sent(core, [first]) == [[1, 3]]
    second = core.connect(PEER, "data")
    first.written(blocked=False)
    say(core, 5)
    assert sent(core, [first, second]) == [[5], []]
    first.written(blocked=True)
    say(core, 7)
    assert sent(core, [first, second]) == [[], [7]]


def test_when_the_shared_connection_is_lost_another_one_is_shared(core: Core) -> None:
    queues = four(core)
    say(core, 0, 1)
    queues[0].close()
    core.table.remove(PEER, "data", queues[0])
    say(core, 0, 1, 3)
    assert sent(core, queues[1:]) == [[0, 1, 3], [], []]
    queues[0] = core.connect(PEER, "data")
    say(core, 2)
    assert sent(core, queues) == [[2], [], [], []]


def test_messages_that_went_by_the_default_channel_come_to_the_shared_connection(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {DEFAULT: 1, "data": 2})
    default = core.connect(PEER, barrier=barriers.append)
    say(core, 0, 1)
    queues = [core.connect(PEER, "data") for _ in range(2)]
    say(core, 0, 1)
    barriers.fire()
    barriers.fire()
    assert sent(core, [default, *queues]) == [[0, 1], [0, 1], []]


def test_a_partition_key_has_its_own_connection_from_the_first_message_on(core: Core) -> None:
    queues = four(core)
    choose(core, *range(8))
    assert sent(core, queues) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert core.parted == []


def test_pairs_that_hash_to_the_slot_of_a_partition_key_go_where_it_goes_and_nothing_swaps(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 1, 2)
    choose(core, 5)
    say(core, 9, 6)
    assert sent(core, queues) == [[1, 2, 6], [], [], []]
    barriers.fire()
    say(core, 13)
    assert sent(core, queues) == [[], [5, 9, 13], [], []]
    assert not core.table.gather()
    say(core, 1, 2)
    assert sent(core, queues) == [[2], [1], [], []]


def test_a_slot_that_is_apart_when_a_partition_key_chooses_it_stays_there_for_good(core: Core) -> None:
    queues = four(core)
    queues[0].written(blocked=True)
    say(core, 1)
    queues[0].written(blocked=False)
    choose(core, 5)
    assert not core.table.gather()
    say(core, 9)
    assert sent(core, queues) == [[], [1, 5, 9], [], []]


def test_the_messages_of_a_process_and_what_takes_its_pair_key_share_a_slot(core: Core) -> None:
    queues = four(core)
    queues[0].written(blocked=True)
    for number in range(20):
        name = Atom(f"sink{number}")
        core.send((name, PEER), 1, channel="data")
        core.send((Atom("other"), PEER), 2, channel="data", partition_key=core.router.own_key(name))
    assert all(found == [1, 2] * (len(found) // 2) for found in sent(core, queues))
    with pytest.raises(OverflowError):
        PairKey(-1)


@pytest.mark.parametrize("kind", [MonotonicQueue, DroppingQueue])
def test_a_channel_that_drops_what_waits_uses_all_its_connections(core: Core, kind: type[SendQueue]) -> None:
    core.table.configure(PEER, {"data": 4})
    queues = [core.connect(PEER, "data", kind=kind) for _ in range(4)]
    say(core, *range(4))
    assert [queue.pushed_frames for queue in queues] == [1, 1, 1, 1]


def test_a_parallelism_that_changes_keeps_slots_together(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 5)
    core.table.configure(PEER, {"data": 6})
    queues += [core.connect(PEER, "data") for _ in range(2)]
    say(core, 5)
    assert sent(core, queues) == [[5], [], [], [], [], []]
    for _ in range(4):
        barriers.fire()
    assert sent(core, queues) == [[5], [], [], [], [], []]


class Clock:
    """A loop's timers, in the test's hand."""

    def __init__(self) -> None:
        self.core = Core()

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        return self.core.call_later(seconds, function)


def test_it_is_looked_at_again_and_again_until_all_have_come_together() -> None:
    clock, answers = Clock(), [True, True, False]
    sharing = Sharing(cast(Any, clock), lambda: answers.pop(0))
    for _ in range(2):
        sharing.begin()
    for left in (2, 1, 0):
        clock.core.advance(LOOK - 0.1)
        assert len(answers) == left + 1
        clock.core.advance(0.1)
        assert len(answers) == left
    clock.core.advance(10 * LOOK)
    answers.append(False)
    sharing.begin()
    clock.core.advance(LOOK)
    assert answers == []


def test_when_the_node_stops_nothing_is_looked_at_any_more() -> None:
    clock, looks = Clock(), list[bool]()
    sharing = Sharing(cast(Any, clock), lambda: bool(looks.append(True)))
    sharing.begin()
    sharing.stop()
    sharing.begin()
    clock.core.advance(2 * LOOK)
    assert looks == []
