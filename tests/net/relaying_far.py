"""What `test_relaying` runs in a node process."""

from __future__ import annotations

import partisan


async def start_sleeper() -> None:
    """Start a process that never answers."""
    partisan.spawn(sleep, name="sleeper")


async def sleep() -> None:
    """Wait for ever."""
    while True:
        await partisan.receive()
