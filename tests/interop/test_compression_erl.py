"""Compressed frames against a real BEAM: it reads ours, and a node reads its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from partisan import etf
from partisan._core.bound import Bound
from partisan._core.process import receive
from partisan._core.sendqueue import SendQueue
from partisan.etf import Atom, Codec
from tests.oracle import etf as oracle
from tests.oracle.beam import Beam, find
from tests.unit.hollow import Core, bodies, drain, framed

CODEC = Codec(remote_refs=True)
LEVELS = [*range(10)]
TERMS = [
    b"text " * 1000,
    [Atom("atom")] * 500,
    {number: (float(number), str(number)) for number in range(300)},
    b"",
    7,
]


@pytest.fixture(scope="module")
def beam() -> Iterator[Beam]:
    executable = find()
    if executable is None:
        pytest.skip("no erl on the path: install Debian's erlang-base to compare with a real BEAM")
    with Beam(executable) as running:
        yield running


@pytest.mark.parametrize("level", LEVELS)
def test_a_real_node_reads_what_is_compressed_here(beam: Beam, level: int) -> None:
    queue = SendQueue(Bound("b@127.0.0.1", "data", high_water=1 << 30, hard_limit=1 << 30), level=level)
    for term in TERMS:
        queue.push(CODEC, term)
    frames = list(bodies(drain(queue)))
    assert any(frame.startswith(b"\x83P") for frame in frames) is (level > 0)
    asked = [("equal", [frame, CODEC.encode(term)]) for frame, term in zip(frames, TERMS, strict=True)]
    assert beam.ask(asked) == [oracle.Atom("true")] * len(TERMS)


@pytest.mark.parametrize("level", LEVELS)
def test_a_node_reads_what_a_real_node_compressed(beam: Beam, level: int) -> None:
    core = Core("a@127.0.0.1", codec=CODEC)
    found: list[object] = []

    async def collect() -> None:
        while True:
            found.append(await receive())

    core.scheduler.register("sink", core.spawn(collect()))
    inbound = core.inbound()
    frames = [CODEC.encode((Atom("forward_message"), Atom("sink"), term)) for term in TERMS]
    for answer in beam.ask([("compress", [bytes([level]), frame]) for frame in frames]):
        assert isinstance(answer, oracle.Bits)
        inbound.receive_data(framed(answer.data))
    core.close()
    assert len(found) == len(TERMS)
    for message, term in zip(found, TERMS, strict=True):
        assert etf.exactly_equal(message, CODEC.decode(CODEC.encode(term)))
