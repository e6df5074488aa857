"""Kill either side of a stream of acknowledged messages, again and again, and count what was lost or seen twice.

    python tests/soak/kills.py --kills 1000 --messages 100000

Two node processes keep their names and addresses through all their lives. The sender numbers its messages, sends them
with `Node.deliver`, and says which were acknowledged; the receiver says what its process has seen. Whoever is killed is
started again. In the end

    lost         a message was acknowledged, or its sender lives, and no life of the receiver has seen it
    seen twice   one life of the receiver has seen a message more than once
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections import Counter

import partisan

QUICK = {
    "connection_interval": 0.05,
    "connection_jitter": 0.02,
    "reconnect_backoff_max": 0.1,
    "retransmit_interval": 0.2,
    "retransmit_backoff_max": 0.5,
}
WINDOW = 100
"""Messages that are on their way at a time."""


def tell(line: str) -> None:
    """Write a line at once, in one piece: what is told has happened."""
    os.write(1, line.encode() + b"\n")


async def receive(port: int, peer: str) -> None:
    """Hold the receiver."""

    async def sink() -> None:
        while True:
            tell(f"seen {await partisan.receive()}")

    async with partisan.Node(f"receiver@127.0.0.1:{port}", **QUICK) as node:
        node.spawn(sink, name="sink")
        tell(f"port {node.listen_addrs[0].port}")
        if peer:
            await node.join(peer, timeout=60.0)
        await asyncio.Event().wait()


async def send(port: int, peer: str, first: int, last: int) -> None:
    """Hold the sender, until all its messages are acknowledged."""
    async with partisan.Node(f"sender@127.0.0.1:{port}", **QUICK) as node:
        tell(f"port {node.listen_addrs[0].port}")
        await node.join(peer, timeout=60.0)
        window = asyncio.Semaphore(WINDOW)

        async def one(number: int) -> None:
            await node.deliver(("sink", "receiver@127.0.0.1"), number)
            tell(f"acked {number}")
            window.release()

        async with asyncio.TaskGroup() as tasks:
            for number in range(first, last):
                await window.acquire()
                tell(f"sent {number}")
                tasks.create_task(one(number))
        tell("done 0")


class Side:
    """A process in its present life.

    Attributes:
        port: where its node listens, in all its lives.
        lives: how often it was started.
    """

    def __init__(self, role: str) -> None:
        self.role = role
        self.port = 0
        self.lives = 0
        self.process: asyncio.subprocess.Process

    @property
    def address(self) -> str:
        return f"{self.role}@127.0.0.1:{self.port}"

    async def start(self, *arguments: object) -> None:
        words = [self.role, str(self.port), *map(str, arguments)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, *words, stdout=asyncio.subprocess.PIPE
        )
        self.lives += 1
        word, port = await self.told() or ("", 0)
        assert word == "port", f"the {self.role} did not start"
        self.port = port

    async def told(self) -> tuple[str, int] | None:
        """The next thing it says; None when it has ended. A line that its death cut short is none."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        word, number = line.split()
        return word.decode(), int(number)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Soak:
    """One run: what was sent, acknowledged and seen."""

    def __init__(self, kills: int, messages: int, seed: int) -> None:
        self.kills, self.messages = kills, messages
        self.rng = random.Random(seed)
        self.sender, self.receiver = Side("sender"), Side("receiver")
        self.next = 0
        self.acked: set[int] = set()
        self.owed: set[int] = set()  # sent by the present sender
        self.seen: set[int] = set()
        self.twice: Counter[int] = Counter()
        self.finished = asyncio.Event()

    async def listen_to_receiver(self) -> None:
        here: set[int] = set()
        while (told := await self.receiver.told()) is not None:
            self.twice[told[1]] += told[1] in here
            here.add(told[1])
            self.seen.add(told[1])

    async def listen_to_sender(self) -> None:
        while (told := await self.sender.told()) is not None:
            word, number = told
            if word == "sent":
                self.next = number + 1
                self.owed.add(number)
            elif word == "acked":
                self.acked.add(number)
            else:
                self.finished.set()

    async def start_sender(self) -> None:
        self.owed = set()
        await self.sender.start(self.receiver.address, self.next, self.messages)

    async def run(self) -> None:
        """Kill at random moments until every message is acknowledged, and so many kills have been."""
        await self.receiver.start("")
        await self.start_sender()
        listening = {
            "receiver": asyncio.create_task(self.listen_to_receiver()),
            "sender": asyncio.create_task(self.listen_to_sender()),
        }
        for number in range(self.kills):
            share = self.messages * (number + 1) // (self.kills + 1)
            while self.next < share and not self.finished.is_set():
                await asyncio.sleep(0.001)
            if self.finished.is_set():
                break
            victim = self.rng.choice((self.sender, self.receiver))
            await victim.kill()
            await listening[victim.role]
            if victim is self.receiver:
                await self.receiver.start(self.sender.address)
                listening["receiver"] = asyncio.create_task(self.listen_to_receiver())
            else:
                await self.start_sender()
                listening["sender"] = asyncio.create_task(self.listen_to_sender())
        async with asyncio.timeout(120.0):
            await self.finished.wait()
            while self.owed - self.seen:
                await asyncio.sleep(0.01)
        await self.sender.kill()
        await self.receiver.kill()
        await asyncio.gather(*listening.values())

    def verdict(self) -> dict[str, int]:
        return {
            "kills": self.sender.lives + self.receiver.lives - 2,
            "messages": self.next,
            "acknowledged": len(self.acked),
            "lost": len((self.acked | self.owed) - self.seen),
            "seen twice": sum(1 for times in self.twice.values() if times),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    soak = Soak(options.kills, options.messages, options.seed)
    start = time.monotonic()
    asyncio.run(soak.run())
    verdict = soak.verdict()
    print(", ".join(f"{count} {what}" for what, count in verdict.items()), f"in {time.monotonic() - start:.0f} s")
    return 1 if verdict["lost"] or verdict["seen twice"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["receiver"]:
        partisan.run(receive(int(sys.argv[2]), sys.argv[3]))
    elif sys.argv[1:2] == ["sender"]:
        partisan.run(send(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    else:
        sys.exit(main())
