"""What two nodes can do, as 64 bits that each tells the other in the handshake.

Source: dist.hrl of OTP 25 and 28; the document erl_dist_protocol has a wrong place for MANDATORY_25_DIGEST.
"""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """One capability each; a connection has those that both sides tell."""

    PUBLISHED = 1 << 0
    EXTENDED_REFERENCES = 1 << 2
    DIST_MONITOR = 1 << 3
    FUN_TAGS = 1 << 4
    DIST_MONITOR_NAME = 1 << 5
    NEW_FUN_TAGS = 1 << 7
    EXTENDED_PIDS_PORTS = 1 << 8
    EXPORT_PTR_TAG = 1 << 9
    BIT_BINARIES = 1 << 10
    NEW_FLOATS = 1 << 11
    UNICODE_IO = 1 << 12
    DIST_HDR_ATOM_CACHE = 1 << 13
    SMALL_ATOM_TAGS = 1 << 14
    UTF8_ATOMS = 1 << 16
    MAP_TAG = 1 << 17
    BIG_CREATION = 1 << 18
    SEND_SENDER = 1 << 19
    BIG_SEQTRACE_LABELS = 1 << 20
    EXIT_PAYLOAD = 1 << 22
    FRAGMENTS = 1 << 23
    HANDSHAKE_23 = 1 << 24
    UNLINK_ID = 1 << 25
    MANDATORY_25_DIGEST = 1 << 26
    SPAWN = 1 << 32
    NAME_ME = 1 << 33
    V4_NC = 1 << 34
    ALIAS = 1 << 35


MANDATORY_25 = (
    Flag.EXTENDED_REFERENCES
    | Flag.FUN_TAGS
    | Flag.NEW_FUN_TAGS
    | Flag.EXTENDED_PIDS_PORTS
    | Flag.EXPORT_PTR_TAG
    | Flag.BIT_BINARIES
    | Flag.NEW_FLOATS
    | Flag.UTF8_ATOMS
    | Flag.MAP_TAG
    | Flag.BIG_CREATION
    | Flag.HANDSHAKE_23
)
"""What a node of OTP 25 asks of every other."""

MANDATORY = MANDATORY_25
"""What this node asks: all that it sends without looking."""

MANDATORY_26 = MANDATORY_25 | Flag.UNLINK_ID | Flag.V4_NC
"""What nodes of OTP 26 to 28 ask."""

OURS = (
    MANDATORY_26
    | Flag.MANDATORY_25_DIGEST
    | Flag.DIST_MONITOR
    | Flag.DIST_MONITOR_NAME
    | Flag.UNICODE_IO
    | Flag.DIST_HDR_ATOM_CACHE
    | Flag.SMALL_ATOM_TAGS
    | Flag.SEND_SENDER
    | Flag.EXIT_PAYLOAD
    | Flag.FRAGMENTS
    | Flag.SPAWN
    | Flag.ALIAS
)
"""What a hidden node of this package can do; a published one adds PUBLISHED."""


def expanded(flags: int) -> int:
    """The flags that were meant: MANDATORY_25_DIGEST stands for all that OTP 25 asks."""
    return flags | MANDATORY_25 if flags & Flag.MANDATORY_25_DIGEST else flags


def missing(flags: int) -> Flag:
    """What the other side lacks of what we ask; nothing if it may connect."""
    return MANDATORY & ~Flag(expanded(flags) & int(MANDATORY))
