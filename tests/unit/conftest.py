"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def core() -> Iterator[object]:
    """A node's core without a loop; its processes are ended after the test."""
    from tests.unit.hollow import Core  # here: tests of what needs nothing compiled share this directory

    core = Core()
    yield core
    core.close()
