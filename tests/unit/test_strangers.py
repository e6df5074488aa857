"""Which relayed messages of real nodes are copies."""

from __future__ import annotations

from partisan.runtime.strangers import MOST, WITHIN, Strangers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_way_by_which_a_message_came_first_is_taken_and_others_are_copies() -> None:
    came = Strangers(Clock())
    assert came.first("a", 4, b"m")
    assert not came.first("b", 4, b"m")
    assert not came.first("a", 3, b"m")
    assert came.first("a", 4, b"m")
    assert came.first("b", 4, b"other")


def test_after_a_while_another_way_may_be_the_first() -> None:
    clock = Clock()
    came = Strangers(clock)
    assert came.first("a", 4, b"m")
    clock.now += WITHIN
    assert came.first("b", 3, b"m")
    assert not came.first("a", 4, b"m")


def test_what_is_remembered_is_bounded() -> None:
    came = Strangers(Clock())
    for number in range(MOST + 10):
        assert came.first("a", 4, str(number).encode())
    assert len(came) == MOST
