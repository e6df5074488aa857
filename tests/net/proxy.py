"""A proxy in the hands of the test: it sees, cuts, stalls or breaks what two nodes say to each other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Proxy:
    """Forwards connections to a port.

    Args:
        port: where to.
        piece: octets forwarded at a time.
    Attributes:
        port: where it listens.
        forward: what the diallers have said.
        backward: what the acceptor has said.
        open: cleared, nothing more is read of what diallers say.
        answers: cleared, nothing more is passed on of what the acceptor says, nor that it has closed.
        ended: how many diallers have closed their half.
    """

    def __init__(self, port: int, piece: int) -> None:
        self._to = port
        self._piece = piece
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port: int
        self.forward = bytearray()
        self.backward = bytearray()
        self.open = asyncio.Event()
        self.open.set()
        self.answers = asyncio.Event()
        self.answers.set()
        self.ended = 0

    async def arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, there_writer]
        for source, target, seen in ((reader, there_writer, self.forward), (there_reader, writer, self.backward)):
            task = asyncio.get_running_loop().create_task(self._pump(source, target, seen))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: bytearray) -> None:
        passing = self.open if seen is self.forward else self.answers
        with contextlib.suppress(OSError):
            while octets := await source.read(self._piece):
                await passing.wait()
                seen += octets
                target.write(octets)
                await target.drain()
            self.ended += seen is self.forward
            await passing.wait()
            target.write_eof()

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxy(port: int, piece: int = 65536) -> AsyncIterator[Proxy]:
    """A proxy to the port."""
    made = Proxy(port, piece)
    server = await asyncio.start_server(made.arrived, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
        await server.wait_closed()
