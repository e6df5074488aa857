"""A full mesh of Python nodes and nodes of Partisan itself."""

from __future__ import annotations

from partisans import agree, real
from support import FAST, Sink

from partisan import Node
from partisan.etf import Atom


async def test_each_joins_the_other_and_messages_go_both_ways() -> None:
    async with real("a") as one, real("b") as other, Node("py@127.0.0.1", **FAST) as py:
        sink = Sink(py)
        await py.join(one.address)
        await other.join(py)
        await agree([one, other, py])
        for far in (one, other):
            for number in range(100):
                py.send(("sink", far.name), number)
            assert await far.gathered(100) == list(range(100))
            assert await far.send(py.name, "sink", "{hello, <<1, 2>>}") is Atom("ok")
        assert await sink.has(2) == [(Atom("hello"), b"\1\2")] * 2
