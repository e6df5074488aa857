"""The membership on disk: versioned, replaced as a whole, written beside the loop.

A file is `MAGIC`, a version (4 octets), the CRC-32 of the rest (4 octets) and the term `{Node, Strategy, Greeting}`. It
is written under another name, flushed to the disk and then renamed, so that there is one whole state at any time; a
write that fails leaves the former one in place. Writes happen in a thread, one at a time; of the states that come
meanwhile the last is written next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from partisan.errors import StateError, TermError
from partisan.etf import Atom, Codec

log = logging.getLogger(__name__)

MAGIC = b"partisan state\n"
VERSION = 1


class StateFile:
    """The saved membership of one node.

    Args:
        directory: where; made if it is not there.
        node: the node's name.
        strategy: whose state it is.
        loop: the node's.
    Attributes:
        error: why the last write failed, or None.
    """

    def __init__(self, directory: str, node: str, strategy: str, loop: asyncio.AbstractEventLoop) -> None:
        self.path = Path(directory) / f"{quote(node, safe='@')}.membership"
        self.error: StateError | None = None
        self._whose = (Atom(node), Atom(strategy))
        self._loop = loop
        self._codec = Codec(binaries="bytes", none="undefined", strings="binary")  # its own: it works in a thread
        self._next: Callable[[], object] | None = None
        self._task: asyncio.Task[None] | None = None

    def load(self) -> Any:
        """The greeting that was saved, as a term; None if there is none.

        Makes the directory, so that one that cannot be is found at the start. Raises StateError.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError("unwritable", str(self.path.parent), error.strerror or str(error)) from error
        try:
            octets = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError("unreadable", str(self.path), error.strerror or str(error)) from error
        head = len(MAGIC)
        if not octets.startswith(MAGIC) or len(octets) < head + 8:
            raise StateError("damaged", str(self.path), "it does not begin as a state does")
        version = int.from_bytes(octets[head : head + 4], "big")
        if version > VERSION:
            raise StateError("newer", str(self.path), f"version {version}; this package knows {VERSION}")
        body = octets[head + 8 :]
        if zlib.crc32(body) != int.from_bytes(octets[head + 4 : head + 8], "big"):
            raise StateError("damaged", str(self.path), "its checksum is wrong")
        try:
            node, strategy, greeting = self._codec.decode(body)
        except (TermError, ValueError, TypeError) as error:
            raise StateError("damaged", str(self.path), str(error)) from error
        if (node, strategy) != self._whose:
            raise StateError("foreign", str(self.path), f"it is of {node} with strategy {strategy}")
        return greeting

    def save(self, make: Callable[[], object]) -> None:
        """Write what `make` returns soon; it is called in a thread, so what it uses must not change."""
        self._next = make
        if self._task is None:
            self._task = self._loop.create_task(self._write_all())

    async def close(self, grace: float) -> None:
        """Wait until all is written, for so many seconds at most."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace)
        if self._task is not None:
            log.error("the membership is not saved: writing %s takes too long", self.path)
            self._task.cancel()

    async def _write_all(self) -> None:
        try:
            while self._next is not None:
                make, self._next = self._next, None
                try:
                    await self._loop.run_in_executor(None, self._write, make)
                except OSError as error:
                    self._failed(StateError("unwritable", str(self.path), error.strerror or str(error)))
                except Exception:
                    log.exception("the membership is not saved: it has no external form")
                else:
                    self.error = None
        finally:
            self._task = None

    def _failed(self, error: StateError) -> None:
        """Say so, and go on: the next change is written anew."""
        self.error = error
        log.error("the membership is not saved: %s", error)

    def _write(self, make: Callable[[], object]) -> None:
        body = bytes(self._codec.encode((*self._whose, make())))
        head = MAGIC + VERSION.to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            with open(fresh, "wb") as file:
                file.write(head + body)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
