"""The pytest plugin: its fixtures, whose tests it runs, and that nothing else is disturbed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import partisan

ROOT = Path(__file__).parents[2]
PACKAGE = Path(partisan.__file__).parent
PLUGIN = "partisan.testing.plugin"


def python(*arguments: str, where: Path) -> subprocess.CompletedProcess[str]:
    """Run an interpreter that finds this package, and loads no other plugins of pytest."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=110, check=False)


def outcome(where: Path, tests: str, *options: str, plugin: bool = True) -> tuple[dict[str, int], str]:
    """Run tests in a directory of their own: how many passed, failed and so on, and what was printed."""
    (where / "pytest.ini").write_text("[pytest]\n")
    (where / "test_them.py").write_text(textwrap.dedent(tests))
    load = ["-p", PLUGIN] if plugin else []
    done = python("-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *load, *options, where=where)
    summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr
    return {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", summary)}, done.stdout + done.stderr


def passes(where: Path, tests: str, count: int = 1) -> None:
    found, text = outcome(where, tests, "--strict-markers")
    assert {word: found[word] for word in found if word in ("passed", "failed", "error")} == {"passed": count}, text


def test_the_helpers_know_nothing_of_pytest(tmp_path: Path) -> None:
    code = "import sys, partisan.testing, partisan.testing.runner; assert 'pytest' not in sys.modules"
    done = python("-c", code, where=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("this is no checkout")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"partisan": PLUGIN}
    assert any(need.startswith("pytest") for need in project["optional-dependencies"]["testing"])
    assert callable(import_module(PLUGIN).pytest_pyfunc_call)


def test_a_fixture_gives_a_node(tmp_path: Path) -> None:
    tests = """
        async def test_it(partisan_node):
            async with partisan_node("solo", metadata={"x": "1"}) as node:
                assert node.name == "solo@127.0.0.1"
                assert node.config.metadata == {"x": "1"}
            assert not node.is_alive()
    """
    passes(tmp_path, tests)


def test_a_fixture_gives_a_cluster_with_the_options_of_the_module(tmp_path: Path) -> None:
    tests = """
        import pytest

        @pytest.fixture
        def partisan_options():
            return {"channels": {"data": {}}, "parallelism": 2}

        async def test_it(partisan_cluster):
            async with partisan_cluster("a", "b", parallelism=1) as (a, b):
                assert a.is_connected(b.name, "data")
                assert a.config.parallelism == 1
    """
    passes(tmp_path, tests)


def test_a_fixture_gives_processes_and_kills_those_that_a_dead_loop_left(tmp_path: Path) -> None:
    tests = """
        import asyncio, os, pytest
        left = []

        async def test_it(partisan_processes):
            async with partisan_processes("a", "b") as (a, b):
                assert await a.connected() == [b.name]

        def test_a_loop_that_dies(partisan_processes):
            async def main():
                cluster = partisan_processes("a")
                left.append(cluster)
                left.extend(await cluster.__aenter__())
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            left.append(loop)  # it never ends the block

        def test_nothing_is_left():
            with pytest.raises(ChildProcessError):
                while True:
                    os.waitpid(left[1].pid, 0)  # for ever, if it was not killed
    """
    found, text = outcome(tmp_path, tests, "-p", "no:unraisableexception")
    assert found["passed"] == 3, text


def test_a_test_that_asks_for_the_virtual_clock_runs_on_it(tmp_path: Path) -> None:
    tests = """
        import asyncio, pytest, time

        async def test_it(virtual_clock, partisan_node):
            async with partisan_node() as node:
                before = time.monotonic()
                await asyncio.sleep(36000)
                assert time.monotonic() - before < 600
                assert virtual_clock.now >= 36000

        def test_in_a_plain_test(virtual_clock):
            async def main():
                await asyncio.sleep(36000)
                return virtual_clock.now
            assert virtual_clock.run(main()) == pytest.approx(36000)

        def test_on_another_loop(virtual_clock):
            async def main():
                return virtual_clock.now
            with pytest.raises(RuntimeError, match="virtual_clock.run"):
                asyncio.run(main())
    """
    passes(tmp_path, tests, 3)


def test_a_marked_test_runs_on_the_loop_that_it_names(tmp_path: Path) -> None:
    tests = """
        import asyncio, pytest

        @pytest.mark.partisan
        async def test_asyncio():
            assert type(asyncio.get_running_loop()).__module__.startswith("asyncio")

        @pytest.mark.partisan(loop="uvloop")
        async def test_uvloop():
            assert type(asyncio.get_running_loop()).__module__ == "uvloop"

        @pytest.mark.partisan(loop="virtual")
        @pytest.mark.parametrize("seconds", [1000.0, 36000.0])
        async def test_virtual(seconds):
            await asyncio.sleep(seconds)
    """
    passes(tmp_path, tests, 4)


def test_a_loop_that_there_is_not_is_an_error_that_names_those_that_there_are(tmp_path: Path) -> None:
    tests = """
        import pytest

        @pytest.mark.partisan(loop="trio")
        async def test_it():
            pass
    """
    found, text = outcome(tmp_path, tests)
    assert found["failed"] == 1
    assert "'trio' is none of asyncio, uvloop, virtual" in text


def test_a_failing_test_fails_and_so_does_one_whose_loop_complains(tmp_path: Path) -> None:
    tests = """
        import asyncio, pytest

        @pytest.mark.partisan
        async def test_that_fails():
            await asyncio.sleep(0)
            assert 1 == 2

        @pytest.mark.partisan
        async def test_with_a_broken_callback():
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0.01)
    """
    found, text = outcome(tmp_path, tests)
    assert found["failed"] == 2
    assert "passed" not in found
    assert "the loop was told of" in text


def test_coroutine_tests_of_others_are_left_to_others(tmp_path: Path) -> None:
    tests = """
        async def test_nobody_runs():
            raise RuntimeError("it was run")
    """
    found, text = outcome(tmp_path, tests)
    assert found.get("failed", 0) + found.get("skipped", 0) == 1
    assert "it was run" not in text


def test_who_takes_a_test_first_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("""
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    print("taken")
    return True
""")
    tests = """
        async def test_it(partisan_node):
            raise RuntimeError("it was run")
    """
    passes(tmp_path, tests)


def test_without_the_core_the_plugin_loads_and_its_fixtures_say_what_is_missing(tmp_path: Path) -> None:
    skip = shutil.ignore_patterns("*.so", "*.c", "*.html", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "partisan", ignore=skip)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_them.py").write_text(
        "import partisan.machines.full\ndef test_pure(): pass\ndef test_it(partisan_cluster): pass\n"
    )
    code = f"import sys, pytest; sys.path.insert(0, {str(tmp_path)!r}); sys.exit(pytest.main(['-p', {PLUGIN!r}]))"
    done = python("-c", code, where=tmp_path)
    assert "1 passed, 1 error" in done.stdout
    assert "the compiled core of partisan is not built" in done.stdout
