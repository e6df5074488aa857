"""The terms that Python lacks: identity, equality, immutability, and what Python expects of values."""

import contextlib
import copy
import gc
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from partisan.etf import Atom, BitString, EncodeError, ErlMap, Export, Fun, ImproperList, Pid, Port, Reference, encode

PID = Pid("a@h", 12, 3, 4)
VALUES = [
    Atom("ok"),
    PID,
    Reference("a@h", (1, 2, 3), 4),
    Port("a@h", 2**40, 4),
    BitString(b"\xff\xe0", 3),
    ImproperList([1, 2], 3),
    Export(Atom("lists"), Atom("map"), 2),
    Fun(Atom("m"), 1, 2, b"u" * 16, 3, 4, PID, (1, b"x")),
    ErlMap([(1, b"a"), (1.0, b"b")]),
]


def test_atoms_of_one_name_are_one_object():
    assert Atom("ok") is Atom("ok")
    assert Atom(name="ok") is Atom("ok")
    assert Atom("ok") != Atom("error")


def test_an_atom_is_no_str():
    assert Atom("ok") != "ok"
    assert not isinstance(Atom("ok"), str)
    assert str(Atom("ok")) == "ok"
    assert repr(Atom("ok")) == "Atom('ok')"


def test_an_atom_matches_by_its_name():
    match (Atom("add"), 5):
        case (Atom("add"), k):
            assert k == 5
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize("name", ["", "x" * 255, "π" * 255, "true", "hello world"])
def test_an_atom_may_have_up_to_255_characters(name):
    assert Atom(name).name == name


def test_a_longer_atom_is_refused():
    with pytest.raises(EncodeError, match="255"):
        Atom("x" * 256)


@pytest.mark.parametrize("arguments", [(), (1,), ("a", "b")])
def test_an_atom_takes_one_str(arguments):
    with pytest.raises(TypeError):
        Atom(*arguments)


def test_an_atom_with_half_a_surrogate_pair_is_refused():
    with pytest.raises(EncodeError):
        Atom("\ud800")


def test_an_atom_that_nobody_holds_is_forgotten():
    before = len(gc.get_objects())
    for i in range(10_000):
        Atom(f"forgotten{i}")
    assert len(gc.get_objects()) < before + 1000
    assert Atom("forgotten1").name == "forgotten1"


def test_form_is_no_part_of_identity():
    assert Pid("a@h", 1) == Pid("a@h", 1, form="list")
    assert hash(Pid("a@h", 1)) == hash(Pid("a@h", 1, form="tuple"))
    assert Reference("a@h", [1]) == Reference("a@h", [1], form="list")
    assert Pid("a@h", 1, form="tuple").form == "tuple"


@pytest.mark.parametrize(
    "other", [Pid("b@h", 12, 3, 4), Pid("a@h", 13, 3, 4), Pid("a@h", 12, 4, 4), Pid("a@h", 12, 3, 5)]
)
def test_every_part_of_a_pid_counts(other):
    assert other != PID


def test_texts_are_those_of_partisan():
    assert Pid("a@h", 150, 7).text == "<0.150.7>"
    assert Reference("a@h", (79189, 3091202049, 1206613321)).text == "#Ref<0.1206613321.3091202049.79189>"


def test_a_pid_of_another_form_is_refused():
    with pytest.raises(ValueError):
        Pid("a@h", 1, form="ref")
    with pytest.raises(OverflowError):
        Pid("a@h", 2**32)


@pytest.mark.parametrize("words", [(), (1,) * 6])
def test_a_reference_has_one_to_five_words(words):
    with pytest.raises(ValueError):
        Reference("a@h", words)


def test_unused_bits_do_not_count():
    assert BitString(b"\xff", 1) == BitString(b"\x80", 1)
    assert len(BitString(b"ab", 3)) == 11


@pytest.mark.parametrize(("data", "bits"), [(b"", 1), (b"a", 0), (b"a", 8)])
def test_whole_octets_are_no_bit_string(data, bits):
    with pytest.raises(ValueError):
        BitString(data, bits)


def test_an_improper_list_joins_an_improper_tail_and_refuses_a_list():
    assert ImproperList([1], ImproperList([2], 3)) == ImproperList([1, 2], 3)
    with pytest.raises(ValueError):
        ImproperList([1], [2])
    with pytest.raises(ValueError):
        ImproperList([], 2)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_can_be_hashed_copied_pickled_and_shown(value):
    assert hash(value) == hash(copy.deepcopy(value))
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert type(value).__name__ in repr(value)
    assert value != object()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_cannot_be_changed(value):
    fields = [field for field in dir(value) if not field.startswith("_") and not callable(getattr(value, field))]
    assert fields or isinstance(value, ErlMap)
    for field in fields:
        with pytest.raises(AttributeError):
            setattr(value, field, getattr(value, field))
    if not isinstance(value, Atom):
        with pytest.raises(TypeError, match="immutable"):
            value.__init__(*value.__reduce__()[1])


@pytest.mark.parametrize("kind", [Pid, Reference, Port, BitString, ImproperList, Export, Fun, ErlMap])
def test_an_object_that_was_never_initialised_does_no_harm(kind):
    value = kind.__new__(kind)
    for use in (repr, hash, encode, lambda value: value == value):
        with contextlib.suppress(TypeError, AttributeError):
            use(value)


class TestErlMap:
    def test_keys_that_python_confuses_are_apart(self):
        mapping = ErlMap([(1, b"a"), (1.0, b"b"), (True, b"c")])
        assert len(mapping) == 3
        assert [mapping[1], mapping[1.0], mapping[True]] == [b"a", b"b", b"c"]
        assert 0 not in mapping

    def test_keys_may_be_unhashable(self):
        mapping = ErlMap({(): 1}.items() | [((2,), 2)])
        assert ErlMap([([1], 1), ({2: 3}, 2)])[[1]] == 1
        assert ErlMap([([1], 1), ({2: 3}, 2)])[{2: 3}] == 2
        assert mapping[(2,)] == 2

    def test_it_is_a_mapping(self):
        mapping = ErlMap({"a": 1, "b": 2})
        assert isinstance(mapping, Mapping)
        assert list(mapping) == list(mapping.keys()) == ["a", "b"]
        assert list(mapping.values()) == [1, 2]
        assert list(mapping.items()) == [("a", 1), ("b", 2)]
        assert mapping.get("c") is None
        assert mapping.get(object(), 3) == 3
        with pytest.raises(KeyError):
            mapping["c"]
        match mapping:
            case {"a": one}:
                assert one == 1
            case _:
                pytest.fail("no match")

    def test_it_equals_what_is_exactly_equal(self):
        assert ErlMap({1: 2, 3: 4}) == ErlMap([(3, 4), (1, 2)])
        assert ErlMap({1: 2}) == {1: 2}
        assert ErlMap({1: 2}) != {1.0: 2}
        assert ErlMap({1: 2}) != {1: 2.0}
        assert ErlMap({"a": 1}) == {b"a": 1}
        assert ErlMap({1: object()}) != {1: 2}

    def test_it_is_hashable_when_its_contents_are(self):
        assert hash(ErlMap({1: 2, 3: 4})) == hash(ErlMap([(3, 4), (1, 2)]))
        with pytest.raises(TypeError):
            hash(ErlMap({1: []}))

    def test_a_key_that_is_there_twice_is_refused(self):
        with pytest.raises(ValueError, match="twice"):
            ErlMap([(b"a", 1), ("a", 2)])

    def test_it_nests(self):
        inner = ErlMap([(1, 2), (1.0, 3)])
        assert ErlMap([(inner, 1)])[ErlMap([(1.0, 3), (1, 2)])] == 1
        assert encode(inner) == encode(ErlMap(inner))


def test_an_atom_that_a_finaliser_makes_while_one_of_that_name_is_made_is_the_same() -> None:
    class Finalised:
        made: Atom

        def __del__(self) -> None:
            Finalised.made = Atom(self.name)

        name = ""

    found = gc.get_threshold()
    for threshold in range(1, 8):
        name = f"made_twice_{threshold}"
        gc.collect()
        gc.disable()
        kept: list[Any] = [(number, []) for number in range(3000)]  # what frees some others puts it off
        cycle = Finalised()
        cycle.name = name
        cycle.itself = cycle  # type: ignore[attr-defined]
        del cycle
        try:
            gc.set_threshold(gc.get_count()[0] + threshold)
            gc.enable()
            mine = Atom(name)
            gc.disable()
            del kept
            gc.collect()
        finally:
            gc.set_threshold(*found)
            gc.enable()
        assert mine is Finalised.made
