"""The reference's cluster: one server and three clients; with the pluggable manager each joins every other."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from peer import Peer

NAMES = ("server", "client_1", "client_2", "client_3")

FAST = {"connection_interval": 0.05, "connection_jitter": 0.02, "reconnect_backoff_max": 0.2}

WAIT = 12.0
"""Seconds that the reference waits for a condition."""


@contextlib.asynccontextmanager
async def started(*names: str, **options: Any) -> AsyncIterator[list[Peer]]:
    """Node processes that have not met."""
    peers = [Peer(name, {**FAST, **options}) for name in names]
    try:
        await asyncio.gather(*(peer.start() for peer in peers))
        yield peers
    finally:
        for peer in peers:
            with contextlib.suppress(AttributeError):  # it never started
                await peer.kill()


@contextlib.asynccontextmanager
async def cluster(*, join: str = "join", **options: Any) -> AsyncIterator[list[Peer]]:
    """The four nodes, each of which has joined every other, fully connected."""
    async with started(*NAMES, **options) as peers:
        for one, other in itertools.permutations(peers, 2):
            await one.tell(join, other.contact)
        await members_agree(peers)
        for peer in peers:
            await peer.until(True, "fully_connected")
        yield peers


async def members_agree(peers: Sequence[Peer]) -> None:
    """Wait until these are the members that all of these know."""
    names = sorted(peer.name for peer in peers)
    for peer in peers:
        await peer.until(names, "members", timeout=WAIT)


async def check_forward_message(peers: Sequence[Peer], **options: Any) -> None:
    """Each sends each other a value of its own, which is then kept there, once."""
    for one, other in itertools.permutations(peers, 2):
        await forward_once(one, other, **options)


async def check_direct_mail(peers: Sequence[Peer]) -> None:
    """What one mails arrives at each other, once, by the example protocol that mails directly."""
    for peer in peers:
        await peer.tell("mailer")
    for sender in peers:
        value = random.random()
        before = {peer.name: await peer.tell("values") for peer in peers}
        await sender.tell("mail", value)
        for peer in peers:
            await peer.until([*before[peer.name], value], "values", timeout=WAIT)


async def forward_once(one: Peer, other: Peer, **options: Any) -> None:
    """One sends the other a value of its own, which is then kept there, once."""
    value = random.random()
    await one.tell("forward", other.name, value, options)
    async with asyncio.timeout(WAIT):
        while value not in (values := await other.tell("values")):
            await asyncio.sleep(0.01)
    assert values.count(value) == 1


async def check_connections(peers: Sequence[Peer], expected: dict[str, int]) -> None:
    """Each has so many connections of each channel to each other."""
    for one, other in itertools.permutations(peers, 2):
        await one.until(expected, "connections", other.name, timeout=WAIT)
