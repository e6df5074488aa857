"""Messages in number and size between Python and the BEAM: as they were, in order, and past each other."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from beams import Beam, called, inside, python, received
from support import eventually

import partisan
from partisan import Atom, Node, Overloaded, Pid, Reference
from partisan.etf import BitString, ErlMap, ImproperList, Port, encode

ECHO = called(
    """spawn(fun() ->
    F = fun F() -> receive {From, Term} -> From ! {self(), Term}, F(); stop -> ok end end,
    F()
end)"""
)


class Terms:
    """Random terms of every kind that both sides know."""

    def __init__(self, seed: int, node: str) -> None:
        self._rng = random.Random(seed)
        self._node = node
        self._leaves = (
            lambda rng: rng.choice((0, 1, 255, 256, -1, 2**31, -(2**31), 2**63, -(2**64), 2**2000)),
            lambda rng: rng.uniform(-1e9, 1e9),
            lambda rng: Atom(rng.choice(("ok", "", "é", "日本", "a" * 255, f"atom{rng.randrange(3000)}"))),
            lambda rng: rng.randbytes(rng.choice((0, 1, 10, 64, 300))),
            lambda rng: rng.choice((True, False, None)),
            lambda rng: [],
            lambda rng: [rng.randrange(256) for _ in range(rng.randrange(1, 20))],
            lambda rng: BitString(rng.randbytes(3), 5),
            lambda rng: Pid(self._node, rng.randrange(1, 1 << 28), 0, 77),
            lambda rng: Port(self._node, rng.randrange(1, 1 << 28), 77),
            lambda rng: Reference("other@host", (rng.randrange(1 << 18), 2, 3), 5),
        )

    def make(self, depth: int = 4) -> Any:
        """One of them."""
        rng = self._rng
        kind = rng.randrange(10)
        if depth == 0 or kind < 4:
            return rng.choice(self._leaves)(rng)
        size = rng.randrange(5)
        items = [self.make(depth - 1) for _ in range(size)]
        if kind < 6:
            return tuple(items)
        if kind < 8:
            return items
        if kind == 8 and items:
            return ImproperList(items, Atom("tail"))
        pairs = {encode(item): (item, self.make(depth - 1)) for item in items}
        return ErlMap(pairs.values())


def shape(term: Any) -> Any:
    """The term with the types of its parts: 1 and 1.0 are two, as in Erlang, and the order of a map is none."""
    if isinstance(term, Mapping):
        return "map", frozenset((shape(key), shape(value)) for key, value in term.items())
    if isinstance(term, ImproperList):
        return "improper", *map(shape, term.items), shape(term.tail)
    if isinstance(term, tuple | list):
        return type(term), *map(shape, term)
    return type(term), term


async def test_random_terms_come_back_as_they_were(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await py.connect_node(beam.name)
        echo = await beam.eval(ECHO)
        terms = Terms(5, beam.name)

        async def echoes() -> None:
            for _ in range(1000):
                term = terms.make()
                partisan.send(echo, (partisan.self(), term))
                sender, answer = await partisan.receive(timeout=30)
                assert sender == echo
                assert shape(answer) == shape(term)
            partisan.send(echo, Atom("stop"))

        await inside(py, echoes)


async def test_random_terms_of_the_beam_come_back_as_they_were(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:

        async def echoes() -> None:
            while True:
                sender, term = await partisan.receive()
                partisan.send(sender, (partisan.self(), term))

        py.spawn(echoes, name="echo")
        terms = """
            Make = fun
                M(0) -> case rand:uniform(12) of
                    1 -> rand:uniform(1 bsl 62); 2 -> -(1 bsl rand:uniform(3000)); 3 -> rand:uniform() * 1.0e9;
                    4 -> list_to_atom("atom" ++ integer_to_list(rand:uniform(3000)));
                    5 -> rand:bytes(rand:uniform(300)); 6 -> self(); 7 -> make_ref();
                    8 -> hd(erlang:ports()); 9 -> <<5:3>>; 10 -> fun lists:map/2;
                    11 -> []; 12 -> binary_to_atom(<<"日本"/utf8>>) end;
                M(D) -> Items = [M(D - 1) || _ <- lists:seq(1, rand:uniform(4))], case rand:uniform(5) of
                    1 -> list_to_tuple(Items); 2 -> Items; 3 -> maps:from_list([{I, M(0)} || I <- Items]);
                    4 -> [M(0) | tail]; 5 -> M(0) end
            end"""
        ask = f"""
            Ask = fun(Term) -> {{echo, '{py.name}'}} ! {{self(), Term}},
                receive
                    {{_, Back}} when Back =:= Term -> true;
                    {{_, Back}} -> {{Term, Back}}
                after 30000 -> none end end"""
        asked = "lists:usort([Ask(Make(rand:uniform(4))) || _ <- lists:seq(1, 1000)])"
        assert await beam.eval(called("rand:seed(exsss, {1, 2, 3})", terms, ask, asked), 120) == [True]


async def test_a_hundred_thousand_messages_arrive_in_order(beam: Beam, epmd: int) -> None:
    count = 100_000
    async with python(epmd) as py:
        heard: list[int] = []

        async def listens() -> None:
            while len(heard) < count:
                heard.append(await partisan.receive())

        async def sends(pid: Pid) -> None:
            for number in range(count):
                partisan.send(pid, number)
                if number % 100 == 99:
                    await partisan.checkpoint()

        py.spawn(listens, name="sink")
        await beam.eval(f"[{{sink, '{py.name}'}} ! N || N <- lists:seq(0, {count - 1})], ok", 120)
        await eventually(lambda: len(heard) == count, timeout=120)
        assert heard == list(range(count))
        # What is sent to a process that sleeps stays in its mailbox.
        pid = await beam.eval("P = spawn(timer, sleep, [infinity]), put(sleeper, P), P")
        py.spawn(sends, pid)
        size = "process_info(get(sleeper), message_queue_len)"
        full = f"F = fun F() -> case {size} of {{_, {count}}} -> ok; _ -> timer:sleep(9), F() end end"
        kept = f"element(2, process_info(get(sleeper), messages)) =:= lists:seq(0, {count - 1})"
        assert (
            await beam.eval(
                called(
                    full,
                    "F()",
                    kept,
                ),
                130,
            )
            is True
        )
        await beam.eval("exit(erase(sleeper), kill)")


async def test_large_messages_arrive_whole(beam: Beam, epmd: int) -> None:
    size = 64 << 20
    async with python(epmd) as py:
        heard: list[Any] = []

        async def listens() -> None:
            while True:
                heard.append(await partisan.receive())

        py.spawn(listens, name="sink")
        await beam.eval(f"{{sink, '{py.name}'}} ! {{large, binary:copy(<<\"0123456789abcdef\">>, {size // 16})}}, ok")
        await eventually(lambda: bool(heard), timeout=120)
        assert heard.pop() == (Atom("large"), b"0123456789abcdef" * (size // 16))
        echo = await beam.eval(
            called("Me = self()", "spawn(fun() -> receive {large, B} -> Me ! {byte_size(B), erlang:crc32(B)} end end)")
        )
        large = random.Random(7).randbytes(size)
        py.send(echo, (Atom("large"), large))
        assert await beam.eval(received("X", "X", 120), 130) == (size, zlib.crc32(large))
        assert py._far._up[beam.name].inbound.unfinished == (0, 0)  # type: ignore[union-attr]


async def test_large_messages_do_not_hold_up_small_ones(beam: Beam, epmd: int) -> None:
    size = 32 << 20
    async with python(epmd) as py:
        order: list[Any] = []

        async def listens(name: Any) -> None:
            while True:
                message = await partisan.receive()
                order.append(len(message) if isinstance(message, bytes) else message)

        py.spawn(listens, 1, name="large")
        py.spawn(listens, 2, name="small")
        sends = called(
            f"B = binary:copy(<<1>>, {size})",
            f"spawn(fun() -> {{large, '{py.name}'}} ! B end)",
            f"[{{small, '{py.name}'}} ! N || N <- lists:seq(1, 300)]",
            "ok",
        )
        for _ in range(20):  # the node itself may hold the small ones until all of the large one has gone
            order.clear()
            await beam.eval(sends)
            await eventually(lambda: len(order) == 301, timeout=120)
            if order.index(size) > 0:
                break
        assert order.index(size) > 0
        pid = await beam.eval(
            called(
                "Me = self()",
                "F = fun F(Got, 0) -> Me ! lists:reverse(Got);"
                " F(Got, N) -> receive B when is_binary(B) -> F([byte_size(B) | Got], N - 1);"
                " X -> F([X | Got], N - 1) end end",
                "spawn(fun() -> F([], 6) end)",
            )
        )

        async def large() -> None:
            partisan.send(pid, bytes(size))

        async def small() -> None:
            for number in range(1, 6):
                partisan.send(pid, number)

        py.spawn(large)
        py.spawn(small)
        assert await beam.eval(received("X", "X", 60), 70) == [1, 2, 3, 4, 5, size]


async def test_the_order_of_one_sender_holds_for_large_and_small(beam: Beam, epmd: int) -> None:
    async with python(epmd) as py:
        await py.connect_node(beam.name)
        pid = await beam.eval(
            called(
                "Me = self()",
                "F = fun F(Got, 0) -> Me ! lists:reverse(Got);"
                " F(Got, N) -> receive {I, _} -> F([I | Got], N - 1) end end",
                "spawn(fun() -> F([], 40) end)",
            )
        )

        async def sends() -> None:
            rng = random.Random(3)
            for number in range(40):
                partisan.send(pid, (number, bytes(rng.choice((1, 100, 70_000, 1_000_000)))))

        py.spawn(sends)
        assert await beam.eval(received("X", "X", 60), 70) == list(range(40))


def insist(py: Node, sink: Pid) -> None:
    """Send from outside of all processes, which nobody holds."""
    for _ in range(100):
        py.send(sink, bytes(100_000))


async def test_a_slow_reader_holds_its_sender_and_memory_is_bounded(release: str, epmd: int) -> None:
    node = Beam(release, epmd_port=epmd)
    limits = {"max_queue_octets": 1 << 20, "hard_queue_octets": 2 << 20}
    sent: list[int] = []
    try:
        async with python(epmd, node={"channels": {partisan.DEFAULT_CHANNEL: limits}}) as py:
            sink = await node.eval("spawn(fun() -> F = fun F() -> receive _ -> F() end end, F() end)")
            await py.connect_node(node.name)
            node.freeze()

            async def floods() -> None:
                for number in range(1000):
                    partisan.send(sink, bytes(100_000))
                    sent.append(number)
                    await partisan.checkpoint()

            py.spawn(floods)
            bound: Any = py.table.bound_of(node.name, partisan.DEFAULT_CHANNEL)

            async def stuck() -> bool:
                before = len(sent)
                await asyncio.sleep(0.2)
                return bool(bound.over) and len(sent) == before

            await eventually(stuck)
            assert len(sent) < 200
            assert py.queued_octets(node.name) < 2 << 20
            with pytest.raises(Overloaded):
                insist(py, sink)
            drained = asyncio.ensure_future(py.drain(node.name))
            await asyncio.sleep(0)
            assert not drained.done()
            node.thaw()
            await eventually(lambda: len(sent) == 1000, timeout=60)
            await drained
    finally:
        node.thaw()
        node.kill()


async def test_a_node_that_asks_and_does_not_read_is_given_up(release: str, epmd: int) -> None:
    node = Beam(release, epmd_port=epmd)
    limits = {"max_queue_octets": 1 << 16, "hard_queue_octets": 1 << 16}
    options = {"channels": {partisan.DEFAULT_CHANNEL: limits}, "max_frame_octets": 1 << 20}
    try:
        async with python(epmd, node=options) as py:
            await py.connect_node(node.name)
            await flood(py, node)
    finally:
        node.thaw()
        node.kill()


async def flood(py: Node, node: Beam) -> None:
    """Say more control messages than a node that stands still will ever read."""
    pid = await node.eval("self()")
    node.freeze()
    far: Any = py._far
    mine = py.spawn(asyncio.sleep, 0.0)
    for _ in range(1000):  # the system keeps some megabytes of it
        far.exit(mine, pid, bytes(100_000))
        await asyncio.sleep(0)
        if not py.nodes():
            break
    assert py.nodes() == []


async def test_what_this_wire_does_not_have_is_refused_by_name(beam: Beam, epmd: int) -> None:
    async with python(epmd, node={"binary_padding": True, "causal_labels": ["feed"]}) as py:
        await py.connect_node(beam.name)
        me = await beam.eval("self()")
        with pytest.raises(partisan.AckUnsupported):
            py.send(me, 1, ack=True)
        with pytest.raises(partisan.AckUnsupported):
            await py.deliver(me, 1)
        with pytest.raises(partisan.AckUnsupported):
            py.forward_message(me, 1, ack=True, expiry=1.0)
        with pytest.raises(partisan.AckUnsupported):
            py.send(me, 1, causal_label="feed")
        py.send(me, Atom("plain"))
        assert await beam.eval(received("X", "X")) is Atom("plain")
        with pytest.raises(partisan.EncodeError):
            py.send(me, object())
        py.send(me, b"after")
        assert await beam.eval(received("X", "X")) == b"after"
