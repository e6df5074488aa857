"""SCAMP: in what its two versions differ, and what is refused."""

from __future__ import annotations

import pytest

from partisan.machines.machine import (
    Connected,
    Disconnect,
    Disconnected,
    Join,
    JoinFailed,
    Leave,
    Notify,
    Received,
    Violation,
)
from partisan.machines.scamp import Heartbeat, Subscription, Unsubscription
from partisan.machines.scamp_v1 import ScampV1
from partisan.machines.scamp_v2 import Departure, Kept, Replacement, ScampV2
from tests.machines.scamps import (
    REAL,
    VERSIONS,
    acquainted,
    alone,
    cluster,
    holders,
    sent,
    state_of,
    views,
)


def test_a_leaver_of_version_1_tells_python_nodes_alone(network):
    machine = acquainted(ScampV1, 1)
    machine.handle(Join(2), 0.0)
    machine.handle(Connected(2, 2, state_of(ScampV1, 2, REAL)), 0.0)
    assert machine.foreign([0, 1, 2, 3]) == ([2], [3])
    for event in (Received(1, Unsubscription(1)), Leave(2), Leave()):
        assert all(peer != 2 for peer, _ in sent(machine.handle(event, 1.0), Unsubscription))


def test_a_leaver_of_version_1_tells_the_python_nodes_that_it_had_not_reached_when_it_does(network):
    for actor, told in ((alone(ScampV1, 3).actor, [(3, Unsubscription(0))]), (REAL, [])):
        machine = acquainted(ScampV1, 1)
        while 3 not in machine.view:  # until the copy is kept
            machine.handle(Received(1, Subscription(3)), 0.0)
        assert sent(machine.handle(Leave(), 1.0), Unsubscription) == [(1, Unsubscription(0))]
        effects = machine.handle(Connected(3, 3, state_of(ScampV1, 3, actor)), 1.1)
        assert sent(effects) == told
        assert effects[-1] == Disconnect(3, "done", both=False)


def test_version_1_passes_on_that_somebody_left_and_only_once(network):
    machine = acquainted(ScampV1, 1, 2, 3)
    effects = machine.handle(Received(1, Unsubscription(2)), 1.0)
    assert sent(effects, Unsubscription) == [(3, Unsubscription(2))]
    assert machine.view == (1, 3)
    assert not sent(machine.handle(Received(3, Unsubscription(2)), 1.0))


def test_who_is_kept_by_version_2_knows_by_whom(network):
    net = cluster(network, ScampV2, 40)
    net.run(5.0)
    for peer, node in net.nodes.items():
        assert sorted(node.machine.in_view) == holders(net, peer)


def test_a_leaver_of_version_2_is_replaced_but_for_c_and_one(network):
    net = cluster(network, ScampV2, 60, copies=2, seed=2)  # nobody has it alone in view, and subscribes anew without it
    net.run(10.0)  # a round: nobody is to be introduced any more
    graph = views(net)
    leaver = max(graph, key=lambda peer: len(holders(net, peer)))
    held, arcs = len(holders(net, leaver)), sum(map(len, graph.values()))
    assert held > 4
    net.tell(leaver, Leave())
    net.run(15.0)
    after = sum(len(view) for view in views(net).values())
    lost = arcs - after - len(graph[leaver])
    assert 3 <= lost <= 3 + held // 2  # c + 1, and those that had the replacement already
    assert holders(net, leaver) == []


def test_version_2_asks_a_real_node_to_leave_without_what_crashes_it(network):
    machine = acquainted(ScampV2, 1, actor=REAL)
    effects = machine.handle(Leave(1), 1.0)
    assert sent(effects) == [(1, Unsubscription(1))]


def test_a_real_node_hears_once_that_it_is_kept(network):
    machine = acquainted(ScampV2, 1, actor=REAL)
    assert not sent(machine.handle(Received(1, Subscription(1)), 1.0), Kept)
    machine = acquainted(ScampV2, 1)
    assert sent(machine.handle(Received(1, Subscription(1)), 1.0), Kept) == [(1, Kept(0))]


def test_nobody_else_can_replace_a_peer_or_speak_for_it(network):
    machine = acquainted(ScampV2, 1, 2)
    for message in (Replacement(1, 9), Kept(1), Heartbeat(1), Heartbeat(0)):
        effects = machine.handle(Received(2, message), 1.0)
        assert [type(effect.fact) for effect in effects] == [Violation]
    assert machine.view == (1, 2)
    machine.handle(Received(1, Replacement(1, 9)), 1.0)
    assert machine.view == (2, 9)


def test_who_has_left_has_nobody_in_view_whether_it_names_another_or_not(network):
    for farewell in (Replacement(1, 9), Unsubscription(1)):
        machine = acquainted(ScampV2, 1, 2)
        machine.handle(Received(1, Kept(1)), 1.0)
        machine.handle(Received(1, farewell), 2.0)
        assert machine.in_view == ()


def test_who_has_us_in_view_is_known_by_its_latest_value(network):
    here, moved = (1, "a"), (1, "b")
    for news in (Replacement(here, moved), Heartbeat(moved)):
        machine = acquainted(ScampV2, here, me=(0, "a"))
        machine.handle(Received(here, Kept(here)), 1.0)
        machine.handle(Received(here, news), 2.0)
        assert machine.in_view == (moved,)


def test_a_departure_is_for_who_is_named(network):
    machine = acquainted(ScampV2, 1, 2)
    assert machine.handle(Received(1, Departure(2)), 1.0) == []
    machine.handle(Received(1, Departure(0)), 1.0)
    assert machine.view == ()


@VERSIONS
@pytest.mark.parametrize("found", [0, 7, 2])
def test_a_peer_at_whose_address_somebody_else_is_leaves_the_view(kind, found):
    machine = acquainted(kind, 2)
    machine.handle(Received(5, Subscription(5)), 1.0)
    machine.handle(Disconnected(2, "closed"), 1.0)
    machine.handle(Received(6, Subscription(6)), 1.0)
    assert 6 in machine.view
    machine.handle(Connected(found, 6, None), 2.0)
    assert machine.view == (2,)


@VERSIONS
def test_a_state_of_the_other_version_is_refused(kind):
    other = ScampV2 if kind is ScampV1 else ScampV1
    machine = alone(kind)
    machine.handle(Join(1), 0.0)
    effects = machine.handle(Connected(1, 1, state_of(other, 1)), 0.0)
    facts = [effect.fact for effect in effects if type(effect) is Notify]
    assert [type(fact) for fact in facts] == [Violation, JoinFailed]
