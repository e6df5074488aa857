"""A replicated map in which the last writer wins: a handler of Plumtree that converges whatever gets lost.

Every write is a message with an id of its own, its dot: `(actor, epoch, number)`, where an actor is a node, an epoch
one of its lives, and numbers count from 1. It has a stamp, one more than the highest stamp that its writer knew
(Lamport, 1978), so that what was written knowing of a write comes after it. Of two writes to a key the one of the
higher stamp is later, then the one of the greater dot. A deletion is a write without a value, and is kept: a map never
shrinks.

Each replica keeps the latest write to each key, and a version vector with exceptions: which numbers of each life it
knows (Almeida et al., Dotted version vectors, 2012; Malkhi and Terry, Concise version vectors, 2005). In an exchange a
replica tells its vector; the other answers with the writes that it lacks, and with its own vector; then the first
answers with those that the other lacks.

What holds, after every message in any order, with any loss and duplication:

- for each dot in the vector of a replica, it has that write or a later one to the same key. So a write whose dot is
  known can never be missed, and replicas of equal vectors have equal entries;
- so another's vector may be joined only with all the writes that we lack of it, from the same message: one that is too
  large for a message comes in parts, which say nothing of other dots;
- and only if we still know what the other's answer took for known: a vector that it is based on comes with it.

It trusts its peers with content, as any member may write, but not with form: what does not make sense raises
ValueError, entries, lives and gaps are bounded, a write under our own name must be ours, and a stamp that is far ahead
of all that are known is refused, as it would win for ever.

Ids, keys and values must come back from the codec as they went: as bytes, numbers, Atoms, tuples; a str does not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from partisan.errors import LocalProtocolError
from partisan.machines.machine import Peer
from partisan.machines.plumtree_messages import DEFAULT_CHANNEL, Found, Missing, Talk

Life: TypeAlias = tuple[Any, int]
"""(actor, epoch)"""

Dot: TypeAlias = tuple[Any, int, int]
"""(actor, epoch, number)"""

Payload: TypeAlias = tuple[Any, int, bool, Any]
"""(key, stamp, whether there is a value, the value or 0)"""

Vector: TypeAlias = tuple[tuple[Any, int, tuple[tuple[int, int], ...]], ...]
"""((actor, epoch, ((first, last), ...)), ...): runs of numbers that are known, both ends included, ascending."""

DIGEST, WRITES = 0, 1
"""What is said in an exchange: (DIGEST, vector), and (WRITES, ((dot, payload), ...), the sender's vector, the vector
that it answers, whether these are all the writes which the latter lacks of the former, whether an answer is wanted)."""

_MOST_RANGES = 4096
"""Of one life (ours)."""

_BITS = 64
_NOTHING: dict[Any, None] = {}
_MOST_OCTETS = 1 << 20
"""Of the writes in one message of an exchange, about; one alone may be larger (ours)."""

_AHEAD = 1 << 32
"""How far a stamp may be ahead of the highest one (ours)."""


class Overflow(LocalProtocolError):
    """The map has as many keys as it may have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The latest write to a key.

    Attributes:
        present: whether it wrote a value; else the key is deleted.
    """

    dot: Dot
    stamp: int
    present: bool
    value: Any

    def is_later(self, other: Entry) -> bool:
        """Whether this write wins."""
        return (self.stamp, _order(self.dot)) > (other.stamp, _order(other.dot))


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value. What `LwwMap.broadcast_data` takes."""

    key: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key. What `LwwMap.broadcast_data` takes."""

    key: Any


Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""(first, last), both included; ascending, with a gap between any two."""


class Known:
    """Which dots are known: a version vector with exceptions."""

    __slots__ = ("_lives",)

    def __init__(self) -> None:
        self._lives: dict[Life, list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._lives)

    def __contains__(self, dot: Dot) -> bool:
        return self._covers(dot[:2], dot[2], dot[2])

    def knows_life(self, life: Life) -> bool:
        """Whether a dot of it is known."""
        return life in self._lives

    def add(self, life: Life, ranges: Ranges) -> bool:
        """Know these numbers too; return False if that would leave too many gaps, and change nothing."""
        mine = self._lives.get(life, [])
        if mine and len(ranges) == 1 and ranges[0][0] == mine[-1][1] + 1:
            mine[-1] = (mine[-1][0], ranges[0][1])
            return True
        merged: list[tuple[int, int]] = []
        for each in sorted([*mine, *ranges]):
            if merged and each[0] <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(each[1], merged[-1][1]))
            else:
                merged.append(each)
        if len(merged) > _MOST_RANGES:
            return False
        self._lives[life] = merged
        return True

    def join(self, vector: Vector) -> None:
        """Know all that is in the vector, but for lives of which that would leave too many gaps."""
        for actor, epoch, ranges in vector:
            self.add((actor, epoch), ranges)

    def includes(self, vector: Vector) -> bool:
        """Whether all that is in the vector is known."""
        return all(self._covers((actor, epoch), *each) for actor, epoch, ranges in vector for each in ranges)

    def vector(self) -> Vector:
        """As it travels."""
        return tuple((*life, tuple(ranges)) for life, ranges in self._lives.items())

    def _covers(self, life: Life, first: int, last: int) -> bool:
        ranges = self._lives.get(life, ())
        at = bisect_right(ranges, first, key=itemgetter(0))
        return at > 0 and last <= ranges[at - 1][1]


class LwwMap:
    """One replica; a `Handler` of Plumtree, and a `Talker`.

    Args:
        actor: our own name, as ids have it; another for each replica. It must come back from the codec as it went.
        epoch: of this life: another one for each life of the actor that does not remember the former.
        channel: on which messages travel.
        on_change: callable(key, entry), called when a write has won, our own too.
        most_keys: deleted ones included.
        most_lives: of actors that have ever written.
        most_writes: in one message of an exchange.
    """

    def __init__(
        self,
        actor: Any,
        epoch: int,
        channel: str = DEFAULT_CHANNEL,
        on_change: Callable[[Any, Entry], None] | None = None,
        most_keys: int = 1 << 20,
        most_lives: int = 4096,
        most_writes: int = 1024,
    ) -> None:
        self.actor = actor
        self.epoch = epoch
        self._channel = channel
        self._on_change = on_change
        self._most_keys = most_keys
        self._most_lives = most_lives
        self._most_writes = most_writes
        self._number = 0
        self._stamp = 0
        self._entries: dict[Any, Entry] = {}
        self._keys: dict[Dot, Any] = {}  # of each entry's dot
        self._known = Known()

    # What the application asks.

    def __len__(self) -> int:
        return sum(entry.present for entry in self._entries.values())

    def __contains__(self, key: Any) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.present

    def __getitem__(self, key: Any) -> Any:
        entry = self._entries[key]
        if not entry.present:
            raise KeyError(key)
        return entry.value

    def __iter__(self) -> Iterator[Any]:
        return (key for key, entry in self._entries.items() if entry.present)

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of the key."""
        entry = self._entries.get(key)
        return default if entry is None or not entry.present else entry.value

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Keys and values."""
        return ((key, self._entries[key].value) for key in self)

    @property
    def entries(self) -> Mapping[Any, Entry]:
        """The latest write to each key, deletions included."""
        return self._entries

    @property
    def vector(self) -> Vector:
        """Which writes are known."""
        return self._known.vector()

    # What Plumtree asks; see `Handler`.

    def broadcast_data(self, data: Any) -> tuple[Dot, Payload]:
        """Write it here; return (dot, payload).

        Raises:
            LocalProtocolError: it is neither a `Put` nor a `Delete`.
            Overflow: there is no room for another key.
        """
        if not isinstance(data, Put | Delete):
            raise LocalProtocolError(f"a map takes no {type(data).__name__}")
        if data.key not in self._entries and len(self._entries) >= self._most_keys:
            raise Overflow(f"{self._most_keys} keys")
        dot = (self.actor, self.epoch, self._number + 1)
        value = data.value if isinstance(data, Put) else 0
        payload = (data.key, self._stamp + 1, isinstance(data, Put), value)
        self._number += 1
        self._take(dot, payload)
        return dot, payload

    def merge(self, id: Any, payload: Any) -> bool:
        """Take a write; return whether it is new. Raises ValueError if it is none."""
        dot, payload = _write((id, payload))
        if dot in self._known:
            return False
        self._check(dot, payload)
        self._take(dot, payload)
        return True

    def is_stale(self, id: Any) -> bool:
        """Whether the write is known. Raises ValueError if that is no id of one."""
        return _dot(id) in self._known

    def graft(self, id: Any) -> Found | Missing:
        """Return the payload of the write, unless a later one has taken its place. Raises ValueError as `is_stale`."""
        dot = _dot(id)
        if dot in self._keys:
            return Found(self._payload(dot))
        return Missing.STALE if dot in self._known else Missing.UNKNOWN

    def exchange(self, peer: Peer) -> Talk:
        """Tell the peer what we know."""
        return Talk(((DIGEST, self.vector),))

    def broadcast_channel(self) -> str:
        """See `Handler`."""
        return self._channel

    def hear(self, peer: Peer, body: Any) -> Talk:
        """Take the peer's part of an exchange. Raises ValueError if it makes no sense, or there is no room for it."""
        if type(body) is tuple and len(body) == 2 and body[0] == DIGEST:
            return Talk((self._answer(_vector(body[1]), wanted=True),))
        if type(body) is not tuple or len(body) != 6 or body[0] != WRITES:
            raise ValueError("neither a digest nor writes")
        _, writes, theirs, base, whole, wanted = body
        if type(writes) is not tuple or type(whole) is not bool or type(wanted) is not bool:
            raise ValueError("neither a digest nor writes")
        checked = [_write(each) for each in writes]
        if len(dict(checked)) < len(checked):  # of two keys with one dot, one could never be written again
            raise ValueError("two writes of one id")
        theirs, base = _vector(theirs), _vector(base)
        new = [each for each in checked if each[0] not in self._known]
        for dot, payload in new:
            self._check(dot, payload)
            self._take(dot, payload)
        if whole and self._known.includes(base):
            self._join(theirs)
        if not wanted:
            return Talk(over=True)
        if whole:
            return Talk((self._answer(theirs, wanted=False),), over=True)
        return Talk(((DIGEST, self.vector),)) if new else Talk(over=True)

    def _answer(self, theirs: Vector, wanted: bool) -> Any:
        """The writes that a replica of that vector lacks."""
        known = Known()
        known.join(theirs)
        lacking = [dot for dot in self._keys if dot not in known]
        writes: list[tuple[Dot, Payload]] = []
        octets = 0
        for dot in lacking[: self._most_writes]:
            payload = self._payload(dot)
            octets += _octets(payload)
            if writes and octets > _MOST_OCTETS:
                break
            writes.append((dot, payload))
        return (WRITES, tuple(writes), self.vector, theirs, len(writes) == len(lacking), wanted)

    def _join(self, vector: Vector) -> None:
        """Know what another knows, of which we have all writes; not of our own life, which it cannot know better."""
        new = sum(not self._known.knows_life((actor, epoch)) for actor, epoch, _ in vector)
        if len(self._known) + new <= self._most_lives:
            self._known.join(tuple(each for each in vector if each[:2] != (self.actor, self.epoch)))

    # Writes.

    def _payload(self, dot: Dot) -> Payload:
        key = self._keys[dot]
        entry = self._entries[key]
        return (key, entry.stamp, entry.present, entry.value)

    def _take(self, dot: Dot, payload: Payload) -> None:
        key, stamp, present, value = payload
        if not self._known.add(dot[:2], ((dot[2], dot[2]),)):
            raise ValueError("too many gaps between the writes of one writer")
        self._stamp = max(self._stamp, stamp)
        entry, former = Entry(dot, stamp, present, value), self._entries.get(key)
        if former is not None:
            if not entry.is_later(former):
                return
            del self._keys[former.dot]
        self._entries[key] = entry
        self._keys[dot] = key
        if self._on_change is not None:
            self._on_change(key, entry)

    def _check(self, dot: Dot, payload: Payload) -> None:
        """Raise ValueError if there is no room for a write that is new, or it cannot be."""
        key, stamp, _, _ = payload
        if dot[:2] == (self.actor, self.epoch):
            raise ValueError("a write under our own name")
        if stamp > self._stamp + _AHEAD:
            raise ValueError("a stamp far ahead of all others")
        if key not in self._entries and len(self._entries) >= self._most_keys:
            raise ValueError(f"more than {self._most_keys} keys")
        if not self._known.knows_life(dot[:2]) and len(self._known) >= self._most_lives:
            raise ValueError(f"more than {self._most_lives} lives of writers")


def _octets(value: Any) -> int:
    """About how large a term is."""
    octets, left = 0, [value]
    while left:
        each = left.pop()
        octets += 8
        if isinstance(each, bytes | str):
            octets += len(each)
        elif isinstance(each, tuple | list):
            left += each
        elif isinstance(each, Mapping):
            left += (*each.keys(), *each.values())
        elif isinstance(each, int):
            octets += each.bit_length() // 8
    return octets


def _order(dot: Dot) -> tuple[str, str, int, int]:
    """Any order that is the same everywhere, whatever actors are."""
    return (type(dot[0]).__name__, repr(dot[0]), dot[1], dot[2])


def _number(value: Any) -> int:
    if type(value) is not int or value < 0 or value.bit_length() > _BITS:
        raise ValueError("no number")
    return value


def _dot(value: Any) -> Dot:
    if type(value) is not tuple or len(value) != 3:
        raise ValueError("no id of a write")
    _hashable(value[0])
    if _number(value[2]) == 0:
        raise ValueError("no id of a write")
    return (value[0], _number(value[1]), value[2])


def _hashable(value: Any) -> None:
    try:
        _NOTHING.get(value)
    except TypeError:
        raise ValueError("what cannot be a key") from None


def _write(value: Any) -> tuple[Dot, Payload]:
    if type(value) is not tuple or len(value) != 2 or type(value[1]) is not tuple or len(value[1]) != 4:
        raise ValueError("no write")
    key, stamp, present, content = value[1]
    _hashable(key)
    if type(present) is not bool:
        raise ValueError("no write")
    return _dot(value[0]), (key, _number(stamp), present, content)


def _vector(value: Any) -> Vector:
    if type(value) is not tuple:
        raise ValueError("no vector")
    for each in value:
        if (
            type(each) is not tuple
            or len(each) != 3
            or type(each[2]) is not tuple
            or not 0 < len(each[2]) <= _MOST_RANGES
        ):
            raise ValueError("no vector")
        _hashable(each[0])
        _number(each[1])
        above = 0
        for run in each[2]:
            if type(run) is not tuple or len(run) != 2 or not above < _number(run[0]) <= _number(run[1]):
                raise ValueError("no vector")
            above = run[1] + 1
    found: Vector = value
    return found
