"""The corpus of the frame reader's fuzzer, replayed; it reaches frames that are assembled and received in place."""

import random
from pathlib import Path

import pytest

from tests.fuzz import frames as target

CORPUS = Path(target.__file__).parent / "corpus" / "frames"


def test_the_corpus_of_the_frame_reader_holds_the_invariant() -> None:
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) > 20
    for path in inputs:
        target.one_input(path.read_bytes())


def test_the_corpus_of_the_frame_reader_receives_large_binaries_in_place() -> None:
    most = 0
    for path in sorted(CORPUS.iterdir()):
        data = path.read_bytes()
        reader, _ = target.read(target.expanded(data[1:]), 4096)
        most = max([most, *(len(planted) for _, planted in reader.taken)])
    assert most >= 2


def test_the_corpus_of_the_frame_reader_spliced_with_itself_holds_the_invariant() -> None:
    inputs = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    rng = random.Random(1)
    for _ in range(300):
        a, b = rng.choice(inputs), rng.choice(inputs)
        target.one_input(a[: rng.randrange(len(a) + 1)] + b[rng.randrange(len(b) + 1) :])


@pytest.mark.parametrize("law", ["lost", "changed", "stuck"])
def test_the_fuzz_target_notices_a_reader_that_breaks_the_invariant(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(target.Collector):
        def frame(self, body: bytes, planted: list[bytes] | None) -> None:
            if law == "changed":
                body = body[:-1] + b"?"
            if law != "lost":
                super().frame(body, planted)
            if law == "stuck":
                raise target.FrameError("malformed", len(body))

    stream = b"\x01\0\0\0\x02\x83j\0\0\0\x03\x83a\x01"
    target.one_input(stream)
    monkeypatch.setattr(target, "Collector", Broken)
    with pytest.raises(AssertionError):
        target.one_input(stream)
