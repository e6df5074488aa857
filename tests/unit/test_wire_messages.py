"""Messages as terms: round trips, order, and that no term raises anything but MalformedMessage."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.config_groups import MAX_PARALLELISM
from partisan.errors import RemoteProtocolError
from partisan.etf import Atom, term_key
from partisan.machines.full import FullState, Gossip
from partisan.machines.keepalive import Ping, Pong
from partisan.machines.orset import OrSet
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from partisan.wire.atom import MalformedMessage, atom_of, name_of, node_of
from partisan.wire.causal import Causal
from partisan.wire.forward import (
    PLUGGABLE_MANAGER,
    Ack,
    Distance,
    Forward,
    Relay,
    Strategy,
    Unknown,
    ack_to_term,
    distance_to_term,
    inbound_from_term,
    relay_to_term,
    to_manager,
)
from partisan.wire.full import gossip_from_term, gossip_to_term, speaker, state_from_term, state_to_term
from partisan.wire.handshake import Hello, Refused, State, handshake_from_term, handshake_to_term
from partisan.wire.keepalive import keepalive_from_term, keepalive_to_term
from partisan.wire.order import spec_key
from partisan.wire.spec import spec_from_term, spec_to_term
from tests.work import steps

NODES = st.sampled_from(["a@h", "b@h", "c@127.0.0.1", "\u00e9@h"])
HOSTS = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
OPTIONS = st.builds(
    ChannelOptions,
    st.integers(1, 300),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.booleans(), st.integers(2, 9)),
)
SPECS = st.builds(
    NodeSpec,
    NODES,
    st.lists(st.builds(ListenAddress, HOSTS, st.integers(1, 65535)), min_size=1, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(["undefined", "true", "data", "zeta", "\u00fc"]), OPTIONS, max_size=4).map(
        lambda channels: tuple(sorted(channels.items()))
    ),
)
TOKENS = st.dictionaries(st.binary(min_size=20, max_size=20), st.booleans(), min_size=1, max_size=3)
STATES = st.builds(OrSet, st.dictionaries(SPECS, TOKENS, max_size=4))

TAGS = [
    "hello", "state", "ping", "pong", "forward_message", "membership_strategy", "ack", "relay_message", "causal",
    "full_v1", "state_orset", "name", "listen_addrs", "channels", "ip", "port", "parallelism", "monotonic",
    "compression", "error", "pang", "$partisan_padded", "a@h", "x", PLUGGABLE_MANAGER.name,
]  # fmt: skip
ATOMS = st.sampled_from(TAGS).map(Atom)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=4), ATOMS)
TERMS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=7).map(tuple),
        st.builds(lambda tag, rest: (tag, *rest), ATOMS, st.lists(inner, max_size=6)),
        st.dictionaries(st.one_of(ATOMS, st.integers(), st.none()), inner, max_size=4),
    ),
    max_leaves=25,
)
READERS = [
    spec_from_term,
    state_from_term,
    gossip_from_term,
    handshake_from_term,
    keepalive_from_term,
    inbound_from_term,
]


def spec(name="a@h", port=1000, host="127.0.0.1", **channels):
    return NodeSpec.of(name, (ListenAddress(host, port),), channels or {"undefined": ChannelOptions()})


@pytest.mark.parametrize("read", READERS)
@settings(max_examples=300)
@given(term=TERMS)
def test_a_term_is_read_or_is_malformed_and_nothing_else(read, term):
    try:
        read(term)
    except MalformedMessage as error:
        shown = str(error)
    else:
        shown = ""
    assert len(shown) < 400


def test_a_malformed_message_is_the_peer_s_fault():
    assert issubclass(MalformedMessage, RemoteProtocolError)


def replace(term, index, by):
    """Replace the index-th part of a term, counted depth first."""
    count = itertools.count()

    def walk(part):
        if next(count) == index:
            return by
        if isinstance(part, tuple | list):
            return type(part)([walk(inner) for inner in part])
        if isinstance(part, dict):
            return {walk(key): walk(value) for key, value in part.items()}
        return part

    return walk(term)


@settings(max_examples=500)
@given(state=STATES, sender=SPECS, index=st.integers(0, 150), by=LEAVES)
def test_a_gossip_with_one_part_replaced_is_read_or_malformed(state, sender, index, by):
    term = gossip_to_term(Gossip(sender, b"actor", state))
    with contextlib.suppress(MalformedMessage):
        gossip_from_term(replace(term, index, by))


class TestAtoms:
    @given(st.sampled_from(["undefined", "true", "false", "data", "a@h"]))
    def test_a_name_survives_being_an_atom(self, name):
        assert name_of(atom_of(name), "name") == name

    @pytest.mark.parametrize("term", [b"a@h", "a@h", 1, ("a@h",), Atom("nohost"), None])
    def test_what_is_no_node_name_is_malformed(self, term):
        with pytest.raises(MalformedMessage, match="hello"):
            node_of(term, "hello")


class TestSpec:
    @given(SPECS)
    def test_a_spec_survives_the_round_trip(self, spec):
        assert spec_from_term(spec_to_term(spec)) == spec

    def test_an_absent_option_stays_absent(self):
        term = spec_to_term(spec(data=ChannelOptions(2, True, None)))
        assert term[Atom("channels")] == {Atom("data"): {Atom("parallelism"): 2, Atom("monotonic"): True}}

    def test_the_default_channel_is_the_atom_undefined(self):
        assert list(spec_to_term(spec())[Atom("channels")]) == [None]

    def test_a_parallelism_may_be_as_high_as_it_can_be_configured_and_no_higher(self):
        highest = spec(data=ChannelOptions(MAX_PARALLELISM))
        assert MAX_PARALLELISM >= 1024
        assert spec_from_term(spec_to_term(highest)) == highest
        for parallelism in (MAX_PARALLELISM + 1, 10**12, 10**5000):
            with pytest.raises(MalformedMessage, match="channel options: a parallelism above 1024"):
                spec_from_term(spec_to_term(spec(data=ChannelOptions(parallelism))))

    def test_an_ipv6_address_has_eight_groups(self):
        (address,) = spec_to_term(spec(host="fe80::1"))[Atom("listen_addrs")]
        assert address[Atom("ip")] == (0xFE80, 0, 0, 0, 0, 0, 0, 1)

    @pytest.mark.parametrize(
        "change",
        [
            {Atom("metadata"): {}},
            {Atom("name"): b"a@h"},
            {Atom("name"): Atom("a")},
            {Atom("listen_addrs"): ()},
            {Atom("listen_addrs"): []},
            {Atom("listen_addrs"): [{Atom("ip"): (127, 0, 0, 1)}]},
            {Atom("listen_addrs"): [{Atom("ip"): (127, 0, 0, 256), Atom("port"): 1}]},
            {Atom("listen_addrs"): [{Atom("ip"): (127, 0, 0, 1), Atom("port"): 0}]},
            {Atom("listen_addrs"): [{Atom("ip"): (127, 0, 0, 1), Atom("port"): True}]},
            {Atom("channels"): []},
            {Atom("channels"): {Atom("data"): {}}},
            {Atom("channels"): {Atom("data"): {Atom("parallelism"): 0}}},
            {Atom("channels"): {Atom("data"): {Atom("parallelism"): 1.0}}},
            {Atom("channels"): {Atom("data"): {Atom("parallelism"): 1, Atom("monotonic"): None}}},
            {Atom("channels"): {Atom("data"): {Atom("parallelism"): 1, Atom("compression"): 10}}},
            {Atom("channels"): {Atom("data"): {Atom("parallelism"): 1, Atom("priority"): 3}}},
            {Atom("channels"): {b"data": {Atom("parallelism"): 1}}},
        ],
    )
    def test_what_a_spec_has_no_place_for_is_refused(self, change):
        with pytest.raises(MalformedMessage):
            spec_from_term(spec_to_term(spec()) | change)

    def test_what_python_confuses_is_not_read_from_memory(self):
        good = spec_to_term(spec())
        assert spec_from_term(good) == spec()
        options = good[Atom("channels")][None]
        for wrong in (True, 1.0):
            with pytest.raises(MalformedMessage):
                spec_from_term(good | {Atom("channels"): {None: options | {Atom("parallelism"): wrong}}})


class TestOrder:
    @given(st.lists(SPECS, max_size=6))
    def test_the_key_of_a_spec_sorts_as_the_term_order_sorts_its_map(self, specs):
        ours = sorted(specs, key=spec_key)
        assert ours == sorted(ours, key=lambda s: term_key(spec_to_term(s)))

    def test_fewer_channels_come_first_then_channels_then_addresses_then_the_name(self):
        more = ChannelOptions()
        ordered = [
            spec("z@h", 9),
            spec("a@h", 1, data=more, undefined=more),
            spec("a@h", 1, undefined=more, zeta=more),
            spec("z@h", 1, undefined=more, zeta=ChannelOptions(2)),
            spec("a@h", 2, undefined=more, zeta=ChannelOptions(2)),
            spec("b@h", 2, undefined=more, zeta=ChannelOptions(2)),
        ]
        assert sorted(random.Random(1).sample(ordered, len(ordered)), key=spec_key) == ordered

    def test_numbers_come_before_atoms_and_addresses_by_number(self):
        level, yes = (spec(data=ChannelOptions(1, False, c)) for c in (9, True))
        assert spec_key(level) < spec_key(yes)
        assert spec_key(spec(host="9.0.0.1")) < spec_key(spec(host="10.0.0.1"))
        assert spec_key(spec(host="255.0.0.1")) < spec_key(spec(host="::1"))


class TestFull:
    @given(STATES)
    def test_a_state_survives_the_round_trip(self, state):
        assert state_from_term(state_to_term(FullState(b"actor", state))) == FullState(b"actor", state)

    @given(STATES, SPECS)
    def test_a_gossip_survives_the_round_trip(self, state, sender):
        gossip = Gossip(sender, b"actor", state)
        assert gossip_from_term(gossip_to_term(gossip)) == gossip

    @given(STATES, st.randoms(use_true_random=False))
    def test_equal_states_are_equal_terms_however_they_were_learnt(self, state, rng):
        items = [(spec, dict(rng.sample(list(t.items()), len(t)))) for spec, t in state.items()]
        rng.shuffle(items)
        assert state_to_term(FullState(b"x", OrSet(dict(items)))) == state_to_term(FullState(b"x", state))

    @given(STATES)
    def test_elements_and_tokens_are_written_in_term_order(self, state):
        _, _, (_, dictionary) = state_to_term(FullState(b"x", state))
        assert dictionary == sorted(dictionary, key=lambda pair: spec_key(spec_from_term(pair[0])))
        for _, tokens in dictionary:
            assert tokens == sorted(tokens)

    def test_an_element_or_token_that_occurs_twice_is_malformed(self):
        tag, actor, (orset, (entry,)) = state_to_term(FullState(b"x", OrSet({spec(): {b"t": True}})))
        with pytest.raises(MalformedMessage, match="twice"):
            state_from_term((tag, actor, (orset, [entry, entry])))
        with pytest.raises(MalformedMessage, match="tokens"):
            state_from_term((tag, actor, (orset, [(entry[0], entry[1] * 2)])))

    def test_the_state_of_another_strategy_is_malformed(self):
        with pytest.raises(MalformedMessage, match="scamp_v1"):
            state_from_term((Atom("scamp_v1"), b"actor", {}, None))

    def test_the_speaker_is_the_member_of_that_name_at_that_address(self):
        old, new = spec(port=1), spec(port=2)
        state = FullState(b"x", OrSet({new: {b"n": True}, old: {b"o": True}, spec("b@h"): {b"b": True}}))
        assert speaker(state, "a@h", ListenAddress("127.0.0.1", 1)) == old
        assert speaker(state, "a@h", ListenAddress("127.0.0.1", 2)) == new
        assert speaker(state, "b@h") == spec("b@h")
        assert speaker(state, "c@h") is None

    def test_reading_and_writing_take_work_in_proportion_to_the_size(self):
        def work(size):
            rng = random.Random(size)
            entries = {spec(f"n{n}@h", 1 + n): {rng.randbytes(20): True} for n in range(size)}
            state = FullState(b"x", OrSet(entries))
            term = state_to_term(state)
            state_from_term(term)  # from now on, both directions know these specs
            return steps(lambda: (state_from_term(term), state_to_term(state)))

        assert work(800) < 20 * work(50)


class TestHandshake:
    @pytest.mark.parametrize(
        "message",
        [Hello("a@h"), Hello("a@h", "data"), Hello("a@h", "undefined"), State("undefined", (1, 2)), Refused()],
    )
    def test_a_message_survives_the_round_trip(self, message):
        assert handshake_from_term(handshake_to_term(message)) == message

    def test_the_terms_are_those_of_the_reference(self):
        assert handshake_to_term(Hello("a@h")) == (Atom("hello"), Atom("a@h"))
        assert handshake_to_term(Hello("a@h", "undefined")) == (Atom("hello"), Atom("a@h"), None)
        assert handshake_to_term(State("client", 7)) == (Atom("state"), Atom("client"), 7)
        assert handshake_to_term(Refused()) == (Atom("hello"), (Atom("error"), Atom("pang")))

    @pytest.mark.parametrize("term", [(), None, (Atom("ping"), 1), (Atom("state"), None), (Atom("x"), 1, 2)])
    def test_what_is_no_handshake_is_left_to_others(self, term):
        assert handshake_from_term(term) is None

    @pytest.mark.parametrize("rest", [(), (b"a@h",), (Atom("a@h"), b"data"), (Atom("a@h"), 1, 2), (Atom("a"),)])
    def test_a_hello_of_a_wrong_shape_is_malformed(self, rest):
        with pytest.raises(MalformedMessage):
            handshake_from_term((Atom("hello"), *rest))


class TestKeepalive:
    @pytest.mark.parametrize("message", [Ping("a@h", 7, 1), Pong("a@h", [b"x"], {}), Ping("a@h", None, -1)])
    def test_a_message_survives_the_round_trip(self, message):
        assert keepalive_from_term(keepalive_to_term(message)) == message

    @pytest.mark.parametrize("term", [7, (), (Atom("ping"), Atom("a@h"), 1), (Atom("pang"), Atom("a@h"), 1, 2)])
    def test_what_is_neither_ping_nor_pong_is_left_to_others(self, term):
        assert keepalive_from_term(term) is None

    def test_a_ping_that_names_no_node_is_malformed(self):
        with pytest.raises(MalformedMessage, match="keepalive"):
            keepalive_from_term((Atom("ping"), b"a@h", 1, 2))


FORWARD, SINK = Atom("forward_message"), Atom("sink")


def causal_term(message, dependencies=(), clock=1):
    clocks = [(Atom(node), [(Atom("a@h"), count)]) for node, count in dependencies]
    return (Atom("causal"), Atom("lbl"), Atom("b@h"), SINK, clocks, [(Atom("a@h"), clock)], message)


class TestForward:
    def test_a_plain_message_goes_to_its_target(self):
        assert inbound_from_term((FORWARD, SINK, b"hi")) == Forward(SINK, b"hi")

    def test_padding_is_taken_off_in_every_form(self):
        padded = (Atom("$partisan_padded"), b"p" * 64, b"hi")
        assert inbound_from_term((FORWARD, SINK, padded)).message == b"hi"
        assert inbound_from_term((FORWARD, Atom("a@h"), 1, SINK, padded)).message == b"hi"
        assert inbound_from_term((FORWARD, SINK, causal_term(padded))).message == b"hi"

    def test_a_five_tuple_says_what_acknowledgement_to_send_to_whom(self):
        clock = (None, [(Atom("a@h"), 2)])
        message = inbound_from_term((FORWARD, Atom("a@h"), clock, SINK, b"hi"))
        assert message == Forward(SINK, b"hi", ("a@h", (FORWARD, PLUGGABLE_MANAGER, (Atom("ack"), clock))))
        assert inbound_from_term(message.acknowledge[1]) == Ack(clock)

    def test_a_causal_message_is_stripped_of_its_wrapper(self):
        message = inbound_from_term((FORWARD, SINK, causal_term(b"hi", [("b@h", 1)], 2)))
        causal = Causal(Atom("lbl"), "b@h", (("b@h", (("a@h", 1),)),), (("a@h", 2),))
        assert message == Forward(SINK, b"hi", None, causal)

    def test_what_only_looks_causal_is_an_ordinary_message(self):
        term = (Atom("causal"), 1, 2, 3, 4, 5, 6)
        assert inbound_from_term((FORWARD, SINK, term)) == Forward(SINK, term)

    @pytest.mark.parametrize(
        "message",
        [
            Ack((None, [(Atom("a@h"), 1)])),
            Distance(False, spec("a@h"), spec("b@h"), (1, 2, 3)),
            Distance(True, spec("a@h"), spec("b@h"), (1, 2, 3)),
            Relay("x@h", (FORWARD, SINK, b"hi"), 4),
            Strategy((Atom("membership_strategy"), (1, 2))),
            Unknown((Atom("shuffle"), [], 3)),
        ],
    )
    def test_a_protocol_message_comes_addressed_or_bare_or_nested(self, message):
        term = {
            Ack: lambda: ack_to_term(message.clock),
            Distance: lambda: distance_to_term(message),
            Relay: lambda: relay_to_term(message),
        }.get(type(message), lambda: message.term)()
        assert inbound_from_term(term) == message
        assert inbound_from_term(to_manager(term)) == message
        assert inbound_from_term(to_manager(to_manager(term))) == message

    def test_another_manager_has_another_name(self):
        other = Atom("partisan_hyparview_peer_service_manager")
        term = to_manager(ack_to_term(1), other)
        assert inbound_from_term(term, other) == Ack(1)
        assert isinstance(inbound_from_term(term), Forward)

    def test_endless_nesting_is_malformed(self):
        term = b"x"
        for _ in range(1000):
            term = to_manager(term)
        with pytest.raises(MalformedMessage, match="nested"):
            inbound_from_term(term)

    @pytest.mark.parametrize(
        "term",
        [
            (FORWARD,),
            (FORWARD, 1),
            (FORWARD, 1, 2, 3),
            (FORWARD, b"a@h", 1, SINK, b"hi"),
            (Atom("relay_message"), Atom("x@h"), 1, None),
            (Atom("ping"), 1, 2, 3),
        ],
    )
    def test_a_known_tag_with_a_wrong_shape_is_malformed(self, term):
        with pytest.raises(MalformedMessage):
            inbound_from_term(term)
