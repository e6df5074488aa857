"""What octets become, and how what is no term is told."""

import random
import struct
import sys
import zlib

import pytest

from partisan.etf import (
    Atom,
    BitString,
    Codec,
    DecodeError,
    ErlMap,
    Export,
    Fun,
    ImproperList,
    Pid,
    Port,
    Reference,
    Truncated,
    decode,
    decode_prefix,
    encode,
    exactly_equal,
)

A = b"w\1a"
PID = b"Xw\3a@h\0\0\0\1\0\0\0\2\0\0\0\3"
FUN = b"p\0\0\0\0\2" + b"u" * 16 + b"\0\0\0\1\0\0\0\1w\1ma\3b\0\0\0\4" + PID + b"a\5"

CASES = [
    (b"a\xff", 255),
    (b"b\xff\xff\xff\xff", -1),
    (b"n\0\0", 0),
    (b"n\1\1\5", -5),
    (b"n\x08\0" + b"\xff" * 8, 2**64 - 1),
    (b"n\x08\1" + b"\xff" * 8, -(2**64) + 1),
    (b"n\x08\1" + b"\0" * 7 + b"\x80", -(2**63)),
    (b"n\x09\1" + b"\0" * 8 + b"\1", -(2**64)),
    (b"o\0\0\1\0\0" + b"\0" * 255 + b"\1", 256**255),
    (b"F\x3f\xf8\0\0\0\0\0\0", 1.5),
    (b"c3.14158999999999988262e+00\0\0\0\0\0", 3.14159),
    (b"d\0\2ok", Atom("ok")),
    (b"s\2h\xe9", Atom("hé")),
    (b"w\3h\xc3\xa9", Atom("hé")),
    (b"v\0\3h\xc3\xa9", Atom("hé")),
    (b"w\0", Atom("")),
    (b"d\0\4true", True),
    (b"w\5false", False),
    (b"w\x09undefined", None),
    (b"w\3nil", Atom("nil")),
    (b"m\0\0\0\2ab", b"ab"),
    (b"M\0\0\0\1\3\xff", BitString(b"\xe0", 3)),
    (b"M\0\0\0\1\x08\xff", b"\xff"),
    (b"M\0\0\0\0\0", b""),
    (b"h\2a\1h\0", (1, ())),
    (b"i\0\0\0\1a\1", (1,)),
    (b"j", []),
    (b"k\0\2\1\2", [1, 2]),
    (b"k\0\0", []),
    (b"l\0\0\0\1a\1j", [1]),
    (b"l\0\0\0\1a\1l\0\0\0\1a\2j", [1, 2]),
    (b"l\0\0\0\1a\1k\0\1\2", [1, 2]),
    (b"l\0\0\0\1a\1a\2", ImproperList([1], 2)),
    (b"l\0\0\0\1a\1l\0\0\0\1a\2a\3", ImproperList([1, 2], 3)),
    (b"l\0\0\0\0a\1", 1),
    (b"t\0\0\0\1a\1a\2", {1: 2}),
    (b"t\0\0\0\2a\1a\2F\x3f\xf0\0\0\0\0\0\0a\3", ErlMap([(1, 2), (1.0, 3)])),
    (b"t\0\0\0\3a\1a\2w\4truea\3k\0\1\1a\4", ErlMap([(1, 2), (True, 3), ([1], 4)])),
    (PID, Pid("a@h", 1, 2, 3)),
    (b"gd\0\3a@h\0\0\0\1\0\0\0\2\3", Pid("a@h", 1, 2, 3)),
    (b"Z\0\2w\3a@h\0\0\0\3\0\0\0\1\0\0\0\2", Reference("a@h", (1, 2), 3)),
    (b"r\0\2w\3a@h\3\0\0\0\1\0\0\0\2", Reference("a@h", (1, 2), 3)),
    (b"ew\3a@h\0\0\0\1\3", Reference("a@h", (1,), 3)),
    (b"Yw\3a@h\0\0\0\1\0\0\0\2", Port("a@h", 1, 2)),
    (b"xw\3a@h\0\0\0\1\0\0\0\0\0\0\0\2", Port("a@h", 2**32, 2)),
    (b"fw\3a@h\0\0\0\1\2", Port("a@h", 1, 2)),
    (b"qw\1mw\1fa\2", Export(Atom("m"), Atom("f"), 2)),
    (FUN, Fun(Atom("m"), 2, 1, b"u" * 16, 3, 4, Pid("a@h", 1, 2, 3), (5,))),
    (b"P\0\0\0\2" + zlib.compress(b"a\7"), 7),
    (b"c" + b"1.5e3\0\0x\0".ljust(31, b"?"), 1500.0),
]


@pytest.mark.parametrize(
    ("octets", "term"), CASES, ids=[octets[:1].decode() + str(i) for i, (octets, _) in enumerate(CASES)]
)
class TestEveryTag:
    def test_it_decodes(self, octets, term):
        for data in (b"\x83" + octets, bytearray(b"\x83" + octets), memoryview(b"\x83" + octets)):
            decoded = decode(data)
            assert decoded == term
            assert type(decoded) is type(term)
            assert exactly_equal(decoded, term)

    def test_it_encodes_to_an_equal_term(self, octets, term):
        assert exactly_equal(decode(encode(term)), term)

    def test_it_says_how_far_it_goes(self, octets, term):
        assert decode_prefix(b"\x83" + octets + b"rest") == (term, len(octets) + 1)
        with pytest.raises(DecodeError, match="4 octets behind") as caught:
            decode(b"\x83" + octets + b"rest")
        assert caught.value.offset == len(octets) + 1

    def test_truncated_anywhere_it_asks_for_more(self, octets, term):
        data = b"\x83" + octets
        for size in range(len(data)):
            with pytest.raises(Truncated) as caught:
                decode(data[:size])
            assert caught.value.need >= 1
            if octets[:1] != b"P":
                assert caught.value.need <= len(data) - size or size == 0
            assert caught.value.offset == size

    def test_inside_of_other_terms_it_is_the_same(self, octets, term):
        if octets[:1] == b"P":
            return
        assert decode(b"\x83h\3" + octets + octets + A) == (term, term, Atom("a"))
        assert decode(b"\x83l\0\0\0\2" + octets + A + b"j") == [term, Atom("a")]
        assert decode(b"\x83t\0\0\0\1" + A + octets) == {Atom("a"): term}
        mapping = decode(b"\x83t\0\0\0\2" + octets + A + b"m\0\0\0\5other" + A)
        assert exactly_equal(mapping, ErlMap([(term, Atom("a")), (b"other", Atom("a"))]))


@pytest.mark.parametrize(
    ("octets", "offset", "why"),
    [
        (b"\x82a\1", 0, "version"),
        (b"\x83\0", 1, "no tag"),
        (b"\x83\x83a\1", 1, "no tag"),
        (b"\x83h\2a\1\xff", 5, "no tag"),
        (b"\x83y\1", 1, "LOCAL_EXT"),
        (b"\x83u\0\0\0\0", 1, "FUN_EXT"),
        (b"\x83R\0", 1, "ATOM_CACHE_REF"),
        (b"\x83h\1P\0\0\0\1x", 3, "COMPRESSED"),
        (b"\x83F\x7f\xf0\0\0\0\0\0\0", 1, "finite"),
        (b"\x83l\0\0\0\1F\x7f\xf8\0\0\0\0\0\0j", 6, "finite"),
        (b"\x83c" + b"nan".ljust(31, b"\0"), 1, "FLOAT_EXT"),
        (b"\x83c" + b"1e999".ljust(31, b"\0"), 1, "FLOAT_EXT"),
        (b"\x83c" + b"1_0.0".ljust(31, b"\0"), 1, "FLOAT_EXT"),
        (b"\x83c" + b"\0" * 31, 1, "FLOAT_EXT"),
        (b"\x83w\2\xff\xfe", 1, "UTF-8"),
        (b"\x83w\3\xed\xa0\x80", 1, "UTF-8"),
        (b"\x83v\1\0" + b"x" * 256, 1, "255"),
        (b"\x83d\1\0" + b"x" * 256, 1, "255"),
        (b"\x83d\1\0" + b"\xe9" * 256, 1, "255"),
        (b"\x83M\0\0\0\1\x09\xff", 1, "BIT_BINARY"),
        (b"\x83M\0\0\0\1\0\xff", 1, "BIT_BINARY"),
        (b"\x83M\0\0\0\0\1", 1, "BIT_BINARY"),
        (b"\x83t\0\0\0\2a\1a\2a\1a\3", 1, "twice"),
        (b"\x83t\0\0\0\2a\1a\2n\1\0\1a\3", 1, "twice"),
        (b"\x83t\0\0\0\2ja\2ja\3", 1, "twice"),
        (b"\x83Z\0\0w\1a\0\0\0\0", 1, "words"),
        (b"\x83Z\0\6w\1a" + bytes(28), 1, "words"),
        (b"\x83Xa\1", 2, "atom"),
        (b"\x83qw\1mw\1fb\0\0\0\1", 8, "arity"),
        (b"\x83" + FUN.replace(b"w\1ma\3", b"w\1mjj"), 34, "integer"),
        (b"\x83P\0\0\0\0" + zlib.compress(b""), 1, "no octets"),
        (b"\x83P\0\0\0\2nonsense", 1, "inflate"),
        (b"\x83P\0\0\0\3" + zlib.compress(b"a\7"), 1, "announced"),
        (b"\x83P\0\0\0\1" + zlib.compress(b"a\7"), 1, "announced"),
        (b"\x83P\0\0\0\3" + zlib.compress(b"a\7j"), 1, "behind"),
        (b"\x83P\0\0\0\1" + zlib.compress(b"a"), 1, "inflated"),
        (b"\x83P\0\0\0\1" + zlib.compress(b"P"), 1, "COMPRESSED"),
    ],
)
def test_what_is_no_term_is_refused_with_its_offset(octets, offset, why):
    with pytest.raises(DecodeError, match=why) as caught:
        decode(octets)
    assert caught.value.offset == offset
    assert not isinstance(caught.value, Truncated)


@pytest.mark.parametrize("tag", [b"l", b"i", b"t", b"m", b"o", b"M"])
def test_a_count_that_lies_costs_nothing(tag):
    with pytest.raises(DecodeError):
        decode(b"\x83" + tag + b"\xff\xff\xff\xff")
    with pytest.raises(DecodeError):
        decode(b"\x83" + tag + b"\0\xff\xff\xff" + b"j" * 100)


def test_limits_hold_for_decoding():
    deep = b"l\0\0\0\1" * 9 + b"j" * 10
    assert Codec(max_depth=9).decode(b"\x83" + deep)
    bomb = b"\x83P\0\x98\x96\x80" + zlib.compress(b"m\0\x98\x96\x7b" + bytes(9_999_995))
    assert len(decode(bomb)) == 9_999_995
    for codec, octets in [
        (Codec(max_depth=8), b"\x83" + deep),
        (Codec(max_items=9), b"\x83k\0\x0a" + bytes(10)),
        (Codec(max_items=9), b"\x83t\0\0\0\5" + b"a\1" * 10),
        (Codec(max_octets=10), b"\x83m\0\0\0\6abcdef"),
        (Codec(max_inflated=9_999_999), bomb),
    ]:
        with pytest.raises(DecodeError, match=r"more than|deeper than"):
            codec.decode(octets)


def test_a_list_ten_million_deep_is_refused_early():
    with pytest.raises(DecodeError, match="deeper"):
        decode(b"\x83" + b"l\0\0\0\1" * 10_000_000)
    with pytest.raises(DecodeError, match="deeper"):
        decode(b"\x83" + b"l\0\0\0\1j" * 1_000_000)


def test_a_stream_of_new_atoms_does_not_grow_memory():
    for i in range(3000):
        decode(b"\x83w\x0a" + f"{i:010}".encode())
    before = sys.getallocatedblocks()
    for i in range(3000, 30_000):
        decode(b"\x83w\x0a" + f"{i:010}".encode())
    assert sys.getallocatedblocks() < before + 3000


def test_keys_of_maps_come_from_a_cache_of_equal_octets():
    rng = random.Random(7)
    for _ in range(300):
        keys = {rng.randbytes(rng.randrange(50)) for _ in range(20)}
        mapping = {key: i for i, key in enumerate(keys)}
        assert decode(encode(mapping)) == mapping
    texts = {"a" * i + "π" * (i % 3): i for i in range(60)}
    for _ in range(2):
        assert Codec(binaries="str").decode(encode(texts)) == texts
    (one,), (other,) = decode(encode({b"name": 1})), decode(encode({b"name": 2}))
    assert one is other


def test_the_options_choose_what_octets_become():
    assert Codec(none="nil").decode(b"\x83w\3nil") is None
    assert Codec(none="nil").decode(b"\x83w\x09undefined") is Atom("undefined")
    text = Codec(binaries="str")
    assert text.decode(encode(["aé", b"\xff", {"k": "v"}])) == ["aé", b"\xff", {"k": "v"}]
    assert text.decode(b"\x83t\0\0\0\1m\0\0\0\1\xffa\1") == {b"\xff": 1}


@pytest.mark.parametrize(
    "octets",
    [
        b"l\0\0\0\1w\3a@hm\0\0\0\x08#Namefoo",
        b"l\0\0\0\1w\3a@hm\0\0\0\x0c#Pid<0.01.2>",
        b"l\0\0\0\1w\3a@hm\0\0\0\x0d#Pid<0.1.2.3>",
        b"l\0\0\0\1w\3a@hm\0\0\0\x13#Pid<0.4294967296.2",
        b"l\0\0\0\1w\3a@hm\0\0\0\x14#Ref<0.4294967296.2>",
        b"l\0\0\0\1w\4truem\0\0\0\x02ab",
        b"h\3w\x13partisan_remote_refw\3a@hh\2w\x0cencoded_namek\0\3foo",
        b"h\3w\x13partisan_remote_refw\3a@hh\2w\x0bencoded_pidk\0\x0b#Ref<0.2.1>",
        b"h\3w\x13partisan_remote_refw\3a@hh\2w\x0bencoded_pidl\0\0\0\1b\0\0\1\0j",
        b"h\3w\x13partisan_remote_refa\1a\2",
    ],
)
def test_what_only_resembles_a_remote_reference_is_left_alone(octets):
    wire = Codec(remote_refs=True)
    assert exactly_equal(wire.decode(b"\x83" + octets), decode(b"\x83" + octets))
    assert wire.encode(wire.decode(b"\x83" + octets)) == b"\x83" + octets


def test_the_atoms_of_a_distribution_header_are_found_by_index():
    atoms = (Atom("ok"), Atom("true"), Atom("a@h"))
    term, used = Codec().decode_dist(b"h\3R\0R\1XR\2\0\0\0\1\0\0\0\0\0\0\0\0rest", atoms)
    assert term == (Atom("ok"), True, Pid("a@h", 1))
    assert used == 21
    with pytest.raises(DecodeError, match="of 3 atoms"):
        Codec().decode_dist(b"R\3", atoms)


def test_any_octets_decode_or_are_refused():
    rng = random.Random(11)
    seeds = [octets for octets, _ in CASES]
    codecs = [Codec(), Codec(remote_refs=True, encode_refs=None, binaries="str")]
    for _ in range(20_000):
        octets = bytearray(b"\x83" + rng.choice(seeds) + rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            octets[rng.randrange(1, len(octets))] = rng.choice((rng.randrange(256), *b"htlkmaj"))
        for codec in codecs:
            try:
                term, used = codec.decode_prefix(octets)
            except DecodeError:
                continue
            assert used <= len(octets)
            assert exactly_equal(codec.decode(codec.encode(term)), term)


def test_a_float_survives_to_the_last_bit():
    rng = random.Random(13)
    for _ in range(2000):
        (value,) = struct.unpack(">d", rng.randbytes(8))
        if value - value == 0:
            assert struct.pack(">d", decode(encode(value))) == struct.pack(">d", value)
