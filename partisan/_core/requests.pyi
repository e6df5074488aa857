"""Requests that wait for an answer, at the node that asks and at the one that is asked."""

from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from partisan.etf import Pid

from .watch import Watch

__all__ = ["Request", "Served"]

@disjoint_base
class Request(Watch):
    """Of this node: it is on whom it is for, if that is a process of this node, and stands for itself in `From`."""

    settled: Callable[[Request], object] | None
    """Called with the outcome."""

    @property
    def target(self) -> Any:
        """Whom it is for: a pid, a name, or (name, node)."""

    @property
    def node(self) -> str | None:
        """Whose process that is, if it is of another node."""

    @property
    def state(self) -> int:
        """Pending 0, answered 1, failed 2, dropped 3."""

    @property
    def outcome(self) -> Any:
        """The answer, or why there is none."""

    @property
    def pending(self) -> bool:
        """Whether there is no outcome yet."""

    @property
    def failed(self) -> bool:
        """Whether `outcome` is why there is no answer."""

    @property
    def foreign(self) -> bool:
        """Whether it went over a connection of another wire than Partisan's."""

    @property
    def mailed(self) -> bool:
        """Whether the caller gets it as a message when there is an outcome."""

    @property
    def arrived(self) -> bool:
        """Whether there is an outcome that whoever asked has not taken yet."""

    def taken(self) -> None:
        """Whoever asked has its outcome."""

@disjoint_base
class Served(Watch):
    """Of another node: it stands for the tag in the `From` of a request that came from there."""

    @property
    def caller(self) -> Pid | tuple[str, str]:
        """A pid, or (name, node)."""

    @property
    def tag(self) -> Any:
        """As it came."""

    @property
    def channel(self) -> str | None:
        """On which it came."""
