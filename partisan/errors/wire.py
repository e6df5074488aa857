"""Octets, terms and handshakes: what a peer said, or what has no form on the wire."""

from __future__ import annotations

from .blame import PartisanError, RemoteProtocolError


class FrameError(RemoteProtocolError):
    """A frame cannot be accepted: empty, above the configured size, or no term.

    Attributes:
        reason: one of "empty", "oversized", "malformed", "truncated".
        octets: the frame's announced length, in octets.
    """

    def __init__(self, reason: str, octets: int, detail: str = "") -> None:
        super().__init__(f"{reason} frame of {octets} octets" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.octets = octets


class HandshakeError(RemoteProtocolError):
    """A connection did not become usable: a wrong name, a refusal, silence, or another protocol.

    Attributes:
        reason: one of "unexpected_peer", "refused", "timeout", "malformed", "closed"; "certificate": one was missing,
            not trusted, out of date, or another node's; "tls": only one end speaks TLS, or they share no version or
            cipher; "http": that was spoken. In Erlang's distribution also "cookie": the peer does not know ours; and
            "simultaneous": both are connecting to each other, and the other connection is the one that stays.
        peer: the node that was expected or that spoke, if known.
    """

    def __init__(self, reason: str, peer: str | None = None, detail: str = "") -> None:
        who = f" with {peer}" if peer else ""
        super().__init__(f"handshake{who} failed: {reason}" + (f" ({detail})" if detail else ""))
        self.reason = reason
        self.peer = peer


class EpmdError(PartisanError, ConnectionError):
    """Erlang's port mapper daemon cannot be used.

    Attributes:
        reason: one of "unreachable", "refused" (another node has the name), "malformed", "port".
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"epmd: {detail}")
        self.reason = reason


class MembershipTooLarge(RemoteProtocolError):
    """A peer told a membership with more elements or tokens than this node takes (`max_members`).

    Attributes:
        found: how many.
        limit: how many are taken.
    """

    def __init__(self, found: int, limit: int, what: str = "elements") -> None:
        super().__init__(f"a membership of {found} {what} is above the limit of {limit}")
        self.found = found
        self.limit = limit


class TermError(PartisanError, ValueError):
    """A term cannot be encoded or decoded."""


class EncodeError(TermError):
    """A Python value has no external term format, or is above a limit.

    If one value inside of the term is to blame, the message shows it and says where it is: `at ['k'][1]`.
    """


class DecodeError(TermError):
    """The octets are no term, or one above a limit.

    Attributes:
        offset: where in the input, in octets from its first.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at octet {offset}")
        self.offset = offset


class Truncated(DecodeError):
    """The octets are the beginning of a term: more are needed.

    Attributes:
        offset: where the input ended.
        need: how many more octets are needed at least.
    """

    def __init__(self, need: int, offset: int) -> None:
        super().__init__(f"truncated: at least {need} more octets are needed", offset)
        self.need = need


class BadRef(TermError):
    """A term is no remote reference, not one of the kind or node that was asked for, or cannot be made one.

    Attributes:
        term: the term.
    """

    def __init__(self, term: object, problem: str) -> None:
        shown = repr(term)
        super().__init__(f"{shown if len(shown) <= 120 else shown[:120] + '...'} {problem}")
        self.term = term
