"""The walk of docs/overlays.md is the example that it walks through, and what it runs does what it says."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "overlays.md").read_text()
WALK = PAGE[PAGE.index("## Write your own") :]
BLOCKS = re.findall(r"```python\n(.*?)```", WALK, re.DOTALL)
EXAMPLE = (ROOT / "examples" / "ring.py").read_text()

sys.path.insert(0, str(ROOT / "examples"))


def lines(text: str) -> list[str]:
    """The lines of code, whatever stands between them."""
    return [line for line in text.splitlines() if line]


def test_the_code_of_the_walk_is_the_example_and_nothing_is_left_out() -> None:
    *walk, _simulated, _live = BLOCKS
    methods = [textwrap.indent(block, "    ") for block in walk[2:]]
    assert lines("\n".join(walk[:2] + methods)) == lines(EXAMPLE)


def test_the_page_says_how_long_the_example_is() -> None:
    count = len(EXAMPLE.splitlines())
    assert f"one in {count} lines" in " ".join(WALK.split())
    assert count < 152


def test_the_overlay_of_the_page_heals_in_the_simulator(capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[-2], {})
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"True 0 \d+", said[0])
    assert said[1] == "200"


async def test_the_overlay_of_the_page_runs_on_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {}
    exec(BLOCKS[-1], scope)
    await scope["around"]()
    assert len(re.findall(r"\w@127\.0\.0\.1", capsys.readouterr().out)) == 5
