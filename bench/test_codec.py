"""The codec: what a term of each shape costs to write and to read."""

from __future__ import annotations

from typing import Any

import pytest

from bench.codec import shapes
from bench.conftest import Rounds
from partisan.etf import Atom, Codec, Pid, Reference

SHAPES: dict[str, Any] = {name: ours for name, (_, ours) in shapes().items()} | {
    "call": (Atom("$gen_call"), (Pid("a@127.0.0.1", 70, 1, 3), Reference("a@127.0.0.1", (1, 2, 3), 3)), Atom("get")),
    "forwarded message": (Atom("forward_message"), Atom("sink"), (Atom("add"), 5)),
}
COUNTS = {"1000 ints": 10, "1000 floats": 10, "100 documents": 5, "1 MiB binary": 10}
"""Terms a round, of the shapes that are large."""
SMALL = 1000
"""Of the others."""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_term_is_encoded(rounds: Rounds[bytes], shape: str) -> None:
    codec, term, count = Codec(), SHAPES[shape], COUNTS.get(shape, SMALL)

    def encode() -> bytes:
        for _ in range(count):
            octets = codec.encode(term)
        return octets

    assert codec.decode(rounds(count, encode)) is not None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_term_is_decoded(rounds: Rounds[object], shape: str) -> None:
    codec, count = Codec(), COUNTS.get(shape, SMALL)
    octets = codec.encode(SHAPES[shape])

    def decode() -> object:
        for _ in range(count):
            term = codec.decode(octets)
        return term

    assert codec.encode(rounds(count, decode)) == octets


def test_a_megabyte_is_encoded_for_a_gathered_write(rounds: Rounds[list[bytes]]) -> None:
    codec, term = Codec(), (Atom("picture"), bytes(1 << 20))

    def encode() -> list[bytes]:
        for _ in range(1000):
            pieces = codec.encode_iovec(term)
        return pieces

    assert any(piece is term[1] for piece in rounds(1000, encode))
