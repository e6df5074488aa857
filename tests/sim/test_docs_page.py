"""The examples of the simulator's page run."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def test_the_examples_run_and_their_nodes_agree_again_after_the_faults(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for number, example in enumerate(examples):
        exec(example, space)
        said = capsys.readouterr().out.split()
        if number == 0:
            assert said[1] == space["network"].digest()
        members = [node.machine.members for node in space["network"].nodes.values()]
        assert len(members) == 20
        assert {*members} == {tuple(range(20))}
    assert len(examples) == 3
    assert said[-1] == "(0,)"
