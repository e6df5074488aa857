"""Overlays whose links are decided beforehand, on real sockets: clients of a server, and static links."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from support import address_of, assert_nothing_left, free_port, running

from partisan import Node
from partisan.testing import FAST


@contextlib.asynccontextmanager
async def clients_of_a_server(*names: str, **options: Any) -> AsyncIterator[list[Node]]:
    """A server, and then its clients of these names, which have no links among themselves."""
    star = {"peer_service_manager": "client_server", **options}
    async with running("hub", **star, tag="server") as [hub], running(*names, **star, tag="client") as leaves:
        for leaf in leaves:
            await leaf.join(address_of(hub), timeout=30.0)
        yield [hub, *leaves]


@contextlib.asynccontextmanager
async def static_links(links: Mapping[str, Sequence[str]], **options: Any) -> AsyncIterator[list[Node]]:
    """Nodes by name, each with links to those whose names it is given with."""
    places = {name: f"{name}@127.0.0.1:{free_port()}" for name in links}
    given = {**FAST, "peer_service_manager": "static", **options}
    nodes = [Node(places[name], **given, contacts=tuple(places[to] for to in others)) for name, others in links.items()]
    try:
        for node in nodes:
            await node.start()
        yield nodes
    finally:
        for node in nodes:
            await node.stop()
    assert_nothing_left(*nodes)
