"""Discovery by a list under every overlay: who is found becomes what the overlay makes of it, and nothing is wrong."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from discovery_servers import found_by
from support import FAST, Events, assert_nothing_left, eventually, free_port

from partisan import Node, telemetry
from partisan.testing import formed

SERVERS = "ab"
NAMES = "abcde"

OVERLAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "scamp_v1": {"membership_strategy": "scamp_v1", "periodic_interval": 0.5},
    "scamp_v2": {"membership_strategy": "scamp_v2", "periodic_interval": 0.5},
    "hyparview": {"peer_service_manager": "hyparview"},
    "client_server": {"peer_service_manager": "client_server"},
    "static": {"peer_service_manager": "static"},
}
PARTIAL = {"scamp_v1", "scamp_v2", "hyparview"}
"""Where nobody need have all others."""


def expected(overlay: str, name: str) -> str:
    """Whom a node is to have, itself included, by short names."""
    return SERVERS + name if overlay == "client_server" and name not in SERVERS else NAMES


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_nodes_that_are_all_given_one_list_form_the_overlay_and_no_warning_is_logged(
    overlay: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "partisan")
    places = {name: f"{name}@127.0.0.1:{free_port()}" for name in NAMES}
    options = {**FAST, **OVERLAYS[overlay], **found_by("list", {"addresses": [*places.values()]}, enabled=False)}
    tags = {name: "server" if name in SERVERS else "client" for name in NAMES} if overlay == "client_server" else {}
    nodes = {name: Node(place, **options, tag=tags.get(name)) for name, place in places.items()}

    clients = {name for name, tag in tags.items() if tag == "client"}

    def refused() -> list[str]:
        """Of each client, that other clients are none for it."""
        return [each.getMessage() for each in caplog.records if "clients join servers only" in each.getMessage()]

    def found() -> bool:
        has = {name: {member[0] for member in node.members()} for name, node in nodes.items()}
        right = overlay in PARTIAL or all(has[name] == {*expected(overlay, name)} for name in nodes)
        tried = not clients or len(refused()) == len(clients) * (len(clients) - 1)
        return right and tried and formed(*nodes.values())

    async with contextlib.AsyncExitStack() as stack:
        for node in nodes.values():
            await stack.enter_async_context(node)
        for node in nodes.values():  # now that all listen
            node.discovery.enable()
        await eventually(found, timeout=30.0)
        lookups = {node: Events(node) for node in nodes.values()}
        await eventually(lambda: all(len(each.of(telemetry.DISCOVERY_LOOKUP)) > 5 for each in lookups.values()))
        await eventually(found, timeout=30.0)
        assert not any(each.of(telemetry.DISCOVERY_ERROR) for each in lookups.values())
        warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
        assert not warnings
        if overlay == "client_server":
            assert not any(each.of(telemetry.SOCKET_CONNECT) for each in lookups.values()), "clients dial clients again"
            assert {line[0] for line in refused()} == clients
    assert_nothing_left(*nodes.values())


@pytest.mark.parametrize("overlay", sorted(PARTIAL))
async def test_a_listed_node_that_is_not_there_keeps_nobody_from_forming_an_overlay_of_partial_views(
    overlay: str,
) -> None:
    first = f"0@127.0.0.1:{free_port()}"  # whom all would join, by its name
    places = [first, *(f"{name}@127.0.0.1:{free_port()}" for name in "abcde")]
    options = {**FAST, **OVERLAYS[overlay], **found_by("list", {"addresses": places})}
    nodes = [Node(place, **options) for place in places[1:]]
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node)
        await eventually(lambda: formed(*nodes), timeout=30.0)
    assert_nothing_left(*nodes)


@contextlib.asynccontextmanager
async def kept(overlay: str, directory: Path, remove: bool = True) -> AsyncIterator[list[Node]]:
    """Three servers that keep their membership there, that listen where none did before and find each other."""
    places = [f"{name}@127.0.0.1:{free_port()}" for name in "abc"]
    found = found_by("list", {"addresses": places}, remove=remove, polling_interval=0.2)
    tag = "server" if overlay == "client_server" else None
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            Node(place, **{**FAST, **OVERLAYS[overlay], **found}, tag=tag, persist_dir=str(directory / place[0]))
            for place in places
        ]
        for node in nodes:
            await stack.enter_async_context(node)
        yield nodes


@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("overlay", sorted(OVERLAYS.keys() - {"static"}))
async def test_nodes_that_remember_each_other_and_all_come_back_elsewhere_find_each_other(
    overlay: str, remove: bool, tmp_path: Path
) -> None:
    for _ in range(2):
        async with kept(overlay, tmp_path, remove) as nodes:
            await eventually(lambda nodes=nodes: formed(*nodes), timeout=30.0)
