"""What was sent and is not acknowledged: the sender's half of `partisan.machines.acknowledged`.

Messages that were sent once wait in the order of their sending, so that looking at the first says when the next is due;
only what is sent again, or has options of its own, has a deadline of its own in a heap. So a message that is
acknowledged in time costs one entry in a table and its removal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

from partisan.errors import Unacknowledged
from partisan.machines.machine import Effect, Notify, Peer, Send, StartTimer, Violation

if TYPE_CHECKING:
    from random import Random

RETRANSMIT_TIMER = "retransmit"
"""Fires when a message may have to be sent again, or may have expired."""

FIRST_NUMBER = 1 << 58
"""Our numbers are from here on, and small integers for a real node (below 2**59) but for extreme luck."""

_GRAIN = 0.001
"""Seconds by which a retransmission may come early: float sums of times are not exact."""

_ONCE = 60.0
"""Seconds after which a message that is not sent again expires, if there is no `expiry` (ours)."""

_SMOOTHING = 0.125
"""How much one acknowledgement changes what is believed of the delay (as TCP)."""


@dataclass(frozen=True, slots=True)
class AcknowledgedConfig:
    """Options of acknowledged delivery.

    Attributes:
        retransmit_interval: seconds until a message is sent again for the first time (partisan 5.0.3: 1 s, always);
            twice the delay of acknowledgements if that is more.
        retransmit_backoff_max: the longest pause, to which pauses double (ours).
        jitter: a pause is longer by up to this part of itself, at random (ours).
        expiry: seconds for which a message is kept; None keeps it (partisan 5.0.3).
        max_messages: how many messages to one peer may be outstanding (ours).
        max_octets: how many octets of them; one message may be larger if it is alone (ours).
        burst: how many messages are sent again at a time; the rest follows in the next turn (ours).
        window: how many messages of a real node are remembered (ours).
        max_runs: how many runs of numbers are remembered of a sender of our kind (ours).
        max_absent: how many senders are remembered that have no connection to us (ours).
    """

    retransmit_interval: float = 1.0
    retransmit_backoff_max: float = 30.0
    jitter: float = 0.25
    expiry: float | None = 3600.0
    max_messages: int = 65_536
    max_octets: int = 64 * 1024 * 1024
    burst: int = 1024
    window: int = 32_768
    max_runs: int = 65_536
    max_absent: int = 1024


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that had a tag was acknowledged."""

    peer: Peer
    number: int
    tag: object


@dataclass(frozen=True, slots=True)
class Expired:
    """A message was given up without an acknowledgement; it may have arrived.

    Attributes:
        tag: as it was submitted; may be None.
        reason: "expired", or that of `Forget`.
    """

    peer: Peer
    number: int
    tag: object
    reason: str


class Parcel:
    """A message that is kept.

    A driver may hand in objects of its own that have these attributes, as one that costs the garbage collector nothing.

    Attributes:
        message: what will be sent again, as it is; with its number in it.
        octets: its size.
        tag: if not None, `Delivered` or `Expired` tells it.
        at: when it was first sent; set by `Outstanding`.
    """

    __slots__ = ("at", "message", "octets", "tag")

    def __init__(self, message: object, octets: int, tag: object = None) -> None:
        self.message = message
        self.octets = octets
        self.tag = tag
        self.at = 0.0


class Fresh:
    """Parcels that were sent once, by their numbers, which are consecutive when they come in.

    A driver may give `Outstanding` another class that does the same, as one that is compiled.

    Args:
        first: the number of the first parcel.

    Attributes:
        next: the number of the next parcel.
        octets: of all that it holds.
        closed: its lane is forgotten: what is sent from now on has another.
    """

    __slots__ = ("_parcels", "closed", "next", "octets")

    def __init__(self, first: int) -> None:
        self.next = first
        self.octets = 0
        self.closed = False
        self._parcels: dict[int, Parcel] = {}

    def __len__(self) -> int:
        return len(self._parcels)

    def __iter__(self) -> Iterator[int]:
        """The numbers, ascending."""
        return iter(self._parcels)

    def append(self, parcel: Parcel, now: float) -> None:
        """Hold a parcel under the next number."""
        parcel.at = now
        self._parcels[self.next] = parcel
        self.next += 1
        self.octets += parcel.octets

    def pop(self, number: int) -> Parcel | None:
        """Hold a parcel no more, and return it; None if it is not held."""
        parcel = self._parcels.pop(number, None)
        if parcel is not None:
            self.octets -= parcel.octets
        return parcel

    def get(self, number: int) -> Parcel | None:
        """The parcel of that number, if it is held."""
        return self._parcels.get(number)

    def at(self, number: int) -> float:
        """When a parcel that is held was sent."""
        return self._parcels[number].at

    def drop(self, first: int, last: int) -> tuple[int, float, list[tuple[int, object]], list[int]]:
        """Hold the parcels from first to last no more.

        Returns:
            how many they were; when the last of them was sent; (number, tag) of those with a tag; and the numbers that
            were not held.
        """
        count, at = 0, 0.0
        tags: list[tuple[int, object]] = []
        missing: list[int] = []
        for number in range(first, last + 1):
            parcel = self.pop(number)
            if parcel is None:
                missing.append(number)
                continue
            count, at = count + 1, parcel.at
            if parcel.tag is not None:
                tags.append((number, parcel.tag))
        return count, at, tags, missing


class Lane:
    """What is outstanding to one peer.

    Attributes:
        peer: whom.
        first: the number of its first message.
        fresh: what was sent once.
        up: whether there is an edge to the peer.
    """

    __slots__ = ("delay", "first", "fresh", "kept", "kept_octets", "peer", "resend_below", "up")

    def __init__(self, peer: Peer, first: int, up: bool, fresh: Fresh) -> None:
        self.peer = peer
        self.first = first
        self.fresh = fresh
        self.kept_octets = 0
        self.up = up
        self.delay = 0.0  # seconds from sending to acknowledgement, smoothed
        self.resend_below = first  # what is fresh below this number was sent before the edge came up
        self.kept: dict[int, _Kept] = {}  # the others, by number

    def __len__(self) -> int:
        return len(self.fresh) + len(self.kept)

    @property
    def next(self) -> int:
        """The number that the next message will have."""
        return self.fresh.next

    @property
    def octets(self) -> int:
        """Of all that is outstanding."""
        return self.fresh.octets + self.kept_octets

    def holds(self, number: int) -> bool:
        """Whether the message of that number is outstanding."""
        return number in self.kept or self.fresh.get(number) is not None

    def messages(self) -> Iterator[tuple[int, object]]:
        """What is outstanding, in no order: the number, and what will be sent again."""
        for number in self.fresh:
            parcel = self.fresh.get(number)
            if parcel is not None:
                yield number, parcel.message
        for number, kept in self.kept.items():
            yield number, kept.message


class Awaited:
    """Messages that were outstanding at one moment, and that somebody waits for until none of them is.

    Args:
        found: what they are outstanding in, and their numbers.
    """

    __slots__ = ("_left",)

    def __init__(self, found: Iterable[tuple[Lane, int]]) -> None:
        self._left = list(found)

    def over(self) -> bool:
        """Whether each was acknowledged or given up; to ask often costs no more than there are messages."""
        while self._left:
            lane, number = self._left[-1]
            if lane.holds(number):
                return False
            self._left.pop()
        return True


class _Kept:
    """A message with a time of its own: it was sent again, or has options."""

    __slots__ = ("attempts", "due", "expires", "lane", "message", "number", "octets", "resend", "tag")

    def __init__(
        self, lane: Lane, number: int, message: object, octets: int, tag: object, expires: float, resend: bool
    ) -> None:
        self.lane = lane
        self.number = number
        self.message = message
        self.octets = octets
        self.tag = tag
        self.expires = expires
        self.resend = resend
        self.attempts = 0
        self.due = inf  # the time of its one valid entry among the deadlines; inf for none


class Outstanding:
    """What one node has sent and is not acknowledged.

    Args:
        config: the options; may be replaced at any time.
        rng: chance, for first numbers and jitter.
        emit: callable(effect): takes what the world must now do.
        fresh: callable(first) -> Fresh.

    Attributes:
        lanes: what is outstanding to whom; changed by this alone.
        retransmitted, delivered, expired, refused: messages, since the start.
        late_acks: acknowledgements of messages that were no longer outstanding, since the start.
        strange_acks: acknowledgements that the peer was not sent the message of, in this life; since the start.
    """

    def __init__(
        self,
        config: AcknowledgedConfig,
        rng: Random,
        emit: Callable[[Effect], object],
        fresh: Callable[[int], Fresh] = Fresh,
    ) -> None:
        self.config = config
        self._fresh = fresh
        self._rng = rng
        self._emit = emit
        self.lanes: dict[Peer, Lane] = {}
        self._up: dict[Peer, None] = {}
        self._deadlines: list[tuple[float, int, _Kept]] = []  # a heap; entries that are not `due` are void
        self._serial = 0
        self._alarm = inf  # when the timer fires
        self.retransmitted = self.delivered = self.expired = self.refused = 0
        self.late_acks = self.strange_acks = 0

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def peers(self) -> list[Peer]:
        """To whom something may be outstanding."""
        return list(self.lanes)

    def lane(self, peer: Peer) -> Lane:
        """The peer's lane: it says what number the next message will have. Valid until the peer is forgotten."""
        lane = self.lanes.get(peer)
        if lane is None:
            first = FIRST_NUMBER | self._rng.getrandbits(58)
            lane = self.lanes[peer] = Lane(peer, first, peer in self._up, self._fresh(first))
        return lane

    def submit(self, lane: Lane, message: object, octets: int, now: float, tag: object = None) -> int:
        """As `keep`, with what a `Parcel` is made of; return the message's number."""
        self.keep(lane, Parcel(message, octets, tag), now)
        return lane.next - 1

    def keep(self, lane: Lane, parcel: Parcel, now: float) -> bool:
        """Keep a message that is being sent as `lane.next`; return whether the world must now do something for it.

        Raises:
            Unacknowledged: there is no room for it; nothing has changed.
        """
        config = self.config
        count = len(lane)
        if count and (count >= config.max_messages or lane.octets + parcel.octets > config.max_octets):
            self.refused += 1
            raise Unacknowledged(lane.peer, count, lane.octets)
        number = lane.next
        lane.fresh.append(parcel, now)
        if now + config.retransmit_interval < self._alarm:
            self._wake(self._first_due(lane, number, now), now)
            return True
        return False

    def submit_with(
        self,
        lane: Lane,
        message: object,
        octets: int,
        now: float,
        tag: object = None,
        *,
        retransmission: bool = True,
        expiry: float | None = None,
    ) -> int:
        """As `submit`, with the options of `Submit`."""
        if retransmission and expiry is None:
            return self.submit(lane, message, octets, now, tag)
        number = self.submit(lane, message, octets, now, tag)
        kept = self._keep(lane, number)
        if expiry is not None or self.config.expiry is None:
            kept.expires = now + (_ONCE if expiry is None else expiry)
        kept.resend = retransmission
        due = kept.expires
        if retransmission:
            due = min(due, now + self.config.retransmit_interval)
        self._schedule(kept, due)
        self._wake(due, now)
        return number

    def acked(self, peer: Peer | None, number: int, now: float) -> None:
        """The peer acknowledged the number; None if the connection does not say who it is."""
        lane = self.lanes.get(peer)
        if lane is not None:
            entry = lane.fresh.pop(number)
            if entry is not None:
                lane.delay += (now - entry.at - lane.delay) * _SMOOTHING
                self.delivered += 1
                if entry.tag is not None:
                    self._tell(Delivered(lane.peer, number, entry.tag))
                return
        elif peer is None:
            lane = next((lane for lane in self.lanes.values() if lane.first <= number < lane.next), None)
        self._acked_late(peer, lane, number)

    def _acked_late(self, peer: Peer | None, lane: Lane | None, number: int) -> None:
        """Take an acknowledgement that is not of a message sent once to the peer that says so."""
        if lane is None or not lane.first <= number < lane.next:
            self._strange(peer, number)
            return
        entry = lane.fresh.pop(number)
        kept = lane.kept.pop(number, None)
        if entry is not None:
            tag = entry.tag
        elif kept is not None:
            tag = kept.tag
            lane.kept_octets -= kept.octets
            kept.due, kept.message = inf, None
        else:
            self.late_acks += 1
            return
        self.delivered += 1
        if tag is not None:
            self._tell(Delivered(lane.peer, number, tag))

    def acked_ranges(self, peer: Peer, ranges: Iterable[tuple[int, int]], now: float) -> None:
        """The peer acknowledged the numbers from first to last of each range.

        Costs as much as there is outstanding at most, whatever the ranges say.
        """
        lane = self.lanes.get(peer)
        sound = []
        count = 0
        for first, last in ranges:
            if first > last:
                self._tell(Violation(peer, "an acknowledgement of a range that ends before it begins"))
            elif lane is None or not lane.first <= first <= last < lane.next:
                self._strange(peer, first)
            else:
                sound.append((first, last))
                count += last - first + 1
        if lane is None:
            return
        if count <= len(lane):
            for first, last in sound:
                self._acked_run(lane, first, last, now)
            return
        # More than there is: copies were acknowledged, or the peer makes fun of us. Go by what there is.
        sound.sort()
        wanted = [number for known in (lane.fresh, lane.kept) for number in known if _within(number, sound)]
        self.late_acks += count - len(wanted)
        for number in wanted:
            self._acked_run(lane, number, number, now)

    def _strange(self, peer: Peer | None, number: int) -> None:
        """Ignore an acknowledgement of what we have not sent to the peer in this life; we may have in another."""
        self.strange_acks += 1
        if number < FIRST_NUMBER:
            self._tell(Violation(peer, "an acknowledgement of a number that we never give"))

    def _acked_run(self, lane: Lane, first: int, last: int, now: float) -> None:
        count, at, tags, missing = lane.fresh.drop(first, last)
        self.delivered += count
        if count:
            lane.delay += (now - at - lane.delay) * _SMOOTHING
        for number, tag in tags:
            self._tell(Delivered(lane.peer, number, tag))
        for number in missing:
            self._acked_late(lane.peer, lane, number)

    def awaited(self, peers: Iterable[Peer], wanted: Callable[[Any], bool]) -> Awaited:
        """What is outstanding to these peers now, of that of which it is wanted what will be sent again."""
        lanes = [self.lanes[peer] for peer in peers if peer in self.lanes]
        return Awaited((lane, number) for lane in lanes for number, message in lane.messages() if wanted(message))

    def connected(self, peer: Peer, now: float) -> None:
        """There is an edge to the peer: what is outstanding is sent again now."""
        self._up[peer] = None
        lane = self.lanes.get(peer)
        if lane is None:
            return
        lane.up, lane.delay, lane.resend_below = True, 0.0, lane.next
        for number in sorted(lane.kept):
            kept = lane.kept[number]
            kept.attempts = 0
            self._schedule(kept, now)
        self._tick(now)

    def disconnected(self, peer: Peer) -> None:
        """There is no edge to the peer; what is outstanding waits."""
        self._up.pop(peer, None)
        lane = self.lanes.get(peer)
        if lane is not None:
            lane.up = False

    def forget(self, peer: Peer, reason: str) -> None:
        """Give up everything to the peer."""
        lane = self.lanes.pop(peer, None)
        if lane is None:
            return
        lane.fresh.closed = True
        for number in list(lane.fresh):
            self._keep(lane, number)
        for kept in list(lane.kept.values()):
            self._expire(kept, reason)

    def fired(self, now: float) -> None:
        """The timer fired."""
        self._alarm = inf
        self._tick(now)

    def _tick(self, now: float) -> None:
        """Send again what is due, give up what has expired, and set the alarm."""
        until = now + _GRAIN
        left = self.config.burst
        for lane in self.lanes.values():
            due: list[int] = []
            for number in lane.fresh:
                if len(due) >= left or self._first_due(lane, number, lane.fresh.at(number)) > until:
                    break
                due.append(number)
            for number in due:
                self._schedule(self._keep(lane, number), now)
        while self._deadlines and self._deadlines[0][0] <= until and left:
            due_at, _, kept = heappop(self._deadlines)
            if kept.due == due_at:
                left -= self._handle_due(kept, now, until)
        self._sweep()
        self._wake(min(map(self._next_due, self.lanes.values()), default=inf), now)
        if self._deadlines:
            self._wake(self._deadlines[0][0], now)

    def _handle_due(self, kept: _Kept, now: float, until: float) -> int:
        """Send the message again or give it up; return how many were sent."""
        lane, config = kept.lane, self.config
        if kept.expires <= until:
            self._expire(kept, "expired")
            return 0
        if not kept.resend or not lane.up:
            self._schedule(kept, kept.expires)
            return 0
        self._emit(Send(lane.peer, kept.message))
        self.retransmitted += 1
        kept.attempts += 1
        # The exponent is bounded so that it cannot overflow a float.
        pause = min(self._interval(lane) * 2.0 ** min(kept.attempts, 32), config.retransmit_backoff_max)
        self._schedule(kept, min(now + pause * (1.0 + config.jitter * self._rng.random()), kept.expires))
        return 1

    def _expire(self, kept: _Kept, reason: str) -> None:
        lane = kept.lane
        del lane.kept[kept.number]
        lane.kept_octets -= kept.octets
        self.expired += 1
        self._tell(Expired(lane.peer, kept.number, kept.tag, reason))
        kept.due, kept.message = inf, None

    def _interval(self, lane: Lane) -> float:
        return max(self.config.retransmit_interval, 2.0 * lane.delay)

    def _first_due(self, lane: Lane, number: int, at: float) -> float:
        """When a message that was sent once, at that time, is to be looked at."""
        expiry = self.config.expiry
        expires = inf if expiry is None else at + expiry
        if not lane.up:
            return expires
        return at if number < lane.resend_below else min(at + self._interval(lane), expires)

    def _next_due(self, lane: Lane) -> float:
        for number in lane.fresh:
            return self._first_due(lane, number, lane.fresh.at(number))
        return inf

    def _keep(self, lane: Lane, number: int) -> _Kept:
        """Give a message that was sent once a time of its own."""
        parcel = lane.fresh.pop(number)
        assert parcel is not None  # who asks has just seen it there
        expiry = self.config.expiry
        expires = inf if expiry is None else parcel.at + expiry
        kept = _Kept(lane, number, parcel.message, parcel.octets, parcel.tag, expires, True)
        lane.kept[number] = kept
        lane.kept_octets += kept.octets
        return kept

    def _schedule(self, kept: _Kept, due: float) -> None:
        kept.due = due
        if due < inf:
            self._serial += 1
            heappush(self._deadlines, (due, self._serial, kept))

    def _sweep(self) -> None:
        """Drop void deadlines: those in front, and all once they are the most."""
        deadlines = self._deadlines
        if len(deadlines) > 1024 + 2 * sum(len(lane.kept) for lane in self.lanes.values()):
            self._deadlines = deadlines = [entry for entry in deadlines if entry[2].due == entry[0]]
            heapify(deadlines)
        while deadlines and deadlines[0][2].due != deadlines[0][0]:
            heappop(deadlines)

    def _wake(self, at: float, now: float) -> None:
        """See to it that the timer fires at that time or before."""
        if at < self._alarm:
            self._alarm = at
            self._emit(StartTimer(RETRANSMIT_TIMER, max(at - now, 0.0)))

    def _tell(self, fact: object) -> None:
        self._emit(Notify(fact))


def _within(number: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether one of the ranges, which are sorted and do not overlap, has the number."""
    place = bisect_right(ranges, (number, inf)) - 1
    return place >= 0 and number <= ranges[place][1]
