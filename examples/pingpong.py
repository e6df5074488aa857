"""Two nodes in two operating-system processes play ping-pong over a channel of their own.

python examples/pingpong.py            starts both
python examples/pingpong.py pong       only the one that answers; it prints where it listens
python examples/pingpong.py ping b@127.0.0.1:PORT [rounds]
"""

import asyncio
import subprocess
import sys
import time

import partisan
from partisan import Atom, Node

CHANNELS = {"game": {"parallelism": 2}}
PING, PONG, STOP = Atom("ping"), Atom("pong"), Atom("stop")


async def answer() -> None:
    """Answer pings until told to stop."""
    while True:
        match await partisan.receive():
            case (tag, sender, number) if tag == PING:
                partisan.send(sender, (PONG, number), channel="game")
            case tag if tag == STOP:
                return


async def pong() -> None:
    """Be the node that answers; end when the game is over."""
    async with Node("b@127.0.0.1:0", channels=CHANNELS) as node:
        over = asyncio.Event()

        async def play() -> None:
            await answer()
            over.set()

        node.spawn(play, name="table")
        print(f"b@{node.listen_addrs[0]}", flush=True)
        await over.wait()


async def play(rounds: int) -> float:
    """Serve so many times; return the time that it took, in seconds."""
    table = ("table", "b@127.0.0.1")
    start = time.perf_counter()
    for number in range(rounds):
        partisan.send(table, (PING, partisan.self(), number), channel="game")
        await partisan.receive((PONG, number), timeout=5.0)
    seconds = time.perf_counter() - start
    partisan.send(table, STOP, channel="game")
    return seconds


async def ping(contact: str, rounds: int) -> None:
    """Be the node that serves."""
    async with Node("a@127.0.0.1:0", channels=CHANNELS) as node:
        print("joined", await node.join(contact))
        seconds = await node.run(play, rounds)
        print(f"{rounds} rounds, {seconds / rounds * 1e6:.0f} microseconds each")
        while node.is_connected("b@127.0.0.1"):  # it goes when it has read that the game is over
            await asyncio.sleep(0.01)


def both() -> None:
    """Start the other node in a process of its own, and serve."""
    with subprocess.Popen([sys.executable, __file__, "pong"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        contact = other.stdout.readline().strip()
        print("the other node is", contact)
        partisan.run(ping(contact, 1000))


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            both()
        case ["pong"]:
            partisan.run(pong())
        case ["ping", contact]:
            partisan.run(ping(contact, 1000))
        case ["ping", contact, rounds]:
            partisan.run(ping(contact, int(rounds)))
        case _:
            sys.exit(__doc__)
