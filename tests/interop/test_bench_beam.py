"""The experiment `beam` between real processes: every pair of nodes at each point."""

from __future__ import annotations

import pytest

from partisan.bench import beam
from partisan.bench.__main__ import main
from partisan.bench.erlang import why_not
from partisan.bench.measure import Measurement

needs_erlang = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@needs_erlang
def test_each_point_is_measured_between_each_pair_of_nodes() -> None:
    said: list[str] = []
    results = beam.run(1, 0.05, said.append)
    assert [(row.workload, row.transport) for row in results.rows()] == [
        (workload, pair) for workload in ("echo", "call", "oneway") for pair in ("python-erl", "erl-python", "disterl")
    ]
    assert all((row.messages_per_second or 0) > 0 for row in results.rows())
    assert len(results.goals()) == 4
    assert [line.split()[0] for line in said[0].splitlines()] == [
        "echo,",
        "from-to",
        "----------",
        "python-erl",
        "erl-python",
        "disterl",
    ]


def test_the_ratio_is_that_to_two_erlang_nodes() -> None:
    results = beam.Results()
    for name, rate in (("python-erl", 3.0), ("disterl", 2.0)):
        results.rounds[beam.CALL, name] = [Measurement(rate, None, None, None)]
    [goal] = results.goals()
    assert (goal.found, goal.reached) == (1.5, True)


def test_without_erlang_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(beam, "why_not", lambda: "not on the PATH: erl")
    assert main(["beam", "--seconds", "0.01"]) == 1
    assert "not on the PATH: erl" in capsys.readouterr().err
