"""What nodes are found with: dnsmasq and Redis as Debian packages them, and a stand-in of the API of Kubernetes.

Each listens on a free port of the loopback address, keeps its files in a folder of the test, and is ended by its own
process. Where a program is missing the test is skipped, unless PARTISAN_TEST_SERVERS says that it must be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support import eventually, free_port


def program(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped, or fails where it must be there."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        assert "PARTISAN_TEST_SERVERS" not in os.environ, f"{name} is missing: apt-get install {package}"
        pytest.skip(f"{name} is missing (Debian: apt-get install {package})")
    return found


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


class Server:
    """A program that listens on a port.

    Args:
        directory: of its files and of its log.
    """

    command: tuple[str, ...] = ()

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, *more: str) -> None:
        """Start it, and wait until it listens."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *more], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        process = self._process
        await eventually(lambda: accepts(self.port) or process.poll() is not None)
        assert process.poll() is None, (self.directory / "log").read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)


class Dns(Server):
    """dnsmasq, which knows the names of a file of hosts and the SRV records that it is started with."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._hosts = directory / "hosts"
        self.command = (
            program("dnsmasq", "dnsmasq-base"),
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--log-facility=-",
            "--pid-file=",
            f"--user={getpass.getuser()}",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
            "--local=/test/",
            f"--port={self.port}",
            f"--addn-hosts={self._hosts}",
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def knows(self, *lines: str) -> None:
        """These are the hosts, each line an address and its names; the first is what a reverse lookup gives."""
        self._hosts.write_text("".join(f"{line}\n" for line in lines))
        self._hosts.chmod(0o644)
        if self._process is not None:
            self.signal(signal.SIGHUP)


class Redis(Server):
    """Redis, which keeps nothing on disk: who starts it again has lost everything."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.command = (
            program("redis-server", "redis-server"),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--dir", str(directory)),
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


def pod(name: str, ip: str | None, **status: Any) -> dict[str, Any]:
    """A pod as the API lists it."""
    address = {} if ip is None else {"podIP": ip}
    return {"metadata": {"name": name}, "status": {"phase": "Running", **address, **status}}


class KubeApi:
    """Lists pods over HTTP/1.1 as the API server does, in pages.

    Attributes:
        pods: what it lists.
        body: what it says instead of a page, if anything.
        status: the status of its answers.
        asked: path, query and authorization of each request.
    """

    def __init__(self, pods: Iterable[Any] = ()) -> None:
        self.pods = list(pods)
        self.body: bytes | None = None
        self.status = "200 OK"
        self.asked: list[tuple[str, dict[str, str], str | None]] = []
        self.port = 0
        self.page = 2
        self._server: asyncio.Server | None = None
        self._scheme = "http"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen: where it did before, if it did."""
        self._scheme = "https" if tls else "http"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            where = urlsplit(head[0].split()[1])
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            self.asked.append((where.path, query, headers.get("authorization")))
            body = self._page(int(query.get("continue", "0"))) if self.body is None else self.body
            writer.write(
                f"HTTP/1.1 {self.status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
                f"Location: /elsewhere\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _page(self, start: int) -> bytes:
        end = start + self.page
        more = {"continue": str(end)} if end < len(self.pods) else {}
        return json.dumps({"kind": "PodList", "metadata": more, "items": self.pods[start:end]}).encode()


@contextlib.asynccontextmanager
async def serving(server: Any, *arguments: Any) -> AsyncIterator[Any]:
    """Start it, and stop it at the end."""
    await server.start(*arguments)
    try:
        yield server
    finally:
        await server.stop()


def found_by(kind: str | type, config: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The option `peer_discovery` of a node that looks at once, and again and again."""
    given = {"enabled": True, "type": kind, "config": config, "initial_delay": 0.0, "polling_interval": 0.05, **options}
    return {"peer_discovery": given}
