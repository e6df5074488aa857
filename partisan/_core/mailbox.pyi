"""A process's mailbox: messages in order of arrival, and how a pattern picks one."""

from collections.abc import Iterator
from typing import Any

from typing_extensions import disjoint_base

__all__ = ["Mailbox"]

@disjoint_base
class Mailbox:
    """Messages of one process, oldest first. Only its process takes from it, and only `deliver` puts into it."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]:
        """Iterate over a copy of the waiting messages, oldest first."""
