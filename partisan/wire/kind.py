"""What a frame is, told from its first octets alone: it need not be whole, nor correct.

    {forward_message, ServerRef, Message}                  by ServerRef: a process, or a part of every node
    {forward_message, Source, Clock, ServerRef, Message}   of a user
    {hello, ...}, {state, ...}; {ping, ...}, {pong, ...}   handshake; keepalive
    anything else                                          a protocol message, as if it were addressed to the manager

Source: sections 1.5, 2.1, 2.7 and 3 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

import zlib

_COMPRESSED = b"\x83P"
_ENOUGH = 512
"""Octets in which the atoms that tell a frame's kind lie."""

_PART_PREFIX = b"partisan_"
"""How the names begin under which the parts of every node are registered."""

_MANAGER_SUFFIX = b"_peer_service_manager"
_EXTRAS = b"partisan_python"
_BROADCAST = b"partisan_plumtree_broadcast"

_BARE = {b"hello": "handshake", b"state": "handshake", b"ping": "keepalive", b"pong": "keepalive"}
_EXTRA = {
    b"capabilities": "other",
    b"acks": "acknowledgement",
    b"exchange": "broadcast",
    b"client_server": "membership",
}
_PROTOCOL = {b"ack": "acknowledgement", b"relay_message": "user"}


def kind_of(body: bytes) -> str:
    """Return which of `partisan.machines.faults.KINDS` a frame is, "other" if nothing can be told."""
    if body[:2] == _COMPRESSED:
        try:
            body = b"\x83" + zlib.decompressobj().decompress(body[6:], _ENOUGH)
        except zlib.error:
            return "other"
    arity, tag, at = _head(body, 1)
    if tag != b"forward_message":
        return _BARE.get(tag) or _protocol(tag)
    if arity != 3:
        return "user"
    target, at = _atom(body, at)
    if target.startswith(_PART_PREFIX):
        return _to_part(target, _head(body, at)[1])
    return "user"


def _to_part(target: bytes, tag: bytes) -> str:
    """What a message to a part of every node is."""
    if target.endswith(_MANAGER_SUFFIX):
        return "user" if tag == b"forward_message" else _protocol(tag)
    if target == _EXTRAS:
        return _EXTRA.get(tag, "user")
    return "broadcast" if target == _BROADCAST else "other"


def _protocol(tag: bytes) -> str:
    return _PROTOCOL.get(tag, "membership") if tag else "other"


def _head(body: bytes, at: int) -> tuple[int, bytes, int]:
    """A tuple's arity, the atom in front, and where what follows begins; no atom if it is something else."""
    if body[at : at + 1] != b"h" or len(body) < at + 2:
        return 0, b"", at
    name, after = _atom(body, at + 2)
    return body[at + 1], name, after


def _atom(body: bytes, at: int) -> tuple[bytes, int]:
    """The name of the atom that begins there, and where it ends; an empty name if there is none."""
    tag = body[at : at + 1]
    if tag == b"w" or tag == b"s":
        size, at = int.from_bytes(body[at + 1 : at + 2], "big"), at + 2
    elif tag == b"d" or tag == b"v":
        size, at = int.from_bytes(body[at + 1 : at + 3], "big"), at + 3
    else:
        return b"", at
    return body[at : at + size], at + size
