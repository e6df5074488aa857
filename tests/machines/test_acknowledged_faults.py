"""Acknowledged delivery under every fault: loss, copies, disorder, cuts, restarts, forgeries.

A world of a few nodes whose packets lie on a table until the schedule delivers, copies or loses them, in any order. It
is crueller than connections are: those lose only what was under way when they broke.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.machines.acknowledged import (
    FIRST_NUMBER,
    Ack,
    Acknowledged,
    AcknowledgedConfig,
    AcknowledgedDelivery,
    Acks,
    Arrived,
    Coalesce,
    Expired,
    Refused,
    SessionOver,
    Submit,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Notify,
    Received,
    Send,
    StartTimer,
    TimedOut,
    Violation,
)

CONFIG = AcknowledgedConfig(expiry=None, retransmit_backoff_max=4.0, burst=3)
NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Item:
    """A message to an actor.

    Attributes:
        sender, life: by which life of which node.
        serial: which of that life's messages.
        content: what the actor sees; two lives may say the same.
    """

    sender: str
    life: int
    serial: int
    content: str


class RealNode:
    """A real node: one counter from 1 in each life, also for gossip; everything outstanding again each second."""

    def __init__(self, rng):
        self.counter = 0
        self.rng = rng
        self.outstanding = {}

    def handle(self, event, now):
        if isinstance(event, Submit):
            self.counter += 1
            number = self.counter
            message = Acknowledged(number, event.message, zlib.crc32(event.message.content.encode()))
            self.outstanding[number] = (event.peer, message)
            tick = [StartTimer("retransmit", 1.0)] if len(self.outstanding) == 1 else []
            return [Send(event.peer, message), *tick]
        if isinstance(event, TimedOut):
            self.counter += 1  # a gossip
            again = [Send(peer, message) for peer, message in self.outstanding.values()]
            return [*again, StartTimer("retransmit", 1.0)] if again else []
        if isinstance(event, Received) and isinstance(event.message, Acknowledged):
            message = event.message
            return [Send(event.peer, Ack(message.number)), Notify(Arrived(event.peer, message.message))]
        if isinstance(event, Received) and isinstance(event.message, Ack):
            self.outstanding.pop(event.message.number, None)
        return []


class World:
    """Nodes, the packets between them, and who has seen what.

    Args:
        real: the names of the nodes that are real ones.
    """

    def __init__(self, seed, real=(), config=CONFIG):
        self.seed, self.real, self.config = seed, real, config
        self.now = 0.0
        self.nodes, self.lives, self.timers = {}, dict.fromkeys(NAMES, 0), {}
        self.packets = []  # (from, its life, to, the life to which it was sent, message)
        self.up, self.sessions = {}, {}
        self.seen = []  # (receiver, its life, session of sender to receiver, item)
        self.sent = []  # (item, receiver)
        self.facts = []
        for name in NAMES:
            self.boot(name)
        for a in NAMES:
            for b in NAMES:
                self.sessions[a, b] = 0
        self.heal()

    def boot(self, name):
        self.lives[name] += 1
        rng = random.Random(f"{self.seed}/{name}/{self.lives[name]}")
        build = RealNode if name in self.real else lambda rng: AcknowledgedDelivery(name, self.config, rng)
        self.nodes[name] = build(rng)
        self.timers[name] = {}

    def tell(self, name, event):
        for effect in self.nodes[name].handle(event, self.now):
            if isinstance(effect, Send):
                if self.up.get((name, effect.peer)):
                    packet = (name, self.lives[name], effect.peer, self.lives[effect.peer], effect.message)
                    self.packets.append(packet)
            elif isinstance(effect, StartTimer):
                self.timers[name][effect.timer] = self.now + effect.after
            elif isinstance(effect.fact, Arrived):
                item = effect.fact.message
                self.seen.append((name, self.lives[name], self.sessions[effect.fact.peer, name], item))
            else:
                self.facts.append(effect.fact)

    def submit(self, sender, receiver, content):
        item = Item(sender, self.lives[sender], len(self.sent), content)
        self.sent.append((item, receiver))
        self.tell(sender, Submit(receiver, item, octets=1))

    def deliver(self, index):
        if self.packets:
            sender, _, receiver, life, message = self.packets.pop(index % len(self.packets))
            if self.lives[receiver] == life:
                self.tell(receiver, Received(sender, message))

    def copy(self, index):
        if self.packets:
            self.packets.append(self.packets[index % len(self.packets)])

    def lose(self, index):
        if self.packets:
            self.packets.pop(index % len(self.packets))

    def cut(self, a, b):
        """Break the connections of the two, and what is on them."""
        if a == b or not self.up.get((a, b)):
            return
        self.packets = [packet for packet in self.packets if {packet[0], packet[2]} != {a, b}]
        for here, there in ((a, b), (b, a)):
            self.up[here, there] = False
            self.sessions[here, there] += 1
            self.tell(here, Disconnected(there, "closed"))
            self.tell(here, SessionOver(there))

    def heal(self, coalesce=True):
        for here in NAMES:
            for there in NAMES:
                if here != there and not self.up.get((here, there)):
                    self.up[here, there] = True
                    if here not in self.real:
                        self.tell(here, Coalesce(there, coalesce and there not in self.real))
                    self.tell(here, Connected(there, there))

    def restart(self, name):
        for other in NAMES:
            self.cut(name, other)
        self.boot(name)

    def run(self, seconds):
        until = self.now + seconds
        while True:
            due = [(at, name, timer) for name, timers in self.timers.items() for timer, at in timers.items()]
            if not due or min(due)[0] > until:
                break
            at, name, timer = min(due)
            self.now = max(self.now, at)
            del self.timers[name][timer]
            self.tell(name, TimedOut(timer))
        self.now = until

    def settle(self):
        """Let everything be connected, and nothing be lost, until nothing is left to do."""
        self.heal()
        for _ in range(12):
            self.run(1.0)
            while self.packets:
                self.deliver(0)
                self.run(0.0)

    def play(self, steps):
        for step, *arguments in steps:
            getattr(self, step)(*arguments)
        self.settle()

    def copies(self, item):
        return [entry for entry in self.seen if entry[3] == item]


NODE = st.sampled_from(NAMES)
INDEX = st.integers(0, 200)
CONTENT = st.sampled_from(["hello", "other"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), NODE, NODE, CONTENT).filter(lambda step: step[1] != step[2]),
        st.tuples(st.just("submit"), st.just("a"), st.just("b"), CONTENT),
        st.tuples(st.just("deliver"), INDEX),
        st.tuples(st.just("deliver"), INDEX),
        st.tuples(st.just("copy"), INDEX),
        st.tuples(st.just("lose"), INDEX),
        st.tuples(st.just("cut"), NODE, NODE),
        st.tuples(st.just("heal"), st.booleans()),
        st.tuples(st.just("restart"), NODE),
        st.tuples(st.just("run"), st.floats(0.0, 3.0)),
    ),
    max_size=60,
)


def check_delivered(world):
    """What a life that is still there has sent was seen by some life of its receiver."""
    for item, receiver in world.sent:
        if item.life == world.lives[item.sender]:
            assert [entry for entry in world.copies(item) if entry[0] == receiver], item


@given(STEPS, st.integers(0, 5))
def test_between_our_own_everything_arrives_and_no_life_of_a_node_sees_anything_twice(steps, seed):
    world = World(seed)
    world.play(steps)
    check_delivered(world)
    lives = [(receiver, life, item) for receiver, life, _, item in world.seen]
    assert len(lives) == len(dict.fromkeys(lives))
    assert world.facts == []
    assert all(len(node.sent) == 0 for node in world.nodes.values())


@given(STEPS, st.integers(0, 5))
def test_from_a_real_node_everything_arrives_and_nothing_twice_within_a_session(steps, seed):
    world = World(seed, real=("a",))
    world.play(steps)
    check_delivered(world)
    assert not world.nodes["a"].outstanding
    ours = [entry for entry in world.seen if entry[0] != "a"]
    assert len(ours) == len(dict.fromkeys(ours))
    assert world.facts == []


@pytest.mark.parametrize("seed", range(3))
def test_a_long_life_with_many_faults_leaves_little_memory(seed):
    rng = random.Random(seed)
    world = World(seed)
    for _ in range(6000):
        step = rng.random()
        if step < 0.3:
            world.submit("a", "b", "x")
        elif step < 0.9:
            world.deliver(rng.randrange(1000))
        elif step < 0.93:
            world.copy(rng.randrange(1000))
        elif step < 0.96:
            world.lose(rng.randrange(1000))
        elif step < 0.965:
            world.cut("a", "b")
        elif step < 0.98:
            world.heal()
        else:
            world.run(rng.random())
    world.settle()
    check_delivered(world)
    assert len(world.seen) == len(world.sent)
    machine, memory = world.nodes["a"], world.nodes["b"].seen._senders["a"]
    assert [len(runs.starts) for runs in memory.groups.values()] == [1]
    assert len(machine.sent) == 0
    assert len(machine.sent._deadlines) <= 1024
    assert world.facts == []


@given(STEPS)
def test_equal_seeds_give_equal_runs(steps):
    first, second = World(7), World(7)
    for world in (first, second):
        world.play(steps)
    assert first.seen == second.seen
    assert first.now == second.now


@given(STEPS)
def test_a_full_store_refuses_and_everything_that_was_taken_arrives_or_expires(steps):
    world = World(1, config=AcknowledgedConfig(expiry=6.0, max_messages=2, retransmit_backoff_max=2.0))
    taken = []
    for step, *arguments in steps:
        before = len(world.facts)
        getattr(world, step)(*arguments)
        if step == "submit" and not any(isinstance(fact, Refused) for fact in world.facts[before:]):
            taken.append(world.sent[-1])
        assert all(
            len(node.sent.lane(peer)) <= 2 for name, node in world.nodes.items() for peer in NAMES if peer != name
        )
    world.settle()
    expired = sum(isinstance(fact, Expired) for fact in world.facts)
    missing = [item for item, _ in taken if item.life == world.lives[item.sender] and not world.copies(item)]
    assert len(missing) <= expired
    assert all(isinstance(fact, Refused | Expired) for fact in world.facts)


NUMBERS = st.one_of(
    st.integers(0, 50),
    st.integers(FIRST_NUMBER, FIRST_NUMBER + 50),
    st.integers(-(1 << 70), 1 << 70),
    st.none(),
    st.binary(max_size=3),
    st.floats(),
)
FORGED = st.one_of(
    st.builds(Acknowledged, NUMBERS, st.just("forged"), NUMBERS),
    st.builds(Ack, NUMBERS),
    st.builds(Acks, st.one_of(NUMBERS, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple))),
    NUMBERS,
)


@given(st.lists(st.tuples(NODE, FORGED), max_size=30), st.integers(0, 3), st.booleans())
def test_whatever_peers_forge_neither_raises_nor_keeps_real_messages_from_arriving_once(forged, count, guess):
    world = World(3, real=("b",) if guess else ())
    for sender, message in forged:
        if sender != "a":
            world.tell("a", Received(sender, message))
    world.seen.clear()
    for _ in range(count):
        for receiver, sender in (("a", "c"), ("c", "a")):
            world.submit(sender, receiver, "x")
    world.settle()
    for item, receiver in world.sent:
        assert [entry[0] for entry in world.copies(item)] == [receiver]
    assert all(isinstance(fact, Violation) for fact in world.facts)


def test_numbers_guessed_far_ahead_and_behind_do_not_block_those_between():
    world = World(4)
    lane = world.nodes["a"].sent.lane("b")
    for number in (lane.next - 1, lane.next + 10**6, lane.next + 10**13):
        world.tell("b", Received("a", Acknowledged(number, Item("a", 1, -1, "forged"))))
    world.seen.clear()
    for _ in range(50):
        world.submit("a", "b", "x")
    world.settle()
    assert [entry[3].serial for entry in world.seen] == list(range(50))


def test_a_restarted_real_node_that_says_the_same_under_the_same_number_is_heard():
    world = World(5, real=("a",))
    for _ in range(2):
        world.submit("a", "b", "hello")
        world.settle()
        world.restart("a")
    assert [entry[3].life for entry in world.seen] == [1, 2]
