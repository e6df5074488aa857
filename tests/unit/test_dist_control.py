"""Control messages of Erlang's distribution."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.dist.control import (
    NO_PAYLOAD,
    BadControl,
    Control,
    Demonitor,
    Down,
    Exit,
    Ignored,
    Link,
    Message,
    Monitor,
    Op,
    Spawn,
    SpawnReply,
    Unlink,
    UnlinkAck,
    read,
    written,
)
from partisan.etf import Atom, Pid, Reference
from tests.oracle.strategies import TERMS
from tests.oracle.values import as_value

US, THEM, REF = Pid("a@h", 1), Pid("b@h", 2), Reference("a@h", (1, 2, 3))
NAME = Atom("bob")
TOKEN = (Atom("token"),)

EVERY: list[Control] = [
    Message(US, THEM, b"x"),
    Message(None, THEM, b"x"),
    Message(US, NAME, None),
    Message(US, REF, [1]),
    Link(US, THEM),
    Unlink(2**64 - 1, US, THEM),
    UnlinkAck(1, US, THEM),
    Exit(US, THEM, NAME, True),
    Exit(US, THEM, NAME, False),
    Monitor(US, THEM, REF),
    Monitor(US, NAME, REF),
    Demonitor(US, NAME, REF),
    Down(THEM, US, REF, NAME),
    Down(NAME, US, REF, (1, 2)),
    Spawn(REF, US, US, Atom("m"), Atom("f"), 2, [1, 2], [Atom("link")]),
    SpawnReply(REF, THEM, 3, US),
    SpawnReply(REF, THEM, 0, Atom("notsup")),
]


def read_back(tuple_and_payload: tuple[tuple[Any, ...], Any]) -> Control:
    control, payload = tuple_and_payload
    return read(control, payload, has_payload=payload is not NO_PAYLOAD)


@pytest.mark.parametrize("payloads", [True, False])
@pytest.mark.parametrize("control", EVERY, ids=str)
def test_what_is_written_is_read(control: Control, payloads: bool) -> None:
    assert read_back(written(control, payloads=payloads)) == control


@pytest.mark.parametrize(
    ("term", "payload", "control"),
    [
        ((12, Atom(""), US, TOKEN), b"x", Message(None, US, b"x")),
        ((13, THEM, US, TOKEN, NAME), NO_PAYLOAD, Exit(THEM, US, NAME, True)),
        ((16, THEM, Atom(""), NAME, TOKEN), b"x", Message(THEM, NAME, b"x")),
        ((18, THEM, US, TOKEN, NAME), NO_PAYLOAD, Exit(THEM, US, NAME, False)),
        ((23, THEM, US, TOKEN), b"x", Message(THEM, US, b"x")),
        ((25, THEM, US, TOKEN), NAME, Exit(THEM, US, NAME, True)),
        ((27, THEM, US, TOKEN), NAME, Exit(THEM, US, NAME, False)),
        ((34, THEM, REF, TOKEN), b"x", Message(THEM, REF, b"x")),
        ((32, REF, US, 2, THEM, TOKEN), NO_PAYLOAD, SpawnReply(REF, US, 2, THEM)),
        ((5,), NO_PAYLOAD, Ignored()),
        ((4, THEM, US), NO_PAYLOAD, Ignored()),
        ((7, THEM, US), NO_PAYLOAD, Ignored()),
    ],
)
def test_traced_and_old_forms_are_read_as_what_they_mean(term: Any, payload: Any, control: Control) -> None:
    assert read_back((term, payload)) == control


@pytest.mark.parametrize(
    ("term", "payload"),
    [
        (NAME, NO_PAYLOAD),
        ((), NO_PAYLOAD),
        ((Atom("link"), US, THEM), NO_PAYLOAD),
        ((0,), NO_PAYLOAD),
        ((99, US, THEM), NO_PAYLOAD),
        ((-1, US, THEM), NO_PAYLOAD),
        ((1, US), NO_PAYLOAD),
        ((1, US, THEM), b"payload"),
        ((1, US, NAME), NO_PAYLOAD),
        ((2, Atom(""), THEM), NO_PAYLOAD),
        ((6, US, Atom(""), THEM), b"x"),
        ((19, US, THEM, 1), NO_PAYLOAD),
        ((19, US, 1, REF), NO_PAYLOAD),
        ((33, US, THEM), b"x"),
        ((35, 0, US, THEM), NO_PAYLOAD),
        ((35, 2**64, US, THEM), NO_PAYLOAD),
        ((29, REF, US, US, (Atom("m"), Atom("f"), 2), []), [1]),
        ((29, REF, US, US, (Atom("m"), Atom("f"), -1), []), []),
        ((29, REF, US, US, NAME, []), []),
        ((29, REF, US, US, (Atom("m"), Atom("f"), 0), NAME), []),
        ((31, REF, US, -1, THEM), NO_PAYLOAD),
    ],
)
def test_what_is_malformed_has_a_name(term: Any, payload: Any) -> None:
    with pytest.raises(BadControl):
        read_back((term, payload))


@given(TERMS.map(as_value), st.sampled_from([NO_PAYLOAD, None, [], [1]]))
def test_no_term_does_more_than_be_refused(term: Any, payload: Any) -> None:
    with contextlib.suppress(BadControl):
        read_back((term, payload))


def test_a_refusal_shows_only_the_beginning_of_a_long_term() -> None:
    with pytest.raises(BadControl) as caught:
        read((99, "x" * 10_000))
    assert len(str(caught.value)) < 300


@given(st.sampled_from(list(Op)), st.lists(TERMS.map(as_value), max_size=6), st.booleans())
def test_no_tuple_of_an_operation_does_more_than_be_refused(op: Op, rest: list[Any], payload: bool) -> None:
    try:
        read((int(op), *rest), [], has_payload=payload)
    except BadControl:
        return


def test_what_cannot_be_sent_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        written(Ignored())
    with pytest.raises(TypeError):
        written(Message(None, NAME, 1))
