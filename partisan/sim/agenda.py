"""What is to happen, in order of time: a queue that is fast for tens of thousands of entries.

Time is cut into slots of eight milliseconds. An entry goes into its slot's list, unsorted; a slot's list is sorted
when its turn comes. As most entries lie some slots ahead, adding is an append, and taking is a pop: half the cost of
one large heap. What is added to the slot at hand goes into a small heap beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any, TypeAlias

SLOTS = 128.0
"""Slots a second (ours)."""

Entry: TypeAlias = tuple[float, int, int, Any, Any, Any]
"""When, in which order among those of one time, and four things that are the caller's own."""


class Agenda:
    """Entries, given out by time and then by their order.

    Attributes:
        buckets: slot -> its entries. A caller in a hurry may append to a list that is there; if there is none it calls
            `add`.
    """

    __slots__ = ("_current", "_late", "_order", "_slot", "buckets")

    def __init__(self) -> None:
        self.buckets: dict[int, list[Entry]] = {}
        self._order: list[int] = []  # a heap of the slots that have a bucket
        self._slot = -1
        self._current: list[Entry] = []  # the entries of the slot at hand, the next one last
        self._late: list[Entry] = []  # a heap of those that were added to it since

    def __len__(self) -> int:
        return len(self._current) + len(self._late) + sum(map(len, self.buckets.values()))

    def add(self, entry: Entry) -> None:
        """Take an entry; its time is not before that of the latest one given out."""
        slot = int(entry[0] * SLOTS)
        bucket = self.buckets.get(slot)
        if bucket is not None:
            bucket.append(entry)
        elif slot <= self._slot:
            heappush(self._late, entry)
        else:
            self.buckets[slot] = [entry]
            heappush(self._order, slot)

    def until(self, end: float) -> Iterator[Entry]:
        """Give out what is to happen until then, also what is added meanwhile."""
        late, last = self._late, int(end * SLOTS)
        while True:
            current = self._current
            if self._slot < last:  # all of it, without comparing times
                while current or late:
                    if not late:
                        yield current.pop()
                    else:
                        yield current.pop() if current and current[-1] < late[0] else heappop(late)
            while current or late:
                source = late if late and (not current or late[0] < current[-1]) else current
                entry = source[0] if source is late else source[-1]
                if entry[0] > end:
                    return
                yield heappop(late) if source is late else current.pop()
            if not self._order or self._order[0] > last:
                return
            self._slot = heappop(self._order)
            self._current = self.buckets.pop(self._slot)
            self._current.sort(reverse=True)
