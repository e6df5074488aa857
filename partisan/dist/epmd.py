"""The port mapper daemon of Erlang, as its client: who listens where on a host.

A node registers its name and port with the daemon of its host and keeps that connection: when it closes, the name is
free. Requests have two octets of length in front, answers have none.

Source: erl_dist_protocol of OTP; the daemons of OTP 25 and 28.
"""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import dataclass

from partisan.errors import EpmdError

PORT = 4369
"""Where daemons listen, unless the environment's ERL_EPMD_PORT says otherwise."""

NORMAL, HIDDEN = 77, 72
PROTOCOL, VERSION = 0, 6  # TCP over IPv4 or IPv6; the version of the handshake
ALIVE2_REQ, ALIVE2_X_RESP, ALIVE2_RESP = 120, 118, 121
PORT_PLEASE2_REQ, PORT2_RESP, NAMES_REQ = 122, 119, 110
MAX_ANSWER = 1 << 20
"""Octets of a daemon's answer at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a node listens.

    Attributes:
        port: of TCP.
        hidden: whether it registered as a hidden node.
        versions: lowest and highest of the handshake.
    """

    port: int
    hidden: bool
    versions: tuple[int, int]


def alive_request(alive: str, port: int, *, hidden: bool) -> bytes:
    """Ask to be registered under the part of the name before the @."""
    name = alive.encode()
    kind = HIDDEN if hidden else NORMAL
    return _request(
        struct.pack(">BHBBHHH", ALIVE2_REQ, port, kind, PROTOCOL, VERSION, VERSION, len(name)) + name + b"\0\0"
    )


def port_request(alive: str) -> bytes:
    """Ask where a node listens."""
    return _request(bytes((PORT_PLEASE2_REQ,)) + alive.encode())


def names_request() -> bytes:
    """Ask for all names."""
    return _request(bytes((NAMES_REQ,)))


def _request(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


def creation_from(answer: bytes) -> int:
    """Read the answer to `alive_request`: which life of the node this is. Raises EpmdError."""
    if len(answer) < 4 or answer[0] not in (ALIVE2_X_RESP, ALIVE2_RESP):
        raise EpmdError("malformed", f"it answered {answer[:8].hex(' ') or 'nothing'}")
    if answer[1] != 0:
        raise EpmdError("refused", "it refuses the name: another node of this host has it")
    return int.from_bytes(answer[2 : 6 if answer[0] == ALIVE2_X_RESP else 4], "big")


def alive_answer_size(first: bytes) -> int:
    """How many octets the answer to `alive_request` has that begins with this one."""
    return 6 if first[:1] == bytes((ALIVE2_X_RESP,)) else 4


def found_from(answer: bytes) -> Found | None:
    """Read the answer to `port_request`; None: nobody has the name. Raises EpmdError."""
    if len(answer) < 2 or answer[0] != PORT2_RESP:
        raise EpmdError("malformed", f"it answered {answer[:8].hex(' ') or 'nothing'}")
    if answer[1] != 0:
        return None
    if len(answer) < 12:
        raise EpmdError("malformed", f"an answer of {len(answer)} octets")
    port, kind, _, highest, lowest, _ = struct.unpack(">HBBHHH", answer[2:12])
    return Found(port, kind == HIDDEN, (lowest, highest))


def names_from(answer: bytes) -> dict[str, int]:
    """Read the answer to `names_request`: {name: port}; lines that say something else mean nothing to us."""
    names = {}
    for line in answer[4:].decode("utf-8", "replace").splitlines():
        match line.split():
            case ["name", name, "at", "port", port] if port.isdecimal():
                names[name] = int(port)
    return names


def default_port() -> int:
    """Where the daemon of a host listens. Raises EpmdError: ERL_EPMD_PORT is no port."""
    text = os.environ.get("ERL_EPMD_PORT", str(PORT))
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise EpmdError("port", f"ERL_EPMD_PORT={text!r} is no port")
    return int(text)


class Registration:
    """A name that is ours for as long as this is open.

    Attributes:
        creation: which life of the node this is; part of its pids and references.
        lost: done when the daemon has closed the connection: nobody finds the node any more.
    """

    def __init__(self, creation: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.creation = creation
        self._writer = writer
        self.lost: asyncio.Task[bytes] = asyncio.get_running_loop().create_task(reader.read(1))

    async def close(self) -> None:
        """Give the name back."""
        self.lost.cancel()
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # it was closed already


async def register(
    alive: str, port: int, *, hidden: bool, host: str = "127.0.0.1", epmd_port: int | None = None, timeout: float = 5.0
) -> Registration:
    """Register a name with the daemon of this host.

    Raises:
        EpmdError: there is no daemon, it refuses the name, or it is none.
    """
    reader, writer = await _connect(host, epmd_port, timeout)
    try:
        creation = creation_from(
            await _alive_answer(reader, writer, alive_request(alive, port, hidden=hidden), timeout)
        )
    except BaseException:
        writer.close()
        raise
    return Registration(creation, reader, writer)


async def _alive_answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, timeout: float
) -> bytes:
    try:
        async with asyncio.timeout(timeout):
            writer.write(request)
            first = await reader.readexactly(1)
            return first + await reader.readexactly(alive_answer_size(first) - 1)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise EpmdError("unreachable", f"the daemon did not answer: {error or type(error).__name__}") from error


async def find(alive: str, host: str, *, epmd_port: int | None = None, timeout: float = 5.0) -> Found | None:
    """Ask the daemon of a host where a node listens; None: nobody has the name there. Raises EpmdError."""
    return found_from(await _ask(port_request(alive), host, epmd_port, timeout))


async def names(host: str = "127.0.0.1", *, epmd_port: int | None = None, timeout: float = 5.0) -> dict[str, int]:
    """Ask the daemon of a host for all its nodes: {name: port}. Raises EpmdError."""
    return names_from(await _ask(names_request(), host, epmd_port, timeout))


async def _ask(request: bytes, host: str, epmd_port: int | None, timeout: float) -> bytes:
    reader, writer = await _connect(host, epmd_port, timeout)
    try:
        async with asyncio.timeout(timeout):
            writer.write(request)
            answer = bytearray()
            while len(answer) < MAX_ANSWER and (more := await reader.read(4096)):
                answer += more
            return bytes(answer)
    except (OSError, TimeoutError) as error:
        raise _silent(host, error) from error
    finally:
        writer.close()


async def _connect(
    host: str, epmd_port: int | None, timeout: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = default_port() if epmd_port is None else epmd_port
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        raise EpmdError("unreachable", f"no daemon answers at {host}:{port}: start one with `epmd -daemon`") from error


def _silent(host: str, error: Exception) -> EpmdError:
    return EpmdError("unreachable", f"the daemon of {host} did not answer: {error or type(error).__name__}")
