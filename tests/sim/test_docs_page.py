"""The examples of the pages on the simulator and on broadcast run."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def run(page, of=""):
    """Run the examples that have this text in them."""
    space = {}
    for example in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        if of in example:
            exec(example, space)
    return space


def test_the_example_runs_and_its_nodes_agree_again_after_the_faults(capsys):
    space = run("simulator.md")
    members = [node.machine.members for node in space["network"].nodes.values()]
    assert len(members) == 20
    assert {*members} == {tuple(range(20))}
    assert capsys.readouterr().out.split()[1] == space["network"].digest()


def test_the_map_of_the_page_on_broadcast_is_the_same_everywhere(capsys):
    assert run("broadcast.md", of="Network")["prices"] == [6] * 8
    assert capsys.readouterr().out == "[6, 6, 6, 6, 6, 6, 6, 6]\n"
