"""Check what a distribution holds: `python tools/check_dist.py FILE ...`, each an sdist or a wheel."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

# Generated C must never be shipped: made by an old Cython it breaks with the next Python. The source of it is no use
# in a wheel, while declarations are: other extensions may cimport them.
SDIST_NEEDS = ("partisan/_core/*.pyx", "partisan/_core/*.pxd", "csrc/*.h", "partisan/py.typed", "LICENSE", "tests/*.py")
SDIST_REFUSES = ("*.so", "*.o", "partisan/*.c", "*.pyc", "build/*", "*.html")
WHEEL_NEEDS = ("partisan/_core/*.so", "partisan/_core/*.pxd", "partisan/py.typed", "*.dist-info/licenses/LICENSE")
WHEEL_REFUSES = ("*.pyx", "*.c", "*.h", "*.pyc", "tests/*", "tools/*", "csrc/*", "build/*")


def members(path: Path) -> list[str]:
    """List the files of a distribution; those of an sdist without the leading folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return [name for name in wheel.namelist() if not name.endswith("/")]
    with tarfile.open(path) as sdist:
        return [entry.name.partition("/")[2] for entry in sdist.getmembers() if entry.isfile()]


def problems(names: list[str], needs: tuple[str, ...], refuses: tuple[str, ...]) -> list[str]:
    """Say which patterns match nothing although they should, and which files should not be there; `*` spans folders."""

    def matching(pattern: str) -> list[str]:
        form = re.compile(re.escape(pattern).replace(r"\*", ".*"))
        return [name for name in names if form.fullmatch(name)]

    missing = [f"nothing is named {pattern}" for pattern in needs if not matching(pattern)]
    return missing + [f"{name} should not be there" for pattern in refuses for name in matching(pattern)]


def unbalanced(names: list[str], sources: tuple[str, str]) -> list[str]:
    """Say which stems of the core have a file of one kind and none of the other."""
    stems = [
        {re.sub(r"\..*", "", name) for name in names if name.startswith("partisan/_core/") and name.endswith(kind)}
        for kind in sources
    ]
    return [f"{stem} has a {sources[0]} or a {sources[1]}, but not both" for stem in sorted(stems[0] ^ stems[1])]


def check(path: Path) -> list[str]:
    """Return what is wrong with the distribution."""
    names = members(path)
    if path.suffix == ".whl":
        return problems(names, WHEEL_NEEDS, WHEEL_REFUSES) + unbalanced(names, (".so", ".pyi"))
    return problems(names, SDIST_NEEDS, SDIST_REFUSES) + unbalanced(names, (".pyx", ".pyi"))


def main(paths: list[str]) -> int:
    """Check the files and print what is wrong; return 1 if anything is."""
    bad = 0
    for path in map(Path, paths):
        found = check(path)
        bad += len(found)
        print(f"{path.name}: {'; '.join(found) if found else 'holds what it should'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
