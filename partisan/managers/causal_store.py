"""Causal orders on disk: one SQLite file a node, written beside the loop.

    causal(label, state)                    what is known of the order, as an external term
    waiting(label, sender, number, place, message)      what waits for others, in the order of `place`
    about(name, value)                      whose file it is

All of a save is one transaction, flushed to the disk (write-ahead log, `synchronous=FULL`): after a crash there is the
last whole one. Of the states that come while one is written, the last of each label is written next. The schema's
version is SQLite's `user_version`; a newer one is refused and left as it is.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from partisan.errors import RemoteProtocolError, StateError, TermError
from partisan.etf import Codec
from partisan.machines.causal_messages import Stamped, State
from partisan.net.causal import Body
from partisan.wire.causal import state_from_term, state_to_term, waiting_from_term, waiting_to_term

log = logging.getLogger(__name__)

T = TypeVar("T")

VERSION = 1

AGAIN = 1.0
"""Seconds after a failed write until the next (ours)."""

SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE causal (label TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE waiting (label TEXT, sender TEXT, number INTEGER, place INTEGER NOT NULL, message BLOB NOT NULL,
                      PRIMARY KEY (label, sender, number)) WITHOUT ROWID;
"""

Key = tuple[str, int]
"""Sender and number of a message that waits."""


class CausalStore:
    """The saved orders of one node.

    Args:
        directory: where; made if it is not there.
        node: the node's name.
        loop: the node's.
    Attributes:
        path: the file.
        error: why the last write failed, or None.
    Raises:
        StateError: what is there cannot be used.
    """

    def __init__(self, directory: str, node: str, loop: asyncio.AbstractEventLoop) -> None:
        self.path = Path(directory) / f"{quote(node, safe='@')}.causal"
        self.error: StateError | None = None
        self._node, self._loop = node, loop
        self._codec = Codec(binaries="bytes", none="undefined", strings="binary")  # its own: it works in a thread
        self._next: dict[str, State] = {}
        self._done: list[Callable[[], object]] = []
        self._task: asyncio.Task[None] | None = None
        self._there: dict[str, dict[Key, None]] = {}  # label -> what waits, in the file
        self._place = 0
        self._thread = ThreadPoolExecutor(1, "partisan-causal")
        self._connection = self._guarded(self._open)

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.OperationalError as error:
            raise StateError("unreadable", str(self.path), str(error)) from error
        except (sqlite3.DatabaseError, RemoteProtocolError, TermError, ValueError, TypeError) as error:
            raise StateError("damaged", str(self.path), str(error)) from error

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError("unwritable", str(self.path.parent), error.strerror or str(error)) from error
        connection = sqlite3.connect(self.path, timeout=5.0, check_same_thread=False, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StateError("newer", str(self.path), f"version {version}; this package knows {VERSION}")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # one node, one file
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}")  # all of it or nothing: half of it is no node's file
            connection.execute("INSERT INTO about VALUES ('node', ?)", (self._node,))
            connection.execute(f"PRAGMA user_version={VERSION}")
            connection.execute("COMMIT")
        found = connection.execute("SELECT value FROM about WHERE name='node'").fetchone()
        if found != (self._node,):
            raise StateError("foreign", str(self.path), f"it is of {found[0] if found else 'no node'}")

    def load(self, label: str) -> State | None:
        """What was saved of a label; its messages are `Body`. Raises StateError."""
        return self._guarded(lambda: self._load(label))

    def _load(self, label: str) -> State | None:
        found = self._connection.execute("SELECT state FROM causal WHERE label=?", (label,)).fetchone()
        if found is None:
            return None
        state = state_from_term(self._codec.decode(found[0]))
        rows = self._connection.execute(
            "SELECT sender, number, place, message FROM waiting WHERE label=? ORDER BY place", (label,)
        ).fetchall()
        waiting = []
        for sender, number, place, message in rows:
            waiting.append(self._waiting(label, message))
            self._there.setdefault(label, {})[sender, number] = None
            self._place = max(self._place, place)
        return State(state.count, state.heard, state.lost, state.rows, tuple(waiting))

    def _waiting(self, label: str, message: bytes) -> tuple[str, Stamped]:
        sender, dependencies, clock, kept, encoded = waiting_from_term(self._codec.decode(message))
        target, content = self._codec.decode(encoded)
        return sender, Stamped(self._node, dependencies, clock, Body(target, content, None, encoded), kept)

    def save(self, label: str, state: State, done: Callable[[], object]) -> None:
        """Save it, later and beside the loop; `done` is called when this state, or a later one, is on disk."""
        self._next[label] = state
        self._done.append(done)
        if self._task is None:
            self._task = self._loop.create_task(self._write_all())

    async def close(self, grace: float) -> None:
        """Wait until all is saved and the file is closed, for so many seconds at most each."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace)
        if self._task is not None:
            log.error("causal orders are not saved: writing %s takes too long, or fails", self.path)
            self._task.cancel()
        closing = self._loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=False)
        done, _ = await asyncio.wait([closing], timeout=grace)
        if done and (error := closing.exception()) is not None:
            log.error("%s could not be closed: %s", self.path, error)

    async def _write_all(self) -> None:
        try:
            while self._next:
                states, self._next = self._next, {}
                done, self._done = self._done, []
                try:
                    await self._loop.run_in_executor(self._thread, self._write, states)
                except sqlite3.Error as error:
                    self.error = StateError("unwritable", str(self.path), str(error))
                    log.error("causal orders are not saved: %s", self.error)
                    self._next = states | self._next
                    self._done = done + self._done
                    await asyncio.sleep(AGAIN)
                else:
                    self.error = None
                    for each in done:
                        each()
        finally:
            self._task = None

    def _write(self, states: dict[str, State]) -> None:
        connection, encode = self._connection, self._codec.encode
        there = {label: dict(self._there.get(label, {})) for label in states}
        connection.execute("BEGIN IMMEDIATE")
        try:
            for label, state in states.items():
                row = (label, bytes(encode(state_to_term(state))))
                connection.execute("INSERT OR REPLACE INTO causal VALUES (?, ?)", row)
                self._write_waiting(label, state, there[label])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._there |= there

    def _write_waiting(self, label: str, state: State, there: dict[Key, None]) -> None:
        """Write what waits now, and take away what does not any more."""
        waits: dict[Key, tuple[str, Stamped]] = {
            (sender, stamped.clock[0][1]): (sender, stamped) for sender, stamped in state.waiting
        }
        gone = [key for key in there if key not in waits]
        self._connection.executemany(
            "DELETE FROM waiting WHERE label=? AND sender=? AND number=?", [(label, *key) for key in gone]
        )
        for key in gone:
            del there[key]
        fresh: list[tuple[Any, ...]] = []
        for key, (sender, stamped) in waits.items():
            if key not in there:
                there[key] = None
                self._place += 1
                body: Any = stamped.message
                message = self._codec.encode(waiting_to_term(sender, stamped, body.encoded))
                fresh.append((label, *key, self._place, bytes(message)))
        self._connection.executemany("INSERT INTO waiting VALUES (?, ?, ?, ?, ?)", fresh)
