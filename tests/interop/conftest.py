"""Coroutine tests run as those of real sockets do, whose helpers are imported by their names here, too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "net"))

from tests.net.conftest import pytest_generate_tests, pytest_pyfunc_call  # noqa: F401
