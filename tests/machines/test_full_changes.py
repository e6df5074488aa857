"""Full membership, event by event: nodes that begin again, or change their spec."""

from __future__ import annotations

from partisan.machines.full import (
    GOSSIP_TIMER,
    FullState,
)
from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    Join,
    Leave,
    MemberReplaced,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Removed,
    Respec,
    Save,
    Send,
    TimedOut,
)
from partisan.machines.orset import OrSet
from partisan.names import ChannelOptions
from tests.machines.full_nodes import A, B, C, D, alone, facts, gossip, member, node, sends, spec


class TestReplacement:
    def test_a_node_that_gossips_under_another_address_replaces_its_former_spec(self):
        machine = member(node(), B, C)
        moved = spec("b", 2000)
        effects = machine.handle(gossip(moved, OrSet({moved: {b"m": True}})), 1.0)
        assert machine.members == (A, moved, C)
        assert Disconnect(B, "left") in effects
        assert Connect(moved) in effects
        assert MemberReplaced(B, moved) in facts(effects)

    def test_of_two_nodes_of_one_name_the_later_stays_whatever_the_former_goes_on_to_say(self):
        machine = member(node(), B, C)
        moved = spec("b", 2000)
        machine.handle(gossip(moved, OrSet({moved: {b"m": True}})), 1.0)
        machine.handle(gossip(B, OrSet({B: dict(machine.state.tokens(B)) | {b"t": True}, D: {b"d": True}})), 2.0)
        assert machine.members == (A, moved, C, D)

    def test_what_others_say_about_a_spec_replaces_nothing(self):
        machine = member(node(), B, C)
        moved = spec("b", 2000)
        effects = machine.handle(gossip(C, OrSet({moved: {b"m": True}})), 1.0)
        assert machine.members == (A, B, moved, C)
        assert not [fact for fact in facts(effects) if type(fact) is MemberReplaced]
        effects = machine.handle(gossip(C, machine.state.remove([B])), 2.0)
        assert facts(effects)[-2:] == [MemberReplaced(B, moved), MembersChanged((A, moved, C))]

    def test_a_member_that_answers_with_another_channel_map_replaces_its_former_spec(self):
        machine = member(node(), B)
        machine.handle(Disconnected(B, "closed"), 1.0)
        changed = spec("b", data=ChannelOptions(4))
        effects = machine.handle(Connected(changed, B, alone(changed, b"new")), 2.0)
        assert machine.members == (A, changed)
        assert not [e for e in effects if type(e) in (Connect, Disconnect)]
        assert facts(effects) == [MemberReplaced(B, changed), MembersChanged((A, changed)), NeighborUp(changed)]

    def test_a_member_that_is_again_what_it_was_before_stays_one(self):
        machine, changed = member(node(), B), spec("b", data=ChannelOptions(4))
        for former, value in ((B, changed), (changed, B), (B, changed)):
            machine.handle(Disconnected(former, "closed"), 1.0)
            greeting = node(value, seed=2).greeting  # it has started again, without memory
            effects = machine.handle(Connected(value, former, greeting), 2.0)
            assert machine.members == (A, value)
            assert facts(effects) == [MemberReplaced(former, value), MembersChanged((A, value)), NeighborUp(value)]
            assert sends(effects) == [(value, machine.state)]

    def test_who_joins_as_what_it_was_before_is_there_once_at_both_ends(self):
        machine, moved = member(node(), B), spec("b", 2000)
        machine.handle(gossip(moved, OrSet({moved: {b"m": True}})), 1.0)
        again = node(B, seed=2)
        again.handle(Join(A), 2.0)
        again.handle(Connected(A, A, machine.greeting), 2.0)
        assert again.members == (A, B)
        machine.handle(Join(B), 2.0)
        machine.handle(Connected(B, B, alone(B)), 2.0)
        assert machine.members == (A, B)

    def test_who_left_and_then_changed_is_removed_by_its_greeting(self):
        theirs, ours, changed = node(B, seed=2), node(A), spec("b", data=ChannelOptions(4))
        ours.handle(Join(B), 0.0)
        ours.handle(Connected(B, B, theirs.greeting), 0.0)
        theirs.handle(gossip(A, ours.state), 0.5)
        theirs.handle(Leave(), 1.0)
        theirs.handle(Respec(changed), 1.0)
        ours.handle(Disconnected(B, "closed"), 1.0)
        effects = ours.handle(Connected(changed, B, theirs.greeting), 2.0)
        assert ours.members == (A,)
        assert Disconnect(changed, "left") in effects
        assert not [fact for fact in facts(effects) if type(fact) is NeighborUp]

    def test_our_own_former_spec_is_removed_wherever_it_is_learnt(self):
        machine = node(spec("a", 2000))
        machine.handle(Join(B), 0.0)
        theirs = FullState(b"x", OrSet({A: {b"a": True}, B: {b"b": True}}))
        machine.handle(Connected(B, B, theirs), 0.1)
        assert machine.members == (spec("a", 2000), B)

    def test_who_removes_us_finds_us_alone_under_a_new_token(self):
        machine = member(node(), B)
        effects = machine.handle(gossip(B, machine.state.remove([A])), 1.0)
        assert Disconnect(B, "removed") in effects
        assert facts(effects) == [NeighborDown(B, "removed"), MembersChanged((A,)), Removed("removed")]
        assert sorted(machine.state.tokens(A).values()) == [False, True]


class TestRespec:
    NEW = spec("a", 1000, data=ChannelOptions(4))

    def test_everybody_hears_that_the_former_value_is_gone_and_the_new_one_there(self):
        machine = member(node(), B, C)
        effects = machine.handle(Respec(self.NEW), 1.0)
        assert [peer for peer, _ in sends(effects)] == [B, C]
        for state in (machine.state, *(state for _, state in sends(effects))):
            assert set(state.members) == {self.NEW, B, C}
            assert not any(state.tokens(A).values())
        assert facts(effects) == [MembersChanged((self.NEW, B, C))]
        assert Save(machine.greeting) in effects
        assert not [effect for effect in effects if type(effect) in (Connect, Disconnect)]
        assert machine.myself == self.NEW

    def test_gossip_and_greetings_are_those_of_the_new_value(self):
        machine = member(node(), B)
        machine.handle(Respec(self.NEW), 1.0)
        assert machine.greeting.state.tokens(self.NEW)
        [send] = [e for e in machine.handle(TimedOut(GOSSIP_TIMER), 2.0) if type(e) is Send]
        assert send.message.sender == self.NEW

    def test_the_same_value_and_one_of_another_name_change_nothing(self):
        machine = member(node(), B)
        before = machine.state
        assert machine.handle(Respec(A), 1.0) == machine.handle(Respec(D), 1.0) == []
        assert machine.state is before

    def test_a_former_value_can_come_back(self):
        machine = member(node(), B)
        machine.handle(Respec(self.NEW), 1.0)
        machine.handle(Respec(A), 2.0)
        assert machine.members == (A, B)
        assert sorted(machine.state.tokens(A).values()) == [False, True]

    def test_a_value_that_is_dead_with_others_from_earlier_on_lives_again(self):
        machine, earlier = member(node(), B), node(self.NEW).state.remove([self.NEW])
        machine.handle(Respec(self.NEW), 1.0)
        machine.handle(gossip(B, earlier), 2.0)
        assert machine.members == (self.NEW, B)

    def test_old_gossip_does_not_bring_the_former_value_back(self):
        machine = member(node(), B)
        old = machine.state
        machine.handle(Respec(self.NEW), 1.0)
        machine.handle(gossip(B, old), 2.0)
        assert machine.members == (self.NEW, B)

    def test_a_peer_asks_for_the_edge_to_the_new_value_before_it_gives_up_the_former(self):
        one, other = member(node(), B), member(node(B, seed=2), A)
        other.handle(gossip(A, one.state), 0.5)
        [(_, told)] = sends(one.handle(Respec(self.NEW), 1.0))
        effects = other.handle(gossip(self.NEW, told), 1.0)
        edges = [effect for effect in effects if type(effect) in (Connect, Disconnect)]
        assert edges == [Connect(self.NEW), Disconnect(A, "left")]
        assert other.members == (self.NEW, B)
        assert NeighborDown(A, "left") in facts(effects)
        assert facts(other.handle(Connected(self.NEW, self.NEW), 1.0)) == [NeighborUp(self.NEW)]

    def test_a_node_that_is_alone_is_so_under_its_new_value(self):
        machine = node()
        machine.handle(Respec(self.NEW), 1.0)
        assert machine.members == (self.NEW,)
        member(machine, B)
