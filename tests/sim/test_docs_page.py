"""The example of the simulator's page runs."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def test_the_example_runs_and_its_nodes_agree_again_after_the_faults(capsys):
    space = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(example, space)
    members = [node.machine.members for node in space["network"].nodes.values()]
    assert len(members) == 20
    assert {*members} == {tuple(range(20))}
    assert capsys.readouterr().out.split()[1] == space["network"].digest()
