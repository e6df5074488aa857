"""Slots that share a connection as long as none of them would wait there."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from partisan._core.framedqueue import DroppingQueue, MonotonicQueue
from partisan._core.router import PairKey
from partisan._core.sendqueue import SendQueue
from partisan.errors import EncodeError, LocalProtocolError
from partisan.etf import Atom
from partisan.runtime.sharing import LOOK, Sharing
from tests.unit.hollow import Barriers, Core, Timer, sent

PEER = "b@127.0.0.1"
DEFAULT = "undefined"
MUCH = 1 << 20


@pytest.fixture
def core() -> Core:
    return Core(shares=True)


def say(core: Core, *keys: int) -> None:
    """Send messages of pairs, which hash to these."""
    for key in keys:
        core.send(("sink", PEER), key, channel="data", partition_key=PairKey(key))


def say_much(core: Core, key: int) -> None:
    """Send a message of a pair behind which a probe is worth it."""
    core.send(("sink", PEER), bytes(MUCH), channel="data", partition_key=PairKey(key))


def choose(core: Core, *keys: int) -> None:
    """Send messages with these partition keys."""
    for key in keys:
        core.send(("sink", PEER), key, channel="data", partition_key=key)


def several(core: Core, count: int, barriers: Barriers | None = None) -> list[SendQueue]:
    core.table.configure(PEER, {"data": count})
    return [core.connect(PEER, "data", barrier=None if barriers is None else barriers.append) for _ in range(count)]


def four(core: Core, barriers: Barriers | None = None) -> list[SendQueue]:
    return several(core, 4, barriers)


def asked(core: Core, barriers: Barriers) -> list[SendQueue]:
    """Four connections, of which two are full: 5 has sent much by the second, which asks whether that is handled."""
    queues = four(core, barriers)
    fill(queues[0])
    say(core, 5)
    fill(queues[1])
    say_much(core, 5)
    return queues


def fill(*queues: SendQueue) -> None:
    for queue in queues:
        queue.written(blocked=True)


def clear(*queues: SendQueue) -> None:
    for queue in queues:
        queue.written(blocked=False)


def look(core: Core, times: int = 1) -> int:
    """Let fewer connections be shared if it is time; how many are."""
    for _ in range(times):
        core.table.gather()
    return core.table.lane(PEER, "data").places.width


def test_as_long_as_nobody_waits_all_messages_go_on_one_connection(core: Core) -> None:
    queues = four(core)
    say(core, *range(40))
    assert sent(core, queues) == [list(range(40)), [], [], []]
    assert core.parted == []


def test_a_slot_that_has_not_been_used_does_not_wait_behind_another_ones_message(core: Core) -> None:
    queues = four(core, Barriers())
    say(core, 0)
    fill(queues[0])
    say(core, 1, 2, 0)
    assert sent(core, queues) == [[0, 0], [1, 2], [], []], "0 may be under way, and nothing may overtake it"
    assert core.parted == [True]


def test_a_slot_goes_elsewhere_once_all_that_it_has_sent_is_known_to_be_handled(core: Core) -> None:
    barriers = Barriers()
    queues = asked(core, barriers)
    assert [len(barriers), look(core)] == [1, 2], "somebody waits, and much has gone: that is worth a probe"
    barriers.fire()
    say(core, 5)
    assert sent(core, queues) == [[], [5, bytes(MUCH)], [5], []]
    assert barriers == [], "nobody waits"


def test_what_a_slot_has_sent_behind_a_probe_is_not_handled_when_that_is_answered(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 5)
    fill(queues[0])
    say_much(core, 5)
    say(core, 5)
    barriers.fire()
    say(core, 5)
    assert sent(core, queues) == [[5, bytes(MUCH), 5, 5], [], [], []]


def test_who_has_sent_by_a_connection_that_is_just_closed_overtakes_nothing_that_may_be_read_yet(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    fill(queues[0])
    say(core, 1, 2)
    queues[1].close()
    with pytest.raises(LocalProtocolError):
        say(core, 1)
    core.table.remove(PEER, "data", queues[1])
    say(core, 1)
    assert sent(core, [queues[0], *queues[2:]]) == [[], [1], []]


def test_small_messages_that_wait_ask_for_no_probe(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 5)
    fill(queues[0])
    say(core, 5, 5, 5)
    assert barriers == []
    assert [len(found) for found in sent(core, queues)] == [4, 0, 0, 0]


def test_slots_take_the_first_connection_that_is_not_full(core: Core) -> None:
    queues = several(core, 8)
    fill(*queues[:2], *queues[3:5])
    say(core, 7, 6)
    assert look(core) == 4
    fill(queues[2])
    say(core, 7, 5)
    assert look(core) == 8
    clear(queues[1])
    say(core, 7, 4)
    assert sent(core, queues) == [[], [7, 4], [7, 6], [], [], [7, 5], [], []]


def test_where_all_are_full_a_slot_takes_the_one_in_which_least_waits(core: Core) -> None:
    queues = four(core)
    for number, queue in enumerate(queues):
        core.send(("sink", PEER), bytes(900 - 100 * (number % 3)), channel="data", partition_key=number)
        fill(queue)
    say(core, 1, 2)
    assert [found[1:] for found in sent(core, queues)] == [[], [], [1, 2], []]


def test_a_slot_whose_messages_wait_again_and_again_goes_over_to_its_own_connection(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 3)
    fill(queues[0])
    say(core, 3, 3, 3, 3)
    assert barriers == []
    say(core, 3)
    assert len(barriers) == 1
    assert sent(core, queues) == [[3] * 5, [], [], []], "what comes waits until that is handled"
    fill(queues[0])
    barriers.fire()
    assert sent(core, queues) == [[], [3], [], []], "its own of two"
    fill(queues[1])
    say(core, *[3] * 10)
    assert sent(core, queues) == [[], [3] * 10, [], []], "it does so once"
    assert core.parted == [True]


def test_a_slot_goes_over_to_no_connection_that_is_full_as_well(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 3)
    fill(queues[0], queues[1], queues[3])
    say(core, *[3] * 10)
    assert barriers == []
    clear(queues[3])
    say(core, 3)
    assert len(barriers) == 1
    assert sent(core, queues) == [[3] * 11, [], [], []]
    barriers.fire()
    assert sent(core, queues) == [[], [], [], [3]], "its own of four"


def test_the_slot_whose_own_connection_is_the_full_one_has_nowhere_to_go_over_to(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 4)
    fill(queues[0])
    say(core, *[4] * 10)
    assert barriers == []
    assert sent(core, queues) == [[4] * 11, [], [], []]


def test_fewer_connections_are_shared_when_nobody_has_waited_since(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    fill(*queues[:3])
    say(core, 1)
    assert look(core) == 4, "somebody has waited just now"
    clear(*queues)
    assert look(core) == 2
    say(core, 1)
    assert sent(core, queues) == [[], [], [], [1]], "what its connection was given is handled first"
    assert look(core) == 2, "nothing changes while somebody changes hands"
    barriers.fire()
    assert sent(core, queues) == [[1], [], [], []]
    assert look(core) == 1
    assert not core.table.gather()
    assert core.parted == [True]


def test_as_many_are_shared_while_any_connection_is_full(core: Core) -> None:
    queues = four(core)
    fill(queues[0])
    say(core, 1)
    assert look(core, 3) == 2, "nobody has sent, but it is full"
    clear(queues[0])
    fill(queues[2])
    assert look(core, 3) == 2
    clear(queues[2])
    assert look(core) == 1


def test_what_was_sent_on_the_trunk_alone_is_not_known_to_be_handled(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    say(core, 5)
    fill(queues[0])
    say_much(core, 5)
    barriers.fire()
    clear(queues[0])
    assert look(core, 4) == 1, "a probe is answered, and all share the trunk again"
    say(core, 5)
    fill(queues[0])
    say(core, 5)
    assert sent(core, queues) == [[5, bytes(MUCH), 5, 5], [], [], []]


def test_who_has_come_back_and_sent_nothing_since_takes_any_connection(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    fill(queues[0])
    say(core, 1)
    clear(queues[0])
    assert look(core, 2) == 1
    barriers.fire()
    fill(queues[0])
    say(core, 1)
    assert sent(core, queues) == [[], [1, 1], [], []]


def test_who_comes_back_to_a_connection_that_has_become_full_takes_another(core: Core) -> None:
    barriers = Barriers()
    queues = four(core, barriers)
    fill(queues[0])
    say(core, 1)
    clear(queues[0])
    assert look(core, 2) == 1
    fill(queues[0])
    say(core, 1)
    barriers.fire()
    assert sent(core, queues) == [[], [1, 1], [], []]


def test_what_is_held_is_bounded_and_compressed_as_what_is_not(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {"data": 2})
    queues = [core.connect(PEER, "data", barrier=barriers.append, max_frame=10_000, level=6) for _ in range(2)]
    say(core, 1)
    queues[0].written(blocked=True)
    say(core, *[1] * 5)
    with pytest.raises(EncodeError):
        core.send(("sink", PEER), random.Random(1).randbytes(20_000), channel="data", partition_key=PairKey(1))
    core.send(("sink", PEER), bytes(9_000), channel="data", partition_key=PairKey(1))
    barriers.fire()
    assert 0 < len(queues[1]) < 1_000


def test_a_node_is_not_forgotten_while_something_is_held_for_it(core: Core) -> None:
    barriers = Barriers()
    queues = several(core, 2, barriers)
    say(core, 1)
    assert sent(core, queues) == [[1], []]
    queues[0].written(blocked=True)
    say(core, 1, 1, 1, 1, 33)
    for queue in queues:
        queue.close()
        core.table.retire(PEER, "data", queue)
    core.table.discard(PEER)
    after = core.connect(PEER, "data")
    say(core, 65)
    assert sent(core, [after]) == [[]], "1 may not have been read"
    barriers.fire()
    say(core, 97)
    assert sent(core, [after]) == [[33, 65, 97]]


def spread_and_return(core: Core, queues: list[SendQueue]) -> int:
    """Let a second connection be shared, and look until it no longer is; how often that was."""
    fill(queues[0])
    say(core, 1)
    clear(queues[0])
    return returned(core)


def returned(core: Core) -> int:
    """Look until only the trunk is shared; how often that was."""
    return next(count for count in range(1, 1000) if look(core) == 1)


def test_who_shares_more_is_told_again_when_all_is_forgotten(core: Core) -> None:
    queues = four(core)
    for _ in range(2):
        spread_and_return(core, queues)
        assert not core.table.gather()
    assert core.parted == [True, True]


def test_the_longer_it_was_in_vain_to_share_fewer_the_later_it_is_tried_again(core: Core) -> None:
    queues = four(core)
    assert [spread_and_return(core, queues) for _ in range(8)] == [2, 3, 5, 9, 17, 33, 65, 65]
    assert not all(core.table.gather() for _ in range(63 + 31 + 15 + 7 + 3 + 1 + 8)), "in the end it is forgotten"
    assert spread_and_return(core, queues) == 2


def test_what_was_not_in_vain_makes_the_next_step_come_sooner(core: Core) -> None:
    queues = several(core, 8)
    for _ in range(4):
        spread_and_return(core, queues)
    fill(*queues[:4])
    say(core, 7)
    clear(*queues)
    assert returned(core) == 1 + (15 + 1) + (15 + 1) + (7 + 1)


def test_where_there_is_one_connection_nothing_is_shared(core: Core) -> None:
    core.table.configure(PEER, {"data": 1})
    queue = core.connect(PEER, "data")
    fill(queue)
    say(core, 0, 4)
    assert sent(core, [queue]) == [[0, 4]]
    assert (core.parted, look(core)) == ([], 1)


def test_where_there_is_no_other_connection_no_probe_is_asked(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {"data": 1})
    first = core.connect(PEER, "data", barrier=barriers.append)
    fill(first)
    for _ in range(8):
        say_much(core, 1)
    assert barriers == []
    second = core.connect(PEER, "data", barrier=barriers.append)
    first.close()
    core.table.remove(PEER, "data", first)
    fill(second)
    for _ in range(8):
        say_much(core, 1)
    assert barriers == []


def test_connections_that_come_up_while_slots_change_hands_do_not_have_them_do_it_again(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {DEFAULT: 1, "data": 16})
    core.connect(PEER, barrier=barriers.append)
    say(core, *range(40))
    queues = []
    for _ in range(16):
        queues.append(core.connect(PEER, "data", barrier=barriers.append))
        say(core, *range(40))
    assert len(barriers) == 1
    barriers.fire()
    assert barriers == []
    assert sum(len(found) for found in sent(core, queues)) == 16 * 40


def test_what_is_sent_while_a_connection_that_drops_is_up_is_not_known_to_be_handled(core: Core) -> None:
    barriers = Barriers()
    queues = asked(core, barriers)
    barriers.fire()
    core.connect(PEER, "data", kind=DroppingQueue)
    say(core, 5)
    core.connect(PEER, "data")
    say(core, 5)
    assert [len(found) for found in sent(core, queues)] == [0, 4, 0, 0]


def test_a_connection_that_comes_up_is_shared_when_it_is_needed(core: Core) -> None:
    core.table.configure(PEER, {"data": 2})
    first = core.connect(PEER, "data")
    say(core, 1)
    fill(first)
    say(core, 3)
    assert sent(core, [first]) == [[1, 3]]
    second = core.connect(PEER, "data")
    say(core, 5)
    assert sent(core, [first, second]) == [[5], []]
    fill(first)
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


def test_a_partition_key_stays_where_it_is_and_pairs_do_not(core: Core) -> None:
    queues = four(core)
    fill(queues[1])
    choose(core, 1, 5)
    say(core, 1)
    assert sent(core, queues) == [[1], [1, 5], [], []]


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
