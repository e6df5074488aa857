"""The compiled store of what was sent once does what the pure one does."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from partisan._core import acknowledged
from partisan.machines import outstanding

FIRST = outstanding.FIRST_NUMBER + 7

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("pop"), st.integers(-3, 60)),
        st.tuples(st.just("drop"), st.integers(-3, 60), st.integers(0, 30)),
    ),
    max_size=60,
)


def told(store: Any, first: int, last: int) -> Any:
    count, at, tags, missing = store.drop(first, last)
    return count, at if count else None, tags, missing


@given(STEPS)
def test_both_stores_agree_whatever_is_done(steps: list[Any]) -> None:
    compiled, pure = acknowledged.Fresh(FIRST), outstanding.Fresh(FIRST)
    now = 0.0
    for step in steps:
        if step[0] == "append":
            for number in range(step[1]):
                now += 1.0
                parcels = [outstanding.Parcel("m", number, number % 3 or None) for _ in range(2)]
                compiled.append(parcels[0], now)
                pure.append(parcels[1], now)
        elif step[0] == "pop":
            ours, theirs = compiled.pop(FIRST + step[1]), pure.pop(FIRST + step[1])
            assert (ours is None) == (theirs is None)
            assert ours is None or (ours.at, ours.octets, ours.tag) == (theirs.at, theirs.octets, theirs.tag)
        else:
            first = FIRST + step[1]
            assert told(compiled, first, first + step[2]) == told(pure, first, first + step[2])
        assert (len(compiled), compiled.octets, compiled.next) == (len(pure), pure.octets, pure.next)
        assert list(compiled) == list(pure)
        assert [compiled.at(number) for number in compiled] == [pure.at(number) for number in pure]
