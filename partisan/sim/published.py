"""What the papers have measured. Only the report reads this; no simulation does.

HyParView: Leitao, Pereira, Rodrigues, DI-FCUL TR-07-13 (the long version of DSN 2007), 10,000 nodes. Figures 2 and 4
are read off plots, table 1 is text.
"""

from __future__ import annotations

_FAILURES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)

_RELIABILITY = {
    "hyparview": (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 99.7, 91.0),
    "scamp": (95.0, 92.0, 88.0, 80.0, 65.5, 40.0, 4.0, 0.0, 0.0, 0.0),
    "cyclon": (97.3, 96.5, 92.5, 86.0, 73.5, 50.0, 12.0, 0.0, 0.0, 0.0),
    "cyclon-acked": (98.5, 98.5, 98.5, 98.4, 98.0, 98.0, 97.0, 46.0, 0.0, 0.0),
}
_HEALING = {
    "hyparview": (1, 1, 1, 1, 1, 1, 2, 2, 4),
    "cyclon": (42, 48, 51, 69, 72, 80, 102, 107, 159),
    "cyclon-acked": (8, 26, 24, 27, 32, 24, 35, 51, 71),
}
_TABLE_1 = {
    "cyclon": (0.006836, 2.60426, 10.6),
    "scamp": (0.022476, 3.35398, 14.1),
    "hyparview": (0.00092, 6.38542, 9.0),
}


def _published() -> dict[tuple[str, str, int | str], float]:
    found: dict[tuple[str, str, int | str], float] = {}
    for protocol, values in _RELIABILITY.items():
        found |= {(protocol, "reliability", f): v for f, v in zip(_FAILURES, values, strict=True)}
    for protocol, cycles in _HEALING.items():
        found |= {(protocol, "healing", f): float(c) for f, c in zip(_FAILURES[:-1], cycles, strict=True)}
    for protocol, table in _TABLE_1.items():
        names = ("clustering", "path length", "maximum hops")
        found |= {(protocol, name, "stable"): v for name, v in zip(names, table, strict=True)}
    return found


PUBLISHED = _published()
"""(protocol, figure, point) -> the published value."""
