"""Where the processes of an experiment run: on this machine as it is, or on hosts of an emulated network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Place(Protocol):
    """Hosts that can reach each other, by name."""

    def address(self, host: str) -> str:
        """The numeric IPv4 address under which the others reach this host."""

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` on this host."""


class Loopback:
    """Every host is this machine, at 127.0.0.1."""

    def address(self, host: str) -> str:
        """See `Place`."""
        return "127.0.0.1"

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """See `Place`."""
        return list(argv)


LOOPBACK = Loopback()
