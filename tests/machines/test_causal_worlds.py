"""Causal delivery in worlds of a few nodes: any order of arrival, copies, loss, cuts, restarts, and liars.

Every message knows, from outside of the machines, which messages its sender had sent or been given before it. That
oracle says what order is allowed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.causal import FIRST_NUMBER, CausalConfig, CausalDelivery
from partisan.machines.causal_messages import (
    Arrived,
    Confirmed,
    Forget,
    Missing,
    Refused,
    SessionOver,
    Settled,
    Stamped,
    State,
    Submit,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Notify,
    Received,
    Save,
    Send,
    Start,
    StartTimer,
    TimedOut,
    Violation,
)

SIZE = 4


@dataclass(eq=False)
class Item:
    """A message, and what its sender knew."""

    sender: int
    receiver: int
    past: frozenset[Item]
    kept: bool
    lives: tuple[int, int]  # of sender and receiver when it was sent


@dataclass
class Node:
    machine: CausalDelivery
    life: int = 0
    past: frozenset[Item] = frozenset()
    delivered: list[Item] = field(default_factory=list)  # in this life
    saved: tuple[State, frozenset[Item]] | None = None


class World:
    """Nodes whose messages lie on a table until the schedule delivers, copies or loses them.

    Args:
        rng: of the schedule.
        config: of the machines.
    """

    def __init__(self, rng, config=None):
        self.rng, self.config = rng, config or CausalConfig(patience=None)
        self.now = 0.0
        self.nodes = [Node(self.machine(each)) for each in range(SIZE)]
        self.table = []  # (sender, receiver, message)
        self.kept = {}  # (sender, receiver, number) -> message
        self.lost = set()
        self.forgotten = set()  # what a node was given and has forgotten: it may come again, and others think it there
        self.items = []
        self.facts = []
        self.timers = {}
        for one in range(SIZE):
            for other in range(SIZE):
                if one != other:
                    self.handle(one, Connected(other, other))

    def machine(self, myself, life=0, restored=None):
        count = FIRST_NUMBER + life * 1_000_000
        return CausalDelivery(myself, self.config, random.Random(0), count=count, restored=restored)

    def submit(self, sender, receiver, kept=True):
        node = self.nodes[sender]
        lives = node.life, self.nodes[receiver].life
        item = Item(sender, receiver, node.past, kept, lives)
        self.items.append(item)
        node.past |= {item}
        self.handle(sender, Submit(receiver, item, kept))

    def handle(self, index, event):
        """Give a node an event; return whether it refused what the event brought."""
        refused = False
        for effect in self.nodes[index].machine.handle(event, self.now):
            if isinstance(effect, Send):
                message = effect.message
                self.table.append((index, effect.peer, message))
                if isinstance(message, Stamped) and message.kept:
                    self.kept[index, effect.peer, message.clock[0][1]] = message
            elif isinstance(effect, StartTimer):
                self.timers[index, effect.timer] = self.now + effect.after
            elif isinstance(effect, Save):
                self.nodes[index].saved = (effect.state, self.nodes[index].past)
            elif isinstance(effect, Notify):
                fact = effect.fact
                if isinstance(fact, Arrived):
                    self.delivered(index, fact.message)
                else:
                    refused |= isinstance(fact, Violation) or (isinstance(fact, Refused) and fact.reason == "full")
                    self.facts.append((index, fact))
        return refused

    def delivered(self, index, item):
        node = self.nodes[index]
        assert item.receiver == index
        assert item not in node.delivered, "delivered twice"
        late = [other for other in node.delivered if item in other.past]
        assert not late or item in self.forgotten, "delivered after what depends on it"
        node.delivered.append(item)
        node.past |= item.past | {item}

    def arrive(self, place, again=False):
        """What lies there on the table arrives; `again`: and stays."""
        sender, receiver, message = self.table[place] if again else self.table.pop(place)
        refused = self.handle(receiver, Received(sender, message))
        if isinstance(message, Stamped) and message.kept and not refused and self.rng.random() < 0.7:
            self.confirm(sender, receiver, message.clock[0][1])

    def confirm(self, sender, receiver, number):
        if self.kept.pop((sender, receiver, number), None) is not None:
            self.handle(sender, Confirmed(receiver, number))

    def cut(self, one, other):
        """The two lose what is under way between them, and are connected again."""
        for sender, receiver in ((one, other), (other, one)):
            for place in [each for each in self.table if each[:2] == (sender, receiver)]:
                self.table.remove(place)
                if isinstance(place[2], Stamped) and not place[2].kept:
                    self.lost.add(place[2].message)
            self.handle(sender, Disconnected(receiver, "cut"))
            self.handle(sender, SessionOver(receiver))
        for sender, receiver in ((one, other), (other, one)):
            self.handle(sender, Connected(receiver, receiver))

    def restart(self, index, *, store):
        """The node is killed and comes back, as it was last saved, or knowing nothing."""
        node = self.nodes[index]
        state, past = node.saved if store and node.saved is not None else (None, frozenset())
        self.forgotten |= set(node.delivered)
        fresh = Node(self.machine(index, node.life + 1, state), node.life + 1, past, saved=node.saved)
        self.nodes[index] = fresh
        for key in [key for key in self.kept if key[0] == index]:
            self.lost.add(self.kept.pop(key).message)
        self.handle(index, Start())
        for other in range(SIZE):
            if other != index:
                self.cut_by_restart(index, other)

    def cut_by_restart(self, index, other):
        for place in [each for each in self.table if {index, other} == set(each[:2])]:
            self.table.remove(place)
        self.handle(other, Disconnected(index, "cut"))
        self.handle(other, SessionOver(index))
        self.handle(other, Connected(index, index))
        self.handle(index, Connected(other, other))

    def settle(self):
        """Send again what is kept, and let everything arrive, in any order."""
        for _ in range(60):
            if not self.table and not self.kept:
                return
            self.table += [
                (sender, receiver, message)
                for (sender, receiver, _), message in self.kept.items()
                if not any(each[2] is message for each in self.table)
            ]
            self.rng.shuffle(self.table)
            while self.table:
                self.arrive(len(self.table) - 1)
        raise AssertionError(f"never done: {len(self.kept)}")

    def waiting(self):
        return sum(node.machine.waiting for node in self.nodes)


def others(rng, index):
    return rng.choice([each for each in range(SIZE) if each != index])


def run(world, steps, moves):
    rng = world.rng
    for _ in range(steps):
        world.now += 0.01
        move = rng.choice(moves)
        sender = rng.randrange(SIZE)
        if move in ("keep", "send"):
            world.submit(sender, others(rng, sender), move == "keep")
        elif move in ("arrive", "copy") and world.table:
            world.arrive(rng.randrange(len(world.table)), move == "copy")
        elif move == "lose" and (found := [i for i, (*_, m) in enumerate(world.table) if getattr(m, "kept", False)]):
            world.table.pop(rng.choice(found))
        elif move == "again" and world.kept:
            (source, receiver, _), message = rng.choice(list(world.kept.items()))
            world.table.append((source, receiver, message))
        elif move == "cut":
            world.cut(sender, others(rng, sender))
        elif move == "save":
            node = world.nodes[sender]
            node.saved = (node.machine.state(), node.past)
        elif move in ("restart", "forget all"):
            world.restart(sender, store=move == "restart")


SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(10, 120))
@settings(max_examples=150)
def test_whatever_the_order_of_arrival_all_is_delivered_once_and_in_causal_order(seed, steps):
    world = World(random.Random(seed))
    run(world, steps, ["keep", "keep", "send", "arrive", "arrive", "copy"])
    world.settle()
    assert world.waiting() == 0
    assert sum(len(node.delivered) for node in world.nodes) == len(world.items)
    assert not world.facts


@given(SEEDS, st.integers(10, 120))
@settings(max_examples=150)
def test_what_is_lost_and_sent_again_is_delivered_in_causal_order(seed, steps):
    world = World(random.Random(seed))
    run(world, steps, ["keep", "keep", "arrive", "arrive", "copy", "lose", "again"])
    world.settle()
    assert world.waiting() == 0
    assert sum(len(node.delivered) for node in world.nodes) == len(world.items)
    assert not world.facts


@given(SEEDS, st.integers(10, 120))
@settings(max_examples=200)
def test_what_a_cut_takes_delays_nothing_for_ever_and_the_rest_is_delivered_in_causal_order(seed, steps):
    world = World(random.Random(seed))
    run(world, steps, ["keep", "send", "send", "arrive", "arrive", "lose", "again", "cut"])
    world.settle()
    for one in range(SIZE):
        for other in range(one):
            world.cut(one, other)
    world.settle()
    assert world.waiting() == 0
    delivered = {item for node in world.nodes for item in node.delivered}
    assert delivered == set(world.items) - world.lost
    assert all(isinstance(fact, Missing) for _, fact in world.facts)


@pytest.mark.parametrize("move", ["restart", "forget all"])
@given(seed=SEEDS, steps=st.integers(10, 150))
@settings(max_examples=150)
def test_after_restarts_nothing_stands_still_and_each_life_sees_causal_order(move, seed, steps):
    world = World(random.Random(seed))
    run(world, steps, ["keep", "keep", "send", "arrive", "arrive", "arrive", "lose", "again", "cut", "save", move])
    world.settle()
    for one in range(SIZE):
        for other in range(one):
            world.cut(one, other)
    world.settle()
    assert world.waiting() == 0
    for index, node in enumerate(world.nodes):  # what was sent between these lives, and kept, has arrived
        for item in world.items:
            now = item.lives == (world.nodes[item.sender].life, node.life)
            if item.receiver == index and item.kept and now:
                assert item in node.delivered


@given(SEEDS, st.integers(20, 120))
@settings(max_examples=100)
def test_a_restart_with_all_that_was_saved_is_none_to_the_order(seed, steps):
    """Saved after each step: what was delivered is never delivered again, what waited still does."""
    world = World(random.Random(seed))
    rng = world.rng
    seen = {index: [] for index in range(SIZE)}
    for _ in range(steps):
        run(world, 1, ["keep", "keep", "arrive", "arrive", "lose", "again"])
        if rng.random() < 0.2:
            index = rng.randrange(SIZE)
            node = world.nodes[index]
            node.saved = (node.machine.state(), node.past)
            seen[index] += node.delivered
            world.restart(index, store=True)
            assert world.nodes[index].machine.waiting <= node.machine.waiting
    world.settle()
    for index, node in enumerate(world.nodes):
        everything = seen[index] + node.delivered
        assert len(everything) == len(set(everything))
        for place, item in enumerate(everything):
            assert not any(item in before.past for before in everything[:place])


@given(SEEDS, st.integers(20, 150))
@settings(max_examples=100)
def test_bounds_hold_and_what_is_refused_and_kept_comes_again(seed, steps):
    config = CausalConfig(patience=None, max_waiting=4)
    world = World(random.Random(seed), config)
    rng = world.rng
    for _ in range(steps):
        run(world, 1, ["keep", "keep", "keep", "arrive", "again"])
        assert all(node.machine.waiting <= 4 for node in world.nodes)
    for _ in range(400):
        world.table += [(sender, receiver, message) for (sender, receiver, _), message in world.kept.items()]
        rng.shuffle(world.table)
        while world.table:
            world.arrive(0)
        if not world.kept:
            break
    assert world.waiting() == 0
    assert sum(len(node.delivered) for node in world.nodes) == len(world.items)


NODES = st.integers(0, SIZE)
NUMBERS = st.integers(-1, FIRST_NUMBER + 50) | st.integers(0, 2**66)
ENTRIES = st.lists(st.tuples(NODES, NUMBERS), max_size=4).map(tuple)


HOSTILE = st.builds(
    Stamped,
    destination=st.integers(0, SIZE),
    dependencies=st.lists(st.tuples(st.integers(0, SIZE), ENTRIES), max_size=3).map(tuple) | st.none(),
    clock=ENTRIES | st.none() | st.just(((1, FIRST_NUMBER + 2), "x")),
    message=st.none(),
    kept=st.booleans(),
)
LIAR = SIZE


@given(SEEDS, st.lists(HOSTILE | st.builds(Settled, st.integers(-5, 2**64) | st.none()), max_size=30))
@settings(max_examples=200)
def test_a_liar_harms_neither_others_nor_us(seed, lies):
    """It says whatever it likes: no exception, bounded state, and the others keep their order and their messages."""
    world = World(random.Random(seed), CausalConfig(patience=5.0, max_waiting=60))
    rng = world.rng
    for node in world.nodes:
        node.machine._known = lambda peer: peer in range(SIZE)  # the liar is no member
    lies = list(lies)
    while lies:
        run(world, 5, ["keep", "keep", "arrive", "arrive", "arrive", "copy"])
        target, lie = rng.randrange(SIZE), lies.pop()
        machine = world.nodes[target].machine
        for effect in machine.handle(Received(LIAR, lie), world.now):
            if isinstance(effect, StartTimer):
                world.timers[target, effect.timer] = world.now + effect.after
        assert machine.waiting <= 60
        assert machine._count < 2**63
    world.settle()
    world.now += 20.0  # past the patience: what a lie in dependencies has held up
    for (index, timer), _ in list(world.timers.items()):
        world.handle(index, TimedOut(timer))
    world.settle()
    delivered = {item for node in world.nodes for item in node.delivered}
    assert delivered == set(world.items)
    for index in range(SIZE):
        world.handle(index, Forget(LIAR))
    assert world.waiting() == 0
