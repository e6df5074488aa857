"""Errors as programs see them: every one in one place, whatever module of the package it is written in."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

from partisan import errors

PLACE = Path(errors.__file__).parent
ALL = [getattr(errors, name) for name in errors.__all__]


def test_every_error_that_is_written_is_listed() -> None:
    written = {
        node.name
        for path in PLACE.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert written == set(errors.__all__)


@pytest.mark.parametrize("kind", ALL, ids=errors.__all__)
def test_an_error_is_of_the_tree_and_is_called_by_its_public_place(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.PartisanError)
    assert f"{kind.__module__}.{kind.__qualname__}" == f"partisan.errors.{kind.__name__}"


def test_an_error_that_is_pickled_names_the_public_place() -> None:
    pickled = pickle.dumps(errors.NotAllowed.__new__(errors.NotAllowed))
    assert b"partisan.errors" in pickled
    assert b"partisan.errors." not in pickled
