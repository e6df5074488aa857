"""Every decode case whole, byte by byte and truncated at every length: truncated is never mistaken for malformed."""

import itertools
from collections.abc import Callable

import pytest

from partisan import etf
from partisan.errors import Truncated
from tests.oracle import cases

CODEC = etf.Codec()
CASES = cases.written() + cases.recorded_terms()
SMALL = [(name, octets) for name, octets in CASES if len(octets) <= 2000]
SAMPLES = 400  # lengths of a large case that are tried; all of them where it is smaller


def lengths(size: int) -> list[int]:
    """Return the lengths to cut at: all, or for a large case its two ends and an even sample between."""
    if size <= SAMPLES:
        return list(range(size))
    edge = SAMPLES // 4
    return sorted({*range(edge), *range(edge, size - edge, max(1, size // (2 * edge))), *range(size - edge, size)})


def raised(decode: Callable[[bytes], object], octets: bytes) -> Truncated:
    try:
        decode(octets)
    except Truncated as error:
        return error.with_traceback(None)
    pytest.fail("decoded what is cut short")


def truncated(octets: bytes, cut: int) -> Truncated:
    whole, prefix = raised(CODEC.decode, octets[:cut]), raised(CODEC.decode_prefix, octets[:cut])
    assert (prefix.need, prefix.offset) == (whole.need, whole.offset)
    return whole


@pytest.mark.parametrize(("name", "octets"), CASES, ids=[name for name, _ in CASES])
def test_a_term_cut_at_any_length_asks_for_no_more_than_it_lacks(name: str, octets: bytes) -> None:
    for cut in lengths(len(octets)):
        error = truncated(octets, cut)
        assert 1 <= error.need <= len(octets) - cut, cut
        assert 0 <= error.offset <= cut, cut


@pytest.mark.parametrize(("name", "octets"), SMALL, ids=[name for name, _ in SMALL])
def test_a_reader_that_follows_need_ends_with_the_term(name: str, octets: bytes) -> None:
    have = 0
    while have < len(octets):
        have += truncated(octets, have).need
    assert have == len(octets)
    value, used = CODEC.decode_prefix(octets)
    assert used == len(octets)
    assert etf.exactly_equal(value, CODEC.decode(octets))


@pytest.mark.parametrize(("name", "octets"), CASES, ids=[name for name, _ in CASES])
def test_octets_behind_a_term_are_left_alone_or_refused(name: str, octets: bytes) -> None:
    value, used = CODEC.decode_prefix(octets + b"\x83a\x01")
    assert used == len(octets)
    assert etf.exactly_equal(value, CODEC.decode(octets))
    with pytest.raises(etf.DecodeError) as caught:
        CODEC.decode(octets + b"j")
    assert not isinstance(caught.value, Truncated)
    assert caught.value.offset == len(octets)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_decodes_and_is_not_kept(kind: type) -> None:
    octets = cases.compressed(b"m\0\1\0\0" + b"z" * 65536)
    data = bytearray(octets)
    value = CODEC.decode(kind(data))
    assert value == b"z" * 65536
    data.clear()  # a buffer still exported would refuse


def test_a_strided_buffer_is_refused_or_read_in_its_own_order() -> None:
    spread = bytes(itertools.chain.from_iterable((octet, 0) for octet in b"\x83h\x02a\x01a\x02"))
    try:
        value = CODEC.decode(memoryview(spread)[::2])
    except (BufferError, ValueError, TypeError):
        return
    assert value == (1, 2)
