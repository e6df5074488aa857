"""The law of imports: they point one way, and importing a module does nothing else."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOUND = importlib.util.find_spec("partisan")
ROOT = Path(FOUND.submodule_search_locations[0]) if FOUND and FOUND.submodule_search_locations else Path()

SERVICES = ("peer_service", "remote_ref", "rpc", "erpc", "plumtree", "discovery", "faults")

# A part of the package, and the parts directly below it; it may import these and whatever they may.
BELOW: dict[str, tuple[str, ...]] = {
    "errors": (),
    "config_load": ("errors",),
    "config_tls": ("config_load",),
    "config_distribution": ("config_load",),
    "config_causal": ("config_load",),
    "config_discovery": ("config_load",),
    "config_groups": ("config_load",),
    "config_plumtree": ("config_load",),
    "config_relay": ("config_load",),
    "config_together": ("config_groups", "config_tls"),
    "config": (
        "config_causal",
        "config_discovery",
        "config_distribution",
        "config_groups",
        "config_plumtree",
        "config_relay",
        "config_tls",
        "config_together",
    ),
    "throttle": (),
    "telemetry": ("config", "throttle"),
    "names": ("config",),
    "_core": ("names",),
    "etf": ("_core",),
    "machines": ("names",),
    "sim": ("machines",),
    "wire": ("machines", "etf"),
    "net": ("wire", "telemetry"),
    "managers": ("net",),
    "runtime": ("managers",),
    **dict.fromkeys(SERVICES, ("runtime",)),
    "gen": SERVICES,
    "dist": ("gen",),
    "testing": ("gen", "sim"),
    "bench": ("gen",),
}
# The simulator knows no codec; its command line has one for it.
BESIDES = {"sim/__main__.py": "wire"}
# These are on top beside the facade, and may use it as any program does.
PROGRAMS = {"bench", "testing"}

PURE = ("machines", "sim")
CORE_NEVER = {"asyncio", "socket", "time", "select", "selectors", "uvloop"}
PURE_NEVER = CORE_NEVER | {"threading", "os", "multiprocessing"}


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def allowed(part: str) -> set[str]:
    found = {part}
    for each in BELOW[part]:
        found |= allowed(each)
    return found


def python_files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def cython_files() -> list[Path]:
    return sorted([*ROOT.rglob("*.pyx"), *ROOT.rglob("*.pxd")])


def package_of(path: Path) -> tuple[str, ...]:
    return ("partisan", *path.relative_to(ROOT).parent.parts)


def resolve(path: Path, level: int, module: str) -> str:
    """Return the absolute name of what a `from` statement names."""
    if not level:
        return module
    base = package_of(path)
    return ".".join((*base[: len(base) - level + 1], *filter(None, [module])))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree without the imports that only type checkers follow."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child
            yield from statements(child)


def python_imports(path: Path) -> Iterator[str]:
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve(path, node.level, node.module or "")
            # `from partisan import names` imports a module, `from partisan.names import NodeSpec` does not.
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "partisan" else [module]


def cython_imports(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines():
        if match := re.match(r"\s*from (\.*)([\w.]*) c?import (.*)", line):
            module = resolve(path, len(match[1]), match[2])
            inner = re.findall(r"\w+", match[3])
            yield from (f"{module}.{name}" for name in inner) if module == "partisan" else [module]
        elif match := re.match(r"\s*c?import ([\w.]+)", line):
            yield match[1]


def parts_imported(names: Iterator[str]) -> set[str]:
    """Return the parts of the package among the names; "" is the facade itself."""
    found = set()
    for name in names:
        first, _, rest = name.partition(".")
        if first == "partisan":
            part = rest.partition(".")[0]
            found.add(part if part in BELOW else "")
    return found


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_part_of_the_package_has_its_place_in_the_law() -> None:
    parts = {part_of(path) for path in python_files()} - {"__init__"}
    assert parts <= set(BELOW)


@pytest.mark.parametrize("path", [*python_files(), *cython_files()], ids=identity)
def test_imports_point_downwards(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    names = python_imports(path) if path.suffix == ".py" else cython_imports(path)
    may = allowed(part) | ({""} if part in PROGRAMS else set())
    besides = BESIDES.get(path.relative_to(ROOT).as_posix())
    may |= allowed(besides) if besides else set()
    assert parts_imported(names) - may == set()


@pytest.mark.parametrize("path", [p for p in python_files() if part_of(p) in PURE], ids=identity)
def test_machines_and_the_simulator_have_no_clock_no_socket_and_no_chance_of_their_own(path: Path) -> None:
    if path.name == "__main__.py":
        return
    assert {name.partition(".")[0] for name in python_imports(path)} & PURE_NEVER == set()
    source = path.read_text()
    assert set(re.findall(r"\brandom\.(\w+)", source)) <= {"Random"}, "only an injected random.Random is allowed"


@pytest.mark.parametrize("path", cython_files(), ids=identity)
def test_the_core_knows_no_loop_no_socket_and_no_clock(path: Path) -> None:
    assert {name.partition(".")[0] for name in cython_imports(path)} & CORE_NEVER == set()


@pytest.mark.parametrize("path", python_files(), ids=identity)
def test_a_module_does_nothing_on_import(path: Path) -> None:
    if path.name == "__main__.py":
        return
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
            continue
        guarded = isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        for inner in [] if guarded else ast.walk(node):
            name = ast.unparse(inner) if isinstance(inner, ast.Attribute | ast.Name) else ""
            assert not re.search(r"os\.environ|getenv|basicConfig|^print$|set_event_loop|\.start$|setLevel", name)


def run(code: str, where: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the package in `where` first."""
    start = f"import sys; sys.path.insert(0, {str(where)!r})\n"
    command = [sys.executable, "-c", start + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def uncompiled(tmp_path: Path) -> Path:
    """A copy of the package without its extensions."""
    skip = shutil.ignore_patterns("*.so", "*.c", "*.html", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "partisan", ignore=skip)
    return tmp_path


def test_machines_names_and_options_work_with_nothing_compiled(uncompiled: Path) -> None:
    parts = ["errors", "config", "telemetry", "names"]
    for package in PURE:
        parts += [f"{package}.{path.stem}" for path in sorted((ROOT / package).glob("*.py")) if path.stem[0] != "_"]
    done = run(
        "from partisan import machines, names\n" + "".join(f"import partisan.{each}\n" for each in parts), uncompiled
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", ["import partisan._core.terms", "import partisan.etf", "from partisan import Node"])
def test_what_needs_the_core_says_how_to_build_it(uncompiled: Path, code: str) -> None:
    if not (ROOT / "__init__.py").exists() or not (ROOT / "etf.py").exists():
        pytest.skip("the facade is not there")
    done = run(code, uncompiled)
    assert done.returncode == 1
    assert "ImportError: the compiled core of partisan is not built for Python" in done.stderr
    assert "make compile" in done.stderr


def test_importing_everything_starts_nothing_and_logs_nothing() -> None:
    if not list((ROOT / "_core").glob("*.so")):
        pytest.skip("the core is not built here")
    names = [".".join(("partisan", *path.relative_to(ROOT).with_suffix("").parts)) for path in python_files()]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    code = """
import importlib, logging, os, threading
before = dict(os.environ), os.getcwd()
for name in NAMES:
    importlib.import_module(name)
assert (dict(os.environ), os.getcwd()) == before
assert threading.active_count() == 1
assert logging.getLogger().handlers == logging.getLogger("partisan").handlers == []
"""
    done = run(code.replace("NAMES", repr(names)), ROOT.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def public_lists() -> list[Path]:
    return [path for path in python_files() if re.search(r"^__all__\b", path.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("path", public_lists(), ids=identity)
def test_a_list_of_public_names_has_every_public_class_and_nothing_that_is_not_there(path: Path) -> None:
    name = ".".join(("partisan", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    module = importlib.import_module(name)
    listed = list(module.__all__)
    assert len(listed) == len(set(listed))
    assert [each for each in listed if not hasattr(module, each)] == []
    own = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    assert {each for each in own if not each.startswith("_")} <= set(listed)
