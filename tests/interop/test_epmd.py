"""The port mapper daemon of Debian's Erlang: register, find, list, give back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest

from partisan.dist import epmd
from partisan.errors import EpmdError

pytestmark = pytest.mark.skipif(shutil.which("epmd") is None, reason="epmd (erlang-base) is not installed")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def daemon() -> Iterator[int]:
    """A daemon of the test's own; its port."""
    port = free_port()
    process = subprocess.Popen(["epmd", "-port", str(port), "-address", "127.0.0.1"], stderr=subprocess.DEVNULL)
    yield port
    process.kill()
    process.wait()


async def answering(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await epmd.names(epmd_port=port)
                return
            except EpmdError:
                await asyncio.sleep(0.02)


async def test_a_name_is_found_while_its_registration_is_open(daemon: int) -> None:
    await answering(daemon)
    assert await epmd.find("bob", "127.0.0.1", epmd_port=daemon) is None
    registration = await epmd.register("bob", 4711, hidden=True, epmd_port=daemon)
    assert registration.creation > 3
    assert await epmd.find("bob", "127.0.0.1", epmd_port=daemon) == epmd.Found(4711, True, (6, 6))
    assert await epmd.names(epmd_port=daemon) == {"bob": 4711}
    with pytest.raises(EpmdError, match="another node") as caught:
        await epmd.register("bob", 4712, hidden=False, epmd_port=daemon)
    assert caught.value.reason == "refused"
    await registration.close()
    async with asyncio.timeout(10):
        while await epmd.find("bob", "127.0.0.1", epmd_port=daemon) is not None:
            await asyncio.sleep(0.01)


async def test_without_a_daemon_the_error_says_how_to_start_one() -> None:
    with pytest.raises(EpmdError, match="epmd -daemon") as caught:
        await epmd.find("bob", "127.0.0.1", epmd_port=free_port())
    assert caught.value.reason == "unreachable"


@contextlib.asynccontextmanager
async def liar() -> AsyncIterator[int]:
    """What listens and answers rubbish; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_something_else_behind_the_port_is_told() -> None:
    async with liar() as port:
        with pytest.raises(EpmdError) as caught:
            await epmd.find("bob", "127.0.0.1", epmd_port=port)
        assert caught.value.reason == "malformed"
        with pytest.raises(EpmdError) as caught:
            await epmd.register("bob", 1, hidden=True, epmd_port=port)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "-1"])
def test_a_port_in_the_environment_that_is_none_is_told(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERL_EPMD_PORT", text)
    with pytest.raises(EpmdError, match="ERL_EPMD_PORT"):
        epmd.default_port()
