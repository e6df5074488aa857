"""What the fuzzers have found worth keeping holds in every run of the tests, without a fuzzer."""

import random
from pathlib import Path

import pytest

from partisan import etf
from tests.fuzz import codec as target

CORPUS = Path(target.__file__).parent / "corpus"


def test_the_corpus_of_the_codec_holds_the_invariant() -> None:
    inputs = sorted((CORPUS / "codec").iterdir())
    assert len(inputs) > 50
    assert sum(path.stat().st_size for path in CORPUS.glob("*/*")) < 500 * 1024
    for path in inputs:
        target.one_input(path.read_bytes())


def test_the_corpus_of_the_scanner_is_no_less_for_the_codec() -> None:
    inputs = sorted((CORPUS / "scan").iterdir())
    assert len(inputs) > 50
    for path in inputs:
        target.one_input(b"\0" + path.read_bytes()[2:])


def test_the_corpus_spliced_with_itself_holds_the_invariant() -> None:
    inputs = [path.read_bytes() for path in sorted((CORPUS / "codec").iterdir())]
    rng = random.Random(1)
    for _ in range(5_000):
        a, b = rng.choice(inputs), rng.choice(inputs)
        target.one_input(a[: rng.randrange(len(a) + 1)] + b[rng.randrange(len(b) + 1) :])


class Broken:
    """A codec that breaks one law."""

    def __init__(self, law: str) -> None:
        self.law = law

    def decode(self, octets: bytes) -> object:
        if self.law == "error":
            raise KeyError(octets)
        if self.law == "need":
            raise etf.Truncated(0, 0)
        if self.law == "offset":
            raise etf.DecodeError("wrong", len(octets) + 1)
        return etf.decode(octets)

    def decode_dist(self, octets: bytes, atoms: tuple[etf.Atom, ...]) -> object:
        return etf.Codec().decode_dist(octets, atoms)

    def decode_prefix(self, octets: bytes) -> tuple[object, int]:
        value, used = etf.decode_prefix(octets)
        return value, used + 1000 if self.law == "used" else used

    def encode(self, value: object) -> bytes:
        return etf.encode(None if self.law == "loss" else value)

    def encode_iovec(self, value: object) -> list[bytes]:
        return [b"" if self.law == "iovec" else etf.encode(value)]


@pytest.mark.parametrize("law", ["error", "need", "offset", "used", "loss", "iovec"])
def test_the_fuzz_target_notices_a_codec_that_breaks_the_invariant(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "CODECS", [Broken("none")])
    target.one_input(b"\0h\x02a\x01w\x02ok")
    monkeypatch.setattr(target, "CODECS", [Broken(law)])
    with pytest.raises((AssertionError, KeyError)):
        target.one_input(b"\0h\x02a\x01w\x02ok")
