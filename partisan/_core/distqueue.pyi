"""The send queue of a connection of the Erlang distribution."""

from collections.abc import Callable
from typing import Any, final

from .bound import Bound
from .etf import Codec
from .identities import Atom, Pid
from .requests import Request
from .sendqueue import SendQueue

__all__ = ["DistQueue"]

@final
class DistQueue(SendQueue):
    """The send queue of one connection of the distribution.

    Args:
        bound, write, schedule, max_frame, quantum: as SendQueue.
        codec: with our node's atom and creation.
        outside: in whose name code that is no process's own sends.
        headers, fragments: see `agree`.
        piece: octets that a piece of a message has at most, without its own head.
    """

    watch: Callable[[Pid | Atom, Request | None], object] | None
    """Called before a request goes out (None for one of a pid): see to it that we hear of the end of whom it is for."""

    def __new__(
        cls,
        bound: Bound,
        *,
        codec: Codec,
        outside: Pid,
        headers: bool = False,
        fragments: bool = False,
        piece: int = 65536,
        write: Callable[[], object] | None = None,
        schedule: Callable[[SendQueue], object] | None = None,
        max_frame: int = ...,
        quantum: int = ...,
    ) -> DistQueue: ...
    def agree(self, *, headers: bool, fragments: bool, senders: bool = True, aliases: bool = True) -> None:
        """From now on the peer takes distribution headers, and messages in pieces."""

    def say(self, octets: bytes) -> None:
        """Queue octets as they are: of the handshake, before the first message."""

    @property
    def unsent(self) -> int:
        """How many senders wait until the rest of a large message of theirs has gone."""

    def forget(self, target: Pid | Atom) -> None:
        """Nobody hears of this process's end any more: ask for it before the next request."""

    def tell(self, control: tuple[Any, ...], payload: Any = ..., *, sender: Pid | None = None) -> None:
        """Queue a control message.

        Args:
            payload: what goes with it, if anything does.
            sender: whose it is: it goes behind all that was his before. Of others, what is small may pass it by.
        Raises:
            EncodeError: something in it is no term; nothing was queued.
        """

    def tick(self) -> None:
        """Queue a frame of no octets: we live."""
