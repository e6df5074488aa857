"""What callbacks return besides replies: typed values, so that no reply can be mistaken for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NOTHING: Any = object()
"""Stands for a value that was not given."""


@dataclass(frozen=True, slots=True)
class NoReply:
    """Go on; a call is answered later, by `reply`.

    Attributes:
        timeout: seconds after which `handle_info(Atom("timeout"))` is called unless a message comes first.
        hibernate: give memory back until the next message.
        continue_: what `handle_continue` is called with, before the next message.
    """

    timeout: float | None = None
    hibernate: bool = False
    continue_: Any = NOTHING


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the call with `value` and go on as `NoReply` says."""

    value: Any
    timeout: float | None = None
    hibernate: bool = False
    continue_: Any = NOTHING


@dataclass(frozen=True, slots=True)
class Continue:
    """Call `handle_continue(value)` before the next message."""

    value: Any


@dataclass(frozen=True, slots=True)
class Stop:
    """End with a reason, after `terminate`; then, as in OTP, the call is answered with `reply`, if that is given."""

    reason: Any
    reply: Any = NOTHING


@dataclass(frozen=True, slots=True)
class Ignore:
    """From `init`: do not start, and tell whoever starts it so."""


CONTROL = frozenset((Continue, Ignore, NoReply, Reply, Stop))
"""The types of all of them."""
