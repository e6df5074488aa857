"""An observed-remove set: the value that full membership gossips.

Every addition of an element carries a fresh token; a removal marks the tokens that it has seen as inactive, and keeps
them (tombstones), so that an older copy of the set cannot bring them back. An element is a member while it has an
active token. Merging takes the union, and a token that both sides know is active only if it is on both; merging is
therefore commutative, associative and idempotent, and copies that exchange their states in any order become equal.

Paper: Shapiro, Preguica, Baquero, Zawirski, "A comprehensive study of convergent and commutative replicated data types"
(2011), section 3.3.5. Tombstones are kept until somebody who knows that they are of no use (`machines/tombstones.py`)
takes them out.
"""

from __future__ import annotations

from collections.abc import Hashable, ItemsView, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

E = TypeVar("E", bound=Hashable)

Tokens = Mapping[bytes, bool]
"""Token -> active."""

_NO_TOKENS: Tokens = {}


class OrSet(Generic[E]):
    """An immutable observed-remove set; every change returns another set, which shares what did not change.

    Iteration and `items` follow the order in which elements were learnt; equality ignores order. The canonical order of
    the wire is the wire's affair.

    Args:
        entries: element -> (token -> active), every element with at least one token. Kept, not copied: the caller lets
            go of it.
    """

    __slots__ = ("_entries", "_members", "_token_count")

    def __init__(self, entries: Mapping[E, Tokens] | None = None) -> None:
        self._entries: Mapping[E, Tokens] = {} if entries is None else entries
        self._members: tuple[E, ...] | None = None
        self._token_count = -1

    @property
    def members(self) -> tuple[E, ...]:
        """The elements that have an active token, in the order in which they were learnt."""
        if self._members is None:
            self._members = tuple(e for e, tokens in self._entries.items() if True in tokens.values())
        return self._members

    @property
    def token_count(self) -> int:
        """How many tokens there are, active or not."""
        if self._token_count < 0:
            self._token_count = sum(map(len, self._entries.values()))
        return self._token_count

    def items(self) -> ItemsView[E, Tokens]:
        """All elements with their tokens, removed ones included."""
        return self._entries.items()

    def tokens(self, element: E) -> Tokens:
        """The tokens of the element, active or not; empty if it was never added."""
        return self._entries.get(element, _NO_TOKENS)

    def add(self, element: E, token: bytes) -> OrSet[E]:
        """Add the element under a token that nobody has used before."""
        return OrSet({**self._entries, element: {**self.tokens(element), token: True}})

    def remove(self, elements: Iterable[E]) -> OrSet[E]:
        """Remove those of the elements that are members."""
        gone = {e: dict.fromkeys(self._entries[e], False) for e in elements if e in self}
        return OrSet({**self._entries, **gone}) if gone else self

    def without(self, dead: Iterable[bytes]) -> OrSet[E]:
        """Take these tokens out, and the elements that have no other."""
        gone = frozenset(dead)
        if not gone:
            return self
        left = {
            element: tokens
            if gone.isdisjoint(tokens)
            else {token: active for token, active in tokens.items() if token not in gone}
            for element, tokens in self._entries.items()
        }
        return OrSet({element: tokens for element, tokens in left.items() if tokens})

    def revives(self, other: OrSet[E]) -> bool:
        """Whether a token that is dead in `other` is active here."""
        for element, tokens in self._entries.items():
            theirs = other.tokens(element)
            if theirs is not tokens and any(theirs.get(token) is False for token, active in tokens.items() if active):
                return True
        return False

    def lacks(self, other: OrSet[E], dead: bool = True) -> bool:
        """Whether `other` would tell it something; without `dead`, dead tokens that are unknown here are nothing."""
        for element, theirs in other._entries.items():
            mine = self.tokens(element)
            if mine is theirs:
                continue
            for token, active in theirs.items():
                known = mine.get(token)
                if (active or dead) if known is None else (known and not active):
                    return True
        return False

    def merge(self, other: OrSet[E], dead: bool = True) -> OrSet[E]:
        """Join both sets: linear in `other`.

        Args:
            dead: take up dead tokens that are unknown here.
        Returns:
            `self` itself if `other` told nothing new, `other` itself if it knew everything, or a new set.
        """
        if other is self:
            return self
        merged: dict[E, Tokens] | None = None
        other_knows_all = len(other._entries) >= len(self._entries)
        mine_of = self._entries.get
        for element, theirs in other._entries.items():
            mine = mine_of(element)
            if mine is theirs or mine == theirs:
                continue
            both = theirs if mine is None and dead else _merge_tokens(mine or _NO_TOKENS, theirs, dead)
            other_knows_all = other_knows_all and both is theirs
            if both and both is not mine:
                if merged is None:
                    merged = dict(self._entries)
                merged[element] = both
        if merged is None:
            return self
        return other if other_knows_all and len(merged) == len(other._entries) else OrSet(merged)

    def __contains__(self, element: object) -> bool:
        return True in self._entries.get(element, _NO_TOKENS).values()  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[E]:
        return iter(self._entries)

    def __len__(self) -> int:
        """How many elements there are, removed ones included."""
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OrSet):
            return NotImplemented
        return self is other or self._entries == other._entries

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"OrSet({dict(self._entries)!r})"


def _merge_tokens(mine: Tokens, theirs: Tokens, dead: bool) -> Tokens:
    """Join the tokens of one element; return `theirs` or `mine` itself where that is the result."""
    both = dict(mine)
    for token, active in theirs.items():
        if active or dead or token in mine:
            both[token] = active and both.get(token, True)
    if both == theirs:
        return theirs
    return mine if both == mine else both
