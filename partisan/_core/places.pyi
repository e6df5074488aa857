"""The connections of a lane: how many its slots share, and which of these each may take."""

from typing import final

from partisan._core.sendqueue import SendQueue

__all__ = ["Places"]

@final
class Places:
    """Where the messages of a lane may go; used by the connection table alone."""

    def __new__(cls) -> Places: ...
    @property
    def homes(self) -> list[SendQueue | None]:
        """The queue of each connection by its number, None while that is down."""

    @property
    def width(self) -> int:
        """How many connections are shared; 1: the first that is up."""
