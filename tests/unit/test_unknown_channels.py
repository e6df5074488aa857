"""Channels that neither the peer's map nor our options know: the default one carries them, and no trace is left."""

from __future__ import annotations

import pytest

from partisan.errors import NotConnected
from tests.unit.hollow import Barriers, Core, sent

PEER = "b@127.0.0.1"
DEFAULT = "undefined"


def test_channels_that_nobody_knows_take_the_default_one_and_leave_nothing_behind(core: Core) -> None:
    core.table.configure(PEER, {DEFAULT: 2})
    queues = [core.connect(PEER) for _ in range(2)]
    for number in range(1000):
        core.send(("sink", PEER), number, channel=f"made up {number}", partition_key=number)
        assert core.table.bound_of(PEER, f"made up {number}") is core.table.lane(PEER, DEFAULT).bound
    assert list(core.table.peers[PEER].lanes) == [DEFAULT]
    assert sent(core, queues) == [list(range(0, 1000, 2)), list(range(1, 1000, 2))]


def test_a_channel_that_nobody_knows_is_told_of_once_and_the_telling_is_bounded(core: Core) -> None:
    core.connect(PEER)
    for _ in range(3):
        core.send(("sink", PEER), 1, channel="misspelt")
        core.send(("sink", PEER), 1, channel=DEFAULT)
    assert core.unknown == [(PEER, "misspelt")]
    for number in range(1000):
        core.send(("sink", PEER), 1, channel=f"made up {number}")
    assert 10 < len(core.unknown) < 100


def test_a_channel_that_we_configure_has_a_bound_of_its_own_even_if_the_peer_does_not_know_it() -> None:
    core = Core(channels=("data",))
    queue = core.connect(PEER)
    assert core.table.bound_of(PEER, "data") is None, "asking makes nothing"
    core.send(("sink", PEER), 1, channel="data")
    assert core.table.bound_of(PEER, "data") is core.table.lane(PEER, "data").bound
    assert core.table.bound_of(PEER, "data") is not core.table.lane(PEER, DEFAULT).bound
    assert core.unknown == []
    assert sent(core, [queue]) == [[1]]


def test_asking_for_the_bound_of_a_stranger_makes_no_entry(core: Core) -> None:
    assert core.table.bound_of(PEER, "data") is None
    assert core.table.peers == {}


@pytest.mark.parametrize("channels", [(), ("data",)], ids=["unknown", "configured"])
def test_without_fallback_the_error_names_the_channel_and_leaves_nothing_behind(channels: tuple[str, ...]) -> None:
    core = Core(fallback=False, channels=channels)
    core.connect(PEER)
    for _ in range(2):
        with pytest.raises(NotConnected, match=f"no connection to {PEER} on channel data") as caught:
            core.send(("sink", PEER), 1, channel="data")
        assert caught.value.channel == "data"
    assert list(core.table.peers[PEER].lanes) == [DEFAULT, *channels]
    assert core.table.bound_of(PEER, "other") is None


def test_a_channel_that_becomes_known_waits_for_what_the_default_one_was_given(core: Core) -> None:
    """The peer's channel map comes after its first connection is up, and may name what was a stranger before."""
    barriers = Barriers()
    default = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1, channel="data")
    core.table.configure(PEER, {DEFAULT: 1, "data": 2})
    queues = [default, *[core.connect(PEER, "data", barrier=barriers.append) for _ in range(2)]]
    core.send(("sink", PEER), 2, channel="data", partition_key=0)
    core.send(("sink", PEER), 3, channel="data", partition_key=1)
    assert sent(core, queues) == [[1], [], []], "2 and 3 wait until 1 is handled"
    while barriers:
        barriers.fire()
    assert sent(core, queues) == [[], [2], [3]]


def test_a_channel_that_becomes_known_while_the_default_one_changes_hands_waits_for_that(core: Core) -> None:
    barriers = Barriers()
    core.table.configure(PEER, {DEFAULT: 1})
    queues = [core.connect(PEER, barrier=barriers.append)]
    core.send(("sink", PEER), 1, channel="data")
    core.table.configure(PEER, {DEFAULT: 2})  # what comes now is held until 1 is handled
    core.send(("sink", PEER), 2, channel="data")
    core.table.configure(PEER, {DEFAULT: 2, "data": 1})
    queues.append(core.connect(PEER, "data", barrier=barriers.append))
    core.send(("sink", PEER), 3, channel="data")
    assert sent(core, queues) == [[1], []]
    barriers.fire()
    assert sent(core, queues) == [[2], []], "3 waits until 2 is handled"
    while barriers:
        barriers.fire()
    assert sent(core, queues) == [[], [3]]


def test_a_channel_that_becomes_known_waits_for_a_connection_that_was_given_up(core: Core) -> None:
    barriers = Barriers()
    old = core.connect(PEER, barrier=barriers.append)
    core.send(("sink", PEER), 1, channel="data")
    assert sent(core, [old]) == [[1]]
    old.close()
    core.table.retire(PEER, DEFAULT, old)
    core.table.configure(PEER, {DEFAULT: 1, "data": 1})
    data = core.connect(PEER, "data", barrier=barriers.append)
    core.send(("sink", PEER), 2, channel="data")
    assert sent(core, [data]) == [[]], "the peer may not have read 1 yet"
    core.table.release(PEER, DEFAULT, old)
    while barriers:
        barriers.fire()
    assert sent(core, [data]) == [[2]]
