"""The messages of a strategy of one's own as terms: what comes back, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan import etf
from partisan.errors import MembershipTooLarge
from partisan.etf import Atom, Codec
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from partisan.wire import full
from partisan.wire.atom import MalformedMessage
from partisan.wire.records import VALUES, Records


@dataclass(frozen=True)
class Inner:
    peer: NodeSpec


@dataclass(frozen=True)
class Outer:
    value: Any
    more: Mapping[Any, Any]


def spec(name: str) -> NodeSpec:
    return NodeSpec.of(f"{name}@h", (ListenAddress("127.0.0.1", 1),), {"undefined": ChannelOptions()})


A, B = spec("a"), spec("b")
RECORDS = Records("Mine", (Outer, Inner), 100)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(),
    st.sampled_from((A, B)),
)
VALUE = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(PLAIN, inner), max_leaves=12
)


@pytest.mark.parametrize("codec", [Codec(), Codec(binaries="str"), Codec(strings="list"), Codec(none="nil")])
@given(value=VALUE, more=st.dictionaries(PLAIN, VALUE, max_size=3))
def test_whatever_a_field_may_hold_comes_back(codec: Codec, value: Any, more: dict[Any, Any]) -> None:
    message = Outer((value, Inner(B)), more)
    sent = codec.decode(codec.encode(RECORDS.message_to_term(A, message)))
    assert repr(RECORDS.message_from_term(sent)) == repr((A, message))
    sent = codec.decode(codec.encode(RECORDS.greeting_to_term(A, message)))
    assert repr(RECORDS.greeting_from_term(sent)) == repr((A, message))


TERMS = st.recursive(
    st.one_of(
        st.none(), st.integers(), st.binary(), st.sampled_from([Atom(n) for n in ("record", "text", "dict", "Outer")])
    ),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=10,
)


@given(TERMS)
def test_any_other_term_is_malformed(term: Any) -> None:
    strategy, name = Atom("partisan_strategy"), Atom("Mine")
    spec_term = RECORDS.greeting_to_term(A, None)[2]
    for whole in (term, (strategy, name, spec_term, term), (strategy, name, term, Atom("none"))):
        try:
            found = RECORDS.greeting_from_term(whole)
        except MalformedMessage:
            continue
        assert found[0] == A
    for whole in (term, (Atom("membership_strategy"), term), (Atom("membership_strategy"), (spec_term, term))):
        with pytest.raises(MalformedMessage):
            RECORDS.message_from_term(whole)


def test_only_the_classes_that_the_strategy_names_are_made() -> None:
    others = Records("Mine", (Inner,), 100)
    with pytest.raises(MalformedMessage):
        others.greeting_from_term(RECORDS.greeting_to_term(A, Outer(1, {})))
    with pytest.raises(TypeError, match="Outer has no place"):
        others.greeting_to_term(A, Outer(1, {}))


def test_another_strategy_is_named() -> None:
    other = Records("Other", (Outer, Inner), 100)
    with pytest.raises(MalformedMessage, match="with Other, this node with Mine"):
        RECORDS.message_from_term(other.message_to_term(A, Inner(B)))


def test_more_values_than_the_limit_allows_are_refused() -> None:
    small = Records("Mine", (Outer,), 1)
    for value in (tuple(range(VALUES + 1)), ((1, 2),) * VALUES, dict.fromkeys(range(VALUES + 1))):
        with pytest.raises(MembershipTooLarge, match=f"limit of {VALUES}"):
            small.greeting_from_term(small.greeting_to_term(A, value))


def test_values_that_are_nested_too_deeply_are_malformed() -> None:
    value: Any = ()
    for _ in range(40):
        value = (value,)
    with pytest.raises(MalformedMessage, match="deep"):
        RECORDS.greeting_from_term(RECORDS.greeting_to_term(A, value))


def test_a_set_of_a_million_is_refused_before_any_of_it_is_read() -> None:
    term = (Atom("full_v1"), b"a" * 20, (Atom("state_orset"), [object()] * 1_000_000))
    with pytest.raises(MembershipTooLarge) as caught:
        full.state_from_term(term, 16_384)
    assert (caught.value.found, caught.value.limit) == (1_000_000, 16_384)
    with pytest.raises(MembershipTooLarge):
        full.gossip_from_term((Atom("membership_strategy"), (object(), term)), 16_384)


def test_a_million_tokens_of_one_element_are_refused_before_any_of_them_is_read() -> None:
    term = (Atom("full_v1"), b"a" * 20, (Atom("state_orset"), [(object(), [object()] * 1_000_000)]))
    with pytest.raises(MembershipTooLarge, match="tokens is above the limit of 64000"):
        full.state_from_term(term, 1000)


def test_a_state_at_the_limit_is_read() -> None:
    entries = [(RECORDS.greeting_to_term(each, None)[2], [(b"t", True)]) for each in (A, B)]
    term = etf.decode(etf.encode((Atom("full_v1"), b"a" * 20, (Atom("state_orset"), entries))))
    assert full.state_from_term(term, 2).state.members == (A, B)
    with pytest.raises(MembershipTooLarge):
        full.state_from_term(term, 1)
