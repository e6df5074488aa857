"""The checks of csrc themselves, run by test_csrc.py in a process of its own under the sanitizers.

Usage: driver.py LIBRARY CHECK. Ends with 0 when the check holds; AddressSanitizer ends the process itself.
"""

import random
import re
import struct
import sys
from collections.abc import Callable
from typing import Any

import cffi  # type: ignore[import-untyped]

from tests.oracle import chance, writer
from tests.oracle import etf as oracle

MORE, DONE, LARGE, MALFORMED = range(4)
NEVER = 2**64 - 1  # a threshold that no binary reaches

ffi = cffi.FFI()
ffi.cdef("""
typedef struct { int result; size_t position; size_t need; size_t farthest_need; size_t larges; size_t large_octets;
                 size_t feeds; } walk;
int walk_in_pieces(const uint8_t *data, const size_t *cuts, size_t count, size_t threshold, walk *out);
int walk_octet_by_octet(const uint8_t *data, size_t size, walk *out);
int wire_round_trips(uint64_t value, uint8_t *shown);
int double_round_trips(const uint8_t *octets);
size_t written_integer(int64_t value, uint8_t *shown);
int appended(const uint8_t *source, const size_t *sizes, size_t count);
int reserved(size_t extra);
int text_get(const uint8_t *text, size_t size, const char *prefix, uint32_t *words, int limit);
size_t text_put(uint8_t *shown, const char *prefix, const uint32_t *words, int count);
int is_ascii(const uint8_t *text, size_t size);
uint32_t hash_of(const uint8_t *text, size_t size);
size_t afforded(const uint64_t *hashes, size_t count);
int rooms_hold(const size_t *sizes, const size_t *given, size_t count);
int room_is_refused(size_t size);
""")
lib: Any = None


def walk(data: bytes, cuts: list[int], threshold: int = NEVER) -> Any:
    out = ffi.new("walk *")
    assert lib.walk_in_pieces(data, cuts, len(cuts), threshold, out) == 0, (data, cuts, threshold)
    return out


def pieces(rng: random.Random, size: int) -> list[int]:
    return [*sorted(rng.randrange(size + 1) for _ in range(rng.randrange(12))), size]


def binaries(term: object) -> list[int]:
    """Return the sizes of all binaries of whole octets in `term`."""
    match term:
        case oracle.Bits(data, 8):
            return [len(data)]
        case oracle.Tuple(items) | oracle.List(items, None) | oracle.Fun(free=items):
            return [size for item in items for size in binaries(item)]
        case oracle.List(items, tail):
            return [size for item in (*items, tail) for size in binaries(item)]
        case oracle.Map(pairs):
            return [size for pair in pairs for item in pair for size in binaries(item)]
        case _:
            return []


def terms_end_where_they_end(rng: random.Random) -> None:
    for _ in range(1500):
        data = writer.body(chance.term(rng), rng.choice)
        for cuts in ([len(data)], list(range(len(data) + 1)), pieces(rng, len(data))):
            out = walk(data + rng.randbytes(3), cuts)
            assert (out.result, out.position) == (DONE, len(data)), (data, cuts)
            assert out.farthest_need <= len(data), (data, cuts)


def large_binaries_are_told(rng: random.Random) -> None:
    for _ in range(1500):
        term = oracle.Tuple((chance.term(rng), oracle.Bits(rng.randbytes(rng.randrange(40))), chance.term(rng)))
        data, threshold = writer.body(term, rng.choice), rng.choice((0, 1, 8, 40, 60))
        sizes = [size for size in binaries(term) if size >= threshold]
        for cuts in ([len(data)], list(range(len(data) + 1)), pieces(rng, len(data))):
            out = walk(data, cuts, threshold)
            assert (out.result, out.position) == (DONE, len(data)), (data, cuts, threshold)
            assert (out.larges, out.large_octets) == (len(sizes), sum(sizes)), (data, cuts, threshold)


def garbage_ends_alike_on_every_split(rng: random.Random) -> None:
    seen = {MORE: 0, DONE: 0, MALFORMED: 0}
    for turn in range(6000):
        data = chance.mutated(rng, writer.body(chance.term(rng, 3), rng.choice)) if turn % 4 else rng.randbytes(30)
        threshold = rng.choice((0, 8, NEVER))
        whole = walk(data, [len(data)], threshold)
        seen[whole.result if whole.position <= len(data) else MORE] += 1
        for cuts in (list(range(len(data) + 1)), pieces(rng, len(data))):
            out = walk(data, cuts, threshold)
            assert (out.result, out.position) == (whole.result, whole.position), (data, cuts, threshold)
            assert out.result != MORE or out.need == whole.need, (data, cuts, threshold)
    assert min(seen.values()) > 300, seen


def the_walk_is_linear(rng: random.Random) -> None:
    count = 1_000_000
    flat = b"l" + count.to_bytes(4) + b"a\x01" * count + b"j"
    deep = b"l\0\0\0\x01" * count + b"j" * (count + 1)
    for data in (flat, deep, b"m" + count.to_bytes(4) + bytes(count), b"n\xff\0" + bytes(255)):
        out = ffi.new("walk *")
        lib.walk_octet_by_octet(data, len(data), out)
        assert (out.result, out.position, out.feeds) == (DONE, len(data), len(data) + 1)


def lies_about_arity_are_only_waited_for(rng: random.Random) -> None:
    most = b"\xff" * 4
    for body in (b"l" + most, b"i" + most, b"t" + most, b"p" + b"\xff" * 29, (b"t" + most) * 50_000):
        out = walk(body, [len(body)])
        assert (out.result, out.position, out.need) == (MORE, len(body), 1)
    for body in (b"m" + most, b"o" + most, b"M" + most, b"Z\xff\xffw\0", b"k\xff\xff"):
        out = walk(body, [len(body)])
        assert (out.result, out.position) == (MORE, 0)
        assert out.need > 60_000


def no_tag_outside_the_format_is_walked(rng: random.Random) -> None:
    known = {82, *oracle.TAGS}
    for tag in range(256):
        out = walk(bytes([tag]), [1])
        assert (out.result == MALFORMED) == (tag not in known), tag


def numbers_keep_their_octets(rng: random.Random) -> None:
    shown = ffi.new("uint8_t[16]")
    for bits in range(65):
        for value in {min(2**64 - 1, max(0, 2**bits + step)) for step in (-1, 0, 1)} | {rng.getrandbits(64)}:
            assert lib.wire_round_trips(value, shown) == 24
            assert bytes(ffi.buffer(shown, 8)) == value.to_bytes(8)
            signed = value - 2**64 if value >= 2**63 else value
            size = lib.written_integer(signed, shown)
            assert bytes(ffi.buffer(shown, size)) == writer.integer(signed, writer.first)
            assert lib.double_round_trips(struct.pack(">Q", value & ~(0x7FF << 52) | 0x3FF << 52))


def a_run_of_octets_keeps_what_it_was_given(rng: random.Random) -> None:
    for _ in range(200):
        sizes = [rng.choice((0, 1, 7, 255, 256, 257, 5000)) for _ in range(rng.randrange(30))]
        assert lib.appended(rng.randbytes(sum(sizes)), sizes, len(sizes)) == 0
    assert lib.reserved(0) == lib.reserved(10_000) == 0
    for extra in (2**63, 2**64 - 1, 2**64 - 4, 2**63 - 3):
        assert lib.reserved(extra) == -1, extra


def rooms_keep_what_was_put_there(rng: random.Random) -> None:
    for _ in range(200):
        count = rng.randrange(1, 60)
        sizes = [rng.choice((0, 1, 7, 120, 2039, 2040, 2041, 16_384, 65_528, 65_529, 70_000)) for _ in range(count)]
        in_order = [rng.choice((index // 2, index, count)) for index in range(count)]
        for given in (in_order, [rng.randrange(count + 1) for _ in range(count)], [count] * count):
            assert lib.rooms_hold(sizes, given, count) == 0, (sizes, given)
    assert lib.room_is_refused(0) == lib.room_is_refused(100_000) == 0
    for size in (2**63, 2**64 - 1, 2**64 - 8, 2**63 - 1):
        assert lib.room_is_refused(size) == 1, size


def texts_of_references_are_read_strictly(rng: random.Random) -> None:
    words = ffi.new("uint32_t[5]")
    strict = re.compile(rb"#Ref<0((?:\.(?:0|[1-9][0-9]{0,9})){1,5})>")
    texts = [
        b"#Ref<0>",
        b"#Ref<0.>",
        b"#Ref<0.00>",
        b"#Ref<0.4294967295>",
        b"#Ref<0.4294967296>",
        b"#Ref<0.1",
        b"#Ref<1.2>",
    ]
    texts += [
        b"#Ref<0.1.2.3.4.5>",
        b"#Ref<0.1.2.3.4.5.6>",
        b"#Ref<0.1>>",
        b"#Ref<0.99999999999>",
        b"#Ref<0. 1>",
        b"#Ref<0.+1>",
    ]
    alphabet = (b".", b"0", b"1", b"42", b"4294967296", b">", b"<", b"#Ref<0", b"x", b"")
    texts += [b"#Ref<0." + b"".join(rng.choices(alphabet, k=rng.randrange(9))) + b">" for _ in range(20_000)]
    accepted = 0
    for text in texts:
        match = strict.fullmatch(text)
        expected = [int(word) for word in match[1].split(b".")[1:]] if match else []
        if any(word >= 2**32 for word in expected):
            expected = []
        count = lib.text_get(text, len(text), b"#Ref<", words, 5)
        assert list(words)[:count] == expected, text
        accepted += bool(expected)
        if expected:
            shown = ffi.new("uint8_t[80]")
            assert bytes(ffi.buffer(shown, lib.text_put(shown, b"#Ref<", words, count))) == text
    assert accepted > 200
    for size in range(20):
        lib.text_get(b"#Ref<0.1.2.3.4.5.6>"[:size], size, b"#Ref<", words, 5)


def hashing_and_looking_stay_inside(rng: random.Random) -> None:
    for size in range(70):
        text = bytes(rng.randrange(128) for _ in range(size))
        assert lib.hash_of(text, size) == lib.hash_of(text, size)
        assert lib.is_ascii(text, size) == 1
        for at in range(size):
            assert lib.is_ascii(text[:at] + b"\x80" + text[at + 1 :], size) == 0


def only_keys_that_meet_are_too_dear(rng: random.Random) -> None:
    for count in (1, 85, 86, 5000):
        chance = [rng.randrange(2**64) for _ in range(count)]
        for hashes in (
            chance,
            list(range(count)),
            [n << 40 for n in range(count)],
            [2**64 - 1 - n for n in range(count)],
        ):
            assert lib.afforded(hashes, len(hashes)) == count
    for hash_ in (0, 1, 2**64 - 1, rng.randrange(2**64)):
        assert 64 <= lib.afforded([hash_] * 5000, 5000) < 200
        assert lib.afforded([*chance, *[hash_] * 5000], 10_000) < 7_000


def an_overrun_is_caught(rng: random.Random) -> None:
    """Read one octet too many on purpose: this check must end badly, or the others prove nothing."""
    block = ffi.gc(ffi.cast("uint8_t *", libc.malloc(3)), libc.free)
    lib.is_ascii(block, 4)


CHECKS: dict[str, Callable[[random.Random], None]] = {
    check.__name__: check
    for check in (
        terms_end_where_they_end,
        large_binaries_are_told,
        garbage_ends_alike_on_every_split,
        the_walk_is_linear,
        lies_about_arity_are_only_waited_for,
        no_tag_outside_the_format_is_walked,
        numbers_keep_their_octets,
        a_run_of_octets_keeps_what_it_was_given,
        rooms_keep_what_was_put_there,
        texts_of_references_are_read_strictly,
        hashing_and_looking_stay_inside,
        only_keys_that_meet_are_too_dear,
        an_overrun_is_caught,
    )
}


if __name__ == "__main__":
    ffi.cdef("void *malloc(size_t size); void free(void *block);")
    libc = ffi.dlopen(None)
    lib = ffi.dlopen(sys.argv[1])
    CHECKS[sys.argv[2]](random.Random(sys.argv[2]))
