"""Contacts whose host is a name: looked up when they are joined."""

from __future__ import annotations

import socket

import pytest
from support import FAST, eventually, fully_meshed, running

from partisan import ConfigError, ConnectFailed, Contact, Node


async def test_a_node_is_joined_by_its_host_name_and_keeps_its_name() -> None:
    async with running("a") as [a], Node("b@localhost", listen_addrs=["127.0.0.1:0"], **FAST) as b:
        port = b.listen_addrs[0].port
        assert await a.join(f"b@localhost:{port}") == "b@localhost"
        await eventually(lambda: fully_meshed(a, b))
        assert await a.join(f"localhost:{port}") == "b@localhost"
        assert await a.sync_join(f"b@localhost:{port}") == "b@localhost"
        assert await b.sync_join(f"b@localhost:{port}") == "b@localhost"
        await a.update_members([a.name, f"b@localhost:{port}"])
        assert sorted(a.members()) == ["a@127.0.0.1", "b@localhost"]


async def test_the_name_of_a_member_is_no_host_to_look_up() -> None:
    async with running("a") as [a], Node(name="b@::1", listen_addrs=["127.0.0.1:0"], **FAST) as b:
        await a.join(b.spec)
        assert await a.join("b@::1") == "b@::1"
        await a.update_members([a.name, "b@::1"])
        assert sorted(a.members()) == ["a@127.0.0.1", "b@::1"]


async def test_every_address_of_a_contact_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    async with running("a", "b") as (a, b):
        nowhere = Contact.parse(f"127.0.0.1:{closed}").address
        assert await a.join(Contact(nowhere, "b@127.0.0.1", (nowhere, b.listen_addrs[0]))) == "b@127.0.0.1"


async def test_a_host_that_is_not_found_fails_the_join_and_is_named() -> None:
    async with running("a") as [a]:
        with pytest.raises(ConnectFailed, match=r"cannot join b@nowhere\.invalid:1: the host 'nowhere\.invalid' "):
            await a.join("b@nowhere.invalid:1", timeout=5.0)
        with pytest.raises(ConnectFailed, match=r"'nowhere\.invalid'"):
            await a.update_members(["nowhere.invalid:1"])
        assert a.members() == ["a@127.0.0.1"]


@pytest.mark.parametrize(
    ("contact", "problem"),
    [
        ("b@127.0.0.1:65536", "the port of 'b@127.0.0.1:65536' is not between 0 and 65535"),
        ("localhost:100000", "the port of 'localhost:100000' is not between 0 and 65535"),
        ("b@127.0.0.300:1", "has not the form name@host:port"),
        ("b@my host:1", "has not the form name@host:port"),
        ("b@myhost:http", "has not the form name@host:port"),
        ("@myhost:1", "not of the form name@host"),
    ],
)
async def test_a_contact_that_cannot_be_meant_is_refused(contact: str, problem: str) -> None:
    async with running("a") as [a]:
        with pytest.raises(ConfigError, match=problem):
            await a.join(contact)


def test_a_node_listens_at_numeric_addresses_only() -> None:
    with pytest.raises(ConfigError, match=r"option name: 'a@localhost:1' .* with a numeric ip$"):
        Node("a@localhost:1")


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="option name: 5 is no str"):
        Node(5)  # type: ignore[arg-type]
