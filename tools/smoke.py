"""Use an installed package as a newcomer would: a term through the codec, and a message between two nodes and back."""

from __future__ import annotations

import asyncio
import sys

import partisan
from partisan import Atom, etf

TERM = (Atom("ok"), [1, 2.5, b"octets", {b"key": None}], 2**70)


async def echo() -> None:
    """Send back what comes, to whom it names."""
    asker, what = await partisan.receive()
    partisan.send(asker, what, channel="data")


async def ask(server: tuple[str, str], answer: asyncio.Future[object]) -> None:
    """Send a term to the server and take what it sends back."""
    partisan.send(server, (partisan.self(), TERM), channel="data")
    answer.set_result(await partisan.receive(timeout=10.0))


async def main() -> None:
    """Let two nodes meet and exchange a message."""
    channels = {"data": {"parallelism": 2}}
    async with asyncio.timeout(30.0):
        a, b = (partisan.Node(f"{name}@127.0.0.1:0", channels=channels) for name in "ab")
        async with a, b:
            b.spawn(echo, name="echo")
            await a.join(f"b@{b.listen_addrs[0]}")
            while not b.is_connected(a.name):  # it dials back for itself
                await asyncio.sleep(0.02)
            answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            a.spawn(ask, ("echo", b.name), answer)
            if await answer != TERM:
                raise SystemExit(f"sent {TERM!r}, and {answer.result()!r} came back")


if __name__ == "__main__":
    if etf.decode(etf.encode(TERM)) != TERM:
        raise SystemExit("a term did not survive the codec")
    partisan.run(main())
    print(f"Python {sys.version.split()[0]}: {partisan.__file__} works")
