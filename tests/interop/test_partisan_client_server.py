"""Servers and clients of both kinds: nodes of Partisan itself and Python nodes in one star, and static links."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import Any

import pytest
from beams import Raised
from mixed import join, members, python
from partisans import Partisan, eventually, real
from support import Sink

from partisan import ConnectFailed, Node
from partisan.etf import Atom
from partisan.testing import NodeProcess

STAR: dict[str, Any] = {"peer_service_manager": "client_server"}


class Star:
    """Nodes of both kinds, each with a sink: `await star.real("server")`, `await star.python("client")`."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.sinks: dict[str, Sink] = {}

    async def real(self, tag: str, **options: Any) -> Partisan:
        return await self._stack.enter_async_context(real(f"r{tag}", manager="client_server", tag=tag, **options))

    async def python(self, tag: str, **options: Any) -> Node:
        own = {} if tag == "undefined" else {"tag": tag}
        node = await self._stack.enter_async_context(python(f"p{tag}", **STAR, **own, **options))
        self.sinks[node.name] = Sink(node)
        return node

    async def says(self, one: Partisan | Node, other: Partisan | Node, what: int) -> None:
        """Let the one send to the other, which receives just that."""
        if isinstance(one, Partisan):
            assert await one.send(other.name, "sink", str(what)) is Atom("ok")
        else:
            one.send(("sink", other.name), what)
        if isinstance(other, Partisan):
            assert await other.gathered(1) == [what]
        else:
            sink = self.sinks[other.name]
            assert await sink.has(1) == [what]
            sink.messages.clear()


async def both(one: Partisan | Node, other: Partisan | Node) -> None:
    """Let each join the other: a real node knows only whom it has joined itself."""
    if isinstance(one, Node):
        one, other = other, one
    await join(one, other)
    await join(other, one)

    async def mutual() -> bool:
        return other.name in await members(one) and one.name in await members(other)

    await eventually(mutual, f"{one.name} and {other.name} are members for each other")


async def test_a_real_server_and_python_clients_speak_both_ways() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        server = await star.real("server")
        clients = [await star.python("client") for _ in range(2)]
        for client in clients:
            await both(server, client)
        for number, client in enumerate(clients):
            await star.says(server, client, number)
            await star.says(client, server, number)
        assert await members(clients[0]) == {clients[0].name, server.name}


async def test_a_python_server_and_real_clients_speak_both_ways() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        server = await star.python("server")
        clients = list(await asyncio.gather(star.real("client"), star.real("client")))
        for client in clients:
            await both(server, client)
        for number, client in enumerate(clients):
            await star.says(server, client, number)
            await star.says(client, server, number)
        assert await members(server) == {server.name, *(client.name for client in clients)}


async def test_servers_of_both_kinds_and_clients_of_both_kinds_are_one_star() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        far = await asyncio.gather(star.real("server"), star.real("client"))
        near = [await star.python("server"), await star.python("client")]
        for one, other in itertools.product((far[0], near[0]), (far[1], near[1])):
            await both(one, other)
        await both(far[0], near[0])
        for number, (one, other) in enumerate(itertools.permutations([*far, *near], 2)):
            if {one, other} != {far[1], near[1]}:  # clients know no clients
                await star.says(one, other, number)


async def test_nodes_without_a_role_go_together() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        far, near = await star.real("undefined"), await star.python("undefined")
        await both(far, near)
        await star.says(far, near, 1)
        await star.says(near, far, 2)


async def test_one_join_has_one_side() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        server, client = await star.real("server"), await star.python("client")
        await join(client, server)
        await star.says(client, server, 1)
        assert await members(server) == {server.name}
        other = await star.python("server")
        await join(server, other)

        async def accepted() -> bool:
            return other.name in await members(server)

        await eventually(accepted, "the real server has joined the Python one")
        await star.says(server, other, 2)
        assert await members(other) == {other.name}


@pytest.mark.parametrize("tags", ["client client", "undefined client", "undefined server"])
async def test_roles_that_do_not_go_together_are_refused_on_either_side(tags: str) -> None:
    ours, theirs = tags.split()
    async with AsyncExitStack() as stack:
        star = Star(stack)
        far, near = await star.real(theirs), await star.python(ours)
        with pytest.raises(ConnectFailed, match="role"):
            await join(near, far)
        assert near.members() == [near.name]
        if ours != "undefined":  # a real node with a role that joins one without would crash
            await join(far, near)

            async def connected() -> bool:
                return await far.connections(near.name) > 0

            await eventually(connected, "the real node has dialled")
            assert await members(far) == {far.name}


async def test_a_message_between_python_clients_of_a_python_server_passes_beside_real_ones() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        server = await star.python("server", broadcast=True)
        clients = [await star.python("client", broadcast=True) for _ in range(2)]
        far, other = await asyncio.gather(star.real("server"), star.real("client"))
        for client in (*clients, other):
            await both(server, client)
        await both(server, far)
        for client in clients:
            await both(far, client)
        clients[0].send(("sink", clients[1].name), 1, transitive=True)
        assert await star.sinks[clients[1].name].has(1) == [1]
        clients[1].send(("sink", other.name), 2, transitive=True)  # its last hop is plain
        assert await other.gathered(1) == [2]
        assert await far.taken() == []  # it would have crashed by what it cannot relay


async def test_a_python_client_that_leaves_is_none_here_and_may_join_again() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        server, client = await star.real("server"), await star.python("client")
        await both(server, client)
        await client.leave()
        assert client.members() == [client.name]

        async def parted() -> bool:
            return await server.connections(client.name) == 0

        await eventually(parted, "the server's connections are closed")
        await both(server, client)
        await star.says(server, client, 1)
        await star.says(client, server, 2)


async def test_a_real_server_that_is_killed_and_comes_back_has_its_python_client_again() -> None:
    async with AsyncExitStack() as stack:
        star = Star(stack)
        client = await star.python("client")
        async with real("dying", manager="client_server", tag="server", harmed=True) as dying:
            await both(dying, client)
            dying.kill()
            await eventually(lambda: gone(client, dying.name), "the client has noticed")
            assert dying.name in client.members()
            again = await stack.enter_async_context(
                real(dying.name, manager="client_server", tag="server", port=dying.port)
            )
            await eventually(lambda: back(client, again.name), "the client has dialled again")
            await star.says(client, again, 1)
            await join(again, client)
            await eventually(lambda: counted(again, client.name), "the server has dialled")
            await star.says(again, client, 2)


async def gone(node: Node, name: str) -> bool:
    """Whether a node has no connection to another."""
    return not node.is_connected(name)


async def back(node: Node, name: str) -> bool:
    """Whether a node has a connection to another."""
    return node.is_connected(name)


async def counted(node: Partisan, name: str) -> bool:
    """Whether a real node has a connection to another."""
    return await node.connections(name) > 0


async def test_a_python_client_that_is_killed_does_not_harm_its_real_server() -> None:
    async with real("server", manager="client_server", tag="server") as server:
        process = await NodeProcess("killed", **STAR, tag="client").start()
        try:
            await process.join(server.address)
            await process.restart()
            await process.join(server.address)
        finally:
            await process.kill()


async def test_the_static_manager_of_partisan_cannot_start() -> None:
    with pytest.raises(Raised, match="on_up"):
        async with real("static", manager="static"):
            pass
