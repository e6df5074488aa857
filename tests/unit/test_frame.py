"""Frames are cut from a stream the same way however the stream is split, and cost what has arrived."""

from __future__ import annotations

import contextlib
import ctypes
import random
import struct
import sys
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan._core.frame import FrameReader, Slab
from partisan.errors import FrameError
from partisan.etf import Atom, Codec
from tests.memory import growth_from_now
from tests.unit.hollow import Core, Frames, framed, whole

LARGE = 65536
CARRY = 4096
WINDOW = 16384
CODEC = Codec()
SLAB = Slab(4 * CARRY)  # shared by all readers here: each empties it before the next is given it


def small(size: int) -> bytes:
    """A frame's body of so many octets that hold no large binary."""
    return CODEC.encode(b"")[:-4] + struct.pack(">I", size - 6) + b"s" * (size - 6)


def numbers(count: int) -> bytes:
    """A long body of small terms."""
    return CODEC.encode([70000 + number for number in range(count)])


PICTURE = random.Random(7).randbytes(LARGE + 11)
ALBUM = [bytes([number]) * (LARGE + number) for number in range(3)]
BODIES = {
    "one octet": b"\x83",
    "tiny": CODEC.encode(Atom("ok")),
    "small": small(100),
    "just carried": small(CARRY - 4),
    "just assembled": small(CARRY - 3),
    "many terms": numbers(4000),
    "one large": CODEC.encode((Atom("picture"), PICTURE, 1)),
    "large last": CODEC.encode((1, PICTURE)),
    "large first": CODEC.encode([PICTURE, b"x" * 5000]),
    "just below large": CODEC.encode((b"b" * (LARGE - 1), 1)),
    "several large": CODEC.encode((ALBUM[0], 1, ALBUM[1], [ALBUM[2]], b"y" * 9000)),
    "compressed": b"\x83\x50" + struct.pack(">I", LARGE) + zlib.compress(random.Random(1).randbytes(LARGE)),
    "garbage": random.Random(2).randbytes(9000),
    "large and no more": CODEC.encode(PICTURE),
    "rubbish behind": CODEC.encode((1, PICTURE)) + b"\x00" * 70000,
}
STREAM = list(BODIES.values())


def feed(reader: FrameReader, octets: bytes, sizes: Iterable[int]) -> None:
    """Give a reader a stream in reads of at most so many octets, as a socket would."""
    position = 0
    for size in sizes:
        if position == len(octets):
            return
        buffer = reader.get_buffer()
        here = min(size, len(buffer), len(octets) - position)
        buffer[:here] = octets[position : position + here]
        position += here
        reader.received(here)
    assert position == len(octets)


@pytest.mark.parametrize("name", BODIES)
def test_a_frame_cut_at_any_octet_is_the_same_frame(name: str) -> None:
    octets = framed(BODIES[name])
    cuts = range(1, len(octets)) if len(octets) < 5000 else [*range(1, 40), *range(41, len(octets), len(octets) // 97)]
    for cut in cuts:
        reader = Frames(SLAB)
        reader.receive_data(octets[:cut])
        assert reader.found == []
        reader.receive_data(octets[cut:] + framed(b"\x83\x6a"))
        assert [whole(frame) for frame in reader.found] == [BODIES[name], b"\x83\x6a"]
        assert reader.missing == 0


@pytest.mark.parametrize("name", [name for name, body in BODIES.items() if len(body) < 10000])
def test_a_frame_that_comes_octet_by_octet_is_the_same_frame(name: str) -> None:
    reader = Frames(SLAB)
    for octet in framed(BODIES[name]) * 2:
        reader.receive_data(bytes([octet]))
    assert [whole(frame) for frame in reader.found] == [BODIES[name]] * 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, len(STREAM) - 1), min_size=1, max_size=8), st.integers(0, 2**32), st.integers(1, 100_000)
)
def test_any_split_of_any_stream_gives_the_same_frames(chosen: list[int], seed: int, most: int) -> None:
    octets = b"".join(framed(STREAM[index]) for index in chosen)
    chance = random.Random(seed)
    reader = Frames(SLAB)
    least = max(1, most // 50)
    feed(reader, octets, iter(lambda: chance.randint(least, most), None))
    assert [whole(frame) for frame in reader.found] == [STREAM[index] for index in chosen]
    assert reader.received_frames == len(chosen)
    assert reader.received_octets == len(octets)
    assert reader.missing == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=300), st.integers(1, 2000))
def test_many_small_frames_in_a_read_come_out_in_order(sizes: list[int], read: int) -> None:
    sent = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    octets = b"".join(map(framed, sent))
    reader = Frames(SLAB)
    feed(reader, octets, [read] * len(octets))
    assert reader.found == [(body, None) for body in sent]


# Large binaries.


@pytest.mark.parametrize("first", [4 + 1, 4 + 40, CARRY])
def test_a_large_binary_is_received_in_the_object_that_holds_it(first: int) -> None:
    octets = framed(BODIES["one large"])
    reader = Frames(SLAB)
    reader.receive_data(octets[:first])
    position, places = first, set()
    while position < len(octets):
        buffer = reader.get_buffer()
        here = min(len(buffer), len(octets) - position, 10_000)
        places.add(len(buffer))
        buffer[:here] = octets[position : position + here]
        position += here
        reader.received(here)
    (body, planted) = reader.found[0]
    assert planted == [PICTURE]
    assert len(body) < 100, "the body has only the header of the binary"
    assert type(planted[0]) is bytes


def test_what_is_delivered_is_the_object_that_was_received() -> None:
    core = Core()
    got: list[object] = []
    core.scheduler.register("album", lambda message, link: got.append(message))
    reader = core.inbound()
    term = (Atom("forward_message"), Atom("album"), (1, PICTURE, ALBUM[1]))
    octets = framed(core.codec.encode(term))
    at = octets.index(PICTURE[:64])
    reader.receive_data(octets[:at])
    holder = reader.get_buffer().obj  # None: the memory of an object that nobody else has seen yet
    assert holder is None
    place = address(reader.get_buffer())
    reader.receive_data(octets[at:])
    ((_, picture, second),) = got  # type: ignore[misc]
    assert picture == PICTURE
    assert second == ALBUM[1]
    assert address(memoryview(picture)) == place, "the octets lie where the socket wrote them"
    core.close()


def address(buffer: memoryview) -> int:
    """Where a buffer's first octet lies."""
    whole = ctypes.c_char * len(buffer)
    if not buffer.readonly:
        return ctypes.addressof(whole.from_buffer(buffer))
    return ctypes.cast(ctypes.c_char_p(buffer.obj), ctypes.c_void_p).value or 0


def test_binaries_inside_a_compressed_frame_are_left_to_the_decoder() -> None:
    core = Core()
    got: list[object] = []
    core.scheduler.register("album", lambda message, link: got.append(message))
    album = PICTURE[:6000] * 20
    term = (Atom("forward_message"), Atom("album"), album)
    body = core.codec.encode_compressed(term, 1)
    assert body[1] == 80
    assert len(body) > CARRY
    octets = framed(body)
    for cut in (5, 4500, len(octets) - 1):
        reader = core.inbound()
        reader.receive_data(octets[:cut])
        reader.receive_data(octets[cut:])
        assert got.pop() == album
    core.close()


def test_the_frames_around_a_large_one_are_not_disturbed() -> None:
    octets = framed(b"before") + framed(BODIES["several large"]) + framed(b"behind") + framed(BODIES["tiny"])
    for read in (1000, 4100, LARGE, 10**6):
        reader = Frames(SLAB)
        feed(reader, octets, [read] * len(octets))
        assert [whole(frame) for frame in reader.found] == [
            b"before", BODIES["several large"], b"behind", BODIES["tiny"],
        ]  # fmt: skip
        assert reader.found[1][1] == ALBUM


# What it costs.


def test_the_buffer_for_a_long_frame_grows_with_what_has_arrived() -> None:
    """Memory for an announcement alone would let a peer take the cap with nine octets."""
    reader = Frames(Slab(1 << 18), max_frame=256 << 20)
    reader.receive_data(struct.pack(">I", 256 << 20) + b"\x83\x6c\x0f\xff\xff\xff")
    arrived = 6
    while arrived < 1 << 20:
        buffer = reader.get_buffer()
        assert len(buffer) <= max(WINDOW, arrived)
        buffer[:1000] = b"\x61\x01" * 500
        reader.received(1000)
        arrived += 1000
    assert reader.found == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("announced", ["binary", "list", "atom", "garbage"])
def test_an_announced_giant_takes_no_memory_until_it_comes(announced: str) -> None:
    size = 256 << 20
    head = {
        "binary": b"\x83m" + struct.pack(">I", size - 6),
        "list": b"\x83l" + struct.pack(">I", size // 2),
        "atom": b"\x83\x64\xff\xff",
        "garbage": b"\x00\x01\x02\x03\x04\x05",
    }[announced]
    grown = growth_from_now()
    readers = [Frames(SLAB, max_frame=size) for _ in range(8)]
    for reader in readers:
        reader.receive_data(struct.pack(">I", size) + head)
        reader.get_buffer()[:1] = b"x"
    assert grown() < 8 << 20
    assert [reader.missing for reader in readers] == [size - len(head)] * 8


@pytest.mark.parametrize("name", ["many terms", "garbage", "compressed", "just below large", "rubbish behind"])
def test_octets_that_have_arrived_are_not_moved_again_by_each_read(name: str) -> None:
    """No quadratic behaviour: a read goes behind what is there, which moves only when its memory doubles."""
    octets = framed(BODIES[name])
    reader = Frames(SLAB)
    reader.receive_data(octets[:4200])
    position, moves, last = 4200, 0, None
    while position < len(octets):
        buffer = reader.get_buffer()
        place = address(buffer)
        if last is not None and place != last:
            moves += 1
        here = min(len(buffer), 100, len(octets) - position)
        buffer[:here] = octets[position : position + here]
        position += here
        last = place + here
        reader.received(here)
    assert moves <= len(octets).bit_length() + 4
    assert len(reader.found) == 1


def test_a_short_frame_in_pieces_is_carried_and_not_collected_anew() -> None:
    """At most CARRY octets are copied for each read."""
    reader = Frames(SLAB)
    octets = framed(small(CARRY - 4))
    for position in range(len(octets) - 1):
        reader.receive_data(octets[position : position + 1])
        assert len(reader.get_buffer()) == SLAB.size - position - 1, "what is carried lies before it in the slab"
    reader.receive_data(octets[-1:])
    assert len(reader.found) == 1
    assert len(reader.get_buffer()) == SLAB.size


def test_after_a_long_frame_only_a_window_is_offered() -> None:
    reader = Frames(Slab(1 << 18))
    reader.receive_data(framed(BODIES["one large"])[:50])
    reader.receive_data(framed(BODIES["one large"])[50:])
    assert len(reader.get_buffer()) == WINDOW
    reader.receive_data(framed(b"x"))
    assert len(reader.get_buffer()) == 1 << 18


# What is refused.


@pytest.mark.parametrize("split", [1, 2, 3, 4])
def test_an_oversized_frame_is_refused_at_its_header(split: int) -> None:
    reader = Frames(SLAB, max_frame=1000)
    reader.receive_data(framed(b"x" * 1000))
    header = struct.pack(">I", 1001)
    reader.receive_data(header[:split] if split < 4 else b"")
    with pytest.raises(FrameError) as caught:
        reader.receive_data(header[split:] if split < 4 else header)
    assert (caught.value.reason, caught.value.octets) == ("oversized", 1001)
    assert len(reader.found) == 1


def test_an_empty_frame_is_refused() -> None:
    reader = Frames(SLAB)
    with pytest.raises(FrameError) as caught:
        reader.receive_data(framed(b"x") + framed(b"") + framed(b"y"))
    assert caught.value.reason == "empty"
    assert reader.found == [(b"x", None)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_garbage_gives_frames_or_a_frame_error_and_nothing_else(octets: bytes, read: int) -> None:
    reader = Frames(SLAB, max_frame=1 << 20)
    with contextlib.suppress(FrameError):
        feed(reader, octets, [read] * len(octets))
    assert (
        b"".join(framed(whole(frame)) for frame in reader.found)
        == octets[: sum(4 + len(whole(f)) for f in reader.found)]
    )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_long_frame_of_almost_a_term_comes_out_as_it_was_sent(data: st.DataObject) -> None:
    """Whatever the scanner makes of it: octets and planted binaries together are what was sent."""
    body = bytearray(BODIES[data.draw(st.sampled_from(["one large", "several large", "many terms", "large first"]))])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(1, 300) | st.integers(1, len(body) - 1))] = data.draw(st.integers(0, 255))
    reader = Frames(SLAB)
    feed(reader, framed(bytes(body)), [data.draw(st.integers(1500, 70_000))] * len(body))
    (frame,) = reader.found
    assert whole(frame) == bytes(body)


def test_a_binary_that_announces_more_than_its_frame_is_not_made() -> None:
    core = Core()
    reader = core.inbound(max_frame=1 << 22)
    body = b"\x83h\x02a\x01m" + struct.pack(">I", 1 << 30) + b"z" * (1 << 20)
    grown = growth_from_now()
    octets = framed(body)
    for start in range(0, len(body), 10_000):
        reader.receive_data(octets[start : min(start + 10_000, len(body))])
    with pytest.raises(FrameError) as caught:
        reader.receive_data(octets[-4:])
    assert caught.value.reason == "malformed"
    assert grown() < 64 << 20
    core.close()


def test_missing_says_what_an_unfinished_frame_needs() -> None:
    reader = Frames(SLAB)
    assert reader.missing == 0
    reader.receive_data(b"\x00\x00")
    assert reader.missing == 2
    reader.receive_data(struct.pack(">I", 100)[2:] + b"x" * 30)
    assert reader.missing == 70
    reader.receive_data(b"x" * 70)
    assert reader.missing == 0
    reader.receive_data(framed(BODIES["one large"])[:1004])
    reader.receive_data(framed(BODIES["one large"])[1004:5004])
    assert reader.missing == len(BODIES["one large"]) - 5000


def test_a_reader_that_raises_at_the_end_of_a_long_frame_lets_its_memory_go() -> None:
    class Refusing(FrameReader):
        def frame(self, body: bytes, planted: list[bytes] | None) -> None:
            raise FrameError("malformed", len(body))

    reader = Refusing(SLAB)
    octets = framed(BODIES["many terms"])
    reader.receive_data(octets[:5000])
    with pytest.raises(FrameError):
        reader.receive_data(octets[5000:])
    assert reader.missing == 0


def test_a_slab_below_twice_the_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="8192"):
        Slab(8191)
