"""X-BOT over real sockets: neighbors are exchanged for nearer ones, and views stay symmetric and connected."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support import address_of, eventually, running
from views import sound, views_of

from partisan import ConfigError, Node, NodeSpec
from partisan.machines.machine import Received
from partisan.machines.xbot import OptimizationReply, RoundTrip
from partisan.managers.link_cost import oracle_of
from partisan.sim.makers import MAKERS
from partisan.sim.moments import moments_of
from partisan.sim.record import replay
from partisan.wire.trace import forms_of_terms

NEAR, FAR = 1.0, 100.0
FOUR = ("a", "b", "c", "d")


class Distances:
    """What links cost, which is decided when the overlay is there: those across its ring are short, the others long.

    Attributes:
        near: pairs of names.
    """

    def __init__(self) -> None:
        self.near: frozenset[frozenset[str]] = frozenset()

    def costs_of(self, name: str) -> Callable[[NodeSpec], float]:
        """What links cost a node."""
        return lambda peer: NEAR if frozenset((f"{name}@127.0.0.1", peer.name)) in self.near else FAR


def cost(peer: NodeSpec) -> float:
    """What some link costs."""
    return NEAR


def options_of(oracle: Any) -> dict[str, Any]:
    """A node with two neighbors, which may both be exchanged."""
    views = {"active_max_size": 3, "active_min_size": 2, "shuffle_interval": 0.1, "random_promotion_interval": 0.1}
    xbot = {"xbot_interval": 0.3, "xbot_unbiased": 0, "xbot_oracle": oracle}
    return {
        "peer_service_manager": "hyparview",
        "mixed_cluster": False,
        "hyparview": {**views, **xbot, "patience": 2.0},
    }


def links_of(nodes: list[Node]) -> frozenset[frozenset[str]]:
    """Pairs of nodes each of which has the other for a neighbor."""
    views = views_of(nodes)
    return frozenset(
        frozenset((one, other))
        for one, view in views.items()
        for other in view
        if one != other and one in views.get(other, ())
    )


def across(nodes: list[Node]) -> frozenset[frozenset[str]]:
    """Pairs of nodes that are no neighbors."""
    pairs = itertools.combinations((node.name for node in nodes), 2)
    return frozenset(map(frozenset, pairs)) - links_of(nodes)


@contextlib.asynccontextmanager
async def ring(directory: Path, oracle: Callable[[str], Any]) -> AsyncIterator[list[Node]]:
    """Four nodes of which each has two neighbors, traced; none of them exchanges neighbors yet.

    Four nodes that have room for two neighbors each, fill it while there is somebody to fill it with, and never are two
    clusters, come to be a ring. By exchanges of samples each comes to know the one across.
    """
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for name in FOUR:
            options = {**options_of(oracle(name)), "trace_file": str(directory / name)}
            nodes += await stack.enter_async_context(running(name, **options))
        await asyncio.gather(*(node.join(address_of(nodes[0]), timeout=30.0) for node in nodes[1:]))
        await eventually(lambda: len(links_of(nodes)) == len(FOUR) and sound(views_of(nodes)), timeout=30.0)
        yield nodes


async def exchanged(nodes: list[Node], wanted: frozenset[frozenset[str]]) -> None:
    """Wait until these links are there; then links have two ends, connect all nodes, and are as many as before."""
    for node in nodes:
        node.reconfigure(hyparview={"xbot_enabled": True})
    await eventually(lambda: wanted <= links_of(nodes), timeout=30.0)
    for node in nodes:
        node.reconfigure(hyparview={"xbot_enabled": False})
    await eventually(lambda: len(links_of(nodes)) == len(FOUR) and sound(views_of(nodes)), timeout=30.0)


def told(directory: Path) -> list[Any]:
    """What the machines of all nodes took, each of which answers the same again."""
    found = []
    for name in FOUR:
        lines = (directory / name).read_text().splitlines()
        assert replay(lines, MAKERS, forms=forms_of_terms()).divergence is None
        found += [moment.event for moment in moments_of(lines, forms_of_terms())]
    return found


def agreed(events: list[Any]) -> int:
    """How many exchanges were agreed to."""
    messages = [event.message for event in events if isinstance(event, Received)]
    return sum(each.answer is True for each in messages if isinstance(each, OptimizationReply))


async def test_neighbors_are_exchanged_for_those_that_the_program_says_are_nearer(tmp_path: Path) -> None:
    distances = Distances()
    async with ring(tmp_path, distances.costs_of) as nodes:
        distances.near = across(nodes)
        await exchanged(nodes, distances.near)
        assert distances.near <= links_of(nodes)
    assert agreed(told(tmp_path)) > 0


async def test_without_an_oracle_round_trips_are_measured(tmp_path: Path) -> None:
    async with ring(tmp_path, lambda name: None) as nodes:
        near = across(nodes)
        for node in nodes:
            far = [each.name for each in nodes if each is not node and frozenset((node.name, each.name)) not in near]
            node.faults.delay(0.1, destination=far)
        await exchanged(nodes, near)
    events = told(tmp_path)
    assert agreed(events) > 0
    assert min(event.seconds for event in events if isinstance(event, RoundTrip)) > 0.0


async def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="mixed_cluster"):
        Node("a@h", peer_service_manager="hyparview", hyparview={"xbot_enabled": True})
    for wrong in ("no_such_module:at_all", "test_xbot:nothing", "", 7):
        with pytest.raises(ConfigError, match="xbot_oracle"):
            async with running("a", **options_of(wrong)):
                pass
    async with running("a", **options_of(None)) as [a]:
        with pytest.raises(ConfigError, match="restart"):
            a.reconfigure(hyparview={"xbot_oracle": cost})


async def test_what_an_oracle_raises_or_makes_up_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter((1, None, "far", float("nan"), True))

    def oracle(peer: NodeSpec) -> Any:
        return next(answers)

    async with running("a", **options_of(oracle)) as [a]:
        made = oracle_of(a.config)
        assert made is not None
        assert [made(a.spec) for _ in range(6)] == [1.0, None, None, None, None, None]
    assert caplog.text.count("is no number") == 3
    assert "StopIteration" in caplog.text


async def test_an_oracle_may_be_named() -> None:
    async with running("a", **options_of("operator:length_hint")) as [a]:
        made = oracle_of(a.config)
        assert made is not None
        assert made([1, 2, 3]) == 3.0
