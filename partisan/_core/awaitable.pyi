"""What a process awaits without a future: objects that give their value, or say that there is none yet."""

from collections.abc import Generator, Iterator
from typing import Any

from typing_extensions import disjoint_base

__all__ = ["Awaitable"]

@disjoint_base
class Awaitable:
    """Gives its value when awaited in a process; only the core makes kinds of it."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
