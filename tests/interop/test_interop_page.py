"""The programs of the page for Erlang and Elixir teams run as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("elixir") is None, reason="elixir is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"
BLOCK = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
SECONDS = 60.0


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Path]:
    """The page's programs, as files."""
    found = {}
    for name, text in BLOCK.findall(PAGE.read_text()):
        found[name] = tmp_path / name
        found[name].write_text(text)
    assert sorted(found) == ["bank.exs", "caller.exs", "client.py", "service.py"]
    return found


def elixir(name: str, program: Path) -> list[str]:
    return ["elixir", "--name", f"{name}@127.0.0.1", "--cookie", "secret", str(program)]


def environment(epmd: int, home: Path) -> dict[str, str]:
    return {**os.environ, "ERL_EPMD_PORT": str(epmd), "HOME": str(home), "LC_ALL": "C.UTF-8"}


@contextmanager
def running(command: list[str], about: dict[str, str]) -> Iterator[None]:
    """A program that goes on once it has said that it is ready."""
    process = subprocess.Popen(command, env=about, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def finished(command: list[str], about: dict[str, str]) -> str:
    done = subprocess.run(command, env=about, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_server_in_python_is_called_from_elixir(programs: dict[str, Path], epmd: int, tmp_path: Path) -> None:
    about = environment(epmd, tmp_path)
    with running([sys.executable, str(programs["service.py"])], about):
        assert finished(elixir("caller", programs["caller.exs"]), about) == "done\n"


def test_a_server_in_elixir_is_called_from_python(programs: dict[str, Path], epmd: int, tmp_path: Path) -> None:
    about = environment(epmd, tmp_path)
    with running(elixir("shop", programs["bank.exs"]), about):
        said = finished([sys.executable, str(programs["client.py"])], about)
    assert said == "the bank is closed\n[3, 2, 1]\n"
