"""The part of acknowledged delivery that every message passes."""

from collections.abc import Callable, Iterator
from typing import Any, Self, final

from typing_extensions import disjoint_base

__all__ = ["Acknowledging", "Fresh", "Parcel"]

@final
class Parcel:
    """A message that is kept, as `partisan.machines.outstanding.Parcel`; the garbage collector does not see it.

    Attributes:
        frame: its octets.
        place: where it goes.
    """

    at: float
    @property
    def frame(self) -> bytes: ...
    @property
    def place(self) -> Any: ...
    @property
    def octets(self) -> int: ...
    @property
    def tag(self) -> Any: ...
    @property
    def message(self) -> Self:
        """What the machine gives back to be sent again: this."""

@final
class Fresh:
    """Messages that were sent once, by their numbers: `partisan.machines.outstanding.Fresh` in a ring.

    What the core puts here is octets, and no object until it is asked for.

    Args:
        first: the number of the first message.
    """

    closed: bool
    """Its lane is forgotten: what is sent from now on has another."""

    def __new__(cls, first: int) -> Self: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[int]:
        """The numbers, ascending."""

    @property
    def next(self) -> int:
        """The number of the next message."""

    @property
    def octets(self) -> int: ...
    def append(self, parcel: Any, now: float) -> None:
        """Hold a parcel under the next number."""

    def pop(self, number: int) -> Any:
        """Hold a message no more, and return its parcel; None if it is not held."""

    def get(self, number: int) -> Any:
        """The parcel of that number, if it is held."""

    def at(self, number: int) -> float:
        """When a message that is held was sent; KeyError if it is not held."""

    def drop(self, first: int, last: int) -> tuple[int, float, list[tuple[int, Any]], list[int]]:
        """Hold the messages from first to last no more.

        Returns:
            how many they were; when the last of them was sent; (number, tag) of those with a tag; and the numbers that
            were not held.
        """

@disjoint_base
class Acknowledging:
    """What a node keeps and has seen, as its router asks.

    Args:
        node: this node's name.
        sent, seen: the halves of its AcknowledgedDelivery.
        clock: gives monotonic seconds.
        carry_out: does what the machine asks for.
        owe: called once until `owing` is reset: acknowledgements are to be sent.
        hold: called with the node's name: so much waits for it that the running process must.
        expected: tells whether a node that was never connected will be.
        first_number: numbers of our kind are at least this, and below 2**64.
    Attributes:
        high_water: how many messages may wait for a node before senders are held.
        max_messages, max_octets: as the machine's options.
        max_frame: octets that a frame may have.
        only_agreed: messages wait for nodes that have not agreed to batches: others would not survive one.
    """

    high_water: int
    max_messages: int
    max_octets: int
    max_frame: int
    only_agreed: bool
    owing: bool
    """Whether `owe` has been called."""

    def __new__(
        cls,
        node: str,
        *,
        sent: Any,
        seen: Any,
        clock: Callable[[], float],
        carry_out: Callable[[], object],
        owe: Callable[[], object],
        hold: Callable[[str], object],
        expected: Callable[[str], bool],
        first_number: int,
    ) -> Self: ...
    def may_go(self, peer: str) -> bool:
        """Whether a message may be written to the peer; if not, it waits."""

    def settle(self) -> None:
        """Let the machine hear of what was accepted: before it is asked or told anything about what has come."""

    def forget(self) -> None:
        """What has come is asked of the machine anew."""
