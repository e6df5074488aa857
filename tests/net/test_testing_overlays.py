"""Clusters of `partisan.testing` are awaited whatever overlay they have."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from partisan.testing import address_of, cluster, eventually, formed, fully_meshed, process_cluster, running
from partisan.testing.overlays import View, missing

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

NAMES = [f"n{number}" for number in range(8)]
CLIENTS = {name: {"tag": "client"} for name in NAMES[4:]}
OVERLAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "scamp_v1": {"membership_strategy": "scamp_v1", "periodic_interval": 0.5},
    "scamp_v2": {"membership_strategy": "scamp_v2", "periodic_interval": 0.5},
    "hyparview": {"peer_service_manager": "hyparview"},
    "client_server": {"peer_service_manager": "client_server", "tag": "server", "each": CLIENTS},
    "static": {"peer_service_manager": "static"},
    "ring": {"membership_strategy": "ring:Ring", "periodic_interval": 0.5},
}


def view(*members: str, up: bool = True, partial: bool = True, mutual: bool = True) -> View:
    return {"members": [*members], "up": up, "partial": partial, "mutual": mutual}


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_a_cluster_is_formed_and_no_longer_when_one_that_connects_it_is_gone(overlay: str) -> None:
    async with cluster(*NAMES, **OVERLAYS[overlay]) as nodes:
        assert formed(*nodes)
        assert fully_meshed(*nodes) == (overlay == "full")
        assert not formed(*nodes[1:])  # they have the first one besides
        async with running("stranger", **{**OVERLAYS[overlay], "each": None}) as [stranger]:
            assert not formed(*nodes, stranger)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_cluster_of_processes_is_formed(overlay: str) -> None:
    each = {"c": {"tag": "client"}} if overlay == "client_server" else None

    async def main() -> None:
        async with process_cluster("a", "b", "c", **{**OVERLAYS[overlay], "each": each}) as (a, b, c):
            known = {name for process in (a, b, c) for name in await process.members()}
            assert known == {"a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"}

    asyncio.run(main())


async def test_what_a_cluster_lacks_is_said() -> None:
    async with running("a", "b", "c", peer_service_manager="client_server") as (a, b, c):
        await b.join(address_of(a))
        await eventually(lambda: formed(a, b))
        assert not formed(a, b, c)


@pytest.mark.parametrize(
    ("views", "lacks"),
    [
        ({"a": view("a")}, []),
        ({"a": view("a", "b"), "b": view("a", "b", "c"), "c": view("b", "c")}, []),
        ({"a": view("a", "b"), "b": view("a", "b"), "c": view("c")}, ["reach 1 of 3", "reach 1 of 3", "reach 2 of 3"]),
        ({"a": view("a", "b"), "b": view("b")}, ["a is no member of b", "b does not reach 1"]),
        ({"a": view("a", "b", mutual=False), "b": view("b", mutual=False)}, ["b does not reach 1"]),
        (
            {"a": view("a", "b", mutual=False), "b": view("b", "c", mutual=False), "c": view("a", mutual=False)},
            [],
        ),
        ({"a": view("a", "x")}, ["a has x besides"]),
        ({"a": view("a", up=False)}, ["a waits"]),
        (
            {
                "a": view("a", "b", partial=False),
                "b": view("a", "b", "c", partial=False),
                "c": view("b", "c", partial=False),
            },
            ["a knows 1", "c knows 1"],
        ),
    ],
)
def test_nodes_are_an_overlay_if_nothing_is_missing(views: dict[str, View], lacks: list[str]) -> None:
    found = missing(views)
    assert len(found) == len(lacks)
    assert all(lack in line for lack, line in zip(lacks, found, strict=True))
