"""The connections of one node, and what has passed on them.

Nothing is counted here as it passes: queues and readers keep their counters anyway. They are read when somebody asks,
and for the last time when a connection closes. What closed ones leave per peer is kept for the next report only, and
bounded: names are what strangers say.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

from partisan import telemetry
from partisan._core.frame import FrameReader
from partisan._core.sendqueue import SendQueue
from partisan.telemetry import Telemetry

MOST_LEFT = 1024
"""Pairs of peer and channel whose closed connections are reported apart in one interval (ours)."""

Lane = tuple[str | None, str]


class Link(Protocol):
    """What is to be known of a connection, of whatever wire."""

    peer: str | None
    address_text: str

    @property
    def acceptor(self) -> bool:
        """Whether the peer has dialled."""

    @property
    def channel(self) -> str:
        """What it is for."""

    @property
    def name(self) -> str:
        """The peer's name, once it is known."""

    @property
    def queue(self) -> SendQueue:
        """What waits to be written."""

    @property
    def inbound(self) -> FrameReader:
        """What reads it."""

    def retune(self) -> None:
        """The options of pings have changed."""


@dataclass(slots=True)
class Passed:
    """What has passed on connections: octets as the sockets took and gave them, and whole frames.

    A frame counts as sent when it was accepted for sending, less those that were discarded.
    """

    sent_octets: int = 0
    sent_frames: int = 0
    received_octets: int = 0
    received_frames: int = 0

    def add(self, other: Passed, sign: int = 1) -> None:
        """Add what passed elsewhere, or take it away."""
        self.sent_octets += sign * other.sent_octets
        self.sent_frames += sign * other.sent_frames
        self.received_octets += sign * other.received_octets
        self.received_frames += sign * other.received_frames


def passed(link: Link) -> Passed:
    """What has passed on one connection since it was opened."""
    queue, inbound = link.queue, link.inbound
    return Passed(
        queue.sent_octets,
        queue.pushed_frames - queue.discarded_frames,
        inbound.received_octets,
        inbound.received_frames,
    )


class Traffic:
    """The connections of one node.

    Attributes:
        links: those that are open, in either direction.
    """

    def __init__(self, events: Telemetry) -> None:
        self.links: set[Link] = set()
        self._telemetry = events
        self._closed = Passed()
        self._shaken: dict[Link, tuple[str, bool]] = {}
        self._counts: dict[tuple[str, bool], int] = {}  # (peer, whether it dialled) -> its connections
        self._reported: dict[Link, Passed] | None = None  # None: nobody listens
        self._left: dict[Lane, Passed] = {}  # of connections closed since the last report

    def opened(self, link: Link) -> None:
        """A connection is open; its handshake comes next."""
        self.links.add(link)
        about = {"acceptor": link.acceptor, "address": link.address_text}
        self._telemetry.emit(telemetry.SOCKET_OPEN, {"count": 1}, about)

    def shaken(self, link: Link) -> None:
        """Its handshake is done. A dialler may say another name later."""
        self._unshaken(link)
        key = self._shaken[link] = (link.name, link.acceptor)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._tell_count(key)

    def closed(self, link: Link) -> None:
        """A connection is closed; said again, or of one that was never open, it changes nothing."""
        if link not in self.links:
            return
        self.links.remove(link)
        whole = passed(link)
        self._closed.add(whole)
        if self._reported is not None:
            whole.add(self._reported.pop(link, Passed()), -1)
            lane = (link.peer, link.channel)
            if lane in self._left or len(self._left) < MOST_LEFT:
                self._left.setdefault(lane, Passed()).add(whole)
        about = {"node": link.peer, "channel": link.channel, "acceptor": link.acceptor, "address": link.address_text}
        self._telemetry.emit(telemetry.SOCKET_CLOSE, {"count": 1}, about)
        self._unshaken(link)

    def _unshaken(self, link: Link) -> None:
        key = self._shaken.pop(link, None)
        if key is not None:
            self._counts[key] -= 1
            self._tell_count(key)
            if not self._counts[key]:
                del self._counts[key]

    def _tell_count(self, key: tuple[str, bool]) -> None:
        node, acceptor = key
        self._telemetry.emit(
            telemetry.CONNECTION_COUNT,
            {"count": self._counts[key], "total": len(self._shaken)},
            {"node": node, "acceptor": acceptor},
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """How many connections there are, by peer, as `{"dialled": n, "accepted": n}`."""
        found: dict[str, dict[str, int]] = {}
        for (node, acceptor), count in self._counts.items():
            found.setdefault(node, {"dialled": 0, "accepted": 0})["accepted" if acceptor else "dialled"] = count
        return found

    def total(self) -> Passed:
        """What has passed on all connections since the node was started."""
        found = dataclasses.replace(self._closed)
        for link in self.links:
            found.add(passed(link))
        return found

    def listen(self, wanted: bool) -> None:
        """Begin to keep what `report` needs, or cease to: the first report begins here."""
        self._left.clear()
        self._reported = {link: passed(link) for link in self.links} if wanted else None

    def report(self) -> dict[Lane, Passed]:
        """What has passed since the last report, by peer (None before its hello) and channel."""
        found, self._left = self._left, {}
        before = self._reported or {}
        self._reported = {}
        for link in self.links:
            now = passed(link)
            self._reported[link] = now
            change = dataclasses.replace(now)
            change.add(before.get(link, Passed()), -1)
            if change != Passed():
                found.setdefault((link.peer, link.channel), Passed()).add(change)
        return found
