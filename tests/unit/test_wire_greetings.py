"""Which overlay a greeting is of."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.config import Config
from partisan.etf import Atom, ErlMap
from partisan.managers.client_server import ClientServerGlue
from partisan.managers.glue import Glue
from partisan.managers.hyparview import HyParViewGlue
from partisan.managers.static import StaticGlue
from partisan.managers.strategies import Full, Own, Partial
from partisan.names import ListenAddress, NodeSpec
from partisan.wire.atom import MalformedMessage
from partisan.wire.greetings import check_overlay, overlay_of

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from random_gossip import RandomGossip

SPEC = NodeSpec("a@h", (ListenAddress("127.0.0.1", 1),), ())
GLUES: list[Glue] = [
    Full(10),
    Partial(1, 10),
    Partial(2, 10),
    Own(RandomGossip, 10),
    HyParViewGlue(),
    ClientServerGlue(10),
    StaticGlue(10),
]


def greeting(glue: Glue) -> object:
    """What a node that has just started tells."""
    machine = glue.build(SPEC, glue.options(Config(name=SPEC.name)), Random(1), None)
    return glue.greeting_to_term(SPEC, machine.greeting)


@pytest.mark.parametrize("glue", GLUES, ids=lambda glue: glue.name)
def test_the_greeting_of_every_overlay_is_known_by_its_name(glue: Glue) -> None:
    term = greeting(glue)
    tag = "static" if glue.name == "static" else "undefined"
    assert overlay_of(tag, term) == glue.name
    check_overlay(glue.name, tag, term)
    for ours in {each.name for each in GLUES} - {glue.name}:
        with pytest.raises(MalformedMessage, match=f"the peer runs {glue.name}, this node {ours}$"):
            check_overlay(ours, tag, term)


@pytest.mark.parametrize("tag", ["client", "server", "undefined", "anything"])
def test_a_set_of_members_with_any_other_role_is_of_client_server(tag: str) -> None:
    assert overlay_of(tag, greeting(GLUES[-1])) == "client_server"


@pytest.mark.parametrize("tag", ["static", "server"])
def test_the_role_of_hyparview_may_be_any(tag: str) -> None:
    assert overlay_of(tag, greeting(HyParViewGlue())) == "hyparview"


@pytest.mark.parametrize(
    "term",
    [
        None,
        7,
        (),
        (1, 2, 3),
        ErlMap([]),
        ErlMap([(b"a@h", 1)]),
        (Atom("full_v1"), b"a"),
        (Atom("full_v2"), b"a", 1),
        (Atom("state"), [], 1),
        (Atom("scamp_v1"), b"a", ErlMap([])),
        (Atom("partisan_strategy"), b"name", 1, 2),
        (Atom("partisan_strategy"), Atom("not\na name"), 1, 2),
        (Atom("set"), 0, 16, 16, 8, 80, 48, (), ()),
    ],
)
def test_what_is_of_no_overlay_is_left_to_who_reads_it(term: object) -> None:
    assert overlay_of("undefined", term) is None
    for glue in GLUES:
        check_overlay(glue.name, "undefined", term)


WORDS = st.sampled_from([*map(Atom, ("full_v1", "scamp_v1", "scamp_v2", "state", "partisan_strategy")), None, b"", 1])
TERMS: st.SearchStrategy[Any] = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=6).map(tuple),
        st.lists(inner, max_size=2).map(lambda values: ErlMap(list(enumerate(values)))),
    ),
)


@given(st.sampled_from(["static", "undefined"]), TERMS)
def test_no_term_does_more_than_be_known_or_not(tag: str, term: object) -> None:
    found = overlay_of(tag, term)
    assert found is None or found.isidentifier()
