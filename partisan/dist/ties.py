"""Links and monitors between processes here and at Erlang nodes, and the calls that rest on them.

Links are those between Python nodes in another dress: the protocol of `runtime/links` is Erlang's own, and here its
messages are control messages. A monitor of a process here is a watch on it; one of theirs is remembered by its
reference until it fires.

Calls of a pid need no monitor each: the first makes one that stays as long as the connection, and when it fires whoever
waits for an answer of that process is told. So a call costs one message out and one in, where an Erlang node sends
three. A name may be another process's by the next call, so each call of one has a monitor; they are taken away later.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from partisan._core.process import Process
from partisan._core.requests import Request
from partisan._core.router import PairKey
from partisan._core.watch import Watch
from partisan.dist.control import (
    NO_PAYLOAD,
    Control,
    Demonitor,
    Down,
    Exit,
    Item,
    Link,
    Monitor,
    Op,
    Unlink,
    UnlinkAck,
    written,
)
from partisan.dist.flags import Flag
from partisan.dist.link import DistLink
from partisan.errors import EncodeError
from partisan.etf import Atom, Pid, Reference
from partisan.net.context import Context
from partisan.runtime.links import Links
from partisan.runtime.monitors import Waiter

log = logging.getLogger(__name__)

NOPROC, NOCONNECTION, UNENCODABLE = Atom("noproc"), Atom("noconnection"), Atom("unencodable")
LINKS, LINK, UNLINK, UNLINKED, EXIT = map(Atom, ("links", "link", "unlink", "unlinked", "exit"))

PENDING = 0
"""The state of a request that waits for its answer."""

SWEPT = 4
"""Monitors of calls that are looked at, at each new one (ours)."""

Peers = Callable[[str], DistLink | None]
"""Name of a node -> the connection to it."""


def tell(link: DistLink, control: Control, sender: Pid | None = None) -> None:
    """Say it to the node; a reason that is no term is told as how it reads."""
    try:
        _tell(link, control, sender)
    except EncodeError as error:
        if not isinstance(control, Exit | Down):
            raise
        log.warning("%r: the reason of an end is no term: %s", link, error)
        _tell(link, replace(control, reason=(UNENCODABLE, repr(control.reason))), sender)


def _tell(link: DistLink, control: Control, sender: Pid | None) -> None:
    tuple_, payload = written(control, payloads=link.has(Flag.EXIT_PAYLOAD))
    link.tell(tuple_, *(() if payload is NO_PAYLOAD else (payload,)), sender=sender)


class Witness(Watch):
    """Watches a process here for a process of another node."""

    def __init__(self, told: Callable[[Any], None]) -> None:
        self._told = told

    def fire(self, reason: Any) -> int:
        """The process has ended."""
        self._told(reason)
        return 0


class Standing:
    """Waits for the end of a process of another node that has been called."""

    def __init__(self, ended: Callable[[Any], object]) -> None:
        self._ended = ended

    def held(self) -> None:
        """Nobody asks."""

    def fire(self, reason: Any) -> None:
        """It has ended."""
        self._ended(reason)


class Monitors:
    """The monitors between this node and Erlang nodes.

    Args:
        context: the node's.
        peer: name -> connection.
        make_ref: callable(): a new reference.
    """

    def __init__(self, context: Context, peer: Peers, make_ref: Callable[[], Reference]) -> None:
        self._scheduler = context.router.scheduler
        self._peer = peer
        self._make_ref = make_ref
        self._ours: dict[
            str, dict[Reference, tuple[Waiter, Item, Pid]]
        ] = {}  # node -> reference -> who, what, for whom
        self._nodes: dict[Reference, str] = {}
        self._calls: dict[str, deque[tuple[Reference, Request]]] = {}  # node -> monitors of calls of its names
        self._theirs: dict[str, dict[Reference, Witness]] = {}
        self._outside = context.router.outside

    def __len__(self) -> int:
        """How many of both kinds there are."""
        return len(self._nodes) + sum(map(len, self._theirs.values()))

    def begin(self, key: Reference, waiter: Waiter, node: str, target: Pid | Atom, holder: Pid | None = None) -> None:
        """Monitor a process of an Erlang node; `waiter` is told once, perhaps at once, unless `end` comes before."""
        link = self._peer(node)
        if link is None:
            waiter.fire(NOCONNECTION)
            return
        if isinstance(target, Pid) and link.is_past(target):
            waiter.fire(NOPROC)
            return
        sender = self._outside if holder is None else holder
        self._ours.setdefault(node, {})[key] = (waiter, target, sender)
        self._nodes[key] = node
        tell(link, Monitor(sender, target, key), sender)
        waiter.held()

    def end(self, key: Reference) -> bool:
        """Tell the waiter nothing any more; whether there was one."""
        found = self._forget(key)
        if found is None:
            return False
        node, (_, item, sender) = found
        link = self._peer(node)
        if link is not None:
            tell(link, Demonitor(sender, item, key), sender)
        return True

    def _forget(self, key: Reference) -> tuple[str, tuple[Waiter, Item, Pid]] | None:
        node = self._nodes.pop(key, None)
        return None if node is None else (node, self._ours[node].pop(key))

    def watch_calls(self, link: DistLink, target: Pid | Atom, request: Request | None) -> None:
        """Somebody calls a process of the node: hear of its end.

        Args:
            request: of a name, whose process may be another by the next one; None for a pid.
        """
        if request is not None:
            self._watch_call(link, target, request)
            return
        node, queue = link.name, link.queue

        def ended(reason: Any) -> None:
            queue.forget(target)
            for asked in list(self._scheduler.aliases.values()):
                if isinstance(asked, Request) and asked.foreign and asked.node == node and asked.target == target:
                    asked.fire(reason)

        self.begin(self._make_ref(), Standing(ended), node, target)

    def _watch_call(self, link: DistLink, target: Pid | Atom, request: Request) -> None:
        """Monitor for one request; monitors of some that are over are taken away, more than are made."""
        calls = self._calls.setdefault(link.name, deque())
        for _ in range(min(len(calls), SWEPT)):
            key, asked = calls.popleft()
            if asked.state == PENDING:
                calls.append((key, asked))
            else:
                self.end(key)
        key = self._make_ref()
        calls.append((key, request))
        self.begin(key, Standing(request.fire), link.name, target)

    def lost(self, node: str) -> None:
        """The connection is gone."""
        self._calls.pop(node, None)
        for witness in self._theirs.pop(node, {}).values():
            witness.unwatch()
        for key, (waiter, _, _) in self._ours.pop(node, {}).items():
            del self._nodes[key]
            waiter.fire(NOCONNECTION)

    def monitored(self, link: DistLink, message: Monitor) -> None:
        """A process of the node wants to hear of the end of one here."""
        self.demonitored(link, Demonitor(message.sender, message.item, message.reference))  # it means another now
        kept = self._theirs.setdefault(link.name, {})

        def told(reason: Any) -> None:
            kept.pop(message.reference, None)
            sender = message.item if isinstance(message.item, Pid) else None
            tell(link, Down(message.item, message.sender, message.reference, reason), sender)

        found = found_for(self._scheduler, message.item)
        if isinstance(found, Process):
            witness = kept[message.reference] = Witness(told)
            witness.watch(found)
        elif found is None:  # else it is a part of the node, and lives as long
            told(NOPROC)

    def demonitored(self, link: DistLink, message: Demonitor) -> None:
        """It does not any more."""
        witness = self._theirs.get(link.name, {}).pop(message.reference, None)
        if witness is not None:
            witness.unwatch()

    def down(self, link: DistLink, message: Down) -> bool:
        """A process of the node has ended that was monitored from here; whether anybody waits for that."""
        if self._nodes.get(message.reference) != link.name:
            return False
        found = self._forget(message.reference)
        assert found is not None  # just seen
        found[1][0].fire(message.reason)
        return True


def living(scheduler: Any, pid: Pid) -> Process | None:
    """The process here that the pid means: one of a former life of the node means none."""
    return None if pid.creation else scheduler.find(pid)


def found_for(scheduler: Any, target: object) -> object:
    """The process here that a pid or a name means, or the part of the node that has the name; None: there is none."""
    if isinstance(target, Atom):
        return scheduler.names.get(target.name)
    return living(scheduler, target) if isinstance(target, Pid) else None


class DistLinks:
    """The links between this node and Erlang nodes.

    Args:
        context: the node's.
        peer: name -> connection.
    """

    def __init__(self, context: Context, peer: Peers) -> None:
        self._peer = peer
        self._links = Links(context, self._is_connected, self._send, one_way=False)
        self.unlink, self.made = self._links.unlink, self._links.made

    def __len__(self) -> int:
        """How many there are, and unlinks without an answer."""
        return len(self._links.ends)

    def _is_connected(self, node: str) -> bool:
        return self._peer(node) is not None

    def link(self, mine: Process, pid: Pid) -> None:
        """Link a process here to one of an Erlang node."""
        link = self._peer(pid.node)
        if link is not None and link.is_past(pid):
            mine.signal(NOPROC, pid, True)
        else:
            self._links.link(mine, pid)

    def edge(self, node: str, up: bool) -> None:
        """The connection is usable, or gone."""
        if up:
            self._links.agreed(node, True)
        else:
            self._links.edge(node, False)
            self._links.agreed(node, False)

    def _send(self, node: str, message: tuple[Any, ...], key: PairKey) -> None:
        """A message of the protocol of links, as a control message."""
        link = self._peer(node)
        if link is None or link.is_past(message[3]):
            return
        match message:
            case (_, Atom("link"), Pid() as mine, Pid() as theirs):
                tell(link, Link(mine, theirs), mine)
            case (_, Atom("unlink"), Pid() as mine, Pid() as theirs, int(number)) if not link.has(Flag.UNLINK_ID):
                link.tell((int(Op.UNLINK), mine, theirs), sender=mine)
                self._links.receive((LINKS, UNLINKED, theirs, mine, number), link)  # type: ignore[arg-type]
            case (_, Atom("unlink"), Pid() as mine, Pid() as theirs, int(number)):
                tell(link, Unlink(number, mine, theirs), mine)
            case (_, Atom("unlinked"), Pid() as mine, Pid() as theirs, int(number)):
                tell(link, UnlinkAck(number, mine, theirs), mine)
            case (_, Atom("exit"), Pid() as mine, Pid() as theirs, reason):
                tell(link, Exit(mine, theirs, reason, True), mine)

    def receive(self, link: DistLink, message: Link | Unlink | UnlinkAck | Exit) -> None:
        """A control message about a link has come."""
        if message.target.creation:  # a process of a former life of this node
            if isinstance(message, Link):
                tell(link, Exit(message.target, message.sender, NOPROC, True))
            return
        message = replace(message, sender=self._as_linked(message.sender, message.target))
        match message:
            case Link(sender, target):
                told: tuple[Any, ...] = (LINKS, LINK, sender, target)
            case Unlink(number, sender, target):
                told = (LINKS, UNLINK, sender, target, number)
            case UnlinkAck(number, sender, target):
                told = (LINKS, UNLINKED, sender, target, number)
            case Exit(sender, target, reason):
                told = (LINKS, EXIT, sender, target, reason)
        self._links.receive(told, link)  # type: ignore[arg-type]  # all that it asks of a link is its peer

    def _as_linked(self, theirs: Pid, mine: Pid) -> Pid:
        """The pid as the process here has linked itself to it: where it came by Partisan's wire it has no creation."""
        bare = Pid(theirs.node, theirs.id, theirs.serial)
        return bare if self._links.ends.knows((mine, bare)) else theirs
