"""A process that starts one node with the defaults, says that it is ready, and waits for the end of its input."""

from __future__ import annotations

import asyncio
import sys

import partisan


async def main() -> None:
    """Hold an idle node."""
    async with partisan.Node("idle@127.0.0.1:0"):
        print("ready", flush=True)
        ended = asyncio.Event()
        # Not a thread: an idle node has none.
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()


if __name__ == "__main__":
    partisan.run(main())
