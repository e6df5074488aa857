"""Client-server: handler by handler, and against hostile peers."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partisan.machines.client_server import (
    CLIENT,
    FELLOW,
    MOST_PARTING,
    PATIENCE,
    ROLES,
    SERVER,
    UNDEFINED,
    ClientServer,
    ClientServerConfig,
    ClientServerState,
    Introduction,
    Parting,
    Refused,
    go_together,
)
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
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Respec,
    Retune,
    Save,
    Send,
    Start,
    TimedOut,
    UpdateMembers,
    Violation,
)
from partisan.machines.membership import GOSSIP_TIMER, name_of

US = 100


def state(tag, *members):
    return ClientServerState(tag, members)


def halved(peer):
    """A name that two peers have, as one node that comes back as another value."""
    return peer // 2


class Lone:
    """One machine, called 100, whose peers are played by the test; the edges are those that it has asked for."""

    def __init__(self, tag=SERVER, restored=None, myself=US, **options):
        self.now = 0.0
        self.machine = ClientServer(myself, ClientServerConfig(tag=tag, **options), random.Random(1), restored)
        self.edges = {}
        self.do(Start())

    def do(self, event):
        self.now += 0.01
        self.effects = self.machine.handle(event, self.now)
        for effect in self.effects:
            if isinstance(effect, Connect):
                self.edges[effect.peer] = None
            elif isinstance(effect, Disconnect):
                self.edges.pop(effect.peer, None)
        return self

    def up(self, peer, tag, contact=None):
        contact = peer if contact is None else contact
        if contact in self.edges:
            del self.edges[contact]
            self.edges[peer] = None
        return self.do(Connected(peer, contact, state(tag, peer)))

    def have(self, *peers, tag=CLIENT):
        for peer in peers:
            self.do(Join(peer)).up(peer, tag)
            assert peer in self.machine.members
        return self

    def hear(self, peer, message):
        return self.do(Received(peer, message))

    def rounds(self, count):
        for _ in range(count):
            self.do(TimedOut(GOSSIP_TIMER))
        return self

    def sent(self):
        return [(e.peer, e.message) for e in self.effects if isinstance(e, Send)]

    def facts(self, kind=object):
        return [e.fact for e in self.effects if isinstance(e, Notify) and isinstance(e.fact, kind)]


class TestRoles:
    @pytest.mark.parametrize(("ours", "theirs"), [*itertools.product(ROLES, ROLES)])
    def test_a_join_is_done_if_the_roles_go_together_and_fails_otherwise(self, ours, theirs):
        lone = Lone(ours).do(Join(("contact", 1))).up(1, theirs, ("contact", 1))
        if go_together(ours, theirs):
            assert lone.facts(Joined) == [Joined(("contact", 1), 1)]
            assert lone.machine.members == (1, US)
            assert lone.machine.role_of(1) == theirs
            assert lone.edges == {1: None}
        else:
            reason = "client" if ours == theirs == CLIENT else "role"
            assert lone.facts(JoinFailed) == [JoinFailed(("contact", 1), reason)]
            assert lone.machine.members == (US,)
            assert not lone.edges
            assert not lone.sent()

    def test_the_table_is_that_of_the_reference_and_the_same_both_ways(self):
        allowed = {pair for pair in itertools.product(ROLES, ROLES) if go_together(*pair)}
        assert allowed == {(SERVER, SERVER), (SERVER, CLIENT), (CLIENT, SERVER), (UNDEFINED, UNDEFINED)}
        assert not go_together(SERVER, "boss")

    def test_a_member_that_comes_back_in_another_role_is_none_any_more(self):
        lone = Lone(CLIENT).have(1, tag=SERVER).do(Disconnected(1, "closed"))
        assert lone.facts(NeighborDown) == [NeighborDown(1, "closed")]
        assert lone.machine.members == (1, US)
        lone.up(1, CLIENT)
        assert lone.facts(Refused) == [Refused(1, CLIENT)]
        assert lone.machine.members == (US,)
        assert lone.machine.role_of(1) is None
        assert not lone.edges

    def test_the_greeting_tells_the_role_and_the_members(self):
        lone = Lone(SERVER).have(1, 2)
        assert lone.machine.greeting == state(SERVER, 1, 2, US)
        assert lone.machine.greeting is lone.machine.greeting
        assert lone.machine.role_of(US) == SERVER


class TestJoining:
    def test_who_is_joined_is_told_who_we_are(self):
        lone = Lone().do(Join(1)).up(1, CLIENT)
        assert lone.sent() == [(1, Introduction(US, SERVER, True))]

    def test_who_introduces_itself_is_dialled_and_a_member_when_it_answers(self):
        lone = Lone().hear(1, Introduction(1, CLIENT, True))
        assert lone.edges == {1: None}
        assert lone.machine.members == (US,)
        lone.up(1, CLIENT)
        assert lone.machine.members == (1, US)
        assert lone.sent() == [(1, Introduction(US, SERVER, False))]
        assert lone.facts(NeighborUp) == [NeighborUp(1)]

    def test_who_introduces_itself_and_never_answers_is_given_up(self):
        lone = Lone().hear(1, Introduction(1, CLIENT, True)).rounds(PATIENCE)
        assert lone.edges == {1: None}
        lone.rounds(1)
        assert not lone.edges
        assert lone.facts(JoinFailed) == [JoinFailed(1, "unreachable")]

    def test_an_introduction_of_a_role_that_does_not_go_with_ours_is_a_violation(self):
        lone = Lone(CLIENT).hear(1, Introduction(1, CLIENT, True))
        assert [fact.detail for fact in lone.facts(Violation)] == ["introduction: its role is client, and ours client"]
        assert not lone.edges

    def test_no_more_are_taken_than_the_options_allow(self):
        lone = Lone(max_members=3)
        for peer in range(5):
            lone.hear(peer, Introduction(peer, CLIENT, True))
        assert list(lone.edges) == [0, 1]
        assert "3 members are enough" in lone.facts(Violation)[0].detail

    def test_a_lost_member_is_dialled_again_in_every_round(self):
        lone = Lone().have(1).do(Disconnected(1, "closed")).rounds(1)
        assert [e.peer for e in lone.effects if isinstance(e, Connect)] == [1]
        assert lone.machine.members == (1, US)

    def test_joining_a_neighbor_is_done_at_once_and_tells_it_again(self):
        lone = Lone().have(1).do(Join(1))
        assert lone.facts(Joined) == [Joined(1, 1)]
        assert lone.sent() == [(1, Introduction(US, SERVER, True))]

    def test_a_join_of_ourselves_fails(self):
        assert Lone().do(Join(US)).facts(JoinFailed) == [JoinFailed(US, "self")]

    def test_a_join_that_is_given_up_leaves_nothing(self):
        lone = Lone().do(Join(1)).do(GiveUp(1))
        assert not lone.edges
        assert lone.do(Connected(1, 1, state(CLIENT, 1))).effects == []

    def test_a_former_life_is_gone_on_with_and_saved(self):
        lone = Lone().have(1, 2)
        saved = [e.state for e in lone.effects if isinstance(e, Save)][-1]
        again = Lone(restored=saved)
        assert again.machine.members == (1, 2, US)
        assert again.edges == {1: None, 2: None}
        again.up(1, CLIENT)
        assert again.facts(NeighborUp) == [NeighborUp(1)]

    def test_another_value_of_ours_is_told_to_all(self):
        lone = Lone(myself=("us", 1), name=lambda peer: peer[0] if isinstance(peer, tuple) else peer, key=str)
        lone.have(1).do(Respec(("us", 2)))
        assert ("us", 2) in lone.machine.members
        assert ("us", 1) not in lone.machine.members
        assert lone.sent() == [(1, Introduction(("us", 2), SERVER, False))]


class TestOtherValues:
    """Peers whose halves are their names: 2 and 3 are one node."""

    def test_a_member_that_answers_as_another_value_is_that_from_then_on(self):
        lone = Lone(name=halved).have(2).do(Disconnected(2, "closed")).up(3, CLIENT, 2)
        assert lone.machine.members == (3, US)
        assert lone.edges == {3: None}
        assert lone.facts(NeighborUp) == [NeighborUp(3)]

    def test_a_member_that_answers_as_another_value_in_another_role_is_none_any_more(self):
        lone = Lone(CLIENT, name=halved).have(2, tag=SERVER).do(Disconnected(2, "closed")).up(3, CLIENT, 2)
        assert lone.facts(Refused) == [Refused(3, CLIENT)]
        assert lone.machine.members == (US,)
        assert not lone.edges

    def test_a_member_that_answers_as_another_value_and_says_nothing_is_that_and_not_up(self):
        lone = Lone(name=halved, restored=state(SERVER, 2, US)).do(Connected(3, 2, None))
        assert lone.machine.members == (3, US)
        assert not lone.facts(NeighborUp)

    def test_a_member_in_whose_place_another_node_answers_is_dialled_again(self):
        lone = Lone().have(2).do(Disconnected(2, "closed")).up(4, CLIENT, 2)
        assert lone.machine.members == (2, US)
        assert lone.edges == {2: None}

    def test_a_member_whose_edge_a_join_that_fails_took_away_is_dialled_again(self):
        lone = Lone(name=halved).have(2).do(Join(3)).do(Connected(3, 2, "no greeting"))
        assert lone.facts(JoinFailed) == [JoinFailed(3, "greeting")]
        assert lone.machine.members == (2, US)
        assert lone.effects[-1] == Connect(2)

    def test_who_introduces_itself_as_another_value_is_that_at_once(self):
        lone = Lone(name=halved).have(2).hear(3, Introduction(3, CLIENT, False))
        assert lone.machine.members == (3, US)
        assert lone.edges == {3: None}


class TestParting:
    def test_who_is_removed_is_told_before_its_edge_is_given_up(self):
        lone = Lone().have(1, 2).do(Leave(1))
        assert lone.machine.members == (2, US)
        kinds = [type(e) for e in lone.effects if isinstance(e, Send | Disconnect)]
        assert kinds == [Send, Disconnect]
        assert lone.sent() == [(1, Parting(US))]

    def test_who_leaves_tells_all_and_is_alone(self):
        lone = Lone().have(1, 2).do(Leave())
        assert lone.machine.members == (US,)
        assert lone.sent() == [(1, Parting(US)), (2, Parting(US))]
        assert not lone.edges

    def test_who_missed_it_is_told_when_it_comes_again(self):
        lone = Lone().have(1).do(Disconnected(1, "closed")).do(Leave(1))
        assert not lone.sent()
        lone.hear(1, Introduction(1, CLIENT, False))
        assert lone.edges == {1: None}
        lone.up(1, CLIENT)
        assert lone.sent() == [(1, Parting(US))]
        assert not lone.edges
        assert lone.machine.members == (US,)

    def test_who_joins_after_it_was_left_is_taken(self):
        lone = Lone().have(1).do(Leave(1)).hear(1, Introduction(1, CLIENT, True)).up(1, CLIENT)
        assert lone.machine.members == (1, US)

    def test_who_is_joined_again_after_it_was_left_is_taken_when_it_comes_again(self):
        lone = Lone().have(1).do(Leave(1)).have(1).hear(1, Parting(1))
        assert lone.machine.members == (US,)
        lone.hear(1, Introduction(1, CLIENT, False)).up(1, CLIENT)
        assert lone.machine.members == (1, US)

    def test_a_parting_ends_the_membership_and_no_other(self):
        lone = Lone().have(1, 2).hear(1, Parting(1))
        assert lone.machine.members == (2, US)
        assert not lone.sent()
        assert lone.facts(NeighborDown) == [NeighborDown(1, "left")]

    def test_so_many_are_told_again_at_a_time_and_no_longer_than_a_round(self):
        peers = range(MOST_PARTING + 5)
        lone = Lone().have(*peers).do(Leave())
        for peer in peers:
            lone.hear(peer, Introduction(peer, CLIENT, False))
        assert len(lone.edges) == MOST_PARTING
        lone.rounds(2)
        assert not lone.edges

    def test_an_update_removes_who_is_missing_and_joins_who_is_new(self):
        lone = Lone().have(1, 2).hear(3, Introduction(3, CLIENT, True)).do(UpdateMembers((US, 2, 4)))
        assert lone.machine.members == (2, US)
        assert lone.edges == {2: None, 4: None}
        lone.up(4, CLIENT)
        assert lone.machine.members == (2, 4, US)

    def test_a_client_tries_another_client_of_an_update_once_and_again_after_a_while(self):
        update = UpdateMembers((US, ("contact", 1), 2))
        lone = Lone(CLIENT).do(update).up(2, SERVER).up(1, CLIENT, ("contact", 1))
        assert lone.facts(JoinFailed) == [JoinFailed(("contact", 1), "client")]
        for rounds in (FELLOW, 1):
            lone.do(update)
            assert lone.edges == {2: None}
            assert not lone.facts()
            lone.rounds(rounds)
        lone.do(update)
        assert lone.edges == {2: None, ("contact", 1): None}
        assert lone.machine.members == (2, US)

    def test_a_join_of_another_client_tries_it_whatever_an_update_found(self):
        lone = Lone(CLIENT).do(UpdateMembers((US, 1))).up(1, CLIENT).do(Join(1))
        assert lone.edges == {1: None}
        lone.up(1, SERVER)
        assert lone.facts(Joined) == [Joined(1, 1)]
        lone.do(UpdateMembers((US, 1)))
        assert lone.machine.members == (1, US)

    def test_a_client_that_has_become_a_server_stays_a_member_by_an_update(self):
        lone = Lone(CLIENT).do(UpdateMembers((US, 1))).up(1, CLIENT)
        lone.hear(1, Introduction(1, SERVER, True)).up(1, SERVER).do(UpdateMembers((US, 1)))
        assert lone.machine.members == (1, US)

    def test_an_update_keeps_a_name_whose_other_value_was_refused(self):
        lone = Lone(CLIENT, name=halved).have(2, tag=SERVER).do(Join(4)).up(4, CLIENT).have(5, tag=SERVER)
        lone.do(UpdateMembers((US, 2, 4)))
        assert lone.machine.members == (2, 5, US)

    def test_an_update_keeps_us_though_another_client_was_dialled_under_our_value(self):
        lone = Lone(CLIENT).have(2, tag=SERVER).do(Join(1)).up(1, CLIENT, US).do(UpdateMembers((US, 2)))
        assert lone.machine.members == (2, US)

    def test_an_update_without_us_makes_us_leave_though_it_names_another_client(self):
        lone = Lone(CLIENT).have(2, tag=SERVER).do(UpdateMembers((US, 1, 2))).up(1, CLIENT)
        assert lone.do(UpdateMembers((1,))).machine.members == (US,)


class TestOptions:
    def test_other_options_leave_the_role_as_it_is(self):
        lone = Lone(SERVER).do(Retune(ClientServerConfig(tag=CLIENT, max_members=2)))
        assert lone.machine.greeting == state(SERVER, US)
        lone.do(Join(1)).up(1, CLIENT)
        assert lone.machine.members == (1, US)
        assert "enough" in lone.hear(2, Introduction(2, CLIENT, True)).facts(Violation)[0].detail


class TestHops:
    def test_a_client_passes_on_through_its_servers(self):
        lone = Lone(CLIENT).have(1, 2, tag=SERVER)
        assert lone.machine.next_hops(9) == (1, 2)
        assert lone.machine.next_hops(1) == ()
        assert lone.machine.next_hops(US) == ()
        lone.do(Disconnected(1, "closed"))
        assert lone.machine.next_hops(9) == (2,)
        assert lone.machine.next_hops(1) == (2,)

    def test_a_server_passes_on_to_servers_what_is_not_for_a_client_of_its_own(self):
        lone = Lone(SERVER).have(1, 2, tag=CLIENT).have(3, tag=SERVER)
        assert lone.machine.next_hops(1) == ()
        assert lone.machine.next_hops(9) == (3,)

    def test_where_nobody_has_a_role_all_pass_on(self):
        assert Lone(UNDEFINED).have(1, 2, tag=UNDEFINED).machine.next_hops(9) == (1, 2)


def introduced(peer, tag, joining):
    return Received(peer, Introduction(peer, tag, joining))


@dataclass(frozen=True)
class Answer:
    """An edge that was asked for comes up: which, who answers (None: whom it leads to), and in which role.

    The role "fits" is one that goes with ours; None says nothing.
    """

    which: int
    peer: int | None
    tag: str | None

    def on(self, lone):
        contact = [*lone.edges, US][self.which % (len(lone.edges) + 1)]
        peer = contact if self.peer is None else self.peer
        fitting = {CLIENT: SERVER, SERVER: CLIENT, UNDEFINED: UNDEFINED}[lone.machine.tag]
        tag = fitting if self.tag == "fits" else self.tag
        return Connected(peer, contact, None if tag is None else state(tag, peer))


PEERS = st.one_of(st.integers(0, 4), st.just(US))
WILD = st.one_of(st.none(), st.integers(), st.text(), st.binary(), st.lists(st.none()), st.tuples(st.integers()))
TAGS = st.one_of(st.sampled_from(ROLES), st.just("boss"), WILD)
MESSAGES = st.one_of(
    WILD,
    st.builds(Introduction, st.one_of(PEERS, WILD), TAGS, st.one_of(st.booleans(), WILD)),
    st.builds(Parting, st.one_of(PEERS, WILD)),
)
GREETINGS = st.one_of(WILD, st.builds(ClientServerState, TAGS, st.one_of(WILD, st.tuples(PEERS, PEERS))))
EVENTS = st.one_of(
    st.builds(Received, PEERS, MESSAGES),
    *[st.builds(introduced, PEERS, st.sampled_from(ROLES), st.booleans())] * 2,
    st.builds(lambda peer: Received(peer, Parting(peer)), PEERS),
    st.builds(Connected, st.integers(0, 4), st.integers(0, 4), GREETINGS),
    st.builds(lambda peer, greeting: Connected(peer, peer, greeting), PEERS, GREETINGS),
    st.builds(lambda peer, tag: Connected(peer, peer, state(tag, peer)), PEERS, st.sampled_from(ROLES)),
    *[st.builds(Answer, st.integers(0, 9), st.none(), st.just("fits"))] * 4,
    st.builds(Answer, st.integers(0, 9), st.one_of(st.none(), PEERS), st.sampled_from(("fits", *ROLES, None))),
    *[st.builds(Join, PEERS)] * 3,
    st.builds(Disconnected, PEERS, st.just("closed")),
    st.builds(GiveUp, PEERS),
    st.builds(Leave, st.one_of(st.none(), PEERS)),
    st.builds(UpdateMembers, st.lists(PEERS, max_size=3).map(tuple)),
    st.builds(TimedOut, st.just(GOSSIP_TIMER)),
)


@settings(max_examples=500, deadline=None)
@given(
    tag=st.sampled_from(ROLES),
    name=st.sampled_from((name_of, halved)),
    events=st.lists(EVENTS, min_size=10, max_size=60),
)
@example(  # who has introduced itself turns out to be one that was left
    CLIENT,
    name_of,
    [
        *(UpdateMembers((1, 0)), Answer(1, None, "fits"), Leave(None)),
        *(introduced(0, SERVER, False), introduced(3, SERVER, False), Connected(0, 3, None)),
    ],
)
@example(  # who was left, and is dialled to be told, answers as a member
    SERVER,
    halved,
    [
        *(introduced(0, CLIENT, False), Join(2), Connected(0, 0, state(CLIENT, 0)), Answer(1, None, "fits")),
        *(UpdateMembers((2, 100)), introduced(1, CLIENT, False), Connected(2, 1, (0,))),
    ],
)
@example(  # where a member is dialled, another client answers
    CLIENT,
    name_of,
    [Join(0), Connected(0, 0, state(SERVER, 0)), Connected(1, 0, state(CLIENT, 1))],
)
def test_nothing_that_happens_breaks_what_holds(tag, name, events):
    lone = Lone(tag, max_members=4, name=name)
    up = {}
    for event in events:
        if isinstance(event, Answer):
            event = event.on(lone)
        if isinstance(event, Connected) and event.contact in lone.edges and event.contact != event.peer:
            del lone.edges[event.contact]
            lone.edges[event.peer] = None
        lone.do(event)
        machine = lone.machine
        assert US in machine.members
        assert len(machine._left) <= 4
        assert len(machine._fellows) <= 4
        assert not machine._fellows.keys() & ({*machine.members} - {US})
        asked = {*machine._pending, *machine._parting}
        assert set(lone.edges) == ({*machine.members} - {US}) | asked
        assert set(machine._invited) <= set(machine._pending)
        assert len({name(peer) for peer in machine.members}) == len(machine.members)
        for peer in machine.members:
            role = machine.role_of(name(peer))
            assert peer == US or role is None or go_together(tag, role)
        for fact in lone.facts(NeighborUp | NeighborDown):
            assert up.get(fact.peer, False) == isinstance(fact, NeighborDown)
            up[fact.peer] = isinstance(fact, NeighborUp)
        assert {peer for peer, is_up in up.items() if is_up} <= {*machine.members} - {US}


@settings(max_examples=200, deadline=None)
@given(peer=st.integers(0, 4), message=MESSAGES)
def test_what_is_no_message_of_the_protocol_is_a_violation_and_changes_nothing(peer, message):
    lone = Lone().have(0, 1)
    before = lone.machine.greeting
    lone.hear(peer, message)
    proper = isinstance(message, Introduction | Parting) and message.sender == peer and type(message.sender) is int
    if not proper:
        assert [type(e) for e in lone.effects] == [Notify]
        assert isinstance(lone.effects[0].fact, Violation)
        assert lone.machine.greeting is before
