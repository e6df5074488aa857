"""Input made to hurt: each is a named error, in little time and in bounded memory, and the codec works afterwards."""

import gc
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from partisan import etf
from partisan.errors import Truncated
from tests.memory import MEASURABLE, SANITIZED, growth_from_now
from tests.oracle.cases import compressed

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
MOST = b"\xff\xff\xff\xff"
CODEC = etf.Codec()


def growth(work: Callable[[], object]) -> int:
    """Return by how many octets this process grew from the second run of `work` on: the first one fills the caches."""
    if not MEASURABLE:
        pytest.skip("memory is measured through /proc, and not under the sanitizers")
    work()
    gc.collect()
    grown = growth_from_now()
    work()
    gc.collect()
    return grown()


DEEP = {
    "lists": b"l\0\0\0\x01",
    "tails of lists": b"l\0\0\0\x01a\x01",
    "small tuples": b"h\x01",
    "large tuples": b"i\0\0\0\x01",
    "maps, by value": b"t\0\0\0\x01a\x01",
    "maps, by key": b"t\0\0\0\x01",
    "lists of no items": b"l\0\0\0\0",
}


@pytest.mark.parametrize("opening", DEEP.values(), ids=DEEP)
def test_ten_million_levels_are_refused_at_the_limit(opening: bytes) -> None:
    octets = b"\x83" + opening * 10_000_000
    with pytest.raises(etf.DecodeError, match=r"(?i)dep|nest|level") as caught:
        CODEC.decode(octets)
    assert not isinstance(caught.value, Truncated)
    assert caught.value.offset < 100 * 1024


@pytest.mark.parametrize("levels", [1, 2, 50, 1023, 1024])
def test_the_depth_allowed_is_the_depth_that_was_asked_for(levels: int) -> None:
    value: list[Any] = [256]
    for _ in range(levels - 1):
        value = [value]
    exact = etf.Codec(max_depth=levels)
    octets = exact.encode(value)
    assert exact.encode(exact.decode(octets)) == octets  # `==` of Python has a limit of its own
    deeper = etf.Codec(max_depth=levels + 1).encode([value])
    with pytest.raises(etf.DecodeError):
        exact.decode(deeper)
    with pytest.raises(etf.EncodeError):
        exact.encode([value])


def deepest() -> int:
    """Return the largest max_depth that a Codec takes."""
    least, most = 1, 1_000_000
    while least < most:
        middle = (least + most + 1) // 2
        try:
            etf.Codec(max_depth=middle)
            least = middle
        except ValueError:
            most = middle - 1
    return least


@pytest.mark.parametrize("opening", [body for body in DEEP.values() if body != DEEP["maps, by key"]])
def test_the_deepest_that_can_be_asked_for_does_not_break_the_stack(opening: bytes) -> None:
    most = deepest()
    assert 1_024 <= most <= 10_000
    codec, taken = etf.Codec(max_depth=most), []
    for count in (most - 2, most, most + 2, 10 * most):
        for closing in (b"j" * (count + 1), b"a\x01" * (count + 1)):
            try:
                value = codec.decode_prefix(b"\x83" + opening * count + closing)[0]
            except etf.DecodeError:
                continue
            taken.append(count)
            octets = codec.encode(value)
            assert codec.encode(codec.decode(octets)) == octets  # `==` of Python has a limit of its own
    assert most - 2 in taken
    assert 10 * most not in taken


@pytest.mark.parametrize("stack", [768 * 1024, 1024 * 1024])
def test_the_default_depth_fits_the_stack_of_a_small_thread(stack: int) -> None:
    def work() -> None:
        for opening in DEEP.values():
            with pytest.raises(etf.DecodeError):
                CODEC.decode(b"\x83" + opening * 100_000)
        CODEC.encode(CODEC.decode(b"\x83" + b"h\x01" * 500 + b"j"))
        done.append(True)

    done: list[bool] = []
    before = threading.stack_size(stack)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert done == [True]


UNFAITHFUL = b"a\x01a\x01F\x3f\xf0\0\0\0\0\0\0"  # 1 and 1.0 as keys: no dict holds both
NESTED_AS_KEYS = {
    "lists": (b"t\0\0\0\x01", b"j", b"j"),
    "hashable": (b"t\0\0\0\x03" + UNFAITHFUL + b"a\x01", b"w\x01a", b"a\x01"),
    "not hashable": (b"t\0\0\0\x03" + UNFAITHFUL + b"a\x01", b"t\0\0\0\x02" + UNFAITHFUL + b"j", b"a\x01"),
    "around much": (b"t\0\0\0\x01", b"m\0\x10\0\0" + bytes(MIB), b"j"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("shape", NESTED_AS_KEYS.values(), ids=NESTED_AS_KEYS)
def test_maps_nested_as_keys_are_gone_through_once_not_once_a_level(shape: tuple[bytes, bytes, bytes]) -> None:
    opening, innermost, closing = shape
    levels, times = 1000, 1 if len(innermost) > MIB else 20 if SANITIZED else 100
    # Gone through at each level, each of these took half a second and more, or a gibibyte.
    octets = b"\x83h" + bytes([times]) + (opening * levels + innermost + closing * levels) * times
    for codec in (CODEC, etf.Codec(none="nil"), etf.Codec(strings="atom")):
        grown = growth_from_now()
        value = codec.decode(octets)
        assert grown() < 64 * MIB + 64 * len(octets)
        assert codec.encode(value) == octets


def test_values_nested_too_deep_are_refused_in_all_directions() -> None:
    deep: Any = 1
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(etf.EncodeError):
        CODEC.encode(deep)
    for work in (lambda: etf.exactly_equal(deep, [deep]), lambda: etf.term_key(deep), lambda: etf.ErlMap([(deep, 1)])):
        with pytest.raises((etf.EncodeError, RecursionError)):
            work()
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(etf.EncodeError):
        CODEC.encode(loop)


def test_a_mapping_that_changes_while_it_is_encoded_does_no_harm() -> None:
    class Slippery(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            self.clear()
            return super().items()

    class Growing(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            self.append(1)
            return super().__iter__()

        def __len__(self) -> int:
            return 2**40

    for value in (Slippery(a=1), Growing([1, 2]), [Growing([1])]):
        octets = CODEC.encode(value)
        CODEC.decode(octets)


LIES = {
    "list": b"l" + MOST,
    "large tuple": b"i" + MOST,
    "small tuple": b"h\xff",
    "map": b"t" + MOST,
    "map of half as many": b"t\x7f\xff\xff\xff",
    "binary": b"m" + MOST,
    "bit string": b"M" + MOST + b"\x08",
    "large big": b"o" + MOST + b"\0",
    "small big": b"n\xff\0",
    "string": b"k\xff\xff",
    "reference": b"Z\xff\xffw\x03a@h",
    "fun": b"p" + MOST * 7 + b"\xff" + b"w\x01ma\x01a\x01Xw\x03a@h" + bytes(12),
    "atom": b"v\xff\xff",
    "compressed": b"P" + MOST,
    "compressed to the limit": b"P\x10\0\0\0" + zlib.compress(b"j"),
    "lists within lists": (b"l\0\xff\xff\xff" + b"a\x01") * 400,
    "tuples within tuples": (b"i\0\xff\xff\xff") * 400,
    "maps within maps": (b"t\0\x7f\xff\xff") * 400,
    "lists within a megabyte": b"l\0\x10\0\0" * 400 + bytes(MIB),
}

CONFINED = """
import resource, sys
from partisan import etf
octets = bytes.fromhex(sys.stdin.read())
codec = etf.Codec()
size = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20),) * 2)
try:
    codec.decode(octets)
except etf.DecodeError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited and measured as on Linux")
@pytest.mark.parametrize("body", LIES.values(), ids=LIES)
def test_arities_and_lengths_that_lie_cost_no_memory(body: bytes) -> None:
    with pytest.raises(etf.DecodeError):
        CODEC.decode(b"\x83" + body)
    if SANITIZED:
        pytest.skip("AddressSanitizer reserves more addresses than a process could be confined to")
    command = [sys.executable, "-c", textwrap.dedent(CONFINED)]
    octets = (b"\x83" + body).hex()
    done = subprocess.run(
        command, input=octets, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() in ("DecodeError", "Truncated"), done.stderr


@pytest.mark.parametrize("factor", [1, 64])
def test_a_bomb_stops_at_the_size_that_it_announced(factor: int) -> None:
    announced = b"m" + (100).to_bytes(4) + bytes(100)
    bomb = zlib.compress(announced + bytes(factor * MIB), 9)
    with pytest.raises(etf.DecodeError):
        CODEC.decode(b"\x83P" + len(announced).to_bytes(4) + bomb)

    def explode() -> None:
        with pytest.raises(etf.DecodeError):
            CODEC.decode(b"\x83P" + len(announced).to_bytes(4) + bomb)

    assert growth(explode) < MIB


def test_inflated_size_is_bounded_before_anything_is_inflated() -> None:
    small = etf.Codec(max_inflated=1000)
    assert small.decode(compressed(b"m\0\0\x03\xe3" + bytes(995))) == bytes(995)
    with pytest.raises(etf.DecodeError, match=r"(?i)inflat|limit"):
        small.decode(compressed(b"m\0\0\x03\xe4" + bytes(996)))
    with pytest.raises(etf.DecodeError, match=r"(?i)inflat|limit") as caught:
        CODEC.decode(b"\x83P" + MOST + b"not even deflate")
    assert not isinstance(caught.value, Truncated)


def test_compression_is_only_accepted_around_the_whole_term() -> None:
    inner = compressed(b"j")[1:]
    for body in (b"l\0\0\0\x01" + inner + b"j", b"h\x01" + inner, b"t\0\0\0\x01" + inner + b"j"):
        with pytest.raises(etf.DecodeError) as caught:
            CODEC.decode(b"\x83" + body)
        assert not isinstance(caught.value, Truncated)
    with pytest.raises(etf.DecodeError):
        CODEC.decode(compressed(inner))
    with pytest.raises(etf.DecodeError):
        CODEC.decode(compressed(b"\x83j"))


def test_a_compressed_term_that_is_cut_inside_is_malformed_not_truncated() -> None:
    with pytest.raises(etf.DecodeError) as caught:
        CODEC.decode(compressed(b"l\0\0\0\x02a\x01"))
    assert not isinstance(caught.value, Truncated)


BAD_NAMES = {
    "a lone continuation": b"w\x01\x80",
    "an overlong slash": b"w\x02\xc0\xaf",
    "an overlong nul": b"w\x02\xc0\x80",
    "a surrogate": b"w\x03\xed\xa0\x80",
    "beyond unicode": b"w\x04\xf4\x90\x80\x80",
    "a character cut off": b"w\x01\xcf",
    "latin1 in utf-8": b"v\0\x02a\xe9",
    "octets that never occur": b"w\x02\xff\xfe",
    "256 characters": b"v\x01\0" + b"x" * 256,
    "256 wide characters": b"v\x02\0" + "é".encode() * 256,
    "256 latin1 characters": b"d\x01\0" + b"x" * 256,
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_name_that_is_no_atom_is_malformed_wherever_an_atom_may_stand(name: bytes) -> None:
    places = [
        name,
        b"h\x01" + name,
        b"t\0\0\0\x01" + name + b"j",
        b"X" + name + bytes(12),
        b"q" + name + b"w\x01fa\x01",
    ]
    places += [b"Z\0\x01" + name + bytes(8), b"qw\x01m" + name + b"a\x01", b"x" + name + bytes(12)]
    for body in places:
        with pytest.raises(etf.DecodeError) as caught:
            CODEC.decode(b"\x83" + body)
        assert not isinstance(caught.value, Truncated), body
        assert 0 < caught.value.offset <= len(body) + 1


def test_every_tag_that_is_none_is_malformed_at_its_place() -> None:
    known = b"FMPXYZabcdefghijklmnopqrstvwx"
    for tag in set(range(256)) - set(known):
        with pytest.raises(etf.DecodeError) as caught:
            CODEC.decode(b"\x83h\x02a\x01" + bytes([tag]) + bytes(100))
        assert not isinstance(caught.value, Truncated)
        assert caught.value.offset == 5, tag
    for version in (0, 130, 132, 80):
        with pytest.raises(etf.DecodeError) as caught:
            CODEC.decode(bytes([version]) + b"j")
        assert caught.value.offset == 0


def test_numbers_that_are_none_are_malformed() -> None:
    bad = [b"F\x7f\xf0" + bytes(6), b"F\xff\xf8" + bytes(6), b"F\x7f\xf0" + bytes(5) + b"\1"]
    bad += [
        b"c" + text.ljust(31, b"\0")
        for text in (b"nan", b"inf", b"-infinity", b"1e999", b"", b"0x1p3", b"1_0", b" 1.0")
    ]
    bad += [
        b"M\0\0\0\x01\0\xff",
        b"M\0\0\0\x01\x09\xff",
        b"M\0\0\0\0\x03",
        b"Z\0\x06w\0" + bytes(30),
        b"Z\0\0w\0" + bytes(30),
    ]
    for body in bad:
        with pytest.raises(etf.DecodeError) as caught:
            CODEC.decode(b"\x83" + body)
        assert not isinstance(caught.value, Truncated), body


def test_more_items_than_allowed_are_refused_in_sum_not_only_each() -> None:
    few = etf.Codec(max_items=10)
    assert few.decode(b"\x83h\x02" + b"h\x04" + b"j" * 4 + b"l\0\0\0\x04" + b"j" * 5) == (([],) * 4, [[]] * 4)
    for body in (
        b"h\x02" + (b"h\x05" + b"j" * 5) * 2,
        b"h\x0b" + b"j" * 11,
        b"k\0\x0b" + bytes(11),
        b"t\0\0\0\x06" + b"a\1" * 12,
    ):
        with pytest.raises(etf.DecodeError):
            few.decode(b"\x83" + body)
    for value in ([1] * 11, (1,) * 11, [[1] * 6] * 2, {n: n for n in range(6)}, ["x"] * 11, [256] * 11, [1.5] * 11):
        with pytest.raises(etf.EncodeError):
            few.encode(value)


def test_more_octets_than_allowed_are_refused() -> None:
    small = etf.Codec(max_octets=1000)
    assert len(small.encode(bytes(900))) == 906
    for value in (
        bytes(1001),
        [bytes(500)] * 3,
        "x" * 1001,
        list(range(256, 1000)),
        2**9000,
        [1.5] * 200,
        bytes(70_000),
    ):
        with pytest.raises(etf.EncodeError):
            small.encode(value)
        with pytest.raises(etf.EncodeError):
            small.encode_iovec(value)
    assert small.encode(1) == b"\x83a\x01"
    with pytest.raises(etf.DecodeError):
        small.decode(b"\x83m\0\0\x07\xd0" + bytes(2000))


def endless(make: Callable[[int], bytes]) -> Callable[[], None]:
    """Return a run that decodes 200,000 terms, none of them seen before."""
    state = [0]

    def run() -> None:
        state[0] += 200_000
        for number in range(state[0], state[0] + 200_000):
            CODEC.decode(make(number))

    return run


NEW_EVERY_TIME: dict[str, Callable[[int], bytes]] = {
    "atoms": lambda n: b"\x83w\x14%020d" % n,
    "latin1 atoms": lambda n: b"\x83d\0\x14%019d\xe9" % n,
    "atoms of 255 characters": lambda n: b"\x83w\xff%0255d" % n,
    "nodes of pids": lambda n: b"\x83Xw\x14%020d" % n + bytes(12),
    "keys of maps": lambda n: b"\x83t\0\0\0\x01m\0\0\0\x14%020dj" % n,
    "binaries": lambda n: b"\x83m\0\0\0\x14%020d" % n,
}


@pytest.mark.parametrize("make", NEW_EVERY_TIME.values(), ids=NEW_EVERY_TIME)
def test_an_endless_stream_of_new_names_does_not_grow_memory(make: Callable[[int], bytes]) -> None:
    assert growth(endless(make)) < 2 * MIB


def test_refused_octets_leave_no_memory_behind() -> None:
    bad = [b"\x83" + body for body in LIES.values()] + [b"\x83" + body for body in BAD_NAMES.values()]
    bad += [
        b"\x83h\x04m\0\0\x03\xe8" + bytes(1000) + tail for tail in (b"?", b"Xa\1", b"w\1\xff", b"h\2", b"t\0\0\0\2jjjj")
    ]

    def run() -> None:
        for octets in bad * 8:
            with pytest.raises(etf.DecodeError):
                CODEC.decode(octets)

    run()
    assert growth(run) < MIB


def test_refused_values_leave_no_memory_behind() -> None:
    def run() -> None:
        for value in ([bytes(100_000), object()], {b"k" * 1000: {1: object()}}, ([1.5] * 10_000, 1j)):
            for _ in range(300):
                with pytest.raises(etf.EncodeError):
                    CODEC.encode(value)
                with pytest.raises(etf.EncodeError):
                    CODEC.encode_iovec(value)

    assert growth(run) < MIB


def test_decoding_and_encoding_leave_reference_counts_as_they_were() -> None:
    node, large = etf.Atom("a reference counted node"), bytes(100_000)
    value = (node, [large, {node: (1, 2.5, large)}], etf.Pid("a reference counted node", 1), etf.ErlMap([([], node)]))
    octets = CODEC.encode(value)

    def run() -> None:
        for _ in range(50):
            CODEC.decode(octets)
            CODEC.encode(value)
            CODEC.encode_iovec(value)
            etf.exactly_equal(value, CODEC.decode(octets))

    run()
    before = [sys.getrefcount(item) for item in (node, large, value, None, True)]
    run()
    after = [sys.getrefcount(item) for item in (node, large, value, None, True)]
    assert all(abs(b - a) < 20 for a, b in zip(before, after, strict=True)), (before, after)


def table(keys: list[bytes]) -> bytes:
    return b"\x83t" + len(keys).to_bytes(4) + b"".join(key + b"j" for key in keys)


PRIME = 2**61 - 1  # Python's hash of an integer is its remainder by this prime


def wide(number: int) -> bytes:
    return b"n\x0a\0" + number.to_bytes(10, "little")


def narrow(number: int) -> bytes:
    return b"n\x08\0" + number.to_bytes(8, "little")


COLLIDING: dict[str, Callable[[int], bytes]] = {
    "bignums": lambda n: wide(PRIME * n),
    "tuples": lambda n: b"h\x02a\x01" + wide(PRIME * n),
    "floats and bignums": lambda n: b"h\x02F\x3f\xf8\0\0\0\0\0\0" + wide(PRIME * n),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("key", COLLIDING.values(), ids=COLLIDING)
def test_keys_made_to_collide_do_not_come_into_a_dict(key: Callable[[int], bytes]) -> None:
    few, many = (CODEC.decode(table([key(n) for n in range(1, count + 1)])) for count in (64, 200_000))
    assert type(few) is dict
    assert type(many) is etf.ErlMap
    assert len(many) == 200_000
    mixed = [b"m\0\0\0\x04" + n.to_bytes(4) for n in range(5_000)] + [key(n) for n in range(1, 5_000)]
    assert type(CODEC.decode(table(mixed))) is etf.ErlMap


def walkers() -> list[int]:
    """Return ints with hashes of their own, most of which a dict of 4,096 slots seeks along one row of taken slots."""
    slots, chance, row = 4096, Random(1), [0]
    while len(row) < 2200:
        row.append((5 * row[-1] + 1) % slots)  # the order in which a dict seeks when the bits of a hash are used up
    taken, late = set(row), []
    while len(late) < 400:
        slot = perturb = number = chance.randrange(2**60)
        slot %= slots
        while slot in taken and perturb:
            perturb >>= 5
            slot = (5 * slot + perturb + 1) % slots
        if slot in taken:
            late.append(number)
    return row + late


def test_keys_that_meet_only_in_the_slots_of_a_dict_do_not_come_into_one() -> None:
    keys = walkers()
    assert len({hash(key) for key in keys}) == len(keys)
    value = CODEC.decode(table([narrow(key) for key in keys]))
    assert type(value) is etf.ErlMap
    assert list(value) == keys


HARMLESS: dict[str, Callable[[int], bytes]] = {
    "ints": lambda n: b"b" + n.to_bytes(4),
    "multiples of a large power": lambda n: narrow(n << 40),
    "bignums": lambda n: wide(2**70 + n),
    "floats": lambda n: b"F" + struct.pack(">d", n / 8),
    "tuples of ints": lambda n: b"h\x02a" + bytes([n % 256]) + b"b" + (n // 256).to_bytes(4),
    "pids": lambda n: b"Xw\x03a@h" + n.to_bytes(4) + bytes(8),
}


@pytest.mark.parametrize("key", HARMLESS.values(), ids=HARMLESS)
def test_keys_as_programs_have_them_come_into_a_dict(key: Callable[[int], bytes]) -> None:
    value = CODEC.decode(table([key(n) for n in range(20_000)]))
    assert type(value) is dict
    assert len(value) == 20_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "key", [b"l\0\0\0\x01b%s" + b"j", b"h\x02jb%s", b"t\0\0\0\x01b%sj"], ids=["lists", "tuples", "maps"]
)
def test_maps_of_keys_that_cannot_be_hashed_decode_in_linear_time(key: bytes) -> None:
    head, tail = key.split(b"%s")
    value = CODEC.decode(table([head + n.to_bytes(4) + tail for n in range(200_000)]))
    assert type(value) is etf.ErlMap
    assert len(value) == 200_000


@pytest.mark.timeout(60)
def test_a_long_integer_is_read_and_written_in_little_time() -> None:
    octets = b"\x83o" + (4 * MIB).to_bytes(4) + b"\0" + b"\xaa" * (4 * MIB)
    assert CODEC.encode(CODEC.decode(octets)) == octets
