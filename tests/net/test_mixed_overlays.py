"""Nodes of different overlays do not join, and the error says which overlays they are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from support import address_of, running

from partisan import ConnectFailed

KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "scamp_v1": {"membership_strategy": "scamp_v1"},
    "scamp_v2": {"membership_strategy": "scamp_v2"},
    "hyparview": {"peer_service_manager": "hyparview"},
    "client_server": {"peer_service_manager": "client_server"},
    "server": {"peer_service_manager": "client_server", "tag": "server"},
    "static": {"peer_service_manager": "static"},
}
NAMES = {"server": "client_server"}
"""What an overlay is called, where its kind is called otherwise."""

PAIRS = [
    (ours, theirs)
    for ours, theirs in itertools.permutations(KINDS, 2)
    if NAMES.get(ours, ours) != NAMES.get(theirs, theirs)
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
async def test_a_join_of_a_node_of_another_overlay_fails_at_once_and_names_the_two(ours: str, theirs: str) -> None:
    async with running("a", **KINDS[ours]) as [a], running("b", **KINDS[theirs]) as [b]:
        said = f"the peer runs {NAMES.get(theirs, theirs)}, this node {NAMES.get(ours, ours)}$"
        with pytest.raises(ConnectFailed, match=said) as caught:
            await a.join(address_of(b), timeout=30.0)
        assert "not within" not in str(caught.value), "it goes on trying"
        assert (a.members(), b.members()) == ([a.name], [b.name])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_join_of_a_node_of_the_same_overlay_is_none_of_another(kind: str) -> None:
    async with running("a", "b", **KINDS[kind]) as [a, b]:
        await a.join(address_of(b), timeout=30.0)
        assert b.name in a.members()
