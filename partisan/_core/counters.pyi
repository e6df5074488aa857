"""Counts of live things in the core, for tests: each must return to its value when its test is over."""

__all__ = ["snapshot"]

def snapshot() -> dict[str, int]:
    """How many of each thing are alive now: {name: count}; empty in a release."""
