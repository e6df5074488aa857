"""The examples of docs/testing.md, and the tests of an example, pass as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "testing.md"
SUBMODULES = {path.stem for path in (ROOT / "partisan" / "testing").glob("*.py")}


def passed(tests: Path, where: Path) -> int:
    """Run the tests of a file with no other plugin than ours; how many there were, all of which must pass."""
    (where / "pytest.ini").write_text("[pytest]\n")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    ours = ["-p", "partisan.testing.plugin", "-p", "no:cacheprovider", "-W", "error", "-rA"]
    ini = ["-c", str(where / "pytest.ini"), "--rootdir", str(where)]
    command = [sys.executable, "-B", "-m", "pytest", *ours, *ini, str(tests)]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"=+ (\d+) passed in", done.stdout)
    assert found is not None, done.stdout
    return int(found[1])


def test_the_examples_of_the_page_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    tests = tmp_path / "test_page.py"
    tests.write_text("\n\n".join(blocks))
    assert passed(tests, tmp_path) == len(re.findall(r"^async def test_", tests.read_text(), re.MULTILINE)) == 5


def test_the_tests_of_the_counter_pass(tmp_path: Path) -> None:
    assert passed(ROOT / "examples" / "test_counter.py", tmp_path) == 5


def test_the_page_names_every_helper_and_every_fixture() -> None:
    from partisan import testing
    from partisan.testing.plugin import FIXTURES

    text = PAGE.read_text()
    helpers = {name for name in vars(testing) if name.isidentifier() and not name.startswith("_")} - SUBMODULES
    assert [name for name in sorted(helpers) if f"`{name}" not in text] == []
    assert [name for name in sorted(FIXTURES) if f"`{name}`" not in text] == []
