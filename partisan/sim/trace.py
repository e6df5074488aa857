"""A digest of a run: two runs of equal seeds have equal digests, on every machine and whatever the hash seed."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable

CHUNK = 1 << 13
"""Numbers that are kept until they are digested."""

NODE = 1 << 24
"""What the number of a node is multiplied by in the second number of an event, to which its code and effects add."""


class Trace:
    """What happened, as it is digested.

    Of each event that a node took there are the time, the node, what it was, and how many effects it had; with
    `detail`, each effect in words as well (which is slow).

    Attributes:
        numbers: two of each event that is not digested yet: when, and `NODE` times the node, plus the code of its type,
            plus how many effects it had. A caller in a hurry may append both, and calls `flush` when there are `CHUNK`.
        codes: type -> its code; a caller in a hurry who finds none calls `code`.
    """

    __slots__ = ("_digest", "_flushed", "codes", "detail", "numbers")

    def __init__(self, detail: bool = False) -> None:
        self.detail = detail
        self._flushed = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self.numbers: list[float] = []
        self.codes: dict[type, int] = {}

    def add(self, now: float, node: int, kind: type, effects: int) -> None:
        """Note that a node took an event, or a message, of that type."""
        code = self.codes.get(kind)
        if code is None:
            code = self.code(kind)
        self.numbers.append(now)
        self.numbers.append(node * NODE + code + effects)
        if len(self.numbers) >= CHUNK:
            self.flush()

    def tell(self, effects: Iterable[object]) -> None:
        """Note effects in words, after the event that had them."""
        self.flush()
        for effect in effects:
            self._digest.update(f"{effect!r}\n".encode())

    @property
    def events(self) -> int:
        """How many events there were."""
        return self._flushed + len(self.numbers) // 2

    def hexdigest(self) -> str:
        """The digest so far, as 32 digits."""
        self.flush()
        return self._digest.hexdigest()

    def code(self, kind: type) -> int:
        """Give a type that has none its code."""
        number = len(self.codes)
        code = self.codes[kind] = number * 0x10000
        self.flush()
        self._digest.update(f"{number} {kind.__qualname__}\n".encode())
        return code

    def flush(self) -> None:
        """Digest the numbers."""
        numbers = array("d", self.numbers)
        self._flushed += len(numbers) // 2
        if sys.byteorder == "big":
            numbers.byteswap()
        self._digest.update(numbers.tobytes())
        self.numbers.clear()
