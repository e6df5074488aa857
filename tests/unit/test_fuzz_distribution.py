"""The corpora of the fuzzers of the distribution, replayed: they reach the end of handshakes, and every message."""

import random
from pathlib import Path

import pytest

from partisan.dist import handshake as spoken
from tests.fuzz import distribution, handshake

CORPUS = Path(distribution.__file__).parent / "corpus"


def inputs_of(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("target", [handshake, distribution])
def test_a_corpus_of_the_distribution_holds_the_invariant(target) -> None:
    inputs = inputs_of(target.__name__.rpartition(".")[2])
    assert len(inputs) > 20
    for data in inputs:
        target.one_input(data)


@pytest.mark.parametrize("target", [handshake, distribution])
def test_a_corpus_of_the_distribution_spliced_with_itself_holds_the_invariant(target) -> None:
    inputs, rng = inputs_of(target.__name__.rpartition(".")[2]), random.Random(1)
    for _ in range(2_000):
        a, b = rng.choice(inputs), rng.choice(inputs)
        target.one_input(a[: rng.randrange(len(a) + 1)] + b[rng.randrange(len(b) + 1) :])


def test_the_corpus_of_the_handshake_reaches_results_and_every_kind_of_refusal() -> None:
    outcomes = [
        handshake.outcome(data[0], handshake.written(data[1:], 4 if data[0] & 2 else 2), 1 << 16)
        for data in inputs_of("handshake")
        if data
    ]
    assert any(result is not None and result.peer == "a@127.0.0.1" for result, *_ in outcomes)
    assert any(result is not None and result.peer == "b@127.0.0.1" for result, *_ in outcomes)
    assert {told[0] for _, told, *_ in outcomes if told} >= {"refused", "simultaneous", "malformed", "cookie"}


def test_the_corpus_of_the_distribution_reaches_every_control_message() -> None:
    found = {
        text.partition("(")[0]
        for data in inputs_of("distribution")
        for text in distribution.outcome(distribution.stream_of(data[1:]), bool(data[0] & 1), 1 << 16)[0]
    }
    assert found >= {
        "Link",
        "Unlink",
        "UnlinkAck",
        "Exit",
        "Monitor",
        "Demonitor",
        "Down",
        "Spawn",
        "SpawnReply",
        "Message",
    }


def test_the_fuzz_target_of_the_handshake_notices_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data = next(data for data in inputs_of("handshake") if data[0] & 3 == 0)
    monkeypatch.setattr(spoken, "_read_name", lambda packet: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        handshake.one_input(data)


def test_the_fuzz_target_of_the_distribution_notices_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> object:
        raise KeyError("x")

    monkeypatch.setattr(distribution, "read", broken)
    data = next(data for data in inputs_of("distribution") if b"\x68\x03\x61\x01" in data)  # a link
    with pytest.raises(KeyError):
        distribution.one_input(data)
