"""The membership on disk: what comes back, what is refused, and disks that take nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_process import NodeProcess
from support import FAST, address_of, cluster, eventually, fully_meshed, running

from partisan import Atom, Node, etf
from partisan.errors import StateError
from partisan.managers.state_file import MAGIC, VERSION

A, B, C = (f"{name}@127.0.0.1" for name in "abc")


def state_of(directory: Path, name: str = A) -> Path:
    return directory / f"{name}.membership"


def saved_members(path: Path) -> list[str]:
    """Names of the live members in a file."""
    octets = path.read_bytes()
    assert octets.startswith(MAGIC)
    body = octets[len(MAGIC) + 8 :]
    _, _, (_, _, (_, entries)) = etf.decode(body)
    return sorted(spec[Atom("name")].name for spec, tokens in entries if any(live for _, live in tokens))


def write(path: Path, body: bytes, version: int = VERSION) -> None:
    path.write_bytes(MAGIC + version.to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body)


async def test_a_node_that_comes_back_finds_its_cluster_without_a_join(tmp_path: Path) -> None:
    async with cluster("b", "c") as (b, c):
        first = Node("a@127.0.0.1:0", **FAST, persist_dir=str(tmp_path))
        await first.start()
        await first.join(address_of(b))
        await eventually(lambda: fully_meshed(first, b, c))
        address = first.listen_addrs[0]
        await first.stop(grace=1.0)
        assert saved_members(state_of(tmp_path)) == [A, B, C]
        assert os.listdir(tmp_path) == [f"{A}.membership"]
        tokens = b.get_local_state().state.token_count
        async with Node(f"a@{address}", **FAST, persist_dir=str(tmp_path)) as again:
            await eventually(lambda: fully_meshed(again, b, c))
            assert b.get_local_state().state.token_count == tokens


async def test_a_node_that_comes_back_elsewhere_does_so_too(tmp_path: Path) -> None:
    async with cluster("b", "c") as (b, c):
        async with running("a", persist_dir=str(tmp_path)) as [first]:
            await first.join(address_of(b))
            await eventually(lambda: fully_meshed(first, b, c))
        async with running("a", persist_dir=str(tmp_path)) as [again]:
            await eventually(lambda: fully_meshed(again, b, c))
            assert b.members().count(A) == 1


async def test_a_node_that_left_stays_alone_when_it_comes_back(tmp_path: Path) -> None:
    async with cluster("b", "c") as (b, _):
        async with running("a", persist_dir=str(tmp_path)) as [first]:
            await first.join(address_of(b))
            await first.leave()
        async with running("a", persist_dir=str(tmp_path)) as [again]:
            assert again.members() == [A]
            assert saved_members(state_of(tmp_path)) == [A]


async def test_a_killed_process_finds_its_cluster_again(loop_name: str, tmp_path: Path) -> None:
    a, b = NodeProcess("a"), NodeProcess("b")
    try:
        await a.start(loop_name, persist_dir=str(tmp_path))
        await b.start(loop_name)
        await a.tell("join", b.address)
        await b.until("members", [A, B])
        await eventually(lambda: state_of(tmp_path).exists() and saved_members(state_of(tmp_path)) == [A, B])
        await a.kill()
        await a.start(loop_name, a.port, persist_dir=str(tmp_path))
        await a.until("members", [A, B])
        await a.until("meshed", True)
    finally:
        await a.kill()
        await b.kill()


async def test_without_a_directory_or_where_it_is_not_wanted_nothing_is_kept(tmp_path: Path) -> None:
    async with running("a", persist_dir=str(tmp_path / "x"), persist_state=False):
        pass
    assert os.listdir(tmp_path) == []


async def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    async with running("a", persist_dir=str(tmp_path / "x" / "y")):
        pass
    assert saved_members(state_of(tmp_path / "x" / "y")) == [A]


async def test_a_file_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    write(state_of(tmp_path), b"whatever", VERSION + 1)
    before = state_of(tmp_path).read_bytes()
    node = Node("a@127.0.0.1:0", persist_dir=str(tmp_path))
    with pytest.raises(StateError, match="version 2") as caught:
        await node.start()
    assert caught.value.reason == "newer"
    assert caught.value.path == str(state_of(tmp_path))
    assert state_of(tmp_path).read_bytes() == before
    assert not node.is_alive()


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "damaged"),
        (b"something else altogether, and long enough", "damaged"),
        (MAGIC + b"\0\0\0\1" + b"\0\0\0\0" + b"its checksum is wrong", "damaged"),
    ],
)
async def test_a_damaged_file_is_a_named_error(tmp_path: Path, octets: bytes, reason: str) -> None:
    state_of(tmp_path).write_bytes(octets)
    with pytest.raises(StateError) as caught:
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path)).start()
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        (7, "damaged"),
        ((Atom(A), Atom("full"), (Atom("full_v1"), b"", 3)), "damaged"),
        ((Atom(B), Atom("full"), None), "foreign"),
        ((Atom(A), Atom("RandomGossip"), None), "foreign"),
    ],
)
async def test_a_file_with_another_state_is_a_named_error(tmp_path: Path, term: object, reason: str) -> None:
    write(state_of(tmp_path), etf.encode(term))
    with pytest.raises(StateError) as caught:
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path)).start()
    assert caught.value.reason == reason


async def test_a_file_that_cannot_be_read_is_a_named_error(tmp_path: Path) -> None:
    state_of(tmp_path).mkdir()
    with pytest.raises(StateError) as caught:
        await Node("a@127.0.0.1:0", persist_dir=str(tmp_path)).start()
    assert caught.value.reason == "unreadable"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page, which a file fills."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(path: Path) -> None:
    """Write until the disk takes no more."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


async def test_a_full_disk_is_said_harms_no_state_and_the_node_goes_on(full_disk: Path) -> None:
    async with running("b") as [b], running("a", persist_dir=str(full_disk)) as [a]:
        await eventually(lambda: state_of(full_disk).exists())
        before = state_of(full_disk).read_bytes()
        filler = full_disk / "filler"
        fill(filler)
        await a.join(address_of(b))
        error = await eventually(lambda: a.node_info().state_error)
        assert error.reason == "unwritable"
        assert "No space" in str(error)
        assert sorted(os.listdir(full_disk)) == [f"{A}.membership", "filler"]
        assert state_of(full_disk).read_bytes() == before
        await eventually(lambda: fully_meshed(a, b))
        filler.unlink()
        await a.leave()
        await eventually(lambda: a.node_info().state_error is None)
        assert saved_members(state_of(full_disk)) == [A]


async def test_a_place_that_is_no_directory_is_said_and_the_node_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "file"
    async with running("b") as [b], running("a", persist_dir=str(tmp_path / "late")) as [a]:
        await eventually(lambda: state_of(tmp_path / "late").exists())
        (tmp_path / "late").rename(place)
        (tmp_path / "late").write_text("no directory")
        await a.join(address_of(b))
        error = await eventually(lambda: a.node_info().state_error)
        assert error.reason == "unwritable"
        assert "is not saved" in caplog.text
        await eventually(lambda: fully_meshed(a, b))
    assert saved_members(state_of(place)) == [A]


async def test_a_directory_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    node = Node("a@127.0.0.1:0", persist_dir=str(tmp_path / "file" / "state"))
    with pytest.raises(StateError, match="unwritable"):
        await node.start()
