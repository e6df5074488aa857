"""Tests of the counter next door: alone, over two nodes that lose each other, and after an hour that takes no time.

pip install "partisan[testing]"; pytest examples/test_counter.py
"""

from __future__ import annotations

import asyncio

import pytest
from counter import ADD, CLOSE, READ, Counter

import partisan
from partisan.testing import Events, RanFailed, cut, eventually, fully_meshed, heal, within


async def test_it_adds_up_what_it_is_given(partisan_node):
    async with partisan_node("a"):
        counter = await Counter.start(args=(10,))
        assert await partisan.call(counter, (ADD, 5)) == 15
        partisan.cast(counter, 1)
        assert await partisan.call(counter, READ) == 16


async def test_it_leaves_nothing_behind_when_it_is_closed(partisan_cluster):
    async with partisan_cluster("a", "b", clean=True) as (a, b):
        await within(b, lambda: Counter.start(name="counter"))
        assert await within(a, lambda: partisan.call(("counter", b.name), CLOSE)) == 0


async def test_who_asks_hears_that_its_node_is_lost(partisan_cluster):
    async with partisan_cluster("a", "b") as (a, b):
        await within(b, lambda: Counter.start(name="counter"))
        events = Events(a, "partisan.membership")
        cut(a, b, close=True)
        await eventually(lambda: events.of("partisan.membership.peer.down", node=b.name))

        async def ask():
            return await partisan.call(("counter", b.name), (ADD, 1))

        with pytest.raises(partisan.NodeDown):
            await within(a, ask)
        heal(a, b)
        await eventually(lambda: fully_meshed(a, b))
        assert await within(a, ask) == 1


async def test_it_lives_on_after_an_hour_without_a_word(partisan_cluster, virtual_clock):
    async with partisan_cluster("a", "b") as (a, b):
        await within(b, lambda: Counter.start(name="counter"))
        await asyncio.sleep(3600.0)
        assert virtual_clock.now >= 3600.0
        assert await within(a, lambda: partisan.call(("counter", b.name), (ADD, 1))) == 1


async def begin(number):
    await Counter.start(name="counter", args=(number,))


async def add(node, number):
    return await partisan.call(("counter", node), (ADD, number))


async def test_its_number_is_lost_with_its_process(partisan_processes):
    async with partisan_processes("a", "b") as (a, b):
        await b.run(begin, 5)
        assert await a.run(add, b.name, 1) == 6
        await b.restart()  # kill -9, and a node that begins with nothing where the old one listened

        async def connected():
            return b.name in await a.connected() and a.name in await b.connected()

        await eventually(connected)
        with pytest.raises(RanFailed, match="NoProc"):
            await a.run(add, b.name, 1)
