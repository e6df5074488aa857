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
typedef struct { uint64_t delay, jitter, loss; double octet; uint64_t queue, reorder; } rules;
typedef struct { uint64_t packets, octets, lost, queue, store, refused, stray, backlog, late, latest; } tally;
typedef struct way way;
way *way_new(const rules *given, size_t smalls, size_t larges, uint64_t seed);
void way_free(way *self);
int way_put(way *self, size_t from, size_t to, size_t length, int mark, size_t size, uint64_t now);
int way_take(way *self, uint64_t *due, uint64_t *number, size_t *ends, size_t *length, int *mark);
const tally *way_told(const way *self, size_t from);
size_t target_of(const uint8_t *octets, size_t length, uint32_t first);
size_t size_of(const uint8_t *octets, size_t length);
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


KEPT, LOST, QUEUE_FULL, STORE_FULL = range(4)
SMALL, LARGE = 512, 66560


class Way:
    """Packets on their way, and the marks by which they are told apart."""

    def __init__(self, smalls: int = 8, larges: int = 8, seed: int = 0, **rules: float) -> None:
        given = ffi.new("rules *", {"delay": 0, "jitter": 0, "loss": 0, "octet": 0, "queue": 0, "reorder": 0} | rules)
        self.handle = ffi.gc(lib.way_new(given, smalls, larges, seed), lib.way_free)

    def put(self, length: int = 40, mark: int = 0, now: int = 0, ends: tuple[int, int] = (0, 1)) -> int:
        return int(lib.way_put(self.handle, *ends, length, mark, length, now))

    def take(self) -> tuple[int, int, tuple[int, int], int, int] | None:
        due, number, ends = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("size_t[2]")
        length, mark = ffi.new("size_t *"), ffi.new("int *")
        if not lib.way_take(self.handle, due, number, ends, length, mark):
            return None
        return due[0], number[0], (ends[0], ends[1]), length[0], mark[0]

    def told(self, host: int = 0) -> Any:
        return lib.way_told(self.handle, host)


def packets_come_out_by_their_time_with_their_octets(rng: random.Random) -> None:
    for reorder in (0, 1):
        way, now, overtaken = Way(40, 40, 7, delay=1000, jitter=900, reorder=reorder), 0, 0
        waiting: dict[int, tuple[int, tuple[int, int], int]] = {}  # by the mark
        latest: dict[tuple[int, int], int] = {}
        before = (0, 0)
        for turn in range(20_000):
            now += rng.randrange(100)
            mark = turn % 256
            if rng.random() < (0.45, 0.55)[turn // 200 % 2] and mark not in waiting:
                ends, length = rng.choice(((0, 1), (1, 0), (0, 2), (63, 0))), rng.choice((20, SMALL, SMALL + 1, LARGE))
                if (fate := way.put(length, mark, now, ends)) == KEPT:
                    waiting[mark] = now, ends, length
                assert fate in (KEPT, STORE_FULL)
                before = (0, 0)
            elif (taken := way.take()) is not None:
                due, number, ends, length, mark = taken
                put_at, *what = waiting.pop(mark)
                assert what == [ends, length]
                assert (due, number) > before
                assert put_at + 100 <= due
                assert due <= put_at + 1900 or not reorder
                before = (due, number)
                overtaken += number < latest.get(ends, 0)
                latest[ends] = max(number, latest.get(ends, 0))
        assert (overtaken > 0) == bool(reorder)


def the_store_is_bounded_and_gives_all_of_it_back(rng: random.Random) -> None:
    way = Way(5, 3)
    for _ in range(4):
        fates = [way.put(rng.choice((40, LARGE))) for _ in range(500)]
        assert set(fates) == {KEPT, STORE_FULL}
        assert way.put(LARGE) == STORE_FULL
        while way.put(40) == KEPT:
            pass
        kept = 0
        while way.take():
            kept += 1
        assert kept == 8
    assert way.told().store > 4 * 492


def a_line_takes_its_time_and_has_a_bounded_queue(rng: random.Random) -> None:
    way = Way(100, 100, delay=1_000_000, octet=8.0, queue=3000)  # a Gbit a second
    assert way.put(60_000, now=0) == KEPT  # idle: it passes, however long
    assert way.put(1000, now=464_000) == KEPT  # 2000 octets of it wait still
    assert [way.put(1000, now=464_000 + each) for each in (0, 4000, 7992)] == [QUEUE_FULL] * 3
    assert way.put(1000, now=472_000) == KEPT
    assert way.put(1000, ends=(1, 0), now=472_000) == KEPT  # the other direction is a line of its own
    dues = [way.take()[0] for _ in range(4)]  # type: ignore[index]
    assert dues == [1_480_000, 1_480_000, 1_488_000, 1_496_000]
    assert (way.told().queue, way.told().backlog, way.told(1).backlog) == (3, 3000, 0)


def loss_is_a_share_and_repeats_with_its_seed(rng: random.Random) -> None:
    def fates(seed: int, ends: tuple[int, int]) -> list[int]:
        way = Way(20_000, 1, seed, loss=2**64 // 10)
        found = [way.put(ends=ends) for _ in range(10_000)]
        assert way.told(ends[0]).lost == found.count(LOST)
        return found

    first = fates(5, (0, 1))
    assert 900 < first.count(LOST) < 1100
    assert first == fates(5, (0, 1))
    assert first != fates(6, (0, 1))
    assert first != fates(5, (1, 0))
    assert not Way(loss=0).put()


def headers_are_read_within_the_packet(rng: random.Random) -> None:
    address = 10 << 24 | 77 << 16 | 1
    offload = struct.pack("=BBHHHH", 1, 1, 54, 1448, 34, 16)
    octets = offload + bytes([0x45]) + bytes(15) + struct.pack(">I", address + 5) + bytes(20 + 14480)
    assert lib.target_of(octets, len(octets), address) == 5
    assert lib.target_of(octets, len(octets), address + 6) > 64
    assert lib.size_of(octets, len(octets)) == len(octets) - 10 + 54 * ((14480 + 40 - 54 - 1) // 1448)
    whole = bytes(10) + octets[10:]
    assert lib.size_of(whole, len(whole)) == len(whole) - 10
    for size in range(40):
        assert lib.target_of(octets, size, address) == (5 if size >= 30 else 2**64 - 1)
        lib.size_of(octets, size)
    six = octets[:10] + b"\x60" + octets[11:]
    assert lib.target_of(six, len(six), address) == 2**64 - 1


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
        packets_come_out_by_their_time_with_their_octets,
        the_store_is_bounded_and_gives_all_of_it_back,
        a_line_takes_its_time_and_has_a_bounded_queue,
        loss_is_a_share_and_repeats_with_its_seed,
        headers_are_read_within_the_packet,
        an_overrun_is_caught,
    )
}


if __name__ == "__main__":
    ffi.cdef("void *malloc(size_t size); void free(void *block);")
    libc = ffi.dlopen(None)
    lib = ffi.dlopen(sys.argv[1])
    CHECKS[sys.argv[2]](random.Random(sys.argv[2]))
