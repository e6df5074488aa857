"""Connections, and messages on their way to other nodes."""

from __future__ import annotations

from .blame import PartisanError


class NotConnected(PartisanError, ConnectionError):
    """No connection to the node exists.

    Attributes:
        node: the node's name.
        known: True when the node was connected before, False when it never was.
        channel: the channel that has no connection while `channel_fallback` is off; None otherwise.
        member: False when this was asked of a member, and the node is none.
    """

    def __init__(self, node: str, known: bool = False, channel: str | None = None, *, member: bool = True) -> None:
        text = f"{'no longer' if known else 'not yet'} connected to {node}" if member else f"{node} is no member"
        if channel is not None:
            text = f"no connection to {node} on channel {channel}, and channel_fallback is off"
        super().__init__(text)
        self.node = node
        self.known = known
        self.channel = channel
        self.member = member


class ConnectionLost(PartisanError, ConnectionError):
    """A connection that could carry messages was given up by this side.

    Attributes:
        reason: one of "timeout", "disconnected", "cut" (by a fault that was injected), "overloaded" (an Erlang node
            asks, and does not read the answers).
        peer: the node at its other end.
    """

    def __init__(self, reason: str, peer: str | None, detail: str = "") -> None:
        super().__init__(f"connection with {peer} given up: {reason}" + (f" ({detail})" if detail else ""))
        self.reason = reason
        self.peer = peer


class ConnectFailed(PartisanError, ConnectionError):
    """A contact could not be reached or joined before the time given.

    Attributes:
        contact: whom, as given.
    """

    def __init__(self, contact: str, detail: str) -> None:
        super().__init__(f"cannot join {contact}: {detail}")
        self.contact = contact


class Overloaded(PartisanError):
    """The send queue of a (peer, channel) is full, and its policy refuses more.

    Attributes:
        node: the peer.
        channel: the channel's name.
        queued_octets: how much was queued.
    """

    def __init__(self, node: str, channel: str, queued_octets: int) -> None:
        super().__init__(f"{queued_octets} octets are queued to {node} on channel {channel}")
        self.node = node
        self.channel = channel
        self.queued_octets = queued_octets


class Unacknowledged(Overloaded):
    """So much sent to a peer waits for its acknowledgement that no more is taken; `channel` is empty.

    Attributes:
        messages: how many wait.
    """

    def __init__(self, node: str, messages: int, queued_octets: int) -> None:
        super().__init__(node, "", queued_octets)
        self.args = (f"{messages} messages to {node}, of {queued_octets} octets, wait for acknowledgement",)
        self.messages = messages


class NotAcknowledged(PartisanError):
    """A message was given up without an acknowledgement; it may have arrived.

    Attributes:
        node: to which it was sent.
        reason: "expired", or why the node will not return.
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node} has not acknowledged a message: {reason}")
        self.node = node
        self.reason = reason


class DrainTimeout(PartisanError, TimeoutError):
    """What was sent to a peer on a channel was not taken, or not acknowledged, in time.

    Attributes:
        node: the peer.
        channel: the channel's name.
    """

    def __init__(self, node: str, channel: str, seconds: float) -> None:
        super().__init__(f"what was sent to {node} on channel {channel} still waits after {seconds} s")
        self.node = node
        self.channel = channel
        self.seconds = seconds


class AckUnsupported(PartisanError, NotImplementedError):
    """A message with `ack`, or in causal order, to an Erlang node: its distribution has neither.

    Attributes:
        node: its name.
    """

    def __init__(self, node: str) -> None:
        super().__init__(
            f"{node} is connected by Erlang's distribution, which acknowledges no messages and keeps no causal order: "
            "send without ack, clock and causal_label"
        )
        self.node = node


class LinkUnsupported(PartisanError, NotImplementedError):
    """A link to a process of a node that knows no links.

    Attributes:
        node: its name.
    """

    def __init__(self, node: str) -> None:
        super().__init__(
            f"{node} has not agreed on links: they work between Python nodes, not towards a real Partisan node, which "
            "has no wire for them"
        )
        self.node = node
