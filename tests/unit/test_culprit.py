"""What an error of the encoder says about the value that it could not write."""

import collections
import pickle

import pytest

from partisan.etf import Atom, Codec, EncodeError, ErlMap, Fun, ImproperList, Pid, encode, encode_iovec, term_key


class Thing:
    def __repr__(self):
        return "<thing>"


class Sly(list):
    def __iter__(self):
        return iter(())


THING = Thing()
Point = collections.namedtuple("Point", "x y")
FUN = Fun(Atom("m"), 1, 1, b"u" * 16, 5, 1, Pid("a@h", 1), (1, THING))


@pytest.mark.parametrize(
    ("term", "place"),
    [
        ({"k": [1, THING]}, "['k'][1]"),
        ([1, 2, 3, THING], "[3]"),
        ((1, Point(1, {"a": THING})), "[1][1]['a']"),
        ({Atom("a"): {b"b": 1, "c": (THING,)}}, "[Atom('a')]['c'][0]"),
        ({"a": {(1, THING): 2}}, "['a'] key (1, <thing>)[1]"),
        (ImproperList([1, [THING]], 2), "[1][0]"),
        (ImproperList([1], (THING,)), ".tail[0]"),
        (ErlMap({1: 2, "k": [THING]}), "['k'][0]"),
        ([FUN], "[0].free[1]"),
        ([[1], Sly([1, THING])], "[1][1]"),
        ([[[]], {}, [THING], THING], "[2][0]"),
        ({10**5000: THING}, "[<int>]"),
    ],
)
def test_a_value_without_a_format_is_shown_with_its_place(term, place):
    for write in (encode, encode_iovec, Codec().encode):
        with pytest.raises(EncodeError) as caught:
            write(term)
        assert str(caught.value) == f"Thing has no external term format: <thing> at {place}"


def test_a_term_that_is_itself_the_culprit_has_no_place():
    with pytest.raises(EncodeError) as caught:
        encode(THING)
    assert str(caught.value) == "Thing has no external term format: <thing>"


def test_a_float_and_a_text_that_have_no_format_are_shown_with_their_place():
    with pytest.raises(EncodeError, match=r"^Erlang has no such float: nan at \['a'\]\[2\]$"):
        encode({"a": [1.0, 2.0, float("nan")]})
    with pytest.raises(EncodeError, match=r"^a str is no valid Unicode: 'x\\udc80' at \[1\]$"):
        encode([1, "x\udc80"])


def test_an_error_keeps_neither_the_value_nor_a_long_repr_of_it():
    for write in (encode, term_key, lambda term: ErlMap([(term, 1)])):
        with pytest.raises(EncodeError) as caught:
            write([THING, lambda: None])
        assert not vars(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(EncodeError) as caught:
        encode([set(range(10_000))])
    assert len(str(caught.value)) < 100


def test_a_deep_place_is_shown_without_its_middle():
    term = [THING]
    for _ in range(100):
        term = [0, term]
    with pytest.raises(EncodeError) as caught:
        encode(term)
    assert str(caught.value).endswith(" at [1][1][1][1][1][1] ... 89 more ... [1][1][1][1][1][0]")


def test_a_place_behind_very_many_values_is_not_looked_for():
    with pytest.raises(EncodeError) as caught:
        encode([[0] * 1_000_000, THING])
    assert str(caught.value) == "Thing has no external term format: <thing>"


def test_a_value_that_raises_when_it_is_shown_is_named_by_its_type():
    class Mute:
        def __repr__(self):
            raise ValueError

    with pytest.raises(EncodeError, match=r"^Mute has no external term format: <Mute instance at 0x\w+> at \[0\]$"):
        encode([Mute()])


def test_a_limit_that_is_passed_has_no_place():
    with pytest.raises(EncodeError, match=r"levels$"):
        Codec(max_depth=2).encode([[[1]]])
