"""The examples of the pages on the simulator and on broadcast run."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def examples_of(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_examples_run_and_their_nodes_agree_again_after_the_faults(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {}
    examples = examples_of("simulator.md")
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


def test_the_map_of_the_page_on_broadcast_is_the_same_everywhere(capsys):
    (simulated,) = (example for example in examples_of("broadcast.md") if "Network" in example)
    space = {}
    exec(simulated, space)
    assert space["prices"] == [6] * 8
    assert capsys.readouterr().out == "[6, 6, 6, 6, 6, 6, 6, 6]\n"
