"""The examples run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def output_of(example: str) -> str:
    """What the example prints; it must succeed and complain of nothing."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / example)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_hello_greets() -> None:
    assert output_of("hello.py").splitlines() == [
        "members: a@127.0.0.1, b@127.0.0.1",
        "Hello visitor, this is b@127.0.0.1.",
    ]


def test_pingpong_plays_a_thousand_rounds_between_two_processes() -> None:
    lines = output_of("pingpong.py").splitlines()
    assert re.fullmatch(r"the other node is b@127\.0\.0\.1:\d+", lines[0])
    assert lines[1] == "joined b@127.0.0.1"
    assert re.fullmatch(r"1000 rounds, \d+ microseconds each", lines[2])
