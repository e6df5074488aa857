"""The reference's own cases for the pluggable manager, on real processes (`docs/conformance.md` lists them)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from reference_cluster import check_connections, check_direct_mail, check_forward_message, cluster, members_agree

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
    "with_ack": ({}, {"ack": True}, PLAIN),
    "with_causal_send": ({"causal_labels": ["default"]}, {"causal_label": "default"}, PLAIN),
    "with_causal_send_and_ack": ({"causal_labels": ["default"]}, {"causal_label": "default", "ack": True}, PLAIN),
    "with_binary_padding": ({"binary_padding": True}, {}, PLAIN),
    "with_ingress_delay": ({"ingress_delay": 0.1}, {}, PLAIN),
    "with_egress_delay": ({"egress_delay": 0.1}, {}, PLAIN),
    "with_partition_key": ({"parallelism": 3}, {"partition_key": 1}, {"undefined": 3, "partisan_membership": 1}),
}


@pytest.mark.parametrize("group", GROUPS)
async def test_partisan_basic_test(group: str) -> None:
    options, forward, connections = GROUPS[group]
    async with cluster(**options) as peers:
        await check_connections(peers, connections)
        await check_forward_message(peers, **forward)


async def test_partisan_basic_test_with_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with cluster(**authority.mutual(authority.issue("127.0.0.1"))) as peers:
        await check_connections(peers, PLAIN)
        await check_forward_message(peers)


async def test_partisan_basic_test_with_sync_join() -> None:
    """Each join returns when the joiner has all its connections (the peer checks it), and so has everybody then."""
    async with cluster(join="sync_join", channels=CHANNELS, parallelism=2) as peers:
        await check_connections(peers, {"undefined": 2, "partisan_membership": 1, "vnode": 2, "gossip": 2, "rpc": 2})
        await check_forward_message(peers, channel="vnode")


async def test_partisan_on_down_test() -> None:
    """Callbacks fire, once each, when a node stops."""
    async with cluster() as [server, *clients]:
        *stay, gone = clients
        for peer in (server, *stay):
            await peer.tell("watch", gone.name)
        await gone.kill()
        for peer in (server, *stay):
            await peer.until([f"any: {gone.name}", gone.name], "down")


@pytest.mark.parametrize("group", ["default", "with_channels"])
async def test_partisan_rpc_test(group: str) -> None:
    """A function of each node is called by each other, and its value comes back to the one that asked."""
    options, forward, _ = GROUPS[group]
    async with cluster(**options) as peers:
        for one, other in itertools.permutations(peers, 2):
            before = await one.tell("now", one.name, {})
            there = await one.tell("now", other.name, forward)
            assert before < there < await one.tell("now", one.name, {})


async def test_partisan_pid_test() -> None:
    """A pid in a message arrives as that of the sender's node, and is answered to."""
    async with cluster() as peers:
        for one, other in itertools.permutations(peers, 2):
            assert await one.tell("ask", other.name) == other.name
        for peer in peers:
            assert sorted(await peer.tell("values")) == sorted(each.name for each in peers if each is not peer)


async def test_partisan_otp_test() -> None:
    """A server of another node is called, answers later, and hears casts."""
    async with cluster() as peers:
        for peer in peers:
            await peer.tell("server")
        numbered = list(enumerate(peers))
        for (number, one), (_, other) in itertools.permutations(numbered, 2):
            assert await one.tell("call", other.name, number) == number
            assert await one.tell("call_delayed", other.name, number) == number
            await one.tell("cast", other.name, number)
        for number, peer in numbered:
            await peer.until([other for other, _ in numbered if other != number], "kept")


async def test_partisan_ack_test() -> None:
    """A message that is lost is not delivered, and is sent again once it may pass."""
    async with cluster(retransmit_interval=0.2) as [server, client, *_]:
        await server.tell("omit", client.name)
        await server.tell("forward", client.name, 1, {"ack": True})
        await server.past(0, "retransmissions")
        assert await client.tell("values") == []
        assert await server.tell("wait_acknowledged", client.name) == 1
        assert await server.tell("heal") >= 2
        await client.until([1], "values")
        await server.until(0, "wait_acknowledged", client.name)
        assert await client.tell("values") == [1]


async def test_partisan_causal_test() -> None:
    """Of two messages the second is received first: it waits, and both are delivered in order."""
    causal = {"causal_label": "default", "ack": True}
    async with cluster(causal_labels=["default"]) as [server, client, *_]:
        await server.tell("omit", client.name)
        await server.tell("forward", client.name, 1, causal)
        assert await server.tell("heal") == 1
        await server.tell("forward", client.name, 2, causal)
        await client.until(1, "waiting", "default")
        assert await client.tell("values") == []
        await client.until([1, 2], "values")
        assert await client.tell("waiting", "default") == 0


async def test_partisan_forward_interposition_test() -> None:
    """What is made nothing on its way out is not delivered; what comes after the function is removed, is."""
    async with cluster() as [server, client, *_]:
        await server.tell("interpose", "forward", "drop")
        await server.tell("forward", client.name, 1, {})
        assert await server.tell("pass_on", "forward")
        await server.tell("forward", client.name, 2, {})
        await client.until([2], "values")


async def test_partisan_receive_interposition_test() -> None:
    async with cluster() as [server, client, *_]:
        await client.tell("interpose", "receive", "drop")
        await server.tell("forward", client.name, 1, {})
        await client.past(0, "dropped")
        assert await client.tell("pass_on", "receive")
        await server.tell("forward", client.name, 3, {})
        await client.until([3], "values")


async def test_partisan_forward_delay_interposition_test() -> None:
    """What is delayed is overtaken, and delivered."""
    async with cluster() as [server, client, *_]:
        await server.tell("interpose", "forward", "delay")
        await server.tell("forward", client.name, 1, {})
        assert await server.tell("pass_on", "forward")
        await server.tell("forward", client.name, 2, {})
        await client.until([2, 1], "values")


async def test_partisan_connectivity_test() -> None:
    """Messages pass right after the nodes have met, and still do after periodic gossip."""
    async with cluster(periodic_interval=0.2) as peers:
        await check_forward_message(peers)
        heard = [await peer.tell("gossips") for peer in peers]
        for peer, before in zip(peers, heard, strict=True):
            await peer.past(before, "gossips")
        await check_forward_message(peers)


async def test_partisan_gossip_demers_direct_mail_test() -> None:
    async with cluster() as peers:
        await check_direct_mail(peers)


async def test_partisan_leave_test() -> None:
    async with cluster() as [server, *clients]:
        *stay, gone = clients
        await server.tell("leave", gone.name)
        await members_agree([server, *stay])
        await gone.until([gone.name], "members")
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
