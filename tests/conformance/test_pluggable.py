"""The reference's own cases for the pluggable manager, on real processes (`docs/conformance.md` lists them)."""

from __future__ import annotations

from typing import Any

import pytest
from reference_cluster import check_connections, check_forward_message, cluster, members_agree

PLAIN = {"undefined": 1, "partisan_membership": 1}
CHANNELS = {"vnode": {}, "gossip": {}, "rpc": {}}

GROUPS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, int]]] = {
    # group -> options of the nodes, options of the messages, connections a channel
    "default": ({}, {}, PLAIN),
    "with_no_channels": ({"channels": {}}, {}, PLAIN),
    "with_channels": ({"channels": CHANNELS}, {"channel": "vnode"}, {**PLAIN, "vnode": 1, "gossip": 1, "rpc": 1}),
    "with_monotonic_channels": (
        {"channels": {**CHANNELS, "vnode": {"monotonic": True}}},
        {"channel": "vnode"},
        {**PLAIN, "vnode": 1, "gossip": 1, "rpc": 1},
    ),
    "with_parallelism": (
        {"parallelism": 5, "channels": CHANNELS},
        {"channel": "rpc"},
        {"undefined": 5, "partisan_membership": 1, "vnode": 5, "gossip": 5, "rpc": 5},
    ),
    "with_partition_key": ({"parallelism": 3}, {"partition_key": 1}, {"undefined": 3, "partisan_membership": 1}),
}


@pytest.mark.parametrize("group", GROUPS)
async def test_partisan_basic_test(group: str) -> None:
    options, forward, connections = GROUPS[group]
    async with cluster(**options) as peers:
        await check_connections(peers, connections)
        await check_forward_message(peers, **forward)


async def test_partisan_connectivity_test() -> None:
    """Messages pass right after the nodes have met, and still do after periodic gossip."""
    async with cluster(periodic_interval=0.2) as peers:
        await check_forward_message(peers)
        heard = [await peer.tell("gossips") for peer in peers]
        for peer, before in zip(peers, heard, strict=True):
            await peer.past(before, "gossips")
        await check_forward_message(peers)


async def test_partisan_leave_test() -> None:
    async with cluster() as [server, *clients]:
        *stay, gone = clients
        await server.tell("leave", gone.name)
        await members_agree([server, *stay])
        await check_forward_message([server, *stay])


async def test_partisan_self_leave_test() -> None:
    async with cluster() as [server, *clients]:
        *stay, gone = clients
        await gone.tell("leave")
        await members_agree([server, *stay])
        await gone.until([gone.name], "members")
        await check_forward_message([server, *stay])


async def test_partisan_rejoin_test() -> None:
    async with cluster() as [server, *clients]:
        *stay, gone = clients
        await server.tell("leave", gone.name)
        await members_agree([server, *stay])
        await gone.until([gone.name], "members")
        await gone.tell("join", server.contact)
        await members_agree([server, *clients])
        await check_forward_message([server, *clients])
