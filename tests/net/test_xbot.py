"""X-BOT over real sockets: neighbors are exchanged for nearer ones, and views stay symmetric and connected."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support import address_of, eventually, running
from views import settle

from partisan import ConfigError, Node, NodeSpec
from partisan.machines.machine import Received
from partisan.machines.xbot import Optimization, OptimizationReply, RoundTrip
from partisan.managers.link_cost import oracle_of
from partisan.sim.makers import MAKERS
from partisan.sim.moments import moments_of
from partisan.sim.record import replay
from partisan.wire.trace import forms_of_terms

LONG = pytest.mark.skipif(
    "PARTISAN_TEST_SOAK" not in os.environ, reason="waits for chance, for minutes on a busy machine: make soak"
)

NEAR, FAR = 1.0, 100.0
EIGHT = tuple(f"n{number}" for number in range(8))


class Centers:
    """Two data centres of four nodes each, drawn by chance.

    Attributes:
        east: names of the nodes in the one.
    """

    def __init__(self) -> None:
        self._rng = Random(1)
        self.east: frozenset[str] = frozenset()

    def draw(self) -> None:
        """Move nodes: in a small overlay it may be that nothing can be exchanged for anything nearer."""
        self.east = frozenset(f"{name}@127.0.0.1" for name in self._rng.sample(EIGHT, len(EIGHT) // 2))

    def part(self, one: str, other: str) -> bool:
        """Whether the nodes are in different ones."""
        return (one in self.east) != (other in self.east)

    def costs_of(self, name: str) -> Callable[[NodeSpec], float]:
        """What links cost a node."""
        return lambda peer: FAR if self.part(f"{name}@127.0.0.1", peer.name) else NEAR


def cost(peer: NodeSpec) -> float:
    """What some link costs."""
    return NEAR


def options_of(oracle: Any) -> dict[str, Any]:
    views = {"active_max_size": 5, "active_min_size": 2, "shuffle_interval": 0.1, "random_promotion_interval": 0.1}
    return {
        "peer_service_manager": "hyparview",
        "mixed_cluster": False,
        "hyparview": {**views, "patience": 2.0, "xbot_interval": 0.05, "xbot_oracle": oracle},
    }


@contextlib.asynccontextmanager
async def met(directory: Path, oracle: Callable[[str], Any]) -> AsyncIterator[list[Node]]:
    """Eight nodes that have met, and are traced; none of them exchanges neighbors yet."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for name in EIGHT:
            options = {**options_of(oracle(name)), "trace_file": str(directory / name)}
            nodes += await stack.enter_async_context(running(name, **options))
        await asyncio.gather(*(node.join(address_of(nodes[0]), timeout=30.0) for node in nodes[1:]))
        await settle(nodes)
        yield nodes


async def exchange(nodes: list[Node], directory: Path, step: str, move: Callable[[], None]) -> None:
    """Let neighbors be exchanged until a step is in a trace; then all links have two ends, and connect all nodes."""

    def taken() -> bool:
        return any(f'"partisan.machines.xbot:{step}' in (directory / name).read_text() for name in EIGHT)

    for node in nodes:
        node.reconfigure(hyparview={"xbot_enabled": True})
    for _ in range(120):
        move()
        with contextlib.suppress(AssertionError):
            await eventually(taken, timeout=0.5)
            break
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
    """How many exchanges were agreed to."""
    messages = [event.message for event in events if isinstance(event, Received)]
    return sum(each.answer is True for each in messages if isinstance(each, OptimizationReply))


@LONG
async def test_neighbors_are_exchanged_for_those_that_the_program_says_are_nearer(tmp_path: Path) -> None:
    centers = Centers()
    async with met(tmp_path, centers.costs_of) as nodes:
        await exchange(nodes, tmp_path, 'OptimizationReply",true', centers.draw)
    assert agreed(told(tmp_path)) > 0


@LONG
async def test_without_an_oracle_round_trips_are_measured(tmp_path: Path) -> None:
    centers = Centers()

    async with met(tmp_path, lambda name: None) as nodes:

        def move() -> None:
            centers.draw()
            for node in nodes:
                node.faults.clear()
                node.faults.delay(0.1, destination=[each.name for each in nodes if centers.part(node.name, each.name)])

        await exchange(nodes, tmp_path, 'Optimization"', move)
    events = told(tmp_path)
    assert any(isinstance(event, Received) and isinstance(event.message, Optimization) for event in events)
    trips = [event.seconds for event in events if isinstance(event, RoundTrip)]
    assert min(trips) > 0.0


@LONG
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


@LONG
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


@LONG
async def test_an_oracle_may_be_named() -> None:
    async with running("a", **options_of("operator:length_hint")) as [a]:
        made = oracle_of(a.config)
        assert made is not None
        assert made([1, 2, 3]) == 3.0
