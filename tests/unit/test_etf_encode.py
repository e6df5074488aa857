"""What Python values become on the wire."""

import enum
import math
import random
from collections import namedtuple

import pytest

from partisan.etf import (
    Atom,
    BitString,
    Codec,
    EncodeError,
    ErlMap,
    Export,
    Fun,
    ImproperList,
    Pid,
    Port,
    Reference,
    decode,
    encode,
    encode_iovec,
    exactly_equal,
    term_key,
)

Colour = enum.IntEnum("Colour", "RED GREEN")
Point = namedtuple("Point", "x y")
LARGE = bytes(65536)


class Shout(str):
    __slots__ = ()

    def __str__(self):
        return self.upper()


@pytest.mark.parametrize(
    ("term", "octets"),
    [
        (0, b"a\0"),
        (255, b"a\xff"),
        (256, b"b\0\0\1\0"),
        (-1, b"b\xff\xff\xff\xff"),
        (2**31 - 1, b"b\x7f\xff\xff\xff"),
        (-(2**31), b"b\x80\0\0\0"),
        (2**31, b"n\4\0\0\0\0\x80"),
        (-(2**31) - 1, b"n\4\1\1\0\0\x80"),
        (2**60, b"n\x08\0" + (2**60).to_bytes(8, "little")),
        (-(2**63), b"n\x08\1" + (2**63).to_bytes(8, "little")),
        (2**63, b"n\x08\0" + (2**63).to_bytes(8, "little")),
        (2**64, b"n\x09\0" + (2**64).to_bytes(9, "little")),
        (-(256**255) + 1, b"n\xff\1" + b"\xff" * 255),
        (256**255, b"o\0\0\1\0\0" + b"\0" * 255 + b"\1"),
        (1.5, b"F\x3f\xf8\0\0\0\0\0\0"),
        (True, b"w\4true"),
        (False, b"w\5false"),
        (None, b"w\x09undefined"),
        ("aé", b"m\0\0\0\3a\xc3\xa9"),
        (b"ab", b"m\0\0\0\2ab"),
        (bytearray(b"ab"), b"m\0\0\0\2ab"),
        (memoryview(b"axbx")[::2], b"m\0\0\0\2ab"),
        (Atom("ok"), b"w\2ok"),
        (Atom("π" * 200), b"v\1\x90" + ("π" * 200).encode()),
        ((), b"h\0"),
        ((1, (2,)), b"h\2a\1h\1a\2"),
        ((1,) * 256, b"i\0\0\1\0" + b"a\1" * 256),
        ([], b"j"),
        ([1, 255], b"k\0\2\1\xff"),
        ([1, 256], b"l\0\0\0\2a\1b\0\0\1\0j"),
        ([1, 256, 1], b"l\0\0\0\3a\1b\0\0\1\0a\1j"),
        ([1.5, 2], b"l\0\0\0\2F\x3f\xf8\0\0\0\0\0\0a\2j"),
        ([1] * 65535, b"k\xff\xff" + b"\1" * 65535),
        ([1] * 65536, b"l\0\1\0\0" + b"a\1" * 65536 + b"j"),
        ({}, b"t\0\0\0\0"),
        ({1: "a"}, b"t\0\0\0\1a\1m\0\0\0\1a"),
        (ErlMap([(1, 2), (1.0, 3)]), b"t\0\0\0\2a\1a\2F\x3f\xf0\0\0\0\0\0\0a\3"),
        (ImproperList([1], 2), b"l\0\0\0\1a\1a\2"),
        (BitString(b"\xe0", 3), b"M\0\0\0\1\3\xe0"),
        (Pid("a@h", 1, 2, 3), b"Xw\3a@h\0\0\0\1\0\0\0\2\0\0\0\3"),
        (Reference("a@h", (1, 2), 3), b"Z\0\2w\3a@h\0\0\0\3\0\0\0\1\0\0\0\2"),
        (Port("a@h", 1, 2), b"Yw\3a@h\0\0\0\1\0\0\0\2"),
        (Port("a@h", 2**32, 2), b"xw\3a@h\0\0\0\1\0\0\0\0\0\0\0\2"),
        (Export(Atom("m"), Atom("f"), 2), b"qw\1mw\1fa\2"),
        (Colour.GREEN, b"a\2"),
        (Point(1, 2), b"h\2a\1a\2"),
        (Shout("ab"), b"m\0\0\0\2ab"),
    ],
)
def test_a_value_has_one_form(term, octets):
    assert encode(term) == b"\x83" + octets
    assert b"".join(encode_iovec(term)) == b"\x83" + octets


def test_a_fun_knows_its_size():
    fun = Fun(Atom("m"), 1, 2, b"u" * 16, 3, 4, Pid("a@h", 1), (b"x",))
    octets = encode(fun)
    assert int.from_bytes(octets[2:6], "big") == len(octets) - 2
    assert decode(octets) == fun


@pytest.mark.parametrize("form", ["list", "tuple", None])
def test_the_pid_inside_a_fun_is_a_pid_under_every_option(form):
    fun = Fun(Atom("m"), 1, 2, b"u" * 16, 3, 4, Pid("a@h", 1, form=form or "pid"), (b"x",))
    octets = Codec(remote_refs=True, encode_refs=form).encode(fun)
    assert octets == encode(fun)
    assert int.from_bytes(octets[2:6], "big") == len(octets) - 2


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [1.0, value], lambda value: {1: value}])
def test_a_float_that_is_not_finite_is_refused(value, wrap):
    with pytest.raises(EncodeError):
        encode(wrap(value))


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, "\ud800", range(3), Ellipsis])
def test_what_is_no_term_is_refused(value):
    with pytest.raises(EncodeError):
        encode([1, value])


@pytest.mark.parametrize(
    "mapping",
    [
        {"a": 1, b"a": 2},
        {True: 1, Atom("true"): 2},
        {None: 1, Atom("undefined"): 2},
        {("a",): 1, (b"a",): 2},
        {Shout("a"): 1, b"a": 2},
    ],
)
def test_keys_that_become_one_key_are_refused(mapping):
    with pytest.raises(EncodeError, match="one key"):
        encode(mapping)


def test_keys_of_several_types_are_no_reason_to_refuse():
    mapping = {"a": 1, b"b": 2, Atom("a"): 3, None: 4, 1: 5, (1, 2): 6}
    assert len(decode(encode(mapping))) == 6


def test_the_options_choose_what_values_become():
    assert Codec(none="nil").encode(None) == b"\x83w\3nil"
    assert Codec(strings="atom").encode("ok") == b"\x83w\2ok"
    assert Codec(strings="list").encode("ok") == b"\x83k\0\2ok"
    assert Codec(strings="list").encode("π") == b"\x83l\0\0\0\1b\0\0\3\xc0j"
    assert Codec(strings="list").encode("") == b"\x83j"
    with pytest.raises(EncodeError, match="one key"):
        Codec(strings="atom").encode({"a": 1, Atom("a"): 2})
    with pytest.raises(EncodeError, match="one key"):
        Codec(strings="atom").encode(ErlMap([("a", 1), (Atom("a"), 2), ([], 3)]))


@pytest.mark.parametrize(
    "option",
    [
        {"none": "null"},
        {"strings": "bytes"},
        {"binaries": "text"},
        {"encode_refs": "uri"},
        {"max_depth": 0},
        {"max_depth": 100_000},
        {"max_items": True},
        {"max_octets": 1.5},
    ],
)
def test_a_wrong_option_is_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        Codec(**option)


def test_limits_hold_for_encoding():
    deep = []
    for _ in range(9):
        deep = [deep]
    assert Codec(max_depth=9).encode(deep)
    for codec, term in [
        (Codec(max_depth=8), deep),
        (Codec(max_items=9), [1.5] * 10),
        (Codec(max_octets=100), "x" * 100),
        (Codec(max_octets=100), 2**1000),
        (Codec(max_octets=1000), [[1, 2, 3, 4]] * 200),
        (Codec(max_octets=70_000), [LARGE, LARGE]),
    ]:
        with pytest.raises(EncodeError):
            codec.encode(term)
        with pytest.raises(EncodeError):
            codec.encode_iovec(term)
        assert codec.encode(1) == b"\x83a\1"


def test_a_term_of_exactly_the_limit_is_not_refused():
    term = [300, *range(400)]
    size = len(encode(term)) - 1
    assert Codec(max_octets=size).encode(term)
    with pytest.raises(EncodeError, match="larger"):
        Codec(max_octets=size - 1).encode(term)


def test_a_list_that_contains_itself_is_refused():
    circle = []
    circle.append(circle)
    with pytest.raises(EncodeError, match="deeper"):
        encode(circle)


def test_large_bytes_are_not_copied():
    pieces = encode_iovec((1, LARGE, [LARGE + b"x"], "tail"))
    assert [piece is LARGE for piece in pieces] == [False, True, False, False, False]
    assert b"".join(pieces) == encode((1, LARGE, [LARGE + b"x"], "tail"))
    assert encode_iovec(LARGE)[-1] is LARGE
    assert len(encode_iovec(LARGE[:-1])) == 1


def test_compression_is_used_when_it_pays():
    term = [b"abc"] * 1000
    packed = encode(term, compressed=6)
    assert packed[:2] == b"\x83P"
    assert len(packed) < len(encode(term))
    assert decode(packed) == term
    assert encode(b"tiny", compressed=9) == encode(b"tiny")
    with pytest.raises(ValueError):
        encode(term, compressed=10)


@pytest.mark.parametrize(
    ("form", "pid", "reference"),
    [
        ("list", b"l\0\0\0\1w\3a@hm\0\0\0\x0b#Pid<0.1.2>", b"l\0\0\0\1w\3a@hm\0\0\0\x0b#Ref<0.2.1>"),
        (
            "tuple",
            b"h\3w\x13partisan_remote_refw\3a@hh\2w\x0bencoded_pidk\0\7<0.1.2>",
            b"h\3w\x13partisan_remote_refw\3a@hh\2w\x0bencoded_refk\0\x0b#Ref<0.2.1>",
        ),
    ],
)
def test_remote_references_keep_their_form(form, pid, reference):
    wire = Codec(remote_refs=True)
    for octets, value in [(pid, Pid("a@h", 1, 2)), (reference, Reference("a@h", (1, 2)))]:
        decoded = wire.decode(b"\x83" + octets)
        assert decoded == value
        assert decoded.form == form
        assert wire.encode(decoded) == b"\x83" + octets
        assert Codec(remote_refs=True, encode_refs=form).encode(value) == b"\x83" + octets
        assert Codec(remote_refs=True, encode_refs=None).encode(value) == encode(value)
        assert encode(decoded) == encode(value)


def test_exact_equality_is_erlangs():
    for a, b in [(1, 1), ("a", b"a"), (True, Atom("true")), (None, Atom("undefined")), ({1: 2, 3: 4}, {3: 4, 1: 2})]:
        assert exactly_equal(a, b)
    for a, b in [(1, 1.0), (0.0, -0.0), ((1,), [1]), (1, True), ({1: 2}, {1: 2.0}), (Atom("a"), "a")]:
        assert not exactly_equal(a, b)


def test_terms_sort_as_in_erlang():
    ordered = [
        -(2**70),
        -1,
        0,
        1,
        1.5,
        2**70,
        Atom("a"),
        False,
        None,
        Atom("π"),
        Reference("a@h", (2, 1)),
        Reference("b@h", (1, 1)),
        Fun(Atom("m"), 0, 0, b"u" * 16, 0, 0, Pid("a@h", 1)),
        Export(Atom("m"), Atom("f"), 1),
        Port("a@h", 2),
        Port("b@h", 1),
        Pid("b@h", 1),
        Pid("a@h", 2),
        Pid("a@h", 1, 1),
        (),
        (2,),
        (1, 1),
        {},
        {2: 1},
        {1.0: 1},
        {"a": 1},
        {1: 1, 2: 2},
        ErlMap([(1.0, 1), (1, 2)]),
        [],
        ImproperList([1], 0),
        ImproperList([1], 2),
        [1],
        [1, 1],
        ImproperList([1], "x"),
        [2],
        b"",
        BitString(b"a", 7),
        "a",
        BitString(b"a\0", 1),
        b"ab",
    ]
    assert sorted(random.Random(3).sample(ordered, len(ordered)), key=term_key) == ordered
    assert term_key(1) == term_key(1.0)
    assert term_key({1: 0}) != term_key({1.0: 0})
    with pytest.raises(EncodeError):
        term_key(object())


def test_funs_are_ordered_as_a_real_node_orders_them():
    def fun(module, index, old_uniq, *free, old_index=5, uniq=b"u", pid=1):
        return Fun(Atom(module), 1, index, uniq * 16, old_index, old_uniq, Pid("a@h", pid), free)

    ordered = [fun("m", 1, 9), fun("m", 2, 3), fun("m", 2, 4), fun("m", 2, 4, 3), fun("m", 2, 4, 1, 2), fun("n", 1, 1)]
    ordered.append(Export(Atom("a"), Atom("a"), 0))
    assert sorted(random.Random(3).sample(ordered, len(ordered)), key=term_key) == ordered
    assert term_key(fun("m", 1, 9)) == term_key(fun("m", 1, 9, old_index=4, uniq=b"v", pid=2))


def test_references_and_ports_are_ordered_by_node_creation_and_number():
    references = [
        Reference("a@h", (9, 9, 9), 1),
        Reference("a@h", (5,), 2),
        Reference("a@h", (1, 1), 2),
        Reference("b@h", (1, 1, 1), 1),
    ]
    ports = [Port("a@h", 9, 1), Port("a@h", 1, 2), Port("b@h", 1, 1)]
    for ordered in (references, ports):
        assert sorted(random.Random(3).sample(ordered, len(ordered)), key=term_key) == ordered
