"""What the peer is known to have handled of what one queue was given."""

from typing import final

__all__ = ["Probes"]

@final
class Probes:
    """Numbered questions; an answer is one to all that were asked before it, too."""

    def __new__(cls) -> Probes: ...
    @property
    def asked(self) -> int: ...
    @property
    def answered(self) -> int:
        """The number of the last one that is answered."""
