"""Overlays of nodes of Partisan and Python nodes together, and what a test asks of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from beams import fresh
from partisans import Partisan, eventually, real
from support import FAST, Events, Sink, address_of, assert_nothing_left
from views import one_sided, reached, sound

from partisan import Node
from partisan.telemetry import FRAME_REJECTED
from partisan.testing import NodeProcess

Member = Partisan | Node | NodeProcess

TOLD = """
register(told, spawn(fun() ->
    erlang:trace(whereis(partisan_peer_service:manager()), true, ['receive']),
    (fun Loop(Seen) ->
        receive
            {'$take', To} -> To ! {taken, lists:reverse(Seen)}, Loop([]);
            {trace, _, 'receive', {'$gen_cast', {receive_message, _, _, M}}} -> Loop([M | Seen]);
            {trace, _, 'receive', {'$gen_call', _, {receive_message, _, _, M}}} -> Loop([M | Seen]);
            _ -> Loop(Seen)
        end
    end)([])
end)), ok
"""
"""Keeps what a manager is told by others, as a sink does."""


@asynccontextmanager
async def python(short: str = "py", **options: Any) -> AsyncIterator[Node]:
    """A Python node, stopped afterwards: it has rejected nothing that came, and nothing of it is left."""
    node = Node(short if "@" in short else fresh(short), **{**FAST, **options})
    rejected = Events(node, FRAME_REJECTED, handler_id="rejected")
    async with node:
        yield node
    assert not rejected.seen
    assert_nothing_left(node)


@asynccontextmanager
async def mixed(
    reals: int, pythons: int, *, manager: str, env: dict[str, str], crowded: bool = False, **options: Any
) -> AsyncIterator[tuple[list[Partisan], list[Node]]]:
    """So many nodes of each kind, not joined: real ones with that environment, Python ones with those options.

    Those of a `crowded` overlay drop neighbors as soon as they have them. A real node closes what it has just dialled,
    and a listener of a real node ends if that was not accepted yet; so of these the manager alone must be unharmed.
    """
    crowded = crowded and reals > 1
    async with AsyncExitStack() as stack:
        starting = [real(f"r{number}", harmed=crowded, manager=manager, **env) for number in range(reals)]
        far = await asyncio.gather(*map(stack.enter_async_context, starting))
        near = [python(f"p{number}", peer_service_manager=manager, **options) for number in range(pythons)]
        yield list(far), [await stack.enter_async_context(each) for each in near]
        for node in far if crowded else ():
            assert node.vitals[:2] == await node.eval(
                "{whereis(partisan_sup), whereis(partisan_peer_service:manager())}"
            )


def address(node: Member) -> str:
    """As a Python node joins it."""
    return address_of(node) if isinstance(node, Node) else node.address


async def join(one: Partisan | Node, other: Member) -> None:
    """Let the one join the other: a Python node waits until it has."""
    if isinstance(one, Node):
        await one.join(address(other), timeout=30.0)
    elif isinstance(other, NodeProcess):
        raise TypeError("what is in another process joins by itself")
    else:
        await one.join(other)


async def members(node: Member) -> set[str]:
    """The names of whom it has for members, itself included."""
    return set(node.members() if isinstance(node, Node) else await node.members())


async def views_of(nodes: Iterable[Member]) -> dict[str, set[str]]:
    """What each has in its active view, itself included."""
    return {node.name: await members(node) for node in nodes}


async def settle(nodes: Iterable[Member], seconds: float = 30.0) -> dict[str, set[str]]:
    """Wait until the views of these nodes are symmetric, connect all of them, and name nobody else; return them."""
    nodes = list(nodes)
    views: dict[str, set[str]] = {}

    async def look() -> bool:
        views.update(await views_of(nodes))
        return sound(views)

    try:
        await eventually(look, "", seconds)
    except AssertionError:
        text = f"{one_sided(views)} one-sided, {reached(views)} of {len(views)} reached: {views}"
        raise AssertionError(text) from None
    return views


async def passive(node: Partisan | Node) -> set[str]:
    """The names in its passive view."""
    if isinstance(node, Node):
        return {each.name for each in node.passive()}
    text = "[maps:get(name, S) || S <- sets:to_list(element(2, partisan_hyparview_peer_service_manager:passive()))]"
    return {str(each) for each in await node.eval(text)}


async def told(node: Partisan, kind: str) -> list[Any]:
    """The messages of that kind which its manager was sent by others since this was asked before."""
    return [each for each in await node.taken("told") if str(each[0]) == kind]


async def converse(nodes: Sequence[Partisan | Node], sinks: dict[str, Sink]) -> None:
    """Let each send to every other in its view: all of it arrives, once.

    Args:
        nodes: whose views are sound.
        sinks: name of a Python node -> what receives there.
    """
    views = await views_of(nodes)
    expected: dict[str, list[bytes]] = {node.name: [] for node in nodes}
    for node in nodes:
        for other in sorted(views[node.name] - {node.name}):
            expected[other].append(node.name.encode())
            if isinstance(node, Partisan):
                await node.send(other, "sink", f'<<"{node.name}">>')
            else:
                node.send(("sink", other), node.name.encode())
    for node in nodes:
        wanted = expected[node.name]
        if isinstance(node, Partisan):
            got = await node.gathered(len(wanted))
        else:
            got = list(await sinks[node.name].has(len(wanted)))
            sinks[node.name].messages.clear()
        assert sorted(got) == sorted(wanted)
