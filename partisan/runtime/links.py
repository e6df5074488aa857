"""Links between processes of Python nodes.

Partisan has no wire for links; between Python nodes (the extra `links`) it is this, each from the node of From to that
of To:

    {links, link, From, To}            From links itself to To
    {links, unlink, From, To, Id}      From takes the link away
    {links, unlinked, From, To, Id}    answers an unlink, whether there was a link or not
    {links, exit, From, To, Reason}    From has ended, or has never been: the signal of the link

All that two processes have to say to each other takes one connection, the one that their messages take on the default
channel, so it arrives in order, and behind what they sent before. An unlink is under way until it is answered: what was
sent along the link before the other node knew of it, an exit signal too, is of a link that there is no more, and is
dropped. So after `unlink()` no exit signal of that link is taken, even if the two are linked anew at once.

`LinkEnds` is the protocol as a value, for the ends that are at one node; `Links` ties it to processes and connections.

Source: Erlang's distribution protocol, section "Link protocol", from which the answered unlink is taken.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partisan._core.process import Process
from partisan._core.router import PairKey
from partisan._core.ties import Link as Tied
from partisan.errors import EncodeError, LinkUnsupported, NotConnected, Overloaded
from partisan.etf import Atom, Pid
from partisan.net.context import Context
from partisan.wire.atom import malformed

if TYPE_CHECKING:
    from partisan.net.link import Link

log = logging.getLogger(__name__)

CAPABILITY = "links"

RETRY = 0.05
"""Seconds until what a full queue refused is sent again (ours): an exit signal must not be lost."""

MOST_UNTOLD = 1024
"""How many links of a lost node, and how many lost nodes, are remembered to be told of when it is back (ours)."""

_LINKS, _LINK, _UNLINK, _UNLINKED, _EXIT = map(Atom, (CAPABILITY, "link", "unlink", "unlinked", "exit"))
_NOPROC, _NOCONNECTION = Atom("noproc"), Atom("noconnection")

Pair = tuple[Pid, Pid]
"""A process of this node, and one of another."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this from the first of the pair to the node of the second."""

    pair: Pair
    message: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Tie:
    """The first is linked to the second from now on."""

    pair: Pair


@dataclass(frozen=True, slots=True)
class Untie:
    """It no longer is."""

    pair: Pair


@dataclass(frozen=True, slots=True)
class Signal:
    """It no longer is, and gets an exit signal of the link."""

    pair: Pair
    reason: object


Effect = Tell | Tie | Untie | Signal


class LinkEnds:
    """The ends at one node of links to others: a value without I/O. Each method returns what to do, in order."""

    def __init__(self) -> None:
        self._active: dict[str, dict[Pair, None]] = {}  # node of the other end -> pairs
        self._unlinking: dict[str, dict[Pair, int]] = {}  # ... -> pairs with an unlink that is not answered, and its id
        self._count = 0

    def __len__(self) -> int:
        """How many links there are, and unlinks without an answer."""
        return sum(map(len, self._active.values())) + sum(map(len, self._unlinking.values()))

    def active(self, pair: Pair) -> bool:
        """Whether there is a link."""
        return pair in self._active.get(pair[1].node, ())

    def knows(self, pair: Pair) -> bool:
        """Whether there is a link, or an unlink that is not answered."""
        return self.active(pair) or pair in self._unlinking.get(pair[1].node, ())

    def link(self, pair: Pair) -> list[Effect]:
        """A process here links itself."""
        if self.active(pair):
            return []
        return [self._tie(pair), Tell(pair, (_LINKS, _LINK, *pair))]

    def made(self, pair: Pair) -> list[Effect]:
        """A link has been made otherwise, of which the other node knows."""
        return [] if self.active(pair) else [self._tie(pair)]

    def unlink(self, pair: Pair) -> list[Effect]:
        """A process here takes its link away."""
        if not self._untie(pair):
            return []
        self._count += 1
        self._unlinking.setdefault(pair[1].node, {})[pair] = self._count
        return [Tell(pair, (_LINKS, _UNLINK, *pair, self._count))]

    def ended(self, pair: Pair, reason: object) -> list[Effect]:
        """A process here that had a link has ended."""
        return [Tell(pair, (_LINKS, _EXIT, *pair, reason))] if self._untie(pair) else []

    def lost(self, node: str) -> list[Effect]:
        """The node is not connected any more."""
        self._unlinking.pop(node, None)
        return [Signal(pair, _NOCONNECTION) for pair in self._active.pop(node, ())]

    def broken(self, pair: Pair) -> list[Effect]:
        """The other node cannot be told of a link any more."""
        return [Signal(pair, _NOCONNECTION)] if self._untie(pair) else []

    def received(self, message: tuple[Any, ...], pair: Pair, alive: bool) -> list[Effect]:
        """The other node says this of the pair.

        Args:
            message: as told, checked for its shape.
            alive: whether the process here lives.
        """
        unlinking = self._unlinking.get(pair[1].node, {})
        match message[1]:
            case Atom("link"):
                if pair in unlinking or self.active(pair):
                    return []
                return [self._tie(pair)] if alive else [Tell(pair, (_LINKS, _EXIT, *pair, _NOPROC))]
            case Atom("unlink"):
                answer = Tell(pair, (_LINKS, _UNLINKED, *pair, message[4]))
                return [Untie(pair), answer] if self._untie(pair) else [answer]
            case Atom("unlinked"):
                if unlinking.get(pair) == message[4]:
                    del unlinking[pair]
                return []
            case _:
                if pair in unlinking or not self._untie(pair):
                    return []
                return [Signal(pair, message[4])]

    def _tie(self, pair: Pair) -> Tie:
        self._active.setdefault(pair[1].node, {})[pair] = None
        return Tie(pair)

    def _untie(self, pair: Pair) -> bool:
        """Forget the link; whether there was one."""
        pairs = self._active.get(pair[1].node, {})
        if pair not in pairs:
            return False
        del pairs[pair]
        return True


_LENGTHS = {_LINK: 4, _UNLINK: 5, _UNLINKED: 5, _EXIT: 5}


class Links:
    """The links of one node's processes to those of others.

    Args:
        context: the node's.
        is_connected: callable(node): whether what links are told by is up; a node may be connected otherwise, too.
        send: callable(node, message, partition_key): to the node's `partisan_python` on the default channel.
        one_way: the connection is lost in one direction at times: a node is told of the links that were lost here.
    """

    def __init__(
        self,
        context: Context,
        is_connected: Callable[[str], bool],
        send: Callable[[str, tuple[Any, ...], PairKey], None],
        *,
        one_way: bool = True,
    ) -> None:
        self._one_way = one_way
        self.ends = LinkEnds()
        self._context = context
        self._is_connected = is_connected
        self._send = send
        self._scheduler = context.router.scheduler
        self._supported: set[str] = set()
        self._untold: dict[str, list[Pair]] = {}  # node -> links that were lost here, which it may not know
        self._late: dict[str, deque[Tell]] = {}  # node -> what a full queue has refused, in order

    def agreed(self, node: str, may: bool) -> None:
        """Whether the node knows links."""
        if may:
            self._supported.add(node)
            for pair in self._untold.pop(node, ()):  # only one direction may have been lost
                self.refuse(*pair, _NOCONNECTION)
        else:
            self._supported.discard(node)

    def edge(self, node: str, up: bool) -> None:
        """The last connection to a node is lost: so is every link to its processes."""
        if not up and not self._is_connected(node):
            self._late.pop(node, None)
            lost = self.ends.lost(node)
            self._do(lost)
            if lost and self._one_way:
                self._untold[node] = [effect.pair for effect in lost][:MOST_UNTOLD]
                if len(self._untold) > MOST_UNTOLD:
                    del self._untold[next(iter(self._untold))]

    def check(self, node: str) -> None:
        """Raise LinkUnsupported if the node is connected and has not agreed on links."""
        if node not in self._supported and self._is_connected(node):
            raise LinkUnsupported(node)

    def link(self, mine: Process, pid: Pid) -> None:
        """Link a process here to one of another node. Raises LinkUnsupported."""
        self.check(pid.node)
        if pid.node not in self._supported:
            mine.signal(_NOCONNECTION, pid, True)
        else:
            self._do(self.ends.link((mine.pid, pid)))

    def unlink(self, mine: Process, pid: Pid) -> None:
        """The process has taken its end of a link away."""
        self._do(self.ends.unlink((mine.pid, pid)))

    def made(self, mine: Pid, pid: Pid) -> None:
        """The other node knows of this link already; if the process here is gone, it hears of that."""
        self._do(self.ends.made((mine, pid)))

    def refuse(self, mine: Pid, pid: Pid, reason: object = _NOPROC) -> None:
        """The other node takes the two for linked, and they are not."""
        self._do([Tell((mine, pid), (_LINKS, _EXIT, mine, pid, reason))])

    def broken(self, mine: Pid, pid: Pid) -> None:
        """The other node cannot be told that the two are linked."""
        self._do(self.ends.broken((mine, pid)))

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take `{links, ...}` from another node. Raises MalformedMessage."""
        shape = len(message) > 3 and type(message[1]) is Atom and _LENGTHS.get(message[1]) == len(message)
        if not shape or not isinstance(message[2], Pid) or not isinstance(message[3], Pid):
            malformed(CAPABILITY, message)
        theirs, mine = message[2], message[3]
        if theirs.node != link.peer or mine.node != self._context.node:
            malformed(CAPABILITY, message)
        process = self._scheduler.find(mine)
        self._do(self.ends.received(message, (mine, theirs), process is not None))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Tell:
                self._tell(effect)
                continue
            mine, theirs = effect.pair
            process = self._scheduler.find(mine)
            if type(effect) is Tie:
                self._tie(process, mine, theirs)
            elif process is not None:
                end = process.untie(theirs)
                if end is not None:
                    end.unwatch()
                if type(effect) is Signal:
                    process.signal(effect.reason, theirs, True)

    def _tie(self, process: Process | None, mine: Pid, theirs: Pid) -> None:
        if process is None:
            self._ended(mine, theirs, _NOPROC)
            return
        end = Tied(process, theirs, self._ended)
        end.watch(process)
        process.tie(theirs, end)

    def _ended(self, mine: Pid, theirs: Pid, reason: object) -> None:
        self._do(self.ends.ended((mine, theirs), reason))

    def _tell(self, effect: Tell) -> None:
        """Send it, or keep it while the queue is full; what is told to a node that is lost needs no telling."""
        node = effect.pair[1].node
        late = self._late.get(node)
        if late is not None:
            late.append(effect)
        elif not self._sent(effect):
            self._late[node] = deque((effect,))
            self._context.loop.call_later(RETRY, self._retry, node)

    def _sent(self, effect: Tell) -> bool:
        mine, theirs = effect.pair
        key = self._context.router.pair_key(mine, theirs)
        try:
            try:
                self._send(theirs.node, effect.message, key)
            except EncodeError as error:  # only a reason can be no term
                log.warning("%s: the reason for which %s has ended is no term: %s", self._context.node, mine, error)
                self._send(theirs.node, (*effect.message[:-1], (Atom("unencodable"), str(error))), key)
        except Overloaded:
            return False
        except NotConnected as error:  # its loss tells both ends
            log.debug("%s is not told: %s", theirs.node, error)
        return True

    def _retry(self, node: str) -> None:
        late = self._late.get(node)
        while late and self._sent(late[0]):
            late.popleft()
        if late:
            self._context.loop.call_later(RETRY, self._retry, node)
        else:
            self._late.pop(node, None)
