"""Times, rates and shares as one writes them: `20ms`, `1Gbit`, `0.5%`."""

from __future__ import annotations

import argparse
import re

NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]*)")
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
BITS = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
OCTETS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _split(text: str, what: str, example: str) -> tuple[float, str]:
    match = NUMBER.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no {what} (such as {example})")
    return float(match[1]), match[2]


def _with_unit(text: str, what: str, example: str, units: dict[str, float]) -> float:
    number, unit = _split(text, what, example)
    if not unit and not number:
        return 0.0
    if not unit:
        raise argparse.ArgumentTypeError(f"{text!r} has no unit: one of {', '.join(units)} (such as {example})")
    for known, factor in units.items():
        if known.lower() == unit.lower():
            return number * factor
    raise argparse.ArgumentTypeError(f"{text!r}: {unit!r} is no unit of {what}: one of {', '.join(units)}")


def seconds(text: str) -> float:
    """Read a time such as `20ms`, `0.5s` or `100us`; 0 needs no unit."""
    return _with_unit(text, "time", "20ms", SECONDS)


def bits(text: str) -> float:
    """Read a rate in bits a second such as `1Gbit` or `100Mbit`; a thousand kbit are one Mbit."""
    return _with_unit(text, "bandwidth", "1Gbit", BITS)


def octets(text: str) -> int:
    """Read a size such as `1MiB` or `1500B`."""
    return round(_with_unit(text, "size", "1MiB", {**OCTETS}))


def share(text: str) -> float:
    """Read a share such as `0.01` or `1%`."""
    number, unit = _split(text, "share", "0.01 or 1%")
    if unit not in ("", "%"):
        raise argparse.ArgumentTypeError(f"{text!r}: {unit!r} is no unit of a share (such as 0.01 or 1%)")
    value = number / 100 if unit else number
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text} is above all of them: a share is 0 to 1, or 0% to 100%")
    return value


def show_seconds(value: float) -> str:
    """Render a time in milliseconds."""
    return f"{value * 1e3:.3f} ms"


def show_bits(value: float | None) -> str:
    """Render a rate, in Gbit/s or Mbit/s."""
    if value is None:
        return "no limit"
    return f"{value / 1e9:.2f} Gbit/s" if value >= 1e9 else f"{value / 1e6:.1f} Mbit/s"
