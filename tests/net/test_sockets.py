"""What the sockets of connections are set to."""

from __future__ import annotations

import socket

import pytest
from support import cluster

from partisan import Node
from partisan.net.link import Link

PING = {"idle_timeout": 2.0, "timeout": 0.5, "max_attempts": 3}


def links_of(node: Node) -> list[Link]:
    dialled = [link for edge in node._manager._dialer._edges.values() for link in edge.links]
    return [*dialled, *node._acceptor.links]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT")
async def test_the_system_has_the_patience_of_the_keepalive() -> None:
    async with cluster("a", "b", connection_ping=PING) as [a, _]:
        links = links_of(a)
        assert len(links) == 4
        for link in links:
            assert link.stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3500


async def test_small_frames_are_not_held_back() -> None:
    async with cluster("a", "b", connection_ping={"enabled": False}) as [a, _]:
        for link in links_of(a):
            assert link.stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
