"""How much memory this process takes, for the tests that hold it to a bound."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

STATM = Path("/proc/self/statm")

SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
"""Whether AddressSanitizer watches: it keeps what was freed, and reserves terabytes of addresses."""

MEASURABLE = STATM.exists() and not SANITIZED
"""Whether the memory of this process says what its objects take."""


def growth_from_now() -> Callable[[], int]:
    """Return a function that tells by how many octets this process has grown since; where that says nothing, by 0."""
    before = _resident()
    return lambda: _resident() - before


def _resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if MEASURABLE else 0
