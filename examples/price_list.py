"""A price list that every shop of a chain has, whatever overlay connects them: no line of this knows which one that is.

    python examples/price_list.py a@127.0.0.1:10200
    python examples/price_list.py b@127.0.0.1:10201 a@127.0.0.1:10200

The first argument is this node, the others are whom it joins. Options come from the environment: with
PARTISAN_PEER_SERVICE_MANAGER=hyparview for all nodes, or what else docs/overlays.md has, they form another overlay.
Then it obeys lines of its standard input:

    set THING PRICE     tells every shop of the chain
    price THING         what it costs here
    ask THING           what neighbors say that it costs
    neighbors           who they are
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import partisan
from partisan import Atom, GenServer, Node, plumtree
from partisan.plumtree import LwwMap, Put

PATIENCE = 2.0
"""Seconds that a neighbor has to answer: on some overlays it may have no way back to who asks."""


class Shop(GenServer):
    """Answers what things cost. Prices are broadcast, and kept in a map that becomes the same everywhere."""

    def init(self) -> None:
        self.prices = LwwMap(actor=partisan.node().name.encode(), epoch=time.time_ns())
        plumtree.add_handler("prices", self.prices)

    def handle_call(self, request, caller):
        match request:
            case (Atom("price"), thing):
                return self.prices.get(thing)
            case (Atom("set"), thing, int(price)):
                plumtree.broadcast(Put(thing, price), "prices")
                return Atom("ok")
        raise ValueError("no request for a shop")


def neighbors() -> list[str]:
    """Names of the members that this node is connected to."""
    here = partisan.node()
    return sorted(name for name in here.members() if name != here.name and here.is_connected(name))


async def ask(thing: bytes) -> dict[str, int | None]:
    """Each neighbor that answers -> what it says that the thing costs."""

    async def one(name: str) -> tuple[str, int | None] | None:
        try:
            return name, await partisan.call(("shop", name), (Atom("price"), thing), timeout=PATIENCE)
        except (partisan.Exit, TimeoutError):  # it is gone, or has no way to us
            return None

    answers = await asyncio.gather(*(one(name) for name in neighbors()))
    return dict(answer for answer in answers if answer)


async def obey(line: str) -> str:
    """Do what a line says; what there is to say of it."""
    match line.split():
        case ["set", thing, price]:
            await partisan.call("shop", (Atom("set"), thing.encode(), int(price)))
            return "told"
        case ["price", thing]:
            return str(await partisan.call("shop", (Atom("price"), thing.encode())))
        case ["ask", thing]:
            return " ".join(f"{name}={price}" for name, price in (await ask(thing.encode())).items())
        case ["neighbors"]:
            return " ".join(neighbors())
    return "set THING PRICE, price THING, ask THING, or neighbors"


async def main(address: str, *contacts: str) -> None:
    async with Node(address) as node:
        await Shop.start(name="shop")
        for contact in contacts:
            await node.join(contact)
        print(f"{node.name}:{node.listen_addrs[0].port}", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await obey(line), flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends it in order
        partisan.run(main(*sys.argv[1:]))
