"""The reference's own case for client-server, on real processes (`docs/conformance.md` lists it).

As there, servers join all nodes, and clients join servers.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

from peer import Peer
from reference_cluster import FAST, NAMES, WAIT, forward_once


def options_of(name: str) -> dict[str, object]:
    role = "server" if name.startswith("server") else "client"
    return {**FAST, "peer_service_manager": "client_server", "tag": role}


@contextlib.asynccontextmanager
async def star(*names: str) -> AsyncIterator[list[Peer]]:
    """The nodes, joined."""
    peers = [Peer(name, options_of(name)) for name in names]
    try:
        for peer in peers:
            await peer.start()
        for one, other in itertools.permutations(peers, 2):
            if "server" in (one.options["tag"], other.options["tag"]):
                await one.tell("join", other.contact)
        yield peers
    finally:
        for peer in peers:
            with contextlib.suppress(AttributeError):  # it never started
                await peer.kill()


async def everybody_is_known(peers: Sequence[Peer]) -> None:
    """Wait until servers know all, and clients themselves and servers only."""
    for peer in peers:
        known = [
            other.name for other in peers if other is peer or "server" in (peer.options["tag"], other.options["tag"])
        ]
        await peer.until(sorted(known), "members", timeout=WAIT)
        await peer.until(True, "fully_connected")


async def test_partisan_client_server_manager_test() -> None:
    async with star(*NAMES) as peers:
        server, *clients = peers
        await everybody_is_known(peers)
        for client in clients:
            await forward_once(client, server)
            await forward_once(server, client)
