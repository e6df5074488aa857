"""Who is a member of a cluster of Python nodes and nodes of Partisan: leaving, returning, and what is heard of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from partisans import Partisan, agree, eventually, meshed, python, real, spec
from support import Sink

from partisan import Node
from partisan.etf import Atom

OK = Atom("ok")


@asynccontextmanager
async def three(**env: str) -> AsyncIterator[tuple[Partisan, Partisan, Node]]:
    """Two nodes of Partisan and one of Python, joined."""
    async with real("a", **env) as a, real("b", **env) as b, python() as py:
        await py.join(a.address)
        await b.join(a)
        await meshed([a, b, py])
        yield a, b, py


async def both_ways(far: Partisan, py: Node) -> None:
    """Let a message go each way."""
    sink = Sink(py, "both_ways")

    async def sends() -> bool:
        return await far.send(py.name, "both_ways", "back") is OK

    await eventually(lambda: py.is_connected(far.name), f"{py.name} is connected")
    py.send(("sink", far.name), Atom("there"))
    await eventually(sends, f"{far.name} sends again")
    assert await sink.has(1) == [Atom("back")]
    assert Atom("there") in await far.gathered(1)
    py.exit(sink.pid, Atom("kill"))


async def test_a_python_node_that_leaves_is_no_member_any_more_and_comes_back() -> None:
    async with three() as (a, b, py):
        await py.leave()
        await agree([a, b])
        await agree([py])
        await py.join(b.address)
        await meshed([a, b, py])
        await both_ways(a, py)


async def test_a_node_of_partisan_that_leaves_is_no_member_any_more_and_comes_back() -> None:
    async with three() as (a, b, py):
        await b.leave()
        await agree([a, py])
        await agree([b])
        await b.join(py)
        await agree([a, b, py])
        await both_ways(b, py)


async def test_a_python_node_makes_a_node_of_partisan_leave() -> None:
    async with three() as (a, b, py):
        await py.leave(b.name)
        await b.reborn()
        await agree([a, py])
        await agree([b])
        await py.join(b.address)
        await agree([a, b, py])
        await both_ways(b, py)


async def test_a_node_of_partisan_makes_a_python_node_leave() -> None:
    async with three() as (a, b, py):
        await a.leave(py.name)
        await agree([a, b])
        await agree([py])
        await a.join(py)
        await agree([a, b, py])
        await both_ways(a, py)


async def test_a_node_of_partisan_disconnects_a_python_node_and_so_makes_it_leave() -> None:
    async with three() as (a, b, py):
        assert await a.eval(f"partisan:disconnect_node('{py.name}')") is True
        await agree([a, b])
        await agree([py])


async def test_each_makes_a_third_leave_that_is_of_the_others_kind_or_of_its_own() -> None:
    async with three() as (a, b, py), python("q") as q:
        await q.join(py.spec)
        await meshed([a, b, py, q])
        await a.leave(b.name)
        await b.reborn()
        await agree([a, py, q])
        await agree([b])
        await py.leave(q.name)
        await agree([a, py])
        await agree([q])
        await q.join(a.address)
        await b.join(q)
        await agree([a, b, py, q])


async def test_both_leave_at_once_and_the_third_stays_alone() -> None:
    async with three() as (a, b, py):
        await py.leave()
        await b.leave()
        for each in (a, b, py):
            await agree([each])


async def test_who_has_left_stays_away_though_the_others_gossip() -> None:
    async with three(periodic_interval="100") as (a, b, py):
        await py.leave()
        await agree([a, b])
        for far in (a, b):  # several rounds of gossip
            await far.eval(f"[begin {far.manager} ! periodic, {far.manager}:members() end || _ <- lists:seq(1, 10)]")
        await agree([a, b])
        assert py.members() == [py.name]


async def test_a_node_leaves_and_returns_ten_times_and_all_agree() -> None:
    async with real() as far, python() as py:
        for number in range(10):
            if number % 2:
                await py.join(far.address)
            else:
                await far.join(py)
            await agree([far, py])
            await py.leave()
            await agree([far])
            await agree([py])


async def test_update_members_of_a_python_node_joins_who_is_new_and_makes_leave_who_is_missing() -> None:
    async with real("a") as a, real("b") as b, python() as py:
        await py.update_members([py.spec, a.address, b.address])
        await meshed([a, b, py])
        await py.update_members([py.spec, a.name])
        await b.reborn()
        await agree([a, py])
        await agree([b])
        await py.update_members([py.spec])
        await a.reborn()
        await agree([py])
        await agree([a])
        await py.update_members([py.spec, a.address, b.address])
        await agree([a, b, py])


async def test_update_members_of_a_node_of_partisan_joins_ours_and_makes_it_leave() -> None:
    async with real("a") as a, real("b") as b, python() as py:
        update = "partisan_peer_service:update_members([{}])"
        assert await a.eval(update.format(", ".join(spec(each) for each in (a, b, py)))) is OK
        await meshed([a, b, py])
        assert await a.eval(update.format(", ".join(spec(each) for each in (a, b)))) is OK
        await agree([a, b])
        await agree([py])
        assert await a.connections(py.name) == 0
        assert await a.eval(update.format(", ".join(spec(each) for each in (a, b, py)))) is OK
        await agree([a, b, py])
        await both_ways(a, py)


async def test_a_node_of_partisan_whose_update_leaves_itself_out_leaves() -> None:
    async with three() as (a, b, py):
        assert await a.eval(f"partisan_peer_service:update_members([{spec(b)}, {spec(py)}])") is OK
        await agree([b, py])
        await agree([a])


async def test_python_hears_once_of_each_node_of_partisan_that_comes_and_goes() -> None:
    async with real("a") as a, real("b", harmed=True) as b, python() as py:
        heard: list[tuple[str, str]] = []
        py.on_up("_", lambda node: heard.append(("up", node)))
        py.on_down("_", lambda node: heard.append(("down", node)))
        await b.join(a)
        await py.join(a.address)
        await meshed([a, b, py])
        assert sorted(heard) == sorted([("up", a.name), ("up", b.name)])
        heard.clear()
        b.kill()
        await eventually(lambda: heard == [("down", b.name)], "it is down")
        await a.leave()
        await eventually(lambda: heard == [("down", b.name), ("down", a.name)], "it has left")
        await a.eval("ok")


async def test_a_node_of_partisan_hears_of_a_python_node_that_it_joins_and_that_dies() -> None:
    async with real() as far:
        for kind in ("up", "down"):
            tell = f"fun(Node) -> sink ! {{{kind}, Node}} end"
            assert await far.eval(f"partisan_peer_service:on_{kind}('py@127.0.0.1', {tell})") is OK
        async with python() as py:
            await far.join(py)
            await meshed([far, py])
            assert await far.gathered(1) == [(Atom("up"), Atom(py.name))]
            port = py.listen_addrs[0].port
            await py.stop()
            assert (await far.gathered(1))[0] == (Atom("down"), Atom(py.name))
        async with python(f"py@127.0.0.1:{port}") as py:
            await meshed([far, py])
            assert (Atom("up"), Atom(py.name)) in await far.gathered(1)


@pytest.mark.parametrize("kind", ["list", "map"])
async def test_callbacks_of_membership_on_both_sides_are_told_the_same(kind: str) -> None:
    async with real(channels="[bulk]" if kind == "list" else "#{bulk => #{parallelism => 1}}") as far, python() as py:
        told: list[list[str]] = []
        py.add_callback(told.append)
        names = "[maps:get(name, Spec) || Spec <- Specs]"
        await far.eval(f"partisan_peer_service_events:add_callback(fun(Specs) -> sink ! {names} end)")
        await py.join(far.address)
        await agree([far, py])
        assert told[-1] == sorted([far.name, py.name])
        assert {str(name) for name in (await far.gathered(1))[-1]} == {far.name, py.name}
