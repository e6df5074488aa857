"""What every test is held to."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

try:
    from partisan._core import counters
except ImportError:  # the machines and their tests run with nothing compiled
    counters = None  # type: ignore[assignment]

# How long a busy machine takes says nothing about what is tested. A push is judged by the same examples each time
# (`--hypothesis-profile=same`); `make soak` and pytest by itself look for others.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("any"), derandomize=True)
settings.load_profile("any")

ROUNDS = 3
"""Garbage collections after a test: an object that one frees may be the last owner of what the next one frees."""

FAILED = pytest.StashKey[bool]()
"""Whether the test has failed: its traceback then keeps everything alive, and one complaint is enough."""


def pytest_sessionstart() -> None:
    """Have Ctrl-C do here, and in what tests start, what it does in a terminal: a shell's background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Put what lives as long as the run out of the collector's sight: it would take most of the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(autouse=True)
def counts_return(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Assert that a test leaves nothing alive in the core; in a release, which does not count, do nothing."""
    if counters is None or not counters.snapshot():
        yield
        return
    before = counters.snapshot()
    yield
    if FAILED in request.node.stash:
        return
    request.node.funcargs.clear()  # what fixtures gave the test would be kept until after this
    for when in ("setup", "call"):
        caplog.get_records(when).clear()  # so would the tracebacks in logged errors
    left = risen(before)
    for _ in range(ROUNDS):  # a collection of all that pytest keeps takes longer than most tests: only if need be
        if left:
            gc.collect()
            left = risen(before)
    assert not left, f"the test left behind: {left}"


def risen(before: dict[str, int]) -> dict[str, int]:
    """The counts that are above what they were, and by how much."""
    return {name: count - before[name] for name, count in counters.snapshot().items() if count > before[name]}
