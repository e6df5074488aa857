"""What the papers have measured. Only the report reads this; no simulation does.

HyParView: Leitao, Pereira, Rodrigues, DI-FCUL TR-07-13 (the long version of DSN 2007), 10,000 nodes. Figures 2 and 4
are read off plots, table 1 is text.

Plumtree: the same, DI-FCUL TR-07-14 (the long version of SRDS 2007), 10,000 nodes. Table 1 is text, the figures are
read off plots; where curves differ, or a value moves, that is a range.
"""

from __future__ import annotations

NODES = 10_000
"""Of both papers."""

OF_SIZE = frozenset(
    {
        "clustering",
        "path length",
        "maximum hops",
        "last delivery hop",
        "last delivery hop under failures",
        "payload",
        "control",
        "total",
    }
)
"""Figures that follow from how many nodes there are; the others are shares, ratios and cycles."""

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


_TREES = ("plumtree s-s", "plumtree m-s")
_TREE_FIGURES = ("redundancy", "last delivery hop", "payload", "control", "total")
_TREE_TABLE: dict[str, tuple[float, float, float, float, float]] = {
    "eager": (3.0, 9.0, 39_984.0, 0.0, 39_984.0),
    "plumtree s-s": (0.0, 10.0, 9_999.0, 29_987.33, 39_986.33),
    "plumtree m-s": (0.0, 60.0, 9_999.0, 29_990.0, 39_989.0),
    "optimized s-s": (0.0, 8.5, 9_999.0, 29_989.33, 39_988.33),
    "optimized m-s": (0.0, 17.0, 9_999.0, 38_976.0, 48_975.0),
}
_Key = tuple[str, str, int | str]
_Value = float | tuple[float, float]

_TREE_RELIABILITY: tuple[_Value, ...] = (100.0, 100.0, 99.7, 98.7, 95.0, (56.0, 84.0), (0.0, 31.0), 0.0, 0.0, 0.0)
_TREE_HEALING: tuple[_Value, ...] = ((0.0, 1.0), 1.0, 1.0, 1.0, 1.0, (1.0, 2.0), 1.0, (1.0, 3.0), (2.0, 4.0))


def _trees() -> dict[_Key, _Value]:
    """Plumtree, ranges included."""
    found: dict[_Key, _Value] = {}
    for protocol, values in _TREE_TABLE.items():
        points: tuple[int | str, ...] = ("stable", "stable", 10_000, 10_000, 10_000)
        found |= {(protocol, f, p): v for f, p, v in zip(_TREE_FIGURES, points, values, strict=True)}
        found[protocol, "reliability under failures", "mean"] = 100.0
    for protocol in _TREES:
        found |= {(protocol, "reliability", f): v for f, v in zip(_FAILURES, _TREE_RELIABILITY, strict=True)}
        found |= {(protocol, "healing", f): v for f, v in zip(_FAILURES[:-1], _TREE_HEALING, strict=True)}
        found |= {(protocol, "redundancy at first", cycle): v for cycle, v in enumerate((2.0, 0.9, 0.03), 1)}
        found |= {(protocol, "redundancy after failures", f): v for f, v in ((40, 1.9), (60, 2.25), (80, 2.0))}
        found[protocol, "redundancy under failures", "mean"] = (0.0, 0.1)
    found["eager", "redundancy under failures", "mean"] = (2.93, 2.97)
    found["plumtree m-s", "last delivery hop", "stable"] = (50.0, 77.0)
    found["plumtree m-s", "last delivery hop under failures", "mean"] = (45.0, 70.0)
    found["optimized m-s", "last delivery hop under failures", "mean"] = (17.0, 27.0)
    return found


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


RANGES: dict[_Key, tuple[float, float]] = {key: v for key, v in _trees().items() if isinstance(v, tuple)}
"""(protocol, figure, point) -> the least and the greatest published value, where there are several."""

PUBLISHED = _published() | {key: sum(v) / 2 if isinstance(v, tuple) else v for key, v in _trees().items()}
"""(protocol, figure, point) -> the published value; the middle of a range."""
