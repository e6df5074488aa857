"""The allow-list: what is open, what is not, and that neither is found out by asking."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import partisan
from partisan.config import Config
from partisan.errors import ConfigError, NotAllowed, UndefinedFunction
from partisan.runtime import allow
from partisan.runtime.allow import AllowList, takes

MODULE = """
from os import getcwd
import json
def public(x, y=1): return x
def _hidden(): return 1
class Thing:
    @staticmethod
    def made(): return 2
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "allowed_module.py").write_text(MODULE)
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('no')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("allowed_module", "broken_module"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "allowed_module"


def listed(*entries: str) -> AllowList:
    return AllowList("a@host", lambda: entries)


def test_a_function_that_is_named_is_found_and_its_module_imported_then(module: str) -> None:
    assert module not in sys.modules
    assert listed(f"{module}:public").find(module, "public", 1)(5) == 5


@pytest.mark.parametrize("name", ["_hidden", "getcwd", "json", "Thing", "Thing.made", "nowhere", "__import__"])
def test_a_star_opens_only_what_the_module_itself_defines_and_shows(module: str, name: str) -> None:
    entries = listed(f"{module}:*")
    assert entries.find(module, "public", 2)(1, 2) == 1
    with pytest.raises(UndefinedFunction, match=f"{module}:{name}/0"):
        entries.find(module, name, 0)


def test_a_method_is_open_when_it_is_named_itself(module: str) -> None:
    assert listed(f"{module}:Thing.made").find(module, "Thing.made", 0)() == 2


def test_whether_what_is_not_allowed_exists_is_not_told_and_nothing_is_imported(module: str) -> None:
    for name in ("public", "nowhere"):
        with pytest.raises(NotAllowed, match=f"a@host does not allow {module}:{name}/1 from other nodes"):
            listed("exit", "other:*").find(module, name, 1)
    assert module not in sys.modules


@pytest.mark.parametrize("arity", [0, 3])
def test_a_function_of_another_arity_is_undefined(module: str, arity: int) -> None:
    with pytest.raises(UndefinedFunction, match=f"{module}:public/{arity}"):
        listed(f"{module}:public").find(module, "public", arity)


def test_a_module_that_cannot_be_imported_has_no_functions(module: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("broken_module", "missing_module"):
        with pytest.raises(UndefinedFunction):
            listed(f"{name}:f").find(name, "f", 0)
    assert [record.args for record in caplog.records] == [("broken_module",)]


def test_a_function_without_a_signature_takes_what_it_is_given() -> None:
    assert takes(dict.fromkeys, 2)
    assert takes(max, 7)


def test_what_is_exposed_is_open_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allow, "_declared", {})

    @partisan.expose("lists:reverse")
    def reverse(items: list[Any]) -> list[Any]:
        return items[::-1]

    @partisan.expose
    def plain() -> int:
        return 1

    entries = listed()
    assert entries.find("lists", "reverse", 1)([1, 2]) == [2, 1]
    assert entries.find(__name__, plain.__qualname__, 0)() == 1
    entries.expose("lists:reverse", list)
    assert entries.find("lists", "reverse", 1) is list


@pytest.mark.parametrize("name", ["reverse", ":reverse", "lists:", "a:b:c"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="module:function"):
        partisan.expose(name)(len)


def test_entries_of_another_form_are_refused() -> None:
    assert Config(allow=("exit", "spawn", "sys", "os.path:join", "m:*")).allow[0] == "exit"
    for entry in ("everything", "*", "a:b:c", "m: f"):
        with pytest.raises(ConfigError, match=r"allow"):
            Config(allow=(entry,))
