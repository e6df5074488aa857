"""Machines import the standard library without its clocks, sockets and chance, and of the package errors and names."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import partisan.machines

SOURCES = sorted(Path(partisan.machines.__file__).parent.glob("*.py"))
IMPURE = {"asyncio", "time", "datetime", "random", "secrets", "os", "socket", "select", "threading", "uuid", "logging"}
OURS = ("partisan.errors", "partisan.names", "partisan.machines")


def imports(tree):
    """The modules that a source imports when it runs, not only for types."""
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_machine_imports_nothing_that_acts_on_the_world(source):
    for module in imports(ast.parse(source.read_text())):
        if module.startswith("partisan"):
            assert module.startswith(OURS)
        else:
            root = module.partition(".")[0]
            assert root in sys.stdlib_module_names
            assert root not in IMPURE


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_machine_builds_no_set_that_could_be_iterated(source):
    for node in ast.walk(ast.parse(source.read_text())):
        assert not isinstance(node, ast.Set | ast.SetComp)
        assert not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "id", "hash")
        )
