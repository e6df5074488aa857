"""The octet bound that the send queues of one (peer, channel) share, and what happens above it."""

from collections.abc import Callable
from typing import Self

from typing_extensions import disjoint_base

__all__ = ["Bound"]

@disjoint_base
class Bound:
    """How many octets may wait for one (peer, channel).

    Args:
        node, channel: whose, for messages.
        high_water, hard_limit: octets.
        policy: "wait", "error" or "drop_oldest": what happens above high water.
        changed: called with the bound when `over` has changed; or None.
    """

    def __new__(
        cls,
        node: str,
        channel: str,
        *,
        high_water: int,
        hard_limit: int,
        policy: str = "wait",
        changed: Callable[[Bound], object] | None = None,
    ) -> Self: ...
    @property
    def node(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def policy(self) -> int:
        """0 wait, 1 error, 2 drop the oldest."""

    @property
    def queued_octets(self) -> int:
        """Octets that wait now, in all queues of the bound."""

    @property
    def high_water(self) -> int:
        """Octets; above it the policy decides."""

    @property
    def low_water(self) -> int:
        """Octets; at or below it the bound is relieved."""

    @property
    def hard_limit(self) -> int:
        """Octets; a send that finds so many is refused."""

    @property
    def over(self) -> bool:
        """Above high water, and not yet down to low water."""

    @property
    def dropped_frames(self) -> int: ...
    @property
    def dropped_octets(self) -> int: ...
    @property
    def superseded_frames(self) -> int:
        """Frames of monotonic queues that were not sent because newer ones came, in all queues of the bound."""

    def adjust(self, *, high_water: int, hard_limit: int, policy: str) -> None:
        """Take other limits, or another policy: what waits now is judged by them at once.

        A queue drops frames only if it was made for that: the policy of a queue that exists changes between the others.
        """
