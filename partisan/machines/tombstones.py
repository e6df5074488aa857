"""When a node may forget the dead tokens of an OR-set.

A dead token (a tombstone) keeps an older copy of the set from bringing a removed element back. It is of no use once
nobody calls it active any more. The rule:

- a token is forgotten when it has been dead here for `age` seconds, and every other member has told a state since it
  died here in which no token is active that is dead here;
- only while every member is a node that follows this rule (a Python node: its actor says so). A real node keeps every
  token, takes a state without some for an older one and tells everybody, so in a mixed cluster nothing is forgotten;
- a node that follows the rule does not take up dead tokens that it does not know from others that follow it. So what
  one node has forgotten does not come back, and nodes that differ in dead tokens alone are equal for all purposes.

Its limits: while a member cannot be reached, nothing is forgotten (make it leave). A message that is under way for
longer than `age`, or a node that was removed while it could not be reached and comes back after that, brings back what
it still calls active: the members then see it, and whoever should not be there has to be removed anew.

The number of tombstones is so bounded by the removals within `age` (or since a member was last heard of).
"""

from __future__ import annotations

from collections.abc import Iterable

from partisan.machines.machine import Peer
from partisan.machines.orset import OrSet


class Tombstones:
    """What one node knows of who knows what is dead."""

    def __init__(self) -> None:
        self._since: dict[bytes, float] = {}  # dead token -> when this was first seen
        self._agreed: dict[Peer, float] = {}  # peer -> when it last told a state that revives nothing
        self._follows: dict[Peer, bool] = {}

    def heard(self, peer: Peer, follows: bool, agrees: bool, now: float) -> None:
        """The peer has told its state.

        Args:
            follows: it follows the rule.
            agrees: it calls nothing active that is dead here.
        """
        self._follows[peer] = follows
        if agrees:
            self._agreed[peer] = now

    def follows(self, peer: Peer) -> bool:
        """Whether the peer has said that it follows the rule."""
        return self._follows.get(peer, False)

    def others(self, peers: Iterable[Peer]) -> tuple[list[Peer], list[Peer]]:
        """Of these peers, those that do not follow the rule, and those that have not said yet whether they do."""
        known = [(peer, self._follows.get(peer)) for peer in peers]
        return [peer for peer, follows in known if follows is False], [peer for peer, says in known if says is None]

    def all_follow(self, members: tuple[Peer, ...], myself: Peer) -> bool:
        """Whether every member is known to follow the rule."""
        return all(peer == myself or self._follows.get(peer, False) for peer in members)

    def forgettable(
        self, state: OrSet[Peer], members: tuple[Peer, ...], myself: Peer, age: float, now: float
    ) -> list[bytes]:
        """The dead tokens that may be forgotten; what is known of peers that are no members is let go of."""
        self._follows = {peer: self._follows[peer] for peer in members if peer in self._follows}
        self._agreed = {peer: self._agreed[peer] for peer in members if peer in self._agreed}
        since = self._since
        self._since = {
            token: since.get(token, now)
            for _, tokens in state.items()
            for token, active in tokens.items()
            if not active
        }
        if not self.all_follow(members, myself):
            return []
        settled = min((self._agreed.get(peer, -1.0) for peer in members if peer != myself), default=now)
        return [token for token, died in self._since.items() if now - died >= age and died < settled]
