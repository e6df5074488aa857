"""How many connections the slots of a lane use."""

from typing import final

__all__ = ["Places"]

@final
class Places:
    """For each slot: among how many connections its own is.

    Args:
        slots: how many.
    """

    def __new__(cls, slots: int) -> Places: ...
    @property
    def apart(self) -> int:
        """Slots that have parted from the connection that all share, without those that never return."""
