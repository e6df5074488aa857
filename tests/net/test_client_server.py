"""Client-server over real sockets: servers know all, clients their servers, and who comes back is taken in again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support import Events, Sink, address_of, eventually, free_port, running

from partisan import Atom, ConfigError, ConnectFailed, Node, NotConnected, peer_service
from partisan.errors import StateError, Unsupported
from partisan.machines.client_server import ClientServerState

STAR = {"peer_service_manager": "client_server"}
SERVER, CLIENT = {**STAR, "tag": "server"}, {**STAR, "tag": "client"}


def names(*nodes: Node) -> list[str]:
    return sorted(node.name for node in nodes)


async def star(servers: list[Node], clients: list[Node]) -> None:
    """Every server joins the others, every client each server; then wait until all know whom they are to know."""
    for at, server in enumerate(servers):
        for other in servers[:at]:
            await server.join(address_of(other))
    for server in servers:
        await asyncio.gather(*(client.join(address_of(server), timeout=30.0) for client in clients))
    await formed(servers, clients)


async def formed(servers: list[Node], clients: list[Node]) -> None:
    """Wait until servers know all, and clients servers, with all connections."""
    everybody = names(*servers, *clients)

    def is_formed() -> bool:
        return all(server.members() == everybody for server in servers) and all(
            client.members() == names(client, *servers) for client in clients
        )

    await eventually(is_formed, timeout=30.0)
    for node in (*servers, *clients):
        await eventually(lambda node=node: all(map(node.is_fully_connected, node.members())), timeout=30.0)


async def test_servers_know_all_and_clients_know_servers() -> None:
    async with running("s1", "s2", **SERVER) as servers, running("c1", "c2", "c3", **CLIENT) as clients:
        await star(servers, clients)
        sinks = {node.name: Sink(node) for node in (*servers, *clients)}
        for client in clients:
            assert {info.node for info in client.connections()} == {server.name for server in servers}
            for server in servers:
                client.send(("sink", server.name), (client.name, 1))
                server.send(("sink", client.name), (server.name, 2))
                await sinks[server.name].heard(lambda message, client=client: message == (client.name.encode(), 1))
                await sinks[client.name].heard(lambda message, server=server: message == (server.name.encode(), 2))


async def test_a_server_that_is_killed_and_comes_back_has_its_clients_again() -> None:
    async with running("s1", **SERVER) as [stay], running("c1", "c2", "c3", **CLIENT) as clients:
        port = free_port()
        contact = f"s2@127.0.0.1:{port}"
        dying = Node(contact, **SERVER)
        await dying.start()
        await star([stay, dying], clients)
        heard = [Events(node, "partisan.membership.peer") for node in (stay, *clients)]
        await dying.stop(grace=0.0)
        await eventually(lambda: all(each.of("partisan.membership.peer.down", node=dying.name) for each in heard))
        assert all(client.members() == names(client, stay, dying) for client in clients)
        assert all(client._manager.next_hops("c9@127.0.0.1") == [stay.name] for client in clients)
        again = Node(contact, **SERVER)
        await again.start()
        try:
            await formed([stay, again], clients)
            assert all(each.of("partisan.membership.peer.up", node=again.name) for each in heard)
        finally:
            await again.stop()


async def test_sixty_four_clients_on_two_servers() -> None:
    quick = {"channels": {}, "connection_jitter": 0.01}
    async with (
        running("s1", "s2", **SERVER, **quick) as servers,
        running(*(f"c{number}" for number in range(64)), **CLIENT, **quick) as clients,
    ):
        await star(servers, clients)
        assert all(len(server.members()) == 66 for server in servers)


async def test_a_join_has_two_sides_and_so_has_a_departure() -> None:
    async with running("s", **SERVER) as [server], running("c", "d", **CLIENT) as (c, d):
        await c.join(address_of(server))
        await server.join(address_of(d))
        await formed([server], [c, d])
        await server.leave(c.name)
        await eventually(lambda: c.members() == [c.name])
        assert server.members() == names(server, d)
        await d.leave()
        await eventually(lambda: server.members() == [server.name])
        assert d.members() == [d.name]
        await eventually(lambda: not any(node.connections() for node in (server, c, d)))
        await c.join(address_of(server))
        await formed([server], [c])


async def test_roles_that_do_not_go_together_fail_a_join_at_once() -> None:
    async with (
        running("s", **SERVER) as [server],
        running("c", "d", **CLIENT) as (c, d),
        running("u", "v", **STAR) as (u, v),
    ):
        for one, other in ((c, d), (u, server), (server, u), (c, u), (u, c)):
            with pytest.raises(ConnectFailed, match="role"):
                await one.join(address_of(other), timeout=30.0)
            assert one.members() == [one.name]
            assert not one._manager._dialer.keeps(other.name)
        await u.join(address_of(v))
        await eventually(lambda: u.members() == v.members() == names(u, v))


async def test_whom_a_node_left_while_it_was_away_is_told_when_it_comes_back() -> None:
    async with running("s", **SERVER) as [server], running("c", **CLIENT) as [client]:
        await client.join(address_of(server))
        await formed([server], [client])
        server.inject_partition(client.name)
        await server.disconnect_node(client.name)
        assert server.members() == [server.name]
        assert client.members() == names(client, server)
        server.faults.clear()
        await eventually(lambda: client.members() == [client.name], timeout=30.0)
        assert server.members() == [server.name]


async def test_members_are_remembered_and_found_again(tmp_path: Path) -> None:
    keep = {**CLIENT, "persist_dir": str(tmp_path)}
    async with running("s", **SERVER) as [server]:
        async with running("c", **keep) as [client]:
            await client.join(address_of(server))
        async with running("c", **keep) as [client]:
            assert client.members() == names(client, server)
            await formed([server], [client])
    with pytest.raises(StateError, match="foreign"):
        await Node("c@127.0.0.1", persist_dir=str(tmp_path)).start()


async def test_the_next_hops_of_clients_are_servers_that_are_up() -> None:
    async with running("s1", "s2", **SERVER) as (s1, s2), running("c1", "c2", **CLIENT) as (c1, c2):
        await s2.join(address_of(s1))
        await c1.join(address_of(s1))
        await c2.join(address_of(s2))
        await eventually(lambda: s1.member(c1.name) and s2.member(c2.name))
        for node, target, hops in (
            (c1, c2, [s1]),
            (s1, c2, [s2]),
            (s2, c2, []),
            (c1, s2, [s1]),
            (c1, s1, []),
            (c1, c1, []),
        ):
            await eventually(
                lambda node=node, target=target, hops=hops: (
                    node._manager.next_hops(target.name) == [hop.name for hop in hops]
                )
            )


@pytest.mark.parametrize("overlay", ["pluggable", "hyparview"])
async def test_the_next_hops_of_other_overlays_are_all_neighbors(overlay: str) -> None:
    async with running("a", "b", "c", peer_service_manager=overlay) as (a, b, c):
        await b.join(address_of(a))
        await c.join(address_of(a))
        await eventually(lambda: sorted(a._manager.next_hops("z@127.0.0.1")) == names(b, c))
        assert a._manager.next_hops(b.name) == []
        assert a._manager.next_hops(a.name) == []


async def test_acknowledged_messages_and_pids_work_between_client_and_server() -> None:
    async with running("s", **SERVER) as [server], running("c", **CLIENT) as [client]:
        await client.join(address_of(server))
        sink = Sink(server)
        await client.deliver(("sink", server.name), "kept")
        await sink.heard(lambda message: message == b"kept")
        with pytest.raises(NotConnected):
            client.send(("sink", "other@127.0.0.1"), 1)
        assert client.manager() == "partisan_client_server_peer_service_manager"
        assert client.get_local_state() == ClientServerState("client", tuple(client.members_for_orchestration()))
        assert sorted(peer_service.decode(client.get_local_state())) == names(client, server)
        with pytest.raises(Unsupported, match="client_server"):
            client.active()


async def test_a_message_for_the_manager_that_is_none_of_ours_closes_its_connection_and_no_other() -> None:
    async with running("s", **SERVER) as [server], running("c", "d", **CLIENT) as (c, d):
        await star([server], [c, d])
        rejected = Events(server, "partisan.frame.rejected")
        d.send(("partisan_python", server.name), (Atom("client_server"), (Atom("introduction"), 1, 2, 3)))
        await eventually(lambda: rejected.of("partisan.frame.rejected", node=d.name))
        await formed([server], [c, d])


async def test_other_channels_follow_their_change_among_neighbors() -> None:
    async with running("a", "b", mixed_cluster=False, **STAR) as (a, b):
        await a.join(address_of(b))
        b.reconfigure(channels={"data": {"parallelism": 3}})
        await eventually(lambda: a.connection_count(b.name, "data") == 3)
        assert a.members_for_orchestration() == b.members_for_orchestration()
        b.reconfigure(channels={"data": {"parallelism": 1}})
        await eventually(lambda: a.connection_count(b.name, "data") == 1)


def test_options_that_contradict_each_other_are_refused() -> None:
    for options, path in (
        ({**STAR, "tag": "boss"}, "tag"),
        ({**STAR, "binary_padding": True}, "binary_padding"),
        ({**STAR, "contacts": ["a@127.0.0.1:1"]}, "contacts"),
    ):
        with pytest.raises(ConfigError, match=path):
            Node("a@127.0.0.1", **options)
