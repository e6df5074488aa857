"""One program runs on every overlay, which is chosen by its environment alone: examples/price_list.py, as it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import eventually, free_port

ROOT = Path(__file__).parents[2]
SHOPS = "abcde"
CONTACT, VICTIM = "a", "e"
LIMIT = 120.0
"""Seconds that a test takes at most."""


@dataclass
class Overlay:
    """How an overlay is configured.

    Attributes:
        common: variables of every node.
        own: name -> variables of that node besides.
        joins: name -> whom it joins when it starts; the first one unless it is here.
        contacts: name -> whom it has links to, for overlays that are told so.
    """

    common: dict[str, str]
    own: dict[str, dict[str, str]] = field(default_factory=dict)
    joins: dict[str, str] = field(default_factory=dict)
    contacts: dict[str, str] = field(default_factory=dict)


def links(names: str) -> dict[str, str]:
    """Each and those before and after it, around a circle."""
    return {name: names[at - 1] + names[(at + 1) % len(names)] for at, name in enumerate(names)}


OVERLAYS = {
    "full": Overlay({}),
    "scamp_v1": Overlay({"MEMBERSHIP_STRATEGY": "scamp_v1"}),
    "scamp_v2": Overlay({"MEMBERSHIP_STRATEGY": "scamp_v2"}),
    "hyparview": Overlay({"PEER_SERVICE_MANAGER": "hyparview", "HYPARVIEW__ACTIVE_MAX_SIZE": "4"}),
    "client_server": Overlay(
        {"PEER_SERVICE_MANAGER": "client_server"},
        own={name: {"TAG": "server" if name in "ab" else "client"} for name in SHOPS},
        joins={"b": "a", **dict.fromkeys("cde", "ab")},
    ),
    "static": Overlay({"PEER_SERVICE_MANAGER": "static"}, joins=dict.fromkeys(SHOPS, ""), contacts=links(SHOPS)),
    "ring": Overlay({"MEMBERSHIP_STRATEGY": "ring:Ring"}),
}
ONE_WAY = {"scamp_v1", "scamp_v2"}
"""Where a neighbor need not have a way back."""

QUICK = {
    "PERIODIC_INTERVAL": "0.5",
    "CONNECTION_INTERVAL": "0.1",
    "RECONNECT_BACKOFF_MAX": "0.5",
    "PLUMTREE__EXCHANGE_TICK_PERIOD": "1.0",
}


class Shop:
    """A process of the example."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "the program has ended"
        return line.decode().strip()

    async def tell(self, *words: object) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        return await self.line()

    async def neighbors(self) -> set[str]:
        return {name.partition("@")[0] for name in (await self.tell("neighbors")).split()}

    async def ask(self, thing: str) -> dict[str, str]:
        """Neighbor that answers -> what it says."""
        answers = (answer.partition("=") for answer in (await self.tell("ask", thing)).split())
        return {name.partition("@")[0]: price for name, _, price in answers}


@contextlib.asynccontextmanager
async def chain(overlay: Overlay) -> AsyncIterator[dict[str, Shop]]:
    """The shops, each a process, that have joined as the overlay says."""
    places = {name: f"{name}@127.0.0.1:{free_port()}" for name in SHOPS}
    base = {name: value for name, value in os.environ.items() if not name.startswith("PARTISAN_")}
    path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "examples"), base.get("PYTHONPATH")]))
    shops: dict[str, Shop] = {}
    async with contextlib.AsyncExitStack() as stack:

        async def open_shop(name: str) -> None:
            options = {**QUICK, **overlay.common, **overlay.own.get(name, {})}
            if name in overlay.contacts:
                options["CONTACTS"] = json.dumps([places[other] for other in overlay.contacts[name]])
            joined = overlay.joins.get(name, CONTACT if name != CONTACT else "")
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, str(ROOT / "examples" / "price_list.py"), places[name]],
                *(places[other] for other in joined),
                env={**base, "PYTHONPATH": path, **{f"PARTISAN_{key}": value for key, value in options.items()}},
                stdin=PIPE,
                stdout=PIPE,
            )
            stack.push_async_callback(process.wait)
            stack.callback(stop, process)
            shops[name] = Shop(process)
            assert await shops[name].line() == places[name]

        await open_shop(CONTACT)
        await open_shop("b")  # it may be joined as well
        await asyncio.gather(*map(open_shop, SHOPS[2:]))
        yield shops


def stop(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def on_all(shops: dict[str, Shop], done: Callable[[str, Shop], Awaitable[bool]]) -> None:
    """Wait until this is true of each."""

    async def is_done() -> bool:
        return all([await done(name, shop) for name, shop in shops.items()])

    await eventually(is_done, timeout=30.0)


async def costs(shops: dict[str, Shop], thing: str, price: int) -> None:
    """Wait until it costs that everywhere."""

    async def is_known(name: str, shop: Shop) -> bool:
        return await shop.tell("price", thing) == str(price)

    await on_all(shops, is_known)


async def mutual(shops: dict[str, Shop]) -> dict[str, set[str]]:
    """Shop -> its neighbors that have it for one."""
    near = {name: await shop.neighbors() for name, shop in shops.items()}
    return {name: {other for other in near[name] if name in near.get(other, ())} for name in shops}


async def story(kind: str) -> None:
    async with chain(OVERLAYS[kind]) as shops:

        async def is_linked(name: str, shop: Shop) -> bool:
            return bool(await shop.neighbors())

        await on_all(shops, is_linked)
        for number, (name, shop) in enumerate(shops.items()):
            assert await shop.tell("set", f"thing-{name}", number) == "told"
        for number, name in enumerate(shops):
            await costs(shops, f"thing-{name}", number)

        async def neighbors_agree() -> bool:
            """Whether each has the price of each that can answer, and asks nobody in vain where links go both ways."""
            near = await mutual(shops)
            answers = {name: await shop.ask("thing-c") for name, shop in shops.items()}
            assert {price for said in answers.values() for price in said.values()} == {"2"}
            both_ways = kind in ONE_WAY or all(near.values())
            return both_ways and near == await mutual(shops) and all(near[name] <= {*answers[name]} for name in shops)

        await eventually(neighbors_agree, timeout=30.0)

        victim = shops.pop(VICTIM)
        victim.process.kill()
        await victim.process.wait()
        for number, (name, shop) in enumerate(shops.items()):
            assert await shop.tell("set", f"later-{name}", number) == "told"
        for number, name in enumerate(shops):
            await costs(shops, f"later-{name}", number)


@pytest.mark.parametrize("kind", OVERLAYS)
def test_the_same_program_does_the_same_on_every_overlay(kind: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT):
            await story(kind)

    asyncio.run(main())
