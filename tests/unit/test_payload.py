"""The msgpack codec of payloads against the term codec: what arrives is the same."""

import enum
import struct
from collections import OrderedDict, namedtuple

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partisan._core.payload import check
from partisan.errors import DecodeError, EncodeError, RemoteProtocolError, Truncated
from partisan.etf import (
    Atom,
    BitString,
    Codec,
    ErlMap,
    Export,
    Fun,
    ImproperList,
    Pid,
    Port,
    Reference,
    exactly_equal,
)
from partisan.runtime.payload import PayloadCodec

CODECS = [Codec(), Codec(remote_refs=True), Codec(remote_refs=True, none="nil"), Codec(strings="list")]
CODECS += [Codec(strings="atom"), Codec(binaries="str"), Codec(remote_refs=True, encode_refs="tuple")]

Colour = enum.IntEnum("Colour", "RED GREEN")
Point = namedtuple("Point", "x y")


class Shout(str):
    __slots__ = ()

    def __str__(self):
        return self.upper()


class Odd(dict):
    def items(self):
        return iter(())


WORDS = st.integers(0, 2**32 - 1)
NODES = st.sampled_from(["a@h", "é@h", "node@127.0.0.1"])
NAMES = st.sampled_from(["ok", "true", "false", "undefined", "nil", ""]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
PIDS = st.builds(Pid, NODES, WORDS, WORDS, WORDS, st.sampled_from(["pid", "list", "tuple"]))
REFERENCES = st.builds(
    Reference, NODES, st.lists(WORDS, min_size=1, max_size=5), WORDS, st.sampled_from(["ref", "list", "tuple"])
)
ATOMS = st.builds(Atom, NAMES)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**63 - 2, 2**64 + 2),
    st.integers(-(2**63) - 2, -(2**63) + 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=8),
    st.binary(max_size=8).map(bytearray),
    st.binary(max_size=8).map(lambda octets: memoryview(octets)[::2]),
    ATOMS,
    PIDS,
    REFERENCES,
    st.builds(Port, NODES, st.integers(0, 2**64 - 1), WORDS),
    st.builds(BitString, st.binary(min_size=1, max_size=4), st.integers(1, 7)),
    st.builds(Export, ATOMS, ATOMS, st.integers(0, 255)),
    st.sampled_from([Colour.GREEN, Point(1, "x"), Shout("quiet"), OrderedDict(a=1), Odd(b=2)]),
)
KEYS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=2),
    st.binary(max_size=2), ATOMS, PIDS, st.tuples(st.integers(), st.text(max_size=1)),
    st.builds(lambda key: ErlMap([(key, 1)]), st.integers(0, 3)),
)  # fmt: skip


def containers(inner):
    items = st.lists(inner, max_size=5)
    return st.one_of(
        items,
        items.map(tuple),
        st.lists(st.tuples(KEYS, inner), max_size=4).map(dict),
        st.builds(ImproperList, st.lists(inner, min_size=1, max_size=3), st.integers()),
        inner.map(lambda value: ErlMap([(1, value), (1.0, value), (True, value)])),
    )


TERMS = st.recursive(LEAVES, containers, max_leaves=20)


def outcome(function, *arguments):
    """What a function gives, or the error that it raises."""
    try:
        return function(*arguments), None
    except EncodeError as error:
        return None, str(error)


def shape(term):
    """The types of a term, and of what is in it."""
    if isinstance(term, dict):
        return dict, {repr(key): (shape(key), shape(value)) for key, value in term.items()}
    return (type(term), [shape(item) for item in term]) if isinstance(term, list | tuple) else type(term)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@settings(deadline=None)
@given(term=TERMS)
@example(term={None: 1, Atom("undefined"): 2, ErlMap([(0, 1)]): 3})
def test_a_term_arrives_as_the_term_codec_brings_it(codec, term):
    payloads = PayloadCodec(codec)
    octets, refused = outcome(payloads.encode, term)
    plain, why = outcome(codec.encode, term)
    assert refused == why
    if refused is None:
        assert exactly_equal(payloads.decode(octets), codec.decode(plain))
        if codec.settings["binaries"] == "bytes":
            assert shape(payloads.decode(octets)) == shape(codec.decode(plain))


def test_a_fun_arrives_as_it_is():
    fun = Fun(Atom("m"), 1, 2, bytes(16), 3, 4, Pid("a@h", 5), [1, (2,)])
    payloads = PayloadCodec(Codec())
    assert payloads.decode(payloads.encode((Atom("call"), fun))) == (Atom("call"), fun)


@settings(deadline=None)
@given(octets=st.binary(max_size=60))
def test_whatever_octets_come_they_are_a_term_or_refused(octets):
    payloads = PayloadCodec(Codec(max_depth=16, max_items=64))
    try:
        term = payloads.decode(octets)
    except RemoteProtocolError:
        return
    payloads.encode(term)


@settings(deadline=None)
@given(term=TERMS, data=st.data())
def test_a_payload_that_is_cut_or_longer_is_refused(term, data):
    payloads = PayloadCodec(Codec())
    octets, refused = outcome(payloads.encode, term)
    if refused is None:
        end = data.draw(st.integers(0, len(octets) - 1))
        for wrong in (octets[:end], octets + b"\0"):
            with pytest.raises(RemoteProtocolError):
                payloads.decode(wrong)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "truncated"),
        (b"\xa5abc", "truncated"),
        (b"\x92\1", "truncated"),
        (b"\xdc\0\x10" + bytes(15), "at least 1 more"),
        (b"\xdc\0\x10" * 4 + bytes(20), "at least 5 more"),
        (b"\xdd\xff\xff\xff\xff", "more items"),
        (b"\xc1", "193"),
        (b"\1\1", "behind"),
        (b"\xd6\xff\0\0\0\0", "unknown extension type 255"),
        (b"\xd4\0\0", "unknown extension type 0"),
        (b"\xc7\0\1", "mark of a tuple"),
        (b"\x92\1\xc7\0\1", "mark of a tuple"),
        (b"\x81\xc7\0\1\1", "mark of a tuple"),
        (b"\x91\xd4\1\0", "mark of a tuple"),
        (b"\xc7\2\5\x83P", "no plain term"),
        (b"\xc7\0\5", "no plain term"),
        (b"\xc7\4\3\x83a\1\1", "behind the term"),
        (b"\xc7\3\3\x83a\1", "a int where a Pid"),
        (b"\xc7\3\4\x83a\1", "a int where a Reference"),
        (b"\xc7\1\2\xff", "utf-8"),
        (b"\x82\xa1a\1\xc4\1a\2", "twice"),
        (b"\xcb\x7f\xf0" + bytes(6), "not finite"),
        (b"\xca\x7f\xc0\0\0", "not finite"),
        (b"\x91" * 17 + b"\1", "deeper than 16"),
        (b"\xdc\0\x41" + bytes(65), "more items"),
        (b"\xdb\xff\xff\xff\xffab", "truncated"),
    ],
)
def test_malformed_octets_are_refused_with_the_reason(octets, why):
    with pytest.raises(RemoteProtocolError, match=why):
        PayloadCodec(Codec(max_depth=16, max_items=64)).decode(octets)


def test_what_was_cut_is_told_apart_from_what_is_malformed():
    with pytest.raises(Truncated) as cut:
        check(b"\xa5abc", 16, 64)
    assert (cut.value.need, cut.value.offset) == (2, 4)
    with pytest.raises(DecodeError) as malformed:
        check(b"\x92\1\xc1", 16, 64)
    assert not isinstance(malformed.value, Truncated)
    assert malformed.value.offset == 2


@pytest.mark.parametrize(
    ("pairs", "doubtful"),
    [
        ([b"\xa1a", b"\xa1b"], False),
        ([b"\xa1a", b"\xc4\1a"], True),
        ([b"\xc0", b"\xc7\2\2ok"], True),
        ([b"\1", b"\2"], False),
        ([b"\x91\1"], True),
    ],
)
def test_keys_that_may_be_one_key_are_seen(pairs, doubtful):
    assert check(bytes([0x80 | len(pairs)]) + b"".join(pair + b"\1" for pair in pairs), 16, 64) is doubtful


@pytest.mark.parametrize("term", [b"text", 7, [1, 2, {"a": 1.5}], list(range(20)), {"k" * 40: b"v" * 300, "n": None}])
def test_what_msgpack_has_is_plain_msgpack(term):
    assert PayloadCodec(Codec()).encode(term) == msgpack.packb(term)


def test_text_stays_text_where_binaries_decode_to_str():
    payloads = PayloadCodec(Codec(binaries="str"))
    assert payloads.decode(payloads.encode(["text", b"octets"])) == ["text", b"octets"]


def test_a_term_above_a_limit_is_refused_as_by_the_term_codec():
    codec = Codec(max_depth=4, max_items=10, max_octets=100)
    for term in ([[[[[1]]]]], list(range(11)), bytes(100)):
        with pytest.raises(EncodeError) as plain:
            codec.encode(term)
        with pytest.raises(EncodeError) as coded:
            PayloadCodec(codec).encode(term)
        assert str(plain.value) == str(coded.value)


def test_nesting_deeper_than_msgpack_writes_is_carried_all_the_same():
    codec = Codec(max_depth=5000)
    term = ()
    for _ in range(2000):
        term = (term,)
    assert codec.encode(PayloadCodec(codec).decode(PayloadCodec(codec).encode(term))) == codec.encode(term)


def test_a_value_that_sends_while_it_is_written_disturbs_nothing():
    payloads = PayloadCodec(Codec())

    class Talkative(int):
        __slots__ = ()

        @property
        def __class__(self):
            payloads.encode(["another", (1, 2)])
            return int

    assert payloads.decode(payloads.encode([1, Talkative(5), (2, 3)])) == [1, 5, (2, 3)]


def test_a_float_of_four_octets_from_another_writer_is_read():
    assert PayloadCodec(Codec()).decode(b"\xca" + struct.pack(">f", 0.5)) == 0.5
