"""One node of the demonstration: `python -m partisan.bench.demo_node NAME [CONTACT]`.

It says where it listens, gets its peers as a line of JSON, says when it reaches them all, gets how long to talk,
and says its figures. On each channel a talker a peer sends bursts; the last message of a burst asks for an answer,
which tells how many arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass

import partisan
from partisan import Atom, Pid

from .measure import percentiles_us

CHANNELS: dict[str, dict[str, object]] = {"data": {"parallelism": 2}, "gossip": {"monotonic": True}, "control": {}}
BURSTS = {"data": (64, 4096), "gossip": (16, 256), "control": (1, 16)}
"""Channel to messages a burst and octets a message. On a monotonic channel newer state may overtake older."""

ANSWER = Atom("answer")
ANSWER_SECONDS = 0.5
"""How long a talker waits for an answer before it goes on."""


@dataclass(slots=True)
class Talk:
    """What one talker did.

    Attributes:
        cut: whether it ended early, its peer being reached no more.
    """

    peer: str
    channel: str
    sent: int = 0
    delivered: int = 0
    cut: bool = False


async def listener(channel: str) -> None:
    """Count what arrives from each talker; tell the count to one that asks."""
    counts: dict[Pid, int] = {}
    while True:
        talker, number, _payload = await partisan.receive()
        count = counts[talker] = counts.get(talker, 0) + 1
        if number:
            counts[talker] = 0
            # What asks on a monotonic channel is answered on another: an answer is no state that may be overtaken.
            reply_on = "control" if CHANNELS[channel].get("monotonic") else channel
            # Each node dials the connections on which it sends: the first may ask before the way back is open.
            with contextlib.suppress(partisan.NotConnected):
                partisan.send(talker, (ANSWER, number, count), channel=reply_on)


async def ask(target: tuple[str, str], channel: str, number: int, payload: bytes) -> int | None:
    """Send a message that asks; return how many arrived since the last answer, None if no answer came in time."""
    partisan.send(target, (partisan.self(), number, payload), channel=channel)
    try:
        answer = await partisan.receive((ANSWER, number, int), timeout=ANSWER_SECONDS)
    except partisan.ReceiveTimeout:
        return None
    return int(answer[2])


async def reach(peers: list[str], reached: asyncio.Event) -> None:
    """Ask every peer on every channel until each has answered once."""
    missing = [(peer, channel) for peer in peers for channel in CHANNELS]
    number = 0
    while missing:
        peer, channel = missing[0]
        number += 1
        try:
            answer = await ask((channel, peer), channel, number, b"")
        except partisan.NotConnected:
            await asyncio.sleep(0.02)  # gossip has not told of the peer yet
            continue
        if answer is not None:
            missing.pop(0)
    reached.set()


async def talker(talk: Talk, seconds: float, done: asyncio.Queue[dict[str, object]]) -> None:
    """Send bursts for some seconds, or until the peer is lost; put the figures into `done` either way."""
    latencies: list[int] = []
    try:
        await bursts(talk, seconds, latencies)
    except partisan.NotConnected:
        talk.cut = True
    finally:
        p50, p99 = percentiles_us(latencies)
        octets = talk.delivered * BURSTS[talk.channel][1]
        row = {"to": talk.peer, "channel": talk.channel, "sent": talk.sent, "delivered": talk.delivered}
        done.put_nowait({**row, "cut": talk.cut, "octets": octets, "p50_us": p50, "p99_us": p99})


async def bursts(talk: Talk, seconds: float, latencies: list[int]) -> None:
    """Send bursts for some seconds, counting in `talk`; append how long each answer took, in ns."""
    burst, octets = BURSTS[talk.channel]
    target, me, payload = (talk.channel, talk.peer), partisan.self(), bytes(octets)
    stop_at = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < stop_at:
        for _ in range(burst - 1):
            partisan.send(target, (me, 0, payload), channel=talk.channel)
            talk.sent += 1
        await partisan.checkpoint()
        number += 1
        before = time.perf_counter_ns()
        answer = await ask(target, talk.channel, number, payload)
        talk.sent += 1
        if answer is not None:
            latencies.append(time.perf_counter_ns() - before)
            talk.delivered += answer


async def main(name: str, contact: str | None) -> None:
    """Hold the node and follow the lines of the parent."""
    async with partisan.Node(f"{name}@127.0.0.1:0", channels=CHANNELS) as node:
        for channel in CHANNELS:
            node.spawn(listener, channel, name=channel)
        if contact:
            await node.join(contact)
        tell(node=node.name, address=f"{name}@{node.listen_addrs[0]}", joined=contact)
        order = json.loads(await asyncio.to_thread(sys.stdin.readline))
        reached = asyncio.Event()
        node.spawn(reach, order["peers"], reached)
        await reached.wait()
        tell(meshed=True)
        seconds = json.loads(await asyncio.to_thread(sys.stdin.readline))["seconds"]
        done: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        talks = [Talk(peer, channel) for peer in order["peers"] for channel in CHANNELS]
        for talk in talks:
            node.spawn(talker, talk, seconds, done)
        rows = [{"from": node.name, **await done.get()} for _ in talks]
        tell(rows=rows)
        # The others may still ask: stay until the parent ends the input.
        await asyncio.to_thread(sys.stdin.read)


def tell(**facts: object) -> None:
    """Say one line of JSON."""
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    partisan.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] else None))
