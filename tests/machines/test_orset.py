"""The observed-remove set: its laws, and that merging large sets stays linear."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from partisan.machines.orset import OrSet
from tests.work import steps

TOKENS = st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.booleans(), min_size=1)
SETS = st.builds(OrSet, st.dictionaries(st.integers(0, 5), TOKENS))


def test_an_added_element_is_a_member_until_it_is_removed():
    one = OrSet().add("x", b"1")
    assert "x" in one
    assert one.members == ("x",)
    none = one.remove(["x"])
    assert "x" not in none
    assert none.members == ()
    assert none.tokens("x") == {b"1": False}
    assert len(none) == 1


def test_a_set_never_changes():
    one = OrSet().add("x", b"1")
    one.add("y", b"2")
    one.remove(["x"])
    one.merge(OrSet().add("z", b"3"))
    assert one == OrSet({"x": {b"1": True}})


def test_removing_what_is_no_member_is_nothing():
    one = OrSet().add("x", b"1")
    assert one.remove(["y"]) is one
    gone = one.remove(["x"])
    assert gone.remove(["x"]) is gone


def test_a_removal_wins_over_the_copies_it_saw_and_loses_to_an_addition_it_did_not():
    one = OrSet().add("x", b"1")
    removed = one.remove(["x"])
    assert "x" not in removed.merge(one)
    assert "x" in removed.merge(one.add("x", b"2"))


def test_merging_what_is_known_returns_the_set_itself():
    large = OrSet({n: {b"t": True} for n in range(10)})
    small = OrSet({n: {b"t": True} for n in range(5)})
    assert large.merge(small) is large
    assert small.merge(large) is large
    assert large.merge(OrSet(dict(large.items()))) is large


@given(SETS, SETS, SETS)
def test_merge_is_commutative_associative_and_idempotent(a, b, c):
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a
    assert a.merge(b).merge(b) == a.merge(b)


@given(SETS, SETS)
def test_merge_knows_everything_that_either_knew(a, b):
    both = a.merge(b)
    for element in {*a, *b}:
        for token in {*a.tokens(element), *b.tokens(element)}:
            known = [s.tokens(element)[token] for s in (a, b) if token in s.tokens(element)]
            assert both.tokens(element)[token] is all(known)
    assert both.token_count == sum(len(both.tokens(element)) for element in both)


@dataclass(frozen=True)
class Member:
    """An element whose comparisons are steps of Python, as those of a node spec are."""

    number: int


def test_merging_large_sets_takes_work_in_proportion_to_their_size():
    def work(size):
        a = OrSet({Member(n): {b"a": True} for n in range(size)})
        b = OrSet({Member(n): {b"b": True} for n in range(size // 2, size + size // 2)})
        return steps(lambda: a.merge(b))

    assert work(4_000) < 20 * work(250)
