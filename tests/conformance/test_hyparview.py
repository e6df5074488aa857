"""The reference's own cases for HyParView, on real processes (`docs/conformance.md` lists them).

As there, the server joins every client and each client joins the server; active views are symmetric and connect all
nodes, messages pass between neighbors, and a node that is killed disappears from all views.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from peer import Peer
from reference_cluster import NAMES, WAIT, check_forward_message, forward_once, started
from support import eventually
from views import sound

MANY = ("server", *(f"client_{number}" for number in range(1, 12)))


@contextlib.asynccontextmanager
async def hyparview_cluster(*names: str, **options: Any) -> AsyncIterator[list[Peer]]:
    """One server and its clients, whose views are sound."""
    async with started(*names, peer_service_manager="hyparview", **options) as peers:
        server, *clients = peers
        for client in clients:
            await server.tell("join", client.contact)
            await client.tell("join", server.contact)
        await views_are_sound(peers)
        yield peers


async def views_are_sound(peers: Sequence[Peer]) -> None:
    """Wait until the active views of these are symmetric and connect them, and nobody else is in any."""
    names = {peer.name for peer in peers}

    async def look() -> bool:
        views = {peer.name: await peer.tell("members") for peer in peers}
        return sound(views) and names == set(itertools.chain(*views.values()))

    await eventually(look, timeout=WAIT)


async def check_neighbors(peers: Sequence[Peer]) -> None:
    """Each node sends each of its neighbors a value of its own, which is then kept there, once."""
    by_name = {peer.name: peer for peer in peers}
    for peer in peers:
        for name in await peer.tell("members"):
            if name != peer.name:
                try:
                    await forward_once(peer, by_name[name])
                except AssertionError:  # it may be no neighbor any more; the reference tries again
                    assert name not in await peer.tell("members")


async def check_kill(peers: list[Peer]) -> None:
    """A client that is killed disappears from all views, and the views are sound without it."""
    *stay, gone = peers
    await gone.kill()
    await views_are_sound(stay)
    await check_neighbors(stay)


async def test_partisan_hyparview_manager_partition_test() -> None:
    """Every node within a hop notes its active view as partitioned, and none once that is resolved."""
    async with hyparview_cluster(*NAMES, testing=True, hyparview={"active_max_size": 5}) as peers:
        server = peers[0]
        await server.tell("inject", server.name, 1)
        for peer in peers:
            await peer.until(await peer.tell("members"), "partitioned")
        await server.tell("resolve")
        for peer in peers:
            await peer.until([], "partitioned")
        await check_neighbors(peers)
        await check_kill(peers)


@pytest.mark.parametrize("broadcast", [False, True], ids=["default", "with_broadcast"])
async def test_partisan_hyparview_manager_high_active_test(broadcast: bool) -> None:
    """With broadcast every node sends each other a value, neighbor or not."""
    async with hyparview_cluster(*NAMES, hyparview={"active_max_size": 5}, broadcast=broadcast) as peers:
        await check_neighbors(peers)
        if broadcast:
            await check_forward_message(peers, transitive=True)
        await check_kill(peers)
        if broadcast:
            await check_forward_message(peers[:-1], transitive=True)


async def test_partisan_hyparview_manager_low_active_test() -> None:
    async with hyparview_cluster(*NAMES, hyparview={"active_max_size": 3}) as peers:
        await check_neighbors(peers)
        await check_kill(peers)


async def test_partisan_hyparview_manager_high_client_test() -> None:
    async with hyparview_cluster(*MANY) as peers:
        assert max([len(await peer.tell("members")) for peer in peers]) <= 6
        await check_neighbors(peers)
        await check_kill(peers)
