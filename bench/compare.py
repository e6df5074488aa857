"""Print what benches take now beside what they took in a saved run: `python bench/compare.py NOW BASELINE [--save]`.

NOW is the JSON file of a run of pytest-benchmark. BASELINE is one of our own: it is made if it is not there, benches
that it lacks are added, and with --save those that ran replace what is there. The fastest round of each counts, as all
else that the machine does can only make a round slower.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def times(run: dict[str, Any]) -> dict[str, float]:
    """Name -> nanoseconds of one of the things that the bench does so many of a round."""
    return {
        each["fullname"].removeprefix("bench/"): each["stats"]["min"] * 1e9 / each["extra_info"].get("count", 1)
        for each in run["benchmarks"]
    }


def machine(run: dict[str, Any]) -> str:
    """What two runs must share for their times to be comparable."""
    info = run["machine_info"]
    return f"{info['python_implementation']} {info['python_version']} on {info['node']}"


def table(now: dict[str, float], then: dict[str, float]) -> list[str]:
    """A line a bench that ran, by name: nanoseconds then and now, and their ratio, above 1 slower."""
    width = max(map(len, now), default=0)
    lines = [f"{'ns each':{width}} {'then':>10} {'now':>10} {'now/then':>8}"]
    for name, time in sorted(now.items()):
        if name in then:
            lines.append(f"{name:{width}} {then[name]:10.1f} {time:10.1f} {time / then[name]:8.2f}")
        else:
            lines.append(f"{name:{width}} {'':10} {time:10.1f} {'new':>8}")
    return lines


def compare(run: dict[str, Any], path: Path, *, save: bool) -> list[str]:
    """What to print of a run beside the baseline at `path`, which is made or completed by it."""
    now, here = times(run), machine(run)
    baseline: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"machine": here, "ns": {}}
    then: dict[str, float] = baseline["ns"]
    lines = table(now, then)
    same = baseline["machine"] == here  # times of two machines do not mix
    if not same:
        lines.append(f"The baseline is of {baseline['machine']}, this is {here}: the ratios say little.")
    added = now if save else {name: now[name] for name in now.keys() - then.keys() if same}
    if added:
        written = {"machine": here, "ns": (then if same else {}) | added}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
        lines.append(f"{len(added)} saved in {path}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="What benches take now beside what they took in a saved run.")
    parser.add_argument("now", type=Path, metavar="NOW")
    parser.add_argument("baseline", type=Path, metavar="BASELINE")
    parser.add_argument("--save", action="store_true", help="this run becomes the baseline of the benches in it")
    options = parser.parse_args()
    print("\n".join(compare(json.loads(options.now.read_text()), options.baseline, save=options.save)))


if __name__ == "__main__":
    main()
