"""Throttled logs: the first of a kind at once, then one a minute, and bounded memory whatever strangers vary."""

from __future__ import annotations

import logging

import pytest

from partisan.throttle import Throttle, ThrottledLog

logger = logging.getLogger("partisan.test")


def test_the_first_of_a_kind_passes_and_then_one_an_interval_with_how_many_were_held_back() -> None:
    throttle = Throttle(60.0)
    assert [throttle.admit("a", now) for now in (0.0, 1.0, 59.0, 60.0, 61.0, 200.0)] == [0, -1, -1, 2, -1, 1]


def test_kinds_do_not_hold_each_other_back() -> None:
    throttle = Throttle(60.0)
    assert [throttle.admit(key, 0.0) for key in ("a", "b", "a")] == [0, 0, -1]


def test_too_many_kinds_are_held_to_one_together() -> None:
    throttle = Throttle(60.0, most=10)
    said = [throttle.admit(number, 1.0) for number in range(1000)]
    assert said.count(0) == 11
    assert said.count(-1) == 989
    assert len(throttle._since) <= 11


def test_what_was_held_back_of_forgotten_kinds_is_counted_with_the_others() -> None:
    throttle = Throttle(60.0, most=2)
    for key in ("a", "a", "a", "b", "b"):
        throttle.admit(key, 0.0)
    assert throttle.admit("c", 100.0) == 0
    assert throttle.admit("d", 100.0) == 3
    assert len(throttle._since) <= 3


def test_a_log_says_how_many_like_it_were_held_back(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = ThrottledLog(lambda: now)
    with caplog.at_level(logging.INFO, "partisan.test"):
        for _ in range(5):
            log(logger, logging.WARNING, "kind", "%s broke", "p", error=ValueError("v"))
        now = 61.0
        log(logger, logging.WARNING, "kind", "%s broke", "p")
        log(logger, logging.DEBUG, "other", "not said")
    assert [record.getMessage() for record in caplog.records] == ["p broke", "p broke (and 4 like it before)"]
    assert caplog.records[0].exc_info is not None
