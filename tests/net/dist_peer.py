"""A peer of Erlang's distribution over a bare socket: it shakes hands, and says afterwards what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import struct
from collections.abc import AsyncIterator
from typing import Any

from partisan import Atom, Distribution, Node, Pid
from partisan.dist.flags import OURS, Flag
from partisan.dist.handshake import Cookies, Handshake, Identity, initiate
from partisan.etf import Codec

COOKIE = "a cookie of the tests"
SECONDS = 30.0
_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Node]:
    """A node of Python to which such peers connect; options are the node's, `distribution` has the distribution's."""
    about = {"cookie": COOKIE, "epmd": False, **options.pop("distribution", {})}
    name = f"py{os.getpid()}x{next(_numbers)}@127.0.0.1"
    async with Node(name, distribution=Distribution(**about), **options) as node:
        yield node
    far: Any = node._far
    assert (len(far.monitors), len(far.links), len(far.spawns), len(far._all)) == (0, 0, 0, 0)


class DistPeer:
    """One connection to a node.

    Attributes:
        name: of the peer.
        pid: one of its own.
    """

    def __init__(self, node: Node, *, name: str | None = None, flags: Flag = OURS, cookie: str = COOKIE) -> None:
        self.node = node
        self.name = f"peer{next(_numbers)}@127.0.0.1" if name is None else name
        self.pid = Pid(self.name, 7, 0, 9)
        self.codec = Codec(remote_refs=False)
        self._flags = flags
        self._cookie = cookie
        self._rest = b""

    async def __aenter__(self) -> DistPeer:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.writer.transport.abort()

    async def open(self) -> None:
        far: Any = self.node._far
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", far.port)

    async def connect(self) -> None:
        """Connect, and shake hands. Raises HandshakeError, ConnectionResetError."""
        await self.open()
        identity = Identity(self.name, 9, self._flags)
        shake = Handshake(initiate(identity, self.node.name, Cookies(self._cookie, self._cookie), 5))
        while True:
            self.writer.write(bytes(shake.out))
            shake.out.clear()
            if shake.error is not None:
                raise shake.error
            if shake.result is not None:
                break
            octets = await self.read()
            if not octets:
                raise ConnectionResetError("the node has closed the connection")
            shake.receive(octets)
        self._rest = shake.rest

    async def read(self) -> bytes:
        """What comes, or nothing at the end."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read(1 << 16)
            except ConnectionError:
                return b""

    def frame(self, body: bytes) -> None:
        """Send a frame."""
        self.writer.write(struct.pack(">I", len(body)) + body)

    def say(self, *terms: Any) -> None:
        """Send a control message, and perhaps a payload, with an empty header."""
        self.frame(b"\x83D\0" + b"".join(map(self.term, terms)))

    def term(self, term: Any) -> bytes:
        """A term without its version."""
        return self.codec.encode(term)[1:]

    async def heard(self) -> tuple[Any, ...] | None:
        """The next frame that is no tick: its terms, as long as it has no header; None at the end."""
        while True:
            while len(self._rest) < 4 or len(self._rest) - 4 < int.from_bytes(self._rest[:4], "big"):
                more = await self.read()
                if not more:
                    return None
                self._rest += more
            size = int.from_bytes(self._rest[:4], "big")
            body, self._rest = self._rest[4 : 4 + size], self._rest[4 + size :]
            if body:
                return self._terms(body)

    def _terms(self, body: bytes) -> tuple[Any, ...]:
        """The terms of a frame without headers."""
        assert body[:1] == b"p", "connect with `flags` that have no headers to understand what is answered"
        terms, rest = [], body[1:]
        while rest:
            term, used = self.codec.decode_prefix(rest)
            terms.append(term)
            rest = rest[used:]
        return tuple(terms)

    async def is_closed(self) -> None:
        """Wait until the node has closed the connection."""
        while await self.read():
            pass


PLAIN = OURS & ~(Flag.DIST_HDR_ATOM_CACHE | Flag.FRAGMENTS)
"""Flags of a peer that takes no headers."""


async def pings(peer: DistPeer) -> None:
    """See that a connection goes on; the peer has no headers."""
    call = (Atom("$gen_call"), (peer.pid, b"tag"), (Atom("is_auth"), Atom(peer.name)))
    peer.frame(b"p" + peer.codec.encode((6, peer.pid, Atom(""), Atom("net_kernel"))) + peer.codec.encode(call))
    heard = await peer.heard()
    assert heard is not None
    assert heard[1] == (b"tag", Atom("yes"))
