"""Relaying: a message to a node that is no neighbor goes from neighbor to neighbor, and arrives once.

Partisan 5.0.3 (reference, core 3.5 and upper 1.7) sends it with a TTL over the tree by which the sender broadcasts;
whoever has the target for a neighbor gives it the message, every other one passes it on to all its neighbors in the
tree, the one it came from included. Nothing is deduplicated: one message arrived five times in a ring of five nodes.
That it did not arrive is told to nobody.

Here a message is a `Parcel`, numbered for its receiver, in a `Frame`. Frames carry the name and life of their origin
and a serial number, so no relay passes one on twice. A frame that comes first by some neighbor shows the way back to
its origin, as a bridge learns where stations are (IEEE 802.1D); so an answer, and what follows it, goes along one way,
and only what nobody knows a way for goes over the tree. Where links have a direction no way leads back: there all goes
over the tree, and to whom that does not reach, over all neighbors from then on. The receiver hands messages over in the
order of their numbers and sends a receipt for all of them at once. A message without a receipt is sent again, over all
neighbors, as a way may have broken, and twice as far, as it may have been too long; at last it is given up, and its
sender is told.

What holds, whatever comes:

- a message is handed over at most once in a life of its receiver, and after those that its sender sent it before,
  unless the sender has given these up; so while the sender is remembered (`most_nodes`);
- each message of ours ends with a receipt, or is given up within its time, and never both;
- a frame that is remembered is passed on once, to each neighbor once, and none goes over more than `max_ttl` nodes;
- what is remembered is bounded by the options, whoever is forged; what waits for a message that does not come within
  the time-out is dropped: no receipt has told of it, so whoever still wants it to arrive sends it again.

A neighbor that knows no frames gets what is for itself as a plain message; then the last relay sends the receipt.
Where there are no other neighbors, such ones are asked to relay in their own way, and nobody knows what becomes of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from partisan.machines.machine import Machine, NeighborDown, NeighborUp, Peer, Retune, Start, TimedOut
from partisan.machines.relay_messages import (
    Abandon,
    Abroad,
    Acknowledged,
    Arrived,
    Counts,
    EdgeUp,
    Frame,
    GivenUp,
    Handed,
    Heard,
    Kind,
    Parcel,
    Receipt,
    Relay,
    RelayConfig,
    Spread,
    Word,
)

if TYPE_CHECKING:
    from random import Random

PREFIX = "relay"
"""What the tuples begin with that are its timers."""

_BURST = 16
"""Messages to a node that is no neighbor that are sent again at once, before a receipt shows a way (ours)."""

_PROMPT = 64
"""Messages of one sender after which a receipt does not wait (ours)."""

_STRANGE = 2
"""Attempts after which a node of which nothing was ever heard may be one that knows no frames (ours)."""

_BITS = 80
"""Of a number, serial or life that is taken (ours)."""

_NOTHING: dict[Any, None] = {}


@dataclass(slots=True)
class _Kept:
    """A message of ours without a receipt."""

    command: Relay
    deadline: float
    again: float  # when it is sent again
    tries: int = 1
    behind: bool = False  # it was to be sent again, but for too many before it


@dataclass(slots=True)
class _Lane:
    """Our messages to one node."""

    next: int
    kept: dict[int, _Kept] = field(default_factory=dict)
    octets: int = 0
    due: float = 0.0  # when the timer fires, while anything is kept
    wide: bool = False  # whether the tree does not reach the node

    @property
    def base(self) -> int:
        return next(iter(self.kept), self.next)


@dataclass(slots=True)
class _Stream:
    """The messages of one life of another node to us."""

    next: int
    held: dict[int, Parcel] = field(default_factory=dict)
    octets: int = 0
    owing: int = 0  # messages since the last receipt
    wide: bool = False  # whether one of these came over all neighbors: the last receipt may be lost
    stuck: int = 0  # the `next` at which something began to be held


Hops = Callable[[Peer, Peer], Iterable[Peer]]
"""`hops(dest, origin)`: by which neighbors a message of the origin to that node may go on, if no way is known."""


class Relays(Machine):
    """The relay of one node.

    Args:
        myself: our name.
        config: the options.
        rng: chance; none is needed.
        life: of this life of ours: higher than that of any before.
        hops: see `Hops`; nobody to ask all neighbors.
        mutual: `mutual()`: whether links serve both ways.
    Attributes:
        counts: what was done.
    """

    TAKES: ClassVar[Collection[type]] = (EdgeUp, Relay, Spread, Abandon)
    HEARS: ClassVar[Collection[type]] = (Frame,)
    PREFIX: ClassVar[str] = PREFIX

    config: RelayConfig

    def __init__(
        self,
        myself: Peer,
        config: RelayConfig,
        rng: Random,
        life: int,
        hops: Hops | None = None,
        mutual: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(myself, config, rng)
        self.life = life
        self.counts = Counts()
        self._hops = hops
        self._mutual = mutual
        self._kinds: dict[Peer, Kind] = {}
        self._speakers: dict[Peer, None] = {}
        self._serial = 0
        self._top = 0  # the highest number of any message of ours
        self._lanes: dict[Peer, _Lane] = {}
        self._streams: dict[tuple[Peer, int], _Stream] = {}
        self._ways: dict[Peer, Peer | None] = {}  # node that has sent a frame -> by which neighbor; None: that is gone
        self._seen: dict[tuple[Peer, int, int], None] = {}
        self._order: deque[tuple[Peer, int, int]] = deque()
        self._events |= {
            Start: lambda event, now: None,
            EdgeUp: self._on_edge_up,
            NeighborUp: lambda event, now: self._on_edge_up(EdgeUp(event.peer, Kind.SPEAKER), now),
            NeighborDown: self._on_edge_down,
            Relay: self._on_relay,
            Spread: self._on_spread,
            Abandon: self._on_abandon,
            TimedOut: self._on_timed_out,
            Retune: self._on_retune,
        }
        self._messages = {Frame: self._on_frame}

    def room(self, dest: Peer, octets: int) -> bool:
        """Whether one more message to the node can be taken: else `Relay` must not be said."""
        lane = self._lanes.get(dest)
        if lane is None:
            return len(self._lanes) < self.config.most_nodes or self._idle() is not None
        fits = len(lane.kept) < self.config.window and lane.octets + octets <= self.config.max_octets
        return fits or not lane.kept

    def waiting(self, dest: Peer) -> tuple[int, int]:
        """How many messages to the node have no receipt, and their octets."""
        lane = self._lanes.get(dest)
        return (0, 0) if lane is None else (len(lane.kept), lane.octets)

    def way(self, dest: Peer) -> Peer | None:
        """The neighbor by which frames of the node came last."""
        return self._ways.get(dest)

    def knows(self, node: Peer) -> bool:
        """Whether messages of that node have come."""
        return node in self._ways

    @property
    def can_send(self) -> bool:
        """Whether there is any neighbor to send by."""
        return any(kind is not Kind.PLAIN for kind in self._kinds.values())

    @property
    def sizes(self) -> dict[str, int]:
        """How much is remembered."""
        return {
            "seen": len(self._seen),
            "ways": len(self._ways),
            "lanes": len(self._lanes),
            "streams": len(self._streams),
            "held": sum(len(stream.held) for stream in self._streams.values()),
            "kept": sum(len(lane.kept) for lane in self._lanes.values()),
        }

    # Neighbors.

    def _on_edge_up(self, event: EdgeUp, now: float) -> None:
        self._kinds[event.peer] = event.kind
        if event.kind is Kind.SPEAKER:
            self._speakers[event.peer] = None
        else:
            self._speakers.pop(event.peer, None)
        self._hope()
        if event.peer in self._lanes:
            waiting = list(self._lanes[event.peer].kept)
            self._send_again(event.peer, now, waiting, len(waiting))

    def _on_edge_down(self, event: NeighborDown, now: float) -> None:
        self._kinds.pop(event.peer, None)
        self._speakers.pop(event.peer, None)
        self._hope()
        for node, way in self._ways.items():
            if way == event.peer:
                self._ways[node] = None

    def _hope(self) -> None:
        """Our links have changed: the tree may reach whom it did not."""
        for lane in self._lanes.values():
            lane.wide = False

    def _on_retune(self, event: Retune, now: float) -> None:
        self.config = event.config

    # Our own messages.

    def _on_relay(self, command: Relay, now: float) -> None:
        lane = self._lanes.get(command.dest)
        if lane is None:
            if len(self._lanes) >= self.config.most_nodes:
                idle = self._idle()
                if idle is None:
                    self._give_up(command.dest, command, "too many nodes are written to")
                    return
                del self._lanes[idle]
            lane = self._lanes[command.dest] = _Lane(self._top + 1)
        number, timeout = lane.next, self.config.timeout if command.timeout is None else command.timeout
        lane.next += 1
        self._top = max(self._top, number)
        kept = _Kept(command, now + timeout, now + self.config.retry)
        soonest = min(kept.deadline, kept.again)
        if not lane.kept or soonest < lane.due:
            lane.due = soonest
            self._start_timer((PREFIX, "retry", command.dest), soonest - now)
        lane.kept[number] = kept
        lane.octets += command.octets
        self.counts.sent += 1
        self._dispatch(command.dest, lane, number, lane.wide)

    def _idle(self) -> Peer | None:
        """A node to which no message is under way."""
        return next((dest for dest, lane in self._lanes.items() if not lane.kept), None)

    def _dispatch(self, dest: Peer, lane: _Lane, number: int, wide: bool) -> None:
        """Send a message that is kept, the first time or again."""
        command, tries = lane.kept[number].command, lane.kept[number].tries
        strange = dest not in self._ways and (tries > _STRANGE or not self._speakers)
        parcel = Parcel(number, lane.base, command.load, command.octets)
        ttl = command.ttl
        if ttl is None:  # it may have been too far
            ttl = min(self.config.ttl << min(tries - 1, _BITS), max(self.config.ttl, self.config.max_ttl))
        frame = self._frame(dest, parcel, wide, ttl)
        if command.out_links is None:
            self._pass(replace(frame, abroad=strange), None)
            return
        links = [peer for peer in command.out_links if peer in self._speakers and peer != self.myself]
        self._go(links, frame)

    def _frame(self, dest: Peer | None, body: Any, wide: bool, ttl: int) -> Frame:
        self._serial += 1
        return Frame(self.myself, self.life, self._serial, dest, max(0, ttl), wide, False, body)

    def _on_spread(self, command: Spread, now: float) -> None:
        self._pass(self._frame(None, command.word, True, self.config.max_ttl), None)

    def _on_abandon(self, event: Abandon, now: float) -> None:
        lane = self._lanes.get(event.dest)
        if lane is not None:
            for number in list(lane.kept):
                self._give_up(event.dest, self._release(event.dest, lane, number), event.reason)
        for key in [key for key in self._streams if key[0] == event.dest]:
            self._drop_held(key)

    def _release(self, dest: Peer, lane: _Lane, number: int) -> Relay:
        """A message need not be kept any more."""
        command = lane.kept.pop(number).command
        lane.octets -= command.octets
        if not lane.kept:
            self._stop_timer((PREFIX, "retry", dest))
        return command

    def _give_up(self, dest: Peer, command: Relay, reason: str) -> None:
        self.counts.given_up += 1
        self._notify(GivenUp(dest, command.tag, reason))

    def _retry(self, dest: Peer, now: float) -> None:
        lane = self._lanes.get(dest)
        if lane is None:
            return
        for number, kept in list(lane.kept.items()):
            if kept.deadline <= now:
                reason = f"no receipt has come; it was sent {kept.tries} times"
                self._give_up(dest, self._release(dest, lane, number), reason)
        due = [number for number, kept in lane.kept.items() if kept.again <= now]
        self._send_again(dest, now, due, len(due) if dest in self._kinds else _BURST)
        if lane.kept:
            lane.due = min(min(kept.deadline, kept.again) for kept in lane.kept.values())
            self._start_timer((PREFIX, "retry", dest), max(0.0, lane.due - now))

    def _send_again(self, dest: Peer, now: float, numbers: list[int], most: int, wide: bool = True) -> None:
        """Send the first of these messages again, `most` of them; the others when a receipt comes, or later."""
        lane = self._lanes[dest]
        for at, number in enumerate(numbers):
            kept = lane.kept.get(number)
            if kept is None:  # it went to a neighbor that sends no receipts
                continue
            kept.again = now + self.config.retry * 2.0 ** min(kept.tries, 16)
            kept.behind = at >= most
            if not kept.behind:
                kept.tries += 1
                self.counts.resent += 1
                self._dispatch(dest, lane, number, wide)

    def _acknowledged(self, receipt: Receipt) -> int:
        """Keep no more what has arrived; return how much of it was sent again."""
        lane = self._lanes.get(receipt.of)
        if lane is None:
            return 0
        again = 0
        for number in [number for number in lane.kept if receipt.first <= number <= receipt.last]:
            again += lane.kept[number].tries > 1
            command = self._release(receipt.of, lane, number)
            if command.tag is not None:
                self._notify(Acknowledged(receipt.of, command.tag))
        lane.wide |= again > 0 and not self._mutual()
        return again

    def _catch_up(self, dest: Peer, arrived: int, now: float) -> None:
        """So much has arrived that was sent again, so there is a way: send twice as much of what is behind by that."""
        lane = self._lanes.get(dest)
        if lane is not None and arrived:
            behind = [number for number, kept in lane.kept.items() if kept.behind]
            self._send_again(dest, now, behind, 2 * arrived, lane.wide)

    # Frames.

    def _on_frame(self, peer: Peer, frame: Frame, now: float) -> None:
        if not self._sound(peer, frame):
            return
        if frame.origin == self.myself:
            if frame.life > self.life or (frame.life == self.life and frame.serial > self._serial):
                self._violation(peer, "it passes on, in our name, what we have not sent")
            return
        if frame.dest is not None and frame.dest in (peer, frame.origin):
            self._violation(peer, "it passes on what is for itself, or for whom it comes from")
            return
        key = (frame.origin, frame.life, frame.serial)
        if key in self._seen:
            self.counts.duplicates += 1
            return
        self._remember(key, peer)
        if frame.dest is None:
            self._notify(Heard(frame.origin, cast(Word, frame.body)))
        elif frame.dest == self.myself:
            self._take(peer, frame, now)
            return
        if frame.ttl > 0 or frame.dest in self._kinds:
            self.counts.passed += 1
            self._pass(replace(frame, ttl=max(0, frame.ttl - 1)), peer)
        else:
            self.counts.expired += 1

    def _sound(self, peer: Peer, frame: Frame) -> bool:
        """Whether a frame makes sense."""
        numbers = [frame.life, frame.serial, frame.ttl]
        body = frame.body
        if type(body) is Parcel:
            numbers += [body.number, body.base]
        elif type(body) is Receipt:
            numbers += [body.life, body.first, body.last]
        elif type(body) is Word:
            numbers.append(body.life)
        else:
            self._violation(peer, f"a frame with a {type(body).__name__}")
            return False
        try:
            _NOTHING.get((frame.origin, frame.dest, getattr(body, "of", None), getattr(body, "node", None)))
        except TypeError:
            self._violation(peer, "a frame of or for what is no node")
            return False
        if not all(type(number) is int and number >= 0 and number.bit_length() <= _BITS for number in numbers):
            self._violation(peer, "a frame with a number out of bounds")
        elif frame.ttl > self.config.max_ttl:
            self._violation(peer, f"a frame that may go over {frame.ttl} nodes")
        elif (frame.dest is None) != (type(body) is Word):
            self._violation(peer, "a frame for everybody that is none, or the other way round")
        elif type(body) is Parcel and not 0 < body.base <= body.number:
            self._violation(peer, "a message that is numbered below those that are over")
        else:
            return True
        return False

    def _remember(self, key: tuple[Peer, int, int], peer: Peer) -> None:
        """A frame has come for the first time: note it, and the way to its origin."""
        self._seen[key] = None
        self._order.append(key)
        while len(self._order) > self.config.most_seen:
            del self._seen[self._order.popleft()]
        origin = key[0]
        self._ways.pop(origin, None)
        self._ways[origin] = peer if peer in self._speakers and self._mutual() else None
        if len(self._ways) > self.config.most_nodes:
            del self._ways[next(iter(self._ways))]

    def _pass(self, frame: Frame, whence: Peer | None) -> None:
        """Send a frame on its way."""
        dest = frame.dest
        if dest in self._kinds:
            self._give(cast(Peer, dest), frame)
            return
        way = None if frame.wide or dest is None else self._ways.get(dest)
        if way is not None and way != whence and way in self._speakers:
            self._go([way], frame)
            return
        onward: list[Peer] = []
        if not frame.wide and dest is not None and self._hops is not None:
            onward = [peer for peer in self._hops(dest, frame.origin) if peer in self._speakers]
        onward = [peer for peer in onward or self._speakers if peer not in (whence, frame.origin)]
        if onward:
            self.counts.floods += len(onward) > 1
            self._go(onward, frame)
        elif frame.abroad and type(frame.body) is Parcel:
            self._go_abroad(frame, whence)

    def _go(self, peers: list[Peer], frame: Frame) -> None:
        if frame.origin == self.myself:
            frame = replace(frame, ttl=max(0, frame.ttl - 1))
        self.counts.copies += len(peers)
        for peer in peers:
            self._send(peer, frame)

    def _give(self, dest: Peer, frame: Frame) -> None:
        """Give a frame to the neighbor whom it is for."""
        if dest in self._speakers:
            self._go([dest], frame)
        elif type(frame.body) is Parcel:
            self.counts.copies += 1
            self._send(dest, Handed(frame.body.load))
            self._vouch(dest, frame, frame.body)

    def _go_abroad(self, frame: Frame, whence: Peer | None) -> None:
        """Have neighbors relay a message that do so in their own way."""
        parcel = cast(Parcel, frame.body)
        peers = [peer for peer, kind in self._kinds.items() if kind is Kind.RELAY and peer != whence]
        for peer in peers:
            self.counts.copies += 1
            self._send(peer, Abroad(frame.dest, parcel.load, max(0, frame.ttl - (whence is None))))
        if peers:
            self._vouch(cast(Peer, frame.dest), frame, parcel)

    def _vouch(self, dest: Peer, frame: Frame, parcel: Parcel) -> None:
        """Send the receipt for a node that sends none."""
        receipt = Receipt(dest, frame.life, parcel.number, parcel.number)
        if frame.origin == self.myself:
            self._acknowledged(receipt)
        else:
            self._pass(self._frame(frame.origin, receipt, False, self.config.max_ttl), None)

    # What is for us.

    def _take(self, peer: Peer, frame: Frame, now: float) -> None:
        body = frame.body
        if type(body) is Parcel:
            self._take_parcel(peer, frame, body)
        elif type(body) is Receipt and body.life == self.life:
            lane = self._lanes.get(body.of)
            if lane is not None and body.last >= lane.next:
                self._violation(peer, f"a receipt of {frame.origin} for what we have not sent")
            else:
                self._catch_up(body.of, self._acknowledged(body), now)

    def _take_parcel(self, peer: Peer, frame: Frame, parcel: Parcel) -> None:
        key = (frame.origin, frame.life)
        stream = self._streams.pop(key, None)
        if stream is None:
            stream = _Stream(parcel.base)
            if len(self._streams) >= self.config.most_nodes:
                oldest = next(iter(self._streams))
                self._drop_held(oldest)
                del self._streams[oldest]
                self._stop_timer((PREFIX, "receipt", oldest))
        self._streams[key] = stream
        if parcel.base > stream.next:
            for number in sorted(number for number in stream.held if number < parcel.base):
                self._hand_over(key, self._unhold(stream, number))
            stream.next = parcel.base
        if parcel.number < stream.next or parcel.number in stream.held:
            self.counts.again += 1
        elif parcel.number - stream.next >= self.config.window or (
            stream.held and stream.octets + parcel.octets > self.config.max_octets
        ):
            self._violation(peer, f"{frame.origin} sends too much ahead of what is missing")
        else:
            stream.held[parcel.number] = parcel
            stream.octets += parcel.octets
        while stream.next in stream.held:
            self._hand_over(key, self._unhold(stream, stream.next))
            stream.next += 1
        self._watch_held(key, stream)
        stream.wide |= frame.wide
        stream.owing += 1
        if stream.owing == 1:
            self._start_timer((PREFIX, "receipt", key), self.config.receipt_after)
        elif stream.owing >= _PROMPT:
            self._stop_timer((PREFIX, "receipt", key))
            self._send_receipt(key)

    def _watch_held(self, key: tuple[Peer, int], stream: _Stream) -> None:
        """See to it that nothing is held for ever: the time-out begins anew with each message that was missing."""
        stuck = stream.next if stream.held else 0
        if stuck != stream.stuck:
            stream.stuck = stuck
            if stuck:
                self._start_timer((PREFIX, "held", key), self.config.timeout)
            else:
                self._stop_timer((PREFIX, "held", key))

    def _drop_held(self, key: tuple[Peer, int]) -> None:
        stream = self._streams[key]
        stream.held.clear()
        stream.octets = 0
        self._watch_held(key, stream)

    def _unhold(self, stream: _Stream, number: int) -> Parcel:
        parcel = stream.held.pop(number)
        stream.octets -= parcel.octets
        return parcel

    def _hand_over(self, key: tuple[Peer, int], parcel: Parcel) -> None:
        self.counts.delivered += 1
        self._notify(Arrived(*key, parcel.load))

    def _send_receipt(self, key: tuple[Peer, int]) -> None:
        stream = self._streams.get(key)
        if stream is not None:
            origin, life = key
            receipt = Receipt(self.myself, life, 0, stream.next - 1)
            self._pass(self._frame(origin, receipt, stream.wide, self.config.max_ttl), None)
            stream.owing, stream.wide = 0, False

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        _, kind, which = cast(tuple[str, str, Any], event.timer)
        if kind == "retry":
            self._retry(which, now)
        elif kind == "held":
            self._drop_held(which)
        else:
            self._send_receipt(cast(tuple[Hashable, int], which))
