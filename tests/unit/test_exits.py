"""What is told of a reason that cannot be sent."""

from __future__ import annotations

from partisan import Atom
from partisan.etf import encode
from partisan.runtime.exits import LINE, UNENCODABLE, plainer


class Torn:
    def __repr__(self) -> str:
        return "\udc80 torn"


def test_a_reason_of_any_size_becomes_a_line() -> None:
    wide = object()
    for _ in range(5):
        wide = (wide,) * 6
    what, text = plainer(wide)  # type: ignore[misc]
    assert what is UNENCODABLE
    assert len(text) <= LINE


def test_a_reason_whose_text_is_no_unicode_becomes_a_term_all_the_same() -> None:
    told = plainer(Torn())
    assert encode(told)
    assert told == (UNENCODABLE, "\\udc80 torn")


def test_what_cannot_be_sent_as_a_line_either_becomes_an_atom() -> None:
    assert plainer(plainer(b"x" * 1_000_000)) is UNENCODABLE
    assert plainer((Atom("unencodable"), object())) == UNENCODABLE
