"""The reference's own cases for SCAMP, on real processes (`docs/conformance.md` lists them)."""

from __future__ import annotations

from reference_cluster import check_direct_mail, check_forward_message, cluster


async def connectivity(strategy: str) -> None:
    """Messages pass right after the nodes have met, and still do after several rounds of heartbeats."""
    async with cluster(membership_strategy=strategy, periodic_interval=0.2) as peers:
        await check_forward_message(peers)
        heard = [await peer.tell("gossips") for peer in peers]
        for peer, before in zip(peers, heard, strict=True):
            await peer.past(before, "gossips")
        await check_forward_message(peers)


async def test_partisan_connectivity_test_with_scamp_v1() -> None:
    await connectivity("scamp_v1")


async def test_partisan_connectivity_test_with_scamp_v2() -> None:
    await connectivity("scamp_v2")


async def test_partisan_gossip_demers_direct_mail_test_with_scamp_v2() -> None:
    async with cluster(membership_strategy="scamp_v2", periodic_interval=0.2) as peers:
        await check_direct_mail(peers)
