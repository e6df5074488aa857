"""What the simulated network owes its machines: order, edges, timers, crashes, faults."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest

from partisan.machines.faults import Cut, Delay, Duplication, Flip, Omission, Partition
from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    Notify,
    Received,
    Save,
    Send,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
)
from partisan.sim.latency import Constant, Plane, Uniform
from partisan.sim.network import RETRY, RETRY_MOST, Network, UnknownPeer


@dataclass
class Do:
    """Command: answer with these effects."""

    effects: list


@dataclass(frozen=True)
class Refused:
    peer: object
    reason: str


class Probe:
    """A machine that does what it is told, and keeps what happened to it."""

    def __init__(self, peer, rng, restored):
        self.peer, self.rng, self.restored = peer, rng, restored
        self.seen = []

    @property
    def greeting(self):
        return f"I am {self.peer}"

    def handle(self, event, now):
        if type(event) is Do:
            return event.effects
        self.seen.append((now, event))
        return []

    def messages(self):
        return [event.message for _, event in self.seen if type(event) is Received]

    def events(self, kind):
        return [event for _, event in self.seen if type(event) is kind]


def network(count=2, **options):
    options = {"latency": Constant(0.01), "detection": 1.0, **options}
    net = Network(Probe, 1, **options)
    for peer in range(count):
        net.boot(peer)
    return net


def do(net, peer, *effects):
    net.tell(peer, Do(list(effects)))


def joined(count=2, **options):
    """Nodes with edges from each to each."""
    net = network(count, **options)
    for a in range(count):
        do(net, a, *(Connect(b) for b in range(count) if b != a))
    net.run(0.1)
    return net


def test_an_edge_comes_up_after_a_message_there_and_one_back_and_tells_the_greeting():
    net = network()
    do(net, 0, Connect(1), Connect(1))
    net.run(1.0)
    assert net.machine(0).seen[1:] == [(0.02, Connected(1, 1, "I am 1"))]
    assert net.machine(1).events(Connected) == []


def test_an_edge_to_a_contact_is_called_by_the_peer_that_answered():
    net = network(resolve=lambda contact: 1 if contact == "who" else contact)
    do(net, 0, Connect("who"))
    net.run(1.0)
    do(net, 0, Send("who", "lost"), Send(1, "found"))
    net.run(1.0)
    assert net.machine(0).events(Connected) == [Connected(1, "who", "I am 1")]
    assert net.machine(1).messages() == ["found"]


def test_a_send_without_a_connected_edge_is_dropped_and_counted():
    net = network()
    do(net, 0, Send(1, "never asked"), Connect(1), Send(1, "too early"))
    net.run(1.0)
    assert net.machine(1).messages() == []
    assert (net.dropped, dict(net.sent)) == (2, {})


@pytest.mark.parametrize("latency", [Constant(0.01), Uniform(0.0, 0.5)])
def test_messages_of_one_link_arrive_in_order(latency):
    net = joined(latency=latency)
    net.run(5.0)
    for number in range(200):
        do(net, 0, Send(1, number))
        net.run(0.001)
    net.run(5.0)
    assert net.machine(1).messages() == list(range(200))


def test_an_edge_that_is_given_up_and_asked_for_again_swaps_no_messages():
    net = network(latency=Uniform(0.0, 0.5))
    number = 0
    for _ in range(100):
        do(net, 0, Connect(1))
        net.run(1.0)
        for _ in range(3):
            do(net, 0, Send(1, number))
            number += 1
        do(net, 0, Disconnect(1, "done"), Connect(1))
        net.run(0.3)
        do(net, 0, Send(1, number), Disconnect(1, "done"))
        number += 1
    net.run(5.0)
    found = net.machine(1).messages()
    assert len(found) > 300
    assert found == sorted(found)


def test_an_edge_that_is_found_again_by_a_contact_swaps_no_messages():
    net = network(latency=Uniform(0.0, 0.5), resolve=lambda contact: 1)
    for number in range(100):
        do(net, 0, Connect(f"contact {number}"))
        for _ in range(30):
            do(net, 0, Send(1, net.sent[int]))
            net.run(0.05)
    net.run(5.0)
    found = net.machine(1).messages()
    assert len(found) > 2900
    assert found == sorted(found)


def test_what_was_sent_on_an_edge_before_it_is_given_up_arrives_and_no_disconnection_follows():
    net = joined()
    do(net, 0, Send(1, "last"), Disconnect(1, "done"), Send(1, "too late"))
    net.run(10.0)
    assert net.machine(1).messages() == ["last"]
    assert net.machine(0).events(Disconnected) == []


def test_who_had_an_edge_to_a_node_that_gave_it_up_hears_of_it_a_second_later_and_is_greeted_anew():
    net = joined()
    began = net.now
    do(net, 0, Disconnect(1, "done"))
    net.run(10.0)
    seen = net.machine(1).seen[-2:]
    assert seen[0] == (began + 1.0, Disconnected(0, "closed"))
    assert seen[1] == (pytest.approx(began + 1.0 + RETRY), Connected(0, 0, "I am 0"))


def test_an_edge_that_is_given_up_alone_leaves_the_other_direction():
    net = joined()
    do(net, 0, Disconnect(1, "done", both=False))
    net.run(10.0)
    assert net.machine(1).events(Disconnected) == []
    do(net, 1, Send(0, "still"))
    net.run(1.0)
    assert net.machine(0).messages() == ["still"]


def test_timers_fire_once_unless_they_are_stopped_and_a_restart_replaces():
    net = network(1)
    do(net, 0, StartTimer("a", 1.0), StartTimer("b", 1.0), StartTimer("c", 1.0), StopTimer("b"), StopTimer("none"))
    net.run(0.5)
    do(net, 0, StartTimer("c", 1.0))
    net.run(9.5)
    assert net.machine(0).seen[1:] == [(1.0, TimedOut("a")), (1.5, TimedOut("c"))]
    assert net.now == 10.0


def test_a_timer_dies_with_its_node():
    net = network(1)
    do(net, 0, StartTimer("a", 1.0))
    net.boot(0)
    net.run(10.0)
    assert net.machine(0).seen == [(0.0, Start())]


def test_a_crash_is_noticed_after_the_detection_by_those_who_have_an_edge():
    net = joined(3)
    do(net, 2, Disconnect(1, "done"))
    net.run(5.0)
    began = net.now
    net.crash(1)
    do(net, 0, Send(1, "into the void"))
    net.run(0.99)
    assert net.machine(0).events(Disconnected) == []
    net.run(0.02)
    assert net.machine(0).seen[-1] == (began + 1.0, Disconnected(1, "closed"))
    assert net.machine(2).events(Disconnected) == []
    assert net.dropped == 1


def test_a_message_to_several_reaches_those_who_live_in_order_and_at_once():
    net = joined(4)
    net.crash(2)
    dropped = net.dropped
    word = ["word"]
    do(net, 0, Send(3, word), Send(2, word), Send(1, word), Send(3, "other"), Send(1, word))
    net.run(0.5)
    assert net.machine(3).messages()[-2:] == [word, "other"]
    assert net.machine(1).messages()[-2:] == [word, word]
    assert net.dropped == dropped + 1
    assert net.sent[list] == 4


def test_a_message_to_several_takes_a_time_of_its_own_to_each():
    net = joined(3, latency=Plane({0: (0.0, 0.0), 1: (1.0, 0.0), 2: (3.0, 0.0)}, per_unit=0.01))
    began, word = net.now, ["word"]
    do(net, 0, Send(1, word), Send(2, word))
    net.run(1.0)
    times = [net.machine(peer).seen[-1][0] - began for peer in (1, 2)]
    assert times == pytest.approx([0.01, 0.03])


def test_a_message_that_nobody_lives_to_take_is_no_part_of_the_digest():
    def digest(message):
        net = joined(2)
        net.crash(1)
        do(net, 0, Send(1, message))
        net.run(5.0)
        return net.digest()

    assert digest("a word") == digest(7)


def test_what_a_node_had_sent_before_it_crashed_arrives_before_its_loss_is_noticed():
    net = joined(latency=Constant(0.5), detection=0.1)
    net.run(5.0)
    do(net, 0, Send(1, "last words"))
    net.crash(0)
    net.run(5.0)
    assert [type(event) for _, event in net.machine(1).seen[-2:]] == [Received, Disconnected]


def test_a_node_that_comes_back_is_dialled_and_does_not_hear_what_its_former_life_was_sent():
    net = joined()
    do(net, 0, Send(1, "to the former life"))
    net.crash(1)
    net.boot(1, "what it had saved")
    do(net, 0, Send(1, "as well"))
    net.run(10.0)
    do(net, 0, Send(1, "to the new life"))
    net.run(1.0)
    assert net.machine(1).restored == "what it had saved"
    assert net.machine(1).messages() == ["to the new life"]
    assert [type(event) for _, event in net.machine(0).seen[-2:]] == [Disconnected, Connected]


def test_a_crash_that_nobody_can_notice_is_noticed_when_the_node_is_back():
    net = joined(detection=math.inf)
    net.crash(1)
    net.run(1000.0)
    assert net.machine(0).events(Disconnected) == []
    net.boot(1)
    net.run(1.0)
    assert [type(event) for _, event in net.machine(0).seen[-2:]] == [Disconnected, Connected]


def test_dialling_goes_on_with_growing_pauses_and_says_so_to_machines_that_want_to_know():
    net = network(1, unreachable=Refused)
    do(net, 0, Connect("nobody"))
    net.run(200.0)
    times = [at for at, event in net.machine(0).seen if event == Refused("nobody", "refused")]
    pauses = [round(b - a, 6) for a, b in itertools.pairwise(times)]
    assert pauses[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, RETRY_MOST]
    net.boot("nobody")
    net.run(RETRY_MOST)
    assert net.machine(0).events(Connected) == [Connected("nobody", "nobody", "I am nobody")]


def test_facts_and_states_are_collected_and_a_listener_hears_facts_instead():
    net = network(1)
    net.run(2.0)
    do(net, 0, Notify("fact"), Save("state"), Save("later state"))
    assert (net.facts, net.saved) == ([(2.0, 0, "fact")], {0: "later state"})
    heard = []
    net = network(1, listener=lambda *fact: heard.append(fact))
    do(net, 0, Notify("fact"))
    assert (heard, net.facts) == ([(0.0, 0, "fact")], [])


def test_an_action_is_called_when_its_time_has_come():
    net = joined()
    began = net.now
    net.after(1.5, lambda: net.crash(1))
    net.run(1.0)
    assert 1 in net.nodes
    net.run(5.0)
    assert 1 not in net.nodes
    assert net.machine(0).seen[-1] == (began + 2.5, Disconnected(1, "closed"))


def test_a_node_that_does_not_run_is_an_error_that_names_it():
    net = network(1)
    for act in (net.crash, net.machine, lambda peer: net.tell(peer, Start())):
        with pytest.raises(UnknownPeer, match="7"):
            act(7)


def test_each_node_has_chance_of_its_own_that_others_do_not_disturb():
    def draws(count):
        return [net.machine(peer).rng.random() for net in [network(count)] for peer in range(2)]

    assert draws(2) == draws(5)
    assert len({*draws(2)}) == 2
    backwards = network(0)
    for peer in (1, 0):
        backwards.boot(peer)
    assert [backwards.machine(peer).rng.random() for peer in range(2)] == draws(2)
    backwards.boot(0)
    assert backwards.machine(0).rng.random() != draws(2)[0]


def test_a_partition_lets_nothing_pass_is_noticed_and_heals():
    net = joined(4)
    number = net.inject(Partition(groups=(("0", "1"), ("2", "3"))))
    do(net, 0, Send(1, "same side"), Send(2, "other side"))
    net.run(0.5)
    assert (net.machine(1).messages(), net.machine(2).messages()) == (["same side"], [])
    net.run(5.0)
    assert net.machine(0).events(Disconnected) == [Disconnected(2, "ping_timeout"), Disconnected(3, "ping_timeout")]
    assert net.faults.counts == {"partition": 1}
    net.run(100.0)
    assert [event.peer for event in net.machine(0).events(Connected)] == [1, 2, 3]
    net.heal(number)
    net.run(RETRY_MOST)
    do(net, 0, Send(2, "healed"))
    net.run(1.0)
    assert net.machine(2).messages() == ["healed"]


def test_a_partition_that_heals_before_it_is_noticed_breaks_no_edge():
    net = joined()
    net.inject(Partition(groups=(("0",), ("1",))))
    net.run(0.5)
    net.heal()
    net.run(5.0)
    assert net.machine(0).events(Disconnected) == []
    do(net, 0, Send(1, "still there"))
    net.run(1.0)
    assert net.machine(1).messages() == ["still there"]


def test_a_cut_one_way_breaks_the_edges_of_both_ways():
    net = joined()
    net.inject(Cut(sources=("0",), destinations=("1",), since=5.0))
    net.run(20.0)
    for peer in (0, 1):
        assert [at for at, event in net.machine(peer).seen if type(event) is Disconnected] == [6.0]


def test_omissions_duplicates_and_delays_are_as_the_rules_say():
    net = joined()
    net.inject(Omission(kinds=("membership",), times=2))
    for number in range(4):
        do(net, 0, Send(1, number))
    net.run(1.0)
    assert net.machine(1).messages() == [2, 3]
    net.inject(Duplication(copies=1, times=1))
    net.inject(Delay(seconds=3.0, skip=1, times=1))
    for number in (4, 5, 6):
        do(net, 0, Send(1, number))
    net.run(2.0)
    assert net.machine(1).messages() == [2, 3, 4, 4]
    net.run(2.0)
    assert net.machine(1).messages() == [2, 3, 4, 4, 5, 6]
    assert net.dropped == 2


def test_faults_know_nodes_and_messages_by_what_they_are_told():
    net = joined(name=lambda peer: f"n{peer}", classify=lambda message: ("data", "user"))
    net.inject(Omission(sources=("n0",), channels=("data",), kinds=("user",)))
    do(net, 0, Send(1, "lost"))
    do(net, 1, Send(0, "kept"))
    net.run(1.0)
    assert (net.machine(1).messages(), net.machine(0).messages()) == ([], ["kept"])


@pytest.mark.parametrize("rule", [Flip()])
def test_a_fault_that_is_not_simulated_is_refused(rule):
    net = joined()
    with pytest.raises(ValueError, match="not simulated"):
        net.inject(rule)
    assert len(net.faults) == 0


def test_messages_and_greetings_go_through_the_codec():
    net = joined(through=lambda message: f"<{message}>")
    do(net, 0, Send(1, "m"))
    net.run(1.0)
    assert net.machine(1).messages() == ["<m>"]
    assert net.machine(0).events(Connected) == [Connected(1, 1, "<I am 1>")]


def test_latency_follows_the_distance_on_a_plane():
    plane = Plane({0: (0.0, 0.0), 1: (3.0, 4.0)}, per_unit=0.01, least=0.1)
    net = joined(latency=plane)
    net.run(5.0)
    began = net.now
    do(net, 0, Send(1, "m"))
    net.run(1.0)
    assert net.machine(1).seen[-1][0] == pytest.approx(began + 0.15)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(-1.0),
        lambda: Constant(math.inf),
        lambda: Uniform(0.2, 0.1),
        lambda: Plane({}, -1.0),
        lambda: Network(Probe, detection=-1.0),
        lambda: Network(Probe, detection=math.nan),
    ],
)
def test_times_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_an_edge_that_is_asked_for_again_within_the_second_costs_the_other_end_nothing():
    net = joined()
    do(net, 0, Disconnect(1, "done"), Connect(1))
    net.run(10.0)
    assert net.machine(1).events(Disconnected) == []
    assert len(net.machine(0).events(Connected)) == 2
