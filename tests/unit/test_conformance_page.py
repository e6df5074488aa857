"""The page of conformance names the tests that there are, and says of no other that it passes."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| `(test_\w+)(?:\[(\w+)\])?` \| ([^|]+) \|$", re.MULTILINE)


def test_page_and_tests_are_in_step() -> None:
    source = (ROOT / "tests" / "conformance" / "test_pluggable.py").read_text()
    tests = set(re.findall(r"async def (test_partisan_\w+)\(", source))
    groups = set(re.findall(r'^    "(\w+)": \($', source, re.MULTILINE)) | set(
        re.findall(r'^    "(\w+)": \(\{', source, re.MULTILINE)
    )
    rows = ROW.findall((ROOT / "docs" / "conformance.md").read_text())
    assert {test for test, _, state in rows if state == "passes"} == tests
    assert {group for _, group, _ in rows if group} == groups
    assert not tests & {test for test, _, state in rows if state != "passes"}
