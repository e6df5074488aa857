"""Relayed frames as terms: there and back, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from partisan.etf import Atom, decode, encode
from partisan.machines.relay_messages import Frame, Parcel, Receipt, Word
from partisan.wire.atom import MalformedMessage
from partisan.wire.relay import frame_from_term, frame_to_term, load_from_term, load_to_term

FRAMES = [
    Frame("a@h", 1, 2, "b@h", 3, False, False, Parcel(4, 3, b"load", 4)),
    Frame("a@h", 1 << 70, 2, "b@h", 0, True, True, Receipt("b@h", 7, 0, 9)),
    Frame("a@h", 1, 2, None, 64, True, False, Word("c@h", 5, False)),
    Frame("a@h", 1, 2, None, 64, True, False, Word("a@h", 5, True)),
]
GOOD: tuple[Any, ...] = frame_to_term(FRAMES[0])


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame.body).__name__)
def test_a_frame_comes_back_from_the_wire_as_it_was(frame: Frame) -> None:
    term: Any = decode(encode(frame_to_term(frame)))
    assert frame_from_term(term) == frame


@pytest.mark.parametrize(
    ("at", "value"),
    [(1, b"a@h"), (1, Atom("nowhere")), (2, 1.0), (3, True), (4, 5), (5, None), (6, 4), (6, -1), (7, ()), (7, None)],
)
def test_what_is_no_frame_is_malformed(at: int, value: object) -> None:
    with pytest.raises(MalformedMessage, match="relay"):
        frame_from_term((*GOOD[:at], value, *GOOD[at + 1 :]))


@pytest.mark.parametrize(
    "body",
    [
        (Atom("parcel"), 1, 1, "text"),
        (Atom("parcel"), 1, 1),
        (Atom("receipt"), Atom("b"), 1, 1, 1),
        (Atom("found"), Atom("b@h"), 1),
        (Atom("lost"), Atom("b@h"), None),
    ],
)
def test_a_frame_of_an_unknown_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedMessage, match="relay"):
        frame_from_term((*GOOD[:7], body))


def test_a_frame_of_another_length_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        frame_from_term(GOOD[:7])


@pytest.mark.parametrize("channel", [None, "data"])
def test_a_load_comes_back_as_it_was(channel: str | None) -> None:
    term = decode(encode(load_to_term(Atom("sink"), [1, b"x"], channel)))
    assert load_from_term(term) == (Atom("sink"), [1, b"x"], channel)


@pytest.mark.parametrize("term", [None, (), (1, 2), (Atom("sink"), 1, 5)])
def test_what_is_no_load_is_malformed(term: object) -> None:
    with pytest.raises(MalformedMessage, match="relayed message"):
        load_from_term(term)
