"""What comes to a send queue while it is busy waits for its turn."""

from collections.abc import Callable

from typing_extensions import disjoint_base

__all__ = ["Turns"]

@disjoint_base
class Turns:
    """The part of a send queue that knows whose turn it is."""

    @property
    def closed(self) -> bool: ...
    @property
    def held(self) -> bool:
        """Whether its octets must be left alone now: a frame is being written, or they are lent."""

    def withhold(self, octets: int) -> None:
        """Charge the bound with octets of frames that the tap keeps; negative ones are kept no more."""

    def defer(self, function: Callable[[], object]) -> None:
        """Call a function, when the queue is no longer busy: behind what was pushed until now."""
