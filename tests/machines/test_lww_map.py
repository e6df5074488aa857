"""The replicated map: the last write wins everywhere, whatever was lost, doubled, reordered or cut off."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.errors import LocalProtocolError
from partisan.machines.lww_map import DIGEST, WRITES, Delete, Entry, LwwMap, Overflow, Put
from partisan.machines.plumtree_messages import Found, Handler, Missing, Talker

REPLICAS = 4
KEYS = st.sampled_from([b"a", b"b", b"c"])
STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, REPLICAS - 1), KEYS, st.integers(0, 99)),
    st.tuples(st.just("delete"), st.integers(0, REPLICAS - 1), KEYS),
    st.tuples(st.just("push"), st.integers(0, 999), st.integers(0, REPLICAS - 1)),
    st.tuples(st.just("begin"), st.integers(0, REPLICAS - 1), st.integers(0, REPLICAS - 1)),
    st.tuples(st.just("say"), st.integers(0, 999), st.booleans()),
    st.tuples(st.just("lose"), st.integers(0, 999)),
    st.tuples(st.just("reborn"), st.integers(0, REPLICAS - 1)),
)


class World:
    """Replicas, the writes that were broadcast, and what is under way between them in exchanges."""

    def __init__(self, most_writes=1024):
        self.most_writes = most_writes
        self.births = 0
        self.replicas = [self.born(n) for n in range(REPLICAS)]
        self.writes = []
        self.said = deque()

    def born(self, number):
        self.births += 1
        return LwwMap(b"r%d" % number, self.births, most_writes=self.most_writes)

    def step(self, verb, *rest):
        if verb == "put":
            self.writes.append(self.replicas[rest[0]].broadcast_data(Put(*rest[1:])))
        elif verb == "delete":
            self.writes.append(self.replicas[rest[0]].broadcast_data(Delete(rest[1])))
        elif verb == "push" and self.writes:
            self.push(self.writes[rest[0] % len(self.writes)], self.replicas[rest[1]])
        elif verb == "begin" and rest[0] != rest[1]:
            self.say(rest[0], rest[1], self.replicas[rest[0]].exchange(rest[1]))
        elif verb == "say" and self.said:
            at = rest[0] % len(self.said)
            self.hear(self.said[at])
            if not rest[1]:
                del self.said[at]
        elif verb == "lose" and self.said:
            del self.said[rest[0] % len(self.said)]
        elif verb == "reborn":
            self.replicas[rest[0]] = self.born(rest[0])

    def push(self, write, replica):
        """As a broadcast does it: only once, by all that the handler says."""
        stale = replica.is_stale(write[0])
        own = write[0][:2] == (replica.actor, replica.epoch)
        assert replica.merge(*write) is (not stale)
        assert replica.is_stale(write[0])
        assert stale or not own

    def say(self, source, target, talk):
        self.said.extend((source, target, body) for body in talk.bodies)

    def hear(self, said):
        source, target, body = said
        self.say(target, source, self.replicas[target].hear(source, body))

    def exchange_all(self):
        self.said.clear()
        for a in range(REPLICAS):
            for b in range(REPLICAS):
                if a != b:
                    self.step("begin", a, b)
                    while self.said:
                        self.hear(self.said.popleft())


def last(writes):
    """Key -> the write that wins, as the docstring says it."""
    found = {}
    for (actor, epoch, number), (key, stamp, present, value) in writes:
        rank = (stamp, actor, epoch, number)
        if key not in found or rank > found[key][0]:
            found[key] = (rank, present, value)
    return {key: value for key, (_, present, value) in found.items() if present}


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEPS, max_size=60), most_writes=st.sampled_from([1, 2, 1024]))
def test_what_is_known_is_never_missed_and_replicas_agree_when_they_have_exchanged(steps, most_writes):
    world = World(most_writes)
    for step in steps:
        world.step(*step)
        for replica in world.replicas:
            for dot, (key, stamp, present, value) in world.writes:
                if replica.is_stale(dot):
                    known = replica.entries[key]
                    assert known.dot == dot or known.is_later(Entry(dot, stamp, present, value))
    for _ in range(8):
        world.exchange_all()
    first = world.replicas[0]
    assert all(dict(replica.entries) == dict(first.entries) for replica in world.replicas)
    assert all(sorted(replica.vector) == sorted(first.vector) for replica in world.replicas)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS.filter(lambda step: step[0] != "reborn"), max_size=60))
def test_the_write_that_wins_is_the_last_of_all(steps):
    world = World()
    for step in steps:
        world.step(*step)
    world.exchange_all()
    world.exchange_all()
    assert all(dict(replica.items()) == last(world.writes) for replica in world.replicas)


@settings(max_examples=200, deadline=None)
@given(order=st.permutations(range(12)))
def test_writes_may_arrive_in_any_order(order):
    source = LwwMap(b"a", 1)
    writes = [source.broadcast_data(Put(n % 3, n) if n % 4 else Delete(n % 3)) for n in range(12)]
    replica = LwwMap(b"b", 1)
    for n in order:
        assert replica.merge(*writes[n])
    assert dict(replica.items()) == dict(source.items()) == last(writes)
    assert replica.vector == source.vector == ((b"a", 1, ((1, 12),)),)


def test_who_knows_of_a_write_overwrites_it_whatever_its_name():
    first, second = LwwMap(b"z", 9), LwwMap(b"a", 1)
    for number in range(5):
        first.broadcast_data(Put(b"other", number))
    second.merge(*first.broadcast_data(Put(b"k", b"first")))
    assert first.merge(*second.broadcast_data(Put(b"k", b"second")))
    assert first[b"k"] == second[b"k"] == b"second"


def test_it_is_a_handler_that_exchanges_by_messages():
    assert isinstance(LwwMap(b"a", 1), Handler)
    assert isinstance(LwwMap(b"a", 1), Talker)


def test_it_is_read_as_a_map():
    changes = []
    replica = LwwMap(b"a", 1, on_change=lambda key, entry: changes.append((key, entry.present, entry.value)))
    replica.broadcast_data(Put(b"k", 1))
    replica.broadcast_data(Put(b"l", 2))
    replica.broadcast_data(Delete(b"k"))
    assert (len(replica), list(replica), list(replica.items())) == (1, [b"l"], [(b"l", 2)])
    assert b"l" in replica
    assert b"k" not in replica
    assert replica[b"l"] == replica.get(b"l") == 2
    assert replica.get(b"k", 7) == 7
    with pytest.raises(KeyError):
        replica[b"k"]
    assert changes == [(b"k", True, 1), (b"l", True, 2), (b"k", False, 0)]


def test_a_write_that_a_later_one_replaced_is_stale_and_an_unknown_one_is_not():
    replica = LwwMap(b"a", 1)
    first, payload = replica.broadcast_data(Put(b"k", 1))
    assert replica.graft(first) == Found(payload)
    second, later = replica.broadcast_data(Put(b"k", 2))
    assert replica.graft(first) is Missing.STALE
    assert replica.graft(second) == Found(later)
    assert replica.graft((b"z", 1, 1)) is Missing.UNKNOWN


def test_an_exchange_of_two_takes_three_messages():
    a, b = LwwMap(b"a", 1), LwwMap(b"b", 1)
    a.broadcast_data(Put(b"x", 1))
    b.broadcast_data(Put(b"y", 2))
    asked = a.exchange("b")
    answered = b.hear("a", asked.bodies[0])
    told = a.hear("b", answered.bodies[0])
    assert told.over
    ended = b.hear("a", told.bodies[0])
    assert ended.over
    assert not ended.bodies
    assert dict(a.items()) == dict(b.items()) == {b"x": 1, b"y": 2}


def test_what_was_answered_to_a_former_life_does_not_count_as_known():
    a, b = LwwMap(b"a", 1), LwwMap(b"b", 1)
    write = a.broadcast_data(Put(b"k", 1))
    b.merge(*write)
    answer = a.hear("b", b.exchange("a").bodies[0]).bodies[0]
    reborn = LwwMap(b"b", 2)
    reborn.hear("a", answer)
    assert not reborn.is_stale(write[0])


BAD = [
    None,
    (),
    (2, ()),
    (DIGEST, None),
    (DIGEST, ((b"a", 1, ()),)),
    (DIGEST, ((b"a", 1, ((2, 1),)),)),
    (DIGEST, ((b"a", 1, ((0, 1),)),)),
    (DIGEST, ((b"a", 1, ((1, 3), (3, 4))),)),
    (DIGEST, ((b"a", 1, ((5, 6), (1, 2))),)),
    (DIGEST, (([], 1, ((1, 1),)),)),
    (DIGEST, ((b"a", 1 << 65, ((1, 1),)),)),
    (WRITES, ()),
    (WRITES, None, (), (), True, True),
    (WRITES, (1,), (), (), True, True),
    (WRITES, (((b"z", 1, 0), (b"k", 1, True, 1)),), (), (), True, True),
    (WRITES, (((b"z", 1, 1), ([], 1, True, 1)),), (), (), True, True),
    (WRITES, (((b"z", 1, 1), (b"k", 1, 1, 1)),), (), (), True, True),
    (WRITES, (((b"z", 1, 1), (b"k", 1 << 60, True, 1)),), (), (), True, True),
    (WRITES, (((b"a", 1, 9), (b"k", 1, True, 1)),), (), (), True, True),
    (WRITES, tuple(((b"z", 1, 1), (key, 1, True, 1)) for key in (b"k", b"l")), (), (), True, True),
]


@pytest.mark.parametrize("body", BAD, ids=repr)
def test_what_makes_no_sense_is_refused_and_changes_nothing(body):
    replica = LwwMap(b"a", 1)
    replica.broadcast_data(Put(b"k", 1))
    before = dict(replica.entries), replica.vector
    with pytest.raises(ValueError, match=r"\w"):
        replica.hear("b", body)
    assert (dict(replica.entries), replica.vector) == before


def test_a_peer_that_gives_two_keys_one_id_spoils_neither():
    replica = LwwMap(b"a", 1)
    with pytest.raises(ValueError, match="two writes of one id"):
        replica.hear("b", BAD[-1])
    for value in (2, 3):
        for key in (b"k", b"l"):
            replica.broadcast_data(Put(key, value))
    assert dict(replica.items()) == {b"k": 3, b"l": 3}


def test_keys_writers_and_gaps_are_bounded():
    replica = LwwMap(b"a", 1, most_keys=2, most_lives=2)
    assert replica.merge((b"b", 1, 1), (b"k", 1, True, 1))
    assert replica.merge((b"c", 1, 1), (b"l", 1, True, 1))
    with pytest.raises(ValueError, match="keys"):
        replica.merge((b"b", 1, 2), (b"m", 1, True, 1))
    with pytest.raises(ValueError, match="lives"):
        replica.merge((b"d", 1, 1), (b"k", 2, True, 1))
    with pytest.raises(Overflow):
        replica.broadcast_data(Put(b"m", 1))
    for number in range(3, 3 + 2 * 4095, 2):
        assert replica.merge((b"b", 1, number), (b"k", 2, True, 1))
    with pytest.raises(ValueError, match="gaps"):
        replica.merge((b"b", 1, 99_999), (b"k", 3, True, 1))


def test_only_writes_and_deletions_are_taken():
    with pytest.raises(LocalProtocolError):
        LwwMap(b"a", 1).broadcast_data({b"k": 1})
