"""A digest of a run: two runs of equal seeds have equal digests, on every machine and whatever the hash seed."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable

_CHUNK = 1 << 15
"""Numbers that are kept until they are digested."""


class Trace:
    """What happened, as it is digested.

    Of each event that a node took there are the time, the node, what it was, and how many effects it had; with
    `detail`, each effect in words as well (which is slow).

    """

    __slots__ = ("_codes", "_digest", "_flushed", "_numbers", "detail")

    def __init__(self, detail: bool = False) -> None:
        self.detail = detail
        self._flushed = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._numbers = array("d")
        self._codes: dict[type, int] = {}

    def add(self, now: float, node: int, kind: type, effects: int) -> None:
        """Note that a node took an event, or a message, of that type."""
        code = self._codes.get(kind)
        if code is None:
            code = self._code(kind)
        numbers = self._numbers
        numbers.append(now)
        numbers.append(node * 0x1000000 + code + effects)
        if len(numbers) >= _CHUNK:
            self._flush()

    def tell(self, effects: Iterable[object]) -> None:
        """Note effects in words, after the event that had them."""
        self._flush()
        for effect in effects:
            self._digest.update(f"{effect!r}\n".encode())

    @property
    def events(self) -> int:
        """How many events there were."""
        return self._flushed + len(self._numbers) // 2

    def hexdigest(self) -> str:
        """The digest so far, as 32 digits."""
        self._flush()
        return self._digest.hexdigest()

    def _code(self, kind: type) -> int:
        number = len(self._codes)
        code = self._codes[kind] = number * 0x10000
        self._flush()
        self._digest.update(f"{number} {kind.__qualname__}\n".encode())
        return code

    def _flush(self) -> None:
        numbers = self._numbers
        self._flushed += len(numbers) // 2
        if sys.byteorder == "big":
            numbers.byteswap()
        self._digest.update(numbers.tobytes())
        del numbers[:]
