"""What may go wrong between nodes: rules, and what they decide about one frame.

A value without I/O, for real nodes and the simulator alike: time and chance are arguments, so equal seeds and equal
traffic give equal verdicts. A rule concerns frames by sender, receiver, channel and kind, for some time; what every
rule that concerns a frame does to it adds up, in the order in which the rules were added:

    Cut, Partition     the frame is dropped; between the nodes nothing passes
    Omission           the frame is dropped, some of the time
    Duplication        it arrives several times
    Delay              it arrives later, and what is behind it no sooner
    Reordering         it arrives later by chance, whatever overtakes it
    Flip               bits of it arrive wrong
    Suspicion          no frame suffers: the failure detector holds a living peer for dead

The fault models are those of Partisan's own tests (partisan-upper, section 9.3: omissions, partitions, reordering),
with duplication, corruption and a faulty failure detector added (ours).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

KINDS = ("user", "acknowledgement", "membership", "broadcast", "keepalive", "handshake", "other")
"""What a frame may be; `other` is what is addressed to another part of every node."""

FOREVER = float("inf")

Item = TypeVar("Item")


class Delivery(NamedTuple):
    """One arrival of a frame.

    Attributes:
        after: seconds, beyond what the network takes anyway.
        loose: whether it may overtake, and be overtaken.
        flips: the bits that arrive wrong, each as a position of at least 0 and below 1 in the frame.
    """

    after: float = 0.0
    loose: bool = False
    flips: tuple[float, ...] = ()


Verdict = tuple[Delivery, ...]
"""The arrivals of a frame; none if it is dropped."""

PASSED: Verdict = (Delivery(),)
DROPPED: Verdict = ()


def _checked(problem: str, good: bool) -> None:
    if not good:
        raise ValueError(problem)


@dataclass(slots=True, eq=False, kw_only=True)
class Rule(ABC):
    """Which frames suffer; the subclasses say what. None stands for every one.

    Attributes:
        sources, destinations: names of nodes.
        channels: names of channels.
        kinds: of KINDS.
        probability: that a frame which is concerned suffers.
        skip: how many frames that are concerned are spared first.
        times: how many frames may suffer in all, after which the rule is over; None: any number.
        since, until: when the rule holds, in seconds on the clock that `decide` is given.
        concerned: frames that were concerned so far.
        hits: frames that suffered so far.
    Raises:
        ValueError: a number is out of bounds, or a kind is unknown.
    """

    sources: tuple[str, ...] | None = None
    destinations: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    probability: float = 1.0
    skip: int = 0
    times: int | None = None
    since: float = -FOREVER
    until: float = FOREVER
    concerned: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        _checked(f"a probability of {self.probability!r}", 0.0 <= self.probability <= 1.0)
        _checked(f"skip={self.skip!r}", self.skip >= 0)
        _checked(f"times={self.times!r}", self.times is None or self.times >= 1)
        _checked(f"a rule from {self.since!r} s until {self.until!r} s", self.since < self.until)
        for kind in self.kinds or ():
            _checked(f"{kind!r} is none of the kinds {', '.join(KINDS)}", kind in KINDS)

    @property
    def name(self) -> str:
        """What the rule is called in counts and logs."""
        return type(self).__name__.lower()

    def is_over(self, now: float) -> bool:
        """Whether it will make no frame suffer any more."""
        return now >= self.until or (self.times is not None and self.hits >= self.times)

    def concerns(self, source: str, destination: str, channel: str, kind: str) -> bool:
        """Whether a frame is one of those that may suffer."""
        return (
            (self.sources is None or source in self.sources)
            and (self.destinations is None or destination in self.destinations)
            and (self.channels is None or channel in self.channels)
            and (self.kinds is None or kind in self.kinds)
        )

    def strikes(self, rng: Random) -> bool:
        """Count a frame that is concerned; whether it suffers."""
        self.concerned += 1
        if self.concerned <= self.skip:
            return False
        if self.probability < 1.0 and rng.random() >= self.probability:
            return False
        self.hits += 1
        return True

    def cuts(self, source: str, destination: str) -> bool:
        """Whether it lets nothing at all pass from one node to the other."""
        return False

    @abstractmethod
    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        """What becomes of a frame that suffers, of which others have decided this so far."""


@dataclass(slots=True, eq=False, kw_only=True)
class Cut(Rule):
    """Nothing passes from the sources to the destinations; the other way is another rule's affair.

    A cut of some channels or kinds only lets others pass, and leaves new connections alone.
    """

    def cuts(self, source: str, destination: str) -> bool:
        whole = self.channels is None and self.kinds is None and self.probability == 1.0 and self.times is None
        return whole and not self.skip and self.concerns(source, destination, "", "")

    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        return DROPPED


@dataclass(slots=True, eq=False, kw_only=True)
class Partition(Cut):
    """Nothing passes between groups of nodes, either way; a node that is in none of them is not concerned.

    Attributes:
        groups: names of nodes, each in one group at most.
    """

    groups: tuple[tuple[str, ...], ...]
    _group_of: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        Cut.__post_init__(self)  # super() without arguments does not find a class with slots
        names = [name for group in self.groups for name in group]
        _checked("a partition has two groups of nodes at least, none of them empty", len(self.groups) >= 2)
        _checked("a partition has no empty group", all(self.groups))
        self._group_of = {name: number for number, group in enumerate(self.groups) for name in group}
        _checked("a node is in one group of a partition at most", len(names) == len(self._group_of))

    def concerns(self, source: str, destination: str, channel: str, kind: str) -> bool:
        here, there = self._group_of.get(source), self._group_of.get(destination)
        return here is not None and there is not None and here != there


@dataclass(slots=True, eq=False, kw_only=True)
class Omission(Rule):
    """The frame is lost."""

    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        return DROPPED


@dataclass(slots=True, eq=False, kw_only=True)
class Duplication(Rule):
    """The frame arrives so many more times.

    Attributes:
        copies: at least 1.
    """

    copies: int = 1

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _checked(f"copies={self.copies!r}", self.copies >= 1)

    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        return verdict * (1 + self.copies)


@dataclass(slots=True, eq=False, kw_only=True)
class Delay(Rule):
    """The frame arrives later, in its order.

    Attributes:
        seconds: by how much.
    """

    seconds: float

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _checked(f"a delay of {self.seconds!r} s", 0.0 <= self.seconds < FOREVER)

    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        return tuple(each._replace(after=each.after + self.seconds) for each in verdict)


@dataclass(slots=True, eq=False, kw_only=True)
class Reordering(Rule):
    """The frame arrives later by chance, and others overtake it.

    Attributes:
        jitter: seconds by which it is late at most.
    """

    jitter: float

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _checked(f"a jitter of {self.jitter!r} s", 0.0 <= self.jitter < FOREVER)

    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        return tuple(each._replace(after=each.after + rng.random() * self.jitter, loose=True) for each in verdict)


@dataclass(slots=True, eq=False, kw_only=True)
class Flip(Rule):
    """Bits of the frame arrive wrong; its length does not, so the frames behind it arrive as they are.

    Attributes:
        bits: how many, at positions drawn for each frame.
        positions: where instead, each at least 0 and below 1.
    """

    bits: int = 1
    positions: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _checked(f"bits={self.bits!r}", self.bits >= 1)
        for position in self.positions:
            _checked(f"a position of {position!r} in a frame", 0.0 <= position < 1.0)

    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        return tuple(each._replace(flips=each.flips + self._drawn(rng)) for each in verdict)

    def _drawn(self, rng: Random) -> tuple[float, ...]:
        return self.positions or tuple(rng.random() for _ in range(self.bits))


@dataclass(slots=True, eq=False, kw_only=True)
class Suspicion(Rule):
    """The failure detector of the sources holds the destinations, which live, for dead: at once, and again.

    Attributes:
        every: seconds between two times; each pause is up to half as long again, by chance.
    """

    every: float = 1.0

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _checked(f"suspicions every {self.every!r} s", 0.0 < self.every < FOREVER)
        _checked("a suspicion is of certain peers", bool(self.destinations))
        self.due = self.since

    due: float = field(default=-FOREVER, init=False)

    def concerns(self, source: str, destination: str, channel: str, kind: str) -> bool:
        return False

    def apply(self, verdict: Verdict, rng: Random) -> Verdict:
        return verdict


class Faults:
    """The rules in force, by the numbers under which they were added.

    Attributes:
        counts: how many frames suffered, and how many suspicions arose, by the rule's name; past rules included.
    """

    __slots__ = ("_next", "_rules", "counts")

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._next = 1
        self.counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(list(self._rules.values()))

    def add(self, rule: Rule) -> int:
        """Put a rule in force, behind those that are; return its number."""
        number = self._next
        self._next += 1
        self._rules[number] = rule
        return number

    def remove(self, number: int) -> bool:
        """Take a rule out of force; whether it was in force."""
        return self._rules.pop(number, None) is not None

    def has(self, number: int) -> bool:
        """Whether the rule of that number is in force."""
        return number in self._rules

    def clear(self) -> None:
        """Take every rule out of force."""
        self._rules.clear()

    def expire(self, now: float) -> None:
        """Forget the rules that are over."""
        for number in [number for number, rule in self._rules.items() if rule.is_over(now)]:
            del self._rules[number]

    def is_cut(self, source: str, destination: str, now: float) -> bool:
        """Whether nothing passes from one node to the other, new connections included."""
        return any(rule.since <= now < rule.until and rule.cuts(source, destination) for rule in self._rules.values())

    def decide(self, source: str, destination: str, channel: str, kind: str, now: float, rng: Random) -> Verdict:
        """Say how a frame arrives that is sent now.

        Args:
            source, destination, channel, kind: as in `Rule`.
            now: seconds, on any clock that does not go back.
            rng: chance; drawn from only where a rule asks for it.
        Returns:
            PASSED itself where no rule makes the frame suffer; DROPPED, which is empty, where it is lost.
        """
        verdict = PASSED
        over = False
        for rule in self._rules.values():
            if rule.since <= now and not rule.is_over(now) and rule.concerns(source, destination, channel, kind):
                if rule.strikes(rng):
                    self.count(rule)
                    verdict = rule.apply(verdict, rng)
                if not verdict:
                    break
            over = over or rule.is_over(now)
        if over:
            self.expire(now)
        return verdict

    def suspected(self, observer: str, now: float, rng: Random) -> list[str]:
        """The peers that the observer's failure detector holds for dead now, each once."""
        found: dict[str, None] = {}
        for rule in self._rules.values():
            if not isinstance(rule, Suspicion) or rule.due > now or rule.is_over(now):
                continue
            if rule.sources is None or observer in rule.sources:
                rule.due = now + rule.every * (1.0 + 0.5 * rng.random())
                if rule.strikes(rng):
                    self.count(rule)
                    found.update(dict.fromkeys(rule.destinations or ()))
        self.expire(now)
        return list(found)

    def next_suspicion(self) -> float | None:
        """When `suspected` must be asked again; None if there is nothing to ask for."""
        return min((rule.due for rule in self._rules.values() if isinstance(rule, Suspicion)), default=None)

    def count(self, rule: Rule) -> None:
        """Note that something suffered by the rule."""
        self.counts[rule.name] = self.counts.get(rule.name, 0) + 1


class Pipe(Generic[Item]):
    """Frames on their way in one direction of one connection: each until its time, and in order unless it is loose."""

    __slots__ = ("_ahead", "_count", "_last", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Any, bool]] = []  # a heap: when, in which order, what, loose
        self._count = 0
        self._ahead = 0  # frames that wait in order
        self._last = -FOREVER  # when the last of those arrives

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Item, delivery: Delivery, now: float) -> bool:
        """Take a frame that is sent now; whether it has arrived, and is not kept."""
        when = now + delivery.after
        if not delivery.loose:
            when = max(when, self._last)
        if when <= now and (delivery.loose or not self._ahead):
            return True
        if not delivery.loose:
            self._last = when
            self._ahead += 1
        self._count += 1
        heappush(self._waiting, (when, self._count, item, delivery.loose))
        return False

    @property
    def next(self) -> float | None:
        """When the next frame arrives; None if there is none."""
        return self._waiting[0][0] if self._waiting else None

    def due(self, now: float) -> Item | None:
        """Give out the next frame that has arrived by now, or None."""
        if not self._waiting or self._waiting[0][0] > now:
            return None
        _, _, item, loose = heappop(self._waiting)
        self._ahead -= not loose
        return item  # type: ignore[no-any-return]

    def drain(self) -> list[Item]:
        """Give out all frames, in the order in which they would have arrived."""
        items = [item for _, _, item, _ in sorted(self._waiting, key=lambda entry: entry[:2])]
        self._waiting.clear()
        self._ahead = 0
        self._last = -FOREVER
        return items


def flipped(octets: bytes, positions: tuple[float, ...]) -> bytes:
    """The octets with the bits at these positions (at least 0, below 1) inverted; a bit that is named twice twice."""
    changed = bytearray(octets)
    for position in positions:
        octet, bit = divmod(int(position * len(octets) * 8), 8)
        changed[octet] ^= 0x80 >> bit
    return bytes(changed)
