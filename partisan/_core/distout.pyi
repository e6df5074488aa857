"""Messages of the Erlang distribution on their way to a send queue."""

from collections.abc import Iterator
from typing import Any, final

from .etf import Codec
from .sendqueue import SendQueue

__all__ = ["DistOut"]

@final
class Pieces:
    """The pieces of one message, in order; `len()` counts those that are left."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...

@final
class DistOut:
    """The outgoing messages of one connection.

    Args:
        codec: with our node's atom and creation.
        queue: of the connection.
        headers: the peer takes distribution headers.
        fragments: and messages in pieces.
        piece: octets that one of those has at most, without its own head.
    """

    def __new__(
        cls, codec: Codec, queue: SendQueue, *, headers: bool, fragments: bool, piece: int = 65536
    ) -> DistOut: ...
    def push(self, control: tuple[Any, ...], payload: Any = ...) -> Pieces | None:
        """Queue a message.

        Returns:
            None; or, if it is to be cut, its pieces for `push_piece`, of which the first must be queued before another
            message is.
        Raises:
            EncodeError: something in it is no term; nothing was queued.
        """

    def encoded(self, control: tuple[Any, ...], payload: Any = ...) -> list[bytes]:
        """The frames of a message that waits, for `push_piece`: other messages may be queued before them."""

    def push_piece(self, frame: bytes) -> None:
        """Queue a piece of a message."""

    def push_tick(self) -> None:
        """Queue a frame of no octets: we live."""
