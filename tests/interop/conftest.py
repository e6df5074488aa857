"""Coroutine tests run as those of real sockets do, whose helpers are imported by their names here, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "net"), str(Path(__file__).parent)]

import beams  # noqa: E402

from tests.net.conftest import pytest_generate_tests, pytest_pyfunc_call  # noqa: E402, F401


@pytest.fixture(scope="session")
def epmd() -> Iterator[int]:
    """The port of a port mapper daemon of the session's own."""
    with beams.daemon() as port:
        yield port


@pytest.fixture(scope="session", params=beams.RELEASES)
def beam(request: pytest.FixtureRequest, epmd: int) -> Iterator[beams.Beam]:
    """A node of each release, kept for all tests that do not end it."""
    node = beams.Beam(request.param, epmd_port=epmd)
    yield node
    node.kill()


@pytest.fixture(params=beams.RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """For tests that start nodes of their own."""
    beams.find(request.param)
    return str(request.param)
