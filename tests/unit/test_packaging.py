"""What is shipped, how it is built, and what runs where: the parts that can be checked without building."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "check_dist.py"

pytestmark = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="this is no checkout")


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def sdist(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"partisan-1/{name}"), io.BytesIO())
    return path


WHEEL = (
    "partisan/__init__.py",
    "partisan/py.typed",
    "partisan/_core/etf.cpython-311-x86_64-linux-gnu.so",
    "partisan/_core/etf.pxd",
    "partisan/_core/etf.pyi",
    "partisan-1.dist-info/licenses/LICENSE",
)
SDIST = (
    "LICENSE",
    "csrc/octets.h",
    "partisan/py.typed",
    "partisan/_core/etf.pyx",
    "partisan/_core/etf.pxd",
    "partisan/_core/etf.pyi",
    "tests/unit/test_etf.py",
)


def test_a_wheel_with_extensions_stubs_and_declarations_is_good(tmp_path: Path) -> None:
    done = check(wheel(tmp_path / "p.whl", *WHEEL))
    assert (done.returncode, done.stdout) == (0, "p.whl: holds what it should\n")


@pytest.mark.parametrize("extra", ["partisan/_core/etf.pyx", "partisan/_core/etf.c", "tests/unit/test_etf.py"])
def test_a_wheel_with_sources_or_tests_is_refused(tmp_path: Path, extra: str) -> None:
    done = check(wheel(tmp_path / "p.whl", *WHEEL, extra))
    assert done.returncode == 1
    assert f"{extra} should not be there" in done.stdout


@pytest.mark.parametrize("lost", [name for name in WHEEL if name != "partisan/__init__.py"])
def test_a_wheel_that_lacks_something_is_refused(tmp_path: Path, lost: str) -> None:
    assert check(wheel(tmp_path / "p.whl", *(name for name in WHEEL if name != lost))).returncode == 1


def test_an_sdist_with_sources_declarations_and_headers_is_good(tmp_path: Path) -> None:
    done = check(sdist(tmp_path / "p.tar.gz", *SDIST))
    assert (done.returncode, done.stdout) == (0, "p.tar.gz: holds what it should\n")


@pytest.mark.parametrize("extra", ["partisan/_core/etf.c", "build/cython-release/etf.c", "partisan/_core/etf.so"])
def test_an_sdist_with_what_a_build_made_is_refused(tmp_path: Path, extra: str) -> None:
    assert check(sdist(tmp_path / "p.tar.gz", *SDIST, extra)).returncode == 1


@pytest.mark.parametrize("lost", SDIST)
def test_an_sdist_that_lacks_something_is_refused(tmp_path: Path, lost: str) -> None:
    assert check(sdist(tmp_path / "p.tar.gz", *(name for name in SDIST if name != lost))).returncode == 1


def test_every_extension_has_a_stub_and_the_reverse() -> None:
    core = ROOT / "partisan" / "_core"
    assert {path.stem for path in core.glob("*.pyx")} == {path.stem for path in core.glob("*.pyi")}


def test_a_build_flavour_that_does_not_exist_is_refused() -> None:
    pytest.importorskip("Cython")
    environment = {**os.environ, "PARTISAN_BUILD": "fast"}
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "PARTISAN_BUILD='fast' is none of release, debug, trace, asan" in done.stderr


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_makefile_has_every_target_that_is_promised() -> None:
    flavours, uses = "compile debug trace asan", "run bench soak fuzz types lint docs clean"
    tests = "test test-interop test-debug test-asan test-sdist"
    assert targets() == {*flavours.split(), *uses.split(), *tests.split()}


def test_scripts_are_executable_and_their_syntax_is_right() -> None:
    for script in (".ci/run", "tools/find-python", "tools/all-pythons", "tools/test-sdist", "tests/fuzz/run.sh"):
        path = ROOT / script
        assert os.access(path, os.X_OK), script
        shell = path.read_text().splitlines()[0].split()[-1].rpartition("/")[2]
        subprocess.run([shell, "-n", str(path)], check=True, timeout=60)


def workflow(name: str) -> dict[str, dict[str, dict[str, object]]]:
    loaded: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(
        (ROOT / ".github" / "workflows" / name).read_text()
    )
    return loaded


@pytest.mark.parametrize("name", ["test.yml", "wheels.yml", "fuzz.yml"])
def test_a_workflow_is_well_formed_and_pins_its_actions(name: str) -> None:
    loaded = workflow(name)
    assert True in loaded, "YAML reads the key `on` as true"
    for job in loaded["jobs"].values():
        assert {"runs-on", "steps", "timeout-minutes"} <= set(job)
        for step in job["steps"]:  # type: ignore[attr-defined]
            assert ("run" in step) != ("uses" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+\.\d+\.\d+", step["uses"])


@pytest.mark.parametrize("name", ["test.yml", "fuzz.yml"])
def test_what_a_workflow_makes_is_a_target(name: str) -> None:
    used = re.findall(r"^ +- run: make (.*)$", (ROOT / ".github" / "workflows" / name).read_text(), re.MULTILINE)
    used += re.findall(r"^step (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    words = {word for line in used for word in re.sub(r"\w+=(\$\{\{.*?\}\}|\S+)", "", line).split()}
    assert words
    assert words <= targets()


def test_the_versions_tested_are_those_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = {line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)}
    matrix = workflow("test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]  # type: ignore[index]
    assert set(matrix) == promised
    assert project["requires-python"] == f">={min(promised, key=lambda v: int(v.partition('.')[2]))}"


def test_fuzzing_takes_its_time_and_targets_from_the_caller() -> None:
    command = ["make", "--dry-run", "--no-print-directory", "fuzz"]
    environment = {**os.environ, "FUZZ_SECONDS": "7", "TARGETS": "scan codec"}
    dry = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(r'^PYTHON=\S+ TARGETS="scan codec" tests/fuzz/run.sh 7$', dry.stdout, re.MULTILINE)


def test_what_is_fuzzed_on_a_schedule_and_written_down_is_every_target() -> None:
    script = (ROOT / "tests" / "fuzz" / "run.sh").read_text()
    found = re.search(r"^targets=\$\{TARGETS:-(.*)\}$", script, re.MULTILINE)
    assert found is not None
    every = set(found[1].split())
    assert set(workflow("fuzz.yml")["jobs"]["fuzz"]["strategy"]["matrix"]["target"]) == every  # type: ignore[index]
    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "tests" / "fuzz" / "README.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted([*every, *every]), "the invariants, and the last clean run"


@pytest.mark.parametrize("folder", ["conformance", "interop"])
def test_the_tests_of_a_folder_can_be_collected_alone(folder: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", f"tests/{folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
