"""The page of conformance names the tests that there are, and says of no other that it passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
TESTS = ROOT / "tests" / "conformance"
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| `(test_\w+)(?:\[(\w+)\])?` \| ([^|]+) \|$", re.MULTILINE)
CASE = re.compile(r"^\| (\w+) \| (\w+) \| (?:`test_(\w+)`)? ?\| ([^|]+) \|$", re.MULTILINE)
SUITES = {"gen_event": 27, "gen_server": 53, "gen_statem": 51, "monitor": 25, "supervisor": 88}
"""How many cases each suite has that is listed case by case."""


def test_page_and_tests_are_in_step() -> None:
    sources = [path.read_text() for path in sorted(TESTS.glob("test_*.py"))]
    tests = {name for source in sources for name in re.findall(r"^async def (test_\w+)\(", source, re.MULTILINE)}
    rows = ROW.findall(PAGE)
    assert {test for test, _, state in rows if state == "passes"} == tests
    assert not tests & {test for test, _, state in rows if state != "passes"}


def test_page_names_every_group_of_the_pluggable_manager() -> None:
    source = (TESTS / "test_pluggable.py").read_text()
    groups = set(re.findall(r'^    "(\w+)": \($', source, re.MULTILINE)) | set(
        re.findall(r'^    "(\w+)": \(\{', source, re.MULTILINE)
    )
    assert {group for test, group, _ in ROW.findall(PAGE) if group and "hyparview" not in test} == groups


@pytest.mark.parametrize("suite", SUITES)
def test_each_case_of_a_suite_passes_or_says_why_it_cannot_apply(suite: str) -> None:
    cases = [(case, test, state) for of, case, test, state in CASE.findall(PAGE) if of == suite]
    assert len({case for case, _, _ in cases}) == len(cases) == SUITES[suite]
    passing = [case for case, _, state in cases if state == "passes"]
    assert all(test == f"{suite}_{case}" for case, test, state in cases if state == "passes")
    assert all(state.startswith("does not apply: ") for _, _, state in cases if state != "passes")
    assert len(cases) - len(passing) <= len(cases) / 10
    assert f"Of the {SUITES[suite]} cases of `partisan_{suite}_SUITE` {len(passing)} pass" in PAGE
