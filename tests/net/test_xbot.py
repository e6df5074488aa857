"""X-BOT over real sockets: neighbors are exchanged for nearer ones, and views stay symmetric and connected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from support import address_of, eventually, running
from views import settle, sound, views_of

from partisan import ConfigError, Node, NodeSpec
from partisan.machines.machine import Received
from partisan.machines.xbot import OptimizationReply, RoundTrip, SwitchReply
from partisan.managers.link_cost import oracle_of
from partisan.sim.makers import MAKERS
from partisan.sim.moments import moments_of
from partisan.sim.record import replay
from partisan.wire.trace import forms_of_terms

NEAR, FAR = 1.0, 100.0
EIGHT = ("east0", "west0", "east1", "west1", "east2", "west2", "east3", "west3")


def center(name: str) -> str:
    """The data centre of a node."""
    return name[:4]


def costs_of(name: str) -> Callable[[NodeSpec], float]:
    """What links cost a node of one of two data centres."""
    return lambda peer: NEAR if center(peer.name) == center(name) else FAR


def cost(peer: NodeSpec) -> float:
    """What some link costs."""
    return NEAR


def options_of(oracle: Any) -> dict[str, Any]:
    views = {"active_max_size": 4, "active_min_size": 2, "shuffle_interval": 0.1, "random_promotion_interval": 0.1}
    return {
        "peer_service_manager": "hyparview",
        "mixed_cluster": False,
        "hyparview": {**views, "patience": 2.0, "xbot_interval": 0.05, "xbot_oracle": oracle},
    }


@contextlib.asynccontextmanager
async def two_centers(directory: Path, oracles: Callable[[str], Any]) -> AsyncIterator[list[Node]]:
    """Eight nodes that have met, and are traced; none of them exchanges neighbors yet."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            (await stack.enter_async_context(running(name, trace_file=str(directory / name), **options_of(made))))[0]
            for name in EIGHT
            for made in [oracles(name)]
        ]
        await asyncio.gather(*(node.join(address_of(nodes[0]), timeout=30.0) for node in nodes[1:]))
        await settle(nodes)
        yield nodes


def crossing(nodes: Iterable[Node]) -> int:
    """How many entries of views lead to the other data centre."""
    return sum(center(node.name) != center(other) for node in nodes for other in node.members())


async def exchange(nodes: list[Node]) -> None:
    """Let neighbors be exchanged until fewer links are long than before, and all links have two ends."""
    before = crossing(nodes)
    for node in nodes:
        node.reconfigure(hyparview={"xbot_enabled": True})
    await eventually(lambda: crossing(nodes) < before and sound(views_of(nodes)), timeout=60.0)
    for node in nodes:
        node.reconfigure(hyparview={"xbot_enabled": False})
    await settle(nodes)


def told(directory: Path) -> list[Any]:
    """What the machines of all nodes took, each of which answers the same again."""
    found = []
    for name in EIGHT:
        lines = (directory / name).read_text().splitlines()
        assert replay(lines, MAKERS, forms=forms_of_terms()).divergence is None
        found += [moment.event for moment in moments_of(lines, forms_of_terms())]
    return found


def agreed(events: list[Any]) -> int:
    """How many steps of exchanges were agreed to."""
    messages = [event.message for event in events if isinstance(event, Received)]
    return sum(each.answer is True for each in messages if isinstance(each, OptimizationReply | SwitchReply))


async def test_neighbors_in_another_data_centre_are_exchanged_for_nearer_ones(tmp_path: Path) -> None:
    async with two_centers(tmp_path, costs_of) as nodes:
        await exchange(nodes)
    assert agreed(told(tmp_path)) > 0


async def test_without_an_oracle_round_trips_are_measured(tmp_path: Path) -> None:
    async with two_centers(tmp_path, lambda name: None) as nodes:
        for node in nodes:
            node.faults.delay(0.1, destination=[each.name for each in nodes if center(each.name) != center(node.name)])
        await exchange(nodes)
        names = {node.name for node in nodes}
    events = told(tmp_path)
    assert agreed(events) > 0
    trips = [event for event in events if isinstance(event, RoundTrip)]
    assert {trip.peer.name for trip in trips} == names
    assert all(trip.seconds >= 0.0 for trip in trips)


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
