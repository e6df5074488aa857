"""Whose fault an error is: the roots of the tree."""

from __future__ import annotations


class PartisanError(Exception):
    """Root of every exception that this package raises on purpose."""


class ProtocolError(PartisanError):
    """Abstract: somebody broke a protocol; see the two subclasses for whom to blame."""

    def __init__(self, *args: object) -> None:
        if type(self) is ProtocolError:
            raise TypeError("ProtocolError is abstract: raise its Local or Remote subclass")
        super().__init__(*args)


class LocalProtocolError(ProtocolError, RuntimeError):
    """This program called the library in a way or at a time that it does not allow."""


class WrongThread(LocalProtocolError):
    """A node was touched from a thread other than its loop's; `node.threadsafe` is the door."""


class RemoteProtocolError(ProtocolError):
    """A peer sent octets or messages that the protocol does not allow."""
