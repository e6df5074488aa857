"""What the sockets of connections are set to."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
from support import cluster

from partisan import Node
from partisan.net.link import Link
from partisan.net.sockets import connect
from partisan.testing import free_port

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


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_a_socket_is_connected_to_who_listens(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listening, socket.socket(family) as sock:
        try:
            listening.bind((host, 0))
        except OSError as error:
            pytest.skip(f"no {host} here: {error}")
        listening.listen()
        sock.setblocking(False)
        await connect(asyncio.get_running_loop(), sock, *listening.getsockname()[:2])
        assert sock.getpeername() == listening.getsockname()


async def test_a_socket_is_not_connected_where_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(ConnectionRefusedError) as caught:
            await connect(asyncio.get_running_loop(), sock, "127.0.0.1", free_port())
        assert caught.value.errno == errno.ECONNREFUSED


async def test_who_does_not_wait_for_a_connection_any_more_leaves_nothing_in_the_loop() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(4):  # more than it takes without accepting
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
        tasks = [loop.create_task(connect(loop, sock, *listening.getsockname())) for sock in waiting]
        done, _ = await asyncio.wait(tasks, timeout=0.2)
        assert len(done) < len(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for sock in waiting:
            assert not loop.remove_writer(sock.fileno())
            sock.close()
