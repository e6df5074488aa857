"""The handshake of version 6, by which two nodes that know the same cookie come to trust each other.

    initiator                         acceptor
    N Flags Creation Name    ------>                        who I am
                             <------  s Status              may we go on
                             <------  N Flags Challenge Creation Name
    r Challenge Digest       ------>                        digest of the cookie and the acceptor's challenge
                             <------  a Digest              digest of the cookie and the initiator's challenge

Each side is a generator: it yields the body of a packet that is to be sent, or None to be given the next one that came,
and returns an `Established`; `Handshake` runs it over octets. It reads no clock and draws nothing: the challenge is an
argument.

The cookie is a shared secret in the clear of a digest of MD5: it keeps nodes of other clusters out, not an attacker who
listens. Use TLS where one may.

Source: erl_dist_protocol of OTP, and nodes of OTP 25 and 28.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum

from partisan.dist.flags import OURS, Flag, expanded, missing
from partisan.errors import HandshakeError

MAX_NAME = 255 * 4 * 2 + 1
"""Octets of a node's name at most: two atoms of 255 characters and the @ between them."""

NAMED_HEAD = struct.Struct(">cQIH")
CHALLENGE_HEAD = struct.Struct(">cQIIH")
REPLY = struct.Struct(">cI16s")
ACK = struct.Struct(">c16s")

Exchange = Generator[bytes | None, bytes, "Established"]
"""Yields what to send, or None to be sent what came; returns who is at the other end."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a node says of itself.

    Attributes:
        name: `alive@host`; only the host if the acceptor is to give the name (`Flag.NAME_ME`).
        creation: which life of the node this is.
        flags: what it can do.
    """

    name: str
    creation: int
    flags: Flag = OURS


@dataclass(frozen=True, slots=True)
class Established:
    """A handshake that is done.

    Attributes:
        peer: the other node's name.
        creation: which life of it this is.
        flags: what both can do.
        published: whether it is no hidden node.
        myself: our own name and creation, which the acceptor may have given us.
    """

    peer: str
    creation: int
    flags: Flag
    published: bool
    myself: Identity


class Verdict(Enum):
    """What an acceptor thinks of a node that wants to connect."""

    OK = "ok"
    SIMULTANEOUS = "ok_simultaneous"
    """We have dialled it ourselves, and this connection is the one that stays."""
    REFUSED = "nok"
    """We have dialled it ourselves, and that connection is the one that stays."""
    NOT_ALLOWED = "not_allowed"
    ALIVE = "alive"
    """We have a connection to it that we believe in."""


@dataclass(frozen=True, slots=True)
class Cookies:
    """The shared secrets with one peer.

    Attributes:
        ours: what the peer must know to be let in.
        theirs: what the peer wants us to know.
    """

    ours: str
    theirs: str


def digest(cookie: str, challenge: int) -> bytes:
    """Prove to know the cookie."""
    return hashlib.md5(cookie.encode() + str(challenge).encode(), usedforsecurity=False).digest()


def initiate(
    myself: Identity, expected: str, cookies: Cookies, challenge: int, alive: Callable[[], bool] = lambda: True
) -> Exchange:
    """Connect to a node that was dialled.

    Args:
        myself: who we are.
        expected: the name of the node that must answer.
        cookies: ours and the peer's.
        challenge: 32 bits that nobody can guess.
        alive: asked when the peer believes that we are connected: whether to go on; the connection that it has is given
            up then.
    Raises:
        HandshakeError: the peer refuses us, is another, does not know our cookie, or speaks something else.
    """
    name = myself.name.encode()
    yield NAMED_HEAD.pack(b"N", myself.flags, myself.creation, len(name)) + name
    word, given = _read_status((yield None), expected)
    if word == "alive":
        go_on = alive()
        yield b"strue" if go_on else b"sfalse"
        if not go_on:
            raise HandshakeError("refused", expected, "it is connected already")
    elif word == "named":
        myself = _renamed(myself, given, expected)
    elif word == "nok":
        raise HandshakeError("simultaneous", expected, "it is connecting to us itself")
    elif word not in ("ok", "ok_simultaneous"):
        raise HandshakeError("refused", expected, REFUSALS.get(word, f"it answered {word!r}"))
    flags, theirs, creation, peer = _read_challenge((yield None), expected)
    if peer != expected:
        raise HandshakeError("unexpected_peer", expected, f"{peer} answered")
    if lacks := missing(flags):
        raise HandshakeError("refused", peer, f"it lacks {lacks!r}")
    yield REPLY.pack(b"r", challenge, digest(cookies.theirs, theirs))
    packet = yield None
    if len(packet) != ACK.size or packet[:1] != b"a":
        raise HandshakeError("malformed", peer, "no acknowledgement of our challenge")
    if not hmac.compare_digest(packet[1:], digest(cookies.ours, challenge)):
        raise HandshakeError("cookie", peer, "it does not know our cookie")
    return Established(peer, creation, Flag(expanded(flags) & myself.flags), bool(flags & Flag.PUBLISHED), myself)


NOT_ALLOWED = "it may not connect: see `allowed_nodes`"

REFUSALS = {
    "not_allowed": "it allows no connection from this node, or asks for more than this node can do",
}


def accept(
    myself: Identity,
    cookies: Callable[[str], Cookies],
    challenge: int,
    judge: Callable[[str, int], Verdict],
    name_for: Callable[[str], Identity] | None = None,
) -> Exchange:
    """Take a node that has dialled us.

    Args:
        myself: who we are.
        cookies: name of a node -> ours and its cookie.
        challenge: 32 bits that nobody can guess.
        judge: name and creation of a node, given ones too -> whether it may connect.
        name_for: host -> name and creation for a node that asks for one; None: none is given.
    Raises:
        HandshakeError: the node may not connect, lacks what is needed, does not know our cookie, or speaks something
            else. What there is to say to it has been yielded before.
    """
    flags, creation, peer = _read_name((yield None))
    ours = myself.flags
    if lacks := missing(flags):
        yield b"snot_allowed"
        raise HandshakeError("refused", peer, f"it lacks {lacks!r}")
    if flags & Flag.NAME_ME and "@" not in peer:
        if name_for is None:
            yield b"snot_allowed"
            raise HandshakeError("refused", peer, "it asks for a name, and this node gives none")
        given = name_for(peer)
        peer, creation = given.name, given.creation
        if judge(peer, creation) is not Verdict.OK:
            yield b"snot_allowed"
            raise HandshakeError("refused", peer, NOT_ALLOWED)
        ours |= Flag.NAME_ME  # what is agreed on must have it, or the node finds that it has not asked
        name = peer.encode()
        yield b"snamed:" + struct.pack(">H", len(name)) + name + struct.pack(">I", creation)
    else:
        verdict = judge(peer, creation)
        yield b"s" + verdict.value.encode()
        if verdict is Verdict.REFUSED:
            raise HandshakeError("simultaneous", peer, "we are connecting to it ourselves")
        if verdict is Verdict.NOT_ALLOWED:
            raise HandshakeError("refused", peer, NOT_ALLOWED)
        if verdict is Verdict.ALIVE and (yield None) != b"strue":
            raise HandshakeError("refused", peer, "we are connected already")
    name = myself.name.encode()
    yield CHALLENGE_HEAD.pack(b"N", ours, challenge, myself.creation, len(name)) + name
    packet = yield None
    if len(packet) != REPLY.size or packet[:1] != b"r":
        raise HandshakeError("malformed", peer, "no answer to our challenge")
    _, theirs, proof = REPLY.unpack(packet)
    known = cookies(peer)
    if not hmac.compare_digest(proof, digest(known.ours, challenge)):
        raise HandshakeError("cookie", peer, "it does not know our cookie")
    yield ACK.pack(b"a", digest(known.theirs, theirs))
    return Established(peer, creation, Flag(expanded(flags) & myself.flags), bool(flags & Flag.PUBLISHED), myself)


def _read_name(packet: bytes) -> tuple[int, int, str]:
    """Read (flags, creation, name) of who dials; what is behind the name is of a later version and means nothing."""
    if packet[:1] == b"n":
        raise HandshakeError("malformed", None, "the handshake of version 5, which OTP gave up with release 23")
    if len(packet) < NAMED_HEAD.size or packet[:1] != b"N":
        raise HandshakeError("malformed", None, "it does not begin as a handshake of version 6")
    _, flags, creation, size = NAMED_HEAD.unpack_from(packet)
    return flags, creation, _text(packet, NAMED_HEAD.size, size, None)


def _read_challenge(packet: bytes, peer: str) -> tuple[int, int, int, str]:
    """Read (flags, challenge, creation, name)."""
    if len(packet) < CHALLENGE_HEAD.size or packet[:1] != b"N":
        raise HandshakeError("malformed", peer, "no challenge of version 6")
    _, flags, challenge, creation, size = CHALLENGE_HEAD.unpack_from(packet)
    return flags, challenge, creation, _text(packet, CHALLENGE_HEAD.size, size, peer)


def _read_status(packet: bytes, peer: str) -> tuple[str, bytes]:
    """Read (word, what is behind it)."""
    if packet[:1] != b"s":
        raise HandshakeError("malformed", peer, "no status")
    if packet[1:7] == b"named:":
        return "named", packet[7:]
    return packet[1:21].decode("ascii", "replace"), b""


def _renamed(myself: Identity, given: bytes, peer: str) -> Identity:
    """Ourselves under the name that the acceptor gives."""
    if not myself.flags & Flag.NAME_ME or len(given) < 2:
        raise HandshakeError("malformed", peer, "it gives us a name that was not asked for")
    size = int.from_bytes(given[:2], "big")
    name = _text(given, 2, size, peer)
    if len(given) < 2 + size + 4:
        raise HandshakeError("malformed", peer, "a name without a creation")
    return Identity(name, int.from_bytes(given[2 + size : 6 + size], "big"), myself.flags)


def _text(packet: bytes, start: int, size: int, peer: str | None) -> str:
    octets = packet[start : start + size]
    if len(octets) != size or not 0 < size <= MAX_NAME:
        raise HandshakeError("malformed", peer, f"a name of {size} octets, of which {len(octets)} are there")
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise HandshakeError("malformed", peer, "a name that is not UTF-8") from error


class Handshake:
    """Runs an exchange over octets as they come: cuts packets, and keeps what comes behind the last one.

    Args:
        exchange: `initiate(...)` or `accept(...)`.
        head: octets of a packet's length: 2, over TLS 4.
        most: octets of one packet at most.
    Attributes:
        result: who is at the other end, once that is known.
        error: why it has failed, once it has; what `out` holds then is still sent.
        out: octets to be sent; whoever sends them empties it.
        rest: octets behind the last packet: frames of the connection.
    """

    def __init__(self, exchange: Exchange, *, head: int = 2, most: int = 4096) -> None:
        self.result: Established | None = None
        self.error: HandshakeError | None = None
        self.out = bytearray()
        self.rest = b""
        self._exchange = exchange
        self._head = head
        self._most = most
        self._advance(None)

    @property
    def over(self) -> bool:
        """Whether nothing more is read."""
        return self.result is not None or self.error is not None

    def receive(self, data: bytes) -> None:
        """Take octets."""
        self.rest += data
        head = self._head
        while not self.over and len(self.rest) >= head:
            size = int.from_bytes(self.rest[:head], "big")
            if size > self._most:
                self.error = HandshakeError("malformed", None, f"a packet of {size} octets")
                return
            if len(self.rest) < head + size:
                return
            packet, self.rest = self.rest[head : head + size], self.rest[head + size :]
            self._advance(packet)

    def _advance(self, packet: bytes | None) -> None:
        """Give the exchange a packet (None: begin), and take what it says until it wants the next one."""
        try:
            said = next(self._exchange) if packet is None else self._exchange.send(packet)
            while said is not None:
                self.out += len(said).to_bytes(self._head, "big") + said
                said = next(self._exchange)
        except StopIteration as done:
            self.result = done.value
        except HandshakeError as error:
            self.error = error
