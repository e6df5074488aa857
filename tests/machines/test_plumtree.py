"""Plumtree as a machine: trees grow, are mended, and stay sound whatever is said to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.errors import LocalProtocolError
from partisan.machines.full import FullConfig, FullMembership
from partisan.machines.lww_map import LwwMap, Put
from partisan.machines.machine import (
    Join,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Retune,
    Send,
    StartTimer,
    StopTimer,
    TimedOut,
    Violation,
)
from partisan.machines.plumtree import EXCHANGE_TIMER, HEARTBEAT_TIMER, LAZY_TIMER, PREFIX, Plumtree
from partisan.machines.plumtree_messages import (
    Broadcast,
    CancelExchanges,
    Exchange,
    ExchangeCancelled,
    GivenUp,
    Graft,
    Handler,
    HandlerFailed,
    IgnoredIHave,
    IHave,
    Merged,
    PlumtreeConfig,
    Prune,
    Push,
    Running,
    Say,
    Talk,
)
from partisan.machines.plumtree_recent import MOST_RECENT
from partisan.machines.stack import Stack
from partisan.sim.network import Network
from tests.machines.shelves import CONFIG, ME, Chatty, Shelf, broadcast, facts, machine, peers, sent, told


def test_a_message_of_our_own_goes_to_every_neighbor_of_a_new_tree():
    effects = broadcast(machine(), "m")
    push = Push("m", "<m>", "shelf", 0, ME, ME, "gossip")
    assert sent(effects) == [(1, push), (2, push), (3, push)]


def test_what_is_new_is_passed_on_and_what_is_not_prunes_its_sender():
    made = machine()
    effects = told(made, Push("m", "p", "shelf", 4, 9, 1))
    passed = Push("m", "p", "shelf", 5, 9, ME, "gossip")
    assert sent(effects) == [(2, passed), (3, passed)]
    assert facts(effects) == [Merged("shelf", "m", 9, 5)]
    assert sent(told(made, Push("m", "p", "shelf", 4, 9, 2))) == [(2, Prune(9, ME, "gossip"))]
    assert peers(made, 9) == ((1, 3), (2,))
    assert peers(made, 8) == ((1, 2, 3), ())


def test_who_prunes_us_is_told_by_announcements_until_it_acknowledges():
    made = machine()
    told(made, Prune(ME, 2, "gossip"))
    effects = broadcast(made, "m")
    announced = IHave("m", "shelf", 0, ME, ME, "gossip")
    assert [peer for peer, _ in sent(effects)] == [1, 3]
    assert effects[-1] == StartTimer(LAZY_TIMER, 1.0)
    for _ in range(3):
        assert made.handle(TimedOut(LAZY_TIMER), 2.0) == [Send(2, announced), StartTimer(LAZY_TIMER, 1.0)]
    told(made, IgnoredIHave("m", "shelf", 0, ME, 2))
    assert made.handle(TimedOut(LAZY_TIMER), 3.0) == []
    assert made.outstanding == 0


def test_what_is_announced_and_known_is_acknowledged():
    made = machine()
    broadcast(made, "m")
    assert sent(told(made, IHave("m", "shelf", 3, 9, 2))) == [(2, IgnoredIHave("m", "shelf", 3, 9, ME, "gossip"))]


def test_what_does_not_come_is_asked_of_one_announcer_after_the_other():
    made = machine()
    timer = (PREFIX, "graft", ("shelf", "m"))
    told(made, Prune(9, 1, "gossip"))
    told(made, Prune(9, 2, "gossip"))
    assert told(made, IHave("m", "shelf", 3, 9, 1)) == [StartTimer(timer, 0.2)]
    assert told(made, IHave("m", "shelf", 2, 9, 2)) == []
    assert made.handle(TimedOut(timer), 1.2) == [
        Send(1, Graft("m", "shelf", 3, 9, ME, "gossip")),
        StartTimer(timer, 0.5),
    ]
    assert peers(made, 9) == ((3, 1), (2,))
    assert sent(made.handle(TimedOut(timer), 1.7)) == [(2, Graft("m", "shelf", 2, 9, ME, "gossip"))]
    assert made.handle(TimedOut(timer), 2.2) == []
    assert told(made, IHave("m", "shelf", 3, 9, 1)) == [StartTimer(timer, 0.2)]


def test_what_comes_in_time_is_not_asked_for():
    made = machine()
    timer = (PREFIX, "graft", ("shelf", "m"))
    told(made, IHave("m", "shelf", 3, 9, 1))
    assert StopTimer(timer) in told(made, Push("m", "p", "shelf", 4, 9, 2))
    assert made.handle(TimedOut(timer), 1.2) == []


def test_as_the_reference_has_it_is_asked_at_once():
    made = machine(config=replace(CONFIG, graft_after=0.0))
    assert sent(told(made, IHave("m", "shelf", 3, 9, 1))) == [(1, Graft("m", "shelf", 3, 9, ME, "gossip"))]


def test_who_asks_gets_the_message_and_is_eager_from_then_on():
    made = machine()
    told(made, Prune(ME, 2, "gossip"))
    broadcast(made, "m")
    assert sent(told(made, Graft("m", "shelf", 0, ME, 2))) == [(2, Push("m", "<m>", "shelf", 0, ME, ME, "gossip"))]
    assert peers(made, ME) == ((1, 3, 2), ())
    assert made.outstanding == 1


@pytest.mark.parametrize("state", ["stale", "unknown"])
def test_what_cannot_be_served_is_announced_no_more(state):
    made = machine()
    shelf = made.handlers["shelf"]
    told(made, Prune(ME, 2, "gossip"))
    broadcast(made, "m")
    del shelf.kept["m"]
    if state == "stale":
        shelf.gone["m"] = None
    effects = told(made, Graft("m", "shelf", 0, ME, 2))
    assert sent(effects) == []
    assert facts(effects) == ([] if state == "stale" else [GivenUp(2, "shelf", "m", "unavailable")])
    assert made.outstanding == 0
    assert peers(made, ME) == ((1, 3), (2,))


def test_a_neighbor_that_is_lost_leaves_trees_announcements_and_exchanges_at_once():
    made = machine(shelf=Shelf(begin=Running("job")))
    told(made, Prune(ME, 2, "gossip"))
    broadcast(made, "m")
    told(made, IHave("n", "shelf", 3, 9, 2))
    while not made.exchanges or made.exchanges[0].peer != 2:
        made.handle(CancelExchanges(), 4.0)
        made.handle(TimedOut(EXCHANGE_TIMER), 5.0)
    effects = made.handle(NeighborDown(2, "closed"), 5.0)
    assert facts(effects) == [ExchangeCancelled(Exchange("shelf", 2, "job", 5.0))]
    assert (made.neighbors, made.outstanding, made.exchanges) == ((1, 3), 0, ())
    assert peers(made, ME) == ((1, 3), ())
    assert made.handle(TimedOut((PREFIX, "graft", ("shelf", "n"))), 6.0) == []
    assert made.handle(NeighborDown(2, "closed"), 6.0) == []


def test_a_new_neighbor_is_eager_in_the_trees_that_are_there():
    made = machine()
    told(made, Prune(9, 2, "gossip"))
    made.handle(NeighborUp(4), 2.0)
    assert peers(made, 9) == ((1, 3, 4), (2,))


def test_what_was_broadcast_to_nobody_who_is_left_is_announced_to_another_neighbor():
    made = machine()
    broadcast(made, "m")
    announcement = IHave("m", "shelf", 0, ME, ME, "gossip")
    made.handle(NeighborDown(1, "closed"), 2.0)
    made.handle(NeighborDown(2, "closed"), 2.0)
    assert sent(made.handle(NeighborUp(4), 3.0)) == []  # 3 was told, and may live
    assert sent(made.handle(NeighborDown(3, "closed"), 4.0)) == [(4, announcement)]
    assert sent(made.handle(NeighborDown(4, "closed"), 5.0)) == []
    assert sent(made.handle(NeighborUp(5), 6.0)) == [(5, announcement)]
    assert sent(told(made, Graft("m", "shelf", 0, ME, 5, "gossip"))) == [
        (5, Push("m", "<m>", "shelf", 0, ME, ME, "gossip"))
    ]
    assert sent(made.handle(NeighborUp(6), 7.0)) == []


def test_what_was_broadcast_without_neighbors_is_announced_until_the_first_one_acknowledges():
    made = machine(neighbors=())
    broadcast(made, "m")
    announcement = IHave("m", "shelf", 0, ME, ME, "gossip")
    assert sent(made.handle(NeighborUp(1), 2.0)) == [(1, announcement)]
    assert sent(made.handle(TimedOut(LAZY_TIMER), 3.0)) == [(1, announcement)]
    told(made, IgnoredIHave("m", "shelf", 0, ME, 1, "gossip"))
    assert made.outstanding == 0
    assert sent(made.handle(NeighborUp(2), 4.0)) == []


@pytest.mark.parametrize(("remember", "after"), [(60.0, 62.0), (0.0, 2.0)])
def test_what_was_broadcast_long_ago_is_left_to_exchanges(remember, after):
    made = machine(neighbors=(), config=replace(CONFIG, remember=remember))
    broadcast(made, "m")
    assert sent(made.handle(NeighborUp(1), after)) == []


def test_only_so_much_that_was_broadcast_is_remembered():
    made = machine(neighbors=())
    for number in range(MOST_RECENT + 10):
        broadcast(made, number)
    announced = [message.id for _, message in sent(made.handle(NeighborUp(1), 2.0))]
    assert announced == list(range(10, MOST_RECENT + 10))


def test_trees_of_other_channels_are_others():
    made = machine(shelf=Shelf(), pulse=Shelf("membership"))
    told(made, Prune(9, 2, "membership"))
    assert peers(made, 9) == ((1, 2, 3), ())
    assert peers(made, 9, "membership") == ((1, 3), (2,))
    told(made, Prune(9, 3, "of no handler"))
    assert peers(made, 9) == ((1, 2), (3,))
    assert peers(made, 9, "membership") == ((1,), (2, 3))


def test_a_shared_tree_is_for_all_roots():
    made = machine(config=replace(CONFIG, shared_tree=True))
    told(made, Prune(9, 2, "gossip"))
    assert peers(made, 8) == ((1, 3), (2,))


def test_a_much_shorter_way_is_taken_instead():
    made = machine(config=replace(CONFIG, optimization=3, lazy_tick=None))
    told(made, Prune(9, 2, "gossip"))
    told(made, IHave("m", "shelf", 1, 9, 2))
    effects = told(made, Push("m", "p", "shelf", 4, 9, 1))
    assert sent(effects)[-2:] == [(2, Graft(None, None, 1, 9, ME, "gossip")), (1, Prune(9, ME, "gossip"))]
    assert peers(made, 9) == ((3, 2), (1,))
    other = machine()
    told(other, Prune(9, ME + 1, "gossip"))
    assert sent(told(other, Graft(None, None, 1, 9, 1, "gossip"))) == []
    assert peers(other, 9) == ((2, 3, 1), ())


def test_a_way_that_is_not_so_much_shorter_is_not():
    made = machine(config=replace(CONFIG, optimization=3, lazy_tick=None))
    told(made, Prune(9, 2, "gossip"))
    told(made, IHave("m", "shelf", 2, 9, 2))
    told(made, Push("m", "p", "shelf", 4, 9, 1))
    assert peers(made, 9) == ((1, 3), (2,))


def test_announcements_of_the_paper_are_made_once_and_not_acknowledged():
    made = machine(config=replace(CONFIG, lazy_tick=None))
    told(made, Prune(ME, 2, "gossip"))
    assert sent(broadcast(made, "m"))[-1] == (2, IHave("m", "shelf", 0, ME, ME, "gossip"))
    assert made.outstanding == 0
    assert told(made, IHave("m", "shelf", 0, ME, 3)) == []


def test_a_handler_that_raises_is_told_of_and_has_answered_no():
    made = machine()
    made.handlers["shelf"].broken = True
    effects = told(made, Push("m", "p", "shelf", 4, 9, 1))
    [failed] = facts(effects)
    assert (failed.mod, failed.callback, type(failed.error)) == ("shelf", "merge", RuntimeError)
    assert sent(effects) == [(1, Prune(9, ME, "gossip")), (1, IgnoredIHave("m", "shelf", 4, 9, ME, "gossip"))]
    assert [type(fact) for fact in facts(told(made, IHave("m", "shelf", 4, 9, 2)))] == [HandlerFailed]
    assert [type(fact) for fact in facts(told(made, Graft("m", "shelf", 4, 9, 2)))] == [HandlerFailed, GivenUp]
    with pytest.raises(RuntimeError):
        made.prepare("own", "shelf")


def test_what_a_handler_cannot_take_is_not_asked_for_again_nor_announced():
    made = machine()
    told(made, IHave("m", "shelf", 4, 9, 1, "gossip"))
    told(made, IHave("m", "shelf", 2, 9, 2, "gossip"))
    [timer] = made._wanted
    made.handlers["shelf"].broken = True
    effects = told(made, Push("m", "p", "shelf", 4, 9, 1, "gossip"))
    assert StopTimer((PREFIX, "graft", timer)) in effects
    assert [each for each in sent(effects) if type(each[1]) is IgnoredIHave] == [
        (1, IgnoredIHave("m", "shelf", 4, 9, ME, "gossip")),
        (2, IgnoredIHave("m", "shelf", 2, 9, ME, "gossip")),
    ]
    assert sent(made.handle(TimedOut((PREFIX, "graft", timer)), 2.0)) == []


def test_a_map_that_is_full_ends_the_announcements_of_what_it_has_no_room_for():
    def build(peer, rng, restored):
        entries = LwwMap(actor=peer, epoch=1, most_keys=5 if peer == 2 else 100)
        config = PlumtreeConfig(exchange_tick=None)
        return Stack(FullMembership(peer, FullConfig(), rng, restored), Plumtree(peer, config, rng, {"map": entries}))

    network = Network(build, seed=1)
    for peer in range(4):
        network.boot(peer)
        network.tell(peer, Join(0))
    network.run(5.0)
    for number in range(20):
        network.tell(1, network.machine(1).upper.prepare(Put(number, number), "map"))
        network.run(0.3)
    network.run(5.0)
    assert [network.machine(peer).upper.outstanding for peer in range(4)] == [0, 0, 0, 0]
    assert [len(network.machine(peer).upper.handlers["map"]) for peer in range(4)] == [20, 20, 5, 20]


def test_an_unknown_handler_is_a_violation_and_its_messages_stop():
    made = machine()
    effects = told(made, Push("m", "p", "else", 4, 9, 1, "elsewhere"))
    assert sent(effects) == [(1, Prune(9, ME, "elsewhere"))]
    assert [type(fact) for fact in facts(effects)] == [Violation]
    assert sent(told(made, IHave("m", "else", 4, 9, 2))) == [(2, IgnoredIHave("m", "else", 4, 9, ME))]
    assert [type(fact) for fact in facts(told(made, Graft("m", "else", 4, 9, 2)))] == [Violation]
    for command in (lambda: made.prepare("m", "else"), lambda: made.handle(LAZY_TIMER, 1.0)):
        with pytest.raises(LocalProtocolError):
            command()


def test_who_is_no_neighbor_is_heard_and_not_answered():
    made = machine()
    assert [peer for peer, _ in sent(told(made, Push("m", "p", "shelf", 4, 9, 7)))] == [1, 2, 3]
    for message in (
        Push("m", "p", "shelf", 4, 9, 7),
        Prune(9, 7),
        IHave("m", "shelf", 4, 9, 7),
        IHave("n", "shelf", 4, 9, 7),
        Graft("m", "shelf", 4, 9, 7),
        Say("shelf", 1, 7),
    ):
        assert sent(told(made, message)) == []
    assert made.neighbors == (1, 2, 3)


def test_a_heartbeat_is_broadcast_at_intervals():
    made = machine(config=replace(CONFIG, heartbeat="pulse"), pulse=Beat())
    effects = made.handle(TimedOut(HEARTBEAT_TIMER), 10.0)
    assert effects[0] == StartTimer(HEARTBEAT_TIMER, 10.0)
    assert [message.id for _, message in sent(effects)] == [1, 1, 1]


class Beat(Shelf):
    def broadcast_data(self, data):
        return super().broadcast_data(len(self.kept) + 1)


# Whatever is said.

SMALL = replace(CONFIG, most_trees=4, most_outstanding=3, most_missing=2)
IDS = st.one_of(st.integers(0, 5), st.integers(0, 5), st.sampled_from([[], "", None, (1, [])]))
NODE = st.integers(1, 6)
WHO = st.one_of(NODE, NODE, NODE, st.sampled_from([0, "x", None, 7]))
MODS = st.sampled_from(["shelf", "shelf", "shelf", "pulse", "pulse", "else", None, 3])
HOPS = st.one_of(st.integers(0, 9), st.integers(0, 9), st.sampled_from([-1, 1 << 40, "x"]))
CHANNELS = st.sampled_from(["gossip", "membership", "undefined"])
MESSAGES = st.one_of(
    st.builds(Push, IDS, st.integers(), MODS, HOPS, WHO, WHO, CHANNELS),
    st.builds(Prune, WHO, WHO, CHANNELS),
    st.builds(IHave, IDS, MODS, HOPS, WHO, WHO, CHANNELS),
    st.builds(IgnoredIHave, IDS, MODS, HOPS, WHO, WHO, CHANNELS),
    st.builds(Graft, IDS, MODS, HOPS, WHO, WHO, CHANNELS),
    st.builds(Say, MODS, st.one_of(st.integers(0, 3), st.text(max_size=1)), WHO, CHANNELS),
    st.one_of(st.none(), st.integers(), st.tuples(st.integers())),
)
EVENTS = st.one_of(
    st.builds(Received, WHO, MESSAGES),
    MESSAGES.filter(lambda each: hasattr(each, "sender")).map(lambda each: Received(each.sender, each)),
    st.builds(NeighborUp, st.integers(0, 6)),
    st.builds(NeighborDown, st.integers(0, 6), st.just("closed")),
    st.sampled_from([TimedOut(LAZY_TIMER), TimedOut(EXCHANGE_TIMER), TimedOut(HEARTBEAT_TIMER), TimedOut("else")]),
    st.builds(lambda mod, id: TimedOut((PREFIX, "graft", (mod, id))), MODS, st.integers(0, 5)),
    st.builds(CancelExchanges, st.one_of(st.none(), st.integers(0, 6))),
    st.sampled_from([Retune(SMALL), Retune(replace(SMALL, shared_tree=True)), Retune(replace(SMALL, lazy_tick=None))]),
    st.sampled_from(["own", "break", "mend"]),
)


def check(made, up):
    """What the docstring of the machine says that holds."""
    trees = made._trees
    for tree in (trees.common, *trees._by_key.values()):
        assert sorted([*tree.eager, *tree.lazy]) == sorted(up)
        assert all(name == peer for part in (tree.eager, tree.lazy) for name, peer in part.items())
    assert len(trees) <= made.config.most_trees
    assert set(made._outstanding) <= set(up)
    assert all(0 < len(waiting) <= made.config.most_outstanding for waiting in made._outstanding.values())
    assert made._ticking or not made._outstanding
    assert len(made._wanted) <= made.config.most_missing
    assert all(set(wanted.announcers) <= set(up) for wanted in made._wanted.values())
    assert all(exchange.peer in up for exchange in made.exchanges)


@settings(max_examples=500, deadline=None)
@given(events=st.lists(EVENTS, max_size=60))
def test_whatever_happens_it_stays_sound_and_sends_to_neighbors_only(events):
    shelves = {"shelf": Chatty(begin=Talk((2,))), "pulse": Shelf("membership", begin=Running("job"))}
    made = machine(range(1, 5), config=SMALL, **shelves)
    up = dict.fromkeys(range(1, 5))
    for number, event in enumerate(events):
        if event == "own":
            effects = broadcast(made, f"own {number}") if not shelves["shelf"].broken else []
        elif isinstance(event, str):
            shelves["shelf"].broken = event == "break"
            continue
        else:
            if isinstance(event, NeighborUp) and event.peer != ME:
                up[event.peer] = None
            elif isinstance(event, NeighborDown):
                up.pop(event.peer, None)
            effects = made.handle(event, float(number))
        for effect in effects:
            assert type(effect) in (Send, Notify, StartTimer, StopTimer)
            if type(effect) is Send:
                assert effect.peer in up
                assert effect.message.sender == ME
        check(made, up)


def test_trees_announcements_and_what_is_waited_for_are_bounded():
    made = machine(config=SMALL)
    given_up = []
    for number in range(10):
        told(made, Prune(10 + number, 2, "gossip"))
        told(made, IHave(f"m{number}", "shelf", 1, 9, 1))
        told(made, Prune(ME, 2, "gossip"))
        given_up += [fact for fact in facts(broadcast(made, number)) if type(fact) is GivenUp]
        check(made, (1, 2, 3))
    assert given_up == [GivenUp(2, "shelf", number, "full") for number in range(7)]
    assert (made.outstanding, len(made._wanted), len(made._trees)) == (3, 2, 4)


@pytest.mark.parametrize("id", [[], (1, []), {}])
def test_an_id_by_which_nothing_can_be_known_is_a_violation(id):
    made = machine()
    made.handlers["shelf"].is_stale = lambda id: False
    for message in (Push(id, "p", "shelf", 1, 9, 1), IHave(id, "shelf", 1, 9, 1), IgnoredIHave(id, "shelf", 1, 9, 1)):
        effects = told(made, message)
        assert [type(fact) for fact in facts(effects)] == [Violation]
        assert sent(effects) == []
    with pytest.raises(TypeError):
        made.handle(Broadcast(id, "p", "shelf"), 1.0)
    assert made.handle(TimedOut("else"), 1.0) == []


def test_a_handler_has_the_shape_that_is_asked_for():
    assert isinstance(Shelf(), Handler)
    assert not isinstance(Join(1), Handler)
