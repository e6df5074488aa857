"""What is to be done when something ends: links, monitors and calls are watches on a process."""

from typing import Any

from typing_extensions import disjoint_base

from partisan._core.identities import Alias

__all__ = ["Watch", "Watched"]

@disjoint_base
class Watched:
    """Something that can be watched: a process."""

    def watches(self) -> list[Watch]:
        """The watches on it, the latest first."""

@disjoint_base
class Watch(Alias):
    """Abstract: something that is told when a process ends.

    It is on one process at most. `fire` is called when that has ended, when the watch is on it no more; `drop` when the
    process that holds the watch has.
    """

    def fire(self, reason: Any) -> int:
        """What was watched has ended for this reason."""

    def drop(self) -> int:
        """Whoever held this has ended."""

    def watch(self, of: Watched) -> None:
        """Watch it from now on."""

    def unwatch(self) -> None:
        """Watch nothing from now on."""
