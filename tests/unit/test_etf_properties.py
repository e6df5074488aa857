"""Laws of the codec over all terms, each against the oracle where the oracle can tell."""

import copy
import pickle
from collections import namedtuple
from enum import IntEnum
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from partisan import etf
from tests.oracle import cases, chance, writer
from tests.oracle import etf as oracle
from tests.oracle.order import compare
from tests.oracle.strategies import ORDERED_TERMS, TERMS, VALUES
from tests.oracle.values import as_term, as_value

settings.register_profile("codec", max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("codec")

CODEC = etf.Codec()
KEPT = etf.Codec(remote_refs=True, encode_refs=None)
CONFUSED = oracle.Map(
    frozenset(
        {
            (oracle.Int(1), oracle.Atom("a")),
            (oracle.Float(b"\x3f\xf0\0\0\0\0\0\0"), oracle.Atom("b")),
            (oracle.Atom("true"), oracle.Atom("c")),
        }
    )
)
NEGATIVE_ZERO = oracle.Float(b"\x80" + bytes(7))
ZERO = oracle.Float(bytes(8))


def verdict(data: bytes) -> oracle.Term | None:
    """Return what the specification makes of the octets, None when nothing."""
    try:
        return oracle.decode(data)
    except oracle.Malformed:
        return None


def judged(codec: etf.Codec, data: bytes) -> oracle.Term | None:
    try:
        value = codec.decode(data)
    except etf.DecodeError:
        return None
    return as_term(value, "kept")


@given(TERMS)
@example(CONFUSED)
@example(oracle.Map(frozenset({(ZERO, ZERO), (NEGATIVE_ZERO, ZERO)})))
def test_what_is_encoded_is_the_term_and_decodes_to_it(term: oracle.Term) -> None:
    value = as_value(term)
    octets = CODEC.encode(value)
    assert oracle.decode(octets) == term
    again = CODEC.decode(octets)
    assert as_term(again) == term
    assert etf.exactly_equal(again, value)
    assert b"".join(CODEC.encode_iovec(value)) == octets


@given(TERMS, st.randoms(use_true_random=False))
def test_every_spelling_of_a_term_decodes_to_the_same_value(term: oracle.Term, rng: Random) -> None:
    octets = writer.encode(term, rng.choice)
    assert as_term(CODEC.decode(octets)) == term
    assert etf.exactly_equal(CODEC.decode(octets), as_value(term))
    assert CODEC.decode(octets[:1] + cases.compressed(octets[1:])[1:]) == CODEC.decode(octets)


@given(VALUES)
def test_values_of_plain_python_are_the_terms_that_the_design_says(value: Any) -> None:
    octets = CODEC.encode(value)
    assert oracle.decode(octets) == as_term(value)
    assert etf.exactly_equal(CODEC.decode(octets), value)


@given(VALUES, st.integers(0, 9))
def test_compression_changes_the_octets_and_nothing_else(value: Any, level: int) -> None:
    octets = etf.encode([value, "z" * 300], compressed=level)
    assert (octets[1] == 80) == (level > 0)
    assert oracle.decode(octets) == as_term([value, "z" * 300])
    assert etf.exactly_equal(etf.decode(octets), [value, "z" * 300])


@settings(max_examples=400)
@given(TERMS, st.integers(0, 2**64).map(Random))
def test_damaged_octets_are_a_term_exactly_when_the_specification_says_so(term: oracle.Term, rng: Random) -> None:
    octets = chance.mutated(rng, writer.encode(term, rng.choice))
    expected = verdict(octets)
    assert judged(CODEC, octets) == expected
    assert judged(KEPT, octets) == expected


@settings(max_examples=400)
@given(st.binary(max_size=40), st.sampled_from(b"FMPRXYZabcdefghijklmnopqrstuvwxy"))
def test_garbage_is_a_term_exactly_when_the_specification_says_so(garbage: bytes, tag: int) -> None:
    octets = b"\x83" + bytes([tag]) + garbage
    assert judged(CODEC, octets) == verdict(octets)


@given(TERMS, TERMS)
@example(ZERO, NEGATIVE_ZERO)
@example(oracle.Int(1), oracle.Float(b"\x3f\xf0\0\0\0\0\0\0"))
@example(oracle.List(()), oracle.Tuple(()))
def test_exact_equality_is_erlangs(a: oracle.Term, b: oracle.Term) -> None:
    assert etf.exactly_equal(as_value(a), as_value(a))
    assert etf.exactly_equal(as_value(a), as_value(b)) == (a == b)


@given(TERMS)
def test_own_types_compare_hash_copy_and_pickle_by_content(term: oracle.Term) -> None:
    value, twin = as_value(term), as_value(term)
    assert value == twin
    assert etf.exactly_equal(pickle.loads(pickle.dumps(value)), value)
    assert etf.exactly_equal(copy.deepcopy(value), value)
    assert repr(value) == repr(twin)
    try:
        hashed = hash(value)
    except TypeError:
        return
    assert hashed == hash(twin)


@settings(max_examples=300)
@given(ORDERED_TERMS, ORDERED_TERMS)
@example(oracle.Int(2**53 + 1), oracle.Float(b"\x43\x40\0\0\0\0\0\0"))
@example(oracle.List((oracle.Int(1),)), oracle.List((oracle.Int(1),), oracle.Atom("a")))
@example(oracle.Bits(b"\x80", 1), oracle.Bits(b"\x80"))
@example(CONFUSED, oracle.Map(frozenset((key, oracle.Int(0)) for key, _ in CONFUSED.pairs)))
def test_the_sort_key_orders_as_the_manual_says(a: oracle.Term, b: oracle.Term) -> None:
    x, y = etf.term_key(as_value(a)), etf.term_key(as_value(b))
    assert (x > y) - (x < y) == (compare(a, b) > 0) - (compare(a, b) < 0)


def test_kinds_of_terms_are_ordered_as_the_manual_says() -> None:
    node, atom = "a@h", etf.Atom("a")
    kinds = [
        1.5,
        atom,
        etf.Reference(node, (1, 2, 3)),
        etf.Export(atom, atom, 1),
        etf.Port(node, 1),
        etf.Pid(node, 1),
        (),
        {},
        [],
        [0],
        b"",
    ]
    mixed = kinds[::-1]
    assert sorted(mixed, key=etf.term_key) == kinds


@given(st.dictionaries(st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -1.0]), st.integers()))
def test_a_dict_is_used_where_it_is_faithful(pairs: dict[Any, int]) -> None:
    assert type(CODEC.decode(CODEC.encode(pairs))) is dict


def test_keys_that_python_confuses_make_a_map_that_keeps_them_apart() -> None:
    value = CODEC.decode(writer.encode(CONFUSED))
    assert type(value) is etf.ErlMap
    assert len(value) == 3
    assert (value[1], value[1.0], value[True]) == (etf.Atom("a"), etf.Atom("b"), etf.Atom("c"))
    assert 0 not in value
    assert value.get(2, "none") == "none"
    with pytest.raises(KeyError):
        value[2]
    assert oracle.decode(CODEC.encode(value)) == CONFUSED


def test_nil_and_undefined_are_two_keys_where_none_is_nil_also_of_a_map_that_is_no_dict() -> None:
    elixir = etf.Codec(none="nil")

    def written(keys: list[Any]) -> bytes:
        pairs = [bytes(elixir.encode(key))[1:] + bytes([97, number]) for number, key in enumerate(keys)]
        return b"\x83t" + len(keys).to_bytes(4, "big") + b"".join(pairs)

    keys = [1, 1.0, None, etf.Atom("undefined"), (None,), (etf.Atom("undefined"),)]
    value = elixir.decode(written(keys))
    for each in value, pickle.loads(pickle.dumps(value)), copy.deepcopy(value):
        assert isinstance(each, etf.ErlMap)
        assert [each[key] for key in keys] == list(each.values()) == list(range(6))
        assert each == value
        assert hash(each) == hash(value)
        assert elixir.encode(each) == written(keys)
        with pytest.raises(etf.EncodeError, match="one key on the wire"):
            CODEC.encode(each)
    with pytest.raises(etf.DecodeError, match="there twice"):
        elixir.decode(written([*keys, None]))


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", 1), (b"a", 2)],
        [(etf.Atom("true"), 1), (True, 2)],
        [(etf.Atom("undefined"), 1), (None, 2)],
        [(("x", 1), 1), ((b"x", 1), 2)],
    ],
    ids=["str and bytes", "atom and bool", "atom and None", "inside a tuple"],
)
def test_two_keys_that_become_one_term_are_refused(pairs: list[tuple[Any, int]]) -> None:
    assert len(dict(pairs)) == 2
    with pytest.raises(etf.EncodeError):
        CODEC.encode(dict(pairs))
    with pytest.raises(ValueError):
        etf.ErlMap(pairs)


def test_a_map_from_the_wire_with_a_key_twice_is_malformed() -> None:
    for key in (b"a\x01", b"w\x01x", b"j", b"F" + bytes(8), b"t\0\0\0\0", b"m\0\0\0\x01k"):
        with pytest.raises(etf.DecodeError):
            CODEC.decode(b"\x83t\0\0\0\x02" + key + b"a\x01" + key + b"a\x02")
    for one, other in ((b"a\x01", b"b\0\0\0\x01"), (b"w\x01x", b"d\0\x01x"), (b"k\0\x01\x05", b"l\0\0\0\x01a\x05j")):
        with pytest.raises(etf.DecodeError):
            CODEC.decode(b"\x83t\0\0\0\x02" + one + b"a\x01" + other + b"a\x02")


TEXTS = [
    "#Pid<0.1.2>",
    "#Pid<0.01.2>",
    "#Pid<1.1.2>",
    "#Pid<0.1>",
    "#Pid<0.1.2.3>",
    "#Pid<0.4294967296.0>",
    "#Pid<0.1.2>x",
]
TEXTS += ["#Pid<0.1.2", "#Pid<0.-1.2>", "#Pid<0. 1.2>", "#Pid<0.1.>", "#Pid<>", "#Pid", "", "#Ref<0.1.2.3>", "#Ref<0>"]
TEXTS += ["#Ref<0.1>", "#Ref<0.1.2.3.4.5>", "#Ref<0.1.2.3.4.5.6>", "#Ref<1.2.3>", "#Ref<0.00.1>", "#Namefoo", "<0.1.2>"]
TEXTS += ["#Pid<0.1.2>\0", "#Ref<0.1.2.3>\n", "#Pid<0.1\u0662.2>"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("node", ["a@h", "true", "", "é@h"])
def test_what_looks_like_a_remote_reference_comes_back_as_it_was(text: str, node: str) -> None:
    characters = oracle.List(tuple(oracle.Int(octet) for octet in text.encode()))
    shapes: list[oracle.Term] = [oracle.List((oracle.Atom(node),), oracle.Bits(text.encode()))]
    shapes += [oracle.List((oracle.Int(1), oracle.Atom(node)), oracle.Bits(text.encode()))]
    for kind in ("encoded_pid", "encoded_ref", "encoded_name"):
        for string in (characters, oracle.Bits(text.encode())):
            target = oracle.Tuple((oracle.Atom(kind), string))
            shapes.append(oracle.Tuple((oracle.Atom("partisan_remote_ref"), oracle.Atom(node), target)))
    for codec in (KEPT, etf.Codec(remote_refs=True)):
        for shape in shapes:
            value = codec.decode(writer.encode(shape))
            assert as_term(value, "kept") == shape
            assert oracle.decode(codec.encode(value)) == shape


def test_remote_references_are_recognised_and_written_as_asked() -> None:
    pid, ref = etf.Pid("a@h", 9), etf.Reference("a@h", (3, 2, 1))
    partisan = etf.Codec(remote_refs=True)
    as_list = oracle.List((oracle.Atom("a@h"),), oracle.Bits(b"#Pid<0.9.0>"))
    assert oracle.decode(partisan.encode(pid)) == as_list
    assert oracle.decode(partisan.encode(ref)) == oracle.List((oracle.Atom("a@h"),), oracle.Bits(b"#Ref<0.1.2.3>"))
    assert oracle.decode(KEPT.encode(pid)) == oracle.decode(CODEC.encode(pid)) == oracle.Pid("a@h", 9, 0, 0)
    for form in ("list", "tuple"):
        for value in (etf.Pid("a@h", 9, form=form), etf.Reference("a@h", (3, 2, 1), form=form)):
            back = partisan.decode(KEPT.encode(value))
            assert (back, back.form) == (value, form)
            assert oracle.decode(CODEC.encode(value)) == as_term(value, "plain")


class Colour(IntEnum):
    RED = 7


class Text(str):
    pass


Point = namedtuple("Point", "x y")


def test_subclasses_of_plain_types_are_written_as_their_base() -> None:
    class Items(list):  # type: ignore[type-arg]
        pass

    class Table(dict):  # type: ignore[type-arg]
        pass

    value = [Colour.RED, Text("t"), Point(1, 2), Items([1]), Table(a=1)]
    assert etf.exactly_equal(CODEC.decode(CODEC.encode(value)), [7, b"t", (1, 2), [1], {b"a": 1}])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), object(), {1, 2}, 1j, "\ud800", int])
def test_what_is_no_term_is_refused(value: object) -> None:
    for nested in (value, [value], (1, value), {b"k": value}, {1: {2: [value]}}):
        with pytest.raises(etf.EncodeError):
            CODEC.encode(nested)


def test_strings_none_and_binaries_map_as_the_codec_was_told() -> None:
    assert oracle.decode(etf.Codec(none="nil").encode(None)) == oracle.Atom("nil")
    assert etf.Codec(none="nil").decode(b"\x83w\x03nil") is None
    assert etf.Codec(none="nil").decode(b"\x83w\x09undefined") is etf.Atom("undefined")
    assert CODEC.decode(b"\x83w\x03nil") is etf.Atom("nil")
    assert etf.Codec(binaries="str").decode(b"\x83m\0\0\0\x02\xcf\x80") == "π"
    assert etf.Codec(binaries="str").decode(b"\x83m\0\0\0\x01\xff") == b"\xff"
    listed = oracle.List((oracle.Int(0x3C0), oracle.Int(97)))
    assert oracle.decode(etf.Codec(strings="list").encode("πa")) == listed
    assert oracle.decode(etf.Codec(strings="list").encode("")) == oracle.List(())
    assert oracle.decode(etf.Codec(strings="atom").encode("πa")) == oracle.Atom("πa")
    for wrong in (
        {"none": "null"},
        {"strings": "text"},
        {"binaries": "list"},
        {"encode_refs": "uri"},
        {"max_depth": 0},
    ):
        with pytest.raises(ValueError):
            etf.Codec(**wrong)


def test_a_large_binary_is_passed_by_reference_in_its_place() -> None:
    first, second, small = b"1" * 65536, b"2" * 70000, b"3" * 65535
    pieces = etf.encode_iovec((first, [small, {b"k": second}], "tail"))
    assert sum(piece is first for piece in pieces) == sum(piece is second for piece in pieces) == 1
    assert b"".join(pieces) == etf.encode((first, [small, {b"k": second}], "tail"))


def test_atoms_of_a_distribution_header_are_looked_up_by_index() -> None:
    atoms = (etf.Atom("a"), etf.Atom("b@h"))
    assert CODEC.decode_dist(b"h\x02R\x00R\x01rest", atoms) == ((etf.Atom("a"), etf.Atom("b@h")), 6)
    term, used = CODEC.decode_dist(b"XR\x01" + bytes(8) + b"\0\0\0\x07", atoms)
    assert (term, used) == (etf.Pid("b@h", 0, 0, 7), 15)
    for wrong in (b"R\x02", b"h\x01R\xff"):
        with pytest.raises(etf.DecodeError):
            CODEC.decode_dist(wrong, atoms)
    with pytest.raises(etf.DecodeError):
        CODEC.decode(b"\x83R\x00")


def test_a_local_term_is_refused_by_name() -> None:
    with pytest.raises(etf.DecodeError, match=r"(?i)local"):
        CODEC.decode(b"\x83y" + bytes(8) + b"w\x02ok")


def test_atoms_of_one_name_are_one_object() -> None:
    assert etf.Atom("codec test") is etf.Atom("codec test")
    assert CODEC.decode(b"\x83w\x0acodec test") is etf.Atom("codec test")
    assert etf.Atom("ok") != "ok"  # type: ignore[comparison-overlap]
    assert CODEC.decode(b"\x83d\0\x01\xe9") is CODEC.decode(b"\x83w\x02\xc3\xa9") is etf.Atom("é")
    with pytest.raises(ValueError):
        etf.Atom("x" * 256)
