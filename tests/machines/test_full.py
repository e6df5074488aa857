"""Full membership, event by event: what the contract of every membership does not say."""

from __future__ import annotations

import random

import pytest

from partisan.errors import LocalProtocolError
from partisan.machines.full import (
    ACTOR_PREFIX,
    GOSSIP_TIMER,
    FullConfig,
    FullMembership,
    FullState,
    Gossip,
    Summary,
)
from partisan.machines.keepalive import Probe
from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    GiveUp,
    Join,
    Joined,
    JoinFailed,
    Leave,
    MemberReplaced,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Removed,
    Retune,
    Save,
    Send,
    Start,
    StartTimer,
    TimedOut,
    UpdateMembers,
    Violation,
)
from partisan.machines.orset import OrSet
from partisan.names import Contact, ListenAddress
from tests.machines.full_nodes import A, B, C, D, alone, by_name, facts, gossip, member, node, sends, spec


class TestStart:
    def test_it_starts_the_timer_at_a_random_phase_and_reports_itself(self):
        machine = FullMembership(A, FullConfig(key=by_name), random.Random(1))
        timer, save, notify = machine.handle(Start(), 0.0)
        assert timer.timer == GOSSIP_TIMER
        assert 0.0 <= timer.after < 10.0
        assert save == Save(machine.greeting)
        assert notify == Notify(MembersChanged((A,)))

    def test_actor_and_token_have_twenty_octets(self):
        machine = node()
        assert len(machine.actor) == 20
        assert [len(token) for token in machine.state.tokens(A)] == [20]

    def test_a_restored_state_is_gone_on_with_under_the_same_token(self):
        former = member(node(), B)
        machine = FullMembership(A, FullConfig(key=by_name), random.Random(2), former.greeting)
        assert Connect(B) in machine.handle(Start(), 0.0)
        assert machine.greeting == former.greeting

    def test_a_restored_state_of_another_address_is_replaced_by_ours(self):
        machine = node(spec("a", 2000), restored=node(A).greeting)
        assert machine.members == (spec("a", 2000),)
        assert False in machine.state.tokens(A).values()

    def test_a_foreign_event_is_our_own_mistake(self):
        with pytest.raises(LocalProtocolError, match="takes no Probe"):
            node().handle(Probe(1), 0.0)


class TestJoin:
    def test_a_join_connects_merges_and_gossips_at_once(self):
        machine = node()
        assert machine.handle(Join(B), 0.0) == [Connect(B)]
        effects = machine.handle(Connected(B, B, alone(B)), 0.1)
        assert [type(e) for e in effects] == [Save, Notify, Notify, Notify, Send]
        assert facts(effects) == [MembersChanged((A, B)), Joined(B, B), NeighborUp(B)]
        assert sends(effects) == [(B, machine.state)]
        assert effects[-1].message.sender == A

    def test_a_contact_is_replaced_by_who_answers(self):
        machine, contact = node(), Contact.parse("127.0.0.1:1000")
        assert machine.handle(Join(contact), 0.0) == [Connect(contact)]
        effects = machine.handle(Connected(B, contact, alone(B)), 0.1)
        assert Joined(contact, B) in facts(effects)
        assert Connect(B) not in effects

    def test_joining_connects_to_all_whom_the_contact_knows(self):
        machine = node()
        machine.handle(Join(B), 0.0)
        theirs = FullState(b"actor", OrSet({B: {b"b": True}, C: {b"c": True}, D: {b"d": False}}))
        effects = machine.handle(Connected(B, B, theirs), 0.1)
        assert Connect(C) in effects
        assert Connect(D) not in effects
        assert machine.members == (A, B, C)

    def test_joining_a_connected_member_is_done_at_once(self):
        machine = member(node(), B)
        assert machine.handle(Join(B), 1.0) == [Notify(Joined(B, B))]

    def test_joining_ourselves_fails(self):
        assert node().handle(Join(spec("a", 7)), 0.0) == [Notify(JoinFailed(spec("a", 7), "self"))]

    def test_a_contact_that_turns_out_to_be_ourselves_is_given_up(self):
        machine, contact = node(), Contact.parse("127.0.0.1:1000")
        machine.handle(Join(contact), 0.0)
        effects = machine.handle(Connected(A, contact, machine.greeting), 0.1)
        assert effects == [Notify(JoinFailed(contact, "self")), Disconnect(A, "self")]

    def test_a_malformed_greeting_fails_the_join(self):
        machine = node()
        machine.handle(Join(B), 0.0)
        effects = machine.handle(Connected(B, B, ("full_v2", 1)), 0.1)
        assert [type(fact) for fact in facts(effects)] == [Violation, JoinFailed]
        assert Disconnect(B, "greeting") in effects
        assert machine.members == (A,)

    def test_a_join_of_more_members_than_there_may_be_fails(self):
        machine, contact = node(max_members=2), Contact.parse("127.0.0.1:1000")
        machine.handle(Join(contact), 0.0)
        theirs = FullState(b"actor", OrSet({B: {b"b": True}, C: {b"c": False}}))
        effects = machine.handle(Connected(B, contact, theirs), 0.1)
        assert facts(effects) == [JoinFailed(contact, "full")]
        assert Disconnect(B, "full") in effects
        assert machine.members == (A,)
        machine.handle(Join(B), 1.0)
        machine.handle(Connected(B, B, alone(B)), 1.1)
        assert machine.members == (A, B)

    def test_a_peer_that_tells_no_state_is_added_by_the_join(self):
        machine = node()
        machine.handle(Join(B), 0.0)
        machine.handle(Connected(B, B, None), 0.1)
        assert machine.members == (A, B)

    def test_a_join_brings_back_whom_we_had_removed(self):
        machine = member(node(), B)
        machine.handle(Leave(B), 1.0)
        assert machine.members == (A,)
        member(machine, B)
        assert sorted(machine.state.tokens(B).values()) == [False, True]

    def test_a_join_brings_us_back_who_had_been_removed(self):
        machine = node()
        (token,) = machine.state.tokens(A)
        machine.handle(Join(B), 0.0)
        theirs = FullState(b"actor", OrSet({A: {token: False}, B: {b"b": True}}))
        machine.handle(Connected(B, B, theirs), 0.1)
        assert machine.members == (A, B)

    def test_leave_gives_a_join_up_that_is_not_done(self):
        machine, contact = node(), Contact.parse("127.0.0.1:1000")
        machine.handle(Join(contact), 0.0)
        assert machine.handle(Leave(contact), 1.0) == [
            Notify(JoinFailed(contact, "left")),
            Disconnect(contact, "left"),
        ]
        assert machine.handle(Connected(B, contact, alone(B)), 1.1) == []

    def test_a_join_that_is_given_up_ends_without_success(self):
        machine, contact = node(), Contact.parse("127.0.0.1:1000")
        machine.handle(Join(contact), 0.0)
        assert machine.handle(GiveUp(contact), 1.0) == [
            Notify(JoinFailed(contact, "left")),
            Disconnect(contact, "left"),
        ]

    def test_a_join_that_is_given_up_leaves_members_of_the_name_alone(self):
        machine, contact = member(node(), B), Contact(ListenAddress("127.0.0.1", 1000), B.name)
        machine.handle(Join(contact), 1.0)
        machine.handle(GiveUp(contact), 2.0)
        machine.handle(Disconnected(B, "closed"), 3.0)
        machine.handle(Join(B), 4.0)
        assert machine.handle(GiveUp(B), 5.0) == [Notify(JoinFailed(B, "left"))]
        assert machine.members == (A, B)

    def test_a_join_that_is_done_is_not_given_up(self):
        machine = member(node(), B)
        assert machine.handle(GiveUp(B), 1.0) == []


class TestGossip:
    def test_an_equal_state_is_answered_by_nothing(self):
        machine = member(node(), B)
        assert machine.handle(gossip(B, OrSet(dict(machine.state.items()))), 1.0) == []

    def test_news_are_merged_and_told_to_everybody(self):
        machine = member(node(), B, C)
        effects = machine.handle(gossip(B, machine.state.add(D, b"d")), 1.0)
        assert Connect(D) in effects
        assert facts(effects) == [MembersChanged((A, B, C, D))]
        assert sends(effects) == [(B, machine.state), (C, machine.state)]

    def test_an_old_state_is_answered_to_its_sender_alone(self):
        machine = member(node(), B, C)
        effects = machine.handle(gossip(B, OrSet({B: {b"t": True}})), 1.0)
        assert sends(effects) == [(B, machine.state)]
        assert len(effects) == 1

    def test_the_timer_sends_the_state_to_all_and_starts_anew(self):
        machine = member(node(), B, C)
        effects = machine.handle(TimedOut(GOSSIP_TIMER), 10.0)
        assert effects[0] == StartTimer(GOSSIP_TIMER, 10.0)
        assert sends(effects) == [(B, machine.state), (C, machine.state)]

    def test_a_fanout_limits_the_periodic_gossip(self):
        machine = member(node(fanout=1), B, C, D)
        assert len(sends(machine.handle(TimedOut(GOSSIP_TIMER), 10.0))) == 1

    def test_without_gossip_nothing_is_ever_sent(self):
        machine = member(node(gossip=False), B)
        assert sends(machine.handle(TimedOut(GOSSIP_TIMER), 10.0)) == []

    @pytest.mark.parametrize(
        ("peer", "message"),
        [
            ("b@h", Gossip("b@h", b"", OrSet())),
            ("b@h", Gossip(C, b"", OrSet())),
            ("a@h", Gossip(A, b"", OrSet())),
            ("b@h", Gossip(B, b"", {B: {b"t": True}})),
            ("b@h", Gossip(B, b"", OrSet({1: {b"t": True}}))),
            ("b@h", Gossip(B, b"", OrSet({spec("x", n): {b"t": True} for n in range(1, 12)}))),
            ("b@h", Gossip(B, b"", OrSet({B: {bytes([n]): True for n in range(21)}}))),
        ],
    )
    def test_a_wrong_gossip_is_a_violation(self, peer, message):
        machine = member(node(max_members=10, max_tokens=20), B)
        (effect,) = machine.handle(Received(peer, message), 1.0)
        assert isinstance(effect.fact, Violation)

    def test_many_small_states_cannot_grow_ours_without_bound(self):
        machine = member(node(max_members=10), B)
        for n in range(2, 50):
            machine.handle(gossip(B, OrSet({spec("x", n): {b"t": True}})), float(n))
        assert len(machine.state) <= 10


class TestEdges:
    def test_a_member_that_comes_up_is_told_what_it_lacks(self):
        machine = member(node(), B, C)
        machine.handle(Disconnected(C, "closed"), 1.0)
        effects = machine.handle(Connected(C, C, alone(C)), 2.0)
        assert effects == [Notify(NeighborUp(C)), Send(C, Gossip(A, machine.actor, machine.state))]

    def test_a_member_that_comes_up_and_knows_the_same_is_told_nothing(self):
        machine = member(node(), B)
        machine.handle(Disconnected(B, "closed"), 1.0)
        assert machine.handle(Connected(B, B, FullState(b"x", machine.state)), 2.0) == [Notify(NeighborUp(B))]

    def test_each_round_asks_again_for_the_edges_of_members_that_are_not_up(self):
        machine = member(node(), B, C)
        machine.handle(Disconnected(C, "closed"), 1.0)
        machine.handle(Join(D), 2.0)
        effects = machine.handle(TimedOut(GOSSIP_TIMER), 10.0)
        assert [e.peer for e in effects if type(e) is Connect] == [C, D]

    def test_a_join_that_an_update_asked_for_ends_with_an_update_without_it(self):
        machine = node()
        machine.handle(Join(C), 0.0)
        assert machine.handle(UpdateMembers((A, B, C)), 1.0) == [Connect(B)]
        assert machine.handle(UpdateMembers((A, B)), 2.0) == []
        assert machine.handle(UpdateMembers((A, D)), 3.0) == [
            Notify(JoinFailed(B, "left")),
            Disconnect(B, "left"),
            Connect(D),
        ]

    def test_a_member_that_is_down_is_tried_where_an_update_says_and_one_that_is_up_is_not(self):
        machine, elsewhere = member(node(), B), spec("b", 2000)
        assert machine.handle(UpdateMembers((A, elsewhere)), 1.0) == []
        machine.handle(Disconnected(B, "closed"), 2.0)
        assert machine.handle(UpdateMembers((A, elsewhere)), 3.0) == [Connect(elsewhere)]
        assert machine.handle(UpdateMembers((A, elsewhere)), 4.0) == []
        effects = machine.handle(Connected(elsewhere, elsewhere, alone(elsewhere)), 5.0)
        assert MemberReplaced(B, elsewhere) in facts(effects)
        assert machine.members == (A, elsewhere)

    def test_the_place_where_an_update_says_a_member_is_is_given_up_when_it_is_back(self):
        machine, elsewhere = member(node(), B), spec("b", 2000)
        machine.handle(Disconnected(B, "closed"), 1.0)
        machine.handle(UpdateMembers((A, elsewhere)), 2.0)
        machine.handle(Connected(B, B, alone(B)), 3.0)
        assert Disconnect(elsewhere, "left") in machine.handle(UpdateMembers((A, B)), 4.0)
        assert machine.members == (A, B)

    def test_an_edge_that_is_up_may_tell_its_state_again(self):
        machine = member(node(), B)
        effects = machine.handle(Connected(B, B, FullState(b"x", machine.state.remove([A]))), 1.0)
        assert facts(effects)[-1] == Removed("removed")

    def test_a_lost_member_stays_a_member(self):
        machine = member(node(), B)
        assert machine.handle(Disconnected(B, "closed"), 1.0) == [Notify(NeighborDown(B, "closed"))]
        assert machine.handle(Disconnected(B, "closed"), 1.0) == []
        assert machine.members == (A, B)

    def test_a_leaver_is_disconnected_after_it_was_told(self):
        machine = member(node(), B, C)
        effects = machine.handle(Leave(B), 1.0)
        assert [type(e) for e in effects] == [Send, Send, Save, Disconnect, Notify, Notify]
        assert facts(effects) == [NeighborDown(B, "left"), MembersChanged((A, C))]
        assert machine.handle(Leave(B), 2.0) == []

    def test_leaving_tells_everybody_then_begins_again_alone(self):
        machine = member(node(), B, C)
        actor, (token,) = machine.actor, machine.state.tokens(A)
        effects = machine.handle(Leave(), 1.0)
        told = sends(effects)
        assert [peer for peer, _ in told] == [B, C]
        assert all(A not in state and B in state for _, state in told)
        assert effects.index(Disconnect(B, "left")) > 1
        assert Disconnect(C, "left") in effects
        assert machine.members == (A,)
        assert machine.actor != actor
        assert machine.state.tokens(A)[token] is False
        assert facts(effects)[-1] == MembersChanged((A,))

    def test_leaving_alone_is_nothing(self):
        assert node().handle(Leave(), 1.0) == []

    def test_gossip_of_the_life_we_left_is_turned_away(self):
        machine = member(node(), B)
        old = machine.state
        machine.handle(Leave(), 1.0)
        assert machine.handle(gossip(B, old), 1.1) == [Disconnect(B, "left")]
        assert machine.members == (A,)

    def test_who_was_removed_and_goes_on_is_turned_away_until_it_has_heard(self):
        machine = member(node(), B)
        old = machine.state
        machine.handle(Leave(B), 1.0)
        assert machine.handle(gossip(B, old), 1.1) == [Disconnect(B, "left")]
        summary = Received(B.name, Summary(B, ACTOR_PREFIX + bytes(8), bytes(32)))
        assert machine.handle(summary, 1.2) == [Disconnect(B, "left")]
        assert machine.handle(gossip(B, old.remove([B])), 1.3) == []
        assert machine.members == (A,)

    def test_who_is_being_joined_again_is_not_turned_away(self):
        machine = member(node(), B, C)
        old = machine.state
        machine.handle(Leave(B), 1.0)
        machine.handle(Join(B), 1.1)
        assert machine.handle(gossip(B, old), 1.2) == []
        machine.handle(Connected(B, B, FullState(b"actor", old)), 1.3)
        assert machine.members == (A, B, C)

    def test_who_left_without_our_hearing_it_is_removed_by_its_greeting(self):
        theirs, ours = node(B, seed=2), node(A)
        ours.handle(Join(B), 0.0)
        ours.handle(Connected(B, B, theirs.greeting), 0.0)
        theirs.handle(gossip(A, ours.state), 0.5)
        theirs.handle(Leave(), 1.0)
        ours.handle(Disconnected(B, "closed"), 1.0)
        effects = ours.handle(Connected(B, B, theirs.greeting), 2.0)
        assert Disconnect(B, "left") in effects
        assert ours.members == (A,)


class TestUpdateMembers:
    def test_who_is_new_is_joined_and_who_is_missing_leaves(self):
        machine = member(node(), B, C)
        contact = Contact(ListenAddress("127.0.0.1", 5), "d@h")
        effects = machine.handle(UpdateMembers((A, spec("b", 7), contact)), 1.0)
        assert Disconnect(C, "left") in effects
        assert Connect(contact) in effects
        assert machine.members == (A, B)

    def test_several_that_leave_are_told_of_once(self):
        machine = member(node(), B, C, D)
        effects = machine.handle(UpdateMembers((A, B)), 1.0)
        assert sends(effects) == [(peer, machine.state) for peer in (B, C, D)]
        assert [fact for fact in facts(effects) if type(fact) is MembersChanged] == [MembersChanged((A, B))]

    def test_without_ourselves_we_leave(self):
        machine = member(node(), B, C)
        machine.handle(UpdateMembers((B, C)), 1.0)
        assert machine.members == (A,)

    def test_no_members_at_all_changes_nothing(self):
        assert member(node(), B).handle(UpdateMembers(()), 1.0) == []


class TestRetune:
    def test_the_timer_runs_by_the_new_period_at_a_random_phase(self):
        machine = node()
        [timer] = machine.handle(Retune(FullConfig(key=by_name, period=2.0)), 1.0)
        assert timer.timer == GOSSIP_TIMER
        assert 0.0 <= timer.after < 2.0
        assert StartTimer(GOSSIP_TIMER, 2.0) in machine.handle(TimedOut(GOSSIP_TIMER), 3.0)

    def test_gossip_can_cease(self):
        machine = member(node(), B)
        machine.handle(Retune(FullConfig(key=by_name, gossip=False)), 1.0)
        assert sends(machine.handle(TimedOut(GOSSIP_TIMER), 3.0)) == []


PYTHON_ACTOR = ACTOR_PREFIX + bytes(20 - len(ACTOR_PREFIX))


class TestSummaries:
    """Peers of our kind are told a digest in a round, and the state only if theirs differs."""

    def round(self, machine, now=20.0):
        return [effect for effect in machine.handle(TimedOut(GOSSIP_TIMER), now) if type(effect) is Send]

    def met(self, actor=PYTHON_ACTOR):
        """A machine that has joined B."""
        machine = member(node(), B)
        machine.handle(Received(B, Gossip(B, actor, machine.state)), 1.0)
        return machine

    def test_a_peer_of_our_kind_is_told_a_digest(self):
        machine = self.met()
        [sent] = self.round(machine)
        assert type(sent.message) is Summary
        assert sent.peer == B

    def test_a_real_node_is_told_the_state(self):
        machine = self.met(b"\x01" * 20)
        [sent] = self.round(machine)
        assert sent.message == Gossip(A, machine.actor, machine.state)

    def test_one_that_agrees_is_not_answered(self):
        machine = self.met()
        [sent] = self.round(machine)
        same = Summary(B, PYTHON_ACTOR, sent.message.digest)
        assert machine.handle(Received(B, same), 30.0) == []

    def test_one_that_differs_is_answered_with_the_state(self):
        machine = self.met()
        other = Summary(B, PYTHON_ACTOR, b"\x00" * 32)
        assert machine.handle(Received(B, other), 30.0) == [Send(B, Gossip(A, machine.actor, machine.state))]

    def test_a_digest_changes_with_the_state(self):
        machine = self.met()
        [before] = self.round(machine)
        machine.handle(Received(B, Gossip(B, PYTHON_ACTOR, machine.state.add(C, b"c" * 20))), 30.0)
        after = [effect.message for effect in self.round(machine, 40.0) if type(effect.message) is Summary]
        assert after
        assert before.message.digest not in [message.digest for message in after]

    @pytest.mark.parametrize(
        "summary",
        [Summary(C, PYTHON_ACTOR, b""), Summary(A, PYTHON_ACTOR, b""), Summary(B, None, b""), Summary(B, b"", 1)],
    )
    def test_a_summary_that_nobody_may_send_is_a_violation(self, summary):
        [fact] = facts(self.met().handle(Received(B, summary), 30.0))
        assert isinstance(fact, Violation)
