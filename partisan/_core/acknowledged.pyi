"""The part of acknowledged delivery that every message passes."""

from collections.abc import Callable
from typing import Any, Self, final

__all__ = ["Acknowledging", "Parcel"]

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

class Acknowledging:
    """What a node keeps and has seen, as its router asks.

    Args:
        node: this node's name.
        machine: its AcknowledgedDelivery.
        clock: gives monotonic seconds.
        carry_out: does what the machine asks for.
        owe: called once until `owing` is reset: acknowledgements are to be sent.
        hold: called with the node's name: so much waits for it that the running process must.
        high_water: how many messages may wait for a node before senders are held.
        first_number: numbers of our kind are at least this, and below 2**64.
    """

    owing: bool
    """Whether `owe` has been called."""

    def __new__(
        cls,
        node: str,
        *,
        machine: Any,
        clock: Callable[[], float],
        carry_out: Callable[[], object],
        owe: Callable[[], object],
        hold: Callable[[str], object],
        high_water: int,
        first_number: int,
    ) -> Self: ...
