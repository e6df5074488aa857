"""What a Python node in a process of its own does for a test, besides `partisan.testing.commands`."""

from __future__ import annotations

from collections import Counter

import partisan
from partisan.etf import Atom

_heard: Counter[str] = Counter()


def listen() -> None:
    """Start `sink`, which counts what it receives."""
    partisan.node().spawn(_sink, name="sink")


async def _sink() -> None:
    while True:
        _heard[_text(await partisan.receive())] += 1


def _text(message: object) -> str:
    return message.name if isinstance(message, Atom) else repr(message)


def heard() -> dict[str, int]:
    """What the sink has received, and how often; an atom by its name."""
    return dict(_heard)


def say(node: str, words: str, count: int = 1, ack: bool = False) -> None:
    """Send an atom to the sink of a node."""
    for _ in range(count):
        partisan.node().forward_message(("sink", node), Atom(words), ack=ack)


def unacknowledged(node: str) -> int:
    """How many messages to a node it keeps."""
    return partisan.node().unacknowledged(node)
