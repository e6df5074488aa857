"""The examples of docs/faults.md work as they are written."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from support import Sink, cluster, eventually

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_an_example_of_the_page_works(number: int) -> None:
    scope: dict[str, Any] = {"eventually": eventually}
    exec("async def example(a, b, c, sink):\n" + textwrap.indent(EXAMPLES[number], "    "), scope)
    async with cluster("a", "b", "c") as (a, b, c):
        await scope["example"](a, b, c, Sink(b))


def test_the_page_names_every_kind_and_every_fault() -> None:
    from partisan.machines.faults import KINDS
    from partisan.net.faults import LiveFaults

    text = PAGE.read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
    methods = ("cut", "partition", "omit", "duplicate", "delay", "reorder", "flip", "suspect")
    assert [name for name in methods if f"| `{name}(" not in text or not hasattr(LiveFaults, name)] == []
