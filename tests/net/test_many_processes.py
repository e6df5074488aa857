"""HyParView and Plumtree in real processes, of which a third is killed while they broadcast."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from support import eventually

from partisan.testing import NodeProcess
from partisan.testing.overlays import View, missing

OPTIONS: dict[str, Any] = {
    "peer_service_manager": "hyparview",
    "hyparview": {"shuffle_interval": 1.0, "random_promotion_interval": 0.5, "patience": 2.0},
    "plumtree": {"exchange_tick_period": 1.0},
}
COUNT = 32
"""Nodes, each in a process of its own."""

VICTIMS = (*range(2, COUNT, 3), 31)
"""A third of them: 11."""

AT_ONCE = 8
"""Processes that are started side by side."""

BOUND = 60.0
"""Seconds in which each thing that is waited for has happened, also on a busy machine."""


async def of_all(processes: list[NodeProcess], command: str, *args: Any) -> dict[str, Any]:
    """What the nodes of these processes say, by their names."""
    said = await asyncio.gather(*(process.run(f"said:{command}", *args) for process in processes))
    return {name: answer for part in said for name, answer in part.items()}


async def until_nothing(find: Callable[[], Awaitable[Any]]) -> None:
    """Wait until nothing is found any more, or say what is."""

    async def is_nothing() -> bool:
        return not await find()

    try:
        await eventually(is_nothing, timeout=BOUND)
    except AssertionError:
        raise AssertionError(f"still, after {BOUND} s: {await find()}") from None


async def formed(processes: list[NodeProcess], count: int) -> None:
    """Wait until the views of the nodes are symmetric, and connect them, and nobody else is in them."""

    async def lack() -> list[str]:
        views: dict[str, View] = await of_all(processes, "views")
        assert len(views) == count
        return missing(views)

    await until_nothing(lack)


async def all_heard(processes: list[NodeProcess], keys: list[str]) -> None:
    """Wait until every node has heard all that was broadcast under these keys."""

    async def lacking() -> dict[str, list[str]]:
        return {name: lacks for name, lacks in (await of_all(processes, "lacks", keys)).items() if lacks}

    await until_nothing(lacking)


async def start(processes: list[NodeProcess]) -> None:
    """Start them all; every node joins the first one."""
    for first in range(0, COUNT, AT_ONCE):
        await asyncio.gather(*(process.start() for process in processes[first : first + AT_ONCE]))
    for process in processes:
        await process.run("said:keep")
        if process is not processes[0]:
            await process.join(processes[0])


async def broadcast_on(processes: list[NodeProcess], said: list[str]) -> None:
    """Broadcast from each of these in turn, until cancelled; `said` gets the keys."""
    for number, process in zip(itertools.count(), itertools.cycle(processes), strict=False):
        await process.run("said:say", f"k{number}", number)
        said.append(f"k{number}")


async def story(processes: list[NodeProcess]) -> None:
    await start(processes)
    await formed(processes, COUNT)
    await processes[0].run("said:say", "first", 1)
    await all_heard(processes, ["first"])

    victims = [processes[number] for number in VICTIMS]
    living = [process for process in processes if process not in victims]
    said: list[str] = []
    speaking = asyncio.ensure_future(broadcast_on(living, said))
    try:
        await eventually(lambda: len(said) >= 20 or speaking.done(), timeout=BOUND)
        await asyncio.gather(*(victim.kill() for victim in victims))
        before = len(said)
        await eventually(lambda: len(said) >= before + 40 or speaking.done(), timeout=BOUND)
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    assert speaking.cancelled(), speaking
    assert len(said) >= before + 40
    await all_heard(living, said)
    await formed(living, COUNT - len(VICTIMS))
    await living[-1].run("said:say", "last", 1)
    await all_heard(living, ["last"])


def test_broadcasts_reach_all_survivors_while_a_third_of_the_processes_is_killed() -> None:
    processes = [
        NodeProcess(f"n{number}", loop="asyncio" if number % 2 else "uvloop", path=sys.path, **OPTIONS)
        for number in range(COUNT)
    ]

    async def main() -> None:
        try:
            await story(processes)
        finally:
            await asyncio.gather(*(process.kill() for process in processes))

    asyncio.run(main())
