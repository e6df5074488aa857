"""Nodes that die at once and come back, of either kind: at the same place, elsewhere, and with other channels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import away
from partisans import Partisan, agree, eventually, meshed, python, real
from support import Sink

from partisan.etf import Atom
from partisan.testing import NodeProcess

OK = Atom("ok")
QUICK = {"retransmit_interval": 0.1, "retransmit_backoff_max": 0.2}


@asynccontextmanager
async def mortal(name: str = "p", **options: object) -> AsyncIterator[NodeProcess]:
    """A Python node in a process of its own, which a test may kill."""
    node = NodeProcess(name, **options)
    try:
        await node.start()
        await node.run(away.listen)
        yield node
    finally:
        await node.kill()


async def heard(node: NodeProcess, words: str) -> None:
    """Wait until the node's sink has received an atom."""

    async def look() -> bool:
        return words in await node.run(away.heard)

    await eventually(look, f"{node.name} has received {words}")


async def ports(far: Partisan, name: str) -> list[int]:
    """Where a node of Partisan takes the members of a name to listen."""
    each = f"#{{name := '{name}', listen_addrs := [#{{port := Port}}]}}"
    known = f"{far.manager}:members_for_orchestration()"
    return [int(port) for port in await far.eval(f"[Port || {each} <- element(2, {known})]")]


async def knows_only(far: Partisan, node: NodeProcess) -> None:
    """Wait until a node of Partisan has the node for one member, where it is now."""

    async def look() -> bool:
        return await ports(far, node.name) == [node.port]

    await eventually(look, f"{far.name} knows where {node.name} is")


async def test_a_killed_python_node_that_returns_is_found_again_without_a_join() -> None:
    async with real("a") as a, real("b") as b, mortal() as py:
        await py.join(a.address)
        await b.join(a)
        await meshed([a, b, py])
        for _ in range(2):
            await py.restart()
            await py.run(away.listen)
            await agree([a, b, py])
            await meshed([a, b, py])
            assert await a.send(py.name, "sink", "again") is OK
            await heard(py, "again")
            await py.run(away.say, b.name, "back")
            assert await b.gathered(1) == [Atom("back")]
            await knows_only(a, py)


async def test_what_was_acknowledged_to_nobody_comes_when_the_killed_node_is_back() -> None:
    async with real(retransmit_interval="200") as far, mortal() as py:
        await py.join(far.address)
        await meshed([far, py])
        await py.kill()

        async def gone() -> bool:
            return not await far.connections(py.name)

        await eventually(gone, "it is gone")
        await far.send(py.name, "sink", "late", "#{ack => true}")
        assert await far.unacknowledged() == 1
        await py.start(py.port)
        await py.run(away.listen)

        async def acknowledged() -> bool:
            return not await far.unacknowledged()

        await eventually(acknowledged, "it is acknowledged")


async def test_a_killed_python_node_that_returns_elsewhere_replaces_itself() -> None:
    async with real("a") as a, real("b") as b, mortal() as py:
        await py.join(a.address)
        await b.join(a)
        await meshed([a, b, py])
        former = py.port
        await py.kill()
        await py.start()
        await py.run(away.listen)
        assert py.port != former
        await py.join(b.address)
        await agree([a, b, py])
        for far in (a, b):
            await knows_only(far, py)

            async def sends(far: Partisan = far) -> bool:
                return await far.send(py.name, "sink", "again") is OK

            await eventually(sends, f"{far.name} reaches it there")
        await heard(py, "again")


async def test_a_python_node_that_returns_with_other_channels_replaces_itself() -> None:
    async with real("a") as a, real("b") as b:
        async with python("p") as py:
            await py.join(a.address)
            await b.join(a)
            await meshed([a, b, py])
            port = py.listen_addrs[0].port
        async with python(f"p@127.0.0.1:{port}", channels={"bulk": {"parallelism": 3}}) as py:
            sink = Sink(py)
            await py.join(a.address)
            await agree([a, b, py])
            for far in (a, b):

                async def there(far: Partisan = far) -> bool:
                    return await far.connections(py.name, "bulk") == 3 and len(await ports(far, py.name)) == 1

                await eventually(there, f"{far.name} has its three connections")
                assert await far.send(py.name, "sink", "again", "#{channel => bulk}") is OK
            assert await sink.has(2) == [Atom("again")] * 2


async def test_a_killed_node_of_partisan_that_returns_is_found_again_without_a_join() -> None:
    async with real("a") as a, python(**QUICK) as py:
        sink = Sink(py)
        async with real("b", harmed=True) as b:
            await b.join(a)
            await py.join(a.address)
            await meshed([a, b, py])
            b.kill()
            await eventually(lambda: not py.is_connected(b.name), "it is gone")
            async with real(b.name, port=b.port) as again:
                await agree([a, again, py])
                await eventually(lambda: py.is_fully_connected(b.name), "it is connected")

                async def sends() -> bool:
                    return await again.send(py.name, "sink", "again") is OK

                await eventually(sends, "it reaches ours")
                await sink.heard(lambda message: message is Atom("again"))
                py.send(("sink", again.name), Atom("back"))
                await again.gathered(1)


async def test_a_node_of_partisan_that_returns_elsewhere_with_other_channels_replaces_itself_for_ours() -> None:
    async with real("a") as a, python() as py:
        async with real("b", harmed=True) as b:
            await b.join(py)
            await py.join(a.address)
            await meshed([a, b, py])
            b.kill()
        await eventually(lambda: not py.is_connected(b.name), "it is gone")
        async with real(b.name, channels="#{bulk => #{parallelism => 3}}") as again:
            await again.join(py)
            await agree([again, py], [a, again, py])
            await eventually(lambda: py.connection_count(again.name, "bulk") == 3, "it is known as it is now")
            [known] = [spec for spec in py.members_for_orchestration() if spec.name == again.name]
            assert [address.port for address in known.listen_addrs] == [again.port]
            py.send(("sink", again.name), Atom("there"), channel="bulk")
            assert await again.gathered(1) == [Atom("there")]


async def test_both_sides_die_at_once_and_whoever_is_left_has_them_back() -> None:
    async with real("a") as a, mortal() as py:
        async with real("b", harmed=True) as b:
            await b.join(a)
            await py.join(b.address)
            await meshed([a, b, py])
            b.kill()
            await py.kill()
        async with real(b.name, port=b.port) as again:
            await py.start(py.port)
            await agree([a, again, py])
            await meshed([a, again, py])
