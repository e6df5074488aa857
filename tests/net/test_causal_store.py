"""Causal orders on disk: what a killed node finds again, and files that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess
from support import Sink, cluster, eventually, running

from partisan import Node
from partisan.errors import StateError
from partisan.managers.causal_store import VERSION

A, B, C = (f"{name}@127.0.0.1" for name in "abc")
LABEL = {"causal_labels": ["default"]}


def file_of(directory: Path, name: str = A) -> Path:
    return directory / f"{name}.causal"


def count(path: Path, table: str) -> int:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found)


async def test_what_waited_when_a_node_was_killed_waits_when_it_is_back(loop_name: str, tmp_path: Path) -> None:
    """b is killed with 3 of 5 messages waiting for one that is lost; it is back, and all arrive, once and in order."""
    a, b = NodeProcess("a"), NodeProcess("b")
    slow = {"retransmit_interval": 3.0, "retransmit_backoff_max": 3.0, "retransmit_jitter": 0.0}
    try:
        await a.start(loop_name, **LABEL, **slow)
        await b.start(loop_name, **LABEL, persist_dir=str(tmp_path))
        await a.tell("join", b.address)
        await b.until("members", [A, B])
        await a.tell("send_causal", B, 0, 2, True)
        await b.until("received", {A: {"causal": [0, 1]}})
        await a.tell("lose", B, 1)
        await a.tell("send_causal", B, 2, 4, True)
        await b.until("waiting", 3)
        await told_unacknowledged(a, B, 1)  # what is acknowledged is on disk
        await b.kill()
        await b.start(loop_name, b.port, **LABEL, persist_dir=str(tmp_path))
        assert await b.tell("waiting") + sum(map(len, (await b.tell("received")).get(A, {}).values())) >= 3
        await b.until("received", {A: {"causal": [2, 3, 4, 5]}})
        assert await b.tell("waiting") == 0
    finally:
        await a.kill()
        await b.kill()


async def told_unacknowledged(process: NodeProcess, to: str, wanted: int) -> None:
    """Wait until so many messages of the process to the node wait for their acknowledgement."""
    async with asyncio.timeout(10.0):
        while await process.tell("unacknowledged", to) != wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("persisted", [True, False])
async def test_a_sender_that_was_killed_goes_on(loop_name: str, tmp_path: Path, persisted: bool) -> None:
    """What it had sent and lost is not waited for; what it sends in its next life is new."""
    a, b = NodeProcess("a"), NodeProcess("b")
    options = {**LABEL, **({"persist_dir": str(tmp_path)} if persisted else {})}
    try:
        await a.start(loop_name, **options)
        await b.start(loop_name, **LABEL)
        await a.tell("join", b.address)
        await b.until("members", [A, B])
        await a.tell("send_causal", B, 0, 2, True)
        await b.until("received", {A: {"causal": [0, 1]}})
        await a.tell("lose", B, 1)
        await a.tell("send_causal", B, 2, 2, False)
        await b.until("waiting", 1)
        await a.kill()
        await a.start(loop_name, a.port, **options)
        if not persisted:
            await a.tell("join", b.address)
        await a.until("meshed", True)
        await a.until("members", [A, B])
        await a.tell("send_causal", B, 10, 2, True)
        await b.until("received", {A: {"causal": [0, 1, 3, 10, 11]}})
    finally:
        await a.kill()
        await b.kill()


async def test_a_receiver_without_a_store_that_was_killed_goes_on(loop_name: str) -> None:
    a, b = NodeProcess("a"), NodeProcess("b")
    try:
        await a.start(loop_name, **LABEL)
        await b.start(loop_name, **LABEL)
        await a.tell("join", b.address)
        await b.until("members", [A, B])
        await a.tell("send_causal", B, 0, 3, True)
        await b.until("received", {A: {"causal": [0, 1, 2]}})
        await told_unacknowledged(a, B, 0)
        await b.kill()
        await b.start(loop_name, b.port, **LABEL)
        await a.tell("send_causal", B, 3, 2, True)
        await b.until("received", {A: {"causal": [3, 4]}})
    finally:
        await a.kill()
        await b.kill()


async def test_a_clock_goes_on_where_it_was(tmp_path: Path) -> None:
    async with running("b", **LABEL) as [b]:
        sink, heard = Sink(b), 0
        for number in range(3):
            async with running("a", **LABEL, persist_dir=str(tmp_path)) as [a]:
                await a.join(f"{b.name}:{b.listen_addrs[0].port}")
                machine = a._causal._lines["default"].machine
                assert machine._heard.get(b.name, 0) == heard
                a_sink = Sink(a, "a_sink")
                b.send(("a_sink", a.name), number, ack=True, causal_label="default")
                await a_sink.has(1)
                a.send(("sink", b.name), number, causal_label="default")
                await sink.has(number + 1)
                heard = machine._heard[b.name]
            assert count(file_of(tmp_path), "waiting") == 0
        assert sink.messages == [0, 1, 2]


@pytest.mark.parametrize("options", [{}, {**LABEL, "causal": {"persist": False}}])
async def test_where_it_is_not_wanted_nothing_is_kept(tmp_path: Path, options: dict[str, object]) -> None:
    async with running("a", persist_dir=str(tmp_path), **options):
        pass
    assert os.listdir(tmp_path) == [f"{A}.membership"]


async def test_a_file_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async with running("a", persist_dir=str(tmp_path), **LABEL):
        pass
    with sqlite3.connect(file_of(tmp_path)) as connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    before = file_of(tmp_path).read_bytes()
    with pytest.raises(StateError, match="version 2") as caught:
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path), **LABEL).start()
    assert caught.value.reason == "newer"
    assert file_of(tmp_path).read_bytes() == before


async def test_a_damaged_file_is_a_named_error(tmp_path: Path) -> None:
    file_of(tmp_path).write_bytes(b"no database at all, and longer than its header would be" * 100)
    with pytest.raises(StateError) as caught:
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path), **LABEL).start()
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize("state", [b"no term", b"\x83\x61\x07"])
async def test_a_damaged_state_is_a_named_error(tmp_path: Path, state: bytes) -> None:
    async with running("a", persist_dir=str(tmp_path), **LABEL):
        pass
    with sqlite3.connect(file_of(tmp_path)) as connection:
        connection.execute("INSERT OR REPLACE INTO causal VALUES ('default', ?)", (state,))
    connection.close()
    with pytest.raises(StateError) as caught:
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path), **LABEL).start()
    assert caught.value.reason == "damaged"


async def test_a_start_that_fails_holds_no_file_and_the_node_starts_when_that_is_mended(tmp_path: Path) -> None:
    membership = tmp_path / f"{A}.membership"
    membership.write_bytes(b"rubbish")
    node = Node("a@127.0.0.1:0", persist_dir=str(tmp_path), **LABEL)
    with pytest.raises(StateError) as caught:
        await node.start()
    assert caught.value.path == str(membership)
    with contextlib.closing(sqlite3.connect(file_of(tmp_path), timeout=0.0)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # it is nobody's
    membership.unlink()
    await node.start()
    await node.stop()


@pytest.mark.parametrize("at", ["CREATE", "INSERT", "PRAGMA user_version=", "COMMIT"])
async def test_a_first_start_that_ends_halfway_leaves_a_file_that_the_next_one_takes(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        """Its disk is full where a statement begins so."""

        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            if statement.startswith(at):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *arguments)

        def executescript(self, script: str) -> sqlite3.Cursor:
            before, found, _ = script.partition(at)
            cursor = super().executescript(before)
            if found:
                raise sqlite3.OperationalError("database or disk is full")
            return cursor

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, factory=Full, **options))
    with pytest.raises(StateError, match="disk is full"):
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path), **LABEL).start()
    monkeypatch.undo()
    async with running("a", persist_dir=str(tmp_path), **LABEL):
        pass


async def test_a_file_of_another_node_is_a_named_error(tmp_path: Path) -> None:
    async with running("b", persist_dir=str(tmp_path), **LABEL):
        pass
    file_of(tmp_path, B).rename(file_of(tmp_path))
    with pytest.raises(StateError) as caught:
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path), **LABEL).start()
    assert caught.value.reason == "foreign"


async def test_nothing_is_acknowledged_before_it_is_on_disk_and_a_failing_disk_harms_nobody(tmp_path: Path) -> None:
    async with cluster("a", **LABEL) as [a], running("b", persist_dir=str(tmp_path), **LABEL) as [b]:
        await a.join(f"{b.name}:{b.listen_addrs[0].port}")
        sink = Sink(b)
        store = b._causal._store
        write, store._write = store._write, fail
        a.send(("sink", b.name), 1, ack=True, causal_label="default")
        assert await sink.has(1) == [1]
        await eventually(lambda: store.error is not None)
        assert store.error.reason == "unwritable"
        assert a.unacknowledged(b.name) == 1
        store._write = write
        await eventually(lambda: a.unacknowledged(b.name) == 0)
        assert store.error is None
        assert sink.messages == [1]


def fail(states: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")
