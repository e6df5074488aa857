"""Counts of live things in the core, for tests: each must return to its value when its test is over.

Kept in the build flavours debug and asan; a release counts nothing.
"""

__all__ = ["snapshot"]


def snapshot() -> dict:
    """How many of each thing are alive now: {name: count}; empty in a release."""
    return dict(live) if COUNTING else {}
